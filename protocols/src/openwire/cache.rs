//! The object cache of each direction (openwire.md section 6): identifiers, destinations and transaction ids are sent
//! once and referred to by index afterwards.
//!
//! What comes out of it is shared between commands (`Arc`) and has memory of its own: an id in the cache does not hold
//! the read buffer it came in.

mod receive;
mod recent;
mod send;

use std::hash::Hash;
use std::sync::Arc;

pub(super) use receive::ReceiveCache;
pub use send::CACHE_SIZE_MIN;
pub(super) use send::SendCache;

use super::commands::{
    BrokerId, ConnectionId, ConsumerId, Destination, ProducerId, SessionId, TransactionId,
};
use super::error::Fault;
use super::reader::Reader;
use super::schema::Object;
use super::writer::Writer;

/// A type that travels through the cache.
pub(super) trait Cacheable: Object + Eq + Hash {
    /// As one of all such types.
    fn wrap(object: Arc<Self>) -> CachedObject;
    /// As this type, if it is.
    fn unwrap(object: &CachedObject) -> Option<&Arc<Self>>;
    /// A copy that shares no memory with a frame.
    #[must_use]
    fn detached(&self) -> Self;
    /// Octets of its texts.
    fn text_bytes(&self) -> usize;
}

macro_rules! cached_objects {
    ($($(#[$meta:meta])* $name:ident($id:pat)),* $(,)?) => {
        /// An object of one of the types that travel through the cache.
        #[derive(Clone, Debug, PartialEq, Eq, Hash)]
        pub enum CachedObject {
            $($(#[$meta])* $name(Arc<$name>),)*
        }

        impl CachedObject {
            /// Its number on the wire.
            pub fn type_id(&self) -> u8 {
                match self {
                    $(Self::$name(object) => object.type_id(),)*
                }
            }

            /// Where it is in memory: the same for two that are shared.
            pub(super) fn address(&self) -> usize {
                match self {
                    $(Self::$name(object) => Arc::as_ptr(object).addr(),)*
                }
            }

            /// Octets of its texts.
            fn text_bytes(&self) -> usize {
                match self {
                    $(Self::$name(object) => object.text_bytes(),)*
                }
            }

            /// Writes its fields.
            pub(super) fn write(&self, writer: &mut Writer<'_>) {
                match self {
                    $(Self::$name(object) => object.write(writer),)*
                }
            }

            /// Reads the fields of an object of that type, into memory of its own.
            pub(super) fn read(type_id: u8, reader: &mut Reader<'_>) -> Result<Self, Fault> {
                match type_id {
                    $($id => {
                        let object = $name::read(type_id, reader)?;
                        Ok(Self::$name(reader.share(&object)))
                    })*
                    _ => Err(Fault::UnexpectedType { type_id }),
                }
            }
        }

        $(
            impl Cacheable for $name {
                fn wrap(object: Arc<Self>) -> CachedObject {
                    CachedObject::$name(object)
                }

                fn unwrap(object: &CachedObject) -> Option<&Arc<Self>> {
                    match object {
                        CachedObject::$name(object) => Some(object),
                        _ => None,
                    }
                }

                fn detached(&self) -> Self {
                    $name::detached(self)
                }

                fn text_bytes(&self) -> usize {
                    $name::text_bytes(self)
                }
            }

            impl From<Arc<$name>> for CachedObject {
                fn from(object: Arc<$name>) -> Self {
                    Self::$name(object)
                }
            }
        )*
    };
}

cached_objects! {
    /// A destination.
    Destination(100..=103),
    /// A transaction.
    TransactionId(111 | 112),
    /// A connection.
    ConnectionId(120),
    /// A session.
    SessionId(121),
    /// A consumer.
    ConsumerId(122),
    /// A producer.
    ProducerId(123),
    /// A broker.
    BrokerId(124),
}

/// A slot: nothing yet, null, or an object. Null is cached like anything else.
type Slot = Option<Option<CachedObject>>;

/// Octets of text above which an object is not kept for the sake of speed: ids and names are far shorter.
const KEPT_BYTES_MAX: usize = 1_024;

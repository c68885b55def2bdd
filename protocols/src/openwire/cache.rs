//! The object cache of each direction (openwire.md section 6): identifiers, destinations and transaction ids are sent
//! once and referred to by index afterwards.
//!
//! What comes out of it is shared between commands (`Arc`) and has memory of its own: an id in the cache does not hold
//! the read buffer it came in.

use std::collections::HashMap;
use std::sync::Arc;

use super::commands::{
    BrokerId, ConnectionId, ConsumerId, Destination, ProducerId, SessionId, TransactionId,
};
use super::error::Fault;
use super::reader::Reader;
use super::schema::Object;
use super::writer::Writer;

/// A type that travels through the cache.
pub(super) trait Cacheable: Object + Eq {
    /// As one of all such types.
    fn wrap(object: Arc<Self>) -> CachedObject;
    /// As this type, if it is.
    fn unwrap(object: &CachedObject) -> Option<&Arc<Self>>;
    /// A copy that shares no memory with a frame.
    #[must_use]
    fn detached(&self) -> Self;
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

/// What the other side has sent.
#[derive(Debug, Default)]
pub(super) struct ReceiveCache {
    size: u16,
    /// Grows as indexes come.
    slots: Vec<Slot>,
    /// What was read lately, for streams without a cache and for values that come again under another index.
    recent: [Option<CachedObject>; RECENT],
    oldest: usize,
    /// What stores of the present frame replaced, if it may have to be read again.
    replaced: Option<Vec<(usize, Slot)>>,
}

/// As many as two messages hold of different ids.
const RECENT: usize = 8;

impl ReceiveCache {
    /// Forgets everything. `may_undo`: whether frames may have to be read twice.
    pub(super) fn reset(&mut self, size: u16, may_undo: bool) {
        *self = Self {
            size,
            replaced: may_undo.then(Vec::new),
            ..Self::default()
        };
    }

    pub(super) fn store(&mut self, index: i16, object: Option<CachedObject>) -> Result<(), Fault> {
        if index == -1 {
            return Ok(());
        }
        let slot = usize::try_from(index)
            .ok()
            .filter(|slot| *slot < usize::from(self.size));
        let slot = slot.ok_or(Fault::CacheIndex {
            index,
            size: self.size,
        })?;
        if self.slots.len() <= slot {
            self.slots.resize(slot + 1, None);
        }
        let before = self.slots[slot].replace(object);
        if let Some(replaced) = &mut self.replaced {
            replaced.push((slot, before));
        }
        Ok(())
    }

    pub(super) fn get(&self, index: i16) -> Result<Option<CachedObject>, Fault> {
        let slot = usize::try_from(index)
            .ok()
            .and_then(|slot| self.slots.get(slot));
        let object = slot.and_then(Option::as_ref);
        object.cloned().ok_or(Fault::CacheIndex {
            index,
            size: self.size,
        })
    }

    pub(super) fn share<T: Cacheable>(&mut self, object: &T) -> Arc<T> {
        let recent = self.recent.iter().flatten().filter_map(T::unwrap);
        if let Some(known) = recent.into_iter().find(|known| ***known == *object) {
            return Arc::clone(known);
        }
        let object = Arc::new(object.detached());
        self.recent[self.oldest] = Some(T::wrap(Arc::clone(&object)));
        self.oldest = (self.oldest + 1) % RECENT;
        object
    }

    /// A frame was read; nothing of it is undone any more.
    pub(super) fn keep(&mut self) {
        if let Some(replaced) = &mut self.replaced {
            replaced.clear();
        }
    }

    /// A frame was read in part: as if none of it had been.
    pub(super) fn undo(&mut self) {
        if let Some(replaced) = &mut self.replaced {
            for (slot, before) in replaced.drain(..).rev() {
                self.slots[slot] = before;
            }
        }
    }
}

/// Slots that are free before each frame, as the Java sender has it. One frame may bring that many new values.
const FREE_SLOTS: usize = 100;

/// The smallest cache that may be agreed on: with fewer slots than it wants free, the Java side loops for ever.
pub const CACHE_SIZE_MIN: u16 = 100;

/// What this side has sent. Its policy is that of the Java sender, to the index: slots are handed out round-robin, and
/// before each frame the oldest values leave until [`FREE_SLOTS`] are free.
#[derive(Debug)]
pub(super) struct SendCache {
    size: usize,
    /// Grows to `size`.
    slots: Vec<Slot>,
    indexes: HashMap<CachedObject, i16>,
    /// The index of null, by far the most frequent value.
    null: Option<i16>,
    held: usize,
    next: usize,
    oldest: usize,
    /// How many the present frame has added.
    added: usize,
    /// An index by the address of the object that is sent: a guess, which its slot confirms. Ids of a subscription or
    /// a destination are the same object for every message, so that most need no hashing of strings.
    guesses: [i16; GUESSES],
}

const GUESSES: usize = 64;

fn guess_of(address: usize) -> usize {
    // Allocations are aligned to 16 octets; higher bits keep neighbours apart.
    (address >> 4 ^ address >> 10) % GUESSES
}

impl SendCache {
    pub(super) fn new(size: u16) -> Self {
        // An index has fifteen bits.
        let size = usize::from(size.min(32_767));
        Self {
            size,
            slots: Vec::new(),
            indexes: HashMap::new(),
            null: None,
            held: 0,
            next: 0,
            oldest: 0,
            added: 0,
            guesses: [0; GUESSES],
        }
    }

    /// Makes room for a frame.
    pub(super) fn begin(&mut self) {
        self.added = 0;
        while self.held > self.size.saturating_sub(FREE_SLOTS) {
            self.clear(self.oldest);
            self.oldest = (self.oldest + 1) % self.size;
        }
    }

    fn clear(&mut self, slot: usize) {
        let Some(object) = self.slots.get_mut(slot).and_then(Option::take) else {
            return;
        };
        self.held -= 1;
        match object {
            Some(object) => drop(self.indexes.remove(&object)),
            None => self.null = None,
        }
    }

    /// The index of the object at `address` (0: null), if it is known without looking at its content.
    pub(super) fn recall(&self, address: usize) -> Option<i16> {
        if address == 0 {
            return self.null;
        }
        let guess = self.guesses[guess_of(address)];
        let slot = usize::try_from(guess)
            .ok()
            .and_then(|slot| self.slots.get(slot))?;
        let object = slot.as_ref()?.as_ref()?;
        (object.address() == address).then_some(guess)
    }

    /// The index of an equal value.
    pub(super) fn find(&mut self, object: Option<&CachedObject>) -> Option<i16> {
        let Some(object) = object else {
            return self.null;
        };
        let index = *self.indexes.get(object)?;
        // The next one is likely the same object: let it be recalled.
        self.guesses[guess_of(object.address())] = index;
        if let Some(slot) = usize::try_from(index)
            .ok()
            .and_then(|slot| self.slots.get_mut(slot))
        {
            *slot = Some(Some(object.clone()));
        }
        Some(index)
    }

    /// Takes a slot for a new value; -1 if there is none.
    pub(super) fn add(&mut self, object: Option<CachedObject>) -> i16 {
        if self.held == self.size {
            return -1;
        }
        let slot = self.next;
        #[expect(
            clippy::cast_possible_truncation,
            reason = "there are at most 32,767 slots"
        )]
        let index = slot as i16;
        self.next = (slot + 1) % self.size;
        if self.slots.len() <= slot {
            self.slots.resize(slot + 1, None);
        }
        match &object {
            Some(object) => {
                self.guesses[guess_of(object.address())] = index;
                self.indexes.insert(object.clone(), index);
            }
            None => self.null = Some(index),
        }
        self.slots[slot] = Some(object);
        self.held += 1;
        self.added += 1;
        index
    }

    /// The frame will not be sent: what it added was never told to the other side.
    pub(super) fn undo(&mut self) {
        for _ in 0..std::mem::take(&mut self.added) {
            self.next = (self.next + self.size - 1) % self.size;
            self.clear(self.next);
        }
    }
}

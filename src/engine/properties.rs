//! Who reads the properties of a message: one reader for each wire that messages come in on.

use std::fmt;
use std::sync::{Arc, OnceLock};

use super::neutral::Neutral;
use crate::broker::Message;
use crate::broker::filter::TextReader;
use crate::broker::selector::{Header, Value};

/// Reads the head of messages of one wire. Given by the adapter of that wire.
pub trait PropertyReader: Send + Sync {
    /// The user property `name`; the first one if there are several.
    fn property<'m>(&self, message: &'m Message, name: &str) -> Option<Value<'m>>;
    /// A header that only the wire knows: reply destination, type, correlation id, group, user, message id.
    fn header<'m>(&self, message: &'m Message, header: Header) -> Option<Value<'m>>;
    /// All that the message says, for another wire; `None` if it cannot be read.
    fn neutral(&self, _message: &Message) -> Option<Neutral> {
        None
    }
}

/// Wires there may be.
const WIRES_MAX: usize = 8;

/// The readers by [`Message::wire`].
#[derive(Default)]
pub struct PropertyReaders([OnceLock<Arc<dyn PropertyReader>>; WIRES_MAX]);

impl PropertyReaders {
    /// Makes `reader` the one for `wire`, unless there is one.
    ///
    /// # Panics
    /// If `wire` is beyond [`WIRES_MAX`].
    pub fn register(&self, wire: u8, reader: Arc<dyn PropertyReader>) {
        // The first stays: readers of one wire do not differ.
        let _ = self.0[usize::from(wire)].set(reader);
    }

    /// What a message says, for another wire than the one it came in on.
    #[must_use]
    pub fn neutral(&self, message: &Message) -> Neutral {
        let reader = self.get(message.wire);
        let read = reader.and_then(|reader| reader.neutral(message));
        read.unwrap_or_else(Neutral::unreadable)
    }

    /// The reader for `wire`.
    #[must_use]
    pub fn get(&self, wire: u8) -> Option<&dyn PropertyReader> {
        self.0.get(usize::from(wire))?.get().map(AsRef::as_ref)
    }
}

impl TextReader for PropertyReaders {
    fn text(&self, message: &Message, name: &str) -> Option<String> {
        let value = self.get(message.wire)?.property(message, name)?;
        match value {
            Value::Str(text) => Some(text.into_owned()),
            Value::Bool(truth) => Some(truth.to_string()),
            Value::I64(number) => Some(number.to_string()),
            Value::F64(number) => Some(number.to_string()),
        }
    }
}

impl fmt::Debug for PropertyReaders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let wires = (0..).zip(&self.0);
        let known = wires.filter(|(_, reader)| reader.get().is_some());
        f.debug_list()
            .entries(known.map(|(wire, _): (u8, _)| wire))
            .finish()
    }
}

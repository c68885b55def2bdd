//! What a subscription asks of a message before it takes it.

use std::fmt;

use super::message::Message;

/// Chooses messages for a subscription (SEL-9). Implemented outside, where the wires are known.
pub trait Filter: fmt::Debug + Send + Sync {
    /// Whether the subscription wants `message`, which failed `redeliveries` times and was in a frame to a consumer
    /// before if `redelivered`.
    fn matches(&self, message: &Message, redeliveries: u16, redelivered: bool) -> bool;
}

/// Reads what messages say, whatever their wire. Implemented outside, too.
pub trait TextReader: fmt::Debug + Send + Sync {
    /// The property `name` of `message` as text, if it has it.
    fn text(&self, message: &Message, name: &str) -> Option<String>;
}

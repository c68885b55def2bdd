//! What a step of a destination asks of the world outside.
//!
//! Effects are calls on a trait rather than a list of values: a delivery is encoded straight into the
//! consumer's outbox under the destination's lock, which fixes the order and needs no allocation, and the
//! outbox can say at once that it wants no more.

use std::sync::Arc;

use super::delivery::{Delivery, Entry};
use super::message::{Locator, Message};
use super::queue::Stall;
use super::slow::AbortCause;
use super::subscription::SubscriptionKey;

/// One message on its way to a consumer.
#[derive(Debug)]
pub struct Outgoing<'a> {
    /// The message.
    pub message: &'a Arc<Message>,
    /// Number of the delivery within its subscription.
    pub number: u64,
    /// Whether it was in a frame to a consumer before.
    pub redelivered: bool,
    /// Failed deliveries so far.
    pub redeliveries: u16,
    /// Whether it is the first of its group for this consumer (GRP-4).
    pub first_of_group: bool,
}

/// Whether a consumer takes more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// More is welcome.
    Open,
    /// This one was taken; no more until the subscription is resumed.
    Full,
    /// Not even this one was taken: the connection is ending.
    Refused,
}

/// A message that may not be delivered any more and goes to the dead-letter queue or is dropped.
#[derive(Debug)]
pub struct Rejected {
    /// Its place in the destination that rejects it.
    pub sequence: u64,
    /// The message.
    pub entry: Entry,
    /// When it expires or has expired, should it come back; 0 never.
    pub expires_ms: u64,
    /// Why, as the dead letter will tell (DLQ-4).
    pub cause: String,
    /// The topic subscription that rejects it, which is told when the dead letter is stored.
    pub subscription: Option<SubscriptionKey>,
    /// The id of that subscription if it is durable.
    pub durable: Option<u32>,
    /// Whether it expired rather than failed: an expired message that is not persistent is dropped (DLQ-2).
    pub expired: bool,
}

/// The world outside a destination, told of effects in the order in which they happen.
pub trait Outlet {
    /// The number of the next delivery to a consumer that is numbered outside, which follows at once.
    fn number(&mut self, to: SubscriptionKey) -> u64;
    /// A message goes to a consumer.
    fn deliver(&mut self, to: SubscriptionKey, outgoing: &Outgoing<'_>) -> Flow;
    /// A browser has seen everything (BRO-1).
    fn browsed(&mut self, to: SubscriptionKey);
    /// A stored message is consumed: its removal must reach the journal, or free its place in temporary storage.
    fn remove(&mut self, sequence: u64, at: Locator);
    /// A durable subscription has acknowledged: all up to `through`, or just `sequence`.
    fn acknowledge(&mut self, subscription: u32, progress: Progress);
    /// The counter of failed deliveries of a stored message has changed.
    fn redelivered(&mut self, sequence: u64, at: Locator, redeliveries: u16);
    /// The same for one durable subscription of a topic.
    fn redelivered_to(&mut self, subscription: u32, sequence: u64, redeliveries: u16);
    /// A message must go to the dead-letter queue.
    fn reject(&mut self, rejected: Rejected);
    /// A consumer has acknowledged a delivery, or an `auto` one has left; only told.
    fn consumed(&mut self, _by: SubscriptionKey, _delivery: &Delivery) {}
    /// A message has expired that nobody buries; only told.
    fn expired(&mut self, _entry: &Entry) {}
    /// A message was dropped for a subscriber that lags, the `total`th of the destination; only told.
    fn discarded(&mut self, _for: SubscriptionKey, _entry: &Entry, _total: u64) {}
    /// The subscription has to end: its connection has to be told, and to end it.
    fn abort(&mut self, _whose: SubscriptionKey, _cause: AbortCause) {}
    /// The queue stands still although it could deliver; only told.
    fn stalled(&mut self, _stall: &Stall) {}
    /// A stored message is wanted back in memory. The number is only to be given back with it.
    fn fetch(&mut self, sequence: u64, at: Locator);
}

/// Progress of a durable subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Everything up to and including this sequence.
    Through(u64),
    /// This sequence alone.
    Single(u64),
}

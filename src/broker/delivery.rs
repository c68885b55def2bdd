//! The small values that pass between a destination, its subscriptions and a transaction.

use std::num::NonZeroU32;
use std::sync::Arc;

use super::message::{Locator, Message, MessageId};

/// One message in a destination: held in memory, in the store, or both.
///
/// Kept at 24 octets, because a backlog holds one for each message.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The message, unless it has left memory.
    pub message: Option<Arc<Message>>,
    /// Where the journal keeps it, if it is persistent.
    pub at: Option<Locator>,
    /// Octets of memory the message costs while it is held.
    pub bytes: NonZeroU32,
    /// Failed deliveries so far (RED-5).
    pub redeliveries: u16,
    /// Whether it was in a frame to a consumer before, counted or not (RED-5).
    pub redelivered: bool,
}

impl Entry {
    /// An entry that holds `message`, stored at `at` if it is persistent.
    #[must_use]
    pub fn held(message: Arc<Message>, at: Option<Locator>) -> Self {
        let bytes = clamp_bytes(message.memory_bytes());
        Self {
            message: Some(message),
            at,
            bytes,
            redeliveries: 0,
            redelivered: false,
        }
    }

    /// An entry whose message of `bytes` octets is only in the store.
    #[must_use]
    pub fn stored(at: Locator, bytes: u64) -> Self {
        Self {
            message: None,
            at: Some(at),
            bytes: clamp_bytes(bytes),
            redeliveries: 0,
            redelivered: false,
        }
    }
}

fn clamp_bytes(bytes: u64) -> NonZeroU32 {
    NonZeroU32::new(u32::try_from(bytes).unwrap_or(u32::MAX)).unwrap_or(NonZeroU32::MIN)
}

/// A message handed to a subscription and not acknowledged yet.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// Number of this delivery within its subscription; never used twice (ACK-4).
    pub number: u64,
    /// The message's place in its destination.
    pub sequence: u64,
    /// The message's identity, by which STOMP 1.0 and 1.1 acknowledge even when it has left memory.
    pub id: MessageId,
    /// The message.
    pub entry: Entry,
}

/// How a subscription acknowledges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AckMode {
    /// Consumed when the last octet was accepted by the socket (ACK-5).
    Auto,
    /// An acknowledgement covers all earlier deliveries (ACK-2).
    Client,
    /// An acknowledgement covers one delivery (ACK-2).
    Individual,
}

/// Which delivery a client names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// By delivery number (STOMP 1.2 `ack` header).
    Number(u64),
    /// By message id (STOMP 1.0 and 1.1).
    Message(MessageId),
}

/// What a client says of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ack {
    /// Consumed.
    Consumed,
    /// Failed (NAK-2).
    Failed,
    /// Back to its place at once, and no failure (NACK with `requeue:true`).
    Requeued,
    /// To the dead-letter queue at once (NACK with `requeue:false`).
    Refused,
}

/// How a subscription ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// By UNSUBSCRIBE or DISCONNECT: no failed delivery (SUB-6).
    Orderly,
    /// The connection broke: the oldest unacked delivery counts as failed (RED-6).
    Died,
}

//! The small values that pass between a destination, its subscriptions and a transaction.

use std::num::NonZeroU32;
use std::sync::Arc;

use super::message::{Locator, Message, MessageFlags, MessageId};

slotmap::new_key_type! {
    /// Names a message group within its queue; a reused place has another key.
    pub struct GroupKey;
}

/// One message in a destination: held in memory, in the store, or both.
///
/// Kept at 24 octets, because a backlog holds one for each message; see [`cold`](super::cold) for less.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The message, unless it has left memory.
    pub message: Option<Arc<Message>>,
    /// Where the journal keeps it, if it is persistent, or temporary storage, if it was spilled.
    pub at: Option<Locator>,
    /// Octets of memory the message costs while it is held.
    pub bytes: NonZeroU32,
    /// Failed deliveries so far (RED-5).
    pub redeliveries: u16,
    /// Whether it was in a frame to a consumer before, counted or not (RED-5).
    pub redelivered: bool,
    pub(super) tags: Tags,
}

/// What must be known of a message that has left memory: priority, group or none, and its state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tags(u8);

impl Tags {
    const PRIORITY: u8 = 0x0f;
    const GROUPED: u8 = 0x10;
    const DELAYED: u8 = 0x20;
    const PURGED: u8 = 0x40;

    fn new(priority: u8, flags: MessageFlags) -> Self {
        let grouped = if flags.has(MessageFlags::GROUPED) {
            Self::GROUPED
        } else {
            0
        };
        Self(priority.min(9) | grouped)
    }
}

impl Entry {
    /// An entry that holds `message`, stored at `at` if it is persistent.
    #[must_use]
    pub fn held(message: Arc<Message>, at: Option<Locator>) -> Self {
        let bytes = clamp_bytes(message.memory_bytes());
        let tags = Tags::new(message.priority, message.flags);
        Self {
            tags,
            message: Some(message),
            at,
            bytes,
            redeliveries: 0,
            redelivered: false,
        }
    }

    /// An entry whose message of `bytes` octets is only in the store.
    #[must_use]
    pub fn stored(at: Locator, bytes: u64, priority: u8, flags: MessageFlags) -> Self {
        Self {
            tags: Tags::new(priority, flags),
            message: None,
            at: Some(at),
            bytes: clamp_bytes(bytes),
            redeliveries: 0,
            redelivered: false,
        }
    }

    /// Where the journal keeps it.
    #[must_use]
    pub fn journaled_at(&self) -> Option<Locator> {
        self.at.filter(|at| !at.is_temp())
    }

    /// JMS priority, 0 to 9.
    #[must_use]
    pub fn priority(&self) -> u8 {
        self.tags.0 & Tags::PRIORITY
    }

    /// Whether the message belongs to a message group.
    #[must_use]
    pub fn is_grouped(&self) -> bool {
        self.tags.0 & Tags::GROUPED != 0
    }

    /// Whether the message waits for its redelivery (RED-3).
    #[must_use]
    pub fn is_delayed(&self) -> bool {
        self.tags.0 & Tags::DELAYED != 0
    }

    /// Whether the message was purged while a consumer held it: nothing is left but the delivery (ADM-22).
    #[must_use]
    pub fn is_purged(&self) -> bool {
        self.tags.0 & Tags::PURGED != 0
    }

    /// Marks the message as purged; it holds nothing any more.
    pub fn purge(&mut self) {
        self.tags.0 |= Tags::PURGED;
        (self.message, self.at) = (None, None);
    }

    /// Says whether the message waits for its redelivery.
    pub fn set_delayed(&mut self, delayed: bool) {
        self.tags.0 &= !Tags::DELAYED;
        if delayed {
            self.tags.0 |= Tags::DELAYED;
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
    /// When the message expires, should it have left memory when it comes back to its queue; 0 never.
    pub expires_ms: u64,
    /// The message.
    pub entry: Entry,
    /// Its message group, if it has one.
    pub group: Option<GroupKey>,
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
    /// The last one up to this number, for a subscription that others feed too.
    Through(u64),
    /// The oldest that waits.
    Oldest,
}

/// What a client says of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ack {
    /// Consumed.
    Consumed,
    /// Failed; what becomes of it is the destination's policy (NAK-2).
    Failed,
    /// Failed, and if it is delivered again, then not before so many milliseconds.
    FailedFor(u64),
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
    /// The client says which deliveries its application was given: those up to this number count as failed (RED-5).
    Given(u64),
}

impl Ending {
    /// Whether the delivery `number` counts as failed, if it is the oldest that its consumer holds or is not.
    #[must_use]
    pub fn fails(self, number: u64, is_oldest: bool) -> bool {
        match self {
            Self::Orderly => false,
            Self::Died => is_oldest,
            Self::Given(last) => number <= last,
        }
    }
}

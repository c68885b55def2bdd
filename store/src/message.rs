//! A message as the store sees it: opaque octets and the few essentials a footer needs.

use bytes::Bytes;

use crate::locator::{DestinationId, SubscriptionId};

/// A message to be written.
#[derive(Debug, Clone, Copy)]
pub struct StoredMessage<'a> {
    /// Which protocol the octets came from; opaque to the store.
    pub wire: u8,
    /// Opaque to the store.
    pub flags: u8,
    /// JMS priority.
    pub priority: u8,
    /// First half of the message id.
    pub origin: u64,
    /// Second half of the message id.
    pub serial: u64,
    /// When the broker took it.
    pub timestamp_ms: u64,
    /// When it expires; 0 never.
    pub expires_ms: u64,
    /// Header block, opaque.
    pub head: &'a [u8],
    /// Body, opaque.
    pub body: &'a [u8],
}

/// What a move (dead letter, retry) changes on a message without rewriting its body. It replaces an earlier patch entirely.
#[derive(Debug, Clone, Copy)]
pub struct Patch<'a> {
    /// Flags from now on.
    pub flags: u8,
    /// Priority from now on.
    pub priority: u8,
    /// Expiry from now on; 0 never.
    pub expires_ms: u64,
    /// Octets of head and body of the message placed, so that recovery need not read the body for them.
    pub body_size: u32,
    /// Additional header octets, opaque; the reader merges them.
    pub extra_head: &'a [u8],
}

/// The patch of a message that was read back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnedPatch {
    /// Flags of this reference.
    pub flags: u8,
    /// Priority of this reference.
    pub priority: u8,
    /// Expiry of this reference; 0 never.
    pub expires_ms: u64,
    /// Additional header octets.
    pub extra_head: Bytes,
}

/// A message read back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnedMessage {
    /// Which protocol the octets came from.
    pub wire: u8,
    /// Flags in force: those of the patch, if there is one.
    pub flags: u8,
    /// Priority in force: that of the patch, if there is one.
    pub priority: u8,
    /// First half of the message id.
    pub origin: u64,
    /// Second half of the message id.
    pub serial: u64,
    /// When the broker took it.
    pub timestamp_ms: u64,
    /// Expiry in force: that of the patch, if there is one; 0 never.
    pub expires_ms: u64,
    /// Head, then body, in memory of just this size.
    pub payload: Bytes,
    /// Where the body begins in `payload`.
    pub head_len: u32,
    /// What a move changed, if the message was read through a Place record.
    pub patch: Option<OwnedPatch>,
}

impl OwnedMessage {
    /// The header block.
    #[must_use]
    pub fn head(&self) -> Bytes {
        self.payload.slice(..crate::fields::index(self.head_len))
    }

    /// The body.
    #[must_use]
    pub fn body(&self) -> Bytes {
        self.payload.slice(crate::fields::index(self.head_len)..)
    }
}

/// How many ids of a destination are kept, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct IdLimits {
    /// The newest so many.
    pub count_max: u32,
    /// Milliseconds; `u64::MAX` for ever.
    pub age_max_ms: u64,
}

impl IdLimits {
    /// Whether `id` is not too old at `now_ms`.
    pub(crate) fn is_young(self, id: &StoredId, now_ms: u64) -> bool {
        id.time_ms.saturating_add(self.age_max_ms) > now_ms
    }
}

/// The id of a message that must not be taken twice, and when it was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct StoredId {
    /// Milliseconds since 1970.
    pub time_ms: u64,
    /// Opaque to the store.
    pub id: u128,
}

/// A durable subscription as defined.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubscriptionDefinition {
    /// Its number.
    pub id: SubscriptionId,
    /// The topic it belongs to.
    pub topic: DestinationId,
    /// Client id.
    pub client_id: String,
    /// Subscription name.
    pub name: String,
    /// Selector, if any.
    pub selector: Option<String>,
    /// Whether the subscriber's own messages are left out.
    pub no_local: bool,
    /// First sequence it wants. Sequences begin at 1.
    pub start: u64,
}

//! A message as the core sees it: an opaque head and body with the few essentials delivery needs.

use std::num::NonZeroU64;

use std::sync::Arc;

use bytes::Bytes;

use super::advisory::{Event, WIRE_BROKER};
use super::destination::Destination;

/// Where the store keeps a message: an opaque, ordered value made by the journal, or one made by temporary storage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Locator(pub NonZeroU64);

impl Locator {
    /// The bit that tells places in temporary storage from those in the journal.
    const TEMP: u64 = 1 << 63;

    /// The place `value` of temporary storage, which is below 2^63.
    #[must_use]
    pub fn temp(value: NonZeroU64) -> Self {
        debug_assert!(value.get() < Self::TEMP, "the highest bit is ours");
        Self(value | Self::TEMP)
    }

    /// The place in temporary storage, if it is one.
    #[must_use]
    pub fn in_temp(self) -> Option<NonZeroU64> {
        let value = NonZeroU64::new(self.0.get() & !Self::TEMP)?;
        self.is_temp().then_some(value)
    }

    /// Whether it is in temporary storage: the message is spilled, and the journal knows nothing of it.
    #[inline]
    #[must_use]
    pub fn is_temp(self) -> bool {
        self.0.get() & Self::TEMP != 0
    }
}

/// The broker-wide identity of a message, the same on every delivery and in the dead-letter queue (MSG-3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MessageId {
    /// Which connection of which start of the broker took the message in.
    pub origin: u64,
    /// Its number on that connection.
    pub serial: u64,
}

/// Small facts about a message, kept in one octet because the journal stores them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MessageFlags(pub u8);

impl MessageFlags {
    /// The message survives a restart.
    pub const PERSISTENT: u8 = 1;
    /// A text message: its `content-length` is not shown (MSG-2).
    pub const TEXT: u8 = 2;
    /// Some header line holds a backslash, so a reader of another version needs it rewritten.
    pub const ESCAPED: u8 = 4;
    /// A text body that holds NUL and so cannot do without `content-length`.
    pub const HAS_NUL: u8 = 8;
    /// The message was not persistent before it was dead-lettered (DLQ-4).
    pub const WAS_TRANSIENT: u8 = 16;
    /// The message belongs to a message group (GRP-1).
    pub const GROUPED: u8 = 32;
    /// Its sender takes a delivery count for the number of redeliveries.
    pub const COUNTS_REDELIVERIES: u8 = 64;

    /// Whether all bits of `mask` are set.
    #[must_use]
    pub fn has(self, mask: u8) -> bool {
        self.0 & mask == mask
    }
}

/// What a dead letter tells of its fate (DLQ-4, NAK-5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// The destination it failed on, as `/queue/N` or `/topic/N`.
    pub origin: String,
    /// Why it failed, with the prefixes that tools parse. Empty if it has not: a copy that came by a route tells its
    /// origin only (VIR-1).
    pub cause: String,
    /// Its expiry before it was cleared, milliseconds since 1970; 0 for none.
    pub original_expires_ms: u64,
    /// How often its delivery had failed.
    pub failures: u16,
    /// When it died, milliseconds since 1970; 0 if nobody noted it.
    pub died_ms: u64,
}

/// One message. Shared by reference: a topic holds it once for all its subscribers.
#[derive(Clone, Debug)]
pub struct Message {
    /// Identity, shown as `message-id`.
    pub id: MessageId,
    /// When it was sent, milliseconds since 1970.
    pub timestamp_ms: u64,
    /// When it expires, milliseconds since 1970; 0 for never.
    pub expires_ms: u64,
    /// The head, and the body behind it unless that lies elsewhere.
    payload: Bytes,
    head_len: u32,
    beside: Beside,
    /// JMS priority, 0 to 9.
    pub priority: u8,
    /// Persistence and form.
    pub flags: MessageFlags,
    /// Which wire the head came in on; only the adapter of that wire reads it.
    pub wire: u8,
    /// Set when this is a dead letter.
    pub dead_letter: Option<Box<DeadLetter>>,
}

/// What a message has beside its payload. Two cases, so that it takes no more room than `Option<Bytes>`.
#[derive(Clone, Debug)]
enum Beside {
    /// A large body that still lies in the octets it came in.
    Body(Bytes),
    /// The event it reports, if it is an advisory; nothing, if it is any other message.
    Event(Option<Arc<Event>>),
}

/// Octets a queued message costs beside its payload: the struct, two allocations, its log entry.
pub const OVERHEAD_BYTES: usize = 192;

impl Message {
    /// Makes a message of `payload`, whose first `head_len` octets are the head in the form of `wire`.
    ///
    /// # Panics
    /// If `head_len` is beyond the payload.
    #[must_use]
    pub fn new(
        id: MessageId,
        payload: Bytes,
        head_len: u32,
        flags: MessageFlags,
        wire: u8,
    ) -> Self {
        assert!(
            head_len as usize <= payload.len(),
            "the head lies inside the payload"
        );
        Self {
            id,
            timestamp_ms: 0,
            expires_ms: 0,
            payload,
            head_len,
            beside: Beside::Event(None),
            priority: 4,
            flags,
            wire,
            dead_letter: None,
        }
    }

    /// Makes a message whose body stays where it is, in a buffer that it may share with others.
    #[must_use]
    pub fn with_borrowed_body(
        id: MessageId,
        head: Bytes,
        body: Bytes,
        flags: MessageFlags,
        wire: u8,
    ) -> Self {
        let head_len = u32::try_from(head.len()).unwrap_or(u32::MAX);
        let mut message = Self::new(id, head, head_len, flags, wire);
        message.beside = Beside::Body(body);
        message
    }

    /// Makes an advisory: a message without octets, which each wire renders from the event.
    #[must_use]
    pub fn reporting(id: MessageId, event: Arc<Event>) -> Self {
        let mut message = Self::new(id, Bytes::new(), 0, MessageFlags::default(), WIRE_BROKER);
        message.beside = Beside::Event(Some(event));
        message.priority = 0;
        message
    }

    /// What it reports, if it is an advisory.
    #[must_use]
    pub fn event(&self) -> Option<&Arc<Event>> {
        match &self.beside {
            Beside::Event(event) => event.as_ref(),
            Beside::Body(_) => None,
        }
    }

    /// The same message with head, body and form of `other`.
    #[must_use]
    pub fn with_payload_of(&self, other: &Self) -> Self {
        const FORM: u8 = MessageFlags::TEXT | MessageFlags::ESCAPED | MessageFlags::HAS_NUL;
        let mut message = self.clone();
        message.payload = other.payload.clone();
        message.head_len = other.head_len;
        message.beside = other.beside.clone();
        message.flags = MessageFlags(self.flags.0 & !FORM | other.flags.0 & FORM);
        message.wire = other.wire;
        message
    }

    /// The same message without its body.
    #[must_use]
    pub fn without_body(&self) -> Self {
        let mut message = self.clone();
        message.payload.truncate(self.head_len as usize);
        if matches!(message.beside, Beside::Body(_)) {
            message.beside = Beside::Event(None);
        }
        message
    }

    /// Copies a borrowed body into memory of its own size: a message that stays must not pin the buffer it
    /// came in.
    pub fn unpin(&mut self) {
        if let Beside::Body(body) = &self.beside {
            let mut payload = Vec::with_capacity(self.payload.len() + body.len());
            payload.extend_from_slice(&self.payload);
            payload.extend_from_slice(body);
            self.payload = payload.into();
            self.beside = Beside::Event(None);
        }
    }

    /// The user's header lines, in the form of the wire they came in on.
    #[must_use]
    pub fn head(&self) -> &[u8] {
        &self.payload[..self.head_len as usize]
    }

    /// The same, sharing its memory.
    #[must_use]
    pub fn head_shared(&self) -> Bytes {
        self.payload.slice(..self.head_len as usize)
    }

    /// The body.
    #[must_use]
    pub fn body(&self) -> &[u8] {
        match &self.beside {
            Beside::Body(body) => body,
            Beside::Event(_) => &self.payload[self.head_len as usize..],
        }
    }

    /// The body, sharing its memory.
    #[must_use]
    pub fn body_shared(&self) -> Bytes {
        match &self.beside {
            Beside::Body(body) => body.clone(),
            Beside::Event(_) => self.payload.slice(self.head_len as usize..),
        }
    }

    /// Octets of head and body.
    #[must_use]
    pub fn size(&self) -> usize {
        let beside = match &self.beside {
            Beside::Body(body) => body.len(),
            Beside::Event(_) => 0,
        };
        self.payload.len() + beside
    }

    /// Whether the message survives a restart.
    #[must_use]
    pub fn is_persistent(&self) -> bool {
        self.flags.has(MessageFlags::PERSISTENT)
    }

    /// Whether the message is past its expiry at `now_ms` (EXP-1).
    #[must_use]
    pub fn is_expired(&self, now_ms: u64) -> bool {
        self.expires_ms != 0 && self.expires_ms <= now_ms
    }

    /// The octets of memory this message costs while it is held.
    #[must_use]
    pub fn memory_bytes(&self) -> u64 {
        (self.size() + OVERHEAD_BYTES) as u64
    }

    /// A copy of the message that tells it was sent to `origin` (VIR-1), unless it tells of another fate.
    #[must_use]
    pub fn routed_from(&self, origin: &Destination) -> Self {
        let mut copy = self.clone();
        let fate = || {
            Box::new(DeadLetter {
                origin: origin.to_string(),
                cause: String::new(),
                original_expires_ms: 0,
                failures: 0,
                died_ms: 0,
            })
        };
        copy.dead_letter.get_or_insert_with(fate);
        copy
    }

    /// What became of it, if this is a dead letter; a copy that came by a route is none.
    #[must_use]
    pub fn fate(&self) -> Option<&DeadLetter> {
        self.dead_letter
            .as_deref()
            .filter(|fate| !fate.cause.is_empty())
    }

    /// The destination a copy was sent to, in the form of a header, if this is a copy that came by a route.
    #[must_use]
    pub fn routed_origin(&self) -> Option<&str> {
        let fate = self.dead_letter.as_ref()?;
        fate.cause.is_empty().then_some(&fate.origin)
    }

    /// The same message as a dead letter: persistent, with another expiry or none (0), telling its fate (DLQ-4).
    #[must_use]
    pub fn to_dead_letter(&self, fate: DeadLetter, expires_ms: u64) -> Self {
        let flags = dead_letter_flags(self.flags);
        self.moved(flags, expires_ms, Some(Box::new(fate)))
    }

    /// A dead letter as a message again, for its origin: nothing tells of its fate, and it stays persistent (DLQ-6).
    #[must_use]
    pub fn revived(&self) -> Self {
        let flags = MessageFlags(self.flags.0 & !MessageFlags::WAS_TRANSIENT);
        self.moved(flags, 0, None)
    }

    fn moved(
        &self,
        flags: MessageFlags,
        expires_ms: u64,
        dead_letter: Option<Box<DeadLetter>>,
    ) -> Self {
        Self {
            id: self.id,
            timestamp_ms: self.timestamp_ms,
            expires_ms,
            payload: self.payload.clone(),
            head_len: self.head_len,
            beside: self.beside.clone(),
            priority: self.priority,
            flags,
            wire: self.wire,
            dead_letter,
        }
    }
}

/// The flags of a dead letter made from a message with `flags`: persistent, remembering if it was not.
#[must_use]
pub fn dead_letter_flags(flags: MessageFlags) -> MessageFlags {
    let mut dead = flags.0 | MessageFlags::PERSISTENT;
    if !flags.has(MessageFlags::PERSISTENT) {
        dead |= MessageFlags::WAS_TRANSIENT;
    }
    MessageFlags(dead)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// There are millions of them: an advisory must not cost every other message an octet.
    #[test]
    fn what_lies_beside_takes_no_more_room_than_a_borrowed_body() {
        assert_eq!(size_of::<Beside>(), size_of::<Option<Bytes>>());
    }

    #[test]
    fn a_message_can_do_without_its_body() {
        let id = MessageId {
            origin: 1,
            serial: 1,
        };
        let flags = MessageFlags::default();
        let inline = Message::new(id, Bytes::from_static(b"a:b\nbody"), 4, flags, 1);
        let (head, body) = (Bytes::from_static(b"a:b\n"), Bytes::from_static(b"body"));
        let borrowed = Message::with_borrowed_body(id, head, body, flags, 1);
        for message in [inline, borrowed] {
            assert_eq!(message.body(), b"body");
            let bare = message.without_body();
            assert_eq!((bare.head(), bare.body()), (&b"a:b\n"[..], &b""[..]));
        }
    }
}

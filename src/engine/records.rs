//! Between the values of the core and the records of the journal.

use std::sync::Arc;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use ferrymq_store::{Batch, DestinationId, OwnedMessage, Patch, StoredMessage};

use crate::broker::{DeadLetter, Kind, Locator, Message, MessageFlags, MessageId};

/// Flag of a stored message whose head begins with its fate as a dead letter.
const FATE_IN_HEAD: u8 = 128;
/// The same bit of what a reference says of a placed message: what it adds begins with its identity, which may be
/// another than the body's.
const IDENTITY: u8 = 128;
/// The kind of a destination that is a remembered selector; see `remembered.rs`.
pub const KIND_SELECTOR: u8 = 4;
/// The kind of a destination that is a durable subscription on several topics; see `wide.rs`.
pub const KIND_WIDE: u8 = 5;
/// Octets of an identity: origin, serial, timestamp.
const IDENTITY_BYTES: usize = 24;
/// Lowest bit of a stored counter: the message was in a frame to a consumer before.
const SEEN: u16 = 1;

/// The core's form of a place in the journal.
pub fn from_store(at: ferrymq_store::Locator) -> Locator {
    Locator(std::num::NonZeroU64::new(at.get()).unwrap_or(std::num::NonZeroU64::MIN))
}

/// The journal's form of a place, which is there and not in temporary storage.
pub fn to_store(at: Locator) -> ferrymq_store::Locator {
    assert!(
        !at.is_temp(),
        "the journal knows nothing of what was spilled"
    );
    ferrymq_store::Locator::from_u64(at.0.get())
        .unwrap_or_else(|| unreachable!("places come from the store"))
}

/// How a kind of destination is written down.
pub fn kind_code(kind: Kind) -> u8 {
    match kind {
        Kind::Queue => 0,
        Kind::Topic => 1,
    }
}

/// Several texts in one, each with its length before it.
pub fn fields_text<'a>(fields: impl IntoIterator<Item = &'a str>) -> String {
    let fields = fields.into_iter();
    fields
        .map(|field| format!("{}:{field}", field.len()))
        .collect()
}

/// The reverse of [`fields_text`]; `None` if it makes no sense.
pub fn split_fields(mut text: &str) -> Option<Vec<String>> {
    let mut fields = Vec::new();
    while !text.is_empty() {
        let (length, rest) = text.split_once(':')?;
        let (field, rest) = rest.split_at_checked(length.parse().ok()?)?;
        fields.push(field.to_owned());
        text = rest;
    }
    Some(fields)
}

/// The same for so many texts.
pub fn text_fields<const N: usize>(text: &str) -> Option<[String; N]> {
    split_fields(text)?.try_into().ok()
}

/// The kind that `code` stands for.
pub fn kind_of(code: u8) -> Kind {
    if code == 0 { Kind::Queue } else { Kind::Topic }
}

/// Failed deliveries and the `redelivered` mark in one number.
pub fn count_code(redeliveries: u16, redelivered: bool) -> u16 {
    redeliveries.min(u16::MAX >> 1) << 1 | if redelivered { SEEN } else { 0 }
}

/// The reverse of [`count_code`].
pub fn count_of(code: u16) -> (u16, bool) {
    (code >> 1, code & SEEN != 0)
}

/// Writes a message down for `targets`.
pub fn add(
    batch: &mut Batch<'_>,
    targets: &[(DestinationId, u64)],
    message: &Message,
) -> ferrymq_store::Locator {
    with_stored(message, |stored| batch.add(targets, stored))
}

/// Hands a message to `write` in the store's form.
pub fn with_stored<R>(message: &Message, write: impl FnOnce(&StoredMessage<'_>) -> R) -> R {
    let mut stored = StoredMessage {
        wire: message.wire,
        flags: message.flags.0,
        priority: message.priority,
        origin: message.id.origin,
        serial: message.id.serial,
        timestamp_ms: message.timestamp_ms,
        expires_ms: message.expires_ms,
        head: message.head(),
        body: message.body(),
    };
    let Some(fate) = &message.dead_letter else {
        return write(&stored);
    };
    let mut head = BytesMut::new();
    let fate = write_fate(fate);
    head.put_u32_le(u32::try_from(fate.len()).unwrap_or(u32::MAX));
    head.put_slice(&fate);
    head.put_slice(message.head());
    stored.flags |= FATE_IN_HEAD;
    stored.head = &head;
    write(&stored)
}

/// Writes down that the stored body `of` now also is `message`: its dead letter, or the message that a dead letter was.
pub fn place(
    batch: &mut Batch<'_>,
    targets: &[(DestinationId, u64)],
    of: Locator,
    message: &Message,
) -> ferrymq_store::Locator {
    let mut extra = write_identity(message);
    if let Some(fate) = message.dead_letter.as_deref() {
        extra.extend_from_slice(&write_fate(fate));
    }
    let patch = Patch {
        flags: message.flags.0 | IDENTITY,
        priority: message.priority,
        expires_ms: message.expires_ms,
        body_size: body_size(message),
        extra_head: &extra,
    };
    batch.place(targets, to_store(of), &patch)
}

/// Writes down that the stored body `of` now also is `message`, which differs in identity and expiry only.
pub fn place_again(
    batch: &mut Batch<'_>,
    targets: &[(DestinationId, u64)],
    of: Locator,
    message: &Message,
) -> ferrymq_store::Locator {
    let patch = Patch {
        flags: message.flags.0 | IDENTITY,
        priority: message.priority,
        expires_ms: message.expires_ms,
        body_size: body_size(message),
        extra_head: &write_identity(message),
    };
    batch.place(targets, to_store(of), &patch)
}

/// What a reference to a stored body says of its size.
pub(super) fn body_size(message: &Message) -> u32 {
    u32::try_from(message.size()).unwrap_or(u32::MAX)
}

/// A message as it comes back from the journal.
pub fn message(stored: OwnedMessage) -> Arc<Message> {
    let mut id = MessageId {
        origin: stored.origin,
        serial: stored.serial,
    };
    let mut timestamp_ms = stored.timestamp_ms;
    let mut payload = stored.payload;
    let mut head_len = stored.head_len;
    let (mut flags, mut priority, mut expires_ms) =
        (stored.flags, stored.priority, stored.expires_ms);
    let mut fate = None;
    if flags & FATE_IN_HEAD != 0 {
        flags &= !FATE_IN_HEAD;
        if let Some((found, used)) = split_fate(&payload) {
            fate = Some(found);
            payload = Bytes::copy_from_slice(&payload[used..]);
            head_len -= u32::try_from(used).unwrap_or(head_len);
        }
    }
    if let Some(patch) = stored.patch {
        (flags, priority, expires_ms) = (patch.flags, patch.priority, patch.expires_ms);
        let mut extra = patch.extra_head;
        if flags & IDENTITY != 0 {
            flags &= !IDENTITY;
            if let Some(found) = read_identity(&mut extra) {
                (id, timestamp_ms) = found;
            }
        }
        // A move replaces what the moves before it said: who was revived has no fate.
        fate = read_fate(&extra);
    }
    let mut message = Message::new(id, payload, head_len, MessageFlags(flags), stored.wire);
    message.timestamp_ms = timestamp_ms;
    message.expires_ms = expires_ms;
    message.priority = priority;
    message.dead_letter = fate.map(Box::new);
    Arc::new(message)
}

fn write_identity(message: &Message) -> Vec<u8> {
    let mut out = Vec::with_capacity(IDENTITY_BYTES);
    out.put_u64_le(message.id.origin);
    out.put_u64_le(message.id.serial);
    out.put_u64_le(message.timestamp_ms);
    out
}

/// Takes an identity off the front.
fn read_identity(extra: &mut Bytes) -> Option<(MessageId, u64)> {
    if extra.len() < IDENTITY_BYTES {
        return None;
    }
    let (origin, serial) = (extra.get_u64_le(), extra.get_u64_le());
    Some((MessageId { origin, serial }, extra.get_u64_le()))
}

fn split_fate(payload: &[u8]) -> Option<(DeadLetter, usize)> {
    let (len, rest) = payload.split_first_chunk::<4>()?;
    let len = u32::from_le_bytes(*len) as usize;
    Some((read_fate(rest.get(..len)?)?, 4 + len))
}

/// Expiry, time of death, failures, length of the origin, then origin and cause.
fn write_fate(fate: &DeadLetter) -> Vec<u8> {
    let mut out = Vec::with_capacity(22 + fate.origin.len() + fate.cause.len());
    out.put_u64_le(fate.original_expires_ms);
    out.put_u64_le(fate.died_ms);
    out.put_u16_le(fate.failures);
    out.put_u32_le(u32::try_from(fate.origin.len()).unwrap_or(u32::MAX));
    out.put_slice(fate.origin.as_bytes());
    out.put_slice(fate.cause.as_bytes());
    out
}

fn read_fate(bytes: &[u8]) -> Option<DeadLetter> {
    let (expires, rest) = bytes.split_first_chunk::<8>()?;
    let (died, rest) = rest.split_first_chunk::<8>()?;
    let (failures, rest) = rest.split_first_chunk::<2>()?;
    let (len, rest) = rest.split_first_chunk::<4>()?;
    let (origin, cause) = rest.split_at_checked(u32::from_le_bytes(*len) as usize)?;
    Some(DeadLetter {
        origin: String::from_utf8_lossy(origin).into_owned(),
        cause: String::from_utf8_lossy(cause).into_owned(),
        original_expires_ms: u64::from_le_bytes(*expires),
        failures: u16::from_le_bytes(*failures),
        died_ms: u64::from_le_bytes(*died),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fate_survives_writing() {
        let fate = DeadLetter {
            origin: "/queue/ü".into(),
            cause: "a:b\nc".into(),
            original_expires_ms: 7,
            failures: 3,
            died_ms: 9,
        };
        assert_eq!(read_fate(&write_fate(&fate)), Some(fate));
        assert_eq!(read_fate(b"short"), None);
    }

    #[test]
    fn a_counter_keeps_its_mark() {
        assert_eq!(count_of(count_code(6, true)), (6, true));
        assert_eq!(count_of(count_code(0, false)), (0, false));
    }
}

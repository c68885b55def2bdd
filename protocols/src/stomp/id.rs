//! Message ids and `ack` values: how they are rendered and read back.
//!
//! A message id is `ID:<prefix><origin in hex>:<serial>` (MSG-3); an `ack` value is
//! `<subscription serial>-<delivery number>` (ACK-4), free of characters to escape.

use crate::decimal::{parse_hex, parse_u64, push_hex, push_u64};

/// The part of a message id that differs between messages of one broker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MessageId {
    /// Who gave the serial: a connection or producer, unique for ever under one prefix.
    pub origin: u64,
    /// The message's number with that origin.
    pub serial: u64,
}

/// Appends `ID:<prefix><origin hex>:<serial>`, unescaped.
pub fn encode_message_id(prefix: &str, id: MessageId, out: &mut Vec<u8>) {
    out.extend_from_slice(b"ID:");
    out.extend_from_slice(prefix.as_bytes());
    push_hex(id.origin, out);
    out.push(b':');
    push_u64(id.serial, out);
}

/// Reads what [`encode_message_id`] wrote, unescaped; `None` for any other id.
pub fn parse_message_id(text: &str, prefix: &str) -> Option<MessageId> {
    let rest = text.strip_prefix("ID:")?.strip_prefix(prefix)?;
    let (origin, serial) = rest.split_once(':')?;
    Some(MessageId {
        origin: parse_hex(origin.as_bytes())?,
        serial: parse_canonical(serial)?,
    })
}

/// Appends an `ack` value.
pub fn encode_ack_id(subscription: u64, delivery: u64, out: &mut Vec<u8>) {
    push_u64(subscription, out);
    out.push(b'-');
    push_u64(delivery, out);
}

/// Reads an `ack` value as (subscription serial, delivery number); `None` for any other text.
#[inline]
pub fn parse_ack_id(text: &str) -> Option<(u64, u64)> {
    let (subscription, delivery) = text.split_once('-')?;
    Some((parse_canonical(subscription)?, parse_canonical(delivery)?))
}

/// Digits without leading zeros: two texts never name one thing.
fn parse_canonical(digits: &str) -> Option<u64> {
    if digits.len() > 1 && digits.starts_with('0') {
        return None;
    }
    parse_u64(digits.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn message_ids_read_back() {
        for (origin, serial) in [(0, 0), (10, 42), (u64::MAX, u64::MAX)] {
            let id = MessageId { origin, serial };
            let mut out = Vec::new();
            encode_message_id("host-1-", id, &mut out);
            let text = String::from_utf8(out).unwrap();
            assert_eq!(parse_message_id(&text, "host-1-"), Some(id));
            assert_eq!(parse_message_id(&text, "other-"), None);
        }
        for other in [
            "",
            "ID:",
            "ID:h-",
            "ID:h-1",
            "ID:h-1:",
            "ID:h-1:01",
            "ID:h-01:1",
            "ID:h-1:1:1",
        ] {
            assert_eq!(parse_message_id(other, "h-"), None, "{other:?}");
        }
    }

    #[test]
    fn ack_values_read_back() {
        let mut out = Vec::new();
        encode_ack_id(7, 1234, &mut out);
        assert_eq!(out, b"7-1234");
        assert_eq!(parse_ack_id("7-1234"), Some((7, 1234)));
        for other in ["", "-", "7", "7-", "-7", "7-1-2", "07-1", "7-+1", "x-1"] {
            assert_eq!(parse_ack_id(other), None, "{other:?}");
        }
    }
}

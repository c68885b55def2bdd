//! The message group of a message that came by STOMP (GRP-1).

use std::borrow::Cow;

use ferrymq_protocols::stomp::{Escapes, Version, unescape};

use super::WIRE_STOMP;
use crate::broker::{GroupMark, Message};

const ID: &[u8] = b"JMSXGroupID:";
const SEQUENCE: &[u8] = b"JMSXGroupSeq:";

/// The group that the head of a message names; a sequence that is no number counts as none.
#[must_use]
pub fn group_of(message: &Message) -> Option<GroupMark<'_>> {
    if message.wire != WIRE_STOMP {
        return None;
    }
    let (mut id, mut sequence) = (None, 0);
    // The head is in canonical form: whole lines, each name once.
    for line in message.head().split(|octet| *octet == b'\n') {
        if let Some(value) = line.strip_prefix(ID) {
            id = Some(plain(value)?);
        } else if let Some(value) = line.strip_prefix(SEQUENCE) {
            sequence = plain(value)?.trim().parse().unwrap_or(0);
        }
    }
    let id = id.filter(|id| !id.is_empty())?;
    Some(GroupMark { id, sequence })
}

fn plain(value: &[u8]) -> Option<Cow<'_, str>> {
    let text = std::str::from_utf8(value).ok()?;
    Some(unescape(text, Escapes::of(Version::V12, false)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::{MessageFlags, MessageId};

    fn check(head: &str, wanted: Option<(&str, i32)>) {
        let id = MessageId {
            origin: 1,
            serial: 1,
        };
        let head_len = u32::try_from(head.len()).unwrap();
        let payload = head.as_bytes().to_vec().into();
        let message = Message::new(id, payload, head_len, MessageFlags(0), WIRE_STOMP);
        let found = group_of(&message);
        assert_eq!(
            found.as_ref().map(|mark| (&*mark.id, mark.sequence)),
            wanted,
            "{head:?}"
        );
    }

    #[test]
    fn a_group_is_read_from_canonical_lines() {
        check("foo:bar\nJMSXGroupID:a\n", Some(("a", 0)));
        check("JMSXGroupSeq:-1\nJMSXGroupID:a\\cb\n", Some(("a:b", -1)));
        check("JMSXGroupID:a\nJMSXGroupSeq:x\n", Some(("a", 0)));
        check("JMSXGroupID:\n", None);
        check("xJMSXGroupID:a\n", None);
        check("", None);
    }
}

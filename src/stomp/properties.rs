//! The properties of a message that came in on STOMP, read from its canonical header lines (SEL-6).
//!
//! Nothing is indexed: a selector asks for few names, and most heads have few lines. Only where a line of the head
//! holds a backslash are lines unescaped.

use std::borrow::Cow;

use ferrymq_protocols::stomp::{self, Escapes, encode_message_id, unescape};
use memchr::memchr;

use crate::broker::selector::{Header, Value};
use crate::broker::{Message, MessageFlags};
use crate::engine::neutral::Neutral;
use crate::engine::properties::PropertyReader;

/// Reads heads in the form of [`WIRE_STOMP`](super::WIRE_STOMP).
pub struct StompProperties {
    id_prefix: String,
}

impl StompProperties {
    /// A reader for a broker whose message ids begin with `ID:` and `id_prefix`.
    #[must_use]
    pub fn new(id_prefix: String) -> Self {
        Self { id_prefix }
    }
}

impl PropertyReader for StompProperties {
    fn property<'m>(&self, message: &'m Message, name: &str) -> Option<Value<'m>> {
        find(message, name).map(Value::Str)
    }

    fn header<'m>(&self, message: &'m Message, header: Header) -> Option<Value<'m>> {
        let line = match header {
            Header::ReplyTo => "reply-to",
            Header::Type => "type",
            Header::CorrelationId => "correlation-id",
            Header::GroupId => "JMSXGroupID",
            // The broker's own: what a sender says it is never gets here.
            Header::UserId => "JMSXUserID",
            Header::GroupSeq => {
                let sequence = find(message, "JMSXGroupSeq")?.parse().ok()?;
                return Some(Value::I64(sequence));
            }
            Header::MessageId => {
                let (origin, serial) = (message.id.origin, message.id.serial);
                let mut id = Vec::with_capacity(self.id_prefix.len() + 24);
                encode_message_id(
                    &self.id_prefix,
                    stomp::MessageId { origin, serial },
                    &mut id,
                );
                return Some(Value::Str(String::from_utf8(id).ok()?.into()));
            }
            _ => return None,
        };
        find(message, line).map(Value::Str)
    }

    fn neutral(&self, message: &Message) -> Option<Neutral> {
        super::crossing::to_neutral(message)
    }
}

/// The value of the line `name`; there is one at most.
pub(super) fn find<'m>(message: &'m Message, name: &str) -> Option<Cow<'m, str>> {
    let head = message.head();
    if message.flags.has(MessageFlags::ESCAPED) {
        return find_escaped(head, name);
    }
    // Without a backslash a line holds one colon, and its name stands for itself.
    let name = name.as_bytes();
    let value = lines(head).find_map(|line| {
        let value = line.strip_prefix(name)?.strip_prefix(b":")?;
        Some(value)
    })?;
    std::str::from_utf8(value).ok().map(Cow::Borrowed)
}

fn find_escaped<'m>(head: &'m [u8], name: &str) -> Option<Cow<'m, str>> {
    lines(head).find_map(|line| {
        let line = std::str::from_utf8(line).ok()?;
        let (found, value) = line.split_once(':')?;
        (unescape(found, Escapes::V12) == name).then(|| unescape(value, Escapes::V12))
    })
}

/// The lines of a head, without their ends.
pub(super) fn lines(mut head: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let end = memchr(b'\n', head)?;
        let line = &head[..end];
        head = &head[end + 1..];
        Some(line)
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;

    use super::*;
    use crate::broker::selector::{Selector, SelectorOptions};
    use crate::broker::{DeadLetter, Destination, Filter, MessageId};
    use crate::engine::filter::SelectorFilter;
    use crate::engine::properties::PropertyReaders;
    use crate::stomp::WIRE_STOMP;

    const HEAD: &str = "region:EU\nregions:all\nprice:12.5\nempty:\nJMSXGroupID:g\nJMSXGroupSeq:7\nreply-to:/queue/r\n\
                        type:order\ncorrelation-id:c1\n";

    fn message(head: &str, flags: u8) -> Message {
        let id = MessageId {
            origin: 10,
            serial: 42,
        };
        let payload = Bytes::copy_from_slice(format!("{head}body:x").as_bytes());
        let head_len = u32::try_from(head.len()).unwrap();
        let mut message = Message::new(id, payload, head_len, MessageFlags(flags), WIRE_STOMP);
        message.timestamp_ms = 1000;
        message
    }

    fn selects(text: &str, message: &Message) -> bool {
        let readers = PropertyReaders::default();
        readers.register(WIRE_STOMP, Arc::new(StompProperties::new("host-".into())));
        let options = SelectorOptions {
            convert_strings: true,
        };
        let selector = Selector::parse(text, options).unwrap_or_else(|error| panic!("{error}"));
        let filter =
            SelectorFilter::new(selector, &Destination::queue("orders"), Arc::new(readers));
        filter.matches(message, 2, true)
    }

    #[track_caller]
    fn check(text: &str, message: &Message, expected: bool) {
        assert_eq!(selects(text, message), expected, "{text}");
    }

    #[test]
    fn lines_are_properties() {
        let order = message(HEAD, 0);
        check("region = 'EU' AND price > 10", &order, true);
        check("regions = 'all' AND empty = ''", &order, true);
        check(
            "regio IS NULL AND egion IS NULL AND body IS NULL",
            &order,
            true,
        );
        check("\"reply-to\" = '/queue/r'", &order, true);
        check("\"region:EU\nregions\" IS NULL", &order, true);
        check("region = 'EU'", &message("", 0), false);
    }

    #[test]
    fn escapes_are_read_only_where_there_are_some() {
        let order = message("a\\cb:x\\ny\\\\\nc:d\n", MessageFlags::ESCAPED);
        check("\"a:b\" = 'x\ny\\' AND c = 'd'", &order, true);
        check("\"a\\cb\" IS NULL", &order, true);
    }

    #[test]
    fn headers_have_meanings() {
        let mut order = message(HEAD, MessageFlags::PERSISTENT);
        order.expires_ms = 5000;
        check("JMSDestination = 'queue://orders'", &order, true);
        check(
            "JMSReplyTo = '/queue/r' AND JMSType LIKE 'o%'",
            &order,
            true,
        );
        check(
            "JMSCorrelationID = 'c1' AND JMSXGroupID = 'g' AND JMSXGroupSeq = 7",
            &order,
            true,
        );
        check(
            "JMSDeliveryMode = 'PERSISTENT' AND JMSPriority = 4",
            &order,
            true,
        );
        check("JMSMessageID = 'ID:host-a:42'", &order, true);
        check("JMSTimestamp = 1000 AND JMSExpiration = 5000", &order, true);
        check(
            "JMSRedelivered = TRUE AND JMSXDeliveryCount = 3",
            &order,
            true,
        );
        check(
            "JMSXUserID IS NULL AND JMSActiveMQBrokerInTime IS NULL",
            &order,
            true,
        );
    }

    #[test]
    fn the_user_is_the_one_that_the_broker_knows() {
        let order = message("a:b\nJMSXUserID:alice\n", 0);
        check("JMSXUserID = 'alice' AND a = 'b'", &order, true);
    }

    #[test]
    fn dead_letters_tell_their_fate() {
        let fate = DeadLetter {
            origin: "/queue/orders".into(),
            cause: "expired".into(),
            original_expires_ms: 77,
            failures: 0,
            died_ms: 0,
        };
        let dead = message(HEAD, 0).to_dead_letter(fate, 0);
        check(
            "dlqDeliveryFailureCause = 'expired' AND originalExpiration = 77",
            &dead,
            true,
        );
        check(
            "\"original-destination\" LIKE '%orders' AND region = 'EU'",
            &dead,
            true,
        );
    }

    #[test]
    fn messages_of_an_unknown_wire_have_no_properties() {
        let mut order = message(HEAD, 0);
        order.wire = 7;
        check(
            "region IS NULL AND JMSPriority = 4 AND JMSType IS NULL",
            &order,
            true,
        );
        order.wire = 200;
        check("region IS NULL", &order, true);
    }
}

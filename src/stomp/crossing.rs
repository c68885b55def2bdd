//! Messages that cross from STOMP to another wire and back: all properties are strings here, and what is text and what is
//! bytes is decided at the crossing.

use bytes::Bytes;
use ferrymq_protocols::stomp::{Escapes, HeadFlags, push_header, unescape};

use super::advisory::message_of;
use super::properties::lines;
use crate::broker::selector::Value;
use crate::broker::{Destination, Kind, Message, MessageFlags};
use crate::engine::neutral::{Body, Neutral};

/// Properties of other wires that would mean something else as headers.
const RESERVED: [&str; 10] = [
    "destination",
    "subscription",
    "ack",
    "redelivered",
    "persistent",
    "priority",
    "expires",
    "timestamp",
    "receipt",
    "transaction",
];

/// What a message of STOMP says.
pub(super) fn to_neutral(message: &Message) -> Option<Neutral> {
    let mut neutral = Neutral {
        body: Body::Bytes(Bytes::new()),
        properties: Vec::new(),
        reply_to: None,
        correlation_id: None,
        jms_type: None,
        group: None,
        user_id: None,
    };
    let (mut wanted, mut content_type, mut sequence) = (None, None, 0);
    let escapes = Escapes::V12;
    for line in lines(message.head()) {
        let (name, value) = std::str::from_utf8(line).ok()?.split_once(':')?;
        let (name, value) = (
            unescape(name, escapes),
            unescape(value, escapes).into_owned(),
        );
        match &*name {
            "reply-to" if neutral.reply_to.is_none() => neutral.reply_to = destination(&value),
            "correlation-id" => neutral.correlation_id = Some(value),
            "type" => neutral.jms_type = Some(value),
            "JMSXGroupID" => neutral.group = Some((value, 0)),
            "JMSXGroupSeq" => sequence = value.trim().parse().unwrap_or(0),
            "JMSXUserID" => neutral.user_id = Some(value),
            "amq-msg-type" => wanted = Some(value),
            _ => {
                if name == "content-type" {
                    content_type = Some(value.clone());
                }
                let property = (name.into_owned(), Value::Str(value.into()));
                neutral.properties.push(property);
            }
        }
    }
    if let Some((_, found)) = &mut neutral.group {
        *found = sequence;
    }
    let is_text = match wanted.as_deref() {
        Some("text") => true,
        Some("bytes") => false,
        _ => {
            message.flags.has(MessageFlags::TEXT) || content_type.as_deref().is_some_and(is_textual)
        }
    };
    neutral.body = match std::str::from_utf8(message.body()) {
        Ok(text) if is_text => Body::Text(text.to_owned()),
        _ => Body::Bytes(message.body_shared()),
    };
    Some(neutral)
}

fn destination(text: &str) -> Option<Destination> {
    let temporary = |prefix, kind| Some(Destination::temporary(kind, text.strip_prefix(prefix)?));
    Destination::parse(text)
        .or_else(|| temporary("/remote-temp-queue/", Kind::Queue))
        .or_else(|| temporary("/remote-temp-topic/", Kind::Topic))
}

/// Whether a `content-type` is one of text.
fn is_textual(content_type: &str) -> bool {
    let kind = content_type.split(';').next().unwrap_or_default().trim();
    let kind = kind.to_ascii_lowercase();
    kind.starts_with("text/")
        || ["json", "xml"].iter().any(|form| {
            kind == format!("application/{form}") || kind.ends_with(&format!("+{form}"))
        })
}

/// A message of another wire as one of this one.
pub(super) fn of_neutral(message: &Message, neutral: &Neutral) -> Message {
    let mut head = Vec::with_capacity(256);
    let mut found = HeadFlags::default();
    let mut push = |name: &str, value: &str| {
        found = HeadFlags::and(found, push_header(name, value, &mut head));
    };
    if let Some(reply_to) = &neutral.reply_to {
        push("reply-to", &reply_to.to_string());
    }
    let texts = [
        ("correlation-id", &neutral.correlation_id),
        ("type", &neutral.jms_type),
        ("JMSXUserID", &neutral.user_id),
    ];
    for (name, value) in texts {
        if let Some(value) = value {
            push(name, value);
        }
    }
    if let Some((id, sequence)) = &neutral.group {
        push("JMSXGroupID", id);
        push("JMSXGroupSeq", &sequence.to_string());
    }
    for (name, value) in &neutral.properties {
        if RESERVED.contains(&name.as_str()) {
            continue;
        }
        match value {
            Value::Str(text) => push(name, text),
            Value::I64(number) => push(name, &number.to_string()),
            Value::F64(number) => push(name, &number.to_string()),
            Value::Bool(flag) => push(name, &flag.to_string()),
        }
    }
    let built = match &neutral.body {
        Body::Text(text) => message_of(message.id, head, text.as_bytes(), found.escaped),
        Body::Bytes(octets) => {
            let mut built = message_of(message.id, head, octets, found.escaped);
            built.flags.0 &= !(MessageFlags::TEXT | MessageFlags::HAS_NUL);
            built
        }
    };
    message.with_payload_of(&built)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::MessageId;

    const ID: MessageId = MessageId {
        origin: 1,
        serial: 1,
    };

    fn body_of(head: &str, body: &'static [u8], flags: u8) -> Body {
        let mut payload = head.as_bytes().to_vec();
        payload.extend_from_slice(body);
        let head_len = u32::try_from(head.len()).unwrap();
        let message = Message::new(ID, payload.into(), head_len, MessageFlags(flags), 1);
        to_neutral(&message).expect("it can be read").body
    }

    #[test]
    fn text_or_bytes_is_decided_by_what_the_sender_says() {
        let text = Body::Text("a".to_owned());
        let bytes = Body::Bytes(Bytes::from_static(b"a"));
        assert_eq!(body_of("", b"a", MessageFlags::TEXT), text);
        assert_eq!(body_of("", b"a", 0), bytes);
        assert_eq!(body_of("content-type:application/json\n", b"a", 0), text);
        assert_eq!(body_of("content-type:application/zip\n", b"a", 0), bytes);
        let wins = "amq-msg-type:bytes\n";
        assert_eq!(body_of(wins, b"a", MessageFlags::TEXT), bytes);
        let broken = Body::Bytes(Bytes::from_static(b"\xff"));
        assert_eq!(body_of("", b"\xff", MessageFlags::TEXT), broken);
    }

    #[test]
    fn headers_cross_and_come_back() {
        let neutral = Neutral {
            body: Body::Text("x".to_owned()),
            properties: vec![
                ("a:b".to_owned(), Value::Str("1\n2".into())),
                ("ack".to_owned(), Value::Str("mine".into())),
                ("urgent".to_owned(), Value::Bool(true)),
            ],
            reply_to: Some(Destination::temporary(Kind::Queue, "ID:x:1")),
            correlation_id: Some("c".to_owned()),
            jms_type: None,
            group: Some(("g".to_owned(), 3)),
            user_id: None,
        };
        let foreign = Message::new(ID, Bytes::new(), 0, MessageFlags(0), 2);
        let crossed = of_neutral(&foreign, &neutral);
        assert_eq!(crossed.wire, super::super::WIRE_STOMP);
        let back = to_neutral(&crossed).expect("it can be read");
        let properties = vec![
            ("a:b".to_owned(), Value::Str("1\n2".into())),
            ("urgent".to_owned(), Value::Str("true".into())),
        ];
        let expected = Neutral {
            properties,
            ..neutral
        };
        assert_eq!(back, expected);
    }
}

//! Messages that cross from OpenWire to another wire and back: text, bytes, headers and typed properties.

use std::sync::Arc;

use bytes::Bytes;
use ferrymq_protocols::openwire::commands::{
    Destination as WireDestination, Message as WireMessage, MessageId, MessageKind, ProducerId,
};
use ferrymq_protocols::openwire::properties::{Map, MapWriter, Value as WireValue};
use ferrymq_protocols::openwire::{StoredDecoder, body, encode_stored};

use super::destination::{self, Part};
use super::{WIRE_OPENWIRE, encoder, properties};
use crate::broker::pattern::Syntax;
use crate::broker::selector::Value;
use crate::broker::{Destination, Message, MessageFlags};
use crate::engine::neutral::{Body, Neutral};

/// The longest body that is inflated for another wire (OWI-6).
const INFLATED_BYTES_MAX: usize = 100 * 1024 * 1024;

/// What a message of OpenWire says. Bodies of other kinds than text are octets, as they are.
pub(super) fn to_neutral(message: &Message) -> Option<Neutral> {
    let mut read = encoder::read(&mut StoredDecoder::default(), message)?;
    if read.content.is_some() {
        read.content = Some(message.body_shared());
    }
    let content = body::content(&read, INFLATED_BYTES_MAX)
        .inspect_err(|error| tracing::warn!(%error, id = ?message.id, "a body cannot be read"))
        .ok()?
        .unwrap_or_default();
    let body = match read.kind {
        MessageKind::Text if content.is_empty() => Body::Text(String::new()),
        MessageKind::Text => {
            let text = body::text(&content).ok()?;
            Body::Text(text.map_or_else(String::new, |text| text.to_str().into_owned()))
        }
        // No body at all is an empty text, as in ActiveMQ.
        MessageKind::Plain => Body::Text(String::new()),
        _ => Body::Bytes(content),
    };
    let map = Map::of(read.marshalled_properties.as_ref()).ok()?;
    let properties = map.iter().flatten();
    let properties = properties
        .filter_map(|(name, value)| Some((name.to_str().into_owned(), properties::value(&value)?)));
    let text = |text: Option<ferrymq_protocols::openwire::Text>| text.map(|text| text.to_string());
    Some(Neutral {
        body,
        properties: properties.collect(),
        reply_to: read.reply_to.as_ref().and_then(single),
        correlation_id: text(read.correlation_id),
        jms_type: text(read.jms_type),
        group: text(read.group_id).map(|id| (id, read.group_sequence)),
        user_id: text(read.user_id),
    })
}

fn single(named: &WireDestination) -> Option<Destination> {
    let mut parts = destination::parse(Some(named), Syntax::default()).ok()?;
    match parts.pop()? {
        Part::Named(found) | Part::Temporary(found) if parts.is_empty() => Some(found),
        _ => None,
    }
}

/// A message of another wire as one of this one; `None` if it is too long for it.
pub(super) fn of_neutral(message: &Message, neutral: Neutral, broker: &str) -> Option<Message> {
    let (kind, content) = match neutral.body {
        Body::Text(text) => (
            MessageKind::Text,
            Bytes::from(body::text_content(&text).ok()?),
        ),
        Body::Bytes(octets) => (MessageKind::Bytes, octets),
    };
    let mut marshalled = Vec::new();
    let mut map = MapWriter::new(&mut marshalled);
    for (name, value) in &neutral.properties {
        let value = match value {
            Value::Str(text) => WireValue::String(text.as_ref().into()),
            Value::I64(number) => WireValue::Long(*number),
            Value::F64(number) => WireValue::Double(*number),
            Value::Bool(flag) => WireValue::Boolean(*flag),
        };
        map.put(name.as_str(), &value).ok()?;
    }
    let producer = Arc::new(ProducerId {
        connection_id: Some(format!("ID:{broker}-{:x}", message.id.origin).into()),
        value: 1,
        session_id: 1,
    });
    let (group_id, group_sequence) = neutral.group.unzip();
    let shown = WireMessage {
        kind,
        producer_id: Some(Arc::clone(&producer)),
        message_id: Some(MessageId {
            producer_id: Some(producer),
            producer_sequence_id: message.id.serial.cast_signed(),
            ..MessageId::default()
        }),
        priority: i8::try_from(message.priority).unwrap_or(4),
        correlation_id: neutral.correlation_id.map(Into::into),
        jms_type: neutral.jms_type.map(Into::into),
        reply_to: neutral.reply_to.as_ref().map(destination::shown),
        group_id: group_id.map(Into::into),
        group_sequence: group_sequence.unwrap_or_default(),
        user_id: neutral.user_id.map(Into::into),
        marshalled_properties: (!neutral.properties.is_empty()).then(|| marshalled.into()),
        content: Some(Bytes::new()),
        ..WireMessage::default()
    };
    let mut payload = Vec::with_capacity(512 + content.len());
    encode_stored(&shown, &mut payload).ok()?;
    let head_len = u32::try_from(payload.len()).ok()?;
    payload.extend_from_slice(&content);
    let flags = MessageFlags::default();
    let built = Message::new(message.id, payload.into(), head_len, flags, WIRE_OPENWIRE);
    Some(message.with_payload_of(&built))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_crosses_comes_back_the_same() {
        let id = crate::broker::MessageId {
            origin: 1 << 32 | 5,
            serial: 9,
        };
        let flags = MessageFlags(MessageFlags::PERSISTENT);
        let foreign = Message::new(id, Bytes::new(), 0, flags, 1);
        for body in [
            Body::Text("gr\u{fc}\u{df}e \0 \u{1f600}".to_owned()),
            Body::Text(String::new()),
            Body::Bytes(Bytes::from_static(b"\0\xff")),
        ] {
            let neutral = Neutral {
                body,
                properties: vec![
                    ("region".to_owned(), Value::Str("EU".into())),
                    ("count".to_owned(), Value::I64(7)),
                    ("price".to_owned(), Value::F64(1.5)),
                    ("urgent".to_owned(), Value::Bool(true)),
                ],
                reply_to: Some(Destination::temporary(crate::broker::Kind::Queue, "ID:x:1")),
                correlation_id: Some("c".to_owned()),
                jms_type: Some("order".to_owned()),
                group: Some(("g".to_owned(), 3)),
                user_id: None,
            };
            let crossed = of_neutral(&foreign, neutral.clone(), "b").expect("it fits");
            assert!(crossed.is_persistent() && crossed.wire == WIRE_OPENWIRE);
            assert_eq!(to_neutral(&crossed), Some(neutral));
        }
    }
}

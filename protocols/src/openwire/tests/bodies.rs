//! Bodies and properties as Java has written them.

use bytes::Bytes;
use serde_json::{Value as Json, json};

use super::vectors::{BODIES, lines, octets};
use crate::openwire::body::{self, BodyError};
use crate::openwire::commands::{Message, MessageKind};
use crate::openwire::properties::{Map, MapWriter, Value, ValueError, push};

fn hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}

/// A value as it was captured: a type, a value, and the bits of floating point numbers.
fn shown(value: &Value<'_>) -> Json {
    match value {
        Value::Null => json!(["null", null]),
        Value::Boolean(value) => json!(["boolean", value]),
        Value::Byte(value) => json!(["byte", value]),
        Value::Char(value) => json!(["char", value]),
        Value::Short(value) => json!(["short", value]),
        Value::Int(value) => json!(["int", value]),
        Value::Long(value) => json!(["long", value]),
        Value::Double(value) => json!(["double", value, format!("{:016x}", value.to_bits())]),
        Value::Float(value) => json!(["float", value, format!("{:08x}", value.to_bits())]),
        Value::String(value) => json!(["string", value.to_str()]),
        Value::Bytes(value) => json!(["bytes", hex(value)]),
        Value::Map(map) => json!(["map", entries(*map)]),
        Value::List(list) => {
            let values = list.iter().map(|value| shown(&value.expect("it is whole")));
            json!(["list", values.collect::<Vec<_>>()])
        }
    }
}

fn entries(map: Map<'_>) -> Json {
    map.iter()
        .map(|entry| entry.expect("it is whole"))
        .map(|(name, value)| json!([name.to_str(), shown(&value)]))
        .collect()
}

/// The order of entries means nothing.
fn sorted(value: &Json) -> Json {
    let Json::Array(elements) = value else {
        return value.clone();
    };
    let mut elements: Vec<_> = elements.iter().map(sorted).collect();
    if elements
        .iter()
        .all(|element| element.as_array().is_some_and(|pair| pair[0].is_string()))
    {
        elements.sort_by_key(ToString::to_string);
    }
    elements.into()
}

fn message(line: &Json) -> Message {
    let kind = match line["type"].as_str() {
        Some("ActiveMQTextMessage") => MessageKind::Text,
        Some("ActiveMQMapMessage") => MessageKind::Map,
        Some("ActiveMQStreamMessage") => MessageKind::Stream,
        Some("ActiveMQBytesMessage") => MessageKind::Bytes,
        Some("ActiveMQObjectMessage") => MessageKind::Object,
        _ => MessageKind::Plain,
    };
    let octets = |name: &str| (!line[name].is_null()).then(|| octets(&line[name]));
    Message {
        kind,
        compressed: line["compressed"] == true,
        content: octets("content_hex"),
        marshalled_properties: octets("properties_hex"),
        ..Message::default()
    }
}

/// Writes a map again, entry by entry.
fn written(map: Map<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    let mut writer = MapWriter::new(&mut out);
    for entry in map.iter() {
        let (name, value) = entry.expect("it is whole");
        writer.put(name, &value).expect("it was short enough");
    }
    out
}

fn check_body(message: &Message, content: &Bytes, captured: &Json) {
    match captured[0].as_str() {
        Some("text") => {
            let text = body::text(content)
                .expect("a text")
                .expect("it is not null");
            assert_eq!(json!(text.to_str()), captured[1]);
            assert_eq!(
                body::text_content(&text.to_str()).expect("it is short"),
                *content
            );
        }
        Some("map") => {
            let map = Map::read(content).expect("a map");
            assert_eq!(sorted(&entries(map)), sorted(&captured[1]));
            assert_eq!(written(map), *content);
        }
        Some("stream") => {
            let values: Result<Vec<_>, _> = body::stream(content).collect();
            let values = values.expect("values");
            assert_eq!(Json::from_iter(values.iter().map(shown)), captured[1]);
            let mut out = Vec::new();
            values
                .iter()
                .for_each(|value| push(&mut out, value).expect("it was short enough"));
            assert_eq!(out, *content);
        }
        Some("bytes") => assert_eq!(json!(hex(content)), captured[1]),
        Some("object") => assert!(content.starts_with(&[0xac, 0xed, 0, 5])),
        other => panic!("{other:?} of {:?}", message.kind),
    }
}

#[test]
fn bodies_and_properties_are_what_java_says() {
    let mut bodies = 0;
    for line in lines(BODIES) {
        bodies += 1;
        let message = message(&line);
        let content = body::content(&message, 1 << 20).expect("it inflates");
        match (&content, &line["body"]) {
            (Some(content), captured) if !captured.is_null() => {
                check_body(&message, content, captured)
            }
            (content, captured) => {
                assert!(
                    captured.is_null() && content.is_none(),
                    "{}: {content:?}",
                    line["name"]
                );
            }
        }
        if let Some(properties) = &message.marshalled_properties {
            let map = Map::of(Some(properties)).expect("a map");
            assert_eq!(sorted(&entries(map)), sorted(&line["properties"]));
            assert_eq!(written(map), *properties);
        }
    }
    assert_eq!(bodies, 26);
}

#[test]
fn what_inflates_to_too_much_is_refused() {
    let compressed = |line: &Json| line["compressed"] == true;
    let mut refused = 0;
    for line in lines(BODIES).filter(compressed) {
        let message = message(&line);
        let whole = body::content(&message, 1 << 20)
            .expect("it inflates")
            .expect("there is some");
        assert_eq!(
            body::content(&message, whole.len()).expect("just enough"),
            Some(whole.clone())
        );
        if !whole.is_empty() {
            let max = whole.len() - 1;
            assert_eq!(
                body::content(&message, max),
                Err(BodyError::TooLong { max })
            );
            refused += 1;
        }
        let cut = message
            .content
            .as_ref()
            .map(|content| content.slice(..content.len() / 2));
        let broken = Message {
            content: cut,
            ..message
        };
        assert_eq!(body::content(&broken, 1 << 20), Err(BodyError::Deflate));
    }
    assert!(refused > 8);
}

#[test]
fn a_name_that_comes_twice_has_its_last_value() {
    let mut out = Vec::new();
    let mut writer = MapWriter::new(&mut out);
    for number in 1..4 {
        writer.put("n", &Value::Int(number)).expect("it is short");
    }
    writer.put("other", &Value::Null).expect("it is short");
    let map = Map::read(&out).expect("a map");
    assert_eq!(map.get("n"), Ok(Some(Value::Int(3))));
    assert_eq!(map.get("absent"), Ok(None));
}

#[test]
fn counts_and_depth_are_bounded() {
    assert_eq!(
        Map::read(&[0x7f, 0xff, 0xff, 0xff, 0]),
        Err(ValueError::Truncated { offset: 0 })
    );
    assert_eq!(
        Map::read(&[0xff, 0xff, 0xff, 0xfe]),
        Err(ValueError::Negative { offset: 0 })
    );
    assert!(
        Map::read(&[0xff; 4]).is_ok_and(|map| map.is_empty()),
        "-1 is a map that is null"
    );
    // A list in a list in a list…
    let deep = [
        &[0, 0, 0, 1, 0, 1, b'x'][..],
        &[12, 0, 0, 0, 1].repeat(40),
        &[0],
    ]
    .concat();
    let map = Map::read(&deep).expect("its count is right");
    assert!(matches!(map.get("x"), Err(ValueError::Depth { .. })));
    let shallow = [
        &[0, 0, 0, 1, 0, 1, b'x'][..],
        &[12, 0, 0, 0, 1].repeat(30),
        &[0],
    ]
    .concat();
    assert!(matches!(
        Map::read(&shallow).expect("a map").get("x"),
        Ok(Some(Value::List(_)))
    ));
    // Neither maps nor lists in a stream.
    let values: Vec<_> = body::stream(&[0, 12, 0, 0, 0, 0]).collect();
    assert_eq!(
        values,
        [
            Ok(Value::Null),
            Err(ValueError::Type {
                type_id: 12,
                offset: 1
            })
        ]
    );
}

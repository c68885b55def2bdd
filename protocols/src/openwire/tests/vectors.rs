//! Captured frames: each is read to the values that were captured with it, and written back to the same octets.

use std::collections::HashMap;

use bytes::Bytes;
use serde_json::Value;

use super::Sample;
use crate::openwire::commands::Command;
use crate::openwire::{Decoder, Encoder, Format, Limits, Negotiated, WireFormat};

/// A file of the vectors.
macro_rules! vectors {
    ($name:literal) => {
        include_str!(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/vectors/openwire/",
            $name
        ))
    };
}

pub(super) const BODIES: &str = vectors!("bodies.jsonl");
const COMMANDS: &str = vectors!("commands.jsonl");
const CACHE_STREAMS: &str = vectors!("cache-streams.jsonl");
const CONVERSATIONS: &str = vectors!("conversations.jsonl");

/// One JSON object per line.
pub(super) fn lines(file: &str) -> impl Iterator<Item = Value> {
    let parse = |line| serde_json::from_str(line).expect("a line is JSON");
    file.lines().map(parse)
}

pub(super) fn octets(hex: &Value) -> Bytes {
    let digits = hex.as_str().expect("hex is a string").as_bytes();
    let octet = |pair: &[u8]| {
        let pair = std::str::from_utf8(pair).expect("hex is ASCII");
        u8::from_str_radix(pair, 16).expect("hex is hex")
    };
    digits.chunks(2).map(octet).collect()
}

/// What captured values leave out.
fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(flag) => !flag,
        Value::Number(number) => number.as_i64() == Some(0),
        _ => false,
    }
}

/// Compares what was read with what was captured. `whole`: the captured values have every field of every version, and
/// so has what was read.
struct Comparison {
    whole: bool,
    stack_traces: bool,
}

impl Comparison {
    fn compare(&self, ours: &Value, captured: &Value, path: &str) {
        match (ours, captured) {
            (Value::Object(ours), Value::Object(captured)) => self.objects(ours, captured, path),
            (Value::Array(ours), Value::Array(captured)) => {
                assert_eq!(ours.len(), captured.len(), "{path}");
                for (index, (ours, captured)) in ours.iter().zip(captured).enumerate() {
                    self.compare(ours, captured, &format!("{path}[{index}]"));
                }
            }
            _ => assert_eq!(ours, captured, "{path}"),
        }
    }

    fn objects(
        &self,
        ours: &serde_json::Map<String, Value>,
        captured: &serde_json::Map<String, Value>,
        path: &str,
    ) {
        let lower = |(name, value): (&String, &Value)| (name.to_lowercase(), value.clone());
        let mut captured: HashMap<String, Value> = captured.iter().map(lower).collect();
        let type_of = |fields: &HashMap<String, Value>| {
            fields
                .get("_type")
                .and_then(Value::as_str)
                .map(str::to_lowercase)
        };
        let captured_type = type_of(&captured);
        for (name, ours) in ours {
            let path = format!("{path}.{name}");
            let field = match name.as_str() {
                "_type"
                    if captured_type
                        .as_deref()
                        .is_some_and(|name| name.starts_with("activemq")) =>
                {
                    continue;
                }
                "_type" => {
                    let ours = ours.as_str().map(str::to_lowercase);
                    assert_eq!(ours, captured_type, "{path}");
                    continue;
                }
                // What is not on the wire: the type itself, and the fields of one type.
                "KIND" => {
                    assert_eq!(
                        ours.as_str().map(str::to_lowercase),
                        captured_type,
                        "{path}"
                    );
                    continue;
                }
                "BLOB" => {
                    for (name, ours) in ours
                        .as_object()
                        .into_iter()
                        .flatten()
                        .filter(|(name, _)| *name != "_type")
                    {
                        let captured = captured.remove(name).unwrap_or(Value::Null);
                        assert!(
                            *ours == captured || is_nothing(ours) && !self.whole,
                            "{path}.{name}"
                        );
                    }
                    continue;
                }
                "jmstype" | "kind" => "type",
                "stack" | "cause" if !self.stack_traces => {
                    captured.remove(name);
                    continue;
                }
                other => other,
            };
            match captured.remove(field) {
                Some(captured) => self.compare(ours, &captured, &path),
                None => assert!(
                    !self.whole && is_nothing(ours) || *ours == serde_json::json!([]),
                    "{path}: {ours}"
                ),
            }
        }
        if self.whole {
            captured.remove("_type");
            // Of versions up to 9.
            captured.remove("networkttl");
            assert!(captured.is_empty(), "{path} lacks {:?}", captured.keys());
        }
    }
}

/// Reads one frame and writes it back.
fn check(decoder: &mut Decoder, encoder: &mut Encoder, frame: &Bytes, name: &str) -> Command {
    let mut input = frame.clone();
    let command = decoder
        .decode(&mut input)
        .unwrap_or_else(|error| panic!("{name}: {error}"));
    let command = command.unwrap_or_else(|| panic!("{name} is not whole"));
    assert!(input.is_empty(), "{name}");
    let mut written = Vec::new();
    encoder
        .encode(&command, &mut written)
        .unwrap_or_else(|error| panic!("{name}: {error}"));
    assert_eq!(Bytes::from(written), *frame, "{name}: {command:?}");
    command
}

/// `tight-v12-cache-1st` and its like.
fn format_of(name: &str) -> Format {
    let mut words = name.split('-');
    let tight = words.next() == Some("tight");
    let version = words
        .next()
        .and_then(|word| word[1..].parse().ok())
        .expect("a version");
    let rest: Vec<_> = words.collect();
    Format {
        version,
        tight,
        cache_size: rest.contains(&"cache").then_some(1_024),
        stack_traces: rest.contains(&"stack"),
        ..Format::START
    }
}

#[test]
fn every_type_in_every_version_comes_back() {
    let mut frames_total = 0;
    for line in lines(COMMANDS) {
        let frames = line["frames"].as_object().expect("frames by name");
        for (name, frame) in frames.iter().filter(|(name, _)| !name.ends_with("-2nd")) {
            let format = format_of(name);
            let mut decoder = Decoder::with_format(Limits::default(), &format);
            let mut encoder = Encoder::with_format(&format);
            let again = name
                .strip_suffix("-1st")
                .map(|name| &frames[&format!("{name}-2nd")]);
            for frame in std::iter::once(frame).chain(again) {
                let what = format!("{} {} {name}", line["type"], line["variant"]);
                let command = check(&mut decoder, &mut encoder, &octets(frame), &what);
                let comparison = Comparison {
                    whole: format.version == 12,
                    stack_traces: format.stack_traces,
                };
                comparison.compare(&command.json(format.version), &line["value"], &what);
                frames_total += 1;
            }
        }
    }
    assert_eq!(frames_total, 2_556);
}

#[test]
fn long_streams_run_the_cache_around() {
    let mut streams: HashMap<String, (Decoder, Encoder)> = HashMap::new();
    let mut frames_total = 0;
    for line in lines(CACHE_STREAMS) {
        let name = line["stream"].as_str().expect("a name");
        let cache_size = line["cacheSize"]
            .as_u64()
            .and_then(|size| u16::try_from(size).ok());
        let (decoder, encoder) = streams.entry(name.to_owned()).or_insert_with(|| {
            // Of the name only tight and version count.
            let format = Format {
                cache_size,
                ..format_of(&name[..name.rfind('-').expect("words")])
            };
            (
                Decoder::with_format(Limits::default(), &format),
                Encoder::with_format(&format),
            )
        });
        let what = format!("{name} {}", line["seq"]);
        let command = check(decoder, encoder, &octets(&line["frame_hex"]), &what);
        Comparison {
            whole: false,
            stack_traces: false,
        }
        .compare(&command.json(12), &line["value"], &what);
        frames_total += 1;
    }
    assert_eq!((streams.len(), frames_total), (3, 580));
}

/// One direction of a recorded connection.
struct Direction {
    decoder: Decoder,
    encoder: Encoder,
    offer: Option<WireFormat>,
}

impl Direction {
    fn new() -> Self {
        Self {
            decoder: Decoder::new(Limits::default()),
            encoder: Encoder::new(),
            offer: None,
        }
    }
}

/// A connection of a conversation.
struct Connection {
    directions: [Direction; 2],
    format: Format,
}

impl Connection {
    fn new() -> Self {
        Self {
            directions: [Direction::new(), Direction::new()],
            format: Format::START,
        }
    }

    /// Reads the next frame of a direction and writes it back.
    fn follow(&mut self, line: &Value, frame: &Bytes, what: &str) {
        let direction = &mut self.directions[usize::from(line["dir"] == "s2c")];
        let command = check(&mut direction.decoder, &mut direction.encoder, frame, what);
        let comparison = Comparison {
            whole: false,
            stack_traces: self.format.stack_traces,
        };
        comparison.compare(&command.json(self.format.version), &line["fields"], what);
        if let Command::WireFormatInfo(info) = &command {
            direction.offer = Some(WireFormat::of(info).expect("it was accepted"));
            self.agree();
        }
    }

    /// Switches both directions when both have offered.
    fn agree(&mut self) {
        let [
            Direction {
                offer: Some(ours), ..
            },
            Direction {
                offer: Some(theirs),
                ..
            },
        ] = &self.directions
        else {
            return;
        };
        self.format = Negotiated::between(ours, theirs)
            .expect("they agreed")
            .format;
        for direction in &mut self.directions {
            direction.decoder.agree(&self.format);
            direction.encoder.agree(&self.format);
        }
    }
}

#[test]
fn recorded_conversations_come_back() {
    let mut connections: HashMap<String, Connection> = HashMap::new();
    let (mut frames_total, mut formats) = (0, HashMap::new());
    for line in lines(CONVERSATIONS) {
        let Some(frame) = line.get("frame_hex") else {
            continue;
        };
        let name = format!("{} connection {}", line["scenario"], line["conn"]);
        let what = format!("{name} frame {}", line["seq"]);
        let connection = connections.entry(name).or_insert_with(Connection::new);
        connection.follow(&line, &octets(frame), &what);
        *formats
            .entry(format!("{:?}", connection.format))
            .or_insert(0) += 1;
        frames_total += 1;
    }
    assert_eq!(frames_total, 2_393);
    assert!(
        formats.len() > 10,
        "versions and forms were agreed on: {formats:?}"
    );
}

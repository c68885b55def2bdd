//! Bodies of the fuzz targets in `fuzz/`, which a test runs over the seed corpora too.
//! Not an API.
//!
//! Each takes any octets and panics only if a promise of the crate is broken.

use bytes::Bytes;

use crate::map;
use crate::openwire::{self, body, properties};
use crate::sniff::{Opening, sniff};
use crate::stomp::{
    ClientCommand, DecodeOptions, Decoder, Escapes, HeartBeat, Version, encode_ack_id,
    encode_message_id, error_body, escape_into, parse_ack_id, parse_message_id, undefined_escape,
    unescape,
};
use crate::websocket::{self, WebSocketError};
use crate::{Limits, ProtocolError};

/// Small enough that a fuzzer meets every limit.
const LIMITS: Limits = Limits {
    command_bytes_max: 24,
    header_bytes_max: 96,
    headers_max: 8,
    body_bytes_max: 256,
    frame_bytes_max: 700,
    before_login_bytes_max: 128,
};

/// Decodes a stream; its first octet chooses version, switches and how it is split. One-shot
/// and split decoding must agree on frames and errors.
pub fn stomp_decode(data: &[u8]) {
    let Some((&choice, stream)) = data.split_first() else {
        return;
    };
    let version = [Version::V10, Version::V11, Version::V12][usize::from(choice % 3)];
    let options = DecodeOptions {
        strict_escapes: choice & 0x40 != 0,
        compat_escape_10: choice & 0x80 != 0,
    };
    let before_login = choice & 0x20 != 0;
    let piece = usize::from(choice >> 2 & 7) + 1;
    for limits in [LIMITS, Limits::default()] {
        let decoder = || {
            let mut decoder = Decoder::new(limits, options);
            decoder.set_version(version);
            decoder.set_before_login(before_login);
            decoder
        };
        let whole = decode_pieces(decoder(), stream, stream.len().max(1));
        let split = decode_pieces(decoder(), stream, piece);
        assert_eq!(whole, split, "a split changed what a stream means");
    }
}

/// What a stream of octets decodes to, for comparison.
#[derive(Debug, PartialEq, Eq)]
pub struct Decoded {
    /// Each frame as text: command, headers, body, typed command.
    pub frames: Vec<String>,
    /// How the stream ended.
    pub error: Option<ProtocolError>,
    /// Octets of an unfinished frame at the end; idle ones do not count.
    pub unfinished: usize,
}

/// Feeds `stream` to a decoder `piece` octets at a time, as a connection would.
///
/// # Panics
/// If the decoder breaks its contract.
pub fn decode_pieces(mut decoder: Decoder, stream: &[u8], piece: usize) -> Decoded {
    let mut decoded = Decoded {
        frames: Vec::new(),
        error: None,
        unfinished: 0,
    };
    let mut held: Vec<u8> = Vec::new();
    for octets in stream.chunks(piece) {
        held.extend_from_slice(octets);
        loop {
            let consumed = match decoder.decode(&held) {
                Ok(Some(frame)) => {
                    assert_eq!(
                        held[frame.body_offset + frame.body.len()],
                        0,
                        "NUL ends a frame"
                    );
                    assert!(
                        frame.consumed <= held.len(),
                        "more was consumed than there is"
                    );
                    decoded.frames.push(describe(&frame));
                    frame.consumed
                }
                Ok(None) => break,
                Err(error) => {
                    if let Some((command, headers)) = decoder.failed_head(&held) {
                        let _ = error_body(&error.to_string(), Some((command, headers)));
                    }
                    let _ = (error.message(), error.limit());
                    decoded.error = Some(error);
                    return decoded;
                }
            };
            held.drain(..consumed);
        }
        held.drain(..decoder.take_idle());
        assert_eq!(
            held.is_empty(),
            !decoder.is_mid_frame(),
            "idle octets are no frame"
        );
        if let Some(hint) = decoder.frame_bytes_hint() {
            assert!(hint > held.len(), "the frame would be complete");
        }
    }
    decoded.unfinished = held.len();
    decoded
}

fn describe(frame: &crate::stomp::Frame<'_>) -> String {
    let command = ClientCommand::parse(frame);
    let mut head = Vec::new();
    if let Ok(ClientCommand::Send(send)) = &command {
        let flags = send.write_user_head(&mut head);
        assert_eq!(
            flags.escaped,
            head.contains(&b'\\'),
            "the flag tells of backslashes"
        );
        assert!(head.is_empty() || head.ends_with(b"\n"), "lines are whole");
        assert_eq!(canonical_again(&head), head, "canonical is a fixed point");
        let _ = (send.body_has_nul(), send.user_head_len_hint());
    }
    let _ = error_body("why", Some((frame.command, frame.headers)));
    let headers: Vec<_> = frame.headers.iter().collect();
    let body = frame.body.escape_ascii();
    let length = frame.has_content_length;
    format!(
        "{:?} {headers:?} {body} {length} {command:?}",
        frame.command
    )
}

/// Sends a canonical head once more, from a 1.2 client.
fn canonical_again(head: &[u8]) -> Vec<u8> {
    let mut decoder = Decoder::new(
        Limits {
            header_bytes_max: usize::MAX,
            ..Limits::default()
        },
        DecodeOptions::default(),
    );
    decoder.set_version(Version::V12);
    let frame = [b"SEND\ndestination:d\n", head, b"\n\0"].concat();
    let mut again = Vec::new();
    if let Ok(Some(frame)) = decoder.decode(&frame)
        && let Ok(ClientCommand::Send(send)) = ClientCommand::parse(&frame)
    {
        send.write_user_head(&mut again);
    }
    again
}

/// Everything that reads short texts: ids, heart-beats, versions, escapes, openings. What
/// was read must write back to what it was.
pub fn stomp_text(data: &[u8]) {
    let opening = sniff(data);
    for end in 0..data.len().min(64) {
        let earlier = sniff(&data[..end]);
        assert!(
            earlier == Opening::Undecided || end >= 64 || earlier == opening,
            "{earlier:?}"
        );
    }
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let mut out = Vec::new();
    if let Some(id) = parse_message_id(text, "h-") {
        encode_message_id("h-", id, &mut out);
        assert_eq!(out, data);
    }
    if let Some((subscription, delivery)) = parse_ack_id(text) {
        out.clear();
        encode_ack_id(subscription, delivery, &mut out);
        assert_eq!(out, data);
    }
    if let Ok(client) = HeartBeat::parse(text) {
        let agreed = HeartBeat::negotiate(client, 100, 60_000);
        assert!(agreed.send_ms <= 60_000 && agreed.want_ms <= 60_000);
    }
    let _ = Version::negotiate(Some(text));
    for (version, escapes) in [(Version::V11, Escapes::V11), (Version::V12, Escapes::V12)] {
        let _ = (unescape(text, escapes), undefined_escape(data, escapes));
        if text.contains('\0') {
            continue;
        }
        out.clear();
        escape_into(text, version, &mut out);
        assert_eq!(
            undefined_escape(&out, escapes),
            None,
            "we write what we may read"
        );
        let written = std::str::from_utf8(&out).unwrap_or_default();
        assert_eq!(unescape(written, escapes), text, "unescape(escape(x)) = x");
    }
}

/// What a stream of WebSocket frames decodes to, for comparison.
#[derive(Debug, PartialEq, Eq)]
pub struct WebSocketDecoded {
    /// The payload of all messages.
    pub payload: Vec<u8>,
    /// Pings and the close frame.
    pub controls: Vec<websocket::Event>,
    /// How the stream ended.
    pub error: Option<WebSocketError>,
}

/// Feeds `stream` to a decoder `piece` octets at a time. Payload of a message that fails is not compared: how much of
/// it came before the fault depends on the split.
pub fn decode_websocket_pieces(
    stream: &[u8],
    piece: usize,
    message_bytes_max: u64,
) -> WebSocketDecoded {
    let mut decoder = websocket::Decoder::new(message_bytes_max);
    let mut decoded = WebSocketDecoded {
        payload: Vec::new(),
        controls: Vec::new(),
        error: None,
    };
    for octets in stream.chunks(piece.min(stream.len().max(1))) {
        let (mut octets, mut at) = (octets.to_vec(), 0);
        loop {
            match decoder.next(&mut octets, &mut at) {
                Ok(Some(websocket::Event::Payload(range))) => {
                    assert!(
                        !range.is_empty() && range.end == at,
                        "payload is what was taken"
                    );
                    decoded.payload.extend_from_slice(&octets[range]);
                }
                Ok(Some(event)) => {
                    let ends = matches!(event, websocket::Event::Close(_));
                    decoded.controls.push(event);
                    if ends {
                        return decoded;
                    }
                }
                Ok(None) => break,
                Err(error) => {
                    decoded.payload.clear();
                    decoded.error = Some(error);
                    return decoded;
                }
            }
        }
        assert_eq!(at, octets.len(), "all octets are taken");
    }
    decoded
}

/// Decodes a stream of WebSocket frames; its first octet chooses how it is split.
pub fn websocket_decode(data: &[u8]) {
    let Some((&choice, stream)) = data.split_first() else {
        return;
    };
    let whole = decode_websocket_pieces(stream, usize::MAX, 300);
    let split = decode_websocket_pieces(stream, usize::from(choice) + 1, 300);
    assert_eq!(whole, split, "a split changed what a stream means");
}

/// Reads a text as a map in both forms. What is read can be written and read again, in either form.
pub fn map_text(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    for entries in [map::from_json(text), map::from_xml(text)]
        .into_iter()
        .flatten()
    {
        // Not a number is not equal to itself.
        let shown = format!("{entries:?}");
        let json = map::from_json(&map::to_json(&entries));
        let json = json.expect("what is written as JSON is read");
        assert_eq!(format!("{json:?}"), shown, "JSON changed a map");
        // Control characters are lost, but nothing else is.
        map::from_xml(&map::to_xml(&entries)).expect("what is written as XML is read");
    }
}

/// Small enough that a fuzzer meets every limit.
const OPENWIRE_LIMITS: openwire::Limits = openwire::Limits {
    frame_bytes_max: 700,
    string_bytes_max: 60,
    items_max: 12,
    depth_max: 5,
    cache_bytes_max: 90,
};

/// What a stream of OpenWire frames decodes to, for comparison.
#[derive(Debug, PartialEq)]
struct OpenWireDecoded {
    commands: Vec<openwire::Command>,
    error: Option<openwire::Fault>,
    unfinished: usize,
}

fn decode_openwire_pieces(
    stream: &[u8],
    piece: usize,
    limits: openwire::Limits,
    format: &openwire::Format,
) -> OpenWireDecoded {
    let mut decoder = openwire::Decoder::with_format(limits, format);
    let mut decoded = OpenWireDecoded {
        commands: Vec::new(),
        error: None,
        unfinished: 0,
    };
    let mut held = Bytes::new();
    for octets in stream.chunks(piece) {
        held = [&held[..], octets].concat().into();
        loop {
            match decoder.decode(&mut held) {
                Ok(Some(command)) => decoded.commands.push(command),
                Ok(None) => break,
                Err(error) => {
                    let _ = (error.to_string(), error.config_key());
                    decoded.error = Some(error.fault);
                    return decoded;
                }
            }
        }
        assert!(
            held.is_empty() || decoder.frame_bytes_hint() > held.len(),
            "the frame would be complete"
        );
    }
    decoded.unfinished = held.len();
    decoded
}

/// Decodes a stream of OpenWire frames; its first octet chooses version, form, cache, sizes and how it is split. One-shot
/// and split decoding must agree, and what was read must come back when it is written.
pub fn openwire_decode(data: &[u8]) {
    let Some((&choice, stream)) = data.split_first() else {
        return;
    };
    let format = openwire::Format {
        version: choice % 12 + 1,
        tight: choice & 0x40 != 0,
        cache_size: (choice & 0x80 != 0).then_some(100),
        stack_traces: choice & 0x20 == 0,
        size_prefix: choice & 0x10 == 0,
        ..openwire::Format::START
    };
    for limits in [OPENWIRE_LIMITS, openwire::Limits::default()] {
        let whole = decode_openwire_pieces(stream, stream.len().max(1), limits, &format);
        let split = decode_openwire_pieces(stream, usize::from(choice % 5) + 1, limits, &format);
        assert_eq!(whole, split, "a split changed what a stream means");
        let (mut encoder, mut written) = (openwire::Encoder::with_format(&format), Vec::new());
        let mut sent = Vec::new();
        for command in whole.commands {
            // What is longer than Java reads is not written.
            if encoder.encode(&command, &mut written).is_ok() {
                sent.push(command);
            }
        }
        let unlimited = openwire::Limits::default();
        let again = decode_openwire_pieces(&written, written.len().max(1), unlimited, &format);
        assert_eq!(
            (again.commands, again.error),
            (sent, None),
            "decode(encode(x)) = x"
        );
    }
}

/// Reads octets as properties, as bodies of every kind, and as an object that was kept. What is read can be written and read
/// again.
pub fn openwire_values(data: &[u8]) {
    let octets = Bytes::copy_from_slice(data);
    if let Ok(map) = properties::Map::read(data) {
        let entries: Result<Vec<_>, _> = map.iter().collect();
        let mut written = Vec::new();
        let mut writer = properties::MapWriter::new(&mut written);
        for (name, value) in entries.iter().flatten() {
            writer
                .put(name.clone(), value)
                .expect("it was short enough");
        }
        if let Ok(entries) = entries {
            let again = properties::Map::read(&written).expect("what is written is read");
            let again: Vec<_> = again.iter().flatten().collect();
            // Not a number is not equal to itself, and nested values show where they lie.
            assert_eq!(again.len(), entries.len());
            for ((name, _), (again, _)) in entries.iter().zip(&again) {
                assert_eq!(name, again);
            }
        }
        let _ = (map.get("a"), map.len());
    }
    let _ = body::text(data).map(|text| text.map(|text| text.to_str().into_owned()));
    for value in body::stream(data).flatten() {
        properties::push(&mut Vec::new(), &value).expect("it was short enough");
    }
    for kind in [
        openwire::commands::MessageKind::Bytes,
        openwire::commands::MessageKind::Text,
    ] {
        let message = openwire::commands::Message {
            kind,
            compressed: true,
            content: Some(octets.clone()),
            ..Default::default()
        };
        if let Ok(content) = body::content(&message, 1_000) {
            assert!(
                content.is_none_or(|content| content.len() <= 1_000),
                "a limit holds"
            );
        }
    }
    let mut decoder = openwire::StoredDecoder::default();
    if let Ok(object) = decoder.decode(&octets) {
        let mut written = Vec::new();
        if openwire::encode_stored(&object, &mut written).is_ok() {
            assert_eq!(
                decoder.decode(&written.into()),
                Ok(object),
                "what is kept comes back"
            );
        }
    }
}

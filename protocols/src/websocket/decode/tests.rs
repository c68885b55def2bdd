use proptest::prelude::*;

use super::*;
use crate::fuzz::{decode_websocket_pieces, websocket_decode};

const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// A client's frame; `first` is FIN and opcode.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = vec![first];
    match payload.len() {
        short @ ..126 => out.push(0x80 | u8::try_from(short).unwrap()),
        medium @ ..65536 => {
            out.push(0x80 | 126);
            out.extend(u16::try_from(medium).unwrap().to_be_bytes());
        }
        long => {
            out.push(0x80 | 127);
            out.extend((long as u64).to_be_bytes());
        }
    }
    out.extend(MASK);
    out.extend(
        payload
            .iter()
            .zip(MASK.iter().cycle())
            .map(|(octet, mask)| octet ^ mask),
    );
    out
}

fn decode(stream: &[u8]) -> (String, Vec<Event>, Option<WebSocketError>) {
    let decoded = decode_websocket_pieces(stream, usize::MAX, 1000);
    let text = String::from_utf8(decoded.payload).unwrap();
    (text, decoded.controls, decoded.error)
}

#[test]
fn a_message_in_fragments_with_a_ping_between() {
    let stream = [
        frame(0x01, b"Hel"),
        frame(0x89, b"are you there"),
        frame(0x80, b"lo"),
        frame(0x8a, b"unasked pong"),
        frame(0x82, b"!"),
        frame(0x88, b"\x03\xe8bye"),
    ];
    let (text, controls, error) = decode(&stream.concat());
    assert_eq!(text, "Hello!");
    let ping = Event::Ping(b"are you there".to_vec());
    assert_eq!(controls, [ping, Event::Close(Some(1000))]);
    assert_eq!(error, None);
}

#[test]
fn text_or_binary_is_that_of_the_last_message() {
    let mut decoder = Decoder::new(10);
    let mut feed = |mut octets: Vec<u8>| {
        let mut at = 0;
        while decoder.next(&mut octets, &mut at).unwrap().is_some() {}
        decoder.last_was_text()
    };
    assert!(!feed(frame(0x02, b"a")));
    assert!(!feed(frame(0x80, b"b")));
    assert!(feed(frame(0x81, b"c")));
}

#[test]
fn what_a_client_may_not_do_is_named() {
    let long = frame(0x82, &[b'x'; 1001]);
    let grows = [frame(0x02, &[b'x'; 600]), frame(0x80, &[b'x'; 401])].concat();
    let too_big = |bytes| WebSocketError::TooBig { bytes, max: 1000 };
    for (stream, expected) in [
        (vec![0x81, 0x01, b'a'], WebSocketError::NotMasked),
        (vec![0xc1, 0x81], WebSocketError::Reserved),
        (vec![0x83, 0x80], WebSocketError::Opcode(3)),
        (vec![0x09, 0x80], WebSocketError::Control),
        (vec![0x89, 0xfe], WebSocketError::Control),
        (vec![0x81, 0xfe, 0, 125], WebSocketError::Length),
        (
            vec![0x81, 0xff, 0, 0, 0, 0, 0, 0, 0xff, 0xff],
            WebSocketError::Length,
        ),
        (
            vec![0x81, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0],
            WebSocketError::Length,
        ),
        (frame(0x80, b"a"), WebSocketError::Order),
        (
            [frame(0x01, b"a"), frame(0x01, b"a")].concat(),
            WebSocketError::Order,
        ),
        (frame(0x88, b"\x03"), WebSocketError::Close),
        (frame(0x88, b"\x03\xed"), WebSocketError::Close), // 1005 is never sent
        (frame(0x81, b"\xff"), WebSocketError::Text),
        (frame(0x81, b"\xc3"), WebSocketError::Text),
        (long[..4].to_vec(), too_big(1001)),
        (grows, too_big(1001)),
        (
            vec![0x82, 0xff, 0x7f, 255, 255, 255, 255, 255, 255, 255],
            too_big(u64::MAX >> 1),
        ),
    ] {
        let decoded = decode_websocket_pieces(&stream, usize::MAX, 1000);
        assert_eq!(decoded.error, Some(expected), "{stream:?}");
    }
}

/// Frames that are often right.
fn stream() -> impl Strategy<Value = Vec<u8>> {
    let payload = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..200),
        "\\PC{0,60}".prop_map(String::into_bytes),
    ];
    let first = prop::sample::select(vec![0x81, 0x82, 0x01, 0x02, 0x80, 0x00, 0x89, 0x8a, 0x88]);
    let piece = prop_oneof![
        9 => (first, payload).prop_map(|(first, payload)| frame(first, &payload)),
        1 => prop::collection::vec(any::<u8>(), 0..20),
    ];
    prop::collection::vec(piece, 0..8).prop_map(|frames| frames.concat())
}

proptest! {
    #[test]
    fn any_split_decodes_alike(stream in stream(), piece in 1..40_usize) {
        let whole = decode_websocket_pieces(&stream, usize::MAX, 1000);
        prop_assert_eq!(&whole, &decode_websocket_pieces(&stream, piece, 1000));
    }

    #[test]
    fn garbage_never_panics(data in prop::collection::vec(any::<u8>(), 0..200)) {
        websocket_decode(&data);
    }
}

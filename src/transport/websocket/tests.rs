use bytes::BytesMut;
use proptest::prelude::*;

use super::*;
use crate::transport::pipe::Pipe;

fn wire() -> WebSocketWire<Pipe> {
    WebSocketWire::new(Pipe::default(), 100_000, "test".to_owned())
}

/// A client's frame, with a mask of zeros.
fn from_client(first: u8, payload: &[u8]) -> Vec<u8> {
    let len = u8::try_from(payload.len()).unwrap();
    assert!(len < 126);
    [&[first, 0x80 | len, 0, 0, 0, 0][..], payload].concat()
}

/// The messages in what was written: whether text, and the payload. Fragments are joined.
fn messages(mut written: &[u8]) -> Vec<(bool, Vec<u8>)> {
    let mut messages: Vec<(bool, Vec<u8>)> = Vec::new();
    let mut open = false;
    while let [first, second, rest @ ..] = written {
        let (len, rest) = match second {
            126 => (
                u16::from_be_bytes(*rest.first_chunk().unwrap()).into(),
                &rest[2..],
            ),
            127 => (u64::from_be_bytes(*rest.first_chunk().unwrap()), &rest[8..]),
            short => (u64::from(*short), rest),
        };
        let (payload, rest) = rest.split_at(usize::try_from(len).unwrap());
        match first & 0xf {
            opcode @ (1 | 2) => {
                assert!(!open, "a message within a message");
                messages.push((opcode == 1, payload.to_vec()));
            }
            0 => {
                assert!(open, "a fragment of nothing");
                messages.last_mut().unwrap().1.extend_from_slice(payload);
            }
            opcode => panic!("opcode {opcode}"),
        }
        open = first & 0x80 == 0;
        written = rest;
    }
    assert!(!open, "the last message has no end");
    messages
}

fn message(body: &[u8]) -> Vec<u8> {
    let head = format!("MESSAGE\ncontent-length:{}\n\n", body.len());
    [head.as_bytes(), body, b"\0\n"].concat()
}

/// Writes all octets as an outbox does, offering again what was not taken. Returns how often the wire was full.
fn write_all(wire: &WebSocketWire<Pipe>, stream: &[u8], piece: usize) -> usize {
    let (mut written, mut full) = (0, 0);
    while written < stream.len() {
        let pieces: Vec<_> = stream[written..].chunks(piece).map(IoSlice::new).collect();
        match wire.try_write(&pieces[..pieces.len().min(32)]) {
            Ok(count) => {
                assert!(count > 0);
                written += count;
            }
            Err(error) => {
                assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
                full += 1;
                wire.lower.make_room(&[1000, 70_000, 1]);
            }
        }
    }
    full
}

#[test]
fn each_frame_is_a_message_text_if_it_can_be() {
    let wire = wire();
    let frames = [
        message(b"caf\xc3\xa9"),
        b"\n".to_vec(),
        message(b"\xff\0"),
        message(b""),
    ];
    wire.lower.make_room(&[usize::MAX; 8]);
    let stream = frames.concat();
    assert_eq!(
        wire.try_write(&[IoSlice::new(&stream)]).unwrap(),
        stream.len()
    );
    let expected: Vec<_> = [true, true, false, true].into_iter().zip(frames).collect();
    assert_eq!(messages(&wire.lower.written.lock().unwrap()), expected);
}

#[test]
fn a_client_of_binary_messages_gets_binary_ones() {
    let wire = wire();
    wire.lower.say(&from_client(0x82, b"\n"));
    wire.try_read(&mut BytesMut::new()).unwrap();
    wire.lower.make_room(&[usize::MAX]);
    wire.try_write(&[IoSlice::new(&message(b"text"))]).unwrap();
    assert_eq!(
        messages(&wire.lower.written.lock().unwrap()),
        [(false, message(b"text"))]
    );
}

#[test]
fn nothing_counts_as_written_before_all_made_of_it_has_left() {
    let wire = wire();
    let stream = message(b"hello");
    let offered = [IoSlice::new(&stream)];
    wire.lower.make_room(&[stream.len()]);
    let full = wire.try_write(&offered).unwrap_err();
    assert_eq!(
        full.kind(),
        io::ErrorKind::WouldBlock,
        "the head of the frame took two octets"
    );
    wire.lower.make_room(&[10]);
    assert_eq!(wire.try_write(&offered).unwrap(), stream.len());
    assert_eq!(
        messages(&wire.lower.written.lock().unwrap()),
        [(true, stream)]
    );
}

#[test]
fn a_frame_whose_end_is_not_offered_yet_waits_for_it() {
    let wire = wire();
    let (first, second) = (message(b"1"), message(b"2"));
    let stream = [first.clone(), second.clone()].concat();
    wire.lower.make_room(&[usize::MAX; 4]);
    let cut = stream.len() - 4;
    assert_eq!(
        wire.try_write(&[IoSlice::new(&stream[..cut])]).unwrap(),
        first.len()
    );
    assert_eq!(
        wire.try_write(&[IoSlice::new(&second)]).unwrap(),
        second.len()
    );
    assert_eq!(
        messages(&wire.lower.written.lock().unwrap()),
        [(true, first), (true, second)]
    );
}

#[test]
fn a_ping_between_fragments_is_answered_and_a_close_ends_the_input() {
    let wire = wire();
    wire.lower.make_room(&[usize::MAX; 4]);
    let stream = [
        from_client(0x01, b"SEND\n"),
        from_client(0x89, b"there?"),
        from_client(0x80, b"\n\0"),
        from_client(0x88, b"\x03\xe9"),
    ];
    for octet in stream.concat() {
        wire.lower.say(&[octet]);
    }
    let mut buffer = BytesMut::new();
    loop {
        match wire.try_read(&mut buffer) {
            Ok(0) => break,
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
            Ok(_) => {}
        }
    }
    assert_eq!(&buffer[..], b"SEND\n\n\0");
    assert_eq!(&wire.lower.written.lock().unwrap()[..], b"\x8a\x06there?");
    wire.shutdown_write();
    assert!(
        wire.lower
            .written
            .lock()
            .unwrap()
            .ends_with(b"\x88\x02\x03\xe9")
    );
    assert!(wire.lower.is_shut());
}

#[test]
fn a_fault_is_told_in_the_close_frame_and_the_rest_is_thrown_away() {
    let wire = wire();
    wire.lower.say(b"\x81\x01x");
    let error = wire.try_read(&mut BytesMut::new()).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    wire.lower.say(b"anything");
    assert_eq!(wire.try_read(&mut BytesMut::new()).unwrap(), 8);
    wire.lower.make_room(&[usize::MAX]);
    wire.shutdown_write();
    assert!(
        wire.lower.written.lock().unwrap()[2..].starts_with(b"\x03\xeaa frame that is not masked")
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn all_frames_arrive_whole_whatever_the_wire_takes(
        bodies in prop::collection::vec((any::<u8>(), prop_oneof![0..300_usize, 60_000..200_000_usize]), 1..6),
        piece in 7_000..90_000_usize,
        room in prop::collection::vec(1..100_000_usize, 0..10),
    ) {
        let wire = wire();
        wire.lower.make_room(&room);
        let frames: Vec<_> = bodies.iter().map(|(octet, len)| message(&vec![*octet; *len])).collect();
        write_all(&wire, &frames.concat(), piece);
        let got = messages(&wire.lower.written.lock().unwrap());
        let got: Vec<_> = got.into_iter().map(|(_, payload)| payload).collect();
        prop_assert!(got == frames, "{} messages of {} frames", got.len(), frames.len());
    }
}

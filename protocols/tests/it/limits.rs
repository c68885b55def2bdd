//! Limits refuse early, and the work stays linear (behaviour.md section 9).

use ferrymq_protocols::stomp::{DecodeOptions, Decoder, Version};
use ferrymq_protocols::{LimitKind, Limits, ProtocolError};

fn decoder() -> Decoder {
    let mut decoder = Decoder::new(Limits::default(), DecodeOptions::default());
    decoder.set_version(Version::V12);
    decoder
}

/// The limit a stream without end runs into, and how many octets it took.
fn refused(mut decoder: Decoder, start: &[u8], again: &[u8]) -> (LimitKind, usize) {
    let mut input = start.to_vec();
    loop {
        match decoder.decode(&input) {
            Ok(None) => input.extend_from_slice(again),
            Ok(Some(frame)) => panic!("a frame: {frame:?}"),
            Err(ProtocolError::Limit { kind, .. }) => return (kind, input.len()),
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn a_growing_command_is_refused_before_its_line_ends() {
    assert_eq!(refused(decoder(), b"", b"X"), (LimitKind::Command, 1_025)); // C097
}

#[test]
fn a_growing_header_is_refused_before_its_line_ends() {
    let start = b"SEND\n";
    assert_eq!(
        refused(decoder(), start, b"x"),
        (LimitKind::Header, start.len() + 10_241)
    ); // C098
}

#[test]
fn headers_without_end_are_refused() {
    assert_eq!(
        refused(decoder(), b"SEND\n", b"a:b\n"),
        (LimitKind::Headers, 5 + 4 * 1_001)
    );
}

#[test]
fn before_login_a_frame_is_small() {
    let mut small = decoder();
    small.set_before_login(true);
    assert_eq!(
        refused(small, b"SEND\n\n", b"x"),
        (LimitKind::BeforeLogin, 65_536)
    );
    let mut small = decoder();
    small.set_before_login(true);
    let long = [&[b'x'; 999][..], b"\n"].concat();
    let (kind, octets) = refused(small, b"CONNECT\n", &long);
    assert_eq!(kind, LimitKind::BeforeLogin);
    assert!(octets < 65_536 + 1_000);
}

#[test]
fn a_body_is_refused_from_its_length_before_it_is_read() {
    // C070, C101
    for length in ["104857601", "99999999999", "99999999999999999999999"] {
        let head = format!("SEND\ndestination:d\ncontent-length:{length}\n\n");
        let error = decoder().decode(head.as_bytes()).unwrap_err();
        assert_eq!(error.message(), "The maximum data length was exceeded");
        assert_eq!(error.limit().unwrap().1, "stomp.body_bytes_max");
    }
}

#[test]
fn a_body_without_length_is_refused_as_it_grows() {
    // C102
    let limits = Limits {
        body_bytes_max: 10_240,
        ..Limits::default()
    };
    let decoder = Decoder::new(limits, DecodeOptions::default());
    assert_eq!(
        refused(decoder, b"SEND\n\n", b"x"),
        (LimitKind::Body, 6 + 10_241)
    );
}

#[test]
fn the_largest_header_passes_with_any_line_end() {
    for end in ["\n", "\r\n"] {
        let head = format!("SEND{end}x:{}{end}{end}\0", "y".repeat(10_238));
        let mut whole = decoder();
        assert!(whole.decode(head.as_bytes()).unwrap().is_some());
        let mut split = decoder();
        for len in 0..head.len() {
            assert!(
                split.decode(&head.as_bytes()[..len]).unwrap().is_none(),
                "{len}"
            );
        }
        assert!(split.decode(head.as_bytes()).unwrap().is_some());
    }
}

#[test]
fn a_large_frame_in_single_octets_is_not_searched_again_and_again() {
    // Quadratic work over 2 MiB in 64-octet pieces would be 32 Gi octets: minutes.
    let frame = [&b"SEND\ndestination:d\n\n"[..], &vec![b'x'; 2 << 20], b"\0"].concat();
    let mut decoder = decoder();
    for len in (0..frame.len()).step_by(64) {
        assert!(decoder.decode(&frame[..len]).unwrap().is_none());
    }
    assert_eq!(
        decoder.decode(&frame).unwrap().unwrap().consumed,
        frame.len()
    );
}

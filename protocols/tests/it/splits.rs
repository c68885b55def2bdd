//! A stream means the same however it is split (FRM-14), and garbage never panics.

use ferrymq_protocols::Limits;
use ferrymq_protocols::fuzz::{decode_pieces, stomp_decode, stomp_text};
use ferrymq_protocols::stomp::{DecodeOptions, Decoder, Version};
use proptest::prelude::*;

/// Octets that are often almost STOMP.
fn stream() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        4 => prop::sample::select(vec![
            "SEND\n", "ACK\n", "CONNECT\n", "SUBSCRIBE\r\n", "MESSAGE\n", "UNSUB\n", " SEND \n",
            "\n\n", "\r\n\r\n", "\0", "\n", "\0\n", ":", "\\", "\\c", "\\t", "a:b\n", "x\\ny:1\n",
            "destination:/queue/a\n", "destination: b \r\n", "content-length:3\n", "receipt:1\n",
            "content-length:0\n", "content-length: 300 \n", "content-length:x\n", "id:1\n", "abc",
            "accept-version:1.1\n", "heart-beat:1,2\n", "priority:x\n", "\u{e4}", "a:b\r\n",
        ]).prop_map(|text| text.as_bytes().to_vec()),
        // Heads that repeat, with other numbers and without.
        2 => prop::sample::select(vec![
            "SEND\ncontent-length:3\nb:1\n\nabc\0", "SEND\ncontent-length:12\nb:1\n\nabcdefghijkl\0",
            "SEND\ncontent-length:2\nb:1\n\nabc\0", "SEND\na:1\n\nabc\0", "SEND\na:1\n\n\0",
        ]).prop_map(|text| text.as_bytes().to_vec()),
        1 => prop::collection::vec(any::<u8>(), 0..40),
    ];
    prop::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
}

fn decoder(version: Version) -> Decoder {
    let mut decoder = Decoder::new(Limits::default(), DecodeOptions::default());
    decoder.set_version(version);
    decoder
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn any_split_decodes_alike(choice in any::<u8>(), stream in stream()) {
        stomp_decode(&[&[choice], &stream[..]].concat());
    }

    #[test]
    fn single_octets_decode_as_one_piece(stream in stream()) {
        for version in [Version::V10, Version::V11, Version::V12] {
            let whole = decode_pieces(decoder(version), &stream, usize::MAX);
            let single = decode_pieces(decoder(version), &stream, 1);
            prop_assert_eq!(&whole, &single);
        }
    }

    #[test]
    fn garbage_never_panics(data in prop::collection::vec(any::<u8>(), 0..200)) {
        stomp_decode(&data);
        stomp_text(&data);
    }

    #[test]
    fn near_texts_never_panic(text in r"(ID:h-)?[0-9a-f\\:\-,\n\r ]{0,12}(:[0-9]{1,20})?") {
        stomp_text(text.as_bytes());
    }
}

#[test]
fn frames_in_one_piece_come_one_after_the_other() {
    // C041, C062
    let stream =
        b"CONNECT\n\n\0\nSUBSCRIBE\ndestination:q\n\n\0SEND\ndestination:q\n\nhello\0\n\n\n";
    let decoded = decode_pieces(decoder(Version::V10), stream, usize::MAX);
    assert_eq!(
        (decoded.frames.len(), decoded.error, decoded.unfinished),
        (3, None, 0)
    );
}

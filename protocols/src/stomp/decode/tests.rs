//! Cases of stomp-cases.md part C that end in the decoder.

use super::*;

fn decoder(version: Version) -> Decoder {
    let mut decoder = Decoder::new(Limits::default(), DecodeOptions::default());
    decoder.set_version(version);
    decoder
}

/// The body of the first frame, or the `message` of the error.
fn body(version: Version, input: &[u8]) -> Result<Vec<u8>, String> {
    match decoder(version).decode(input) {
        Ok(Some(frame)) => Ok(frame.body.to_vec()),
        Ok(None) => Err("incomplete".to_owned()),
        Err(error) => Err(error.message()),
    }
}

fn check_body(version: Version, input: &str, expected: Result<&str, &str>) {
    let expected = expected.map(|body| body.as_bytes().to_vec());
    assert_eq!(
        body(version, input.as_bytes()),
        expected.map_err(str::to_owned),
        "{input:?}"
    );
}

#[test]
fn bodies_end_by_length_or_nul() {
    let v12 = Version::V12;
    check_body(v12, "SEND\ncontent-length:5\n\na\0b\0c\0", Ok("a\0b\0c")); // C064
    check_body(
        Version::V10,
        "SEND\ncontent-length:5 \n\nhello\0",
        Ok("hello"),
    ); // C065
    check_body(v12, "SEND\ncontent-length:0\n\n\0", Ok("")); // C066
    check_body(v12, "SEND\n\nhe\0llo", Ok("he"));
    check_body(v12, "SEND\r\nx:1\r\n\r\na\rb\0", Ok("a\rb")); // C106
    check_body(v12, "DISCONNECT\n\nabc\0", Ok("abc")); // C109
    check_body(v12, "\n\r\n\0SEND\n\nx\0", Ok("x")); // FRM-1
    check_body(v12, "SEND\n\nx", Err("incomplete"));
    check_body(v12, "SEND\ncontent-length:2\n\nab", Err("incomplete"));
}

#[test]
fn malformed_frames_are_refused_with_the_texts_of_the_rules() {
    let v12 = Version::V12;
    let check = |input: &str, part: &str| {
        let message = body(v12, input.as_bytes()).unwrap_err();
        assert!(message.contains(part), "{input:?}: {message}");
    };
    check("SEND\ncontent-length:3\n\nabcd\0", "content-length"); // C067
    check("SEND\ncontent-length:-1\n\n\0", "may not be negative"); // C068
    check("SEND\ncontent-length:abc\n\n\0", "not a valid integer"); // C069
    check("SEND\ncontent-length:\n\n\0", "not a valid integer");
    check(
        "SEND\ncontent-length:99999999999\n\n",
        "maximum data length",
    ); // C070
    check("send\n", "Unknown STOMP action: send"); // C092
    check("SED\n", "Unknown"); // C093
    check("SENDX\n", "Unknown"); // C094
    check("DISCONNECT\n\0", "NUL");
    check("SEND\nx:\\t\n\n\0", "undefined escape"); // FRM-8
}

#[test]
fn undefined_escapes_pass_in_older_versions_unless_strict() {
    let input = b"SEND\nx:\\t\n\n\0";
    assert!(decoder(Version::V11).decode(input).is_ok());
    assert!(decoder(Version::V10).decode(input).is_ok());
    let options = DecodeOptions {
        strict_escapes: true,
        ..DecodeOptions::default()
    };
    let mut strict = Decoder::new(Limits::default(), options);
    assert!(
        strict.decode(input).is_ok(),
        "1.0 has no escapes to be strict about"
    );
    let mut strict = Decoder::new(Limits::default(), options);
    strict.set_version(Version::V11);
    let error = strict.decode(input).unwrap_err();
    assert_eq!(error, ProtocolError::UndefinedEscape { offset: 7 });
}

#[test]
fn headers_must_be_utf8_and_bodies_need_not() {
    let bad = b"SEND\nx:\xc3\x28\n\n\0"; // C107
    let error = decoder(Version::V12).decode(bad).unwrap_err();
    assert_eq!(error, ProtocolError::InvalidUtf8 { offset: 7 });
    assert_eq!(
        body(Version::V12, b"SEND\n\n\xc3\x28\0").unwrap(),
        b"\xc3\x28"
    ); // C108
}

fn check_header(version: Version, line: &str, name: &str, expected: &str) {
    let input = format!("SEND\n{line}\n\n\0");
    let mut decoder = decoder(version);
    let frame = decoder.decode(input.as_bytes()).unwrap().unwrap();
    let value = frame.headers.get_name(name).map(|value| value.into_owned());
    assert_eq!(value.as_deref(), Some(expected), "{line:?} {version}");
}

#[test]
fn headers_are_read_by_their_version() {
    use Version::{V10, V11, V12};
    check_header(
        V12,
        "value:newest\nvalue:older\nvalue:oldest",
        "value",
        "newest",
    ); // C077
    check_header(V10, "test3: value ", "test3", "value"); // C078
    check_header(V11, "test3: value ", "test3", " value "); // C079
    check_header(V12, "test3: value ", "test3", " value "); // C080
    check_header(V12, r"a:\c\n\\\r", "a", ":\n\\\r"); // C081
    check_header(
        V11,
        r"correlation-id:c1\:\n\23",
        "correlation-id",
        "c1\\:\n\\23",
    ); // C083
    check_header(V11, "type:t34:5", "type", "t34:5"); // C085
    check_header(
        V12,
        "activemq.prefetchSize=1",
        "activemq.prefetchSize=1",
        "",
    ); // C089
    check_header(V12, "foo:", "foo", ""); // C090
    check_header(V12, r"a\cb:1", "a:b", "1"); // C091
    check_header(V10, r"h:C:\new", "h", r"C:\new"); // FRM-7
    check_header(V11, "a:b\r", "a", "b"); // FRM-2
}

#[test]
fn compat_reads_escapes_in_10() {
    let options = DecodeOptions {
        compat_escape_10: true,
        ..DecodeOptions::default()
    };
    let mut decoder = Decoder::new(Limits::default(), options);
    let frame = decoder.decode(b"SEND\nh:\\c\n\n\0").unwrap().unwrap();
    assert_eq!(frame.headers.get_name("h").unwrap(), ":");
}

#[test]
fn the_caller_learns_what_is_idle_and_what_is_to_come() {
    let mut decoder = decoder(Version::V12);
    assert!(decoder.decode(b"\n\r\n").unwrap().is_none());
    assert_eq!((decoder.take_idle(), decoder.is_mid_frame()), (3, false));
    let input = b"\nSEND\ncontent-length:9\n\nx";
    assert!(decoder.decode(input).unwrap().is_none());
    assert_eq!(decoder.frame_bytes_hint(), Some(input.len() + 9));
    assert_eq!((decoder.take_idle(), decoder.is_mid_frame()), (1, true));
    assert_eq!(decoder.frame_bytes_hint(), Some(input.len() + 8));
}

#[test]
fn a_nul_in_the_line_over_the_limit_is_what_is_named() {
    // One piece named the limit, single octets the NUL: the split changed the error.
    let limits = Limits {
        headers_max: 1,
        ..Limits::default()
    };
    let input = b"SEND\na:b\nc:\0\n";
    let mut whole = Decoder::new(limits, DecodeOptions::default());
    let error = whole.decode(input).unwrap_err();
    assert_eq!(error, ProtocolError::NulInHead { offset: 11 });
}

#[test]
fn a_failed_frame_shows_the_head_it_had() {
    let mut decoder = decoder(Version::V12);
    let input = b"\nSEND\nreceipt:a\\c7\ncontent-length:x\n\n";
    assert!(decoder.decode(input).is_err());
    let (command, headers) = decoder.failed_head(input).unwrap();
    assert_eq!(command, Command::Send);
    assert_eq!(headers.get(Known::Receipt).unwrap(), "a:7");
}

#[test]
fn a_frame_after_many_headers_keeps_no_large_table() {
    let mut decoder = decoder(Version::V12);
    let many = format!("SEND\n{}\n\0", "a:b\n".repeat(1_000));
    assert_eq!(
        decoder
            .decode(many.as_bytes())
            .unwrap()
            .unwrap()
            .headers
            .len(),
        1_000
    );
    assert!(decoder.decode(b"SEND\n\n\0").unwrap().is_some());
    assert!(decoder.table.spans.capacity() <= 64);
}

/// What a frame says.
struct Said {
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    repeats: bool,
}

/// All frames of a stream.
fn frames(decoder: &mut Decoder, mut input: &[u8]) -> Vec<Said> {
    let mut found = Vec::new();
    while let Some(frame) = decoder.decode(input).unwrap() {
        let headers = frame
            .headers
            .iter()
            .map(|(name, value)| (name.into_owned(), value.into_owned()))
            .collect();
        found.push(Said {
            headers,
            body: frame.body.to_vec(),
            repeats: frame.repeats,
        });
        input = &input[frame.consumed..];
    }
    found
}

#[test]
fn a_repeated_head_reads_as_if_it_were_the_first() {
    let lines = [
        "a:1\ncontent-length:%\nb:2\nc:3\n",
        "content-length: % \r\nb\\c:2\r\nb\\c:3\r\n",
        "a:1\nb:2\ncontent-length:%\ncontent-length:7\n",
        "a:1\nb:2\n",
    ];
    for line in lines {
        let frame = |length: usize| {
            let head = format!("SEND\n{}\n", line.replace('%', &length.to_string()));
            format!("{head}{}\0\n", "x".repeat(length))
        };
        let lengths = [5, 5, 123, 0, 99, 100, 1];
        let stream: String = lengths.iter().map(|&length| frame(length)).collect();
        let together = frames(&mut decoder(Version::V12), stream.as_bytes());
        for (index, &length) in lengths.iter().enumerate() {
            let alone = frames(&mut decoder(Version::V12), frame(length).as_bytes());
            assert_eq!(
                together[index].headers, alone[0].headers,
                "{line:?} {length}"
            );
            assert_eq!(together[index].body, alone[0].body, "{line:?} {length}");
            assert_eq!(together[index].repeats, index > 0, "{line:?} {length}");
        }
    }
}

#[test]
fn what_changes_how_a_head_reads_ends_the_repeating() {
    let mut decoder = decoder(Version::V10);
    let repeats = |decoder: &mut Decoder, input: &str| frames(decoder, input.as_bytes())[0].repeats;
    assert!(!repeats(&mut decoder, "SEND\na: 1\n\n\0"));
    assert!(repeats(&mut decoder, "SEND\na: 1\n\n\0"));
    decoder.set_version(Version::V12);
    let found = frames(&mut decoder, b"SEND\na: 1\n\n\0");
    assert_eq!(
        (found[0].headers[0].1.as_str(), found[0].repeats),
        (" 1", false)
    );
    decoder.set_before_login(true);
    assert!(!repeats(&mut decoder, "SEND\na: 1\n\n\0"));
    assert!(!repeats(&mut decoder, "ACK\nid:1\n\n\0"));
    assert!(!repeats(&mut decoder, "SEND\na: 1\n\n\0"));
    assert!(repeats(&mut decoder, "SEND\na: 1\n\n\0"));
}

#[test]
fn a_repeated_head_keeps_to_the_limits() {
    let limits = Limits {
        body_bytes_max: 10,
        ..Limits::default()
    };
    let mut decoder = Decoder::new(limits, DecodeOptions::default());
    assert!(
        decoder
            .decode(b"SEND\ncontent-length:1\n\nx\0")
            .unwrap()
            .is_some()
    );
    let error = decoder.decode(b"SEND\ncontent-length:11\n\n").unwrap_err();
    assert!(error.message().contains("maximum data length"), "{error}");
    let failed = decoder.failed_head(b"SEND\ncontent-length:11\n\n");
    assert_eq!(failed.map(|(command, _)| command), Some(Command::Send));
}

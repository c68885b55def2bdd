//! CONNECTED, RECEIPT and ERROR. Spec: STOMP 1.2, Server Frames; rules CON-9, CON-10,
//! REC-1, ERR-1.

use super::super::escape::plain_into;
use super::super::frame::{Command, Headers};
use super::super::heartbeat::HeartBeat;
use super::super::known::Known;
use super::super::version::Version;
use super::{FRAME_END, push_line};
use crate::decimal::push_u64;

/// What CONNECTED tells.
#[derive(Clone, Copy, Debug)]
pub struct Connected<'a> {
    /// The agreed version.
    pub version: Version,
    /// The client id.
    pub session: &'a str,
    /// Name and version of the server, `name/version`.
    pub server: &'a str,
    /// Our numbers.
    pub heart_beat: HeartBeat,
    /// Answers `request-id` or `receipt` of the CONNECT.
    pub request_id: Option<&'a str>,
}

/// Appends CONNECTED; its values are never escaped (CON-10).
pub fn encode_connected(connected: &Connected<'_>, out: &mut Vec<u8>) {
    let mut line = |name: &str, value: &str| {
        out.extend_from_slice(name.as_bytes());
        out.push(b':');
        plain_into(value, out);
        out.push(b'\n');
    };
    let HeartBeat { send_ms, want_ms } = connected.heart_beat;
    line("CONNECTED\nversion", connected.version.as_str());
    line("session", connected.session);
    line("server", connected.server);
    line("heart-beat", &format!("{send_ms},{want_ms}"));
    if let Some(id) = connected.request_id {
        line("response-id", id);
        line("receipt-id", id);
    }
    out.push(b'\n');
    out.extend_from_slice(FRAME_END);
}

/// Appends RECEIPT for a frame with `receipt` (REC-1). `extra`: further headers, such as
/// `duplicate:true` (SND-6).
pub fn encode_receipt(
    version: Version,
    receipt_id: &str,
    extra: &[(&str, &str)],
    out: &mut Vec<u8>,
) {
    out.extend_from_slice(b"RECEIPT\nreceipt-id:");
    super::super::escape::escape_into(receipt_id, version, out);
    out.push(b'\n');
    for (name, value) in extra {
        push_line(name, value, version, out);
    }
    out.extend_from_slice(b"\n\0\n");
}

/// What ERROR tells.
#[derive(Clone, Copy, Debug, Default)]
pub struct ErrorFrame<'a> {
    /// The short text of `message`.
    pub message: &'a str,
    /// The `receipt` of the frame that failed (REC-2).
    pub receipt_id: Option<&'a str>,
    /// Further headers, such as `version` (CON-5).
    pub headers: &'a [(&'a str, &'a str)],
    /// Explanation; [`error_body`] makes one.
    pub body: &'a str,
}

/// Appends ERROR (ERR-1).
pub fn encode_error(version: Version, error: &ErrorFrame<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(b"ERROR\n");
    push_line("message", error.message, version, out);
    out.extend_from_slice(b"content-type:text/plain\n");
    if let Some(id) = error.receipt_id {
        push_line("receipt-id", id, version, out);
    }
    for (name, value) in error.headers {
        push_line(name, value, version, out);
    }
    out.extend_from_slice(b"content-length:");
    push_u64(error.body.len() as u64, out);
    out.extend_from_slice(b"\n\n");
    out.extend_from_slice(error.body.as_bytes());
    out.extend_from_slice(FRAME_END);
}

/// Longest text [`error_body`] makes, in octets.
const ERROR_BODY_BYTES_MAX: usize = 4_096;
/// Longest header line it repeats, in octets.
const ERROR_LINE_BYTES_MAX: usize = 256;

/// The body of an ERROR: an explanation, then the offending command and its headers as they
/// came, without the passcode, bounded (ERR-1). Control characters show as `?`.
pub fn error_body(explanation: &str, failed: Option<(Command, Headers<'_>)>) -> String {
    let mut body = String::new();
    push_shown(explanation, ERROR_BODY_BYTES_MAX / 2, &mut body);
    body.push('\n');
    let Some((command, headers)) = failed else {
        return body;
    };
    body.push_str("\nThe frame was:\n-----\n");
    body.push_str(command.name());
    body.push('\n');
    for line in headers.raw_lines() {
        let name = line.split(':').next().unwrap_or_default();
        if is_secret(name) {
            continue;
        }
        // Room for this line, the ellipsis and the closing rule.
        if body.len() + ERROR_LINE_BYTES_MAX + 16 > ERROR_BODY_BYTES_MAX {
            body.push_str("...\n");
            break;
        }
        push_shown(line, ERROR_LINE_BYTES_MAX, &mut body);
        body.push('\n');
    }
    body.push_str("-----\n");
    body
}

/// A passcode in any spelling people try.
fn is_secret(name: &str) -> bool {
    let name = name.trim().to_ascii_lowercase();
    name == Known::Passcode.name() || name.contains("passw") || name.contains("passcode")
}

fn push_shown(text: &str, bytes_max: usize, out: &mut String) {
    let from = out.len();
    for character in text.chars() {
        if out.len() - from + 4 > bytes_max {
            out.push_str("...");
            return;
        }
        let shown = character == '\n' || !character.is_control();
        out.push(if shown { character } else { '?' });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(encode: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        encode(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn connected_is_never_escaped() {
        // C019, CON-9
        let connected = Connected {
            version: Version::V12,
            session: "ID:a\\b\nc",
            server: "ferrymq/0.1.0",
            heart_beat: HeartBeat {
                send_ms: 1000,
                want_ms: 0,
            },
            request_id: Some("77"),
        };
        assert_eq!(
            text(|out| encode_connected(&connected, out)),
            "CONNECTED\nversion:1.2\nsession:ID:a\\b c\nserver:ferrymq/0.1.0\n\
             heart-beat:1000,0\nresponse-id:77\nreceipt-id:77\n\n\0\n"
        );
    }

    #[test]
    fn receipts_repeat_the_id_in_the_readers_escaping() {
        let check = |version, extra: &[(&str, &str)], expected: &str| {
            assert_eq!(
                text(|out| encode_receipt(version, "a:1", extra, out)),
                expected
            );
        };
        check(Version::V10, &[], "RECEIPT\nreceipt-id:a:1\n\n\0\n");
        check(
            Version::V12,
            &[("duplicate", "true")],
            "RECEIPT\nreceipt-id:a\\c1\nduplicate:true\n\n\0\n",
        );
    }

    #[test]
    fn errors_name_message_type_receipt_and_length() {
        let error = ErrorFrame {
            message: "no\nway",
            receipt_id: Some("7"),
            headers: &[("version", "1.0,1.1,1.2")],
            body: "why",
        };
        assert_eq!(
            text(|out| encode_error(Version::V10, &error, out)),
            "ERROR\nmessage:no way\ncontent-type:text/plain\nreceipt-id:7\n\
             version:1.0,1.1,1.2\ncontent-length:3\n\nwhy\0\n"
        );
    }

    #[test]
    fn the_error_body_is_bounded_and_holds_no_passcode() {
        use crate::stomp::{DecodeOptions, Decoder};
        let mut input = b"CONNECT\nlogin:u\npasscode:secret1\nPassWord:secret2\n".to_vec();
        for index in 0..900 {
            input.extend_from_slice(format!("h{index}:{}\n", "\u{e4}\u{1}".repeat(300)).as_bytes());
        }
        input.extend_from_slice(b"\n\0");
        let mut decoder = Decoder::new(crate::Limits::default(), DecodeOptions::default());
        let frame = decoder.decode(&input).unwrap().unwrap();
        let long = "x\0".repeat(10_000);
        let body = error_body(&long, Some((frame.command, frame.headers)));
        assert!(body.len() <= ERROR_BODY_BYTES_MAX, "{}", body.len());
        assert!(body.contains("CONNECT\nlogin:u\nh0:"));
        assert!(!body.contains("secret") && !body.contains('\0'));
        assert_eq!(error_body("why", None), "why\n");
    }
}

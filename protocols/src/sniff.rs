//! What speaks on a connection, told from its first octets (FRM-15).

use crate::stomp::{Command, idle_prefix};

/// The protocol a connection opens with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opening {
    /// Too few octets to tell.
    Undecided,
    /// A STOMP command.
    Stomp,
    /// A TLS ClientHello.
    Tls,
    /// An HTTP request line (WebSocket handshakes are such).
    Http,
    /// An OpenWire WIREFORMAT.
    OpenWire,
    /// None of these.
    Unknown,
}

impl Opening {
    /// Names it for a log line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Undecided => "undecided",
            Self::Stomp => "STOMP",
            Self::Tls => "TLS",
            Self::Http => "HTTP",
            Self::OpenWire => "OpenWire",
            Self::Unknown => "unknown",
        }
    }
}

const METHODS: [&[u8]; 9] = [
    b"GET ",
    b"POST ",
    b"PUT ",
    b"HEAD ",
    b"DELETE ",
    b"OPTIONS ",
    b"PATCH ",
    b"CONNECT ",
    b"TRACE ",
];

/// The octets of a WIREFORMAT after its four octets of length: data type, magic.
/// Spec: OpenWire, WireFormatInfo.
const WIREFORMAT: &[u8] = b"\x01ActiveMQ";

/// Tells the protocol from the first octets of a connection. No answer but `Undecided`
/// changes with further octets.
pub fn sniff(input: &[u8]) -> Opening {
    match input {
        [] => return Opening::Undecided,
        [0x16] => return Opening::Undecided,
        [0x16, 3, ..] => return Opening::Tls,
        _ => {}
    }
    // OpenWire's length begins with NUL, which is idle for STOMP: ask first.
    let length_is_sane = input.iter().take(2).all(|&octet| octet == 0);
    if length_is_sane {
        if let Some(magic) = input.get(4..) {
            let compared = magic.len().min(WIREFORMAT.len());
            if !magic.is_empty() && magic[..compared] == WIREFORMAT[..compared] {
                let whole = compared == WIREFORMAT.len();
                return if whole {
                    Opening::OpenWire
                } else {
                    Opening::Undecided
                };
            }
        }
        if input.len() <= 4 {
            return Opening::Undecided;
        }
    }
    // Line ends alone, as telnet users send them, begin every text.
    let text = &input[idle_prefix(input)..];
    let begins = |whole: &[u8]| whole.starts_with(text);
    let has_method = |method: &&[u8]| text.starts_with(method);
    let commands = || Command::ALL.iter().map(|command| command.name().as_bytes());
    if METHODS.iter().any(has_method) {
        // `CONNECT` and a blank is HTTP, `CONNECT` and a line end STOMP.
        return Opening::Http;
    }
    if METHODS.iter().any(|method| begins(method)) {
        return Opening::Undecided;
    }
    let abbreviated = [&b"SUB"[..], b"UNSUB"];
    if commands()
        .chain(abbreviated)
        .any(|command| text.starts_with(command))
    {
        return Opening::Stomp;
    }
    if commands().any(begins) {
        Opening::Undecided
    } else {
        Opening::Unknown
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_octets_tell_the_protocol() {
        let check = |input: &[u8], expected| assert_eq!(sniff(input), expected, "{input:?}");
        check(b"", Opening::Undecided);
        check(b"\n\n", Opening::Undecided);
        check(b"\r\nSTOMP\n", Opening::Stomp);
        check(b"CONNECT\r\n", Opening::Stomp);
        check(b"CONN", Opening::Undecided);
        check(b"CONNECT", Opening::Undecided);
        check(b"CONNECT host:1 HTTP/1.1", Opening::Http);
        check(b"GET / HTTP/1.1\r\n", Opening::Http);
        check(b"\x16\x03\x01\x02\x00", Opening::Tls); // C045
        check(b"\x16", Opening::Undecided);
        check(b"\0\0\x01\x06\x01ActiveMQ\0\0\0\x0c", Opening::OpenWire);
        check(b"\0\0\x01\x06\x01Acti", Opening::Undecided);
        check(b"\0\0\x01", Opening::Undecided);
        check(b"hello", Opening::Unknown);
    }
}

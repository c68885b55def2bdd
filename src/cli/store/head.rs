//! The head of a stored message as pairs of header names and values.

use ferrymq::stomp::WIRE_STOMP;
use ferrymq_protocols::stomp::{Escapes, Version, escape_into, unescape};

/// Reads a head; `None` if writing the pairs again would not give the same octets.
pub(super) fn read(wire: u8, head: &[u8]) -> Option<Vec<(String, String)>> {
    if wire != WIRE_STOMP {
        return None;
    }
    let text = std::str::from_utf8(head).ok()?;
    let plain = |raw: &str| unescape(raw, Escapes::V12).into_owned();
    let pairs: Option<Vec<(String, String)>> = text
        .split_terminator('\n')
        .map(|line| {
            let (name, value) = line.split_once(':')?;
            Some((plain(name), plain(value)))
        })
        .collect();
    pairs.filter(|pairs| write(pairs) == head)
}

/// Writes a head.
pub(super) fn write(pairs: &[(String, String)]) -> Vec<u8> {
    let mut head = Vec::new();
    for (name, value) in pairs {
        escape_into(name, Version::V12, &mut head);
        head.push(b':');
        escape_into(value, Version::V12, &mut head);
        head.push(b'\n');
    }
    head
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_comes_back_or_is_left_as_it_is() {
        let head = b"color:blue\\c green\npath:c\\\\d\n";
        let pairs = read(WIRE_STOMP, head).expect("it is canonical");
        assert_eq!(pairs[0], ("color".to_owned(), "blue: green".to_owned()));
        assert_eq!(pairs[1].1, "c\\d");
        assert_eq!(write(&pairs), head);
        for other in [&b"\x05\0\0\0fate"[..], b"no colon\n", b"a:b", b"a:\xff\n"] {
            assert_eq!(read(WIRE_STOMP, other), None, "{other:?}");
        }
        assert_eq!(read(WIRE_STOMP + 1, head), None);
        assert_eq!(read(WIRE_STOMP, b""), Some(Vec::new()));
    }
}

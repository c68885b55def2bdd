//! Header escaping, per version and direction.
//!
//! From the wire (FRM-7, FRM-8): 1.0 has no escapes, 1.1 `\n` `\c` `\\`, 1.2 also
//! `\r`. To the wire (FRM-9): 1.0 replaces CR and LF by a blank because a raw LF
//! would break the frame; 1.1 leaves CR raw; 1.2 escapes all four. NUL has no
//! escape in any version and readers cut frames at it, so it becomes a blank.
//!
//! Spec: STOMP 1.2, Value Encoding; STOMP 1.1, Value Encoding.

use std::borrow::Cow;

use memchr::memchr;

use super::version::Version;

/// Which escapes a text is read with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Escapes {
    /// None: a backslash is a backslash (1.0, and CONNECT and CONNECTED of all versions).
    None,
    /// `\n`, `\c`, `\\`.
    V11,
    /// `\n`, `\c`, `\\`, `\r`.
    V12,
}

impl Escapes {
    /// The escapes frames of `version` are read with. `compat_10` reads those of 1.1 in 1.0
    /// too, as ActiveMQ does (FRM-7).
    pub fn of(version: Version, compat_10: bool) -> Self {
        match version {
            Version::V10 if compat_10 => Self::V11,
            Version::V10 => Self::None,
            Version::V11 => Self::V11,
            Version::V12 => Self::V12,
        }
    }

    fn decode(self, escaped: u8) -> Option<char> {
        match (escaped, self) {
            (_, Self::None) => None,
            (b'n', _) => Some('\n'),
            (b'c', _) => Some(':'),
            (b'\\', _) => Some('\\'),
            (b'r', Self::V12) => Some('\r'),
            _ => None,
        }
    }
}

/// Reads a name or value from the wire; an undefined escape passes through as it stands.
pub fn unescape(raw: &str, escapes: Escapes) -> Cow<'_, str> {
    if escapes == Escapes::None {
        return Cow::Borrowed(raw);
    }
    let Some(mut at) = memchr(b'\\', raw.as_bytes()) else {
        return Cow::Borrowed(raw);
    };
    let mut text = String::with_capacity(raw.len());
    let mut rest = raw;
    loop {
        text.push_str(&rest[..at]);
        let escaped = rest.as_bytes().get(at + 1).copied();
        match escaped.and_then(|octet| escapes.decode(octet)) {
            Some(character) => {
                text.push(character);
                rest = &rest[at + 2..];
            }
            None => {
                text.push('\\');
                rest = &rest[at + 1..];
            }
        }
        let Some(next) = memchr(b'\\', rest.as_bytes()) else {
            text.push_str(rest);
            return Cow::Owned(text);
        };
        at = next;
    }
}

/// The offset of the first backslash in `raw` that begins no escape of this version (FRM-8).
pub fn undefined_escape(raw: &[u8], escapes: Escapes) -> Option<usize> {
    if escapes == Escapes::None {
        return None;
    }
    let mut from = 0;
    while let Some(found) = memchr(b'\\', &raw[from..]) {
        let at = from + found;
        let escaped = raw.get(at + 1).copied();
        if escaped.and_then(|octet| escapes.decode(octet)).is_none() {
            return Some(at);
        }
        from = at + 2;
    }
    None
}

/// Appends a name or value as readers of `version` expect it.
pub fn escape_into(text: &str, version: Version, out: &mut Vec<u8>) {
    let octets = text.as_bytes();
    let mut copied = 0;
    for (at, &octet) in octets.iter().enumerate() {
        let Some(replacement) = replacement(octet, version) else {
            continue;
        };
        out.extend_from_slice(&octets[copied..at]);
        out.extend_from_slice(replacement);
        copied = at + 1;
    }
    out.extend_from_slice(&octets[copied..]);
}

/// Appends a name or value of CONNECT or CONNECTED: never escaped (CON-10), CR, LF and NUL
/// become blanks so that no value can end the line.
pub fn plain_into(text: &str, out: &mut Vec<u8>) {
    escape_into(text, Version::V10, out);
}

#[inline]
fn replacement(octet: u8, version: Version) -> Option<&'static [u8]> {
    // Everything above `\` and most of what lies below needs nothing: one test first.
    if octet > b'\\' || !matches!(octet, b'\\' | b':' | b'\n' | b'\r' | 0) {
        return None;
    }
    match (octet, version) {
        (0, _) | (b'\n' | b'\r', Version::V10) => Some(b" "),
        (_, Version::V10) | (b'\r', Version::V11) => None,
        (b'\\', _) => Some(b"\\\\"),
        (b':', _) => Some(b"\\c"),
        (b'\n', _) => Some(b"\\n"),
        _ => Some(b"\\r"),
    }
}

/// Appends header lines kept in canonical form (STOMP 1.2 escapes) as readers of `version`
/// expect them. Rule FRM-9.
pub(crate) fn reescape_lines(canonical: &[u8], version: Version, out: &mut Vec<u8>) {
    if version == Version::V12 {
        out.extend_from_slice(canonical);
        return;
    }
    let mut rest = canonical;
    while let Some(at) = memchr(b'\\', rest) {
        out.extend_from_slice(&rest[..at]);
        let escaped = rest.get(at + 1).copied().unwrap_or(b'\\');
        match (escaped, version) {
            (b'n' | b'r', Version::V10) => out.push(b' '),
            (b'c', Version::V10) => out.push(b':'),
            (b'\\', Version::V10) => out.push(b'\\'),
            (b'r', _) => out.push(b'\r'),
            (other, _) => out.extend_from_slice(&[b'\\', other]),
        }
        rest = rest.get(at + 2..).unwrap_or_default();
    }
    out.extend_from_slice(rest);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_read(raw: &str, escapes: Escapes, expected: &str) {
        assert_eq!(unescape(raw, escapes), expected, "{raw:?} {escapes:?}");
    }

    #[test]
    fn each_version_reads_its_own_escapes() {
        check_read(r"C:\new", Escapes::None, r"C:\new"); // FRM-7
        check_read(r"\c\n\\\r", Escapes::V11, ":\n\\\\r");
        check_read(r"\c\n\\\r", Escapes::V12, ":\n\\\r"); // C081
        check_read(r"c1\:\n\23", Escapes::V11, "c1\\:\n\\23"); // C083
        check_read(r"end\", Escapes::V12, r"end\");
        check_read(r"\\n", Escapes::V12, r"\n");
        check_read("\\\u{e4}\\c", Escapes::V12, "\\\u{e4}:");
    }

    #[test]
    fn undefined_escapes_are_found() {
        assert_eq!(undefined_escape(br"a\tb", Escapes::V12), Some(1));
        assert_eq!(undefined_escape(br"\\\r", Escapes::V11), Some(2));
        assert_eq!(undefined_escape(br"\\\r", Escapes::V12), None);
        assert_eq!(undefined_escape(br"\", Escapes::V12), Some(0));
        assert_eq!(undefined_escape(br"\t", Escapes::None), None);
    }

    #[test]
    fn each_version_writes_its_own_escapes() {
        let check = |version, expected: &str| {
            let mut out = Vec::new();
            escape_into("a:b\\c\nd\re\0f", version, &mut out);
            assert_eq!(out, expected.as_bytes(), "{version}");
        };
        check(Version::V10, "a:b\\c d e f"); // C087
        check(Version::V11, "a\\cb\\\\c\\nd\re f");
        check(Version::V12, "a\\cb\\\\c\\nd\\re f"); // C088
    }

    #[test]
    fn canonical_lines_are_rewritten_for_older_readers() {
        let check = |version, expected: &str| {
            let mut out = Vec::new();
            reescape_lines(b"a\\cb:1\\n2\\\\n\\r3\n", version, &mut out);
            assert_eq!(out, expected.as_bytes(), "{version}");
        };
        check(Version::V10, "a:b:1 2\\n 3\n");
        check(Version::V11, "a\\cb:1\\n2\\\\n\r3\n");
        check(Version::V12, "a\\cb:1\\n2\\\\n\\r3\n");
    }
}

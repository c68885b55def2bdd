//! Modified UTF-8, the form in which Java writes strings (openwire.md section 4).
//!
//! It works on UTF-16 units: NUL is `C0 80`, and a character above U+FFFF is its two surrogates of three octets each;
//! there is no form of four octets. An unpaired surrogate is legal on the wire although it is no character, so strings
//! are kept as they came and become `str` only when somebody asks.

use std::borrow::Cow;
use std::fmt;

/// A string in modified UTF-8: checked, borrowed from the octets it was read from or owned.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct JavaStr<'a>(Cow<'a, [u8]>);

impl<'a> JavaStr<'a> {
    /// Checks `octets`.
    ///
    /// # Errors
    /// The offset of the first octet that is no modified UTF-8.
    pub fn read(octets: &'a [u8]) -> Result<Self, usize> {
        Ok(Self(match check(octets)? {
            Form::Canonical => Cow::Borrowed(octets),
            Form::RawNul => Cow::Owned(without_raw_nul(octets)),
        }))
    }

    /// What [`Text`](super::Text) has checked already.
    pub(super) fn checked(octets: &'a [u8]) -> Self {
        Self(Cow::Borrowed(octets))
    }

    /// The octets of the wire, without a length.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The characters; an unpaired surrogate becomes U+FFFD. Copies only where the forms differ: NUL and characters
    /// above U+FFFF.
    pub fn to_str(&self) -> Cow<'_, str> {
        decode(&self.0)
    }

    /// How many UTF-16 units it has: its length in Java.
    pub fn utf16_len(&self) -> usize {
        utf16_len(&self.0)
    }
}

impl<'a> From<&'a str> for JavaStr<'a> {
    fn from(text: &'a str) -> Self {
        Self(encode(text))
    }
}

impl fmt::Debug for JavaStr<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.to_str(), f)
    }
}

impl fmt::Display for JavaStr<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_str())
    }
}

/// Whether octets are what an encoder of Java writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// Yes.
    Canonical,
    /// They hold NUL as one octet, which Java reads but does not write.
    RawNul,
}

/// Checks modified UTF-8: no form of four octets, nothing longer than needed but `C0 80`. Any surrogate passes.
///
/// # Errors
/// The offset of the first octet that does not fit.
pub(super) fn check(octets: &[u8]) -> Result<Form, usize> {
    let mut form = Form::Canonical;
    if memchr::memchr(0, octets).is_some() {
        form = Form::RawNul;
    }
    if octets.is_ascii() {
        return Ok(form);
    }
    let mut at = 0;
    while let Some(&lead) = octets.get(at) {
        let follows = |ahead: usize| {
            octets
                .get(at + ahead)
                .is_some_and(|next| next & 0xc0 == 0x80)
        };
        let length = match lead {
            0..=0x7f => 1,
            0xc0 if octets.get(at + 1) == Some(&0x80) => 2,
            0xc2..=0xdf if follows(1) => 2,
            0xe0 if octets.get(at + 1).is_some_and(|next| *next >= 0xa0)
                && follows(1)
                && follows(2) =>
            {
                3
            }
            0xe1..=0xef if follows(1) && follows(2) => 3,
            _ => return Err(at),
        };
        at += length;
    }
    Ok(form)
}

/// The same string with `C0 80` for each NUL.
pub(super) fn without_raw_nul(octets: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(octets.len() + 8);
    for &octet in octets {
        match octet {
            0 => out.extend_from_slice(&[0xc0, 0x80]),
            _ => out.push(octet),
        }
    }
    out
}

/// Modified UTF-8 of a string whose units are all in `00`…`FF`, one octet each.
pub(super) fn from_latin1(octets: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(octets.len() + 8);
    for &octet in octets {
        push_unit(&mut out, u16::from(octet));
    }
    out
}

/// Checked modified UTF-8 as characters.
pub(super) fn decode(octets: &[u8]) -> Cow<'_, str> {
    // UTF-8 refuses just what differs: `C0 80` and surrogates.
    match std::str::from_utf8(octets) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => Cow::Owned(
            char::decode_utf16(Units(octets))
                .map(|unit| unit.unwrap_or('\u{fffd}'))
                .collect(),
        ),
    }
}

/// Modified UTF-8 of `text`.
pub(super) fn encode(text: &str) -> Cow<'_, [u8]> {
    // Both begin where UTF-8 differs: NUL, and the lead octet of four.
    let differs = |octet: u8| octet == 0 || octet >= 0xf0;
    if !text.bytes().any(differs) {
        return Cow::Borrowed(text.as_bytes());
    }
    let mut out = Vec::with_capacity(text.len() + text.len() / 2);
    for unit in text.encode_utf16() {
        push_unit(&mut out, unit);
    }
    Cow::Owned(out)
}

/// UTF-16 units of checked modified UTF-8: one for each octet that begins something.
pub(super) fn utf16_len(octets: &[u8]) -> usize {
    octets.iter().filter(|octet| **octet & 0xc0 != 0x80).count()
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "each octet is masked to its bits"
)]
fn push_unit(out: &mut Vec<u8>, unit: u16) {
    match unit {
        1..=0x7f => out.push(unit as u8),
        0 | 0x80..=0x7ff => {
            out.extend_from_slice(&[0xc0 | (unit >> 6) as u8, 0x80 | (unit & 0x3f) as u8])
        }
        _ => out.extend_from_slice(&[
            0xe0 | (unit >> 12) as u8,
            0x80 | (unit >> 6 & 0x3f) as u8,
            0x80 | (unit & 0x3f) as u8,
        ]),
    }
}

/// The UTF-16 units of checked octets.
struct Units<'a>(&'a [u8]);

impl Iterator for Units<'_> {
    type Item = u16;

    fn next(&mut self) -> Option<u16> {
        let (unit, length) = match *self.0 {
            [] => return None,
            [lead @ 0xe0..=0xff, second, third, ..] => {
                let high = u16::from(lead & 0x0f) << 12;
                (
                    high | u16::from(second & 0x3f) << 6 | u16::from(third & 0x3f),
                    3,
                )
            }
            [lead @ 0xc0..=0xdf, second, ..] => {
                (u16::from(lead & 0x1f) << 6 | u16::from(second & 0x3f), 2)
            }
            [single, ..] => (u16::from(single), 1),
        };
        self.0 = &self.0[length..];
        Some(unit)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_forms_of_the_specification() {
        let check = |text: &str, octets: &[u8]| {
            assert_eq!(&*encode(text), octets);
            assert_eq!(decode(octets), text);
            assert_eq!(utf16_len(octets), text.encode_utf16().count());
        };
        check("", b"");
        check("a\u{7f}", b"a\x7f");
        check("\0", b"\xc0\x80");
        check("\u{80}\u{7ff}", b"\xc2\x80\xdf\xbf");
        check("\u{800}\u{ffff}", b"\xe0\xa0\x80\xef\xbf\xbf");
        check("\u{1f600}", b"\xed\xa0\xbd\xed\xb8\x80");
    }

    #[test]
    fn what_is_no_modified_utf8_is_refused_with_its_place() {
        assert_eq!(check(b"ab\xff"), Err(2));
        assert_eq!(check(b"\xc1\x81"), Err(0), "longer than needed");
        assert_eq!(check(b"a\xe0\x80\x80"), Err(1), "longer than needed");
        assert_eq!(check(b"\xf0\x9f\x98\x80"), Err(0), "no form of four");
        assert_eq!(check(b"a\xc3"), Err(1), "cut");
        assert_eq!(check(b"a\xe4\xb8"), Err(1), "cut");
    }

    #[test]
    fn an_unpaired_surrogate_and_a_raw_nul_are_read() {
        assert_eq!(decode(b"\xed\xa0\xbdx"), "\u{fffd}x");
        assert_eq!(check(b"\xed\xa0\xbdx"), Ok(Form::Canonical));
        assert_eq!(JavaStr::read(b"a\0b"), Ok(JavaStr::from("a\0b")));
    }

    proptest! {
        #[test]
        fn any_string_comes_back(text in any::<String>()) {
            let octets = encode(&text);
            prop_assert_eq!(check(&octets), Ok(Form::Canonical));
            prop_assert_eq!(decode(&octets), &text[..]);
        }

        #[test]
        fn what_passes_decodes(octets in prop::collection::vec(any::<u8>(), 0..12)) {
            if let Ok(read) = JavaStr::read(&octets) {
                prop_assert_eq!(check(read.as_bytes()), Ok(Form::Canonical));
                prop_assert_eq!(read.to_str().encode_utf16().count(), read.utf16_len());
            }
        }
    }
}

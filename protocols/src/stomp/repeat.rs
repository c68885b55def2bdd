//! [`LastHead`]: recognises a SEND whose head says the same as that of the one before.
//!
//! A producer mostly says the same over and over and changes only the body, and with it the
//! number in `content-length`. Two comparisons then replace the scan of the head, and the
//! reader of the frames may keep what it made of the first one.

use std::ops::Range;

use crate::decimal::parse_u64;

/// Longer heads are not remembered, so that an idle connection holds little.
const HEAD_BYTES_MAX: usize = 1024;
/// Longer numbers are left to the general way with its limits.
const DIGITS_MAX: usize = 10;

/// The head of a SEND, cut at the number of its `content-length`.
#[derive(Debug, Default)]
pub(crate) struct LastHead {
    octets: Vec<u8>,
    /// Where the digits stand; empty and at the end without `content-length`.
    digits: Range<usize>,
    /// Where the number of the latest repeat ended.
    number_end: usize,
}

/// How a head repeats the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Repeat {
    /// Length of the head.
    pub(crate) head_len: usize,
    /// Its `content-length`, and where the number ends; `None` if there is none.
    pub(crate) length: Option<(usize, usize)>,
}

impl LastHead {
    /// Remembers a checked head; `digits` is where the number of its `content-length` stands.
    pub(crate) fn remember(&mut self, head: &[u8], digits: Option<Range<usize>>) {
        self.forget();
        if head.len() <= HEAD_BYTES_MAX {
            self.octets.extend_from_slice(head);
            self.digits = digits.unwrap_or(head.len()..head.len());
            self.number_end = self.digits.end;
        }
    }

    /// Recognises nothing until the next head is remembered.
    pub(crate) fn forget(&mut self) {
        self.octets.clear();
    }

    /// Whether the head at the front of `octets` is complete and says the same, but for the number.
    #[inline]
    pub(crate) fn find(&self, octets: &[u8]) -> Option<Repeat> {
        let (before, rest) = self
            .octets
            .split_at(self.digits.start.min(self.octets.len()));
        if before.is_empty() || !octets.starts_with(before) {
            return None;
        }
        if rest.is_empty() {
            return Some(Repeat {
                head_len: before.len(),
                length: None,
            });
        }
        let after = &rest[self.digits.len()..];
        let tail = &octets[before.len()..];
        let count = tail
            .iter()
            .take(DIGITS_MAX + 1)
            .take_while(|octet| octet.is_ascii_digit())
            .count();
        if count > DIGITS_MAX || !tail[count..].starts_with(after) {
            return None;
        }
        let length = usize::try_from(parse_u64(&tail[..count])?).ok()?;
        let end = before.len() + count;
        Some(Repeat {
            head_len: end + after.len(),
            length: Some((length, end)),
        })
    }

    /// The number ends at `end` now; tells where that of the head before ended.
    pub(crate) fn move_number(&mut self, end: usize) -> usize {
        std::mem::replace(&mut self.number_end, end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn last(head: &str, digits: Option<&str>) -> LastHead {
        let mut last = LastHead::default();
        let digits = digits.map(|digits| {
            let start = head.find(digits).unwrap();
            start..start + digits.len()
        });
        last.remember(head.as_bytes(), digits);
        last
    }

    #[test]
    fn the_number_may_differ_and_nothing_else() {
        let last = last("SEND\na:1\ncontent-length:99\nb:2\n\n", Some("99"));
        let found = |head: &str| last.find(head.as_bytes()).map(|repeat| repeat.length);
        assert_eq!(
            found("SEND\na:1\ncontent-length:100\nb:2\n\nbody"),
            Some(Some((100, 27)))
        );
        assert_eq!(
            found("SEND\na:1\ncontent-length:7\nb:2\n\n"),
            Some(Some((7, 25)))
        );
        for other in [
            "SEND\na:1\ncontent-length:99\nb:2\n",
            "SEND\na:1\ncontent-length:99\nb:3\n\n",
            "SEND\na:2\ncontent-length:99\nb:2\n\n",
            "SEND\na:1\ncontent-length:\nb:2\n\n",
            "SEND\na:1\ncontent-length:99 \nb:2\n\n",
            "SEND\na:1\ncontent-length:-9\nb:2\n\n",
            "SEND\na:1\ncontent-length:00000000099\nb:2\n\n",
            "SEND\na:1\ncontent-length:9",
            "SEND",
            "",
        ] {
            assert_eq!(found(other), None, "{other:?}");
        }
    }

    #[test]
    fn without_a_number_all_must_be_the_same() {
        let last = last("SEND\na:1\n\n", None);
        assert_eq!(
            last.find(b"SEND\na:1\n\nbody"),
            Some(Repeat {
                head_len: 10,
                length: None
            })
        );
        assert_eq!(last.find(b"SEND\na:1\nb:1\n\n"), None);
        assert_eq!(LastHead::default().find(b"SEND\na:1\n\n"), None);
    }

    #[test]
    fn long_heads_are_not_remembered() {
        let head = format!("SEND\na:{}\n\n", "x".repeat(HEAD_BYTES_MAX));
        assert_eq!(last(&head, None).find(head.as_bytes()), None);
    }
}

//! Grammar of one head: a command line, header lines, a blank line.
//!
//! Commands and header lines are nom grammars over one line the decoder has cut out. It
//! drives them line by line instead of through one combinator over the whole head, because
//! it remembers finished lines across reads and refuses at a limit before a line ends.
//!
//! A line that is there in one piece takes a shorter way to the same split: [`name_len`] and
//! [`line_len`] find its colon and its end in one pass, by words. That both ways agree is
//! what the split tests show.
//!
//! Spec: STOMP 1.2, Augmented BNF; rules FRM-2 … FRM-4.

use memchr::memchr;
use nom::branch::alt;
use nom::bytes::complete::tag;
use nom::combinator::{all_consuming, value};
use nom::{IResult, Parser};

use super::frame::Command;

/// A header line without its line end, split at its first colon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct HeaderLine<'a> {
    /// Before the colon.
    pub(crate) name: &'a [u8],
    /// After the colon; `None` without one (FRM-4).
    pub(crate) value: Option<&'a [u8]>,
}

/// A command line; blanks around the command are dropped (FRM-6), abbreviations of old
/// clients are known (FRM-3), everything else must match to the octet.
#[inline]
pub(crate) fn command_line(line: &[u8]) -> Option<Command> {
    let parsed: IResult<&[u8], Command> = all_consuming(command).parse(trim_blanks(line));
    parsed.ok().map(|(_, command)| command)
}

fn command(input: &[u8]) -> IResult<&[u8], Command> {
    // A tag is a prefix, so a longer command stands before the one it begins with.
    alt((
        alt((
            value(Command::Send, tag("SEND")),
            value(Command::Ack, tag("ACK")),
            value(Command::Nack, tag("NACK")),
            value(Command::Subscribe, tag("SUBSCRIBE")),
            value(Command::Subscribe, tag("SUB")),
            value(Command::Unsubscribe, tag("UNSUBSCRIBE")),
            value(Command::Unsubscribe, tag("UNSUB")),
            value(Command::Begin, tag("BEGIN")),
            value(Command::Commit, tag("COMMIT")),
            value(Command::Abort, tag("ABORT")),
        )),
        alt((
            value(Command::Disconnect, tag("DISCONNECT")),
            value(Command::Connected, tag("CONNECTED")),
            value(Command::Connect, tag("CONNECT")),
            value(Command::Stomp, tag("STOMP")),
            value(Command::Message, tag("MESSAGE")),
            value(Command::Receipt, tag("RECEIPT")),
            value(Command::Error, tag("ERROR")),
        )),
    ))
    .parse(input)
}

/// A header line: the name up to the first colon, the rest is the value (FRM-4).
#[inline]
pub(crate) fn header_line(line: &[u8]) -> IResult<&[u8], HeaderLine<'_>> {
    let (rest, name) = until_colon(line)?;
    Ok((
        &[],
        HeaderLine {
            name,
            value: rest.get(1..),
        },
    ))
}

/// Everything before the first colon, or all of it.
#[inline]
fn until_colon(line: &[u8]) -> IResult<&[u8], &[u8]> {
    let at = memchr(b':', line).unwrap_or(line.len());
    Ok((&line[at..], &line[..at]))
}

/// The length of the name in a finished line.
pub(crate) fn split_name(line: &[u8]) -> usize {
    header_line(line).map_or(line.len(), |(_, header)| header.name.len())
}

/// The length of the name at the front of lines that need not be finished: up to the first
/// colon or line feed, else all of it.
///
/// Names are short, so eight octets per step beat a call into memchr: 2 ns for
/// `content-length` against 5 ns.
#[inline]
pub(crate) fn name_len(input: &[u8]) -> usize {
    let (words, tail) = input.as_chunks::<8>();
    for (index, word) in words.iter().enumerate() {
        let word = u64::from_le_bytes(*word);
        let hits = zero_octets(word ^ COLONS) | zero_octets(word ^ LINE_FEEDS);
        if hits != 0 {
            // The lowest hit is exact; borrows spoil only those above it.
            return index * 8 + (hits.trailing_zeros() / 8) as usize;
        }
    }
    let ends = |octet: &u8| matches!(octet, b':' | b'\n');
    let in_tail = tail.iter().position(ends).unwrap_or(tail.len());
    input.len() - tail.len() + in_tail
}

/// The length of the line at the front of `input`, without its LF; `None` without LF.
///
/// Most lines end within a few words; only what goes on is worth a call into memchr.
#[inline]
pub(crate) fn line_len(input: &[u8]) -> Option<usize> {
    let (words, _) = input.as_chunks::<8>();
    for (index, word) in words.iter().take(SHORT_LINE_WORDS).enumerate() {
        let hits = zero_octets(u64::from_le_bytes(*word) ^ LINE_FEEDS);
        if hits != 0 {
            return Some(index * 8 + (hits.trailing_zeros() / 8) as usize);
        }
    }
    let searched = words.len().min(SHORT_LINE_WORDS) * 8;
    memchr(b'\n', &input[searched..]).map(|at| searched + at)
}

const SHORT_LINE_WORDS: usize = 4;

/// Which octets a head holds that need care.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Survey {
    pub(crate) has_backslash: bool,
    pub(crate) has_cr: bool,
    pub(crate) has_nul: bool,
    pub(crate) has_non_ascii: bool,
}

/// Looks a complete head over, eight octets at a time.
#[inline]
pub(crate) fn survey(head: &[u8]) -> Survey {
    let mut special = 0;
    let mut all = 0;
    let mut look = |word: u64| {
        special |= zero_octets(word)
            | zero_octets(word ^ BACKSLASHES)
            | zero_octets(word ^ CARRIAGE_RETURNS);
        all |= word;
    };
    let (words, tail) = head.as_chunks::<8>();
    for word in words {
        look(u64::from_le_bytes(*word));
    }
    if !tail.is_empty() {
        // Octets looked at twice do no harm; a head shorter than a word is filled up.
        look(head.last_chunk::<8>().map_or_else(
            || {
                tail.iter()
                    .fold(ONES, |word, &octet| word << 8 | u64::from(octet))
            },
            |word| u64::from_le_bytes(*word),
        ));
    }
    let mut survey = Survey {
        has_non_ascii: all & HIGH_BITS != 0,
        ..Survey::default()
    };
    if special != 0 {
        survey.has_backslash = memchr(b'\\', head).is_some();
        survey.has_cr = memchr(b'\r', head).is_some();
        survey.has_nul = memchr(0, head).is_some();
    }
    survey
}

const ONES: u64 = u64::from_le_bytes([1; 8]);
const HIGH_BITS: u64 = u64::from_le_bytes([0x80; 8]);
const COLONS: u64 = u64::from_le_bytes([b':'; 8]);
const BACKSLASHES: u64 = u64::from_le_bytes([b'\\'; 8]);
const CARRIAGE_RETURNS: u64 = u64::from_le_bytes([b'\r'; 8]);
const LINE_FEEDS: u64 = u64::from_le_bytes([b'\n'; 8]);

/// The high bit of the lowest octet that is zero, and perhaps of some above it.
#[inline]
fn zero_octets(word: u64) -> u64 {
    word.wrapping_sub(ONES) & !word & HIGH_BITS
}

/// `line` without one CR at its end: it belongs to the line end in every version (FRM-2).
#[inline]
pub(crate) fn strip_cr(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r").unwrap_or(line)
}

fn trim_blanks(mut line: &[u8]) -> &[u8] {
    while let [b' ' | b'\t' | b'\r', rest @ ..] | [rest @ .., b' ' | b'\t' | b'\r'] = line {
        line = rest;
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_exact_but_for_blanks_and_two_abbreviations() {
        let check =
            |line: &str, expected| assert_eq!(command_line(line.as_bytes()), expected, "{line:?}");
        check("SEND", Some(Command::Send));
        check(" SEND\t", Some(Command::Send));
        check("SUB", Some(Command::Subscribe)); // C095
        check("UNSUB", Some(Command::Unsubscribe));
        check("CONNECTED", Some(Command::Connected));
        check("CONNECT", Some(Command::Connect));
        for unknown in [
            "", "send", "SED", "SENDX", "SUBSCRIB", "SEND ACK", "CONNECTE",
        ] {
            check(unknown, None); // C092 … C094
        }
    }

    #[test]
    fn every_command_reads_its_own_name() {
        for &command in Command::ALL {
            assert_eq!(command_line(command.name().as_bytes()), Some(command));
        }
    }

    #[test]
    fn a_name_ends_at_the_first_colon_or_line_feed() {
        for len in 0..40 {
            let name = "x;9\u{80}\u{ff}\u{b}z"[..].repeat(8).into_bytes();
            for end in [":", "\n", ":\n:", "\n:", ""] {
                let input = [&name[..len], end.as_bytes(), b"value: and more than eight"].concat();
                let naive = input
                    .iter()
                    .position(|&octet| octet == b':' || octet == b'\n');
                assert_eq!(
                    name_len(&input),
                    naive.unwrap_or(input.len()),
                    "{len} {end:?}"
                );
            }
        }
    }

    #[test]
    fn a_line_ends_at_its_first_line_feed() {
        for len in 0..80 {
            let line = "x:\r\u{80}\u{b}\t\u{ff}"[..].repeat(12).into_bytes();
            let whole = [&line[..len], b"\nnext line\n and its text"].concat();
            assert_eq!(line_len(&whole), Some(len));
            assert_eq!(line_len(&line[..len]), None);
        }
    }

    #[test]
    fn one_octet_anywhere_is_seen() {
        for len in 1..70 {
            assert_eq!(survey(&b"x:\n~ab"[..].repeat(12)[..len]), Survey::default());
            for at in 0..len {
                let seen = |octet| {
                    let mut head = vec![b'x'; len];
                    head[at] = octet;
                    survey(&head)
                };
                assert_eq!(
                    seen(b'\\'),
                    Survey {
                        has_backslash: true,
                        ..Survey::default()
                    }
                );
                assert_eq!(
                    seen(b'\r'),
                    Survey {
                        has_cr: true,
                        ..Survey::default()
                    }
                );
                assert_eq!(
                    seen(0),
                    Survey {
                        has_nul: true,
                        ..Survey::default()
                    }
                );
                assert_eq!(
                    seen(0xc3),
                    Survey {
                        has_non_ascii: true,
                        ..Survey::default()
                    }
                );
            }
        }
    }

    #[test]
    fn a_header_is_split_at_its_first_colon() {
        let check = |line: &str, name: &str, value: Option<&str>| {
            let expected = HeaderLine {
                name: name.as_bytes(),
                value: value.map(str::as_bytes),
            };
            assert_eq!(
                header_line(line.as_bytes()),
                Ok((&b""[..], expected)),
                "{line:?}"
            );
        };
        check("a:b", "a", Some("b"));
        check("type:t34:5", "type", Some("t34:5")); // C085
        check("foo:", "foo", Some("")); // C090
        check("activemq.prefetchSize=1", "activemq.prefetchSize=1", None); // C089
        check(":x", "", Some("x"));
    }
}

//! The user's header lines in canonical form: STOMP 1.2 escapes, LF ends, the first
//! occurrence of each name, none that the server owns.
//!
//! Nearly all lines are canonical as they come and are copied in runs; a line that is not
//! (a CR at its end, a raw colon in its value, an escape of another version, blanks that
//! 1.0 trims, a repeated name) is rewritten or dropped on its own.

use memchr::memchr;

use super::escape::{Escapes, escape_into};
use super::frame::{Headers, Span};
use super::known::SERVER_OWNED;
use super::version::Version;

/// What encoding has to know about canonical lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HeadFlags {
    /// Some line holds a backslash: older readers need it rewritten.
    pub escaped: bool,
}

impl HeadFlags {
    /// The flags of several runs of lines together.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            escaped: self.escaped || other.escaped,
        }
    }
}

/// Appends one line in canonical form, for headers the broker adds itself.
pub fn push_header(name: &str, value: &str, out: &mut Vec<u8>) -> HeadFlags {
    let from = out.len();
    escape_into(name, Version::V12, out);
    out.push(b':');
    escape_into(value, Version::V12, out);
    out.push(b'\n');
    HeadFlags {
        escaped: memchr(b'\\', &out[from..]).is_some(),
    }
}

/// Above this many lines repeated names are found by sorting instead of pair by pair.
const PAIRWISE_MAX: usize = 16;

/// See [`crate::stomp::Send::write_user_head`].
pub(crate) fn write(headers: &Headers<'_>, out: &mut Vec<u8>) -> HeadFlags {
    if headers.table.is_within(SERVER_OWNED) {
        return HeadFlags::default();
    }
    let from = out.len();
    let spans = &headers.table.spans;
    let repeated = Repeated::find(headers);
    let mut run: Option<(usize, usize)> = None;
    for (index, span) in spans.iter().enumerate() {
        let dropped = is_dropped(headers, span, index) || repeated.contains(index);
        if !dropped && is_canonical(headers, span) {
            // Lines end with exactly one LF here, so neighbours join.
            run = match run {
                Some((start, end)) if end == span.start => Some((start, span.end + 1)),
                _ => {
                    flush(headers, run, out);
                    Some((span.start, span.end + 1))
                }
            };
            continue;
        }
        flush(headers, run.take(), out);
        if !dropped {
            rewrite(headers, span, out);
        }
    }
    flush(headers, run, out);
    HeadFlags {
        escaped: memchr(b'\\', &out[from..]).is_some(),
    }
}

/// See [`crate::stomp::Send::user_head_len_hint`].
pub(crate) fn len_hint(headers: &Headers<'_>) -> usize {
    let line = |span: &Span| span.end + 2 - span.start;
    let user = |span: &&Span| !span.known.is_some_and(|known| known.is_server_owned());
    headers.table.spans.iter().filter(user).map(line).sum()
}

#[inline]
fn is_dropped(headers: &Headers<'_>, span: &Span, index: usize) -> bool {
    match span.known {
        Some(known) => {
            known.is_server_owned()
                || headers
                    .table
                    .first_index(known)
                    .is_some_and(|first| first != index)
        }
        // A header without a name is no property anyone could ask for.
        None => span.name_end == span.start,
    }
}

/// Whether the line stands for itself in canonical form.
#[inline]
fn is_canonical(headers: &Headers<'_>, span: &Span) -> bool {
    let reading = &headers.reading;
    // With a CR anywhere line ends may be CR LF, and neighbours do not join.
    if reading.has_cr || span.name_end == span.end {
        return false;
    }
    let line = &headers.head[span.start..span.end];
    let value = &line[span.name_end + 1 - span.start..];
    match reading.escapes {
        // Escapes of 1.2 are canonical, unless left unchecked by a 1.0 or 1.1 connection.
        Escapes::V12 if !reading.trim => memchr(b':', value).is_none(),
        _ if reading.trim && value_is_padded(value) => false,
        _ if reading.has_backslash => {
            memchr(b'\\', line).is_none() && memchr(b':', value).is_none()
        }
        _ => memchr(b':', value).is_none(),
    }
}

fn value_is_padded(value: &[u8]) -> bool {
    let blank = |octet: Option<&u8>| matches!(octet, Some(b' ' | b'\t'));
    blank(value.first()) || blank(value.last())
}

fn flush(headers: &Headers<'_>, run: Option<(usize, usize)>, out: &mut Vec<u8>) {
    if let Some((start, end)) = run {
        out.extend_from_slice(&headers.head[start..end]);
    }
}

fn rewrite(headers: &Headers<'_>, span: &Span, out: &mut Vec<u8>) {
    escape_into(&headers.name(span), Version::V12, out);
    out.push(b':');
    escape_into(&headers.value(span), Version::V12, out);
    out.push(b'\n');
}

/// Lines whose name is not known and came before.
struct Repeated(Vec<usize>);

impl Repeated {
    fn find(headers: &Headers<'_>) -> Self {
        let spans = &headers.table.spans;
        let unknown = |(_, span): &(usize, &Span)| span.known.is_none();
        let count = spans.iter().filter(|span| span.known.is_none()).count();
        // No allocation unless a name is repeated or there are many.
        let mut repeated = Vec::new();
        if count < 2 {
            return Self(repeated);
        }
        let head = headers.head;
        let raw = |span: &Span| &head[span.start..span.name_end];
        if count <= PAIRWISE_MAX && !headers.reading.has_backslash {
            for (index, span) in spans.iter().enumerate().filter(unknown) {
                let name = raw(span);
                let before = spans[..index]
                    .iter()
                    .filter(|earlier| earlier.known.is_none());
                if before.map(raw).any(|earlier| earlier == name) {
                    repeated.push(index);
                }
            }
            return Self(repeated);
        }
        let mut named: Vec<_> = spans
            .iter()
            .enumerate()
            .filter(unknown)
            .map(|(index, span)| (headers.name(span), index))
            .collect();
        named.sort_unstable();
        let pairs = named.windows(2).filter(|pair| pair[0].0 == pair[1].0);
        repeated.extend(pairs.map(|pair| pair[1].1));
        repeated.sort_unstable();
        Self(repeated)
    }

    #[inline]
    fn contains(&self, index: usize) -> bool {
        !self.0.is_empty() && self.0.binary_search(&index).is_ok()
    }
}

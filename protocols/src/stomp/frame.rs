//! [`Frame`]: one complete frame as slices into the octets it came in, and [`Headers`]:
//! look-up in it, where the first occurrence of a name wins (FRM-5).

use std::borrow::Cow;
use std::fmt;

use super::escape::{Escapes, unescape};
use super::known::Known;
use super::version::Version;

/// A STOMP command; client and server frames alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "each is the command of its name")]
pub enum Command {
    Connect,
    Stomp,
    Send,
    Subscribe,
    Unsubscribe,
    Ack,
    Nack,
    Begin,
    Commit,
    Abort,
    Disconnect,
    Connected,
    Message,
    Receipt,
    Error,
}

impl Command {
    /// Every command.
    pub const ALL: &'static [Self] = &[
        Self::Connect,
        Self::Stomp,
        Self::Send,
        Self::Subscribe,
        Self::Unsubscribe,
        Self::Ack,
        Self::Nack,
        Self::Begin,
        Self::Commit,
        Self::Abort,
        Self::Disconnect,
        Self::Connected,
        Self::Message,
        Self::Receipt,
        Self::Error,
    ];

    /// The command as it stands on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::Connect => "CONNECT",
            Self::Stomp => "STOMP",
            Self::Send => "SEND",
            Self::Subscribe => "SUBSCRIBE",
            Self::Unsubscribe => "UNSUBSCRIBE",
            Self::Ack => "ACK",
            Self::Nack => "NACK",
            Self::Begin => "BEGIN",
            Self::Commit => "COMMIT",
            Self::Abort => "ABORT",
            Self::Disconnect => "DISCONNECT",
            Self::Connected => "CONNECTED",
            Self::Message => "MESSAGE",
            Self::Receipt => "RECEIPT",
            Self::Error => "ERROR",
        }
    }

    /// Whether only a server may send it (CON-3).
    pub fn is_server_only(self) -> bool {
        matches!(
            self,
            Self::Connected | Self::Message | Self::Receipt | Self::Error
        )
    }

    /// Whether its headers are never escaped, in any version (CON-10).
    pub fn is_plain(self) -> bool {
        matches!(self, Self::Connect | Self::Stomp | Self::Connected)
    }
}

/// One complete frame; borrows from the decoder and from its input.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    /// What it asks for.
    pub command: Command,
    /// Its headers.
    pub headers: Headers<'a>,
    /// Its body, without the NUL.
    pub body: &'a [u8],
    /// Where the body begins in the decoder's input.
    pub body_offset: usize,
    /// How many octets of the input the caller drops before it decodes again.
    pub consumed: usize,
    /// Whether the sender gave a `content-length`: bytes rather than text (section 4).
    pub has_content_length: bool,
    /// Whether this is a SEND whose head says the same as that of the frame before, but for the number in
    /// `content-length`.
    pub repeats: bool,
}

/// The headers of one frame.
#[derive(Clone, Copy)]
pub struct Headers<'a> {
    /// The head, checked to be UTF-8 as a whole; spans are relative to it.
    pub(crate) head: &'a [u8],
    pub(crate) table: &'a HeaderTable,
    pub(crate) reading: Reading,
}

/// How the raw lines of one head are to be read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reading {
    pub(crate) version: Version,
    pub(crate) escapes: Escapes,
    /// 1.0 trims blanks around values (FRM-6).
    pub(crate) trim: bool,
    pub(crate) has_backslash: bool,
    pub(crate) has_cr: bool,
}

/// Where one header line stands in the head.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    pub(crate) start: usize,
    /// End of the name: the colon, or `end` in a line without one.
    pub(crate) name_end: usize,
    /// End of the value, before CR and LF.
    pub(crate) end: usize,
    pub(crate) known: Option<Known>,
}

/// Spans of one head, reused from frame to frame, with the first line of each known name.
#[derive(Debug)]
pub(crate) struct HeaderTable {
    pub(crate) spans: Vec<Span>,
    seen: u128,
    first: [u16; Known::COUNT],
}

/// A connection that once sent many headers does not keep their table.
const SPANS_KEPT_MAX: usize = 64;

impl HeaderTable {
    pub(crate) fn new() -> Self {
        Self {
            spans: Vec::new(),
            seen: 0,
            first: [0; Known::COUNT],
        }
    }

    pub(crate) fn clear(&mut self) {
        self.spans.clear();
        self.spans.shrink_to(SPANS_KEPT_MAX);
        self.seen = 0;
    }

    #[inline]
    pub(crate) fn push(&mut self, span: Span) {
        if let Some(known) = span.known
            && self.seen & known.bit() == 0
        {
            // An index that does not fit is found by a search instead.
            self.first[known as usize] = u16::try_from(self.spans.len()).unwrap_or(u16::MAX);
            self.seen |= known.bit();
        }
        self.spans.push(span);
    }

    /// The number that ended at `from` ends at `to` now: moves what stands behind it.
    #[inline]
    pub(crate) fn shift(&mut self, from: usize, to: usize) {
        if from == to {
            return;
        }
        for span in &mut self.spans {
            for at in [&mut span.start, &mut span.name_end, &mut span.end] {
                if *at >= from {
                    *at = *at - from + to;
                }
            }
        }
    }

    #[inline]
    pub(crate) fn has(&self, known: Known) -> bool {
        self.seen & known.bit() != 0
    }

    /// Whether any of a set of known names is there.
    #[inline]
    pub(crate) fn has_any(&self, set: u128) -> bool {
        self.seen & set != 0
    }

    /// Whether every line is the only one of its name and its name is in `set`.
    #[inline]
    pub(crate) fn is_within(&self, set: u128) -> bool {
        (self.seen & set).count_ones() as usize == self.spans.len()
    }

    #[inline]
    pub(crate) fn first_index(&self, known: Known) -> Option<usize> {
        if !self.has(known) {
            return None;
        }
        match self.first[known as usize] {
            u16::MAX => self.spans.iter().position(|span| span.known == Some(known)),
            index => Some(usize::from(index)),
        }
    }

    #[inline]
    pub(crate) fn first(&self, known: Known) -> Option<&Span> {
        self.first_index(known)
            .and_then(|index| self.spans.get(index))
    }
}

impl<'a> Headers<'a> {
    /// The value of a known header; the first occurrence wins (FRM-5). Unescaped by the
    /// connection's version, owned only if it held an escape; trimmed in 1.0 (FRM-6).
    #[inline(always)]
    pub fn get(&self, known: Known) -> Option<Cow<'a, str>> {
        // Most known headers are absent from most frames: only the bit test is inlined.
        if self.table.has(known) {
            self.get_present(known)
        } else {
            None
        }
    }

    fn get_present(&self, known: Known) -> Option<Cow<'a, str>> {
        self.table.first(known).map(|span| self.value(span))
    }

    /// Whether a known header is there.
    #[inline]
    pub fn has(&self, known: Known) -> bool {
        self.table.has(known)
    }

    /// The value of any header by its unescaped name; the first occurrence wins.
    pub fn get_name(&self, name: &str) -> Option<Cow<'a, str>> {
        if let Some(known) = Known::from_name(name.as_bytes()) {
            return self.get(known);
        }
        self.iter()
            .find(|(found, _)| found == name)
            .map(|(_, value)| value)
    }

    /// Names and values in the order they came, repeated ones included.
    pub fn iter(&self) -> impl Iterator<Item = (Cow<'a, str>, Cow<'a, str>)> + use<'a> {
        let headers = *self;
        self.table
            .spans
            .iter()
            .map(move |span| (headers.name(span), headers.value(span)))
    }

    /// The lines as they stand on the wire, without line ends.
    pub fn raw_lines(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        let head = self.head;
        self.table
            .spans
            .iter()
            .map(move |span| text(&head[span.start..span.end]))
    }

    /// How many header lines there are, repeated ones included.
    pub fn len(&self) -> usize {
        self.table.spans.len()
    }

    /// Whether there is no header line.
    pub fn is_empty(&self) -> bool {
        self.table.spans.is_empty()
    }

    pub(crate) fn name(&self, span: &Span) -> Cow<'a, str> {
        let raw = text(&self.head[span.start..span.name_end]);
        if self.reading.has_backslash {
            unescape(raw, self.reading.escapes)
        } else {
            Cow::Borrowed(raw)
        }
    }

    #[inline]
    pub(crate) fn value(&self, span: &Span) -> Cow<'a, str> {
        let raw = self.raw_value(span);
        if self.reading.has_backslash {
            unescape(raw, self.reading.escapes)
        } else {
            Cow::Borrowed(raw)
        }
    }

    /// The value with its escapes, trimmed in 1.0.
    #[inline]
    pub(crate) fn raw_value(&self, span: &Span) -> &'a str {
        // A line without a colon has an empty value.
        let from = (span.name_end + 1).min(span.end);
        let raw = text(&self.head[from..span.end]);
        if self.reading.trim {
            trim_blanks(raw)
        } else {
            raw
        }
    }
}

impl fmt::Debug for Headers<'_> {
    /// Shows every line but the passcode.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut map = f.debug_map();
        for span in &self.table.spans {
            let secret = span.known == Some(Known::Passcode);
            let value = if secret {
                Cow::Borrowed("…")
            } else {
                self.value(span)
            };
            map.entry(&self.name(span), &value);
        }
        map.finish()
    }
}

/// Part of a head between ASCII octets. The decoder has checked the whole head, so this
/// cannot fail; short texts are checked again faster than a head is kept as text besides.
#[inline]
fn text(octets: &[u8]) -> &str {
    std::str::from_utf8(octets).unwrap_or_default()
}

/// `text` without blanks and tabs at its ends.
#[inline]
pub(crate) fn trim_blanks(text: &str) -> &str {
    let blank = |octet: Option<&u8>| matches!(octet, Some(b' ' | b'\t'));
    let octets = text.as_bytes();
    if blank(octets.first()) || blank(octets.last()) {
        text.trim_matches([' ', '\t'])
    } else {
        text
    }
}

/// As [`trim_blanks`], keeping what is borrowed borrowed.
#[inline]
pub(crate) fn trim_cow(text: Cow<'_, str>) -> Cow<'_, str> {
    match text {
        Cow::Borrowed(text) => Cow::Borrowed(trim_blanks(text)),
        Cow::Owned(text) => Cow::Owned(trim_blanks(&text).to_owned()),
    }
}

//! [`Decoder`]: octets in any pieces to frames.
//!
//! Invariants:
//! - all positions are relative to the first octet of the frame's command, so the caller
//!   may move its buffer between calls;
//! - `scanned` never goes back: each octet of a head is searched once for its line end, each
//!   octet of a body at most once for its NUL, whatever the pieces;
//! - a limit refuses as soon as the octets at hand go over it; which error a stream gives
//!   does not depend on how it was split;
//! - nothing is allocated but the span table, which is reused.

use memchr::memchr;

use super::escape::{Escapes, undefined_escape};
use super::frame::{Command, Frame, HeaderTable, Headers, Reading, Span};
use super::head::{command_line, line_len, name_len, split_name, strip_cr, survey};
use super::known::Known;
use super::repeat::LastHead;
use super::version::Version;
use crate::decimal::parse_u64;
use crate::error::{ContentLengthFault, LimitKind, ProtocolError};
use crate::limits::Limits;

/// Switches of the decoder (configuration `stomp.strict_escapes`, `stomp.compat_escape_10`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DecodeOptions {
    /// Refuse undefined escapes in 1.1 too, not only in 1.2 (FRM-8).
    pub strict_escapes: bool,
    /// Read the escapes of 1.1 in 1.0 too, as ActiveMQ does (FRM-7).
    pub compat_escape_10: bool,
}

/// Cuts frames out of a stream of octets. One per connection and direction.
#[derive(Debug)]
pub struct Decoder {
    limits: Limits,
    options: DecodeOptions,
    version: Version,
    before_login: bool,
    stage: Stage,
    /// Idle octets in front of the frame that the caller still holds.
    idle: usize,
    /// Where the unfinished line begins.
    line_start: usize,
    /// Up to where the octets were searched.
    scanned: usize,
    command: Command,
    table: HeaderTable,
    reading: Reading,
    content_length: Option<usize>,
    last: LastHead,
    /// Whether the table is that of `last`.
    table_is_last: bool,
    repeats: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Between frames; idle octets are skipped.
    Between,
    /// In the command line.
    Command,
    /// In the header lines.
    Headers,
    /// The head is complete and ends before `start`.
    Body { start: usize },
    /// The frame was handed out; its spans are in use until the next call.
    Done,
}

impl Decoder {
    /// A decoder at the start of a stream. It speaks 1.0 until told otherwise.
    pub fn new(limits: Limits, options: DecodeOptions) -> Self {
        Self {
            limits,
            options,
            version: Version::V10,
            before_login: false,
            stage: Stage::Between,
            idle: 0,
            line_start: 0,
            scanned: 0,
            command: Command::Error,
            table: HeaderTable::new(),
            reading: Reading {
                version: Version::V10,
                escapes: Escapes::None,
                trim: true,
                has_backslash: false,
                has_cr: false,
            },
            content_length: None,
            last: LastHead::default(),
            table_is_last: false,
            repeats: false,
        }
    }

    /// Sets the version all later frames are read with.
    pub fn set_version(&mut self, version: Version) {
        self.version = version;
        self.table_is_last = false;
    }

    /// The version frames are read with.
    pub fn version(&self) -> Version {
        self.version
    }

    /// Bounds frames by [`Limits::before_login_bytes_max`] while `before_login` is true.
    /// A new decoder starts with false, which is what a client wants.
    pub fn set_before_login(&mut self, before_login: bool) {
        if self.before_login != before_login {
            self.before_login = before_login;
            self.table_is_last = false;
        }
    }

    /// Replaces [`Limits::frame_bytes_max`].
    pub fn set_frame_bytes_max(&mut self, frame_bytes_max: usize) {
        self.limits.frame_bytes_max = frame_bytes_max;
        self.table_is_last = false;
    }

    /// Finds the next frame.
    ///
    /// `input` begins at the first octet not yet consumed. `Ok(None)`: more octets are needed;
    /// the caller may move those it holds and append to them, but drop none except as
    /// [`Self::take_idle`] tells. `Ok(Some(frame))`: the caller drops [`Frame::consumed`]
    /// octets and calls again.
    ///
    /// # Errors
    /// [`ProtocolError`], after which the connection closes (ERR-2) and the decoder is not
    /// called again; [`Self::failed_head`] shows what could be read of the frame.
    pub fn decode<'a>(&'a mut self, input: &'a [u8]) -> Result<Option<Frame<'a>>, ProtocolError> {
        if self.stage == Stage::Done {
            self.restart();
        }
        if self.stage == Stage::Between && !self.skip_idle(input) {
            return Ok(None);
        }
        let octets = input.get(self.idle..).unwrap_or_default();
        if self.stage == Stage::Command && self.scanned == 0 {
            self.begin_head(octets);
        }
        let body_start = match self.stage {
            Stage::Body { start } => start,
            _ => match self.scan_head(octets)? {
                Some(start) => start,
                None => return Ok(None),
            },
        };
        let Some(length) = self.scan_body(octets, body_start)? else {
            return Ok(None);
        };
        self.stage = Stage::Done;
        let body_end = body_start + length;
        Ok(Some(Frame {
            command: self.command,
            headers: Headers {
                head: &octets[..body_start],
                table: &self.table,
                reading: self.reading,
            },
            body: &octets[body_start..body_end],
            body_offset: self.idle + body_start,
            consumed: self.idle + body_end + 1,
            has_content_length: self.content_length.is_some(),
            repeats: self.repeats,
        }))
    }

    /// After `Ok(None)`: how many octets at the front of the input belong to no frame. The
    /// caller must drop exactly these. An idle connection thereby holds no buffer.
    pub fn take_idle(&mut self) -> usize {
        std::mem::take(&mut self.idle)
    }

    /// After `Ok(None)`: whether a frame has begun. If not, the connection is between frames
    /// and after [`Self::take_idle`] its input is empty.
    pub fn is_mid_frame(&self) -> bool {
        matches!(
            self.stage,
            Stage::Command | Stage::Headers | Stage::Body { .. }
        )
    }

    /// How long the input must be at least for the frame in progress, if its
    /// `content-length` said so. An upper bound for buffer growth, never a reason to
    /// allocate: the peer may not send it.
    pub fn frame_bytes_hint(&self) -> Option<usize> {
        match (self.stage, self.content_length) {
            (Stage::Body { start }, Some(length)) => Some(self.idle + start + length + 1),
            _ => None,
        }
    }

    /// After an error: the command and the complete header lines that came before it, for
    /// `receipt-id` and the body of the ERROR frame (ERR-1). `input` as in the failed call.
    pub fn failed_head<'a>(&'a self, input: &'a [u8]) -> Option<(Command, Headers<'a>)> {
        if matches!(self.stage, Stage::Between | Stage::Command | Stage::Done) {
            return None;
        }
        let head = input.get(self.idle..)?.get(..self.line_start)?;
        std::str::from_utf8(head).ok()?;
        let headers = Headers {
            head,
            table: &self.table,
            reading: self.read_as(),
        };
        Some((self.command, headers))
    }

    fn restart(&mut self) {
        self.stage = Stage::Between;
        self.idle = 0;
        self.line_start = 0;
        self.scanned = 0;
    }

    /// Takes a head that repeats the last one without looking at its lines; else all that was kept of the
    /// last frame goes. What would be over a limit is left to the general way.
    #[inline]
    fn begin_head(&mut self, octets: &[u8]) {
        if self.table_is_last
            && let Some(repeat) = self.last.find(octets)
            && repeat.head_len < self.frame_limit().1
            && repeat
                .length
                .is_none_or(|(length, _)| length <= self.limits.body_bytes_max)
        {
            if let Some((length, end)) = repeat.length {
                self.content_length = Some(length);
                self.table.shift(self.last.move_number(end), end);
            }
            self.repeats = true;
            self.stage = Stage::Body {
                start: repeat.head_len,
            };
            self.scanned = repeat.head_len;
            self.line_start = repeat.head_len;
            return;
        }
        self.repeats = false;
        self.table_is_last = false;
        self.content_length = None;
        self.table.clear();
    }

    /// Keeps a checked head of a SEND, to know it again.
    fn remember_head(&mut self, head: &[u8]) {
        let digits = self.table.first(Known::ContentLength).map(|span| {
            let value = &head[(span.name_end + 1).min(span.end)..span.end];
            let start = span.end - value.trim_ascii_start().len();
            start..start + value.trim_ascii().len()
        });
        self.last.remember(head, digits);
        self.table_is_last = true;
    }

    /// Skips line ends and stray NULs between frames (FRM-1); true if a frame has begun.
    #[inline]
    fn skip_idle(&mut self, input: &[u8]) -> bool {
        // Counted anew: right whether or not the caller dropped those of an earlier call.
        self.idle = idle_prefix(input);
        let begun = self.idle < input.len();
        if begun {
            self.stage = Stage::Command;
        }
        begun
    }

    /// Reads lines up to and including the blank one. Returns where the body begins.
    #[inline]
    fn scan_head(&mut self, octets: &[u8]) -> Result<Option<usize>, ProtocolError> {
        match self.scan_lines(octets) {
            Ok(Some(body_start)) => {
                self.finish_head(&octets[..body_start])?;
                Ok(Some(body_start))
            }
            Ok(None) => Ok(None),
            Err(error) => Err(nul_before(octets, &error).unwrap_or(error)),
        }
    }

    #[inline]
    fn scan_lines(&mut self, octets: &[u8]) -> Result<Option<usize>, ProtocolError> {
        let unseen = self.scanned;
        if self.stage == Stage::Command && unseen == 0 {
            self.scan_common_command(octets);
        }
        loop {
            let (from, start) = (self.scanned, self.line_start);
            let rest = octets.get(from..).unwrap_or_default();
            // On a line not looked at before, its name ends on the way to the line's end.
            let fresh = from == start;
            if fresh && rest.first() == Some(&b'\n') && self.stage == Stage::Headers {
                self.check_line(octets, from)?;
                return Ok(Some(from + 1));
            }
            let name_len = if fresh { name_len(rest) } else { 0 };
            let Some(value_len) = line_len(&rest[name_len..]) else {
                return self.pause_head(octets, unseen);
            };
            let end = from + name_len + value_len;
            self.check_line(octets, end)?;
            let line = strip_cr(&octets[start..end]);
            if self.stage == Stage::Command {
                self.command = command_line(line).ok_or_else(|| unknown_command(line))?;
                self.stage = Stage::Headers;
            } else if line.is_empty() {
                return Ok(Some(end + 1));
            } else {
                let name_len = if fresh {
                    name_len.min(line.len())
                } else {
                    split_name(line)
                };
                self.push_header(line, name_len)?;
            }
            self.line_start = end + 1;
            self.scanned = end + 1;
        }
    }

    /// Takes the commands of nearly all traffic by one comparison.
    #[inline]
    fn scan_common_command(&mut self, octets: &[u8]) {
        let (command, len) = if octets.starts_with(b"SEND\n") {
            (Command::Send, b"SEND\n".len())
        } else if octets.starts_with(b"ACK\n") {
            (Command::Ack, b"ACK\n".len())
        } else {
            return;
        };
        // A limit below a command's own length is left to the general way.
        if len <= self.limits.command_bytes_max && len <= self.frame_limit().1 {
            self.command = command;
            self.stage = Stage::Headers;
            self.line_start = len;
            self.scanned = len;
        }
    }

    /// The head is not complete: what is at hand must keep within the limits. `unseen` is
    /// where this call began to look.
    #[cold]
    fn pause_head(&mut self, octets: &[u8], unseen: usize) -> Result<Option<usize>, ProtocolError> {
        self.scanned = octets.len();
        self.check_line(octets, octets.len())?;
        // A frame may not end here, and waiting for its next line might be for ever.
        match memchr(0, &octets[unseen..]) {
            Some(at) => Err(ProtocolError::NulInHead {
                offset: unseen + at,
            }),
            None => Ok(None),
        }
    }

    #[inline]
    fn push_header(&mut self, line: &[u8], name_len: usize) -> Result<(), ProtocolError> {
        if self.table.spans.len() >= self.limits.headers_max {
            return Err(ProtocolError::Limit {
                kind: LimitKind::Headers,
                max: self.limits.headers_max,
                offset: self.line_start,
            });
        }
        self.table.push(Span {
            start: self.line_start,
            name_end: self.line_start + name_len,
            end: self.line_start + line.len(),
            known: Known::from_name(&line[..name_len]),
        });
        Ok(())
    }

    /// Checks the line that runs up to `end`, finished or not, against the limits.
    #[inline]
    fn check_line(&self, octets: &[u8], end: usize) -> Result<(), ProtocolError> {
        let max = if self.stage == Stage::Command {
            self.limits.command_bytes_max
        } else {
            self.limits.header_bytes_max
        };
        // One octet of slack for a CR, looked at only when it matters.
        if end - self.line_start <= max && end < self.frame_limit().1 {
            return Ok(());
        }
        self.refuse_line(octets, end, max)
    }

    /// Of two limits the one that octets arriving singly would have met first is named.
    #[cold]
    fn refuse_line(&self, octets: &[u8], end: usize, max: usize) -> Result<(), ProtocolError> {
        let (frame_kind, frame_max) = self.frame_limit();
        let length = strip_cr(&octets[self.line_start..end]).len();
        let line_edge = self.line_start.saturating_add(max);
        let cr = usize::from(octets.get(line_edge) == Some(&b'\r'));
        if length > max && line_edge.saturating_add(1 + cr) <= frame_max {
            let kind = if self.stage == Stage::Command {
                LimitKind::Command
            } else {
                LimitKind::Header
            };
            return Err(ProtocolError::Limit {
                kind,
                max,
                offset: line_edge,
            });
        }
        if end >= frame_max {
            return Err(ProtocolError::Limit {
                kind: frame_kind,
                max: frame_max,
                offset: frame_max,
            });
        }
        Ok(())
    }

    fn frame_limit(&self) -> (LimitKind, usize) {
        if self.before_login {
            (LimitKind::BeforeLogin, self.limits.before_login_bytes_max)
        } else {
            (LimitKind::Frame, self.limits.frame_bytes_max)
        }
    }

    /// Checks a complete head as a whole and notes how to read it.
    #[inline]
    fn finish_head(&mut self, head: &[u8]) -> Result<(), ProtocolError> {
        let seen = survey(head);
        if seen.has_nul {
            let offset = memchr(0, head).unwrap_or(head.len());
            return Err(ProtocolError::NulInHead { offset });
        }
        if seen.has_non_ascii {
            std::str::from_utf8(head).map_err(|error| ProtocolError::InvalidUtf8 {
                offset: error.valid_up_to(),
            })?;
        }
        self.reading = self.read_as();
        self.reading.has_backslash = seen.has_backslash;
        self.reading.has_cr = seen.has_cr;
        if seen.has_backslash {
            self.check_escapes(head)?;
        }
        self.content_length = match self.table.first(Known::ContentLength) {
            Some(&span) => Some(self.read_content_length(head, span)?),
            None => None,
        };
        self.stage = Stage::Body { start: head.len() };
        self.scanned = head.len();
        self.line_start = head.len();
        if self.command == Command::Send {
            self.remember_head(head);
        }
        Ok(())
    }

    /// How frames of this command are read: CONNECT and CONNECTED without escapes (CON-10),
    /// trimmed only if they belong to a 1.0 connection.
    #[inline]
    fn read_as(&self) -> Reading {
        let (escapes, trim) = match self.command {
            Command::Connect | Command::Stomp => {
                (Escapes::None, !self.table.has(Known::AcceptVersion))
            }
            Command::Connected => (Escapes::None, !self.table.has(Known::Version)),
            _ => (
                Escapes::of(self.version, self.options.compat_escape_10),
                self.version == Version::V10,
            ),
        };
        Reading {
            version: self.version,
            escapes,
            trim,
            has_backslash: true,
            has_cr: true,
        }
    }

    fn check_escapes(&self, head: &[u8]) -> Result<(), ProtocolError> {
        let strict = self.version == Version::V12 || self.options.strict_escapes;
        if !strict {
            return Ok(());
        }
        for span in &self.table.spans {
            // Name and value apart: a backslash before the colon escapes nothing.
            for (from, to) in [(span.start, span.name_end), (span.name_end, span.end)] {
                if let Some(at) = undefined_escape(&head[from..to], self.reading.escapes) {
                    return Err(ProtocolError::UndefinedEscape { offset: from + at });
                }
            }
        }
        Ok(())
    }

    /// Reads `content-length`; blanks around the number are tolerated (FRM-10).
    fn read_content_length(&self, head: &[u8], span: Span) -> Result<usize, ProtocolError> {
        let from = (span.name_end + 1).min(span.end);
        let value = head[from..span.end].trim_ascii();
        if let Some(length) = parse_u64(value) {
            let length = usize::try_from(length).unwrap_or(usize::MAX);
            return self.check_body(span.end, length).map(|()| length);
        }
        let digits = value.strip_prefix(b"-").unwrap_or(value);
        if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
            return Err(content_length_fault(
                ContentLengthFault::NotANumber,
                value,
                span,
            ));
        }
        if digits.len() < value.len() {
            return Err(content_length_fault(
                ContentLengthFault::Negative,
                value,
                span,
            ));
        }
        // Digits that overflow 64 bits: too large for any limit.
        Err(ProtocolError::Limit {
            kind: LimitKind::Body,
            max: self.limits.body_bytes_max,
            offset: span.end,
        })
    }

    /// Checks a body that is, or already has, `length` octets.
    #[inline]
    fn check_body(&self, offset: usize, length: usize) -> Result<(), ProtocolError> {
        if length > self.limits.body_bytes_max {
            let max = self.limits.body_bytes_max;
            return Err(ProtocolError::Limit {
                kind: LimitKind::Body,
                max,
                offset,
            });
        }
        Ok(())
    }

    /// Finds the end of the body. Returns its length.
    #[inline]
    fn scan_body(&mut self, octets: &[u8], start: usize) -> Result<Option<usize>, ProtocolError> {
        if let Some(length) = self.content_length {
            self.check_frame(start, length)?;
            let end = start + length;
            return match octets.get(end) {
                None => Ok(None),
                Some(0) => Ok(Some(length)),
                Some(_) => Err(ProtocolError::BodyEnd {
                    length,
                    offset: end,
                }),
            };
        }
        let rest = octets.get(self.scanned..).unwrap_or_default();
        let found = memchr(0, rest);
        let end = found.map_or(octets.len(), |at| self.scanned + at);
        self.scanned = end;
        let length = end - start;
        let body_max = self.limits.body_bytes_max;
        let body_edge = start.saturating_add(body_max);
        // As in `refuse_line`: the limit met first is the one named.
        if body_edge < self.frame_limit().1 {
            self.check_body(body_edge, length)?;
        }
        self.check_frame(start, length)?;
        self.check_body(body_edge, length)?;
        Ok(found.map(|_| length))
    }

    /// Checks the frame whose body begins at `start` and is, or already has, `length` octets.
    #[inline]
    fn check_frame(&self, start: usize, length: usize) -> Result<(), ProtocolError> {
        let (kind, max) = self.frame_limit();
        if start.saturating_add(length) >= max {
            return Err(ProtocolError::Limit {
                kind,
                max,
                offset: max,
            });
        }
        Ok(())
    }
}

/// How many octets at the front of `input` may stand between frames: LF, CR, stray NUL
/// (FRM-1). Heart-beats are such octets (CON-14).
#[inline]
pub fn idle_prefix(input: &[u8]) -> usize {
    let idle = |octet: &u8| matches!(octet, b'\n' | b'\r' | 0);
    input
        .iter()
        .position(|octet| !idle(octet))
        .unwrap_or(input.len())
}

/// How much of what a peer sent is repeated in an error.
const QUOTED_CHARS_MAX: usize = 64;

fn quoted(octets: &[u8]) -> String {
    let start = &octets[..octets.len().min(4 * QUOTED_CHARS_MAX)];
    String::from_utf8_lossy(start)
        .chars()
        .take(QUOTED_CHARS_MAX)
        .map(|character| {
            if character.is_control() {
                '?'
            } else {
                character
            }
        })
        .collect()
}

/// A NUL that came before `error`: octets arriving singly would have met it first.
#[cold]
fn nul_before(octets: &[u8], error: &ProtocolError) -> Option<ProtocolError> {
    let mut end = error.offset().min(octets.len());
    let at_line_end = match error {
        ProtocolError::UnknownCommand { .. } => true,
        ProtocolError::Limit { kind, .. } => *kind == LimitKind::Headers,
        _ => false,
    };
    if at_line_end {
        // Known only once the line is complete.
        end += memchr(b'\n', &octets[end..])?;
    }
    memchr(0, &octets[..end]).map(|offset| ProtocolError::NulInHead { offset })
}

#[cold]
fn unknown_command(line: &[u8]) -> ProtocolError {
    ProtocolError::UnknownCommand {
        command: quoted(line),
    }
}

#[cold]
fn content_length_fault(fault: ContentLengthFault, value: &[u8], span: Span) -> ProtocolError {
    ProtocolError::ContentLength {
        fault,
        value: quoted(value),
        offset: span.start,
    }
}

#[cfg(test)]
mod tests;

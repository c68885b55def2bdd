//! SEND. Spec: STOMP 1.2, SEND; behaviour.md section 4.

use std::borrow::Cow;

use memchr::memchr;

use super::super::fault::FrameFault;
use super::super::frame::{Command, Frame, Headers, trim_cow};
use super::super::known::{Known, set};
use super::super::user_head::{self, HeadFlags};
use super::{integer, natural};

/// A message on its way in.
#[derive(Clone, Debug)]
pub struct Send<'a> {
    /// `destination`, blanks trimmed (DST-1), never empty.
    pub destination: Cow<'a, str>,
    /// `receipt`.
    pub receipt: Option<Cow<'a, str>>,
    /// `transaction`.
    pub transaction: Option<Cow<'a, str>>,
    /// `persistent:true`, to the letter.
    pub persistent: bool,
    /// `priority`, clamped to 0–9; 4 without one.
    pub priority: u8,
    /// `expires`: absolute milliseconds since 1970, 0 never.
    pub expires_ms: u64,
    /// `expiration` (RabbitMQ): milliseconds from now; counts only without `expires`.
    pub expiration_ms: Option<u64>,
    /// By which the message is known if it comes again (SND-6): `message-dedup-id`, `_AMQ_DUPL_ID` or
    /// `x-deduplication-header`. An empty one counts as none.
    pub dedup_id: Option<Cow<'a, str>>,
    /// `timestamp`, if the client gave one.
    pub timestamp_ms: Option<u64>,
    /// Text rather than bytes: no `content-length`, or `amq-msg-type:text`.
    pub text: bool,
    /// Whether a `content-length` came; without one the body holds no NUL.
    pub has_content_length: bool,
    /// All headers as they came.
    pub headers: Headers<'a>,
    /// The body.
    pub body: &'a [u8],
}

const PRIORITY_DEFAULT: u8 = 4;

/// What a SEND may say beyond its destination; one test tells that it says none of it.
const OPTIONAL: u128 = set(&[
    Known::Receipt,
    Known::Transaction,
    Known::Persistent,
    Known::Priority,
    Known::Expires,
    Known::Expiration,
    Known::Timestamp,
    Known::AmqMsgType,
    Known::MessageDedupId,
    Known::AmqDuplId,
    Known::DeduplicationHeader,
]);

impl<'a> Send<'a> {
    #[inline]
    pub(super) fn parse(frame: &Frame<'a>) -> Result<Self, FrameFault> {
        let headers = frame.headers;
        let destination = match headers.get(Known::Destination).map(trim_cow) {
            Some(destination) if !destination.is_empty() => destination,
            _ => {
                let command = Command::Send;
                return Err(FrameFault::Missing {
                    command,
                    needed: "a destination",
                });
            }
        };
        let mut send = Self {
            destination,
            receipt: None,
            transaction: None,
            persistent: false,
            priority: PRIORITY_DEFAULT,
            expires_ms: 0,
            expiration_ms: None,
            dedup_id: None,
            timestamp_ms: None,
            text: !frame.has_content_length,
            has_content_length: frame.has_content_length,
            headers,
            body: frame.body,
        };
        if headers.table.has_any(OPTIONAL) {
            send.read_optional(frame)?;
        }
        Ok(send)
    }

    fn read_optional(&mut self, frame: &Frame<'a>) -> Result<(), FrameFault> {
        let headers = &frame.headers;
        self.receipt = headers.get(Known::Receipt);
        self.transaction = headers.get(Known::Transaction);
        self.persistent = super::flag(headers, Known::Persistent);
        self.priority = priority(headers)?;
        self.expires_ms = natural(headers, Known::Expires)?.unwrap_or(0);
        self.expiration_ms = natural(headers, Known::Expiration)?;
        self.timestamp_ms = natural(headers, Known::Timestamp)?;
        self.dedup_id = dedup_id(headers);
        self.text = is_text(frame)?;
        Ok(())
    }

    /// Whether the body holds a NUL, so that a reader needs its length (MSG-2). Free unless
    /// a `content-length` came.
    #[inline]
    pub fn body_has_nul(&self) -> bool {
        self.has_content_length && memchr(0, self.body).is_some()
    }

    /// Appends the user's header lines in canonical form: STOMP 1.2 escapes, LF ends, the
    /// first of each name, none that the server owns (section 4). The lines readers of
    /// every version get are made from these.
    #[inline]
    pub fn write_user_head(&self, out: &mut Vec<u8>) -> HeadFlags {
        user_head::write(&self.headers, out)
    }

    /// An upper bound of what [`Self::write_user_head`] appends to a clean head; a head to
    /// be escaped may take more.
    #[inline]
    pub fn user_head_len_hint(&self) -> usize {
        user_head::len_hint(&self.headers)
    }
}

/// The names of section 4 in their order of precedence.
fn dedup_id<'a>(headers: &Headers<'a>) -> Option<Cow<'a, str>> {
    [
        Known::MessageDedupId,
        Known::AmqDuplId,
        Known::DeduplicationHeader,
    ]
    .into_iter()
    .find_map(|known| headers.get(known).filter(|id| !id.is_empty()))
}

#[inline]
fn priority(headers: &Headers<'_>) -> Result<u8, FrameFault> {
    let number = integer(headers, Known::Priority)?;
    Ok(number.map_or(PRIORITY_DEFAULT, |number| {
        u8::try_from(number.clamp(0, 9)).unwrap_or(PRIORITY_DEFAULT)
    }))
}

/// Section 4: `amq-msg-type` decides, else the absence of `content-length`.
#[inline]
fn is_text(frame: &Frame<'_>) -> Result<bool, FrameFault> {
    match frame.headers.get(Known::AmqMsgType) {
        None => Ok(!frame.has_content_length),
        Some(value) if value.trim().eq_ignore_ascii_case("text") => Ok(true),
        Some(value) if value.trim().eq_ignore_ascii_case("bytes") => Ok(false),
        Some(value) => Err(FrameFault::MessageType {
            value: value.into_owned(),
        }),
    }
}

//! Frames of a client, in any pieces: payload is unmasked where it lies, heads and control frames are taken out.

use std::ops::Range;

use super::{Opcode, Utf8, status};

/// What the octets held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Payload of messages, unmasked where it lies.
    Payload(Range<usize>),
    /// A ping with this payload.
    Ping(Vec<u8>),
    /// The peer ends the connection, with this status if it gave one. Nothing may follow.
    Close(Option<u16>),
}

/// What a client may not do. Each ends the connection.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WebSocketError {
    /// Client frames have to be masked.
    #[error("a frame that is not masked")]
    NotMasked,
    /// Reserved bits belong to extensions, of which none is agreed.
    #[error("reserved bits in a frame, but no extension is agreed")]
    Reserved,
    /// An opcode that does not exist.
    #[error("unknown opcode {0}")]
    Opcode(u8),
    /// A control frame that is fragmented or longer than 125 octets.
    #[error("a control frame that is fragmented or too long")]
    Control,
    /// A length that is not in its shortest form, or beyond 63 bits.
    #[error("a length in a wrong form")]
    Length,
    /// A continuation without a message, or a message within one.
    #[error("fragments out of order")]
    Order,
    /// A close frame with one octet, or with a status that may not be sent.
    #[error("a malformed close frame")]
    Close,
    /// Text that is not UTF-8.
    #[error("text that is not UTF-8")]
    Text,
    /// A message over the limit.
    #[error("a message of {bytes} bytes, over the limit of {max}")]
    TooBig {
        /// How long it is, as far as known.
        bytes: u64,
        /// The limit.
        max: u64,
    },
}

impl WebSocketError {
    /// The status to close the connection with.
    pub fn status(&self) -> u16 {
        match self {
            Self::Text => status::INVALID_TEXT,
            Self::TooBig { .. } => status::TOO_BIG,
            _ => status::PROTOCOL_ERROR,
        }
    }
}

/// Longest payload of a control frame.
const CONTROL_BYTES_MAX: usize = 125;
/// Longest head of a client's frame: two octets, eight of length, four of mask.
const HEAD_BYTES_MAX: usize = 14;

/// Decodes what one client sends.
///
/// After an error the decoder must not be used again: the next frame cannot be found.
#[derive(Debug)]
pub struct Decoder {
    message_bytes_max: u64,
    /// Octets of an unfinished head.
    head: Held<HEAD_BYTES_MAX>,
    frame: Option<Frame>,
    /// Payload of an unfinished control frame.
    control: Held<CONTROL_BYTES_MAX>,
    /// The message in progress.
    message: Option<Message>,
    last_was_text: bool,
}

/// A frame whose head has been read.
#[derive(Clone, Copy, Debug)]
struct Frame {
    opcode: Opcode,
    is_last: bool,
    rest: u64,
    mask: [u8; 4],
    /// Which octet of the mask is next.
    phase: usize,
}

#[derive(Clone, Copy, Debug)]
struct Message {
    text: Option<Utf8>,
    bytes: u64,
}

/// A few octets that wait for more.
#[derive(Debug)]
struct Held<const MAX: usize> {
    octets: [u8; MAX],
    len: usize,
}

impl<const MAX: usize> Held<MAX> {
    fn new() -> Self {
        Self {
            octets: [0; MAX],
            len: 0,
        }
    }

    fn push(&mut self, octet: u8) {
        self.octets[self.len] = octet;
        self.len += 1;
    }

    fn get(&self) -> &[u8] {
        &self.octets[..self.len]
    }
}

impl Decoder {
    /// A decoder at the start of a connection.
    pub fn new(message_bytes_max: u64) -> Self {
        Self {
            message_bytes_max,
            head: Held::new(),
            frame: None,
            control: Held::new(),
            message: None,
            last_was_text: true,
        }
    }

    /// Whether the last message began as text. So it is before the first one.
    pub fn last_was_text(&self) -> bool {
        self.last_was_text
    }

    /// Takes octets from `input`, beginning at `*at`, until something is to be told; `None` if all were taken.
    ///
    /// # Errors
    /// What the client may not do.
    pub fn next(
        &mut self,
        input: &mut [u8],
        at: &mut usize,
    ) -> Result<Option<Event>, WebSocketError> {
        loop {
            let Some(frame) = &mut self.frame else {
                let Some(&octet) = input.get(*at) else {
                    return Ok(None);
                };
                *at += 1;
                self.head.push(octet);
                self.open()?;
                continue;
            };
            let available = input.len() - *at;
            let count = usize::try_from(frame.rest).map_or(available, |rest| rest.min(available));
            if count == 0 && frame.rest > 0 {
                return Ok(None);
            }
            let range = *at..*at + count;
            unmask(&mut input[range.clone()], frame);
            *at = range.end;
            frame.rest -= count as u64;
            let frame = *frame;
            if frame.rest == 0 {
                self.frame = None;
            }
            if frame.opcode.is_control() {
                input[range]
                    .iter()
                    .for_each(|octet| self.control.push(*octet));
                if frame.rest == 0
                    && let Some(event) = self.control(frame.opcode)?
                {
                    return Ok(Some(event));
                }
                continue;
            }
            self.payload(&input[range.clone()], frame)?;
            if count > 0 {
                return Ok(Some(Event::Payload(range)));
            }
        }
    }

    /// Reads the head, if it is complete.
    fn open(&mut self) -> Result<(), WebSocketError> {
        let &[first, second, ref rest @ ..] = self.head.get() else {
            return Ok(());
        };
        if first & 0x70 != 0 {
            return Err(WebSocketError::Reserved);
        }
        let opcode = Opcode::of(first & 0xf).ok_or(WebSocketError::Opcode(first & 0xf))?;
        let is_last = first & 0x80 != 0;
        if second & 0x80 == 0 {
            return Err(WebSocketError::NotMasked);
        }
        let short = second & 0x7f;
        if opcode.is_control() && (!is_last || usize::from(short) > CONTROL_BYTES_MAX) {
            return Err(WebSocketError::Control);
        }
        let (length, mask) = match short {
            126 => match rest.split_first_chunk::<2>() {
                Some((length, mask)) => (u64::from(u16::from_be_bytes(*length)), mask),
                None => return Ok(()),
            },
            127 => match rest.split_first_chunk::<8>() {
                Some((length, mask)) => (u64::from_be_bytes(*length), mask),
                None => return Ok(()),
            },
            short => (u64::from(short), rest),
        };
        let shortest = match short {
            126 => 126..=0xffff,
            127 => 0x1_0000..=u64::MAX >> 1,
            _ => 0..=125,
        };
        if !shortest.contains(&length) {
            return Err(WebSocketError::Length);
        }
        self.check_message(opcode, length)?;
        let Ok(mask) = <[u8; 4]>::try_from(mask) else {
            return Ok(());
        };
        self.begin(opcode, length);
        self.frame = Some(Frame {
            opcode,
            is_last,
            rest: length,
            mask,
            phase: 0,
        });
        self.head.len = 0;
        self.control.len = 0;
        Ok(())
    }

    /// Order and length are refused as soon as the head shows them.
    fn check_message(&self, opcode: Opcode, length: u64) -> Result<(), WebSocketError> {
        let before = match (opcode, &self.message) {
            (Opcode::Continuation, Some(message)) => message.bytes,
            (Opcode::Continuation, None) | (Opcode::Text | Opcode::Binary, Some(_)) => {
                return Err(WebSocketError::Order);
            }
            _ => 0,
        };
        let bytes = before.saturating_add(length);
        if bytes > self.message_bytes_max && !opcode.is_control() {
            let max = self.message_bytes_max;
            return Err(WebSocketError::TooBig { bytes, max });
        }
        Ok(())
    }

    fn begin(&mut self, opcode: Opcode, length: u64) {
        let text = match opcode {
            Opcode::Text => Some(Utf8::default()),
            Opcode::Binary => None,
            Opcode::Continuation => {
                if let Some(message) = &mut self.message {
                    message.bytes += length;
                }
                return;
            }
            _ => return,
        };
        self.last_was_text = text.is_some();
        self.message = Some(Message {
            text,
            bytes: length,
        });
    }

    fn payload(&mut self, piece: &[u8], frame: Frame) -> Result<(), WebSocketError> {
        let ends = frame.rest == 0 && frame.is_last;
        if let Some(text) = self
            .message
            .as_mut()
            .and_then(|message| message.text.as_mut())
            && (!text.feed(piece) || ends && !text.is_whole())
        {
            return Err(WebSocketError::Text);
        }
        if ends {
            self.message = None;
        }
        Ok(())
    }

    /// A control frame is complete.
    fn control(&mut self, opcode: Opcode) -> Result<Option<Event>, WebSocketError> {
        let payload = self.control.get();
        match opcode {
            Opcode::Ping => Ok(Some(Event::Ping(payload.to_vec()))),
            Opcode::Close => match payload {
                [] => Ok(Some(Event::Close(None))),
                [high, low, reason @ ..] => {
                    let status = u16::from_be_bytes([*high, *low]);
                    let may_be_sent = matches!(status, 1000..=1003 | 1007..=1014 | 3000..=4999);
                    if !may_be_sent || std::str::from_utf8(reason).is_err() {
                        return Err(WebSocketError::Close);
                    }
                    Ok(Some(Event::Close(Some(status))))
                }
                [_] => Err(WebSocketError::Close),
            },
            _ => Ok(None),
        }
    }
}

fn unmask(payload: &mut [u8], frame: &mut Frame) {
    frame.mask.rotate_left(frame.phase);
    // Whole words first: the compiler makes wide operations of them.
    let (words, rest) = payload.as_chunks_mut::<4>();
    for word in words {
        for (octet, mask) in word.iter_mut().zip(frame.mask) {
            *octet ^= mask;
        }
    }
    for (octet, mask) in rest.iter_mut().zip(frame.mask) {
        *octet ^= mask;
    }
    frame.phase = rest.len();
}

#[cfg(test)]
mod tests;

//! [`Decoder`]: frames of one direction of a connection to commands, whatever pieces they come in.

use bytes::{Buf, Bytes};

use super::cache::ReceiveCache;
use super::commands::{Command, MAGIC, WireFormatInfo};
use super::error::{Fault, OpenWireError};
use super::format::{Format, first_version};
use super::limits::Limits;
use super::reader::Reader;

const SIZE_BYTES: usize = 4;

/// Where a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// The first frame has to be WireFormatInfo.
    Handshake,
    /// It was; nothing is read before it is known what was agreed.
    Agreeing,
    /// Anything may come.
    Open,
}

/// Reads the frames of one direction.
#[derive(Debug)]
pub struct Decoder {
    format: Format,
    limits: Limits,
    cache: ReceiveCache,
    stage: Stage,
    /// Octets that must be there before it is worth looking again.
    wanted: usize,
}

impl Decoder {
    /// Begins in the format of the handshake.
    pub fn new(limits: Limits) -> Self {
        let cache = ReceiveCache::default();
        Self {
            format: Format::START,
            limits,
            cache,
            stage: Stage::Handshake,
            wanted: 1,
        }
    }

    /// Begins behind the handshake, in a format that is known.
    pub fn with_format(limits: Limits, format: &Format) -> Self {
        let mut decoder = Self::new(limits);
        decoder.agree(format);
        decoder
    }

    /// Goes on in the format that was negotiated, with an empty cache.
    pub fn agree(&mut self, format: &Format) {
        self.format = *format;
        self.cache
            .reset(format.cache_size.unwrap_or(0), !format.size_prefix);
        self.stage = Stage::Open;
        self.wanted = 1;
    }

    /// Sets the bounds from the next frame on: less is allowed before a client has logged in.
    pub fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// Octets that the frame at the beginning of the input is known to need; more may turn out to be needed. 1 if
    /// nothing of a frame is there.
    pub fn frame_bytes_hint(&self) -> usize {
        self.wanted
    }

    /// Takes one command from the front of `input`; `None` if it is not whole yet. Call it again with more octets behind
    /// those that are left. After WireFormatInfo nothing is taken until [`agree`](Self::agree).
    ///
    /// # Errors
    /// What is wrong with the frame. The connection is at its end: nothing behind the frame can be read.
    pub fn decode(&mut self, input: &mut Bytes) -> Result<Option<Command>, OpenWireError> {
        loop {
            if self.stage == Stage::Agreeing || input.len() < self.wanted {
                return Ok(None);
            }
            let taken = if self.format.size_prefix {
                self.sized(input)?
            } else {
                self.unsized_frame(input)?
            };
            match taken {
                Taken::Command(command) => return Ok(Some(command)),
                // A frame without an object: legal, and nothing.
                Taken::Empty => {}
                Taken::More(wanted) => self.wanted = wanted,
            }
        }
    }

    fn sized(&mut self, input: &mut Bytes) -> Result<Taken, OpenWireError> {
        let Some(size) = input.first_chunk().copied().map(i32::from_be_bytes) else {
            return Ok(Taken::More(SIZE_BYTES));
        };
        let error = |fault, offset| OpenWireError {
            fault,
            place: "frame",
            offset,
        };
        let Ok(size) = u32::try_from(size) else {
            return Err(error(Fault::Negative { length: size }, 0));
        };
        let max = self.frame_bytes_max();
        if size > max {
            return Err(error(Fault::FrameSize { size, max }, 0));
        }
        if size == 0 {
            return Err(error(super::flags::truncated(1, 0), SIZE_BYTES));
        }
        let end = SIZE_BYTES + size as usize;
        let opening = end.min(SIZE_BYTES + self.opening_bytes());
        if input.len() < opening {
            return Ok(Taken::More(opening));
        }
        self.opening(&input[SIZE_BYTES..])?;
        if input.len() < end {
            return Ok(Taken::More(end));
        }
        let frame = input.slice(..end);
        let mut reader = Reader::new(
            &frame,
            SIZE_BYTES,
            end,
            &self.format,
            &self.limits,
            &mut self.cache,
        );
        let command = reader.object().map_err(|fault| reader.error(fault))?;
        if reader.left() > 0 {
            let octets = u32::try_from(reader.left()).unwrap_or(u32::MAX);
            return Err(reader.error(Fault::LeftOver { octets }));
        }
        Ok(self.took(input, end, command))
    }

    /// Without sizes a frame ends where its fields do, so an unfinished one is read again from its start when more of it
    /// is there. Each attempt says how much that has to be at least; frames of many small fields that come octet by octet
    /// still cost their square, which is one reason never to offer this.
    fn unsized_frame(&mut self, input: &mut Bytes) -> Result<Taken, OpenWireError> {
        self.opening(input)?;
        let max = self.frame_bytes_max();
        let end = input.len().min(max as usize);
        let (format, limits) = (&self.format, &self.limits);
        let mut reader = Reader::new(input, 0, end, format, limits, &mut self.cache);
        let read = reader.object();
        let at = reader.position();
        match read {
            Ok(command) => {
                self.cache.keep();
                Ok(self.took(input, at, command))
            }
            Err(Fault::Truncated { wanted, .. }) => {
                let size = u32::try_from(at).map_or(u32::MAX, |at| at.saturating_add(wanted));
                if size > max {
                    return Err(reader.error(Fault::FrameSize { size, max }));
                }
                self.cache.undo();
                // It failed for want of octets, so one more is the least.
                Ok(Taken::More((size as usize).max(input.len() + 1)))
            }
            Err(fault) => Err(reader.error(fault)),
        }
    }

    fn took(&mut self, input: &mut Bytes, octets: usize, command: Option<Command>) -> Taken {
        input.advance(octets);
        self.wanted = 1;
        match command {
            Some(command) => {
                if self.stage == Stage::Handshake {
                    self.stage = Stage::Agreeing;
                }
                Taken::Command(command)
            }
            None => Taken::Empty,
        }
    }

    fn frame_bytes_max(&self) -> u32 {
        let agreed = u32::try_from(self.format.frame_bytes_max).unwrap_or(u32::MAX);
        self.limits.frame_bytes_max.min(agreed)
    }

    /// How many octets of a frame tell whether to go on.
    fn opening_bytes(&self) -> usize {
        match self.stage {
            Stage::Handshake => 1 + MAGIC.len(),
            _ => 1,
        }
    }

    /// Refuses a frame as soon as its first octets tell that it cannot be read, before the rest has come.
    fn opening(&self, body: &[u8]) -> Result<(), OpenWireError> {
        let offset = if self.format.size_prefix {
            SIZE_BYTES
        } else {
            0
        };
        let error = |fault| {
            Err(OpenWireError {
                fault,
                place: "frame",
                offset,
            })
        };
        let Some(&type_id) = body.first() else {
            return Ok(());
        };
        let is_handshake = type_id == WireFormatInfo::TYPE_ID && body[1..].starts_with(&MAGIC);
        if self.stage == Stage::Handshake && !is_handshake {
            return error(Fault::Magic);
        }
        if type_id != 0 && first_version(type_id) > self.format.version {
            return error(Fault::UnknownType { type_id });
        }
        Ok(())
    }
}

/// What came of looking at the input.
#[expect(
    clippy::large_enum_variant,
    reason = "the large one is what it is about"
)]
enum Taken {
    Command(Command),
    Empty,
    More(usize),
}

/// Reads what [`encode_stored`](super::encode_stored) wrote. Keep one for many messages: it shares equal ids between
/// those that come close together.
#[derive(Debug, Default)]
pub struct StoredDecoder {
    cache: ReceiveCache,
}

impl StoredDecoder {
    /// Reads `stored`, which holds one object and nothing else. Texts and octets are slices of it.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn decode(&mut self, stored: &Bytes) -> Result<Command, OpenWireError> {
        let limits = Limits {
            items_max: u32::MAX,
            ..Limits::default()
        };
        let mut reader = Reader::new(
            stored,
            0,
            stored.len(),
            &Format::STORED,
            &limits,
            &mut self.cache,
        );
        let read = reader.object::<Command>();
        let error = |reader: &Reader<'_>, fault| Err(reader.error(fault));
        match read {
            Err(fault) => error(&reader, fault),
            Ok(None) => error(&reader, Fault::UnknownType { type_id: 0 }),
            Ok(Some(_)) if reader.left() > 0 => {
                let octets = u32::try_from(reader.left()).unwrap_or(u32::MAX);
                error(&reader, Fault::LeftOver { octets })
            }
            Ok(Some(command)) => Ok(command),
        }
    }
}

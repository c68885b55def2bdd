//! [`Encoder`]: commands to frames of one direction of a connection.

use super::cache::SendCache;
use super::error::EncodeError;
use super::flags::FlagWriter;
use super::format::Format;
use super::schema::Object;
use super::writer::{Shared, Writer};

/// Writes the frames of one direction.
#[derive(Debug)]
pub struct Encoder {
    format: Format,
    cache: Option<SendCache>,
    flags: FlagWriter,
    /// Octets that the flags of the last frame of each type took: room left for those of the next.
    flag_bytes: [u8; 128],
}

impl Default for Encoder {
    fn default() -> Self {
        Self::new()
    }
}

impl Encoder {
    /// Begins in the format of the handshake.
    pub fn new() -> Self {
        Self::with_format(&Format::START)
    }

    /// Begins in a format that is known.
    pub fn with_format(format: &Format) -> Self {
        Self {
            format: *format,
            cache: format.cache_size.map(SendCache::new),
            flags: FlagWriter::default(),
            flag_bytes: [1; 128],
        }
    }

    /// Goes on in the format that was negotiated, with an empty cache. Our WireFormatInfo has to be written before.
    pub fn agree(&mut self, format: &Format) {
        *self = Self::with_format(format);
    }

    /// Appends a frame to `out`.
    ///
    /// # Errors
    /// Why the command cannot be written; `out` is what it was, and the encoder can be used on.
    pub fn encode(&mut self, command: &impl Object, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        self.encode_sharing(command, out, usize::MAX).map(drop)
    }

    /// Appends a frame to `out`, except the first octets field of at least `shared_bytes_min` in it, a long content: that
    /// is given back with its place, and is to be sent there.
    ///
    /// # Errors
    /// As [`encode`](Self::encode).
    pub fn encode_sharing(
        &mut self,
        command: &impl Object,
        out: &mut Vec<u8>,
        shared_bytes_min: usize,
    ) -> Result<Option<Shared>, EncodeError> {
        let start = out.len();
        let written = self.write(command, out, shared_bytes_min);
        if written.is_err() {
            out.truncate(start);
            if let Some(cache) = &mut self.cache {
                cache.undo();
            }
        }
        written
    }

    fn write(
        &mut self,
        command: &impl Object,
        out: &mut Vec<u8>,
        shared_bytes_min: usize,
    ) -> Result<Option<Shared>, EncodeError> {
        if let Some(cache) = &mut self.cache {
            cache.begin();
        }
        self.flags.clear();
        let size_at = out.len();
        if self.format.size_prefix {
            out.extend_from_slice(&[0; 4]);
        }
        let start = out.len();
        let type_id = command.type_id();
        out.push(type_id);
        let flags_at = out.len();
        let room = usize::from(self.flag_bytes[usize::from(type_id)]);
        if self.format.tight {
            out.resize(flags_at + room, 0);
        }
        let cache = self.cache.as_mut();
        let mut writer = Writer::new(out, &mut self.flags, &self.format, cache, shared_bytes_min);
        writer.known(type_id);
        command.write(&mut writer);
        let (error, mut shared) = (writer.error, writer.shared.take());
        if let Some(error) = error {
            return Err(error);
        }
        if self.format.tight {
            let moved = self.place_flags(out, flags_at, room)?;
            if let Some(shared) = &mut shared {
                shared.at = shared.at.saturating_add_signed(moved);
            }
            self.flag_bytes[usize::from(type_id)] = u8::try_from(self.flags.len()).unwrap_or(1);
        }
        let size = out.len() - start + shared.as_ref().map_or(0, |shared| shared.octets.len());
        let max = usize::try_from(self.format.frame_bytes_max)
            .unwrap_or(usize::MAX)
            .min(i32::MAX as usize);
        match u32::try_from(size) {
            Ok(prefix) if size <= max => {
                if self.format.size_prefix {
                    out[size_at..start].copy_from_slice(&prefix.to_be_bytes());
                }
                Ok(shared)
            }
            _ => Err(EncodeError::FrameSize { size, max }),
        }
    }

    /// Writes the flags at their place, where `room` was left for them. Gives by how much that moved what follows.
    fn place_flags(&self, out: &mut Vec<u8>, at: usize, room: usize) -> Result<isize, EncodeError> {
        let length = self.flags.len();
        if self.flags.octets().len() > FlagWriter::OCTETS_MAX {
            let place = "flags";
            return Err(EncodeError::Length {
                place,
                length,
                max: FlagWriter::OCTETS_MAX,
            });
        }
        if length != room {
            out.splice(at..at + room, std::iter::repeat_n(0, length));
        }
        self.flags.write(&mut out[at..at + length]);
        Ok(length.cast_signed() - room.cast_signed())
    }
}

/// Appends an object in the form in which it is kept: loose, in version 12, without size and cache.
///
/// # Errors
/// Why it cannot be written; `out` is what it was.
pub fn encode_stored(object: &impl Object, out: &mut Vec<u8>) -> Result<(), EncodeError> {
    let start = out.len();
    let mut flags = FlagWriter::default();
    out.push(object.type_id());
    let mut writer = Writer::new(out, &mut flags, &Format::STORED, None, usize::MAX);
    object.write(&mut writer);
    match writer.error {
        None => Ok(()),
        Some(error) => {
            out.truncate(start);
            Err(error)
        }
    }
}

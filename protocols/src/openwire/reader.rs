//! [`Reader`]: the primitives of both forms, read from one frame that is not trusted.
//!
//! Invariants:
//! - nothing is taken that is not there, and nothing allocated from a length before it was compared with what is left;
//! - octets and strings are slices of the frame; objects that may be shared are copied out of it, once.

use std::sync::Arc;

use bytes::Bytes;

use super::cache::{Cacheable, CachedObject, ReceiveCache};
use super::commands::{StackFrame, Throwable};
use super::error::{Fault, OpenWireError};
use super::flags::{FlagReader, truncated};
use super::format::{Format, first_version, is_marshall_aware};
use super::limits::Limits;
use super::schema::Object;
use super::text::Text;

/// Reads the fields of one frame.
#[derive(Debug)]
pub struct Reader<'a> {
    frame: &'a Bytes,
    at: usize,
    /// Where the frame ends; `frame` may hold more.
    end: usize,
    flags: FlagReader,
    format: &'a Format,
    limits: &'a Limits,
    cache: &'a mut ReceiveCache,
    depth: u32,
    items: u32,
    place: &'static str,
}

impl<'a> Reader<'a> {
    /// Begins at `at`, behind the size, and reads nothing beyond `end`.
    pub(super) fn new(
        frame: &'a Bytes,
        at: usize,
        end: usize,
        format: &'a Format,
        limits: &'a Limits,
        cache: &'a mut ReceiveCache,
    ) -> Self {
        let flags = FlagReader::default();
        debug_assert!(at <= end && end <= frame.len(), "it is a part of the frame");
        Self {
            frame,
            at,
            end,
            flags,
            format,
            limits,
            cache,
            depth: 0,
            items: 0,
            place: "frame",
        }
    }

    /// Reads the object of a frame; `None` for the number 0, which is a frame without one. Sets `at` to its end.
    pub(super) fn object<T: Object>(&mut self) -> Result<Option<T>, Fault> {
        let type_id = self.octet()?;
        if type_id == 0 {
            return Ok(None);
        }
        self.known(type_id)?;
        if self.format.tight {
            self.open_flags()?;
        }
        let object = T::read(type_id, self)?;
        self.place = "end";
        self.flags_are_used()?;
        Ok(Some(object))
    }

    /// Where the next octet is.
    pub(super) fn position(&self) -> usize {
        self.at
    }

    /// Octets behind the object.
    pub(super) fn left(&self) -> usize {
        self.end - self.at
    }

    /// A fault with its place.
    pub(super) fn error(&self, fault: Fault) -> OpenWireError {
        OpenWireError {
            fault,
            place: self.place,
            offset: self.at,
        }
    }

    /// Names what is read next.
    #[inline]
    pub(super) fn enter(&mut self, place: &'static str) {
        self.place = place;
    }

    /// What is being read.
    #[inline]
    pub(super) fn place(&self) -> &'static str {
        self.place
    }

    #[inline]
    pub(super) fn version(&self) -> u8 {
        self.format.version
    }

    #[inline]
    fn take(&mut self, octets: usize) -> Result<&'a [u8], Fault> {
        let frame: &'a [u8] = self.frame;
        let left = self.end - self.at;
        if octets > left {
            return Err(truncated(octets, left));
        }
        let taken = &frame[self.at..self.at + octets];
        self.at += octets;
        Ok(taken)
    }

    #[inline]
    fn array_of<const N: usize>(&mut self) -> Result<[u8; N], Fault> {
        let taken = self.take(N)?;
        taken.try_into().map_err(|_| truncated(N, taken.len()))
    }

    /// The next octets, shared.
    fn slice(&mut self, octets: usize) -> Result<Bytes, Fault> {
        let start = self.at;
        self.take(octets)?;
        Ok(self.frame.slice(start..self.at))
    }

    fn octet(&mut self) -> Result<u8, Fault> {
        self.array_of().map(|[octet]| octet)
    }

    /// Whether the version has that type.
    fn known(&self, type_id: u8) -> Result<(), Fault> {
        let is_known = first_version(type_id) <= self.format.version;
        if is_known {
            Ok(())
        } else {
            Err(Fault::UnknownType { type_id })
        }
    }

    #[inline]
    pub(super) fn flag(&mut self) -> Result<bool, Fault> {
        if self.format.tight {
            self.flags.next(self.frame)
        } else {
            self.octet().map(|octet| octet != 0)
        }
    }

    pub(super) fn byte(&mut self) -> Result<i8, Fault> {
        self.array_of().map(i8::from_be_bytes)
    }

    fn short(&mut self) -> Result<i16, Fault> {
        self.array_of().map(i16::from_be_bytes)
    }

    pub(super) fn int(&mut self) -> Result<i32, Fault> {
        self.array_of().map(i32::from_be_bytes)
    }

    pub(super) fn long(&mut self) -> Result<i64, Fault> {
        if !self.format.tight {
            return self.array_of().map(i64::from_be_bytes);
        }
        Ok(
            match (self.flags.next(self.frame)?, self.flags.next(self.frame)?) {
                (false, false) => 0,
                (false, true) => i64::from(u16::from_be_bytes(self.array_of()?)),
                (true, false) => i64::from(u32::from_be_bytes(self.array_of()?)),
                (true, true) => i64::from_be_bytes(self.array_of()?),
            },
        )
    }

    pub(super) fn constant<const N: usize>(&mut self) -> Result<[u8; N], Fault> {
        self.array_of()
    }

    /// A length or count; an `i16` in front of arrays, an `i32` in front of octets.
    fn length(&self, length: i32) -> Result<usize, Fault> {
        usize::try_from(length).map_err(|_| Fault::Negative { length })
    }

    pub(super) fn text(&mut self) -> Result<Option<Text>, Fault> {
        if !self.flag()? {
            return Ok(None);
        }
        let ascii = self.format.tight && self.flags.next(self.frame)?;
        let length = u32::from(u16::from_be_bytes(self.array_of()?));
        let max = self.limits.string_bytes_max;
        if length > max {
            return Err(Fault::StringSize { length, max });
        }
        let octets = self.slice(length as usize)?;
        if ascii {
            return Ok(Some(Text::read_ascii(octets)));
        }
        Text::read(octets).map(Some).map_err(|offset| {
            self.at = self.at - length as usize + offset;
            Fault::Utf
        })
    }

    pub(super) fn octets(&mut self) -> Result<Option<Bytes>, Fault> {
        if !self.flag()? {
            return Ok(None);
        }
        let length = self.int()?;
        let length = self.length(length)?;
        self.slice(length).map(Some)
    }

    pub(super) fn nested<T: Object>(&mut self) -> Result<Option<T>, Fault> {
        if !self.flag()? {
            return Ok(None);
        }
        let type_id = self.octet()?;
        self.known(type_id)?;
        self.deeper()?;
        let preserialised =
            self.format.tight && is_marshall_aware(type_id) && self.flags.next(self.frame)?;
        let object = if preserialised {
            self.preserialised(type_id)?
        } else {
            T::read(type_id, self)?
        };
        self.depth -= 1;
        Ok(Some(object))
    }

    /// An object with flags of its own (section 5.2). Java reads this, although it never writes it.
    fn preserialised<T: Object>(&mut self, type_id: u8) -> Result<T, Fault> {
        self.take(5)?;
        let outer = self.flags;
        self.open_flags()?;
        let object = T::read(type_id, self)?;
        self.flags_are_used()?;
        self.flags = outer;
        Ok(object)
    }

    fn open_flags(&mut self) -> Result<(), Fault> {
        // Octets of this frame only.
        let (flags, at) = FlagReader::open(&self.frame[..self.end], self.at)?;
        self.flags = flags;
        self.at = at;
        Ok(())
    }

    fn flags_are_used(&self) -> Result<(), Fault> {
        match self.flags.left() / 8 {
            0 => Ok(()),
            #[expect(
                clippy::cast_possible_truncation,
                reason = "a frame has 65,535 octets of flags at most"
            )]
            octets => Err(Fault::LeftOver {
                octets: octets as u32,
            }),
        }
    }

    fn deeper(&mut self) -> Result<(), Fault> {
        self.depth += 1;
        let max = self.limits.depth_max;
        if self.depth > max {
            Err(Fault::Depth { max })
        } else {
            Ok(())
        }
    }

    /// The count of an array, on the account of the frame.
    fn count(&mut self) -> Result<usize, Fault> {
        let count = self.short()?;
        let count = self.length(i32::from(count))?;
        let max = self.limits.items_max;
        #[expect(clippy::cast_possible_truncation, reason = "it was sixteen bits")]
        let items = self.items.saturating_add(count as u32);
        if items > max {
            return Err(Fault::Items { max });
        }
        self.items = items;
        // The least an element takes: one flag, or one octet.
        if self.format.tight {
            if count > self.flags.left() {
                return Err(Fault::Flags);
            }
        } else if count > self.left() {
            return Err(truncated(count, self.left()));
        }
        Ok(count)
    }

    pub(super) fn array<T: Object>(&mut self) -> Result<Option<Vec<Option<T>>>, Fault> {
        if !self.flag()? {
            return Ok(None);
        }
        let count = self.count()?;
        let mut elements = Vec::with_capacity(count);
        for _ in 0..count {
            elements.push(self.nested()?);
        }
        Ok(Some(elements))
    }

    pub(super) fn cached(&mut self) -> Result<Option<CachedObject>, Fault> {
        if self.format.cache_size.is_none() {
            return self.cacheable();
        }
        if self.flag()? {
            let index = self.short()?;
            let object = self.cacheable()?;
            let max = self.limits.cache_bytes_max;
            self.cache.store(index, object.clone(), max)?;
            Ok(object)
        } else {
            let index = self.short()?;
            self.cache.get(index)
        }
    }

    /// An object of a cached type, in memory of its own.
    fn cacheable(&mut self) -> Result<Option<CachedObject>, Fault> {
        if !self.flag()? {
            return Ok(None);
        }
        let type_id = self.octet()?;
        self.deeper()?;
        let object = CachedObject::read(type_id, self)?;
        self.depth -= 1;
        Ok(Some(object))
    }

    /// An equal object that was read lately, or this one in memory of its own.
    pub(super) fn share<T: Cacheable>(&mut self, object: &T) -> Arc<T> {
        self.cache.share(object)
    }

    pub(super) fn throwable(&mut self) -> Result<Option<Throwable>, Fault> {
        if !self.flag()? {
            return Ok(None);
        }
        self.deeper()?;
        let mut throwable = Throwable {
            class: self.text()?,
            message: self.text()?,
            ..Throwable::default()
        };
        if self.format.stack_traces {
            let count = self.count()?;
            throwable.stack.reserve(count);
            for _ in 0..count {
                throwable.stack.push(StackFrame {
                    class: self.text()?,
                    method: self.text()?,
                    file: self.text()?,
                    line: self.int()?,
                });
            }
            throwable.cause = self.throwable()?.map(Box::new);
        }
        self.depth -= 1;
        Ok(Some(throwable))
    }
}

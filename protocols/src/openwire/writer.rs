//! [`Writer`]: the primitives of both forms, appended to a buffer.

use bytes::Bytes;

use super::cache::{CachedObject, SendCache};
use super::commands::Throwable;
use super::error::EncodeError;
use super::flags::FlagWriter;
use super::format::{Format, first_version, is_marshall_aware};
use super::schema::Object;
use super::text::Text;

/// Longest string that is written: the tight decoder of Java takes the length as a signed number, its encoder refuses
/// one more (openwire.md section 4).
pub const STRING_BYTES_MAX: usize = 32_766;

/// Octets of a message that are not copied into the buffer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shared {
    /// Where in the buffer they belong.
    pub at: usize,
    /// The octets.
    pub octets: Bytes,
}

/// Writes the fields of one frame.
#[derive(Debug)]
pub struct Writer<'a> {
    pub(super) out: &'a mut Vec<u8>,
    pub(super) flags: &'a mut FlagWriter,
    format: &'a Format,
    cache: Option<&'a mut SendCache>,
    /// Octets from which on they are left out once.
    shared_bytes_min: usize,
    pub(super) shared: Option<Shared>,
    place: &'static str,
    pub(super) error: Option<EncodeError>,
}

impl<'a> Writer<'a> {
    pub(super) fn new(
        out: &'a mut Vec<u8>,
        flags: &'a mut FlagWriter,
        format: &'a Format,
        cache: Option<&'a mut SendCache>,
        shared_bytes_min: usize,
    ) -> Self {
        Self {
            out,
            flags,
            format,
            cache,
            shared_bytes_min,
            shared: None,
            place: "frame",
            error: None,
        }
    }

    /// Names what is written next.
    #[inline]
    pub(super) fn enter(&mut self, place: &'static str) {
        self.place = place;
    }

    #[inline]
    pub(super) fn version(&self) -> u8 {
        self.format.version
    }

    #[cold]
    fn fail(&mut self, error: EncodeError) {
        self.error.get_or_insert(error);
    }

    /// Notes that a version does not have a type.
    pub(super) fn known(&mut self, type_id: u8) {
        let version = self.format.version;
        if first_version(type_id) > version {
            self.fail(EncodeError::Version { type_id, version });
        }
    }

    #[inline]
    pub(super) fn flag(&mut self, flag: bool) {
        if self.format.tight {
            self.flags.push(flag);
        } else {
            self.out.push(u8::from(flag));
        }
    }

    pub(super) fn byte(&mut self, value: i8) {
        self.out.extend_from_slice(&value.to_be_bytes());
    }

    fn short(&mut self, value: i16) {
        self.out.extend_from_slice(&value.to_be_bytes());
    }

    pub(super) fn int(&mut self, value: i32) {
        self.out.extend_from_slice(&value.to_be_bytes());
    }

    #[expect(
        clippy::cast_possible_truncation,
        reason = "each arm is the range that fits"
    )]
    pub(super) fn long(&mut self, value: i64) {
        if !self.format.tight {
            self.out.extend_from_slice(&value.to_be_bytes());
            return;
        }
        let (first, second) = match value {
            0 => (false, false),
            1..=0xffff => {
                self.out.extend_from_slice(&(value as u16).to_be_bytes());
                (false, true)
            }
            0x1_0000..=0xffff_ffff => {
                self.out.extend_from_slice(&(value as u32).to_be_bytes());
                (true, false)
            }
            _ => {
                self.out.extend_from_slice(&value.to_be_bytes());
                (true, true)
            }
        };
        self.flags.push(first);
        self.flags.push(second);
    }

    pub(super) fn constant(&mut self, octets: &[u8]) {
        self.out.extend_from_slice(octets);
    }

    pub(super) fn text(&mut self, text: Option<&Text>) {
        self.flag(text.is_some());
        let Some(text) = text else {
            return;
        };
        if self.format.tight {
            self.flags.push(text.is_ascii());
        }
        let octets = text.as_bytes();
        match u16::try_from(octets.len()) {
            Ok(length) if octets.len() <= STRING_BYTES_MAX => {
                self.out.extend_from_slice(&length.to_be_bytes());
                self.out.extend_from_slice(octets);
            }
            _ => self.fail(EncodeError::StringSize {
                place: self.place,
                length: octets.len(),
                max: STRING_BYTES_MAX,
            }),
        }
    }

    pub(super) fn octets(&mut self, octets: Option<&Bytes>) {
        self.flag(octets.is_some());
        let Some(octets) = octets else {
            return;
        };
        let Ok(length) = i32::try_from(octets.len()) else {
            let (place, length) = (self.place, octets.len());
            self.fail(EncodeError::Length {
                place,
                length,
                max: i32::MAX as usize,
            });
            return;
        };
        self.int(length);
        if octets.len() >= self.shared_bytes_min && self.shared.is_none() {
            self.shared = Some(Shared {
                at: self.out.len(),
                octets: octets.clone(),
            });
        } else {
            self.out.extend_from_slice(octets);
        }
    }

    pub(super) fn nested<T: Object>(&mut self, object: Option<&T>) {
        self.flag(object.is_some());
        let Some(object) = object else {
            return;
        };
        let type_id = object.type_id();
        self.known(type_id);
        self.out.push(type_id);
        if self.format.tight && is_marshall_aware(type_id) {
            // Not with flags of its own.
            self.flags.push(false);
        }
        object.write(self);
    }

    fn count(&mut self, length: usize) {
        let Ok(count) = i16::try_from(length) else {
            let place = self.place;
            self.fail(EncodeError::Length {
                place,
                length,
                max: i16::MAX as usize,
            });
            return;
        };
        self.short(count);
    }

    pub(super) fn array<T: Object>(&mut self, elements: Option<&[Option<T>]>) {
        self.flag(elements.is_some());
        let Some(elements) = elements else {
            return;
        };
        self.count(elements.len());
        for element in elements {
            self.nested(element.as_ref());
        }
    }

    /// Writes a reference to the object at that address (0: null), if the other side is known to have it.
    #[inline]
    pub(super) fn refer(&mut self, address: usize) -> bool {
        let index = self.cache.as_ref().and_then(|cache| cache.recall(address));
        if let Some(index) = index {
            self.flag(false);
            self.short(index);
        }
        index.is_some()
    }

    pub(super) fn cached(&mut self, object: Option<CachedObject>) {
        let Some(cache) = self.cache.as_deref_mut() else {
            self.cacheable(object.as_ref());
            return;
        };
        if let Some(index) = cache.find(object.as_ref()) {
            self.flag(false);
            self.short(index);
        } else if self.format.tight {
            // The tight form takes an index after what is inside.
            self.flag(true);
            let at = self.out.len();
            self.short(-1);
            self.cacheable(object.as_ref());
            let index = self
                .cache
                .as_deref_mut()
                .map_or(-1, |cache| cache.add(object));
            self.out[at..at + 2].copy_from_slice(&index.to_be_bytes());
        } else {
            let index = cache.add(object.clone());
            self.flag(true);
            self.short(index);
            self.cacheable(object.as_ref());
        }
    }

    fn cacheable(&mut self, object: Option<&CachedObject>) {
        self.flag(object.is_some());
        if let Some(object) = object {
            self.out.push(object.type_id());
            object.write(self);
        }
    }

    pub(super) fn throwable(&mut self, throwable: Option<&Throwable>) {
        self.flag(throwable.is_some());
        let Some(throwable) = throwable else {
            return;
        };
        self.text(throwable.class.as_ref());
        self.text(throwable.message.as_ref());
        if !self.format.stack_traces {
            return;
        }
        self.count(throwable.stack.len());
        for frame in &throwable.stack {
            self.text(frame.class.as_ref());
            self.text(frame.method.as_ref());
            self.text(frame.file.as_ref());
            self.int(frame.line);
        }
        self.throwable(throwable.cause.as_deref());
    }
}

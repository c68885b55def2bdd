//! Reading a segment from end to end: batches, their records, and the way back after damage.
//!
//! - A segment is read through a window, never as a whole: a start needs little memory whatever the segment size.
//! - After a bad batch header the next one is searched, granule by granule, and the records in between are kept if they check.
//! - Salts cannot be guessed from outside, so no message body can pass for a batch or a record during that search.

use std::io;

use crate::fields::{index, short};
use crate::io::File;
use crate::record::{self, GRANULE, HEADER, Kind, Record};
use crate::segment::{BATCH_HEADER, BATCH_MAGIC, BatchHeader};

/// Octets read at once.
const WINDOW: usize = 1024 * 1024;
/// Unit in which a range with read errors is tried again.
const PAGE: usize = 4096;
/// Read error of the device (`EIO`), as opposed to one of the system.
const DEVICE_ERROR: i32 = 5;

/// A moving view of a file.
pub(crate) struct Window<'a> {
    file: &'a dyn File,
    buffer: Vec<u8>,
    start: u64,
    size: usize,
    /// Octets read so far.
    pub(crate) read: u64,
}

impl<'a> Window<'a> {
    pub(crate) fn new(file: &'a dyn File) -> Self {
        Self {
            file,
            buffer: Vec::new(),
            start: 0,
            size: WINDOW,
            read: 0,
        }
    }

    /// A view that reads `size` octets at once.
    pub(crate) fn sized(file: &'a dyn File, size: usize) -> Self {
        Self {
            size,
            ..Self::new(file)
        }
    }

    /// Up to `length` octets at `at`; fewer only at the end of the file.
    pub(crate) fn get(&mut self, at: u64, length: usize) -> io::Result<&[u8]> {
        let inside =
            at >= self.start && at + length as u64 <= self.start + self.buffer.len() as u64;
        if !inside {
            self.fill(at, length)?;
        }
        let from = usize::try_from(at - self.start).map_err(io::Error::other)?;
        let to = self.buffer.len().min(from + length);
        Ok(&self.buffer[from..to])
    }

    fn fill(&mut self, at: u64, length: usize) -> io::Result<()> {
        let size = self.file.len()?.saturating_sub(at);
        let wanted = length
            .max(self.size)
            .min(usize::try_from(size).map_err(io::Error::other)?);
        self.buffer.resize(wanted, 0);
        self.buffer.shrink_to(self.size);
        self.start = at;
        let got = match self.file.read_at(&mut self.buffer, at) {
            Ok(got) => got,
            Err(error) if error.raw_os_error() == Some(DEVICE_ERROR) => self.fill_by_pages(at),
            Err(error) => return Err(error),
        };
        self.buffer.truncate(got);
        self.read += got as u64;
        Ok(())
    }

    /// Reads what can be read; a page that cannot becomes zeros, which never check.
    fn fill_by_pages(&mut self, at: u64) -> usize {
        let mut from = at;
        for page in self.buffer.chunks_mut(PAGE) {
            if self.file.read_at(page, from).is_err() {
                page.fill(0);
            }
            from += page.len() as u64;
        }
        self.buffer.len()
    }
}

/// A record that checks, where it is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Slot {
    pub(crate) offset: u32,
    pub(crate) length: usize,
    /// With its padding.
    pub(crate) stride: usize,
    pub(crate) kind: Kind,
    pub(crate) count: u32,
    pub(crate) transaction: u64,
}

/// The records of a range, and the parts of it that do not check.
#[derive(Debug, Default)]
pub(crate) struct Slots {
    pub(crate) good: Vec<Slot>,
    pub(crate) bad: Vec<(u32, u32)>,
}

/// Reads one segment.
pub(crate) struct Scan<'a> {
    pub(crate) window: Window<'a>,
    segment: u32,
    /// Salt of the segment, if its header could be read; else that of the first batch found.
    pub(crate) salt: Option<u64>,
}

impl<'a> Scan<'a> {
    pub(crate) fn new(file: &'a dyn File, segment: u32, salt: Option<u64>) -> Self {
        Self {
            window: Window::new(file),
            segment,
            salt,
        }
    }

    fn header_at(&mut self, offset: u32) -> io::Result<Option<BatchHeader>> {
        let octets = self.window.get(u64::from(offset), BATCH_HEADER)?;
        let header = BatchHeader::decode(octets, self.segment, offset);
        Ok(header.filter(|header| self.salt.is_none_or(|salt| salt == header.salt)))
    }

    /// The first batch header at or after `from` and before `limit`.
    pub(crate) fn next_header(
        &mut self,
        from: u32,
        limit: u64,
    ) -> io::Result<Option<(u32, BatchHeader)>> {
        let mut offset = from;
        while u64::from(offset) + BATCH_HEADER as u64 <= limit {
            if let Some(header) = self.header_at(offset)? {
                self.salt = Some(header.salt);
                return Ok(Some((offset, header)));
            }
            let Some(next) = self.next_magic(offset + short(GRANULE), limit)? else {
                break;
            };
            offset = next;
        }
        Ok(None)
    }

    /// The first granule at or after `from` that begins like a batch.
    fn next_magic(&mut self, mut from: u32, limit: u64) -> io::Result<Option<u32>> {
        while u64::from(from) < limit {
            let octets = self.window.get(u64::from(from), WINDOW)?;
            if octets.len() < GRANULE {
                break;
            }
            if let Some(granule) = octets
                .chunks_exact(GRANULE)
                .position(|granule| granule.starts_with(BATCH_MAGIC))
            {
                return Ok(
                    Some(from + short(granule * GRANULE)).filter(|&at| u64::from(at) < limit)
                );
            }
            from += short(octets.len() / GRANULE * GRANULE);
        }
        Ok(None)
    }

    /// Finds the records between `from` and `to`, searching on after damage.
    pub(crate) fn records(&mut self, from: u32, to: u32, found: &mut Slots) -> io::Result<()> {
        let (mut at, mut bad_from) = (from, None);
        while at < to {
            match self.record_at(at, to)? {
                Some((slot, stride)) => {
                    if let Some(began) = bad_from.take() {
                        found.bad.push((began, at - began));
                    }
                    found.good.push(slot);
                    at += stride;
                }
                None => {
                    bad_from.get_or_insert(at);
                    at += short(GRANULE);
                }
            }
        }
        if let Some(began) = bad_from {
            found.bad.push((began, to - began));
        }
        Ok(())
    }

    fn record_at(&mut self, at: u32, to: u32) -> io::Result<Option<(Slot, u32)>> {
        let Some(salt) = self.salt else {
            return Ok(None);
        };
        let Some(head) = record::head(self.window.get(u64::from(at), HEADER)?) else {
            return Ok(None);
        };
        let stride = record::stride(&head);
        if stride > index(to - at) {
            return Ok(None);
        }
        let octets = self.window.get(u64::from(at), head.length)?;
        if !record::checks(octets, &head, salt, at) {
            return Ok(None);
        }
        let slot = Slot {
            offset: at,
            length: head.length,
            stride,
            kind: head.kind,
            count: head.count,
            transaction: head.transaction,
        };
        Ok(Some((slot, short(stride))))
    }

    /// The record in a slot.
    pub(crate) fn record(&mut self, slot: &Slot) -> io::Result<Option<Record<'_>>> {
        Ok(record::decode(
            self.window.get(u64::from(slot.offset), slot.length)?,
        ))
    }
}

//! The index at the end of a sealed segment, so that nobody need read its bodies to know what it holds.
//!
//! Built while the segment is written, and rebuilt by scanning when it is missing or does not check.

use std::collections::BTreeMap;
use std::io;

use crate::fields::{index, set_u32, set_u64, short, u32_at, u64_at};
use crate::io::File;
use crate::locator::DestinationId;
use crate::record::{Record, Targets, checksum, seed};
use crate::segment::VERSION;

/// Octets of one entry.
pub(crate) const ENTRY: usize = 48;
/// Octets of one place.
pub(crate) const PLACE: usize = 16;
/// Octets of one summary.
pub(crate) const SUMMARY: usize = 40;
/// Octets of the trailer.
pub(crate) const TRAILER: usize = 64;

const MAGIC: &[u8; 8] = b"FMQ-FOOT";

/// One reference in a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) destination: DestinationId,
    pub(crate) sequence: u64,
    pub(crate) size: u32,
    pub(crate) offset: u32,
    pub(crate) target: u16,
    pub(crate) priority: u8,
    pub(crate) flags: u8,
    pub(crate) expires_ms: u64,
}

impl Entry {
    fn encode(&self) -> [u8; ENTRY] {
        let mut octets = [0; ENTRY];
        set_u32(&mut octets, 0, self.destination.0);
        set_u32(&mut octets, 4, self.size);
        set_u64(&mut octets, 8, self.sequence);
        set_u32(&mut octets, 16, self.offset);
        octets[20..22].copy_from_slice(&self.target.to_le_bytes());
        octets[22] = self.priority;
        octets[23] = self.flags;
        set_u64(&mut octets, 24, self.expires_ms);
        octets
    }

    fn decode(octets: &[u8]) -> Self {
        Self {
            destination: DestinationId(u32_at(octets, 0)),
            size: u32_at(octets, 4),
            sequence: u64_at(octets, 8),
            offset: u32_at(octets, 16),
            target: crate::fields::u16_at(octets, 20),
            priority: octets[22],
            flags: octets[23],
            expires_ms: u64_at(octets, 24),
        }
    }

    /// The bit of this reference.
    pub(crate) fn bit(&self) -> u32 {
        crate::liveness::bit_of(self.offset) + u32::from(self.target)
    }
}

#[derive(Debug, Clone, Copy)]
struct Summary {
    entries: u32,
    lowest: u64,
    highest: u64,
    expires_ms: u64,
}

/// What identifies the segment a footer belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sealed {
    pub(crate) segment: u32,
    pub(crate) salt: u64,
    pub(crate) epoch: u64,
    /// Sequence of the last batch.
    pub(crate) sequence: u64,
    /// End of the last batch.
    pub(crate) end: u32,
}

/// Collects the footer of one segment.
#[derive(Debug, Default)]
pub(crate) struct FooterBuilder {
    entries: Vec<u8>,
    places: Vec<u8>,
    summaries: BTreeMap<DestinationId, Summary>,
}

impl FooterBuilder {
    /// Takes a record in; only Adds and Places leave a trace.
    pub(crate) fn push(&mut self, offset: u32, record: &Record<'_>) {
        each_entry(offset, record, |entry| self.entry(&entry));
        if let Record::Place { body_of, .. } = record.unwrapped() {
            self.places.extend_from_slice(&offset.to_le_bytes());
            self.places.extend_from_slice(&[0; 4]);
            self.places.extend_from_slice(&body_of.get().to_le_bytes());
        }
    }

    fn entry(&mut self, entry: &Entry) {
        self.entries.extend_from_slice(&entry.encode());
        let fresh = Summary {
            entries: 0,
            lowest: u64::MAX,
            highest: 0,
            expires_ms: 0,
        };
        let summary = self.summaries.entry(entry.destination).or_insert(fresh);
        summary.entries += 1;
        summary.lowest = summary.lowest.min(entry.sequence);
        summary.highest = summary.highest.max(entry.sequence);
        if entry.expires_ms != 0
            && (summary.expires_ms == 0 || entry.expires_ms < summary.expires_ms)
        {
            summary.expires_ms = entry.expires_ms;
        }
    }

    /// Octets the footer takes.
    pub(crate) fn length(&self) -> usize {
        self.entries.len() + self.places.len() + self.summaries.len() * SUMMARY + TRAILER
    }

    /// The footer, to be written so that it ends with the file.
    pub(crate) fn finish(self, sealed: &Sealed) -> Vec<u8> {
        let (entries, places) = (self.entries.len() / ENTRY, self.places.len() / PLACE);
        let length = self.length();
        let mut out = self.entries;
        out.reserve_exact(length - out.len());
        out.extend_from_slice(&self.places);
        for (destination, summary) in &self.summaries {
            let mut octets = [0; SUMMARY];
            set_u32(&mut octets, 0, destination.0);
            set_u32(&mut octets, 4, summary.entries);
            set_u64(&mut octets, 8, summary.lowest);
            set_u64(&mut octets, 16, summary.highest);
            set_u64(&mut octets, 24, summary.expires_ms);
            out.extend_from_slice(&octets);
        }
        let mut trailer = [0; TRAILER];
        trailer[..8].copy_from_slice(MAGIC);
        set_u32(&mut trailer, 12, checksum(seed(sealed.salt, 0), &out));
        set_u32(&mut trailer, 16, sealed.segment);
        set_u32(&mut trailer, 20, short(entries));
        set_u32(&mut trailer, 24, short(places));
        set_u32(&mut trailer, 28, short(self.summaries.len()));
        set_u64(&mut trailer, 32, sealed.sequence);
        set_u32(&mut trailer, 40, sealed.end);
        set_u32(&mut trailer, 44, VERSION);
        set_u64(&mut trailer, 48, sealed.salt);
        set_u64(&mut trailer, 56, sealed.epoch);
        let sum = checksum(seed(sealed.salt, 0), &trailer[12..]);
        set_u32(&mut trailer, 8, sum);
        out.extend_from_slice(&trailer);
        out
    }
}

/// Gives the references an Add or Place makes.
pub(crate) fn each_entry(offset: u32, record: &Record<'_>, mut give: impl FnMut(Entry)) {
    let mut all = |targets: Targets<'_>, size: u32, priority: u8, flags: u8, expires_ms: u64| {
        for (target, (destination, sequence)) in (0..=u16::MAX).zip(targets.iter()) {
            give(Entry {
                destination,
                sequence,
                size,
                offset,
                target,
                priority,
                flags,
                expires_ms,
            });
        }
    };
    match record.unwrapped() {
        Record::Add { targets, message } => {
            let size = short(message.head.len() + message.body.len());
            all(
                targets,
                size,
                message.priority,
                message.flags,
                message.expires_ms,
            );
        }
        Record::Place { targets, patch, .. } => {
            all(
                targets,
                patch.body_size,
                patch.priority,
                patch.flags,
                patch.expires_ms,
            );
        }
        _ => {}
    }
}

/// The trailer of a file, if it ends with one that checks and belongs to `segment` with `salt`.
pub(crate) fn trailer(
    file: &dyn File,
    segment: u32,
    salt: u64,
) -> io::Result<Option<(Sealed, Layout)>> {
    let length = file.len()?;
    let mut octets = [0; TRAILER];
    let Some(at) = length.checked_sub(TRAILER as u64) else {
        return Ok(None);
    };
    if file.read_at(&mut octets, at)? < TRAILER || &octets[..8] != MAGIC {
        return Ok(None);
    }
    let sealed = Sealed {
        segment: u32_at(&octets, 16),
        sequence: u64_at(&octets, 32),
        end: u32_at(&octets, 40),
        salt: u64_at(&octets, 48),
        epoch: u64_at(&octets, 56),
    };
    let sound = checksum(seed(salt, 0), &octets[12..]) == u32_at(&octets, 8);
    if !sound || sealed.segment != segment || sealed.salt != salt {
        return Ok(None);
    }
    let layout = Layout {
        checksum: u32_at(&octets, 12),
        entries: index(u32_at(&octets, 20)),
        places: index(u32_at(&octets, 24)),
        summaries: index(u32_at(&octets, 28)),
        trailer_at: at,
    };
    Ok(Some((sealed, layout)))
}

/// True if a file ends with what must have been the trailer of `segment`, were it not damaged.
pub(crate) fn is_nearly_trailer(file: &dyn File, segment: u32, salt: u64) -> io::Result<bool> {
    let mut octets = [0; TRAILER];
    let Some(at) = file.len()?.checked_sub(TRAILER as u64) else {
        return Ok(false);
    };
    if file.read_at(&mut octets, at)? < TRAILER {
        return Ok(false);
    }
    let checks = checksum(seed(salt, 0), &octets[12..]) == u32_at(&octets, 8);
    let marks = [
        &octets[..8] == MAGIC,
        checks,
        u32_at(&octets, 16) == segment,
        u64_at(&octets, 48) == salt,
    ];
    Ok(marks.into_iter().filter(|&mark| mark).count() >= 2)
}

/// Sizes of the parts of a footer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Layout {
    checksum: u32,
    entries: usize,
    places: usize,
    summaries: usize,
    trailer_at: u64,
}

/// A footer read back.
#[derive(Debug)]
pub(crate) struct Footer {
    octets: Vec<u8>,
    entries: usize,
}

impl Footer {
    /// Reads the rest of a footer whose trailer checks; `None` if it does not check.
    pub(crate) fn read(file: &dyn File, layout: &Layout, salt: u64) -> io::Result<Option<Self>> {
        let length = layout.entries * ENTRY + layout.places * PLACE + layout.summaries * SUMMARY;
        let Some(at) = layout.trailer_at.checked_sub(length as u64) else {
            return Ok(None);
        };
        let mut octets = vec![0; length];
        let complete = file.read_at(&mut octets, at)? == length;
        if !complete || checksum(seed(salt, 0), &octets) != layout.checksum {
            return Ok(None);
        }
        Ok(Some(Self {
            octets,
            entries: layout.entries,
        }))
    }

    /// Octets of it.
    pub(crate) fn length(&self) -> u64 {
        self.octets.len() as u64
    }

    /// The references, by offset.
    pub(crate) fn entries(&self) -> impl Iterator<Item = Entry> {
        self.octets[..self.entries * ENTRY]
            .chunks_exact(ENTRY)
            .map(Entry::decode)
    }
}

//! Segments and batches: their headers, their names. The bytes are drawn in docs/format.md.

use std::path::{Path, PathBuf};

use crate::fields::{set_u32, set_u64, u32_at, u64_at};
use crate::record::{checksum, seed};

/// Version of everything in the journal.
pub(crate) const VERSION: u32 = 3;
/// Oldest version that can still be read: version 1 had no Marks records, 2 no Ids, Declare and Copy, and both shorter
/// Snapshots.
const VERSION_MIN: u32 = 1;
/// Where the first batch begins: the header has its own page.
pub(crate) const DATA_START: u32 = 4096;
/// Octets of a segment header.
pub(crate) const SEGMENT_HEADER: usize = 64;
/// Octets of a batch header.
pub(crate) const BATCH_HEADER: usize = 64;
/// First octets of every batch.
pub(crate) const BATCH_MAGIC: &[u8; 8] = b"FMQBATCH";

const SEGMENT_MAGIC: &[u8; 8] = b"FMQ-SEGM";

/// Path of a segment.
pub(crate) fn path(journal: &Path, id: u32) -> PathBuf {
    journal.join(format!("{id:08x}.seg"))
}

/// Id in a file name, if it names a segment.
pub(crate) fn id_of(name: &str) -> Option<u32> {
    let stem = name.strip_suffix(".seg")?;
    (stem.len() == 8)
        .then(|| u32::from_str_radix(stem, 16).ok())
        .flatten()
        .filter(|&id| id > 0)
}

/// What a segment says about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    pub(crate) id: u32,
    pub(crate) length: u32,
    pub(crate) epoch: u64,
    pub(crate) salt: u64,
}

/// What the first octets of a file turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HeaderFound {
    /// A header that checks.
    Good(SegmentHeader),
    /// A header of another version.
    Version(u32),
    /// Something else.
    Bad,
}

impl SegmentHeader {
    pub(crate) fn encode(&self) -> [u8; SEGMENT_HEADER] {
        let mut octets = [0; SEGMENT_HEADER];
        octets[..8].copy_from_slice(SEGMENT_MAGIC);
        set_u32(&mut octets, 12, VERSION);
        set_u32(&mut octets, 16, self.id);
        set_u32(&mut octets, 20, self.length);
        set_u64(&mut octets, 24, self.epoch);
        set_u64(&mut octets, 32, self.salt);
        let sum = checksum(0, &octets[12..]);
        set_u32(&mut octets, 8, sum);
        octets
    }

    pub(crate) fn decode(octets: &[u8]) -> HeaderFound {
        if octets.len() < SEGMENT_HEADER || &octets[..8] != SEGMENT_MAGIC {
            return HeaderFound::Bad;
        }
        // The checksum comes first: a damaged version number is damage, not a newer program.
        if checksum(0, &octets[12..SEGMENT_HEADER]) != u32_at(octets, 8) {
            return HeaderFound::Bad;
        }
        match u32_at(octets, 12) {
            VERSION_MIN..=VERSION => HeaderFound::Good(Self {
                id: u32_at(octets, 16),
                length: u32_at(octets, 20),
                epoch: u64_at(octets, 24),
                salt: u64_at(octets, 32),
            }),
            other => HeaderFound::Version(other),
        }
    }
}

/// What precedes the records of one batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BatchHeader {
    pub(crate) segment: u32,
    pub(crate) length: u32,
    pub(crate) salt: u64,
    pub(crate) epoch: u64,
    pub(crate) sequence: u64,
    pub(crate) synced: u64,
    pub(crate) epoch_first: u64,
    pub(crate) records: u32,
}

impl BatchHeader {
    /// Writes the header over the first octets of `batch`, which begins at `offset` of its segment.
    pub(crate) fn encode(&self, batch: &mut [u8], offset: u32) {
        let octets = &mut batch[..BATCH_HEADER];
        octets[..8].copy_from_slice(BATCH_MAGIC);
        set_u32(octets, 12, self.length);
        set_u64(octets, 16, self.salt);
        set_u64(octets, 24, self.epoch);
        set_u64(octets, 32, self.sequence);
        set_u64(octets, 40, self.synced);
        set_u64(octets, 48, self.epoch_first);
        set_u32(octets, 56, self.records);
        set_u32(octets, 60, self.segment);
        let sum = checksum(seed(self.salt, offset), &octets[12..]);
        set_u32(octets, 8, sum);
    }

    /// Reads a header that checks and belongs to `segment`. The salt is its own: a segment whose header is lost can still be read.
    pub(crate) fn decode(octets: &[u8], segment: u32, offset: u32) -> Option<Self> {
        if octets.len() < BATCH_HEADER || &octets[..8] != BATCH_MAGIC {
            return None;
        }
        let salt = u64_at(octets, 16);
        let sound = checksum(seed(salt, offset), &octets[12..BATCH_HEADER]) == u32_at(octets, 8);
        let header = Self {
            segment: u32_at(octets, 60),
            length: u32_at(octets, 12),
            salt,
            epoch: u64_at(octets, 24),
            sequence: u64_at(octets, 32),
            synced: u64_at(octets, 40),
            epoch_first: u64_at(octets, 48),
            records: u32_at(octets, 56),
        };
        (sound && header.segment == segment && header.length as usize >= BATCH_HEADER)
            .then_some(header)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_newer_version_is_told_from_damage() {
        let header = SegmentHeader {
            id: 3,
            length: 1 << 20,
            epoch: 9,
            salt: 77,
        };
        let good = header.encode();
        assert_eq!(SegmentHeader::decode(&good), HeaderFound::Good(header));
        let mut damaged = good;
        damaged[12] = 9;
        assert_eq!(SegmentHeader::decode(&damaged), HeaderFound::Bad);
        let sum = checksum(0, &damaged[12..]);
        set_u32(&mut damaged, 8, sum);
        assert_eq!(SegmentHeader::decode(&damaged), HeaderFound::Version(9));
        for version in [1, 2] {
            let mut old = good;
            old[12] = version;
            let sum = checksum(0, &old[12..]);
            set_u32(&mut old, 8, sum);
            assert_eq!(SegmentHeader::decode(&old), HeaderFound::Good(header));
        }
    }

    #[test]
    fn a_batch_header_belongs_to_its_place() {
        let header = BatchHeader {
            segment: 3,
            length: 96,
            salt: 0x0123_4567_89ab_cdef,
            epoch: 2,
            sequence: 10,
            synced: 9,
            epoch_first: 8,
            records: 1,
        };
        let mut batch = [0; BATCH_HEADER];
        header.encode(&mut batch, 4096);
        assert_eq!(BatchHeader::decode(&batch, 3, 4096), Some(header));
        assert_eq!(BatchHeader::decode(&batch, 3, 4128), None);
        assert_eq!(BatchHeader::decode(&batch, 4, 4096), None);
    }

    #[test]
    fn names_are_ids() {
        assert_eq!(id_of("0000002a.seg"), Some(42));
        assert_eq!(id_of("2a.seg"), None);
        assert_eq!(id_of("0000002a.tmp"), None);
        assert_eq!(path(Path::new("j"), 42), Path::new("j/0000002a.seg"));
    }
}

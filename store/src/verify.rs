//! What a start found, and the offline check that finds the same without starting.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::clock::Stopwatch;
use crate::error::StoreError;
use crate::fields::short;
use crate::footer::{self, Footer};
use crate::io::{Disk, File};
use crate::recover::Recovery;
use crate::replay::{Scan, Slots};
use crate::segment::{BATCH_HEADER, DATA_START, SEGMENT_HEADER, SegmentHeader};

/// A range of a file that does not check and was passed over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quarantined {
    /// Name of the file in the journal directory.
    pub file: String,
    /// Where the range begins.
    pub offset: u64,
    /// How long it is.
    pub len: u64,
    /// What did not check.
    pub reason: &'static str,
}

/// A message that lay in a damaged range. Whether it was still wanted cannot always be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lost {
    /// Name of its destination, or the number if the name is not known.
    pub destination: String,
    /// Its sequence there.
    pub sequence: u64,
    /// Octets of head and body.
    pub bytes: u32,
}

/// What a start read and what it made of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RecoveryReport {
    /// Segments that hold something.
    pub segments: u64,
    /// Records read one by one; what a checkpoint or footer told is not counted.
    pub records: u64,
    /// Octets read from segments.
    pub bytes_read: u64,
    /// Octets of the last batch, never promised to anyone, that were cut.
    pub torn_tail_bytes: u64,
    /// Damage.
    pub quarantined: Vec<Quarantined>,
    /// Messages in the damaged ranges, as far as footers tell; a bounded number.
    pub lost: Vec<Lost>,
    /// The file that tells of the damage, if a start wrote one.
    pub damage_file: Option<PathBuf>,
    /// Transactions without effect because a member or the outcome is damaged or missing.
    pub dropped_transactions: u64,
    /// What an operator should know.
    pub warnings: Vec<String>,
    /// How long it took.
    pub elapsed: Duration,
}

/// Reads every octet that matters of a journal that nobody has open, without changing anything. Finds more than a start does: also
/// what costs nothing yet, such as a damaged footer.
///
/// # Errors
/// If a file cannot be read, has another format version, or the directory is in use.
pub fn check(disk: &Arc<dyn Disk>, dir: &Path) -> Result<RecoveryReport, StoreError> {
    let _lock = disk
        .is_real()
        .then(|| crate::lock::DirectoryLock::take(dir))
        .transpose()?;
    let watch = Stopwatch::start();
    let Recovery {
        mut report, files, ..
    } = crate::recover::inspect(disk, dir)?;
    for (&id, file) in &files {
        let path = crate::segment::path(&dir.join("journal"), id);
        let opened = file.open()?;
        let mut strict = Strict {
            file: &*opened,
            id,
            length: file.length,
            report: &mut report,
        };
        strict
            .segment(file.header)
            .map_err(StoreError::io("read", &path))?;
    }
    report.elapsed = watch.elapsed();
    Ok(report)
}

/// Looks at what a start passes over because it need not believe it.
struct Strict<'a> {
    file: &'a dyn File,
    id: u32,
    length: u64,
    report: &'a mut RecoveryReport,
}

impl Strict<'_> {
    fn found(&mut self, offset: u64, len: u64, reason: &'static str) {
        self.report.quarantined.push(Quarantined {
            file: format!("{:08x}.seg", self.id),
            offset,
            len,
            reason,
        });
    }

    fn segment(&mut self, header: Option<SegmentHeader>) -> io::Result<()> {
        let Some(header) = header else {
            return Ok(());
        };
        let mut page = [0; DATA_START as usize - SEGMENT_HEADER];
        let got = self.file.read_at(&mut page, SEGMENT_HEADER as u64)?;
        if let Some(at) = page[..got].iter().position(|&octet| octet != 0) {
            let at = (SEGMENT_HEADER + at) as u64;
            self.found(at, 1, "the rest of the segment header is not zero");
        }
        self.footer(header.salt)?;
        self.paddings(header.salt)
    }

    fn footer(&mut self, salt: u64) -> io::Result<()> {
        match footer::trailer(self.file, self.id, salt)? {
            Some((_, layout)) if Footer::read(self.file, &layout, salt)?.is_none() => {
                self.found(self.length, 0, "the footer does not check");
            }
            None if footer::is_nearly_trailer(self.file, self.id, salt)? => {
                self.found(self.length, 0, "the trailer does not check");
            }
            _ => {}
        }
        Ok(())
    }

    /// What fills the last granule of a record is zero.
    fn paddings(&mut self, salt: u64) -> io::Result<()> {
        let mut scan = Scan::new(self.file, self.id, Some(salt));
        let mut at = DATA_START;
        while let Some((offset, header)) = scan.next_header(at, self.length)? {
            let end = offset.saturating_add(header.length);
            let mut slots = Slots::default();
            scan.records(offset + short(BATCH_HEADER), end, &mut slots)?;
            for slot in &slots.good {
                let from = u64::from(slot.offset) + slot.length as u64;
                let to = u64::from(slot.offset) + slot.stride as u64;
                let padding = scan
                    .window
                    .get(from, usize::try_from(to - from).unwrap_or(0))?;
                if padding.iter().any(|&octet| octet != 0) {
                    self.found(from, to - from, "the padding of a record is not zero");
                }
            }
            at = end;
        }
        Ok(())
    }
}

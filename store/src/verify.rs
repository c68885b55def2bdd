//! What a start found, and the offline check that finds the same without starting.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::error::StoreError;
use crate::io::Disk;

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
    /// Transactions without effect because a member or the outcome is damaged or missing.
    pub dropped_transactions: u64,
    /// What an operator should know.
    pub warnings: Vec<String>,
    /// How long it took.
    pub elapsed: Duration,
}

/// Reads every record of a journal that nobody has open, without changing anything.
///
/// # Errors
/// If a file cannot be read, has another format version, or the directory is in use.
pub fn check(disk: &Arc<dyn Disk>, dir: &Path) -> Result<RecoveryReport, StoreError> {
    let _lock = disk
        .is_real()
        .then(|| crate::lock::DirectoryLock::take(dir))
        .transpose()?;
    crate::recover::check(disk, &dir.join("journal"))
}

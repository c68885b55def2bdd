//! What can go wrong in the store, as data.

use std::io;
use std::path::PathBuf;

use crate::locator::Locator;

/// An error of the store.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// A file operation failed.
    #[error("{action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Another process holds the data directory.
    #[error("data directory {} is in use by process {}", directory.display(), holder.map_or_else(|| "unknown".to_owned(), |pid| pid.to_string()))]
    Locked {
        /// The directory.
        directory: PathBuf,
        /// Process id of the holder, if its lock file says so.
        holder: Option<u32>,
    },
    /// A segment was written in a format this version does not know.
    #[error("{} has format version {found}, this program knows {known}", path.display())]
    Version {
        /// The file.
        path: PathBuf,
        /// Version in the file.
        found: u32,
        /// Version of this program.
        known: u32,
    },
    /// No space for more messages; removals are still accepted.
    #[error("the store is full")]
    Full,
    /// What one append wrote exceeds what one batch can hold.
    #[error("an append of {length} octets exceeds the largest batch")]
    TooLarge {
        /// Octets written by the closure.
        length: u64,
    },
    /// The journal failed and refuses further work until the broker is started again.
    #[error("the journal failed and accepts nothing more: {reason}")]
    Dead {
        /// The first failure.
        reason: String,
    },
    /// The record is not on disk yet; its message is still in the hands of whoever appended it.
    #[error("record {at} is not synced yet")]
    NotSynced {
        /// The record.
        at: Locator,
    },
    /// The record does not check.
    #[error("record {at} is damaged: {reason}")]
    Damaged {
        /// The record.
        at: Locator,
        /// What does not check.
        reason: &'static str,
    },
    /// There is no room in temporary storage: its limit is reached, or the disk is full.
    #[error("temporary storage is full: {reason}")]
    TempFull {
        /// Which of both.
        reason: &'static str,
    },
    /// A record in temporary storage does not check.
    #[error("{}: the record at {offset} is damaged: {reason}", path.display())]
    TempDamaged {
        /// The file.
        path: PathBuf,
        /// Where in it.
        offset: u32,
        /// What does not check.
        reason: &'static str,
    },
    /// A key of the configuration has a value that cannot work.
    #[error("store configuration: {key} {problem}")]
    Config {
        /// The key.
        key: &'static str,
        /// What is wrong with its value.
        problem: &'static str,
    },
    /// The checkpoint could not be read or written.
    #[error("checkpoint: {reason}")]
    Checkpoint {
        /// What the backend said.
        reason: String,
    },
}

impl StoreError {
    /// Wraps an I/O error with what was tried on which path.
    pub(crate) fn io(
        action: &'static str,
        path: &std::path::Path,
    ) -> impl FnOnce(io::Error) -> Self + use<> {
        let path = path.to_owned();
        move |source| Self::Io {
            action,
            path,
            source,
        }
    }
}

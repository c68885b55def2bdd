//! Temporary storage: messages that leave memory and need not outlive the process.
//!
//! - Records as in the journal, written in runs into files of their own, never synced. Whoever opens it finds it empty.
//! - A message has a [`TempPlace`] from its writing to its release, each once; in memory a file costs the count of those that
//!   are still wanted of it, a message nothing.
//! - A file goes when nothing in it is wanted any more. Unlinking takes a while, so `release` only says that there is something to
//!   [`Temp::tidy`].
//! - One at a time writes and tidies, off everybody's way; reading and releasing go on meanwhile.
//!
//! Not here: what is written when, and compaction. A file with one wanted message stays.

mod files;
mod read;

use std::fmt;
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::error::StoreError;
use crate::fields::{index, short, u32_at};
use crate::io::{self, Disk, File};
use crate::locator::Locator;
use crate::message::StoredMessage;
use crate::read::{Files, ReadOutcome};
use crate::record::{self, encode, padded};
use crate::segment;
use files::Table;

/// Smallest file that makes sense; tests use it to have many.
const FILE_BYTES_MIN: u64 = 64 * 1024;
/// Into how many files a full temporary storage should be divided at least, so that room comes back bit by bit.
const FILES_MIN: u64 = 8;
/// The buffer of a run above this size is given back after use.
const RUN_KEEP_BYTES: usize = 8 << 20;

/// What temporary storage needs to know.
#[derive(Debug, Clone, Copy)]
pub struct TempConfig {
    /// Octets it may take on disk; 0 takes nothing.
    pub limit_bytes: u64,
    /// Length of a file; a longer message gets one of its own. With a small limit files are shorter.
    pub file_bytes: u32,
}

/// Where a message lies: opaque, below 2^63.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TempPlace(Locator);

impl TempPlace {
    /// The place as a number.
    #[must_use]
    pub fn get(self) -> NonZeroU64 {
        NonZeroU64::new(self.0.get()).expect("file ids begin at 1")
    }

    /// A number made by [`TempPlace::get`]; `None` for one that no message can have.
    #[must_use]
    pub fn from_u64(value: u64) -> Option<Self> {
        Locator::from_u64(value).map(Self)
    }
}

impl fmt::Display for TempPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What reading one message gives; nothing if its place was released.
pub type TempOutcome = ReadOutcome;

/// Messages to be written together.
#[derive(Debug, Default)]
pub struct TempRun {
    octets: Vec<u8>,
    starts: Vec<u32>,
}

impl TempRun {
    /// Adds a message.
    pub fn add(&mut self, message: &StoredMessage<'_>) {
        self.starts.push(short(self.octets.len()));
        encode::add(&mut self.octets, 0, &[], message);
    }

    /// Octets of all messages so far.
    #[must_use]
    pub fn len_bytes(&self) -> usize {
        self.octets.len()
    }

    /// Octets that a message with `payload_bytes` of head and body takes.
    #[must_use]
    pub fn bytes_of(payload_bytes: usize) -> usize {
        padded(record::MESSAGE_HEADER + payload_bytes)
    }

    /// Whether there is no message.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.starts.is_empty()
    }

    /// Forgets all messages.
    pub fn clear(&mut self) {
        self.starts.clear();
        self.octets.clear();
        self.octets.shrink_to(RUN_KEEP_BYTES);
    }
}

/// The file that runs are appended to.
#[derive(Debug)]
struct Active {
    id: u32,
    file: Arc<dyn File>,
    length: u32,
}

/// See the module.
#[derive(Debug)]
pub struct Temp {
    disk: Arc<dyn Disk>,
    directory: PathBuf,
    limit_bytes: u64,
    file_bytes: u64,
    writer: Mutex<Option<Active>>,
    table: Mutex<Table>,
    open: Files,
    used_bytes: AtomicU64,
    is_full: AtomicBool,
}

impl Temp {
    /// Temporary storage in `directory`, which is made with the first file; files of an earlier process are removed.
    ///
    /// # Errors
    /// A file of an earlier process cannot be removed.
    pub fn open(
        disk: Arc<dyn Disk>,
        directory: &Path,
        config: TempConfig,
    ) -> Result<Self, StoreError> {
        Self::empty(&*disk, directory)?;
        let divided = config.limit_bytes / FILES_MIN;
        Ok(Self {
            disk,
            directory: directory.to_owned(),
            limit_bytes: config.limit_bytes,
            file_bytes: u64::from(config.file_bytes).min(divided.max(FILE_BYTES_MIN)),
            writer: Mutex::default(),
            table: Mutex::default(),
            open: Files::default(),
            used_bytes: AtomicU64::new(0),
            is_full: AtomicBool::new(false),
        })
    }

    /// Removes the files that lie in `directory`, if it is there.
    ///
    /// # Errors
    /// A file cannot be removed.
    pub fn empty(disk: &dyn Disk, directory: &Path) -> Result<(), StoreError> {
        let names = match disk.list(directory) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            names => names.map_err(StoreError::io("list", directory))?,
        };
        for name in names.iter().filter(|name| segment::id_of(name).is_some()) {
            let path = directory.join(name);
            disk.remove(&path)
                .map_err(StoreError::io("remove", &path))?;
        }
        Ok(())
    }

    /// Where its files lie.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Octets of its files.
    #[must_use]
    pub fn used_bytes(&self) -> u64 {
        self.used_bytes.load(Ordering::Relaxed)
    }

    /// Octets it may take.
    #[must_use]
    pub fn limit_bytes(&self) -> u64 {
        self.limit_bytes
    }

    /// Whether the last run found no room, and no file has gone since.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.is_full.load(Ordering::Relaxed)
    }

    /// Forgets that it was full: nobody wants room any more.
    pub fn nobody_waits(&self) {
        self.is_full.store(false, Ordering::Relaxed);
    }

    /// Writes a run; the place of each of its messages, in order. On an error nothing was written.
    ///
    /// # Errors
    /// `TempFull` if there is no room now; `Io` if the disk refuses.
    pub fn write(&self, run: &mut TempRun) -> Result<Vec<TempPlace>, StoreError> {
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let length = run.octets.len() as u64;
        let written = self.append(&mut writer, run, length);
        let is_full = matches!(written, Err(StoreError::TempFull { .. }));
        self.is_full.store(is_full, Ordering::Relaxed);
        written
    }

    /// Messages are not wanted any more. Returns whether there is something to tidy now.
    pub fn release(&self, places: &[TempPlace]) -> bool {
        let mut table = self.table();
        let emptied = places
            .iter()
            .filter(|place| table.release(place.0.segment()));
        emptied.count() > 0
    }

    /// Removes files of which nothing is wanted any more. One that cannot be removed now is tried again.
    ///
    /// # Errors
    /// A file could not be removed.
    pub fn tidy(&self) -> Result<(), StoreError> {
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let emptied = self.table().take_emptied();
        let mut outcome = Ok(());
        for (id, bytes) in emptied {
            writer.take_if(|active| active.id == id);
            self.open.forget(id);
            let path = segment::path(&self.directory, id);
            if let Err(error) = self.disk.remove(&path) {
                self.table().put_back(id, bytes);
                outcome = Err(StoreError::io("remove", &path)(error));
                continue;
            }
            self.used_bytes.fetch_sub(bytes, Ordering::Relaxed);
            self.is_full.store(false, Ordering::Relaxed);
        }
        outcome
    }

    /// Removes everything, for good: all places are void, and nothing is written any more.
    ///
    /// # Errors
    /// A file could not be removed.
    pub fn close(&self) -> Result<(), StoreError> {
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        *writer = None;
        *self.table() = Table::closed();
        self.used_bytes.store(0, Ordering::Relaxed);
        Self::empty(&*self.disk, &self.directory)
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn append(
        &self,
        writer: &mut Option<Active>,
        run: &mut TempRun,
        length: u64,
    ) -> Result<Vec<TempPlace>, StoreError> {
        if self.table().is_closed() {
            let reason = "it is closed";
            return Err(StoreError::TempFull { reason });
        }
        if self.used_bytes() + length > self.limit_bytes {
            let reason = "temp.limit is reached";
            return Err(StoreError::TempFull { reason });
        }
        writer.take_if(|active| u64::from(active.length) + length > self.file_bytes);
        if writer.is_none() {
            *writer = Some(self.begin_file()?);
        }
        let Some(Active {
            id,
            file,
            length: at,
        }) = writer
        else {
            unreachable!("it has just been filled");
        };
        seal(run, *id, *at);
        if let Err(error) = file.write_at(&run.octets, u64::from(*at)) {
            let error = self.refusal("write", *id, error);
            if !matches!(error, StoreError::TempFull { .. }) {
                // What the file does next time is anybody's guess.
                self.table().abandon(*id);
                *writer = None;
            }
            return Err(error);
        }
        let place = |start: &u32| TempPlace(Locator::new(*id, *at + start));
        let places: Vec<TempPlace> = run.starts.iter().map(place).collect();
        self.table().written(*id, places.len() as u64, length);
        self.used_bytes.fetch_add(length, Ordering::Relaxed);
        *at += short(run.octets.len());
        Ok(places)
    }

    fn begin_file(&self) -> Result<Active, StoreError> {
        self.disk
            .create_dir(&self.directory)
            .map_err(StoreError::io("create", &self.directory))?;
        let id = self.table().next_id();
        let path = segment::path(&self.directory, id);
        let file = self
            .disk
            .create(&path)
            .map_err(|error| self.refusal("create", id, error))?;
        self.open.insert(id, Arc::clone(&file));
        self.table().begin(id);
        let length = 0;
        Ok(Active { id, file, length })
    }

    fn refusal(&self, action: &'static str, id: u32, error: std::io::Error) -> StoreError {
        if io::is_full(&error) {
            let reason = "the disk has no space left";
            return StoreError::TempFull { reason };
        }
        StoreError::io(action, &segment::path(&self.directory, id))(error)
    }
}

/// What seeds the checksums of a file: a record read from another one does not check.
fn salt_of(id: u32) -> u64 {
    u64::from(id)
}

/// Fills in the checksums of a run that goes to `at` of the file `id`.
fn seal(run: &mut TempRun, id: u32, at: u32) {
    for start in &run.starts {
        let octets = &mut run.octets[index(*start)..];
        debug_assert!(index(u32_at(octets, 4)) <= octets.len());
        record::seal(octets, salt_of(id), at + start);
    }
}

#[cfg(test)]
mod tests;

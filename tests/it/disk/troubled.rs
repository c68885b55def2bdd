//! The real disk with troubles that a test switches on and off: no space, read-only, syncs that hang or fail.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};

use ferrymq_store::io::{Disk, File, RealDisk};

/// A disk; clones share their troubles.
#[derive(Clone, Debug, Default)]
pub(super) struct TroubledDisk(Arc<Troubles>);

#[derive(Debug)]
struct Troubles {
    /// Octets by which files may still grow.
    room: AtomicU64,
    read_only: AtomicBool,
    syncs_fail: AtomicBool,
    syncs: Mutex<Syncs>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Syncs {
    held: bool,
    waiting: u32,
}

impl Default for Troubles {
    fn default() -> Self {
        Self {
            room: AtomicU64::new(u64::MAX),
            read_only: AtomicBool::new(false),
            syncs_fail: AtomicBool::new(false),
            syncs: Mutex::default(),
            changed: Condvar::new(),
        }
    }
}

impl TroubledDisk {
    pub(super) fn set_room(&self, bytes: u64) {
        self.0.room.store(bytes, Ordering::SeqCst);
    }

    pub(super) fn set_read_only(&self) {
        self.0.read_only.store(true, Ordering::SeqCst);
    }

    pub(super) fn let_syncs_fail(&self) {
        self.0.syncs_fail.store(true, Ordering::SeqCst);
    }

    /// From now on syncs do not return.
    pub(super) fn hold_syncs(&self) {
        self.0.syncs.lock().expect("not poisoned").held = true;
    }

    pub(super) fn release_syncs(&self) {
        self.0.syncs.lock().expect("not poisoned").held = false;
        self.0.changed.notify_all();
    }

    /// Waits until somebody hangs in a sync.
    pub(super) fn until_a_sync_waits(&self) {
        crate::wait::until("a sync", || {
            let syncs = self.0.syncs.lock().expect("not poisoned");
            (syncs.waiting > 0).then_some(())
        });
    }
}

impl Troubles {
    fn write(&self) -> io::Result<()> {
        match self.read_only.load(Ordering::SeqCst) {
            true => Err(io::ErrorKind::ReadOnlyFilesystem.into()),
            false => Ok(()),
        }
    }

    fn grow(&self, bytes: u64) -> io::Result<()> {
        let grown = self
            .room
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |room| {
                room.checked_sub(bytes)
            });
        grown
            .map(drop)
            .map_err(|_| io::ErrorKind::StorageFull.into())
    }

    fn shrink(&self, bytes: u64) {
        let more = |room: u64| Some(room.saturating_add(bytes));
        let _ = self
            .room
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, more);
    }

    fn sync(&self) -> io::Result<()> {
        let mut syncs = self.syncs.lock().expect("not poisoned");
        syncs.waiting += 1;
        while syncs.held {
            syncs = self.changed.wait(syncs).expect("not poisoned");
        }
        syncs.waiting -= 1;
        if self.syncs_fail.load(Ordering::SeqCst) {
            return Err(io::Error::other("the disk has lost a write"));
        }
        self.write()
    }
}

impl Disk for TroubledDisk {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        RealDisk.create_dir(path)
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<String>> {
        RealDisk.list(directory)
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        let (file, troubles) = (RealDisk.open(path)?, Arc::clone(&self.0));
        Ok(Arc::new(TroubledFile { file, troubles }))
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        self.0.write()?;
        let (file, troubles) = (RealDisk.create(path)?, Arc::clone(&self.0));
        Ok(Arc::new(TroubledFile { file, troubles }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.0.write()?;
        RealDisk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.0.write()?;
        let bytes = path.metadata()?.len();
        RealDisk.remove(path)?;
        self.0.shrink(bytes);
        Ok(())
    }

    fn sync_dir(&self, directory: &Path) -> io::Result<()> {
        self.0.write()?;
        RealDisk.sync_dir(directory)
    }

    fn free_bytes(&self, _directory: &Path) -> io::Result<u64> {
        Ok(self.0.room.load(Ordering::SeqCst))
    }

    fn is_real(&self) -> bool {
        true
    }
}

#[derive(Debug)]
struct TroubledFile {
    file: Arc<dyn File>,
    troubles: Arc<Troubles>,
}

impl File for TroubledFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.file.read_at(buffer, offset)
    }

    fn write_at(&self, data: &[u8], offset: u64) -> io::Result<()> {
        self.troubles.write()?;
        let end = offset + data.len() as u64;
        self.troubles.grow(end.saturating_sub(self.file.len()?))?;
        self.file.write_at(data, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.troubles.sync()?;
        self.file.sync()
    }

    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }
}

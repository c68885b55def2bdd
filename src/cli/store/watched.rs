//! A disk that moves a progress bar by what is read from it.

use std::io;
use std::path::Path;
use std::sync::Arc;

use ferrymq_store::io::{Disk, File};
use indicatif::ProgressBar;

/// `inner`, watched by `bar`.
pub(super) fn disk(inner: &Arc<dyn Disk>, bar: &ProgressBar) -> Arc<dyn Disk> {
    Arc::new(WatchedDisk {
        inner: Arc::clone(inner),
        bar: bar.clone(),
    })
}

#[derive(Debug)]
struct WatchedDisk {
    inner: Arc<dyn Disk>,
    bar: ProgressBar,
}

#[derive(Debug)]
struct WatchedFile {
    inner: Arc<dyn File>,
    bar: ProgressBar,
}

impl WatchedDisk {
    fn watch(&self, inner: Arc<dyn File>) -> Arc<dyn File> {
        let bar = self.bar.clone();
        Arc::new(WatchedFile { inner, bar })
    }
}

impl Disk for WatchedDisk {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.inner.create_dir(path)
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<String>> {
        self.inner.list(directory)
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        Ok(self.watch(self.inner.open(path)?))
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        Ok(self.watch(self.inner.create(path)?))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.inner.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.inner.remove(path)
    }

    fn sync_dir(&self, directory: &Path) -> io::Result<()> {
        self.inner.sync_dir(directory)
    }

    fn free_bytes(&self, directory: &Path) -> io::Result<u64> {
        self.inner.free_bytes(directory)
    }

    fn is_real(&self) -> bool {
        self.inner.is_real()
    }
}

impl File for WatchedFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let got = self.inner.read_at(buffer, offset)?;
        self.bar.inc(got as u64);
        Ok(got)
    }

    fn write_at(&self, data: &[u8], offset: u64) -> io::Result<()> {
        self.inner.write_at(data, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.inner.sync()
    }

    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }
}

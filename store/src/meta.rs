//! The small seam behind which sled hides: a few named values, replaced together in one atomic batch.
//!
//! - Only an accelerator: whatever fails here, the journal has everything.
//! - sled 0.34's `flush` is `sync_file_range` on Linux, which promises nothing after a power cut; so its files are synced after it.
//! - On a simulated disk there is no sled: a file written aside and renamed has the same contract.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::StoreError;
use crate::fields::{Reader, put_octets, put_varint};
use crate::io::Disk;

/// sled's cache: its values are few and written over and over.
const CACHE_BYTES: u64 = 1 << 20;
/// Largest piece stored as one sled value; larger ones would become files of their own.
const PIECE: usize = 64 * 1024;

/// Values by name.
pub(crate) type Values = BTreeMap<String, Vec<u8>>;
/// New values, and names to forget.
pub(crate) type Changes = BTreeMap<String, Option<Vec<u8>>>;

/// Keeps values.
pub(crate) trait Meta: Send {
    /// Everything kept.
    fn load(&mut self) -> Result<Values, StoreError>;
    /// Replaces values, all or none, durably.
    fn store(&mut self, changes: Changes) -> Result<(), StoreError>;
}

fn failed(reason: impl std::fmt::Display) -> StoreError {
    StoreError::Checkpoint {
        reason: reason.to_string(),
    }
}

/// Opens what fits the disk. The second value is a warning if what was there had to be moved aside.
pub(crate) fn open(
    disk: &Arc<dyn Disk>,
    data: &Path,
) -> Result<(Box<dyn Meta>, Option<String>), StoreError> {
    let path = data.join("meta");
    if !disk.is_real() {
        return Ok((
            Box::new(FileMeta {
                disk: Arc::clone(disk),
                directory: path,
                values: Values::new(),
            }),
            None,
        ));
    }
    match open_sled(&path) {
        Ok(meta) => Ok((Box::new(meta), None)),
        Err(reason) => {
            let aside = move_aside(&path)?;
            let warning = format!(
                "{} could not be opened ({reason}); moved to {}",
                path.display(),
                aside.display()
            );
            let meta = open_sled(&path).map_err(failed)?;
            Ok((Box::new(meta), Some(warning)))
        }
    }
}

/// Moves a broken meta directory out of the way, keeping at most one.
pub(crate) fn move_aside(path: &Path) -> Result<PathBuf, StoreError> {
    let aside = path.with_extension("broken");
    if aside.is_dir() {
        std::fs::remove_dir_all(&aside).map_err(StoreError::io("remove", &aside))?;
    } else if aside.exists() {
        std::fs::remove_file(&aside).map_err(StoreError::io("remove", &aside))?;
    }
    std::fs::rename(path, &aside).map_err(StoreError::io("rename", path))?;
    Ok(aside)
}

struct SledMeta {
    database: sled::Db,
    path: PathBuf,
}

fn open_sled(path: &Path) -> Result<SledMeta, String> {
    let config = sled::Config::new()
        .path(path)
        .cache_capacity(CACHE_BYTES)
        .flush_every_ms(None);
    // sled panics on some damage; what it leaves behind then is not used again.
    let opened = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| config.open()));
    match opened {
        Ok(Ok(database)) => Ok(SledMeta {
            database,
            path: path.to_owned(),
        }),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err("sled panicked".to_owned()),
    }
}

impl Meta for SledMeta {
    fn load(&mut self) -> Result<Values, StoreError> {
        let read = || {
            let mut values = Values::new();
            // Pieces of one value follow each other: `name#0000`, `name#0001`.
            for pair in self.database.iter() {
                let (key, piece) = pair.map_err(failed)?;
                let key = String::from_utf8_lossy(&key);
                let name = key.rsplit_once('#').map_or(&*key, |(name, _)| name);
                values
                    .entry(name.to_owned())
                    .or_default()
                    .extend_from_slice(&piece);
            }
            Ok(values)
        };
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(read))
            .unwrap_or_else(|_| Err(failed("sled panicked")))
    }

    fn store(&mut self, changes: Changes) -> Result<(), StoreError> {
        let write = || {
            let mut batch = sled::Batch::default();
            for (name, value) in &changes {
                let pieces = value
                    .as_ref()
                    .map_or(0, |value| value.len().div_ceil(PIECE));
                let old = self.database.scan_prefix(format!("{name}#"));
                for key in old.keys().skip(pieces) {
                    batch.remove(key.map_err(failed)?);
                }
                for (number, piece) in value
                    .iter()
                    .flat_map(|value| value.chunks(PIECE))
                    .enumerate()
                {
                    batch.insert(format!("{name}#{number:04x}").as_bytes(), piece);
                }
            }
            self.database.apply_batch(batch).map_err(failed)?;
            self.database.flush().map_err(failed)?;
            sync_files(&self.path)
        };
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(write))
            .unwrap_or_else(|_| Err(failed("sled panicked")))
    }
}

fn sync_files(directory: &Path) -> Result<(), StoreError> {
    for name in ["db", "conf"] {
        let path = directory.join(name);
        if let Ok(file) = std::fs::File::open(&path) {
            file.sync_all().map_err(StoreError::io("sync", &path))?;
        }
    }
    Ok(())
}

/// All values in one file, for disks that are not real.
struct FileMeta {
    disk: Arc<dyn Disk>,
    directory: PathBuf,
    values: Values,
}

impl Meta for FileMeta {
    fn load(&mut self) -> Result<Values, StoreError> {
        let path = self.directory.join("values");
        let Ok(file) = self.disk.open(&path) else {
            return Ok(Values::new());
        };
        let length = file.len().map_err(StoreError::io("measure", &path))?;
        let mut octets = vec![0; usize::try_from(length).map_err(failed)?];
        file.read_at(&mut octets, 0)
            .map_err(StoreError::io("read", &path))?;
        let mut reader = Reader::new(&octets);
        let mut read = || {
            (0..reader.varint()?)
                .map(|_| Some((reader.string()?, reader.octets()?.to_vec())))
                .collect::<Option<Values>>()
        };
        self.values = read().ok_or_else(|| failed("the file of values does not make sense"))?;
        Ok(self.values.clone())
    }

    fn store(&mut self, changes: Changes) -> Result<(), StoreError> {
        for (name, value) in changes {
            match value {
                Some(value) => drop(self.values.insert(name, value)),
                None => drop(self.values.remove(&name)),
            }
        }
        let mut octets = Vec::new();
        put_varint(&mut octets, self.values.len() as u64);
        for (name, value) in &self.values {
            put_octets(&mut octets, name.as_bytes());
            put_octets(&mut octets, value);
        }
        let (path, temporary) = (
            self.directory.join("values"),
            self.directory.join("values.tmp"),
        );
        let write = || {
            self.disk.create_dir(&self.directory)?;
            let file = self.disk.create(&temporary)?;
            file.write_at(&octets, 0)?;
            file.sync()?;
            self.disk.rename(&temporary, &path)?;
            self.disk.sync_dir(&self.directory)
        };
        write().map_err(StoreError::io("write", &path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::RealDisk;

    fn disk() -> Arc<dyn Disk> {
        Arc::new(RealDisk)
    }

    #[test]
    fn values_come_back_whatever_their_size() {
        let directory = tempfile::tempdir().unwrap();
        let big: Vec<u8> = (0..PIECE * 3 + 5)
            .map(|at| u8::try_from(at % 251).unwrap())
            .collect();
        {
            let (mut meta, warning) = open(&disk(), directory.path()).unwrap();
            assert_eq!(warning, None);
            meta.store(Changes::from([
                ("a".into(), Some(big.clone())),
                ("b".into(), Some(vec![1])),
            ]))
            .unwrap();
        }
        {
            let (mut meta, _) = open(&disk(), directory.path()).unwrap();
            assert_eq!(
                meta.load().unwrap(),
                Values::from([("a".into(), big), ("b".into(), vec![1])])
            );
            meta.store(Changes::from([
                ("a".into(), Some(vec![2])),
                ("b".into(), None),
            ]))
            .unwrap();
        }
        let (mut meta, _) = open(&disk(), directory.path()).unwrap();
        assert_eq!(meta.load().unwrap(), Values::from([("a".into(), vec![2])]));
    }

    #[test]
    fn what_cannot_be_opened_is_moved_aside() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("meta"), "this is not a directory").unwrap();
        let (mut meta, warning) = open(&disk(), directory.path()).unwrap();
        assert!(warning.unwrap().contains("moved to"));
        assert!(meta.load().unwrap().is_empty());
        assert!(directory.path().join("meta.broken").exists());
    }
}

//! Repair: everything that can still be read leaves the damaged segments, and these are moved aside, so that the next start is clean.
//!
//! It is compaction of the damaged segments, whatever is in them; so the journal is right at every moment, and a repair that is
//! interrupted can be run again.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::config::StoreConfig;
use crate::error::StoreError;
use crate::io::Disk;
use crate::segment;
use crate::store::Store;
use crate::verify::{RecoveryReport, check};

/// Octets copied at once.
const PART: usize = 256 * 1024;

/// What a repair did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Repaired {
    /// What was found before it.
    pub before: RecoveryReport,
    /// What is found after it.
    pub after: RecoveryReport,
    /// The damaged files as they were.
    pub set_aside: Vec<PathBuf>,
    /// Segments that could not be emptied, for want of space.
    pub left: Vec<u32>,
}

/// Repairs the store in `dir`, which nobody may have open. `tell` hears what is being done.
///
/// # Errors
/// If files cannot be read or written, or the directory is in use.
pub fn repair(
    disk: &Arc<dyn Disk>,
    dir: &Path,
    config: &StoreConfig,
    tell: &mut dyn FnMut(&str),
) -> Result<Repaired, StoreError> {
    tell("looking for damage");
    let before = check(disk, dir)?;
    let names = before.quarantined.iter().map(|range| &*range.file);
    let damaged: BTreeSet<u32> = names.filter_map(segment::id_of).collect();
    let mut repaired = Repaired {
        before,
        ..Repaired::default()
    };
    for &id in &damaged {
        tell(&format!("setting {id:08x}.seg aside"));
        repaired.set_aside.push(set_aside(disk, dir, id)?);
    }
    tell("reading the journal and writing its checkpoint anew");
    // What the checkpoint says of a damaged record is not to be believed, and it may be damaged itself.
    let config = StoreConfig {
        trust_checkpoint: false,
        ..config.clone()
    };
    let (store, _) = Store::open(Arc::clone(disk), dir, config, Box::new(|_| {}))?;
    if !damaged.is_empty() {
        tell("moving what is left out of the damaged files");
        repaired.left = store.evacuate(&damaged)?.into_iter().collect();
    }
    store.checkpoint()?;
    store.close()?;
    drop(store);
    tell("looking again");
    repaired.after = check(disk, dir)?;
    Ok(repaired)
}

/// Copies a segment as it is to where nothing reads it.
fn set_aside(disk: &Arc<dyn Disk>, dir: &Path, id: u32) -> Result<PathBuf, StoreError> {
    let directory = dir.join("quarantine");
    let from = segment::path(&dir.join("journal"), id);
    let copy = || {
        disk.create_dir(&directory)?;
        let taken: BTreeSet<String> = disk.list(&directory)?.into_iter().collect();
        let name = (0..)
            .map(|number| format!("{id:08x}.{number}.damaged"))
            .find(|name| !taken.contains(name))
            .unwrap_or_default();
        let to = directory.join(name);
        let (source, target) = (disk.open(&from)?, disk.create(&to)?);
        let mut buffer = vec![0; PART];
        let mut at = 0;
        loop {
            let got = source.read_at(&mut buffer, at)?;
            if got == 0 {
                break;
            }
            target.write_at(&buffer[..got], at)?;
            at += got as u64;
        }
        target.sync()?;
        disk.sync_dir(&directory)?;
        Ok(to)
    };
    copy().map_err(StoreError::io("set aside", &from))
}

//! What lies in the journal directory: segments in use, space to be used again, and what belongs to nobody.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::StoreError;
use crate::io::{Disk, File};
use crate::prepare::Leftovers;
use crate::replay::{Scan, Window};
use crate::segment::{self, DATA_START, HeaderFound, SEGMENT_HEADER, SegmentHeader, VERSION};
use crate::verify::Quarantined;

/// Octets behind the header that are zero in a segment prepared and never used.
const PROBE: usize = 60 * 1024;

/// A segment file. Not kept open: there may be more of them than a process may open files.
#[derive(Debug)]
pub(crate) struct SegmentFile {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    pub(crate) length: u64,
    pub(crate) header: Option<SegmentHeader>,
}

impl SegmentFile {
    /// Opens the file.
    pub(crate) fn open(&self) -> Result<Arc<dyn File>, StoreError> {
        self.disk
            .open(&self.path)
            .map_err(StoreError::io("open", &self.path))
    }

    pub(crate) fn salt(&self) -> Option<u64> {
        self.header.map(|header| header.salt)
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Survey {
    pub(crate) segments: BTreeMap<u32, SegmentFile>,
    pub(crate) leftovers: Leftovers,
    pub(crate) highest_id: u32,
    pub(crate) highest_epoch: u64,
    pub(crate) quarantined: Vec<Quarantined>,
    /// Half-made segments and space beyond need.
    rubbish: Vec<PathBuf>,
}

impl Survey {
    /// Looks, and changes nothing.
    pub(crate) fn look(disk: &Arc<dyn Disk>, journal: &Path) -> Result<Self, StoreError> {
        let mut survey = Self::default();
        for name in disk
            .list(journal)
            .map_err(StoreError::io("list", journal))?
        {
            let path = journal.join(&name);
            if let Some(id) = segment::id_of(&name) {
                survey.highest_id = survey.highest_id.max(id);
                survey.segment(disk, id, path)?;
            } else if name.ends_with(".free") {
                let length = disk.open(&path).and_then(|file| file.len());
                survey.free(path.clone(), length.map_err(StoreError::io("open", &path))?);
            } else if name.ends_with(".tmp") {
                survey.rubbish.push(path);
            }
        }
        survey.set_unused_aside(journal)?;
        survey.leftovers.bytes += survey
            .segments
            .values()
            .map(|segment| segment.length)
            .sum::<u64>();
        Ok(survey)
    }

    fn free(&mut self, path: PathBuf, length: u64) {
        self.leftovers.bytes += length;
        self.leftovers.free.push((path, length));
    }

    fn segment(&mut self, disk: &Arc<dyn Disk>, id: u32, path: PathBuf) -> Result<(), StoreError> {
        let read = || {
            let file = disk.open(&path)?;
            let mut octets = [0; SEGMENT_HEADER];
            let got = file.read_at(&mut octets, 0)?;
            let length = file.len()?;
            io::Result::Ok((SegmentHeader::decode(&octets[..got]), length))
        };
        let (found, length) = read().map_err(StoreError::io("read", &path))?;
        let header = match found {
            HeaderFound::Version(found) => {
                return Err(StoreError::Version {
                    path,
                    found,
                    known: VERSION,
                });
            }
            // Space on its way to another segment when the power went.
            HeaderFound::Good(header) if header.id != id => {
                self.free(path, length);
                return Ok(());
            }
            HeaderFound::Good(header) => Some(header),
            HeaderFound::Bad => None,
        };
        self.highest_epoch = self
            .highest_epoch
            .max(header.map_or(0, |header| header.epoch));
        if header.is_none() {
            self.quarantined.push(Quarantined {
                file: format!("{id:08x}.seg"),
                offset: 0,
                len: SEGMENT_HEADER as u64,
                reason: "segment header does not check",
            });
        }
        // It was filled and synced before it got its name.
        let made = header.map_or(0, |header| u64::from(header.length));
        if length < made {
            self.quarantined.push(Quarantined {
                file: format!("{id:08x}.seg"),
                offset: length,
                len: made - length,
                reason: "the file is shorter than it was made",
            });
        }
        self.segments.insert(
            id,
            SegmentFile {
                disk: Arc::clone(disk),
                path,
                length,
                header,
            },
        );
        Ok(())
    }

    /// Segments prepared and never used are the newest; their space is used again.
    fn set_unused_aside(&mut self, journal: &Path) -> Result<(), StoreError> {
        while let Some((&id, segment)) = self.segments.last_key_value() {
            let path = segment::path(journal, id);
            let file = segment.open()?;
            if is_used(&*file, segment, id).map_err(StoreError::io("read", &path))? {
                break;
            }
            if let Some(segment) = self.segments.remove(&id) {
                if segment.header.is_some() {
                    self.free(path, segment.length);
                } else {
                    self.rubbish.push(path);
                }
            }
        }
        Ok(())
    }

    /// Removes what belongs to nobody, and free space that does not have the length of a segment.
    pub(crate) fn tidy(
        &mut self,
        disk: &dyn Disk,
        segment_bytes: u32,
        keep: usize,
    ) -> Result<(), StoreError> {
        let mut kept = Vec::new();
        for (path, length) in std::mem::take(&mut self.leftovers.free) {
            if length == u64::from(segment_bytes) && kept.len() < keep {
                kept.push((path, length));
            } else {
                self.leftovers.bytes -= length;
                self.rubbish.push(path);
            }
        }
        self.leftovers.free = kept;
        for path in self.rubbish.drain(..) {
            disk.remove(&path)
                .map_err(StoreError::io("remove", &path))?;
        }
        Ok(())
    }
}

fn is_used(file: &dyn File, segment: &SegmentFile, id: u32) -> io::Result<bool> {
    let mut window = Window::new(file);
    let probe = window.get(u64::from(DATA_START), PROBE)?;
    if segment.header.is_some() && probe.iter().all(|&octet| octet == 0) {
        return Ok(false);
    }
    Ok(Scan::new(file, id, segment.salt())
        .next_header(DATA_START, segment.length)?
        .is_some())
}

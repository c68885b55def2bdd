//! Segments made ready before they are needed: zero-filled (or recycled), header, file sync, name, directory sync.
//!
//! - Running out of space is met here and nowhere else: it is back pressure, reported and tried again, never failure.
//! - Ids are given in order, so the gathering side can count on the next one before it exists.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::commit::Room;
use crate::config::StoreConfig;
use crate::io::{Disk, File, is_full};
use crate::segment::{self, DATA_START, SEGMENT_HEADER, SegmentHeader};

/// Octets of zeros written at once.
const ZEROS: usize = 256 * 1024;
/// Time between two looks at the space on the disk.
const LOOK: Duration = Duration::from_secs(1);
/// Dead segments kept for their space, beyond those in preparation.
const FREE_MAX: usize = 4;

/// A segment ready for its first batch.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) id: u32,
    pub(crate) file: Arc<dyn File>,
    pub(crate) length: u64,
    pub(crate) salt: u64,
}

/// What came of trying to prepare one more segment.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// One more is ready.
    Prepared,
    /// As many as wanted are ready.
    Enough,
    /// No space, for this reason.
    Starved(String),
    /// Nothing can ever be written there again, for this reason.
    Broken(String),
}

#[derive(Debug)]
struct Inner {
    ready: VecDeque<Prepared>,
    next: u32,
    free: Vec<(PathBuf, u64)>,
    /// Octets of all files of the journal.
    bytes: u64,
    /// What they may come to.
    bytes_max: Option<u64>,
    /// The store closes: a writer no longer waits for space.
    draining: bool,
    closing: bool,
    shortage: Option<String>,
    /// A batch is being given space of the segments that are ready; none is made meanwhile.
    extending: bool,
}

impl Inner {
    fn free_bytes(&self) -> u64 {
        self.free.iter().map(|(_, length)| length).sum()
    }

    /// Looks how much space the disk has left. A segment of it is left to the checkpoint and to others.
    fn look(&self, disk: &dyn Disk, journal: &Path, spare: u32, room: &Room) {
        // Nobody knows: the shortage shows when a segment is prepared.
        let free = disk.free_bytes(journal).unwrap_or(u64::MAX);
        let max = free
            .saturating_sub(u64::from(spare))
            .saturating_add(self.bytes);
        room.disk_max.store(max, Ordering::Relaxed);
    }

    /// Tells the gathering side what the journal takes.
    fn tell(&self, room: &Room) {
        let held = self.bytes.saturating_sub(self.free_bytes());
        room.held.store(held, Ordering::Relaxed);
    }
}

/// Makes segments.
#[derive(Debug)]
pub(crate) struct Preparer {
    disk: Arc<dyn Disk>,
    journal: PathBuf,
    first: u32,
    epoch: u64,
    salt_seed: u64,
    config: StoreConfig,
    inner: Mutex<Inner>,
    changed: Condvar,
}

/// What recovery found that concerns preparation.
#[derive(Debug, Default)]
pub(crate) struct Leftovers {
    /// Files whose space can be used again.
    pub(crate) free: Vec<(PathBuf, u64)>,
    /// Octets of all files of the journal, the free ones included.
    pub(crate) bytes: u64,
}

impl Preparer {
    pub(crate) fn new(
        disk: Arc<dyn Disk>,
        journal: PathBuf,
        config: &StoreConfig,
        first: u32,
        epoch: u64,
        found: Leftovers,
    ) -> Self {
        let salt_seed = config.salt_seed.unwrap_or_else(system_seed);
        let inner = Inner {
            ready: VecDeque::new(),
            next: first,
            free: found.free,
            bytes: found.bytes,
            bytes_max: config.bytes_max,
            draining: false,
            closing: false,
            shortage: None,
            extending: false,
        };
        let config = config.clone();
        Self {
            disk,
            journal,
            first,
            epoch,
            salt_seed,
            config,
            inner: Mutex::new(inner),
            changed: Condvar::new(),
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        // Plain numbers and paths: a panic elsewhere leaves them consistent.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells the gathering side what the journal takes.
    pub(crate) fn tell(&self, room: &Room) {
        self.inner().tell(room);
    }

    /// Tries to prepare one segment, if fewer than wanted are ready.
    pub(crate) fn step(&self, room: &Room) -> Step {
        let mut inner = self.inner();
        inner.look(&*self.disk, &self.journal, self.config.segment_bytes, room);
        if inner.extending || inner.ready.len() >= self.config.segments_ahead as usize {
            return Step::Enough;
        }
        let id = inner.next;
        let length = if id == self.first {
            self.config.first_segment_bytes
        } else {
            self.config.segment_bytes
        };
        let recycled = loop {
            let recycled = inner.free.pop();
            let old = recycled.as_ref().map_or(0, |(_, old)| *old);
            let more = u64::from(length).saturating_sub(old);
            let max = inner.bytes_max.unwrap_or(u64::MAX);
            match recycled {
                // The limit may be lower than it was: what is only kept for its space is beyond it first.
                Some((path, old)) if inner.bytes + more > max => {
                    drop(self.disk.remove(&path));
                    inner.bytes -= old;
                }
                None if inner.bytes + more > max => {
                    inner.tell(room);
                    let reason = format!("the journal has reached its limit of {max} bytes");
                    return Self::starve(&mut inner, room, reason);
                }
                recycled => break recycled,
            }
        };
        drop(inner);
        let made = self.make(id, length, recycled.as_ref());
        let mut inner = self.inner();
        match made {
            Ok(prepared) if inner.next != id => {
                // The segment before it was given up meanwhile, and ids have no gaps.
                inner.bytes -= recycled.map_or(0, |(_, length)| length);
                inner.tell(room);
                drop(inner);
                drop(self.disk.remove(&segment::path(&self.journal, prepared.id)));
                Step::Enough
            }
            Ok(prepared) => {
                inner.bytes +=
                    prepared.length - recycled.map_or(0, |(_, length)| length.min(prepared.length));
                inner.next += 1;
                inner.ready.push_back(prepared);
                inner.tell(room);
                room.prepared_through.store(id, Ordering::Relaxed);
                inner.shortage = None;
                room.starved.store(false, Ordering::Relaxed);
                drop(inner);
                self.changed.notify_all();
                Step::Prepared
            }
            Err(error) => {
                inner.bytes -= recycled.map_or(0, |(_, length)| length);
                inner.tell(room);
                if error.kind() == io::ErrorKind::ReadOnlyFilesystem {
                    // That does not pass by itself, and what has been promised of removals could not be kept.
                    return Step::Broken(format!("{}: {error}", self.journal.display()));
                }
                let kind = if is_full(&error) {
                    "no space left"
                } else {
                    "cannot prepare a segment"
                };
                let reason = format!("{kind}: {}: {error}", self.journal.display());
                let step = Self::starve(&mut inner, room, reason);
                drop(inner);
                self.changed.notify_all();
                step
            }
        }
    }

    fn starve(inner: &mut Inner, room: &Room, reason: String) -> Step {
        inner.shortage = Some(reason.clone());
        room.starved.store(true, Ordering::Relaxed);
        Step::Starved(reason)
    }

    fn make(
        &self,
        id: u32,
        length: u32,
        recycled: Option<&(PathBuf, u64)>,
    ) -> io::Result<Prepared> {
        let temporary = self.journal.join(format!("{id:08x}.tmp"));
        let made = self.fill(&temporary, id, length, recycled);
        if made.is_err() {
            // What is left of it is worthless, and its space is what was missing.
            drop(self.disk.remove(&temporary));
        }
        made
    }

    fn fill(
        &self,
        temporary: &Path,
        id: u32,
        length: u32,
        recycled: Option<&(PathBuf, u64)>,
    ) -> io::Result<Prepared> {
        let (file, old) = match recycled {
            Some((path, old)) => {
                self.disk.rename(path, temporary)?;
                (self.disk.open(temporary)?, *old)
            }
            None => (self.disk.create(temporary)?, 0),
        };
        zero(&*file, old, u64::from(length))?;
        let length = u64::from(length).max(old);
        let salt = mix(self.salt_seed ^ mix(self.epoch << 32 | u64::from(id)));
        let planned = u32::try_from(length).unwrap_or(u32::MAX);
        let header = SegmentHeader {
            id,
            length: planned,
            epoch: self.epoch,
            salt,
        };
        // The whole page: what a recycled file had there is of no use to anyone.
        let mut page = vec![0; DATA_START as usize];
        page[..SEGMENT_HEADER].copy_from_slice(&header.encode());
        file.write_at(&page, 0)?;
        file.sync()?;
        self.disk
            .rename(temporary, &segment::path(&self.journal, id))?;
        self.disk.sync_dir(&self.journal)?;
        Ok(Prepared {
            id,
            file,
            length,
            salt,
        })
    }

    /// Takes segment `id`, the next in order; if `wait`, blocks until it is ready. `None` if not ready or closing.
    pub(crate) fn take(&self, id: u32, wait: bool) -> Option<Prepared> {
        let mut inner = self.inner();
        loop {
            // Skipped ids (a segment left without a batch) stay behind as empty files until the next start.
            while inner.ready.front().is_some_and(|prepared| prepared.id < id) {
                inner.ready.pop_front();
            }
            if let Some(prepared) = inner.ready.pop_front() {
                drop(inner);
                self.changed.notify_all();
                return Some(prepared);
            }
            if !wait || inner.closing || (inner.draining && inner.shortage.is_some()) {
                return None;
            }
            inner = self
                .changed
                .wait(inner)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Extends a file to hold a batch larger than its rest. Without space on the disk it takes that of segments that wait for
    /// their use, the reserve last: what is accepted must be written, or removals behind it would wait too.
    pub(crate) fn extend(
        &self,
        file: &dyn File,
        from: u64,
        to: u64,
        room: &Room,
    ) -> io::Result<()> {
        self.inner().extending = true;
        let extended = loop {
            let error = match zero(file, from, to).and_then(|()| file.sync()) {
                Err(error) if is_full(&error) => error,
                extended => break extended,
            };
            match self.give_one_up(&error, room) {
                Ok(true) => {}
                Ok(false) => break Err(error),
                Err(failed) => break Err(failed),
            }
        };
        let mut inner = self.inner();
        inner.extending = false;
        inner.bytes += if extended.is_ok() { to - from } else { 0 };
        inner.tell(room);
        drop(inner);
        self.changed.notify_all();
        extended
    }

    /// Removes a file that waits to be used again, or the last segment that is ready. False if there is neither.
    fn give_one_up(&self, error: &io::Error, room: &Room) -> io::Result<bool> {
        let mut inner = self.inner();
        let (path, length) = if let Some(free) = inner.free.pop() {
            free
        } else if let Some(last) = inner.ready.pop_back() {
            inner.next = last.id;
            room.prepared_through.store(last.id - 1, Ordering::Relaxed);
            (segment::path(&self.journal, last.id), last.length)
        } else {
            return Ok(false);
        };
        let reason = format!("no space left: {}: {error}", self.journal.display());
        Self::starve(&mut inner, room, reason);
        inner.bytes = inner.bytes.saturating_sub(length);
        inner.tell(room);
        drop(inner);
        self.disk.remove(&path)?;
        self.disk.sync_dir(&self.journal)?;
        Ok(true)
    }

    /// A file of the journal has become longer by so much.
    pub(crate) fn grew(&self, more: u64, room: &Room) {
        if more > 0 {
            let mut inner = self.inner();
            inner.bytes += more;
            inner.tell(room);
        }
    }

    /// Takes the file of a dead segment away: keeps it for its space, or removes it. Durable after the caller's directory sync.
    pub(crate) fn retire(&self, id: u32, length: u64, room: &Room) -> io::Result<()> {
        let path = segment::path(&self.journal, id);
        let mut inner = self.inner();
        let wanted = inner.free.len() < FREE_MAX
            && length == u64::from(self.config.segment_bytes)
            && inner.bytes_max.is_none_or(|max| inner.bytes <= max);
        if wanted {
            let free = path.with_extension("free");
            self.disk.rename(&path, &free)?;
            inner.free.push((free, length));
        } else {
            self.disk.remove(&path)?;
            inner.bytes = inner.bytes.saturating_sub(length);
        }
        inner.tell(room);
        drop(inner);
        self.changed.notify_all();
        Ok(())
    }

    /// Blocks until there may be something to prepare; false once closing. After a shortage it tries again by itself.
    pub(crate) fn wait(&self, starved: bool) -> bool {
        let mut inner = self.inner();
        while !inner.closing {
            if starved {
                // Whatever changes may be what was missing.
                let waited = self.changed.wait_timeout(inner, self.config.full_retry);
                return !waited.unwrap_or_else(PoisonError::into_inner).0.closing;
            }
            if inner.ready.len() < self.config.segments_ahead as usize {
                return true;
            }
            // Others fill and clear the disk too, and nobody tells.
            let waited = self.changed.wait_timeout(inner, LOOK);
            let (now, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
            if timeout.timed_out() {
                return !now.closing;
            }
            inner = now;
        }
        false
    }

    /// The store closes: who waits for space gives up.
    pub(crate) fn drain(&self) {
        self.inner().draining = true;
        self.changed.notify_all();
    }

    /// Ends waiting.
    pub(crate) fn close(&self) {
        self.inner().closing = true;
        self.changed.notify_all();
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.inner().draining
    }

    /// Changes what the files of the journal may come to.
    pub(crate) fn set_bytes_max(&self, bytes_max: Option<u64>, room: &Room) {
        let mut inner = self.inner();
        inner.bytes_max = bytes_max;
        let max = bytes_max.unwrap_or(u64::MAX);
        room.bytes_max.store(max, Ordering::Relaxed);
        inner.tell(room);
        drop(inner);
        self.changed.notify_all();
    }

    /// What the files of the journal may come to.
    pub(crate) fn bytes_max(&self) -> Option<u64> {
        self.inner().bytes_max
    }

    /// Octets of all files of the journal, those of them that are free to be used again, and the reason of a shortage.
    pub(crate) fn usage(&self) -> (u64, u64, Option<String>) {
        let inner = self.inner();
        (inner.bytes, inner.free_bytes(), inner.shortage.clone())
    }
}

fn zero(file: &dyn File, from: u64, to: u64) -> io::Result<()> {
    let zeros = vec![0; ZEROS.min(usize::try_from(to).unwrap_or(ZEROS))];
    let mut at = from;
    while at < to {
        let part = usize::try_from(to - at).map_or(zeros.len(), |rest| rest.min(zeros.len()));
        file.write_at(&zeros[..part], at)?;
        at += part as u64;
    }
    Ok(())
}

/// A number nobody outside can guess, so that no message body can pass for a record.
fn system_seed() -> u64 {
    use std::hash::{BuildHasher, Hasher};
    std::collections::hash_map::RandomState::new()
        .build_hasher()
        .finish()
}

/// The finalizer of splitmix64: neighbouring inputs give unrelated salts.
fn mix(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn salts_of_neighbours_differ() {
        let salts: std::collections::BTreeSet<u64> = (0..1000).map(mix).collect();
        assert_eq!(salts.len(), 1000);
    }
}

//! Compaction: what is left in a segment that is mostly dead is copied forward, so that the segment dies.
//!
//! - One segment at a time, in chunks; the next chunk only when the one before is synced, so the journal's own work never waits for more
//!   than one of them. How fast is the keeper's business.
//! - Nothing is decided here about what is alive: the writer does when it writes a copy; see `forward.rs`. What dies meanwhile costs a
//!   useless copy, nothing else.
//! - Copies may use the reserve, except its last segment: a full disk is when they are needed most.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::error::StoreError;
use crate::fields::index;
use crate::io::File;
use crate::journal::Shared;
use crate::locator::{Locator, Ticket};
use crate::record::{self, Kind, Record, encode, padded};
use crate::replay::Window;

/// Octets copied at once, as long as segments are much larger.
const CHUNK: usize = 256 * 1024;
/// Octets read at once.
const WINDOW: usize = 64 * 1024;
/// Segments whose footers are read in one search for a victim.
const LOOKS: usize = 8;

/// Sealed segments that are left alone: copying to have even fewer is not worth it.
const SEALED_MIN: usize = 2;

/// What may be compacted.
#[derive(Debug, Default)]
pub(crate) struct Scope {
    /// Segments that go whatever is left in them.
    pub(crate) forced: BTreeSet<u32>,
    /// Everything before this segment that is worth it, few as they may be.
    pub(crate) before: Option<u32>,
}

/// What one step came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// Nothing is worth it.
    Idle,
    /// There may be more to find.
    Looked,
    /// The last chunk is not synced yet.
    Unsynced(Ticket),
    /// There is no room for copies.
    NoRoom,
    /// So many octets were handed over.
    Copied(u64),
}

/// A segment on its way out.
struct Victim {
    id: u32,
    file: Arc<dyn File>,
    salt: u64,
    /// What is left to copy, falling.
    offsets: Vec<u32>,
}

/// A record read for copying.
struct Survivor {
    name: Locator,
    from: Locator,
    inner: Vec<u8>,
    targets: usize,
}

/// See the module.
pub(crate) struct Compactor {
    shared: Arc<Shared>,
    victim: Option<Victim>,
    awaited: Option<Ticket>,
    /// Segments with a live record that cannot be read: they stay.
    stuck: BTreeSet<u32>,
}

impl Compactor {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self {
            shared,
            victim: None,
            awaited: None,
            stuck: BTreeSet::new(),
        }
    }

    /// Does the next bit.
    pub(crate) fn step(&mut self, scope: &Scope) -> Result<Step, StoreError> {
        if let Some(awaited) = self.awaited {
            if self.shared.commit.synced() < awaited {
                return Ok(Step::Unsynced(awaited));
            }
            self.shared.state()?.forwards.settled();
            self.awaited = None;
        }
        let mut victim = match self.victim.take() {
            Some(victim) => victim,
            None => match self.choose(scope)? {
                Choice::Victim(victim) => victim,
                Choice::Later => return Ok(Step::Looked),
                Choice::None => return Ok(Step::Idle),
            },
        };
        let step = self.copy(&mut victim)?;
        if !victim.offsets.is_empty() && !self.stuck.contains(&victim.id) {
            self.victim = Some(victim);
        }
        Ok(step)
    }

    /// Looks for the segment with the least in it, of those that are more than half garbage.
    fn choose(&mut self, scope: &Scope) -> Result<Choice, StoreError> {
        let forced = &scope.forced;
        let state = self.shared.state()?;
        let sealed = state.segments.range(..state.as_of());
        let few = sealed.clone().count() <= SEALED_MIN && scope.before.is_none();
        // Each segment that goes costs a Snapshot, which is garbage itself before long.
        let cost = 2 * state.snapshot_bytes;
        let mut candidates: Vec<(u32, u32, u64, u64)> = sealed
            .filter(|(id, segment)| !segment.is_dead() && !self.stuck.contains(id))
            .filter(|&(id, _)| {
                forced.contains(id) || (!few && scope.before.is_none_or(|before| *id < before))
            })
            .map(|(&id, segment)| (id, segment.live.ones(), segment.length, segment.version))
            .collect();
        self.stuck.retain(|id| state.segments.contains_key(id));
        drop(state);
        candidates.sort_unstable_by_key(|&(id, live, ..)| (!forced.contains(&id), live, id));
        let (mut best, mut looks) = (None, 0);
        for (id, live, length, version) in candidates {
            if forced.contains(&id) {
                best = Some((0, id));
                break;
            }
            let known = self.shared.occupancies.known(id);
            let settled = known.as_ref().is_some_and(|known| {
                known.version == version || 2 * known.at_least(live) >= length
            });
            let known = if settled {
                known
            } else if looks < LOOKS {
                looks += 1;
                self.shared.occupancy(id)?
            } else {
                continue;
            };
            if let Some(known) = known
                && known.is_mostly_garbage(length)
                && known.bytes + cost < length
                && best.is_none_or(|(least, _)| known.bytes < least)
            {
                best = Some((known.bytes, id));
            }
        }
        match best {
            Some((_, id)) => self.begin(id),
            None if looks == LOOKS => Ok(Choice::Later),
            None => Ok(Choice::None),
        }
    }

    fn begin(&mut self, id: u32) -> Result<Choice, StoreError> {
        let state = self.shared.state()?;
        let salt = state.segments.get(&id).map(|segment| segment.salt);
        let offsets: Vec<u32> = state.survivors(id).into_iter().rev().collect();
        drop(state);
        let file = self
            .shared
            .files
            .get(&*self.shared.disk, &self.shared.journal, id)?;
        let (Some(salt), Some(file)) = (salt, file) else {
            return Ok(Choice::Later);
        };
        Ok(Choice::Victim(Victim {
            id,
            file,
            salt,
            offsets,
        }))
    }

    /// Copies the next chunk.
    fn copy(&mut self, victim: &mut Victim) -> Result<Step, StoreError> {
        let (survivors, read) = self.read(victim)?;
        if survivors.is_empty() {
            victim.offsets.truncate(victim.offsets.len() - read);
            return Ok(Step::Looked);
        }
        let stride = |one: &Survivor| {
            let length = encode::copy_length(one.targets, &one.inner);
            padded(length).max(one.targets * record::GRANULE)
        };
        let length: usize = survivors.iter().map(stride).sum();
        let targets = survivors.iter().map(|one| one.targets).sum();
        let appended = self.shared.commit.append(|batch| {
            let room = batch.room_for_copies(length, survivors.len(), targets);
            if room {
                for one in &survivors {
                    batch.copy(one.name, one.from, &one.inner);
                }
            }
            room
        });
        match appended {
            Ok((true, ticket)) => {
                self.awaited = Some(ticket);
                self.shared
                    .copied
                    .fetch_add(length as u64, Ordering::Relaxed);
                victim.offsets.truncate(victim.offsets.len() - read);
                Ok(Step::Copied(length as u64))
            }
            // A closed store takes nothing more.
            Ok((false, _)) | Err(_) => Ok(Step::NoRoom),
        }
    }

    /// Reads what goes into one chunk, and tells how many offsets that covers.
    fn read(&mut self, victim: &Victim) -> Result<(Vec<Survivor>, usize), StoreError> {
        let chunk = CHUNK.min(index(self.shared.config.segment_bytes) / 8);
        let mut window = Window::sized(&*victim.file, WINDOW);
        let (mut survivors, mut octets, mut read) = (Vec::new(), 0, 0);
        for &offset in victim.offsets.iter().rev() {
            if octets >= chunk {
                break;
            }
            read += 1;
            let from = Locator::new(victim.id, offset);
            let state = self.shared.state()?;
            let name = state.name_of(from);
            let wanted = state.stays(from, name);
            drop(state);
            if !wanted {
                continue;
            }
            let found = whole(&mut window, victim.salt, offset);
            let path = crate::segment::path(&self.shared.journal, victim.id);
            match found.map_err(StoreError::io("read", &path))? {
                Some((inner, targets)) => {
                    octets += inner.len();
                    survivors.push(Survivor {
                        name,
                        from,
                        inner,
                        targets,
                    });
                }
                // The message is lost already; the bytes stay where a repair can report them.
                None => drop(self.stuck.insert(victim.id)),
            }
        }
        if self.stuck.contains(&victim.id) {
            survivors.clear();
        }
        Ok((survivors, read))
    }
}

enum Choice {
    Victim(Victim),
    Later,
    None,
}

/// The Add or Place at `offset`, out of its copy if it is one, and how many targets it has. `None` if it does not check.
fn whole(
    window: &mut Window<'_>,
    salt: u64,
    offset: u32,
) -> std::io::Result<Option<(Vec<u8>, usize)>> {
    let at = u64::from(offset);
    let Some(head) = record::head(window.get(at, record::HEADER)?) else {
        return Ok(None);
    };
    let octets = window.get(at, head.length)?;
    if !record::checks(octets, &head, salt, offset) {
        return Ok(None);
    }
    let inner = match record::decode(octets) {
        Some(Record::Copy(copied)) => copied.inner,
        Some(_) if matches!(head.kind, Kind::Add | Kind::Place) => octets,
        _ => return Ok(None),
    };
    Ok(Some((inner.to_vec(), index(head.count))))
}

//! What still lives in a segment, by destination: read from its footer, remembered until it changes.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use crate::error::StoreError;
use crate::fields::index;
use crate::footer::Entry;
use crate::io::File;
use crate::journal::Shared;
use crate::liveness::Bitmap;
use crate::locator::{DestinationId, Locator};
use crate::record::{COPY_HEADER, GRANULE, MESSAGE_HEADER, STATE, TARGET, padded};
use crate::recovered::each_entry;

/// What one destination holds in one segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Held {
    /// Octets of head and body, of every reference.
    pub(crate) bytes: u64,
    pub(crate) references: u64,
    pub(crate) lowest: u64,
    pub(crate) highest: u64,
    /// Name of the record of the lowest sequence.
    pub(crate) oldest: Locator,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Occupancy {
    /// State of the segment this was made from.
    pub(crate) version: u64,
    /// Live references.
    pub(crate) references: u32,
    /// Octets of records that must stay, those included that are only a body of Places elsewhere.
    pub(crate) bytes: u64,
    /// The largest record that is counted.
    pub(crate) largest: u64,
    pub(crate) held: BTreeMap<DestinationId, Held>,
}

impl Occupancy {
    /// Octets that must stay at least, now that so many references are left.
    pub(crate) fn at_least(&self, references: u32) -> u64 {
        let gone = u64::from(self.references.saturating_sub(references));
        self.bytes.saturating_sub(gone * self.largest)
    }

    /// True if copying what is left out of a file of this length is worth it.
    pub(crate) fn is_mostly_garbage(&self, length: u64) -> bool {
        // Records of nearly half a segment fill a new one no better; without slack they would be copied round and round.
        let slack = if self.largest > length / 4 {
            length / 16
        } else {
            0
        };
        2 * self.bytes + slack < length
    }
}

/// Occupancies by segment.
#[derive(Debug, Default)]
pub(crate) struct Occupancies(Mutex<HashMap<u32, Arc<Occupancy>>>);

impl Occupancies {
    /// What was last seen of a segment.
    pub(crate) fn known(&self, id: u32) -> Option<Arc<Occupancy>> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(&id).cloned()
    }

    fn remember(&self, id: u32, occupancy: &Arc<Occupancy>) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.insert(id, Arc::clone(occupancy));
    }

    pub(crate) fn forget(&self, id: u32) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.remove(&id);
    }
}

/// A segment as it was when it was looked at.
struct Picture {
    live: Bitmap,
    /// Offsets of bodies that Places refer to.
    pinned: BTreeSet<u32>,
    copies: HashMap<u32, Locator>,
    salt: u64,
    length: u64,
    version: u64,
}

impl Shared {
    /// What lives in segment `id`; `None` if it is gone.
    pub(crate) fn occupancy(&self, id: u32) -> Result<Option<Arc<Occupancy>>, StoreError> {
        let version = self.state()?.segments.get(&id).map(|known| known.version);
        let known = self.occupancies.known(id);
        if let Some(known) = known.filter(|known| Some(known.version) == version) {
            return Ok(Some(known));
        }
        let Some(picture) = self.picture(id)? else {
            return Ok(None);
        };
        let Some(file) = self.files.get(&*self.disk, &self.journal, id)? else {
            return Ok(None);
        };
        let path = crate::segment::path(&self.journal, id);
        let found = count(&*file, id, &picture).map_err(StoreError::io("read", &path))?;
        let found = Arc::new(found);
        self.occupancies.remember(id, &found);
        Ok(Some(found))
    }

    fn picture(&self, id: u32) -> Result<Option<Picture>, StoreError> {
        let state = self.state()?;
        Ok(state.segments.get(&id).map(|segment| Picture {
            live: segment.live.clone(),
            pinned: state.pinned_in(id),
            copies: segment.copies.clone(),
            salt: segment.salt,
            length: segment.length,
            version: segment.version,
        }))
    }
}

/// Goes through the references of a segment.
fn count(file: &dyn File, id: u32, picture: &Picture) -> std::io::Result<Occupancy> {
    let mut found = Occupancy {
        version: picture.version,
        references: picture.live.ones(),
        ..Occupancy::default()
    };
    let mut records: Vec<(u32, u64, bool)> = Vec::new();
    let mut take = |entry: Entry| {
        let live = picture.live.get(entry.bit());
        if live {
            let name = picture.copies.get(&entry.offset).copied();
            hold(
                &mut found.held,
                &entry,
                name.unwrap_or_else(|| Locator::new(id, entry.offset)),
            );
        }
        match records.last_mut() {
            Some((offset, length, stays)) if *offset == entry.offset => {
                *length += (TARGET + STATE) as u64;
                *stays |= live;
            }
            _ => {
                let length =
                    u64::from(entry.size) + (MESSAGE_HEADER + TARGET + STATE + COPY_HEADER) as u64;
                let stays = live || picture.pinned.contains(&entry.offset);
                records.push((entry.offset, length, stays));
            }
        }
    };
    each_entry(file, picture.length, id, picture.salt, &mut take)?;
    let ends = records.iter().skip(1).map(|&(offset, ..)| offset);
    for (&(offset, length, stays), next) in records.iter().zip(ends.chain([u32::MAX])) {
        if stays {
            // A Place tells the size of its body; it ends before the next record all the same.
            let length = padded(usize::try_from(length).unwrap_or(usize::MAX - GRANULE));
            let length = length.min(index(next - offset)) as u64;
            found.bytes += length;
            found.largest = found.largest.max(length);
        }
    }
    Ok(found)
}

fn hold(held: &mut BTreeMap<DestinationId, Held>, entry: &Entry, name: Locator) {
    let fresh = Held {
        bytes: 0,
        references: 0,
        lowest: entry.sequence,
        highest: entry.sequence,
        oldest: name,
    };
    let held = held.entry(entry.destination).or_insert(fresh);
    held.bytes += u64::from(entry.size);
    held.references += 1;
    held.highest = held.highest.max(entry.sequence);
    if entry.sequence < held.lowest {
        (held.lowest, held.oldest) = (entry.sequence, name);
    }
}

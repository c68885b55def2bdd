//! The state the journal adds up to, one record at a time: liveness of every segment, next sequences, positions.
//!
//! - The writer thread applies what it writes; recovery applies what it reads: the same code, so the same result.
//! - Applied is not synced: whoever acts on the state (deletion, checkpoint) first waits until `applied` is.
//! - Names (`Definitions`) are not here: they belong to the gathering side, which must know them exactly.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::definitions::Progress;
use crate::forward::Forwards;
use crate::liveness::{SegmentState, bit_of};
use crate::locator::{DestinationId, Locator};
use crate::record::{self, Record, Targets};

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) segments: BTreeMap<u32, SegmentState>,
    pub(crate) groups: Vec<Box<[DestinationId]>>,
    pub(crate) group_index: HashMap<Box<[DestinationId]>, u32>,
    pub(crate) progress: Progress,
    /// Where records that were copied are now.
    pub(crate) forwards: Forwards,
    /// Sequence of the last batch applied.
    pub(crate) applied: u64,
    /// First octet not applied.
    pub(crate) applied_end: Option<Locator>,
    /// The newest Snapshot knows everything in segments before this one.
    pub(crate) snapshot_as_of: u32,
    /// Octets of the newest Snapshot.
    pub(crate) snapshot_bytes: u64,
    /// A segment has become dead since somebody last looked.
    pub(crate) dead_seen: bool,
    /// The latest time anybody has told, for the age of ids.
    pub(crate) now_ms: u64,
    /// Records are being read: Places that are gone since may have held bodies that later ones hold, so no copy is let go of before
    /// the end.
    pub(crate) replaying: bool,
    /// The last record was a CleanStop.
    pub(crate) clean: bool,
}

impl State {
    /// The number of a list of destinations, the same for equal lists.
    pub(crate) fn group(&mut self, ids: Box<[DestinationId]>) -> u32 {
        if let Some(&group) = self.group_index.get(&ids) {
            return group;
        }
        let group = crate::fields::short(self.groups.len());
        self.groups.push(ids.clone());
        self.group_index.insert(ids, group);
        group
    }

    /// The body behind the record `name`: itself, or what a live Place of that name refers to.
    pub(crate) fn body(&self, name: Locator) -> Locator {
        let at = self.place_of(name);
        self.segments
            .get(&at.segment())
            .and_then(|segment| segment.places.get(at.offset()))
            .unwrap_or(name)
    }

    /// The segment being written: everything in those before it is applied.
    pub(crate) fn as_of(&self) -> u32 {
        self.applied_end.map_or(0, Locator::segment)
    }

    /// Live references in all segments.
    pub(crate) fn live(&self) -> u64 {
        self.segments
            .values()
            .map(|segment| u64::from(segment.live.ones()))
            .sum()
    }

    /// Takes one record in. Names are left to the caller.
    pub(crate) fn apply(&mut self, at: Locator, record: &Record<'_>) {
        self.clean = matches!(record, Record::CleanStop);
        match *record {
            Record::Add { targets, .. } => self.add(at, targets),
            Record::Place {
                targets, body_of, ..
            } => self.place(at, targets, body_of),
            Record::Copy(copied) => self.copy(at, &copied, record.targets()),
            Record::Remove {
                destination,
                entries,
            } => self.remove(at, destination, entries),
            Record::Redelivered {
                destination,
                at: message,
                count,
                ..
            } => {
                self.redelivered(at, destination, message, count);
            }
            Record::DropDestination { id } => {
                self.progress.sequences.remove(&id);
                self.drop_ids(id);
            }
            Record::DropSubscription { id } => drop(self.progress.positions.remove(&id)),
            Record::Acknowledge {
                id,
                through,
                singles,
            } => {
                let position = self.progress.positions.entry(id).or_default();
                position.acknowledge(through, record::singles(singles));
            }
            Record::Marks { id, entries } => {
                let position = self.progress.positions.entry(id).or_default();
                position.mark(record::marks(entries));
            }
            Record::Snapshot { as_of, octets } => {
                if let Some((_, progress)) = crate::definitions::decode(octets) {
                    self.progress.merge(progress);
                }
                self.snapshot_as_of = self.snapshot_as_of.max(as_of);
                self.snapshot_bytes = octets.len() as u64;
            }
            Record::Liveness {
                about,
                as_of,
                octets,
            } => self.liveness(at, about, as_of, octets),
            Record::Ids {
                destination,
                from,
                limits,
                entries,
            } => self.note_ids(at, destination, from, limits, record::ids(entries)),
            Record::DefineDestination { .. }
            | Record::Declare { .. }
            | Record::Pause { .. }
            | Record::DefineSubscription { .. }
            | Record::Outcome
            | Record::Start { .. }
            | Record::CleanStop => {}
        }
    }

    fn add(&mut self, at: Locator, targets: Targets<'_>) {
        for (destination, sequence) in targets.iter() {
            self.progress.used(destination, sequence);
        }
        self.note_group(at, targets);
        let Some(segment) = self.segments.get_mut(&at.segment()) else {
            return;
        };
        let first = bit_of(at.offset());
        for bit in first..first + crate::fields::short(targets.len()) {
            segment.live.set(bit);
        }
        segment.version += 1;
    }

    /// Notes the list of destinations of a record with several targets.
    pub(crate) fn note_group(&mut self, at: Locator, targets: Targets<'_>) {
        if targets.len() > 1 {
            let group = self.group(targets.iter().map(|(id, _)| id).collect());
            if let Some(segment) = self.segments.get_mut(&at.segment()) {
                segment.multi.push((at.offset(), group));
            }
        }
    }

    fn place(&mut self, at: Locator, targets: Targets<'_>, body_of: Locator) {
        self.add(at, targets);
        let body = self.body(body_of);
        if let Some(segment) = self.segments.get_mut(&at.segment()) {
            segment.places.insert(at.offset(), body);
        }
        self.pin(body);
    }

    fn remove(&mut self, at: Locator, destination: DestinationId, entries: &[u8]) {
        let mut spoken_of = 0;
        for (_, name) in record::removals(entries) {
            let message = self.place_of(name);
            if let Some(bit) = self.bit(destination, message) {
                self.release(message, bit);
            }
            if message.segment() != spoken_of {
                spoken_of = message.segment();
                self.refer(at.segment(), spoken_of);
            }
        }
    }

    fn redelivered(&mut self, at: Locator, destination: DestinationId, name: Locator, count: u16) {
        let message = self.place_of(name);
        let Some(bit) = self.bit(destination, message) else {
            return;
        };
        if let Some(segment) = self.segments.get_mut(&message.segment()) {
            let known = segment.redeliveries.entry(bit).or_insert(0);
            *known = count.max(*known);
            segment.version += 1;
        }
        self.refer(at.segment(), message.segment());
    }

    fn liveness(&mut self, at: Locator, about: u32, as_of: u32, octets: &[u8]) {
        let Some(segment) = self.segments.get_mut(&about) else {
            return;
        };
        let Some(gone) = segment.merge_liveness(octets) else {
            return;
        };
        segment.liveness_as_of = segment.liveness_as_of.max(as_of);
        segment.version += 1;
        for bit in gone {
            self.release_bit(about, bit);
        }
        self.refer(at.segment(), about);
    }

    /// Notes that records in `from` speak of the existing older segment `about`.
    pub(crate) fn refer(&mut self, from: u32, about: u32) {
        if from == about || !self.segments.contains_key(&about) {
            return;
        }
        if let Some(segment) = self.segments.get_mut(&from)
            && segment.refers.insert(about)
        {
            segment.version += 1;
        }
    }

    /// The live bit of the reference that `destination` holds on the record at `message`.
    fn bit(&self, destination: DestinationId, message: Locator) -> Option<u32> {
        let segment = self.segments.get(&message.segment())?;
        let first = bit_of(message.offset());
        let Some(group) = segment.group_of(message.offset()) else {
            return segment.live.get(first).then_some(first);
        };
        let ids = &self.groups[crate::fields::index(group)];
        (first..)
            .zip(ids)
            .find(|&(bit, &id)| id == destination && segment.live.get(bit))
            .map(|(bit, _)| bit)
    }

    /// Clears the live bit `bit` of the record at `message`.
    fn release(&mut self, message: Locator, bit: u32) {
        let as_of = self.as_of();
        let Some(segment) = self.segments.get_mut(&message.segment()) else {
            return;
        };
        segment.live.clear(bit);
        segment.version += 1;
        if !segment.redeliveries.is_empty() {
            segment.redeliveries.remove(&bit);
        }
        // The segment being written is looked at when it is sealed.
        self.dead_seen |= segment.is_dead() && message.segment() < as_of;
        if segment.places.get(message.offset()).is_some()
            || segment.copies.contains_key(&message.offset())
        {
            self.forget(message);
        }
    }

    /// References that the record at `at` had.
    pub(crate) fn targets(&self, at: Locator) -> u32 {
        let segment = self.segments.get(&at.segment());
        let group = segment.and_then(|segment| segment.group_of(at.offset()));
        group.map_or(1, |group| {
            crate::fields::short(self.groups[crate::fields::index(group)].len())
        })
    }

    /// Offsets of the records in segment `id` that are bodies of live Places.
    pub(crate) fn pinned_in(&self, id: u32) -> BTreeSet<u32> {
        let pins = &self.forwards.pins;
        let segment = self.segments.get(&id).filter(|segment| segment.pins > 0);
        let Some(segment) = segment else {
            return BTreeSet::new();
        };
        let here = |offset: &u32| {
            let name = Locator::new(id, *offset);
            self.place_of(name) == name
        };
        let first = pins.offsets(id).filter(here);
        let copies = segment.copies.iter();
        let copied = copies.filter(|(offset, name)| {
            pins.count(**name) > 0 && self.place_of(**name) == Locator::new(id, **offset)
        });
        first.chain(copied.map(|(offset, _)| *offset)).collect()
    }

    /// Offsets of the records in segment `id` that must stay, rising.
    pub(crate) fn survivors(&self, id: u32) -> BTreeSet<u32> {
        let mut offsets = self.pinned_in(id);
        if let Some(segment) = self.segments.get(&id) {
            offsets.extend(
                segment
                    .live
                    .iter()
                    .filter_map(|bit| self.offset_of(id, bit)),
            );
        }
        offsets
    }

    /// True if the record of that name at `at` must stay: it has a reference, or is the body of a Place.
    pub(crate) fn stays(&self, at: Locator, name: Locator) -> bool {
        self.place_of(name) == at && (self.forwards.pins.count(name) > 0 || self.is_live(at))
    }

    /// True if a reference to the record at `at` is left.
    pub(crate) fn is_live(&self, at: Locator) -> bool {
        let first = bit_of(at.offset());
        self.segments.get(&at.segment()).is_some_and(|segment| {
            (first..first + self.targets(at)).any(|bit| segment.live.get(bit))
        })
    }

    /// Clears a bit of which only the number is known.
    pub(crate) fn release_bit(&mut self, id: u32, bit: u32) {
        if let Some(offset) = self.offset_of(id, bit) {
            self.release(Locator::new(id, offset), bit);
        }
    }

    /// Offset of the record a bit belongs to: it follows from the lists.
    pub(crate) fn offset_of(&self, id: u32, bit: u32) -> Option<u32> {
        let segment = self.segments.get(&id)?;
        let granule = crate::fields::short(record::GRANULE);
        let own = bit * granule;
        let before = segment.multi.partition_point(|&(offset, _)| offset <= own);
        let offset = before
            .checked_sub(1)
            .map(|at| segment.multi[at])
            .filter(|&(offset, group)| {
                bit_of(own - offset)
                    < crate::fields::short(self.groups[crate::fields::index(group)].len())
            })
            .map_or(own, |(offset, _)| offset);
        Some(offset)
    }
}

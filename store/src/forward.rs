//! Names that stay: a record keeps the place it was first written at as its name, wherever its copy lies now.
//!
//! - The engine, Removes, counters and Places speak of names only; here is where each name leads. So a copy concerns nobody.
//! - A copy takes over from one place to the next, as of its own position in the journal: how its references stand is filled in by the
//!   writer, behind everything before it and ahead of everything after it. A removal cannot slip between.
//! - Memory: an entry per live copy, given back when the record dies.

use std::collections::HashMap;

use crate::fields::short;
use crate::liveness::bit_of;
use crate::locator::Locator;
use crate::pins::Pins;
use crate::record::{self, Copied, Record, Targets};
use crate::state::State;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Forwards {
    /// Where the record of that name is now, if it was copied.
    now: HashMap<Locator, Locator>,
    /// Of copies that may not be synced yet: where the record was before, and can still be read.
    moving: HashMap<Locator, Locator>,
    /// Bodies that live Places refer to.
    pub(crate) pins: Pins,
}

impl Forwards {
    /// Copies up to now are synced: nobody need read what they were made from.
    pub(crate) fn settled(&mut self) {
        self.moving = HashMap::new();
    }
}

impl State {
    /// Where the record of that name is now.
    pub(crate) fn place_of(&self, name: Locator) -> Locator {
        if self.forwards.now.is_empty() {
            return name;
        }
        self.forwards.now.get(&name).copied().unwrap_or(name)
    }

    /// Where the record of that name can be read, if everything up to `durable` can.
    pub(crate) fn readable(&self, name: Locator, durable: Option<Locator>) -> Locator {
        let at = self.place_of(name);
        if at == name || Some(at) <= durable {
            return at;
        }
        self.forwards.moving.get(&at).copied().unwrap_or(at)
    }

    /// The name of the record at `at`.
    pub(crate) fn name_of(&self, at: Locator) -> Locator {
        let segment = self.segments.get(&at.segment());
        let copied = segment.and_then(|segment| segment.copies.get(&at.offset()));
        copied.copied().unwrap_or(at)
    }

    /// Counts one live Place more on a body and its segment.
    pub(crate) fn pin(&mut self, body: Locator) {
        self.forwards.pins.add(body);
        let at = self.place_of(body);
        if let Some(segment) = self.segments.get_mut(&at.segment()) {
            segment.pins += 1;
        }
    }

    fn unpin(&mut self, body: Locator) {
        let at = self.place_of(body);
        if let Some(segment) = self.segments.get_mut(&at.segment()) {
            segment.pins = segment.pins.saturating_sub(1);
            self.dead_seen |= segment.is_dead();
        }
        if self.forwards.pins.remove(body) {
            self.forget(at);
        }
    }

    /// Fills in, as the last thing before it is written, how the references of a Copy stand.
    pub(crate) fn settle(&self, octets: &mut [u8]) {
        let Some(record @ Record::Copy(copied)) = record::decode(octets) else {
            return;
        };
        let Copied { name, from, .. } = copied;
        let targets = record.targets().len();
        let here = self.place_of(name) == from;
        let segment = self.segments.get(&from.segment()).filter(|_| here);
        let state = |bit| match segment.filter(|segment| segment.live.get(bit)) {
            Some(segment) => u32::from(segment.redeliveries.get(&bit).copied().unwrap_or(0)),
            None => record::GONE,
        };
        let first = bit_of(from.offset());
        let states: Vec<u32> = (first..first + short(targets)).map(state).collect();
        let wanted = segment.is_some()
            && (self.forwards.pins.count(name) > 0
                || states.iter().any(|&state| state != record::GONE));
        for (number, state) in states.into_iter().enumerate() {
            record::set_reference(octets, number, state);
        }
        if !wanted {
            record::set_void(octets);
        }
    }

    /// Takes a Copy in: the record is here from now on, and nothing is left of it where it was.
    pub(crate) fn copy(&mut self, at: Locator, copied: &Copied<'_>, targets: Targets<'_>) {
        for (destination, sequence) in targets.iter() {
            self.progress.used(destination, sequence);
        }
        let Copied { name, from, .. } = *copied;
        let first = bit_of(at.offset());
        self.note_group(at, targets);
        // The new Place pins its body before the old one lets go of it.
        let body = match record::decode(copied.inner) {
            Some(Record::Place { body_of, .. }) if !copied.void => Some(self.body(body_of)),
            _ => None,
        };
        if let Some(body) = body {
            self.pin(body);
        }
        self.leave(from, short(targets.len()));
        self.refer(at.segment(), from.segment());
        if copied.void {
            if self.forwards.now.get(&name) == Some(&from) {
                self.forwards.now.remove(&name);
            }
            return;
        }
        let pins = self.forwards.pins.count(name);
        let before = self.place_of(name);
        if let Some(segment) = self.segments.get_mut(&before.segment()) {
            segment.pins = segment.pins.saturating_sub(pins);
            self.dead_seen |= segment.is_dead();
        }
        let Some(segment) = self.segments.get_mut(&at.segment()) else {
            return;
        };
        for (bit, state) in (first..).zip(copied.references()) {
            if let Some(count) = state {
                segment.live.set(bit);
                if count > 0 {
                    segment.redeliveries.insert(bit, count);
                }
            }
        }
        segment.pins += pins;
        segment.copies.insert(at.offset(), name);
        if let Some(body) = body {
            segment.places.insert(at.offset(), body);
        }
        segment.version += 1;
        self.forwards.now.insert(name, at);
        self.forwards.moving.insert(at, from);
    }

    /// Clears everything about the record at `from`, which is copied.
    fn leave(&mut self, from: Locator, targets: u32) {
        let Some(segment) = self.segments.get_mut(&from.segment()) else {
            return;
        };
        let first = bit_of(from.offset());
        for bit in first..first + targets {
            segment.live.clear(bit);
            segment.redeliveries.remove(&bit);
        }
        segment.copies.remove(&from.offset());
        segment.version += 1;
        let body = segment.places.remove(from.offset());
        self.dead_seen |= segment.is_dead();
        if let Some(body) = body {
            self.unpin(body);
        }
    }

    /// Forgets what is noted of the record at `at` if its last reference is gone.
    pub(crate) fn forget(&mut self, at: Locator) {
        if self.is_live(at) {
            return;
        }
        let Some(segment) = self.segments.get_mut(&at.segment()) else {
            return;
        };
        let body = segment.places.remove(at.offset());
        if let Some(name) = segment.copies.get(&at.offset()).copied()
            && !self.replaying
            && self.forwards.pins.count(name) == 0
        {
            segment.copies.remove(&at.offset());
            segment.version += 1;
            self.forwards.now.remove(&name);
        }
        if let Some(body) = body {
            self.unpin(body);
        }
    }

    /// Makes forwards follow from the copies of the segments there are.
    pub(crate) fn find_copies(&mut self) {
        self.forwards.now = HashMap::new();
        for (&id, segment) in &self.segments {
            let copies = segment.copies.iter();
            self.forwards
                .now
                .extend(copies.map(|(&offset, &name)| (name, Locator::new(id, offset))));
        }
    }

    /// Makes pins follow from the places that are left, and lets go of copies nobody refers to.
    pub(crate) fn recount(&mut self) {
        self.replaying = false;
        self.forwards.settled();
        self.forwards.pins = Pins::default();
        let segments = self.segments.values_mut();
        segments.for_each(|segment| segment.pins = 0);
        let places = self.segments.values().flat_map(|it| it.places.iter());
        for (_, body) in places.collect::<Vec<_>>() {
            self.pin(body);
        }
        let copies = self.forwards.now.values().copied();
        for at in copies.collect::<Vec<_>>() {
            self.forget(at);
        }
    }
}

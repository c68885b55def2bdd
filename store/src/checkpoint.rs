//! The consistent picture written now and then, so that a start need not read the whole journal.
//!
//! - Taken in memory first (state, then names), written only when everything in it is synced.
//! - Names may be newer than the position: the records in between are read again, and say the same.
//! - Every value carries its own checksum; one bad value and the whole checkpoint is not used.

use std::collections::BTreeSet;

use crate::definitions::{self, Definitions, Progress};
use crate::error::StoreError;
use crate::fields::{Reader, put_varint, u32_at};
use crate::journal::Shared;
use crate::liveness::{SegmentState, put_rising, rising};
use crate::locator::{DestinationId, Locator, Ticket};
use crate::meta::{Changes, Meta, Values};
use crate::record::checksum;
use crate::segment::VERSION;
use crate::state::State;

/// Where a checkpoint stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Covered {
    pub(crate) epoch: u64,
    /// Last batch covered.
    pub(crate) sequence: u64,
    /// First octet not covered.
    pub(crate) end: Locator,
    /// Salt of the segment of `end`.
    pub(crate) salt: u64,
}

/// A checkpoint read back.
#[derive(Debug)]
pub(crate) struct Checkpoint {
    pub(crate) covered: Covered,
    pub(crate) state: State,
    pub(crate) definitions: Definitions,
}

/// A picture of the state, not yet encoded, and what it waits for.
pub(crate) struct Picture {
    covered: Covered,
    snapshot_as_of: u32,
    clean: bool,
    changed: Vec<(u32, SegmentState)>,
    all: BTreeSet<u32>,
    groups: Vec<Box<[DestinationId]>>,
    progress: Progress,
    definitions: Definitions,
    /// Everything in the picture is synced once this ticket completes.
    pub(crate) ticket: Ticket,
}

impl Picture {
    /// Takes the picture; `None` if nothing was written since the one that covered `last`.
    pub(crate) fn take(shared: &Shared, last: u64) -> Result<Option<Self>, StoreError> {
        let state = shared.state()?;
        let Some(end) = state.applied_end.filter(|_| state.applied > last) else {
            return Ok(None);
        };
        let Some(salt) = state
            .segments
            .get(&end.segment())
            .map(|segment| segment.salt)
        else {
            return Ok(None);
        };
        let covered = Covered {
            epoch: shared.epoch,
            sequence: state.applied,
            end,
            salt,
        };
        let changed = state
            .segments
            .iter()
            .filter(|(_, segment)| segment.version != segment.saved);
        let mut picture = Self {
            covered,
            snapshot_as_of: state.snapshot_as_of,
            clean: state.clean,
            changed: changed
                .map(|(&id, segment)| (id, segment.clone()))
                .collect(),
            all: state.segments.keys().copied().collect(),
            groups: state.groups.clone(),
            progress: state.progress.clone(),
            definitions: Definitions::default(),
            ticket: Ticket(state.applied),
        };
        drop(state);
        let gather = shared.commit.gather()?;
        picture.definitions = gather.definitions.clone();
        picture.ticket = picture.ticket.max(gather.last_ticket());
        Ok(Some(picture))
    }

    /// Writes the picture. `known` are the segments the backend has values of.
    pub(crate) fn store(
        self,
        shared: &Shared,
        meta: &mut dyn Meta,
        known: &mut BTreeSet<u32>,
    ) -> Result<u64, StoreError> {
        let mut changes = Changes::new();
        for (id, segment) in &self.changed {
            let mut octets = Vec::new();
            segment.encode(&self.groups, &mut octets);
            changes.insert(name_of(*id), Some(signed(octets)));
        }
        for gone in known.difference(&self.all) {
            changes.insert(name_of(*gone), None);
        }
        let mut octets = Vec::new();
        definitions::encode(&self.definitions, &self.progress, &mut octets);
        changes.insert("definitions".to_owned(), Some(signed(octets)));
        changes.insert("position".to_owned(), Some(signed(self.encode_position())));
        meta.store(changes)?;
        let mut state = shared.state()?;
        for (id, saved) in self.changed {
            if let Some(segment) = state.segments.get_mut(&id) {
                segment.saved = saved.version;
            }
        }
        *known = self.all;
        Ok(self.covered.sequence)
    }

    fn encode_position(&self) -> Vec<u8> {
        let mut octets = Vec::new();
        let Covered {
            epoch,
            sequence,
            end,
            salt,
        } = self.covered;
        for value in [
            u64::from(VERSION),
            epoch,
            sequence,
            end.get(),
            salt,
            u64::from(self.snapshot_as_of),
            u64::from(self.clean),
        ] {
            put_varint(&mut octets, value);
        }
        put_rising(
            &mut octets,
            self.all.len(),
            self.all.iter().map(|&id| u64::from(id)),
        );
        octets
    }
}

/// Reads a checkpoint; `None` if there is none or it cannot be trusted.
pub(crate) fn load(values: &Values) -> Option<Checkpoint> {
    let position = checked(values.get("position")?)?;
    let mut reader = Reader::new(position);
    if reader.varint()? != u64::from(VERSION) {
        return None;
    }
    let covered = Covered {
        epoch: reader.varint()?,
        sequence: reader.varint()?,
        end: Locator::from_u64(reader.varint()?)?,
        salt: reader.varint()?,
    };
    let mut state = State {
        snapshot_as_of: reader.short()?,
        clean: reader.varint()? != 0,
        ..State::default()
    };
    for id in rising(&mut reader)? {
        let id = u32::try_from(id).ok()?;
        let mut segment =
            SegmentState::decode(checked(values.get(&name_of(id))?)?, |ids| state.group(ids))?;
        (segment.version, segment.saved) = (1, 1);
        state.segments.insert(id, segment);
    }
    let bodies: Vec<Locator> = state
        .segments
        .values()
        .flat_map(|segment| segment.places.iter().map(|(_, body)| body))
        .collect();
    for body in bodies {
        state.pin(body);
    }
    let (definitions, progress) = definitions::decode(checked(values.get("definitions")?)?)?;
    state.progress = progress;
    state.applied = covered.sequence;
    state.applied_end = Some(covered.end);
    Some(Checkpoint {
        covered,
        state,
        definitions,
    })
}

fn name_of(id: u32) -> String {
    format!("segment/{id:08x}")
}

fn signed(mut octets: Vec<u8>) -> Vec<u8> {
    let sum = checksum(0, &octets);
    octets.extend_from_slice(&sum.to_le_bytes());
    octets
}

fn checked(octets: &[u8]) -> Option<&[u8]> {
    let (value, sum) = octets.split_at_checked(octets.len().checked_sub(4)?)?;
    (checksum(0, value) == u32_at(sum, 0)).then_some(value)
}

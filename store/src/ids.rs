//! Ids of messages that must not be taken twice: in which segment each lies, and which are still wanted.
//!
//! - An id lies in the segment of its record. A dead segment with ids that are wanted goes only after they were carried forward.
//! - Of a destination the newest ids are wanted, as many as its latest limits say, if they are not too old.
//! - What is wanted is found out now and then (`State::trim_ids`), never for a record.

use std::collections::BTreeMap;

use crate::fields::{Reader, put_varint};
use crate::locator::{DestinationId, Locator};
use crate::message::{IdLimits, StoredId};
use crate::record::{HEADER, ID, ID_HEADER, padded};
use crate::state::State;

/// The ids of one destination in one segment, in the order of their records.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Ids {
    pub(crate) limits: IdLimits,
    pub(crate) entries: Vec<StoredId>,
}

/// The ids in one segment.
pub(crate) type SegmentIds = BTreeMap<DestinationId, Ids>;

/// Octets of the records that would carry these ids forward.
pub(crate) fn cost(ids: &SegmentIds) -> u64 {
    ids.values()
        .map(|ids| padded(HEADER + ID_HEADER + ids.entries.len() * ID) as u64)
        .sum()
}

/// Encodes the ids of a segment for its checkpoint value.
pub(crate) fn encode(ids: &SegmentIds, out: &mut Vec<u8>) {
    put_varint(out, ids.len() as u64);
    for (destination, Ids { limits, entries }) in ids {
        put_varint(out, u64::from(destination.0));
        put_varint(out, u64::from(limits.count_max));
        put_varint(out, limits.age_max_ms);
        put_varint(out, entries.len() as u64);
        for StoredId { time_ms, id } in entries {
            put_varint(out, *time_ms);
            out.extend_from_slice(&id.to_le_bytes());
        }
    }
}

/// Reads what [`encode`] wrote.
pub(crate) fn decode(reader: &mut Reader<'_>) -> Option<SegmentIds> {
    let mut found = SegmentIds::new();
    for _ in 0..reader.varint()? {
        let destination = DestinationId(reader.short()?);
        let limits = IdLimits {
            count_max: reader.short()?,
            age_max_ms: reader.varint()?,
        };
        let mut entries = Vec::new();
        for _ in 0..reader.varint()? {
            let time_ms = reader.varint()?;
            let id = u128::from_le_bytes(reader.array()?);
            entries.push(StoredId { time_ms, id });
        }
        found.insert(destination, Ids { limits, entries });
    }
    Some(found)
}

impl State {
    /// Takes the ids of one record in. Those carried forward `from` a segment are all that is wanted of the destination there.
    pub(crate) fn note_ids(
        &mut self,
        at: Locator,
        destination: DestinationId,
        from: Option<u32>,
        limits: IdLimits,
        entries: impl Iterator<Item = StoredId>,
    ) {
        if let Some(old) = from.and_then(|from| self.segments.get_mut(&from)) {
            old.ids.remove(&destination);
            old.version += 1;
        }
        let Some(segment) = self.segments.get_mut(&at.segment()) else {
            return;
        };
        let known = segment.ids.entry(destination).or_default();
        known.limits = limits;
        let before = known.entries.len();
        known.entries.extend(entries);
        let newest_ms = known.entries[before..].iter().map(|id| id.time_ms).max();
        self.now_ms = self.now_ms.max(newest_ms.unwrap_or(0));
        segment.version += 1;
    }

    /// Forgets the ids of a destination.
    pub(crate) fn drop_ids(&mut self, destination: DestinationId) {
        for segment in self.segments.values_mut() {
            if !segment.ids.is_empty() && segment.ids.remove(&destination).is_some() {
                segment.version += 1;
            }
        }
    }

    /// Forgets ids that are not wanted any more: too old, or too many newer ones have come. What the checkpoint says of them stays as
    /// it is.
    pub(crate) fn trim_ids(&mut self) {
        let mut known: BTreeMap<DestinationId, (IdLimits, usize)> = BTreeMap::new();
        for segment in self.segments.values() {
            for (&destination, ids) in &segment.ids {
                let (limits, count) = known.entry(destination).or_default();
                *limits = ids.limits;
                *count += ids.entries.len();
            }
        }
        for (destination, (limits, count)) in known {
            let oldest = self.oldest_wanted(destination, limits, count);
            let now_ms = self.now_ms;
            for segment in self.segments.values_mut() {
                let Some(ids) = segment.ids.get_mut(&destination) else {
                    continue;
                };
                ids.entries
                    .retain(|id| *id >= oldest && limits.is_young(id, now_ms));
                if ids.entries.is_empty() {
                    segment.ids.remove(&destination);
                }
            }
        }
    }

    /// The oldest id that the number of newer ones leaves.
    fn oldest_wanted(
        &self,
        destination: DestinationId,
        limits: IdLimits,
        count: usize,
    ) -> StoredId {
        let most = crate::fields::index(limits.count_max);
        if count <= most {
            return StoredId::default();
        }
        let segments = self.segments.values();
        let of = segments.filter_map(|segment| segment.ids.get(&destination));
        let mut all: Vec<StoredId> = of.flat_map(|ids| ids.entries.iter().copied()).collect();
        let surplus = all.len() - most;
        if most == 0 {
            return StoredId {
                time_ms: u64::MAX,
                id: u128::MAX,
            };
        }
        *all.select_nth_unstable(surplus).1
    }

    /// The wanted ids of every destination, oldest first, each once.
    pub(crate) fn all_ids(&mut self) -> BTreeMap<DestinationId, Vec<StoredId>> {
        self.trim_ids();
        let mut all: BTreeMap<DestinationId, Vec<StoredId>> = BTreeMap::new();
        for segment in self.segments.values() {
            for (&destination, ids) in &segment.ids {
                all.entry(destination).or_default().extend(&ids.entries);
            }
        }
        for ids in all.values_mut() {
            ids.sort_unstable();
            // After a crash an id may be where it was and where it was carried to.
            ids.dedup();
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::liveness::SegmentState;

    const QUEUE: DestinationId = DestinationId(7);

    fn state(segments: u32) -> State {
        let mut state = State::default();
        for id in 1..=segments {
            state.segments.insert(id, SegmentState::default());
        }
        state
    }

    fn note(state: &mut State, segment: u32, from: Option<u32>, limits: IdLimits, ids: &[u64]) {
        let entries = ids.iter().map(|&time_ms| StoredId {
            time_ms,
            id: u128::from(time_ms),
        });
        state.note_ids(Locator::new(segment, 4096), QUEUE, from, limits, entries);
    }

    fn times(state: &mut State) -> Vec<u64> {
        let all = state.all_ids();
        let ids = all.get(&QUEUE).into_iter().flatten();
        ids.map(|id| id.time_ms).collect()
    }

    #[test]
    fn the_newest_ids_are_wanted_while_they_are_young() {
        let limits = IdLimits {
            count_max: 3,
            age_max_ms: 100,
        };
        let mut state = state(2);
        note(&mut state, 1, None, limits, &[10, 20, 30]);
        assert_eq!(times(&mut state), [10, 20, 30]);
        note(&mut state, 2, None, limits, &[40]);
        assert_eq!(times(&mut state), [20, 30, 40]);
        state.now_ms = 125;
        assert_eq!(times(&mut state), [30, 40]);
        state.now_ms = 140;
        assert_eq!(times(&mut state), []);
        assert!(
            state
                .segments
                .values()
                .all(|segment| segment.ids.is_empty())
        );
    }

    #[test]
    fn what_is_carried_forward_lies_in_one_segment_only() {
        let limits = IdLimits {
            count_max: 10,
            age_max_ms: u64::MAX,
        };
        let mut state = state(3);
        note(&mut state, 1, None, limits, &[10, 20]);
        note(&mut state, 2, None, limits, &[30]);
        note(&mut state, 3, Some(1), limits, &[20]);
        assert!(state.segments[&1].ids.is_empty());
        assert_eq!(times(&mut state), [20, 30]);
        state.drop_ids(QUEUE);
        assert_eq!(times(&mut state), []);
    }

    #[test]
    fn ids_come_back_from_a_checkpoint_value() {
        let limits = IdLimits {
            count_max: 10,
            age_max_ms: u64::MAX,
        };
        let mut state = state(1);
        note(&mut state, 1, None, limits, &[10, 20]);
        let ids = &state.segments[&1].ids;
        let mut octets = Vec::new();
        encode(ids, &mut octets);
        assert_eq!(decode(&mut Reader::new(&octets)).as_ref(), Some(ids));
    }
}

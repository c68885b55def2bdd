//! Which references into one segment still matter: the bitmap, and the little else its deletion depends on.
//!
//! - Bit `offset / 32 + i` is reference `i` of the Add or Place at `offset`.
//! - Memory is one bit per granule up to the last live record; only records with several targets, moved messages and counters cost more.
//! - Bits are set by Adds and Places alone; everything else only clears them, so applying news twice or late is harmless.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::fields::{Reader, index, put_varint, short};
use crate::ids::{self, SegmentIds};
use crate::locator::{DestinationId, Locator};
use crate::places::Places;
use crate::record::GRANULE;

/// One bit per granule, as long as its highest bit needs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Bitmap {
    words: Vec<u64>,
    ones: u32,
}

impl Bitmap {
    pub(crate) fn ones(&self) -> u32 {
        self.ones
    }

    pub(crate) fn get(&self, bit: u32) -> bool {
        self.words
            .get(index(bit / 64))
            .is_some_and(|word| word >> (bit % 64) & 1 == 1)
    }

    /// Sets a bit; true if it was clear.
    pub(crate) fn set(&mut self, bit: u32) -> bool {
        let word = index(bit / 64);
        if word >= self.words.len() {
            self.words.resize(word + 1, 0);
        }
        let fresh = self.words[word] >> (bit % 64) & 1 == 0;
        self.words[word] |= 1 << (bit % 64);
        self.ones += u32::from(fresh);
        fresh
    }

    /// Clears a bit; true if it was set. An empty bitmap gives its memory back.
    pub(crate) fn clear(&mut self, bit: u32) -> bool {
        if !self.get(bit) {
            return false;
        }
        self.words[index(bit / 64)] &= !(1 << (bit % 64));
        self.ones -= 1;
        if self.ones == 0 {
            self.words = Vec::new();
        }
        true
    }

    /// The set bits, rising.
    pub(crate) fn iter(&self) -> impl Iterator<Item = u32> {
        self.words.iter().enumerate().flat_map(|(at, &word)| {
            let base = short(at * 64);
            let mut rest = word;
            std::iter::from_fn(move || {
                let bit = (rest != 0).then(|| base + rest.trailing_zeros())?;
                rest &= rest - 1;
                Some(bit)
            })
        })
    }
}

/// What the store remembers about one segment.
#[derive(Debug, Clone, Default)]
pub(crate) struct SegmentState {
    pub(crate) salt: u64,
    /// Octets of the file.
    pub(crate) length: u64,
    pub(crate) live: Bitmap,
    /// Records with several targets, by offset: which list of destinations (`State::groups`) they went to.
    pub(crate) multi: Vec<(u32, u32)>,
    /// Live Place records by offset, and the body they refer to.
    pub(crate) places: Places,
    /// Live copies by offset, and the place each was first written at: its name.
    pub(crate) copies: HashMap<u32, Locator>,
    /// Live Place records, anywhere, whose body is here.
    pub(crate) pins: u32,
    /// Failed deliveries by bit.
    pub(crate) redeliveries: BTreeMap<u32, u16>,
    /// Older segments that removals, counters and Liveness records in this one speak of.
    pub(crate) refers: BTreeSet<u32>,
    /// The newest Liveness record about this one knows everything in segments before that.
    pub(crate) liveness_as_of: u32,
    /// Ids of messages whose records lie here and that are wanted.
    pub(crate) ids: SegmentIds,
    /// Rises with every change; `saved` is its value in the last checkpoint.
    pub(crate) version: u64,
    pub(crate) saved: u64,
}

/// The bit of the first target of the record at `offset`.
pub(crate) fn bit_of(offset: u32) -> u32 {
    offset / short(GRANULE)
}

impl SegmentState {
    /// True if no live reference leads here.
    pub(crate) fn is_dead(&self) -> bool {
        self.live.ones() == 0 && self.pins == 0
    }

    /// Index into `State::groups` of the record at `offset`, if it has several targets.
    pub(crate) fn group_of(&self, offset: u32) -> Option<u32> {
        let at = self
            .multi
            .binary_search_by_key(&offset, |&(offset, _)| offset)
            .ok()?;
        Some(self.multi[at].1)
    }

    /// Encodes the payload of a Liveness record.
    pub(crate) fn encode_liveness(&self, out: &mut Vec<u8>) {
        put_rising(
            out,
            self.live.ones() as usize,
            self.live.iter().map(u64::from),
        );
        put_varint(out, self.redeliveries.len() as u64);
        for (&bit, &count) in &self.redeliveries {
            put_varint(out, u64::from(bit));
            put_varint(out, u64::from(count));
        }
    }

    /// Applies the payload of a Liveness record: keeps only what is live in both. Gives the bits to clear.
    pub(crate) fn merge_liveness(&mut self, octets: &[u8]) -> Option<Vec<u32>> {
        let mut reader = Reader::new(octets);
        let listed = rising(&mut reader)?;
        let mut listed = listed.into_iter().peekable();
        let mut gone = Vec::new();
        for bit in self.live.iter() {
            while listed.next_if(|&other| other < u64::from(bit)).is_some() {}
            if listed.next_if_eq(&u64::from(bit)).is_none() {
                gone.push(bit);
            }
        }
        for _ in 0..reader.varint()? {
            let (bit, count) = (reader.short()?, u16::try_from(reader.varint()?).ok()?);
            if self.live.get(bit) {
                let known = self.redeliveries.entry(bit).or_insert(0);
                *known = count.max(*known);
            }
        }
        Some(gone)
    }

    /// Encodes the checkpoint value of this segment.
    pub(crate) fn encode(&self, groups: &[Box<[DestinationId]>], out: &mut Vec<u8>) {
        put_varint(out, self.salt);
        put_varint(out, self.length);
        self.encode_liveness(out);
        put_varint(out, self.multi.len() as u64);
        for &(offset, group) in &self.multi {
            put_varint(out, u64::from(offset));
            let group = &groups[index(group)];
            put_varint(out, group.len() as u64);
            group.iter().for_each(|id| put_varint(out, u64::from(id.0)));
        }
        put_varint(out, self.places.len() as u64);
        for (offset, body) in self.places.iter() {
            put_varint(out, u64::from(offset));
            put_varint(out, body.get());
        }
        put_rising(
            out,
            self.refers.len(),
            self.refers.iter().map(|&id| u64::from(id)),
        );
        put_varint(out, u64::from(self.liveness_as_of));
        ids::encode(&self.ids, out);
        put_varint(out, self.copies.len() as u64);
        for (&offset, name) in &self.copies {
            put_varint(out, u64::from(offset));
            put_varint(out, name.get());
        }
    }

    /// Decodes a checkpoint value; `group` gives lists of destinations their index.
    pub(crate) fn decode(
        octets: &[u8],
        mut group: impl FnMut(Box<[DestinationId]>) -> u32,
    ) -> Option<Self> {
        let mut reader = Reader::new(octets);
        let mut state = Self {
            salt: reader.varint()?,
            length: reader.varint()?,
            ..Self::default()
        };
        for bit in rising(&mut reader)? {
            state.live.set(u32::try_from(bit).ok()?);
        }
        for _ in 0..reader.varint()? {
            state
                .redeliveries
                .insert(reader.short()?, u16::try_from(reader.varint()?).ok()?);
        }
        for _ in 0..reader.varint()? {
            let offset = reader.short()?;
            let ids = (0..reader.varint()?)
                .map(|_| Some(DestinationId(reader.short()?)))
                .collect::<Option<Box<[_]>>>()?;
            state.multi.push((offset, group(ids)));
        }
        for _ in 0..reader.varint()? {
            state
                .places
                .insert(reader.short()?, Locator::from_u64(reader.varint()?)?);
        }
        state.refers = rising(&mut reader)?
            .into_iter()
            .map(u32::try_from)
            .collect::<Result<_, _>>()
            .ok()?;
        state.liveness_as_of = reader.short()?;
        state.ids = ids::decode(&mut reader)?;
        for _ in 0..reader.varint()? {
            state
                .copies
                .insert(reader.short()?, Locator::from_u64(reader.varint()?)?);
        }
        Some(state)
    }
}

/// Appends a count and the differences between rising values.
pub(crate) fn put_rising(out: &mut Vec<u8>, count: usize, values: impl Iterator<Item = u64>) {
    put_varint(out, count as u64);
    let mut last = 0;
    for value in values {
        put_varint(out, value - last);
        last = value;
    }
}

/// Reads what [`put_rising`] wrote.
pub(crate) fn rising(reader: &mut Reader<'_>) -> Option<Vec<u64>> {
    let count = reader.varint()?;
    let mut values = Vec::new();
    let mut last = 0_u64;
    for _ in 0..count {
        last = last.checked_add(reader.varint()?)?;
        values.push(last);
    }
    Some(values)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_bitmap_is_a_set(operations: Vec<(bool, u16)>) {
            let (mut bitmap, mut model) = (Bitmap::default(), BTreeSet::new());
            for (set, bit) in operations {
                let bit = u32::from(bit);
                if set {
                    prop_assert_eq!(bitmap.set(bit), model.insert(bit));
                } else {
                    prop_assert_eq!(bitmap.clear(bit), model.remove(&bit));
                }
                prop_assert_eq!(bitmap.ones() as usize, model.len());
            }
            prop_assert!(bitmap.iter().eq(model.into_iter()));
        }

        #[test]
        fn a_liveness_record_leaves_what_both_know(mine: BTreeSet<u16>, other: BTreeSet<u16>) {
            let of = |bits: &BTreeSet<u16>| {
                let mut state = SegmentState::default();
                for &bit in bits {
                    state.live.set(u32::from(bit));
                }
                state
            };
            let mut octets = Vec::new();
            of(&other).encode_liveness(&mut octets);
            let gone = of(&mine).merge_liveness(&octets).unwrap();
            let expected: Vec<u32> = mine.difference(&other).map(|&bit| u32::from(bit)).collect();
            prop_assert_eq!(gone, expected);
        }
    }

    #[test]
    fn a_segment_comes_back_from_its_checkpoint_value() {
        let groups = vec![vec![DestinationId(4), DestinationId(9)].into_boxed_slice()];
        let mut state = SegmentState {
            salt: 77,
            length: 1 << 20,
            ..SegmentState::default()
        };
        state.live.set(128);
        state.live.set(129);
        state.redeliveries.insert(129, 3);
        state.multi.push((4096, 0));
        state.places.insert(4096, Locator::new(1, 8192));
        state.copies.insert(4128, Locator::new(2, 64));
        state.refers.extend([1, 5]);
        state.liveness_as_of = 6;
        let mut octets = Vec::new();
        state.encode(&groups, &mut octets);
        let found = SegmentState::decode(&octets, |ids| {
            assert_eq!(ids, groups[0]);
            0
        })
        .unwrap();
        assert_eq!(format!("{found:?}"), format!("{state:?}"));
    }
}

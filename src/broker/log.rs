//! A sequence-ordered log with holes: the ready messages of a destination.
//!
//! Entries are appended with growing sequences and mostly leave at the front; a returned message goes
//! back to its old place, and a transaction may fill a place reserved earlier. Chunks of 64 slots with a
//! bit mask make all of that cheap: a chunk exists only while it holds something, so a lone old entry
//! costs one chunk whatever lies between, and an entry costs its own size and a few bits.

use std::collections::VecDeque;

const SLOTS: u64 = 64;

#[derive(Debug)]
struct Chunk<T> {
    number: u64,
    live: u64,
    slots: Box<[Option<T>]>,
}

impl<T> Chunk<T> {
    fn new(number: u64) -> Self {
        Self {
            number,
            live: 0,
            slots: (0..SLOTS).map(|_| None).collect(),
        }
    }

    fn sequence(&self, slot: u32) -> u64 {
        self.number * SLOTS + u64::from(slot)
    }
}

/// A map from sequence to `T` that is ordered and cheap at both ends.
#[derive(Debug)]
pub struct Log<T> {
    chunks: VecDeque<Chunk<T>>,
    len: usize,
    /// One emptied chunk kept for reuse, so that a queue that hovers around empty does not allocate.
    spare: Option<Chunk<T>>,
}

impl<T> Default for Log<T> {
    fn default() -> Self {
        Self {
            chunks: VecDeque::new(),
            len: 0,
            spare: None,
        }
    }
}

impl<T> Log<T> {
    /// How many entries there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Puts `value` at `sequence`; returns what was there.
    pub fn insert(&mut self, sequence: u64, value: T) -> Option<T> {
        let number = sequence / SLOTS;
        let index = match self.locate(number) {
            Ok(index) => index,
            Err(index) => {
                let chunk = match self.spare.take() {
                    Some(spare) => Chunk { number, ..spare },
                    None => Chunk::new(number),
                };
                self.chunks.insert(index, chunk);
                index
            }
        };
        let chunk = &mut self.chunks[index];
        let slot = slot_of(sequence);
        chunk.live |= 1 << slot;
        let old = chunk.slots[slot].replace(value);
        self.len += usize::from(old.is_none());
        old
    }

    /// The entry at `sequence`.
    #[must_use]
    pub fn get(&self, sequence: u64) -> Option<&T> {
        let index = self.locate(sequence / SLOTS).ok()?;
        self.chunks[index].slots[slot_of(sequence)].as_ref()
    }

    /// The entry at `sequence`, to change.
    pub fn get_mut(&mut self, sequence: u64) -> Option<&mut T> {
        let index = self.locate(sequence / SLOTS).ok()?;
        self.chunks[index].slots[slot_of(sequence)].as_mut()
    }

    /// Takes the entry at `sequence` out.
    pub fn remove(&mut self, sequence: u64) -> Option<T> {
        let index = self.locate(sequence / SLOTS).ok()?;
        self.take(index, slot_of(sequence))
    }

    /// The first sequence at or after `from` that holds an entry.
    #[must_use]
    pub fn next_from(&self, from: u64) -> Option<u64> {
        let number = from / SLOTS;
        let mut index = match self.locate(number) {
            Ok(index) => {
                let chunk = &self.chunks[index];
                let rest = chunk.live & (u64::MAX << (from % SLOTS));
                if rest != 0 {
                    return Some(chunk.sequence(rest.trailing_zeros()));
                }
                index + 1
            }
            Err(index) => index,
        };
        while let Some(chunk) = self.chunks.get(index) {
            if chunk.live != 0 {
                return Some(chunk.sequence(chunk.live.trailing_zeros()));
            }
            index += 1;
        }
        None
    }

    /// The first sequence that holds an entry.
    #[must_use]
    pub fn first(&self) -> Option<u64> {
        let chunk = self.chunks.front()?;
        Some(chunk.sequence(chunk.live.trailing_zeros()))
    }

    /// The first entry with its sequence, to change.
    pub fn first_mut(&mut self) -> Option<(u64, &mut T)> {
        let chunk = self.chunks.front_mut()?;
        let slot = chunk.live.trailing_zeros();
        let sequence = chunk.sequence(slot);
        let value = chunk.slots[slot as usize].as_mut()?;
        Some((sequence, value))
    }

    /// Takes the first entry out.
    pub fn pop_first(&mut self) -> Option<(u64, T)> {
        let chunk = self.chunks.front()?;
        let slot = chunk.live.trailing_zeros();
        let sequence = chunk.sequence(slot);
        self.take(0, slot as usize).map(|value| (sequence, value))
    }

    /// All entries in order, with their sequences.
    pub fn iter(&self) -> impl Iterator<Item = (u64, &T)> {
        self.chunks.iter().flat_map(|chunk| {
            chunk
                .slots
                .iter()
                .enumerate()
                .filter_map(move |(slot, value)| {
                    value
                        .as_ref()
                        .map(|value| (chunk.number * SLOTS + slot as u64, value))
                })
        })
    }

    fn take(&mut self, index: usize, slot: usize) -> Option<T> {
        let chunk = &mut self.chunks[index];
        let value = chunk.slots[slot].take()?;
        chunk.live &= !(1 << slot);
        self.len -= 1;
        if chunk.live == 0 {
            self.spare = self.chunks.remove(index);
        }
        Some(value)
    }

    /// The index of chunk `number`, or where it belongs. Chunks are dense in all but rare cases, so the
    /// guess from the first one's number nearly always hits.
    fn locate(&self, number: u64) -> Result<usize, usize> {
        let Some(first) = self.chunks.front() else {
            return Err(0);
        };
        if number < first.number {
            return Err(0);
        }
        let guess = usize::try_from(number - first.number).unwrap_or(usize::MAX);
        if self
            .chunks
            .get(guess)
            .is_some_and(|chunk| chunk.number == number)
        {
            return Ok(guess);
        }
        if self.chunks.back().is_some_and(|last| last.number < number) {
            return Err(self.chunks.len());
        }
        self.chunks
            .binary_search_by_key(&number, |chunk| chunk.number)
    }
}

fn slot_of(sequence: u64) -> usize {
    (sequence % SLOTS) as usize
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug)]
    enum Op {
        Insert(u64),
        Remove(u64),
        PopFirst,
        NextFrom(u64),
    }

    fn ops() -> impl Strategy<Value = Vec<Op>> {
        let sequence = prop_oneof![0..300_u64, 1_000_000..1_000_300_u64];
        let op = prop_oneof![
            4 => sequence.clone().prop_map(Op::Insert),
            2 => sequence.clone().prop_map(Op::Remove),
            2 => Just(Op::PopFirst),
            1 => sequence.prop_map(Op::NextFrom),
        ];
        proptest::collection::vec(op, 0..400)
    }

    proptest! {
        #[test]
        fn behaves_as_an_ordered_map(ops in ops()) {
            let mut log = Log::default();
            let mut model = BTreeMap::new();
            for op in ops {
                match op {
                    Op::Insert(at) => prop_assert_eq!(log.insert(at, at), model.insert(at, at)),
                    Op::Remove(at) => prop_assert_eq!(log.remove(at), model.remove(&at)),
                    Op::PopFirst => prop_assert_eq!(log.pop_first(), model.pop_first()),
                    Op::NextFrom(at) => {
                        prop_assert_eq!(log.next_from(at), model.range(at..).next().map(|(at, _)| *at));
                    }
                }
                prop_assert_eq!(log.len(), model.len());
                prop_assert_eq!(log.first(), model.keys().next().copied());
            }
            prop_assert!(log.iter().map(|(at, _)| at).eq(model.keys().copied()));
        }
    }

    #[test]
    fn a_backlog_entry_costs_at_most_32_octets() {
        assert_eq!(size_of::<Option<crate::broker::Entry>>(), 24);
    }
}

//! A sequence-ordered log with holes: the ready messages of a destination.
//!
//! Entries are appended with growing sequences and mostly leave at the front; a returned message goes
//! back to its old place, and a transaction may fill a place reserved earlier. Chunks of 64 slots with a
//! bit mask make all of that cheap: a chunk exists only while it holds something, so a lone old entry
//! costs one chunk whatever lies between, and an entry costs its own size and a few bits.
//!
//! A chunk whose entries say the same but for their place in the journal lies *cold*: 8 octets an entry. Whoever
//! changes one of them gets it back as it was. A chunk of a log with a few entries has no more room than they need, as
//! most destinations are quiet.

use std::collections::VecDeque;
use std::ops::Deref;

const SLOTS: usize = 64;
/// The same, where sequences are counted.
const PER_CHUNK: u64 = SLOTS as u64;
/// Entries up to which a chunk has no place for each slot.
const FEW_MAX: usize = 4;

/// What a log holds. A whole chunk of it can lie in less memory while nobody changes it.
pub trait Chill: Sized {
    /// A chunk's entries in less memory.
    type Cold: std::fmt::Debug;

    /// The entries of a chunk in less memory, if all of them allow it.
    fn chill(slots: &[Option<Self>]) -> Option<Self::Cold>;

    /// One of them; there is one in `slot`.
    fn thawed(cold: &Self::Cold, slot: usize) -> Self;
}

/// An entry that is looked at.
#[derive(Debug)]
pub enum Seen<'a, T> {
    /// Where it is.
    Here(&'a T),
    /// Made from its cold form.
    Made(T),
}

impl<T> Deref for Seen<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        match self {
            Self::Here(value) => value,
            Self::Made(value) => value,
        }
    }
}

#[derive(Debug)]
enum Slots<T: Chill> {
    /// In any order, with their slots.
    Few(Vec<(usize, T)>),
    Warm(Box<[Option<T>]>),
    Cold(Box<T::Cold>),
}

impl<T: Chill> Slots<T> {
    /// Places for all slots, with what is in a few.
    fn warm(few: Vec<(usize, T)>) -> Self {
        let mut slots: Box<[Option<T>]> = (0..SLOTS).map(|_| None).collect();
        for (slot, value) in few {
            slots[slot] = Some(value);
        }
        Self::Warm(slots)
    }

    fn is_warm(&self) -> bool {
        matches!(self, Self::Warm(_))
    }
}

#[derive(Debug)]
struct Chunk<T: Chill> {
    number: u64,
    live: u64,
    slots: Slots<T>,
}

impl<T: Chill> Chunk<T> {
    fn sequence(&self, slot: u32) -> u64 {
        self.number * PER_CHUNK + u64::from(slot)
    }

    fn has(&self, slot: usize) -> bool {
        self.live & (1 << slot) != 0
    }

    fn get(&self, slot: usize) -> Option<Seen<'_, T>> {
        match &self.slots {
            Slots::Warm(slots) => slots[slot].as_ref().map(Seen::Here),
            Slots::Few(few) => {
                let (_, value) = few.iter().find(|(at, _)| *at == slot)?;
                Some(Seen::Here(value))
            }
            Slots::Cold(cold) => self.has(slot).then(|| Seen::Made(T::thawed(cold, slot))),
        }
    }

    fn get_mut(&mut self, slot: usize) -> Option<&mut T> {
        self.thaw();
        match &mut self.slots {
            Slots::Warm(slots) => slots[slot].as_mut(),
            Slots::Few(few) => {
                let mut few = few.iter_mut();
                let (_, value) = few.find(|(at, _)| *at == slot)?;
                Some(value)
            }
            Slots::Cold(_) => unreachable!("it has just been thawed"),
        }
    }

    fn put(&mut self, slot: usize, value: T) -> Option<T> {
        if self.has(slot) {
            let held = self.get_mut(slot)?;
            return Some(std::mem::replace(held, value));
        }
        self.thaw();
        self.live |= 1 << slot;
        if let Slots::Few(few) = &mut self.slots {
            if few.len() < FEW_MAX {
                if few.capacity() == 0 {
                    few.reserve_exact(1);
                }
                few.push((slot, value));
                return None;
            }
            self.slots = Slots::warm(std::mem::take(few));
        }
        if let Slots::Warm(slots) = &mut self.slots {
            slots[slot] = Some(value);
        }
        None
    }

    fn take(&mut self, slot: usize) -> Option<T> {
        let value = match &mut self.slots {
            Slots::Warm(slots) => slots[slot].take()?,
            Slots::Few(few) => {
                let at = few.iter().position(|(at, _)| *at == slot)?;
                few.swap_remove(at).1
            }
            Slots::Cold(cold) if self.live & (1 << slot) != 0 => T::thawed(cold, slot),
            Slots::Cold(_) => return None,
        };
        self.live &= !(1 << slot);
        Some(value)
    }

    fn thaw(&mut self) {
        if let Slots::Cold(cold) = &self.slots {
            let slots = 0..SLOTS;
            let slots = slots.map(|slot| self.has(slot).then(|| T::thawed(cold, slot)));
            self.slots = Slots::Warm(slots.collect());
        }
    }

    fn chill(&mut self) {
        if let Slots::Warm(slots) = &self.slots
            && let Some(cold) = T::chill(slots)
        {
            self.slots = Slots::Cold(Box::new(cold));
        }
    }
}

/// A map from sequence to `T` that is ordered and cheap at both ends.
#[derive(Debug)]
pub struct Log<T: Chill> {
    chunks: VecDeque<Chunk<T>>,
    len: usize,
    /// The places of one emptied chunk, kept for reuse, so that a queue that hovers around empty does not allocate.
    spare: Option<Slots<T>>,
}

impl<T: Chill> Default for Log<T> {
    fn default() -> Self {
        Self {
            chunks: VecDeque::new(),
            len: 0,
            spare: None,
        }
    }
}

impl<T: Chill> Log<T> {
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
        let number = sequence / PER_CHUNK;
        let index = match self.locate(number) {
            Ok(index) => index,
            Err(index) => {
                // What is filled from a journal comes without its messages, and is not looked at again for long.
                if let Some(full) = self.chunks.back_mut().filter(|last| last.number < number) {
                    full.chill();
                }
                let slots = match self.spare.take() {
                    Some(spare) => spare,
                    None if self.len < FEW_MAX => Slots::Few(Vec::new()),
                    None => Slots::warm(Vec::new()),
                };
                if self.chunks.capacity() == 0 {
                    self.chunks.reserve_exact(1);
                }
                let live = 0;
                let chunk = Chunk {
                    number,
                    live,
                    slots,
                };
                self.chunks.insert(index, chunk);
                index
            }
        };
        let old = self.chunks[index].put(slot_of(sequence), value);
        self.len += usize::from(old.is_none());
        old
    }

    /// Whether there is an entry at `sequence`.
    #[must_use]
    pub fn contains(&self, sequence: u64) -> bool {
        self.locate(sequence / PER_CHUNK)
            .is_ok_and(|index| self.chunks[index].has(slot_of(sequence)))
    }

    /// The entry at `sequence`.
    #[must_use]
    pub fn get(&self, sequence: u64) -> Option<Seen<'_, T>> {
        let index = self.locate(sequence / PER_CHUNK).ok()?;
        self.chunks[index].get(slot_of(sequence))
    }

    /// The entry at `sequence`, to change.
    pub fn get_mut(&mut self, sequence: u64) -> Option<&mut T> {
        let index = self.locate(sequence / PER_CHUNK).ok()?;
        self.chunks[index].get_mut(slot_of(sequence))
    }

    /// Takes the entry at `sequence` out.
    pub fn remove(&mut self, sequence: u64) -> Option<T> {
        let index = self.locate(sequence / PER_CHUNK).ok()?;
        self.take(index, slot_of(sequence))
    }

    /// Lets a chunk lie in less memory, if it can, when `sequence` is the last entry in it: to be called for entries in
    /// order.
    pub fn chill_through(&mut self, sequence: u64) {
        let later = u64::MAX << slot_of(sequence) << 1;
        if let Ok(index) = self.locate(sequence / PER_CHUNK)
            && self.chunks[index].live & later == 0
        {
            self.chunks[index].chill();
        }
    }

    /// The first sequence at or after `from` that holds an entry.
    #[must_use]
    pub fn next_from(&self, from: u64) -> Option<u64> {
        let number = from / PER_CHUNK;
        let mut index = match self.locate(number) {
            Ok(index) => {
                let chunk = &self.chunks[index];
                let rest = chunk.live & (u64::MAX << (from % PER_CHUNK));
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

    /// The first sequence at or after `from` that holds an entry which does not lie cold.
    #[must_use]
    pub fn next_warm_from(&self, from: u64) -> Option<u64> {
        let number = from / PER_CHUNK;
        let index = match self.locate(number) {
            Ok(index) | Err(index) => index,
        };
        self.chunks.range(index..).find_map(|chunk| {
            let after = if chunk.number == number {
                u64::MAX << (from % PER_CHUNK)
            } else {
                u64::MAX
            };
            let rest = chunk.live & after;
            let is_cold = matches!(chunk.slots, Slots::Cold(_));
            (!is_cold && rest != 0).then(|| chunk.sequence(rest.trailing_zeros()))
        })
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
        let value = chunk.get_mut(slot as usize)?;
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
    pub fn iter(&self) -> impl Iterator<Item = (u64, Seen<'_, T>)> {
        self.chunks.iter().flat_map(|chunk| {
            let slots = 0..SLOTS;
            slots.filter_map(move |slot| {
                Some((chunk.number * PER_CHUNK + slot as u64, chunk.get(slot)?))
            })
        })
    }

    fn take(&mut self, index: usize, slot: usize) -> Option<T> {
        let chunk = &mut self.chunks[index];
        let value = chunk.take(slot)?;
        self.len -= 1;
        if chunk.live == 0 {
            let emptied = self.chunks.remove(index)?.slots;
            let is_better = emptied.is_warm() || !self.spare.as_ref().is_some_and(Slots::is_warm);
            if is_better && !matches!(emptied, Slots::Cold(_)) {
                self.spare = Some(emptied);
            }
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
    (sequence % PER_CHUNK) as usize
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::broker::Entry;
    use crate::broker::double::message;

    /// Only what lies at an even sequence may lie cold.
    impl Chill for u64 {
        type Cold = Vec<Option<u64>>;

        fn chill(slots: &[Option<u64>]) -> Option<Self::Cold> {
            let mut held = slots.iter().flatten();
            held.all(|held| held % 2 == 0).then(|| slots.to_vec())
        }

        fn thawed(cold: &Self::Cold, slot: usize) -> u64 {
            cold[slot].expect("it is there")
        }
    }

    #[derive(Clone, Debug)]
    enum Op {
        Insert(u64),
        Change(u64),
        Remove(u64),
        PopFirst,
        NextFrom(u64),
        Chill(u64),
    }

    fn ops() -> impl Strategy<Value = Vec<Op>> {
        let sequence = prop_oneof![0..300_u64, 1_000_000..1_000_300_u64];
        let op = prop_oneof![
            4 => sequence.clone().prop_map(Op::Insert),
            4 => sequence.clone().prop_map(|sequence| Op::Insert(sequence & !1)),
            1 => sequence.clone().prop_map(Op::Change),
            2 => sequence.clone().prop_map(Op::Remove),
            2 => sequence.clone().prop_map(Op::Chill),
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
                    Op::Change(at) => {
                        let (found, known) = (log.get_mut(at), model.get_mut(&at));
                        prop_assert_eq!(&found, &known);
                        if let (Some(found), Some(known)) = (found, known) {
                            (*found, *known) = (*found + 2, *known + 2);
                        }
                    }
                    Op::Chill(at) => {
                        log.chill_through(at);
                        prop_assert_eq!(log.get(at).map(|held| *held), model.get(&at).copied());
                        prop_assert_eq!(log.contains(at), model.contains_key(&at));
                    }
                    Op::NextFrom(at) => {
                        prop_assert_eq!(log.next_from(at), model.range(at..).next().map(|(at, _)| *at));
                    }
                }
                prop_assert_eq!(log.len(), model.len());
                prop_assert_eq!(log.first(), model.keys().next().copied());
            }
            let held = log.iter().map(|(at, held)| (at, *held));
            prop_assert!(held.eq(model.into_iter()));
        }
    }

    #[test]
    fn a_backlog_entry_costs_24_octets_at_most() {
        assert_eq!(size_of::<Option<Entry>>(), 24);
    }

    #[test]
    fn few_entries_have_no_more_room_than_they_need() {
        let mut log = Log::<Entry>::default();
        log.insert(1, Entry::held(Arc::new(message(1, 10, false, 0)), None));
        let [chunk] = log.chunks.make_contiguous() else {
            panic!("one entry lies in one chunk");
        };
        assert!(size_of_val(chunk) <= 40, "{}", size_of_val(chunk));
        assert!(matches!(&chunk.slots, Slots::Few(few) if few.capacity() == 1));
        assert_eq!(log.chunks.capacity(), 1);
    }

    #[test]
    fn what_hovers_around_empty_uses_its_places_again() {
        for depth in [1, 2, FEW_MAX as u64 + 1, 40, 100] {
            let mut log = Log::<u64>::default();
            for at in 0..3000 {
                // Odd ones do not lie cold.
                let sequence = 2 * at + 1;
                let is_warmed_up = at > 1000;
                let opens = log.locate(sequence / PER_CHUNK).is_err();
                let promotes = log.chunks.back().is_some_and(
                    |last| matches!(&last.slots, Slots::Few(few) if few.len() == FEW_MAX),
                );
                assert!(
                    !is_warmed_up || (!opens || log.spare.is_some()) && (opens || !promotes),
                    "new places at {at} for a depth of {depth}"
                );
                log.insert(sequence, sequence);
                if at >= depth {
                    log.remove(2 * (at - depth) + 1);
                }
            }
        }
    }
}

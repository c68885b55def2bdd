//! A set of sequences of which the lowest mostly leave first: one bit each.

use std::collections::VecDeque;

const BITS: u64 = 64;

/// Sequences; all operations take constant time, over all of them. What lies between the lowest and the
/// highest costs a bit whether it is in the set or not.
#[derive(Debug, Default)]
pub struct Places {
    /// Number of the first word. The first word is never empty.
    base: u64,
    words: VecDeque<u64>,
}

impl Places {
    /// Adds `sequence`. Returns false if it was there.
    pub fn insert(&mut self, sequence: u64) -> bool {
        let (number, bit) = (sequence / BITS, 1 << (sequence % BITS));
        if self.words.is_empty() {
            self.base = number;
        }
        while number < self.base {
            self.words.push_front(0);
            self.base -= 1;
        }
        let index = index(number - self.base);
        if index >= self.words.len() {
            self.words.resize(index + 1, 0);
        }
        let word = &mut self.words[index];
        let fresh = *word & bit == 0;
        *word |= bit;
        fresh
    }

    /// Takes `sequence` out. Returns false if it was not there.
    pub fn remove(&mut self, sequence: u64) -> bool {
        if !self.contains(sequence) {
            return false;
        }
        self.words[index(sequence / BITS - self.base)] &= !(1 << (sequence % BITS));
        while self.words.front() == Some(&0) {
            self.words.pop_front();
            self.base += 1;
        }
        true
    }

    /// Whether `sequence` is in the set.
    #[must_use]
    pub fn contains(&self, sequence: u64) -> bool {
        let word = (sequence / BITS).checked_sub(self.base);
        let word = word.and_then(|word| self.words.get(index(word)));
        word.is_some_and(|word| word >> (sequence % BITS) & 1 == 1)
    }

    /// The lowest sequence.
    #[must_use]
    pub fn first(&self) -> Option<u64> {
        let word = self.words.front()?;
        Some(self.base * BITS + u64::from(word.trailing_zeros()))
    }
}

fn index(word: u64) -> usize {
    usize::try_from(word).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn behaves_as_an_ordered_set(ops in proptest::collection::vec((any::<bool>(), 900_u64..1500), 0..300)) {
            let (mut places, mut model) = (Places::default(), BTreeSet::new());
            for (add, sequence) in ops {
                if add {
                    prop_assert_eq!(places.insert(sequence), model.insert(sequence));
                } else {
                    prop_assert_eq!(places.remove(sequence), model.remove(&sequence));
                }
                prop_assert_eq!(places.contains(sequence), model.contains(&sequence));
                prop_assert_eq!(places.first(), model.first().copied());
            }
        }
    }
}

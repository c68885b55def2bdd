//! A map whose keys only grow: serial numbers of what comes and, in any order, goes.
//!
//! - In order of key in one list, so an entry costs its own size and its key, and nothing for being found: mostly its place follows
//!   from its key.
//! - What goes leaves a hole, until holes are at the ends or more than what is left: constant work for each.

use std::collections::VecDeque;

/// Holes that are not worth a look.
const HOLES_MIN: usize = 8;

/// See the module.
#[derive(Debug)]
pub struct Rising<T> {
    /// By key; `None` is a hole.
    slots: VecDeque<(u64, Option<T>)>,
    len: usize,
}

impl<T> Default for Rising<T> {
    fn default() -> Self {
        Self {
            slots: VecDeque::new(),
            len: 0,
        }
    }
}

impl<T> Rising<T> {
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

    /// Puts `value` at `key`, which mostly is higher than all before it; returns what was there.
    pub fn insert(&mut self, key: u64, value: T) -> Option<T> {
        let slot = match self.find(key) {
            Ok(at) => {
                let old = self.slots[at].1.replace(value);
                self.len += usize::from(old.is_none());
                return old;
            }
            Err(at) => at,
        };
        if self.slots.len() == self.slots.capacity() {
            // Twice the room would be half wasted.
            self.slots.reserve_exact(self.slots.len() / 8 + 1);
        }
        self.slots.insert(slot, (key, Some(value)));
        self.len += 1;
        None
    }

    /// The entry at `key`.
    #[must_use]
    pub fn get(&self, key: u64) -> Option<&T> {
        self.slots[self.find(key).ok()?].1.as_ref()
    }

    /// Takes the entry at `key` out.
    pub fn remove(&mut self, key: u64) -> Option<T> {
        let at = self.find(key).ok()?;
        let value = self.slots[at].1.take()?;
        self.len -= 1;
        while self.slots.front().is_some_and(|slot| slot.1.is_none()) {
            self.slots.pop_front();
        }
        while self.slots.back().is_some_and(|slot| slot.1.is_none()) {
            self.slots.pop_back();
        }
        if self.slots.len() > 2 * self.len + HOLES_MIN {
            self.slots.retain(|slot| slot.1.is_some());
        }
        if self.slots.capacity() > 4 * self.slots.len() + HOLES_MIN {
            self.slots.shrink_to_fit();
        }
        Some(value)
    }

    /// All entries, by key.
    pub fn iter(&self) -> impl Iterator<Item = (u64, &T)> {
        let slots = self.slots.iter();
        slots.filter_map(|(key, value)| Some((*key, value.as_ref()?)))
    }

    fn find(&self, key: u64) -> Result<usize, usize> {
        let Some((first, _)) = self.slots.front() else {
            return Err(0);
        };
        // Without holes that have gone, this is its place.
        let guess = key.checked_sub(*first).ok_or(0_usize)?;
        if let Ok(guess) = usize::try_from(guess)
            && self.slots.get(guess).is_some_and(|slot| slot.0 == key)
        {
            return Ok(guess);
        }
        self.slots.binary_search_by_key(&key, |slot| slot.0)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn behaves_as_a_map(ops: Vec<(u8, u8)>) {
            let (mut map, mut model) = (Rising::default(), BTreeMap::new());
            let mut next = 0_u64;
            for (op, at) in ops {
                match op % 3 {
                    0 => {
                        next += 1 + u64::from(at % 7 == 0);
                        prop_assert_eq!(map.insert(next, op), model.insert(next, op));
                    }
                    1 => {
                        let key = next.saturating_sub(u64::from(at % 40));
                        prop_assert_eq!(map.remove(key), model.remove(&key));
                        prop_assert_eq!(map.get(key), None);
                    }
                    _ => {
                        let key = next.saturating_sub(u64::from(at % 20));
                        prop_assert_eq!(map.insert(key, at), model.insert(key, at));
                        prop_assert_eq!(map.get(key), Some(&at));
                    }
                }
                prop_assert_eq!(map.len(), model.len());
                prop_assert_eq!(map.is_empty(), model.is_empty());
                prop_assert!(map.slots.len() <= 2 * map.len + HOLES_MIN);
                let found: Vec<_> = map.iter().map(|(key, value)| (key, *value)).collect();
                let expected: Vec<_> = model.iter().map(|(key, value)| (*key, *value)).collect();
                prop_assert_eq!(found, expected);
            }
        }
    }

    #[test]
    fn an_entry_costs_its_size_and_an_eighth() {
        let mut map = Rising::default();
        for key in 0..1000 {
            map.insert(key, Box::new(key));
        }
        assert!(map.slots.capacity() <= 1126, "{}", map.slots.capacity());
        for key in 0..990 {
            map.remove(key);
        }
        assert!(map.slots.capacity() <= 48, "{}", map.slots.capacity());
    }
}

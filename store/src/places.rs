//! Live Place records of one segment, by offset, and the bodies they refer to.
//!
//! Most bodies lie in one segment, mostly that of their Place: 8 octets each. Others cost more. Records come in order of
//! offset, and what is removed leaves a hole until holes are the most.

use std::collections::BTreeMap;

use crate::locator::Locator;

/// The offset of no body: a hole.
const HOLE: u32 = u32::MAX;
/// Holes that are not worth a look.
const HOLES_MIN: usize = 64;

/// See the module.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Places {
    /// The segment of most bodies.
    segment: u32,
    /// Offsets of Place and body, by rising offset of the Place.
    near: Vec<(u32, u32)>,
    holes: usize,
    /// Those whose body lies in another segment.
    far: BTreeMap<u32, Locator>,
}

impl Places {
    pub(crate) fn len(&self) -> usize {
        self.near.len() - self.holes + self.far.len()
    }

    /// The body that the Place at `offset` refers to.
    pub(crate) fn get(&self, offset: u32) -> Option<Locator> {
        if let Ok(at) = self.find(offset)
            && self.near[at].1 != HOLE
        {
            return Some(Locator::new(self.segment, self.near[at].1));
        }
        self.far.get(&offset).copied()
    }

    /// Puts a Place, in place of one at the same offset.
    pub(crate) fn insert(&mut self, offset: u32, body: Locator) {
        self.remove(offset);
        if self.near.is_empty() {
            self.segment = body.segment();
        }
        if body.segment() != self.segment || body.offset() == HOLE {
            self.far.insert(offset, body);
            return;
        }
        if self.near.len() == self.near.capacity() {
            // Twice the room would be half wasted.
            self.near.reserve_exact(self.near.len() / 8 + 8);
        }
        let place = (offset, body.offset());
        match self.find(offset) {
            Ok(hole) => {
                self.near[hole] = place;
                self.holes -= 1;
            }
            Err(at) => self.near.insert(at, place),
        }
    }

    /// Takes the Place at `offset` out.
    pub(crate) fn remove(&mut self, offset: u32) -> Option<Locator> {
        let body = self.get(offset)?;
        if self.far.remove(&offset).is_some() {
            return Some(body);
        }
        if let Ok(at) = self.find(offset) {
            self.near[at].1 = HOLE;
            self.holes += 1;
        }
        if self.holes == self.near.len() || self.holes > HOLES_MIN.max(self.near.len() / 2) {
            self.near.retain(|(_, body)| *body != HOLE);
            self.near.shrink_to_fit();
            self.holes = 0;
        }
        Some(body)
    }

    /// All of them, with their bodies.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, Locator)> {
        let near = self.near.iter().filter(|(_, body)| *body != HOLE);
        let near = near.map(|(offset, body)| (*offset, Locator::new(self.segment, *body)));
        near.chain(self.far.iter().map(|(offset, body)| (*offset, *body)))
    }

    fn find(&self, offset: u32) -> Result<usize, usize> {
        if self.near.last().is_some_and(|(last, _)| *last < offset) {
            return Err(self.near.len());
        }
        self.near.binary_search_by_key(&offset, |(at, _)| *at)
    }
}

/// In any order, as checkpoints have them.
impl FromIterator<(u32, Locator)> for Places {
    fn from_iter<I: IntoIterator<Item = (u32, Locator)>>(places: I) -> Self {
        let mut places: Vec<_> = places.into_iter().collect();
        places.sort_by_key(|(offset, _)| *offset);
        let mut all = Self::default();
        for (offset, body) in places {
            all.insert(offset, body);
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Clone, Debug)]
    enum Op {
        Insert(u32, u32, u32),
        Remove(u32),
    }

    fn ops() -> impl Strategy<Value = Vec<Op>> {
        let (offset, segment) = (0..200_u32, prop_oneof![4 => Just(1_u32), 1 => 2..4_u32]);
        let body = prop_oneof![20 => 1..50_u32, 1 => Just(HOLE)];
        let insert = (offset.clone(), segment, body);
        let op = prop_oneof![
            3 => insert.prop_map(|(offset, segment, body)| Op::Insert(offset, segment, body)),
            2 => offset.prop_map(Op::Remove),
        ];
        prop::collection::vec(op, 0..600)
    }

    proptest! {
        #[test]
        fn behaves_as_a_map(ops in ops()) {
            let (mut places, mut model) = (Places::default(), BTreeMap::new());
            for op in ops {
                match op {
                    Op::Insert(offset, segment, body) => {
                        let body = Locator::new(segment, body);
                        places.insert(offset, body);
                        model.insert(offset, body);
                    }
                    Op::Remove(offset) => {
                        prop_assert_eq!(places.get(offset), model.get(&offset).copied());
                        prop_assert_eq!(places.remove(offset), model.remove(&offset));
                        prop_assert_eq!(places.get(offset), None);
                    }
                }
                prop_assert_eq!(places.len(), model.len());
            }
            let mut found: Vec<_> = places.iter().collect();
            found.reverse();
            let again: Places = found.iter().copied().collect();
            found.sort_unstable();
            let model: Vec<_> = model.into_iter().collect();
            prop_assert_eq!(&found, &model);
            let mut again: Vec<_> = again.iter().collect();
            again.sort_unstable();
            prop_assert_eq!(again, model);
        }
    }

    #[test]
    fn a_place_costs_nine_octets_at_most_and_nothing_when_it_is_gone() {
        let mut places = Places::default();
        for offset in 0..10_000 {
            places.insert(
                offset * 320,
                Locator::new(1, offset * 320 - offset.min(1) * 160),
            );
        }
        assert!(places.near.capacity() * size_of::<(u32, u32)>() <= 10_000 * 9);
        for offset in 0..10_000 {
            places.remove(offset * 320);
        }
        assert_eq!(places.near.capacity(), 0);
    }
}

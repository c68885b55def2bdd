//! Bodies that live Places refer to, by name, and how many Places refer to each.
//!
//! Mostly one does, and there may be millions: a bit in the bitmap of the segment that the name lies in. Only more than one cost more.

use std::collections::BTreeMap;

use crate::liveness::{Bitmap, bit_of};
use crate::locator::Locator;
use crate::record::GRANULE;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Pins {
    segments: BTreeMap<u32, Names>,
}

/// The names that lie in one segment.
#[derive(Debug, Default)]
struct Names {
    pinned: Bitmap,
    /// Places beyond the first, by bit.
    more: BTreeMap<u32, u32>,
}

impl Pins {
    /// How many live Places refer to the body of that name.
    pub(crate) fn count(&self, name: Locator) -> u32 {
        let bit = bit_of(name.offset());
        match self.segments.get(&name.segment()) {
            Some(names) if names.pinned.get(bit) => 1 + names.more.get(&bit).copied().unwrap_or(0),
            _ => 0,
        }
    }

    /// One more refers to it.
    pub(crate) fn add(&mut self, name: Locator) {
        let names = self.segments.entry(name.segment()).or_default();
        let bit = bit_of(name.offset());
        if !names.pinned.set(bit) {
            *names.more.entry(bit).or_insert(0) += 1;
        }
    }

    /// One less refers to it; true if it was the last.
    pub(crate) fn remove(&mut self, name: Locator) -> bool {
        let bit = bit_of(name.offset());
        let Some(names) = self.segments.get_mut(&name.segment()) else {
            return false;
        };
        if let Some(more) = names.more.get_mut(&bit) {
            *more -= 1;
            if *more == 0 {
                names.more.remove(&bit);
            }
            return false;
        }
        let last = names.pinned.clear(bit);
        if names.pinned.ones() == 0 {
            self.segments.remove(&name.segment());
        }
        last
    }

    /// Offsets of the names in segment `id` that are pinned, rising.
    pub(crate) fn offsets(&self, id: u32) -> impl Iterator<Item = u32> {
        let names = self.segments.get(&id).into_iter();
        let granule = crate::fields::short(GRANULE);
        names.flat_map(move |names| names.pinned.iter().map(move |bit| bit * granule))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use proptest::prelude::*;

    fn name(segment: u32, at: u32) -> Locator {
        Locator::new(segment, at * crate::fields::short(GRANULE))
    }

    proptest! {
        #[test]
        fn counts_as_a_map_does(ops: Vec<(bool, u8, u8)>) {
            let (mut pins, mut model) = (Pins::default(), HashMap::<Locator, u32>::new());
            for (adds, segment, at) in ops {
                let name = name(u32::from(segment % 3) + 1, u32::from(at % 40));
                let known = model.entry(name).or_insert(0);
                if adds {
                    pins.add(name);
                    *known += 1;
                } else {
                    prop_assert_eq!(pins.remove(name), *known == 1);
                    *known = known.saturating_sub(1);
                }
                prop_assert_eq!(pins.count(name), *known);
            }
            for segment in 1..=3 {
                let mut expected: Vec<u32> = model
                    .iter()
                    .filter(|(name, count)| name.segment() == segment && **count > 0)
                    .map(|(name, _)| name.offset())
                    .collect();
                expected.sort_unstable();
                prop_assert!(pins.offsets(segment).eq(expected));
            }
            model.retain(|_, count| *count > 0);
            let segments: std::collections::HashSet<u32> =
                model.keys().map(|name| name.segment()).collect();
            prop_assert_eq!(pins.segments.len(), segments.len());
        }
    }
}

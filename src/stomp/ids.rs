//! Subscriptions by the client's ids.
//!
//! The ids themselves are with the subscriptions; here is a hash of each, which leads there. Should two have the same, the later one
//! is searched for.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};

/// See the module.
#[derive(Default)]
pub(super) struct Ids {
    hashing: RandomState,
    /// Serials by the hashes of their ids.
    by_hash: HashMap<u32, u32>,
    /// Serials whose hash another one has.
    others: Vec<u32>,
}

impl Ids {
    /// The serial of `id`; `has` tells whether a serial has it.
    pub(super) fn find(&self, id: &str, has: impl Fn(u64) -> bool) -> Option<u64> {
        let first = self.by_hash.get(&self.hash(id))?;
        let mut serials = std::iter::once(first).chain(&self.others);
        serials
            .find(|serial| has(u64::from(**serial)))
            .map(|serial| u64::from(*serial))
    }

    /// Adds an id that is not there.
    pub(super) fn add(&mut self, id: &str, serial: u64) {
        // Deliveries have room for no more either; see `session::feed_serial`.
        let serial = u32::try_from(serial).expect("a connection has fewer subscriptions");
        let hash = self.hash(id);
        let known = *self.by_hash.entry(hash).or_insert(serial);
        if known != serial {
            self.others.push(serial);
        }
    }

    /// Takes out `id`, which is that of `serial`; `hash_of` gives the ids of other serials.
    pub(super) fn remove<'s>(
        &mut self,
        id: &str,
        serial: u64,
        id_of: impl Fn(u64) -> Option<&'s str>,
    ) {
        let hash = self.hash(id);
        let is_it = |known: u32| u64::from(known) == serial;
        if let Some(at) = self.others.iter().position(|known| is_it(*known)) {
            self.others.swap_remove(at);
            return;
        }
        if self.by_hash.get(&hash).copied().is_some_and(is_it) {
            let alike =
                |known: &u32| id_of(u64::from(*known)).map(|id| self.hash(id)) == Some(hash);
            match self.others.iter().position(alike) {
                Some(at) => drop(self.by_hash.insert(hash, self.others.swap_remove(at))),
                None => drop(self.by_hash.remove(&hash)),
            }
        }
    }

    fn hash(&self, id: &str) -> u32 {
        let hash = self.hashing.hash_one(id);
        // Half of it is a hash too; in tests so few that many are alike.
        let kept = if cfg!(test) { 3 } else { u64::from(u32::MAX) };
        u32::try_from(hash & kept).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn ids_lead_to_their_serials_though_hashes_are_alike(ops: Vec<(bool, u8)>) {
            let (mut ids, mut model) = (Ids::default(), BTreeMap::<u64, String>::new());
            for (serial, (adds, id)) in (1..).zip(ops) {
                let id = (id % 30).to_string();
                let known = model.iter().find(|(_, known)| **known == id);
                let known = known.map(|(serial, _)| *serial);
                let found = ids.find(&id, |serial| model.get(&serial) == Some(&id));
                prop_assert_eq!(found, known);
                match known {
                    None if adds => {
                        ids.add(&id, serial);
                        model.insert(serial, id);
                    }
                    Some(serial) if !adds => {
                        model.remove(&serial);
                        ids.remove(&id, serial, |serial| model.get(&serial).map(String::as_str));
                    }
                    _ => {}
                }
                prop_assert_eq!(ids.by_hash.len() + ids.others.len(), model.len());
            }
        }
    }
}

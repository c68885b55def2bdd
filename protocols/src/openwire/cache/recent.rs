//! [`Recent`]: objects that were read lately, so that equal ones become the same one.

use std::hash::Hasher;
use std::sync::Arc;

use super::{Cacheable, CachedObject, KEPT_BYTES_MAX};

/// Objects by a hash of their content; a newer one takes the place of an older one with the same hash.
#[derive(Debug, Default)]
pub(super) struct Recent {
    /// Empty until something is read.
    slots: Vec<Option<CachedObject>>,
}

/// More than a connection has of producers, consumers and destinations, mostly.
const SLOTS: usize = 64;

impl Recent {
    /// An equal object that is here, or this one in memory of its own.
    pub(super) fn share<T: Cacheable>(&mut self, object: &T) -> Arc<T> {
        let mut folding = Folding(0);
        object.hash(&mut folding);
        let slot = folding.slot();
        let known = self.slots.get(slot).and_then(Option::as_ref);
        if let Some(known) = known
            .and_then(T::unwrap)
            .filter(|known| ***known == *object)
        {
            return Arc::clone(known);
        }
        let detached = Arc::new(object.detached());
        if object.text_bytes() <= KEPT_BYTES_MAX {
            if self.slots.is_empty() {
                self.slots.resize(SLOTS, None);
            }
            self.slots[slot] = Some(T::wrap(Arc::clone(&detached)));
        }
        detached
    }
}

/// A hash that is quick and not safe against those who choose their ids: they would only share less.
struct Folding(u64);

impl Folding {
    fn fold(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(5) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    fn slot(&self) -> usize {
        // The upper bits are the better ones.
        (self.0 >> 58) as usize % SLOTS
    }
}

impl Hasher for Folding {
    fn write(&mut self, octets: &[u8]) {
        let (words, rest) = octets.as_chunks();
        for word in words {
            self.fold(u64::from_be_bytes(*word));
        }
        let last = rest
            .iter()
            .fold(0, |word, octet| word << 8 | u64::from(*octet));
        self.fold(last);
    }

    fn write_u8(&mut self, octet: u8) {
        self.fold(u64::from(octet));
    }

    fn write_i64(&mut self, number: i64) {
        self.fold(number.cast_unsigned());
    }

    fn write_usize(&mut self, number: usize) {
        self.fold(number as u64);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::openwire::commands::ConnectionId;

    #[test]
    fn equal_objects_become_the_same_one() {
        let mut recent = Recent::default();
        let id = |text: String| ConnectionId {
            value: Some(text.into()),
        };
        let shared: Vec<_> = (0..8)
            .map(|n| recent.share(&id(format!("ID:host-{n}"))))
            .collect();
        let again = (0..8).map(|n| recent.share(&id(format!("ID:host-{n}"))));
        let same = again
            .zip(&shared)
            .filter(|(again, first)| Arc::ptr_eq(again, first))
            .count();
        assert!(same >= 6, "two may fall into the same slot: {same}");
        let long = id("x".repeat(KEPT_BYTES_MAX + 1));
        assert!(
            !Arc::ptr_eq(&recent.share(&long), &recent.share(&long)),
            "what is long is not kept"
        );
    }
}

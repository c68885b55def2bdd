//! Entries of a deep backlog in little memory: what 64 of them have in common is said once.
//!
//! Most of a backlog is alike: in the journal only, never delivered, of one priority. Such entries differ in their place
//! and size, and places that lie near each other need half of their octets.

use std::num::{NonZeroU32, NonZeroU64};

use super::delivery::{Entry, Tags};
use super::log::Chill;
use super::message::Locator;

/// Places in the journal are multiples of this.
const STEP: u64 = 32;

/// The entries of one chunk.
#[derive(Debug)]
pub struct ColdEntries {
    /// Which slots are filled.
    filled: u64,
    /// The lowest place.
    base: NonZeroU64,
    redeliveries: u16,
    redelivered: bool,
    tags: Tags,
    /// Of each filled slot in order: distance of its place from `base` in steps, octets.
    entries: Box<[(u32, NonZeroU32)]>,
}

impl ColdEntries {
    /// The entries in less memory; `None` if one of them differs from the others in more than its place and size, is in
    /// memory, or lies too far away.
    pub(super) fn new<'a>(slots: impl Iterator<Item = Option<&'a Entry>> + Clone) -> Option<Self> {
        let first = slots.clone().flatten().next()?;
        let places = slots.clone().flatten().map(|entry| entry.at);
        let base = places.min().flatten()?.0;
        let (mut filled, mut entries) = (0_u64, Vec::new());
        for (slot, entry) in slots.enumerate() {
            let Some(entry) = entry else { continue };
            let alike = entry.redeliveries == first.redeliveries
                && entry.redelivered == first.redelivered
                && entry.tags == first.tags
                && entry.message.is_none();
            let distance = entry.at?.0.get() - base.get();
            if !alike || !distance.is_multiple_of(STEP) {
                return None;
            }
            filled |= 1 << slot;
            entries.push((u32::try_from(distance / STEP).ok()?, entry.bytes));
        }
        Some(Self {
            filled,
            base,
            redeliveries: first.redeliveries,
            redelivered: first.redelivered,
            tags: first.tags,
            entries: entries.into(),
        })
    }

    /// The entry in `slot`.
    pub(super) fn get(&self, slot: usize) -> Entry {
        let before = self.filled & !(u64::MAX << slot);
        let (distance, bytes) = self.entries[before.count_ones() as usize];
        let place = self.base.saturating_add(u64::from(distance) * STEP);
        Entry {
            message: None,
            at: Some(Locator(place)),
            bytes,
            redeliveries: self.redeliveries,
            redelivered: self.redelivered,
            tags: self.tags,
        }
    }
}

impl Chill for Entry {
    type Cold = ColdEntries;

    fn chill(slots: &[Option<Self>]) -> Option<ColdEntries> {
        ColdEntries::new(slots.iter().map(Option::as_ref))
    }

    fn thawed(cold: &ColdEntries, slot: usize) -> Self {
        cold.get(slot)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::message::MessageFlags;

    fn stored(at: u64, bytes: u64, priority: u8) -> Entry {
        let at = Locator(NonZeroU64::new(at).expect("not zero"));
        Entry::stored(at, bytes, priority, MessageFlags::default())
    }

    #[test]
    fn what_is_alike_comes_back_as_it_was() {
        let mut slots: Vec<Option<Entry>> = (0..64)
            .map(|slot| Some(stored((7 << 32) + 4096 - slot * 32, 100 + slot, 4)))
            .collect();
        slots[3] = None;
        let cold = Entry::chill(&slots).expect("they are alike");
        assert!(cold.entries.len() * size_of_val(&cold.entries[0]) <= 64 * 8);
        for (slot, entry) in slots.iter().enumerate() {
            let Some(entry) = entry else { continue };
            assert_eq!(
                format!("{entry:?}"),
                format!("{:?}", Entry::thawed(&cold, slot))
            );
        }
    }

    #[test]
    fn what_differs_stays_as_it_is() {
        let near = || Some(stored(1 << 32, 1, 4));
        let mut failed = stored(1 << 32, 1, 4);
        failed.redeliveries = 1;
        for other in [
            stored(1 << 32, 1, 5),
            stored((1 << 32) + 1, 1, 4),
            stored(200 << 32, 1, 4),
            failed,
        ] {
            assert!(Entry::chill(&[near(), Some(other)]).is_none());
        }
        assert!(Entry::chill(&[near(), None, near()]).is_some());
    }
}

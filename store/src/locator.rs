//! Positions, tickets and ids: small ordered values that must not be confused with each other.

use std::fmt;
use std::num::NonZeroU64;

use crate::fields;

/// A record's place in the journal: opaque, ordered like the journal.
///
/// Locally the segment id in the high half and the offset in the low half; other backends may put anything ordered here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Locator(NonZeroU64);

impl Locator {
    /// The place `offset` in `segment`. Segment ids begin at 1.
    pub(crate) fn new(segment: u32, offset: u32) -> Self {
        let value = u64::from(segment) << 32 | u64::from(offset);
        Self(NonZeroU64::new(value).expect("segment ids begin at 1"))
    }

    /// The value as a number, for storing.
    #[must_use]
    pub fn get(self) -> u64 {
        self.0.get()
    }

    /// A stored value; `None` for one that no record can have.
    #[must_use]
    pub fn from_u64(value: u64) -> Option<Self> {
        (value >> 32 != 0)
            .then(|| NonZeroU64::new(value).map(Self))
            .flatten()
    }

    /// The segment.
    pub(crate) fn segment(self) -> u32 {
        fields::short(usize::try_from(self.0.get() >> 32).expect("half of eight octets"))
    }

    /// The offset in the segment.
    pub(crate) fn offset(self) -> u32 {
        fields::short(
            usize::try_from(self.0.get() & u64::from(u32::MAX)).expect("half of eight octets"),
        )
    }
}

impl fmt::Display for Locator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}:{}", self.segment(), self.offset())
    }
}

/// A promise of the journal: complete once everything handed over with it or before it is on disk. Tickets complete in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Ticket(pub(crate) u64);

impl Ticket {
    /// The ticket as a number, for atomics.
    #[must_use]
    pub fn get(self) -> u64 {
        self.0
    }

    /// A number made by [`Ticket::get`].
    #[must_use]
    pub fn from_u64(value: u64) -> Self {
        Self(value)
    }
}

/// A destination, numbered by the engine: unique for the life of the store, never used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DestinationId(pub u32);

/// A durable subscription, numbered by the engine: unique for the life of the store, never used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SubscriptionId(pub u32);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_optional_locator_takes_eight_octets() {
        assert_eq!(size_of::<Option<Locator>>(), 8);
    }

    #[test]
    fn locators_are_ordered_like_the_journal() {
        assert!(Locator::new(1, u32::MAX) < Locator::new(2, 0));
        assert_eq!(
            Locator::from_u64(Locator::new(7, 4096).get()),
            Some(Locator::new(7, 4096))
        );
        assert_eq!(Locator::from_u64(4096), None);
    }
}

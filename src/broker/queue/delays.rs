//! Messages that wait for their redelivery, by the time when they are due (RED-3).
//!
//! A delayed message stays at its place with a mark, and scans pass it. Here is only when its mark goes:
//! about 50 octets for each, beside its entry. A delayed message that leaves its queue leaves its time here until it
//! comes.

use std::collections::BTreeSet;

use super::lanes::Spot;

/// When delayed messages are due.
#[derive(Debug, Default)]
pub(super) struct Delays {
    /// Made with the first one.
    #[expect(clippy::box_collection, reason = "most queues never have one")]
    due: Option<Box<BTreeSet<(u64, Spot)>>>,
    delayed: usize,
}

impl Delays {
    /// How many messages wait.
    pub(super) fn len(&self) -> usize {
        self.delayed
    }

    /// Notes that a message waits no more, because it is due or has left.
    pub(super) fn ended(&mut self) {
        self.delayed -= 1;
    }

    pub(super) fn add(&mut self, due_ms: u64, spot: Spot) {
        self.due.get_or_insert_default().insert((due_ms, spot));
        self.delayed += 1;
    }

    /// When the message at `spot` is due. Looks through all of them.
    pub(super) fn due_ms(&self, spot: Spot) -> Option<u64> {
        let mut due = self.due.iter().flat_map(|due| due.iter());
        due.find(|(_, waits)| *waits == spot)
            .map(|(due_ms, _)| *due_ms)
    }

    /// When the next one is due.
    pub(super) fn next_ms(&self) -> Option<u64> {
        self.due.as_ref()?.first().map(|(due_ms, _)| *due_ms)
    }

    /// Takes out one that is due. It may have left the queue since.
    pub(super) fn pop(&mut self, now_ms: u64) -> Option<Spot> {
        let due = self.due.as_mut()?;
        let &(due_ms, spot) = due.first()?;
        (due_ms <= now_ms).then(|| {
            due.pop_first();
            spot
        })
    }

    /// Takes everything out, due or not.
    pub(super) fn take(&mut self) -> BTreeSet<(u64, Spot)> {
        self.delayed = 0;
        self.due.take().map_or_else(BTreeSet::new, |due| *due)
    }
}

/// A number that looks random and depends on nothing but its arguments: delays are spread by it, and yet
/// the core stays repeatable.
pub(in crate::broker) fn scatter(sequence: u64, redelivery: u16, now_ms: u64) -> u64 {
    let mut mixed = sequence
        .wrapping_mul(0x9e37_79b9_7f4a_7c15)
        .wrapping_add(u64::from(redelivery) << 48)
        ^ now_ms.rotate_left(32);
    mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ mixed >> 31
}

//! How far somebody has looked through the messages that wait, so that nothing is looked at twice.
//!
//! Consumers without a selector share one scan, each selective consumer has its own. What a scan passes
//! stays where it is: it is delayed, somebody else's, or does not match. What comes to a place behind the
//! scan, or may be taken after all, is noted and looked at before anything new.

use std::collections::BTreeSet;

use super::lanes::{LANES_MAX, Lanes, Spot};

/// A position in each lane, and the places before it that have to be looked at again.
#[derive(Debug, Default)]
pub(super) struct Scan {
    /// Something has been passed, so the first message need not be the first not looked at.
    passed: bool,
    next: [u64; LANES_MAX],
    again: BTreeSet<Spot>,
}

impl Scan {
    /// The first message that has not been looked at.
    pub(super) fn peek(&mut self, lanes: &Lanes) -> Option<Spot> {
        while let Some(&spot) = self.again.first() {
            if lanes.contains(spot) {
                break;
            }
            self.again.pop_first();
        }
        let ahead = lanes.first_from(&self.next);
        match (self.again.first().copied(), ahead) {
            (Some(again), Some(ahead)) => Some(again.min(ahead)),
            (again, ahead) => again.or(ahead),
        }
    }

    /// Leaves the message at `spot`, which was the first not looked at.
    pub(super) fn pass(&mut self, spot: Spot) {
        self.passed = true;
        if !self.again.remove(&spot) {
            self.next[usize::from(spot.lane)] = spot.sequence + 1;
        }
    }

    /// Whether everything that waits is still to be looked at.
    pub(super) fn is_fresh(&self) -> bool {
        !self.passed
    }

    /// A message has come to `spot`, or may be taken now.
    pub(super) fn came(&mut self, spot: Spot) {
        if spot.sequence < self.next[usize::from(spot.lane)] {
            self.again.insert(spot);
        }
    }
}

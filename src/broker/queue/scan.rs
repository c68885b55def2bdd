//! How far somebody has looked through the messages that wait, so that nothing is looked at twice.
//!
//! Consumers without a selector share one scan, each selective consumer has its own. What a scan passes
//! stays where it is: it is delayed, somebody else's, or does not match. What comes to a place behind the
//! scan, or may be taken after all, is noted and looked at before anything new.

use std::collections::BTreeSet;

use super::lanes::{LANES_MAX, Lanes, Spot};

/// A position in each lane, and the places before it that have to be looked at again. Nothing while nothing was passed,
/// as in most queues.
#[derive(Debug, Default)]
pub(super) struct Scan(Option<Box<Looked>>);

#[derive(Debug, Default)]
struct Looked {
    /// Something has been passed, so the first message need not be the first not looked at.
    passed: bool,
    next: [u64; LANES_MAX],
    again: BTreeSet<Spot>,
}

impl Scan {
    /// The first message that has not been looked at.
    pub(super) fn peek(&mut self, lanes: &Lanes) -> Option<Spot> {
        let Some(looked) = &mut self.0 else {
            return lanes.first_from(&[0; LANES_MAX]);
        };
        while let Some(&spot) = looked.again.first() {
            if lanes.contains(spot) {
                break;
            }
            looked.again.pop_first();
        }
        let ahead = lanes.first_from(&looked.next);
        match (looked.again.first().copied(), ahead) {
            (Some(again), Some(ahead)) => Some(again.min(ahead)),
            (again, ahead) => again.or(ahead),
        }
    }

    /// Leaves the message at `spot`, which was the first not looked at.
    pub(super) fn pass(&mut self, spot: Spot) {
        let looked = self.0.get_or_insert_default();
        looked.passed = true;
        if !looked.again.remove(&spot) {
            looked.next[usize::from(spot.lane)] = spot.sequence + 1;
        }
    }

    /// Whether everything that waits is still to be looked at.
    pub(super) fn is_fresh(&self) -> bool {
        self.0.as_ref().is_none_or(|looked| !looked.passed)
    }

    /// Begins anew.
    pub(super) fn restart(&mut self) {
        if let Some(looked) = &mut self.0 {
            **looked = Looked::default();
        }
    }

    /// A message has come to `spot`, or may be taken now.
    pub(super) fn came(&mut self, spot: Spot) {
        if let Some(looked) = &mut self.0
            && spot.sequence < looked.next[usize::from(spot.lane)]
        {
            looked.again.insert(spot);
        }
    }
}

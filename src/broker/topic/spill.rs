//! Messages for laggards that leave memory for temporary storage while memory is short (SLO-1, USE-4).
//!
//! As a queue does it; see `queue/spill.rs`. Only what nobody but the log refers to: what a consumer holds would stay in
//! memory all the same.

use std::sync::Arc;

use super::Topic;
use crate::broker::message::{Locator, Message};
use crate::broker::outlet::Outlet;
use crate::broker::paging::Spill;

impl Topic {
    /// Begins anew to spill, behind the first `window_bytes` that are in memory.
    pub fn rewind_spill(&mut self, window_bytes: u64) {
        let (mut at, mut left_bytes) = (0, window_bytes);
        while left_bytes > 0
            && let Some(sequence) = self.log.next_warm_from(at)
        {
            let held = self.log.get(sequence);
            let held = held.filter(|kept| kept.entry.message.is_some());
            let held = held.map_or(0, |kept| kept.entry.bytes.get().into());
            left_bytes = left_bytes.saturating_sub(held);
            at = sequence + 1;
        }
        self.spill_from = at;
    }

    /// Lets messages beyond `window_bytes` leave memory, from where the last call stopped: at once what the store can
    /// give back; what it cannot is put into `spill`. Returns whether there is no more of either.
    pub fn spill(&mut self, window_bytes: u64, spill: &mut Spill) -> bool {
        let mut going_bytes = 0;
        while self.held_bytes > window_bytes.saturating_add(going_bytes) {
            if spill.is_full() {
                return false;
            }
            let Some(sequence) = self.log.next_warm_from(self.spill_from) else {
                return true;
            };
            spill.looks -= 1;
            self.spill_from = sequence + 1;
            let Some(kept) = self.log.get(sequence) else {
                continue;
            };
            let bytes = u64::from(kept.entry.bytes.get());
            match (&kept.entry.message, kept.entry.at) {
                (Some(message), None) => {
                    if Arc::strong_count(message) == 1 && spill.takes(message, bytes) {
                        // A copy: who is last to refer to a message is how a topic knows when its octets are free.
                        let copy = Arc::new(Message::clone(message));
                        spill.push(sequence, copy, bytes);
                        going_bytes += bytes;
                    }
                }
                (Some(_), Some(_)) => self.unload_beyond(sequence, window_bytes),
                (None, _) => {}
            }
        }
        true
    }

    /// Messages lie in temporary storage now.
    pub fn spilled(
        &mut self,
        written: impl IntoIterator<Item = (u64, Locator)>,
        window_bytes: u64,
        out: &mut impl Outlet,
    ) {
        for (sequence, at) in written {
            let waits = self.log.get(sequence);
            if waits.is_none_or(|kept| kept.entry.at.is_some()) {
                out.remove(sequence, at);
                continue;
            }
            if let Some(kept) = self.log.get_mut(sequence) {
                kept.entry.at = Some(at);
                self.unload_beyond(sequence, window_bytes);
            }
        }
    }

    /// Where its messages lie in temporary storage.
    pub fn places_in_temp(&self) -> impl Iterator<Item = Locator> {
        let places = self.log.iter().filter_map(|(_, kept)| kept.entry.at);
        places.filter(|at| at.is_temp())
    }
}

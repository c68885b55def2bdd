//! Messages that leave memory for temporary storage while memory is short (USE-4).
//!
//! In two steps with the lock given up between them, so that nobody waits for the disk: [`Queue::spill`] tells what is to
//! be written, and [`Queue::spilled`] where it was. What is consumed meanwhile is consumed; its place is freed at once.

use super::Queue;
use crate::broker::message::Locator;
use crate::broker::outlet::Outlet;
use crate::broker::paging::Spill;

impl Queue {
    /// Begins anew to spill, behind the first `window_bytes` that are in memory.
    pub fn rewind_spill(&mut self, window_bytes: u64) {
        self.lanes.rewind_spill(window_bytes);
    }

    /// Lets messages beyond `window_bytes` leave memory, from where the last call stopped: at once what the store can
    /// give back; what it cannot is put into `spill`. Returns whether there is no more of either.
    pub fn spill(&mut self, window_bytes: u64, spill: &mut Spill) -> bool {
        self.lanes.spill(window_bytes, spill)
    }

    /// Messages lie in temporary storage now.
    pub fn spilled(
        &mut self,
        written: impl IntoIterator<Item = (u64, Locator)>,
        window_bytes: u64,
        out: &mut impl Outlet,
    ) {
        for (sequence, at) in written {
            if !self.lanes.spilled(sequence, at, window_bytes) {
                out.remove(sequence, at);
            }
        }
    }

    /// Where its messages lie in temporary storage.
    pub fn places_in_temp(&self) -> impl Iterator<Item = Locator> {
        let places = self.entries().filter_map(|(_, entry)| entry.at);
        places.filter(|at| at.is_temp())
    }
}

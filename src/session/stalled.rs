//! What a connection has sent and what waits for room: batches that found none in the store, and the waits of its producers.
//!
//! A batch is handed over after its frames were let in, so the store may have filled up meanwhile. It is set aside then and
//! tried again; what is sent to other destinations passes by (USE-7).

use std::collections::HashSet;
use std::sync::Arc;

use super::state::{Batch, Handed, Session};
use crate::broker::Destination;
use crate::broker::governor::Cause;
use crate::engine::cell::Cell;
use crate::engine::governor::{Arriving, NoRoom, Subject, Wait};

/// A batch that found no room.
pub(super) struct Stalled {
    batch: Batch,
    /// Where its messages go, by the numbers of the destinations in the journal.
    cells: HashSet<u32>,
    wait: Wait,
}

impl Session {
    /// Sets the batch aside until there is room for it.
    pub(super) fn stall(&mut self) {
        let batch = std::mem::take(&mut self.batch);
        let cells = batch.cells();
        let least = |ms: Option<u64>, cell: &Arc<Cell>| {
            let own_ms = cell.limits().warning_interval_ms;
            ms.into_iter().chain((own_ms > 0).then_some(own_ms)).min()
        };
        let interval_ms = cells.iter().fold(None, least).unwrap_or(0);
        let causes = self.engine.store_shortage().into_iter().collect();
        let mut wait = self.begin_wait(&cells, None, interval_ms, causes);
        let (sends, bytes) = batch.size();
        wait.set_size(wait.since_ms(), sends, bytes);
        self.stalled.push_back(Stalled {
            batch,
            cells: cells.iter().map(|cell| cell.id.0).collect(),
            wait,
        });
        self.wait_for_room(false, true);
    }

    /// Whether batches wait for room in the store.
    #[must_use]
    pub fn is_stalled(&self) -> bool {
        !self.stalled.is_empty()
    }

    /// Whether one of them is for one of these destinations: what is sent there has to wait behind it.
    #[must_use]
    pub fn has_stalled_for(&self, cells: &[Arc<Cell>]) -> bool {
        let mut stalled = self.stalled.iter();
        stalled.any(|one| cells.iter().any(|cell| one.cells.contains(&cell.id.0)))
    }

    /// Tries batches again that found no room.
    pub fn retry_stalled(&mut self) {
        while let Some(mut stalled) = self.stalled.pop_front() {
            let open = std::mem::replace(&mut self.batch, stalled.batch);
            let handed = self.hand_batch();
            stalled.batch = std::mem::replace(&mut self.batch, open);
            if handed == Handed::NoRoom {
                self.stalled.push_front(stalled);
                return self.wait_for_room(false, true);
            }
            stalled.wait.set_now(self.engine.clock.monotonic_ms());
        }
    }

    /// What stands in the way of a message for these destinations; see [`crate::engine::Engine::room_for`].
    ///
    /// # Errors
    /// It is refused.
    pub fn room_for(
        &self,
        cells: &[Arc<Cell>],
        routed: bool,
        arriving: Arriving,
    ) -> Result<Vec<Cause>, NoRoom> {
        let pending = |cell: &Cell| self.pending_for(cell);
        self.engine.room_for(cells, routed, arriving, pending)
    }

    /// A producer of this connection begins to wait.
    #[must_use]
    pub fn begin_wait(
        &self,
        cells: &[Arc<Cell>],
        transaction: Option<String>,
        warning_interval_ms: u64,
        causes: Vec<Cause>,
    ) -> Wait {
        let named = cells.iter().map(|cell| cell.destination.clone());
        let mut destinations: Vec<Destination> = named.collect();
        destinations.sort();
        destinations.dedup();
        let subject = Subject {
            origin: self.origin(),
            connection: self.connection_facts(),
            destinations,
            transaction,
            warning_interval_ms,
        };
        let now_ms = self.engine.clock.monotonic_ms();
        self.engine.governor.waits.begin(now_ms, subject, causes)
    }

    /// Asks to be woken when there is room in memory, in the store, or in one of both.
    pub fn wait_for_room(&self, memory: bool, store: bool) {
        self.engine.wait_for_room(&self.outbox, memory, store);
    }
}

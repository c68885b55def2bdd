//! Destinations that the journal knows before there is a message in them, because they have to be there after a restart.

use std::sync::Arc;

use ferrymq_store::{StoreError, Ticket};

use super::Engine;
use super::cell::Cell;

impl Engine {
    /// Lets the journal know a destination. Returns the sync that covers it, if it did not.
    ///
    /// # Errors
    /// The journal refused.
    pub(super) fn define_now(&self, cell: &Cell) -> Result<Option<Ticket>, StoreError> {
        let Some(store) = self.store.as_ref().filter(|_| cell.is_stored()) else {
            return Ok(None);
        };
        let mut state = cell.lock();
        if state.is_defined() {
            return Ok(None);
        }
        let ((), ticket) = store.append(|batch| cell.define(&mut state, batch))?;
        Ok(Some(ticket))
    }

    /// Lets the journal know those of the destinations that collect copies of what is sent to virtual topics: they do so
    /// from now on, also if nothing has come before the broker dies (VIR-1).
    ///
    /// # Errors
    /// The journal is dead.
    pub fn define_consumer_queues(
        &self,
        cells: &[Arc<Cell>],
    ) -> Result<Option<Ticket>, StoreError> {
        let rules = self.registry.route_rules();
        let mut last = None;
        for cell in cells {
            if rules.feeding(&cell.destination).is_empty() {
                continue;
            }
            match self.define_now(cell) {
                Ok(ticket) => last = last.max(ticket),
                // No limit stops a consumer.
                Err(StoreError::Full) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(last)
    }
}

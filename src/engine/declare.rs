//! What clients declare of queues they make: kept with the queue, in the journal too, and queues that go by themselves
//! (section 10).

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use ferrymq_store::{StoreError, Ticket};

use super::Engine;
use super::cell::{Cell, Machine};
use crate::broker::Destination;
use crate::broker::policy::Declared;

/// What is declared, by queue. Its lock is innermost: nothing is locked under it.
#[derive(Default)]
pub(super) struct Declarations {
    known: RwLock<HashMap<Destination, Arc<Declared>>>,
}

impl Declarations {
    fn read(&self) -> RwLockReadGuard<'_, HashMap<Destination, Arc<Declared>>> {
        self.known.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, HashMap<Destination, Arc<Declared>>> {
        self.known.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn get(&self, destination: &Destination) -> Option<Arc<Declared>> {
        self.read().get(destination).cloned()
    }

    /// Keeps what is declared of a queue that is about to be made. Of two that make it at the same time the first counts.
    pub(super) fn add(&self, destination: &Destination, declared: Declared) {
        let mut known = self.write();
        known
            .entry(destination.clone())
            .or_insert_with(|| Arc::new(declared));
    }

    pub(super) fn forget(&self, destination: &Destination) {
        self.write().remove(destination);
    }

    /// Whether dead letters of some queue go to `destination` because a client said so.
    pub(super) fn is_dead_letter_queue(&self, destination: &Destination) -> bool {
        let target = |declared: &Arc<Declared>| {
            let queue = declared.dead_letter_queue.as_deref();
            queue.is_some_and(|queue| Destination::queue(queue) == *destination)
        };
        self.read().values().any(target)
    }

    fn are_transient(&self) -> bool {
        self.read().values().any(|declared| declared.is_transient())
    }
}

impl Engine {
    /// What a client has declared of a destination.
    #[must_use]
    pub fn declared(&self, destination: &Destination) -> Option<Arc<Declared>> {
        self.registry.declarations.get(destination)
    }

    /// Writes down what is declared of a queue that was just made.
    ///
    /// # Errors
    /// The journal refused.
    pub fn note_declared(&self, cell: &Cell) -> Result<Option<Ticket>, StoreError> {
        let Some(declared) = self.declared(&cell.destination) else {
            return Ok(None);
        };
        let Some(store) = self.store.as_ref().filter(|_| cell.is_stored()) else {
            return Ok(None);
        };
        let mut state = cell.lock();
        let ((), ticket) = store.append(|batch| {
            cell.define(&mut state, batch);
            batch.declare(cell.id, &declared.encode());
        })?;
        Ok(Some(ticket))
    }

    /// Removes queues that were declared to go by themselves and may: those without a message whose last consumer has left,
    /// or that nobody has used for as long as was declared. A connection that has sent to one counts as its producer as long
    /// as it lasts.
    pub fn remove_transient(&self) -> usize {
        if !self.registry.declarations.are_transient() {
            return 0;
        }
        let now_ms = self.clock.monotonic_ms();
        let gone = self.registry.remove_if(usize::MAX, |cell| {
            let Some(declared) = self.declared(&cell.destination) else {
                return false;
            };
            let left = declared.auto_delete && cell.is_left();
            let idle = declared.expires_ms.is_some() && cell.is_inactive(now_ms);
            (left || idle) && self.undefine(cell)
        });
        for destination in &gone {
            tracing::debug!(%destination, "queue removed, as declared by the client that made it");
        }
        gone.len()
    }
}

impl Cell {
    /// Whether a queue had consumers, has none and is empty.
    fn is_left(&self) -> bool {
        match &self.lock().machine {
            Machine::Queue(queue) => {
                queue.had_consumers() && queue.consumers() == 0 && queue.is_empty()
            }
            Machine::Topic(_) => false,
        }
    }
}

//! Queues that an administrator has paused: by whom and since when, over restarts too (ADM-21).

use std::sync::Arc;

use super::cell::{Cell, Journaled, Machine, State, Work};
use super::manage::ManageError;
use super::{Engine, StoreError, Ticket};
use crate::broker::Kind;

/// Who has paused a queue, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pause {
    /// Who.
    pub by: String,
    /// Since when, milliseconds since 1970.
    pub since_ms: u64,
}

impl Pause {
    /// As it stands in the journal.
    fn encode(&self) -> String {
        format!("{} {}", self.since_ms, self.by)
    }

    /// Reads what [`Pause::encode`] has written. Whatever stands there, the queue was paused.
    pub(super) fn decode(text: &str) -> Self {
        let (since_ms, by) = text.split_once(' ').unwrap_or((text, ""));
        Self {
            by: by.to_owned(),
            since_ms: since_ms.parse().unwrap_or(0),
        }
    }
}

impl Engine {
    /// Stops deliveries of a queue until it is resumed, over restarts too; sends and browsers go on. One that is paused
    /// already stays so, and `by` whom it was. Returns the sync that covers it.
    ///
    /// # Errors
    /// It is a topic, or the journal refused.
    pub fn pause(
        self: &Arc<Self>,
        cell: &Arc<Cell>,
        by: &str,
    ) -> Result<Option<Ticket>, ManageError> {
        let pause = Pause {
            by: by.to_owned(),
            since_ms: self.clock.wall_ms(),
        };
        self.set_pause(cell, by, Some(pause))
    }

    /// Lets a queue deliver again.
    ///
    /// # Errors
    /// As [`Engine::pause`].
    pub fn resume(
        self: &Arc<Self>,
        cell: &Arc<Cell>,
        by: &str,
    ) -> Result<Option<Ticket>, ManageError> {
        self.set_pause(cell, by, None)
    }

    fn set_pause(
        self: &Arc<Self>,
        cell: &Arc<Cell>,
        by: &str,
        pause: Option<Pause>,
    ) -> Result<Option<Ticket>, ManageError> {
        if cell.destination.kind == Kind::Topic {
            return Err(ManageError::NotAQueue(cell.destination.clone()));
        }
        let mut state = cell.lock();
        if state.paused().is_some() == pause.is_some() {
            return Ok(None);
        }
        let ticket = self.note_pause(cell, &mut state, pause.as_ref())?;
        let paused = pause.is_some();
        state.rare.get_or_insert_default().paused = pause;
        let (mut work, now_ms) = (Work::default(), self.clock.wall_ms());
        let journaled = Journaled::default();
        cell.step_locked(&mut state, &mut work, journaled, |machine, out| {
            if let Machine::Queue(queue) = machine {
                queue.set_paused(now_ms, paused, out);
            }
        });
        drop(state);
        self.run(&mut work);
        let what = if paused {
            "queue paused"
        } else {
            "queue resumed"
        };
        tracing::info!(destination = %cell.destination, by, "{what}");
        Ok(ticket)
    }

    fn note_pause(
        &self,
        cell: &Cell,
        state: &mut State,
        pause: Option<&Pause>,
    ) -> Result<Option<Ticket>, StoreError> {
        let Some(store) = self.store.as_ref().filter(|_| cell.is_stored()) else {
            return Ok(None);
        };
        let ((), ticket) = store.append(|batch| {
            cell.define(state, batch);
            batch.pause(cell.id, &pause.map_or_else(String::new, Pause::encode));
        })?;
        Ok(Some(ticket))
    }
}

impl State {
    /// Who has paused the queue.
    pub(super) fn paused(&self) -> Option<&Pause> {
        self.rare.as_ref()?.paused.as_ref()
    }
}

impl Cell {
    /// Who has paused the queue, and when.
    #[must_use]
    pub fn paused(&self) -> Option<Pause> {
        self.lock().paused().cloned()
    }

    /// The queue was paused when the broker stopped.
    pub(super) fn recover_pause(&self, text: &str) {
        let mut state = self.lock();
        state.rare.get_or_insert_default().paused = Some(Pause::decode(text));
        if let Machine::Queue(queue) = &mut state.machine {
            queue.recover_pause();
        }
    }
}

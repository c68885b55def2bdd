//! Destinations that live with their connection (DST-9, TMP-1).

use std::sync::Arc;

use super::state::Session;
use crate::broker::{Destination, Kind};
use crate::engine::cell::Cell;

/// Why a temporary destination was not removed.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemporaryError {
    /// It is none of this connection.
    #[error("{0} is no temporary destination of this connection")]
    NotOwn(Destination),
    /// Somebody consumes from it.
    #[error("Destination still has an active subscription: {}", .0.uri())]
    InUse(Destination),
}

impl Session {
    /// Makes a destination that lives with this connection (DST-9). `id` is unique in the broker. Who wants to know of it
    /// is told before any message can name it.
    pub fn create_temporary(&mut self, kind: Kind, id: &str) -> Arc<Cell> {
        let owner = self.connection_id();
        let cell = self.engine.registry.create_temporary(kind, id, owner);
        self.temporaries.push(cell.destination.clone());
        self.engine.publish_noted(&mut self.work);
        cell
    }

    /// Removes one before its connection ends.
    ///
    /// # Errors
    /// It is not there, or it is consumed from.
    pub fn remove_temporary(&mut self, destination: &Destination) -> Result<(), TemporaryError> {
        let own = self.temporaries.iter();
        let at = own.into_iter().position(|own| own == destination);
        let cell = self.engine.registry.get(destination);
        let (Some(at), Some(cell)) = (at, cell) else {
            return Err(TemporaryError::NotOwn(destination.clone()));
        };
        if cell.lock().machine.consumers() > 0 {
            return Err(TemporaryError::InUse(destination.clone()));
        }
        self.temporaries.swap_remove(at);
        self.engine.registry.remove(destination);
        self.engine.publish_noted(&mut self.work);
        Ok(())
    }

    /// Removes all of them.
    pub(super) fn remove_temporaries(&mut self) {
        for destination in std::mem::take(&mut self.temporaries) {
            self.engine.registry.remove(&destination);
        }
    }
}

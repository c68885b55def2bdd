//! Open connections by client id (CON-8), counted against their limit.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

use super::outbox::Outbox;

/// A connection as others see it.
pub struct Connection {
    /// Where it comes from.
    pub remote: SocketAddr,
    /// Told to end it.
    pub end: Arc<Notify>,
    /// Its outgoing side, whose task it is.
    pub outbox: Arc<Outbox>,
}

/// Connections that have said CONNECT, by client id.
#[derive(Default)]
pub struct Connections {
    by_client_id: Mutex<HashMap<String, Connection>>,
}

impl Connections {
    /// Registers a connection under its client id.
    ///
    /// # Errors
    /// The address of the connection that has the id already. With `steal` that one is told to end and
    /// the new one takes its place.
    pub fn register(
        &self,
        client_id: &str,
        connection: Connection,
        steal: bool,
    ) -> Result<(), SocketAddr> {
        let mut known = self
            .by_client_id
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(older) = known.get(client_id) {
            if !steal {
                return Err(older.remote);
            }
            older.end.notify_one();
        }
        known.insert(client_id.to_owned(), connection);
        Ok(())
    }

    /// Tells the connection that has the client id to end. Returns false if none has.
    pub fn end(&self, client_id: &str) -> bool {
        let known = self.by_client_id.lock();
        let known = known.unwrap_or_else(PoisonError::into_inner);
        let found = known.get(client_id);
        found.inspect(|older| older.end.notify_one()).is_some()
    }

    /// Frees the client id, unless another connection has taken it over.
    pub fn unregister(&self, client_id: &str, end: &Arc<Notify>) {
        let mut known = self
            .by_client_id
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if known
            .get(client_id)
            .is_some_and(|connection| Arc::ptr_eq(&connection.end, end))
        {
            known.remove(client_id);
        }
    }

    /// Whether a connection has the client id; what one held has returned before its id is free.
    #[must_use]
    pub fn has(&self, client_id: &str) -> bool {
        let known = self.by_client_id.lock();
        known
            .unwrap_or_else(PoisonError::into_inner)
            .contains_key(client_id)
    }

    /// Wakes every connection's task, to look at something that has changed for all.
    pub fn wake_all(&self) {
        let known = self
            .by_client_id
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        for connection in known.values() {
            connection.outbox.kick();
        }
    }

    /// How many connections are open.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_client_id
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .len()
    }

    /// Whether none is open.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

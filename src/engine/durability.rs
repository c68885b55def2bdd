//! Connections whose answers wait for a sync.
//!
//! The journal's thread calls [`Durability::synced`] after each group commit. It answers the few
//! connections that wait right there, which saves them a task switch, and wakes the tasks of the rest.

use std::sync::{Arc, Mutex, PoisonError};

use ferrymq_store::Ticket;
use tokio::sync::watch;

use super::outbox::Outbox;

/// Connections answered on the journal's own thread; more would delay the next sync.
const ANSWERED_INLINE_MAX: usize = 4;

/// Who waits for which sync, and whether the journal has died.
pub struct Durability {
    waiting: Mutex<Vec<(Ticket, Arc<Outbox>)>>,
    failed: watch::Sender<Option<String>>,
}

impl Default for Durability {
    fn default() -> Self {
        Self {
            waiting: Mutex::default(),
            failed: watch::Sender::new(None),
        }
    }
}

impl Durability {
    /// Remembers that `outbox` holds answers that wait for `ticket`.
    pub fn wait(&self, outbox: &Arc<Outbox>, ticket: Ticket) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        // A connection mostly waits for the newest sync, many times over.
        let known = waiting
            .iter()
            .rev()
            .take(8)
            .any(|(at, known)| *at == ticket && Arc::ptr_eq(known, outbox));
        if !known {
            waiting.push((ticket, Arc::clone(outbox)));
        }
    }

    /// Everything up to `ticket` is synced.
    pub fn synced(&self, ticket: Ticket) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let mut ready = Vec::new();
        waiting.retain(|(at, outbox)| {
            let done = *at <= ticket;
            if done {
                ready.push(Arc::clone(outbox));
            }
            !done
        });
        drop(waiting);
        for (index, outbox) in ready.into_iter().enumerate() {
            if index < ANSWERED_INLINE_MAX {
                outbox.settle(Some(ticket));
                outbox.flush();
            }
            if index >= ANSWERED_INLINE_MAX || outbox.has_reports_or_due() {
                outbox.kick();
            }
        }
    }

    /// The journal has died; nothing will be synced any more.
    pub fn fail(&self, reason: String) {
        self.failed.send_replace(Some(reason));
    }

    /// Waits until the journal has died; the reason.
    pub async fn failed(&self) -> String {
        let mut failed = self.failed.subscribe();
        loop {
            if let Some(reason) = failed.borrow_and_update().clone() {
                return reason;
            }
            if failed.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }
}

//! Whether a message may come in now: the one place that says so, for accounts of the whole broker and for destinations.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::broker::governor::Cause;
use crate::broker::policy::{Limits, Usage};
use crate::engine::Engine;
use crate::engine::cell::Cell;
use crate::engine::outbox::Outbox;
use crate::engine::policy::Admission;

/// What there has to be room for.
#[derive(Clone, Copy, Debug)]
pub struct Arriving {
    /// Octets of the message.
    pub bytes: u64,
    /// Whether it is to be kept in the store.
    pub persistent: bool,
    /// Whether it belongs to a transaction, which holds it in memory and needs the store at its commit only.
    pub in_transaction: bool,
}

impl Engine {
    /// Whether accounts of the whole broker have room for a message: the store if it is kept there, else memory.
    #[inline]
    #[must_use]
    pub fn has_room(&self, persistent: bool, in_transaction: bool) -> bool {
        let in_memory = !persistent || in_transaction || self.store.is_none();
        !(in_memory && self.memory.is_full()
            || persistent && !in_transaction && self.is_store_full())
    }

    /// Which of them have none.
    fn shortages(&self, arriving: Arriving) -> Vec<Cause> {
        let Arriving {
            persistent,
            in_transaction,
            ..
        } = arriving;
        let mut causes = Vec::new();
        let in_memory = !persistent || in_transaction || self.store.is_none();
        if in_memory && self.memory.is_full() {
            causes.push(Cause::Full(self.memory_account()));
        }
        if persistent && !in_transaction {
            causes.extend(self.store_shortage());
        }
        causes
    }

    /// The store, if it is full.
    #[must_use]
    pub fn store_shortage(&self) -> Option<Cause> {
        if !self.is_store_full() {
            return None;
        }
        let mut account = self.store_account()?;
        // It may have found room between the two looks.
        account.is_full = true;
        Some(Cause::Full(account))
    }

    /// What stands in the way of a message for these destinations, all of it; with nothing it may come. With `routed` the
    /// limits of destinations are looked at later, when it is known where it comes to.
    ///
    /// # Errors
    /// It is refused.
    pub fn room_for(
        &self,
        cells: &[Arc<Cell>],
        routed: bool,
        arriving: Arriving,
        pending: impl Fn(&Cell) -> Usage,
    ) -> Result<Vec<Cause>, NoRoom> {
        let mut causes = match self.has_room(arriving.persistent, arriving.in_transaction) {
            true => Vec::new(),
            false => self.shortages(arriving),
        };
        if let Some(cause) = causes.first()
            && let Some(cell) = cells.iter().find(|cell| cell.limits().fails_if_no_space)
        {
            let why = format!("sendFailIfNoSpace is true for {}", cell.destination);
            return Err(NoRoom {
                cause: cause.clone(),
                text: no_space(cause, &why),
            });
        }
        for cell in if routed { &[] } else { cells } {
            let (bytes, persistent) = (arriving.bytes, arriving.persistent);
            match self.admission(cell, bytes, persistent, || pending(cell)) {
                Admission::Open => {}
                Admission::Wait(cause) => causes.push(cause),
                Admission::Refused(refused) => return Err(refused),
            }
        }
        Ok(causes)
    }

    /// Whether one more message of `bytes` octets may come to a destination, while `pending` of the same producer are on
    /// their way, by the limits of its policy.
    pub(crate) fn admission(
        &self,
        cell: &Cell,
        bytes: u64,
        persistent: bool,
        pending: impl FnOnce() -> Usage,
    ) -> Admission {
        if !cell.is_limited() {
            return Admission::Open;
        }
        let limits = cell.limits();
        let mark_percent = u64::from(limits.store_mark_percent);
        let percent = self.governor.store_percent.load(Ordering::Relaxed);
        if persistent && mark_percent < 100 && percent >= mark_percent {
            let cause = Cause::StoreMark {
                of: cell.destination.clone(),
                mark_percent,
                percent,
            };
            return match limits.fails_if_no_space {
                true => Admission::Refused(NoRoom {
                    text: no_space(&cause, "sendFailIfNoSpace is true"),
                    cause,
                }),
                false => Admission::Wait(cause),
            };
        }
        cell.admission(bytes, persistent, pending)
    }

    /// What stands in the way of a message that is to be scheduled (SCH-7).
    #[must_use]
    pub fn room_for_job(&self, bytes: u64, in_transaction: bool) -> Vec<Cause> {
        // What is scheduled is kept in the store, persistent or not.
        let arriving = Arriving {
            bytes,
            persistent: true,
            in_transaction,
        };
        let mut causes = match self.has_room(true, in_transaction) {
            true => Vec::new(),
            false => self.shortages(arriving),
        };
        causes.extend(self.scheduler_shortage(bytes));
        causes
    }

    /// Asks to be woken when what these causes name has room, as far as somebody tells of that; the rest has to be looked at
    /// from time to time.
    pub fn wait_for_room(&self, outbox: &Arc<Outbox>, memory: bool, store: bool) {
        if memory {
            self.memory.wait(outbox);
        }
        if store {
            let room = &self.governor.store_room;
            // A large batch may be refused that is only early; the store tells when it can come.
            let store = self.store.as_ref();
            room.wait(outbox, || {
                store.is_some_and(|store| store.is_refusing() || store.is_full())
            });
        }
    }
}

impl Cell {
    /// What its policy lets it hold, and what happens beyond that.
    #[must_use]
    pub fn limits(&self) -> Limits {
        self.lock().rules.policy.limits
    }
}

/// Why a message is refused for want of room.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct NoRoom {
    /// What has none.
    pub cause: Cause,
    /// What the client is told.
    text: String,
}

impl NoRoom {
    /// Refused for this cause, in these words.
    #[must_use]
    pub fn new(cause: Cause, text: String) -> Self {
        Self { cause, text }
    }
}

/// What a client is told whose message finds no room (USE-5).
#[must_use]
pub fn no_space(cause: &Cause, why: &str) -> String {
    let usage = match cause {
        Cause::Full(account) => account.resource.usage_name(),
        Cause::StoreMark { .. } => "Store ",
        Cause::Scheduler { .. } => "Job Scheduler ",
        Cause::Destination { .. } | Cause::Behind => "",
    };
    let cause = cause.for_client();
    format!(
        "Usage Manager {usage}Limit reached: the message was not enqueued, because {cause}; {why}"
    )
}

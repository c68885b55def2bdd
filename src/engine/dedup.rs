//! Messages that must not be taken twice, on their way into destinations (SND-6).
//!
//! - The window of a destination has a lock of its own, which comes before any destination's. Who takes several takes them
//!   in the order of the destinations' numbers, and keeps them until the messages are in the journal. So of two that send
//!   the same at the same time one is the first, and no id is ever half taken.
//! - Ids of persistent messages are in the same step of the journal as the messages.
//! - Who sends without an id never comes here.

use std::ops::Range;
use std::sync::{Arc, MutexGuard};

use ferrymq_store::{IdLimits, StoreError, StoredId};

use super::Engine;
use super::cell::{Cell, Work};
use super::commit::Transaction;
use super::schedule::NewJob;
use crate::broker::Message;
use crate::broker::dedup::{DedupId, DedupLimits, Window};

/// What guards a message that must not be taken twice.
#[derive(Clone, Copy)]
pub struct Guard<'a> {
    /// The destinations it was sent to, which are not all that it comes to (VIR-1): each looks whether it comes again.
    pub cells: &'a [Arc<Cell>],
    /// The id.
    pub id: DedupId,
    /// Whether the id survives a restart.
    pub persistent: bool,
}

/// A destination that a message with an id is sent to.
pub struct Guarded {
    /// The destination.
    pub to: Arc<Cell>,
    /// The id.
    pub id: DedupId,
    /// Its places among the sends of the transaction: the message itself, unless it is only forwarded, and the copies that
    /// follow from it.
    pub sends: Range<usize>,
    /// Its place among the jobs of the transaction, if it is scheduled.
    pub job: Option<usize>,
    /// Whether the id survives a restart.
    pub persistent: bool,
}

/// How the journal is told what a window remembers.
fn stored_limits(limits: DedupLimits) -> IdLimits {
    IdLimits {
        count_max: limits.ids_max,
        age_max_ms: match limits.age_max_ms {
            0 => u64::MAX,
            age_max_ms => age_max_ms,
        },
    }
}

/// Ids for the journal, all of one destination.
pub(super) struct NewIds {
    limits: IdLimits,
    ids: Vec<StoredId>,
}

impl NewIds {
    /// None.
    pub(super) const NONE: Self = Self {
        limits: IdLimits {
            count_max: 0,
            age_max_ms: 0,
        },
        ids: Vec::new(),
    };

    pub(super) fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// Writes them down; the destination is defined.
    pub(super) fn write(&self, batch: &mut ferrymq_store::Batch<'_>, cell: &Cell) {
        batch.ids(cell.id, self.limits, &self.ids);
    }
}

impl Cell {
    /// Locks the window of ids. Before any destination, and in the order of their numbers.
    ///
    /// # Panics
    /// If a panic left it half changed.
    pub(super) fn window(&self) -> MutexGuard<'_, Window> {
        self.window
            .lock()
            .expect("a window never panics; if it did, the process is ending")
    }

    /// Changes a window and charges its memory.
    fn charged<R>(&self, window: &mut Window, f: impl FnOnce(&mut Window) -> R) -> R {
        let before = window.held_bytes();
        let result = f(window);
        let after = window.held_bytes();
        if after > before {
            self.memory().charge(after - before);
        } else if after < before {
            self.memory().release(before - after);
        }
        result
    }

    /// Gives the window what a start has found, oldest first.
    pub(super) fn recover_ids(&self, ids: &[StoredId], now_ms: u64) {
        let mut window = self.window();
        self.charged(&mut window, |window| {
            for StoredId { time_ms, id } in ids {
                window.remember(*time_ms, DedupId(*id));
            }
            window.expire(now_ms);
        });
    }

    /// How many ids the window remembers.
    #[must_use]
    pub fn window_len(&self) -> usize {
        self.window().len()
    }

    pub(super) fn set_window(&self, limits: DedupLimits) {
        let mut window = self.window();
        self.charged(&mut window, |window| window.set_limits(limits));
    }

    fn expire_ids(&self, now_ms: u64) {
        // Who has it locked forgets what is old himself.
        if let Ok(mut window) = self.window.try_lock() {
            self.charged(&mut window, |window| window.expire(now_ms));
        }
    }

    /// As [`Cell::send`], for messages of which some have an id: pairs of their place in `messages` and the id, in
    /// order. Those that come again are dropped. Tells of each id whether that is so; `work.ticket` covers what they
    /// repeat.
    ///
    /// # Errors
    /// As [`Cell::send`]; nothing was taken or dropped.
    pub fn send_once(
        self: &Arc<Self>,
        now_ms: u64,
        messages: &mut Vec<Arc<Message>>,
        ids: &[(usize, DedupId)],
        work: &mut Work,
    ) -> Result<(u64, Vec<bool>), StoreError> {
        let mut window = self.window();
        let time_ms = window.time_ms(now_ms);
        let again = self.charged(&mut window, |window| {
            window.come_again(now_ms, ids.iter().map(|(_, id)| *id))
        });
        let fresh = || ids.iter().zip(&again).filter(|(_, again)| !**again);
        let kept = fresh().filter(|((at, _), _)| messages[*at].is_persistent());
        let new = NewIds {
            limits: stored_limits(window.limits()),
            ids: match window.limits().is_on() && self.is_stored() {
                true => kept.map(|((_, id), _)| stored(time_ms, *id)).collect(),
                false => Vec::new(),
            },
        };
        let dropped = take_out(messages, ids, &again);
        let repeats = dropped.iter().any(|(_, message)| message.is_persistent());
        let sent = if messages.is_empty() {
            Ok(0)
        } else {
            self.send_with(now_ms, messages, &new, work)
        };
        let covered = sent.and_then(|pause_ms| {
            if repeats {
                self.cover_all(work)?;
            }
            Ok(pause_ms)
        });
        match covered {
            Ok(pause_ms) => {
                self.charged(&mut window, |window| {
                    fresh().for_each(|((_, id), _)| window.remember(time_ms, *id));
                });
                Ok((pause_ms, again))
            }
            Err(error) => {
                for (at, message) in dropped {
                    messages.insert(at, message);
                }
                Err(error)
            }
        }
    }

    /// Lets `work.ticket` cover everything that was handed to the journal: what a duplicate repeats may not be on disk yet.
    fn cover_all(&self, work: &mut Work) -> Result<(), StoreError> {
        if let Some(store) = self.journal_store() {
            let ((), ticket) = store.append(|_| ())?;
            work.ticket = work.ticket.max(Some(ticket));
        }
        Ok(())
    }
}

fn stored(time_ms: u64, id: DedupId) -> StoredId {
    StoredId { time_ms, id: id.0 }
}

/// Takes the messages out that come again, with the places they had.
fn take_out(
    messages: &mut Vec<Arc<Message>>,
    ids: &[(usize, DedupId)],
    again: &[bool],
) -> Vec<(usize, Arc<Message>)> {
    let gone = ids.iter().zip(again).filter(|(_, again)| **again);
    let mut gone = gone.map(|((at, _), _)| *at).peekable();
    if gone.peek().is_none() {
        return Vec::new();
    }
    let (mut dropped, mut kept) = (Vec::new(), Vec::with_capacity(messages.len()));
    for (at, message) in messages.drain(..).enumerate() {
        if gone.next_if_eq(&at).is_some() {
            dropped.push((at, message));
        } else {
            kept.push(message);
        }
    }
    *messages = kept;
    dropped
}

/// The destinations whose windows a transaction needs, in the order in which they are locked.
pub(super) fn guarded_cells(transaction: &Transaction) -> Vec<Arc<Cell>> {
    let mut cells: Vec<Arc<Cell>> = Vec::new();
    for guarded in &transaction.guarded {
        cells.push(Arc::clone(&guarded.to));
    }
    cells.sort_unstable_by_key(|cell| cell.id.0);
    cells.dedup_by(|one, other| Arc::ptr_eq(one, other));
    cells
}

/// The windows of a transaction, locked until it is applied, and what they say of it.
#[derive(Default)]
pub(super) struct Gate<'a> {
    windows: Vec<(&'a Arc<Cell>, MutexGuard<'a, Window>)>,
    /// Of each guarded destination of the transaction: whether the message comes again there.
    again: Vec<bool>,
    /// Of each send: whether it is dropped. Empty if none is.
    dropped: Vec<bool>,
    /// Jobs that are dropped, last first.
    jobs: Vec<(usize, NewJob)>,
    now_ms: u64,
}

impl<'a> Gate<'a> {
    /// Locks the windows and decides. Jobs that come again leave the transaction.
    pub(super) fn close(
        cells: &'a [Arc<Cell>],
        now_ms: u64,
        transaction: &mut Transaction,
    ) -> Self {
        if cells.is_empty() {
            return Self::default();
        }
        let guarded = &transaction.guarded;
        let mut gate = Self {
            windows: cells.iter().map(|cell| (cell, cell.window())).collect(),
            again: vec![false; guarded.len()],
            now_ms,
            ..Self::default()
        };
        for (cell, window) in &mut gate.windows {
            let of_cell = |at: &usize| Arc::ptr_eq(&guarded[*at].to, cell);
            let at: Vec<usize> = (0..guarded.len()).filter(of_cell).collect();
            let ids = at.iter().map(|at| guarded[*at].id);
            let again = cell.charged(window, |window| window.come_again(now_ms, ids));
            for (at, again) in at.into_iter().zip(again) {
                gate.again[at] = again;
            }
        }
        for (guarded, _) in guarded.iter().zip(&gate.again).filter(|(_, again)| **again) {
            gate.dropped.resize(transaction.sends.len(), false);
            gate.dropped[guarded.sends.clone()].fill(true);
        }
        let jobs = guarded.iter().zip(&gate.again).rev();
        for (guarded, _) in jobs.filter(|(_, again)| **again) {
            if let Some(job) = guarded.job {
                gate.jobs.push((job, transaction.jobs.remove(job)));
            }
        }
        gate
    }

    /// Which sends are dropped; shorter if the rest is not.
    pub(super) fn dropped(&self) -> &[bool] {
        &self.dropped
    }

    /// Drops those at these places of `count` sends, too.
    pub(super) fn drop_sends(&mut self, count: usize, places: &[usize]) {
        if !places.is_empty() {
            self.dropped.resize(count, false);
            places.iter().for_each(|at| self.dropped[*at] = true);
        }
    }

    /// The ids for the journal, by destination.
    pub(super) fn new_ids(&self, transaction: &Transaction) -> Vec<(Arc<Cell>, NewIds)> {
        let mut new = Vec::new();
        for (cell, window) in &self.windows {
            if !window.limits().is_on() || !cell.is_stored() {
                continue;
            }
            let time_ms = window.time_ms(self.now_ms);
            let here = transaction.guarded.iter().zip(&self.again);
            let fresh = here.filter(|(guarded, again)| {
                !**again && guarded.persistent && Arc::ptr_eq(&guarded.to, cell)
            });
            let ids: Vec<_> = fresh
                .map(|(guarded, _)| stored(time_ms, guarded.id))
                .collect();
            if !ids.is_empty() {
                let limits = stored_limits(window.limits());
                new.push((Arc::clone(cell), NewIds { limits, ids }));
            }
        }
        new
    }

    /// The transaction is applied: its ids are taken. Tells of each guarded destination whether the message came again.
    pub(super) fn pass(mut self, guarded: &[Guarded], work: &mut Work) -> Vec<bool> {
        for (cell, window) in &mut self.windows {
            let time_ms = window.time_ms(self.now_ms);
            let here = guarded.iter().zip(&self.again);
            let fresh = here.filter(|(guarded, again)| !**again && Arc::ptr_eq(&guarded.to, cell));
            cell.charged(window, |window| {
                fresh.for_each(|(guarded, _)| window.remember(time_ms, guarded.id));
            });
            if self.again.contains(&true)
                && let Err(error) = cell.cover_all(work)
            {
                // The journal is dead and the broker is stopping; no receipt goes out.
                tracing::debug!(%error, "what a duplicate repeats is not known to be stored");
            }
        }
        self.again
    }

    /// The transaction was not applied and is handed back whole.
    pub(super) fn reopen(self, transaction: &mut Transaction) {
        for (at, job) in self.jobs.into_iter().rev() {
            transaction.jobs.insert(at, job);
        }
    }
}

impl Engine {
    /// Forgets ids that are too old, in memory and in the journal.
    pub fn expire_ids(&self) {
        let now_ms = self.clock.wall_ms();
        for cell in self.registry.all() {
            cell.expire_ids(now_ms);
        }
        if let Some(store) = &self.store
            && let Err(error) = store.set_time(now_ms)
        {
            tracing::debug!(%error, "ids do not grow old in the journal");
        }
    }
}

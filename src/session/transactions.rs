//! The open transactions of a connection (TX-1 to TX-8).

use std::collections::HashMap;
use std::sync::Arc;

use super::state::{Answer, Session, Subscribed, split_serial};
use crate::broker::dedup::DedupId;
use crate::broker::{Ack, Message, Which};
use crate::engine::StoreError;
use crate::engine::cell::{Cell, Journaled, Machine};
use crate::engine::commit::{Acknowledged, CommitError, Transaction};
use crate::engine::dedup::Guard;
use crate::engine::feeds::Feed;
use crate::engine::schedule::NewJob;
use crate::engine::spread::Routed;

/// Bounds of what a connection may hold in transactions (TX-7).
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Open transactions.
    pub open_max: usize,
    /// Sends and acknowledgements in one.
    pub actions_max: usize,
}

/// Why a transaction command was refused.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum TransactionError {
    /// Its id is open already.
    #[error("The transaction was already started: {0}")]
    AlreadyStarted(String),
    /// No such transaction is open.
    #[error("Invalid transaction id: {0}")]
    Unknown(String),
    /// Too many are open.
    #[error(
        "The maximum number of open transactions was exceeded: {0} (stomp.open_transactions_max)"
    )]
    TooMany(usize),
    /// It holds too much; it is rolled back.
    #[error(
        "The maximum number of actions in a transaction was exceeded: {0} (stomp.transaction_actions_max); it is \
         rolled back"
    )]
    TooLong(usize),
    /// No such delivery waits.
    #[error("no such delivery")]
    UnknownDelivery,
    /// It takes more of the memory than one transaction may; it is rolled back.
    #[error("the transaction holds more than half of memory.limit ({0} bytes); it is rolled back")]
    TooLarge(u64),
    /// The store has no space; the transaction stays open and may be committed again.
    #[error("Usage Manager Store Limit reached: the transaction was not applied and stays open")]
    StoreFull,
    /// A destination is full and refuses more; the transaction stays open and may be committed again.
    #[error("{0}: the transaction was not applied and stays open")]
    Refused(String),
    /// The store could not take it; it stays open.
    #[error("the transaction was not applied: {0}")]
    Store(String),
}

/// Open transactions by id.
pub(super) struct Transactions {
    open: HashMap<String, Transaction>,
    bounds: Bounds,
}

impl Transactions {
    pub(super) fn new(bounds: Bounds) -> Self {
        Self {
            open: HashMap::new(),
            bounds,
        }
    }

    fn get(&mut self, id: &str) -> Result<&mut Transaction, TransactionError> {
        self.open
            .get_mut(id)
            .ok_or_else(|| TransactionError::Unknown(id.to_owned()))
    }
}

impl Session {
    /// Opens a transaction (TX-1).
    ///
    /// # Errors
    /// The id is open, or too many are.
    pub fn begin(&mut self, id: &str) -> Result<(), TransactionError> {
        let Transactions { open, bounds } = &mut self.transactions;
        if open.contains_key(id) {
            return Err(TransactionError::AlreadyStarted(id.to_owned()));
        }
        if open.len() >= bounds.open_max {
            return Err(TransactionError::TooMany(bounds.open_max));
        }
        open.insert(id.to_owned(), Transaction::default());
        Ok(())
    }

    /// Whether a transaction of that id is open.
    #[must_use]
    pub fn in_transaction(&self, id: &str) -> bool {
        self.transactions.open.contains_key(id)
    }

    /// Records a message for one or several destinations. With an id, whether it comes again shows at commit (SND-6).
    ///
    /// # Errors
    /// The transaction is unknown or too long.
    pub fn send_in(
        &mut self,
        id: &str,
        sends: Vec<Routed>,
        guard: Option<Guard<'_>>,
    ) -> Result<(), TransactionError> {
        let transaction = match sends.first().map(|first| Arc::clone(&first.message)) {
            Some(message) => self.make_room_for(id, &message)?,
            None => {
                self.make_room(id)?;
                self.transactions.get(id)?
            }
        };
        match guard {
            None => transaction.sends.extend(sends),
            Some(guard) => drop(transaction.add_once(guard, sends)),
        }
        Ok(())
    }

    /// Records a message to be scheduled at commit (SCH-6).
    ///
    /// # Errors
    /// The transaction is unknown or too long.
    pub fn schedule_in(
        &mut self,
        id: &str,
        job: NewJob,
        once: Option<DedupId>,
    ) -> Result<(), TransactionError> {
        let transaction = self.make_room_for(id, &job.message)?;
        match once {
            None => transaction.jobs.push(job),
            Some(once) => transaction.schedule_once(job, once),
        }
        Ok(())
    }

    /// Records an acknowledgement; it frees its room in the window at once (TX-6).
    ///
    /// # Errors
    /// The transaction is unknown or too long, or no such delivery waits.
    pub fn acknowledge_in(
        &mut self,
        id: &str,
        serial: u64,
        which: Which,
        ack: Ack,
    ) -> Result<(), TransactionError> {
        self.make_room(id)?;
        let unknown = || TransactionError::UnknownDelivery;
        let concerned = match self.subscription(serial).ok_or_else(unknown)? {
            Subscribed::One(feed) => vec![(feed.clone(), which)],
            Subscribed::Many(feeds) => {
                let concerned = feeds.concerned(split_serial(serial).1, which);
                concerned.ok_or_else(unknown)?
            }
        };
        for (feed, which) in concerned {
            let acknowledged = self.take(feed, which, ack)?;
            self.transactions.get(id)?.acknowledged.push(acknowledged);
        }
        Ok(())
    }

    /// Takes deliveries out of a consumer's hands.
    fn take(
        &mut self,
        feed: Feed,
        which: Which,
        ack: Ack,
    ) -> Result<Acknowledged, TransactionError> {
        let Feed { cell, key, durable } = feed;
        let now_ms = self.engine.clock.wall_ms();
        let journaled = Journaled::default();
        let taken = cell.step(&mut self.work, journaled, |machine, out| match machine {
            Machine::Queue(queue) => queue.take(now_ms, key, which, out),
            Machine::Topic(topic) => topic.take(now_ms, key, which, out),
        });
        Ok(Acknowledged {
            cell,
            key,
            durable,
            ack,
            taken: taken.ok_or(TransactionError::UnknownDelivery)?,
        })
    }

    /// Where the persistent messages of a transaction go; none if there is no such transaction.
    #[must_use]
    pub fn stored_sends(&self, id: &str) -> Vec<Arc<Cell>> {
        let Some(transaction) = self.transactions.open.get(id) else {
            return Vec::new();
        };
        let kept = transaction.sends.iter();
        let kept = kept.filter(|send| send.message.is_persistent());
        let jobs = transaction.jobs.iter().map(|job| &job.cell);
        kept.map(|send| &send.cell).chain(jobs).cloned().collect()
    }

    /// Where the messages go for which the store has no room now; `None` if it has, or the transaction needs none.
    #[must_use]
    pub fn commit_shortage(&self, id: &str) -> Option<Vec<Arc<Cell>>> {
        if !self.engine.is_store_full() {
            return None;
        }
        Some(self.stored_sends(id)).filter(|cells| !cells.is_empty())
    }

    /// Applies a transaction; the answer waits for its sync (TX-3).
    ///
    /// # Errors
    /// The transaction is unknown, or the store is full.
    pub fn commit(&mut self, id: &str, answer: Answer<'_>) -> Result<(), TransactionError> {
        let Some(transaction) = self.transactions.open.remove(id) else {
            return Err(TransactionError::Unknown(id.to_owned()));
        };
        self.work.take_ticket();
        if let Err((transaction, error)) = self.engine.commit(transaction, &mut self.work) {
            tracing::debug!(%error, "transaction not applied");
            self.transactions.open.insert(id.to_owned(), *transaction);
            return Err(match error {
                CommitError::Store(StoreError::Full) => TransactionError::StoreFull,
                CommitError::Store(error) => TransactionError::Store(error.to_string()),
                CommitError::Refused(text) => TransactionError::Refused(text),
            });
        }
        self.engine.bury_all(&mut self.work);
        let ticket = self.work.take_ticket();
        self.reply(ticket, answer);
        Ok(())
    }

    /// Undoes a transaction (TX-4).
    ///
    /// # Errors
    /// The transaction is unknown.
    pub fn abort(&mut self, id: &str, answer: Answer<'_>) -> Result<(), TransactionError> {
        let Some(transaction) = self.transactions.open.remove(id) else {
            return Err(TransactionError::Unknown(id.to_owned()));
        };
        self.reply(None, answer);
        self.engine.abort(transaction, &mut self.work);
        Ok(())
    }

    /// Undoes all open transactions (TX-5).
    pub(super) fn abort_all(&mut self) {
        for (_, transaction) in std::mem::take(&mut self.transactions.open) {
            self.engine.abort(transaction, &mut self.work);
        }
    }

    /// The transaction, with the memory of one more message charged to it.
    fn make_room_for(
        &mut self,
        id: &str,
        message: &Message,
    ) -> Result<&mut Transaction, TransactionError> {
        self.make_room(id)?;
        let bytes = message.memory_bytes();
        let limit_bytes = self.engine.memory.limit_bytes();
        if self.transactions.get(id)?.bytes + bytes > limit_bytes / 2 {
            self.abort(id, &[])?;
            return Err(TransactionError::TooLarge(limit_bytes / 2));
        }
        self.engine.memory.charge(bytes);
        let transaction = self.transactions.get(id)?;
        transaction.bytes += bytes;
        Ok(transaction)
    }

    fn make_room(&mut self, id: &str) -> Result<(), TransactionError> {
        let actions_max = self.transactions.bounds.actions_max;
        if self.transactions.get(id)?.len() < actions_max {
            return Ok(());
        }
        self.abort(id, &[])?;
        Err(TransactionError::TooLong(actions_max))
    }
}

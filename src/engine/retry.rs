//! Retry: dead letters go back to where they failed (DLQ-6).

use std::sync::Arc;

use super::cell::{Cell, Journaled, Machine, Work};
use super::moving::Moved;
use super::{Engine, StoreError, Ticket, records};
use crate::broker::{Destination, Entry, Message};

/// Why nothing, or not all, was retried.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RetryError {
    /// There is no such destination.
    #[error("{0} does not exist")]
    Unknown(Destination),
    /// It is not one that dead letters go to.
    #[error("{0} is not a dead-letter queue")]
    NotDeadLetters(Destination),
    /// The journal refused; what was moved before stays moved.
    #[error("the store refused to move a message")]
    Store(#[from] StoreError),
}

/// What a retry has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retried {
    /// Messages that went back to their origin.
    pub moved: usize,
    /// Messages that were wanted but do not say where they come from, or cannot be read; they stay.
    pub stuck: usize,
    /// The sync that covers the moves.
    pub ticket: Option<Ticket>,
}

impl Engine {
    /// Moves dead letters that wait in the queue `dead_letters` back to where they failed, in their order: those that
    /// `wanted` wants, `count_max` at most. Their counters start anew, and nothing tells of their fate any more; their old
    /// expiry is not restored.
    ///
    /// # Errors
    /// There is no such queue, it is none of dead letters, or the store refused.
    pub fn retry(
        self: &Arc<Self>,
        dead_letters: &Destination,
        count_max: usize,
        mut wanted: impl FnMut(&Message) -> bool,
    ) -> Result<Retried, RetryError> {
        let unknown = || RetryError::Unknown(dead_letters.clone());
        let cell = self.registry.get(dead_letters).ok_or_else(unknown)?;
        if !cell.rules().is_dead_letter_destination {
            return Err(RetryError::NotDeadLetters(dead_letters.clone()));
        }
        let waiting: Vec<u64> = match &cell.lock().machine {
            Machine::Queue(queue) => queue.waiting().map(|(sequence, _)| sequence).collect(),
            Machine::Topic(_) => return Err(RetryError::NotDeadLetters(dead_letters.clone())),
        };
        let (mut work, mut retried) = (Work::default(), Retried::default());
        for sequence in waiting {
            if retried.moved >= count_max {
                break;
            }
            // One that a consumer has got meanwhile is its own.
            let Some(entry) = peek(&cell, sequence) else {
                continue;
            };
            let message = match self.read_entry(&entry)? {
                Some(message) if wanted(&message) => message,
                Some(_) => continue,
                None => {
                    retried.stuck += 1;
                    continue;
                }
            };
            let moved = self.retry_one(&cell, sequence, &message, &mut work);
            self.run(&mut work);
            retried.ticket = retried.ticket.max(work.take_ticket());
            match moved? {
                Some(true) => retried.moved += 1,
                Some(false) => retried.stuck += 1,
                None => {}
            }
        }
        tracing::info!(
            destination = %dead_letters,
            moved = retried.moved,
            stuck = retried.stuck,
            "dead letters retried"
        );
        Ok(retried)
    }

    /// Moves one message back. False if it does not say where to; `None` if somebody has taken it.
    fn retry_one(
        self: &Arc<Self>,
        cell: &Arc<Cell>,
        sequence: u64,
        message: &Message,
        work: &mut Work,
    ) -> Result<Option<bool>, StoreError> {
        let Some(origin) = message
            .fate()
            .and_then(|fate| Destination::parse(&fate.origin))
        else {
            return Ok(Some(false));
        };
        let taken = cell.step(work, Journaled::default(), |machine, _| match machine {
            Machine::Queue(queue) => queue.extract(sequence),
            Machine::Topic(_) => None,
        });
        let Some(entry) = taken else {
            return Ok(None);
        };
        // Its origin may have been removed meanwhile.
        let target = self.registry.get_or_create(&origin);
        let moved = Moved {
            origin: cell,
            sequence,
            at: entry.at,
            durable: None,
            message: Arc::new(message.revived()),
        };
        let mut state = target.lock();
        let moved = self.move_to((&target, &mut state), moved, work);
        drop(state);
        if let Err(error) = moved {
            cell.step(work, Journaled::default(), |machine, _| {
                if let Machine::Queue(queue) = machine {
                    queue.put_in_place(sequence, entry, message.expires_ms);
                }
            });
            return Err(error);
        }
        cell.lock().audit.forget(message.id);
        Ok(Some(true))
    }

    /// The message of an entry, read back if it has left memory; `None` if it is damaged or gone.
    pub(super) fn read_entry(&self, entry: &Entry) -> Result<Option<Arc<Message>>, StoreError> {
        if let Some(message) = &entry.message {
            return Ok(Some(Arc::clone(message)));
        }
        let (Some(store), Some(at)) = (&self.store, entry.at) else {
            return Ok(None);
        };
        match store.read(records::to_store(at)) {
            Err(StoreError::Damaged { .. }) => Ok(None),
            found => Ok(found?.map(records::message)),
        }
    }
}

fn peek(cell: &Cell, sequence: u64) -> Option<Entry> {
    match &cell.lock().machine {
        Machine::Queue(queue) => queue.peek(sequence).cloned(),
        Machine::Topic(_) => None,
    }
}

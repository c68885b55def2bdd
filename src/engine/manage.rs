//! What an administrator does with the messages of a queue: purge, remove, move, retry (ADM-22, ADM-23, DLQ-6).
//!
//! In steps of [`STEP_MESSAGES_MAX`], so that the queue goes on meanwhile. What has left memory is read back
//! between the steps, which waits for the disk: callers keep off the threads that serve connections.

use std::sync::Arc;

use super::cell::{Cell, Journaled, Machine, Work};
use super::moving::Arrival;
use super::{Engine, StoreError, Ticket, records};
use crate::broker::queue::{Listed, Place};
use crate::broker::{Destination, Entry, Kind, Message};

/// Messages handled under one lock.
const STEP_MESSAGES_MAX: usize = 256;

/// Chooses messages by what they say, how often they failed and whether they were delivered before.
pub type Choose<'a> = &'a mut dyn FnMut(&Message, &Entry) -> bool;

/// Why nothing, or not all, was done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ManageError {
    /// There is no such destination.
    #[error("{0} does not exist")]
    Unknown(Destination),
    /// Only queues have messages to choose from.
    #[error("{0} is not a queue")]
    NotAQueue(Destination),
    /// It is not one that dead letters go to.
    #[error("{0} is not a dead-letter queue")]
    NotDeadLetters(Destination),
    /// The store could not take a move, or not read a message; what was done before stays done.
    #[error("the store: {0}")]
    Store(#[from] StoreError),
}

/// What was done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Managed {
    /// Messages it was done with.
    pub done: u64,
    /// Messages that cannot be read, or do not say where they come from; they stay.
    pub stuck: u64,
    /// The sync that covers it.
    pub ticket: Option<Ticket>,
}

impl Engine {
    /// Removes everything from a queue, what consumers hold included; their acknowledgements are ignored
    /// later.
    ///
    /// # Errors
    /// It is a topic.
    pub fn purge(self: &Arc<Self>, cell: &Arc<Cell>) -> Result<Managed, ManageError> {
        check_queue(&cell.destination)?;
        let (mut work, mut purged) = (Work::default(), Managed::default());
        loop {
            let step = cell.step(&mut work, Journaled::default(), |machine, out| {
                let Machine::Queue(queue) = machine else {
                    return 0;
                };
                queue.purge(STEP_MESSAGES_MAX, out)
            });
            self.run(&mut work);
            purged.ticket = purged.ticket.max(work.take_ticket());
            if step == 0 {
                return Ok(purged);
            }
            purged.done += step as u64;
        }
    }

    /// Removes waiting messages that `choose` chooses, `count_max` at most.
    ///
    /// # Errors
    /// It is a topic, or the store could not read a message.
    pub fn remove_messages(
        self: &Arc<Self>,
        cell: &Arc<Cell>,
        count_max: u64,
        choose: Choose<'_>,
    ) -> Result<Managed, ManageError> {
        self.for_chosen(cell, count_max, choose, |chosen, work| {
            Ok(cell.step(work, Journaled::default(), |machine, out| {
                let Machine::Queue(queue) = machine else {
                    return 0;
                };
                queue.remove(chosen, out) as u64
            }))
        })
    }

    /// Moves waiting messages that `choose` chooses to another queue, in order, `count_max` at most. Their counters go
    /// with them.
    ///
    /// # Errors
    /// One of both is a topic, or the store refused; what was moved before stays moved.
    pub fn move_messages(
        self: &Arc<Self>,
        cell: &Arc<Cell>,
        target: &Destination,
        count_max: u64,
        choose: Choose<'_>,
    ) -> Result<Managed, ManageError> {
        check_queue(target)?;
        let arrival = |message| {
            Some(Arrival {
                target: target.clone(),
                message,
                is_new: false,
            })
        };
        self.for_chosen(cell, count_max, choose, |chosen, work| {
            self.transfer(cell, chosen, arrival, work)
        })
    }

    /// Moves dead letters that wait in the queue `dead_letters` back to where they failed, in their order: those that
    /// `wanted` wants, `count_max` at most. Their counters start anew, and nothing tells of their fate any more; their old
    /// expiry is not restored.
    ///
    /// # Errors
    /// There is no such queue, it is none of dead letters, or the store refused.
    pub fn retry(
        self: &Arc<Self>,
        dead_letters: &Destination,
        count_max: u64,
        mut wanted: impl FnMut(&Message) -> bool,
    ) -> Result<Managed, ManageError> {
        let unknown = || ManageError::Unknown(dead_letters.clone());
        let cell = self.registry.get(dead_letters).ok_or_else(unknown)?;
        if !cell.rules().is_dead_letter_destination() {
            return Err(ManageError::NotDeadLetters(dead_letters.clone()));
        }
        let mut lost = 0;
        let mut choose = |message: &Message, _: &Entry| {
            let (is_wanted, origin) = (wanted(message), origin_of(message));
            lost += u64::from(is_wanted && origin.is_none());
            is_wanted && origin.is_some()
        };
        let arrival = |message: Arc<Message>| {
            Some(Arrival {
                target: origin_of(&message)?,
                message: Arc::new(message.revived()),
                is_new: true,
            })
        };
        let mut retried = self.for_chosen(&cell, count_max, &mut choose, |chosen, work| {
            self.transfer(&cell, chosen, arrival, work)
        })?;
        retried.stuck += lost;
        let Managed { done, stuck, .. } = retried;
        tracing::info!(destination = %dead_letters, moved = done, stuck, "dead letters retried");
        Ok(retried)
    }

    /// Walks over a queue and hands runs of chosen messages to `act`, which says how many it has dealt with.
    fn for_chosen(
        self: &Arc<Self>,
        cell: &Arc<Cell>,
        count_max: u64,
        choose: Choose<'_>,
        mut act: impl FnMut(&[Place], &mut Work) -> Result<u64, StoreError>,
    ) -> Result<Managed, ManageError> {
        check_queue(&cell.destination)?;
        // What comes meanwhile is not looked at, or a move to the end of the same queue would not end.
        let end_sequence = cell.lock().machine.reserve(0);
        let (mut work, mut managed, mut after) = (Work::default(), Managed::default(), None);
        while managed.done < count_max {
            let found = match &cell.lock().machine {
                Machine::Queue(queue) => queue.messages(after, STEP_MESSAGES_MAX),
                Machine::Topic(_) => Vec::new(),
            };
            let Some(last) = found.last() else { break };
            after = Some(last.place);
            let mut chosen = Vec::new();
            for Listed { place, entry } in found {
                let is_enough = managed.done + chosen.len() as u64 >= count_max;
                if is_enough || place.sequence() >= end_sequence {
                    continue;
                }
                match self.read_entry(cell, &entry)? {
                    Some(message) if choose(&message, &entry) => chosen.push(place),
                    Some(_) => {}
                    None => managed.stuck += 1,
                }
            }
            if !chosen.is_empty() {
                let outcome = act(&chosen, &mut work);
                self.run(&mut work);
                managed.ticket = managed.ticket.max(work.take_ticket());
                managed.done += outcome?;
            }
        }
        Ok(managed)
    }

    /// The message of an entry, read back if it has left memory; `None` if it is damaged or gone.
    pub(super) fn read_entry(
        &self,
        cell: &Cell,
        entry: &Entry,
    ) -> Result<Option<Arc<Message>>, StoreError> {
        if let Some(message) = &entry.message {
            return Ok(Some(Arc::clone(message)));
        }
        if let Some(at) = entry.at.filter(|at| at.is_temp()) {
            let found = self.read_spilled(cell, std::iter::once(at));
            return Ok(found.into_iter().next().flatten());
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

/// Where a dead letter failed.
fn origin_of(message: &Message) -> Option<Destination> {
    Destination::parse(&message.fate()?.origin)
}

fn check_queue(destination: &Destination) -> Result<(), ManageError> {
    match destination.kind {
        Kind::Queue => Ok(()),
        Kind::Topic => Err(ManageError::NotAQueue(destination.clone())),
    }
}

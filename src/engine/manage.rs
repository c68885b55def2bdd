//! What an administrator does with the messages of a queue: purge, remove, move (ADM-22, ADM-23).
//!
//! In steps of [`STEP_MESSAGES_MAX`], so that the queue goes on meanwhile. What has left memory is read back
//! between the steps, which waits for the disk: callers keep off the threads that serve connections.
//! A step of a move is one group in the journal, {add there, remove here}.

use std::sync::Arc;

use ferrymq_store::StoreError;

use super::cell::{Cell, Journaled, Machine, Work};
use super::{Engine, records};
use crate::broker::queue::{Incoming, Listed, Place, Withdrawn};
use crate::broker::{Destination, Entry, Kind, Message};

/// Messages handled under one lock.
const STEP_MESSAGES_MAX: usize = 256;

/// Chooses messages by what they say, how often they failed and whether they were delivered before.
pub type Choose<'a> = &'a mut dyn FnMut(&Message, &Entry) -> bool;

/// Why messages were not moved.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MoveError {
    /// Only queues have messages to move.
    #[error("{0} is not a queue")]
    NotAQueue(Destination),
    /// The store could not take the move, or not read a message; what is not moved stays.
    #[error("the store: {0}")]
    Store(#[from] StoreError),
}

impl Engine {
    /// Removes everything from a queue, what consumers hold included; their acknowledgements are ignored
    /// later. Returns how many messages went.
    ///
    /// # Errors
    /// It is a topic.
    pub fn purge(self: &Arc<Self>, cell: &Arc<Cell>) -> Result<u64, MoveError> {
        check_queue(&cell.destination)?;
        let mut work = Work::default();
        let mut purged = 0;
        loop {
            let step = cell.step(&mut work, Journaled::default(), |machine, out| {
                let Machine::Queue(queue) = machine else {
                    return 0;
                };
                queue.purge(STEP_MESSAGES_MAX, out)
            });
            self.run(&mut work);
            if step == 0 {
                return Ok(purged);
            }
            purged += step as u64;
        }
    }

    /// Removes waiting messages that `choose` chooses, `count` at most. Returns how many.
    ///
    /// # Errors
    /// It is a topic, or the store could not read a message.
    pub fn remove_messages(
        self: &Arc<Self>,
        cell: &Arc<Cell>,
        count: u64,
        choose: Choose<'_>,
    ) -> Result<u64, MoveError> {
        self.for_chosen(cell, count, choose, |chosen, work| {
            Ok(cell.step(work, Journaled::default(), |machine, out| {
                let Machine::Queue(queue) = machine else {
                    return 0;
                };
                queue.remove(&chosen, out) as u64
            }))
        })
    }

    /// Moves waiting messages that `choose` chooses to another queue, in order, `count` at most. Returns how
    /// many.
    ///
    /// # Errors
    /// One of both is a topic, or the store refused; what was moved before stays moved.
    pub fn move_messages(
        self: &Arc<Self>,
        cell: &Arc<Cell>,
        target: &Destination,
        count: u64,
        choose: Choose<'_>,
    ) -> Result<u64, MoveError> {
        check_queue(target)?;
        self.for_chosen(cell, count, choose, |chosen, work| {
            self.move_chosen(cell, &chosen, target, work)
        })
    }

    /// Walks over a queue and hands runs of chosen messages to `act`, which says how many it has dealt with.
    fn for_chosen(
        self: &Arc<Self>,
        cell: &Arc<Cell>,
        count: u64,
        choose: Choose<'_>,
        mut act: impl FnMut(Vec<Place>, &mut Work) -> Result<u64, MoveError>,
    ) -> Result<u64, MoveError> {
        check_queue(&cell.destination)?;
        // What comes meanwhile is not looked at, or a move to the end of the same queue would not end.
        let end_sequence = cell.lock().machine.reserve(0);
        let (mut work, mut done, mut after) = (Work::default(), 0, None);
        while done < count {
            let found = match &cell.lock().machine {
                Machine::Queue(queue) => queue.messages(after, STEP_MESSAGES_MAX),
                Machine::Topic(_) => Vec::new(),
            };
            let Some(last) = found.last() else { break };
            after = Some(last.place);
            let mut chosen = Vec::new();
            for Listed { place, entry } in found {
                let wanted =
                    place.sequence() < end_sequence && done + (chosen.len() as u64) < count;
                if wanted
                    && let Some(message) = self.read_entry(&entry)?
                    && choose(&message, &entry)
                {
                    chosen.push(place);
                }
            }
            if !chosen.is_empty() {
                let outcome = act(chosen, &mut work);
                self.run(&mut work);
                done += outcome?;
            }
        }
        Ok(done)
    }

    /// Moves messages of one step. What could not be moved goes back to its place.
    fn move_chosen(
        self: &Arc<Self>,
        origin: &Arc<Cell>,
        chosen: &[Place],
        target: &Destination,
        work: &mut Work,
    ) -> Result<u64, MoveError> {
        let mut moved = 0;
        let mut rest = withdraw(origin, chosen, work).into_iter();
        while let Some(withdrawn) = rest.next() {
            match self.move_one(origin, withdrawn, target, work) {
                Ok(done) => moved += u64::from(done),
                Err(error) => {
                    rest.for_each(|withdrawn| give_back(origin, withdrawn, work));
                    return Err(error);
                }
            }
        }
        Ok(moved)
    }

    /// Moves one message; returns false if it is lost.
    fn move_one(
        self: &Arc<Self>,
        origin: &Arc<Cell>,
        withdrawn: Withdrawn,
        target: &Destination,
        work: &mut Work,
    ) -> Result<bool, MoveError> {
        let message = match self.read_entry(&withdrawn.entry) {
            Ok(Some(message)) => message,
            Ok(None) => return Ok(false),
            Err(error) => {
                give_back(origin, withdrawn, work);
                return Err(error.into());
            }
        };
        let target = self.registry.get_or_create(target);
        let mut state = target.lock();
        let sequence = state.machine.reserve(1);
        let defined = state.is_defined();
        let (removed, is_persistent) = (withdrawn.entry.at, message.is_persistent());
        let mut entry = Entry::held(Arc::clone(&message), None);
        if let Some(store) = self.store.as_ref().filter(|_| is_persistent) {
            let appended = store.append(|batch| {
                target.define(&mut state, batch);
                batch.transaction(|batch| {
                    if let Some(at) = removed {
                        let gone = [(withdrawn.sequence, records::to_store(at))];
                        batch.remove(origin.id, &gone);
                    }
                    records::add(batch, &[(target.id, sequence)], &message)
                })
            });
            match appended {
                Ok((at, ticket)) => {
                    work.ticket = work.ticket.max(Some(ticket));
                    entry.at = Some(records::from_store(at));
                }
                Err(error) => {
                    state.set_defined(defined);
                    drop(state);
                    give_back(origin, withdrawn, work);
                    return Err(error.into());
                }
            }
        }
        entry.redeliveries = withdrawn.entry.redeliveries;
        entry.redelivered = withdrawn.entry.redelivered;
        let now_ms = self.clock.wall_ms();
        target.step_locked(&mut state, work, Journaled::default(), |machine, out| {
            if let Machine::Queue(queue) = machine {
                queue.push(now_ms, Incoming { sequence, entry }, out);
            }
        });
        Ok(true)
    }
}

fn check_queue(destination: &Destination) -> Result<(), MoveError> {
    match destination.kind {
        Kind::Queue => Ok(()),
        Kind::Topic => Err(MoveError::NotAQueue(destination.clone())),
    }
}

fn withdraw(cell: &Arc<Cell>, chosen: &[Place], work: &mut Work) -> Vec<Withdrawn> {
    cell.step(work, Journaled::default(), |machine, _| match machine {
        Machine::Queue(queue) => queue.withdraw(chosen),
        Machine::Topic(_) => Vec::new(),
    })
}

fn give_back(cell: &Arc<Cell>, withdrawn: Withdrawn, work: &mut Work) {
    cell.step(work, Journaled::default(), |machine, _| {
        if let Machine::Queue(queue) = machine {
            queue.give_back(withdrawn);
        }
    });
}

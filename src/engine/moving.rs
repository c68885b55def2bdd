//! A message goes from one destination to another: one atomic group in the journal, then the arrival.
//!
//! The body is not written again if it is in the journal already. Nothing is visible before the group is handed over.

use std::sync::Arc;

use super::cell::{Cell, Journaled, Machine, State, Work};
use super::{Engine, StoreError, records};
use crate::broker::queue::{Incoming, Place, Withdrawn};
use crate::broker::{Destination, Entry, Locator, Message};

/// A message on its way.
pub(super) struct Moved<'a> {
    /// Where it comes from.
    pub(super) origin: &'a Cell,
    /// Its place there.
    pub(super) sequence: u64,
    /// Its record in the journal, if it has one.
    pub(super) at: Option<Locator>,
    /// The durable subscription that gives it away, and not the whole destination.
    pub(super) durable: Option<u32>,
    /// The message as it arrives.
    pub(super) message: Arc<Message>,
    /// Its failed deliveries so far, and whether it was in a frame before; both go with it.
    pub(super) failures: (u16, bool),
}

/// Where a message is to go, and as what.
pub(super) struct Arrival {
    pub(super) target: Destination,
    pub(super) message: Arc<Message>,
    /// It counts as never delivered.
    pub(super) is_new: bool,
}

impl Engine {
    /// Moves messages that still wait in a queue, in order, one after the other. `arrival` says of each where it goes;
    /// without an answer, or if the store refuses, it goes back to its place. Returns how many were moved.
    ///
    /// # Errors
    /// The store is full or dead, or could not read a message; what was moved before stays moved.
    pub(super) fn transfer(
        self: &Arc<Self>,
        origin: &Arc<Cell>,
        chosen: &[Place],
        mut arrival: impl FnMut(Arc<Message>) -> Option<Arrival>,
        work: &mut Work,
    ) -> Result<u64, StoreError> {
        let mut moved = 0;
        let mut outcome = Ok(());
        for withdrawn in withdraw(origin, chosen, work) {
            let found = match outcome {
                Ok(()) => self.read_entry(origin, &withdrawn.entry),
                Err(_) => Ok(None),
            };
            let arrival = found.map(|found| found.and_then(&mut arrival));
            let went = match arrival {
                Ok(Some(arrival)) => self.transfer_one(origin, &withdrawn, arrival, work),
                Ok(None) => Ok(false),
                Err(error) => Err(error),
            };
            match went {
                Ok(true) => moved += 1,
                Ok(false) => give_back(origin, withdrawn, work),
                Err(error) => {
                    give_back(origin, withdrawn, work);
                    outcome = Err(error);
                }
            }
        }
        outcome.map(|()| moved)
    }

    fn transfer_one(
        self: &Arc<Self>,
        origin: &Arc<Cell>,
        withdrawn: &Withdrawn,
        arrival: Arrival,
        work: &mut Work,
    ) -> Result<bool, StoreError> {
        let Withdrawn {
            sequence, entry, ..
        } = withdrawn;
        let moved = Moved {
            origin,
            sequence: *sequence,
            at: entry.journaled_at(),
            durable: None,
            message: arrival.message,
            failures: if arrival.is_new {
                (0, false)
            } else {
                (entry.redeliveries, entry.redelivered)
            },
        };
        // It may have been removed meanwhile, or never been there.
        let target = self.registry.get_or_create(&arrival.target);
        let mut state = target.lock();
        self.move_to((&target, &mut state), moved, work)?;
        work.free(entry);
        Ok(true)
    }

    /// Puts a message into its new destination, whose lock is held, and takes its record from the old one. Returns its
    /// place. On an error nothing has happened.
    ///
    /// # Errors
    /// The store is full or dead.
    pub(super) fn move_to(
        &self,
        (target, state): (&Arc<Cell>, &mut State),
        moved: Moved<'_>,
        work: &mut Work,
    ) -> Result<u64, StoreError> {
        let sequence = state.machine.reserve(1);
        let at = self.write_move((target, &mut *state), sequence, &moved, work)?;
        let mut entry = Entry::held(moved.message, at);
        (entry.redeliveries, entry.redelivered) = moved.failures;
        let now_ms = self.clock.wall_ms();
        target.step_locked(state, work, Journaled::default(), |machine, out| {
            let incoming = Incoming { sequence, entry };
            match machine {
                Machine::Queue(queue) => queue.push(now_ms, incoming, out),
                Machine::Topic(topic) => topic.publish(now_ms, incoming, out),
            }
        });
        Ok(sequence)
    }

    /// Writes {add to the target, remove from the origin} as one group.
    fn write_move(
        &self,
        (target, state): (&Cell, &mut State),
        sequence: u64,
        moved: &Moved<'_>,
        work: &mut Work,
    ) -> Result<Option<Locator>, StoreError> {
        let stored = state.machine.stores(&moved.message);
        let (Some(store), true) = (&self.store, stored || moved.at.is_some()) else {
            return Ok(None);
        };
        let defined = state.is_defined();
        let appended = store.append(|batch| {
            if stored {
                target.define(state, batch);
            }
            batch.transaction(|batch| {
                let targets = [(target.id, sequence)];
                let place = stored.then(|| match moved.at {
                    Some(of) => records::place(batch, &targets, of, &moved.message),
                    None => records::add(batch, &targets, &moved.message),
                });
                let (redeliveries, redelivered) = moved.failures;
                if let Some(place) = place.filter(|_| moved.failures != (0, false)) {
                    let count = records::count_code(redeliveries, redelivered);
                    batch.redelivered(target.id, sequence, place, count);
                }
                if let Some(of) = moved.at {
                    match moved.durable {
                        Some(id) => {
                            let id = ferrymq_store::SubscriptionId(id);
                            batch.acknowledge(id, None, &[moved.sequence]);
                        }
                        None => {
                            let removed = [(moved.sequence, records::to_store(of))];
                            batch.remove(moved.origin.id, &removed);
                        }
                    }
                }
                place
            })
        });
        // A refused batch takes the definition back with it.
        let (place, ticket) = appended.inspect_err(|_| state.set_defined(defined))?;
        work.ticket = work.ticket.max(Some(ticket));
        Ok(place.map(records::from_store))
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

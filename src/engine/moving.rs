//! A message goes from one destination to another: one atomic group in the journal, then the arrival.
//!
//! The body is not written again if it is in the journal already. Nothing is visible before the group is handed over.

use std::sync::Arc;

use super::cell::{Cell, Journaled, Machine, State, Work};
use super::{Engine, StoreError, records};
use crate::broker::queue::Incoming;
use crate::broker::{Entry, Locator, Message};

/// A message on its way.
pub(super) struct Moved<'a> {
    /// Where it comes from.
    pub(super) origin: &'a Cell,
    /// Its place there.
    pub(super) sequence: u64,
    /// Its record, if it has one.
    pub(super) at: Option<Locator>,
    /// The durable subscription that gives it away, and not the whole destination.
    pub(super) durable: Option<u32>,
    /// The message as it arrives.
    pub(super) message: Arc<Message>,
}

impl Engine {
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
        let entry = Entry::held(moved.message, at);
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

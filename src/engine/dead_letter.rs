//! Moving a rejected message to the dead-letter queue: one atomic group in the journal, then both ends.

use std::sync::Arc;

use super::cell::{Cell, Journaled, Machine, State, Work};
use super::{Engine, StoreError, records};
use crate::broker::queue::Incoming;
use crate::broker::{DeadLetter, Destination, Entry, Kind, Rejected};

impl Engine {
    /// Buries a message: to the dead-letter queue, or away if it may not go there (DLQ-2, DLQ-5).
    pub(super) fn bury(
        self: &Arc<Self>,
        origin: &Arc<Cell>,
        mut rejected: Rejected,
        work: &mut Work,
    ) {
        if let Err(error) = self.read_rejected(&mut rejected) {
            take_back(origin, rejected, &error, work);
            return;
        }
        let persistent = rejected
            .entry
            .message
            .as_ref()
            .is_some_and(|message| message.is_persistent());
        let dropped = rejected.expired && !persistent
            || self.registry.is_dead_letter_queue(&origin.destination)
            || rejected.entry.message.is_none();
        if dropped {
            self.forget(origin, &rejected, work);
            return;
        }
        tracing::info!(
            destination = %origin.destination,
            cause = rejected.cause,
            dead_letter_queue = self.settings.dead_letter_queue,
            "message dead-lettered"
        );
        let target = self
            .registry
            .get_or_create(&Destination::queue(self.settings.dead_letter_queue.clone()));
        let mut state = target.lock();
        let sequence = state.machine.reserve(1);
        let moved = self.write_move(origin, (&target, &mut state), sequence, &rejected, work);
        match moved {
            Ok(entry) => {
                let now_ms = self.clock.wall_ms();
                target.step_locked(&mut state, work, Journaled::default(), |machine, out| {
                    if let Machine::Queue(queue) = machine {
                        queue.push(now_ms, Incoming { sequence, entry }, out);
                    }
                });
                drop(state);
                let journaled = Journaled {
                    progress: true,
                    removals: false,
                };
                leave_topic(origin, &rejected, journaled, work);
            }
            Err(error) => {
                drop(state);
                take_back(origin, rejected, &error, work);
            }
        }
    }

    /// Brings the message back that has left memory. One that is damaged or gone stays away; any other error
    /// says nothing about the message.
    fn read_rejected(&self, rejected: &mut Rejected) -> Result<(), StoreError> {
        if rejected.entry.message.is_none()
            && let (Some(store), Some(at)) = (&self.store, rejected.entry.at)
        {
            let found = match store.read(records::to_store(at)) {
                Err(StoreError::Damaged { .. }) => None,
                found => found?,
            };
            rejected.entry.message = found.map(records::message);
        }
        Ok(())
    }

    /// Writes {add to the dead-letter queue, remove from the origin} as one group; the body is not
    /// rewritten if it is in the journal already.
    fn write_move(
        &self,
        origin: &Cell,
        (target, state): (&Cell, &mut State),
        sequence: u64,
        rejected: &Rejected,
        work: &mut Work,
    ) -> Result<Entry, StoreError> {
        let Some(message) = &rejected.entry.message else {
            unreachable!("a message that cannot be read is not moved");
        };
        let fate = DeadLetter {
            origin: origin.destination.to_string(),
            cause: rejected.cause.clone(),
            original_expires_ms: message.expires_ms,
        };
        let dead = Arc::new(message.to_dead_letter(fate.clone()));
        let Some(store) = &self.store else {
            return Ok(Entry::held(dead, None));
        };
        let defined = state.is_defined();
        let appended = store.append(|batch| {
            target.define(state, batch);
            batch.transaction(|batch| {
                let targets = [(target.id, sequence)];
                let Some(of) = rejected.entry.at else {
                    return records::add(batch, &targets, &dead);
                };
                let at = records::place(batch, &targets, of, message, &fate);
                match rejected.durable {
                    Some(id) => batch.acknowledge(
                        ferrymq_store::SubscriptionId(id),
                        None,
                        &[rejected.sequence],
                    ),
                    None => batch.remove(origin.id, &[(rejected.sequence, records::to_store(of))]),
                }
                at
            })
        });
        // A refused batch takes the definition back with it.
        let (at, ticket) = appended.inspect_err(|_| state.set_defined(defined))?;
        work.ticket = work.ticket.max(Some(ticket));
        Ok(Entry::held(dead, Some(records::from_store(at))))
    }

    /// Removes a message for good.
    fn forget(&self, origin: &Arc<Cell>, rejected: &Rejected, work: &mut Work) {
        if origin.destination.kind == Kind::Topic && rejected.subscription.is_some() {
            // The record stays for other subscriptions; the topic knows when it goes.
            leave_topic(origin, rejected, Journaled::default(), work);
            return;
        }
        let (Some(store), Some(at)) = (&self.store, rejected.entry.at) else {
            return;
        };
        let removed = [(rejected.sequence, records::to_store(at))];
        if let Ok(((), ticket)) = store.append(|batch| batch.remove(origin.id, &removed)) {
            work.ticket = work.ticket.max(Some(ticket));
        }
    }
}

/// Tells a topic that one of its durable subscriptions is rid of a message.
fn leave_topic(origin: &Arc<Cell>, rejected: &Rejected, journaled: Journaled, work: &mut Work) {
    let sequence = rejected.sequence;
    if let (Some(key), Some(_)) = (rejected.subscription, rejected.durable) {
        origin.step(work, journaled, |machine, out| {
            if let Machine::Topic(topic) = machine {
                topic.rejected(key, sequence, out);
            }
        });
    }
}

/// The message stays where it was, for want of a journal that takes its move.
fn take_back(origin: &Arc<Cell>, rejected: Rejected, error: &StoreError, work: &mut Work) {
    tracing::error!(destination = %origin.destination, %error, "dead letter stays where it was");
    origin.step(work, Journaled::default(), |machine, _| match machine {
        Machine::Queue(queue) => queue.take_back(rejected),
        Machine::Topic(topic) => topic.take_back(rejected),
    });
}

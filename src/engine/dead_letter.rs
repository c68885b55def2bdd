//! Moving a rejected message to the dead-letter queue: one atomic group in the journal, then both ends.

use std::sync::Arc;

use super::cell::{Cell, Journaled, Machine, Work};
use super::{Engine, StoreError, records};
use crate::broker::queue::Incoming;
use crate::broker::{DeadLetter, Destination, Entry, Rejected};

impl Engine {
    /// Buries a message: to the dead-letter queue, or away if it may not go there (DLQ-2, DLQ-5).
    pub(super) fn bury(
        self: &Arc<Self>,
        origin: &Arc<Cell>,
        mut rejected: Rejected,
        work: &mut Work,
    ) {
        if rejected.entry.message.is_none()
            && let (Some(store), Some(at)) = (&self.store, rejected.entry.at)
        {
            match store.read(records::to_store(at)) {
                Ok(found) => rejected.entry.message = found.map(records::message),
                Err(error) => return Self::keep(origin, rejected, &error, work),
            }
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
        let sequence = target.lock().machine.reserve(1);
        match self.write_move(origin, &target, sequence, &rejected, work) {
            Ok(entry) => {
                let now_ms = self.clock.wall_ms();
                target.step(work, Journaled::default(), |machine, out| {
                    if let Machine::Queue(queue) = machine {
                        queue.push(now_ms, Incoming { sequence, entry }, out);
                    }
                });
                self.leave_topic(origin, rejected, work);
            }
            Err(error) => Self::keep(origin, rejected, &error, work),
        }
    }

    /// Puts a message back that could not be moved.
    fn keep(origin: &Arc<Cell>, rejected: Rejected, error: &StoreError, work: &mut Work) {
        tracing::error!(destination = %origin.destination, %error, "dead letter stays where it was");
        origin.step(work, Journaled::default(), |machine, _| {
            if let Machine::Queue(queue) = machine {
                queue.take_back(rejected);
            }
        });
    }

    /// Writes {add to the dead-letter queue, remove from the origin} as one group; the body is not
    /// rewritten if it is in the journal already.
    fn write_move(
        &self,
        origin: &Cell,
        target: &Cell,
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
        let mut state = target.lock();
        let (at, ticket) = store.append(|batch| {
            target.define(&mut state, batch);
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
        })?;
        work.ticket = work.ticket.max(Some(ticket));
        Ok(Entry::held(dead, Some(records::from_store(at))))
    }

    fn leave_topic(&self, origin: &Arc<Cell>, rejected: Rejected, work: &mut Work) {
        let Rejected {
            sequence,
            entry,
            subscription,
            durable,
            ..
        } = rejected;
        // The topic counts references; ours must be gone before it looks.
        drop(entry);
        if let (Some(key), Some(_)) = (subscription, durable) {
            origin.step(
                work,
                Journaled {
                    progress: true,
                    removals: false,
                },
                |machine, out| {
                    if let Machine::Topic(topic) = machine {
                        topic.rejected(key, sequence, out);
                    }
                },
            );
        }
    }

    /// Removes a message for good.
    fn forget(&self, origin: &Arc<Cell>, rejected: &Rejected, work: &mut Work) {
        let (Some(store), Some(at)) = (&self.store, rejected.entry.at) else {
            return;
        };
        let removed = [(rejected.sequence, records::to_store(at))];
        if let Ok(((), ticket)) = store.append(|batch| batch.remove(origin.id, &removed)) {
            work.ticket = work.ticket.max(Some(ticket));
        }
    }
}

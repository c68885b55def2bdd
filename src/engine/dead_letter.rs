//! What becomes of a rejected message: to the dead-letter destination of its own, or away (DLQ-1 to DLQ-5).

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use super::cell::{Cell, Journaled, Machine, State, Work};
use super::moving::Moved;
use super::{Engine, StoreError, records};
use crate::broker::advisory::News;
use crate::broker::{DeadLetter, Destination, Kind, Message, MessageId, Rejected};

/// Dead letters remembered for each dead-letter queue, as many as ActiveMQ remembers (2048 of each of 64 producers).
const AUDIT_MAX: usize = 2048 * 64;

/// Where the dead letters of a queue lie, for not adding one twice (DLQ-3). Since the start of the broker, and the last
/// [`AUDIT_MAX`] only.
#[derive(Debug, Default)]
pub(super) struct Audit {
    places: HashMap<MessageId, u64>,
    order: VecDeque<MessageId>,
}

impl Audit {
    fn note(&mut self, id: MessageId, sequence: u64) {
        if self.places.insert(id, sequence).is_none() {
            self.order.push_back(id);
        }
        while self.order.len() > AUDIT_MAX {
            if let Some(oldest) = self.order.pop_front() {
                self.places.remove(&oldest);
            }
        }
    }
}

impl State {
    /// Whether the message lies among the dead letters here.
    fn has_dead_letter(&self, id: MessageId) -> bool {
        let audit = self.audit.as_ref();
        match (&self.machine, audit.and_then(|audit| audit.places.get(&id))) {
            (Machine::Queue(queue), Some(sequence)) => queue.has(*sequence),
            _ => false,
        }
    }
}

/// Where a dead letter goes, and how.
struct Grave {
    destination: Destination,
    expires_ms: u64,
    is_audited: bool,
}

impl Engine {
    /// Buries a message: to the destination of its dead letters, or away if it may not go there.
    pub(super) fn bury(
        self: &Arc<Self>,
        origin: &Arc<Cell>,
        mut rejected: Rejected,
        work: &mut Work,
    ) {
        if let Err(error) = self.read_rejected(origin, &mut rejected) {
            take_back(origin, rejected, &error, work);
            return;
        }
        let message = rejected.entry.message.clone();
        let now_ms = self.clock.wall_ms();
        let grave = message
            .clone()
            .and_then(|message| Some((self.grave(now_ms, origin, &rejected, &message)?, message)));
        let Some((grave, message)) = grave else {
            if let Some(message) = message.filter(|_| rejected.expired) {
                origin.report_end(origin.policy().advisories, News::Expired, &message);
            }
            self.forget(origin, &rejected, work);
            return;
        };
        let target = self.dead_letter_cell(&grave.destination, work);
        let mut state = target.lock();
        if grave.is_audited && state.has_dead_letter(message.id) {
            drop(state);
            tracing::debug!(destination = %origin.destination, "the message is a dead letter already");
            self.forget(origin, &rejected, work);
            return;
        }
        let fate = DeadLetter {
            origin: origin.destination.to_string(),
            cause: rejected.cause.clone(),
            original_expires_ms: message.expires_ms,
            failures: rejected.entry.redeliveries,
            died_ms: now_ms,
        };
        let dead = Arc::new(message.to_dead_letter(fate, grave.expires_ms));
        let moved = Moved {
            origin,
            sequence: rejected.sequence,
            at: rejected.entry.journaled_at(),
            durable: rejected.durable,
            message: Arc::clone(&dead),
            failures: (0, false),
        };
        match self.move_to((&target, &mut state), moved, work) {
            Ok(sequence) => {
                if grave.is_audited {
                    let audit = state.audit.get_or_insert_default();
                    audit.note(message.id, sequence);
                }
                drop(state);
                free_spilled(&rejected, work);
                let wanted = origin.policy().advisories;
                if rejected.expired {
                    origin.report_end(wanted, News::Expired, &message);
                }
                origin.report_end(wanted, News::DeadLettered, &dead);
                tracing::info!(
                    destination = %origin.destination,
                    cause = rejected.cause,
                    dead_letters = %grave.destination,
                    "message dead-lettered"
                );
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

    /// Where a rejected message goes; `None` if it is dropped (DLQ-2, DLQ-5).
    fn grave(
        &self,
        now_ms: u64,
        origin: &Cell,
        rejected: &Rejected,
        message: &Message,
    ) -> Option<Grave> {
        let rules = origin.rules();
        let strategy = &rules.policy.dead_letters;
        let keeps = strategy.keeps(rejected.expired, message.is_persistent());
        if rules.is_dead_letter_destination() || !keeps {
            return None;
        }
        let durable = rejected
            .durable
            .filter(|_| strategy.destination_per_durable_subscriber);
        let durable = durable.and_then(|id| self.durables.name_of(id));
        let durable = durable.map(|name| format!("{}:{}", name.client_id, name.name));
        Some(Grave {
            destination: strategy.target(&origin.destination, durable.as_deref())?,
            expires_ms: strategy.expires_ms(now_ms),
            is_audited: strategy.enable_audit,
        })
    }

    /// The destination of dead letters of that name, made if there is none, whatever the policy of auto-creation: nothing
    /// is lost for want of it.
    fn dead_letter_cell(&self, destination: &Destination, work: &mut Work) -> Arc<Cell> {
        let cell = self.registry.get_or_create(destination);
        let rules = cell.rules();
        if !rules.is_dead_letter_destination() {
            let window_bytes = self.window_bytes(&rules);
            let rules = rules.for_dead_letters();
            let now_ms = self.clock.wall_ms();
            cell.set_rules(now_ms, rules, window_bytes, &self.properties, work);
        }
        cell
    }

    /// Brings the message back that has left memory. One that is damaged or gone stays away; any other error
    /// says nothing about the message.
    fn read_rejected(&self, origin: &Cell, rejected: &mut Rejected) -> Result<(), StoreError> {
        if rejected.entry.message.is_none() {
            rejected.entry.message = self.read_entry(origin, &rejected.entry)?;
        }
        Ok(())
    }

    /// Removes a message for good.
    fn forget(&self, origin: &Arc<Cell>, rejected: &Rejected, work: &mut Work) {
        if origin.destination.kind == Kind::Topic && rejected.subscription.is_some() {
            // The record stays for other subscriptions; the topic knows when it goes.
            leave_topic(origin, rejected, Journaled::default(), work);
            return;
        }
        free_spilled(rejected, work);
        let (Some(store), Some(at)) = (&self.store, rejected.entry.journaled_at()) else {
            return;
        };
        let removed = [(rejected.sequence, records::to_store(at))];
        if let Ok(((), ticket)) = store.append(|batch| batch.remove(origin.id, &removed)) {
            work.ticket = work.ticket.max(Some(ticket));
        }
    }
}

/// Frees what the message takes of temporary storage. A topic does that itself, with its last reference.
fn free_spilled(rejected: &Rejected, work: &mut Work) {
    if rejected.subscription.is_none() {
        work.free(&rejected.entry);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_audit_remembers_the_last_ones_only() {
        let mut audit = Audit::default();
        let id = |serial| MessageId { origin: 1, serial };
        for serial in 0..AUDIT_MAX as u64 + 2 {
            audit.note(id(serial), serial);
            audit.note(id(serial), serial + 1);
        }
        assert_eq!(audit.order.len(), AUDIT_MAX);
        assert_eq!(audit.places.len(), AUDIT_MAX);
        assert!(!audit.places.contains_key(&id(1)) && audit.places.contains_key(&id(2)));
    }
}

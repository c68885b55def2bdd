//! COMMIT and ABORT: sends and acknowledgements over any destinations, all or none (TX-3, TX-4).
//!
//! Places are reserved on each destination in turn, one atomic group goes to the journal, then it is
//! applied on each. Nothing is visible before the group is handed over.

use std::ops::Range;
use std::sync::Arc;

use ferrymq_store::{StoreError, SubscriptionId};

use super::cell::{Cell, Journaled, Machine, Work};
use super::dedup::{Gate, Guard, Guarded, NewIds, guarded_cells};
use super::schedule::NewJob;
use super::spread::Routed;
use super::{Engine, records};
use crate::broker::dedup::DedupId;
use crate::broker::policy::Usage;
use crate::broker::queue::Incoming;
use crate::broker::{Ack, Delivery, Entry, Kind, Locator, Message, SubscriptionKey};

/// Deliveries that a transaction has acknowledged or refused.
pub struct Acknowledged {
    /// Their destination.
    pub cell: Arc<Cell>,
    /// Whose they were.
    pub key: SubscriptionKey,
    /// The durable subscription, if it is one.
    pub durable: Option<SubscriptionId>,
    /// What becomes of them at commit.
    pub ack: Ack,
    /// The deliveries.
    pub taken: Vec<Delivery>,
}

/// What a transaction holds until its end.
#[derive(Default)]
pub struct Transaction {
    /// Messages to send, in order.
    pub sends: Vec<Routed>,
    /// Messages to schedule, in order (SCH-6).
    pub jobs: Vec<NewJob>,
    /// Acknowledgements, in order.
    pub acknowledged: Vec<Acknowledged>,
    /// Sends and jobs whose messages must not be taken twice, in order (SND-6).
    pub guarded: Vec<Guarded>,
    /// Octets of memory of the messages to send.
    pub bytes: u64,
}

/// The messages of a transaction for one destination.
struct Part {
    cell: Arc<Cell>,
    first: u64,
    messages: Vec<Copy>,
}

/// One message on its way to one destination.
struct Copy {
    message: Arc<Message>,
    /// Its place among the sends of the transaction.
    send: usize,
    /// Whether it must reach the journal.
    stored: bool,
    at: Option<Locator>,
}

/// Destinations that one record can name.
const TARGETS_MAX: usize = 1 << 12;

/// Why a transaction was not applied.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// The store is full or dead.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// One of its destinations is full, and its policy refuses more.
    #[error("{0}")]
    Refused(String),
}

impl Transaction {
    /// Adds a message with an id by which each of the destinations it was sent to knows it if it comes again: there it is
    /// dropped then, with all that follows from there. What has gone to the others is the business of their windows. Returns
    /// the places in `guarded`.
    pub fn add_once(&mut self, guard: Guard<'_>, mut sends: Vec<Routed>) -> Range<usize> {
        let first = self.guarded.len();
        sends.sort_by_key(|send| send.named);
        let mut sends = sends.into_iter().peekable();
        for (named, cell) in guard.cells.iter().enumerate() {
            let from = self.sends.len();
            self.sends.extend(std::iter::from_fn(|| {
                sends.next_if(|send| send.named == named)
            }));
            self.guarded.push(Guarded {
                to: Arc::clone(cell),
                id: guard.id,
                sends: from..self.sends.len(),
                job: None,
                persistent: guard.persistent,
            });
        }
        first..self.guarded.len()
    }

    /// Adds a message to be scheduled, by `id` only once, as of now.
    pub fn schedule_once(&mut self, job: NewJob, id: DedupId) {
        self.guarded.push(Guarded {
            to: Arc::clone(&job.cell),
            id,
            sends: self.sends.len()..self.sends.len(),
            job: Some(self.jobs.len()),
            persistent: true,
        });
        self.jobs.push(job);
    }

    /// How many actions it holds (TX-7).
    #[must_use]
    pub fn len(&self) -> usize {
        // One with an id counts even if it comes to nobody.
        let sends = (self.sends.len() + self.jobs.len()).max(self.guarded.len());
        sends + self.acknowledged.len()
    }

    /// Whether it holds nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Engine {
    /// Applies a transaction. On an error nothing was applied and the transaction is handed back. Tells of each place in
    /// [`Transaction::guarded`] whether the message came again and was dropped there.
    ///
    /// # Errors
    /// The store is full or dead, or a destination is full and its policy refuses more.
    pub fn commit(
        self: &Arc<Self>,
        mut transaction: Transaction,
        work: &mut Work,
    ) -> Result<Vec<bool>, (Box<Transaction>, CommitError)> {
        self.stamp(&mut transaction);
        let cells = guarded_cells(&transaction);
        let mut gate = Gate::close(&cells, self.clock.wall_ms(), &mut transaction);
        // Those whose policy lets producers wait take them: they waited when they were sent.
        let weighed = self.weigh(&transaction.sends, gate.dropped(), |_| Usage::default());
        let no_room = match weighed {
            Ok(weighed) => weighed.no_room,
            Err(refused) => {
                gate.reopen(&mut transaction);
                return Err((
                    Box::new(transaction),
                    CommitError::Refused(refused.to_string()),
                ));
            }
        };
        gate.drop_sends(transaction.sends.len(), &no_room);
        let without_room = no_room.iter().map(|at| &transaction.sends[*at].cell);
        let without_room: Vec<Arc<Cell>> = without_room.cloned().collect();
        let parts = partition(&transaction.sends, gate.dropped());
        let again = self
            .apply(transaction, parts, gate, work)
            .map_err(|(transaction, error)| (transaction, error.into()))?;
        for cell in without_room {
            cell.routes.count_dropped(&cell.destination);
        }
        Ok(again)
    }

    /// The same for messages whose destinations have let them in already.
    ///
    /// # Errors
    /// The store is full or dead.
    pub fn commit_admitted(
        self: &Arc<Self>,
        mut transaction: Transaction,
        work: &mut Work,
    ) -> Result<Vec<bool>, (Box<Transaction>, StoreError)> {
        self.stamp(&mut transaction);
        let cells = guarded_cells(&transaction);
        let gate = Gate::close(&cells, self.clock.wall_ms(), &mut transaction);
        let parts = partition(&transaction.sends, gate.dropped());
        self.apply(transaction, parts, gate, work)
    }

    fn stamp(&self, transaction: &mut Transaction) {
        let now_ms = self.clock.wall_ms();
        for send in &mut transaction.sends {
            send.cell.stamp(now_ms, &mut send.message);
        }
    }

    fn apply(
        self: &Arc<Self>,
        mut transaction: Transaction,
        mut parts: Vec<Part>,
        gate: Gate<'_>,
        work: &mut Work,
    ) -> Result<Vec<bool>, (Box<Transaction>, StoreError)> {
        let ids = gate.new_ids(&transaction);
        for part in &mut parts {
            let mut state = part.cell.lock();
            part.first = state.machine.promise(part.messages.len() as u64);
            for copy in &mut part.messages {
                copy.stored = part.cell.is_stored() && state.machine.stores(&copy.message);
            }
        }
        let Transaction {
            sends,
            jobs,
            acknowledged,
            ..
        } = &mut transaction;
        if let Err(error) = self.write_group(&mut parts, sends, jobs, acknowledged, &ids, work) {
            for part in parts {
                part.cell.lock().machine.keep_promise(part.first);
            }
            gate.reopen(&mut transaction);
            return Err((Box::new(transaction), error));
        }
        let now_ms = self.clock.wall_ms();
        for acknowledged in transaction.acknowledged.drain(..) {
            apply_acknowledged(acknowledged, now_ms, work);
        }
        for part in parts {
            let mut state = part.cell.lock();
            let messages = part.messages.iter().map(|copy| &copy.message);
            part.cell.report_arrivals(&state, messages);
            let journaled = Journaled::default();
            part.cell
                .step_locked(&mut state, work, journaled, |machine, out| {
                    for (sequence, copy) in (part.first..).zip(part.messages) {
                        let incoming = Incoming {
                            sequence,
                            entry: Entry::held(copy.message, copy.at),
                        };
                        match machine {
                            Machine::Queue(queue) => queue.push(now_ms, incoming, out),
                            Machine::Topic(topic) => topic.publish(now_ms, incoming, out),
                        }
                    }
                    machine.keep_promise(part.first);
                });
        }
        self.memory.release(transaction.bytes);
        Ok(gate.pass(&transaction.guarded, work))
    }

    /// Undoes a transaction: sends are dropped, acknowledged deliveries go back (ACK-6).
    pub fn abort(self: &Arc<Self>, transaction: Transaction, work: &mut Work) {
        let now_ms = self.clock.wall_ms();
        for acknowledged in transaction.acknowledged {
            let Acknowledged {
                cell, key, taken, ..
            } = acknowledged;
            cell.step(work, Journaled::default(), |machine, out| match machine {
                Machine::Queue(queue) => queue.restore(now_ms, key, taken, out),
                Machine::Topic(topic) => topic.restore(now_ms, key, taken, out),
            });
        }
        self.memory.release(transaction.bytes);
    }

    fn write_group(
        &self,
        parts: &mut [Part],
        sends: &[Routed],
        new_jobs: &mut Vec<NewJob>,
        acknowledged: &[Acknowledged],
        ids: &[(Arc<Cell>, NewIds)],
        work: &mut Work,
    ) -> Result<(), StoreError> {
        let Some(store) = &self.store else {
            if let Some(mut jobs) = self.prepare_jobs(new_jobs)? {
                self.adopt_jobs(&mut jobs, new_jobs, Vec::new(), work);
            }
            return Ok(());
        };
        let adds = parts.iter().any(Part::is_stored);
        let acks = acknowledged.iter().any(|acknowledged| {
            acknowledged.ack == Ack::Consumed
                && (acknowledged.durable.is_some()
                    || acknowledged
                        .taken
                        .iter()
                        .any(|d| d.entry.journaled_at().is_some()))
        });
        if !adds && !acks && new_jobs.is_empty() && ids.is_empty() {
            return Ok(());
        }
        let parts_stored = parts.iter().filter(|part| part.is_stored());
        let cells = parts_stored.map(|part| &part.cell);
        self.define(cells.chain(ids.iter().map(|(cell, _)| cell)))?;
        let jobs = self.prepare_jobs(new_jobs)?;
        let mut places = Vec::new();
        let ((), ticket) = store.append(|batch| {
            batch.transaction(|batch| {
                for (cell, ids) in ids {
                    ids.write(batch, cell);
                }
                if let Some(jobs) = &jobs {
                    places.extend(new_jobs.iter().map(|job| jobs.write(batch, job)));
                }
                write_sends(batch, parts, sends);
                for acknowledged in acknowledged
                    .iter()
                    .filter(|acknowledged| acknowledged.ack == Ack::Consumed)
                {
                    write_acknowledged(batch, acknowledged);
                }
            });
        })?;
        work.ticket = work.ticket.max(Some(ticket));
        if let Some(mut jobs) = jobs {
            self.adopt_jobs(&mut jobs, new_jobs, places, work);
        }
        Ok(())
    }

    /// Definitions go before the group, as they stay even if it is dropped.
    fn define<'a>(&self, cells: impl Iterator<Item = &'a Arc<Cell>>) -> Result<(), StoreError> {
        let Some(store) = &self.store else {
            return Ok(());
        };
        for cell in cells {
            let mut state = cell.lock();
            if state.is_defined() {
                continue;
            }
            store.append(|batch| cell.define(&mut state, batch))?;
        }
        Ok(())
    }
}

impl Part {
    fn is_stored(&self) -> bool {
        self.messages.iter().any(|copy| copy.stored)
    }
}

/// Writes each message once for all its destinations.
fn write_sends(batch: &mut ferrymq_store::Batch<'_>, parts: &mut [Part], sends: &[Routed]) {
    // For each send: its part and its place there.
    let mut copies = vec![None; sends.len()];
    for (index, part) in parts.iter().enumerate() {
        for (at, copy) in part.messages.iter().enumerate() {
            copies[copy.send] = copy.stored.then_some((index, at));
        }
    }
    let mut from = 0;
    while let Some(Routed { message, .. }) = sends.get(from) {
        let alike = sends[from..]
            .iter()
            .take(TARGETS_MAX)
            .take_while(|other| Arc::ptr_eq(&other.message, message));
        let to = from + alike.count();
        let stored: Vec<(usize, usize)> = copies[from..to].iter().flatten().copied().collect();
        from = to;
        let targets: Vec<_> = stored
            .iter()
            .map(|&(part, at)| (parts[part].cell.id, parts[part].first + at as u64))
            .collect();
        if targets.is_empty() {
            continue;
        }
        let place = records::from_store(records::add(batch, &targets, message));
        for (part, at) in stored {
            parts[part].messages[at].at = Some(place);
        }
    }
}

fn write_acknowledged(batch: &mut ferrymq_store::Batch<'_>, acknowledged: &Acknowledged) {
    if let Some(id) = acknowledged.durable {
        let sequences: Vec<u64> = acknowledged
            .taken
            .iter()
            .map(|delivery| delivery.sequence)
            .collect();
        batch.acknowledge(id, None, &sequences);
    } else if acknowledged.cell.destination.kind == Kind::Queue {
        let stored = acknowledged.taken.iter().filter_map(|delivery| {
            let at = delivery.entry.journaled_at()?;
            Some((delivery.sequence, records::to_store(at)))
        });
        let removed: Vec<_> = stored.collect();
        if !removed.is_empty() {
            batch.remove(acknowledged.cell.id, &removed);
        }
    }
}

fn apply_acknowledged(acknowledged: Acknowledged, now_ms: u64, work: &mut Work) {
    let Acknowledged {
        cell,
        key,
        ack,
        taken,
        ..
    } = acknowledged;
    let consumed = ack == Ack::Consumed;
    let is_queue = cell.destination.kind == Kind::Queue;
    let journaled = Journaled {
        removals: consumed && is_queue,
        progress: consumed,
    };
    // A queue goes on dispatching inside `commit`, which may settle other deliveries: those of `auto`
    // consumers are settled when they are written, never here, so nothing but `taken` is suppressed.
    cell.step(work, journaled, |machine, out| match machine {
        Machine::Queue(queue) => queue.commit(now_ms, key, taken, ack, out),
        Machine::Topic(topic) => topic.commit(now_ms, key, taken, ack, out),
    });
}

/// The sends by destination, without those that are `dropped`.
fn partition(sends: &[Routed], dropped: &[bool]) -> Vec<Part> {
    let mut parts: Vec<Part> = Vec::new();
    for (send, Routed { cell, message, .. }) in sends.iter().enumerate() {
        if dropped.get(send) == Some(&true) {
            continue;
        }
        let copy = Copy {
            message: Arc::clone(message),
            send,
            stored: false,
            at: None,
        };
        match parts
            .iter_mut()
            .rev()
            .find(|part| Arc::ptr_eq(&part.cell, cell))
        {
            Some(part) => part.messages.push(copy),
            None => {
                parts.push(Part {
                    cell: Arc::clone(cell),
                    first: 0,
                    messages: vec![copy],
                });
            }
        }
    }
    parts
}

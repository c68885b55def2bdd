//! What a connection holds in the broker, and what it may ask of it.
//!
//! Consecutive sends to one destination are one batch: one lock, one journal entry, one flush. Everything
//! else first hands the batch over, so the order of frames is the order of effects.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use crate::engine::{StoreError, SubscriptionId, Ticket};

use super::acknowledgements::Acknowledgements;
use super::transactions::Transactions;
use crate::broker::{
    AckMode, Ending, Kind, Message, MessageId, SubscriptionKey, Which, Window, Wishes,
};
use crate::engine::Engine;
use crate::engine::cell::{Cell, Encoder, Journaled, Machine, State, Work};
use crate::engine::choice::Choice;
use crate::engine::durables::{ConsumerEnd, DurableError, DurableName};
use crate::engine::outbox::Outbox;

/// An answer, rendered by the adapter; empty if the client asked for none.
pub type Answer<'a> = &'a [u8];

/// A subscription of this connection.
#[derive(Clone)]
pub struct Subscribed {
    /// Its destination.
    pub cell: Arc<Cell>,
    /// Its key there.
    pub key: SubscriptionKey,
    /// Its id in the journal, if durable.
    pub durable: Option<SubscriptionId>,
}

/// What a new subscription asks for.
pub struct SubscribeRequest<'a> {
    /// The destination.
    pub cell: &'a Arc<Cell>,
    /// How it acknowledges.
    pub mode: AckMode,
    /// Its credit.
    pub window: Window,
    /// What it asks of messages.
    pub choice: Choice,
    /// How its deliveries are rendered.
    pub encoder: Box<dyn Encoder>,
    /// The name of the durable subscription, if it is one.
    pub durable: Option<DurableName>,
    /// What it asks of a queue.
    pub wishes: Wishes,
}

#[derive(Default)]
struct Batch {
    cell: Option<Arc<Cell>>,
    messages: Vec<Arc<Message>>,
    answers: Vec<u8>,
}

/// Messages handed over in one go at most.
const BATCH_MESSAGES_MAX: usize = 512;

/// The state of one connection.
pub struct Session {
    /// The engine.
    pub engine: Arc<Engine>,
    /// Where answers and deliveries go.
    pub outbox: Arc<Outbox>,
    pub(super) work: Work,
    pub(super) transactions: Transactions,
    origin: u64,
    serial: u64,
    batch: Batch,
    /// The batch could not be stored for want of space and waits.
    stalled: bool,
    /// For how long it should not be read, because consumers of what it sends fall behind.
    pause_ms: u64,
    now_ms: u64,
    pub(super) subscriptions: HashMap<u64, Subscribed>,
    pub(super) acknowledgements: Acknowledgements,
}

impl Session {
    /// A session that holds nothing.
    #[must_use]
    pub fn new(engine: Arc<Engine>, outbox: Arc<Outbox>, bounds: super::Bounds) -> Self {
        let origin = engine.next_origin();
        Self {
            engine,
            outbox,
            work: Work::default(),
            transactions: Transactions::new(bounds),
            origin,
            serial: 0,
            batch: Batch::default(),
            stalled: false,
            pause_ms: 0,
            now_ms: 0,
            subscriptions: HashMap::new(),
            acknowledgements: Acknowledgements::default(),
        }
    }

    /// A number that no other connection of this broker ever has.
    #[must_use]
    pub fn origin(&self) -> u64 {
        self.origin
    }

    /// The identity of the next message of this connection.
    pub fn next_id(&mut self) -> MessageId {
        self.serial += 1;
        MessageId {
            origin: self.origin,
            serial: self.serial,
        }
    }

    /// Adds a message to the batch; `answer` goes out when it is enqueued, or synced if it is persistent.
    pub fn send(&mut self, cell: &Arc<Cell>, message: Message, answer: Answer<'_>) {
        let same = self
            .batch
            .cell
            .as_ref()
            .is_some_and(|open| Arc::ptr_eq(open, cell));
        if !same || self.batch.messages.len() >= BATCH_MESSAGES_MAX {
            self.hand_over();
            self.batch.cell = Some(Arc::clone(cell));
        }
        self.batch.messages.push(Arc::new(message));
        self.batch.answers.extend_from_slice(answer);
    }

    /// Hands the batch to its destination. Returns false if there is no space for it: it waits then, and
    /// nothing else may be sent before (SND-5).
    pub fn hand_over(&mut self) -> bool {
        let Some(cell) = &self.batch.cell else {
            return true;
        };
        if self.batch.messages.is_empty() {
            return true;
        }
        let now_ms = self.engine.clock.wall_ms();
        // Removals of others' deliveries, noted while flushing, are not what this client waits for.
        self.work.take_ticket();
        match cell.send(now_ms, &mut self.batch.messages, &mut self.work) {
            Ok(pause_ms) => {
                self.stalled = false;
                self.pause_ms = self.pause_ms.max(pause_ms);
            }
            Err(StoreError::Full) => {
                if !std::mem::replace(&mut self.stalled, true) {
                    tracing::warn!(destination = %cell.destination, "the store is full: a producer waits");
                }
                return false;
            }
            Err(error) => {
                // The journal is dead and the broker is stopping; no receipt goes out.
                tracing::debug!(%error, "batch not stored");
                self.batch.messages.clear();
                self.batch.answers.clear();
                self.outbox.close();
                return true;
            }
        }
        let ticket = self.work.take_ticket();
        if !self.batch.answers.is_empty() {
            self.engine.reply(&self.outbox, ticket, &self.batch.answers);
            self.batch.answers.clear();
        }
        self.engine.run(&mut self.work);
        true
    }

    /// For how many milliseconds this connection should not be read, so that consumers catch up and messages
    /// are still warm when they leave, or so that the disk catches up with what was handed to it. A pause,
    /// never a wait: it ends by itself.
    pub fn take_pause_ms(&mut self) -> u64 {
        let pause_ms = std::mem::take(&mut self.pause_ms);
        if self.engine.is_store_behind() {
            pause_ms.max(1)
        } else {
            pause_ms
        }
    }

    /// Asks to be woken when memory comes free, if it is memory that lacks. A full store is looked at again
    /// from time to time.
    pub fn wait_for_memory(&self) {
        if self.engine.memory.is_full() {
            self.engine.memory.wait(Arc::clone(&self.outbox));
        }
    }

    /// The time, for messages whose sender gives none: that of the batch they came in.
    #[must_use]
    pub fn now_ms(&self) -> u64 {
        self.now_ms
    }

    /// Looks at the clock, once for each batch of input.
    pub fn look_at_clock(&mut self) {
        self.now_ms = self.engine.clock.wall_ms();
    }

    /// Whether a batch waits for space in the store.
    #[must_use]
    pub fn is_stalled(&self) -> bool {
        self.stalled
    }

    /// Answers the client, after everything before it.
    pub fn reply(&mut self, ticket: Option<Ticket>, answer: Answer<'_>) {
        if !answer.is_empty() {
            self.engine.reply(&self.outbox, ticket, answer);
        }
    }

    /// Adds a subscription under `serial`, answers, and lets deliveries flow. The caller has seen to it that
    /// no earlier answer waits, so the answer comes before the first delivery.
    ///
    /// # Errors
    /// The durable subscription is in use, or the journal refused.
    pub fn subscribe(
        &mut self,
        serial: u64,
        request: SubscribeRequest<'_>,
        answer: Answer<'_>,
    ) -> Result<(), DurableError> {
        let SubscribeRequest {
            cell,
            mode,
            window,
            choice,
            encoder,
            durable,
            mut wishes,
        } = request;
        let (subscribed, ticket) = match durable {
            Some(name) => {
                let end = ConsumerEnd {
                    outbox: &self.outbox,
                    encoder,
                    mode,
                    window,
                    origin: self.origin,
                };
                let (durable, ticket) =
                    self.engine
                        .subscribe_durable(&name, cell, &choice, end, &mut self.work)?;
                let id = Some(durable.id);
                (
                    Subscribed {
                        cell: Arc::clone(cell),
                        key: durable.key,
                        durable: id,
                    },
                    ticket,
                )
            }
            None => {
                if cell.destination.kind == Kind::Queue {
                    let filter = self
                        .engine
                        .queue_filter(&choice, &cell.destination, self.origin);
                    wishes.filter = filter.map_err(DurableError::Selector)?;
                }
                let local = || Arc::new(AtomicU64::new(self.origin));
                let selection = self
                    .engine
                    .selection(&choice, &cell.destination, local)
                    .map_err(DurableError::Selector)?;
                let mut state = cell.lock();
                let key = match &mut state.machine {
                    Machine::Queue(queue) => queue.subscribe_as(mode, window, wishes),
                    Machine::Topic(topic) => topic.subscribe(mode, window, selection),
                };
                cell.attach(&mut state, key, &self.outbox, encoder, mode);
                (
                    Subscribed {
                        cell: Arc::clone(cell),
                        key,
                        durable: None,
                    },
                    None,
                )
            }
        };
        self.reply(ticket, answer);
        self.subscriptions.insert(serial, subscribed.clone());
        if ticket.is_none() || answer.is_empty() {
            self.start(&subscribed);
        }
        Ok(())
    }

    /// Lets deliveries of a subscription flow whose answer had to wait for a sync.
    pub fn start_waiting(&mut self, serial: u64) {
        if let Some(subscribed) = self.subscriptions.get(&serial).cloned() {
            self.start(&subscribed);
        }
    }

    fn start(&mut self, subscribed: &Subscribed) {
        let now_ms = self.engine.clock.wall_ms();
        subscribed
            .cell
            .step(&mut self.work, Journaled::default(), |machine, out| {
                State::start(machine, now_ms, subscribed.key, out);
            });
    }

    /// Ends a subscription in good order. Returns false if there is none.
    pub fn unsubscribe(&mut self, serial: u64, answer: Answer<'_>) -> bool {
        if !self.end_subscription(serial, Ending::Orderly) {
            return false;
        }
        // What returned has left nothing to sync.
        self.work.take_ticket();
        self.reply(None, answer);
        true
    }

    /// Removes a durable subscription for good (SUB-7).
    ///
    /// # Errors
    /// It is unknown or in use, or the journal refused.
    pub fn unsubscribe_durable(
        &mut self,
        name: &DurableName,
        answer: Answer<'_>,
    ) -> Result<(), DurableError> {
        let ticket = self.engine.unsubscribe_durable(name, &mut self.work)?;
        let ticket = ticket.max(self.work.take_ticket());
        self.reply(ticket, answer);
        Ok(())
    }

    /// The subscription `serial`.
    #[must_use]
    pub fn subscription(&self, serial: u64) -> Option<&Subscribed> {
        self.subscriptions.get(&serial)
    }

    /// Whether a subscription holds the delivery that `which` names.
    #[must_use]
    pub fn holds(&self, serial: u64, which: Which) -> bool {
        let Some(subscribed) = self.subscriptions.get(&serial) else {
            return false;
        };
        match &subscribed.cell.lock().machine {
            Machine::Queue(queue) => queue.holds(subscribed.key, which),
            Machine::Topic(topic) => topic.holds(subscribed.key, which),
        }
    }

    /// Ends a batch of input: hands the sends over, and lets what all its frames have caused take place in
    /// one go, so that a read full of acknowledgements costs one write.
    pub fn end_batch(&mut self) {
        self.hand_over();
        self.engine.run(&mut self.work);
    }

    /// Writes what waits and tells destinations what has left.
    pub fn pump(&mut self) {
        self.engine.pump(&self.outbox, &mut self.work);
    }

    /// Ends everything the connection holds: transactions abort, unacked messages return (CON-17).
    pub fn close(&mut self, ending: Ending) {
        self.hand_over();
        self.engine.report(&self.outbox, &mut self.work);
        self.abort_all();
        let serials: Vec<u64> = self.subscriptions.keys().copied().collect();
        for serial in serials {
            self.end_subscription(serial, ending);
        }
        self.engine.run(&mut self.work);
        self.work.take_ticket();
    }

    fn end_subscription(&mut self, serial: u64, ending: Ending) -> bool {
        let Some(Subscribed { cell, key, .. }) = self.subscriptions.remove(&serial) else {
            return false;
        };
        let now_ms = self.engine.clock.wall_ms();
        let mut state = cell.lock();
        Cell::detach(&mut state, key);
        cell.step_locked(
            &mut state,
            &mut self.work,
            Journaled::default(),
            |machine, out| match machine {
                Machine::Queue(queue) => queue.unsubscribe(now_ms, key, ending, out),
                Machine::Topic(topic) => topic.unsubscribe(key, ending, out),
            },
        );
        true
    }
}

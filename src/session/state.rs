//! What a connection holds in the broker, and what it may ask of it.
//!
//! Consecutive sends to one destination are one batch: one lock, one journal entry, one flush. Everything
//! else first hands the batch over, so the order of frames is the order of effects.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use crate::engine::{StoreError, Ticket};

use super::acknowledgements::Acknowledgements;
use super::once::{Once, Twofold};
use super::presence::Presence;
use super::stalled::Stalled;
use super::transactions::Transactions;
use crate::broker::dedup::DedupId;
use crate::broker::policy::Usage;
use crate::broker::rising::Rising;
use crate::broker::{Destination, Ending, Kind, Message, MessageId, Pattern, Room, Which};
use crate::engine::Engine;
use crate::engine::cell::{Cell, Work};
use crate::engine::commit::Transaction;
use crate::engine::dedup::Guard;
use crate::engine::durables::{ConsumerEnd, DurableError, DurableName};
use crate::engine::feeds::{Blueprint, Feed, Feeds};
use crate::engine::outbox::{Consumer, Ended, Outbox};
use crate::engine::policy::{Admission, Pending};
use crate::engine::shared::SharedError;
use crate::engine::spread::Routed;

/// An answer, rendered by the adapter; empty if the client asked for none.
pub type Answer<'a> = &'a [u8];

/// A subscription of this connection.
#[derive(Clone)]
pub enum Subscribed {
    /// To one destination.
    One(Feed),
    /// To several.
    Many(Arc<Feeds>),
}

/// Where the index of a feed begins in the serial that names it; below is the serial of the subscription.
const FEED_SHIFT: u32 = 32;

/// The serial of the feed `index` of the subscription `serial`, by which its deliveries are acknowledged.
#[must_use]
pub fn feed_serial(serial: u64, index: u64) -> u64 {
    serial | index << FEED_SHIFT
}

/// Subscription and index of the feed that `serial` names.
pub(super) fn split_serial(serial: u64) -> (u64, u64) {
    (serial & ((1 << FEED_SHIFT) - 1), serial >> FEED_SHIFT)
}

/// What a new subscription asks for.
pub struct SubscribeRequest {
    /// The destinations; at least one, or a pattern.
    pub cells: Vec<Arc<Cell>>,
    /// All destinations that match one of these, too.
    pub patterns: Vec<(Kind, Pattern)>,
    /// What its consumers are like.
    pub blueprint: Blueprint,
    /// The name of the durable subscription, if it is one; then all are topics.
    pub durable: Option<DurableName>,
    /// The sync before which it may not be there after a restart; the answer waits for it.
    pub after: Option<Ticket>,
}

#[derive(Default)]
pub(super) struct Batch {
    cell: Option<Arc<Cell>>,
    messages: Vec<Arc<Message>>,
    /// Ids of some of `messages`, by their place.
    ids: Vec<(usize, DedupId)>,
    /// Messages for several destinations each; either these or `messages`.
    spread: Transaction,
    /// How much of all that goes to destinations with limits.
    pending: Pending,
    answers: Vec<u8>,
    /// Which of `answers` are others if their message comes again.
    twofold: Twofold,
}

impl Batch {
    /// Where its messages go.
    pub(super) fn cells(&self) -> Vec<Arc<Cell>> {
        let sent = self.spread.sends.iter().map(|send| &send.cell);
        let guarded = self.spread.guarded.iter().map(|guarded| &guarded.to);
        self.cell
            .iter()
            .chain(sent)
            .chain(guarded)
            .cloned()
            .collect()
    }

    /// How many messages it holds, and their octets.
    pub(super) fn size(&self) -> (u64, u64) {
        let sent = self.spread.sends.iter().map(|send| &send.message);
        let bytes = self.messages.iter().chain(sent);
        bytes.fold((0, 0), |(count, bytes), message| {
            (count + 1, bytes + message.memory_bytes())
        })
    }

    /// Adds the answer of a message: `again` if all of `ids` come again.
    fn answer_once(&mut self, ids: Range<usize>, again: Answer<'_>, answer: Answer<'_>) {
        let at = self.answers.len();
        self.answers.extend_from_slice(answer);
        self.twofold.note(ids, at..self.answers.len(), again);
    }
}

/// A message that goes where it was sent to, and nowhere else.
fn routed(cell: &Arc<Cell>, message: Arc<Message>) -> Routed {
    Routed {
        cell: Arc::clone(cell),
        message,
        may_drop: false,
        named: 0,
    }
}

/// What became of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Handed {
    /// It is where it was to go, or the broker is about to stop.
    Done,
    /// The store has no room for it.
    NoRoom,
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
    pub(super) origin: u64,
    serial: u64,
    pub(super) batch: Batch,
    /// Batches that found no room in the store.
    pub(super) stalled: VecDeque<Stalled>,
    /// For how long it should not be read, because consumers of what it sends fall behind.
    pause_ms: u64,
    now_ms: u64,
    pub(super) subscriptions: Rising<Subscribed>,
    pub(super) acknowledgements: Acknowledgements,
    /// Destinations that live with this connection.
    pub(super) temporaries: Vec<Destination>,
    pub(super) presence: Presence,
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
            stalled: VecDeque::new(),
            pause_ms: 0,
            now_ms: 0,
            subscriptions: Rising::default(),
            acknowledgements: Acknowledgements::default(),
            temporaries: Vec::new(),
            presence: Presence::default(),
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

    /// Adds a message for a destination without routes to the batch; `answer` goes out when it is enqueued, or synced if it is persistent.
    pub fn send(&mut self, cell: &Arc<Cell>, message: Message, answer: Answer<'_>) {
        self.join_batch(cell);
        self.batch.pending.add(cell, &message);
        let message = Arc::new(message);
        match self.batch.cell {
            Some(_) => self.batch.messages.push(message),
            None => self.batch.spread.sends.push(routed(cell, message)),
        }
        self.batch.answers.extend_from_slice(answer);
    }

    /// Sees to it that the batch is for `cell`, if it can be.
    #[inline]
    fn join_batch(&mut self, cell: &Arc<Cell>) {
        let same = self
            .batch
            .cell
            .as_ref()
            .is_some_and(|open| Arc::ptr_eq(open, cell));
        if !same || self.batch.messages.len() >= BATCH_MESSAGES_MAX {
            self.begin_batch(Some(cell));
        }
    }

    /// Adds a message for a destination without routes, which takes it only if it does not come again (SND-6); `answer` as
    /// for [`Session::send`], and `once.again` if it was not taken.
    pub fn send_once(
        &mut self,
        cell: &Arc<Cell>,
        mut message: Message,
        once: Once<'_>,
        answer: Answer<'_>,
    ) {
        self.join_batch(cell);
        let batch = &mut self.batch;
        batch.pending.add(cell, &message);
        let ids = if batch.cell.is_some() {
            batch.ids.push((batch.messages.len(), once.id));
            batch.messages.push(Arc::new(message));
            batch.ids.len() - 1..batch.ids.len()
        } else {
            message.unpin();
            let guard = Guard {
                cells: std::slice::from_ref(cell),
                id: once.id,
                persistent: message.is_persistent(),
            };
            let send = routed(cell, Arc::new(message));
            batch.spread.add_once(guard, vec![send])
        };
        batch.answer_once(ids, once.again, answer);
    }

    /// Hands the batch over and begins one for `cell`, or for several.
    fn begin_batch(&mut self, cell: Option<&Arc<Cell>>) {
        self.hand_over();
        self.batch.cell = cell.cloned();
    }

    /// Where a message for `cells` goes, copies included (DST-4, VIR-1).
    #[must_use]
    pub fn spread(&self, cells: &[Arc<Cell>], mut message: Message) -> Vec<Routed> {
        // Who is last to hold it cannot be known.
        message.unpin();
        self.engine.spread(cells, message)
    }

    /// Whether a message may come to all of these, with what of the batch is on its way there. Copies that may be dropped
    /// are, where there is no room.
    #[must_use]
    pub fn admit(&self, sends: &mut Vec<Routed>) -> Admission {
        self.engine
            .admit(sends, false, |cell| self.pending_for(cell))
    }

    /// Adds a message for several destinations to the batch: one copy to each, in one step of the journal (DST-4, SND-4).
    /// `answer` as for [`Session::send`].
    pub fn send_to_all(&mut self, sends: Vec<Routed>, answer: Answer<'_>) {
        self.join_spread(&sends);
        self.batch.spread.sends.extend(sends);
        self.batch.answers.extend_from_slice(answer);
    }

    /// The same for a message that each of the destinations it was sent to takes only if it does not come again (SND-6);
    /// the answer is `again` if it was taken nowhere.
    pub fn send_to_all_once(
        &mut self,
        sends: Vec<Routed>,
        guard: Guard<'_>,
        again: Answer<'_>,
        answer: Answer<'_>,
    ) {
        self.join_spread(&sends);
        let ids = self.batch.spread.add_once(guard, sends);
        self.batch.answer_once(ids, again, answer);
    }

    /// Sees to it that the batch is for several destinations, of which these messages are on their way to theirs.
    fn join_spread(&mut self, sends: &[Routed]) {
        if self.batch.cell.is_some() || self.batch.spread.len() >= BATCH_MESSAGES_MAX {
            self.begin_batch(None);
        }
        for send in sends {
            self.batch.pending.add(&send.cell, &send.message);
        }
    }

    /// What of the batch is on its way to `cell`, for its limits.
    #[must_use]
    pub fn pending_for(&self, cell: &Cell) -> Usage {
        self.batch.pending.of(cell)
    }

    /// Hands the batch to its destination. If there is no space for it, it is set aside, and nothing else may be sent to
    /// its destinations before it (SND-5).
    pub fn hand_over(&mut self) {
        if self.hand_batch() == Handed::NoRoom {
            self.stall();
        }
    }

    /// Hands the batch to its destination; for which there is no room stays as it is.
    pub(super) fn hand_batch(&mut self) -> Handed {
        if self.batch.messages.is_empty() && self.batch.spread.is_empty() {
            // A message may have come to nobody.
            self.answer_batch(None, &[]);
            return Handed::Done;
        }
        let now_ms = self.engine.clock.wall_ms();
        // Removals of others' deliveries, noted while flushing, are not what this client waits for.
        self.work.take_ticket();
        let mut again = Vec::new();
        let sent = match &self.batch.cell {
            Some(cell) if self.batch.ids.is_empty() => {
                cell.send(now_ms, &mut self.batch.messages, &mut self.work)
            }
            Some(cell) => {
                let (messages, ids) = (&mut self.batch.messages, &self.batch.ids);
                let sent = cell.send_once(now_ms, messages, ids, &mut self.work);
                sent.map(|(pause_ms, found)| {
                    again = found;
                    pause_ms
                })
            }
            None => {
                let spread = std::mem::take(&mut self.batch.spread);
                let sent = self.engine.commit_admitted(spread, &mut self.work);
                let sent = sent.map_err(|(spread, error)| {
                    self.batch.spread = *spread;
                    error
                });
                sent.map(|found| {
                    again = found;
                    0
                })
            }
        };
        match sent {
            Ok(pause_ms) => self.pause_ms = self.pause_ms.max(pause_ms),
            Err(StoreError::Full) => return Handed::NoRoom,
            Err(error) => {
                // The journal is dead and the broker is stopping; no receipt goes out.
                tracing::debug!(%error, "batch not stored");
                self.batch = Batch::default();
                self.outbox.close();
                return Handed::Done;
            }
        }
        self.batch.pending.clear();
        let ticket = self.work.take_ticket();
        self.batch.ids.clear();
        self.answer_batch(ticket, &again);
        self.engine.run(&mut self.work);
        Handed::Done
    }

    /// Answers what the batch has come to; `again` tells of each id whether it came again.
    fn answer_batch(&mut self, ticket: Option<Ticket>, again: &[bool]) {
        self.batch.twofold.settle(again, &mut self.batch.answers);
        if !self.batch.answers.is_empty() {
            self.engine.reply(&self.outbox, ticket, &self.batch.answers);
            self.batch.answers.clear();
        }
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

    /// The time, for messages whose sender gives none: that of the batch they came in.
    #[must_use]
    pub fn now_ms(&self) -> u64 {
        self.now_ms
    }

    /// Looks at the clock, once for each batch of input.
    pub fn look_at_clock(&mut self) {
        self.now_ms = self.engine.clock.wall_ms();
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
        request: SubscribeRequest,
        answer: Answer<'_>,
    ) -> Result<(), DurableError> {
        let mut request = request;
        request.blueprint.facts = self.consumer_facts(serial, &request);
        let facts = request.blueprint.facts.clone();
        let listens = self.begin_listening(&request);
        let (subscribed, ticket) = self.connect_consumers(request).inspect_err(|_| {
            if listens {
                self.engine.end_listening();
            }
        })?;
        self.reply(ticket, answer);
        self.subscriptions.insert(serial, subscribed.clone());
        if ticket.is_none() || answer.is_empty() {
            self.start(&subscribed);
        }
        self.consumer_came(serial, &subscribed, facts.as_ref(), listens);
        Ok(())
    }

    /// Makes the consumers that a subscription asks for; nothing flows to them yet.
    fn connect_consumers(
        &mut self,
        request: SubscribeRequest,
    ) -> Result<(Subscribed, Option<Ticket>), DurableError> {
        let SubscribeRequest {
            cells,
            patterns,
            blueprint,
            durable,
            after,
        } = request;
        let after = after.max(self.engine.define_consumer_queues(&cells)?);
        let connected = match (durable, &cells[..], &patterns[..]) {
            (Some(name), [cell], []) => self.subscribe_durable(cell, &name, &blueprint)?,
            (Some(name), ..) => self.subscribe_wide(&name, &cells, patterns, blueprint)?,
            (None, [cell], []) => {
                let encoder = (blueprint.encode)(&cell.destination, 0);
                let feed = self
                    .engine
                    .add_consumer(cell, &blueprint, &self.outbox, encoder, None)
                    .map_err(DurableError::Selector)?;
                (Subscribed::One(feed), after)
            }
            _ => {
                // What is refused for one is refused for all, before there is any.
                self.engine
                    .filter_of(&blueprint.choice, &Destination::queue(""))
                    .map_err(DurableError::Selector)?;
                let (engine, outbox) = (&self.engine, &self.outbox);
                let feeds = Arc::new(Feeds::new(engine, outbox, blueprint, patterns, None));
                self.engine.feed(&feeds, &cells);
                (Subscribed::Many(feeds), after)
            }
        };
        Ok(connected)
    }

    fn subscribe_durable(
        &mut self,
        cell: &Arc<Cell>,
        name: &DurableName,
        blueprint: &Blueprint,
    ) -> Result<(Subscribed, Option<Ticket>), DurableError> {
        let end = ConsumerEnd {
            outbox: &self.outbox,
            encoder: (blueprint.encode)(&cell.destination, 0),
            mode: blueprint.mode,
            window: (blueprint.window)(cell),
            origin: self.origin,
        };
        let choice = &blueprint.choice;
        let (durable, ticket) =
            self.engine
                .subscribe_durable(name, cell, choice, end, &mut self.work)?;
        let feed = Feed {
            cell: Arc::clone(cell),
            key: durable.key,
            durable: Some(durable.id),
        };
        Ok((Subscribed::One(feed), ticket))
    }

    fn subscribe_wide(
        &mut self,
        name: &DurableName,
        cells: &[Arc<Cell>],
        patterns: Vec<(Kind, Pattern)>,
        blueprint: Blueprint,
    ) -> Result<(Subscribed, Option<Ticket>), DurableError> {
        let names = patterns.iter().map(|(_, pattern)| pattern.clone());
        let (wide, ticket) = self.engine.subscribe_wide(
            name,
            (cells, names.collect()),
            (&blueprint.choice, self.origin),
            &mut self.work,
        )?;
        let (engine, outbox, durable) = (&self.engine, &self.outbox, Some(wide));
        let feeds = Arc::new(Feeds::new(engine, outbox, blueprint, patterns, durable));
        self.engine.feed(&feeds, cells);
        Ok((Subscribed::Many(feeds), ticket))
    }

    /// Lets deliveries of a subscription flow whose answer had to wait for a sync.
    pub fn start_waiting(&mut self, serial: u64) {
        if let Some(subscribed) = self.subscriptions.get(serial).cloned() {
            self.start(&subscribed);
        }
    }

    fn start(&mut self, subscribed: &Subscribed) {
        let now_ms = self.engine.clock.wall_ms();
        match subscribed {
            Subscribed::One(feed) => feed.start(now_ms, &mut self.work),
            Subscribed::Many(feeds) => feeds.start(now_ms, &mut self.work),
        }
    }

    /// Changes the window of a subscription (PRE-4); of one to several destinations that of each. Returns how many messages
    /// it held before.
    pub fn set_room(&mut self, serial: u64, room: Room) -> usize {
        let now_ms = self.engine.clock.wall_ms();
        match self.subscriptions.get(serial) {
            Some(Subscribed::One(feed)) => feed.set_room(now_ms, room, &mut self.work),
            Some(Subscribed::Many(feeds)) => feeds.set_room(now_ms, room, &mut self.work),
            None => 0,
        }
    }

    /// Ends a subscription in good order. Returns false if there is none.
    pub fn unsubscribe(&mut self, serial: u64, answer: Answer<'_>) -> bool {
        self.unsubscribe_as(serial, Ending::Orderly, answer)
    }

    /// Ends a subscription. Returns false if there is none.
    pub fn unsubscribe_as(&mut self, serial: u64, ending: Ending, answer: Answer<'_>) -> bool {
        if !self.end_subscription(serial, ending) {
            return false;
        }
        // What returned has left nothing to sync.
        self.work.take_ticket();
        self.reply(None, answer);
        true
    }

    /// The subscriptions that the broker has ended of its own accord: which, on what, why, and whether the connection ends
    /// with it (SLO-2).
    pub fn take_ended(&self) -> Vec<(u64, Ended)> {
        let serial = |ended: Ended| {
            let Consumer { cell, key } = &ended.consumer;
            let mut subscriptions = self.subscriptions.iter();
            let found = subscriptions.find(|(_, subscribed)| match subscribed {
                Subscribed::One(feed) => feed.is(cell, *key),
                Subscribed::Many(feeds) => feeds.has(cell, *key),
            });
            found.map(|(serial, _)| (serial, ended))
        };
        self.outbox
            .take_ended()
            .into_iter()
            .filter_map(serial)
            .collect()
    }

    /// Ends a subscription whose consumer counts as dead: its oldest unacknowledged message as failed (RED-6), so that one
    /// that stops each of its consumers does not go round for ever.
    pub fn abort_subscription(&mut self, serial: u64) {
        self.end_subscription(serial, Ending::Died);
        // What returned has left nothing to sync.
        self.work.take_ticket();
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

    /// Removes a shared durable subscription for good.
    ///
    /// # Errors
    /// It is unknown or has consumers, or the journal refused.
    pub fn remove_shared(
        &mut self,
        topic: &Destination,
        name: &str,
        answer: Answer<'_>,
    ) -> Result<(), SharedError> {
        self.work.take_ticket();
        self.engine.remove_shared(topic, name, &mut self.work)?;
        let ticket = self.work.take_ticket();
        self.reply(ticket, answer);
        Ok(())
    }

    /// The subscription that `serial` names, or a feed of which it names.
    #[must_use]
    pub fn subscription(&self, serial: u64) -> Option<&Subscribed> {
        let (subscription, feed) = split_serial(serial);
        let found = self.subscriptions.get(subscription)?;
        (feed == 0 || matches!(found, Subscribed::Many(_))).then_some(found)
    }

    /// Whether a subscription holds the delivery that `which` names.
    #[must_use]
    pub fn holds(&self, serial: u64, which: Which) -> bool {
        match self.subscription(serial) {
            Some(Subscribed::One(feed)) => feed.find(which).is_some(),
            Some(Subscribed::Many(feeds)) => {
                feeds.concerned(split_serial(serial).1, which).is_some()
            }
            None => false,
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
        self.retry_stalled();
        // Nobody was told of what found no room until now.
        self.stalled.clear();
        self.engine.report(&self.outbox, &mut self.work);
        self.abort_all();
        let serials: Vec<u64> = self
            .subscriptions
            .iter()
            .map(|(serial, _)| serial)
            .collect();
        for serial in serials {
            self.end_subscription(serial, ending);
        }
        self.producers_left();
        self.remove_temporaries();
        self.logged_out();
        self.engine.run(&mut self.work);
        self.work.take_ticket();
    }

    fn end_subscription(&mut self, serial: u64, ending: Ending) -> bool {
        let Some(subscribed) = self.subscriptions.remove(serial) else {
            return false;
        };
        let now_ms = self.engine.clock.wall_ms();
        match subscribed {
            Subscribed::One(feed) => feed.end(now_ms, ending, &mut self.work),
            Subscribed::Many(feeds) => {
                self.engine.registry.unwatch(&feeds);
                feeds.end(now_ms, ending, &mut self.work);
            }
        }
        self.consumer_left(serial);
        true
    }
}

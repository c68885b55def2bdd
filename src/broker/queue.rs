//! A queue: each message goes to one consumer, in order of arrival (SUB-10).

use std::collections::VecDeque;
use std::sync::Arc;

use slotmap::{SecondaryMap, SlotMap};

use super::delivery::{Ack, AckMode, Delivery, Ending, Entry, Which};
use super::log::Log;
use super::message::{Locator, Message};
use super::outlet::{Flow, Outgoing, Outlet, Rejected};
use super::paging::Paging;
use super::redelivery::{Failure, expired_cause};
use super::stats::Stats;
use super::subscription::{Subscription, SubscriptionKey, Window};

mod policy;

pub use policy::{GroupRebalance, QueuePolicy};

/// From this many octets on a message that joins the log gives back the buffer it came in; below, it will
/// leave so soon that copying it is a waste.
const UNPIN_BYTES: u64 = 8 << 20;

/// A message on its way into a destination.
#[derive(Debug)]
pub struct Incoming {
    /// Its place; sequences are reserved before (`reserve`).
    pub sequence: u64,
    /// The message and where it is stored.
    pub entry: Entry,
}

/// The state machine of one queue.
#[derive(Debug)]
pub struct Queue {
    log: Log<Entry>,
    next_sequence: u64,
    subscriptions: SlotMap<SubscriptionKey, Subscription>,
    /// Subscriptions in turn for the next message, round robin (PRE-5). One that lost its credit leaves
    /// when its turn comes; `in_turn` of a key says whether it is here.
    turn: VecDeque<SubscriptionKey>,
    in_turn: SecondaryMap<SubscriptionKey, ()>,
    paging: Paging,
    policy: QueuePolicy,
    /// Deliveries in the hands of transactions.
    in_transactions: usize,
    /// Counters since start.
    pub stats: Stats,
    /// Scratch for acknowledgements.
    taken: Vec<Delivery>,
}

impl Queue {
    /// An empty queue whose next message gets `next_sequence`; `window_bytes` of its backlog stay in memory.
    #[must_use]
    pub fn new(next_sequence: u64, window_bytes: u64, policy: QueuePolicy) -> Self {
        Self {
            log: Log::default(),
            next_sequence,
            subscriptions: SlotMap::with_key(),
            turn: VecDeque::new(),
            in_turn: SecondaryMap::new(),
            paging: Paging::new(window_bytes),
            policy,
            in_transactions: 0,
            stats: Stats::default(),
            taken: Vec::new(),
        }
    }

    /// Changes the rules; what is in the queue stays and follows the new ones.
    pub fn set_policy(&mut self, policy: QueuePolicy) {
        self.policy = policy;
    }

    /// Reserves `count` places at the end; returns the first. A reserved place may stay empty.
    pub fn reserve(&mut self, count: u64) -> u64 {
        let first = self.next_sequence;
        self.next_sequence += count;
        first
    }

    /// Learns how far the store has synced, so that stored messages may leave memory.
    pub fn set_durable(&mut self, durable: Option<Locator>) {
        self.paging.set_durable(durable);
    }

    /// Takes a message in at its reserved place and delivers what can be delivered.
    pub fn push(&mut self, now_ms: u64, incoming: Incoming, out: &mut impl Outlet) {
        self.stats.enqueued += 1;
        let Incoming { sequence, entry } = incoming;
        debug_assert!(sequence < self.next_sequence, "places are reserved before");
        if entry.message.is_some() {
            self.paging.joined(sequence, u64::from(entry.bytes.get()));
        }
        if self.log.is_empty()
            && entry.message.is_some()
            && let Some(key) = self.next_willing()
        {
            self.hand_out(now_ms, key, sequence, entry, out);
            if self.log.is_empty() {
                return;
            }
        } else {
            self.insert(sequence, entry);
        }
        self.dispatch(now_ms, out);
    }

    /// Adds a message at start, without delivering anything.
    pub fn recover(&mut self, sequence: u64, entry: Entry) {
        self.insert(sequence, entry);
    }

    /// Adds a consumer. Nothing is delivered to it before [`Queue::resume`], so that its client can be
    /// answered first.
    pub fn subscribe(&mut self, mode: AckMode, window: Window) -> SubscriptionKey {
        self.subscriptions.insert(Subscription::new(mode, window))
    }

    /// Ends a consumer; what it held returns to its old places, at once (SUB-6, RED-6, RED-8).
    pub fn unsubscribe(
        &mut self,
        now_ms: u64,
        key: SubscriptionKey,
        ending: Ending,
        out: &mut impl Outlet,
    ) {
        let Some(mut subscription) = self.subscriptions.remove(key) else {
            return;
        };
        let mut counts = ending == Ending::Died && subscription.mode != AckMode::Auto;
        while let Some(delivery) = subscription.pop() {
            if counts {
                self.fail(delivery, Failure::ConsumerDied, out);
            } else {
                self.put_back(delivery);
            }
            counts = false;
        }
        self.forget_turns();
        self.dispatch(now_ms, out);
    }

    /// Says that the socket has taken the last octet of the next `count` deliveries of an `auto` consumer.
    pub fn written(&mut self, key: SubscriptionKey, count: u64, out: &mut impl Outlet) {
        let Some(subscription) = self.subscriptions.get_mut(key) else {
            return;
        };
        for _ in 0..count {
            let Some(delivery) = subscription.pop() else {
                break;
            };
            settle(&mut self.stats, &mut self.paging, &delivery, out);
        }
    }

    /// Gives a consumer its credit: at its start, and after its connection has drained.
    pub fn resume(&mut self, now_ms: u64, key: SubscriptionKey, out: &mut impl Outlet) {
        if let Some(subscription) = self.subscriptions.get_mut(key) {
            subscription.set_blocked(false);
            self.join_turn(key);
            self.dispatch(now_ms, out);
        }
    }

    /// Applies an acknowledgement. Returns false if no such delivery waits (ACK-3).
    pub fn acknowledge(
        &mut self,
        now_ms: u64,
        key: SubscriptionKey,
        which: Which,
        ack: Ack,
        out: &mut impl Outlet,
    ) -> bool {
        let mut taken = std::mem::take(&mut self.taken);
        let known = self.take_into(key, which, &mut taken);
        self.finish(taken.drain(..), ack, out);
        self.taken = taken;
        if known {
            self.join_turn(key);
            self.dispatch(now_ms, out);
        }
        known
    }

    /// Whether the consumer `key` holds the delivery that `which` names.
    #[must_use]
    pub fn holds(&self, key: SubscriptionKey, which: Which) -> bool {
        let subscription = self.subscriptions.get(key);
        subscription.is_some_and(|subscription| subscription.unacked.find(which).is_some())
    }

    /// Takes the deliveries that `which` names out of the consumer's hands and gives them to a transaction,
    /// which frees their room in the window (TX-6). `None` if no such delivery waits.
    pub fn take(
        &mut self,
        now_ms: u64,
        key: SubscriptionKey,
        which: Which,
        out: &mut impl Outlet,
    ) -> Option<Vec<Delivery>> {
        let mut taken = Vec::new();
        if !self.take_into(key, which, &mut taken) {
            return None;
        }
        self.in_transactions += taken.len();
        self.join_turn(key);
        self.dispatch(now_ms, out);
        Some(taken)
    }

    /// Ends deliveries that a transaction had taken, at its commit.
    pub fn commit(&mut self, now_ms: u64, taken: Vec<Delivery>, ack: Ack, out: &mut impl Outlet) {
        self.in_transactions -= taken.len();
        self.finish(taken.into_iter(), ack, out);
        self.dispatch(now_ms, out);
    }

    /// Gives deliveries back that a transaction had taken, at its abort: to the consumer if it is still
    /// there (ACK-6), else to their old places.
    pub fn restore(
        &mut self,
        now_ms: u64,
        key: SubscriptionKey,
        taken: Vec<Delivery>,
        out: &mut impl Outlet,
    ) {
        self.in_transactions -= taken.len();
        match self.subscriptions.get_mut(key) {
            Some(subscription) => taken
                .into_iter()
                .for_each(|delivery| subscription.restore(delivery)),
            None => taken
                .into_iter()
                .for_each(|delivery| self.put_back(delivery)),
        }
        self.dispatch(now_ms, out);
    }

    /// Takes a rejected message back to its old place, because its dead letter could not be stored. Nothing
    /// is delivered here: it would be rejected again at once, and again.
    pub fn take_back(&mut self, rejected: Rejected) {
        let Rejected {
            sequence,
            mut entry,
            expired,
            ..
        } = rejected;
        self.stats.dequeued -= 1;
        self.stats.expired -= u64::from(expired);
        self.stats.dead_lettered -= u64::from(!expired);
        entry.redelivered |= !expired;
        if entry.message.is_some() {
            self.paging.held_bytes += u64::from(entry.bytes.get());
        }
        self.insert(sequence, entry);
    }

    /// Takes a message that was asked back from the store; `None` if the store has lost it.
    pub fn loaded(
        &mut self,
        now_ms: u64,
        sequence: u64,
        message: Option<Arc<Message>>,
        out: &mut impl Outlet,
    ) {
        let before = self.log.len();
        let complete = self.paging.loaded(&mut self.log, sequence, message);
        self.stats.dequeued += (before - self.log.len()) as u64;
        if complete {
            self.dispatch(now_ms, out);
        }
    }

    /// A message that was asked back could not be read now; a later step asks again.
    pub fn unread(&mut self) {
        self.paging.unread();
    }

    /// Delivers what can be delivered.
    pub fn dispatch(&mut self, now_ms: u64, out: &mut impl Outlet) {
        while let Some(head) = self.log.first() {
            if self
                .log
                .get(head)
                .is_some_and(|entry| entry.message.is_none())
            {
                if self.next_willing().is_some() {
                    self.paging.fetch(&self.log, out);
                }
                break;
            }
            let Some(key) = self.next_willing() else {
                break;
            };
            let Some((sequence, entry)) = self.log.pop_first() else {
                break;
            };
            self.hand_out(now_ms, key, sequence, entry, out);
        }
        self.paging.page_out(&mut self.log);
    }

    /// Messages that are in the queue and not acknowledged: in flight ones and those acknowledged in a
    /// transaction that is still open (TX-6) included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.log.len()
            + self.in_transactions
            + self
                .subscriptions
                .values()
                .map(|subscription| subscription.unacked.len())
                .sum::<usize>()
    }

    /// Whether the queue holds no message.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Octets of the messages acknowledged since the last call.
    pub fn take_drained_bytes(&mut self) -> u64 {
        std::mem::take(&mut self.paging.drained_bytes)
    }

    /// Octets of messages held in memory.
    #[must_use]
    pub fn held_bytes(&self) -> u64 {
        self.paging.held_bytes
    }

    /// Everything the queue holds in order, ready and in flight, for a clean stop.
    pub fn entries(&self) -> impl Iterator<Item = (u64, &Entry)> {
        let unacked = self
            .subscriptions
            .values()
            .flat_map(|subscription| subscription.unacked.iter());
        self.log
            .iter()
            .chain(unacked.map(|delivery| (delivery.sequence, &delivery.entry)))
    }

    fn hand_out(
        &mut self,
        now_ms: u64,
        key: SubscriptionKey,
        sequence: u64,
        entry: Entry,
        out: &mut impl Outlet,
    ) {
        let Some(message) = &entry.message else {
            return;
        };
        if message.is_expired(now_ms) {
            self.expire(sequence, entry, out);
            return;
        }
        let subscription = &mut self.subscriptions[key];
        let number = subscription.number_next();
        let outgoing = Outgoing {
            message,
            number,
            redelivered: entry.redelivered,
            redeliveries: entry.redeliveries,
        };
        let flow = out.deliver(key, &outgoing);
        if flow == Flow::Refused {
            subscription.set_blocked(true);
            self.insert(sequence, entry);
            return;
        }
        let id = message.id;
        subscription.hold(Delivery {
            number,
            sequence,
            id,
            entry,
        });
        if flow == Flow::Full {
            subscription.set_blocked(true);
        }
        self.stats.dispatched += 1;
        if let Some(durable) = self.paging.pressing() {
            self.paging.held_bytes -= subscription.unacked.shed(durable);
        }
        // The consumer had its turn.
        if let Some(key) = self.turn.pop_front() {
            self.turn.push_back(key);
        }
        self.paging.fetch(&self.log, out);
    }

    /// The consumer whose turn it is and who has credit. Those without leave the round; they join again
    /// when they get credit.
    fn next_willing(&mut self) -> Option<SubscriptionKey> {
        while let Some(&key) = self.turn.front() {
            if self
                .subscriptions
                .get(key)
                .is_some_and(Subscription::has_credit)
            {
                return Some(key);
            }
            self.turn.pop_front();
            self.in_turn.remove(key);
        }
        None
    }

    fn join_turn(&mut self, key: SubscriptionKey) {
        if self
            .subscriptions
            .get(key)
            .is_some_and(Subscription::has_credit)
            && self.in_turn.insert(key, ()).is_none()
        {
            self.turn.push_back(key);
        }
    }

    /// Lets go the places of consumers that have gone, once they are most of the round. Without messages
    /// nobody has a turn, so they would gather for as long as consumers come and go.
    fn forget_turns(&mut self) {
        if self.turn.len() > 2 * self.subscriptions.len() + 16 {
            self.turn
                .retain(|key| self.subscriptions.contains_key(*key));
        }
    }

    fn take_into(&mut self, key: SubscriptionKey, which: Which, taken: &mut Vec<Delivery>) -> bool {
        let Some(subscription) = self.subscriptions.get_mut(key) else {
            return false;
        };
        if subscription.mode == AckMode::Auto {
            return false;
        }
        let Some(number) = subscription.unacked.find(which) else {
            return false;
        };
        subscription.take(number, taken);
        true
    }

    fn finish(&mut self, taken: impl Iterator<Item = Delivery>, ack: Ack, out: &mut impl Outlet) {
        for delivery in taken {
            match ack {
                Ack::Consumed => settle(&mut self.stats, &mut self.paging, &delivery, out),
                Ack::Failed => self.fail(delivery, Failure::Nack, out),
                Ack::Refused => self.fail(delivery, Failure::Refused, out),
                Ack::Requeued => self.put_back(delivery),
            }
        }
    }

    fn fail(&mut self, mut delivery: Delivery, failure: Failure, out: &mut impl Outlet) {
        let entry = &mut delivery.entry;
        entry.redeliveries = entry.redeliveries.saturating_add(1);
        let verdict = self.policy.redelivery.verdict(entry.redeliveries, failure);
        if let Some(cause) = verdict.filter(|_| !self.policy.is_dead_letter_queue) {
            self.reject(delivery.sequence, delivery.entry, cause, false, out);
            return;
        }
        if let Some(at) = entry.at {
            out.redelivered(delivery.sequence, at, entry.redeliveries);
        }
        self.put_back(delivery);
    }

    fn put_back(&mut self, mut delivery: Delivery) {
        delivery.entry.redelivered = true;
        self.insert(delivery.sequence, delivery.entry);
    }

    fn insert(&mut self, sequence: u64, mut entry: Entry) {
        match &mut entry.message {
            None => self.paging.joined_paged(),
            Some(message) if self.paging.held_bytes > UNPIN_BYTES => {
                // Not yet shared with anybody, so this always succeeds for a message that just came.
                if let Some(message) = Arc::get_mut(message) {
                    message.unpin();
                }
            }
            Some(_) => {}
        }
        let old = self.log.insert(sequence, entry);
        debug_assert!(old.is_none(), "a message is in one place");
    }

    fn expire(&mut self, sequence: u64, entry: Entry, out: &mut impl Outlet) {
        self.stats.expired += 1;
        let expires_ms = entry
            .message
            .as_ref()
            .map_or(0, |message| message.expires_ms);
        self.reject(sequence, entry, expired_cause(expires_ms), true, out);
    }

    fn reject(
        &mut self,
        sequence: u64,
        entry: Entry,
        cause: String,
        expired: bool,
        out: &mut impl Outlet,
    ) {
        if entry.message.is_some() {
            self.paging.held_bytes -= u64::from(entry.bytes.get());
        }
        self.stats.dequeued += 1;
        self.stats.dead_lettered += u64::from(!expired);
        out.reject(Rejected {
            sequence,
            entry,
            cause,
            expired,
            subscription: None,
            durable: None,
        });
    }
}

/// A delivery is consumed.
fn settle(stats: &mut Stats, paging: &mut Paging, delivery: &Delivery, out: &mut impl Outlet) {
    stats.dequeued += 1;
    paging.drained_bytes += u64::from(delivery.entry.bytes.get());
    if delivery.entry.message.is_some() {
        paging.held_bytes -= u64::from(delivery.entry.bytes.get());
    }
    if let Some(at) = delivery.entry.at {
        out.remove(delivery.sequence, at);
    }
}

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;

//! A topic: each message goes to every subscription, held once for all of them.
//!
//! A subscription that keeps up gets a message straight from `publish`. One that lags (no credit, or a
//! durable one without a consumer) has a cursor into the log; a log entry counts who still refers to it: the
//! laggards, and the durable subscriptions that have not acknowledged it. At zero it goes.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use slotmap::SlotMap;

use super::cold::ColdEntries;
use super::delivery::{Ack, AckMode, Delivery, Ending, Entry, Which};
use super::filter::Filter;
use super::log::{Chill, Log};
use super::message::{Locator, Message};
use super::outlet::{Outlet, Rejected};
use super::paging::end_of_window;
use super::queue::Incoming;
use super::redelivery::{Failure, OnNack, RedeliveryPolicy, expired_cause};
use super::stats::Stats;
use super::subscription::{Subscription, SubscriptionKey, Window};
use subscriber::Subscriber;

mod dispatch;
mod expiry;
mod paging;
mod settle;
mod subscriber;

#[derive(Debug)]
struct Kept {
    entry: Entry,
    refs: u32,
    /// It has expired, and the dead-letter path has it.
    buried: bool,
}

impl Chill for Kept {
    /// The entries, and how many refer to each.
    type Cold = (ColdEntries, u32);

    fn chill(slots: &[Option<Self>]) -> Option<Self::Cold> {
        let refs = slots.iter().flatten().next()?.refs;
        let mut kept = slots.iter().flatten();
        if !kept.all(|kept| kept.refs == refs && !kept.buried) {
            return None;
        }
        let entries = slots
            .iter()
            .map(|kept| kept.as_ref().map(|kept| &kept.entry));
        Some((ColdEntries::new(entries)?, refs))
    }

    fn thawed((entries, refs): &Self::Cold, slot: usize) -> Self {
        Self {
            entry: entries.get(slot),
            refs: *refs,
            buried: false,
        }
    }
}

/// What a subscription wants of a topic; by default everything.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// What passes this.
    pub filter: Option<Arc<dyn Filter>>,
    /// Nothing from the connection with this number, the origin of its messages; it may change.
    pub no_local: Option<Arc<AtomicU64>>,
}

impl Selection {
    fn is_choosy(&self) -> bool {
        self.filter.is_some() || self.no_local.is_some()
    }
}

/// How far a durable subscription had come when it was made, or before the broker was stopped.
#[derive(Debug, Default)]
pub struct Progressed {
    /// It wants everything from here on,
    pub start: u64,
    /// but these.
    pub acknowledged: Vec<u64>,
    /// Failed deliveries of what it has seen and not acknowledged, by sequence.
    pub marks: Vec<(u64, u16)>,
}

/// Bounds of a topic's memory.
#[derive(Clone, Copy, Debug)]
pub struct TopicLimits {
    /// Messages for laggards stay in memory up to this many octets; stored ones leave it beyond.
    pub window_bytes: u64,
    /// A non-durable subscription that lags by more octets than this loses its oldest messages.
    pub slow_bytes_max: u64,
}

/// The state machine of one topic.
#[derive(Debug)]
pub struct Topic {
    log: Log<Kept>,
    next_sequence: u64,
    /// First places of runs that will be filled late; no position may pass them before.
    promised: BTreeSet<u64>,
    subscriptions: SlotMap<SubscriptionKey, Subscriber>,
    durables: usize,
    /// How many of them take everything.
    unfiltered_durables: usize,
    /// How many durable subscriptions have no consumer.
    offline: usize,
    /// When deliveries that failed go out again (RED-3).
    delays: BTreeSet<(u64, u64, SubscriptionKey)>,
    /// When messages of the log expire, while there are durable subscriptions. May name some that have gone.
    expiring: BTreeSet<(u64, u64)>,
    /// Those that have expired and wait for the turn of a consumer.
    overdue: BTreeSet<(u64, u64)>,
    held_bytes: u64,
    /// Octets of what is in the log, in memory or not.
    log_bytes: u64,
    durable_through: Option<Locator>,
    page_from: u64,
    fetching: usize,
    /// Whose turn it was to ask for messages back.
    fetched_for: Option<SubscriptionKey>,
    limits: TopicLimits,
    policy: RedeliveryPolicy,
    on_nack: OnNack,
    /// Counters since start.
    pub stats: Stats,
}

impl Topic {
    /// A topic without subscriptions whose next message gets `next_sequence`.
    #[must_use]
    pub fn new(next_sequence: u64, limits: TopicLimits, policy: RedeliveryPolicy) -> Self {
        Self {
            log: Log::default(),
            next_sequence,
            promised: BTreeSet::new(),
            subscriptions: SlotMap::with_key(),
            durables: 0,
            unfiltered_durables: 0,
            offline: 0,
            delays: BTreeSet::new(),
            expiring: BTreeSet::new(),
            overdue: BTreeSet::new(),
            held_bytes: 0,
            log_bytes: 0,
            durable_through: None,
            page_from: 0,
            fetching: 0,
            fetched_for: None,
            limits,
            policy,
            on_nack: OnNack::default(),
            stats: Stats::default(),
        }
    }

    /// Changes when a delivery has failed too often, and what a NACK does.
    pub fn set_policy(&mut self, policy: RedeliveryPolicy, on_nack: OnNack) {
        (self.policy, self.on_nack) = (policy, on_nack);
    }

    /// Changes how many octets at the head stay in memory; what is beyond leaves with the next step.
    pub fn set_window_bytes(&mut self, window_bytes: u64) {
        let before = std::mem::replace(&mut self.limits.window_bytes, window_bytes);
        if window_bytes < before {
            let end = end_of_window(&self.log, window_bytes, |kept| &kept.entry);
            self.page_from = self.page_from.min(end);
        }
    }

    /// Reserves `count` places; returns the first. A reserved place may stay empty.
    pub fn reserve(&mut self, count: u64) -> u64 {
        let first = self.next_sequence;
        self.next_sequence += count;
        first
    }

    /// Reserves `count` places that are filled after the lock was given up, as COMMIT does; returns the
    /// first. Until [`Topic::keep_promise`] no durable subscription is said to have acknowledged beyond it.
    pub fn promise(&mut self, count: u64) -> u64 {
        let first = self.reserve(count);
        self.promised.insert(first);
        first
    }

    /// The places from `first` on are filled, or never will be.
    pub fn keep_promise(&mut self, first: u64) {
        self.promised.remove(&first);
    }

    /// The place the next message will get.
    #[must_use]
    pub fn next_sequence(&self) -> u64 {
        self.next_sequence
    }

    /// Whether a persistent message must be stored: only a durable subscription outlives the broker.
    #[must_use]
    pub fn has_durables(&self) -> bool {
        self.durables > 0
    }

    /// Whether `message`, if it is persistent, must be stored: some durable subscription wants it.
    #[must_use]
    pub fn is_stored(&self, message: &Message) -> bool {
        self.unfiltered_durables > 0
            || self.durables > 0
                && self
                    .subscriptions
                    .values()
                    .any(|subscriber| subscriber.durable.is_some() && subscriber.selects(message))
    }

    /// Learns how far the store has synced, so that stored messages may leave memory.
    pub fn set_durable(&mut self, durable: Option<Locator>) {
        self.durable_through = self.durable_through.max(durable);
    }

    /// Octets of messages held in memory.
    #[must_use]
    pub fn held_bytes(&self) -> u64 {
        self.held_bytes
    }

    /// How many consumers there are; a durable subscription without one counts as none.
    #[must_use]
    pub fn consumers(&self) -> usize {
        self.subscriptions.len() - self.offline
    }

    /// Consumers that messages wait for although they are here.
    #[must_use]
    pub fn slow_consumers(&self) -> Vec<SubscriptionKey> {
        let slow = self.subscriptions.iter().filter(|(_, subscriber)| {
            subscriber.lag > 0 && subscriber.consumer.is_some() && !subscriber.has_credit()
        });
        slow.map(|(key, _)| key).collect()
    }

    /// Octets of messages that wait for somebody, those on disk included.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.log_bytes
    }

    /// Takes a message in and delivers it to all who can take it now.
    pub fn publish(&mut self, now_ms: u64, incoming: Incoming, out: &mut impl Outlet) {
        self.stats.enqueued += 1;
        let Incoming { sequence, entry } = incoming;
        let bytes = u64::from(entry.bytes.get());
        self.stats.enqueued_bytes += bytes;
        let entry = owned(entry);
        let Some(message) = entry.message.clone() else {
            return;
        };
        if message.is_expired(now_ms) {
            self.stats.expired += 1;
            out.reject(Rejected {
                sequence,
                cause: expired_cause(message.expires_ms),
                expires_ms: message.expires_ms,
                entry,
                expired: true,
                subscription: None,
                durable: None,
            });
            return;
        }
        self.held_bytes += bytes;
        let (mut refs, mut late) = (0, false);
        let mut passed = Vec::new();
        for (key, subscriber) in &mut self.subscriptions {
            let durable = subscriber.durable.is_some();
            if !subscriber.selects(&message) {
                // The position passes over it (SEL-9), once it has come so far.
                if subscriber.lag == 0 {
                    subscriber.cursor = subscriber.cursor.max(sequence + 1);
                }
                // After a restart nobody knows any more whose it was.
                if durable && entry.at.is_some() && subscriber.is_local(&message) {
                    passed.push(key);
                }
                continue;
            }
            if sequence < subscriber.cursor {
                // A place reserved by a transaction, filled after later ones went out, or after this
                // subscription came: what was not stored for it was sent before it.
                if durable && entry.at.is_none() && message.is_persistent() {
                    continue;
                }
                refs += u32::from(durable);
                subscriber.returned.insert(sequence, entry.clone());
                subscriber.keep_open(sequence);
                late = true;
            } else if subscriber.keeps_up()
                && subscriber
                    .hand_out(key, sequence, entry.clone(), out)
                    .is_none()
            {
                subscriber.cursor = sequence + 1;
                self.stats.dispatched += 1;
                refs += u32::from(durable);
            } else {
                subscriber.lag_behind(sequence, bytes);
                refs += 1;
                // Something was taken back, with nobody to see to it.
                late |= subscriber.has_credit();
            }
        }
        for key in passed {
            self.progress(key, &[sequence], out);
        }
        if refs > 0 {
            let kept = Kept {
                entry,
                refs,
                buried: false,
            };
            self.log_bytes += bytes;
            self.log.insert(sequence, kept);
            self.note_expiry(sequence, message.expires_ms);
            if self.held_bytes <= self.limits.window_bytes {
                self.page_from = self.page_from.max(sequence + 1);
            }
        } else {
            if let Some(at) = entry.at {
                out.remove(sequence, at);
            }
            drop(entry);
        }
        self.let_go(Some(message), bytes);
        if late {
            self.dispatch_all(now_ms, out);
        }
        self.discard_for_slow(out);
        self.page_out();
    }

    /// Gives a message to one subscription only, in the place reserved for it. Nothing of it is stored.
    pub fn present(
        &mut self,
        now_ms: u64,
        key: SubscriptionKey,
        incoming: Incoming,
        out: &mut impl Outlet,
    ) {
        let Incoming { sequence, entry } = incoming;
        let entry = owned(entry);
        let Some(subscriber) = self.subscriptions.get_mut(key) else {
            return;
        };
        let selected = entry.message.as_ref();
        if !selected.is_some_and(|message| subscriber.selects(message)) {
            return;
        }
        self.stats.enqueued += 1;
        self.held_bytes += u64::from(entry.bytes.get());
        subscriber.returned.insert(sequence, entry);
        self.dispatch(now_ms, key, out);
    }

    /// Adds a message at start. It is kept for the durable subscriptions recovered before; `message` is needed
    /// where [`Topic::must_read`] says so. Returns whether any of them wants it.
    pub fn recover(
        &mut self,
        sequence: u64,
        entry: Entry,
        expires_ms: u64,
        message: Option<&Message>,
    ) -> bool {
        let mut refs = 0;
        for subscriber in self.subscriptions.values_mut() {
            let selected = message.is_none_or(|message| subscriber.selects(message));
            if selected && subscriber.wants(sequence) {
                refs += 1;
                subscriber.lag_behind(sequence, u64::from(entry.bytes.get()));
            }
        }
        if refs > 0 {
            let kept = Kept {
                entry,
                refs,
                buried: false,
            };
            self.log_bytes += u64::from(kept.entry.bytes.get());
            self.log.insert(sequence, kept);
            self.note_expiry(sequence, expires_ms);
        }
        refs > 0
    }

    /// Whether it takes the message itself to tell for whom the recovered one at `sequence` is: the journal knows how
    /// far a subscription has come, not what its selector passed over on the way.
    #[must_use]
    pub fn must_read(&self, sequence: u64) -> bool {
        self.durables > self.unfiltered_durables
            && self.subscriptions.values().any(|subscriber| {
                subscriber.selection.filter.is_some() && subscriber.wants(sequence)
            })
    }

    /// Adds a non-durable consumer, which sees what is published from now on.
    pub fn subscribe(
        &mut self,
        mode: AckMode,
        window: Window,
        selection: Selection,
    ) -> SubscriptionKey {
        let consumer = Some(Subscription::new(mode, window));
        let mut subscriber = Subscriber::new(None, self.next_sequence, consumer);
        subscriber.selection = selection;
        self.subscriptions.insert(subscriber)
    }

    /// Adds a durable subscription without a consumer.
    pub fn define_durable(
        &mut self,
        id: u32,
        from: Progressed,
        selection: Selection,
    ) -> SubscriptionKey {
        self.durables += 1;
        self.offline += 1;
        self.unfiltered_durables += usize::from(!selection.is_choosy());
        let mut subscriber = Subscriber::new(Some(id), from.start, None);
        subscriber.selection = selection;
        subscriber.acknowledged.extend(from.acknowledged);
        subscriber.marks.extend(from.marks);
        self.subscriptions.insert(subscriber)
    }

    /// Gives a durable subscription its consumer. Returns false if it has one already (SUB-3).
    pub fn activate(&mut self, key: SubscriptionKey, mode: AckMode, window: Window) -> bool {
        match self.subscriptions.get_mut(key) {
            Some(subscriber) if subscriber.consumer.is_none() => {
                let consumer = Subscription::new(mode, window);
                subscriber.consumer = Some(consumer.numbered_from(subscriber.next_number));
                self.offline -= 1;
                true
            }
            _ => false,
        }
    }

    /// Ends a consumer. A durable subscription stays, without one, and takes back what was not acknowledged.
    pub fn unsubscribe(&mut self, key: SubscriptionKey, ending: Ending, out: &mut impl Outlet) {
        let Some(subscriber) = self.subscriptions.get_mut(key) else {
            return;
        };
        if subscriber.durable.is_none() {
            self.drop_subscription(key, out);
            return;
        }
        let Some(mut consumer) = subscriber.consumer.take() else {
            return;
        };
        subscriber.next_number = consumer.next_number();
        self.offline += 1;
        // What has expired waits for its turn no more.
        self.expiring.append(&mut self.overdue);
        let mut counts = ending == Ending::Died && consumer.mode != AckMode::Auto;
        while let Some(delivery) = consumer.pop() {
            if counts {
                self.fail(key, delivery, Failure::ConsumerDied, out);
            } else {
                self.put_back(key, delivery);
            }
            counts = false;
        }
    }

    /// Removes a durable subscription for good, with its backlog (SUB-7), or a non-durable one.
    pub fn drop_subscription(&mut self, key: SubscriptionKey, out: &mut impl Outlet) {
        let Some(mut subscriber) = self.subscriptions.remove(key) else {
            return;
        };
        let durable = subscriber.durable.is_some();
        self.durables -= usize::from(durable);
        self.offline -= usize::from(durable && subscriber.consumer.is_none());
        self.unfiltered_durables -= usize::from(durable && !subscriber.selection.is_choosy());
        let mut held: Vec<(u64, Entry)> = std::mem::take(&mut subscriber.returned)
            .into_iter()
            .chain(std::mem::take(&mut subscriber.delayed))
            .collect();
        if let Some(mut consumer) = subscriber.consumer.take() {
            while let Some(delivery) = consumer.pop() {
                held.push((delivery.sequence, delivery.entry));
            }
        }
        for (sequence, entry) in held {
            self.let_go(entry.message, u64::from(entry.bytes.get()));
            if durable {
                self.release(sequence, out);
            }
        }
        // What a transaction holds stays with it, but refers to the log no more.
        for sequence in std::mem::take(&mut subscriber.in_transactions) {
            if durable {
                self.release(sequence, out);
            }
        }
        while let Some(sequence) = subscriber.next_waiting(&self.log) {
            subscriber.advance(sequence, 0);
            self.release(sequence, out);
        }
    }

    /// Says that the socket has taken the next `count` deliveries of an `auto` consumer.
    pub fn written(&mut self, key: SubscriptionKey, count: u64, out: &mut impl Outlet) {
        let Some(consumer) = self.consumer(key) else {
            return;
        };
        let taken: Vec<Delivery> = (0..count).map_while(|_| consumer.pop()).collect();
        self.finish(0, key, taken, Ack::Consumed, out);
    }

    /// Gives a consumer its credit back after its connection has drained.
    pub fn resume(&mut self, now_ms: u64, key: SubscriptionKey, out: &mut impl Outlet) {
        if let Some(consumer) = self.consumer(key) {
            consumer.set_blocked(false);
            self.dispatch(now_ms, key, out);
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
        let Some(taken) = self.take_out(key, which) else {
            return false;
        };
        self.finish(now_ms, key, taken, ack, out);
        self.dispatch(now_ms, key, out);
        true
    }

    /// The number of the delivery of the consumer `key` that `which` names.
    #[must_use]
    pub fn number_of(&self, key: SubscriptionKey, which: Which) -> Option<u64> {
        let consumer = self.subscriptions.get(key)?.consumer.as_ref();
        consumer?.unacked.find(which)
    }

    /// The deliveries of the consumer `key` are numbered outside from now on.
    pub fn number_outside(&mut self, key: SubscriptionKey) {
        if let Some(consumer) = self.consumer(key) {
            consumer.number_outside();
        }
    }

    /// Whether the consumer `key` holds the delivery that `which` names.
    #[must_use]
    pub fn holds(&self, key: SubscriptionKey, which: Which) -> bool {
        let consumer = self
            .subscriptions
            .get(key)
            .and_then(|subscriber| subscriber.consumer.as_ref());
        consumer.is_some_and(|consumer| consumer.unacked.find(which).is_some())
    }

    /// Takes deliveries out of the consumer's hands for a transaction (TX-6).
    pub fn take(
        &mut self,
        now_ms: u64,
        key: SubscriptionKey,
        which: Which,
        out: &mut impl Outlet,
    ) -> Option<Vec<Delivery>> {
        let taken = self.take_out(key, which)?;
        self.subscriptions[key]
            .in_transactions
            .extend(taken.iter().map(|delivery| delivery.sequence));
        self.dispatch(now_ms, key, out);
        Some(taken)
    }

    /// Ends deliveries that a transaction had taken, at its commit.
    pub fn commit(
        &mut self,
        now_ms: u64,
        key: SubscriptionKey,
        taken: Vec<Delivery>,
        ack: Ack,
        out: &mut impl Outlet,
    ) {
        self.leave_transaction(key, &taken);
        self.finish(now_ms, key, taken, ack, out);
        self.dispatch(now_ms, key, out);
    }

    /// Gives deliveries back that a transaction had taken, at its abort (ACK-6).
    pub fn restore(
        &mut self,
        now_ms: u64,
        key: SubscriptionKey,
        taken: Vec<Delivery>,
        out: &mut impl Outlet,
    ) {
        self.leave_transaction(key, &taken);
        for delivery in taken {
            match self.consumer(key) {
                Some(consumer) if consumer.was_given(delivery.number) => {
                    consumer.restore(delivery);
                }
                _ => self.put_back(key, delivery),
            }
        }
        self.dispatch(now_ms, key, out);
    }

    /// Ends a rejected delivery of a durable subscription after its dead letter is in the journal.
    pub fn rejected(&mut self, key: SubscriptionKey, sequence: u64, out: &mut impl Outlet) {
        // A subscription that was dropped meanwhile has given up its references.
        let Some(subscriber) = self.subscriptions.get_mut(key) else {
            return;
        };
        if subscriber.in_transactions.remove(&sequence) {
            self.progress(key, &[sequence], out);
            self.release(sequence, out);
        }
    }

    /// Takes a rejected delivery back, because its dead letter could not be stored. Nothing is delivered
    /// here: it would be rejected again at once, and again.
    pub fn take_back(&mut self, rejected: Rejected) {
        let Rejected {
            sequence,
            mut entry,
            subscription,
            expired,
            ..
        } = rejected;
        self.stats.expired -= u64::from(expired);
        self.stats.dead_lettered -= u64::from(!expired);
        if let Some(kept) = self.log.get_mut(sequence).filter(|_| expired) {
            kept.buried = false;
        }
        let Some(subscriber) = subscription.and_then(|key| self.subscriptions.get_mut(key)) else {
            return;
        };
        subscriber.in_transactions.remove(&sequence);
        entry.redelivered |= !expired;
        if let Some(message) = &entry.message {
            if expired {
                self.overdue.insert((message.expires_ms, sequence));
            }
            self.held_bytes += u64::from(entry.bytes.get());
        }
        subscriber.returned.insert(sequence, entry);
    }

    /// Whether the durable subscription `key` has a consumer.
    #[must_use]
    pub fn is_active(&self, key: SubscriptionKey) -> bool {
        self.subscriptions
            .get(key)
            .is_some_and(|subscriber| subscriber.consumer.is_some())
    }

    /// Messages kept for laggards and durable subscriptions.
    #[must_use]
    pub fn len(&self) -> usize {
        self.log.len()
    }

    /// Deliveries in the hands of consumers and transactions.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        let held = |subscriber: &Subscriber| {
            let consumer = subscriber.consumer.as_ref();
            consumer.map_or(0, |consumer| consumer.unacked.len()) + subscriber.in_transactions.len()
        };
        self.subscriptions.values().map(held).sum()
    }

    /// Messages that wait for the consumer `key`, those that it holds, and whether it is slow.
    #[must_use]
    pub fn held_by(&self, key: SubscriptionKey) -> (usize, usize, bool) {
        let Some(subscriber) = self.subscriptions.get(key) else {
            return (0, 0, false);
        };
        let held = subscriber.consumer.as_ref();
        let held = held.map_or(0, |consumer| consumer.unacked.len());
        let waiting = subscriber.lag + subscriber.returned.len();
        (waiting, held, waiting > 0 && !subscriber.has_credit())
    }

    /// Whether nothing is kept.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.log.is_empty()
    }

    /// Stored messages that were in a frame to a durable subscription and came back: subscription, place and failed
    /// deliveries, for a clean stop.
    pub fn seen(&self) -> impl Iterator<Item = (u32, u64, u16)> {
        let durable = |subscriber: &Subscriber| subscriber.durable;
        self.subscriptions
            .values()
            .filter_map(move |subscriber| Some((durable(subscriber)?, subscriber)))
            .flat_map(|(id, subscriber)| {
                let returned = subscriber.returned.iter().chain(&subscriber.delayed);
                returned
                    .filter(|(_, entry)| entry.redelivered && entry.at.is_some())
                    .map(move |(sequence, entry)| (id, *sequence, entry.redeliveries))
            })
    }

    fn consumer(&mut self, key: SubscriptionKey) -> Option<&mut Subscription> {
        self.subscriptions.get_mut(key)?.consumer.as_mut()
    }

    /// A non-durable laggard over its bound loses its oldest messages: it costs only itself.
    fn discard_for_slow(&mut self, out: &mut impl Outlet) {
        let bound = self.limits.slow_bytes_max;
        if self.held_bytes <= bound {
            return;
        }
        let keys: Vec<SubscriptionKey> = self
            .subscriptions
            .iter()
            .filter(|(_, subscriber)| subscriber.durable.is_none() && subscriber.lag_bytes > bound)
            .map(|(key, _)| key)
            .collect();
        for key in keys {
            while let Some(subscriber) = self.subscriptions.get_mut(key)
                && subscriber.lag_bytes > bound
                && let Some(sequence) = subscriber.next_waiting(&self.log)
                && let Some(kept) = self.log.get(sequence)
            {
                subscriber.advance(sequence, u64::from(kept.entry.bytes.get()));
                self.stats.discarded += 1;
                out.discarded(key, &kept.entry, self.stats.discarded);
                self.release(sequence, out);
            }
        }
    }
}

/// The entry with a message that nobody outside refers to: who is last to refer to it is how a topic knows
/// when its octets are free.
fn owned(mut entry: Entry) -> Entry {
    if let Some(message) = &mut entry.message
        && Arc::get_mut(message).is_none()
    {
        *message = Arc::new(Message::clone(message));
    }
    entry
}

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;

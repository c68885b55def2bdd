//! A queue: each message goes to one consumer, in order of arrival (SUB-10).
//!
//! - What waits lies in [`lanes`], each message at its own spot, delayed ones included.
//! - [`dispatch`] gives consumers in turn what a [`scan`] finds for them; [`settle`] is what becomes of a
//!   delivery; [`timing`] is what happens when time passes.
//! - A queue without priorities, groups, selectors and delays hands a new message straight to the next
//!   consumer, and finds the head of its backlog without a search.

use std::sync::Arc;

use slotmap::SlotMap;

use super::adaptive::Adaptive;
use super::delivery::{AckMode, Ending, Entry};
use super::log::Seen;
use super::message::{Locator, Message};
use super::outlet::Outlet;
use super::redelivery::Failure;
use super::slow::Glance;
use super::stats::Stats;
use super::subscription::{Subscription, SubscriptionKey, Window};
use super::thin::Thin;

mod browse;
mod consumer;
mod delays;
mod dispatch;
mod expiry;
mod groups;
mod lanes;
mod ownership;
mod policy;
mod remove;
mod scan;
mod settle;
mod spill;
mod stock;
mod timing;
mod turns;
mod watchdog;
mod why;

use browse::Browse;
pub use consumer::Wishes;
use consumer::{Consumer, Selection};
use delays::Delays;
pub(super) use delays::scatter;
use expiry::Expiry;
use groups::Groups;
pub use groups::{GroupMark, GroupReader, GroupView};
use lanes::{Lanes, Spot};
pub use policy::{GroupRebalance, QueuePolicy};
pub use remove::{Listed, Place, Withdrawn};
use scan::Scan;
use timing::Gate;
use turns::{Consumers, Turns};
pub use watchdog::Stall;
use watchdog::Watchdog;
pub use why::Reason;

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
    lanes: Lanes,
    next_sequence: u64,
    consumers: Consumers,
    consumers_total: u64,
    turns: Turns,
    /// How far consumers without a selector have looked.
    shared: Scan,
    /// Consumers with a selector.
    selective: Thin<SubscriptionKey>,
    /// Consumers that may have messages reserved for them.
    owed: Thin<SubscriptionKey>,
    /// The consumer that gets everything (PRE-9).
    exclusive: Option<SubscriptionKey>,
    /// Browsers that have not seen everything.
    browsers: u32,
    delays: Delays,
    expiry: Expiry,
    groups: Groups,
    group_reader: Option<GroupReader>,
    gate: Gate,
    /// When to look at adaptive windows that are full; `u64::MAX` for never.
    stall_check_ms: u64,
    /// Looks whether it stands still, while messages wait for consumers.
    watchdog: Option<Box<Watchdog>>,
    /// A step stopped before its end, so that others get the lock.
    unfinished: bool,
    /// The last of two runs that were wanted went to who seeks certain messages.
    sought_last: bool,
    /// Shared with other queues.
    policy: Arc<QueuePolicy>,
    /// An administrator has stopped deliveries (ADM-21).
    paused: bool,
    /// Deliveries in the hands of transactions.
    in_transactions: u32,
    /// Deliveries in the hands of consumers whose messages are gone.
    purged: u32,
    /// Counters since start.
    pub stats: Stats,
}

impl Queue {
    /// An empty queue whose next message gets `next_sequence`; `window_bytes` of its backlog stay in memory.
    #[must_use]
    pub fn new(next_sequence: u64, window_bytes: u64, policy: impl Into<Arc<QueuePolicy>>) -> Self {
        let policy = policy.into();
        Self {
            lanes: Lanes::new(policy.prioritized, window_bytes),
            next_sequence,
            // Most queues have one.
            consumers: SlotMap::with_capacity_and_key(1),
            consumers_total: 0,
            turns: Turns::default(),
            shared: Scan::default(),
            selective: Thin::default(),
            owed: Thin::default(),
            exclusive: None,
            browsers: 0,
            delays: Delays::default(),
            expiry: Expiry::default(),
            groups: Groups::default(),
            group_reader: None,
            gate: Gate::default(),
            stall_check_ms: u64::MAX,
            watchdog: None,
            unfinished: false,
            sought_last: false,
            policy,
            paused: false,
            in_transactions: 0,
            purged: 0,
            stats: Stats::default(),
        }
    }

    /// Says how the group of a message is read; without it there are no groups.
    pub fn set_group_reader(&mut self, reader: GroupReader) {
        self.group_reader = Some(reader);
    }

    /// Changes the rules. What is in the queue stays and follows the new ones; what is delayed keeps the
    /// time it was given.
    pub fn set_policy(
        &mut self,
        now_ms: u64,
        policy: impl Into<Arc<QueuePolicy>>,
        out: &mut impl Outlet,
    ) {
        let policy = policy.into();
        let old = std::mem::replace(&mut self.policy, Arc::clone(&policy));
        if old.prioritized != policy.prioritized {
            self.move_lanes(policy.prioritized);
        }
        for consumer in self.consumers.values_mut() {
            consumer.priority = if policy.use_consumer_priority {
                consumer.wanted_priority
            } else {
                0
            };
        }
        self.begin_turns();
        self.choose_exclusive();
        self.dispatch(now_ms, out);
    }

    /// Stops deliveries, or lets them go on. Browsers see what is there all the same (ADM-21).
    pub fn set_paused(&mut self, now_ms: u64, paused: bool, out: &mut impl Outlet) {
        self.paused = paused;
        self.dispatch(now_ms, out);
    }

    /// An administrator had stopped deliveries before the broker was stopped.
    pub fn recover_pause(&mut self) {
        self.paused = true;
    }

    /// Whether an administrator has stopped deliveries.
    #[must_use]
    pub fn is_paused(&self) -> bool {
        self.paused
    }

    /// Whether it ever had a consumer since it was made or recovered.
    #[must_use]
    pub fn had_consumers(&self) -> bool {
        self.consumers_total > 0
    }

    /// Reserves `count` places at the end; returns the first. A reserved place may stay empty.
    pub fn reserve(&mut self, count: u64) -> u64 {
        let first = self.next_sequence;
        self.next_sequence += count;
        first
    }

    /// Learns how far the store has synced, so that stored messages may leave memory.
    pub fn set_durable(&mut self, durable: Option<Locator>) {
        self.lanes.paging.set_durable(durable);
    }

    /// Takes a message in at its reserved place and delivers what can be delivered.
    pub fn push(&mut self, now_ms: u64, incoming: Incoming, out: &mut impl Outlet) {
        self.stats.enqueued += 1;
        let Incoming { sequence, entry } = incoming;
        debug_assert!(sequence < self.next_sequence, "places are reserved before");
        self.stats.enqueued_bytes += u64::from(entry.bytes.get());
        self.lanes.paging.bytes += u64::from(entry.bytes.get());
        let spot = self.lanes.spot(sequence, &entry);
        if entry.message.is_some() {
            self.lanes.joined(spot, u64::from(entry.bytes.get()));
        }
        if self.lanes.is_empty()
            && entry.message.is_some()
            && !entry.is_grouped()
            && self.is_plain(now_ms)
            && let Some(key) = self.next_in_turn()
        {
            self.hand_out(now_ms, key, spot, entry, out);
            if self.lanes.is_empty() {
                return;
            }
        } else {
            let expires_ms = entry
                .message
                .as_ref()
                .map_or(0, |message| message.expires_ms);
            self.insert(spot, entry, expires_ms);
        }
        self.dispatch(now_ms, out);
    }

    /// Adds a message at start, without delivering anything. It expires at `expires_ms`, 0 for never, and
    /// need not be in memory.
    pub fn recover(&mut self, sequence: u64, entry: Entry, expires_ms: u64) {
        let spot = self.lanes.spot(sequence, &entry);
        self.lanes.paging.bytes += u64::from(entry.bytes.get());
        self.insert(spot, entry, expires_ms);
    }

    /// Adds a consumer. Nothing is delivered to it before [`Queue::resume`], so that its client can be
    /// answered first.
    pub fn subscribe(&mut self, mode: AckMode, window: Window) -> SubscriptionKey {
        self.subscribe_as(mode, window, Wishes::default())
    }

    /// Adds a consumer that asks for more than messages in turn.
    pub fn subscribe_as(
        &mut self,
        mode: AckMode,
        mut window: Window,
        wishes: Wishes,
    ) -> SubscriptionKey {
        let mut adaptive = None;
        if wishes.adaptive && self.policy.adaptive_prefetch && mode == AckMode::Individual {
            let fresh = Adaptive::new(window.messages_max);
            window.messages_max = fresh.window();
            adaptive = Some(Box::new(fresh));
        }
        self.consumers_total += 1;
        let priority = if self.policy.use_consumer_priority {
            wishes.priority
        } else {
            0
        };
        let selects = wishes.filter.is_some() && !wishes.browser;
        self.browsers += u32::from(wishes.browser);
        let subscription = Subscription::new(mode, window);
        let place = (self.consumers_total, priority);
        let mut consumer = Consumer::new(subscription, place, &wishes);
        consumer.adaptive = adaptive;
        consumer.selection = wishes.filter.map(|filter| {
            let scan = Scan::default();
            Box::new(Selection { filter, scan })
        });
        consumer.browse = wishes
            .browser
            .then(|| Box::new(Browse::new(self.next_sequence)));
        let key = self.consumers.insert(Box::new(consumer));
        if selects {
            self.selective.push(key);
        }
        if self.policy.group_rebalance == GroupRebalance::Idle && !wishes.browser {
            self.release_idle_groups();
        }
        self.choose_exclusive();
        key
    }

    /// Ends a consumer; what it held returns to its old places, at once (SUB-6, RED-6, RED-8).
    pub fn unsubscribe(
        &mut self,
        now_ms: u64,
        key: SubscriptionKey,
        ending: Ending,
        out: &mut impl Outlet,
    ) {
        let Some(mut consumer) = self.consumers.remove(key) else {
            return;
        };
        if let Some(browse) = consumer.browse {
            self.browsers -= u32::from(!browse.is_done());
            return;
        }
        self.selective.retain(|selective| *selective != key);
        let counts = consumer.subscription.mode != AckMode::Auto;
        let mut is_oldest = true;
        while let Some(delivery) = consumer.subscription.pop() {
            if counts && ending.fails(delivery.number, is_oldest) {
                let policy = self.redelivery_of(consumer.redelivery.as_deref());
                let failure = Failure::ConsumerDied;
                self.fail(now_ms, delivery, failure, &policy, None, out);
            } else {
                self.put_back(delivery);
            }
            is_oldest = false;
        }
        for spot in consumer.take_spots() {
            self.came(spot);
        }
        if consumer.started {
            self.gate.left();
        }
        self.choose_exclusive();
        self.forget_turns();
        self.dispatch(now_ms, out);
    }

    /// Gives a consumer its credit: at its start, and after its connection has drained.
    pub fn resume(&mut self, now_ms: u64, key: SubscriptionKey, out: &mut impl Outlet) {
        if let Some(consumer) = self.consumers.get_mut(key) {
            consumer.subscription.set_blocked(false);
            if consumer.browse.is_none() && !std::mem::replace(&mut consumer.started, true) {
                self.gate.came(now_ms);
            }
            self.join_turn(key);
            self.dispatch(now_ms, out);
        }
    }

    /// Takes a message that was asked back from the store; `None` if the store has lost it.
    pub fn loaded(
        &mut self,
        now_ms: u64,
        sequence: u64,
        message: Option<Arc<Message>>,
        out: &mut impl Outlet,
    ) {
        if self.loaded_for_browser(sequence, message.as_ref()) {
            self.dispatch(now_ms, out);
            return;
        }
        if let Some((spot, lost)) = self.lanes.loaded(sequence, message) {
            self.stats.dequeued += 1;
            if lost.delayed {
                self.delay_ended(spot);
            }
            if let Some(at) = lost.at.filter(|at| at.is_temp()) {
                out.remove(sequence, at);
            }
        }
        if !self.lanes.paging.is_fetching() {
            self.dispatch(now_ms, out);
        }
    }

    /// A message that was asked back could not be read now; a later step asks again.
    pub fn unread(&mut self, sequence: u64) {
        // A browser goes without it.
        if !self.loaded_for_browser(sequence, None) {
            self.lanes.paging.answered();
        }
    }

    /// Messages that are in the queue and not acknowledged: in flight ones and those acknowledged in a
    /// transaction that is still open (TX-6) included.
    #[must_use]
    pub fn len(&self) -> usize {
        let held = self
            .takers()
            .map(|consumer| consumer.subscription.unacked.len());
        let (taken, purged) = (self.in_transactions as usize, self.purged as usize);
        self.lanes.len() + taken + held.sum::<usize>() - purged
    }

    /// Whether the queue holds no message.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many consumers there are, browsers included.
    #[must_use]
    pub fn consumers(&self) -> usize {
        self.consumers.len()
    }

    /// Consumers whose window is full while messages wait.
    #[must_use]
    pub fn slow_consumers(&self) -> Vec<SubscriptionKey> {
        let is_slow = |consumer: &Consumer| {
            consumer.started && consumer.browse.is_none() && consumer.subscription.is_full()
        };
        if self.lanes.is_empty() {
            return Vec::new();
        }
        let slow = self.consumers.iter();
        slow.filter(|(_, consumer)| is_slow(consumer))
            .map(|(key, _)| key)
            .collect()
    }

    /// Messages in the hands of consumers and transactions.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.len() - self.lanes.len()
    }

    /// Messages that wait for the consumer `key` or any other, those that it holds, and whether it is slow.
    #[must_use]
    pub fn held_by(&self, key: SubscriptionKey) -> (usize, usize, bool) {
        let Some(consumer) = self.consumers.get(key) else {
            return (0, 0, false);
        };
        let slow = !self.lanes.is_empty() && consumer.subscription.is_full();
        let held = consumer.subscription.unacked.len();
        (self.lanes.len(), held, slow)
    }

    /// What each consumer that takes messages does.
    pub fn glances(&self) -> impl Iterator<Item = Glance> {
        let takers = self.consumers.iter();
        let takers = takers.filter(|(_, consumer)| consumer.started && consumer.browse.is_none());
        takers.map(|(key, consumer)| Glance {
            key,
            is_slow: !self.lanes.is_empty() && consumer.subscription.is_full(),
            unacked: consumer.subscription.unacked.len(),
            done: consumer.subscription.done(),
        })
    }

    /// Messages that nobody has, delayed ones included.
    #[must_use]
    pub fn ready(&self) -> usize {
        self.lanes.len()
    }

    /// Messages that wait for their redelivery (RED-3).
    #[must_use]
    pub fn delayed(&self) -> usize {
        self.delays.len()
    }

    /// Octets of the messages acknowledged since the last call.
    pub fn take_drained_bytes(&mut self) -> u64 {
        std::mem::take(&mut self.lanes.paging.drained_bytes)
    }

    /// Octets of messages held in memory.
    #[must_use]
    pub fn held_bytes(&self) -> u64 {
        self.lanes.paging.held_bytes
    }

    /// Everything the queue holds, ready ones first, then those in flight.
    pub fn entries(&self) -> impl Iterator<Item = (u64, Seen<'_, Entry>)> {
        let unacked = self
            .takers()
            .flat_map(|consumer| consumer.subscription.unacked.iter());
        self.lanes
            .iter()
            .chain(unacked.map(|delivery| (delivery.sequence, Seen::Here(&delivery.entry))))
            .filter(|(_, entry)| !entry.is_purged())
    }

    /// All groups (GRP-7).
    #[must_use]
    pub fn groups(&self) -> Vec<GroupView> {
        self.groups.view()
    }

    /// Consumers that take messages, unlike browsers.
    fn takers(&self) -> impl Iterator<Item = &Consumer> {
        self.consumers
            .values()
            .map(Box::as_ref)
            .filter(|consumer| consumer.browse.is_none())
    }

    /// Gives everybody with credit a turn, as if none had had one.
    fn begin_turns(&mut self) {
        let strict = self.policy.strict_order_dispatch;
        self.turns.clear(&mut self.consumers);
        let consumers = self.consumers.iter();
        let willing = consumers.filter(|(_, consumer)| consumer.is_willing());
        for key in willing.map(|(key, _)| key).collect::<Vec<_>>() {
            self.turns.join(&mut self.consumers, key, strict);
        }
    }

    fn join_turn(&mut self, key: SubscriptionKey) {
        if let Some(consumer) = self.consumers.get(key)
            && consumer.is_willing()
        {
            let strict = self.policy.strict_order_dispatch;
            self.turns.join(&mut self.consumers, key, strict);
        }
    }

    /// Lets go the places of consumers that have gone, once they are most of the round. Without messages
    /// nobody has a turn, so they would gather for as long as consumers come and go.
    fn forget_turns(&mut self) {
        if self.turns.len() > 2 * self.consumers.len() + 16 {
            self.turns.forget(|key| self.consumers.contains_key(key));
        }
    }

    /// Puts a message where it belongs.
    fn insert(&mut self, spot: Spot, mut entry: Entry, expires_ms: u64) {
        self.expiry.add(expires_ms, spot);
        // One that just came is not yet shared with anybody, so this always succeeds.
        if self.lanes.paging.held_bytes > UNPIN_BYTES
            && let Some(message) = &mut entry.message
            && let Some(message) = Arc::get_mut(message)
        {
            message.unpin();
        }
        self.lanes.insert(spot, entry);
        self.came(spot);
    }

    /// Lets those look again who have looked at `spot` before.
    fn came(&mut self, spot: Spot) {
        self.shared.came(spot);
        for key in &self.selective {
            if let Some(selection) = &mut self.consumers[*key].selection {
                selection.scan.came(spot);
            }
        }
    }

    /// Chooses who gets everything, if somebody does: the exclusive consumer of the highest priority, and
    /// of those the first.
    fn choose_exclusive(&mut self) {
        let everybody = self.policy.exclusive_by_default;
        let consumers = self
            .consumers
            .iter()
            .filter(|(_, consumer)| consumer.browse.is_none() && (everybody || consumer.exclusive));
        self.exclusive = consumers
            .min_by_key(|(_, consumer)| {
                (std::cmp::Reverse(consumer.wanted_priority), consumer.serial)
            })
            .map(|(key, _)| key);
    }

    /// Moves everything to one lane, or to ten. Whatever was known of places is found out anew.
    fn move_lanes(&mut self, prioritized: bool) {
        let (delays, expiry) = (self.delays.take(), self.expiry.take());
        let moved = |(time_ms, spot): (u64, Spot)| {
            let entry = self.lanes.get(spot)?;
            let spot = lanes::spot(prioritized, spot.sequence, &entry);
            Some((time_ms, spot))
        };
        // One that left and came back waits no more, and its time is still in the index.
        let waits = |(_, spot): &(u64, Spot)| {
            self.lanes
                .get(*spot)
                .is_some_and(|entry| entry.is_delayed())
        };
        let delays: Vec<_> = delays.into_iter().filter(waits).filter_map(moved).collect();
        let expiry: Vec<_> = expiry.into_iter().filter_map(moved).collect();
        self.lanes.set_prioritized(prioritized);
        for (due_ms, spot) in delays {
            self.delays.add(due_ms, spot);
        }
        for (expires_ms, spot) in expiry {
            self.expiry.add(expires_ms, spot);
        }
        self.shared.restart();
        self.groups.forget_spots();
        for consumer in self.consumers.values_mut() {
            drop(consumer.take_spots());
            if let Some(selection) = &mut consumer.selection {
                selection.scan.restart();
            }
        }
    }
}

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;

//! What becomes of deliveries: consumed, failed, back to their place, or to the dead-letter queue.

use std::cell::RefCell;

use super::Queue;
use super::delays::scatter;
use super::lanes::Spot;
use crate::broker::delivery::{Ack, AckMode, Delivery, Entry, Which};
use crate::broker::outlet::{Outlet, Rejected};
use crate::broker::redelivery::{Failure, OnNack, RedeliveryOverride, RedeliveryPolicy};
use crate::broker::subscription::{Room, SubscriptionKey};

thread_local! {
    /// Scratch for acknowledgements; no queue keeps its own.
    static TAKEN: RefCell<Vec<Delivery>> = const { RefCell::new(Vec::new()) };
}

/// Deliveries that scratch has room for when it is kept.
const TAKEN_KEPT_MAX: usize = 4096;

impl Queue {
    /// Says that the socket has taken the last octet of the next `count` deliveries of an `auto` consumer.
    pub fn written(&mut self, key: SubscriptionKey, count: u64, out: &mut impl Outlet) {
        for _ in 0..count {
            let Some(consumer) = self.consumers.get_mut(key) else {
                return;
            };
            let Some(delivery) = consumer.subscription.pop() else {
                break;
            };
            if consumer.browse.is_none() {
                out.consumed(key, &delivery);
                self.settle(&delivery, out);
            }
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
        let mut taken = TAKEN.take();
        let known = self.take_into(now_ms, key, which, &mut taken);
        if self.is_browser(key) {
            taken.clear();
        }
        self.finish(now_ms, key, taken.drain(..), ack, out);
        if taken.capacity() <= TAKEN_KEPT_MAX {
            TAKEN.set(taken);
        }
        if known {
            self.join_turn(key);
            self.dispatch(now_ms, out);
        }
        known
    }

    /// Changes the window of the consumer `key` (PRE-4). Returns how many messages it held before.
    pub fn set_room(
        &mut self,
        now_ms: u64,
        key: SubscriptionKey,
        room: Room,
        out: &mut impl Outlet,
    ) -> usize {
        let Some(consumer) = self.consumers.get_mut(key) else {
            return 0;
        };
        let held = consumer.subscription.set_room(room);
        self.join_turn(key);
        self.dispatch(now_ms, out);
        held
    }

    /// The number of the delivery of the consumer `key` that `which` names.
    #[must_use]
    pub fn number_of(&self, key: SubscriptionKey, which: Which) -> Option<u64> {
        self.consumers.get(key)?.subscription.unacked.find(which)
    }

    /// The deliveries of the consumer `key` are numbered outside from now on.
    pub fn number_outside(&mut self, key: SubscriptionKey) {
        if let Some(consumer) = self.consumers.get_mut(key) {
            consumer.subscription.number_outside();
        }
    }

    /// Whether the consumer `key` holds the delivery that `which` names.
    #[must_use]
    pub fn holds(&self, key: SubscriptionKey, which: Which) -> bool {
        let consumer = self.consumers.get(key);
        consumer.is_some_and(|consumer| consumer.subscription.unacked.find(which).is_some())
    }

    /// Whether the consumer `key` is a browser.
    #[must_use]
    pub fn is_browser(&self, key: SubscriptionKey) -> bool {
        let consumer = self.consumers.get(key);
        consumer.is_some_and(|consumer| consumer.browse.is_some())
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
        if !self.take_into(now_ms, key, which, &mut taken) {
            return None;
        }
        if self.is_browser(key) {
            taken.clear();
        }
        self.in_transactions += count(&taken);
        self.join_turn(key);
        self.dispatch(now_ms, out);
        Some(taken)
    }

    /// Ends deliveries that a transaction had taken from the consumer `key`, at its commit.
    pub fn commit(
        &mut self,
        now_ms: u64,
        key: SubscriptionKey,
        taken: Vec<Delivery>,
        ack: Ack,
        out: &mut impl Outlet,
    ) {
        self.in_transactions -= count(&taken);
        self.finish(now_ms, key, taken.into_iter(), ack, out);
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
        self.in_transactions -= count(&taken);
        match self.consumers.get_mut(key) {
            Some(consumer) => taken
                .into_iter()
                .for_each(|delivery| consumer.subscription.restore(delivery)),
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
            expires_ms,
            expired,
            ..
        } = rejected;
        self.stats.dequeued -= 1;
        self.stats.expired -= u64::from(expired);
        self.stats.dead_lettered -= u64::from(!expired);
        entry.redelivered |= !expired;
        self.lanes.paging.bytes += u64::from(entry.bytes.get());
        if entry.message.is_some() {
            self.lanes.paging.held_bytes += u64::from(entry.bytes.get());
        }
        self.insert(self.lanes.spot(sequence, &entry), entry, expires_ms);
    }

    /// The policy for a consumer that may have asked for its own.
    pub(super) fn redelivery_of(&self, wanted: Option<&RedeliveryOverride>) -> RedeliveryPolicy {
        let policy = self.policy.redelivery;
        wanted.map_or(policy, |wanted| policy.overridden(wanted))
    }

    /// Counts a failed delivery: the message is dead, or it waits `delay_ms` or what the policy says. After
    /// the death of a consumer it does not wait (RED-6).
    pub(super) fn fail(
        &mut self,
        now_ms: u64,
        mut delivery: Delivery,
        failure: Failure,
        policy: &RedeliveryPolicy,
        delay_ms: Option<u64>,
        out: &mut impl Outlet,
    ) {
        if self.is_gone(&delivery) {
            return;
        }
        let entry = &mut delivery.entry;
        entry.redeliveries = entry.redeliveries.saturating_add(1);
        let redeliveries = entry.redeliveries;
        let verdict = policy.verdict(redeliveries, failure);
        if let Some(cause) = verdict.filter(|_| !self.policy.is_dead_letter_queue) {
            self.end_in_group(&delivery);
            self.reject(
                (delivery.sequence, delivery.expires_ms),
                delivery.entry,
                cause,
                false,
                out,
            );
            return;
        }
        if let Some(at) = entry.journaled_at() {
            out.redelivered(delivery.sequence, at, redeliveries);
        }
        let delay_ms = match (failure, delay_ms) {
            (Failure::ConsumerDied, _) => 0,
            (_, Some(delay_ms)) => policy.bounded_ms(delay_ms),
            (_, None) => {
                let random = scatter(delivery.sequence, redeliveries, now_ms);
                policy.delay_ms(redeliveries, random)
            }
        };
        if delay_ms == 0 {
            self.put_back(delivery);
        } else {
            self.delay(now_ms.saturating_add(delay_ms), delivery);
        }
    }

    pub(super) fn put_back(&mut self, mut delivery: Delivery) {
        if self.is_gone(&delivery) {
            return;
        }
        self.end_in_group(&delivery);
        delivery.entry.redelivered = true;
        let spot = self.lanes.spot(delivery.sequence, &delivery.entry);
        self.insert(spot, delivery.entry, delivery.expires_ms);
    }

    pub(super) fn expire(
        &mut self,
        spot: Spot,
        entry: Entry,
        expires_ms: u64,
        out: &mut impl Outlet,
    ) {
        self.stats.expired += 1;
        let cause = format!("java.lang.Throwable: Message Expired. Expiration:{expires_ms}");
        self.reject((spot.sequence, expires_ms), entry, cause, true, out);
    }

    /// Puts a failed message back to its place, to wait there until it is due. Of its group nothing goes
    /// before it, if the policy says so (GRP-8).
    fn delay(&mut self, due_ms: u64, mut delivery: Delivery) {
        let spot = self.lanes.spot(delivery.sequence, &delivery.entry);
        self.end_in_group(&delivery);
        if let Some(group) = delivery.group {
            self.groups.delay(group, spot);
        }
        delivery.entry.redelivered = true;
        delivery.entry.set_delayed(true);
        self.delays.add(due_ms, spot);
        self.insert(spot, delivery.entry, delivery.expires_ms);
        self.lanes.let_go(spot);
    }

    fn take_into(
        &mut self,
        now_ms: u64,
        key: SubscriptionKey,
        which: Which,
        taken: &mut Vec<Delivery>,
    ) -> bool {
        let Some(consumer) = self.consumers.get_mut(key) else {
            return false;
        };
        if consumer.subscription.mode == AckMode::Auto {
            return false;
        }
        let Some(number) = consumer.subscription.unacked.find(which) else {
            return false;
        };
        let before = taken.len();
        consumer.subscription.take(number, taken);
        consumer.acknowledged(now_ms, taken.len() - before);
        true
    }

    fn finish(
        &mut self,
        now_ms: u64,
        key: SubscriptionKey,
        taken: impl Iterator<Item = Delivery>,
        ack: Ack,
        out: &mut impl Outlet,
    ) {
        if ack == Ack::Consumed {
            for delivery in taken {
                out.consumed(key, &delivery);
                self.settle(&delivery, out);
            }
            return;
        }
        let consumer = self.consumers.get(key);
        let wanted = consumer.and_then(|consumer| consumer.redelivery.as_deref());
        let policy = self.redelivery_of(wanted);
        for delivery in taken {
            let (on_nack, delay_ms) = match ack {
                Ack::Failed => (self.policy.on_nack, None),
                Ack::FailedFor(delay_ms) => (self.policy.on_nack, Some(delay_ms)),
                Ack::Requeued => (OnNack::Requeue, None),
                Ack::Refused => {
                    self.fail(now_ms, delivery, Failure::Refused, &policy, None, out);
                    continue;
                }
                Ack::Consumed => (OnNack::Discard, None),
            };
            match on_nack {
                OnNack::Redeliver => {
                    self.fail(now_ms, delivery, Failure::Nack, &policy, delay_ms, out);
                }
                OnNack::DeadLetter => {
                    self.fail(now_ms, delivery, Failure::Poison, &policy, delay_ms, out);
                }
                OnNack::Requeue => self.put_back(delivery),
                OnNack::Discard => {
                    self.stats.discarded += 1;
                    self.settle(&delivery, out);
                }
            }
        }
    }

    /// A delivery is consumed.
    fn settle(&mut self, delivery: &Delivery, out: &mut impl Outlet) {
        if self.is_gone(delivery) {
            return;
        }
        self.end_in_group(delivery);
        self.stats.dequeued += 1;
        let paging = &mut self.lanes.paging;
        paging.bytes -= u64::from(delivery.entry.bytes.get());
        paging.drained_bytes += u64::from(delivery.entry.bytes.get());
        if delivery.entry.message.is_some() {
            paging.held_bytes -= u64::from(delivery.entry.bytes.get());
        }
        if let Some(at) = delivery.entry.at {
            out.remove(delivery.sequence, at);
        }
    }

    /// Whether the message of a delivery was purged meanwhile; then nothing more becomes of it (ADM-22).
    fn is_gone(&mut self, delivery: &Delivery) -> bool {
        let gone = delivery.entry.is_purged();
        if gone {
            self.end_in_group(delivery);
            self.purged -= 1;
        }
        gone
    }

    fn end_in_group(&mut self, delivery: &Delivery) {
        if let Some(group) = delivery.group {
            self.groups.ended(group);
        }
    }

    fn reject(
        &mut self,
        (sequence, expires_ms): (u64, u64),
        entry: Entry,
        cause: String,
        expired: bool,
        out: &mut impl Outlet,
    ) {
        self.lanes.paging.bytes -= u64::from(entry.bytes.get());
        if entry.message.is_some() {
            self.lanes.paging.held_bytes -= u64::from(entry.bytes.get());
        }
        self.stats.dequeued += 1;
        self.stats.dead_lettered += u64::from(!expired);
        out.reject(Rejected {
            sequence,
            entry,
            expires_ms,
            cause,
            expired,
            subscription: None,
            durable: None,
        });
    }
}

/// Transactions hold far less: what one takes is bounded by windows.
fn count(taken: &[Delivery]) -> u32 {
    u32::try_from(taken.len()).expect("fewer than four billion deliveries")
}

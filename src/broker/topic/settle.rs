//! What becomes of deliveries: consumed, failed, returned; and when a message has served its purpose.

use std::sync::Arc;

use super::Topic;
use crate::broker::delivery::{Ack, AckMode, Delivery, Which};
use crate::broker::message::Message;
use crate::broker::outlet::{Outlet, Progress, Rejected};
use crate::broker::queue::scatter;
use crate::broker::redelivery::{Failure, OnNack};
use crate::broker::subscription::SubscriptionKey;

impl Topic {
    /// Says that the socket has taken the next `count` deliveries of an `auto` consumer.
    pub fn written(&mut self, key: SubscriptionKey, count: u64, out: &mut impl Outlet) {
        let Some(consumer) = self.consumer(key) else {
            return;
        };
        let taken: Vec<Delivery> = (0..count).map_while(|_| consumer.pop()).collect();
        self.finish(0, key, taken, Ack::Consumed, out);
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

    pub(super) fn take_out(&mut self, key: SubscriptionKey, which: Which) -> Option<Vec<Delivery>> {
        let consumer = self.consumer(key)?;
        if consumer.mode == AckMode::Auto {
            return None;
        }
        let number = consumer.unacked.find(which)?;
        let mut taken = Vec::new();
        consumer.take(number, &mut taken);
        Some(taken)
    }

    pub(super) fn leave_transaction(&mut self, key: SubscriptionKey, taken: &[Delivery]) {
        if let Some(subscriber) = self.subscriptions.get_mut(key) {
            for delivery in taken {
                subscriber.in_transactions.remove(&delivery.sequence);
            }
        }
    }

    pub(super) fn finish(
        &mut self,
        now_ms: u64,
        key: SubscriptionKey,
        taken: Vec<Delivery>,
        ack: Ack,
        out: &mut impl Outlet,
    ) {
        let failure = match (ack, self.on_nack) {
            (Ack::Consumed, _) => None,
            (Ack::Requeued, _) => Some(None),
            (Ack::Refused, _) => Some(Some(Failure::Refused)),
            (Ack::Failed | Ack::FailedFor(_), on_nack) => match on_nack {
                OnNack::Redeliver => Some(Some(Failure::Nack)),
                OnNack::DeadLetter => Some(Some(Failure::Poison)),
                OnNack::Requeue => Some(None),
                OnNack::Discard => None,
            },
        };
        if let Some(failure) = failure {
            for delivery in taken {
                match (failure, ack) {
                    (None, _) => self.put_back(key, delivery),
                    (Some(Failure::Nack), Ack::FailedFor(delay_ms)) => {
                        self.nack(now_ms, key, delivery, Some(delay_ms), out);
                    }
                    (Some(Failure::Nack), _) => self.nack(now_ms, key, delivery, None, out),
                    (Some(failure), _) => self.fail(key, delivery, failure, out),
                }
            }
            return;
        }
        self.stats.dequeued += taken.len() as u64;
        let durable = self
            .subscriptions
            .get(key)
            .is_some_and(|subscriber| subscriber.durable.is_some());
        if durable {
            let sequences: Vec<u64> = taken.iter().map(|delivery| delivery.sequence).collect();
            self.progress(key, &sequences, out);
        }
        for delivery in taken {
            if ack == Ack::Consumed {
                out.consumed(key, &delivery);
            }
            self.let_go(
                delivery.entry.message,
                u64::from(delivery.entry.bytes.get()),
            );
            if durable {
                self.release(delivery.sequence, out);
            }
        }
    }

    /// Tells the journal what a durable subscription is done with, as a position where possible.
    pub(super) fn progress(
        &mut self,
        key: SubscriptionKey,
        acknowledged: &[u64],
        out: &mut impl Outlet,
    ) {
        let Some(subscriber) = self.subscriptions.get_mut(key) else {
            return;
        };
        let Some(id) = subscriber.durable else { return };
        for sequence in acknowledged {
            subscriber.open.remove(*sequence);
        }
        let promised = self.promised.first().copied().unwrap_or(u64::MAX);
        let open_from = subscriber.lowest_open().min(promised);
        if acknowledged.iter().any(|sequence| *sequence < open_from) {
            // What lies between was not for this subscription, or is acknowledged already.
            out.acknowledge(id, Progress::Through(open_from - 1));
        }
        for &sequence in acknowledged
            .iter()
            .filter(|sequence| **sequence >= open_from)
        {
            out.acknowledge(id, Progress::Single(sequence));
        }
    }

    /// A consumer said NACK: the delivery goes out again after its delay, or is a dead letter (RED-1).
    fn nack(
        &mut self,
        now_ms: u64,
        key: SubscriptionKey,
        delivery: Delivery,
        asked_ms: Option<u64>,
        out: &mut impl Outlet,
    ) {
        let sequence = delivery.sequence;
        let redelivery = delivery.entry.redeliveries.saturating_add(1);
        let delay_ms = match asked_ms {
            Some(delay_ms) => self.policy.bounded_ms(delay_ms),
            None => {
                let random = scatter(sequence, redelivery, now_ms);
                self.policy.delay_ms(redelivery, random)
            }
        };
        self.fail(key, delivery, Failure::Nack, out);
        if delay_ms > 0
            && let Some(subscriber) = self.subscriptions.get_mut(key)
            && let Some(entry) = subscriber.returned.remove(&sequence)
        {
            subscriber.delayed.insert(sequence, entry);
            let due_ms = now_ms.saturating_add(delay_ms);
            self.delays.insert((due_ms, sequence, key));
        }
    }

    pub(super) fn fail(
        &mut self,
        key: SubscriptionKey,
        mut delivery: Delivery,
        failure: Failure,
        out: &mut impl Outlet,
    ) {
        delivery.entry.redeliveries = delivery.entry.redeliveries.saturating_add(1);
        let Some(cause) = self.policy.verdict(delivery.entry.redeliveries, failure) else {
            let durable = self.subscriptions.get(key).and_then(|found| found.durable);
            if let (Some(id), Some(_)) = (durable, delivery.entry.journaled_at()) {
                out.redelivered_to(id, delivery.sequence, delivery.entry.redeliveries);
            }
            self.put_back(key, delivery);
            return;
        };
        self.stats.dead_lettered += 1;
        // A copy leaves, as who else refers to the message decides when its octets are free.
        let message = delivery.entry.message.take();
        delivery.entry.message = message.as_deref().cloned().map(Arc::new);
        self.let_go(message, u64::from(delivery.entry.bytes.get()));
        // Held open until the dead letter is in the journal, so that no position passes it.
        let durable = self
            .subscriptions
            .get(key)
            .and_then(|subscriber| subscriber.durable);
        if durable.is_some() {
            self.subscriptions[key]
                .in_transactions
                .insert(delivery.sequence);
        }
        let Delivery {
            sequence, entry, ..
        } = delivery;
        out.reject(Rejected {
            sequence,
            entry,
            expires_ms: 0,
            cause,
            expired: false,
            subscription: Some(key),
            durable,
        });
    }

    pub(super) fn put_back(&mut self, key: SubscriptionKey, mut delivery: Delivery) {
        let bytes = u64::from(delivery.entry.bytes.get());
        let at = delivery.entry.at;
        let stored = at.is_some_and(|at| self.readable().has(at));
        let Some(subscriber) = self.subscriptions.get_mut(key) else {
            self.let_go(delivery.entry.message, bytes);
            return;
        };
        delivery.entry.redelivered = true;
        // Over the window what the store can give back need not wait in memory for the next consumer.
        let mut unloaded = None;
        if stored && self.held_bytes > self.limits.window_bytes {
            unloaded = delivery.entry.message.take();
        }
        subscriber
            .returned
            .insert(delivery.sequence, delivery.entry);
        self.let_go(unloaded, bytes);
    }

    /// One reference to a log entry goes.
    pub(super) fn release(&mut self, sequence: u64, out: &mut impl Outlet) {
        let Some(kept) = self.log.get_mut(sequence) else {
            return;
        };
        kept.refs -= 1;
        if kept.refs > 0 {
            return;
        }
        if let Some(kept) = self.log.remove(sequence) {
            self.log_bytes -= u64::from(kept.entry.bytes.get());
            if let Some(at) = kept.entry.at {
                out.remove(sequence, at);
            }
            self.let_go(kept.entry.message, u64::from(kept.entry.bytes.get()));
        }
    }

    /// Drops a reference to a message; the last one frees its memory.
    pub(super) fn let_go(&mut self, message: Option<Arc<Message>>, bytes: u64) {
        if message.and_then(Arc::into_inner).is_some() {
            self.held_bytes -= bytes;
        }
    }
}

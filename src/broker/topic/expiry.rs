//! Messages past their time: dropped for those who only listen, dead-lettered once for durable subscriptions.

use std::sync::Arc;

use super::Topic;
use crate::broker::delivery::Entry;
use crate::broker::outlet::{Outlet, Rejected};
use crate::broker::redelivery::expired_cause;
use crate::broker::subscription::SubscriptionKey;

impl Topic {
    /// When something is due next.
    #[must_use]
    pub fn next_due_ms(&self) -> Option<u64> {
        let delayed = self.delays.first().map(|(due_ms, ..)| *due_ms);
        let expires = self.expiring.first().filter(|_| self.offline > 0);
        let expires = expires.map(|(expires_ms, _)| *expires_ms);
        [delayed, expires, self.old_ms()]
            .into_iter()
            .flatten()
            .min()
    }

    /// Does what is due: failed deliveries go out again, what has expired goes.
    pub fn due(&mut self, now_ms: u64, out: &mut impl Outlet) {
        while let Some(&(due_ms, sequence, key)) = self.delays.first()
            && due_ms <= now_ms
        {
            self.delays.pop_first();
            if let Some(subscriber) = self.subscriptions.get_mut(key)
                && let Some(entry) = subscriber.delayed.remove(&sequence)
            {
                subscriber.returned.insert(sequence, entry);
                self.dispatch(now_ms, key, out);
            }
        }
        self.sweep(now_ms, out);
        self.forget_old(now_ms);
    }

    /// Rids durable subscriptions without a consumer of what has expired (EXP-2). Those with one meet it when
    /// its turn comes.
    pub(super) fn sweep(&mut self, now_ms: u64, out: &mut impl Outlet) {
        let due = |(expires_ms, _): &(u64, u64)| *expires_ms <= now_ms;
        let none = !self.expiring.first().is_some_and(due) && self.overdue.is_empty();
        if self.offline == 0 || none {
            return;
        }
        let later = self.expiring.split_off(&(now_ms + 1, 0));
        let mut due = std::mem::replace(&mut self.expiring, later);
        due.append(&mut self.overdue);
        let offline: Vec<SubscriptionKey> = self
            .subscriptions
            .iter()
            .filter(|(_, subscriber)| subscriber.durable.is_some() && subscriber.consumer.is_none())
            .map(|(key, _)| key)
            .collect();
        for (expires_ms, sequence) in due {
            for key in &offline {
                self.sweep_one(*key, sequence, expires_ms, out);
            }
            if self.log.get(sequence).is_some() || self.is_returned(sequence) {
                // A consumer may leave before it has met it.
                self.overdue.insert((expires_ms, sequence));
            }
        }
    }

    fn sweep_one(
        &mut self,
        key: SubscriptionKey,
        sequence: u64,
        expires_ms: u64,
        out: &mut impl Outlet,
    ) {
        let Some(subscriber) = self.subscriptions.get_mut(key) else {
            return;
        };
        let Some(kept) = self.log.get(sequence) else {
            self.sweep_lost(key, sequence, out);
            return;
        };
        let entry = kept.entry.clone();
        let bytes = u64::from(entry.bytes.get());
        let returned = subscriber.returned.remove(&sequence);
        if let Some(returned) = returned.or_else(|| subscriber.delayed.remove(&sequence)) {
            self.let_go(returned.message, bytes);
        } else if subscriber.waits_for(sequence) {
            if subscriber.next_waiting(&self.log) == Some(sequence) {
                subscriber.advance(sequence, bytes);
            } else {
                subscriber.leave_out(sequence, bytes);
                if !subscriber.selection.is_choosy() {
                    subscriber.acknowledged.insert(sequence);
                }
            }
        } else {
            return;
        }
        self.expire(key, sequence, (entry, expires_ms), out);
    }

    /// The same for a message that the store has lost, and that came back to the subscription before.
    fn sweep_lost(&mut self, key: SubscriptionKey, sequence: u64, out: &mut impl Outlet) {
        let subscriber = &mut self.subscriptions[key];
        let returned = subscriber.returned.remove(&sequence);
        if let Some(entry) = returned.or_else(|| subscriber.delayed.remove(&sequence)) {
            self.stats.expired += 1;
            out.expired(&entry);
            self.progress(key, &[sequence], out);
            self.let_go(entry.message, u64::from(entry.bytes.get()));
        }
    }

    /// Whether the message at `sequence` came back to some subscription.
    fn is_returned(&self, sequence: u64) -> bool {
        self.subscriptions.values().any(|subscriber| {
            subscriber.returned.contains_key(&sequence)
                || subscriber.delayed.contains_key(&sequence)
        })
    }

    /// One subscription will not get an expired message any more (EXP-1). Of a stored message the first one
    /// that is rid of it hands it to the dead-letter path, and keeps it open until that is done (DLQ-2).
    pub(super) fn expire(
        &mut self,
        key: SubscriptionKey,
        sequence: u64,
        (entry, expires_ms): (Entry, u64),
        out: &mut impl Outlet,
    ) {
        self.stats.expired += 1;
        let durable = self.subscriptions.get(key).and_then(|found| found.durable);
        let kept = self.log.get_mut(sequence);
        let kept = kept.filter(|_| durable.is_some() && entry.journaled_at().is_some());
        let first = kept.is_some_and(|kept| !std::mem::replace(&mut kept.buried, true));
        if !first {
            if durable.is_none() {
                out.expired(&entry);
            }
            drop(entry);
            self.progress(key, &[sequence], out);
            self.release(sequence, out);
            return;
        }
        let subscriber = &mut self.subscriptions[key];
        subscriber.in_transactions.insert(sequence);
        subscriber.keep_open(sequence);
        out.reject(Rejected {
            sequence,
            entry: apart(entry),
            cause: expired_cause(expires_ms),
            expires_ms,
            expired: true,
            subscription: Some(key),
            durable,
        });
    }

    /// Notes when the message at `sequence` expires, so that a sweep finds it.
    pub(super) fn note_expiry(&mut self, sequence: u64, expires_ms: u64) {
        if expires_ms == 0 || self.durables == 0 {
            return;
        }
        self.expiring.insert((expires_ms, sequence));
        // What was consumed in time stays here until it is most of the index: constant work for each.
        if self.expiring.len() > 2 * self.log.len() + 64 {
            let log = &self.log;
            let there = |(_, sequence): &(u64, u64)| log.get(*sequence).is_some();
            self.expiring.retain(there);
            self.overdue.retain(there);
        }
    }
}

/// The entry with a message of its own: who else refers to one decides when its octets are free.
pub(super) fn apart(mut entry: Entry) -> Entry {
    entry.message = entry.message.as_deref().cloned().map(Arc::new);
    entry
}

//! What flows to a consumer, and in which order: first what returned or came late, then the log.

use super::{Topic, expiry};
use crate::broker::outlet::Outlet;
use crate::broker::subscription::SubscriptionKey;

/// Calls of [`Topic::take_laggard`] after which a subscription that has not come on counts as stuck.
const IDLE_LOOKS_MAX: u32 = 32;

impl Topic {
    /// Delivers to all consumers, beginning after the one for whom messages were last asked back, so that
    /// each laggard gets its run.
    pub(super) fn dispatch_all(&mut self, now_ms: u64, out: &mut impl Outlet) {
        let keys: Vec<SubscriptionKey> = self.subscriptions.keys().collect();
        let last = self.fetched_for;
        let next = keys
            .iter()
            .position(|key| Some(*key) == last)
            .map_or(0, |at| at + 1);
        for key in keys[next..].iter().chain(&keys[..next]) {
            self.dispatch(now_ms, *key, out);
        }
    }

    /// Delivers to one consumer what waits for it.
    pub fn dispatch(&mut self, now_ms: u64, key: SubscriptionKey, out: &mut impl Outlet) {
        self.dispatch_returned(now_ms, key, out);
        while let Some(subscriber) = self.subscriptions.get_mut(key)
            && subscriber.lag > 0
            && subscriber.returned.is_empty()
            && subscriber.has_credit()
        {
            let Some(sequence) = subscriber.next_waiting(&self.log) else {
                break;
            };
            let Some(kept) = self.log.get_mut(sequence) else {
                break;
            };
            let Some(message) = &kept.entry.message else {
                self.fetch(key, sequence, out);
                break;
            };
            let bytes = u64::from(kept.entry.bytes.get());
            if message.is_expired(now_ms) {
                let expires_ms = message.expires_ms;
                let entry = kept.entry.clone();
                subscriber.advance(sequence, bytes);
                self.expire(key, sequence, (entry, expires_ms), out);
                continue;
            }
            let mut entry = kept.entry.clone();
            if let Some(redeliveries) = subscriber.marks.get(&sequence) {
                (entry.redeliveries, entry.redelivered) = (*redeliveries, true);
            }
            let refused = subscriber.hand_out(key, sequence, entry, out);
            if refused.is_some() {
                break;
            }
            subscriber.advance(sequence, bytes);
            subscriber.drained_bytes += bytes;
            self.stats.dispatched += 1;
            if subscriber.durable.is_some() {
                self.unload(sequence);
            } else {
                self.release(sequence, out);
            }
        }
    }

    /// The backlog of the subscription that lags most among those that have come on in one of the last calls,
    /// and by how many octets it has since the last one. One that is stuck does not count: it may hold nobody
    /// up.
    pub fn take_laggard(&mut self) -> (u64, u64) {
        let mut most = (0, 0);
        for subscriber in self.subscriptions.values_mut() {
            let drained_bytes = std::mem::take(&mut subscriber.drained_bytes);
            subscriber.idle_looks = if drained_bytes > 0 {
                0
            } else {
                subscriber.idle_looks.saturating_add(1)
            };
            if subscriber.idle_looks < IDLE_LOOKS_MAX && subscriber.lag_bytes > most.0 {
                most = (subscriber.lag_bytes, drained_bytes);
            }
        }
        most
    }

    /// Hands out what has returned and what came late, oldest first (RED-8).
    pub(super) fn dispatch_returned(
        &mut self,
        now_ms: u64,
        key: SubscriptionKey,
        out: &mut impl Outlet,
    ) {
        while let Some(subscriber) = self.subscriptions.get_mut(key)
            && subscriber.has_credit()
            && let Some((sequence, mut entry)) = subscriber.returned.pop_first()
        {
            if entry.message.is_none() {
                let kept = self.log.get(sequence);
                entry.message = kept.and_then(|kept| kept.entry.message.clone());
            }
            let Some(message) = &entry.message else {
                subscriber.returned.insert(sequence, entry);
                self.fetch(key, sequence, out);
                return;
            };
            if message.is_expired(now_ms) {
                let (durable, expires_ms) = (subscriber.durable.is_some(), message.expires_ms);
                let bytes = u64::from(entry.bytes.get());
                if durable {
                    let copy = expiry::apart(entry.clone());
                    self.let_go(entry.message, bytes);
                    self.expire(key, sequence, (copy, expires_ms), out);
                } else {
                    out.expired(&entry);
                    self.let_go(entry.message, bytes);
                    self.stats.expired += 1;
                }
                continue;
            }
            match subscriber.hand_out(key, sequence, entry, out) {
                None => self.stats.dispatched += 1,
                Some(refused) => {
                    subscriber.returned.insert(sequence, refused);
                    return;
                }
            }
        }
    }
}

//! What a topic can be asked; nothing here changes it.

use super::Topic;
use super::subscriber::Subscriber;
use crate::broker::delivery::Which;
use crate::broker::queue::Reason;
use crate::broker::slow::Glance;
use crate::broker::subscription::SubscriptionKey;

impl Topic {
    /// Octets of messages held in memory.
    #[must_use]
    pub fn held_bytes(&self) -> u64 {
        self.held_bytes
    }

    /// Octets of messages that wait for somebody, those on disk included.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.log_bytes
    }

    /// Messages kept for laggards and durable subscriptions.
    #[must_use]
    pub fn len(&self) -> usize {
        self.log.len()
    }

    /// Whether nothing is kept.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.log.is_empty()
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

    /// Why the consumer `key` gets nothing; empty if nothing waits for it, or nothing keeps it from getting something.
    #[must_use]
    pub fn why_not_to(&self, key: SubscriptionKey) -> Vec<Reason> {
        let Some(subscriber) = self.subscriptions.get(key) else {
            return Vec::new();
        };
        let (waiting, unacked, _) = self.held_by(key);
        let Some(consumer) = subscriber.consumer.as_ref().filter(|_| waiting > 0) else {
            return Vec::new();
        };
        // Nothing is noted for a message of a topic.
        let since_ms = 0;
        if consumer.is_blocked() {
            return vec![Reason::ConnectionFull {
                consumer: key,
                since_ms,
            }];
        }
        if !consumer.has_credit() {
            return vec![Reason::WindowFull {
                consumer: key,
                unacked,
                window: consumer.window.messages_max,
                since_ms,
            }];
        }
        if self.fetching > 0 {
            vec![Reason::ReadingBack]
        } else {
            Vec::new()
        }
    }

    /// What each consumer does.
    pub fn glances(&self) -> impl Iterator<Item = Glance> {
        self.subscriptions.iter().filter_map(|(key, subscriber)| {
            let consumer = subscriber.consumer.as_ref()?;
            let waits = subscriber.lag > 0 || !subscriber.returned.is_empty();
            Some(Glance {
                key,
                is_slow: waits && consumer.is_full(),
                unacked: consumer.unacked.len(),
                done: consumer.done(),
            })
        })
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

    /// The number of the delivery of the consumer `key` that `which` names.
    #[must_use]
    pub fn number_of(&self, key: SubscriptionKey, which: Which) -> Option<u64> {
        let consumer = self.subscriptions.get(key)?.consumer.as_ref();
        consumer?.unacked.find(which)
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

    /// Whether the durable subscription `key` has a consumer.
    #[must_use]
    pub fn is_active(&self, key: SubscriptionKey) -> bool {
        self.subscriptions
            .get(key)
            .is_some_and(|subscriber| subscriber.consumer.is_some())
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
                    .filter(|(_, entry)| entry.redelivered && entry.journaled_at().is_some())
                    .map(move |(sequence, entry)| (id, *sequence, entry.redeliveries))
            })
    }
}

//! One subscription of a topic: its consumer, if it has one, and how far it has come.

use std::collections::{BTreeMap, BTreeSet};

use crate::broker::delivery::{Delivery, Entry};
use crate::broker::outlet::{Flow, Outgoing, Outlet};
use crate::broker::subscription::{Subscription, SubscriptionKey};

/// A subscription with its cursor into the topic's log.
#[derive(Debug)]
pub(super) struct Subscriber {
    /// The id of a durable subscription; `None` for one that lives with its consumer.
    pub(super) durable: Option<u32>,
    pub(super) consumer: Option<Subscription>,
    /// The number that the first delivery of the next consumer will get; none is used twice (ACK-4).
    pub(super) next_number: u64,
    /// What is published from here on has not been handed out.
    pub(super) cursor: u64,
    /// Log entries at or after the cursor that wait for it.
    pub(super) lag: usize,
    pub(super) lag_bytes: u64,
    /// Octets it has taken from its backlog since somebody last asked.
    pub(super) drained_bytes: u64,
    /// How often nothing had been taken when somebody asked.
    pub(super) idle_looks: u32,
    /// What goes out before the cursor moves on: returned deliveries, and places filled late.
    pub(super) returned: BTreeMap<u64, Entry>,
    /// Deliveries in the hands of a transaction or on their way to the dead-letter queue.
    pub(super) in_transactions: BTreeSet<u64>,
    /// What it had acknowledged beyond its position when the broker started.
    pub(super) acknowledged: BTreeSet<u64>,
}

impl Subscriber {
    pub(super) fn new(durable: Option<u32>, cursor: u64, consumer: Option<Subscription>) -> Self {
        Self {
            durable,
            consumer,
            next_number: 1,
            cursor,
            lag: 0,
            lag_bytes: 0,
            drained_bytes: 0,
            idle_looks: 0,
            returned: BTreeMap::new(),
            in_transactions: BTreeSet::new(),
            acknowledged: BTreeSet::new(),
        }
    }

    pub(super) fn has_credit(&self) -> bool {
        self.consumer.as_ref().is_some_and(Subscription::has_credit)
    }

    /// Whether the next message can go straight to the consumer.
    pub(super) fn keeps_up(&self) -> bool {
        self.lag == 0 && self.returned.is_empty() && self.has_credit()
    }

    /// Whether a recovered message was not acknowledged before the restart.
    pub(super) fn wants(&self, sequence: u64) -> bool {
        self.durable.is_some() && sequence >= self.cursor && !self.acknowledged.contains(&sequence)
    }

    /// Everything below is acknowledged.
    pub(super) fn lowest_open(&self) -> u64 {
        let unacked = self
            .consumer
            .iter()
            .flat_map(|consumer| consumer.unacked.iter());
        let open = unacked
            .map(|delivery| delivery.sequence)
            .chain(self.returned.keys().next().copied());
        open.chain(self.in_transactions.first().copied())
            .min()
            .unwrap_or(self.cursor)
            .min(self.cursor)
    }

    /// Moves the cursor past `sequence`, whose entry of `bytes` waited for this subscription.
    pub(super) fn advance(&mut self, sequence: u64, bytes: u64) {
        self.cursor = sequence + 1;
        self.lag -= 1;
        self.lag_bytes -= bytes;
    }

    /// Hands `entry` to the consumer, which has credit; gives it back if the connection refuses it. Only a
    /// durable subscription refers to the record.
    pub(super) fn hand_out(
        &mut self,
        key: SubscriptionKey,
        sequence: u64,
        mut entry: Entry,
        out: &mut impl Outlet,
    ) -> Option<Entry> {
        if self.durable.is_none() {
            entry.at = None;
        }
        let (Some(consumer), Some(message)) = (&mut self.consumer, &entry.message) else {
            return Some(entry);
        };
        let number = consumer.number_next();
        let outgoing = Outgoing {
            message,
            number,
            redelivered: entry.redelivered,
            redeliveries: entry.redeliveries,
            first_of_group: false,
        };
        let flow = out.deliver(key, &outgoing);
        if flow != Flow::Open {
            consumer.set_blocked(true);
        }
        if flow == Flow::Refused {
            return Some(entry);
        }
        let id = message.id;
        consumer.hold(Delivery {
            number,
            sequence,
            id,
            expires_ms: 0,
            entry,
            group: None,
        });
        None
    }

    /// Drops what was lost in the store and waited for it. What it holds in memory is not lost.
    pub(super) fn forget(&mut self, sequence: u64, bytes: u64) {
        if self
            .returned
            .get(&sequence)
            .is_some_and(|entry| entry.message.is_none())
        {
            self.returned.remove(&sequence);
        }
        if self.lag > 0 && self.cursor <= sequence && !self.acknowledged.contains(&sequence) {
            self.lag -= 1;
            self.lag_bytes -= bytes;
        }
    }
}

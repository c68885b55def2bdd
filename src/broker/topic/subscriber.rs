//! One subscription of a topic: its consumer, if it has one, and how far it has come.

use std::collections::{BTreeMap, BTreeSet};

use crate::broker::delivery::Entry;
use crate::broker::outlet::Outlet;
use crate::broker::subscription::{Subscription, SubscriptionKey};

/// A subscription with its cursor into the topic's log.
#[derive(Debug)]
pub(super) struct Subscriber {
    /// The id of a durable subscription; `None` for one that lives with its consumer.
    pub(super) durable: Option<u32>,
    pub(super) consumer: Option<Subscription>,
    /// What is published from here on has not been handed out.
    pub(super) cursor: u64,
    /// Log entries at or after the cursor that wait for it.
    pub(super) lag: usize,
    pub(super) lag_bytes: u64,
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
            cursor,
            lag: 0,
            lag_bytes: 0,
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

    /// Moves the cursor past `sequence`, whose entry waited for this subscription.
    pub(super) fn advance(&mut self, sequence: u64, entry: &Entry) {
        self.cursor = sequence + 1;
        self.lag -= 1;
        self.lag_bytes -= u64::from(entry.bytes.get());
    }

    /// Hands `entry` to the consumer, which has credit. Only a durable subscription refers to the record.
    pub(super) fn hand_out(
        &mut self,
        key: SubscriptionKey,
        sequence: u64,
        mut entry: Entry,
        out: &mut impl Outlet,
    ) {
        if self.durable.is_none() {
            entry.at = None;
        }
        if let Some(consumer) = &mut self.consumer {
            super::hand_out(consumer, key, sequence, entry, out);
        }
    }

    /// Hands out what had returned, oldest first (RED-8); returns how many.
    pub(super) fn pump_returned(&mut self, key: SubscriptionKey, out: &mut impl Outlet) -> u64 {
        let mut sent = 0;
        while self.has_credit()
            && let Some((sequence, entry)) = self.returned.pop_first()
        {
            self.hand_out(key, sequence, entry, out);
            sent += 1;
        }
        sent
    }

    /// Drops what was lost in the store.
    pub(super) fn forget(&mut self, sequence: u64) {
        self.returned.remove(&sequence);
        if self.cursor <= sequence && !self.acknowledged.contains(&sequence) {
            self.lag = self.lag.saturating_sub(1);
        }
    }
}

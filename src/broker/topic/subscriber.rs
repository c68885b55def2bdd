//! One subscription of a topic: its consumer, if it has one, and how far it has come.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;

use super::evict::Bounds;
use super::{Kept, Selection};
use crate::broker::delivery::{Delivery, Entry};
use crate::broker::log::Log;
use crate::broker::message::Message;
use crate::broker::outlet::{Flow, Outgoing, Outlet};
use crate::broker::places::Places;
use crate::broker::subscription::{Subscription, SubscriptionKey};

/// A subscription with its cursor into the topic's log.
#[derive(Debug)]
pub(super) struct Subscriber {
    /// The id of a durable subscription; `None` for one that lives with its consumer.
    pub(super) durable: Option<u32>,
    /// What it wants of the topic; `None`: everything.
    pub(super) selection: Selection,
    pub(super) consumer: Option<Subscription>,
    /// The number that the first delivery of the next consumer will get; none is used twice (ACK-4).
    pub(super) next_number: u64,
    /// What is published from here on has not been handed out.
    pub(super) cursor: u64,
    /// Log entries at or after the cursor that wait for it.
    pub(super) lag: usize,
    pub(super) lag_bytes: u64,
    /// With a filter: which log entries those are.
    pub(super) wanted: Places,
    /// Octets it has taken from its backlog since somebody last asked.
    pub(super) drained_bytes: u64,
    /// How often nothing had been taken when somebody asked.
    pub(super) idle_looks: u32,
    /// What goes out before the cursor moves on: returned deliveries, and places filled late.
    pub(super) returned: BTreeMap<u64, Entry>,
    /// What returned and may not go out yet.
    pub(super) delayed: BTreeMap<u64, Entry>,
    /// Deliveries in the hands of a transaction or on their way to the dead-letter queue.
    pub(super) in_transactions: BTreeSet<u64>,
    /// What it is done with beyond the cursor: acknowledged before the broker started, or expired.
    pub(super) acknowledged: BTreeSet<u64>,
    /// Failed deliveries before the broker started of what lies beyond the cursor.
    pub(super) marks: BTreeMap<u64, u16>,
    /// Below the cursor and not done with, of a durable subscription.
    pub(super) open: Places,
    /// What may wait for it, if that is not the same as for all.
    pub(super) bounds: Option<Box<Bounds>>,
}

impl Subscriber {
    pub(super) fn new(durable: Option<u32>, cursor: u64, consumer: Option<Subscription>) -> Self {
        Self {
            durable,
            selection: Selection::default(),
            consumer,
            next_number: 1,
            cursor,
            lag: 0,
            lag_bytes: 0,
            wanted: Places::default(),
            drained_bytes: 0,
            idle_looks: 0,
            returned: BTreeMap::new(),
            delayed: BTreeMap::new(),
            in_transactions: BTreeSet::new(),
            acknowledged: BTreeSet::new(),
            marks: BTreeMap::new(),
            open: Places::default(),
            bounds: None,
        }
    }

    pub(super) fn has_credit(&self) -> bool {
        self.consumer.as_ref().is_some_and(Subscription::has_credit)
    }

    /// Whether the next message can go straight to the consumer.
    pub(super) fn keeps_up(&self) -> bool {
        self.lag == 0 && self.returned.is_empty() && self.has_credit()
    }

    /// Whether a message that is new to the topic is for this subscription (SEL-9).
    pub(super) fn selects(&self, message: &Message) -> bool {
        let Selection { filter, .. } = &self.selection;
        !self.is_local(message)
            && filter
                .as_ref()
                .is_none_or(|filter| filter.matches(message, 0, false))
    }

    /// Whether it comes from the subscriber itself, who does not want that.
    pub(super) fn is_local(&self, message: &Message) -> bool {
        let local = self.selection.no_local.as_ref();
        local.is_some_and(|local| local.load(Ordering::Relaxed) == message.id.origin)
    }

    /// Whether a recovered message was not acknowledged before the restart.
    pub(super) fn wants(&self, sequence: u64) -> bool {
        self.durable.is_some() && sequence >= self.cursor && !self.acknowledged.contains(&sequence)
    }

    /// Everything below is acknowledged.
    pub(super) fn lowest_open(&self) -> u64 {
        self.open.first().unwrap_or(self.cursor).min(self.cursor)
    }

    /// Notes that the entry of `bytes` at `sequence`, which is beyond the cursor, waits for this subscription.
    pub(super) fn lag_behind(&mut self, sequence: u64, bytes: u64) {
        self.lag += 1;
        self.lag_bytes += bytes;
        if self.ranked().is_none() && self.selection.is_choosy() {
            self.wanted.insert(sequence);
        }
    }

    /// Whether the log entry at `sequence` waits for this subscription.
    pub(super) fn waits_for(&self, sequence: u64) -> bool {
        self.lag > 0
            && sequence >= self.cursor
            && if let Some(ranked) = self.ranked() {
                ranked.contains(sequence)
            } else if self.selection.is_choosy() {
                self.wanted.contains(sequence)
            } else {
                !self.acknowledged.contains(&sequence)
            }
    }

    /// The first log entry that waits for this subscription. Moves the cursor over what it is done with.
    pub(super) fn next_waiting(&mut self, log: &Log<Kept>) -> Option<u64> {
        if self.lag == 0 {
            return None;
        }
        if let Some(ranked) = self.ranked() {
            return ranked.first();
        }
        if self.selection.is_choosy() {
            return self.wanted.first();
        }
        loop {
            let sequence = log.next_from(self.cursor)?;
            if !self.acknowledged.remove(&sequence) {
                return Some(sequence);
            }
            self.move_to(sequence + 1);
        }
    }

    /// Moves the cursor past `sequence`, whose entry of `bytes` waited for this subscription.
    pub(super) fn advance(&mut self, sequence: u64, bytes: u64) {
        self.leave_out(sequence, bytes);
        self.move_to(sequence + 1);
    }

    /// The entry of `bytes` at `sequence` does not wait for this subscription any more.
    pub(super) fn leave_out(&mut self, sequence: u64, bytes: u64) {
        self.lag -= 1;
        self.lag_bytes -= bytes;
        self.unrank(sequence);
        if self.selection.is_choosy() {
            self.wanted.remove(sequence);
        }
        if !self.marks.is_empty() {
            self.marks.remove(&sequence);
        }
    }

    fn move_to(&mut self, cursor: u64) {
        self.cursor = cursor;
        if self.acknowledged.first().is_some_and(|at| *at < cursor) {
            self.acknowledged = self.acknowledged.split_off(&cursor);
        }
    }

    /// Notes that `sequence` is not done with, though the cursor passes it.
    pub(super) fn keep_open(&mut self, sequence: u64) {
        if self.durable.is_some() {
            self.open.insert(sequence);
        }
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
        let number = consumer.number_next(|| out.number(key));
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
        self.keep_open(sequence);
        None
    }

    /// Drops what was lost in the store and waited for it. What it holds in memory is not lost.
    pub(super) fn forget(&mut self, sequence: u64, bytes: u64) {
        for held in [&mut self.returned, &mut self.delayed] {
            if held
                .get(&sequence)
                .is_some_and(|entry| entry.message.is_none())
            {
                held.remove(&sequence);
                self.open.remove(sequence);
            }
        }
        if self.waits_for(sequence) {
            self.leave_out(sequence, bytes);
        }
    }
}

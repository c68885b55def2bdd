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
use super::delivery::Entry;
use super::filter::Filter;
use super::log::{Chill, Log};
use super::message::{Locator, Message};
use super::outlet::{Outlet, Rejected};
use super::paging::end_of_window;
use super::queue::Incoming;
use super::redelivery::{OnNack, RedeliveryPolicy, expired_cause};
use super::stats::Stats;
use super::subscription::{Subscription, SubscriptionKey};
use recovery::Extras;
use subscriber::Subscriber;

mod dispatch;
mod evict;
mod expiry;
mod membership;
mod paging;
mod policy;
mod recovery;
mod settle;
mod spill;
mod subscriber;
mod view;

pub use policy::{
    Eviction, PendingLimit, PendingLimitKind, RecoveryKind, RecoveryPolicy, TopicPolicy, TopicRules,
};

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
    /// Entries before this sequence need not be looked at for being spilled.
    spill_from: u64,
    fetching: usize,
    /// Whose turn it was to ask for messages back.
    fetched_for: Option<SubscriptionKey>,
    limits: TopicLimits,
    policy: RedeliveryPolicy,
    on_nack: OnNack,
    /// What the policy wants of it beyond the usual.
    extras: Option<Box<Extras>>,
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
            spill_from: 0,
            fetching: 0,
            fetched_for: None,
            limits,
            policy,
            on_nack: OnNack::default(),
            extras: None,
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

    /// Takes a message in and delivers it to all who can take it now.
    pub fn publish(&mut self, now_ms: u64, incoming: Incoming, out: &mut impl Outlet) {
        self.stats.enqueued += 1;
        let Incoming { sequence, entry } = incoming;
        let bytes = u64::from(entry.bytes.get());
        self.stats.enqueued_bytes += bytes;
        let mut entry = owned(entry);
        let Some(expires_ms) = entry.message.as_ref().map(|message| message.expires_ms) else {
            return;
        };
        if expires_ms != 0 && expires_ms <= now_ms {
            self.stats.expired += 1;
            out.reject(Rejected {
                sequence,
                cause: expired_cause(expires_ms),
                expires_ms,
                entry,
                expired: true,
                subscription: None,
                durable: None,
            });
            return;
        }
        self.held_bytes += bytes;
        self.keep_for_later(now_ms, sequence, &mut entry);
        let Some(message) = entry.message.clone() else {
            return;
        };
        let rules = self.extras.as_ref().map(|extras| &extras.rules);
        let (mut refs, mut late) = (0, false);
        let (mut passed, mut over) = (Vec::new(), Vec::new());
        for (key, subscriber) in &mut self.subscriptions {
            let durable = subscriber.durable.is_some();
            if subscriber.is_ended() {
                continue;
            }
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
                subscriber.queue_up(sequence, bytes, &message, rules);
                if subscriber.is_over(self.limits.slow_bytes_max) {
                    over.push(key);
                }
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
                self.spill_from = self.spill_from.max(sequence + 1);
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
        self.evict(over, out);
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

    fn consumer(&mut self, key: SubscriptionKey) -> Option<&mut Subscription> {
        self.subscriptions.get_mut(key)?.consumer.as_mut()
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

//! Why a message is not delivered, and why a queue does not move: the answers of the one who decides it.
//!
//! Asking changes nothing. What is looked at is bounded, so that a question costs others little.

use std::fmt;

use super::Queue;
use super::consumer::Consumer;
use super::lanes::Spot;
use crate::broker::delivery::{AckMode, Entry};
use crate::broker::message::MessageId;
use crate::broker::subscription::SubscriptionKey;

/// Messages at the head that are looked at for somebody who asks about the whole queue.
const LOOKS_MAX: usize = 100;

/// Messages that are looked at to find one by its id.
const FIND_MAX: usize = 100_000;

/// One thing that keeps a message from a consumer.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason {
    /// Nobody consumes from the queue.
    NoConsumer,
    /// An administrator has paused the queue.
    Paused,
    /// Delivery begins when there are more consumers, or later (PRE-6).
    FairStart {
        /// How many there are.
        consumers: u32,
        /// How many it waits for; 0 if it waits for a time only.
        wanted: u32,
        /// When it begins at the latest, milliseconds since 1970.
        until_ms: Option<u64>,
    },
    /// A consumer has as many messages as it may have without acknowledging.
    WindowFull {
        /// Which.
        consumer: SubscriptionKey,
        /// What it holds.
        unacked: usize,
        /// How many it may hold.
        window: u32,
        /// Since when, milliseconds since 1970.
        since_ms: u64,
    },
    /// The connection of a consumer takes nothing more: it does not read, or reads too slowly.
    ConnectionFull {
        /// Which.
        consumer: SubscriptionKey,
        /// Since when, milliseconds since 1970; 0 if it has taken nothing yet.
        since_ms: u64,
    },
    /// The selector of a consumer does not match.
    SelectorFalse {
        /// Whose.
        consumer: SubscriptionKey,
    },
    /// Another consumer is the only one, by its own wish or the policy (PRE-9).
    Exclusive {
        /// Who.
        consumer: SubscriptionKey,
    },
    /// A consumer of higher priority takes everything (PRE-5).
    HigherPriority {
        /// Who.
        consumer: SubscriptionKey,
    },
    /// Its group belongs to another consumer (GRP-1).
    GroupOwner {
        /// `JMSXGroupID`.
        group: String,
        /// To whom.
        consumer: SubscriptionKey,
    },
    /// A message of its group waits for its redelivery (GRP-8).
    GroupHeld {
        /// `JMSXGroupID`.
        group: String,
    },
    /// It waits for its redelivery (RED-3).
    Delayed {
        /// When it is due, milliseconds since 1970.
        until_ms: u64,
    },
    /// A delayed message holds up all behind it (RED-4).
    HeldUp {
        /// When the first of those is due, milliseconds since 1970.
        until_ms: u64,
    },
    /// It has expired and will be removed.
    Expired,
    /// It is being read back from disk.
    ReadingBack,
    /// A consumer has it and has not acknowledged it.
    InFlight {
        /// Who.
        consumer: SubscriptionKey,
    },
    /// It is not in the queue, or an open transaction has it.
    Gone,
}

impl Queue {
    /// Why nothing is delivered at the moment; empty if nothing waits or nothing keeps it from being delivered.
    #[must_use]
    pub fn why_idle(&self, now_ms: u64) -> Vec<Reason> {
        if self.lanes.is_empty() {
            return Vec::new();
        }
        let mut reasons = self.why_closed();
        if !reasons.is_empty() {
            return reasons;
        }
        for (key, consumer) in self.consumers.iter().filter(|(_, it)| it.browse.is_none()) {
            match self.why_no_credit(key, consumer) {
                Some(reason) => reasons.push(reason),
                None => {
                    let why = self.why_nothing_for(now_ms, key);
                    if why.is_empty() {
                        return Vec::new();
                    }
                    reasons.extend(why);
                }
            }
        }
        reasons.dedup();
        reasons
    }

    /// Why the message at `sequence` is not delivered to `consumer`, or to anybody if that is `None`; empty if nothing keeps
    /// it and only its turn has not come.
    #[must_use]
    pub fn why_not(
        &self,
        now_ms: u64,
        sequence: u64,
        consumer: Option<SubscriptionKey>,
    ) -> Vec<Reason> {
        let Some(spot) = self.lanes.find(sequence) else {
            let mut holders = self.consumers.iter();
            let holder = holders.find(|(_, holder)| {
                let mut unacked = holder.subscription.unacked.iter();
                unacked.any(|held| held.sequence == sequence)
            });
            let held = holder.map(|(consumer, _)| Reason::InFlight { consumer });
            return vec![held.unwrap_or(Reason::Gone)];
        };
        let mut reasons = self.why_closed();
        let takers = self.consumers.iter().filter(|(_, it)| it.browse.is_none());
        let mut free = false;
        for (key, taker) in takers.filter(|(key, _)| consumer.is_none_or(|only| only == *key)) {
            let mut why: Vec<Reason> = self.why_no_credit(key, taker).into_iter().collect();
            why.extend(self.why_not_this(now_ms, spot, key, taker));
            free |= why.is_empty();
            reasons.extend(why);
        }
        if free && self.why_closed().is_empty() {
            return Vec::new();
        }
        let mut said = Vec::new();
        reasons.retain(|reason| {
            let is_new = !said.contains(reason);
            said.push(reason.clone());
            is_new
        });
        reasons
    }

    /// Why `consumer` gets nothing; empty if nothing waits or nothing keeps it from getting something.
    #[must_use]
    pub fn why_not_to(&self, now_ms: u64, consumer: SubscriptionKey) -> Vec<Reason> {
        let Some(taker) = self.consumers.get(consumer) else {
            return Vec::new();
        };
        let mut reasons = self.why_closed();
        if reasons.is_empty() {
            reasons.extend(self.why_no_credit(consumer, taker));
        }
        if reasons.is_empty() {
            reasons = self.why_nothing_for(now_ms, consumer);
        }
        reasons
    }

    /// The place of the message with that id: a consumer has it, or it waits in memory, among the first
    /// [`FIND_MAX`].
    #[must_use]
    pub fn sequence_of(&self, id: MessageId) -> Option<u64> {
        let unacked = self.takers().flat_map(|it| it.subscription.unacked.iter());
        let held = unacked
            .filter(|held| held.id == id)
            .map(|held| held.sequence);
        let waiting = self.lanes.iter().take(FIND_MAX).filter(|(_, entry)| {
            entry
                .message
                .as_ref()
                .is_some_and(|message| message.id == id)
        });
        held.chain(waiting.map(|(sequence, _)| sequence)).next()
    }

    /// What keeps everything from everybody.
    pub(super) fn why_closed(&self) -> Vec<Reason> {
        let mut reasons = Vec::new();
        if self.paused {
            reasons.push(Reason::Paused);
        }
        if self.takers().next().is_none() {
            reasons.push(Reason::NoConsumer);
        } else if !self.gate.was_open() && self.gate_waits() {
            reasons.push(Reason::FairStart {
                consumers: self.gate.consumers(),
                wanted: self.policy.consumers_before_dispatch,
                until_ms: self.gate.due_ms(&self.policy),
            });
        }
        if self.policy.strict_order_dispatch
            && self.exclusive.is_some()
            && self.delays.len() > 0
            && let Some(until_ms) = self.delays.next_ms()
        {
            reasons.push(Reason::HeldUp { until_ms });
        }
        reasons
    }

    fn gate_waits(&self) -> bool {
        self.policy.consumers_before_dispatch > 0 || self.policy.time_before_dispatch_ms > 0
    }

    /// Why the consumer gets nothing, whatever it is.
    pub(super) fn why_no_credit(
        &self,
        key: SubscriptionKey,
        consumer: &Consumer,
    ) -> Option<Reason> {
        if let Some(exclusive) = self.exclusive
            && exclusive != key
        {
            return Some(Reason::Exclusive {
                consumer: exclusive,
            });
        }
        let subscription = &consumer.subscription;
        let since_ms = consumer.full_since_ms;
        if subscription.is_blocked() {
            return Some(Reason::ConnectionFull {
                consumer: key,
                since_ms,
            });
        }
        if subscription.mode != AckMode::Auto && !subscription.has_credit() {
            return Some(Reason::WindowFull {
                consumer: key,
                unacked: subscription.unacked.len(),
                window: subscription.window.messages_max,
                since_ms,
            });
        }
        let mut others = self.consumers.iter();
        let higher = others.find(|(_, other)| {
            other.priority > consumer.priority && other.is_willing() && other.selection.is_none()
        });
        higher.map(|(key, _)| Reason::HigherPriority { consumer: key })
    }

    /// Why none of the first messages goes to the consumer, which has credit; empty if one could.
    fn why_nothing_for(&self, now_ms: u64, key: SubscriptionKey) -> Vec<Reason> {
        let consumer = &self.consumers[key];
        let mut reasons: Vec<Reason> = Vec::new();
        let mut from = Spot::FIRST;
        for _ in 0..LOOKS_MAX {
            let Some(spot) = self.lanes.next_from(from) else {
                break;
            };
            let Some(reason) = self.why_not_this(now_ms, spot, key, consumer) else {
                return Vec::new();
            };
            if !reasons.contains(&reason) {
                reasons.push(reason);
            }
            from = spot.next();
        }
        reasons
    }

    /// Why the waiting message at `spot` does not go to the consumer, as far as the message is concerned.
    pub(super) fn why_not_this(
        &self,
        now_ms: u64,
        spot: Spot,
        key: SubscriptionKey,
        consumer: &Consumer,
    ) -> Option<Reason> {
        let entry = self.lanes.get(spot)?;
        if entry.is_delayed() {
            let until_ms = self.delays.due_ms(spot).unwrap_or(now_ms);
            return Some(Reason::Delayed { until_ms });
        }
        let Some(message) = &entry.message else {
            return Some(Reason::ReadingBack);
        };
        if message.is_expired(now_ms) {
            return Some(Reason::Expired);
        }
        if !consumer.matches(message, entry.redeliveries, entry.redelivered) {
            return Some(Reason::SelectorFalse { consumer: key });
        }
        self.why_group(&entry, key)
    }

    fn why_group(&self, entry: &Entry, key: SubscriptionKey) -> Option<Reason> {
        if !entry.is_grouped() {
            return None;
        }
        let read = self.group_reader?;
        let mark = read(entry.message.as_ref()?)?;
        let group = self.groups.get(self.groups.find(&mark.id)?)?;
        if group.delayed > 0 && self.policy.group_redelivery_holds {
            return Some(Reason::GroupHeld {
                group: mark.id.into_owned(),
            });
        }
        let owner = group.owner.filter(|owner| *owner != key)?;
        self.consumers
            .contains_key(owner)
            .then(|| Reason::GroupOwner {
                group: mark.id.into_owned(),
                consumer: owner,
            })
    }
}

impl Reason {
    /// A word for programs.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::NoConsumer => "no-consumer",
            Self::Paused => "paused",
            Self::FairStart { .. } => "fair-start",
            Self::WindowFull { .. } => "window-full",
            Self::ConnectionFull { .. } => "connection-full",
            Self::SelectorFalse { .. } => "selector",
            Self::Exclusive { .. } => "exclusive",
            Self::HigherPriority { .. } => "higher-priority",
            Self::GroupOwner { .. } => "group-owner",
            Self::GroupHeld { .. } => "group-held",
            Self::Delayed { .. } => "delayed",
            Self::HeldUp { .. } => "held-up",
            Self::Expired => "expired",
            Self::ReadingBack => "reading-back",
            Self::InFlight { .. } => "in-flight",
            Self::Gone => "gone",
        }
    }

    /// The consumer that it is about.
    #[must_use]
    pub fn consumer(&self) -> Option<SubscriptionKey> {
        match self {
            Self::WindowFull { consumer, .. }
            | Self::ConnectionFull { consumer, .. }
            | Self::SelectorFalse { consumer }
            | Self::Exclusive { consumer }
            | Self::HigherPriority { consumer }
            | Self::GroupOwner { consumer, .. }
            | Self::InFlight { consumer } => Some(*consumer),
            _ => None,
        }
    }

    /// Since when it lasts, milliseconds since 1970, as far as it is known.
    #[must_use]
    pub fn since_ms(&self) -> Option<u64> {
        match self {
            Self::WindowFull { since_ms, .. } | Self::ConnectionFull { since_ms, .. } => {
                Some(*since_ms)
            }
            _ => None,
        }
    }

    /// When it ends by itself, milliseconds since 1970, as far as it is known.
    #[must_use]
    pub fn until_ms(&self) -> Option<u64> {
        match self {
            Self::FairStart { until_ms, .. } => *until_ms,
            Self::Delayed { until_ms } | Self::HeldUp { until_ms } => Some(*until_ms),
            _ => None,
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoConsumer => f.write_str("no consumer"),
            Self::Paused => f.write_str("the queue is paused"),
            Self::FairStart { wanted: 0, .. } => f.write_str("delivery begins after a time"),
            Self::FairStart {
                consumers, wanted, ..
            } => write!(
                f,
                "delivery begins with {wanted} consumers, there are {consumers}"
            ),
            Self::WindowFull {
                unacked, window, ..
            } => write!(
                f,
                "a consumer holds {unacked} messages of {window} without acknowledging"
            ),
            Self::ConnectionFull { .. } => {
                f.write_str("the connection of a consumer takes nothing more")
            }
            Self::SelectorFalse { .. } => f.write_str("the selector of a consumer does not match"),
            Self::Exclusive { .. } => f.write_str("another consumer is the only one"),
            Self::HigherPriority { .. } => {
                f.write_str("a consumer of higher priority takes everything")
            }
            Self::GroupOwner { group, .. } => {
                write!(f, "the group {group} belongs to another consumer")
            }
            Self::GroupHeld { group } => {
                write!(f, "a message of the group {group} waits for its redelivery")
            }
            Self::Delayed { .. } => f.write_str("it waits for its redelivery"),
            Self::HeldUp { .. } => {
                f.write_str("a message that waits for its redelivery holds up those behind it")
            }
            Self::Expired => f.write_str("it has expired"),
            Self::ReadingBack => f.write_str("it is being read back from disk"),
            Self::InFlight { .. } => f.write_str("a consumer has it and has not acknowledged it"),
            Self::Gone => f.write_str("it is not in the queue, or an open transaction has it"),
        }
    }
}

#[cfg(test)]
mod tests;

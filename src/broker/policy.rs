//! What an operator decides about a destination, as plain data with ActiveMQ's defaults (section 11.10).
//!
//! How the values are written down, and which key of the configuration is which field, is the configuration's business
//! (`config/policy`). Which policy a destination has is the business of [`Policies`].

use super::dedup::DedupLimits;
use super::message::Message;
use super::queue::QueuePolicy;

mod dead_letters;
mod declared;
mod policies;

pub use dead_letters::{DeadLetterKind, DeadLetterStrategy};
pub use declared::Declared;
pub use policies::{Policies, Policy, Scope};

// What machines are told of a policy lies with them.
pub use super::slow::{SlowKind, SlowPolicy};
pub use super::topic::{
    Eviction, PendingLimit, PendingLimitKind, RecoveryKind, RecoveryPolicy, TopicPolicy,
};

/// The rules of one destination; looked up at its creation and again after a reload.
#[derive(Clone, Debug, PartialEq)]
pub struct DestinationPolicy {
    /// Whether a client that names the destination creates it (DST-13).
    pub auto_create: bool,
    /// The most destinations that may match the policy; `None`: any number (DST-13).
    pub destinations_max: Option<u32>,
    /// How a queue hands its messages out and redelivers them. Topics take the redelivery from it too.
    pub queue: QueuePolicy,
    /// How a topic treats those that do not keep up, and those who come later.
    pub topic: TopicPolicy,
    /// When a consumer is ended because it is slow (SLO-2).
    pub slow: SlowPolicy,
    /// Where dead letters go (DLQ-1).
    pub dead_letters: DeadLetterStrategy,
    /// The window of a queue subscription that asks for none (PRE-1).
    pub queue_prefetch: u32,
    /// The window of a queue browser that asks for none.
    pub queue_browser_prefetch: u32,
    /// The window of a topic subscription that asks for none.
    pub topic_prefetch: u32,
    /// The window of a durable topic subscription that asks for none.
    pub durable_topic_prefetch: u32,
    /// What the destination may hold.
    pub limits: Limits,
    /// How many ids of messages are remembered, and for how long (SND-6).
    pub dedup: DedupLimits,
    /// What is done to the time and expiry of messages sent here (EXP-1).
    pub timestamping: Timestamping,
    /// What is reported of the destination beyond what always is (section 11.7).
    pub advisories: AdvisoryPolicy,
    /// Whether the destination goes when nobody has used it for `inactive_timeout_ms` (GC-1).
    pub gc_inactive: bool,
    /// Milliseconds without a message, consumer or producer after which it may go.
    pub inactive_timeout_ms: u64,
}

impl Default for DestinationPolicy {
    fn default() -> Self {
        Self {
            auto_create: true,
            destinations_max: None,
            queue: QueuePolicy::default(),
            topic: TopicPolicy::default(),
            slow: SlowPolicy::default(),
            dead_letters: DeadLetterStrategy::default(),
            queue_prefetch: 1000,
            queue_browser_prefetch: 500,
            topic_prefetch: 32_767,
            durable_topic_prefetch: 100,
            limits: Limits::default(),
            dedup: DedupLimits::default(),
            timestamping: Timestamping::default(),
            advisories: AdvisoryPolicy::default(),
            gc_inactive: false,
            inactive_timeout_ms: 60_000,
        }
    }
}

/// Advisories that are off unless a policy wants them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AdvisoryPolicy {
    /// A consumer's window is full while messages wait.
    pub slow_consumers: bool,
    /// A producer has to wait.
    pub fast_producers: bool,
    /// A message is dropped for a slow subscriber of a topic.
    pub discarding: bool,
    /// The destination has taken a message.
    pub delivery: bool,
    /// A consumer has acknowledged a message.
    pub consumed: bool,
    /// A message went to a consumer.
    pub dispatched: bool,
    /// A limit is reached.
    pub when_full: bool,
    /// A message was sent where nobody consumes.
    pub no_consumers: bool,
    /// Whether reports of a message hold its body.
    pub include_body: bool,
}

impl AdvisoryPolicy {
    /// Whether a step of the destination may have something to report.
    #[must_use]
    pub fn watches_steps(&self) -> bool {
        self.slow_consumers
            || self.discarding
            || self.delivery
            || self.consumed
            || self.dispatched
            || self.no_consumers
    }
}

/// What happens to a message that is beyond a limit of its destination.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Overflow {
    /// Its producer waits until there is room.
    #[default]
    Wait,
    /// Its producer gets an error.
    Reject,
    /// The oldest messages that nobody holds are dropped to make room.
    DropHead,
}

/// What a destination may hold, and what happens beyond it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Messages, in flight ones included; `None`: any number.
    pub messages_max: Option<u64>,
    /// Their octets, those on disk included; `None`: any number.
    pub bytes_max: Option<u64>,
    /// What happens to a message beyond these.
    pub overflow: Overflow,
    /// Octets in memory beyond which producers of messages that are not persistent wait; `None`: only the limit of the
    /// whole broker counts (USE-2). Bounds nothing on disk.
    pub memory_bytes_max: Option<u64>,
    /// Whether producers wait at `memory_bytes_max` (USE-6).
    pub producer_flow_control: bool,
    /// The part of `memory_bytes_max` that persistent messages may take, percent (USE-2).
    pub memory_mark_percent: u8,
    /// The part of the store's limit at which producers of persistent messages wait, percent (USE-2).
    pub store_mark_percent: u8,
    /// Whether a producer gets an error where it would wait for space (USE-5).
    pub fails_if_no_space: bool,
    /// Milliseconds after which a producer that waits gets an error; 0: never (USE-5).
    pub fails_after_ms: u64,
    /// Milliseconds after which the log says again that a producer waits; 0: never (USE-3).
    pub warning_interval_ms: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            messages_max: None,
            bytes_max: None,
            overflow: Overflow::default(),
            memory_bytes_max: None,
            producer_flow_control: true,
            memory_mark_percent: 70,
            store_mark_percent: 100,
            fails_if_no_space: false,
            fails_after_ms: 0,
            warning_interval_ms: 30_000,
        }
    }
}

/// What a destination holds, for comparison with its limits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Messages, in flight ones included.
    pub messages: u64,
    /// Their octets, those on disk included.
    pub bytes: u64,
    /// Octets of those in memory.
    pub memory_bytes: u64,
}

impl Usage {
    /// Both together.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            messages: self.messages + other.messages,
            bytes: self.bytes + other.bytes,
            memory_bytes: self.memory_bytes + other.memory_bytes,
        }
    }
}

/// A limit that a destination has reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reached {
    /// [`Limits::messages_max`].
    Messages,
    /// [`Limits::bytes_max`].
    Bytes,
    /// [`Limits::memory_bytes_max`].
    Memory,
}

impl Limits {
    /// Whether there is anything to look at when a message comes.
    #[must_use]
    pub fn are_any(&self) -> bool {
        self.messages_max.is_some()
            || self.bytes_max.is_some()
            || self.memory_bytes_max.is_some()
            || self.store_mark_percent < 100
    }

    /// Octets at its head that a destination keeps in memory, where `window_bytes` is what others keep.
    #[must_use]
    pub fn window_bytes(&self, window_bytes: u64) -> u64 {
        let share = |max: u64| max / 100 * u64::from(self.memory_mark_percent);
        self.memory_bytes_max
            .map_or(window_bytes, |max| share(max).min(window_bytes))
    }

    /// Whether `usage` is more than may be there.
    #[must_use]
    pub fn exceeded(&self, usage: Usage) -> bool {
        self.messages_max.is_some_and(|max| usage.messages > max)
            || self.bytes_max.is_some_and(|max| usage.bytes > max)
    }

    /// The limit that one more message of `bytes` octets is beyond, with `usage` there already. A single message fits
    /// into an empty destination whatever its size.
    #[must_use]
    pub fn reached(&self, usage: Usage, bytes: u64, persistent: bool) -> Option<Reached> {
        if self.messages_max.is_some_and(|max| usage.messages >= max) {
            return Some(Reached::Messages);
        }
        let beyond = |max: u64, held: u64| held > 0 && held.saturating_add(bytes) > max;
        if self.bytes_max.is_some_and(|max| beyond(max, usage.bytes)) {
            return Some(Reached::Bytes);
        }
        let memory = self
            .memory_bytes_max
            .filter(|_| self.producer_flow_control && !persistent);
        memory
            .is_some_and(|max| beyond(max, usage.memory_bytes))
            .then_some(Reached::Memory)
    }
}

/// What is done to the time and expiry of messages (ActiveMQ's time-stamp plug-in; EXP-1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timestamping {
    /// The broker's time replaces the sender's, and the expiry moves along.
    pub enabled: bool,
    /// The longest time to live, milliseconds; 0: any.
    pub ttl_ceiling_ms: u64,
    /// The time to live of messages that have none, milliseconds; 0: none.
    pub zero_expiration_override_ms: u64,
    /// Only move an expiry later, never earlier.
    pub future_only: bool,
}

impl Timestamping {
    /// Whether messages are looked at.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.enabled || self.ttl_ceiling_ms > 0 || self.zero_expiration_override_ms > 0
    }

    /// Stamps a message that has just come in.
    pub fn stamp(&self, message: &mut Message, now_ms: u64) {
        let mut ttl_ms = match message.expires_ms {
            0 => self.zero_expiration_override_ms,
            // One that was past before it was sent stays past.
            expires_ms if expires_ms <= message.timestamp_ms => return,
            expires_ms => expires_ms - message.timestamp_ms,
        };
        if self.ttl_ceiling_ms > 0 {
            ttl_ms = ttl_ms.min(self.ttl_ceiling_ms);
        }
        let expires_ms = now_ms.saturating_add(ttl_ms);
        if self.future_only && expires_ms <= message.expires_ms {
            return;
        }
        if ttl_ms > 0 {
            message.expires_ms = expires_ms;
        }
        message.timestamp_ms = now_ms;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::{MessageFlags, MessageId};

    fn stamped(timestamping: Timestamping, timestamp_ms: u64, expires_ms: u64) -> (u64, u64) {
        let id = MessageId {
            origin: 1,
            serial: 1,
        };
        let mut message = Message::new(id, bytes::Bytes::new(), 0, MessageFlags::default(), 1);
        (message.timestamp_ms, message.expires_ms) = (timestamp_ms, expires_ms);
        timestamping.stamp(&mut message, 1000);
        (message.timestamp_ms, message.expires_ms)
    }

    #[test]
    fn an_expiry_moves_with_the_time_and_is_capped() {
        let plain = Timestamping {
            enabled: true,
            ..Timestamping::default()
        };
        assert!(plain.is_on() && !Timestamping::default().is_on());
        assert_eq!(stamped(plain, 400, 0), (1000, 0));
        assert_eq!(stamped(plain, 400, 500), (1000, 1100));
        assert_eq!(stamped(plain, 400, 300), (400, 300), "was past when sent");
        let capped = Timestamping {
            ttl_ceiling_ms: 50,
            ..plain
        };
        assert_eq!(stamped(capped, 400, 500), (1000, 1050));
        assert_eq!(stamped(capped, 400, 0), (1000, 0), "none stays none");
        let with_default = Timestamping {
            zero_expiration_override_ms: 70,
            ..capped
        };
        assert_eq!(stamped(with_default, 400, 0), (1000, 1050));
        let later_only = Timestamping {
            future_only: true,
            ..plain
        };
        assert_eq!(stamped(later_only, 1990, 2000), (1990, 2000));
        assert_eq!(stamped(later_only, 400, 500), (1000, 1100));
    }

    #[test]
    fn limits_count_what_is_there() {
        let limits = Limits {
            messages_max: Some(2),
            bytes_max: Some(100),
            memory_bytes_max: Some(50),
            ..Limits::default()
        };
        let usage = |messages, bytes, memory_bytes| Usage {
            messages,
            bytes,
            memory_bytes,
        };
        assert!(limits.are_any() && !Limits::default().are_any());
        assert_eq!(limits.reached(usage(0, 0, 0), 1000, false), None);
        assert_eq!(limits.reached(usage(1, 60, 0), 40, true), None);
        assert_eq!(
            limits.reached(usage(1, 60, 0), 41, true),
            Some(Reached::Bytes)
        );
        assert_eq!(
            limits.reached(usage(2, 0, 0), 1, true),
            Some(Reached::Messages)
        );
        assert_eq!(
            limits.reached(usage(1, 40, 40), 11, false),
            Some(Reached::Memory)
        );
        assert_eq!(limits.reached(usage(1, 40, 40), 11, true), None);
        let unhindered = Limits {
            producer_flow_control: false,
            ..limits
        };
        assert_eq!(unhindered.reached(usage(1, 40, 40), 11, false), None);
    }
}

//! What an operator decides about the subscribers of a topic, as plain data (SLO-1, RCV-1).

use std::sync::Arc;

use crate::broker::filter::TextReader;
use crate::broker::subscription::Window;

/// How a topic treats subscribers without a durable subscription.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TopicPolicy {
    /// How much may wait for one that does not keep up.
    pub pending: PendingLimit,
    /// What happens beyond that.
    pub eviction: Eviction,
    /// The property whose values are to be kept, with [`Eviction::UniqueProperty`].
    pub eviction_property: String,
    /// What is kept for those who come later.
    pub recovery: RecoveryPolicy,
    /// Whether every subscriber gets that, asked for or not.
    pub always_retroactive: bool,
}

/// How the number of messages is found that may wait for a subscriber.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PendingLimitKind {
    /// There is none.
    #[default]
    None,
    /// It is the same for all.
    Constant,
    /// It grows with the subscriber's window.
    PrefetchRate,
}

/// How many messages may wait for a subscriber beyond those that its window and connection take.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PendingLimit {
    /// How the number is found.
    pub kind: PendingLimitKind,
    /// The number, if it is constant; `None`: any number.
    pub messages_max: Option<u32>,
    /// By what a window is multiplied.
    pub multiplier: f64,
}

impl Default for PendingLimit {
    fn default() -> Self {
        Self {
            kind: PendingLimitKind::None,
            messages_max: Some(10),
            multiplier: 0.5,
        }
    }
}

impl PendingLimit {
    /// The messages that may wait for a subscriber with that window; `None`: any number.
    #[must_use]
    pub fn of(&self, window: Window) -> Option<usize> {
        match self.kind {
            PendingLimitKind::None => None,
            PendingLimitKind::Constant => self.messages_max.map(|max| max as usize),
            PendingLimitKind::PrefetchRate => {
                let max = f64::from(window.messages_max) * self.multiplier;
                // A conversion saturates.
                #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
                let max = max as usize;
                Some(max)
            }
        }
    }
}

/// What becomes of a subscriber for whom too much waits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Eviction {
    /// It loses the oldest message.
    #[default]
    Oldest,
    /// It loses the oldest of those with the lowest priority.
    LowestPriority,
    /// It loses the oldest message for which there is a newer one with the same value of a property; failing that, the
    /// oldest.
    UniqueProperty,
    /// It ends.
    Disconnect,
}

/// What a topic keeps for those who come later.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RecoveryKind {
    /// Nothing.
    #[default]
    None,
    /// The last message.
    LastImage,
    /// The last messages, up to a number.
    FixedCount,
    /// The last messages, up to a number of octets.
    FixedSize,
    /// The messages of the last time.
    Timed,
    /// The last message that asks to be kept, by its property [`RETAIN`].
    Retained,
}

/// The property of a message that asks to be retained.
pub(super) const RETAIN: &str = "ActiveMQ.Retain";

/// What a topic keeps for those who come later, and how much of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecoveryPolicy {
    /// Which messages.
    pub kind: RecoveryKind,
    /// How many messages or octets; `None`: 100 messages, 64 KiB.
    pub size_max: Option<u64>,
    /// For how long, milliseconds, if it goes by time.
    pub duration_ms: u64,
    /// Octets of memory in any case.
    pub bytes_max: u64,
}

impl Default for RecoveryPolicy {
    fn default() -> Self {
        Self {
            kind: RecoveryKind::None,
            size_max: None,
            duration_ms: 60_000,
            bytes_max: 16 << 20,
        }
    }
}

impl RecoveryPolicy {
    /// How many messages are kept at most.
    pub(super) fn messages_max(&self) -> usize {
        match self.kind {
            RecoveryKind::None => 0,
            RecoveryKind::LastImage | RecoveryKind::Retained => 1,
            RecoveryKind::FixedCount => {
                usize::try_from(self.size_max.unwrap_or(100)).unwrap_or(usize::MAX)
            }
            RecoveryKind::FixedSize | RecoveryKind::Timed => usize::MAX,
        }
    }

    /// How many octets are kept at most; the last message may be larger.
    pub(super) fn octets_max(&self) -> u64 {
        match self.kind {
            RecoveryKind::FixedSize => self.size_max.unwrap_or(64 << 10).min(self.bytes_max),
            _ => self.bytes_max,
        }
    }

    /// For how long a message is kept, if that is bounded.
    pub(super) fn kept_ms(&self) -> Option<u64> {
        (self.kind == RecoveryKind::Timed).then_some(self.duration_ms)
    }
}

/// A policy, and who reads what it asks of messages.
#[derive(Clone, Debug)]
pub struct TopicRules {
    /// What is wanted.
    pub policy: TopicPolicy,
    /// Who reads properties.
    pub reader: Arc<dyn TextReader>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pending_limit_is_none_a_number_or_a_part_of_the_window() {
        let of = |kind, messages_max, multiplier| {
            let limit = PendingLimit {
                kind,
                messages_max,
                multiplier,
            };
            limit.of(Window::messages(30))
        };
        assert_eq!(of(PendingLimitKind::None, Some(5), 0.5), None);
        assert_eq!(of(PendingLimitKind::Constant, Some(0), 0.5), Some(0));
        assert_eq!(of(PendingLimitKind::Constant, None, 0.5), None);
        assert_eq!(of(PendingLimitKind::PrefetchRate, None, 0.5), Some(15));
        assert_eq!(of(PendingLimitKind::PrefetchRate, None, 2.0), Some(60));
    }
}

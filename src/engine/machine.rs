//! What is behind the lock of a destination: a queue or a topic, and what both can be asked.

use crate::broker::slow::Glance;
use crate::broker::{Message, Queue, Topic};

/// The machine of a destination.
#[expect(
    clippy::large_enum_variant,
    reason = "most destinations are queues, and what each message touches lies in its cell"
)]
pub enum Machine {
    /// Point to point.
    Queue(Queue),
    /// Publish and subscribe.
    Topic(Box<Topic>),
}

impl Machine {
    /// Octets of messages held in memory.
    #[must_use]
    pub fn held_bytes(&self) -> u64 {
        match self {
            Self::Queue(queue) => queue.held_bytes(),
            Self::Topic(topic) => topic.held_bytes(),
        }
    }

    /// How many consumers it has, those that only look included.
    #[must_use]
    pub fn consumers(&self) -> usize {
        match self {
            Self::Queue(queue) => queue.consumers(),
            Self::Topic(topic) => topic.consumers(),
        }
    }

    /// What each consumer does, those left out that only look.
    #[must_use]
    pub fn glances(&self) -> Vec<Glance> {
        match self {
            Self::Queue(queue) => queue.glances().collect(),
            Self::Topic(topic) => topic.glances().collect(),
        }
    }

    /// Counts a subscription that the broker has ended.
    pub fn count_aborted(&mut self) {
        match self {
            Self::Queue(queue) => queue.stats.aborted += 1,
            Self::Topic(topic) => topic.stats.aborted += 1,
        }
    }

    /// Octets of messages, those on disk included.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        match self {
            Self::Queue(queue) => queue.usage().bytes,
            Self::Topic(topic) => topic.bytes(),
        }
    }

    /// Reserves `count` places; returns the first.
    pub fn reserve(&mut self, count: u64) -> u64 {
        match self {
            Self::Queue(queue) => queue.reserve(count),
            Self::Topic(topic) => topic.reserve(count),
        }
    }

    /// Reserves `count` places that are filled after the lock was given up; returns the first.
    pub fn promise(&mut self, count: u64) -> u64 {
        match self {
            Self::Queue(queue) => queue.reserve(count),
            Self::Topic(topic) => topic.promise(count),
        }
    }

    /// The promised places from `first` on are filled, or never will be.
    pub fn keep_promise(&mut self, first: u64) {
        if let Self::Topic(topic) = self {
            topic.keep_promise(first);
        }
    }

    /// Whether `message` must reach the journal.
    #[must_use]
    pub fn stores(&self, message: &Message) -> bool {
        message.is_persistent()
            && match self {
                Self::Queue(_) => true,
                Self::Topic(topic) => topic.is_stored(message),
            }
    }
}

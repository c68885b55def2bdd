//! What is behind the lock of a destination: a queue or a topic, and what both can be asked.

use crate::broker::paging::Spill;
use crate::broker::slow::Glance;
use crate::broker::{Locator, Message, Outlet, Queue, Topic};

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

    /// Where its messages lie in temporary storage.
    pub(super) fn places_in_temp(&self) -> Vec<Locator> {
        match self {
            Self::Queue(queue) => queue.places_in_temp().collect(),
            Self::Topic(topic) => topic.places_in_temp().collect(),
        }
    }

    /// Begins anew to spill; see [`Queue::rewind_spill`].
    pub(super) fn rewind_spill(&mut self, window_bytes: u64) {
        match self {
            Self::Queue(queue) => queue.rewind_spill(window_bytes),
            Self::Topic(topic) => topic.rewind_spill(window_bytes),
        }
    }

    /// Lets messages leave memory; see [`Queue::spill`].
    pub(super) fn spill(&mut self, window_bytes: u64, spill: &mut Spill) -> bool {
        match self {
            Self::Queue(queue) => queue.spill(window_bytes, spill),
            Self::Topic(topic) => topic.spill(window_bytes, spill),
        }
    }

    /// Messages lie in temporary storage now; see [`Queue::spilled`].
    pub(super) fn spilled(
        &mut self,
        written: impl IntoIterator<Item = (u64, Locator)>,
        window_bytes: u64,
        out: &mut impl Outlet,
    ) {
        match self {
            Self::Queue(queue) => queue.spilled(written, window_bytes, out),
            Self::Topic(topic) => topic.spilled(written, window_bytes, out),
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

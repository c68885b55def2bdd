//! One consumer of one destination: how it acknowledges, its credit, and what it holds.

use super::delivery::{AckMode, Delivery};
use super::unacked::Unacked;

slotmap::new_key_type! {
    /// Names a subscription within its destination; a reused place has another key.
    pub struct SubscriptionKey;
}

/// How much a subscription may hold unacknowledged: its prefetch window (PRE-1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Messages; at least 1.
    pub messages_max: u32,
    /// Octets of memory of those messages; the last one may go over.
    pub bytes_max: u64,
}

impl Window {
    /// A window of `messages_max` messages, whatever their size. 0 is taken as 1 (no pull in STOMP).
    #[must_use]
    pub fn messages(messages_max: u32) -> Self {
        Self {
            messages_max: messages_max.max(1),
            bytes_max: u64::MAX,
        }
    }

    /// A window of `bytes_max` octets of memory, whatever the number of messages; the last one may go over.
    #[must_use]
    pub fn bytes(bytes_max: u64) -> Self {
        Self {
            messages_max: u32::MAX,
            bytes_max: bytes_max.max(1),
        }
    }
}

/// How a consumer changes its window while it consumes (PRE-4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    /// For so many messages; 0: it gets nothing more (PRE-2).
    Messages(u32),
    /// For so many more than it holds (PRE-2).
    More(u32),
}

/// A consumer of a destination.
#[derive(Debug)]
pub struct Subscription {
    /// How it acknowledges.
    pub mode: AckMode,
    /// Its credit.
    pub window: Window,
    /// What it holds.
    pub unacked: Unacked,
    unacked_bytes: u64,
    first_number: u64,
    next_number: u64,
    /// Its deliveries are numbered by the world outside, because others feed the same subscription.
    numbered_outside: bool,
    /// Counts, and begins anew, the times it was done with deliveries or changed its window.
    done: u32,
    /// Its connection takes no more for now, or it has not been started.
    blocked: bool,
}

impl Subscription {
    /// A new consumer that holds nothing, and gets nothing before it is resumed.
    #[must_use]
    pub fn new(mode: AckMode, window: Window) -> Self {
        Self {
            mode,
            window,
            unacked: Unacked::default(),
            unacked_bytes: 0,
            first_number: 1,
            next_number: 1,
            numbered_outside: false,
            done: 0,
            blocked: true,
        }
    }

    /// The same, numbering its deliveries from `number` on, where the consumer before it stopped.
    #[must_use]
    pub fn numbered_from(mut self, number: u64) -> Self {
        (self.first_number, self.next_number) = (number, number);
        self
    }

    /// The number its next delivery will get.
    #[must_use]
    pub fn next_number(&self) -> u64 {
        self.next_number
    }

    /// Whether it, and not a consumer before it, was given the delivery `number`.
    #[must_use]
    pub fn was_given(&self, number: u64) -> bool {
        (self.first_number..self.next_number).contains(&number)
    }

    /// Whether one more message may be delivered. `auto` is bounded by the outbox alone (ACK-5).
    #[must_use]
    pub fn has_credit(&self) -> bool {
        !self.blocked
            && (self.mode == AckMode::Auto
                || (self.unacked.len() < self.window.messages_max as usize
                    && self.unacked_bytes < self.window.bytes_max))
    }

    /// Whether it has as many messages as it takes. One that takes none and holds none, as between two pulls (PRE-2), is not
    /// full.
    #[must_use]
    pub fn is_full(&self) -> bool {
        let asks = self.window.messages_max > 0 || !self.unacked.is_empty();
        asks && !self.has_credit()
    }

    /// Changes its window. Returns how many messages it holds.
    pub fn set_room(&mut self, room: Room) -> usize {
        let held = self.unacked.len();
        // Who asks for more, or for less, is at work.
        self.done = self.done.wrapping_add(1);
        self.window.messages_max = match room {
            Room::Messages(messages_max) => messages_max,
            Room::More(more) => {
                let held = u32::try_from(held).unwrap_or(u32::MAX);
                held.saturating_add(more)
            }
        };
        held
    }

    /// A number that changes whenever it is done with deliveries or changes its window.
    #[must_use]
    pub fn done(&self) -> u32 {
        self.done
    }

    /// Whether its connection takes no more for now.
    #[must_use]
    pub fn is_blocked(&self) -> bool {
        self.blocked
    }

    /// Says whether its connection takes more.
    pub fn set_blocked(&mut self, blocked: bool) {
        self.blocked = blocked;
    }

    /// The number of the next delivery; each is used once (ACK-4).
    pub fn number_next(&mut self, outside: impl FnOnce() -> u64) -> u64 {
        let number = if self.numbered_outside {
            outside()
        } else {
            self.next_number
        };
        self.next_number = number + 1;
        number
    }

    /// From now on the world outside numbers its deliveries; the numbers only grow.
    pub fn number_outside(&mut self) {
        self.numbered_outside = true;
    }

    /// Notes a delivery as waiting for its acknowledgement.
    pub fn hold(&mut self, delivery: Delivery) {
        self.unacked_bytes += u64::from(delivery.entry.bytes.get());
        self.unacked.push(delivery);
    }

    /// Puts back what a transaction had taken (ACK-6); the window may then be over-full (TX-6).
    pub fn restore(&mut self, delivery: Delivery) {
        self.unacked_bytes += u64::from(delivery.entry.bytes.get());
        self.unacked.restore(delivery);
    }

    /// Takes out the delivery `number`, or with `client` acknowledgement it and all before it, oldest first.
    pub fn take(&mut self, number: u64, taken: &mut Vec<Delivery>) {
        let first = taken.len();
        self.done = self.done.wrapping_add(1);
        if self.mode == AckMode::Client {
            while let Some(delivery) = self.unacked.pop_through(number) {
                taken.push(delivery);
            }
        } else {
            taken.extend(self.unacked.take(number));
        }
        for delivery in &taken[first..] {
            self.unacked_bytes -= u64::from(delivery.entry.bytes.get());
        }
    }

    /// Takes out the oldest delivery.
    pub fn pop(&mut self) -> Option<Delivery> {
        let delivery = self.unacked.pop()?;
        self.done = self.done.wrapping_add(1);
        self.unacked_bytes -= u64::from(delivery.entry.bytes.get());
        Some(delivery)
    }
}

//! What a queue holds: how much it is, dropping the oldest of it, and taking a message back.

use super::Queue;
use super::consumer::Consumer;
use super::lanes::Spot;
use crate::broker::delivery::Entry;
use crate::broker::message::Message;
use crate::broker::outlet::Outlet;
use crate::broker::policy::{Limits, Overflow, Usage};

impl Queue {
    /// What the queue holds, for comparison with its limits.
    #[must_use]
    pub fn usage(&self) -> Usage {
        Usage {
            messages: self.len() as u64,
            bytes: self.lanes.paging.bytes,
            memory_bytes: self.held_bytes(),
        }
    }

    /// Changes how many octets at the head stay in memory.
    pub fn set_window_bytes(&mut self, window_bytes: u64) {
        self.lanes.set_window_bytes(window_bytes);
    }

    /// Whether some consumer takes such a message, whether it has room for it or not.
    #[must_use]
    pub fn is_wanted(&self, message: &Message) -> bool {
        self.takers()
            .any(|consumer| consumer.matches(message, 0, false))
    }

    /// Drops the oldest messages that wait, of the lowest priority first, until the queue is within `limits` or only
    /// messages in consumers' hands are left, if that is what happens to an overflow. The last one that waits stays.
    pub fn drop_head(&mut self, limits: &Limits, out: &mut impl Outlet) {
        if limits.overflow != Overflow::DropHead {
            return;
        }
        while self.lanes.len() > 1 && limits.exceeded(self.usage()) {
            let least = self.lanes.least();
            let Some((spot, entry)) = least.and_then(|spot| Some((spot, self.take_out(spot)?)))
            else {
                break;
            };
            self.stats.discarded += 1;
            if let Some(at) = entry.at {
                out.remove(spot.sequence, at);
            }
        }
    }

    /// Whether the queue holds the message, waiting or in a consumer's hands.
    #[must_use]
    pub fn has(&self, sequence: u64) -> bool {
        let holds = |consumer: &Consumer| {
            let mut unacked = consumer.subscription.unacked.iter();
            unacked.any(|held| held.sequence == sequence)
        };
        self.lanes.find(sequence).is_some() || self.takers().any(holds)
    }

    /// Puts back what was taken out and could not be moved. It expires at `expires_ms`, 0 for never.
    pub(super) fn put_in_place(&mut self, sequence: u64, entry: Entry, expires_ms: u64) {
        let bytes = u64::from(entry.bytes.get());
        self.stats.dequeued -= 1;
        self.lanes.paging.bytes += bytes;
        if entry.message.is_some() {
            self.lanes.paging.held_bytes += bytes;
        }
        self.insert(self.lanes.spot(sequence, &entry), entry, expires_ms);
    }

    fn take_out(&mut self, spot: Spot) -> Option<Entry> {
        let (entry, _) = self.take_waiting(spot)?;
        if entry.message.is_some() {
            self.lanes.paging.held_bytes -= u64::from(entry.bytes.get());
        }
        self.stats.dequeued += 1;
        Some(entry)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::double::{World, message};
    use crate::broker::queue::{Incoming, QueuePolicy};
    use std::sync::Arc;

    fn filled(count: u64) -> (Queue, World) {
        let (mut queue, mut world) = (
            Queue::new(1, 1 << 20, QueuePolicy::default()),
            World::default(),
        );
        for _ in 0..count {
            let sequence = queue.reserve(1);
            let entry = Entry::held(Arc::new(message(sequence, 10, false, 0)), None);
            queue.push(0, Incoming { sequence, entry }, &mut world);
        }
        (queue, world)
    }

    #[test]
    fn the_oldest_go_first_and_the_account_holds() {
        let (mut queue, mut world) = filled(5);
        let one = queue.usage().bytes / 5;
        let limits = Limits {
            messages_max: Some(3),
            overflow: Overflow::DropHead,
            ..Limits::default()
        };
        queue.drop_head(
            &Limits {
                overflow: Overflow::Reject,
                ..limits
            },
            &mut world,
        );
        assert_eq!(queue.len(), 5);
        queue.drop_head(&limits, &mut world);
        let left = queue.messages(None, 9).into_iter();
        let left: Vec<u64> = left.map(|listed| listed.place.sequence()).collect();
        assert_eq!(left, [3, 4, 5]);
        assert_eq!(
            (queue.usage().bytes, queue.usage().memory_bytes),
            (3 * one, 3 * one)
        );
        assert_eq!(queue.stats.discarded, 2);
        let small = Limits {
            messages_max: None,
            bytes_max: Some(1),
            ..limits
        };
        queue.drop_head(&small, &mut world);
        assert_eq!(queue.len(), 1, "the newest stays");
    }
}

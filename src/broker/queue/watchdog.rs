//! Finds a queue that stands still although nothing keeps it from moving: a fault of ours, or of the disk.
//!
//! It never costs a message anything: a queue with a backlog and consumers is looked at from time to time. It stands still
//! if for long enough nothing has been delivered, and two looks in a row find the same message as the next one for the
//! same consumer, which has credit. What is paused, delayed, of another's group, not selected, or behind a full window is
//! where it belongs.

use super::lanes::Spot;
use super::why::Reason;
use super::{Consumer, Queue};
use crate::broker::outlet::Outlet;
use crate::broker::subscription::SubscriptionKey;

/// Consumers that are looked at for somebody who could take something.
const CONSUMERS_MAX: usize = 100;

/// What the last look has found.
#[derive(Debug)]
pub(super) struct Watchdog {
    next_ms: u64,
    /// Since when nothing was delivered, as far as the looks tell.
    still_since_ms: u64,
    dispatched: u64,
    suspect: Option<Suspect>,
}

/// Who should have got what, and what holds it up, if anything.
type Suspect = (SubscriptionKey, Spot, Option<Reason>);

/// A queue that stands still.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stall {
    /// Who has credit.
    pub consumer: SubscriptionKey,
    /// The message it should have got.
    pub sequence: u64,
    /// How many wait.
    pub waiting: usize,
    /// For how long nothing was delivered, milliseconds.
    pub still_ms: u64,
    /// What is known to hold it up, if anything.
    pub reason: Option<Reason>,
}

impl Queue {
    /// Sees to it that somebody looks, while messages and consumers are there.
    pub(super) fn watch(&mut self, now_ms: u64) {
        let period_ms = self.policy.stall_after_ms / 2;
        if period_ms > 0 && !self.consumers.is_empty() {
            self.watchdog = Some(Box::new(Watchdog {
                next_ms: now_ms.saturating_add(period_ms),
                still_since_ms: now_ms,
                dispatched: self.stats.dispatched,
                suspect: None,
            }));
        }
    }

    /// When to look next.
    pub(super) fn next_look_ms(&self) -> Option<u64> {
        self.watchdog.as_ref().map(|watchdog| watchdog.next_ms)
    }

    /// Looks, if it is time, and tells of a queue that stands still.
    pub(super) fn look_for_stall(&mut self, now_ms: u64, out: &mut impl Outlet) {
        let due = |watchdog: &mut Box<Watchdog>| watchdog.next_ms <= now_ms;
        let Some(mut watchdog) = self.watchdog.take_if(due) else {
            return;
        };
        if self.lanes.is_empty() || self.consumers.is_empty() || self.policy.stall_after_ms == 0 {
            // The next step with a backlog begins anew.
            return;
        }
        if watchdog.dispatched != self.stats.dispatched || self.unfinished {
            watchdog.dispatched = self.stats.dispatched;
            watchdog.still_since_ms = now_ms;
        }
        let found = self.suspect(now_ms);
        // What has just come from disk is no longer what the last look has found.
        let same = found == watchdog.suspect;
        let still_ms = now_ms.saturating_sub(watchdog.still_since_ms);
        watchdog.suspect.clone_from(&found);
        if let Some((consumer, spot, reason)) = found
            && same
            && still_ms >= self.policy.stall_after_ms
        {
            self.stats.stalls += 1;
            out.stalled(&Stall {
                consumer,
                sequence: spot.sequence,
                waiting: self.lanes.len(),
                still_ms,
                reason,
            });
            // Not told again before as much time has passed once more.
            watchdog.still_since_ms = now_ms;
            self.call_again();
        }
        watchdog.next_ms = now_ms.saturating_add((self.policy.stall_after_ms / 2).max(1));
        self.watchdog = Some(watchdog);
    }

    /// A consumer with credit and the first message that it has not looked at, if nothing but the disk keeps it from it.
    fn suspect(&mut self, now_ms: u64) -> Option<Suspect> {
        if !self.why_closed().is_empty() {
            return None;
        }
        let takers = self.consumers.iter().filter(|(_, it)| it.is_willing());
        let free: Vec<SubscriptionKey> = takers
            .filter(|(key, taker)| self.why_no_credit(*key, taker).is_none())
            .map(|(key, _)| key)
            .take(CONSUMERS_MAX)
            .collect();
        free.into_iter().find_map(|key| {
            let reserved = self.first_reserved(key);
            let consumer: &mut Consumer = &mut self.consumers[key];
            let scan = match &mut consumer.selection {
                Some(selection) => &mut selection.scan,
                None => &mut self.shared,
            };
            let spot = reserved.into_iter().chain(scan.peek(&self.lanes)).min()?;
            let reason = self.why_not_this(now_ms, spot, key, &self.consumers[key]);
            let ours = matches!(reason, None | Some(Reason::ReadingBack));
            ours.then_some((key, spot, reason))
        })
    }

    /// A fault for tests: nobody knows any more that consumers take messages.
    #[cfg(test)]
    pub(crate) fn forget_who_waits(&mut self) {
        self.turns.clear(&mut self.consumers);
    }

    /// Gives everybody with credit a turn, should one have been forgotten.
    fn call_again(&mut self) {
        self.begin_turns();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::broker::delivery::{AckMode, Entry};
    use crate::broker::double::{Event, World, message};
    use crate::broker::queue::{Incoming, QueuePolicy, Wishes};
    use crate::broker::subscription::Window;

    struct Bench {
        queue: Queue,
        world: World,
        now_ms: u64,
    }

    impl Bench {
        fn new() -> Self {
            Self {
                queue: Queue::new(1, 1 << 20, QueuePolicy::default()),
                world: World::default(),
                now_ms: 1000,
            }
        }

        fn push(&mut self) {
            let sequence = self.queue.reserve(1);
            let entry = Entry::held(Arc::new(message(sequence, 10, false, 0)), None);
            let incoming = Incoming { sequence, entry };
            self.queue.push(self.now_ms, incoming, &mut self.world);
        }

        fn subscribe(&mut self, window: u32) -> SubscriptionKey {
            let window = Window::messages(window);
            let wishes = Wishes::default();
            let key = self.queue.subscribe_as(AckMode::Individual, window, wishes);
            self.queue.resume(self.now_ms, key, &mut self.world);
            key
        }

        /// Lets time pass as the timer does; returns the stalls that were told.
        fn pass(&mut self, until_ms: u64) -> Vec<Stall> {
            while let Some(due_ms) = self.queue.next_due_ms().filter(|due| *due <= until_ms) {
                self.now_ms = self.now_ms.max(due_ms);
                self.queue.due(self.now_ms, &mut self.world);
            }
            self.now_ms = until_ms;
            let stalls = |event| match event {
                Event::Stalled(stall) => Some(stall),
                _ => None,
            };
            self.world.take().into_iter().filter_map(stalls).collect()
        }
    }

    #[test]
    fn a_consumer_that_was_forgotten_is_found_and_called_again() {
        let mut bench = Bench::new();
        let key = bench.subscribe(2);
        bench.queue.set_paused(1000, true, &mut bench.world);
        (0..3).for_each(|_| bench.push());
        bench.queue.forget_who_waits();
        bench.queue.set_paused(1000, false, &mut bench.world);
        assert_eq!(bench.queue.in_flight(), 0, "nothing is delivered");
        let found = bench.pass(9_000);
        let expected = Stall {
            consumer: key,
            sequence: 1,
            waiting: 3,
            still_ms: 5000,
            reason: None,
        };
        assert_eq!(found, [expected]);
        assert_eq!((bench.queue.in_flight(), bench.queue.stats.stalls), (2, 1));
        assert!(bench.pass(60_000).is_empty(), "told once");
    }

    #[test]
    fn who_has_as_much_as_it_may_have_is_no_stall() {
        let mut bench = Bench::new();
        bench.subscribe(1);
        (0..3).for_each(|_| bench.push());
        assert!(bench.pass(60_000).is_empty());
        let now_ms = bench.now_ms;
        bench.queue.set_paused(now_ms, true, &mut bench.world);
        bench.subscribe(10);
        assert!(bench.pass(120_000).is_empty());
    }

    #[test]
    fn a_queue_without_messages_or_consumers_is_not_looked_at() {
        let mut bench = Bench::new();
        bench.push();
        assert_eq!(bench.queue.next_look_ms(), None);
        bench.subscribe(10);
        assert_eq!(bench.queue.next_look_ms(), None);
        bench.push();
        assert_eq!(bench.queue.next_look_ms(), None);
    }
}

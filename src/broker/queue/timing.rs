//! What happens in a queue because time passes: delays end, messages expire, windows open, dispatch begins.

use super::Queue;
use super::lanes::Spot;
use super::policy::QueuePolicy;
use crate::broker::delivery::Entry;
use crate::broker::outlet::Outlet;

/// Messages that become due or expire in one step; what remains comes in the next one, so that others get
/// the lock.
const PER_STEP_MAX: usize = 4096;

/// The fair start: nothing is delivered before enough consumers, or enough time (PRE-6).
#[derive(Debug, Default)]
pub(super) struct Gate {
    consumers: u32,
    /// When the first consumer came.
    since_ms: u64,
    open: bool,
}

impl Gate {
    /// A consumer has come.
    pub(super) fn came(&mut self, now_ms: u64) {
        if self.consumers == 0 {
            (self.since_ms, self.open) = (now_ms, false);
        }
        self.consumers += 1;
    }

    /// A consumer has gone. With the last one the wait begins anew.
    pub(super) fn left(&mut self) {
        self.consumers -= 1;
    }

    /// Whether the wait is over. Once it is, it is until the last consumer goes.
    fn is_open(&mut self, now_ms: u64, policy: &QueuePolicy) -> bool {
        if self.open {
            return true;
        }
        let (count, time_ms) = (
            policy.consumers_before_dispatch,
            policy.time_before_dispatch_ms,
        );
        let enough = count > 0 && self.consumers >= count;
        let waited = time_ms > 0 && now_ms >= self.since_ms.saturating_add(time_ms);
        self.open = self.consumers > 0 && (enough || waited || count == 0 && time_ms == 0);
        self.open
    }

    /// How many consumers have come.
    pub(super) fn consumers(&self) -> u32 {
        self.consumers
    }

    /// Whether the wait was over when somebody last asked.
    pub(super) fn was_open(&self) -> bool {
        self.open
    }

    /// When it opens by itself.
    pub(super) fn due_ms(&self, policy: &QueuePolicy) -> Option<u64> {
        let waits = !self.open && self.consumers > 0 && policy.time_before_dispatch_ms > 0;
        waits.then(|| self.since_ms.saturating_add(policy.time_before_dispatch_ms))
    }
}

impl Queue {
    /// When [`Queue::due`] has something to do, in milliseconds since 1970; 0 is at once.
    #[must_use]
    pub fn next_due_ms(&self) -> Option<u64> {
        if self.unfinished {
            return Some(0);
        }
        let times = [
            self.delays.next_ms(),
            self.expiry
                .next_sweep_ms(self.policy.expire_messages_period_ms),
            self.gate.due_ms(&self.policy),
            (self.stall_check_ms != u64::MAX).then_some(self.stall_check_ms),
            self.groups.idle_check_ms(),
            self.next_look_ms(),
        ];
        times.into_iter().flatten().min()
    }

    /// Does what is due at `now_ms`.
    pub fn due(&mut self, now_ms: u64, out: &mut impl Outlet) {
        self.look_for_stall(now_ms, out);
        self.end_delays(now_ms);
        let period_ms = self.policy.expire_messages_period_ms;
        let swept = self
            .expiry
            .next_sweep_ms(period_ms)
            .is_some_and(|sweep_ms| sweep_ms <= now_ms)
            && self.sweep(now_ms, out);
        if swept {
            self.expiry.swept(now_ms, period_ms);
        }
        if self.stall_check_ms <= now_ms {
            self.look_at_windows(now_ms);
        }
        let idle_ms = self.policy.group_idle_timeout_ms;
        if self
            .groups
            .idle_check_ms()
            .is_some_and(|check_ms| check_ms <= now_ms)
        {
            for owner in self.groups.forget_idle(now_ms, idle_ms) {
                if let Some(consumer) = self.consumers.get_mut(owner) {
                    consumer.lose_group();
                }
            }
        }
        self.dispatch(now_ms, out);
    }

    /// Expires waiting messages whose time has come, wherever they are (EXP-2). Returns false if there are
    /// more than one step takes; then it is to be called again.
    pub fn sweep(&mut self, now_ms: u64, out: &mut impl Outlet) -> bool {
        for _ in 0..PER_STEP_MAX {
            let Some((expires_ms, spot)) = self.expiry.pop(now_ms) else {
                return true;
            };
            if let Some(mut entry) = self.lanes.remove(spot) {
                self.end_delay(spot, &mut entry);
                self.expire(spot, entry, expires_ms, out);
            }
        }
        false
    }

    /// Whether anything may be delivered: nobody has paused the queue, the fair start is over, and no delayed message
    /// holds up a strict order (RED-4).
    pub(super) fn is_open(&mut self, now_ms: u64) -> bool {
        let held_up =
            self.policy.strict_order_dispatch && self.exclusive.is_some() && self.delays.len() > 0;
        !held_up && !self.paused && self.gate.is_open(now_ms, &self.policy)
    }

    fn end_delays(&mut self, now_ms: u64) {
        for _ in 0..PER_STEP_MAX {
            let Some(spot) = self.delays.pop(now_ms) else {
                return;
            };
            if let Some(entry) = self.lanes.get_mut(spot)
                && entry.is_delayed()
            {
                entry.set_delayed(false);
                self.came(spot);
                self.delay_ended(spot);
            }
        }
    }

    /// Ends the delay of a message that leaves the queue, if it has one.
    pub(super) fn end_delay(&mut self, spot: Spot, entry: &mut Entry) {
        if entry.is_delayed() {
            entry.set_delayed(false);
            self.delay_ended(spot);
        }
    }

    /// Lets go what the message at `spot`, which is not delayed any more, has held back of its group.
    pub(super) fn delay_ended(&mut self, spot: Spot) {
        self.delays.ended();
        for held in self.groups.due(spot) {
            self.came(held);
        }
    }

    fn look_at_windows(&mut self, now_ms: u64) {
        self.stall_check_ms = u64::MAX;
        let mut opened = Vec::new();
        for (key, consumer) in &mut self.consumers {
            let Some(adaptive) = &mut consumer.adaptive else {
                continue;
            };
            if let Some(check_ms) = adaptive.look(now_ms) {
                self.stall_check_ms = self.stall_check_ms.min(check_ms);
            }
            if consumer.subscription.window.messages_max != adaptive.window() {
                consumer.subscription.window.messages_max = adaptive.window();
                opened.push(key);
            }
        }
        for key in opened {
            self.join_turn(key);
        }
    }
}

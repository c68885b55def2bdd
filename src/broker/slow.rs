//! Consumers that take nothing, or acknowledge nothing, for too long: who is one, and when it is ended (SLO-2).
//!
//! Looked at from time to time, never for a message. What is compared is how many deliveries a consumer has been done with
//! since it was last looked at.

use std::collections::HashMap;
use std::fmt;

use super::subscription::SubscriptionKey;

/// What makes a consumer one to be ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SlowKind {
    /// Nothing does.
    #[default]
    None,
    /// Messages wait while it has as many as it takes.
    Window,
    /// It acknowledges nothing.
    Acks,
}

/// When a consumer is ended because it is slow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlowPolicy {
    /// What makes it one.
    pub kind: SlowKind,
    /// Looks in a row that may find it slow, whether it moves between them or not; `None`: any number.
    pub count_max: Option<u32>,
    /// For how long it may be slow without any movement, milliseconds; `None`: for ever.
    pub duration_max_ms: Option<u64>,
    /// How often consumers are looked at, milliseconds.
    pub check_period_ms: u64,
    /// Whether its whole connection is ended.
    pub abort_connection: bool,
    /// For how long it may acknowledge nothing, milliseconds.
    pub ack_max_ms: u64,
    /// Whether one that holds nothing may be silent.
    pub ignore_idle: bool,
}

impl Default for SlowPolicy {
    fn default() -> Self {
        Self {
            kind: SlowKind::None,
            count_max: None,
            duration_max_ms: Some(30_000),
            check_period_ms: 30_000,
            abort_connection: false,
            ack_max_ms: 30_000,
            ignore_idle: true,
        }
    }
}

/// Why the broker ends a subscription of its own accord.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AbortCause {
    /// More waits for it than may.
    Backlog {
        /// Messages that waited.
        messages: usize,
        /// How many may, if that was the limit.
        messages_max: Option<usize>,
        /// How many octets may.
        bytes_max: u64,
    },
    /// It was slow at too many looks in a row.
    SlowCount {
        /// How many.
        count: u32,
    },
    /// It took nothing while messages waited.
    SlowDuration {
        /// For how long, milliseconds.
        duration_ms: u64,
        /// What it holds.
        unacked: usize,
    },
    /// It acknowledged nothing.
    NoAck {
        /// For how long, milliseconds.
        silent_ms: u64,
        /// What it holds.
        unacked: usize,
    },
}

impl fmt::Display for AbortCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Backlog {
                messages,
                messages_max: Some(max),
                ..
            } => write!(
                f,
                "{messages} messages wait for it and {max} may (pendingMessageLimitStrategy)"
            ),
            Self::Backlog { bytes_max, .. } => write!(
                f,
                "more than {bytes_max} octets wait for it (memory.slow_topic_subscriber_bytes_max)"
            ),
            Self::SlowCount { count } => write!(
                f,
                "it was slow {count} times in a row (slowConsumerStrategy.maxSlowCount)"
            ),
            Self::SlowDuration {
                duration_ms,
                unacked,
            } => write!(
                f,
                "messages wait and it has taken none for {duration_ms} ms, holding {unacked} \
                 (slowConsumerStrategy.maxSlowDuration)"
            ),
            Self::NoAck { silent_ms, unacked } => write!(
                f,
                "it has acknowledged nothing for {silent_ms} ms, holding {unacked} \
                 (slowConsumerStrategy.maxTimeSinceLastAck)"
            ),
        }
    }
}

/// A consumer at the time of a look.
#[derive(Clone, Copy, Debug)]
pub struct Glance {
    /// Who.
    pub key: SubscriptionKey,
    /// Whether messages wait while it has as many as it takes.
    pub is_slow: bool,
    /// What it holds.
    pub unacked: usize,
    /// A number that changes with each delivery it is done with.
    pub done: u32,
}

/// What the last look has found.
#[derive(Debug)]
pub struct SlowWatch {
    seen: HashMap<SubscriptionKey, Seen>,
    next_ms: u64,
}

#[derive(Debug)]
struct Seen {
    /// Since when it has not moved, as far as the looks tell.
    since_ms: u64,
    done: u32,
    /// Looks in a row that have found it slow.
    count: u32,
}

impl SlowWatch {
    /// One that looks at once, and then from time to time.
    #[must_use]
    pub fn begun() -> Self {
        Self {
            seen: HashMap::new(),
            next_ms: 0,
        }
    }

    /// When to look next.
    #[must_use]
    pub fn next_ms(&self) -> u64 {
        self.next_ms
    }

    /// Looks at all consumers; returns those that have to end, and why.
    pub fn look(
        &mut self,
        now_ms: u64,
        policy: &SlowPolicy,
        consumers: impl Iterator<Item = Glance>,
    ) -> Vec<(SubscriptionKey, AbortCause)> {
        let mut before = std::mem::take(&mut self.seen);
        let mut to_end = Vec::new();
        for glance in consumers {
            let old = before.remove(&glance.key);
            let seen = match policy.kind {
                SlowKind::None => continue,
                SlowKind::Window if !glance.is_slow => continue,
                SlowKind::Acks if policy.ignore_idle && glance.unacked == 0 => continue,
                _ => Seen::again(old, now_ms, &glance),
            };
            match seen.verdict(now_ms, policy, &glance) {
                Some(cause) => to_end.push((glance.key, cause)),
                None => drop(self.seen.insert(glance.key, seen)),
            }
        }
        self.next_ms = now_ms.saturating_add(policy.check_period_ms.max(1));
        to_end
    }
}

impl Seen {
    fn again(old: Option<Self>, now_ms: u64, glance: &Glance) -> Self {
        let count = old.as_ref().map_or(0, |old| old.count) + 1;
        let still = old.filter(|old| old.done == glance.done);
        Self {
            since_ms: still.map_or(now_ms, |old| old.since_ms),
            done: glance.done,
            count,
        }
    }

    fn verdict(&self, now_ms: u64, policy: &SlowPolicy, glance: &Glance) -> Option<AbortCause> {
        let still_ms = now_ms.saturating_sub(self.since_ms);
        let unacked = glance.unacked;
        if policy.kind == SlowKind::Acks {
            return (still_ms >= policy.ack_max_ms && still_ms > 0).then_some(AbortCause::NoAck {
                silent_ms: still_ms,
                unacked,
            });
        }
        if policy.count_max.is_some_and(|max| self.count > max) {
            return Some(AbortCause::SlowCount { count: self.count });
        }
        let is_long = |max_ms| still_ms >= max_ms && still_ms > 0;
        policy
            .duration_max_ms
            .is_some_and(is_long)
            .then_some(AbortCause::SlowDuration {
                duration_ms: still_ms,
                unacked,
            })
    }
}

#[cfg(test)]
mod tests {
    use slotmap::SlotMap;

    use super::*;

    fn key() -> SubscriptionKey {
        let mut keys: SlotMap<SubscriptionKey, ()> = SlotMap::with_key();
        keys.insert(())
    }

    fn looks(policy: SlowPolicy, glances: &[(u64, bool, usize, u32)]) -> Option<(u64, AbortCause)> {
        let (mut watch, key) = (SlowWatch::begun(), key());
        for (now_ms, is_slow, unacked, done) in glances.iter().copied() {
            let glance = Glance {
                key,
                is_slow,
                unacked,
                done,
            };
            let mut ended = watch.look(now_ms, &policy, std::iter::once(glance));
            if let Some((_, cause)) = ended.pop() {
                return Some((now_ms, cause));
            }
        }
        None
    }

    #[test]
    fn who_does_not_move_while_messages_wait_is_ended_in_time() {
        let policy = SlowPolicy {
            kind: SlowKind::Window,
            ..SlowPolicy::default()
        };
        let stuck = [(30_000, true, 5, 0), (60_000, true, 5, 0)];
        let cause = AbortCause::SlowDuration {
            duration_ms: 30_000,
            unacked: 5,
        };
        assert_eq!(looks(policy, &stuck), Some((60_000, cause)));
        // One that moves is slow, but not stuck; one that is not slow at a look begins anew.
        let moving = [
            (30_000, true, 5, 0),
            (60_000, true, 5, 1),
            (61_000, true, 5, 1),
        ];
        assert_eq!(looks(policy, &moving), None);
        let pausing = [
            (30_000, true, 5, 0),
            (60_000, false, 5, 0),
            (90_000, true, 5, 0),
        ];
        assert_eq!(looks(policy, &pausing), None);
        let off = SlowPolicy::default();
        assert_eq!(looks(off, &stuck), None);
    }

    #[test]
    fn who_is_slow_too_often_is_ended_though_it_moves() {
        let policy = SlowPolicy {
            kind: SlowKind::Window,
            count_max: Some(2),
            duration_max_ms: None,
            ..SlowPolicy::default()
        };
        let slow = [(1, true, 1, 1), (2, true, 1, 2), (3, true, 1, 3)];
        let cause = AbortCause::SlowCount { count: 3 };
        assert_eq!(looks(policy, &slow), Some((3, cause)));
    }

    #[test]
    fn who_acknowledges_nothing_is_ended_unless_it_holds_nothing() {
        let policy = SlowPolicy {
            kind: SlowKind::Acks,
            ..SlowPolicy::default()
        };
        let silent = [(10, false, 1, 0), (30_010, false, 2, 0)];
        let cause = AbortCause::NoAck {
            silent_ms: 30_000,
            unacked: 2,
        };
        assert_eq!(looks(policy, &silent), Some((30_010, cause)));
        let acking = [(10, false, 1, 0), (30_010, false, 2, 1)];
        assert_eq!(looks(policy, &acking), None);
        let idle = [(10, false, 0, 0), (30_010, false, 0, 0)];
        assert_eq!(looks(policy, &idle), None);
        let strict = SlowPolicy {
            ignore_idle: false,
            ..policy
        };
        assert!(looks(strict, &idle).is_some());
    }
}

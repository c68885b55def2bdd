//! What nobody uses goes: idle destinations (GC-1) and durable subscriptions whose client stays away (GC-2).

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::MissedTickBehavior;

use super::Engine;
use super::cell::{Cell, Machine, Work};
use crate::broker::Destination;

/// What goes by itself, and how often it is looked at.
#[derive(Clone, Copy, Debug)]
pub struct HouseRules {
    /// How often idle destinations are looked for; zero: never.
    pub purge_interval: Duration,
    /// How many of them go each time at most.
    pub purged_max: usize,
    /// How often durable subscriptions are looked at.
    pub offline_interval: Duration,
    /// Milliseconds without its client after which one goes; 0: none does.
    pub offline_timeout_ms: u64,
}

/// How often ids of messages are looked at for being too old (SND-6).
const EXPIRE_IDS_INTERVAL: Duration = Duration::from_secs(10);

/// How often queues are looked at that were declared to go by themselves (section 10).
const TRANSIENT_INTERVAL: Duration = Duration::from_secs(1);

/// How often accounts are looked at.
const USAGE_INTERVAL: Duration = Duration::from_secs(1);

/// How long a destination has been idle, as the sweeps have seen it.
#[derive(Debug)]
pub(super) struct Idle {
    /// `u64::MAX`: not at all.
    since_ms: u64,
    /// Messages it had taken when it was last looked at.
    enqueued: u64,
}

impl Default for Idle {
    fn default() -> Self {
        Self {
            since_ms: u64::MAX,
            enqueued: 0,
        }
    }
}

impl Cell {
    /// Whether the destination has been without messages and durable subscriptions since long enough by its policy. That
    /// nobody else refers to it is known to the caller.
    pub(super) fn is_inactive(&self, now_ms: u64) -> bool {
        let mut state = self.lock();
        let (is_empty, enqueued) = match &state.machine {
            // One that somebody has paused is to be found paused.
            Machine::Queue(queue) => (queue.is_empty() && !queue.is_paused(), queue.stats.enqueued),
            Machine::Topic(topic) => (
                topic.is_empty() && !topic.has_durables(),
                topic.stats.enqueued,
            ),
        };
        let (collects, timeout_ms) = {
            let policy = &state.rules.policy;
            (policy.gc_inactive, policy.inactive_timeout_ms)
        };
        if !is_empty || !collects {
            state.idle = Idle {
                since_ms: u64::MAX,
                enqueued,
            };
            return false;
        }
        self.idle_ms(&mut state.idle, now_ms, enqueued) >= timeout_ms
    }

    /// Whether a temporary destination, whatever it holds, has not been sent to since long enough.
    fn is_abandoned(&self, now_ms: u64, timeout_ms: u64) -> bool {
        let mut state = self.lock();
        let enqueued = match &state.machine {
            Machine::Queue(queue) => queue.stats.enqueued,
            Machine::Topic(topic) => topic.stats.enqueued,
        };
        self.idle_ms(&mut state.idle, now_ms, enqueued) >= timeout_ms
    }

    /// For how long nobody has used it.
    fn idle_ms(&self, idle: &mut Idle, now_ms: u64, enqueued: u64) -> u64 {
        let was_used = std::mem::replace(&mut idle.enqueued, enqueued) != enqueued;
        if was_used || self.in_use.swap(false, Ordering::Relaxed) {
            idle.since_ms = u64::MAX;
        }
        idle.since_ms = idle.since_ms.min(now_ms);
        now_ms - idle.since_ms
    }

    /// Somebody refers to the destination; whoever asks next begins to count anew. Takes no lock: the registry is held.
    pub(super) fn note_use(&self) {
        self.in_use.store(true, Ordering::Relaxed);
    }
}

/// Does something at an interval; never if the interval is zero.
async fn repeat(interval: Duration, f: impl Fn()) {
    if interval.is_zero() {
        return std::future::pending().await;
    }
    let mut ticks = tokio::time::interval(interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        f();
    }
}

impl Engine {
    /// Removes what nobody uses from time to time, until the broker stops.
    pub async fn keep_house(
        self: Arc<Self>,
        rules: HouseRules,
        mut stopping: watch::Receiver<bool>,
    ) {
        let purge = repeat(rules.purge_interval, || {
            self.purge_idle(rules.purged_max);
        });
        let offline_interval = match rules.offline_timeout_ms {
            0 => Duration::ZERO,
            _ => rules.offline_interval,
        };
        let drop_durables = repeat(offline_interval, || {
            self.drop_offline_durables(rules.offline_timeout_ms);
        });
        let expire = repeat(EXPIRE_IDS_INTERVAL, || self.expire_ids());
        let transient = repeat(TRANSIENT_INTERVAL, || {
            self.remove_transient();
        });
        let usage = repeat(USAGE_INTERVAL, || self.look_at_usage());
        let temporaries = self.settings.temporaries;
        let temporary_interval = match temporaries.auto_create_on_send {
            true => Duration::from_millis(temporaries.purge_after_ms),
            false => Duration::ZERO,
        };
        let purge_temporaries = repeat(temporary_interval, || {
            self.purge_temporaries();
        });
        tokio::select! {
            () = purge_temporaries => {}
            () = purge => {}
            () = transient => {}
            () = usage => {}
            () = expire => {}
            () = drop_durables => {}
            _ = stopping.wait_for(|stop| *stop) => {}
        }
    }

    /// Removes destinations that nobody has used for as long as their policy says, `count_max` at most. A connection that
    /// has sent to a destination counts as its producer as long as it lasts.
    pub fn purge_idle(self: &Arc<Self>, count_max: usize) -> usize {
        let now_ms = self.clock.monotonic_ms();
        let gone = self.registry.remove_if(count_max, |cell| {
            cell.is_inactive(now_ms) && self.undefine(cell)
        });
        if !gone.is_empty() {
            self.selectors
                .retain(|queue| !gone.contains(&Destination::queue(queue)));
        }
        for destination in &gone {
            tracing::info!(%destination, "idle destination removed");
        }
        self.publish_now();
        gone.len()
    }

    /// Removes temporary destinations that a SEND has made and no connection has taken over (GC-3). Returns how many.
    pub fn purge_temporaries(self: &Arc<Self>) -> usize {
        let now_ms = self.clock.monotonic_ms();
        let timeout_ms = self.settings.temporaries.purge_after_ms;
        let gone = self
            .registry
            .remove_ownerless(|cell| cell.is_abandoned(now_ms, timeout_ms));
        self.publish_now();
        gone
    }

    /// Tells those who listen what was noted outside of a step.
    fn publish_now(self: &Arc<Self>) {
        if self.advisories.are_wanted() {
            self.run(&mut Work::default());
        }
    }

    /// Lets the journal forget a destination. False if it refuses: the destination stays then.
    pub(super) fn undefine(&self, cell: &Cell) -> bool {
        let Some(store) = &self.store else {
            return true;
        };
        let mut state = cell.lock();
        if state.is_defined() {
            if store
                .append(|batch| batch.drop_destination(cell.id))
                .is_err()
            {
                return false;
            }
            state.set_defined(false);
        }
        true
    }

    /// Removes durable subscriptions that have been without their client for `timeout_ms`, with their backlog.
    pub fn drop_offline_durables(self: &Arc<Self>, timeout_ms: u64) -> usize {
        let mut work = Work::default();
        let mut dropped = 0;
        for name in self
            .durables
            .offline_since(self.clock.monotonic_ms(), timeout_ms)
        {
            // In use again, or gone: somebody was quicker.
            if self.unsubscribe_durable(&name, &mut work).is_ok() {
                tracing::info!(
                    client_id = name.client_id,
                    name = name.name,
                    timeout_ms,
                    "durable subscription removed, its client stayed away"
                );
                dropped += 1;
            }
        }
        self.run(&mut work);
        dropped
    }
}

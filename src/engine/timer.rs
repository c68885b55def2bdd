//! The one timer of the broker: which destination has something due when.
//!
//! A destination is listed for the nearest of its times only, and a time that has moved away is found out
//! when it comes. The task is woken when the nearest time of all changes, and else sleeps until it.
//! The list's lock is innermost: nothing is locked under it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::{Notify, watch};

use super::Engine;
use super::cell::{Cell, Journaled, Machine, Work};

/// Sleeps no longer than this in one go, as somebody may set the wall clock.
const SLEEP_MS_MAX: u64 = 60_000;

/// Destinations that have something due.
#[derive(Default)]
pub struct Timer {
    /// By time and number of the destination.
    due: Mutex<BTreeMap<(u64, u32), Weak<Cell>>>,
    nearer: Notify,
}

impl Timer {
    /// Sees to it that `cell` is looked at when it is `at_ms`.
    pub(super) fn arm(&self, cell: &Arc<Cell>, at_ms: u64) {
        let mut due = self.due.lock().unwrap_or_else(PoisonError::into_inner);
        let is_nearest = due
            .first_key_value()
            .is_none_or(|((nearest_ms, _), _)| at_ms < *nearest_ms);
        due.insert((at_ms, cell.id.0), Arc::downgrade(cell));
        drop(due);
        if is_nearest {
            self.nearer.notify_one();
        }
    }

    /// The nearest time.
    fn next_ms(&self) -> Option<u64> {
        let due = self.due.lock().unwrap_or_else(PoisonError::into_inner);
        due.first_key_value().map(|((at_ms, _), _)| *at_ms)
    }

    /// Takes out a destination that has something due.
    fn pop(&self, now_ms: u64) -> Option<(u64, Weak<Cell>)> {
        let mut due = self.due.lock().unwrap_or_else(PoisonError::into_inner);
        let first = due.first_entry().filter(|first| first.key().0 <= now_ms)?;
        Some((first.key().0, first.remove()))
    }
}

impl Engine {
    /// Looks at destinations when something of theirs is due, until the broker stops.
    pub async fn keep_time(self: Arc<Self>, mut stopping: watch::Receiver<bool>) {
        for cell in self.registry.all() {
            cell.rearm();
        }
        loop {
            while self.tick() {
                tokio::task::yield_now().await;
            }
            let now_ms = self.clock.wall_ms();
            let next_ms = self.timer.next_ms();
            let wait_ms = next_ms.map_or(SLEEP_MS_MAX, |next_ms| next_ms.saturating_sub(now_ms));
            let wait = Duration::from_millis(wait_ms.min(SLEEP_MS_MAX));
            tokio::select! {
                () = self.timer.nearer.notified() => {}
                () = tokio::time::sleep(wait) => {}
                _ = stopping.wait_for(|stop| *stop) => return,
            }
        }
    }

    /// Does what is due now on one destination. Returns false if there is nothing.
    pub fn tick(self: &Arc<Self>) -> bool {
        let now_ms = self.clock.wall_ms();
        let Some((at_ms, cell)) = self.timer.pop(now_ms) else {
            return false;
        };
        let Some(cell) = cell.upgrade() else {
            return true;
        };
        let mut work = Work::default();
        let mut state = cell.lock();
        state.disarm(at_ms);
        cell.look_at_slow(&mut state, now_ms);
        cell.step_locked(
            &mut state,
            &mut work,
            Journaled::default(),
            |machine, out| match machine {
                Machine::Queue(queue) => queue.due(now_ms, out),
                Machine::Topic(topic) => topic.due(now_ms, out),
            },
        );
        drop(state);
        self.run(&mut work);
        true
    }
}

//! Slow consumers at work: they are looked at when it is time, and those that have to go are told to their connection,
//! which ends them (SLO-2).

use super::cell::{Cell, State};
use crate::broker::SubscriptionKey;
use crate::broker::slow::{AbortCause, SlowKind, SlowWatch};

impl State {
    /// Sees to it that consumers are looked at, if the policy ends slow ones and there are any.
    pub(super) fn expect_slow(&mut self) {
        let policy = &self.rules.policy.slow;
        if policy.kind == SlowKind::None || self.attached.is_empty() {
            if let Some(rare) = &mut self.rare {
                rare.slow_watch = None;
            }
        } else {
            let rare = self.rare.get_or_insert_default();
            rare.slow_watch.get_or_insert_with(SlowWatch::begun);
        }
    }
}

impl Cell {
    /// Looks at the consumers if it is time.
    pub(super) fn look_at_slow(&self, state: &mut State, now_ms: u64) {
        let rare = state.rare.as_mut();
        let Some(watch) = rare.and_then(|rare| rare.slow_watch.as_mut()) else {
            return;
        };
        if watch.next_ms() > now_ms {
            return;
        }
        let policy = &state.rules.policy.slow;
        let glances = state.machine.glances();
        for (key, cause) in watch.look(now_ms, policy, glances.into_iter()) {
            state.machine.count_aborted();
            self.end_consumer(state, key, cause);
        }
        state.expect_slow();
    }

    /// Tells the connection of a consumer to end it.
    fn end_consumer(&self, state: &State, key: SubscriptionKey, cause: AbortCause) {
        if let Some(attached) = state.attached.get(key) {
            let whole = state.rules.policy.slow.abort_connection;
            attached.outbox.end(attached.index, cause, whole);
        }
    }
}

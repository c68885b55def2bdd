//! The one timer of a connection: armed for the nearest deadline, and looked at when it fires.
//!
//! Setting a timer anew for each batch would cost more than most batches. So an alarm that fires early
//! enough is left as it is, and whoever it wakes looks at the clock.

use std::pin::Pin;
use std::time::Duration;

use tokio::time::{Instant, Sleep};

/// A timer that is allocated on first use.
#[derive(Default)]
pub(super) struct Alarm {
    sleep: Option<Pin<Box<Sleep>>>,
    /// When it fires, in monotonic milliseconds; `None` when it has fired or was never armed.
    armed_ms: Option<u64>,
}

impl Alarm {
    /// Sees to it that the alarm fires at `deadline_ms` at the latest.
    pub(super) fn arm(&mut self, deadline_ms: u64, now_ms: u64) {
        if self
            .armed_ms
            .is_some_and(|armed_ms| armed_ms <= deadline_ms)
        {
            return;
        }
        self.armed_ms = Some(deadline_ms);
        let at = Instant::now() + Duration::from_millis(deadline_ms.saturating_sub(now_ms).max(1));
        match &mut self.sleep {
            Some(sleep) => sleep.as_mut().reset(at),
            None => self.sleep = Some(Box::pin(tokio::time::sleep_until(at))),
        }
    }

    /// Waits until the alarm fires, for ever if it is not armed.
    ///
    /// Whether it is armed is kept here and not asked of the timer: the timer may elapse while its
    /// connection is at work and nobody waits, and that must still be seen.
    pub(super) async fn fired(&mut self) {
        match &mut self.sleep {
            Some(sleep) if self.armed_ms.is_some() => sleep.await,
            _ => std::future::pending().await,
        }
        self.armed_ms = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FAR: Duration = Duration::from_secs(3600);

    #[tokio::test(start_paused = true)]
    async fn fires_although_it_elapsed_while_nobody_waited() {
        let mut alarm = Alarm::default();
        alarm.arm(10, 0);
        // Seen by the timer once, as in a loop that had something else to do first.
        let first = tokio::time::timeout(Duration::ZERO, alarm.fired()).await;
        assert!(first.is_err(), "too early");
        tokio::time::advance(Duration::from_millis(50)).await;
        let second = tokio::time::timeout(FAR, alarm.fired()).await;
        assert!(second.is_ok(), "an alarm was lost");
        alarm.arm(100, 50);
        assert!(tokio::time::timeout(FAR, alarm.fired()).await.is_ok());
        assert!(
            tokio::time::timeout(FAR, alarm.fired()).await.is_err(),
            "not armed"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_nearer_deadline_brings_it_forward_and_a_later_one_does_not_move_it() {
        let mut alarm = Alarm::default();
        alarm.arm(100, 0);
        alarm.arm(20, 0);
        alarm.arm(200, 0);
        let started = Instant::now();
        alarm.fired().await;
        assert!(started.elapsed() < Duration::from_millis(30));
    }
}

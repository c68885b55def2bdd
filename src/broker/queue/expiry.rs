//! Which waiting messages expire when, so that a sweep touches nothing else (EXP-2).

use std::collections::BTreeSet;

use super::lanes::Spot;

/// The index. Only messages that wait and can expire are in it.
#[derive(Debug, Default)]
pub(super) struct Expiry {
    expires: BTreeSet<(u64, Spot)>,
    /// No sweep before this time.
    next_sweep_ms: u64,
}

impl Expiry {
    pub(super) fn add(&mut self, expires_ms: u64, spot: Spot) {
        if expires_ms != 0 {
            self.expires.insert((expires_ms, spot));
        }
    }

    pub(super) fn remove(&mut self, expires_ms: u64, spot: Spot) {
        if expires_ms != 0 {
            self.expires.remove(&(expires_ms, spot));
        }
    }

    /// Takes out one that has expired, with its time. It may have left the queue since.
    pub(super) fn pop(&mut self, now_ms: u64) -> Option<(u64, Spot)> {
        let &(expires_ms, spot) = self.expires.first()?;
        (expires_ms <= now_ms).then(|| {
            self.expires.pop_first();
            (expires_ms, spot)
        })
    }

    /// Takes everything out.
    pub(super) fn take(&mut self) -> BTreeSet<(u64, Spot)> {
        std::mem::take(&mut self.expires)
    }

    /// When a sweep has something to do; each comes at least `period_ms` after the one before, and 0 is
    /// never.
    pub(super) fn next_sweep_ms(&self, period_ms: u64) -> Option<u64> {
        let (first_ms, _) = self.expires.first()?;
        (period_ms != 0).then(|| self.next_sweep_ms.max(*first_ms))
    }

    /// Notes that a sweep is complete.
    pub(super) fn swept(&mut self, now_ms: u64, period_ms: u64) {
        self.next_sweep_ms = now_ms.saturating_add(period_ms);
    }
}

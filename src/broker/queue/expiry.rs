//! Which waiting messages expire when, so that a sweep touches nothing else (EXP-2).

use std::collections::BTreeSet;

use super::lanes::Spot;

/// The index. Only messages that wait and can expire are in it.
#[derive(Debug, Default)]
pub(super) struct Expiry(
    /// Made with the first one.
    Option<Box<Index>>,
);

#[derive(Debug, Default)]
struct Index {
    expires: BTreeSet<(u64, Spot)>,
    /// No sweep before this time.
    next_sweep_ms: u64,
}

impl Expiry {
    pub(super) fn add(&mut self, expires_ms: u64, spot: Spot) {
        if expires_ms != 0 {
            let index = self.0.get_or_insert_default();
            index.expires.insert((expires_ms, spot));
        }
    }

    pub(super) fn remove(&mut self, expires_ms: u64, spot: Spot) {
        if expires_ms != 0
            && let Some(index) = &mut self.0
        {
            index.expires.remove(&(expires_ms, spot));
        }
    }

    /// Takes out one that has expired, with its time. It may have left the queue since.
    pub(super) fn pop(&mut self, now_ms: u64) -> Option<(u64, Spot)> {
        let expires = &mut self.0.as_mut()?.expires;
        let &(expires_ms, spot) = expires.first()?;
        (expires_ms <= now_ms).then(|| {
            expires.pop_first();
            (expires_ms, spot)
        })
    }

    /// Takes everything out.
    pub(super) fn take(&mut self) -> BTreeSet<(u64, Spot)> {
        let index = self.0.as_mut();
        index.map_or_else(BTreeSet::new, |index| std::mem::take(&mut index.expires))
    }

    /// When a sweep has something to do; each comes at least `period_ms` after the one before, and 0 is
    /// never.
    pub(super) fn next_sweep_ms(&self, period_ms: u64) -> Option<u64> {
        let index = self.0.as_ref()?;
        let (first_ms, _) = index.expires.first()?;
        (period_ms != 0).then(|| index.next_sweep_ms.max(*first_ms))
    }

    /// Notes that a sweep is complete.
    pub(super) fn swept(&mut self, now_ms: u64, period_ms: u64) {
        if let Some(index) = &mut self.0 {
            index.next_sweep_ms = now_ms.saturating_add(period_ms);
        }
    }
}

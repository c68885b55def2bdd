//! The one memory account: messages, outboxes, transactions and frames in progress.
//!
//! Charged in batches by those who hold the octets. At the limit, SENDs of non-persistent messages park
//! (SND-5) and everything else goes on; those who wait are woken as soon as there is room again. Before that, from the
//! high-water mark on, messages are spilled.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, OnceLock};

use super::governor::Waiters;
use super::outbox::Outbox;
use super::spilling::Spilling;

/// Octets in use against a limit.
pub struct Memory {
    used: AtomicI64,
    limit: AtomicI64,
    /// From here on messages are spilled.
    mark: AtomicI64,
    spilling: OnceLock<Arc<Spilling>>,
    waiters: Waiters,
}

impl Memory {
    /// An empty account.
    #[must_use]
    pub fn new(limit_bytes: u64) -> Self {
        Self::with_mark(limit_bytes, u64::MAX)
    }

    /// An empty account; from `mark_bytes` on messages are spilled, once somebody does that.
    #[must_use]
    pub fn with_mark(limit_bytes: u64, mark_bytes: u64) -> Self {
        Self {
            used: AtomicI64::new(0),
            limit: AtomicI64::new(signed(limit_bytes)),
            mark: AtomicI64::new(signed(mark_bytes)),
            spilling: OnceLock::new(),
            waiters: Waiters::default(),
        }
    }

    /// Octets in use.
    #[must_use]
    pub fn used_bytes(&self) -> u64 {
        u64::try_from(self.used.load(Ordering::Relaxed)).unwrap_or(0)
    }

    /// The limit in octets.
    #[must_use]
    pub fn limit_bytes(&self) -> u64 {
        u64::try_from(self.limit.load(Ordering::Relaxed)).unwrap_or(0)
    }

    /// Changes the limit and the mark; who waits for room goes on if there is some.
    pub fn set_limit_bytes(&self, limit_bytes: u64, mark_bytes: u64) {
        self.limit.store(signed(limit_bytes), Ordering::Relaxed);
        self.mark.store(signed(mark_bytes), Ordering::Relaxed);
        if !self.is_relieved() {
            self.press();
        }
        self.waiters.wake_if(|| !self.is_full());
    }

    /// Whether the limit is reached.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.used.load(Ordering::Relaxed) >= self.limit.load(Ordering::Relaxed)
    }

    /// Adds octets.
    pub fn charge(&self, bytes: u64) {
        let bytes = signed(bytes);
        let before = self.used.fetch_add(bytes, Ordering::Relaxed);
        if before.saturating_add(bytes) >= self.mark.load(Ordering::Relaxed) {
            self.press();
        }
    }

    #[cold]
    fn press(&self) {
        if let Some(spilling) = self.spilling.get() {
            spilling.press();
        }
    }

    /// Whether so little is in use that nothing need be spilled for a while.
    pub(super) fn is_relieved(&self) -> bool {
        let mark = self.mark.load(Ordering::Relaxed);
        self.used.load(Ordering::Relaxed) < mark - mark / 16
    }

    /// Says who spills from now on.
    pub(super) fn spill_with(&self, spilling: Arc<Spilling>) {
        let spilling = self.spilling.get_or_init(|| spilling);
        if !self.is_relieved() {
            spilling.press();
        }
    }

    /// Who spills, if somebody does.
    pub(super) fn spilling(&self) -> Option<&Arc<Spilling>> {
        self.spilling.get()
    }

    /// Takes octets away and wakes who waits for room.
    pub fn release(&self, bytes: u64) {
        self.used.fetch_sub(signed(bytes), Ordering::Relaxed);
        self.waiters.wake_if(|| !self.is_full());
    }

    /// Remembers a connection to be woken when there is room. If room came meanwhile, it is woken at once.
    pub fn wait(&self, outbox: &Arc<Outbox>) {
        self.waiters.wait(outbox, || self.is_full());
    }
}

fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

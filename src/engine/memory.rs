//! The one memory account: messages, outboxes, transactions and frames in progress.
//!
//! Charged in batches by those who hold the octets. At the limit, SENDs of non-persistent messages park
//! (SND-5) and everything else goes on; those who wait are woken as soon as there is room again.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use super::governor::Waiters;
use super::outbox::Outbox;

/// Octets in use against a limit.
pub struct Memory {
    used: AtomicI64,
    limit: AtomicI64,
    waiters: Waiters,
}

impl Memory {
    /// An empty account.
    #[must_use]
    pub fn new(limit_bytes: u64) -> Self {
        Self {
            used: AtomicI64::new(0),
            limit: AtomicI64::new(i64::try_from(limit_bytes).unwrap_or(i64::MAX)),
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

    /// Changes the limit; who waits for room goes on if there is some.
    pub fn set_limit_bytes(&self, limit_bytes: u64) {
        let limit = i64::try_from(limit_bytes).unwrap_or(i64::MAX);
        self.limit.store(limit, Ordering::Relaxed);
        self.waiters.wake_if(|| !self.is_full());
    }

    /// Whether the limit is reached.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.used.load(Ordering::Relaxed) >= self.limit.load(Ordering::Relaxed)
    }

    /// Adds octets.
    pub fn charge(&self, bytes: u64) {
        self.used
            .fetch_add(i64::try_from(bytes).unwrap_or(i64::MAX), Ordering::Relaxed);
    }

    /// Takes octets away and wakes who waits for room.
    pub fn release(&self, bytes: u64) {
        self.used
            .fetch_sub(i64::try_from(bytes).unwrap_or(i64::MAX), Ordering::Relaxed);
        self.waiters.wake_if(|| !self.is_full());
    }

    /// Remembers a connection to be woken when there is room. If room came meanwhile, it is woken at once.
    pub fn wait(&self, outbox: &Arc<Outbox>) {
        self.waiters.wait(outbox, || self.is_full());
    }
}

//! The one memory account: messages, outboxes, transactions and frames in progress.
//!
//! Charged in batches by those who hold the octets. At the limit, SENDs of non-persistent messages park
//! (SND-5) and everything else goes on; those who wait are woken as soon as there is room again.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex};

use super::outbox::Outbox;

/// Octets in use against a limit.
pub struct Memory {
    used: AtomicI64,
    limit: i64,
    anyone_waits: AtomicBool,
    waiting: Mutex<Vec<Arc<Outbox>>>,
}

impl Memory {
    /// An empty account.
    #[must_use]
    pub fn new(limit_bytes: u64) -> Self {
        Self {
            used: AtomicI64::new(0),
            limit: i64::try_from(limit_bytes).unwrap_or(i64::MAX),
            anyone_waits: AtomicBool::new(false),
            waiting: Mutex::new(Vec::new()),
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
        u64::try_from(self.limit).unwrap_or(0)
    }

    /// Whether the limit is reached.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.used.load(Ordering::Relaxed) >= self.limit
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
        // Pairs with the store in `wait`: either this sees the waiter, or the waiter sees the room.
        std::sync::atomic::fence(Ordering::SeqCst);
        if self.anyone_waits.load(Ordering::Relaxed) && !self.is_full() {
            self.wake();
        }
    }

    /// Remembers a connection to be woken when there is room. If room came meanwhile, it is woken at once.
    pub fn wait(&self, outbox: Arc<Outbox>) {
        if let Ok(mut waiting) = self.waiting.lock()
            && !waiting.iter().any(|known| Arc::ptr_eq(known, &outbox))
        {
            waiting.push(outbox);
        }
        self.anyone_waits.store(true, Ordering::Relaxed);
        std::sync::atomic::fence(Ordering::SeqCst);
        if !self.is_full() {
            self.wake();
        }
    }

    fn wake(&self) {
        let Ok(mut waiting) = self.waiting.lock() else {
            return;
        };
        self.anyone_waits.store(false, Ordering::Relaxed);
        for outbox in waiting.drain(..) {
            outbox.kick();
        }
    }
}

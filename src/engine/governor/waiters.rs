//! Connections that wait for room, to be woken when there is some.

use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::sync::{Arc, Mutex, PoisonError};

use crate::engine::outbox::Outbox;

/// Who waits for one kind of room.
#[derive(Default)]
pub struct Waiters {
    any: AtomicBool,
    waiting: Mutex<Vec<Arc<Outbox>>>,
}

impl Waiters {
    /// Remembers a connection to be woken when there is room. If room came meanwhile, which `is_full` tells, it is woken at
    /// once.
    pub fn wait(&self, outbox: &Arc<Outbox>, is_full: impl FnOnce() -> bool) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if !waiting.iter().any(|known| Arc::ptr_eq(known, outbox)) {
            waiting.push(Arc::clone(outbox));
        }
        drop(waiting);
        self.any.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        if !is_full() {
            self.wake();
        }
    }

    /// Wakes all if somebody waits and there is room; to be called when some has come.
    #[inline]
    pub fn wake_if(&self, has_room: impl FnOnce() -> bool) {
        // Pairs with `wait`: either this sees the waiter, or the waiter sees the room.
        fence(Ordering::SeqCst);
        if self.any.load(Ordering::Relaxed) && has_room() {
            self.wake();
        }
    }

    /// Wakes all.
    pub fn wake(&self) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        self.any.store(false, Ordering::Relaxed);
        for outbox in waiting.drain(..) {
            outbox.kick();
        }
    }
}

//! What leaves memory over the window, and how it comes back.

use std::sync::Arc;

use super::Topic;
use crate::broker::message::Message;
use crate::broker::outlet::Outlet;
use crate::broker::paging::Readable;
use crate::broker::subscription::SubscriptionKey;

/// Messages asked back from the store in one go for a lagging durable subscription.
const FETCH_MESSAGES_MAX: usize = 1024;
const FETCH_BYTES_MAX: u64 = 2 << 20;

impl Topic {
    /// Takes a message that was asked back from the store; `None` if the store has lost it.
    pub fn loaded(
        &mut self,
        now_ms: u64,
        sequence: u64,
        message: Option<Arc<Message>>,
        out: &mut impl Outlet,
    ) {
        self.fetching = self.fetching.saturating_sub(1);
        if let Some(kept) = self.log.get_mut(sequence)
            && kept.entry.message.is_none()
        {
            let bytes = u64::from(kept.entry.bytes.get());
            if message.is_some() {
                self.held_bytes += bytes;
                kept.entry.message = message;
            } else {
                let lost = self.log.remove(sequence);
                let at = lost.and_then(|kept| kept.entry.at);
                if let Some(at) = at.filter(|at| at.is_temp()) {
                    out.remove(sequence, at);
                }
                self.log_bytes -= bytes;
                for subscriber in self.subscriptions.values_mut() {
                    subscriber.forget(sequence, bytes);
                }
            }
        }
        if self.fetching == 0 {
            self.dispatch_all(now_ms, out);
        }
    }

    /// A message that was asked back could not be read now; a later step asks again.
    pub fn unread(&mut self) {
        self.fetching = self.fetching.saturating_sub(1);
    }

    pub(super) fn page_out(&mut self) {
        let readable = self.readable();
        while self.held_bytes > self.limits.window_bytes {
            let Some(sequence) = self.log.next_from(self.page_from) else {
                break;
            };
            let Some(kept) = self.log.get(sequence) else {
                break;
            };
            if kept.entry.at.is_some_and(|at| !readable.has(at)) {
                break;
            }
            self.unload(sequence);
            self.page_from = sequence + 1;
        }
    }

    /// What can be read back.
    pub(super) fn readable(&self) -> Readable {
        Readable::through(self.durable_through)
    }

    /// Lets a stored entry leave memory if more than the window is held.
    pub(super) fn unload(&mut self, sequence: u64) {
        self.unload_beyond(sequence, self.limits.window_bytes);
    }

    pub(super) fn unload_beyond(&mut self, sequence: u64, window_bytes: u64) {
        if self.held_bytes <= window_bytes {
            return;
        }
        let readable = self.readable();
        let leaves = self.log.get(sequence).is_some_and(|kept| {
            kept.entry.message.is_some() && kept.entry.at.is_some_and(|at| readable.has(at))
        });
        if leaves && let Some(kept) = self.log.get_mut(sequence) {
            let (message, bytes) = (kept.entry.message.take(), u64::from(kept.entry.bytes.get()));
            self.let_go(message, bytes);
        }
        self.log.chill_through(sequence);
    }

    pub(super) fn fetch(&mut self, key: SubscriptionKey, from: u64, out: &mut impl Outlet) {
        if self.fetching > 0 {
            return;
        }
        self.fetched_for = Some(key);
        let (mut at, mut bytes) = (from, 0);
        while self.fetching < FETCH_MESSAGES_MAX && bytes < FETCH_BYTES_MAX {
            let Some(sequence) = self.log.next_from(at) else {
                break;
            };
            let Some(kept) = self.log.get(sequence) else {
                break;
            };
            if let (None, Some(locator)) = (&kept.entry.message, kept.entry.at) {
                out.fetch(sequence, locator);
                self.fetching += 1;
                bytes += u64::from(kept.entry.bytes.get());
            }
            at = sequence + 1;
        }
    }
}

//! Which messages of a backlog are in memory: a window at the head and what is not on disk yet.
//!
//! Over the window, a stored message leaves memory once its record is durable; near the head, what left is
//! asked back in runs. A paged entry keeps 24 octets. The seam for a backlog without entries (read
//! back through segment footers) is [`Outlet::fetch`] and [`Paging::loaded`].

use std::sync::Arc;

use super::delivery::Entry;
use super::log::Log;
use super::message::{Locator, Message};
use super::outlet::Outlet;

/// Messages and octets asked back in one go.
const FETCH_MESSAGES_MAX: usize = 2048;
const FETCH_BYTES_MAX: u64 = 2 << 20;

/// Bookkeeping of what a log holds in memory.
#[derive(Debug)]
pub struct Paging {
    /// Octets of messages this destination holds in memory, ready or unacked.
    pub held_bytes: u64,
    /// Octets of messages that have been acknowledged since somebody last asked.
    pub drained_bytes: u64,
    window_bytes: u64,
    /// Everything the store has synced: records up to here can be read back.
    durable: Option<Locator>,
    /// Entries before this sequence need not be looked at for leaving memory.
    page_from: u64,
    /// Entries of the log whose message is not in memory.
    paged: usize,
    /// Messages asked back and not come yet.
    fetching: usize,
    /// Where to look for the next run to ask back, once the head has passed `refetch_at`.
    fetch_from: u64,
    refetch_at: u64,
}

impl Paging {
    /// Nothing held; a window of `window_bytes`.
    #[must_use]
    pub fn new(window_bytes: u64) -> Self {
        Self {
            held_bytes: 0,
            drained_bytes: 0,
            window_bytes,
            durable: None,
            page_from: 0,
            paged: 0,
            fetching: 0,
            fetch_from: 0,
            refetch_at: 0,
        }
    }

    /// Learns how far the store has synced.
    pub fn set_durable(&mut self, durable: Option<Locator>) {
        self.durable = self.durable.max(durable);
    }

    /// How far the store has synced, if messages should leave memory now.
    #[must_use]
    pub fn pressing(&self) -> Option<Locator> {
        if self.held_bytes > self.window_bytes {
            self.durable
        } else {
            None
        }
    }

    /// Notes that an entry without its message joined the log.
    pub fn joined_paged(&mut self) {
        self.paged += 1;
    }

    /// Notes that an entry without its message was taken out of the log.
    pub fn left_paged(&mut self) {
        self.paged -= 1;
    }

    /// Notes that a message joined at `sequence`. What joins within the window stays in memory.
    pub fn joined(&mut self, sequence: u64, bytes: u64) {
        self.held_bytes += bytes;
        if self.held_bytes <= self.window_bytes {
            self.page_from = self.page_from.max(sequence + 1);
        }
    }

    /// Lets durable messages beyond the window leave memory. Constant work per entry: the cursor only
    /// moves on.
    pub fn page_out(&mut self, log: &mut Log<Entry>) {
        let Some(durable) = self.pressing() else {
            return;
        };
        let mut at = self.page_from.max(self.fetch_from);
        while self.held_bytes > self.window_bytes {
            let Some(sequence) = log.next_from(at) else {
                break;
            };
            let Some(entry) = log.get_mut(sequence) else {
                break;
            };
            if let Some(locator) = entry.at {
                if locator > durable {
                    break;
                }
                if entry.message.take().is_some() {
                    self.held_bytes -= u64::from(entry.bytes.get());
                    self.paged += 1;
                }
            }
            at = sequence + 1;
        }
        self.page_from = self.page_from.max(at);
    }

    /// Asks the store for messages near the head of `log` that are not in memory: at once if the head
    /// itself is missing, and ahead of need when the head has passed the middle of the last run.
    pub fn fetch(&mut self, log: &Log<Entry>, out: &mut impl Outlet) {
        if self.paged == 0 || self.fetching > 0 {
            return;
        }
        let Some(head) = log.first() else { return };
        let head_missing = log.get(head).is_some_and(|entry| entry.message.is_none());
        if !head_missing && head < self.refetch_at {
            return;
        }
        let mut at = if head_missing {
            head
        } else {
            self.fetch_from.max(head)
        };
        let (mut bytes, mut middle) = (0, None);
        for scanned in 0..FETCH_MESSAGES_MAX {
            let Some(sequence) = log.next_from(at) else {
                break;
            };
            let Some(entry) = log.get(sequence) else {
                break;
            };
            at = sequence + 1;
            bytes += u64::from(entry.bytes.get());
            if scanned == FETCH_MESSAGES_MAX / 2 || bytes >= FETCH_BYTES_MAX / 2 {
                middle.get_or_insert(sequence);
            }
            if let (None, Some(locator)) = (&entry.message, entry.at) {
                out.fetch(sequence, locator);
                self.fetching += 1;
            }
            if bytes >= FETCH_BYTES_MAX {
                break;
            }
        }
        self.fetch_from = at;
        self.refetch_at = middle.unwrap_or(at);
    }

    /// Notes that a message that was asked back could not be read now.
    pub fn unread(&mut self) {
        self.fetching = self.fetching.saturating_sub(1);
    }

    /// Takes a message that came back. `None` says the store has lost it: the entry goes too, as the
    /// damage has been reported by the store. Returns whether the run is complete.
    pub fn loaded(
        &mut self,
        log: &mut Log<Entry>,
        sequence: u64,
        message: Option<Arc<Message>>,
    ) -> bool {
        self.fetching = self.fetching.saturating_sub(1);
        match message {
            Some(message) => {
                if let Some(entry) = log.get_mut(sequence)
                    && entry.message.is_none()
                {
                    self.held_bytes += u64::from(entry.bytes.get());
                    self.paged -= 1;
                    entry.message = Some(message);
                }
            }
            None => {
                if log
                    .get(sequence)
                    .is_some_and(|entry| entry.message.is_none())
                {
                    self.paged -= 1;
                    log.remove(sequence);
                }
            }
        }
        self.fetching == 0
    }
}

//! Which messages of a backlog are in memory: a window at the head and what is not on disk yet.
//!
//! Over the window, a stored message leaves memory once its record is durable; near the head, what left is
//! asked back in runs. A paged entry keeps 8 octets, or 24 if it is unlike its neighbours.
//!
//! Two ways of asking: ahead of need near the head ([`Lane::fetch_ahead`]), and a run anywhere for who looks
//! for certain messages ([`Lane::fetch_run`]), which is let go again when the next one is asked for.

use std::sync::Arc;

use super::delivery::Entry;
use super::log::{Chill, Log};
use super::message::{Locator, Message};
use super::outlet::Outlet;

/// Messages and octets asked back in one go.
const FETCH_MESSAGES_MAX: usize = 2048;
const FETCH_BYTES_MAX: u64 = 2 << 20;

/// What a destination holds in memory, and what it waits for.
#[derive(Debug)]
pub struct Paging {
    /// Octets of messages this destination holds in memory, ready or unacked.
    pub held_bytes: u64,
    /// Octets of all its messages, in memory or not.
    pub bytes: u64,
    /// Octets of messages that have been acknowledged since somebody last asked.
    pub drained_bytes: u64,
    window_bytes: u64,
    /// Everything the store has synced: records up to here can be read back.
    durable: Option<Locator>,
    /// Messages asked back and not come yet.
    fetching: usize,
}

impl Paging {
    /// Nothing held; a window of `window_bytes`.
    #[must_use]
    pub fn new(window_bytes: u64) -> Self {
        Self {
            held_bytes: 0,
            bytes: 0,
            drained_bytes: 0,
            window_bytes,
            durable: None,
            fetching: 0,
        }
    }

    /// Changes how much stays in memory; what is beyond leaves with the next step. Returns whether it is less than it was.
    pub fn set_window_bytes(&mut self, window_bytes: u64) -> bool {
        std::mem::replace(&mut self.window_bytes, window_bytes) > window_bytes
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

    /// Whether a run has been asked back and is not complete.
    #[must_use]
    pub fn is_fetching(&self) -> bool {
        self.fetching > 0
    }

    /// Notes that one of the messages asked back has come, is lost, or could not be read now.
    pub fn answered(&mut self) {
        self.fetching = self.fetching.saturating_sub(1);
    }
}

/// Up to which sequence what `log` holds in memory fits into a window.
pub(super) fn end_of_window<T: Chill>(
    log: &Log<T>,
    window_bytes: u64,
    entry: impl Fn(&T) -> &Entry,
) -> u64 {
    let (mut at, mut held_bytes) = (0, 0);
    while let Some(sequence) = log.next_from(at) {
        let Some(seen) = log.get(sequence) else {
            break;
        };
        let entry = entry(&seen);
        if entry.message.is_some() {
            held_bytes += u64::from(entry.bytes.get());
        }
        if held_bytes > window_bytes {
            break;
        }
        at = sequence + 1;
    }
    at
}

/// Messages in order of sequence, some of them in memory.
#[derive(Debug, Default)]
pub struct Lane {
    /// The entries.
    pub log: Log<Entry>,
    /// Entries before this sequence need not be looked at for leaving memory.
    page_from: u64,
    /// Entries whose message is not in memory.
    paged: usize,
    /// Where to look for the next run to ask back, once the head has passed `refetch_at`.
    fetch_from: u64,
    refetch_at: u64,
    /// The run that was asked back away from the head: from, and to before.
    run: (u64, u64),
}

impl Lane {
    /// Notes that a message joins at `sequence`. What joins within the window stays in memory.
    pub fn joined(&mut self, sequence: u64, bytes: u64, paging: &mut Paging) {
        paging.held_bytes += bytes;
        if paging.held_bytes <= paging.window_bytes {
            self.page_from = self.page_from.max(sequence + 1);
        }
    }

    /// The window has become smaller: what lies behind it may leave memory although it joined within it.
    pub fn narrow(&mut self, paging: &Paging) {
        let end = end_of_window(&self.log, paging.window_bytes, |entry| entry);
        self.page_from = self.page_from.min(end);
    }

    /// Whether some messages are not in memory.
    #[must_use]
    pub fn has_paged(&self) -> bool {
        self.paged > 0
    }

    /// Puts `entry` at `sequence`.
    pub fn insert(&mut self, sequence: u64, entry: Entry) {
        self.paged += usize::from(entry.message.is_none());
        let old = self.log.insert(sequence, entry);
        debug_assert!(old.is_none(), "a message is in one place");
    }

    /// Takes the entry at `sequence` out, in memory or not.
    pub fn remove(&mut self, sequence: u64) -> Option<Entry> {
        let entry = self.log.remove(sequence)?;
        self.paged -= usize::from(entry.message.is_none());
        Some(entry)
    }

    /// Lets durable messages beyond the window leave memory. Constant work per entry: the cursor only
    /// moves on.
    pub fn page_out(&mut self, paging: &mut Paging) {
        let Some(durable) = paging.pressing() else {
            return;
        };
        let mut at = self.page_from.max(self.fetch_from);
        while paging.held_bytes > paging.window_bytes {
            let Some(sequence) = self.log.next_from(at) else {
                break;
            };
            if !self.unload(sequence, durable, paging) {
                break;
            }
            at = sequence + 1;
        }
        self.page_from = self.page_from.max(at);
    }

    /// Lets the message at `sequence` leave memory if there is too much in it and the store has it: it was
    /// looked at and is not wanted now.
    pub fn let_go(&mut self, sequence: u64, paging: &mut Paging) {
        if let Some(durable) = paging.pressing() {
            self.unload(sequence, durable, paging);
        }
    }

    /// Asks the store for messages near `head` that are not in memory: at once if the head itself is
    /// missing, and ahead of need when the head has passed the middle of the last run.
    pub fn fetch_ahead(&mut self, head: u64, paging: &mut Paging, out: &mut impl Outlet) {
        if self.paged == 0 || paging.fetching > 0 {
            return;
        }
        let missing = self.is_paged(head);
        if !missing && head < self.refetch_at {
            return;
        }
        let from = if missing {
            head
        } else {
            self.fetch_from.max(head)
        };
        let (middle, to) = self.ask(from, paging, out);
        self.fetch_from = to;
        self.refetch_at = middle.unwrap_or(to);
    }

    /// Asks the store for a run from `from` on, for somebody who looks for certain messages; the run before
    /// it is let go.
    pub fn fetch_run(&mut self, from: u64, paging: &mut Paging, out: &mut impl Outlet) {
        if paging.fetching > 0 {
            return;
        }
        if let Some(durable) = paging.pressing() {
            let (mut at, to) = self.run;
            while let Some(sequence) = self.log.next_from(at).filter(|next| *next < to) {
                self.unload(sequence, durable, paging);
                at = sequence + 1;
            }
        }
        let (_, to) = self.ask(from, paging, out);
        self.run = (from, to);
    }

    /// Takes a message that came back. `None` says the store has lost it: the entry goes too, as the
    /// damage has been reported by the store. Returns whether this lane waited for it.
    pub fn loaded(
        &mut self,
        sequence: u64,
        message: &mut Option<Arc<Message>>,
        paging: &mut Paging,
    ) -> bool {
        let Some(entry) = self.log.get(sequence) else {
            return false;
        };
        if entry.message.is_some() {
            return true;
        }
        let Some(entry) = self.log.get_mut(sequence) else {
            return false;
        };
        self.paged -= 1;
        entry.message = message.take();
        if entry.message.is_some() {
            paging.held_bytes += u64::from(entry.bytes.get());
        } else if let Some(lost) = self.log.remove(sequence) {
            paging.bytes -= u64::from(lost.bytes.get());
        }
        true
    }

    fn is_paged(&self, sequence: u64) -> bool {
        self.log
            .get(sequence)
            .is_some_and(|entry| entry.message.is_none())
    }

    /// Returns false if the entry is not durable yet.
    fn unload(&mut self, sequence: u64, durable: Locator, paging: &mut Paging) -> bool {
        let Some(entry) = self.log.get(sequence) else {
            return false;
        };
        let Some(at) = entry.at else { return true };
        if at > durable {
            return false;
        }
        if entry.message.is_some()
            && let Some(entry) = self.log.get_mut(sequence)
        {
            entry.message = None;
            paging.held_bytes -= u64::from(entry.bytes.get());
            self.paged += 1;
        }
        self.log.chill_through(sequence);
        true
    }

    /// Asks for the run from `from` on; returns its middle and its end.
    fn ask(&self, from: u64, paging: &mut Paging, out: &mut impl Outlet) -> (Option<u64>, u64) {
        let (mut at, mut bytes, mut middle) = (from, 0, None);
        for scanned in 0..FETCH_MESSAGES_MAX {
            let Some(sequence) = self.log.next_from(at) else {
                break;
            };
            let Some(entry) = self.log.get(sequence) else {
                break;
            };
            at = sequence + 1;
            bytes += u64::from(entry.bytes.get());
            if scanned == FETCH_MESSAGES_MAX / 2 || bytes >= FETCH_BYTES_MAX / 2 {
                middle.get_or_insert(sequence);
            }
            if let (None, Some(locator)) = (&entry.message, entry.at) {
                out.fetch(sequence, locator);
                paging.fetching += 1;
            }
            if bytes >= FETCH_BYTES_MAX {
                break;
            }
        }
        (middle, at)
    }
}

//! Which messages of a backlog are in memory: a window at the head and what is not on disk yet.
//!
//! Over the window, a stored message leaves memory once its record is durable; near the head, what left is
//! asked back in runs. A paged entry keeps 8 octets, or 24 if it is unlike its neighbours. A message without a place
//! in the store gets one in temporary storage when memory runs short ([`Lane::spill`]), and is as good as stored then.
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

/// What can be read back from the store.
#[derive(Clone, Copy, Debug)]
pub struct Readable {
    /// Everything the journal has synced.
    durable: Option<Locator>,
}

impl Readable {
    /// What the journal has synced `through` there, and what was spilled.
    #[must_use]
    pub fn through(durable: Option<Locator>) -> Self {
        Self { durable }
    }

    /// Whether what lies there can be read back: temporary storage has it at once.
    #[must_use]
    pub fn has(self, at: Locator) -> bool {
        at.is_temp() || Some(at) <= self.durable
    }
}

/// Messages that are to be written to temporary storage, and how many more are wanted.
#[derive(Debug)]
pub struct Spill {
    /// Each with its sequence.
    pub messages: Vec<(u64, Arc<Message>)>,
    /// Octets that still fit; the last message may go over.
    pub room_bytes: u64,
    /// Entries that may still be looked at, so that others get the lock.
    pub looks: usize,
    /// Longer messages stay in memory.
    pub message_bytes_max: u64,
}

impl Spill {
    /// Whether it takes no more.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.room_bytes == 0 || self.looks == 0
    }

    /// Whether it is a message that can be written down.
    pub(super) fn takes(&self, message: &Message, bytes: u64) -> bool {
        bytes <= self.message_bytes_max && message.event().is_none()
    }

    /// Takes such a message.
    pub(super) fn push(&mut self, sequence: u64, message: Arc<Message>, bytes: u64) {
        self.messages.push((sequence, message));
        self.room_bytes = self.room_bytes.saturating_sub(bytes);
    }
}

/// A message that the store has lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lost {
    /// Whether it was delayed.
    pub delayed: bool,
    /// Where it should have been.
    pub at: Option<Locator>,
}

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

    /// What can be read back, if messages should leave memory now.
    #[must_use]
    pub fn pressing(&self) -> Option<Readable> {
        (self.held_bytes > self.window_bytes).then(|| self.readable())
    }

    /// What can be read back.
    #[must_use]
    pub fn readable(&self) -> Readable {
        Readable::through(self.durable)
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
    /// Entries before this sequence need not be looked at for being spilled.
    spill_from: u64,
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
            self.spill_from = self.spill_from.max(sequence + 1);
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
        let Some(readable) = paging.pressing() else {
            return;
        };
        let mut at = self.page_from.max(self.fetch_from);
        while paging.held_bytes > paging.window_bytes {
            let Some(sequence) = self.log.next_from(at) else {
                break;
            };
            if !self.unload(sequence, readable, paging) {
                break;
            }
            at = sequence + 1;
        }
        self.page_from = self.page_from.max(at);
    }

    /// Lets the message at `sequence` leave memory if there is too much in it and the store has it: it was
    /// looked at and is not wanted now.
    pub fn let_go(&mut self, sequence: u64, paging: &mut Paging) {
        if let Some(readable) = paging.pressing() {
            self.unload(sequence, readable, paging);
        }
    }

    /// Begins to spill anew behind the first `window_bytes` in memory; returns how many of them are not found here.
    pub fn rewind_spill(&mut self, window_bytes: u64) -> u64 {
        let (mut at, mut left_bytes) = (0, window_bytes);
        while left_bytes > 0
            && let Some(sequence) = self.log.next_warm_from(at)
        {
            let held = self.log.get(sequence);
            let held = held.filter(|entry| entry.message.is_some());
            left_bytes = left_bytes.saturating_sub(held.map_or(0, |it| it.bytes.get().into()));
            at = sequence + 1;
        }
        self.spill_from = at;
        left_bytes
    }

    /// Lets messages leave memory until only `window_bytes` of it are taken, from where the last call stopped: those
    /// that can be read back at once, those without a place go into `spill` first. `going_bytes` are on their way
    /// there already. Returns whether it has come to the end.
    pub fn spill(
        &mut self,
        window_bytes: u64,
        going_bytes: &mut u64,
        paging: &mut Paging,
        spill: &mut Spill,
    ) -> bool {
        let readable = paging.readable();
        while paging.held_bytes > window_bytes.saturating_add(*going_bytes) {
            if spill.is_full() {
                return false;
            }
            let Some(sequence) = self.log.next_warm_from(self.spill_from) else {
                return true;
            };
            spill.looks -= 1;
            self.spill_from = sequence + 1;
            let Some(entry) = self.log.get(sequence) else {
                continue;
            };
            let bytes = u64::from(entry.bytes.get());
            match (&entry.message, entry.at) {
                (Some(message), None) if spill.takes(message, bytes) => {
                    spill.push(sequence, Arc::clone(message), bytes);
                    *going_bytes += bytes;
                }
                (Some(_), Some(_)) => {
                    self.unload(sequence, readable, paging);
                }
                _ => {}
            }
        }
        true
    }

    /// The message at `sequence` lies in temporary storage now, and leaves memory if more than `window_bytes` of it are
    /// taken. Returns false if it is not here any more.
    pub fn spilled(
        &mut self,
        sequence: u64,
        at: Locator,
        window_bytes: u64,
        paging: &mut Paging,
    ) -> bool {
        if self.log.get(sequence).is_none_or(|it| it.at.is_some()) {
            return false;
        }
        let Some(entry) = self.log.get_mut(sequence) else {
            return false;
        };
        entry.at = Some(at);
        if paging.held_bytes > window_bytes {
            self.unload(sequence, paging.readable(), paging);
        }
        true
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
        if let Some(readable) = paging.pressing() {
            let (mut at, to) = self.run;
            while let Some(sequence) = self.log.next_from(at).filter(|next| *next < to) {
                self.unload(sequence, readable, paging);
                at = sequence + 1;
            }
        }
        let (_, to) = self.ask(from, paging, out);
        self.run = (from, to);
    }

    /// Takes a message that came back. `None` says the store has lost it: the entry goes too, as the damage has been
    /// reported by the store. Returns what was lost if this lane waited for it; `None` if it is not here.
    pub fn loaded(
        &mut self,
        sequence: u64,
        message: &mut Option<Arc<Message>>,
        paging: &mut Paging,
    ) -> Option<Option<Lost>> {
        if self.log.get(sequence)?.message.is_some() {
            return Some(None);
        }
        let entry = self.log.get_mut(sequence)?;
        self.paged -= 1;
        entry.message = message.take();
        if entry.message.is_some() {
            paging.held_bytes += u64::from(entry.bytes.get());
            return Some(None);
        }
        let lost = self.log.remove(sequence)?;
        paging.bytes -= u64::from(lost.bytes.get());
        Some(Some(Lost {
            delayed: lost.is_delayed(),
            at: lost.at,
        }))
    }

    fn is_paged(&self, sequence: u64) -> bool {
        self.log
            .get(sequence)
            .is_some_and(|entry| entry.message.is_none())
    }

    /// Returns false if the entry is not durable yet.
    fn unload(&mut self, sequence: u64, readable: Readable, paging: &mut Paging) -> bool {
        let Some(entry) = self.log.get(sequence) else {
            return false;
        };
        let Some(at) = entry.at else { return true };
        if !readable.has(at) {
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

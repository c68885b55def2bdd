//! Group commit: batch in, ticket out.
//!
//! - Whoever appends copies records into the open gather buffer under one mutex: no I/O, no waiting. The buffer knows the segment and
//!   offset it will be written at, so positions are final at once.
//! - The writer thread takes the buffer, and while it writes and syncs the next one gathers. No timer: a sync serves all that came
//!   meanwhile.
//! - A ticket is the sequence of the batch. Batches are synced one after the other, so tickets complete in order.
//! - After the first failure nothing is accepted and no ticket completes any more.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, OnceLock};

use crate::batch::Batch;
use crate::config::StoreConfig;
use crate::definitions::Definitions;
use crate::error::StoreError;
use crate::fields::{index, short};
use crate::footer::{SUMMARY, TRAILER};
use crate::locator::{Locator, Ticket};
use crate::segment::{BATCH_HEADER, DATA_START};

/// Largest batch: offsets in a segment have 32 bits, and the end must have one too.
pub(crate) const LENGTH_MAX: usize = 3 << 30;
/// Room kept for the parts of a footer that do not grow with every record.
const FOOTER_SLACK: usize = 8 * SUMMARY + TRAILER;

/// What the store tells the engine, on a thread of the store.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum SyncEvent {
    /// Everything up to this ticket is on disk, and every record up to this place can be read.
    Synced(Ticket, Locator),
    /// The journal is dead for this reason. Comes once; nothing follows.
    Failed(String),
    /// No space for another segment: messages are refused soon, removals are not. The reason names the cause.
    Full(String),
    /// There is space again.
    Room,
}

/// What the gathering side knows about space: what is prepared, and what may still be.
///
/// Who appends looks here and not at the disk. Nothing is taken in for which the preparer could not make room
/// later, the reserve behind it included: what is gathered and cannot be written would hold up the removals behind it.
#[derive(Debug)]
pub(crate) struct Room {
    /// Preparing the next segment failed for lack of space.
    pub(crate) starved: AtomicBool,
    /// Highest segment that is prepared.
    pub(crate) prepared_through: AtomicU32,
    /// Octets of the files of the journal, without those that are free to be used again.
    pub(crate) held: AtomicU64,
    /// Octets by which gathered batches are longer than their segments are planned to be.
    excess: AtomicU64,
    /// What `held` may come to; `u64::MAX` without a limit.
    pub(crate) bytes_max: AtomicU64,
    /// What the disk lets `held` come to, when it was last looked at.
    pub(crate) disk_max: AtomicU64,
    /// The segment that is being gathered for.
    open: AtomicU32,
    /// Somebody was refused, and wants to be told.
    pub(crate) refused: AtomicBool,
    reserve: u32,
    segment_bytes: u32,
}

impl Room {
    fn new(config: &StoreConfig, open: u32) -> Self {
        Self {
            starved: AtomicBool::new(false),
            prepared_through: AtomicU32::new(open.saturating_sub(1)),
            held: AtomicU64::new(0),
            excess: AtomicU64::new(0),
            bytes_max: AtomicU64::new(config.bytes_max.unwrap_or(u64::MAX)),
            disk_max: AtomicU64::new(u64::MAX),
            open: AtomicU32::new(open),
            refused: AtomicBool::new(false),
            reserve: config.segments_reserved,
            segment_bytes: config.segment_bytes,
        }
    }

    /// True if messages may go to `segment`, and the reserve can lie beyond it.
    pub(crate) fn allows(&self, segment: u32) -> bool {
        self.reaches(segment + self.reserve, 0)
    }

    /// The same for messages that end `excess` octets behind the planned end of `segment`. They may end above the limit, or
    /// none that is larger would ever be taken; but not while the reserve beyond them is only a promise, which they would break.
    pub(crate) fn allows_excess(&self, segment: u32, excess: u64) -> bool {
        let through = segment + self.reserve;
        self.prepared_through.load(Ordering::Relaxed) >= through || self.reaches(through, excess)
    }

    /// True if copies may go to `segment`: they use the reserve too, except the last segment of it.
    pub(crate) fn allows_copies(&self, segment: u32) -> bool {
        self.reaches(segment + 1, 0)
    }

    /// True if segments are or can be prepared up to here, beside `more` octets.
    fn reaches(&self, through: u32, more: u64) -> bool {
        let lacks = through.saturating_sub(self.prepared_through.load(Ordering::Relaxed));
        if self.starved.load(Ordering::Relaxed) {
            return lacks == 0;
        }
        let max = self.bytes_max.load(Ordering::Relaxed);
        let max = max.min(self.disk_max.load(Ordering::Relaxed));
        if max == u64::MAX {
            return true;
        }
        let wanted = u64::from(lacks) * u64::from(self.segment_bytes);
        let held = self.held.load(Ordering::Relaxed) + self.excess.load(Ordering::Relaxed);
        held.saturating_add(wanted).saturating_add(more) <= max
    }

    /// True if messages may fill the open segment at most.
    pub(crate) fn is_full(&self) -> bool {
        let full = !self.allows(self.open.load(Ordering::Relaxed) + 1);
        if full {
            self.refuse();
        }
        full
    }

    /// Why messages are refused, if it is for the disk and not for the limit.
    pub(crate) fn disk_shortage(&self) -> Option<String> {
        let disk_max = self.disk_max.load(Ordering::Relaxed);
        let is_disk = disk_max < self.bytes_max.load(Ordering::Relaxed) && self.is_full();
        is_disk.then(|| "the disk has no more space".to_owned())
    }

    /// Remembers that somebody was refused.
    fn refuse(&self) {
        if !self.refused.load(Ordering::SeqCst) {
            self.refused.store(true, Ordering::SeqCst);
        }
    }

    /// True if somebody was refused since room last came: who is will be told when it comes.
    pub(crate) fn is_refusing(&self) -> bool {
        self.refused.load(Ordering::SeqCst)
    }

    /// True once if somebody was refused and need not be any more.
    pub(crate) fn has_come(&self) -> bool {
        // Pairs with `refuse`, after which whoever was refused looks again.
        std::sync::atomic::fence(Ordering::SeqCst);
        self.refused.load(Ordering::SeqCst)
            && self.allows(self.open.load(Ordering::Relaxed) + 1)
            && self.refused.swap(false, Ordering::SeqCst)
    }

    /// A batch that was longer than planned is written: its file tells how long it is.
    pub(crate) fn settle(&self, excess: u64) {
        if excess > 0 {
            self.excess.fetch_sub(excess, Ordering::Relaxed);
        }
    }
}

/// A batch on its way to the writer.
#[derive(Debug)]
pub(crate) struct Gathered {
    pub(crate) segment: u32,
    pub(crate) offset: u32,
    pub(crate) sequence: u64,
    pub(crate) records: u32,
    /// Octets by which it ends behind the planned end of its segment.
    pub(crate) excess: u64,
    /// Room for the batch header, then records. Empty while nothing was written.
    pub(crate) octets: Vec<u8>,
}

/// The gathering side, under the journal's mutex.
#[derive(Debug)]
pub(crate) struct Gather {
    pub(crate) open: Gathered,
    /// Batches that filled their segment, oldest first.
    full: VecDeque<Gathered>,
    spare: Vec<Vec<u8>>,
    /// Octets the footer of the open segment will need for what is in it.
    pub(crate) footer: usize,
    first_segment: u32,
    first_segment_bytes: u32,
    segment_bytes: u32,
    pub(crate) transaction: u64,
    pub(crate) definitions: Definitions,
    writer_waits: bool,
    closing: bool,
}

/// Where a closure began writing, for taking it back.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mark {
    octets: usize,
    records: u32,
    footer: usize,
}

impl Mark {
    pub(crate) fn octets(self) -> usize {
        self.octets
    }
}

impl Gather {
    fn capacity(&self) -> usize {
        let first = self.open.segment == self.first_segment;
        index(if first {
            self.first_segment_bytes
        } else {
            self.segment_bytes
        })
    }

    pub(crate) fn mark(&self) -> Mark {
        Mark {
            octets: self.open.octets.len(),
            records: self.open.records,
            footer: self.footer,
        }
    }

    /// Takes back everything since `mark`.
    pub(crate) fn rewind(&mut self, mark: Mark) {
        self.open.octets.truncate(mark.octets);
        self.open.records = mark.records;
        self.footer = mark.footer;
    }

    /// True if `length` octets of records and `footer` octets of footer go into the open segment.
    pub(crate) fn fits(&self, length: usize, footer: usize) -> bool {
        let header = if self.open.octets.is_empty() {
            BATCH_HEADER
        } else {
            0
        };
        let end = index(self.open.offset) + self.open.octets.len() + header + length;
        let fresh = self.open.offset == DATA_START && self.open.octets.is_empty();
        fresh || end + self.footer + footer + FOOTER_SLACK <= self.capacity()
    }

    /// Closes the open batch and goes on in the next segment.
    pub(crate) fn roll(&mut self) {
        let segment = self.open.segment + 1;
        if self.open.octets.is_empty() {
            self.open.segment = segment;
            self.open.offset = DATA_START;
        } else {
            let next = self.next(segment, DATA_START);
            let full = std::mem::replace(&mut self.open, next);
            self.full.push_back(full);
        }
        self.footer = 0;
    }

    fn next(&mut self, segment: u32, offset: u32) -> Gathered {
        let octets = self.spare.pop().unwrap_or_default();
        Gathered {
            segment,
            offset,
            sequence: self.open.sequence + 1,
            records: 0,
            excess: 0,
            octets,
        }
    }

    /// By how much more than is noted the open batch ends behind its segment as planned.
    pub(crate) fn new_excess(&self) -> u64 {
        if self.open.octets.is_empty() {
            return 0;
        }
        let end = index(self.open.offset) + self.open.octets.len();
        let excess = end.saturating_sub(self.capacity()) as u64;
        excess.saturating_sub(self.open.excess)
    }

    /// Begins a record: room for the batch header if it is the first, and the place the record will have.
    pub(crate) fn begin(&mut self) -> Locator {
        if self.open.octets.is_empty() {
            self.open.octets.resize(BATCH_HEADER, 0);
        }
        self.open.records += 1;
        Locator::new(
            self.open.segment,
            self.open.offset + short(self.open.octets.len()),
        )
    }

    /// Moves everything gathered to `queue`.
    fn take(&mut self, queue: &mut VecDeque<Gathered>) {
        queue.append(&mut self.full);
        if !self.open.octets.is_empty() {
            let end = self.open.offset + short(self.open.octets.len());
            let next = self.next(self.open.segment, end);
            queue.push_back(std::mem::replace(&mut self.open, next));
        }
    }

    /// The ticket that covers everything handed over so far.
    pub(crate) fn last_ticket(&self) -> Ticket {
        Ticket(if self.open.octets.is_empty() {
            self.open.sequence - 1
        } else {
            self.open.sequence
        })
    }
}

/// Where the journal goes on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Begin {
    pub(crate) segment: u32,
    pub(crate) sequence: u64,
    pub(crate) epoch: u64,
}

/// What appenders and the writer share.
#[derive(Debug)]
pub(crate) struct Commit {
    gather: Mutex<Gather>,
    filled: Condvar,
    pending: AtomicUsize,
    synced: AtomicU64,
    durable: AtomicU64,
    failure: OnceLock<String>,
    /// The store closes, and what is left of it finds no space.
    given_up: AtomicBool,
    progress: Mutex<()>,
    progressed: Condvar,
    gather_keep: usize,
    pub(crate) room: Room,
}

impl Commit {
    pub(crate) fn new(config: &StoreConfig, begin: Begin, definitions: Definitions) -> Self {
        let open = Gathered {
            segment: begin.segment,
            offset: DATA_START,
            sequence: begin.sequence,
            records: 0,
            excess: 0,
            octets: Vec::new(),
        };
        let gather = Gather {
            open,
            full: VecDeque::new(),
            spare: Vec::new(),
            footer: 0,
            first_segment: begin.segment,
            first_segment_bytes: config.first_segment_bytes,
            segment_bytes: config.segment_bytes,
            // Unique as long as an epoch begins fewer than 2^32 transactions; a group never spans epochs.
            transaction: begin.epoch << 32,
            definitions,
            writer_waits: false,
            closing: false,
        };
        let room = Room::new(config, begin.segment);
        Self {
            gather: Mutex::new(gather),
            filled: Condvar::new(),
            pending: AtomicUsize::new(0),
            synced: AtomicU64::new(begin.sequence - 1),
            durable: AtomicU64::new(0),
            failure: OnceLock::new(),
            given_up: AtomicBool::new(false),
            progress: Mutex::new(()),
            progressed: Condvar::new(),
            gather_keep: config.gather_keep,
            room,
        }
    }

    /// Locks the gathering side. A panic inside a closure leaves half a batch behind, so it is the end of the journal.
    pub(crate) fn gather(&self) -> Result<MutexGuard<'_, Gather>, StoreError> {
        self.alive()?;
        self.gather.lock().map_err(|_| StoreError::Dead {
            reason: "a writer panicked while appending".to_owned(),
        })
    }

    /// Refuses once the journal has failed.
    pub(crate) fn alive(&self) -> Result<(), StoreError> {
        match self.failure.get() {
            None => Ok(()),
            Some(reason) => Err(StoreError::Dead {
                reason: reason.clone(),
            }),
        }
    }

    /// See [`crate::Store::append`].
    pub(crate) fn append<R>(
        &self,
        write: impl FnOnce(&mut Batch<'_>) -> R,
    ) -> Result<(R, Ticket), StoreError> {
        let mut gather = self.gather()?;
        if gather.closing {
            return Err(StoreError::Dead {
                reason: "the store is closed".to_owned(),
            });
        }
        let mut batch = Batch::new(&mut gather, &self.room);
        let result = write(&mut batch);
        let finished = batch.finish();
        // Refused or not, it may have gone on to the next segment.
        self.room.open.store(gather.open.segment, Ordering::Relaxed);
        let added = finished.inspect_err(|error| {
            if matches!(error, StoreError::Full) {
                self.room.refuse();
            }
        })?;
        self.pending.fetch_add(added, Ordering::Relaxed);
        let more = gather.new_excess();
        gather.open.excess += more;
        self.room.excess.fetch_add(more, Ordering::Relaxed);
        let ticket = gather.last_ticket();
        let wake = added > 0 && std::mem::take(&mut gather.writer_waits);
        drop(gather);
        if wake {
            self.filled.notify_one();
        }
        Ok((result, ticket))
    }

    /// Moves what has gathered to `queue`; if `wait`, blocks until there is something. False once closed and drained.
    pub(crate) fn take(
        &self,
        queue: &mut VecDeque<Gathered>,
        wait: bool,
    ) -> Result<bool, StoreError> {
        let mut gather = self.gather()?;
        loop {
            gather.take(queue);
            if !queue.is_empty() {
                return Ok(true);
            }
            if gather.closing {
                return Ok(false);
            }
            if !wait {
                return Ok(true);
            }
            gather.writer_waits = true;
            gather = self.filled.wait(gather).map_err(|_| StoreError::Dead {
                reason: "a writer panicked".to_owned(),
            })?;
            self.alive()?;
        }
    }

    /// Gives a written buffer back for use by the next batch.
    pub(crate) fn give_back(&self, mut octets: Vec<u8>) {
        self.pending.fetch_sub(octets.len(), Ordering::Relaxed);
        octets.clear();
        if octets.capacity() <= self.gather_keep
            && let Ok(mut gather) = self.gather()
            && gather.spare.len() < 2
        {
            gather.spare.push(octets);
        }
    }

    /// Publishes that everything up to `ticket` is on disk.
    pub(crate) fn publish(&self, ticket: Ticket, through: Locator) {
        self.durable.store(through.get(), Ordering::Release);
        self.synced.store(ticket.0, Ordering::Release);
        drop(self.progress.lock());
        self.progressed.notify_all();
    }

    /// Marks the journal dead. True for the first failure.
    pub(crate) fn fail(&self, reason: &str) -> bool {
        let first = self.failure.set(reason.to_owned()).is_ok();
        drop(self.progress.lock());
        self.progressed.notify_all();
        self.filled.notify_all();
        first
    }

    /// Blocks until `ticket` completes.
    pub(crate) fn wait(&self, ticket: Ticket) -> Result<(), StoreError> {
        let mut guard = self.progress.lock().map_err(|_| StoreError::Dead {
            reason: "a waiter panicked".to_owned(),
        })?;
        while self.synced() < ticket {
            self.alive()?;
            if self.given_up.load(Ordering::Relaxed) {
                return Err(StoreError::Full);
            }
            let woken = self.progressed.wait(guard);
            guard = woken.map_err(|_| StoreError::Dead {
                reason: "a waiter panicked".to_owned(),
            })?;
        }
        Ok(())
    }

    /// The writer ends without having written everything: who waits for it waits no longer.
    pub(crate) fn give_up(&self) {
        self.given_up.store(true, Ordering::Relaxed);
        drop(self.progress.lock());
        self.progressed.notify_all();
    }

    /// Accepts nothing more; the writer ends when it has written what is there.
    pub(crate) fn close(&self) {
        if let Ok(mut gather) = self.gather() {
            gather.closing = true;
        }
        self.filled.notify_all();
    }

    pub(crate) fn synced(&self) -> Ticket {
        Ticket(self.synced.load(Ordering::Acquire))
    }

    pub(crate) fn durable_through(&self) -> Option<Locator> {
        Locator::from_u64(self.durable.load(Ordering::Acquire))
    }

    /// Sets where reading is allowed at the start: everything recovered is synced.
    pub(crate) fn recovered_through(&self, through: Option<Locator>) {
        self.durable
            .store(through.map_or(0, Locator::get), Ordering::Release);
    }

    pub(crate) fn pending(&self) -> usize {
        self.pending.load(Ordering::Relaxed)
    }

    pub(crate) fn failure(&self) -> Option<&str> {
        self.failure.get().map(String::as_str)
    }
}

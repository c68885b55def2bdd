//! The writer: takes gathered batches, numbers and checks them off, writes, syncs, completes tickets, changes segments.
//!
//! - One batch is one write and one sync, and the next is written only after it: at most one batch was ever unsynced.
//! - A failed write or sync is final. Lack of space is not: it is met before the write, when a segment is prepared or extended.
//! - Checksums are computed here, outside every lock.

use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard};

use crate::commit::{Commit, Gathered, SyncEvent};
use crate::config::StoreConfig;
use crate::error::StoreError;
use crate::fields::short;
use crate::footer::{FooterBuilder, Sealed};
use crate::io::{Disk, File, is_full};
use crate::keeper::{Mailbox, SealJob};
use crate::liveness::SegmentState;
use crate::locator::{Locator, Ticket};
use crate::occupancy::Occupancies;
use crate::prepare::Preparer;
use crate::read::Files;
use crate::record;
use crate::segment::{BATCH_HEADER, BatchHeader, DATA_START};
use crate::state::State;

/// What the threads of one store share.
pub(crate) struct Shared {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) journal: PathBuf,
    pub(crate) config: StoreConfig,
    pub(crate) epoch: u64,
    /// First sequence of this epoch.
    pub(crate) epoch_first: u64,
    pub(crate) commit: Commit,
    pub(crate) preparer: Preparer,
    pub(crate) state: Mutex<State>,
    pub(crate) files: Files,
    pub(crate) mailbox: Mailbox,
    pub(crate) occupancies: Occupancies,
    /// Octets compaction has copied since the start.
    pub(crate) copied: AtomicU64,
    pub(crate) on_sync: Box<dyn Fn(SyncEvent) + Send + Sync>,
}

impl Shared {
    /// Locks the state. Applying does not panic halfway on sound records; if it did, nothing after it could be trusted.
    pub(crate) fn state(&self) -> Result<MutexGuard<'_, State>, StoreError> {
        self.state.lock().map_err(|_| StoreError::Dead {
            reason: "applying a record panicked".to_owned(),
        })
    }

    /// Tells those who were refused that there is space again, if there is.
    pub(crate) fn tell_room(&self) {
        if self.commit.room.has_come() {
            (self.on_sync)(SyncEvent::Room);
        }
    }

    /// Ends the journal for good.
    pub(crate) fn fail(&self, reason: &str) {
        if self.commit.fail(reason) {
            (self.on_sync)(SyncEvent::Failed(reason.to_owned()));
        }
    }
}

/// What one step of the writer came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// A batch is written and synced.
    Wrote,
    /// Nothing to do.
    Idle,
    /// A batch waits for space.
    Blocked,
    /// Closed, and everything is written.
    Ended,
}

/// The segment being written.
struct Active {
    id: u32,
    file: Arc<dyn File>,
    length: u64,
    salt: u64,
    footer: FooterBuilder,
    sequence: u64,
    end: u32,
}

/// Writes batches, one after the other.
pub(crate) struct Writer {
    shared: Arc<Shared>,
    queue: VecDeque<Gathered>,
    active: Option<Active>,
}

impl Writer {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self {
            shared,
            queue: VecDeque::new(),
            active: None,
        }
    }

    /// Runs until closed or dead, then seals the last segment.
    pub(crate) fn run(mut self) {
        let shared = Arc::clone(&self.shared);
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            loop {
                match self.step(true) {
                    Ok(Step::Ended) => break self.seal(),
                    Ok(Step::Blocked) => {
                        shared.commit.give_up();
                        break self.seal();
                    }
                    Ok(Step::Wrote | Step::Idle) => {}
                    Err(_) => break,
                }
            }
        }));
        if panicked.is_err() {
            shared.fail("the journal's writer panicked");
        }
    }

    /// Writes the next batch; if `wait`, blocks until there is one and until there is space for it.
    pub(crate) fn step(&mut self, wait: bool) -> Result<Step, StoreError> {
        if self.queue.is_empty() && !self.shared.commit.take(&mut self.queue, wait)? {
            return Ok(Step::Ended);
        }
        let Some(front) = self.queue.front() else {
            return Ok(Step::Idle);
        };
        let (id, end) = (
            front.segment,
            u64::from(front.offset) + front.octets.len() as u64,
        );
        if self.active.as_ref().is_none_or(|active| active.id != id) && !self.enter(id, wait)? {
            return Ok(Step::Blocked);
        }
        if self
            .active
            .as_ref()
            .is_some_and(|active| active.length < end)
            && !self.extend(end, wait)?
        {
            return Ok(Step::Blocked);
        }
        if let (Some(batch), Some(mut active)) = (self.queue.pop_front(), self.active.take()) {
            let written = self.write(&mut active, batch);
            self.active = Some(active);
            written?;
        }
        Ok(Step::Wrote)
    }

    /// Goes to segment `id`. False if it is not ready.
    fn enter(&mut self, id: u32, wait: bool) -> Result<bool, StoreError> {
        let Some(prepared) = self.shared.preparer.take(id, wait) else {
            return Ok(false);
        };
        self.seal();
        let state = SegmentState {
            salt: prepared.salt,
            length: prepared.length,
            version: 1,
            ..SegmentState::default()
        };
        let mut known = self.shared.state()?;
        // Between two segments, so that unwanted ids never take more memory than one segment holds.
        known.trim_ids();
        known.segments.insert(id, state);
        drop(known);
        self.shared.files.insert(id, Arc::clone(&prepared.file));
        self.active = Some(Active {
            id,
            file: prepared.file,
            length: prepared.length,
            salt: prepared.salt,
            footer: FooterBuilder::default(),
            sequence: 0,
            end: DATA_START,
        });
        Ok(true)
    }

    /// Hands the footer of the active segment to the keeper.
    pub(crate) fn seal(&mut self) {
        let Some(active) = self.active.take().filter(|active| active.sequence != 0) else {
            return;
        };
        let sealed = Sealed {
            segment: active.id,
            salt: active.salt,
            epoch: self.shared.epoch,
            sequence: active.sequence,
            end: active.end,
        };
        self.shared.mailbox.seal(SealJob {
            file: active.file,
            length: active.length,
            footer: active.footer,
            sealed,
        });
    }

    /// Makes the active segment long enough for a batch that ends at `end`. False if there is no space.
    fn extend(&mut self, end: u64, wait: bool) -> Result<bool, StoreError> {
        let Some(active) = self.active.as_mut() else {
            return Ok(false);
        };
        let mut told = false;
        loop {
            let error = match self.shared.preparer.extend(
                &*active.file,
                active.length,
                end,
                &self.shared.commit.room,
            ) {
                Ok(()) => break,
                Err(error) => error,
            };
            if !is_full(&error) {
                return Err(self.fatal("extending a segment", &error));
            }
            if !std::mem::replace(&mut told, true) {
                (self.shared.on_sync)(SyncEvent::Full(format!(
                    "a batch of {end} octets needs space: {error}"
                )));
            }
            if !wait || self.shared.preparer.is_draining() {
                return Ok(false);
            }
            self.shared.preparer.wait(true);
        }
        active.length = end;
        if let Some(segment) = self.shared.state()?.segments.get_mut(&active.id) {
            segment.length = end;
        }
        Ok(true)
    }

    fn write(&self, active: &mut Active, mut batch: Gathered) -> Result<(), StoreError> {
        let dead_seen = self.apply(active, &mut batch)?;
        self.finish(active, &mut batch);
        let end = batch.offset + short(batch.octets.len());
        let ticket = Ticket(batch.sequence);
        let through = Locator::new(batch.segment, end - short(record::GRANULE));
        if self.shared.config.breaks_tickets() {
            self.shared.commit.publish(ticket, through);
        }
        if let Err(error) = active.file.write_at(&batch.octets, u64::from(batch.offset)) {
            return Err(self.fatal("write", &error));
        }
        if let Err(error) = active.file.sync() {
            return Err(self.fatal("sync", &error));
        }
        active.sequence = batch.sequence;
        active.end = end;
        self.shared.commit.publish(ticket, through);
        (self.shared.on_sync)(SyncEvent::Synced(ticket, through));
        if batch.excess > 0 {
            self.shared.commit.room.settle(batch.excess);
            self.shared.tell_room();
        }
        self.shared.commit.give_back(batch.octets);
        self.shared.mailbox.synced(ticket, dead_seen);
        Ok(())
    }

    /// Takes the records into the state and the footer. True if a segment died.
    fn apply(&self, active: &mut Active, batch: &mut Gathered) -> Result<bool, StoreError> {
        let mut state = self.shared.state()?;
        let mut at = BATCH_HEADER;
        while at < batch.octets.len() {
            let octets = &mut batch.octets[at..];
            let Some(head) = record::head(octets) else {
                break;
            };
            // A body is referred to directly, never through a Place that may go before this one does.
            if head.kind == record::Kind::Place
                && let Some(body) = record::body_of(octets)
            {
                record::set_body_of(octets, state.body(body));
            }
            if head.kind == record::Kind::Copy {
                state.settle(&mut octets[..head.length]);
            }
            let offset = batch.offset + short(at);
            if let Some(record) = record::decode(octets) {
                state.apply(Locator::new(batch.segment, offset), &record);
                active.footer.push(offset, &record);
            }
            at += record::stride(&head);
        }
        state.applied = batch.sequence;
        state.applied_end = Some(Locator::new(
            batch.segment,
            batch.offset + short(batch.octets.len()),
        ));
        Ok(std::mem::take(&mut state.dead_seen))
    }

    /// Fills in checksums and the batch header.
    fn finish(&self, active: &Active, batch: &mut Gathered) {
        let mut at = BATCH_HEADER;
        while at < batch.octets.len() {
            let octets = &mut batch.octets[at..];
            let Some(head) = record::head(octets) else {
                break;
            };
            record::seal(octets, active.salt, batch.offset + short(at));
            at += record::stride(&head);
        }
        let header = BatchHeader {
            segment: batch.segment,
            length: short(batch.octets.len()),
            salt: active.salt,
            epoch: self.shared.epoch,
            sequence: batch.sequence,
            synced: batch.sequence - 1,
            epoch_first: self.shared.epoch_first,
            records: batch.records,
        };
        header.encode(&mut batch.octets, batch.offset);
    }

    fn fatal(&self, action: &str, error: &io::Error) -> StoreError {
        let reason = format!("{action} in {}: {error}", self.shared.journal.display());
        self.shared.fail(&reason);
        StoreError::Dead { reason }
    }
}

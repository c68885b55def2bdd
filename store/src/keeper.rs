//! What can wait: footers, deletion of dead segments, compaction, checkpoints. One thread, off the path of everybody else.
//!
//! A dead segment may carry news (removals, counters, names) that nothing else carries. It goes only when a later synced Snapshot has
//! the names, and each segment it speaks of is gone or has a later synced Liveness record; see docs/format.md.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::checkpoint::Picture;
use crate::clock::Stopwatch;
use crate::compact::{self, Compactor, Scope};
use crate::error::StoreError;
use crate::footer::{FooterBuilder, Sealed};
use crate::ids;
use crate::io::{File, is_full};
use crate::journal::Shared;
use crate::locator::Ticket;
use crate::meta::{self, Meta};
use crate::state::State;

/// Segments sealed after which a checkpoint is due even before its time: bounds what a start after a crash must read.
const SEALS_PER_CHECKPOINT: usize = 4;

/// Time between looks for something to compact, at most.
const LOOK: Duration = Duration::from_secs(5);
/// Time after which a chunk that was not synced, or a search that was not finished, is looked at again.
const SOON: Duration = Duration::from_millis(5);

/// A segment to be sealed.
pub(crate) struct SealJob {
    pub(crate) file: Arc<dyn File>,
    pub(crate) length: u64,
    pub(crate) footer: FooterBuilder,
    pub(crate) sealed: Sealed,
}

#[derive(Default)]
struct Mail {
    seals: Vec<SealJob>,
    poked: bool,
    requested: u64,
    done: u64,
    failed: Option<String>,
    /// Compactions asked for and done, and segments that are to go whatever is in them.
    compact: u64,
    compacted: u64,
    forced: BTreeSet<u32>,
    closing: bool,
    ended: bool,
}

/// How the others reach the keeper.
#[derive(Default)]
pub(crate) struct Mailbox {
    mail: Mutex<Mail>,
    changed: Condvar,
    /// The keeper waits for this ticket; 0 for none.
    wanted: AtomicU64,
}

impl Mailbox {
    fn mail(&self) -> MutexGuard<'_, Mail> {
        self.mail.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn poke(&self, change: impl FnOnce(&mut Mail)) {
        let mut mail = self.mail();
        change(&mut mail);
        mail.poked = true;
        drop(mail);
        self.changed.notify_all();
    }

    pub(crate) fn seal(&self, job: SealJob) {
        self.poke(|mail| mail.seals.push(job));
    }

    /// Called by the writer after each sync.
    pub(crate) fn synced(&self, ticket: Ticket, dead_seen: bool) {
        let wanted = self.wanted.load(Ordering::Acquire);
        if dead_seen || (wanted != 0 && wanted <= ticket.0) {
            self.poke(|_| {});
        }
    }

    /// Lets the keeper be poked when `ticket` completes.
    pub(crate) fn want(&self, ticket: Ticket) {
        self.wanted.store(ticket.0, Ordering::Release);
    }

    /// Asks for a checkpoint and waits for it.
    pub(crate) fn checkpoint(&self) -> Result<(), StoreError> {
        let mut mail = self.mail();
        if mail.ended {
            return Err(StoreError::Checkpoint {
                reason: "the store is closed".to_owned(),
            });
        }
        mail.requested += 1;
        let mine = mail.requested;
        mail.poked = true;
        self.changed.notify_all();
        while mail.done < mine && !mail.ended {
            mail = self
                .changed
                .wait(mail)
                .unwrap_or_else(PoisonError::into_inner);
        }
        match &mail.failed {
            Some(reason) => Err(StoreError::Checkpoint {
                reason: reason.clone(),
            }),
            None => Ok(()),
        }
    }

    /// Asks for everything to be compacted that is worth it, and these segments anyway; waits for it.
    pub(crate) fn compact(&self, forced: &BTreeSet<u32>) {
        let mut mail = self.mail();
        mail.compact += 1;
        mail.forced.extend(forced);
        let mine = mail.compact;
        mail.poked = true;
        self.changed.notify_all();
        while mail.compacted < mine && !mail.ended {
            mail = self
                .changed
                .wait(mail)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Why the last checkpoint failed.
    pub(crate) fn checkpoint_error(&self) -> Option<String> {
        self.mail().failed.clone()
    }

    pub(crate) fn close(&self) {
        self.poke(|mail| mail.closing = true);
    }
}

/// What may be deleted, once everything it rests on is synced.
#[derive(Debug, Default, PartialEq, Eq)]
struct Plan {
    sequence: u64,
    delete: Vec<u32>,
    liveness: BTreeSet<u32>,
    /// Dead segments whose ids are carried forward.
    carry: BTreeSet<u32>,
    snapshot: bool,
}

impl Plan {
    fn is_empty(&self) -> bool {
        self.delete.is_empty()
            && self.liveness.is_empty()
            && self.carry.is_empty()
            && !self.snapshot
    }

    /// Looks for dead segments before the one being written.
    fn make(state: &State, forced: &BTreeSet<u32>) -> Self {
        let mut plan = Self {
            sequence: state.applied,
            ..Self::default()
        };
        for (&id, segment) in state
            .segments
            .range(..state.as_of())
            .filter(|(_, segment)| segment.is_dead())
        {
            if state.snapshot_as_of <= id {
                plan.snapshot = true;
                continue;
            }
            if !segment.ids.is_empty() {
                // Worth it if it frees at least twice what it writes; else they lie here until they are not wanted.
                if 2 * ids::cost(&segment.ids) <= segment.length {
                    plan.carry.insert(id);
                }
                continue;
            }
            let existing = segment
                .refers
                .iter()
                .filter_map(|about| Some((*about, state.segments.get(about)?)));
            let missing: Vec<_> = existing
                .filter(|(_, about)| about.liveness_as_of <= id)
                .collect();
            if missing.is_empty() {
                plan.delete.push(id);
            } else if !missing.iter().any(|(_, about)| about.is_dead()) {
                // Worth it if it frees at least twice what it writes; a live bit takes about two octets.
                let cost: u64 = missing
                    .iter()
                    .map(|(_, about)| 64 + 2 * u64::from(about.live.ones()))
                    .sum();
                if 2 * cost <= segment.length || forced.contains(&id) {
                    plan.liveness
                        .extend(missing.iter().map(|(about, _)| *about));
                }
            }
        }
        plan
    }
}

/// See the module.
pub(crate) struct Keeper {
    shared: Arc<Shared>,
    meta: Option<Box<dyn Meta>>,
    /// Segments the checkpoint has values of.
    known: BTreeSet<u32>,
    /// Sequence the last checkpoint covers.
    covered: u64,
    plan: Option<Plan>,
    awaited: Option<Ticket>,
    sealed: usize,
    compactor: Compactor,
    scope: Scope,
    /// Since the last step of compaction, and how long until the next.
    copied: Stopwatch,
    pause: Duration,
}

impl Keeper {
    pub(crate) fn new(
        shared: Arc<Shared>,
        meta: Option<Box<dyn Meta>>,
        known: BTreeSet<u32>,
    ) -> Self {
        Self {
            compactor: Compactor::new(Arc::clone(&shared)),
            scope: Scope::default(),
            copied: Stopwatch::start(),
            pause: LOOK.min(shared.config.checkpoint_interval),
            shared,
            meta,
            known,
            covered: 0,
            plan: None,
            awaited: None,
            sealed: 0,
        }
    }

    /// Runs until closed; the last checkpoint covers everything.
    pub(crate) fn run(mut self) {
        let shared = Arc::clone(&self.shared);
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let mut since = Stopwatch::start();
            while self.turn(&mut since) {}
        }));
        if panicked.is_err() {
            shared.fail("the journal's keeper panicked");
        }
        shared.mailbox.poke(|mail| mail.ended = true);
    }

    fn turn(&mut self, since: &mut Stopwatch) -> bool {
        let shared = Arc::clone(&self.shared);
        let interval = shared.config.checkpoint_interval;
        let rest = interval.saturating_sub(since.elapsed());
        let pause = self.pause.saturating_sub(self.copied.elapsed());
        let rest = if self.compacts() {
            rest.min(pause)
        } else {
            rest
        };
        let waited =
            shared
                .mailbox
                .changed
                .wait_timeout_while(shared.mailbox.mail(), rest, |mail| !mail.poked);
        let mut mail = waited.unwrap_or_else(PoisonError::into_inner).0;
        mail.poked = false;
        let (requested, closing, compact) = (mail.requested, mail.closing, mail.compact);
        let asked = requested > mail.done;
        let compact = Some(compact).filter(|&compact| compact > mail.compacted);
        self.scope.forced.append(&mut mail.forced);
        drop(mail);
        if self.step().is_err() || (!closing && self.compact_when_due().is_err()) {
            return false;
        }
        if let Some(compact) = compact {
            let done = self.compact_all();
            shared.mailbox.mail().compacted = compact;
            shared.mailbox.changed.notify_all();
            if done.is_err() {
                return false;
            }
        }
        if asked || closing || self.sealed >= SEALS_PER_CHECKPOINT || since.elapsed() >= interval {
            let result = self.checkpoint(true);
            *since = Stopwatch::start();
            let mut mail = shared.mailbox.mail();
            mail.done = mail.done.max(requested);
            mail.failed = result.err().map(|error| error.to_string());
            drop(mail);
            shared.mailbox.changed.notify_all();
        }
        !closing
    }

    fn compacts(&self) -> bool {
        self.shared.config.compact_bytes_per_s > 0
    }

    /// Goes on with compaction if its pace allows.
    fn compact_when_due(&mut self) -> Result<(), StoreError> {
        let rate = self.shared.config.compact_bytes_per_s;
        if !self.compacts() || self.copied.elapsed() < self.pause {
            return Ok(());
        }
        let step = self.compact();
        self.copied = Stopwatch::start();
        self.pause = match step? {
            compact::Step::Idle | compact::Step::NoRoom => {
                LOOK.min(self.shared.config.checkpoint_interval)
            }
            compact::Step::Looked | compact::Step::Unsynced(_) => SOON,
            compact::Step::Copied(octets) => SOON.max(Duration::from_micros(
                octets.saturating_mul(1_000_000) / rate,
            )),
        };
        Ok(())
    }

    /// Does one step of compaction.
    pub(crate) fn compact(&mut self) -> Result<compact::Step, StoreError> {
        let shared = Arc::clone(&self.shared);
        // What cannot be read now costs space; only what concerns the journal itself ends it.
        self.compactor.step(&self.scope).or_else(|error| {
            shared.commit.alive()?;
            match error {
                StoreError::Io { .. } => Ok(compact::Step::Idle),
                other => Err(other),
            }
        })
    }

    /// Compacts without pauses until nothing is worth it, and deletes what died of it.
    fn compact_all(&mut self) -> Result<(), StoreError> {
        self.scope.before = Some(self.shared.state()?.as_of());
        loop {
            match self.compact()? {
                compact::Step::Looked | compact::Step::Copied(_) => {}
                compact::Step::Unsynced(ticket) => self.shared.commit.wait(ticket)?,
                compact::Step::Idle | compact::Step::NoRoom => break,
            }
            self.step()?;
        }
        self.scope.before = None;
        loop {
            self.step()?;
            let awaited = match (&self.plan, self.awaited) {
                (Some(plan), _) => Ticket(plan.sequence),
                (None, Some(ticket)) if ticket != Ticket(u64::MAX) => ticket,
                _ => break,
            };
            self.shared.commit.wait(awaited)?;
        }
        self.scope.forced.clear();
        Ok(())
    }

    /// Seals and deletes what can be now.
    pub(crate) fn step(&mut self) -> Result<(), StoreError> {
        let jobs = std::mem::take(&mut self.shared.mailbox.mail().seals);
        for job in jobs {
            self.seal(job)?;
            self.sealed += 1;
        }
        let shared = Arc::clone(&self.shared);
        self.reclaim()
            .inspect_err(|error| shared.fail(&error.to_string()))
    }

    /// Writes a footer so that it ends with its file. Without space there is none, and a start scans the segment instead.
    fn seal(&self, job: SealJob) -> Result<(), StoreError> {
        let length = job.footer.length() as u64;
        let at = job
            .length
            .saturating_sub(length)
            .max(u64::from(job.sealed.end));
        let octets = job.footer.finish(&job.sealed);
        let written = job
            .file
            .write_at(&octets, at)
            .and_then(|()| job.file.sync());
        match written {
            Err(error) if !is_full(&error) => {
                let reason = format!("sealing segment {:08x}: {error}", job.sealed.segment);
                self.shared.fail(&reason);
                return Err(StoreError::Dead { reason });
            }
            _ => {}
        }
        if let Some(segment) = self.shared.state()?.segments.get_mut(&job.sealed.segment) {
            segment.length = segment.length.max(at + length);
        }
        // Behind a batch longer than its segment was planned there is no room kept for it.
        let more = (at + length).saturating_sub(job.length);
        let room = &self.shared.commit.room;
        self.shared.preparer.grew(more, room);
        Ok(())
    }

    fn reclaim(&mut self) -> Result<(), StoreError> {
        loop {
            let synced = self.shared.commit.synced();
            if let Some(awaited) = self.awaited.filter(|&awaited| awaited > synced) {
                return self.want(awaited);
            }
            self.awaited = None;
            let plan = match self.plan.take() {
                Some(plan) => plan,
                None => {
                    let mut state = self.shared.state()?;
                    state.trim_ids();
                    Plan::make(&state, &self.scope.forced)
                }
            };
            if plan.is_empty() {
                self.shared.mailbox.wanted.store(0, Ordering::Release);
                return Ok(());
            }
            if plan.sequence > synced.0 {
                let ticket = Ticket(plan.sequence);
                self.plan = Some(plan);
                return self.want(ticket);
            }
            self.delete(&plan.delete)?;
            self.write(&plan)?;
        }
    }

    /// Asks the writer for a poke when `ticket` completes, minding that it may just have.
    fn want(&self, ticket: Ticket) -> Result<(), StoreError> {
        self.shared.mailbox.want(ticket);
        if self.shared.commit.synced() >= ticket {
            self.shared.mailbox.poke(|_| {});
        }
        self.shared.commit.alive()
    }

    fn delete(&self, ids: &[u32]) -> Result<(), StoreError> {
        if ids.is_empty() {
            return Ok(());
        }
        for &id in ids {
            let length = self
                .shared
                .state()?
                .segments
                .get(&id)
                .map_or(0, |segment| segment.length);
            self.shared.files.forget(id);
            self.shared.occupancies.forget(id);
            let retired = self
                .shared
                .preparer
                .retire(id, length, &self.shared.commit.room);
            retired.map_err(StoreError::io(
                "remove",
                &crate::segment::path(&self.shared.journal, id),
            ))?;
        }
        self.shared.tell_room();
        let journal = &self.shared.journal;
        self.shared
            .disk
            .sync_dir(journal)
            .map_err(StoreError::io("sync", journal))?;
        // Only now: as long as a crash could bring a segment back, what speaks of it must stay.
        let mut state = self.shared.state()?;
        for id in ids {
            state.segments.remove(id);
        }
        Ok(())
    }

    /// Writes the records that deletion waits for.
    fn write(&mut self, plan: &Plan) -> Result<(), StoreError> {
        if !plan.snapshot && plan.liveness.is_empty() && plan.carry.is_empty() {
            return Ok(());
        }
        let state = self.shared.state()?;
        let as_of = state.as_of();
        let progress = plan.snapshot.then(|| state.progress.clone());
        let mut notes = Vec::new();
        for &about in &plan.liveness {
            if let Some(segment) = state.segments.get(&about) {
                let mut octets = Vec::new();
                segment.encode_liveness(&mut octets);
                notes.push((about, octets));
            }
        }
        let carried: Vec<_> = plan
            .carry
            .iter()
            .filter_map(|id| Some((*id, state.segments.get(id)?.ids.clone())))
            .collect();
        drop(state);
        let written = self.shared.commit.append(|batch| {
            if let Some(progress) = &progress {
                batch.snapshot(progress, as_of);
            }
            for (about, octets) in &notes {
                batch.liveness(*about, as_of, octets);
            }
            for (from, ids) in &carried {
                for (destination, ids) in ids {
                    batch.carry_ids(*destination, *from, ids.limits, &ids.entries);
                }
            }
        });
        // A closed store takes nothing more; what could not be freed waits for the next start.
        if let Ok(((), ticket)) = written {
            self.awaited = Some(ticket);
            return Ok(());
        }
        self.awaited = Some(Ticket(u64::MAX));
        Ok(())
    }

    /// Writes a checkpoint if anything changed. Without `wait`, only if nothing is outstanding; then false.
    pub(crate) fn checkpoint(&mut self, wait: bool) -> Result<bool, StoreError> {
        self.sealed = 0;
        let Some(picture) = Picture::take(&self.shared, self.covered)? else {
            return Ok(false);
        };
        if wait {
            self.shared.commit.wait(picture.ticket)?;
        } else if self.shared.commit.synced() < picture.ticket {
            return Ok(false);
        }
        let meta = match &mut self.meta {
            Some(meta) => meta,
            None => {
                let data = self.shared.journal.parent().unwrap_or(&self.shared.journal);
                self.meta.insert(meta::open(&self.shared.disk, data)?.0)
            }
        };
        self.covered = picture.store(&self.shared, &mut **meta, &mut self.known)?;
        Ok(true)
    }
}

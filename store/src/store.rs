//! The facade: opens a store, hands work to its threads, closes it.

use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use crate::batch::Batch;
use crate::commit::{Commit, SyncEvent};
#[cfg(feature = "sim")]
use crate::compact;
use crate::config::StoreConfig;
use crate::damage;
use crate::error::StoreError;
use crate::holders::Holders;
use crate::io::Disk;
use crate::journal::{Shared, Writer};
use crate::keeper::{Keeper, Mailbox};
use crate::locator::{Locator, Ticket};
use crate::lock::DirectoryLock;
use crate::message::OwnedMessage;
use crate::meta::Meta;
use crate::occupancy::Occupancies;
use crate::prepare::{self, Preparer};
use crate::read::Files;
use crate::read::ReadOutcome;
use crate::record::Kind;
use crate::recover::{self, Recovery};
use crate::recovered::{self, Recovered};

/// What the store occupies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreUsage {
    /// Octets of all files of the journal, prepared ones included.
    pub bytes_on_disk: u64,
    /// Octets of those of them that hold nothing and are used again before others are made.
    pub bytes_free: u64,
    /// What the rest may come to; `None`: what the disk has.
    pub bytes_max: Option<u64>,
    /// Segments that hold records.
    pub segments: usize,
    /// Live references.
    pub live_references: u64,
    /// Octets handed over and not on disk yet.
    pub pending_bytes: usize,
    /// Octets that compaction has copied since the start.
    pub compacted_bytes: u64,
    /// Why no further segment can be prepared, if so.
    pub shortage: Option<String>,
    /// Why the last checkpoint could not be written, if so. It costs a longer start, nothing else.
    pub checkpoint_error: Option<String>,
    /// Messages are or soon will be refused; removals are not.
    pub is_full: bool,
}

/// A part of the store to be driven by hand.
#[cfg(feature = "sim")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Drive {
    /// Write the next batch.
    Write,
    /// Prepare a segment.
    Prepare,
    /// Seal and delete segments.
    Keep,
    /// Write a checkpoint.
    Checkpoint,
    /// Copy some of what is left in a segment that is mostly dead.
    Compact,
}

/// Parts that threads own, or the caller drives.
struct Parts {
    writer: Writer,
    keeper: Keeper,
}

/// The store. All methods take `&self`; none but `close`, `checkpoint` and the reads touch a file.
pub struct Store {
    shared: Arc<Shared>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    /// The parts of a store without threads.
    manual: Option<Mutex<Parts>>,
    /// Held until the store is closed.
    lock: Mutex<Option<DirectoryLock>>,
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store")
            .field("journal", &self.shared.journal)
            .field("epoch", &self.shared.epoch)
            .finish()
    }
}

impl Store {
    /// Opens the store in `dir` and recovers what is in it. `on_sync` is called by the store's threads and must not block.
    ///
    /// # Errors
    /// If the directory is in use, has a newer format, or cannot be read or written. Damage is not an error; see the report.
    pub fn open(
        disk: Arc<dyn Disk>,
        dir: &Path,
        config: StoreConfig,
        on_sync: Box<dyn Fn(SyncEvent) + Send + Sync>,
    ) -> Result<(Self, Recovered), StoreError> {
        config.check()?;
        disk.create_dir(dir)
            .map_err(StoreError::io("create", dir))?;
        let lock = disk
            .is_real()
            .then(|| DirectoryLock::take(dir))
            .transpose()?;
        let mut recovery = recover::recover(&disk, dir, &config)?;
        note_damage(&*disk, dir, &mut recovery);
        let (recovered, shared, meta, known) = assemble(recovery, disk, dir, config, on_sync)?;
        let writer = Writer::new(Arc::clone(&shared));
        let keeper = Keeper::new(Arc::clone(&shared), meta, known);
        let mut store = Self {
            shared,
            threads: Mutex::default(),
            manual: None,
            lock: Mutex::new(lock),
        };
        store.note_start()?;
        let parts = Parts { writer, keeper };
        if store.shared.config.is_manual() {
            store.manual = Some(Mutex::new(parts));
        } else {
            store
                .spawn(parts)
                .map_err(StoreError::io("start threads for", dir))?;
        }
        Ok((store, recovered))
    }

    /// Opens the store in `dir` for reading only: changes nothing, trusts nothing but the journal, takes no appends. For tools; the
    /// directory must not be in use.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub fn inspect(disk: Arc<dyn Disk>, dir: &Path) -> Result<(Self, Recovered), StoreError> {
        let lock = disk
            .is_real()
            .then(|| DirectoryLock::take(dir))
            .transpose()?;
        let recovery = recover::inspect(&disk, dir)?;
        let config = StoreConfig::default();
        let (recovered, shared, ..) = assemble(recovery, disk, dir, config, Box::new(|_| {}))?;
        shared.commit.close();
        let store = Self {
            shared,
            threads: Mutex::default(),
            manual: None,
            lock: Mutex::new(lock),
        };
        Ok((store, recovered))
    }

    /// Says that an epoch begins, and repeats all names: what earlier segments said about them is no longer needed.
    fn note_start(&self) -> Result<(), StoreError> {
        let state = self.shared.state()?;
        let progress = state.progress.clone();
        // Nothing is appended yet, so it knows everything before the first segment of this start.
        let first = self.shared.commit.gather()?.open.segment;
        let mut octets = Vec::new();
        octets.extend_from_slice(&(self.shared.epoch_first - 1).to_le_bytes());
        octets.extend_from_slice(&state.applied_end.map_or(0, Locator::get).to_le_bytes());
        drop(state);
        let ((), ticket) = self.append(|batch| {
            batch.note(Kind::Start, self.shared.epoch, &octets);
            batch.snapshot(&progress, first);
        })?;
        self.shared.mailbox.want(ticket);
        Ok(())
    }

    fn spawn(&self, parts: Parts) -> std::io::Result<()> {
        let Parts { writer, keeper } = parts;
        let shared = Arc::clone(&self.shared);
        let named = |name: &str| std::thread::Builder::new().name(name.to_owned());
        let started = vec![
            named("journal").spawn(move || writer.run())?,
            named("prepare").spawn(move || prepare(&shared))?,
            named("keeper").spawn(move || keeper.run())?,
        ];
        if let Ok(mut threads) = self.threads.lock() {
            *threads = started;
        }
        Ok(())
    }

    /// Hands over everything `write` writes, as one contiguous part of one batch. Copies only: no I/O, no waiting.
    ///
    /// The locators it returns are final. The ticket completes when all of it is on disk.
    ///
    /// # Errors
    /// `Full` if it holds messages and there is no space: then nothing of it was taken. `Dead` once the journal has failed.
    pub fn append<R>(
        &self,
        write: impl FnOnce(&mut Batch<'_>) -> R,
    ) -> Result<(R, Ticket), StoreError> {
        self.shared.commit.append(write)
    }

    /// Tells the time, by which ids grow old. Told now and then; between the times nothing grows old.
    ///
    /// # Errors
    /// `Dead` if a thread of the store panicked.
    pub fn set_time(&self, now_ms: u64) -> Result<(), StoreError> {
        let mut state = self.shared.state()?;
        state.now_ms = state.now_ms.max(now_ms);
        Ok(())
    }

    /// The last completed ticket.
    #[must_use]
    pub fn synced(&self) -> Ticket {
        self.shared.commit.synced()
    }

    /// Blocks until a ticket completes.
    ///
    /// # Errors
    /// `Dead` if the journal fails before that.
    pub fn wait(&self, ticket: Ticket) -> Result<(), StoreError> {
        self.shared.commit.wait(ticket)
    }

    /// Records up to here are on disk and can be read. `None` in an empty store.
    #[must_use]
    pub fn durable_through(&self) -> Option<Locator> {
        self.shared.commit.durable_through()
    }

    /// Octets handed over and not on disk yet: memory the store holds for its callers.
    #[must_use]
    pub fn pending_bytes(&self) -> usize {
        self.shared.commit.pending()
    }

    /// True if messages may only fill what is left of the segment being written: they are, or soon will be, refused as `Full`.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.shared.commit.room.is_full()
    }

    /// True if somebody found the store full, or was refused by an append, and [`SyncEvent::Room`] has not come since: it will.
    #[must_use]
    pub fn is_refusing(&self) -> bool {
        self.shared.commit.room.is_refusing()
    }

    /// Changes what the files of the journal may come to; `None`: whatever the disk has. Not less than the store needs to go on,
    /// whatever is asked for; returns what it is. What is there already stays.
    pub fn set_bytes_max(&self, bytes_max: Option<u64>) -> Option<u64> {
        let floor = self.shared.config.bytes_min();
        let bytes_max = bytes_max.map(|max| max.max(floor));
        let room = &self.shared.commit.room;
        self.shared.preparer.set_bytes_max(bytes_max, room);
        self.shared.tell_room();
        bytes_max
    }

    /// Why the journal is dead, if it is.
    #[must_use]
    pub fn failure(&self) -> Option<&str> {
        self.shared.commit.failure()
    }

    /// Reads the message at `at`, following a move to its body. `None` if its segment is gone.
    ///
    /// # Errors
    /// `NotSynced` above `durable_through`, `Damaged` if it does not check, or what the disk says.
    pub fn read(&self, at: Locator) -> Result<Option<OwnedMessage>, StoreError> {
        self.shared.read(at)
    }

    /// Reads several messages with few reads where they lie close together; appends what [`Store::read`] gives for each
    /// locator, in the order given. What is wrong with one costs no other.
    pub fn read_many(&self, at: &[Locator], out: &mut Vec<ReadOutcome>) {
        self.shared.read_many(at, out);
    }

    /// Writes a checkpoint now and waits for it. The store does so by itself from time to time.
    ///
    /// # Errors
    /// If the checkpoint cannot be written; the journal is none the worse for it.
    pub fn checkpoint(&self) -> Result<(), StoreError> {
        #[cfg(feature = "sim")]
        if self.manual.is_some() {
            return self.drive(Drive::Checkpoint).map(drop);
        }
        self.shared.mailbox.checkpoint()
    }

    /// Copies what is left in segments that are more than half garbage out of them, and deletes them, as fast as the disk allows. The
    /// store does so by itself at its own pace. What was appended before counts. With no room for copies it does what it can.
    ///
    /// # Errors
    /// The journal is dead.
    pub fn compact(&self) -> Result<(), StoreError> {
        self.evacuate(&BTreeSet::new()).map(drop)
    }

    /// Empties these segments, whatever is in them, and deletes them. Those that are left are given back.
    pub(crate) fn evacuate(&self, segments: &BTreeSet<u32>) -> Result<BTreeSet<u32>, StoreError> {
        let ticket = self.shared.commit.gather()?.last_ticket();
        self.wait(ticket)?;
        self.shared.mailbox.compact(segments);
        self.shared.commit.alive()?;
        let state = self.shared.state()?;
        let left = segments.iter().filter(|id| state.segments.contains_key(id));
        Ok(left.copied().collect())
    }

    /// Who holds the disk. Reads the footers of segments that have changed since the last time.
    ///
    /// # Errors
    /// If a segment cannot be read, or `Dead` if a thread of the store panicked.
    pub fn holders(&self) -> Result<Holders, StoreError> {
        self.shared.holders()
    }

    /// What the store occupies.
    ///
    /// # Errors
    /// `Dead` if a thread of the store panicked.
    pub fn usage(&self) -> Result<StoreUsage, StoreError> {
        let (bytes_on_disk, bytes_free, shortage) = self.shared.preparer.usage();
        let state = self.shared.state()?;
        Ok(StoreUsage {
            bytes_on_disk,
            bytes_free,
            bytes_max: self.shared.preparer.bytes_max(),
            segments: state.segments.len(),
            live_references: state.live(),
            pending_bytes: self.pending_bytes(),
            compacted_bytes: self.shared.copied.load(Ordering::Relaxed),
            shortage: shortage.or_else(|| self.shared.commit.room.disk_shortage()),
            checkpoint_error: self.shared.mailbox.checkpoint_error(),
            is_full: self.is_full(),
        })
    }

    /// Writes what is pending, a clean stop and a last checkpoint, and ends the threads.
    ///
    /// # Errors
    /// If not everything handed over could be written.
    pub fn close(&self) -> Result<(), StoreError> {
        let ((), ticket) = self.append(|batch| {
            batch.note(Kind::CleanStop, self.shared.epoch, &[]);
        })?;
        #[cfg(feature = "sim")]
        if self.manual.is_some() {
            self.close_by_hand()?;
        }
        self.stop();
        if let Ok(mut lock) = self.lock.lock() {
            *lock = None;
        }
        self.shared.commit.alive()?;
        if self.synced() < ticket {
            return Err(StoreError::Full);
        }
        Ok(())
    }

    /// Does what the threads would do when the store is closed.
    #[cfg(feature = "sim")]
    fn close_by_hand(&self) -> Result<(), StoreError> {
        while self.drive(Drive::Write)? || self.drive(Drive::Prepare)? {}
        self.shared.commit.close();
        self.drive(Drive::Write)?;
        self.drive(Drive::Keep)?;
        // As with threads: a checkpoint that cannot be written does not make the stop unclean.
        let _ = self.drive(Drive::Checkpoint);
        Ok(())
    }

    /// Ends the threads, the writer first, the keeper last.
    fn stop(&self) {
        self.shared.commit.close();
        self.shared.preparer.drain();
        let threads = self
            .threads
            .lock()
            .map(|mut threads| std::mem::take(&mut *threads))
            .unwrap_or_default();
        for (number, thread) in threads.into_iter().enumerate() {
            match number {
                0 => {}
                1 => self.shared.preparer.close(),
                _ => self.shared.mailbox.close(),
            }
            // A thread that panicked has marked the journal dead.
            drop(thread.join());
        }
    }

    /// Does one step of a part. True if there was something to do.
    ///
    /// # Errors
    /// As the part reports them.
    ///
    /// # Panics
    /// If the store was not opened with `manual`.
    #[cfg(feature = "sim")]
    pub fn drive(&self, part: Drive) -> Result<bool, StoreError> {
        let parts = self
            .manual
            .as_ref()
            .expect("only a store opened with `manual` is driven");
        let mut parts = parts.lock().map_err(|_| StoreError::Dead {
            reason: "a step panicked".to_owned(),
        })?;
        match part {
            Drive::Write => {
                let step = parts.writer.step(false)?;
                if step == crate::journal::Step::Ended {
                    parts.writer.seal();
                }
                Ok(step == crate::journal::Step::Wrote)
            }
            Drive::Prepare => match self.shared.preparer.step(&self.shared.commit.room) {
                prepare::Step::Prepared => {
                    self.shared.tell_room();
                    Ok(true)
                }
                prepare::Step::Broken(reason) => {
                    self.shared.fail(&reason);
                    Err(StoreError::Dead { reason })
                }
                prepare::Step::Enough | prepare::Step::Starved(_) => Ok(false),
            },
            Drive::Keep => parts.keeper.step().map(|()| true),
            Drive::Checkpoint => parts.keeper.checkpoint(false),
            Drive::Compact => Ok(!matches!(parts.keeper.compact()?, compact::Step::Idle)),
        }
    }
}

impl Drop for Store {
    /// Writes what is pending and ends the threads, without a clean stop.
    fn drop(&mut self) {
        self.stop();
    }
}

/// Tells of damage in a file. If that fails, the report says so, and the start goes on.
fn note_damage(disk: &dyn Disk, dir: &Path, recovery: &mut Recovery) {
    let report = &mut recovery.report;
    if report.quarantined.is_empty() && report.dropped_transactions == 0 {
        return;
    }
    match damage::write(disk, dir, recovery.begin.epoch, report) {
        Ok(path) => report.damage_file = Some(path),
        Err(error) => report.warnings.push(error.to_string()),
    }
}

/// What was recovered, for the engine and for the parts of the store.
#[expect(
    clippy::type_complexity,
    reason = "parts that go their own ways, used twice"
)]
fn assemble(
    mut recovery: Recovery,
    disk: Arc<dyn Disk>,
    dir: &Path,
    config: StoreConfig,
    on_sync: Box<dyn Fn(SyncEvent) + Send + Sync>,
) -> Result<(Recovered, Arc<Shared>, Option<Box<dyn Meta>>, BTreeSet<u32>), StoreError> {
    let (destinations, subscriptions) = recovered::collect(&mut recovery)?;
    let recovered = Recovered {
        epoch: recovery.begin.epoch,
        clean: recovery.clean,
        destinations,
        subscriptions,
        highest_destination: recovery.definitions.highest_destination,
        highest_subscription: recovery.definitions.highest_subscription,
        report: recovery.report,
    };
    let begin = recovery.begin;
    let journal = dir.join("journal");
    let disk_of_preparer = Arc::clone(&disk);
    let preparer = Preparer::new(
        disk_of_preparer,
        journal.clone(),
        &config,
        begin.segment,
        begin.epoch,
        recovery.leftovers,
    );
    let shared = Arc::new(Shared {
        disk,
        journal,
        epoch: begin.epoch,
        epoch_first: begin.sequence,
        commit: Commit::new(&config, begin, recovery.definitions),
        config,
        preparer,
        state: Mutex::new(recovery.state),
        files: Files::default(),
        mailbox: Mailbox::default(),
        occupancies: Occupancies::default(),
        copied: AtomicU64::new(0),
        on_sync,
    });
    shared.commit.recovered_through(recovery.end);
    shared.preparer.tell(&shared.commit.room);
    Ok((recovered, shared, recovery.meta, recovery.known))
}

/// The thread that prepares segments.
fn prepare(shared: &Shared) {
    let work = std::panic::AssertUnwindSafe(|| prepare_until_closed(shared));
    if std::panic::catch_unwind(work).is_err() {
        shared.fail("preparing segments panicked");
    }
}

fn prepare_until_closed(shared: &Shared) {
    let mut starved = false;
    loop {
        match shared.preparer.step(&shared.commit.room) {
            prepare::Step::Prepared => {
                shared.tell_room();
                starved = false;
                continue;
            }
            prepare::Step::Enough => {
                shared.tell_room();
                starved = false;
            }
            prepare::Step::Starved(reason) => {
                if !starved {
                    (shared.on_sync)(SyncEvent::Full(reason));
                }
                starved = true;
            }
            prepare::Step::Broken(reason) => return shared.fail(&reason),
        }
        if !shared.preparer.wait(starved) {
            return;
        }
    }
}

//! Messages leave memory for temporary storage while memory is short: the thread that does it (USE-4).
//!
//! - Woken when the memory in use passes its high-water mark, it goes on until less is in use than a little below. Nobody waits for it:
//!   a destination is locked to say what is to be written, and again to hear where it lies.
//! - The largest backlogs go first, and of each what lies beyond the window at its head. If that is not enough, windows
//!   shrink, for stored messages too.
//! - One run is on its way at a time. What is not written yet is in memory and counted there, so producers that are
//!   faster than the disk wait at the limit of memory, and at nothing else.
//! - Temporary storage full: nothing more is written, until files have gone or the disk has room.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::thread::{self, Thread};
use std::time::Duration;

use ferrymq_store::{OwnedMessage, StoreError, Temp, TempPlace, TempRun};

use super::cell::{Cell, Journaled, Work};
use super::{Engine, records};
use crate::broker::paging::Spill;
use crate::broker::{Locator, Message};

/// Octets written in one go; the last message may go over.
const RUN_BYTES: u64 = 2 << 20;
/// Entries looked at under one lock.
const LOOKS: usize = 4096;
/// Smallest window but none.
const WINDOW_BYTES_MIN: u64 = 4096;
/// How long to wait before looking again for something to write when there was nothing; doubled each time.
const FIRST_REST: Duration = Duration::from_millis(5);
/// The longest such wait, and how long to wait for room.
const REST_MAX: Duration = Duration::from_millis(500);
/// After looking in vain, how many times longer than that took to wait.
const REST_FACTOR: u64 = 10;
/// The longest wait after looking in vain at a lot.
const COSTLY_REST_MAX: Duration = Duration::from_secs(5);

/// Temporary storage, and who writes there.
pub struct Spilling {
    temp: Temp,
    /// Memory is short, and the thread knows or will look before it sleeps.
    pressed: AtomicBool,
    /// There are files to remove.
    emptied: AtomicBool,
    stopped: AtomicBool,
    thread: OnceLock<Thread>,
}

impl Spilling {
    fn new(temp: Temp) -> Self {
        Self {
            temp,
            pressed: AtomicBool::new(false),
            emptied: AtomicBool::new(false),
            stopped: AtomicBool::new(false),
            thread: OnceLock::new(),
        }
    }

    /// The account of temporary storage.
    #[must_use]
    pub fn temp(&self) -> &Temp {
        &self.temp
    }

    /// Memory is short.
    pub(super) fn press(&self) {
        // Under pressure everybody comes here with each batch; one of them changes something.
        if !self.pressed.load(Ordering::Relaxed) {
            self.wake(&self.pressed);
        }
    }

    /// Frees places in temporary storage; others are none of its business.
    pub(super) fn free(&self, places: impl IntoIterator<Item = Locator>) {
        let places = places.into_iter().filter_map(place_of);
        let places: Vec<TempPlace> = places.collect();
        if !places.is_empty() && self.temp.release(&places) {
            self.wake(&self.emptied);
        }
    }

    /// Removes what lies there, and ends the thread some time soon.
    pub(super) fn stop(&self) {
        self.wake(&self.stopped);
        if let Err(error) = self.temp.close() {
            tracing::warn!(%error, "temporary storage is not empty; the next start removes what is left");
        }
    }

    fn wake(&self, news: &AtomicBool) {
        if !news.swap(true, Ordering::AcqRel)
            && let Some(thread) = self.thread.get()
        {
            thread.unpark();
        }
    }

    /// Waits until there is something to do, or for `rest` and room. Returns false when it is time to end.
    fn rest(&self, rest: Option<Duration>) -> bool {
        let is_set = |flag: &AtomicBool| flag.load(Ordering::Acquire);
        let has_news = || is_set(&self.emptied) || is_set(&self.stopped);
        match rest {
            None => {
                while !is_set(&self.pressed) && !has_news() {
                    thread::park();
                }
            }
            Some(rest) => {
                // That memory is short is no news now.
                self.pressed.store(true, Ordering::Release);
                if !has_news() {
                    thread::park_timeout(rest);
                }
            }
        }
        self.pressed.store(false, Ordering::Release);
        self.emptied.store(false, Ordering::Release);
        !is_set(&self.stopped)
    }
}

/// The place in the form of the store.
fn place_of(at: Locator) -> Option<TempPlace> {
    TempPlace::from_u64(at.in_temp()?.get())
}

impl Engine {
    /// From now on messages leave memory for `temp` when memory is short. To be called once.
    ///
    /// # Errors
    /// A thread could not be started.
    pub fn spill_to(self: &Arc<Self>, temp: Temp) -> std::io::Result<()> {
        let spilling = Arc::new(Spilling::new(temp));
        let (engine, mine) = (Arc::downgrade(self), Arc::clone(&spilling));
        let thread = thread::Builder::new()
            .name("ferrymq-spill".into())
            .spawn(move || serve(&engine, &mine))?;
        spilling.thread.get_or_init(|| thread.thread().clone());
        self.memory.spill_with(spilling);
        self.read_back.start(self)
    }

    /// The account of temporary storage, if there is one.
    #[must_use]
    pub fn temp(&self) -> Option<&Temp> {
        self.memory.spilling().map(|spilling| spilling.temp())
    }

    /// Reads messages that were spilled; `None` for what was consumed meanwhile, or is lost, which is told.
    pub(super) fn read_spilled(
        &self,
        cell: &Cell,
        places: impl Iterator<Item = Locator>,
    ) -> Vec<Option<Arc<Message>>> {
        let places: Vec<TempPlace> = places.filter_map(place_of).collect();
        let mut found = Vec::with_capacity(places.len());
        if let Some(temp) = self.temp() {
            temp.read_many(&places, &mut found);
        }
        tell_lost(cell, &found);
        let message = |found: OwnedMessage| records::message(found);
        let found = found.into_iter();
        found
            .map(|found| found.ok().flatten().map(message))
            .collect()
    }
}

/// Tells of messages that cannot be read: how many of each file.
fn tell_lost(cell: &Cell, found: &[Result<Option<OwnedMessage>, StoreError>]) {
    let file = |error: &StoreError| match error {
        StoreError::Io { path, .. } | StoreError::TempDamaged { path, .. } => path.clone(),
        _ => Default::default(),
    };
    let errors: Vec<_> = found
        .iter()
        .filter_map(|found| found.as_ref().err())
        .collect();
    for errors in errors.chunk_by(|one, next| file(one) == file(next)) {
        tracing::error!(
            destination = %cell.destination,
            file = %file(errors[0]).display(),
            lost = errors.len(),
            error = %errors[0],
            "spilled messages cannot be read back and are dropped"
        );
    }
}

/// How an attempt to get memory free has ended.
enum Relief {
    /// Enough is free.
    Enough,
    /// There is nothing more that could leave; something has left, or not.
    Nothing { went: bool },
    /// Temporary storage takes nothing now.
    Refused(StoreError),
}

/// What is on its way, and of whom.
#[derive(Default)]
struct Run {
    messages: Vec<(u64, Arc<Message>)>,
    parts: Vec<(Arc<Cell>, Range<usize>)>,
    octets: TempRun,
}

impl Run {
    fn clear(&mut self) {
        self.parts.clear();
        self.messages.clear();
        self.octets.clear();
    }
}

/// What the thread keeps between its attempts.
#[derive(Default)]
struct Spiller {
    work: Work,
    run: Run,
    /// A run was refused in this attempt, and only stored messages leave memory now.
    refused: Option<StoreError>,
    /// A run was refused in the last one: what was in it has to be found again.
    rewinds: bool,
    /// What was told last of a refusal.
    told: Option<String>,
    rest: Duration,
}

/// Holds nothing of the engine while it waits.
fn serve(engine: &Weak<Engine>, spilling: &Spilling) {
    let (mut spiller, mut rest) = (Spiller::default(), None);
    while spilling.rest(rest) {
        let Some(engine) = engine.upgrade() else {
            return;
        };
        if let Err(error) = spilling.temp.tidy() {
            tracing::warn!(%error, "a file of temporary storage stays for now");
        }
        rest = spiller.attend(&engine, spilling);
    }
}

impl Spiller {
    /// Gets memory free if it is short. Returns how long to rest before looking again.
    fn attend(&mut self, engine: &Arc<Engine>, spilling: &Spilling) -> Option<Duration> {
        let temp = &spilling.temp;
        let began_ms = engine.clock.monotonic_ms();
        let relief = self.relieve(engine, temp);
        let taken_ms = engine.clock.monotonic_ms().saturating_sub(began_ms);
        self.run.clear();
        if spilling.stopped.load(Ordering::Acquire) {
            return None;
        }
        self.tell(temp, &relief);
        match relief {
            Relief::Enough => {
                temp.nobody_waits();
                self.rest = FIRST_REST;
                None
            }
            Relief::Nothing { went } => {
                temp.nobody_waits();
                if went {
                    self.rest = FIRST_REST;
                    return Some(FIRST_REST);
                }
                self.rest = (self.rest * 2).clamp(FIRST_REST, REST_MAX);
                // Looking in vain at a lot of messages may not become a habit.
                let costly = Duration::from_millis(taken_ms * REST_FACTOR).min(COSTLY_REST_MAX);
                Some(self.rest.max(costly))
            }
            Relief::Refused(_) => {
                self.rewinds = true;
                Some(REST_MAX)
            }
        }
    }

    fn tell(&mut self, temp: &Temp, relief: &Relief) {
        let (used_bytes, limit_bytes) = (temp.used_bytes(), temp.limit_bytes());
        match relief {
            Relief::Refused(error) => {
                let error = error.to_string();
                // A limit of 0 is a wish, not news.
                if self.told.as_ref() != Some(&error) && limit_bytes > 0 {
                    tracing::warn!(
                        error,
                        used_bytes,
                        limit_bytes,
                        "messages cannot be spilled: their producers wait once memory.limit is reached"
                    );
                }
                self.told = Some(error);
            }
            Relief::Enough | Relief::Nothing { .. } => {
                if self.told.take().is_some() && limit_bytes > 0 {
                    tracing::info!(used_bytes, limit_bytes, "messages can be spilled again");
                }
            }
        }
    }

    /// Lets messages leave memory until enough is free, in several passes: first where the last ones stopped, then
    /// from the heads of queues on, with smaller windows each time.
    fn relieve(&mut self, engine: &Arc<Engine>, temp: &Temp) -> Relief {
        if engine.memory.is_relieved() {
            return Relief::Enough;
        }
        let mut window_bytes = engine.settings.queue_window_bytes;
        let (mut rewinds, mut went) = (std::mem::take(&mut self.rewinds), false);
        self.refused = None;
        let holders = holders(engine);
        loop {
            let cells = holders.iter();
            let cells = cells.filter(|cell| cell.lock().machine.held_bytes() > window_bytes);
            let cells = cells.cloned().collect();
            went |= self.pass(engine, temp, (cells, window_bytes), rewinds);
            if engine.memory.is_relieved() {
                return Relief::Enough;
            }
            let is_last = rewinds && window_bytes == 0;
            if is_last || self.is_refused_again() {
                let refused = self.refused.take();
                return refused.map_or(Relief::Nothing { went }, Relief::Refused);
            }
            if rewinds {
                window_bytes = smaller(window_bytes);
            }
            rewinds = true;
        }
    }

    /// Whether nothing has changed since the last run was refused: stored messages have left memory then.
    fn is_refused_again(&self) -> bool {
        self.refused.is_some() && self.told.is_some()
    }

    /// Goes over `cells`, which hold more than `window_bytes` each. Returns whether anything left memory.
    fn pass(
        &mut self,
        engine: &Arc<Engine>,
        temp: &Temp,
        (mut cells, window_bytes): (VecDeque<Arc<Cell>>, u64),
        rewinds: bool,
    ) -> bool {
        if rewinds {
            for cell in &cells {
                cell.lock().machine.rewind_spill(window_bytes);
            }
        }
        let mut went = false;
        while !engine.memory.is_relieved() && !self.is_refused_again() {
            let used_bytes = engine.memory.used_bytes();
            self.run.clear();
            self.gather(&mut cells, temp, window_bytes);
            let is_end = cells.is_empty();
            if !self.run.messages.is_empty() {
                match self.write(engine, temp, window_bytes) {
                    Ok(()) => went = true,
                    Err(error) => self.refused = Some(error),
                }
            }
            went |= engine.memory.used_bytes() < used_bytes;
            if is_end {
                break;
            }
        }
        went
    }

    /// Fills a run. Those that have no more to give are taken from `cells`.
    fn gather(&mut self, cells: &mut VecDeque<Arc<Cell>>, temp: &Temp, window_bytes: u64) {
        let Run {
            messages, parts, ..
        } = &mut self.run;
        // So that neither a run nor a message is what all others wait behind.
        let piece_bytes_max = match self.refused {
            Some(_) => 0,
            None => temp.limit_bytes() / 8,
        };
        let mut spill = Spill {
            messages: std::mem::take(messages),
            room_bytes: RUN_BYTES.min(piece_bytes_max.max(1)),
            looks: LOOKS,
            message_bytes_max: piece_bytes_max,
        };
        while let Some(cell) = cells.front()
            && !spill.is_full()
        {
            let first = spill.messages.len();
            let is_end = cell.step(&mut self.work, Journaled::default(), |machine, _| {
                machine.spill(window_bytes, &mut spill)
            });
            if spill.messages.len() > first {
                parts.push((Arc::clone(cell), first..spill.messages.len()));
            }
            if is_end {
                cells.pop_front();
            }
        }
        *messages = spill.messages;
    }

    /// Writes the run, and tells whose it is.
    fn write(
        &mut self,
        engine: &Arc<Engine>,
        temp: &Temp,
        window_bytes: u64,
    ) -> Result<(), StoreError> {
        let Run {
            messages,
            parts,
            octets,
        } = &mut self.run;
        for (_, message) in &*messages {
            records::with_stored(message, |stored| octets.add(stored));
        }
        let places = temp.write(octets)?;
        for (cell, range) in parts.drain(..) {
            let written = messages[range.clone()].iter().zip(&places[range]);
            let written = written.map(|((sequence, _), at)| (*sequence, Locator::temp(at.get())));
            cell.step(&mut self.work, Journaled::default(), |machine, out| {
                machine.spilled(written, window_bytes, out);
            });
        }
        engine.run(&mut self.work);
        Ok(())
    }
}

/// The next smaller window.
fn smaller(window_bytes: u64) -> u64 {
    match window_bytes / 4 {
        bytes if bytes < WINDOW_BYTES_MIN => 0,
        bytes => bytes,
    }
}

/// Destinations that hold something in memory, the largest first. Advisories have an account of their own.
fn holders(engine: &Engine) -> Vec<Arc<Cell>> {
    let cells = engine.registry.all().into_iter();
    let cells = cells.filter(|cell| !cell.destination.is_advisory());
    let held = cells.filter_map(|cell| {
        let held_bytes = cell.lock().machine.held_bytes();
        (held_bytes > 0).then_some((held_bytes, cell))
    });
    let mut found: Vec<_> = held.collect();
    found.sort_by_key(|(held_bytes, _)| std::cmp::Reverse(*held_bytes));
    found.into_iter().map(|(_, cell)| cell).collect()
}

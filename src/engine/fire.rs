//! Firing what is due: one atomic step in the journal with the enqueue and the end, or the advance, of the job.
//!
//! One thread waits for the next job and fires, because bodies are read from the store. Nothing is held of the engine
//! while it waits, so that the data directory is free when everybody else has let go.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use ferrymq_store::{DestinationId, RecoveredDestination, StoreError};

use super::cell::{Cell, Journaled, Machine, Work};
use super::commit::Transaction;
use super::policy::Admission;
use super::schedule::{Browse, Jobs, Scheduling, Target, wait_readable};
use super::{Engine, job_records, records};
use crate::broker::policy::Usage;
use crate::broker::queue::Incoming;
use crate::broker::scheduler::{Due, Firing, Job, Removed, Schedule};
use crate::broker::{Entry, Locator, Message, MessageFlags, MessageId};
use crate::clock::Clock;

/// Jobs fired in one go: bounds what is read back and what one batch of the journal holds.
const FIRED_MAX: usize = 256;
/// The longest sleep: the wall clock may be set meanwhile.
const SLEEP_MAX_MS: u64 = 1000;
/// What could not be stored is tried again after this time.
const RETRY_MS: u64 = 500;

/// A job in the hands of who fires it.
struct Ready {
    number: u64,
    job: Job,
    /// The schedule that has it in the journal.
    schedule: DestinationId,
    /// As it was scheduled; `None` if it cannot be read any more.
    scheduled: Option<Message>,
    firing: Firing,
    /// As it is delivered, and where the journal keeps that.
    delivered: Option<(Arc<Message>, Option<Locator>)>,
    /// Where the journal keeps the job as it goes on.
    next_at: Option<Locator>,
    /// The number of the job that begins, and where the journal keeps it.
    started: Option<(u64, Option<Locator>)>,
}

impl Engine {
    /// Starts the thread that fires. It ends when the engine closes or is dropped.
    ///
    /// # Errors
    /// The thread could not be started.
    pub fn start_scheduler(self: &Arc<Self>) -> std::io::Result<()> {
        let (scheduling, clock) = (Arc::clone(&self.scheduling), self.clock.clone());
        let engine = Arc::downgrade(self);
        std::thread::Builder::new()
            .name("ferrymq-schedule".into())
            .spawn(move || run(&engine, &scheduling, &clock))?;
        Ok(())
    }

    /// Fires everything that is due. Called by the scheduler's thread alone.
    pub(super) fn fire_due(self: &Arc<Self>, work: &mut Work) {
        let mut due = Vec::new();
        loop {
            let now_ms = self.clock.wall_ms();
            let mut jobs = self.scheduling.lock();
            if jobs.stopping {
                return;
            }
            jobs.scheduler.take_due(now_ms, FIRED_MAX, &mut due);
            drop(jobs);
            if due.is_empty() {
                return;
            }
            self.fire(now_ms, &mut due, work);
        }
    }

    fn fire(self: &Arc<Self>, now_ms: u64, due: &mut Vec<Due>, work: &mut Work) {
        let messages = match self.messages_of(due.iter().map(|due| &due.job)) {
            Ok(messages) => messages,
            Err(error) => {
                tracing::warn!(%error, "scheduled messages could not be read and wait");
                let mut jobs = self.scheduling.lock();
                for due in due.drain(..) {
                    jobs.scheduler.put_back(due.number, now_ms + RETRY_MS);
                }
                return;
            }
        };
        let origin = self.scheduling.origin(self);
        let mut groups: Vec<(Arc<Cell>, Vec<Ready>)> = Vec::new();
        let jobs = self.scheduling.lock();
        for (Due { number, job }, scheduled) in due.drain(..).zip(messages) {
            let Some(target) = jobs.target_of(&job) else {
                continue;
            };
            let cell = Arc::clone(&target.cell);
            let due = (number, job, target.id);
            let ready = Ready::new(due, scheduled, now_ms, || self.fresh_id(origin));
            match groups
                .iter_mut()
                .find(|(known, _)| Arc::ptr_eq(known, &cell))
            {
                Some((_, group)) => group.push(ready),
                None => groups.push((cell, vec![ready])),
            }
        }
        drop(jobs);
        for (cell, mut group) in groups {
            let copied = self.copy_routed(&cell, &mut group, work);
            let delivered = copied.and_then(|()| self.deliver(&cell, now_ms, &mut group, work));
            if let Err(error) = delivered {
                tracing::debug!(destination = %cell.destination, %error, "scheduled messages wait");
                let mut jobs = self.scheduling.lock();
                for ready in &group {
                    jobs.scheduler.put_back(ready.number, now_ms + RETRY_MS);
                }
                continue;
            }
            self.settle_fired(group, work);
            self.run(work);
            work.take_ticket();
        }
    }

    /// Sends the copies that follow from where a group goes (VIR-1). They go first: rather one too many after a crash than
    /// one too few.
    fn copy_routed(
        self: &Arc<Self>,
        cell: &Arc<Cell>,
        group: &mut [Ready],
        work: &mut Work,
    ) -> Result<(), StoreError> {
        if !cell.routes.is_any() {
            return Ok(());
        }
        let mut transaction = Transaction::default();
        let mut kept = Vec::with_capacity(group.len());
        for ready in &*group {
            let spread = ready
                .delivered
                .as_ref()
                .map(|(message, _)| self.spread_from(cell, message));
            kept.push(spread.as_ref().is_none_or(|spread| spread.kept));
            transaction
                .sends
                .extend(spread.into_iter().flat_map(|spread| spread.copies));
        }
        // Nobody is there to wait, so only what may be dropped is held back.
        let pending = |_: &Cell| Usage::default();
        if let Admission::Refused(reason) = self.admit(&mut transaction.sends, true, pending) {
            tracing::debug!(destination = %cell.destination, %reason, "scheduled messages go beyond a limit");
        }
        self.commit_admitted(transaction, work)
            .map_err(|(_, error)| error)?;
        for (ready, kept) in group.iter_mut().zip(kept) {
            if !kept {
                ready.delivered = None;
            }
        }
        Ok(())
    }

    /// Journals a group of jobs of one destination and puts their messages into it, all under its lock.
    fn deliver(
        self: &Arc<Self>,
        cell: &Arc<Cell>,
        now_ms: u64,
        group: &mut [Ready],
        work: &mut Work,
    ) -> Result<(), StoreError> {
        let mut jobs = self.scheduling.lock();
        for ready in group.iter_mut() {
            let starts = ready.firing.starts.is_some();
            ready.started = starts.then(|| (jobs.scheduler.reserve(), None));
        }
        drop(jobs);
        let mut state = cell.lock();
        let count = group
            .iter()
            .filter(|ready| ready.delivered.is_some())
            .count();
        let first = state.machine.reserve(count as u64);
        if let Some(store) = &self.store {
            let defined = state.is_defined();
            let places = places(&state.machine, group, first);
            let appended = store.append(|batch| {
                if places.iter().any(Option::is_some) {
                    cell.define(&mut state, batch);
                }
                batch.transaction(|batch| {
                    for (ready, place) in group.iter_mut().zip(places) {
                        ready.write(batch, place.map(|sequence| (cell.id, sequence)));
                    }
                    for (schedule, gone) in records_of(group) {
                        batch.remove(schedule, &gone);
                    }
                });
            });
            appended.inspect_err(|_| state.set_defined(defined))?;
        }
        cell.step_locked(&mut state, work, Journaled::default(), |machine, out| {
            let delivered = group.iter().filter_map(|ready| ready.delivered.clone());
            for (sequence, (message, at)) in (first..).zip(delivered) {
                let incoming = Incoming {
                    sequence,
                    entry: Entry::held(message, at),
                };
                match machine {
                    Machine::Queue(queue) => queue.push(now_ms, incoming, out),
                    Machine::Topic(topic) => topic.publish(now_ms, incoming, out),
                }
            }
        });
        Ok(())
    }

    /// Tells the scheduler what became of its jobs.
    fn settle_fired(&self, group: Vec<Ready>, work: &mut Work) {
        let mut jobs = self.scheduling.lock();
        let mut gone = Vec::new();
        for ready in group {
            let Ready {
                number,
                job,
                scheduled,
                firing,
                next_at,
                started,
                ..
            } = ready;
            let held = job.message.clone();
            if let (Some((number, at)), Some((due_ms, schedule))) = (started, firing.starts) {
                let message = held.clone();
                if let Some(message) = &message {
                    self.memory.charge(message.memory_bytes());
                }
                let started = Job {
                    due_ms,
                    at,
                    message,
                    schedule: Some(Box::new(schedule)),
                    destination: job.destination,
                    owner: job.owner,
                    bytes: job.bytes,
                };
                jobs.scheduler.add(number, started);
            }
            let next = firing.next.map(|(due_ms, schedule)| Job {
                due_ms,
                at: next_at,
                message: held.clone(),
                schedule: Some(Box::new(schedule)),
                destination: job.destination,
                owner: job.owner,
                bytes: job.bytes,
            });
            let (goes_on, destination) = (next.is_some(), job.destination);
            let known = jobs.scheduler.fired(number, next);
            if known && !goes_on {
                if let Some(message) = &held {
                    self.memory.release(message.memory_bytes());
                }
                if scheduled.is_none() {
                    tracing::error!(job = number, "a scheduled message is gone from the store");
                }
            } else if !known && goes_on {
                // Removed while it was fired: what it goes on as must not stay. Its memory is released already.
                gone.push(Removed {
                    number,
                    at: next_at,
                    message: None,
                    destination,
                    owner: job.owner,
                });
            }
        }
        self.forget_jobs(&jobs, &gone, work);
    }

    /// The messages of jobs, from memory or the store. One that is gone or damaged is `None`.
    fn messages_of<'a>(
        &self,
        jobs: impl Iterator<Item = &'a Job>,
    ) -> Result<Vec<Option<Message>>, StoreError> {
        let Some(store) = &self.store else {
            let held = |job: &Job| job.message.as_ref().map(|message| Message::clone(message));
            return Ok(jobs.map(held).collect());
        };
        let places: Vec<Locator> = jobs.filter_map(|job| job.at).collect();
        if let Some(last) = places.iter().max() {
            wait_readable(store, *last)?;
        }
        let places: Vec<_> = places.into_iter().map(records::to_store).collect();
        let mut found = Vec::with_capacity(places.len());
        store.read_many(&places, &mut found);
        found
            .into_iter()
            .map(|outcome| match outcome {
                Ok(stored) => Ok(stored
                    .and_then(job_records::read)
                    .map(|(message, _)| message)),
                Err(StoreError::Damaged { .. }) => Ok(None),
                Err(error) => Err(error),
            })
            .collect()
    }

    /// Sends copies of jobs to who wants to see them (SCH-8).
    fn show_jobs(self: &Arc<Self>, browse: &Browse, work: &mut Work) {
        let numbers = self.scheduling.lock().scheduler.between(&browse.range);
        for numbers in numbers.chunks(FIRED_MAX) {
            let jobs = self.scheduling.lock();
            let found = numbers
                .iter()
                .filter(|number| jobs.may_manage(**number, &*browse.may))
                .filter_map(|number| jobs.scheduler.get(*number));
            let found: Vec<Job> = found.map(|job| job.clone()).collect();
            drop(jobs);
            let Ok(messages) = self.messages_of(found.iter()) else {
                return;
            };
            let mut copies: Vec<Arc<Message>> = messages
                .into_iter()
                .flatten()
                .map(|mut copy| {
                    copy.flags = MessageFlags(copy.flags.0 & !MessageFlags::PERSISTENT);
                    copy.expires_ms = 0;
                    Arc::new(copy)
                })
                .collect();
            let now_ms = self.clock.wall_ms();
            if let Err(error) = browse.reply.send(now_ms, &mut copies, work) {
                tracing::debug!(%error, "jobs could not be shown");
            }
            self.run(work);
            work.take_ticket();
        }
    }

    /// Takes over the schedules that the journal holds. Plain delayed messages are not read.
    pub(super) fn adopt_schedules(&self, schedules: Vec<RecoveredDestination>) {
        let mut work = Work::default();
        let mut jobs = self.scheduling.lock();
        for found in schedules {
            let schedule = job_records::schedule_of(found.kind, &found.name);
            let Some((destination, owner)) = schedule else {
                tracing::error!(name = found.name, "a schedule makes no sense");
                continue;
            };
            let cell = self.registry.get_or_create(&destination);
            let destination = cell.id.0;
            let (number, owner) = jobs.owner(&owner);
            let target = Target {
                cell,
                owner,
                id: found.id,
                defined: true,
            };
            jobs.targets.insert((destination, number), target);
            jobs.scheduler.skip_to(found.next_sequence);
            for entry in found.entries {
                let at = records::from_store(entry.at);
                let schedule = if entry.flags & job_records::MORE == 0 {
                    None
                } else {
                    match self.schedule_at(at) {
                        Some(schedule) => Some(Box::new(schedule)),
                        None => continue,
                    }
                };
                let job = Job {
                    due_ms: entry.expires_ms,
                    at: Some(at),
                    message: None,
                    schedule,
                    destination,
                    owner: number,
                    bytes: entry.size,
                };
                let replaced = jobs.scheduler.add(entry.sequence, job);
                self.forget_jobs(&jobs, replaced.as_slice(), &mut work);
            }
        }
        if !jobs.scheduler.is_empty() {
            let count = jobs.scheduler.len();
            tracing::info!(count, "scheduled messages recovered");
        }
    }

    /// How the job at `at` goes on; `None` if that cannot be read, which is told.
    fn schedule_at(&self, at: Locator) -> Option<Schedule> {
        let read = self.store.as_ref()?.read(records::to_store(at));
        let found = match read {
            Ok(stored) => stored
                .and_then(job_records::read)
                .and_then(|(_, more)| more),
            Err(error) => {
                tracing::error!(%error, "a scheduled message cannot be read");
                return None;
            }
        };
        if found.is_none() {
            tracing::error!(
                place = at.0,
                "a scheduled message makes no sense and stays in the journal"
            );
        }
        found
    }

    fn fresh_id(&self, origin: u64) -> MessageId {
        MessageId {
            origin,
            serial: self.scheduling.next_serial(),
        }
    }
}

impl Ready {
    fn new(
        (number, job, schedule): (u64, Job, DestinationId),
        scheduled: Option<Message>,
        now_ms: u64,
        fresh_id: impl FnOnce() -> MessageId,
    ) -> Self {
        let firing = match (&scheduled, &job.schedule) {
            (None, _) => Firing {
                delivers: false,
                next: None,
                starts: None,
            },
            (Some(_), None) => Schedule::default().fire(job.due_ms, now_ms),
            (Some(_), Some(schedule)) => schedule.fire(job.due_ms, now_ms),
        };
        let again = job.schedule.as_ref().is_some_and(|schedule| schedule.again);
        let delivered = scheduled
            .as_ref()
            .filter(|_| firing.delivers)
            .map(|message| {
                let mut message = message.clone();
                if again {
                    message.id = fresh_id();
                }
                // Its life begins now (SCH-4).
                if message.expires_ms != 0 {
                    let life_ms = message.expires_ms.saturating_sub(message.timestamp_ms);
                    message.expires_ms = now_ms.saturating_add(life_ms).max(1);
                }
                message.timestamp_ms = now_ms;
                (Arc::new(message), None)
            });
        Self {
            number,
            job,
            schedule,
            scheduled,
            firing,
            delivered,
            next_at: None,
            started: None,
        }
    }

    /// The record of the job as it was.
    fn record(&self) -> Option<(u64, ferrymq_store::Locator)> {
        Some((self.number, records::to_store(self.job.at?)))
    }

    /// Writes what becomes of the job; `to` is the place of the delivered message if it is to be stored.
    fn write(&mut self, batch: &mut ferrymq_store::Batch<'_>, to: Option<(DestinationId, u64)>) {
        let (Some(of), Some(scheduled)) = (self.job.at, &self.scheduled) else {
            return;
        };
        if let (Some(to), Some((message, at))) = (to, &mut self.delivered) {
            *at = Some(records::from_store(records::place_again(
                batch,
                &[to],
                of,
                message,
            )));
        }
        let (of, schedule) = (records::to_store(of), self.schedule);
        let mut place = |number: u64, due_ms: u64, more: &Schedule| {
            let target = (schedule, number);
            let at = job_records::place(batch, target, of, scheduled, (due_ms, Some(more)));
            records::from_store(at)
        };
        if let Some((due_ms, more)) = &self.firing.next {
            self.next_at = Some(place(self.number, *due_ms, more));
        }
        if let (Some((number, at)), Some((due_ms, more))) = (&mut self.started, &self.firing.starts)
        {
            *at = Some(place(*number, *due_ms, more));
        }
    }
}

/// The records of jobs as they were, by schedule.
fn records_of(group: &[Ready]) -> HashMap<DestinationId, Vec<(u64, ferrymq_store::Locator)>> {
    let mut found: HashMap<_, Vec<_>> = HashMap::new();
    for ready in group {
        if let Some(record) = ready.record() {
            found.entry(ready.schedule).or_default().push(record);
        }
    }
    found
}

/// The sequences of those messages of `group` that must reach the journal; the first one delivered has `first`.
fn places(machine: &Machine, group: &[Ready], first: u64) -> Vec<Option<u64>> {
    let mut sequences = first..;
    let place = |ready: &Ready| {
        let (message, _) = ready.delivered.as_ref()?;
        let sequence = sequences.next()?;
        (machine.stores(message)).then_some(sequence)
    };
    group.iter().map(place).collect()
}

/// What the scheduler's thread has to do next.
enum Errand {
    Fire,
    Show(Browse),
}

fn run(engine: &Weak<Engine>, scheduling: &Scheduling, clock: &Clock) {
    let mut work = Work::default();
    while let Some(errand) = next_errand(scheduling, clock) {
        let Some(engine) = engine.upgrade() else {
            return;
        };
        match errand {
            Errand::Fire => engine.fire_due(&mut work),
            Errand::Show(browse) => engine.show_jobs(&browse, &mut work),
        }
    }
}

/// Waits for the next errand; `None` at the end.
fn next_errand(scheduling: &Scheduling, clock: &Clock) -> Option<Errand> {
    let mut jobs = scheduling.lock();
    loop {
        if jobs.stopping {
            return None;
        }
        if let Some(browse) = jobs.browses.pop_front() {
            return Some(Errand::Show(browse));
        }
        let Jobs { scheduler, .. } = &mut *jobs;
        let now_ms = clock.wall_ms();
        jobs = match scheduler.next_due_ms() {
            Some(due_ms) if due_ms <= now_ms => return Some(Errand::Fire),
            Some(due_ms) => {
                let sleep = Duration::from_millis((due_ms - now_ms).min(SLEEP_MAX_MS));
                let woken = scheduling.changed.wait_timeout(jobs, sleep);
                woken.expect("a step of the scheduler never panics").0
            }
            None => {
                let woken = scheduling.changed.wait(jobs);
                woken.expect("a step of the scheduler never panics")
            }
        };
    }
}

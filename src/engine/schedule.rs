//! The scheduler's shell: jobs in and out of the journal, and who waits for the next one that is due.
//!
//! - A job is written with its message, and gone from the journal with its last delivery: see `engine/job_records.rs`.
//! - Lock order: the scheduler is locked alone or before the journal, never while a destination is.

use std::collections::{HashMap, VecDeque};
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock};

use ferrymq_store::{Batch, DestinationId, Store, StoreError};

use super::cell::{Cell, Work};
use super::{Engine, job_records, records};
use crate::broker::governor::Cause;
use crate::broker::scheduler::{Job, Removed, Schedule, Scheduler};
use crate::broker::{Destination, Locator, Message};

/// A message to be scheduled.
pub struct NewJob {
    /// Where it goes when it is due.
    pub cell: Arc<Cell>,
    /// Its number, from [`Engine::reserve_job`].
    pub number: u64,
    /// The message, which says its job id already.
    pub message: Message,
    /// When it is to be delivered.
    pub schedule: Schedule,
    /// Who schedules it; empty if that is not known.
    owner: Box<str>,
    /// When it is due first, once it is scheduled.
    due_ms: Option<u64>,
}

impl NewJob {
    /// A message for `cell`, with a number from [`Engine::reserve_job`].
    #[must_use]
    pub fn new(cell: Arc<Cell>, number: u64, message: Message, schedule: Schedule) -> Self {
        Self {
            cell,
            number,
            message,
            schedule,
            owner: Box::default(),
            due_ms: None,
        }
    }

    /// The same, of a user (SCH-8).
    #[must_use]
    pub fn of(mut self, owner: &str) -> Self {
        self.owner = owner.into();
        self
    }
}

/// Whether a job may be seen and removed: asked with its destination and who scheduled it, empty if nobody known.
pub type MayManage<'a> = dyn Fn(&Destination, &str) -> bool + Send + 'a;

/// A job is somebody else's, and stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotYours;

/// Jobs that somebody wants to see.
pub(super) struct Browse {
    pub(super) range: RangeInclusive<u64>,
    pub(super) reply: Arc<Cell>,
    pub(super) may: Box<MayManage<'static>>,
}

/// A destination that a user has scheduled something for.
pub(super) struct Target {
    pub(super) cell: Arc<Cell>,
    pub(super) owner: Arc<str>,
    /// Its schedule in the journal.
    pub(super) id: DestinationId,
    pub(super) defined: bool,
}

/// What the scheduler's lock guards.
#[derive(Default)]
pub(super) struct Jobs {
    pub(super) scheduler: Scheduler,
    /// By the numbers of destination and owner.
    pub(super) targets: HashMap<(u32, u32), Target>,
    /// The numbers of owners, from 1; 0 is nobody known.
    owners: HashMap<Arc<str>, u32>,
    pub(super) browses: VecDeque<Browse>,
    pub(super) stopping: bool,
}

/// The scheduler and those who wait for it.
#[derive(Default)]
pub struct Scheduling {
    jobs: Mutex<Jobs>,
    pub(super) changed: Condvar,
    /// The origin of message ids given to repeated deliveries, made with the first of them.
    origin: OnceLock<u64>,
    serial: AtomicU64,
}

/// Browsing requests that may wait; more are refused.
const BROWSES_MAX: usize = 64;
/// Records removed by one entry of the journal.
const REMOVALS_MAX: usize = 4096;

impl Scheduling {
    /// Locks the scheduler.
    ///
    /// # Panics
    /// If a panic left it half changed.
    pub(super) fn lock(&self) -> MutexGuard<'_, Jobs> {
        self.jobs
            .lock()
            .expect("a step of the scheduler never panics")
    }

    /// Nothing fires any more.
    pub(super) fn stop(&self) {
        self.lock().stopping = true;
        self.changed.notify_all();
    }

    pub(super) fn origin(&self, engine: &Engine) -> u64 {
        *self.origin.get_or_init(|| engine.next_origin())
    }

    pub(super) fn next_serial(&self) -> u64 {
        self.serial.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// How many jobs there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lock().scheduler.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Octets of the messages of all jobs.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.lock().scheduler.bytes()
    }
}

impl Engine {
    /// What keeps a message of `bytes` octets from being scheduled; one fits when there is no other (SCH-7).
    pub(super) fn scheduler_shortage(&self, bytes: u64) -> Option<Cause> {
        let held_bytes = self.scheduling.bytes();
        let limit_bytes = self.governor.scheduler_bytes_max();
        let fits = held_bytes == 0 || held_bytes.saturating_add(bytes) <= limit_bytes;
        (!fits).then_some(Cause::Scheduler {
            held_bytes,
            limit_bytes,
        })
    }

    /// A number that no other job ever has.
    #[must_use]
    pub fn reserve_job(&self) -> u64 {
        self.scheduling.lock().scheduler.reserve()
    }

    /// Schedules a message; `work.ticket` covers it. On an error nothing was taken.
    ///
    /// # Errors
    /// The store is full or dead.
    pub fn schedule(&self, job: NewJob, work: &mut Work) -> Result<(), StoreError> {
        let mut new_jobs = vec![job];
        let Some(mut jobs) = self.prepare_jobs(&mut new_jobs)? else {
            return Ok(());
        };
        let mut places = Vec::new();
        if let Some(store) = &self.store {
            let write = |batch: &mut Batch<'_>| jobs.write(batch, &new_jobs[0]);
            let (place, ticket) = store.append(|batch| batch.transaction(write))?;
            work.ticket = work.ticket.max(Some(ticket));
            places.push(place);
        }
        self.adopt_jobs(&mut jobs, &mut new_jobs, places, work);
        Ok(())
    }

    /// Locks the scheduler to take jobs in, with all that the journal has to know before them. `None`: there are none.
    ///
    /// # Errors
    /// The store is full or dead.
    pub(super) fn prepare_jobs(
        &self,
        new_jobs: &mut [NewJob],
    ) -> Result<Option<MutexGuard<'_, Jobs>>, StoreError> {
        if new_jobs.is_empty() {
            return Ok(None);
        }
        let mut jobs = self.scheduling.lock();
        let now_ms = self.clock.wall_ms();
        for job in new_jobs {
            job.due_ms = job.schedule.first_ms(now_ms);
            self.define_schedule(&mut jobs, &job.cell, &job.owner)?;
        }
        Ok(Some(jobs))
    }

    /// Takes jobs in that the journal has at `places`, or that there is no journal for.
    pub(super) fn adopt_jobs(
        &self,
        jobs: &mut Jobs,
        new_jobs: &mut Vec<NewJob>,
        places: Vec<Option<Locator>>,
        work: &mut Work,
    ) {
        let places = places.into_iter().chain(std::iter::repeat(None));
        for (job, at) in new_jobs.drain(..).zip(places) {
            self.adopt_job(jobs, job, at, work);
        }
    }

    /// Takes one job in. The one whose key it has goes; should a crash come before that is written, a start finds both,
    /// and the later one wins again.
    fn adopt_job(&self, jobs: &mut Jobs, job: NewJob, at: Option<Locator>, work: &mut Work) {
        let Some(due_ms) = job.due_ms else {
            // A cron expression whose last instant has passed.
            return;
        };
        let NewJob {
            cell,
            number,
            mut message,
            schedule,
            owner,
            ..
        } = job;
        let (_, owner) = self.target(jobs, &cell, &owner);
        let bytes = u32::try_from(message.size()).unwrap_or(u32::MAX);
        let message = at.is_none().then(|| {
            message.unpin();
            self.memory.charge(message.memory_bytes());
            Arc::new(message)
        });
        let replaced = jobs.scheduler.add(
            number,
            Job {
                due_ms,
                at,
                message,
                schedule: (!schedule.is_plain()).then(|| Box::new(schedule)),
                destination: cell.id.0,
                owner,
                bytes,
            },
        );
        self.forget_jobs(jobs, replaced.as_slice(), work);
        if jobs.scheduler.next_due_ms() == Some(due_ms) {
            self.scheduling.changed.notify_all();
        }
    }

    /// The schedule of a destination, known to the journal from now on.
    fn define_schedule(
        &self,
        jobs: &mut Jobs,
        cell: &Arc<Cell>,
        owner: &str,
    ) -> Result<(), StoreError> {
        let (target, _) = self.target(jobs, cell, owner);
        if let (Some(store), false) = (&self.store, target.defined) {
            let (kind, name) = job_records::schedule_name(&cell.destination, owner);
            let id = target.id;
            store.append(|batch| batch.define_destination(id, kind, &name))?;
            target.defined = true;
        }
        Ok(())
    }

    /// The schedule of a user for a destination, and the number of the user.
    fn target<'j>(
        &self,
        jobs: &'j mut Jobs,
        cell: &Arc<Cell>,
        owner: &str,
    ) -> (&'j mut Target, u32) {
        let (number, owner) = jobs.owner(owner);
        let target = jobs.targets.entry((cell.id.0, number));
        let target = target.or_insert_with(|| Target {
            cell: Arc::clone(cell),
            owner,
            id: self.registry.next_id(),
            defined: false,
        });
        (target, number)
    }

    /// Removes a job that `may` be managed; `work.ticket` covers it. Returns false if there is none (SCH-8).
    ///
    /// # Errors
    /// It may not.
    pub fn remove_job(
        &self,
        number: u64,
        may: &MayManage<'_>,
        work: &mut Work,
    ) -> Result<bool, NotYours> {
        let mut jobs = self.scheduling.lock();
        if !jobs.may_manage(number, may) {
            return Err(NotYours);
        }
        let removed = jobs.scheduler.remove(number);
        let known = removed.is_some();
        self.forget_jobs(&jobs, removed.as_slice(), work);
        Ok(known)
    }

    /// Removes the job with this key on this destination. Returns false if there is none (SCH-9).
    pub fn remove_job_by_key(&self, cell: &Cell, key: &str, work: &mut Work) -> bool {
        let number = self.scheduling.lock().scheduler.by_key(cell.id.0, key);
        let anybody = |_: &Destination, _: &str| true;
        number.is_some_and(|number| self.remove_job(number, &anybody, work) == Ok(true))
    }

    /// Removes the jobs due in `range` that `may` be managed (SCH-8).
    pub fn remove_jobs(&self, range: &RangeInclusive<u64>, may: &MayManage<'_>, work: &mut Work) {
        let mut jobs = self.scheduling.lock();
        let numbers = jobs.scheduler.between(range);
        let removed: Vec<Removed> = numbers
            .into_iter()
            .filter(|number| jobs.may_manage(*number, may))
            .collect::<Vec<_>>()
            .into_iter()
            .filter_map(|number| jobs.scheduler.remove(number))
            .collect();
        self.forget_jobs(&jobs, &removed, work);
    }

    /// Asks for copies of the jobs due in `range` that `may` be managed, to be sent to `reply`. Returns false if too many
    /// ask (SCH-8).
    pub fn browse_jobs(
        &self,
        range: RangeInclusive<u64>,
        reply: &Arc<Cell>,
        may: Box<MayManage<'static>>,
    ) -> bool {
        let mut jobs = self.scheduling.lock();
        if jobs.browses.len() >= BROWSES_MAX {
            return false;
        }
        jobs.browses.push_back(Browse {
            range,
            reply: Arc::clone(reply),
            may,
        });
        self.scheduling.changed.notify_all();
        true
    }

    /// Removes the records of jobs that are gone.
    pub(super) fn forget_jobs(&self, jobs: &Jobs, removed: &[Removed], work: &mut Work) {
        for message in removed
            .iter()
            .filter_map(|removed| removed.message.as_ref())
        {
            self.memory.release(message.memory_bytes());
        }
        let Some(store) = &self.store else { return };
        for (id, removed) in jobs.by_schedule(removed) {
            for removed in removed.chunks(REMOVALS_MAX) {
                match store.append(|batch| batch.remove(id, removed)) {
                    Ok(((), ticket)) => work.ticket = work.ticket.max(Some(ticket)),
                    // The journal is dead and the broker is stopping.
                    Err(error) => tracing::debug!(%error, "removals of jobs not recorded"),
                }
            }
        }
    }
}

impl Jobs {
    /// The number of a user, and its name.
    pub(super) fn owner(&mut self, name: &str) -> (u32, Arc<str>) {
        if name.is_empty() {
            return (0, Arc::default());
        }
        let next = u32::try_from(self.owners.len() + 1).unwrap_or(u32::MAX);
        if let Some((known, number)) = self.owners.get_key_value(name) {
            return (*number, Arc::clone(known));
        }
        let name: Arc<str> = name.into();
        self.owners.insert(Arc::clone(&name), next);
        (next, name)
    }

    pub(super) fn target_of(&self, job: &Job) -> Option<&Target> {
        self.targets.get(&(job.destination, job.owner))
    }

    /// Whether a job may be managed; one that is not there may.
    pub(super) fn may_manage(&self, number: u64, may: &MayManage<'_>) -> bool {
        let target = self
            .scheduler
            .get(number)
            .and_then(|job| self.target_of(&job));
        target.is_none_or(|target| may(&target.cell.destination, &target.owner))
    }

    /// Writes a job in a transaction: the message, and the job that refers to it.
    pub(super) fn write(&self, batch: &mut Batch<'_>, job: &NewJob) -> Option<Locator> {
        let due_ms = job.due_ms?;
        let owner = self.owners.get(&*job.owner).copied().unwrap_or(0);
        let schedule = self.targets.get(&(job.cell.id.0, owner))?.id;
        let target = (schedule, job.number);
        let body = records::add(batch, &[target], &job.message);
        let more = (!job.schedule.is_plain()).then_some(&job.schedule);
        let at = job_records::place(batch, target, body, &job.message, (due_ms, more));
        batch.remove(schedule, &[(job.number, body)]);
        Some(records::from_store(at))
    }

    fn by_schedule(
        &self,
        removed: &[Removed],
    ) -> HashMap<DestinationId, Vec<(u64, ferrymq_store::Locator)>> {
        let mut found: HashMap<_, Vec<_>> = HashMap::new();
        for removed in removed {
            if let (Some(at), Some(target)) = (
                removed.at,
                self.targets.get(&(removed.destination, removed.owner)),
            ) {
                let entry = (removed.number, records::to_store(at));
                found.entry(target.id).or_default().push(entry);
            }
        }
        found
    }
}

/// Whether everything up to `at` can be read; waits for the sync that covers it.
pub(super) fn wait_readable(store: &Store, at: Locator) -> Result<(), StoreError> {
    if store.durable_through().map(records::from_store) >= Some(at) {
        return Ok(());
    }
    let ((), ticket) = store.append(|_| ())?;
    store.wait(ticket)
}

//! The scheduler: messages that are delivered later, again and again, or by cron (SCH-1 to SCH-9).
//!
//! A pure machine: time comes in, and what is due comes out. Who drives it journals each change, so that a job is
//! neither lost nor fired twice.
//!
//! - A plain delayed message costs 14 octets in a log, as long as it lies cold, and next to nothing beside; its body is in the store.
//! - A job is in one place: waiting, or in the hands of who fires it. What is removed meanwhile does not come back.

mod agenda;
mod cold;
pub mod cron;
mod schedule;

use std::collections::HashMap;
use std::ops::RangeInclusive;
use std::sync::Arc;

use agenda::Agenda;
pub use schedule::{CronRule, Firing, REPEAT_MAX, Repeat, Schedule, ScheduleError, Series};

use super::log::{Log, Seen};
use super::message::{Locator, Message};

/// A scheduled message.
#[derive(Clone, Debug)]
pub struct Job {
    /// When it is due, milliseconds since 1970.
    pub due_ms: u64,
    /// Where the journal keeps it.
    pub at: Option<Locator>,
    /// The message, if there is no journal.
    pub message: Option<Arc<Message>>,
    /// What there is beside the time; `None` for a plain delayed message.
    pub schedule: Option<Box<Schedule>>,
    /// The number of its destination.
    pub destination: u32,
    /// The number of who scheduled it; 0 for nobody known.
    pub owner: u32,
    /// Octets of its message.
    pub bytes: u32,
}

/// A job that is due, in the hands of who fires it.
#[derive(Clone, Debug)]
pub struct Due {
    /// Its number.
    pub number: u64,
    /// The job.
    pub job: Job,
}

/// A job that is gone, so that its record can go.
#[derive(Clone, Debug)]
pub struct Removed {
    /// Its number.
    pub number: u64,
    /// Where the journal keeps it.
    pub at: Option<Locator>,
    /// The message it held.
    pub message: Option<Arc<Message>>,
    /// The number of its destination.
    pub destination: u32,
    /// The number of who scheduled it.
    pub owner: u32,
}

/// All jobs.
#[derive(Debug)]
pub struct Scheduler {
    jobs: Log<Job>,
    agenda: Agenda,
    /// Jobs with a key, by destination and key (SCH-9).
    keys: HashMap<(u32, Box<str>), u64>,
    next_number: u64,
    /// Octets of the messages of all jobs.
    bytes: u64,
}

impl Default for Scheduler {
    fn default() -> Self {
        Self::new(1)
    }
}

impl Scheduler {
    /// A scheduler whose next job gets `next_number`.
    #[must_use]
    pub fn new(next_number: u64) -> Self {
        Self {
            jobs: Log::default(),
            agenda: Agenda::default(),
            keys: HashMap::new(),
            next_number,
            bytes: 0,
        }
    }

    /// A number that no other job ever has.
    pub fn reserve(&mut self) -> u64 {
        self.next_number += 1;
        self.next_number - 1
    }

    /// Numbers below `number` are taken.
    pub fn skip_to(&mut self, number: u64) {
        self.next_number = self.next_number.max(number);
    }

    /// How many jobs there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.jobs.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.jobs.is_empty()
    }

    /// Octets of the messages of all jobs.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The job that a new one with this key on this destination would replace.
    #[must_use]
    pub fn by_key(&self, destination: u32, key: &str) -> Option<u64> {
        self.keys.get(&(destination, key.into())).copied()
    }

    /// The job `number`.
    #[must_use]
    pub fn get(&self, number: u64) -> Option<Seen<'_, Job>> {
        self.jobs.get(number)
    }

    /// Adds a job under a reserved number. Returns the one it replaces by its key.
    pub fn add(&mut self, number: u64, job: Job) -> Option<Removed> {
        self.next_number = self.next_number.max(number + 1);
        let key = job.schedule.as_ref().and_then(|schedule| {
            let key = schedule.key.clone()?;
            Some((job.destination, key))
        });
        let replaced = key.and_then(|key| self.keys.insert(key, number));
        let replaced = replaced
            .filter(|replaced| *replaced != number)
            .and_then(|replaced| self.take(replaced));
        self.put(number, job);
        replaced
    }

    /// Puts a job at its number, in place of what it was.
    fn put(&mut self, number: u64, job: Job) {
        let (bytes, due_ms) = (job.bytes, job.due_ms);
        self.bytes += u64::from(bytes);
        match self.jobs.insert(number, job) {
            Some(before) => {
                self.bytes -= u64::from(before.bytes);
                self.agenda.change(&self.jobs, number);
            }
            None => self.agenda.add(number, due_ms),
        }
    }

    /// Removes a job.
    pub fn remove(&mut self, number: u64) -> Option<Removed> {
        let key = self.key_of(number);
        if let Some(key) = key {
            self.keys.remove(&key);
        }
        self.take(number)
    }

    /// When the next job is due.
    pub fn next_due_ms(&mut self) -> Option<u64> {
        self.agenda.next_ms()
    }

    /// Hands out jobs that are due at `now_ms`, the earliest first, `max` at most. Each must come back by
    /// [`Scheduler::fired`] or [`Scheduler::put_back`].
    pub fn take_due(&mut self, now_ms: u64, max: usize, out: &mut Vec<Due>) {
        while out.len() < max
            && let Some(number) = self.agenda.take(&self.jobs, now_ms)
            && let Some(job) = self.jobs.get(number)
        {
            let job = job.clone();
            out.push(Due { number, job });
        }
    }

    /// A job was fired: it goes on as `next`, or is done. Returns false if it was removed meanwhile, and `next` must
    /// not stay.
    pub fn fired(&mut self, number: u64, next: Option<Job>) -> bool {
        if self.jobs.get(number).is_none() {
            return false;
        }
        match next {
            Some(job) => self.put(number, job),
            None => drop(self.remove(number)),
        }
        true
    }

    /// A job could not be fired: it is due again at `due_ms`.
    pub fn put_back(&mut self, number: u64, due_ms: u64) {
        if let Some(job) = self.jobs.get_mut(number) {
            job.due_ms = due_ms;
            self.agenda.change(&self.jobs, number);
        }
    }

    /// The jobs due in `range`, the earliest first (SCH-8).
    #[must_use]
    pub fn between(&self, range: &RangeInclusive<u64>) -> Vec<u64> {
        let mut found: Vec<(u64, u64)> = self
            .jobs
            .iter()
            .filter(|(_, job)| range.contains(&job.due_ms))
            .map(|(number, job)| (job.due_ms, number))
            .collect();
        found.sort_unstable();
        found.into_iter().map(|(_, number)| number).collect()
    }

    fn key_of(&self, number: u64) -> Option<(u32, Box<str>)> {
        let job = self.jobs.get(number)?;
        let key = job.schedule.as_ref()?.key.clone()?;
        Some((job.destination, key))
    }

    fn take(&mut self, number: u64) -> Option<Removed> {
        let job = self.jobs.remove(number)?;
        self.bytes -= u64::from(job.bytes);
        self.agenda.change(&self.jobs, number);
        Some(Removed {
            number,
            at: job.at,
            message: job.message,
            destination: job.destination,
            owner: job.owner,
        })
    }
}

#[cfg(test)]
mod tests;

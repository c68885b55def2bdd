//! When jobs are due, in little memory: one entry for 64 numbers that follow each other, by the earliest of their jobs.
//!
//! Who asks for what is due looks through the 64. An entry that is not the earliest of its run any more is passed over; when those
//! are the most, the heap is rebuilt.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet};

use super::Job;
use crate::broker::log::Log;

/// Numbers of one run.
const RUN: u64 = 64;
/// Entries of the heap that are passed over and not worth a look.
const STALE_MIN: usize = 1024;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Agenda {
    /// When the earliest waiting job of a run is due, and the run.
    heap: BinaryHeap<Reverse<(u64, u64)>>,
    /// The entry of each run with a waiting job that holds.
    earliest: HashMap<u64, u64>,
    /// Jobs in the hands of who fires them: not waiting.
    taken: HashSet<u64>,
}

impl Agenda {
    /// A job that is due at `due_ms` waits at a number where none did.
    pub(super) fn add(&mut self, number: u64, due_ms: u64) {
        let run = number / RUN;
        if self.earliest.get(&run).is_none_or(|known| due_ms < *known) {
            self.set(run, Some(due_ms));
        }
    }

    /// The job at `number` is another, gone, or waits again.
    pub(super) fn change(&mut self, jobs: &Log<Job>, number: u64) {
        self.taken.remove(&number);
        self.look(jobs, number / RUN);
    }

    /// When the next job is due.
    pub(super) fn next_ms(&mut self) -> Option<u64> {
        loop {
            let Reverse((due_ms, run)) = *self.heap.peek()?;
            if self.earliest.get(&run) == Some(&due_ms) {
                return Some(due_ms);
            }
            self.heap.pop();
        }
    }

    /// Takes the first job that is due at `now_ms`; of those that are due at the same time that of the lowest number.
    pub(super) fn take(&mut self, jobs: &Log<Job>, now_ms: u64) -> Option<u64> {
        let due_ms = self.next_ms().filter(|due_ms| *due_ms <= now_ms)?;
        let Reverse((_, run)) = *self.heap.peek()?;
        let found = self.waiting(jobs, run).find(|(_, due)| *due == due_ms);
        let number = found.map(|(number, _)| number);
        self.taken.extend(number);
        self.look(jobs, run);
        number
    }

    /// Finds out which job of a run is the earliest.
    fn look(&mut self, jobs: &Log<Job>, run: u64) {
        let earliest = self.waiting(jobs, run).map(|(_, due_ms)| due_ms).min();
        if self.earliest.get(&run) != earliest.as_ref() {
            self.set(run, earliest);
        }
    }

    fn set(&mut self, run: u64, earliest: Option<u64>) {
        match earliest {
            Some(due_ms) => {
                self.earliest.insert(run, due_ms);
                self.heap.push(Reverse((due_ms, run)));
            }
            None => drop(self.earliest.remove(&run)),
        }
        if self.heap.len() > STALE_MIN.max(2 * self.earliest.len()) {
            let earliest = &self.earliest;
            self.heap
                .retain(|Reverse((due_ms, run))| earliest.get(run) == Some(due_ms));
            self.heap.shrink_to(2 * self.heap.len());
        }
    }

    /// Numbers of the waiting jobs of a run, rising, and when each is due.
    fn waiting(&self, jobs: &Log<Job>, run: u64) -> impl Iterator<Item = (u64, u64)> {
        let numbers = run * RUN..(run + 1) * RUN;
        numbers.filter_map(|number| {
            let job = jobs.get(number)?;
            (!self.taken.contains(&number)).then(|| (number, job.due_ms))
        })
    }

    /// Entries of the heap.
    #[cfg(test)]
    pub(super) fn entries(&self) -> usize {
        self.heap.len()
    }
}

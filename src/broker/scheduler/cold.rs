//! Plain delayed messages in little memory: what 64 of them have in common is said once.
//!
//! They lie in the journal near each other, and differ in size and in when they are due: 12 octets each, where a job that is
//! looked at has 56.

use std::num::NonZeroU64;

use super::Job;
use crate::broker::log::Chill;
use crate::broker::message::Locator;

/// Places in the journal are multiples of this.
const STEP: u64 = 32;

/// The jobs of one chunk.
#[derive(Debug)]
pub struct ColdJobs {
    /// Which slots are filled.
    filled: u64,
    /// The lowest place.
    base: NonZeroU64,
    /// When the first of them is due.
    due_ms: u64,
    destination: u32,
    owner: u32,
    /// Of each filled slot in order: distance of its place from `base` in steps, milliseconds after `due_ms`, octets.
    jobs: Box<[(u32, u32, u32)]>,
}

impl ColdJobs {
    /// The jobs in less memory; `None` if one of them is more than a plain delayed message in the journal, is another's or
    /// goes elsewhere than the others, or lies or is due too far away.
    fn new(slots: &[Option<Job>]) -> Option<Self> {
        let held = || slots.iter().flatten();
        let &Job {
            destination, owner, ..
        } = held().next()?;
        let base = held().map(|job| job.at).min().flatten()?.0;
        let due_ms = held().map(|job| job.due_ms).min()?;
        let (mut filled, mut jobs) = (0_u64, Vec::with_capacity(held().count()));
        for (slot, job) in slots.iter().enumerate() {
            let Some(job) = job else { continue };
            // All fields are named, so that none is forgotten.
            let Job {
                due_ms: due,
                at: Some(Locator(at)),
                message: None,
                schedule: None,
                destination: to,
                owner: by,
                bytes,
            } = job
            else {
                return None;
            };
            let distance = at.get() - base.get();
            if (*to, *by) != (destination, owner) || !distance.is_multiple_of(STEP) {
                return None;
            }
            let distance = u32::try_from(distance / STEP).ok()?;
            jobs.push((distance, u32::try_from(due - due_ms).ok()?, *bytes));
            filled |= 1 << slot;
        }
        Some(Self {
            filled,
            base,
            due_ms,
            destination,
            owner,
            jobs: jobs.into(),
        })
    }

    fn get(&self, slot: usize) -> Job {
        let before = self.filled & !(u64::MAX << slot);
        let (distance, after_ms, bytes) = self.jobs[before.count_ones() as usize];
        let at = self.base.saturating_add(u64::from(distance) * STEP);
        Job {
            due_ms: self.due_ms + u64::from(after_ms),
            at: Some(Locator(at)),
            message: None,
            schedule: None,
            destination: self.destination,
            owner: self.owner,
            bytes,
        }
    }
}

impl Chill for Job {
    type Cold = ColdJobs;

    fn chill(slots: &[Option<Self>]) -> Option<ColdJobs> {
        ColdJobs::new(slots)
    }

    fn thawed(cold: &ColdJobs, slot: usize) -> Self {
        cold.get(slot)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::scheduler::Schedule;

    fn plain(at: u64, due_ms: u64) -> Job {
        Job {
            due_ms,
            at: Some(Locator(NonZeroU64::new(at).expect("not zero"))),
            message: None,
            schedule: None,
            destination: 7,
            owner: 3,
            bytes: 100,
        }
    }

    #[test]
    fn plain_jobs_come_back_as_they_were() {
        let mut slots: Vec<Option<Job>> = (0..64)
            .map(|slot| Some(plain((7 << 32) + slot * 320, 900 - slot)))
            .collect();
        slots[3] = None;
        let cold = Job::chill(&slots).expect("they are plain");
        assert_eq!(size_of_val(&*cold.jobs), 63 * 12);
        assert!(size_of::<ColdJobs>() <= 48, "{}", size_of::<ColdJobs>());
        for (slot, job) in slots.iter().enumerate() {
            let Some(job) = job else { continue };
            assert_eq!(
                format!("{job:?}"),
                format!("{:?}", Job::thawed(&cold, slot))
            );
        }
    }

    #[test]
    fn what_differs_stays_as_it_is() {
        let near = || Some(plain(1 << 32, 5));
        let elsewhere = Job {
            destination: 8,
            ..plain(1 << 32, 5)
        };
        let anothers = Job {
            owner: 4,
            ..plain(1 << 32, 5)
        };
        let repeated = Job {
            schedule: Some(Box::new(
                Schedule::from_numbers(1, 2, 3).expect("a schedule"),
            )),
            ..plain(1 << 32, 5)
        };
        for other in [
            plain((1 << 32) + 1, 5),
            plain(200 << 32, 5),
            plain(1 << 32, 5 + (1 << 32)),
            elsewhere,
            anothers,
            repeated,
        ] {
            assert!(Job::chill(&[near(), Some(other)]).is_none());
        }
        assert!(Job::chill(&[near(), None, near()]).is_some());
        assert!(Job::chill(&[None]).is_none());
    }
}

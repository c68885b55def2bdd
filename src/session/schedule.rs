//! Messages that this connection schedules, and jobs it removes (SCH-6 to SCH-9).

use std::ops::RangeInclusive;

use super::once::Once;
use super::state::{Answer, Session};
use crate::engine::StoreError;
use crate::engine::cell::Cell;
use crate::engine::commit::Transaction;
use crate::engine::schedule::{MayManage, NewJob, NotYours};

/// Jobs to be removed.
pub enum Cancel<'a> {
    /// By number, if it may be managed.
    Job(u64, &'a MayManage<'a>),
    /// By destination and key.
    Key(&'a Cell, &'a str),
    /// Those due in a range of time, milliseconds since 1970, that may be managed.
    Due(RangeInclusive<u64>, &'a MayManage<'a>),
}

impl Session {
    /// Schedules a message; the answer waits until the job is durable. The batch has been handed over before.
    ///
    /// # Errors
    /// The store is full or dead; nothing was taken.
    pub fn schedule(&mut self, job: NewJob, answer: Answer<'_>) -> Result<(), StoreError> {
        self.work.take_ticket();
        self.engine.schedule(job, &mut self.work)?;
        let ticket = self.work.take_ticket();
        self.reply(ticket, answer);
        Ok(())
    }

    /// The same, unless the message comes again (SND-6): then nothing is scheduled and the answer is `once.again`.
    ///
    /// # Errors
    /// As [`Session::schedule`].
    pub fn schedule_once(
        &mut self,
        job: NewJob,
        once: Once<'_>,
        answer: Answer<'_>,
    ) -> Result<(), StoreError> {
        self.work.take_ticket();
        let mut transaction = Transaction::default();
        transaction.schedule_once(job, once.id);
        let committed = self.engine.commit_admitted(transaction, &mut self.work);
        let again = committed.map_err(|(_, error)| error)?;
        let ticket = self.work.take_ticket();
        self.reply(
            ticket,
            if again.contains(&true) {
                once.again
            } else {
                answer
            },
        );
        Ok(())
    }

    /// Removes jobs; the answer waits until that is durable. What is not there is removed already.
    ///
    /// # Errors
    /// The one that is named may not be managed.
    pub fn cancel(&mut self, what: &Cancel<'_>, answer: Answer<'_>) -> Result<(), NotYours> {
        self.work.take_ticket();
        match what {
            Cancel::Job(number, may) => {
                self.engine.remove_job(*number, *may, &mut self.work)?;
            }
            Cancel::Key(cell, key) => {
                self.engine.remove_job_by_key(cell, key, &mut self.work);
            }
            Cancel::Due(range, may) => self.engine.remove_jobs(range, *may, &mut self.work),
        }
        let ticket = self.work.take_ticket();
        self.reply(ticket, answer);
        Ok(())
    }
}

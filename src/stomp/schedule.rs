//! SENDs that speak to the scheduler (SCH-1 to SCH-9).

use std::sync::Arc;

use bytes::Bytes;
use ferrymq_protocols::stomp::{ScheduleHeaders, SchedulerAction, Send};

use super::adapter::{State, Step};
use super::reply::Refusal;
use super::send::Stamps;
use super::{access, send};
use crate::broker::Destination;
use crate::broker::governor::Cause;
use crate::broker::scheduler::Schedule;
use crate::engine::StoreError;
use crate::engine::job_records::cron_rule;
use crate::engine::schedule::{NewJob, NotYours};
use crate::security::{Access, Right};
use crate::session::{Cancel, Once, Session};

/// Where jobs are managed (SCH-8).
const MANAGEMENT: &str = "ActiveMQ.Scheduler.Management";
const JOB_PREFIX: &str = "job-";

/// What `scheduledJobId` says of the job `number`.
pub(super) fn job_id(number: u64) -> String {
    format!("{JOB_PREFIX}{number}")
}

impl State {
    /// Schedules a message, or does what is asked of the scheduler. `None`: the message is one like any other.
    pub(super) fn send_to_scheduler(
        &mut self,
        session: &mut Session,
        send: &Send<'_>,
        octets: &Bytes,
        raw: &[u8],
    ) -> Result<Option<Step>, Refusal> {
        if let Some(action) = send.scheduler_action()? {
            self.act(session, send, &action)?;
            return Ok(Some(Step::Done));
        }
        let Some(wanted) = send.schedule()? else {
            return Ok(None);
        };
        let schedule = schedule(&wanted)?;
        let cell = self.resolve_one(session, &send.destination)?;
        if cell.destination.is_temporary() {
            return Err(Refusal::frame(
                "cannot schedule a message for a temporary destination, which may be gone by then",
            ));
        }
        let (bytes, in_transaction) = (raw.len() as u64, send.transaction.is_some());
        self.check_bytes(&session.engine, bytes)?;
        session.hand_over();
        let cells = std::slice::from_ref(&cell);
        let mut causes = match self.is_forced() {
            true => Vec::new(),
            false => session.engine.room_for_job(bytes, in_transaction),
        };
        if causes.is_empty() && !in_transaction && session.has_stalled_for(cells) {
            causes.push(Cause::Behind);
        }
        if !causes.is_empty() {
            return self.park_for(session, send, raw, (cells, causes)).map(Some);
        }
        let number = session.engine.reserve_job();
        let reply_to = self.remote_reply_to(session, send)?;
        let stamps = Stamps {
            user_id: self.user_id(),
            job: Some(number),
            reply_to: reply_to.as_deref(),
        };
        let message = send::build(session, send, octets, stamps);
        let owner = self.access.as_ref().and_then(Access::proven_user);
        let to = Arc::clone(&cell);
        let job = NewJob::new(cell, number, message, schedule).of(owner.unwrap_or_default());
        if let Some(transaction) = &send.transaction {
            session
                .schedule_in(transaction, job, send::dedup_id(send))
                .map_err(|error| Refusal::frame(error.to_string()))?;
            self.answer(send.receipt.as_deref(), |answer| {
                session.reply(None, answer)
            });
            return Ok(Some(Step::Done));
        }
        let again = self.answer_again(send);
        let once = send::dedup_id(send).map(|id| Once { id, again: &again });
        let scheduled = self.answer(send.receipt.as_deref(), |answer| match once {
            None => session.schedule(job, answer),
            Some(once) => session.schedule_once(job, once, answer),
        });
        Ok(Some(match scheduled {
            Ok(()) => Step::Done,
            Err(StoreError::Full) => {
                let causes = session.engine.store_shortage().into_iter().collect();
                return self.park_for(session, send, raw, (&[to], causes)).map(Some);
            }
            Err(error) => {
                // The journal is dead and the broker is stopping; no receipt goes out.
                tracing::debug!(%error, "job not stored");
                session.outbox.close();
                Step::Done
            }
        }))
    }

    /// Does what is asked of the scheduler itself (SCH-8, SCH-9).
    fn act(
        &mut self,
        session: &mut Session,
        send: &Send<'_>,
        action: &SchedulerAction<'_>,
    ) -> Result<(), Refusal> {
        if send.transaction.is_some() {
            return Err(Refusal::frame(
                "AMQ_SCHEDULER_ACTION cannot be part of a transaction",
            ));
        }
        session.hand_over();
        let manages = is_management(&send.destination);
        if let SchedulerAction::RemoveKey { key } = action {
            if manages || !send.body.is_empty() {
                return Err(Refusal::frame(
                    "AMQ_SCHEDULER_ACTION:REMOVE with AMQ_SCHEDULED_KEY goes to the destination of the message, \
                     without a body",
                ));
            }
            let cell = self.resolve_one(session, &send.destination)?;
            return self.cancel(session, send, &Cancel::Key(&cell, key));
        }
        if !manages {
            return Err(Refusal::frame(format!(
                "AMQ_SCHEDULER_ACTION goes to /topic/{MANAGEMENT}"
            )));
        }
        let management = Destination::topic(MANAGEMENT);
        access::check(self.access.as_ref(), Right::Write, &management)?;
        let Some(rights) = self.access.as_ref().map(Access::rights) else {
            return Err(Refusal::connection("Not connected"));
        };
        let may =
            move |destination: &Destination, owner: &str| rights.may_manage(destination, owner);
        match action {
            SchedulerAction::Browse {
                from_ms,
                to_ms,
                reply_to,
            } => {
                let Some(reply_to) = reply_to else {
                    return Err(Refusal::frame(
                        "AMQ_SCHEDULER_ACTION:BROWSE needs a reply-to",
                    ));
                };
                let reply = self.resolve_one(session, reply_to)?;
                let range = *from_ms..=*to_ms;
                if !session.engine.browse_jobs(range, &reply, Box::new(may)) {
                    return Err(Refusal::frame("too many ask for scheduled jobs already"));
                }
                self.answer(send.receipt.as_deref(), |answer| {
                    session.reply(None, answer)
                });
            }
            SchedulerAction::Remove { job } => {
                // What is no job of ours is removed already.
                let number = job
                    .strip_prefix(JOB_PREFIX)
                    .and_then(|job| job.parse().ok());
                self.cancel(session, send, &Cancel::Job(number.unwrap_or(0), &may))?;
            }
            SchedulerAction::RemoveAll { from_ms, to_ms } => {
                self.cancel(session, send, &Cancel::Due(*from_ms..=*to_ms, &may))?;
            }
            SchedulerAction::RemoveKey { .. } => unreachable!("handled above"),
            SchedulerAction::RemoveNothing => {
                return Err(Refusal::frame(
                    "AMQ_SCHEDULER_ACTION:REMOVE needs a scheduledJobId",
                ));
            }
            SchedulerAction::Unknown(action) => {
                return Err(Refusal::frame(format!(
                    "AMQ_SCHEDULER_ACTION must be BROWSE, REMOVE or REMOVEALL, not '{action}'"
                )));
            }
        }
        Ok(())
    }

    fn cancel(
        &mut self,
        session: &mut Session,
        send: &Send<'_>,
        what: &Cancel<'_>,
    ) -> Result<(), Refusal> {
        let cancelled = self.answer(send.receipt.as_deref(), |answer| {
            session.cancel(what, answer)
        });
        cancelled.map_err(|NotYours| {
            let user = self.access.as_ref().map_or("", Access::user);
            Refusal::frame(format!(
                "User {user} is not authorized to remove this job: another user has scheduled it, and that takes the right \
                 to remove its destination"
            ))
        })
    }
}

fn is_management(destination: &str) -> bool {
    ["/topic/", "topic://"]
        .iter()
        .any(|prefix| destination.strip_prefix(prefix) == Some(MANAGEMENT))
}

/// What the headers mean (SCH-2, SCH-3).
fn schedule(wanted: &ScheduleHeaders<'_>) -> Result<Schedule, Refusal> {
    let refuse = |error: &dyn std::error::Error| Refusal::frame(error.to_string());
    let mut schedule = Schedule::from_numbers(wanted.delay_ms, wanted.period_ms, wanted.repeat)
        .map_err(|error| refuse(&error))?;
    if let Some(cron) = &wanted.cron {
        let zone = wanted.zone.as_deref().unwrap_or_default();
        schedule = schedule.by_cron(cron_rule(cron, zone).map_err(|error| refuse(&error))?);
    }
    schedule.key = wanted.key.as_deref().map(Into::into);
    Ok(schedule)
}

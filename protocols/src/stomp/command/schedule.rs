//! The headers of a SEND that speak to the scheduler. Spec: behaviour.md section 11.6, SCH-1, SCH-8, SCH-9.

use std::borrow::Cow;

use super::super::fault::FrameFault;
use super::super::known::{Known, set};
use super::{Send, integer, natural, non_empty};

/// Any of these makes a SEND a matter of the scheduler.
const SCHEDULED: u128 = set(&[
    Known::ScheduledDelay,
    Known::ScheduledPeriod,
    Known::ScheduledRepeat,
    Known::ScheduledCron,
    Known::SchedulerAction,
]);

/// When a message wants to be delivered; numbers as they came.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScheduleHeaders<'a> {
    /// `AMQ_SCHEDULED_DELAY`, milliseconds.
    pub delay_ms: i64,
    /// `AMQ_SCHEDULED_PERIOD`, milliseconds.
    pub period_ms: i64,
    /// `AMQ_SCHEDULED_REPEAT`; -1 without end.
    pub repeat: i64,
    /// `AMQ_SCHEDULED_CRON`; a blank one counts as none.
    pub cron: Option<Cow<'a, str>>,
    /// `AMQ_SCHEDULED_CRON_TZ`, an IANA name.
    pub zone: Option<Cow<'a, str>>,
    /// `AMQ_SCHEDULED_KEY`.
    pub key: Option<Cow<'a, str>>,
}

/// `AMQ_SCHEDULER_ACTION` with what belongs to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SchedulerAction<'a> {
    /// `BROWSE`: jobs of this range of time are sent to `reply-to`.
    Browse {
        /// `ACTION_START_TIME`, milliseconds since 1970.
        from_ms: u64,
        /// `ACTION_END_TIME`, inclusive.
        to_ms: u64,
        /// `reply-to`.
        reply_to: Option<Cow<'a, str>>,
    },
    /// `REMOVE` with `scheduledJobId`.
    Remove {
        /// The job.
        job: Cow<'a, str>,
    },
    /// `REMOVE` with `AMQ_SCHEDULED_KEY`.
    RemoveKey {
        /// The key.
        key: Cow<'a, str>,
    },
    /// `REMOVE` with neither.
    RemoveNothing,
    /// `REMOVEALL`: jobs of this range of time.
    RemoveAll {
        /// `ACTION_START_TIME`, milliseconds since 1970.
        from_ms: u64,
        /// `ACTION_END_TIME`, inclusive.
        to_ms: u64,
    },
    /// Anything else.
    Unknown(Cow<'a, str>),
}

impl<'a> Send<'a> {
    /// Whether the scheduler has to look at this SEND.
    #[inline]
    pub fn concerns_scheduler(&self) -> bool {
        self.headers.table.has_any(SCHEDULED)
    }

    /// What the message wants of the scheduler. `None`: nothing, or it has been there (SCH-5).
    ///
    /// # Errors
    /// If a number is none.
    pub fn schedule(&self) -> Result<Option<ScheduleHeaders<'a>>, FrameFault> {
        let headers = &self.headers;
        if !self.concerns_scheduler() || headers.has(Known::ScheduledJobId) {
            return Ok(None);
        }
        let number = |known| integer(headers, known).map(Option::unwrap_or_default);
        Ok(Some(ScheduleHeaders {
            delay_ms: number(Known::ScheduledDelay)?,
            period_ms: number(Known::ScheduledPeriod)?,
            repeat: number(Known::ScheduledRepeat)?,
            cron: non_empty(headers, Known::ScheduledCron),
            zone: non_empty(headers, Known::ScheduledCronTz),
            key: headers
                .get(Known::ScheduledKey)
                .filter(|key| !key.is_empty()),
        }))
    }

    /// What is asked of the scheduler itself. `None`: nothing.
    ///
    /// # Errors
    /// If a time is no number.
    pub fn scheduler_action(&self) -> Result<Option<SchedulerAction<'a>>, FrameFault> {
        let headers = &self.headers;
        let Some(action) = headers.get(Known::SchedulerAction) else {
            return Ok(None);
        };
        let range = || {
            let from_ms = natural(headers, Known::ActionStartTime)?.unwrap_or(0);
            let to_ms = natural(headers, Known::ActionEndTime)?.unwrap_or(u64::MAX);
            Ok((from_ms, to_ms))
        };
        Ok(Some(match action.trim() {
            "BROWSE" => {
                let (from_ms, to_ms) = range()?;
                SchedulerAction::Browse {
                    from_ms,
                    to_ms,
                    reply_to: non_empty(headers, Known::ReplyTo),
                }
            }
            "REMOVE" => match (
                headers.get(Known::ScheduledJobId),
                headers.get(Known::ScheduledKey),
            ) {
                (Some(job), _) => SchedulerAction::Remove { job },
                (None, Some(key)) => SchedulerAction::RemoveKey { key },
                (None, None) => SchedulerAction::RemoveNothing,
            },
            "REMOVEALL" => {
                let (from_ms, to_ms) = range()?;
                SchedulerAction::RemoveAll { from_ms, to_ms }
            }
            _ => SchedulerAction::Unknown(action),
        }))
    }
}

//! When a message is delivered: once later, several times, or by cron (SCH-2, SCH-3).

use std::fmt;
use std::num::NonZeroU64;

use super::cron::Cron;

/// Deliveries after the first one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repeat {
    /// So many.
    Times(u32),
    /// No end.
    Forever,
}

impl Repeat {
    /// What is left after one more delivery; `None` if that was the last.
    fn next(self) -> Option<Self> {
        match self {
            Self::Times(0) => None,
            Self::Times(left) => Some(Self::Times(left - 1)),
            Self::Forever => Some(Self::Forever),
        }
    }
}

/// Deliveries at equal distances.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Series {
    /// From one to the next.
    pub period_ms: NonZeroU64,
    /// How many follow the next one.
    pub repeat: Repeat,
}

/// A cron expression as it was given, and what it means.
#[derive(Clone, Debug, PartialEq)]
pub struct CronRule {
    /// The expression.
    pub text: Box<str>,
    /// Its time zone, an IANA name; empty for the broker's own.
    pub zone: Box<str>,
    /// What it means.
    pub cron: Cron,
}

/// What a message asks of the scheduler.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Schedule {
    /// Until the first delivery; with `cron` from each of its instants.
    pub delay_ms: u64,
    /// Further deliveries.
    pub series: Option<Series>,
    /// Starts a delivery, or a series, at each of its instants.
    pub cron: Option<Box<CronRule>>,
    /// A later message with the same key and destination takes its place (SCH-9).
    pub key: Option<Box<str>>,
    /// The message is delivered more than once, so each delivery gets a message id of its own (SCH-4).
    pub again: bool,
}

/// A schedule that cannot be carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScheduleError {
    /// More repeats than allowed.
    TooManyRepeats,
    /// A number below zero that may not be.
    Negative(&'static str),
    /// Repeats without end need a distance.
    EndlessWithoutPeriod,
}

impl fmt::Display for ScheduleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooManyRepeats => f.write_str("The scheduled repeat value is too large"),
            Self::Negative(what) => write!(f, "the scheduled {what} is below zero"),
            Self::EndlessWithoutPeriod => {
                f.write_str("a scheduled repeat of -1 needs a period above zero")
            }
        }
    }
}

impl std::error::Error for ScheduleError {}

/// Repeats a client may ask for (SCH-2).
pub const REPEAT_MAX: i64 = 1000;

impl Schedule {
    /// A schedule from the numbers that clients give: -1 repeats without end; a period alone means nothing.
    ///
    /// # Errors
    /// If one of them is out of range.
    pub fn from_numbers(delay_ms: i64, period_ms: i64, repeat: i64) -> Result<Self, ScheduleError> {
        let natural =
            |number, what| u64::try_from(number).map_err(|_| ScheduleError::Negative(what));
        let period_ms = NonZeroU64::new(natural(period_ms, "period")?);
        let repeat = match repeat {
            -1 => Repeat::Forever,
            0..=REPEAT_MAX => Repeat::Times(u32::try_from(repeat).unwrap_or(0)),
            ..-1 => return Err(ScheduleError::Negative("repeat")),
            _ => return Err(ScheduleError::TooManyRepeats),
        };
        let series = match (repeat, period_ms) {
            (Repeat::Times(0), _) => None,
            (Repeat::Forever, None) => return Err(ScheduleError::EndlessWithoutPeriod),
            // Without a distance they come as close as they can.
            (repeat, period_ms) => Some(Series {
                period_ms: period_ms.unwrap_or(NonZeroU64::MIN),
                repeat,
            }),
        };
        Ok(Self {
            delay_ms: natural(delay_ms, "delay")?,
            again: series.is_some(),
            series,
            ..Self::default()
        })
    }

    /// The same at each instant of `rule`.
    #[must_use]
    pub fn by_cron(self, rule: CronRule) -> Self {
        Self {
            cron: Some(Box::new(rule)),
            again: true,
            ..self
        }
    }

    /// When this is due for the first time if it is scheduled at `now_ms`. `None`: never.
    #[must_use]
    pub fn first_ms(&self, now_ms: u64) -> Option<u64> {
        match &self.cron {
            Some(rule) => rule.cron.next_after_ms(now_ms),
            None => Some(now_ms.saturating_add(self.delay_ms)),
        }
    }

    /// What happens when this is due at `due_ms` and it is `now_ms`.
    #[must_use]
    pub fn fire(&self, due_ms: u64, now_ms: u64) -> Firing {
        let Some(rule) = &self.cron else {
            return Firing {
                delivers: true,
                next: self.next_of_series(due_ms, now_ms),
                starts: None,
            };
        };
        // What was missed comes once.
        let next_ms = rule.cron.next_after_ms(now_ms.max(due_ms));
        let next = next_ms.map(|next_ms| (next_ms, self.clone()));
        if self.delay_ms == 0 && self.series.is_none() {
            return Firing {
                delivers: true,
                next,
                starts: None,
            };
        }
        let started = Self {
            series: self.series,
            again: true,
            ..Self::default()
        };
        Firing {
            delivers: false,
            next,
            starts: Some((due_ms.saturating_add(self.delay_ms), started)),
        }
    }

    /// Finite series deliver all they promised, however late; an endless one leaves out what was missed.
    fn next_of_series(&self, due_ms: u64, now_ms: u64) -> Option<(u64, Self)> {
        let Series { period_ms, repeat } = self.series?;
        let left = repeat.next()?;
        let mut next_ms = due_ms.saturating_add(period_ms.get());
        if repeat == Repeat::Forever && next_ms <= now_ms {
            let missed = (now_ms - due_ms) / period_ms;
            next_ms = due_ms.saturating_add((missed + 1).saturating_mul(period_ms.get()));
        }
        let series = (left != Repeat::Times(0)).then_some(Series {
            period_ms,
            repeat: left,
        });
        let rest = Self {
            series,
            ..self.clone()
        };
        Some((next_ms, rest))
    }

    /// Whether nothing but the time of its one delivery is to be remembered.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        !self.again && self.key.is_none()
    }
}

/// What a due job does.
#[derive(Clone, Debug, PartialEq)]
pub struct Firing {
    /// The message is delivered.
    pub delivers: bool,
    /// When the job is due again, and what is left of it. `None`: it is done.
    pub next: Option<(u64, Schedule)>,
    /// A job of its own that begins: when, and how it goes on.
    pub starts: Option<(u64, Schedule)>,
}

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZone;

    use super::*;

    /// All deliveries of a schedule made at `now_ms`, each fired `late_ms` too late, `count` of them at most.
    fn deliveries(schedule: Schedule, now_ms: u64, late_ms: u64, count: usize) -> Vec<u64> {
        let first_ms = schedule.first_ms(now_ms).unwrap();
        let mut jobs = vec![(first_ms, schedule)];
        let mut delivered = Vec::new();
        while delivered.len() < count
            && let Some(at) = (0..jobs.len()).min_by_key(|index| jobs[*index].0)
        {
            let (due_ms, schedule) = jobs.swap_remove(at);
            let firing = schedule.fire(due_ms, due_ms + late_ms);
            if firing.delivers {
                delivered.push(due_ms);
            }
            jobs.extend(firing.next);
            jobs.extend(firing.starts);
        }
        delivered
    }

    fn numbers(delay_ms: i64, period_ms: i64, repeat: i64) -> Schedule {
        Schedule::from_numbers(delay_ms, period_ms, repeat).unwrap()
    }

    #[test]
    fn delays_and_series_sch_2() {
        assert_eq!(deliveries(numbers(50, 0, 0), 1000, 0, 9), [1050]);
        assert_eq!(deliveries(numbers(0, 100, 0), 1000, 0, 9), [1000]);
        assert_eq!(
            deliveries(numbers(0, 100, 2), 1000, 0, 9),
            [1000, 1100, 1200]
        );
        assert_eq!(deliveries(numbers(50, 100, 1), 1000, 0, 9), [1050, 1150]);
        assert_eq!(deliveries(numbers(5, 0, 2), 1000, 0, 9), [1005, 1006, 1007]);
        assert_eq!(
            deliveries(numbers(0, 100, -1), 1000, 0, 3),
            [1000, 1100, 1200]
        );
    }

    #[test]
    fn numbers_have_bounds_sch_2() {
        let check = |numbers: (i64, i64, i64), expected| {
            assert_eq!(
                Schedule::from_numbers(numbers.0, numbers.1, numbers.2),
                Err(expected)
            );
        };
        check((0, 1000, 1001), ScheduleError::TooManyRepeats);
        check((-1, 0, 0), ScheduleError::Negative("delay"));
        check((0, -1, 0), ScheduleError::Negative("period"));
        check((0, 1, -2), ScheduleError::Negative("repeat"));
        check((0, 0, -1), ScheduleError::EndlessWithoutPeriod);
        assert!(Schedule::from_numbers(i64::MAX, i64::MAX, 1000).is_ok());
    }

    #[test]
    fn late_series_deliver_all_and_endless_ones_skip() {
        assert_eq!(
            deliveries(numbers(0, 100, 3), 1000, 1000, 9),
            [1000, 1100, 1200, 1300]
        );
        assert_eq!(
            deliveries(numbers(0, 100, -1), 1000, 250, 3),
            [1000, 1300, 1600]
        );
    }

    fn hourly(delay_ms: i64, period_ms: i64, repeat: i64) -> Schedule {
        let cron = Cron::parse("0 * * * *", TimeZone::UTC).unwrap();
        let rule = CronRule {
            text: "0 * * * *".into(),
            zone: "UTC".into(),
            cron,
        };
        numbers(delay_ms, period_ms, repeat).by_cron(rule)
    }

    #[test]
    fn cron_delivers_or_starts_a_series_at_each_instant_sch_3() {
        const HOUR: u64 = 3_600_000;
        assert_eq!(deliveries(hourly(0, 0, 0), 5, 0, 2), [HOUR, 2 * HOUR]);
        assert_eq!(
            deliveries(hourly(7, 10, 1), 5, 0, 4),
            [HOUR + 7, HOUR + 17, 2 * HOUR + 7, 2 * HOUR + 17]
        );
        // Three hours late: what was missed comes once.
        assert_eq!(
            deliveries(hourly(0, 0, 0), 5, 3 * HOUR, 2),
            [HOUR, 5 * HOUR]
        );
    }
}

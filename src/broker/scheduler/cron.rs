//! Cron expressions: five fields, standard meaning, in a time zone (SCH-3, D-8).
//!
//! Around a change of the clock: a time that does not exist is taken as the same distance behind the change, and never
//! fires twice. In an hour that comes twice, an expression that names hours fires the first time only; one that
//! leaves the hour open goes on.

use std::fmt;

use jiff::Timestamp;
use jiff::civil::{Date, DateTime, Time};
use jiff::tz::{AmbiguousOffset, TimeZone};

/// Days looked ahead: 29 February may be eight years away.
const DAYS_MAX: usize = 9 * 366;
/// Octets of an expression; a list of all minutes is 169 long.
const LENGTH_MAX: usize = 1024;

/// When something happens again and again.
#[derive(Clone, Debug, PartialEq)]
pub struct Cron {
    /// Bit n is minute n; the others alike.
    minutes: u64,
    hours: u64,
    days: u64,
    months: u64,
    /// 0 is Sunday.
    weekdays: u64,
    /// Both day fields are restricted: one of them is enough.
    either_day: bool,
    zone: TimeZone,
}

/// A cron expression that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CronError {
    /// The expression.
    pub text: String,
    /// What is wrong with it.
    pub problem: String,
}

impl fmt::Display for CronError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cron expression '{}': {}", self.text, self.problem)
    }
}

impl std::error::Error for CronError {}

/// One of the five fields.
struct Field {
    name: &'static str,
    first: u32,
    last: u32,
    names: &'static [&'static str],
}

const MINUTE: Field = Field::numbers("minute", 0, 59);
const HOUR: Field = Field::numbers("hour", 0, 23);
const DAY: Field = Field::numbers("day of month", 1, 31);
const MONTH: Field = Field {
    name: "month",
    first: 1,
    last: 12,
    names: &[
        "JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC",
    ],
};
const WEEKDAY: Field = Field {
    name: "day of week",
    first: 0,
    last: 7,
    names: &["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"],
};
const ALL_HOURS: u64 = (1 << 24) - 1;

impl Cron {
    /// Reads `text`, whose times are those of `zone`.
    ///
    /// # Errors
    /// If it has not five fields, one of them cannot be read, or no day is ever meant.
    pub fn parse(text: &str, zone: TimeZone) -> Result<Self, CronError> {
        let error = |problem: String| CronError {
            text: text.chars().take(LENGTH_MAX).collect(),
            problem,
        };
        if text.len() > LENGTH_MAX {
            return Err(error(format!("longer than {LENGTH_MAX} octets")));
        }
        let fields: Vec<&str> = text.split_ascii_whitespace().collect();
        let &[minute, hour, day, month, weekday] = fields.as_slice() else {
            let count = fields.len();
            return Err(error(format!(
                "needs five fields (minute hour day month weekday), has {count}"
            )));
        };
        let is_open = |field: &str| field.starts_with(['*', '?']);
        let weekdays = WEEKDAY.parse(weekday).map_err(error)?;
        let cron = Self {
            minutes: MINUTE.parse(minute).map_err(error)?,
            hours: HOUR.parse(hour).map_err(error)?,
            days: DAY.parse(day).map_err(error)?,
            months: MONTH.parse(month).map_err(error)?,
            // 7 is Sunday as well.
            weekdays: (weekdays | weekdays >> 7) & 0x7f,
            either_day: !is_open(day) && !is_open(weekday),
            zone,
        };
        if cron.next_after_ms(0).is_none() {
            return Err(error("never comes".into()));
        }
        Ok(cron)
    }

    /// The first instant after `after_ms`, both milliseconds since 1970. `None` if there is none that can be told.
    #[must_use]
    pub fn next_after_ms(&self, after_ms: u64) -> Option<u64> {
        let after = Timestamp::from_millisecond(i64::try_from(after_ms).ok()?).ok()?;
        let found = self.next_from(self.zone.to_datetime(after), after)?;
        let again = self.next_in_second_pass(after, found);
        u64::try_from(again.unwrap_or(found).as_millisecond()).ok()
    }

    /// The first instant after `after` whose local time is at or after `from`.
    fn next_from(&self, from: DateTime, after: Timestamp) -> Option<Timestamp> {
        let mut date = from.date();
        let mut from = from.time();
        for _ in 0..DAYS_MAX {
            if self.has_day(date) {
                let times = self
                    .times()
                    .skip_while(|time| (time.hour(), time.minute()) < (from.hour(), from.minute()));
                let instants = times.filter_map(|time| self.instant(date.to_datetime(time), after));
                if let Some(found) = instants.min() {
                    return Some(found);
                }
            }
            date = date.tomorrow().ok()?;
            from = Time::midnight();
        }
        None
    }

    /// An hour that comes twice is passed twice if the hour is open: the first instant in its second pass, if that
    /// begins after `after` and before `found`.
    fn next_in_second_pass(&self, after: Timestamp, found: Timestamp) -> Option<Timestamp> {
        if self.hours != ALL_HOURS {
            return None;
        }
        let change = self.zone.following(after).next()?.timestamp();
        if change > found {
            return None;
        }
        let just_before = Timestamp::from_millisecond(change.as_millisecond() - 1).ok()?;
        let again = self.next_from(self.zone.to_datetime(change), just_before)?;
        (again > after && again < found).then_some(again)
    }

    /// When the local time `local` is, if that is after `after`.
    fn instant(&self, local: DateTime, after: Timestamp) -> Option<Timestamp> {
        let ambiguous = self.zone.to_ambiguous_timestamp(local);
        let is_fold = matches!(ambiguous.offset(), AmbiguousOffset::Fold { .. });
        // Behind a gap, or before the second pass of an hour.
        let first = ambiguous.compatible().ok()?;
        if first > after {
            return Some(first);
        }
        if !is_fold || self.hours != ALL_HOURS {
            return None;
        }
        ambiguous.later().ok().filter(|second| *second > after)
    }

    fn has_day(&self, date: Date) -> bool {
        let has = |set: u64, number: i8| set >> number & 1 == 1;
        let day = has(self.days, date.day());
        let weekday = has(self.weekdays, date.weekday().to_sunday_zero_offset());
        let wanted = if self.either_day {
            day || weekday
        } else {
            day && weekday
        };
        wanted && has(self.months, date.month())
    }

    /// The times of a day, in order.
    fn times(&self) -> impl Iterator<Item = Time> {
        let minutes = self.minutes;
        bits(self.hours).flat_map(move |hour| {
            bits(minutes).filter_map(move |minute| Time::new(hour, minute, 0, 0).ok())
        })
    }
}

fn bits(set: u64) -> impl Iterator<Item = i8> {
    (0..60).filter(move |bit| set >> bit & 1 == 1)
}

impl Field {
    const fn numbers(name: &'static str, first: u32, last: u32) -> Self {
        Self {
            name,
            first,
            last,
            names: &[],
        }
    }

    fn parse(&self, text: &str) -> Result<u64, String> {
        text.split(',')
            .try_fold(0, |set, item| Ok(set | self.item(item)?))
    }

    fn item(&self, item: &str) -> Result<u64, String> {
        let (range, step) = match item.split_once('/') {
            Some((range, step)) => (range, Some(step)),
            None => (item, None),
        };
        let is_range = range == "*" || range == "?" || range.contains('-');
        let (first, last) = match range.split_once('-') {
            _ if range == "*" || range == "?" => (self.first, self.last),
            Some((first, last)) => (self.number(first)?, self.number(last)?),
            None => (self.number(range)?, self.number(range)?),
        };
        if first > last {
            return Err(format!("the {} range '{range}' runs backwards", self.name));
        }
        let step = match step {
            None => 1,
            Some(_) if !is_range => {
                return Err(format!(
                    "the {} step in '{item}' needs '*' or a range before it",
                    self.name
                ));
            }
            Some(step) => match step.parse() {
                Ok(step @ 1..=59) => step,
                _ => return Err(format!("the {} step '{step}' is not 1 to 59", self.name)),
            },
        };
        Ok((first..=last)
            .step_by(step)
            .fold(0, |set, number| set | 1 << number))
    }

    fn number(&self, text: &str) -> Result<u32, String> {
        let named = (self.first..)
            .zip(self.names)
            .find(|(_, name)| name.eq_ignore_ascii_case(text));
        let number = match named {
            Some((number, _)) => Some(number),
            None if text.bytes().all(|octet| octet.is_ascii_digit()) => text.parse().ok(),
            None => None,
        };
        number
            .filter(|number| (self.first..=self.last).contains(number))
            .ok_or_else(|| {
                format!(
                    "the {} '{text}' is not {} to {}",
                    self.name, self.first, self.last
                )
            })
    }
}

#[cfg(test)]
mod tests {
    use jiff::ToSpan;
    use proptest::prelude::*;

    use super::*;

    fn zone(name: &str) -> TimeZone {
        TimeZone::get(name).unwrap()
    }

    /// The next `count` times after `from`, as local times with offset.
    fn next(text: &str, name: &str, from: &str, count: usize) -> Vec<String> {
        let cron = Cron::parse(text, zone(name)).unwrap_or_else(|error| panic!("{error}"));
        let from: Timestamp = from.parse().unwrap();
        let mut at = u64::try_from(from.as_millisecond()).unwrap();
        let mut found = Vec::new();
        for _ in 0..count {
            at = cron.next_after_ms(at).unwrap();
            let instant = Timestamp::from_millisecond(i64::try_from(at).unwrap()).unwrap();
            let shown = instant.to_zoned(zone(name));
            found.push(shown.strftime("%a %Y-%m-%d %H:%M%:z").to_string());
        }
        found
    }

    #[track_caller]
    fn check(text: &str, from: &str, expected: &[&str]) {
        let found = next(text, "UTC", from, expected.len());
        let expected: Vec<String> = expected.iter().map(|at| format!("{at}+00:00")).collect();
        assert_eq!(found, expected, "{text}");
    }

    #[test]
    fn fields_mean_what_cron_means() {
        let from = "2026-03-04T10:20:30Z";
        check(
            "* * * * *",
            from,
            &["Wed 2026-03-04 10:21", "Wed 2026-03-04 10:22"],
        );
        check(
            "? ? ? ? ?",
            "2026-03-04T10:20:00Z",
            &["Wed 2026-03-04 10:21"],
        );
        check(
            "*/20 * * * *",
            from,
            &["Wed 2026-03-04 10:40", "Wed 2026-03-04 11:00"],
        );
        check(
            "0-30/10 9,11 * * *",
            from,
            &[
                "Wed 2026-03-04 11:00",
                "Wed 2026-03-04 11:10",
                "Wed 2026-03-04 11:20",
                "Wed 2026-03-04 11:30",
                "Thu 2026-03-05 09:00",
            ],
        );
        // Steps count from the start of the range: odd minutes, not even ones.
        check(
            "1-59/2 * * * *",
            from,
            &["Wed 2026-03-04 10:21", "Wed 2026-03-04 10:23"],
        );
        check(
            "0 0 1 jan-MAR *",
            from,
            &[
                "Fri 2027-01-01 00:00",
                "Mon 2027-02-01 00:00",
                "Mon 2027-03-01 00:00",
            ],
        );
        check(
            "0 0 29 2 *",
            from,
            &["Tue 2028-02-29 00:00", "Sun 2032-02-29 00:00"],
        );
    }

    #[test]
    fn weekdays_are_0_to_7_or_names_and_either_day_is_enough() {
        let from = "2026-03-04T10:20:30Z";
        for sunday in ["0", "7", "SUN", "sun", "0,7"] {
            check(
                &format!("0 0 * * {sunday}"),
                from,
                &["Sun 2026-03-08 00:00", "Sun 2026-03-15 00:00"],
            );
        }
        check(
            "0 0 * * 5-7",
            from,
            &[
                "Fri 2026-03-06 00:00",
                "Sat 2026-03-07 00:00",
                "Sun 2026-03-08 00:00",
                "Fri 2026-03-13 00:00",
            ],
        );
        check(
            "0 0 * * MON-FRI/2",
            from,
            &["Fri 2026-03-06 00:00", "Mon 2026-03-09 00:00"],
        );
        check(
            "0 0 6 * MON",
            from,
            &["Fri 2026-03-06 00:00", "Mon 2026-03-09 00:00"],
        );
        check(
            "0 0 6 * ?",
            from,
            &["Fri 2026-03-06 00:00", "Mon 2026-04-06 00:00"],
        );
        check(
            "0 0 */2 * MON",
            from,
            &["Mon 2026-03-09 00:00", "Mon 2026-03-23 00:00"],
        );
    }

    #[test]
    fn a_time_that_does_not_exist_comes_behind_the_gap_once() {
        // Berlin, 29 March 2026: 02:00 becomes 03:00.
        let from = "2026-03-28T12:00:00Z";
        assert_eq!(
            next("30 2 * * *", "Europe/Berlin", from, 2),
            ["Sun 2026-03-29 03:30+02:00", "Mon 2026-03-30 02:30+02:00",]
        );
        assert_eq!(
            next("*/30 * * * *", "Europe/Berlin", "2026-03-29T00:20:00Z", 4),
            [
                "Sun 2026-03-29 01:30+01:00",
                "Sun 2026-03-29 03:00+02:00",
                "Sun 2026-03-29 03:30+02:00",
                "Sun 2026-03-29 04:00+02:00",
            ]
        );
    }

    #[test]
    fn an_hour_that_comes_twice_is_passed_twice_if_the_hour_is_open() {
        // Berlin, 25 October 2026: 03:00 becomes 02:00.
        let from = "2026-10-24T22:00:00Z";
        assert_eq!(
            next("30 2 * * *", "Europe/Berlin", from, 2),
            ["Sun 2026-10-25 02:30+02:00", "Mon 2026-10-26 02:30+01:00",]
        );
        assert_eq!(
            next("*/30 * * * *", "Europe/Berlin", "2026-10-25T00:00:00Z", 6),
            [
                "Sun 2026-10-25 02:30+02:00",
                "Sun 2026-10-25 02:00+01:00",
                "Sun 2026-10-25 02:30+01:00",
                "Sun 2026-10-25 03:00+01:00",
                "Sun 2026-10-25 03:30+01:00",
                "Sun 2026-10-25 04:00+01:00",
            ]
        );
        assert_eq!(
            next("0 * * * *", "America/New_York", "2026-11-01T04:30:00Z", 3),
            [
                "Sun 2026-11-01 01:00-04:00",
                "Sun 2026-11-01 01:00-05:00",
                "Sun 2026-11-01 02:00-05:00",
            ]
        );
    }

    #[test]
    fn what_cannot_be_read_is_refused_with_a_reason() {
        let check = |text: &str, problem: &str| {
            let error = Cron::parse(text, TimeZone::UTC).unwrap_err();
            assert_eq!(error.problem, problem, "{text}");
        };
        let count =
            |count| format!("needs five fields (minute hour day month weekday), has {count}");
        check("nonsense", &count(1));
        check("", &count(0));
        check("0 0 * * * *", &count(6));
        check("60 * * * *", "the minute '60' is not 0 to 59");
        check("* 24 * * *", "the hour '24' is not 0 to 23");
        check("* * 0 * *", "the day of month '0' is not 1 to 31");
        check("* * * FOO *", "the month 'FOO' is not 1 to 12");
        check("* * * * 8", "the day of week '8' is not 0 to 7");
        check("5-1 * * * *", "the minute range '5-1' runs backwards");
        check(
            "5/2 * * * *",
            "the minute step in '5/2' needs '*' or a range before it",
        );
        check("*/0 * * * *", "the minute step '0' is not 1 to 59");
        check("1,,2 * * * *", "the minute '' is not 0 to 59");
        check("+1 * * * *", "the minute '+1' is not 0 to 59");
        check("0 0 30 2 *", "never comes");
        assert!(Cron::parse(&"1,".repeat(1000), TimeZone::UTC).is_err());
    }

    /// One field as text with the set it means, found without the parser.
    fn field(first: u32, last: u32) -> impl Strategy<Value = (String, Vec<u32>)> {
        prop_oneof![
            2 => Just(("*".to_owned(), (first..=last).collect())),
            1 => (first..=last).prop_map(|n| (n.to_string(), vec![n])),
            1 => (first..=last, first..=last, 1..7_u32).prop_map(move |(a, b, step)| {
                let (low, high) = (a.min(b), a.max(b));
                let set = (low..=high).filter(|n| (n - low) % step == 0).collect();
                (format!("{low}-{high}/{step}"), set)
            }),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Against a walk over the minutes, which asks of each whether it is meant.
        #[test]
        fn agrees_with_a_walk_over_the_minutes(
            minute in field(0, 59), hour in field(0, 23), day in field(1, 31), weekday in field(0, 6),
            start in 1_790_000_000_000_u64..1_830_000_000_000,
        ) {
            let text = format!("{} {} {} * {}", minute.0, hour.0, day.0, weekday.0);
            let Ok(cron) = Cron::parse(&text, TimeZone::UTC) else { return Ok(()) };
            let either = day.0 != "*" && weekday.0 != "*";
            let mut at = Timestamp::from_millisecond(i64::try_from(start / 60_000 * 60_000).unwrap()).unwrap();
            let end = at + (24 * 40).hours();
            let expected = loop {
                at += 1.minute();
                if at > end {
                    break None;
                }
                let local = TimeZone::UTC.to_datetime(at);
                let has = |set: &[u32], number: i8| set.contains(&u32::try_from(number).unwrap());
                let by_day = has(&day.1, local.day());
                let by_weekday = has(&weekday.1, local.weekday().to_sunday_zero_offset());
                let day_meant = if either { by_day || by_weekday } else { by_day && by_weekday };
                if day_meant && has(&hour.1, local.hour()) && has(&minute.1, local.minute()) {
                    break Some(at);
                }
            };
            let found = cron.next_after_ms(start);
            if let Some(expected) = expected {
                let expected = u64::try_from(expected.as_millisecond()).unwrap();
                prop_assert_eq!(found, Some(expected), "{}", text);
            } else {
                prop_assert!(found.is_none_or(|found| i128::from(found) > i128::from(end.as_millisecond())));
            }
        }
    }
}

//! Jobs of the scheduler in the journal.
//!
//! Each destination that something is scheduled for has a schedule for each user who did: a destination of its own in the
//! journal, whose entries are jobs by their number. An entry is a reference to the body of the message; its expiry is when the job is
//! due, so a start need not read a plain delayed message. The rest stands in what the reference adds:
//!
//! ```text
//! 0 u64 expires of the message, 8 its flags, 9 its priority
//! only with MORE: 10 bits, 11 u64 delay, 19 u64 period, 27 i64 repeat, then key, cron and zone: u32 length, text
//! ```

use bytes::{Buf, BufMut, Bytes};
use ferrymq_store::{Batch, DestinationId, Locator, OwnedMessage, Patch};
use jiff::tz::TimeZone;

use super::records;
use crate::broker::scheduler::cron::{Cron, CronError};
use crate::broker::scheduler::{CronRule, Repeat, Schedule, Series};
use crate::broker::{Destination, Kind, Message, MessageFlags};

/// Flag of an entry: there is more to the job than its time.
pub(super) const MORE: u8 = 1;

const BIT_SERIES: u8 = 1;
const BIT_KEY: u8 = 2;
const BIT_CRON: u8 = 4;
const BIT_AGAIN: u8 = 8;

/// How the schedule of a destination is written down, of what `owner` has scheduled or, if empty, of what nobody known
/// has: kind and name. [`records::kind_code`] has those of destinations.
pub(super) fn schedule_name(destination: &Destination, owner: &str) -> (u8, String) {
    let name = &*destination.name;
    match (destination.kind, owner) {
        (Kind::Queue, "") => (2, name.to_owned()),
        (Kind::Topic, "") => (3, name.to_owned()),
        (Kind::Queue, owner) => (6, records::fields_text([name, owner])),
        (Kind::Topic, owner) => (7, records::fields_text([name, owner])),
    }
}

/// Whether `code` stands for a schedule.
pub(super) fn is_schedule(code: u8) -> bool {
    matches!(code, 2 | 3 | 6 | 7)
}

/// The reverse of [`schedule_name`].
pub(super) fn schedule_of(code: u8, name: &str) -> Option<(Destination, String)> {
    let owned = || records::text_fields(name);
    Some(match code {
        2 => (Destination::queue(name), String::new()),
        3 => (Destination::topic(name), String::new()),
        6 => owned().map(|[name, owner]| (Destination::queue(name), owner))?,
        7 => owned().map(|[name, owner]| (Destination::topic(name), owner))?,
        _ => return None,
    })
}

/// Reads a cron expression with the name of its zone; an empty one is the broker's own.
///
/// # Errors
/// If either is unknown.
pub fn cron_rule(text: &str, zone: &str) -> Result<CronRule, CronError> {
    let known = if zone.is_empty() {
        TimeZone::system()
    } else {
        TimeZone::get(zone).map_err(|_| CronError {
            text: text.to_owned(),
            problem: format!("the time zone '{zone}' is not known (an IANA name is wanted)"),
        })?
    };
    Ok(CronRule {
        text: text.into(),
        zone: zone.into(),
        cron: Cron::parse(text, known)?,
    })
}

/// Writes down that `message`, whose body is at `of`, is due at `due_ms` and goes on by `schedule`.
pub(super) fn place(
    batch: &mut Batch<'_>,
    target: (DestinationId, u64),
    of: Locator,
    message: &Message,
    (due_ms, schedule): (u64, Option<&Schedule>),
) -> Locator {
    let mut extra = Vec::with_capacity(64);
    extra.put_u64_le(message.expires_ms);
    extra.put_u8(message.flags.0);
    extra.put_u8(message.priority);
    if let Some(schedule) = schedule {
        put_schedule(&mut extra, schedule);
    }
    let patch = Patch {
        flags: if schedule.is_some() { MORE } else { 0 },
        priority: message.priority,
        expires_ms: due_ms,
        body_size: records::body_size(message),
        extra_head: &extra,
    };
    batch.place(&[target], of, &patch)
}

/// A job read back: its message, and how it goes on. `None` if it makes no sense.
pub(super) fn read(mut stored: OwnedMessage) -> Option<(Message, Option<Schedule>)> {
    let patch = stored.patch.take()?;
    let mut extra = patch.extra_head;
    if extra.len() < 10 {
        return None;
    }
    stored.expires_ms = extra.get_u64_le();
    stored.flags = MessageFlags(extra.get_u8()).0;
    stored.priority = extra.get_u8();
    let schedule = match patch.flags & MORE {
        0 => None,
        _ => Some(get_schedule(&mut extra)?),
    };
    let message = records::message(stored);
    Some((Message::clone(&message), schedule))
}

fn put_schedule(out: &mut Vec<u8>, schedule: &Schedule) {
    let bit = |bit, set| if set { bit } else { 0 };
    out.put_u8(
        bit(BIT_SERIES, schedule.series.is_some())
            | bit(BIT_KEY, schedule.key.is_some())
            | bit(BIT_CRON, schedule.cron.is_some())
            | bit(BIT_AGAIN, schedule.again),
    );
    out.put_u64_le(schedule.delay_ms);
    let (period_ms, repeat) = match schedule.series {
        None => (0, 0),
        Some(Series { period_ms, repeat }) => match repeat {
            Repeat::Times(times) => (period_ms.get(), i64::from(times)),
            Repeat::Forever => (period_ms.get(), -1),
        },
    };
    out.put_u64_le(period_ms);
    out.put_i64_le(repeat);
    let cron = schedule.cron.as_deref();
    put_text(out, schedule.key.as_deref());
    put_text(out, cron.map(|rule| &*rule.text));
    put_text(out, cron.map(|rule| &*rule.zone));
}

fn get_schedule(extra: &mut Bytes) -> Option<Schedule> {
    if extra.len() < 25 {
        return None;
    }
    let bits = extra.get_u8();
    let delay_ms = extra.get_u64_le();
    let (period_ms, repeat) = (extra.get_u64_le(), extra.get_i64_le());
    let (key, text, zone) = (get_text(extra)?, get_text(extra)?, get_text(extra)?);
    let series = if bits & BIT_SERIES == 0 {
        None
    } else {
        let repeat = match u32::try_from(repeat) {
            Ok(times) => Repeat::Times(times),
            Err(_) => Repeat::Forever,
        };
        let period_ms = period_ms.try_into().ok()?;
        Some(Series { period_ms, repeat })
    };
    let cron = if bits & BIT_CRON == 0 {
        None
    } else {
        let rule = cron_rule(&text, &zone);
        let rule = rule
            .inspect_err(|error| tracing::error!(%error, "a scheduled message cannot be resumed"));
        Some(Box::new(rule.ok()?))
    };
    Some(Schedule {
        delay_ms,
        series,
        cron,
        key: (bits & BIT_KEY != 0).then(|| key.into()),
        again: bits & BIT_AGAIN != 0,
    })
}

fn put_text(out: &mut Vec<u8>, text: Option<&str>) {
    let text = text.unwrap_or_default();
    out.put_u32_le(u32::try_from(text.len()).unwrap_or(u32::MAX));
    out.put_slice(text.as_bytes());
}

fn get_text(extra: &mut Bytes) -> Option<String> {
    if extra.len() < 4 {
        return None;
    }
    let length = extra.get_u32_le() as usize;
    if extra.len() < length {
        return None;
    }
    String::from_utf8(extra.split_to(length).into()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(schedule: Schedule) {
        let mut octets = Vec::new();
        put_schedule(&mut octets, &schedule);
        for cut in 0..octets.len() {
            assert_eq!(
                get_schedule(&mut Bytes::copy_from_slice(&octets[..cut])),
                None
            );
        }
        assert_eq!(get_schedule(&mut Bytes::from(octets)), Some(schedule));
    }

    #[test]
    fn schedules_survive_writing() {
        let numbers =
            |delay, period, repeat| Schedule::from_numbers(delay, period, repeat).unwrap();
        check(numbers(5, 0, 0));
        check(numbers(i64::MAX, 7, 1000));
        check(numbers(0, 7, -1));
        check(Schedule {
            key: Some("ü".into()),
            ..numbers(5, 0, 0)
        });
        check(numbers(5, 6, 7).by_cron(cron_rule("0 12 * * MON", "Europe/Berlin").unwrap()));
        check(numbers(0, 0, 0).by_cron(cron_rule("* * * * *", "").unwrap()));
    }

    #[test]
    fn a_schedule_tells_destination_and_owner() {
        for destination in [Destination::queue("a:b"), Destination::topic("c")] {
            for owner in ["", "ü:1"] {
                let (code, name) = schedule_name(&destination, owner);
                assert!(is_schedule(code));
                let found = schedule_of(code, &name);
                assert_eq!(found, Some((destination.clone(), owner.to_owned())));
            }
        }
        assert_eq!(schedule_of(6, "5:a"), None);
        assert_eq!(schedule_of(0, "a"), None);
    }

    #[test]
    fn zones_are_known_by_their_names() {
        let error = cron_rule("* * * * *", "Mars/Base").unwrap_err();
        assert!(error.to_string().contains("'Mars/Base'"), "{error}");
    }
}

//! What the governor says: how full an account is, which marks it has passed, and why a producer waits.
//!
//! Plain data and its words. Nothing is measured here.

use std::fmt;

use super::destination::Destination;

/// Something the whole broker has only so much of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resource {
    /// Messages in memory, and what waits to be written to connections.
    Memory,
    /// The journal on disk.
    Store,
    /// Temporary storage, for what does not fit into memory.
    Temp,
}

impl Resource {
    /// Its name, as clients, logs and advisories have it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Store => "store",
            Self::Temp => "temp",
        }
    }

    /// Its name in the words of ActiveMQ's errors, `Usage Manager Memory Limit reached`, with the blank behind it.
    #[must_use]
    pub fn usage_name(self) -> &'static str {
        match self {
            Self::Memory => "Memory ",
            Self::Store => "Store ",
            Self::Temp => "Temp ",
        }
    }

    /// The key that sets its limit.
    #[must_use]
    pub fn key(self) -> &'static str {
        match self {
            Self::Memory => "memory.limit",
            Self::Store => "store.limit",
            Self::Temp => "temp.limit",
        }
    }

    /// What happens at the limit.
    #[must_use]
    pub fn at_limit(self) -> &'static str {
        match self {
            Self::Memory => "producers of messages that are not persistent wait",
            Self::Temp => "messages that are not persistent stay in memory",
            Self::Store => "producers of persistent messages wait",
        }
    }
}

/// How full an account is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// Of what.
    pub resource: Resource,
    /// Octets in use.
    pub used_bytes: u64,
    /// The limit; `None`: whatever the machine has.
    pub limit_bytes: Option<u64>,
    /// Whether nothing more is taken in.
    pub is_full: bool,
    /// Why, if it is not the limit.
    pub reason: Option<String>,
}

impl Account {
    /// The used part in percent: 100 only if it is full.
    #[must_use]
    pub fn percent(&self) -> u64 {
        let limit = self.limit_bytes.unwrap_or(u64::MAX).max(1);
        let percent = u128::from(self.used_bytes) * 100 / u128::from(limit);
        let percent = u64::try_from(percent).unwrap_or(u64::MAX);
        if self.is_full {
            percent.max(100)
        } else {
            percent.min(99)
        }
    }
}

impl fmt::Display for Account {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (percent, used) = (self.percent(), Octets(self.used_bytes));
        match self.limit_bytes {
            Some(limit) => {
                let (key, limit) = (self.resource.key(), Octets(limit));
                write!(out, "{key} is {percent} % used ({used} of {limit})")?;
            }
            None => write!(out, "the {} holds {used}", self.resource.name())?,
        }
        match &self.reason {
            Some(reason) => write!(out, ": {reason}"),
            None => Ok(()),
        }
    }
}

/// A number of octets for people: `1.5 MiB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Octets(pub u64);

impl fmt::Display for Octets {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [(u32, &str); 4] = [(40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")];
        let found = UNITS.iter().find(|(shift, _)| self.0 >> shift > 0);
        let Some((shift, unit)) = found else {
            return write!(out, "{} B", self.0);
        };
        let tenths = (u128::from(self.0) * 10) >> shift;
        match tenths % 10 {
            0 => write!(out, "{} {unit}", tenths / 10),
            tenth => write!(out, "{}.{tenth} {unit}", tenths / 10),
        }
    }
}

/// One thing a producer waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cause {
    /// An account of the whole broker is full.
    Full(Account),
    /// The store is fuller than the policy of a destination wants it.
    StoreMark {
        /// The destination.
        of: Destination,
        /// The mark, `storeUsageHighWaterMark`.
        mark_percent: u64,
        /// The used part.
        percent: u64,
    },
    /// A limit of a destination is reached.
    Destination {
        /// The destination.
        of: Destination,
        /// The key of its policy.
        key: &'static str,
        /// What it holds: messages or octets, as the key has it.
        held: u64,
        /// What it may hold.
        limit: u64,
    },
    /// Too much is scheduled.
    Scheduler {
        /// Octets that are scheduled.
        held_bytes: u64,
        /// Octets that may be.
        limit_bytes: u64,
    },
    /// Something that the same connection has sent before waits.
    Behind,
}

impl Cause {
    /// What ActiveMQ calls that which is used up.
    #[must_use]
    pub fn usage(&self) -> &'static str {
        match self {
            Self::Full(account) => account.resource.name(),
            Self::StoreMark { .. } => Resource::Store.name(),
            Self::Destination { .. } | Self::Behind => "destination",
            Self::Scheduler { .. } => "scheduler",
        }
    }

    /// The key that sets the limit, if it is one.
    #[must_use]
    pub fn key(&self) -> Option<&'static str> {
        match self {
            Self::Full(account) => Some(account.resource.key()),
            Self::StoreMark { .. } => Some("storeUsageHighWaterMark"),
            Self::Destination { key, .. } => Some(key),
            Self::Scheduler { .. } => Some("scheduler.bytes_max"),
            Self::Behind => None,
        }
    }

    /// As much of it as clients are told: nothing of disks and paths.
    #[must_use]
    pub fn for_client(&self) -> Self {
        match self {
            Self::Full(account) => Self::Full(Account {
                reason: None,
                ..account.clone()
            }),
            other => other.clone(),
        }
    }

    /// How much of the limit is used, in percent.
    #[must_use]
    pub fn percent(&self) -> u64 {
        let part = |held: u64, limit: u64| {
            let percent = u128::from(held) * 100 / u128::from(limit.max(1));
            u64::try_from(percent).unwrap_or(u64::MAX)
        };
        match self {
            Self::Full(account) => account.percent(),
            Self::StoreMark { percent, .. } => *percent,
            Self::Destination { held, limit, .. } => part(*held, *limit),
            Self::Scheduler {
                held_bytes,
                limit_bytes,
            } => part(*held_bytes, *limit_bytes),
            Self::Behind => 100,
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let percent = self.percent();
        match self {
            Self::Full(account) => account.fmt(out),
            Self::StoreMark {
                of, mark_percent, ..
            } => write!(
                out,
                "store.limit is {percent} % used, and storeUsageHighWaterMark of {of} is {mark_percent}"
            ),
            Self::Destination {
                of,
                key,
                held,
                limit,
            } => write!(out, "{key} of {of} is {percent} % used ({held} of {limit})"),
            Self::Scheduler {
                held_bytes,
                limit_bytes,
            } => write!(
                out,
                "scheduler.bytes_max is {percent} % used ({} of {})",
                Octets(*held_bytes),
                Octets(*limit_bytes)
            ),
            Self::Behind => out.write_str("a message before it waits"),
        }
    }
}

/// The marks of an account, in percent of its limit; the last one is the limit.
pub const MARKS_PERCENT: [u64; 3] = [70, 90, 100];

/// Looks in a row that have to find an account below a mark before it counts as fallen.
const LOOKS_BELOW: u32 = 5;

/// Which marks an account has passed, looked at once a second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Marks {
    /// How many of the marks are passed now.
    level: usize,
    /// How many looks in a row have found it lower, and how high it was then.
    below: (u32, usize),
    /// How often each was passed.
    passed: [u64; MARKS_PERCENT.len()],
}

/// A mark that is passed, percent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crossing {
    /// Upwards: the highest of those that were.
    Above(u64),
    /// Downwards: the lowest of those that were.
    Below(u64),
}

impl Marks {
    /// Looks at how full the account is. What goes up and down within a few seconds has not come down.
    pub fn look(&mut self, percent: u64) -> Option<Crossing> {
        let found = MARKS_PERCENT
            .iter()
            .filter(|mark| percent >= **mark)
            .count();
        if found > self.level {
            for passed in &mut self.passed[self.level..found] {
                *passed += 1;
            }
            (self.level, self.below) = (found, (0, 0));
            return Some(Crossing::Above(MARKS_PERCENT[found - 1]));
        }
        if found == self.level {
            self.below = (0, 0);
            return None;
        }
        // As high as it was in any of these looks.
        let (looks, highest) = self.below;
        let highest = highest.max(found);
        self.below = (looks + 1, highest);
        if looks + 1 < LOOKS_BELOW {
            return None;
        }
        (self.level, self.below) = (highest, (0, 0));
        Some(Crossing::Below(MARKS_PERCENT[highest]))
    }

    /// The highest mark that is passed, percent; 0 if none is.
    #[must_use]
    pub fn percent(&self) -> u64 {
        self.level.checked_sub(1).map_or(0, |at| MARKS_PERCENT[at])
    }

    /// Each mark with how often it was passed upwards.
    pub fn passed(&self) -> impl Iterator<Item = (u64, u64)> {
        MARKS_PERCENT.into_iter().zip(self.passed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Crossing::{Above, Below};

    fn account(used_bytes: u64, is_full: bool) -> Account {
        Account {
            resource: Resource::Store,
            used_bytes,
            limit_bytes: Some(1 << 20),
            is_full,
            reason: None,
        }
    }

    #[test]
    fn full_is_a_hundred_percent_and_nothing_else_is() {
        for (used, is_full, percent) in [
            (0, false, 0),
            (1 << 19, false, 50),
            (1 << 20, false, 99),
            (1 << 19, true, 100),
            (3 << 20, true, 300),
        ] {
            assert_eq!(account(used, is_full).percent(), percent);
        }
        let endless = Account {
            limit_bytes: None,
            ..account(1 << 40, false)
        };
        assert_eq!(endless.percent(), 0);
    }

    #[test]
    fn a_cause_names_the_limit_and_how_much_of_it_is_used() {
        let of = Destination::queue("q");
        let reason = Some("no space left".to_owned());
        let full = Account {
            reason,
            ..account(1 << 20, true)
        };
        for (cause, key, words) in [
            (
                Cause::Full(full),
                Some("store.limit"),
                "store.limit is 100 % used (1 MiB of 1 MiB): no space left",
            ),
            (
                Cause::Destination {
                    of: of.clone(),
                    key: "maxMessages",
                    held: 3,
                    limit: 2,
                },
                Some("maxMessages"),
                "maxMessages of /queue/q is 150 % used (3 of 2)",
            ),
            (
                Cause::StoreMark {
                    of,
                    mark_percent: 60,
                    percent: 61,
                },
                Some("storeUsageHighWaterMark"),
                "store.limit is 61 % used, and storeUsageHighWaterMark of /queue/q is 60",
            ),
            (
                Cause::Scheduler {
                    held_bytes: 1536,
                    limit_bytes: 1024,
                },
                Some("scheduler.bytes_max"),
                "scheduler.bytes_max is 150 % used (1.5 KiB of 1 KiB)",
            ),
            (Cause::Behind, None, "a message before it waits"),
        ] {
            assert_eq!((cause.key(), cause.to_string().as_str()), (key, words));
        }
    }

    #[test]
    fn marks_are_told_once_on_the_way_up() {
        let mut marks = Marks::default();
        let told: Vec<_> = [10, 69, 70, 75, 89, 90, 91, 99, 100, 250]
            .map(|percent| marks.look(percent))
            .into_iter()
            .flatten()
            .collect();
        assert_eq!(told, [Above(70), Above(90), Above(100)]);
        let mut marks = Marks::default();
        assert_eq!(marks.look(95), Some(Above(90)), "the highest only");
        assert!(marks.passed().eq([(70, 1), (90, 1), (100, 0)]));
        assert_eq!(marks.percent(), 90);
    }

    #[test]
    fn what_flaps_has_not_fallen() {
        let mut marks = Marks::default();
        marks.look(100);
        for percent in [99, 50, 99, 50, 100].repeat(9) {
            assert_eq!(marks.look(percent), None);
        }
        // Five looks in a row below, the highest of them at 75.
        let told: Vec<_> = [60, 75, 20, 20].map(|percent| marks.look(percent)).into();
        assert_eq!(told, [None; 4]);
        assert_eq!(marks.look(20), Some(Below(90)));
        assert_eq!(marks.percent(), 70);
        for _ in 0..4 {
            assert_eq!(marks.look(0), None);
        }
        assert_eq!(marks.look(0), Some(Below(70)));
        assert_eq!(marks.percent(), 0);
        assert!(marks.passed().eq([(70, 1), (90, 1), (100, 1)]));
    }
}

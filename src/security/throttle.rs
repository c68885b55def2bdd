//! Wrong passwords make the next login wait, so that guessing is slow (CON-7).
//!
//! - Only different passwords are counted: the same one again is no guess, see `remembered.rs`.
//! - Two things are counted: a name from an address, and an address whatever the name. Nobody else waits for them.
//! - Each attempt takes its turn before it is looked at, so that many at once are no faster than one after the other;
//!   a turn too far ahead is refused unseen.
//! - What is counted is forgotten [`FORGET_MS`] after the last attempt, or when more than [`KEYS_MAX`] are counted.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};

/// Wrong logins of one name from one address before the next waits.
const FREE_OF_NAME: u32 = 3;
/// Wrong logins from one address, whatever the names.
const FREE_OF_ADDRESS: u32 = 20;
/// How long a count is kept at least without a further attempt; twice as long at most.
pub(super) const FORGET_MS: u64 = 10 * 60 * 1000;
/// Counts kept in each half.
const KEYS_MAX: usize = 16 * 1024;

/// How long waits are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Delays {
    /// The first wait; 0: nobody waits.
    pub(super) first_ms: u64,
    /// The longest one.
    pub(super) max_ms: u64,
}

/// When an attempt may be looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// After so many milliseconds.
    After(u64),
    /// Never: too many are before it.
    Refused,
}

/// What a wrong login is worth a word for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Notable {
    /// The first one of this name from this address.
    First,
    /// From now on the name has to wait, or the address.
    Slowed { failures: u32, whole_address: bool },
    /// One more.
    No,
}

/// An address, and the hash of a name unless all names are meant.
type Key = (IpAddr, Option<u64>);

#[derive(Clone, Copy, Default)]
struct Count {
    failures: u32,
    /// When the next attempt has its turn.
    next_ms: u64,
    /// Whether the log has it that it waits.
    told: bool,
}

/// Counts in two halves: when one is full or old it becomes the other, and what was there is forgotten.
#[derive(Default)]
struct Counts {
    young: HashMap<Key, Count>,
    old: HashMap<Key, Count>,
    since_ms: u64,
}

/// The counts of wrong logins.
#[derive(Default)]
pub(super) struct Throttle {
    counts: Mutex<Counts>,
    hasher: RandomState,
}

impl Throttle {
    /// Gives an attempt its turn.
    pub(super) fn admit(&self, now_ms: u64, remote: IpAddr, name: &str, delays: Delays) -> Turn {
        let keys = self.keys(remote, name);
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let mut wait_ms = 0;
        for (key, free) in keys {
            if let Some(count) = counts.get(&key)
                && delays.of(count.failures, free) > 0
            {
                wait_ms = wait_ms.max(count.next_ms.saturating_sub(now_ms));
            }
        }
        if wait_ms > delays.max_ms {
            return Turn::Refused;
        }
        for (key, free) in keys {
            let Some(count) = counts.get(&key) else {
                continue;
            };
            let delay_ms = delays.of(count.failures, free);
            if delay_ms > 0 {
                counts.touch(now_ms, key).next_ms = now_ms + wait_ms + delay_ms;
            }
        }
        Turn::After(wait_ms)
    }

    /// Counts a wrong login.
    pub(super) fn failed(
        &self,
        now_ms: u64,
        remote: IpAddr,
        name: &str,
        delays: Delays,
    ) -> Notable {
        let mut notable = Notable::No;
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        for (key, free) in self.keys(remote, name) {
            let count = counts.touch(now_ms, key);
            count.failures = count.failures.saturating_add(1);
            let delay_ms = delays.of(count.failures, free);
            count.next_ms = count.next_ms.max(now_ms + delay_ms);
            let whole_address = key.1.is_none();
            if delay_ms > 0 && !std::mem::replace(&mut count.told, true) {
                let failures = count.failures;
                notable = Notable::Slowed {
                    failures,
                    whole_address,
                };
            } else if count.failures == 1 && !whole_address {
                notable = Notable::First;
            }
        }
        notable
    }

    /// A right login clears its name, not its address: who guesses may own one account.
    pub(super) fn succeeded(&self, remote: IpAddr, name: &str) {
        let [(key, _), _] = self.keys(remote, name);
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        counts.young.remove(&key);
        counts.old.remove(&key);
    }

    fn keys(&self, remote: IpAddr, name: &str) -> [(Key, u32); 2] {
        let remote = network(remote);
        let name = self.hasher.hash_one(name);
        [
            ((remote, Some(name)), FREE_OF_NAME),
            ((remote, None), FREE_OF_ADDRESS),
        ]
    }
}

impl Delays {
    fn of(self, failures: u32, free: u32) -> u64 {
        if failures < free {
            return 0;
        }
        let doublings = (failures - free).min(32);
        self.first_ms
            .saturating_mul(1 << doublings)
            .min(self.max_ms)
    }
}

impl Counts {
    fn get(&self, key: &Key) -> Option<Count> {
        self.young.get(key).or_else(|| self.old.get(key)).copied()
    }

    /// The count of `key` among the young, from wherever it was.
    fn touch(&mut self, now_ms: u64, key: Key) -> &mut Count {
        if self.young.len() >= KEYS_MAX || now_ms.saturating_sub(self.since_ms) >= FORGET_MS {
            self.old = std::mem::take(&mut self.young);
            self.since_ms = now_ms;
        }
        let before = self.old.remove(&key).unwrap_or_default();
        self.young.entry(key).or_insert(before)
    }
}

/// Who has one address of version 6 mostly has the other 2^64 of its network too.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DELAYS: Delays = Delays {
        first_ms: 500,
        max_ms: 4000,
    };
    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
    const THERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2));

    fn fail(throttle: &Throttle, now_ms: u64, times: u32) -> Vec<Notable> {
        let fail = |_| throttle.failed(now_ms, HERE, "u", DELAYS);
        (0..times).map(fail).collect()
    }

    #[test]
    fn waits_grow_to_their_bound_and_are_told_once() {
        let throttle = Throttle::default();
        let slowed = Notable::Slowed {
            failures: 3,
            whole_address: false,
        };
        assert_eq!(fail(&throttle, 0, 2), [Notable::First, Notable::No]);
        assert_eq!(throttle.admit(0, HERE, "u", DELAYS), Turn::After(0));
        assert_eq!(fail(&throttle, 0, 2), [slowed, Notable::No]);
        // Four wrong ones: the second wait.
        assert_eq!(throttle.admit(0, HERE, "u", DELAYS), Turn::After(1000));
        fail(&throttle, 1000, 10);
        assert_eq!(throttle.admit(1000, HERE, "u", DELAYS), Turn::After(4000));
        assert_eq!(throttle.admit(1000, HERE, "u", DELAYS), Turn::Refused);
        assert_eq!(throttle.admit(9000, HERE, "u", DELAYS), Turn::After(0));
    }

    #[test]
    fn nobody_else_waits() {
        let throttle = Throttle::default();
        fail(&throttle, 0, 10);
        assert_eq!(throttle.admit(0, THERE, "u", DELAYS), Turn::After(0));
        assert_eq!(throttle.admit(0, HERE, "v", DELAYS), Turn::After(0));
        throttle.succeeded(HERE, "u");
        assert_eq!(throttle.admit(0, HERE, "u", DELAYS), Turn::After(0));
    }

    #[test]
    fn many_at_once_are_no_faster_than_one_after_the_other() {
        let throttle = Throttle::default();
        fail(&throttle, 0, 3);
        let turns: Vec<Turn> = (0..10)
            .map(|_| throttle.admit(0, HERE, "u", DELAYS))
            .collect();
        let expected = (1..=8).map(|turn| Turn::After(turn * 500));
        assert!(turns[..8].iter().copied().eq(expected), "{turns:?}");
        assert_eq!(turns[8..], [Turn::Refused, Turn::Refused]);
    }

    #[test]
    fn an_address_that_tries_many_names_waits_too() {
        let throttle = Throttle::default();
        let told: Vec<Notable> = (0..21)
            .map(|name| throttle.failed(0, HERE, &name.to_string(), DELAYS))
            .collect();
        assert_eq!(
            told[19],
            Notable::Slowed {
                failures: 20,
                whole_address: true
            }
        );
        assert_eq!(told[20], Notable::First);
        assert_eq!(throttle.admit(0, HERE, "new", DELAYS), Turn::After(1000));
        let same = "2001:db8::1".parse().expect("an address");
        let network_mate = "2001:db8::ffff:1".parse().expect("an address");
        assert_eq!(network(same), network(network_mate));
    }

    #[test]
    fn counts_are_forgotten_and_bounded() {
        let throttle = Throttle::default();
        fail(&throttle, 0, 10);
        for now_ms in [FORGET_MS, 2 * FORGET_MS] {
            throttle.failed(now_ms, THERE, "v", DELAYS);
        }
        assert_eq!(
            throttle.admit(2 * FORGET_MS, HERE, "u", DELAYS),
            Turn::After(0)
        );
        for name in 0..3 * KEYS_MAX {
            throttle.failed(2 * FORGET_MS, HERE, &name.to_string(), DELAYS);
        }
        let counts = throttle.counts.lock().expect("no panic");
        assert!(counts.young.len() + counts.old.len() <= 2 * KEYS_MAX);
        assert!(
            counts.get(&(HERE, None)).is_some(),
            "what is in use is kept"
        );
    }

    #[test]
    fn zero_is_off() {
        let throttle = Throttle::default();
        let off = Delays {
            first_ms: 0,
            max_ms: 10_000,
        };
        for _ in 0..50 {
            throttle.failed(0, HERE, "u", off);
        }
        assert_eq!(throttle.admit(0, HERE, "u", off), Turn::After(0));
    }
}

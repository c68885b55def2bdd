//! The governor: what the broker uses of memory and disk, who waits for room, and what is said of it.
//!
//! - [`decide`] is the one place that says whether a message may come in.
//! - Who waits is woken when there is room ([`Waiters`]) and listed while there is none ([`Waits`]).
//! - Once a second accounts are looked at: marks that are passed are logged and counted. Nothing here is done for a message
//!   that finds room.

mod decide;
mod waiters;
mod waits;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

pub use decide::{Arriving, NoRoom, no_space};
pub use waiters::Waiters;
pub use waits::{Subject, Wait, WaitReport, Waits};

use self::waits::Told;
use super::Engine;
use crate::broker::Destination;
use crate::broker::governor::{Account, Crossing, Marks, Resource};

/// What has to be known to let messages in, and who waits.
pub struct Governor {
    /// Producers that wait.
    pub waits: Arc<Waits>,
    /// Connections that wait for room in the store.
    store_room: Arc<Waiters>,
    /// The used part of the store in percent, when it was last looked at.
    store_percent: AtomicU64,
    scheduler_bytes_max: AtomicU64,
    marks: Mutex<Vec<(Resource, Marks)>>,
}

/// An account and the marks it has passed.
#[derive(Clone, Debug)]
pub struct AccountReport {
    /// How full it is.
    pub account: Account,
    /// The highest mark it has passed, percent; 0: none.
    pub mark_percent: u64,
    /// Each mark in percent, and how often it was passed upwards.
    pub passed: Vec<(u64, u64)>,
}

/// What can be raised while it is reached (USE-9).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UsageLimits {
    /// For messages in memory.
    pub memory_bytes: u64,
    /// From where on messages are spilled.
    pub memory_mark_bytes: u64,
    /// For the files of the journal; `None`: what the disk has.
    pub store_bytes: Option<u64>,
    /// For messages that are scheduled.
    pub scheduler_bytes: u64,
}

impl Governor {
    /// Nothing is used yet. `store_room` are those who wait for room in the store.
    #[must_use]
    pub fn new(store_room: Arc<Waiters>, scheduler_bytes_max: u64) -> Self {
        Self {
            waits: Arc::default(),
            store_room,
            store_percent: AtomicU64::new(0),
            scheduler_bytes_max: AtomicU64::new(scheduler_bytes_max),
            marks: Mutex::default(),
        }
    }

    /// Octets of messages that may be scheduled.
    #[must_use]
    pub fn scheduler_bytes_max(&self) -> u64 {
        self.scheduler_bytes_max.load(Ordering::Relaxed)
    }
}

impl Engine {
    /// How full each account is.
    #[must_use]
    pub fn accounts(&self) -> Vec<Account> {
        let memory = self.memory_account();
        [Some(memory), self.store_account(), self.temp_account()]
            .into_iter()
            .flatten()
            .collect()
    }

    fn memory_account(&self) -> Account {
        Account {
            resource: Resource::Memory,
            used_bytes: self.memory.used_bytes(),
            limit_bytes: Some(self.memory.limit_bytes()),
            is_full: self.memory.is_full(),
            reason: None,
        }
    }

    /// How full temporary storage is; `None` where nothing is spilled.
    fn temp_account(&self) -> Option<Account> {
        let temp = self.temp()?;
        Some(Account {
            resource: Resource::Temp,
            used_bytes: temp.used_bytes(),
            limit_bytes: Some(temp.limit_bytes()),
            is_full: temp.is_full(),
            reason: None,
        })
    }

    /// How full the store is; `None` without one.
    pub(super) fn store_account(&self) -> Option<Account> {
        let usage = self.store.as_ref()?.usage().ok()?;
        Some(Account {
            resource: Resource::Store,
            used_bytes: usage.bytes_on_disk - usage.bytes_free,
            limit_bytes: usage.bytes_max,
            is_full: usage.is_full,
            reason: usage.shortage.filter(|_| usage.is_full),
        })
    }

    /// How full each account is, and which marks it has passed.
    #[must_use]
    pub fn account_reports(&self) -> Vec<AccountReport> {
        let accounts = self.accounts();
        let marks = self.governor.marks.lock();
        let marks = marks.unwrap_or_else(PoisonError::into_inner);
        let report = |account: Account| {
            let known = marks.iter().find(|(of, _)| *of == account.resource);
            let marks = known.map(|(_, marks)| *marks).unwrap_or_default();
            AccountReport {
                account,
                mark_percent: marks.percent(),
                passed: marks.passed().collect(),
            }
        };
        accounts.into_iter().map(report).collect()
    }

    /// Producers that wait, the one that has waited longest first.
    #[must_use]
    pub fn waiting_producers(&self) -> Vec<WaitReport> {
        self.governor.waits.reports(self.clock.monotonic_ms())
    }

    /// Those of them whose messages go to `destination`: why its producers wait, as data; each prints in words.
    #[must_use]
    pub fn waiting_for(&self, destination: &Destination) -> Vec<WaitReport> {
        let mut waiting = self.waiting_producers();
        waiting.retain(|wait| wait.destinations.contains(destination));
        waiting
    }

    /// What the files of the journal may come to; `None`: what the disk has.
    #[must_use]
    pub fn store_bytes_max(&self) -> Option<u64> {
        self.store.as_ref()?.usage().ok()?.bytes_max
    }

    /// Sets limits; who waits for room goes on if there is some.
    pub fn set_limits(&self, limits: UsageLimits) {
        let memory = &self.memory;
        memory.set_limit_bytes(limits.memory_bytes, limits.memory_mark_bytes);
        let scheduler = &self.governor.scheduler_bytes_max;
        scheduler.store(limits.scheduler_bytes, Ordering::Relaxed);
        if let Some(store) = &self.store {
            store.set_bytes_max(limits.store_bytes);
        }
    }

    /// Looks at accounts and at who waits, and tells the log; once a second.
    pub fn look_at_usage(&self) {
        for account in self.accounts() {
            self.look_at(&account);
        }
        let now_ms = self.clock.monotonic_ms();
        for told in self.governor.waits.look(now_ms) {
            let (Told::Begins(report) | Told::GoesOn(report)) = &told;
            let said = match told {
                Told::Begins(_) => "a producer waits",
                Told::GoesOn(_) => "a producer still waits",
            };
            tracing::warn!(
                destination = report.target(),
                client_id = report.client_id(),
                remote = report.remote(),
                transaction = report.transaction,
                cause = report.cause(),
                sends = report.sends,
                bytes = report.bytes,
                waited_ms = report.waited_ms,
                "{said}"
            );
        }
    }

    fn look_at(&self, account: &Account) {
        let percent = account.percent();
        let resource = account.resource;
        if resource == Resource::Store {
            let known = &self.governor.store_percent;
            known.store(percent, Ordering::Relaxed);
        }
        let marks = self.governor.marks.lock();
        let mut marks = marks.unwrap_or_else(PoisonError::into_inner);
        let at = match marks.iter().position(|(of, _)| *of == resource) {
            Some(at) => at,
            None => {
                marks.push((resource, Marks::default()));
                marks.len() - 1
            }
        };
        let crossing = marks[at].1.look(percent);
        drop(marks);
        let (name, used_bytes) = (resource.name(), account.used_bytes);
        match crossing {
            None => {}
            Some(Crossing::Above(mark @ 100..)) => tracing::warn!(
                account = name,
                mark,
                used_bytes,
                limit_bytes = account.limit_bytes,
                "{account}: {} until there is room; consumers go on",
                resource.at_limit()
            ),
            Some(Crossing::Above(mark)) => tracing::warn!(
                account = name,
                mark,
                used_bytes,
                limit_bytes = account.limit_bytes,
                "{account}; at 100 % {}",
                resource.at_limit()
            ),
            Some(Crossing::Below(mark)) => tracing::info!(
                account = name,
                mark,
                used_bytes,
                limit_bytes = account.limit_bytes,
                "below {mark} % again: {account}"
            ),
        }
    }
}

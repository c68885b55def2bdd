//! What the destinations of each namespace hold together, for its quota (SEC-9).

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use super::Engine;
use super::cell::{Cell, State};
use super::shared;
use crate::broker::Destination;

/// Octets of messages in the destinations of one namespace, those on disk included.
#[derive(Debug, Default)]
pub struct Account(AtomicU64);

impl Account {
    /// How many there are.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// A destination that had `before` has `now`.
    fn move_from(&self, before: u64, now: u64) {
        if now > before {
            self.0.fetch_add(now - before, Ordering::Relaxed);
        } else if now < before {
            self.0.fetch_sub(before - now, Ordering::Relaxed);
        }
    }
}

/// The account of a destination, and how much of it is its own.
#[derive(Default)]
pub(super) struct Share {
    account: Option<Arc<Account>>,
    bytes: u64,
}

impl Share {
    pub(super) fn of(account: Option<Arc<Account>>) -> Self {
        Self { account, bytes: 0 }
    }

    /// Whether anybody counts.
    #[inline]
    pub(super) fn counts(&self) -> bool {
        self.account.is_some()
    }

    /// The destination has so many octets now.
    pub(super) fn settle(&mut self, bytes: u64) {
        if let Some(account) = &self.account {
            account.move_from(self.bytes, bytes);
            self.bytes = bytes;
        }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.settle(0);
    }
}

/// The accounts by the prefix of their namespace.
#[derive(Debug, Default)]
pub struct Accounts {
    by_prefix: RwLock<Vec<(String, Arc<Account>)>>,
}

impl Accounts {
    /// The account of the namespace whose names begin with `prefix`.
    #[must_use]
    pub fn get(&self, prefix: &str) -> Option<Arc<Account>> {
        let accounts = self.by_prefix.read();
        let accounts = accounts.unwrap_or_else(PoisonError::into_inner);
        let found = accounts.iter().find(|(known, _)| known == prefix);
        found.map(|(_, account)| Arc::clone(account))
    }

    pub(super) fn of(&self, destination: &Destination) -> Option<Arc<Account>> {
        let accounts = self.by_prefix.read();
        let accounts = accounts.unwrap_or_else(PoisonError::into_inner);
        let mut accounts = accounts.iter();
        let found = accounts.find(|(prefix, _)| shared::is_within(destination, prefix));
        found.map(|(_, account)| Arc::clone(account))
    }

    fn set(&self, prefixes: Vec<String>) {
        let kept = prefixes.into_iter().map(|prefix| {
            let account = self.get(&prefix).unwrap_or_default();
            (prefix, account)
        });
        let kept = kept.collect();
        *self
            .by_prefix
            .write()
            .unwrap_or_else(PoisonError::into_inner) = kept;
    }
}

impl Engine {
    /// Says which namespaces there are, by the prefixes of their names, and counts what each has.
    pub fn set_namespaces(&self, prefixes: Vec<String>) {
        let accounts = &self.registry.accounts;
        accounts.set(prefixes);
        for cell in self.registry.all() {
            let share = Share::of(accounts.of(&cell.destination));
            cell.recount(share);
        }
    }
}

impl Cell {
    fn recount(&self, share: Share) {
        let mut state = self.lock();
        state.share = share;
        state.settle_share();
    }
}

impl State {
    /// Tells the namespace how much there is.
    #[inline]
    pub(super) fn settle_share(&mut self) {
        if self.share.counts() {
            let bytes = self.machine.bytes();
            self.share.settle(bytes);
        }
    }
}

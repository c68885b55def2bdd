//! Passwords that were right or wrong a short while ago.
//!
//! - A right one, so that ten thousand reconnects do not cost ten thousand verifications.
//! - A wrong one, because a client that sends the same wrong password again and again does not guess: it has an old one,
//!   and must not make those wait who have the new one.
//!
//! What is kept is a keyed hash of name, stored hash and password. The key is random and of this process, so what is
//! kept is of no use to who reads it elsewhere; a password or user that changes has another hash and is not found.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use argon2::password_hash::rand_core::{OsRng, RngCore};
use blake2::Blake2sMac256;
use blake2::digest::{FixedOutput, KeyInit, Update};

use super::password::Password;
use crate::config::HashedPassword;

/// Entries of each kind kept at a time. With more users than this passwords are verified more often.
const ENTRIES_MAX: usize = 64 * 1024;

/// Name, stored hash and password, as one keyed hash. It cannot be chosen without the key, so how it is compared tells
/// nothing.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Digest([u8; 32]);

/// Until when each counts, in monotonic milliseconds.
#[derive(Default)]
struct Digests(Mutex<HashMap<Digest, u64>>);

impl Digests {
    fn hold(&self, now_ms: u64, digest: Digest) -> bool {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known
            .get(&digest)
            .is_some_and(|until_ms| now_ms < *until_ms)
    }

    fn add(&self, now_ms: u64, until_ms: u64, digest: Digest) {
        if until_ms <= now_ms {
            return;
        }
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= ENTRIES_MAX {
            known.retain(|_, until_ms| now_ms < *until_ms);
            if known.len() >= ENTRIES_MAX {
                known.clear();
            }
        }
        known.insert(digest, until_ms);
    }
}

/// Passwords of late.
pub(super) struct Remembered {
    key: [u8; 32],
    right: Digests,
    wrong: Digests,
}

impl Remembered {
    /// Nothing, under a key of its own.
    pub(super) fn new() -> Self {
        let mut key = [0; 32];
        OsRng.fill_bytes(&mut key);
        Self {
            key,
            right: Digests::default(),
            wrong: Digests::default(),
        }
    }

    /// What a password is remembered as; `hash` is the user's, empty if there is no such user.
    pub(super) fn digest(&self, name: &str, hash: &HashedPassword, password: &Password) -> Digest {
        let mut mac = Blake2sMac256::new(&self.key.into());
        for part in [name, hash.reveal()] {
            mac.update(&(part.len() as u64).to_le_bytes());
            mac.update(part.as_bytes());
        }
        mac.update(password.reveal().as_bytes());
        Digest(mac.finalize_fixed().into())
    }

    /// Whether it was right, and that still counts.
    pub(super) fn is_right(&self, now_ms: u64, digest: Digest) -> bool {
        self.right.hold(now_ms, digest)
    }

    /// Whether it was wrong, and that still counts.
    pub(super) fn is_wrong(&self, now_ms: u64, digest: Digest) -> bool {
        self.wrong.hold(now_ms, digest)
    }

    /// Remembers a right one.
    pub(super) fn right(&self, now_ms: u64, until_ms: u64, digest: Digest) {
        self.right.add(now_ms, until_ms, digest);
    }

    /// Remembers a wrong one.
    pub(super) fn wrong(&self, now_ms: u64, until_ms: u64, digest: Digest) {
        self.wrong.add(now_ms, until_ms, digest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_exactly_what_was_for_a_while() {
        let cheap = "$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHQ$";
        let hash = |last: char| {
            let text = format!("{cheap}vNTeFPbTZ7Wzcq1KHaJLQQ4pcJVAXNxkVUxXhuxYMD{last}");
            HashedPassword::parse(&text).expect("a hash")
        };
        let (remembered, password) = (Remembered::new(), Password::new("right"));
        let digest = remembered.digest("u", &hash('g'), &password);
        remembered.right(0, 1000, digest);
        assert!(remembered.is_right(999, digest) && !remembered.is_wrong(999, digest));
        assert!(!remembered.is_right(1000, digest), "too late");
        for (other, what) in [
            (
                remembered.digest("v", &hash('g'), &password),
                "another user",
            ),
            (
                remembered.digest("u", &hash('k'), &password),
                "a changed password",
            ),
            (
                remembered.digest("u", &HashedPassword::default(), &password),
                "no such user",
            ),
            (
                remembered.digest("u", &hash('g'), &Password::new("wrong")),
                "another password",
            ),
            (
                Remembered::new().digest("u", &hash('g'), &password),
                "another key",
            ),
        ] {
            assert!(!remembered.is_right(0, other), "{what}");
            remembered.wrong(0, 1000, other);
            assert!(
                remembered.is_wrong(999, other) && !remembered.is_right(0, other),
                "{what}"
            );
        }
        remembered.right(7, 7, remembered.digest("w", &hash('g'), &password));
        let right = remembered.right.0.lock().expect("no panic");
        assert_eq!(right.len(), 1, "no time: off");
    }
}

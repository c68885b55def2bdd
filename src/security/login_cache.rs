//! Passwords that were right a short while ago, so that ten thousand reconnects do not cost ten thousand
//! verifications.
//!
//! What is kept is a keyed hash of name, stored hash and password. The key is random and of this process, so what is
//! kept is of no use to who reads it elsewhere; a password or user that changes has another hash and is not found.
//! Only right passwords get in.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use argon2::password_hash::rand_core::{OsRng, RngCore};
use blake2::Blake2sMac256;
use blake2::digest::{FixedOutput, KeyInit, Update};

use super::password::Password;
use crate::config::HashedPassword;

/// Entries kept at a time. A broker with more users than this verifies more often.
const ENTRIES_MAX: usize = 64 * 1024;

type Digest = [u8; 32];

/// Right logins of late.
pub(super) struct LoginCache {
    key: [u8; 32],
    /// Until when each counts, in monotonic milliseconds.
    until_ms: Mutex<HashMap<Digest, u64>>,
}

impl LoginCache {
    /// An empty cache with a key of its own.
    pub(super) fn new() -> Self {
        let mut key = [0; 32];
        OsRng.fill_bytes(&mut key);
        Self {
            key,
            until_ms: Mutex::default(),
        }
    }

    /// Whether this password was right for this user and hash, and still counts.
    pub(super) fn knows(
        &self,
        now_ms: u64,
        name: &str,
        hash: &HashedPassword,
        password: &Password,
    ) -> bool {
        let digest = self.digest(name, hash, password);
        let known = self.until_ms.lock().unwrap_or_else(PoisonError::into_inner);
        // The digest cannot be chosen without the key, so how the map compares tells nothing.
        known
            .get(&digest)
            .is_some_and(|until_ms| now_ms < *until_ms)
    }

    /// Remembers a right password.
    pub(super) fn remember(
        &self,
        now_ms: u64,
        until_ms: u64,
        name: &str,
        hash: &HashedPassword,
        password: &Password,
    ) {
        if until_ms <= now_ms {
            return;
        }
        let digest = self.digest(name, hash, password);
        let mut known = self.until_ms.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= ENTRIES_MAX {
            known.retain(|_, until_ms| now_ms < *until_ms);
            if known.len() >= ENTRIES_MAX {
                known.clear();
            }
        }
        known.insert(digest, until_ms);
    }

    fn digest(&self, name: &str, hash: &HashedPassword, password: &Password) -> Digest {
        let mut mac = Blake2sMac256::new(&self.key.into());
        for part in [name, hash.reveal()] {
            mac.update(&(part.len() as u64).to_le_bytes());
            mac.update(part.as_bytes());
        }
        mac.update(password.reveal().as_bytes());
        mac.finalize_fixed().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_exactly_what_was_right_for_a_while() {
        let cheap = "$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHQ$";
        let hash = |last: char| {
            let text = format!("{cheap}vNTeFPbTZ7Wzcq1KHaJLQQ4pcJVAXNxkVUxXhuxYMD{last}");
            HashedPassword::parse(&text).expect("a hash")
        };
        let (cache, right) = (LoginCache::new(), Password::new("right"));
        cache.remember(0, 1000, "u", &hash('g'), &right);
        assert!(cache.knows(999, "u", &hash('g'), &right));
        assert!(!cache.knows(1000, "u", &hash('g'), &right), "too late");
        assert!(!cache.knows(0, "v", &hash('g'), &right), "another user");
        assert!(
            !cache.knows(0, "u", &hash('k'), &right),
            "a changed password"
        );
        assert!(!cache.knows(0, "u", &hash('g'), &Password::new("wrong")));
        assert!(
            !LoginCache::new().knows(0, "u", &hash('g'), &right),
            "another key"
        );
        cache.remember(0, 0, "v", &hash('g'), &right);
        assert_eq!(cache.until_ms.lock().expect("no panic").len(), 1, "0: off");
    }
}

//! Passwords: a type that does not show them, and their hashes.

use std::fmt;

use argon2::password_hash::rand_core::OsRng;
use argon2::password_hash::{PasswordHasher, PasswordVerifier, SaltString};
use argon2::{Argon2, PasswordHash};

use crate::config::HashedPassword;

/// A password as somebody sent it. Its `Debug` shows nothing.
#[derive(Clone)]
pub struct Password(String);

impl Password {
    /// Takes a password over.
    #[must_use]
    pub fn new(password: impl Into<String>) -> Self {
        Self(password.into())
    }

    pub(super) fn reveal(&self) -> &str {
        &self.0
    }

    /// Hashes it with argon2id and a salt of its own, to stand in a file. Takes some 30 ms and 19 MiB.
    ///
    /// # Errors
    /// The password is longer than argon2 takes.
    pub fn hash(&self) -> Result<HashedPassword, String> {
        let salt = SaltString::generate(&mut OsRng);
        let hash = Argon2::default()
            .hash_password(self.0.as_bytes(), &salt)
            .map_err(|error| format!("the password cannot be hashed: {error}"))?;
        HashedPassword::parse(&hash.to_string())
    }

    /// Whether it is the one that was hashed. Takes as long as the hash was made to take; the comparison itself takes
    /// the same time whatever it finds.
    #[must_use]
    pub fn matches(&self, hash: &HashedPassword) -> bool {
        let Ok(hash) = PasswordHash::new(hash.reveal()) else {
            // An empty one: no password will do.
            return false;
        };
        Argon2::default()
            .verify_password(self.0.as_bytes(), &hash)
            .is_ok()
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("hidden")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_password_itself_matches() {
        let password = Password::new("correct horse");
        let hash = password.hash().expect("a hash");
        assert!(password.matches(&hash));
        for wrong in ["correct hors", "Correct horse", ""] {
            assert!(!Password::new(wrong).matches(&hash), "{wrong}");
        }
        assert!(!password.matches(&HashedPassword::default()));
        assert!(!Password::new("").matches(&HashedPassword::default()));
        assert_ne!(password.hash().expect("another"), hash, "a salt each");
        assert_eq!(format!("{password:?}"), "hidden");
    }
}

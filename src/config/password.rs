//! A password as it may stand in a file: hashed with argon2id, or not at all.
//!
//! - Only its form is looked at here; `security/password.rs` verifies.
//! - Neither `Debug` nor a refusal shows it: a hash helps who guesses, and what was refused is probably the password.

use std::fmt;

use argon2::{Algorithm, Params};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::leaf::{Leaf, Literal, quoted};

/// The hash of a password as a PHC string, `$argon2id$v=19$m=…,t=…,p=…$salt$hash`; empty: no password will do.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct HashedPassword(String);

/// The most memory one verification may take. More is a mistake, or a way to bring the broker down.
const MEMORY_KIB_MAX: u32 = 1 << 20;
/// The most passes over it.
const PASSES_MAX: u32 = 64;

impl HashedPassword {
    /// Reads the hash.
    ///
    /// # Errors
    /// What is wrong with it, without showing it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if text.is_empty() {
            return Ok(Self::default());
        }
        let Ok(hash) = argon2::PasswordHash::new(text) else {
            return Err("is no password hash, so perhaps the password itself; make the hash with `ferrymq passwd`".to_owned());
        };
        if hash.algorithm != Algorithm::Argon2id.ident() {
            return Err(format!(
                "is a hash of {}, expected one of argon2id; make it with `ferrymq passwd`",
                hash.algorithm
            ));
        }
        let complete = hash.salt.is_some() && hash.hash.is_some();
        match Params::try_from(&hash) {
            Ok(params) if complete => {
                if params.m_cost() > MEMORY_KIB_MAX || params.t_cost() > PASSES_MAX {
                    return Err(format!(
                        "is a hash that costs too much: at most m={MEMORY_KIB_MAX} and t={PASSES_MAX} are accepted"
                    ));
                }
                Ok(Self(text.to_owned()))
            }
            _ => Err("is a damaged password hash; make it anew with `ferrymq passwd`".to_owned()),
        }
    }

    /// Whether no password will do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The PHC string, for who verifies or writes it.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for HashedPassword {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_empty() { "none" } else { "hidden" })
    }
}

impl Leaf for HashedPassword {
    const EXPECTED: &'static str = "a password hash as `ferrymq passwd` makes it";

    fn read(literal: &Literal<'_>) -> Result<Self, String> {
        match literal {
            Literal::Text(text) => Self::parse(text),
            _ => Err(format!("expected {}", Self::EXPECTED)),
        }
    }

    fn to_toml(&self) -> String {
        quoted(&self.0)
    }
}

impl Serialize for HashedPassword {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for HashedPassword {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHEAP: &str =
        "$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHQ$vNTeFPbTZ7Wzcq1KHaJLQQ4pcJVAXNxkVUxXhuxYMDg";

    #[test]
    fn takes_argon2id_only_and_shows_nothing() {
        let hash = HashedPassword::parse(CHEAP).expect("a hash");
        assert_eq!(hash.reveal(), CHEAP);
        assert_eq!(format!("{hash:?}"), "hidden");
        assert!(HashedPassword::parse("").expect("none").is_empty());
        for (text, part) in [
            ("hunter2", "make the hash with `ferrymq passwd`"),
            (
                &CHEAP.replace("argon2id", "argon2d"),
                "of argon2d, expected one of argon2id",
            ),
            (&CHEAP.replace("m=8", "m=4194304"), "costs too much"),
            ("$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHQ", "damaged"),
        ] {
            let refusal = HashedPassword::parse(text).expect_err("refused");
            assert!(refusal.contains(part), "{refusal}");
            assert!(
                !refusal.contains("hunter2") && !refusal.contains("c29t"),
                "{refusal}"
            );
        }
        assert!(
            !HashedPassword::read(&Literal::Integer(1234))
                .expect_err("a number")
                .contains("1234")
        );
    }
}

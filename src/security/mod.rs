//! Who may come in, and what they may do. Knows no protocol: adapters ask with names and destinations.
//!
//! - Users and rules are an immutable [`snapshot`] that a reload swaps for the next. A connection compares pointers to
//!   see that, see [`Access::refresh`].
//! - Passwords are verified on threads for blocking work, a few at a time, see [`login`]. What was right or wrong is
//!   [`remembered`] for a short while; each further wrong one makes the next wait ([`throttle`]).
//! - Nothing here logs, shows or returns a password or its hash.

mod access;
mod acl;
mod login;
mod password;
mod remembered;
mod snapshot;
mod throttle;
pub mod users_file;

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use thiserror::Error;
use tokio::sync::Semaphore;

pub use access::{Access, Change, Denied, Rights};
pub use acl::Right;
pub use login::{Attempt, Login, PendingLogin};
pub use password::Password;
pub use snapshot::{Namespace, SecurityError};

use crate::broker::pattern::Syntax;
use crate::clock::Clock;
use crate::config;
use access::UserConnections;
use remembered::Remembered;
use snapshot::Snapshot;
use throttle::Throttle;

/// Why somebody was not let in. The texts are for the client and say no more than it needs.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Refused {
    /// Name or password is wrong or missing, or too many were (CON-7).
    #[error("User name [{name}] or password is invalid.")]
    Invalid {
        /// The name as it was sent; empty without one.
        name: String,
    },
    /// The user has as many connections as it may (SEC-9).
    #[error(
        "User {name} has {max} connections already, which is the most it may have (connections_max)"
    )]
    Connections {
        /// The user.
        name: String,
        /// The limit.
        max: u32,
    },
    /// The user's namespace has as many connections as it may (SEC-9).
    #[error(
        "Namespace {name} has {max} connections already, which is the most it may have (security.namespace: \
         connections_max)"
    )]
    Namespace {
        /// The namespace.
        name: String,
        /// The limit.
        max: u32,
    },
}

/// Users, rules, and what is remembered of logins.
pub struct Security {
    current: ArcSwap<Snapshot>,
    remembered: Remembered,
    throttle: Throttle,
    verifications: Arc<Semaphore>,
    connections: UserConnections,
    syntax: Syntax,
    clock: Clock,
}

impl Security {
    /// Compiles the configuration, which has been checked, and reads the users file. Names of destinations are read by
    /// `syntax`, in rules and in what is asked for.
    ///
    /// # Errors
    /// The users file is wrong.
    pub fn new(
        settings: &config::Security,
        syntax: Syntax,
        clock: Clock,
    ) -> Result<Arc<Self>, SecurityError> {
        let snapshot = Snapshot::of(settings, syntax)?;
        Ok(Arc::new(Self {
            current: ArcSwap::from_pointee(snapshot),
            remembered: Remembered::new(),
            throttle: Throttle::default(),
            verifications: Arc::new(Semaphore::new(settings.verifications_max as usize)),
            connections: UserConnections::default(),
            syntax,
            clock,
        }))
    }

    /// Replaces users and rules; reads the users file. Connections see it at their next [`Access::refresh`]. How many
    /// passwords are verified at a time stays as it was.
    ///
    /// # Errors
    /// The users file is wrong; everything stays as it was.
    pub fn reload(&self, settings: &config::Security) -> Result<(), SecurityError> {
        let snapshot = Snapshot::of(settings, self.syntax)?;
        let rules = settings.acl.len();
        tracing::info!(
            users = snapshot.len(),
            rules,
            "users and access rules read again"
        );
        self.current.store(Arc::new(snapshot));
        Ok(())
    }
}

impl fmt::Debug for Security {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Security")
            .field("users", &self.current.load().len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;

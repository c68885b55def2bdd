//! What one connection may do: who it is, under the users and rules of the moment.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use super::acl::Right;
use super::snapshot::{Identity, Snapshot};
use super::{Refused, Security};
use crate::broker::{Destination, Kind};

/// Why something was not allowed; its text is that of ERR-5.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denied {
    user: Arc<str>,
    right: Right,
    destination: Destination,
}

impl fmt::Display for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            user,
            right,
            destination,
        } = self;
        let (prefix, name) = match destination.temporary_id() {
            Some(id) => ("temp-", id),
            None => ("", destination.name.as_str()),
        };
        let scheme = match destination.kind {
            Kind::Queue => "queue",
            Kind::Topic => "topic",
        };
        write!(
            f,
            "User {user} is not authorized to {right}: {prefix}{scheme}://{name}"
        )
    }
}

/// What has become of the rights of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Nothing.
    None,
    /// Users or rules are others: decisions remembered count no more.
    Changed,
    /// The user may not come in any more.
    Gone,
}

/// The rights of one connection. Whoever holds it counts as one of the user's connections.
pub struct Access {
    security: Arc<Security>,
    snapshot: Arc<Snapshot>,
    identity: Identity,
    _counted: Option<Counted>,
}

impl Access {
    /// Lets an identity in, unless it has as many connections as it may.
    pub(super) fn grant(
        security: &Arc<Security>,
        snapshot: Arc<Snapshot>,
        identity: Identity,
    ) -> Result<Self, Refused> {
        let counted = match identity.connections_max {
            0 => None,
            max => Some(security.connections.count(&identity.name, max)?),
        };
        Ok(Self {
            security: Arc::clone(security),
            snapshot,
            identity,
            _counted: counted,
        })
    }

    /// The user's name; what the client says of itself if nobody has to log in.
    #[must_use]
    pub fn user(&self) -> &str {
        &self.identity.name
    }

    /// The user's name for the header JMSXUserID, if receivers are to be told and it is known (SEC-11).
    #[must_use]
    pub fn user_id(&self) -> Option<&str> {
        let told = self.snapshot.populate_user_id && !self.snapshot.is_open();
        told.then(|| self.user())
    }

    /// Looks whether users or rules have changed since the last look: a comparison of pointers if not. What the
    /// connection may do afterwards is what they say now.
    pub fn refresh(&mut self) -> Change {
        let now = self.security.current.load();
        if Arc::ptr_eq(&now, &self.snapshot) {
            return Change::None;
        }
        let now = Arc::clone(&now);
        let Some(identity) = now.again(&self.identity) else {
            return Change::Gone;
        };
        self.identity = identity;
        self.snapshot = now;
        Change::Changed
    }

    /// Whether the connection has the right, as of the last [`Access::refresh`]. Remember the answer for a name rather
    /// than asking for each message: rules are gone through one by one.
    ///
    /// # Errors
    /// No rule allows it.
    pub fn check(&self, right: Right, destination: &Destination) -> Result<(), Denied> {
        let Identity { name, groups, .. } = &self.identity;
        match &self.snapshot.acl {
            Some(acl) if !acl.allows(name, groups, right, destination) => Err(Denied {
                user: Arc::clone(name),
                right,
                destination: destination.clone(),
            }),
            _ => Ok(()),
        }
    }
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Access")
            .field("identity", &self.identity)
            .finish_non_exhaustive()
    }
}

/// Connections of users that may have only so many (SEC-9).
#[derive(Default)]
pub(super) struct UserConnections {
    open: Arc<Mutex<HashMap<Arc<str>, u32>>>,
}

impl UserConnections {
    fn count(&self, name: &Arc<str>, max: u32) -> Result<Counted, Refused> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let count = open.entry(Arc::clone(name)).or_default();
        if *count >= max {
            return Err(Refused::Connections {
                name: name.to_string(),
                max,
            });
        }
        *count += 1;
        Ok(Counted {
            open: Arc::clone(&self.open),
            name: Arc::clone(name),
        })
    }
}

/// One connection of a user, while it lives.
struct Counted {
    open: Arc<Mutex<HashMap<Arc<str>, u32>>>,
    name: Arc<str>,
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Entry::Occupied(mut count) = open.entry(Arc::clone(&self.name)) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }
}

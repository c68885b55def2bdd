//! What one connection may do: who it is, under the users and rules of the moment.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use super::acl::Right;
use super::snapshot::{Identity, Namespace, Proof, Snapshot};
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
            None => ("", &*destination.name),
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

/// What one user may do, as of one moment; for who asks later, or elsewhere.
#[derive(Clone)]
pub struct Rights {
    snapshot: Arc<Snapshot>,
    identity: Identity,
}

impl Rights {
    /// Whether the user has the right.
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

    /// Whether the user may see and remove what `owner`, empty if nobody known, has scheduled for a destination: it is the
    /// user's own, or the user may remove the destination (SCH-8). What is in other namespaces is not there.
    #[must_use]
    pub fn may_manage(&self, destination: &Destination, owner: &str) -> bool {
        let namespace = self.identity.namespace.as_ref();
        let inside = namespace.is_none_or(|one| destination.is_within(&one.prefix));
        let own = !owner.is_empty() && proven(&self.identity) == Some(owner);
        inside && (own || self.check(Right::Remove, destination).is_ok())
    }
}

/// The user's name, if it was proven to be that.
fn proven(identity: &Identity) -> Option<&str> {
    match identity.proof {
        Proof::Password | Proof::Certificate(_) => Some(&identity.name),
        Proof::None | Proof::Anonymous => None,
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
    /// The user's destinations are elsewhere.
    Moved,
}

/// The rights of one connection. Whoever holds it counts as one of the user's connections.
pub struct Access {
    security: Arc<Security>,
    rights: Rights,
    _counted: [Option<Counted>; 2],
}

impl Access {
    /// Lets an identity in, unless it has as many connections as it may.
    pub(super) fn grant(
        security: &Arc<Security>,
        snapshot: Arc<Snapshot>,
        identity: Identity,
    ) -> Result<Self, Refused> {
        let connections = &security.connections;
        let own = match identity.connections_max {
            0 => None,
            max => {
                let name = identity.name.to_string();
                let refused = Refused::Connections { name, max };
                Some(connections.count(&identity.name, max, refused)?)
            }
        };
        let namespace = identity.namespace.as_ref();
        let shared = match namespace.filter(|one| one.connections_max > 0) {
            None => None,
            Some(namespace) => {
                let (name, max) = (namespace.name.clone(), namespace.connections_max);
                // No user is called so.
                let key = format!(":{name}").into();
                Some(connections.count(&key, max, Refused::Namespace { name, max })?)
            }
        };
        Ok(Self {
            security: Arc::clone(security),
            rights: Rights { snapshot, identity },
            _counted: [own, shared],
        })
    }

    /// What the user may do as of the last [`Access::refresh`], for others to ask.
    #[must_use]
    pub fn rights(&self) -> Rights {
        self.rights.clone()
    }

    /// The user's name, if it has proven to be that.
    #[must_use]
    pub fn proven_user(&self) -> Option<&str> {
        proven(&self.rights.identity)
    }

    /// Where the user's destinations are, if not among all others.
    #[must_use]
    pub fn namespace(&self) -> Option<&Arc<Namespace>> {
        self.rights.identity.namespace.as_ref()
    }

    /// The user's name; what the client says of itself if nobody has to log in.
    #[must_use]
    pub fn user(&self) -> &str {
        &self.rights.identity.name
    }

    /// The user's name for the header JMSXUserID, if receivers are to be told and it is known (SEC-11).
    #[must_use]
    pub fn user_id(&self) -> Option<&str> {
        let snapshot = &self.rights.snapshot;
        let told = snapshot.populate_user_id && !snapshot.is_open();
        told.then(|| self.user())
    }

    /// Looks whether users or rules have changed since the last look: a comparison of pointers if not. What the
    /// connection may do afterwards is what they say now.
    pub fn refresh(&mut self) -> Change {
        let now = self.security.current.load();
        if Arc::ptr_eq(&now, &self.rights.snapshot) {
            return Change::None;
        }
        let now = Arc::clone(&now);
        let Some(identity) = now.again(&self.rights.identity) else {
            return Change::Gone;
        };
        let prefix =
            |identity: &Identity| identity.namespace.as_ref().map(|one| one.prefix.clone());
        let moved = prefix(&identity) != prefix(&self.rights.identity);
        self.rights = Rights {
            snapshot: now,
            identity,
        };
        if moved {
            Change::Moved
        } else {
            Change::Changed
        }
    }

    /// Whether the connection has the right, as of the last [`Access::refresh`]. Remember the answer for a name rather
    /// than asking for each message: rules are gone through one by one.
    ///
    /// # Errors
    /// No rule allows it.
    pub fn check(&self, right: Right, destination: &Destination) -> Result<(), Denied> {
        self.rights.check(right, destination)
    }
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Access")
            .field("identity", &self.rights.identity)
            .finish_non_exhaustive()
    }
}

/// Connections of users and namespaces that may have only so many (SEC-9).
#[derive(Default)]
pub(super) struct UserConnections {
    open: Arc<Mutex<HashMap<Arc<str>, u32>>>,
}

impl UserConnections {
    fn count(&self, name: &Arc<str>, max: u32, refused: Refused) -> Result<Counted, Refused> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let count = open.entry(Arc::clone(name)).or_default();
        if *count >= max {
            return Err(refused);
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

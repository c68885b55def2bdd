//! Users and access rules at one moment: made whole, never changed, swapped for the next.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use thiserror::Error;

use super::acl::{Acl, Who};
use super::throttle::Delays;
use super::users_file::{self, UsersFileError};
use crate::broker::pattern::Syntax;
use crate::config::{self, Security as Settings, User};

/// Why users and rules could not be read; nothing has changed then.
#[derive(Debug, Error)]
pub enum SecurityError {
    /// The users file is wrong.
    #[error(transparent)]
    UsersFile(#[from] UsersFileError),
    /// A user stands in two places.
    #[error(
        "the user {name} stands in {file}, which is security.users_file, and in a [[security.user]] too"
    )]
    Twice {
        /// The user.
        name: String,
        /// The users file.
        file: String,
    },
}

/// Who somebody is, and how that is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Proof {
    /// Nobody has to log in; the name is what the client says, or nothing.
    None,
    /// The password was right.
    Password,
    /// The certificate of this subject stands for the user.
    Certificate(String),
    /// Neither was sent, and need not be.
    Anonymous,
}

/// A user who has come in.
#[derive(Clone, Debug)]
pub(super) struct Identity {
    pub(super) name: Arc<str>,
    pub(super) proof: Proof,
    pub(super) groups: Vec<String>,
    /// Connections at a time; 0: any number.
    pub(super) connections_max: u32,
    /// Where its destinations are.
    pub(super) namespace: Option<Arc<Namespace>>,
}

/// Where the destinations of some users are, and how much of them there may be (SEC-9).
#[derive(Debug)]
pub struct Namespace {
    /// Its name.
    pub name: String,
    /// What names begin with in the broker: the name and a dot.
    pub prefix: String,
    /// Connections at a time; 0: any number.
    pub connections_max: u32,
    /// Destinations, temporary ones included; 0: any number.
    pub destinations_max: u32,
    /// Octets of messages in them; 0: any number.
    pub bytes_max: u64,
}

impl Namespace {
    fn of(settings: &config::Namespace) -> (Who, Arc<Self>) {
        let namespace = Self {
            name: settings.name.clone(),
            prefix: format!("{}.", settings.name),
            connections_max: settings.connections_max,
            destinations_max: settings.destinations_max,
            bytes_max: settings.bytes_max.bytes(),
        };
        (Who::of(&settings.who), Arc::new(namespace))
    }
}

/// The compiled configuration.
#[derive(Debug)]
pub(super) struct Snapshot {
    is_on: bool,
    users: HashMap<String, User>,
    user_by_subject: HashMap<String, String>,
    anonymous: Option<(Arc<str>, String)>,
    namespaces: Vec<(Who, Arc<Namespace>)>,
    pub(super) acl: Option<Acl>,
    pub(super) delays: Delays,
    pub(super) login_cache_ms: u64,
    pub(super) populate_user_id: bool,
}

impl Snapshot {
    /// Compiles settings that have been checked; reads the users file.
    pub(super) fn of(settings: &Settings, syntax: Syntax) -> Result<Self, SecurityError> {
        let file = &settings.users_file;
        let mut users = HashMap::new();
        for user in &settings.user {
            users.insert(user.name.clone(), user.clone());
        }
        if !file.is_empty() {
            for user in users_file::read(Path::new(file))? {
                if let Some(twice) = users.insert(user.name.clone(), user) {
                    let (name, file) = (twice.name, file.clone());
                    return Err(SecurityError::Twice { name, file });
                }
            }
        }
        let certificates = settings.certificate.iter();
        let anonymous = (&settings.anonymous_user, &settings.anonymous_group);
        Ok(Self {
            is_on: settings.is_on(),
            users,
            user_by_subject: certificates
                .map(|known| (normal(&known.dn), known.user.clone()))
                .collect(),
            anonymous: settings
                .anonymous_access
                .then(|| (anonymous.0.as_str().into(), anonymous.1.clone())),
            namespaces: settings.namespace.iter().map(Namespace::of).collect(),
            acl: Acl::of(&settings.acl, syntax),
            delays: Delays {
                first_ms: settings.login_delay.as_millis(),
                max_ms: settings.login_delay_max.as_millis(),
            },
            login_cache_ms: settings.login_cache.as_millis(),
            populate_user_id: settings.populate_jmsx_user_id,
        })
    }

    /// Whether anybody may come in under any name.
    pub(super) fn is_open(&self) -> bool {
        !self.is_on
    }

    pub(super) fn user(&self, name: &str) -> Option<&User> {
        self.users.get(name)
    }

    /// How many users there are.
    pub(super) fn len(&self) -> usize {
        self.users.len()
    }

    /// Some user, whose hash is verified in place of one that is not there.
    pub(super) fn any_user(&self) -> Option<&User> {
        self.users.values().find(|user| !user.password.is_empty())
    }

    /// Who somebody is who needs no proof.
    pub(super) fn stranger(claimed: Option<&str>) -> Identity {
        Identity {
            name: claimed.unwrap_or_default().into(),
            proof: Proof::None,
            groups: Vec::new(),
            connections_max: 0,
            namespace: None,
        }
    }

    /// Who somebody is who sent neither name nor password (SEC-3).
    pub(super) fn anonymous(&self) -> Option<Identity> {
        let (name, group) = self.anonymous.as_ref()?;
        Some(Identity {
            name: Arc::clone(name),
            proof: Proof::Anonymous,
            groups: vec![group.clone()],
            connections_max: 0,
            namespace: self.namespace_of(name, std::slice::from_ref(group)),
        })
    }

    /// Who has a certificate of that subject (SEC-8).
    pub(super) fn by_subject(&self, dn: &str) -> Option<Identity> {
        let user = self.user(self.user_by_subject.get(&normal(dn))?)?;
        Some(self.identity(user, Proof::Certificate(dn.to_owned())))
    }

    /// Who has shown the password of `user`.
    pub(super) fn by_password(&self, user: &User) -> Identity {
        self.identity(user, Proof::Password)
    }

    fn identity(&self, user: &User, proof: Proof) -> Identity {
        Identity {
            name: user.name.as_str().into(),
            proof,
            groups: user.groups.clone(),
            connections_max: user.connections_max,
            namespace: self.namespace_of(&user.name, &user.groups),
        }
    }

    fn namespace_of(&self, user: &str, groups: &[String]) -> Option<Arc<Namespace>> {
        let mut namespaces = self.namespaces.iter();
        let found = namespaces.find(|(who, _)| who.holds(user, groups));
        found.map(|(_, namespace)| Arc::clone(namespace))
    }

    /// Who somebody is now who came in under an earlier snapshot; `None` if they would not come in any more. Passwords
    /// are not asked again.
    pub(super) fn again(&self, before: &Identity) -> Option<Identity> {
        if self.is_open() {
            return Some(Self::stranger(Some(&before.name)));
        }
        match &before.proof {
            Proof::None => None,
            Proof::Anonymous => self.anonymous(),
            Proof::Password => Some(self.by_password(self.user(&before.name)?)),
            Proof::Certificate(dn) => self.by_subject(dn),
        }
    }
}

/// A subject as it is compared: no blanks around `,` and `=`, types of attributes in capitals. Values count to the
/// letter, as does their order.
fn normal(dn: &str) -> String {
    let mut parts: Vec<String> = Vec::new();
    let mut open = false;
    for part in dn.split(',') {
        // A comma behind a backslash belongs to the value.
        match parts.last_mut() {
            Some(last) if open => {
                last.push(',');
                last.push_str(part);
            }
            _ => parts.push(part.to_owned()),
        }
        let backslashes = part.len() - part.trim_end_matches('\\').len();
        open = backslashes % 2 == 1;
    }
    let normal = parts.iter().map(|part| match part.split_once('=') {
        Some((kind, value)) => format!("{}={}", kind.trim().to_ascii_uppercase(), value.trim()),
        None => part.trim().to_owned(),
    });
    normal.collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subjects_are_compared_in_one_form() {
        assert_eq!(normal("cn = orders , o=Example"), "CN=orders,O=Example");
        assert_eq!(normal("CN=a\\, b,O=c"), "CN=a\\, b,O=c");
        assert_ne!(normal("CN=Orders"), normal("CN=orders"));
        assert_ne!(normal("CN=a,O=b"), normal("O=b,CN=a"));
    }
}

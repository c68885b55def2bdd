//! Names of destinations.

use std::fmt;
use std::sync::Arc;

/// Queue or topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// Point to point: each message goes to one consumer.
    Queue,
    /// Publish and subscribe: each message goes to every subscription.
    Topic,
}

/// A destination: its kind and its name, case sensitive (DST-1).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Destination {
    /// Queue or topic.
    pub kind: Kind,
    /// The name without any prefix. Shared: many things remember the destination they belong to.
    pub name: Arc<str>,
}

impl Destination {
    /// The queue `name`.
    #[must_use]
    pub fn queue(name: impl Into<Arc<str>>) -> Self {
        Self {
            kind: Kind::Queue,
            name: name.into(),
        }
    }

    /// The topic `name`.
    #[must_use]
    pub fn topic(name: impl Into<Arc<str>>) -> Self {
        Self {
            kind: Kind::Topic,
            name: name.into(),
        }
    }

    /// The temporary destination `id` (DST-9). No other name begins with a comma: in a header it separates names.
    #[must_use]
    pub fn temporary(kind: Kind, id: &str) -> Self {
        Self {
            kind,
            name: format!(",{id}").into(),
        }
    }

    /// The id of a temporary destination.
    #[must_use]
    pub fn temporary_id(&self) -> Option<&str> {
        self.name.strip_prefix(',')
    }

    /// Whether it lives with a connection.
    #[must_use]
    pub fn is_temporary(&self) -> bool {
        self.temporary_id().is_some()
    }

    /// Whether the broker reports there what happens to it (ADV).
    #[must_use]
    pub fn is_advisory(&self) -> bool {
        self.kind == Kind::Topic && self.name.starts_with(super::advisory::PREFIX)
    }

    /// Its name, or its id if it is a temporary one.
    #[must_use]
    pub fn physical_name(&self) -> &str {
        self.temporary_id().unwrap_or(&self.name)
    }

    /// The name with its kind, as JMS shows it: `queue://orders`, `temp-topic://ID-1`.
    #[must_use]
    pub fn uri(&self) -> String {
        let prefix = if self.is_temporary() { "temp-" } else { "" };
        let kind = match self.kind {
            Kind::Queue => "queue",
            Kind::Topic => "topic",
        };
        format!("{prefix}{kind}://{}", self.physical_name())
    }

    /// Whether its name, or the id of a temporary one, begins with `prefix`.
    #[must_use]
    pub fn is_within(&self, prefix: &str) -> bool {
        let name = self.temporary_id().unwrap_or(&self.name);
        name.starts_with(prefix)
    }

    /// Reads what [`fmt::Display`] writes.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let queue = text.strip_prefix("/queue/").map(Self::queue);
        queue.or_else(|| text.strip_prefix("/topic/").map(Self::topic))
    }

    /// Whether some level of the name is a wildcard, `*` or `>` (DST-5).
    #[must_use]
    pub fn is_wildcard(&self) -> bool {
        self.name
            .split('.')
            .any(|level| level == "*" || level == ">")
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            Kind::Queue => "queue",
            Kind::Topic => "topic",
        };
        match self.temporary_id() {
            Some(id) => write!(f, "/remote-temp-{kind}/{id}"),
            None => write!(f, "/{kind}/{}", self.name),
        }
    }
}

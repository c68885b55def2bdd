//! Durable subscriptions of a topic that several connections share, as RabbitMQ has them (section 10).
//!
//! Each is a queue of our own that gets a copy of whatever is sent to the topic. Its name tells the topic, so a start, or
//! a topic that is made later, finds the route again. It counts as the topic's own for the namespace of that (SEC-9).

use std::sync::Arc;

use ferrymq_store::{StoreError, Ticket};

use super::Engine;
use super::cell::{Cell, Machine, Work};
use super::routes::Cause;
use crate::broker::{Destination, Kind};

/// What the names of such queues begin with; no client names one.
pub const SHARED_PREFIX: &str = "ActiveMQ.Shared.";

/// Why a shared durable subscription was not removed.
#[derive(Debug, thiserror::Error)]
pub enum SharedError {
    /// There is none of that name.
    #[error("there is no such durable subscription")]
    Unknown,
    /// Somebody consumes it.
    #[error("it has consumers")]
    InUse,
    /// The journal refused.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The queue behind the subscription `name` of `topic`.
#[must_use]
pub fn queue_of(topic: &Destination, name: &str) -> Destination {
    let mut queue = SHARED_PREFIX.to_owned();
    // One level, whatever stands in it, so that the rest is the topic.
    for octet in name.bytes() {
        match octet {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' => queue.push(octet.into()),
            _ => queue.push_str(&format!("%{octet:02x}")),
        }
    }
    Destination::queue(format!("{queue}.{}", topic.name))
}

/// The name of the topic whose messages go to `queue` too, if that is one of ours.
#[must_use]
pub fn topic_of(queue: &Destination) -> Option<&str> {
    let name = queue.name.strip_prefix(SHARED_PREFIX)?;
    let (_, topic) = name.split_once('.')?;
    (queue.kind == Kind::Queue).then_some(topic)
}

/// Whether a destination belongs to the namespace whose names begin with `prefix`.
pub(super) fn is_within(destination: &Destination, prefix: &str) -> bool {
    match topic_of(destination) {
        Some(topic) => topic.starts_with(prefix),
        None => destination.is_within(prefix),
    }
}

impl Engine {
    /// The queue of the shared subscription `name` of `topic`, made by first use; and the sync after which it will be there
    /// after a restart too.
    ///
    /// # Errors
    /// The journal refused.
    pub fn open_shared(
        &self,
        topic: &Arc<Cell>,
        name: &str,
    ) -> Result<(Arc<Cell>, Option<Ticket>), StoreError> {
        let queue = queue_of(&topic.destination, name);
        let cell = self.registry.get_or_create(&queue);
        let ticket = self.define_now(&cell)?;
        Ok((cell, ticket))
    }

    /// How many consumers the shared subscription `name` of `topic` has; `None` if there is no such.
    #[must_use]
    pub fn shared_consumers(&self, topic: &Destination, name: &str) -> Option<usize> {
        let cell = self.registry.get(&queue_of(topic, name))?;
        Some(cell.consumers())
    }

    /// Removes the shared subscription `name` of `topic` with its backlog; `work.ticket` covers it.
    ///
    /// # Errors
    /// There is none, it has consumers, or the journal refused.
    pub fn remove_shared(
        self: &Arc<Self>,
        topic: &Destination,
        name: &str,
        work: &mut Work,
    ) -> Result<(), SharedError> {
        let queue = queue_of(topic, name);
        let cell = self.registry.get(&queue).ok_or(SharedError::Unknown)?;
        if cell.consumers() > 0 {
            return Err(SharedError::InUse);
        }
        // Nothing comes any more; then what is there goes.
        self.registry.remove(&queue);
        if let Some(topic) = self.registry.get(topic) {
            topic.routes.remove(Cause::Shared, &cell);
        }
        if let Err(error) = self.purge(&cell) {
            tracing::debug!(%error, "a shared subscription is no queue");
        }
        if let Some(store) = &self.store {
            let mut state = cell.lock();
            if state.is_defined() {
                let ((), ticket) = store.append(|batch| batch.drop_destination(cell.id))?;
                state.set_defined(false);
                work.ticket = work.ticket.max(Some(ticket));
            }
        }
        Ok(())
    }
}

impl Cell {
    /// How many consumers a queue has, browsers included; 0 of a topic.
    #[must_use]
    pub fn consumers(&self) -> usize {
        match &self.lock().machine {
            Machine::Queue(queue) => queue.consumers(),
            Machine::Topic(_) => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_leads_back_to_its_topic() {
        for name in ["1234", "a.b", "ü %.>", ""] {
            let queue = queue_of(&Destination::topic("a.b"), name);
            assert_eq!(topic_of(&queue), Some("a.b"), "{}", queue.name);
            assert!(is_within(&queue, "a.") && !is_within(&queue, "ActiveMQ."));
        }
        let one = queue_of(&Destination::topic("t"), "a.b");
        assert_ne!(one, queue_of(&Destination::topic("b.t"), "a"));
        let other = Destination::queue("Consumer.A.VirtualTopic.x");
        assert_eq!(topic_of(&other), None);
    }
}

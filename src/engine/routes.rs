//! Virtual topics and mirrored queues: which destinations get a copy of what is sent to another (VIR-1, VIR-3, VIR-5).
//!
//! Routes are settled when a destination is made, under the registry's lock, and hang on the destination that is sent
//! to; a destination without one costs a look at a flag.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use super::cell::Cell;
use crate::broker::pattern::Syntax;
use crate::broker::{Destination, Kind, Message, Pattern};

/// Routes that a copy may follow before they count as a circle (VIR-4).
const HOPS_MAX: usize = 8;

/// A rule for virtual topics: what is sent to a matching topic is copied to its consumer queues.
#[derive(Clone, Debug)]
pub struct VirtualTopics {
    /// The topics.
    pub name: Pattern,
    /// What the name of a consumer queue begins with before that of the topic; `*` is any one level.
    pub prefix: String,
}

/// All rules.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    /// Virtual topics, if there are any.
    pub virtual_topics: Option<VirtualTopics>,
    /// What the name of the topic begins with to which each queue's messages are copied; `None`: they are not.
    pub mirror_prefix: Option<String>,
    /// How names are split.
    pub syntax: Syntax,
}

impl Rules {
    /// The topics that the queue `name` consumes, if it is a consumer queue. They may be a pattern (VIR-3).
    #[must_use]
    pub fn consumed_by(&self, name: &str) -> Option<Pattern> {
        let rule = self.virtual_topics.as_ref()?;
        let mut rest = name;
        for level in rule.prefix.trim_end_matches('.').split('.') {
            let (found, tail) = rest.split_once('.')?;
            if level != "*" && level != found || found.is_empty() {
                return None;
            }
            rest = tail;
        }
        let topics = Pattern::parse_with(rest, self.syntax).ok()?;
        (rule.name.matches(rest)).then_some(topics)
    }

    /// Whether what is sent to `topic` goes to the queue `name` too.
    fn feeds(&self, topic: &Destination, name: &str) -> bool {
        let rule = self.virtual_topics.as_ref();
        topic.kind == Kind::Topic
            && rule.is_some_and(|rule| rule.name.matches(&topic.name))
            && self
                .consumed_by(name)
                .is_some_and(|topics| topics.matches(&topic.name))
    }

    /// The routes that `made`, a new destination, brings: from which destination to which. `known` are all others.
    pub(super) fn links<'a>(
        &self,
        made: &'a Arc<Cell>,
        known: impl Iterator<Item = &'a Arc<Cell>>,
    ) -> Vec<(&'a Arc<Cell>, &'a Arc<Cell>)> {
        let name = &made.destination;
        let Some(rule) = self.virtual_topics.as_ref() else {
            return Vec::new();
        };
        // Without looking at the others, of which there may be very many.
        let may_have_any = match name.kind {
            Kind::Queue => self.consumed_by(&name.name).is_some(),
            Kind::Topic => rule.name.matches(&name.name),
        };
        if name.is_temporary() || !may_have_any {
            return Vec::new();
        }
        let link = |other: &'a Arc<Cell>| match (name.kind, other.destination.kind) {
            (Kind::Topic, Kind::Queue) => self
                .feeds(name, &other.destination.name)
                .then_some((made, other)),
            (Kind::Queue, Kind::Topic) => self
                .feeds(&other.destination, &name.name)
                .then_some((other, made)),
            _ => None,
        };
        known.filter_map(link).collect()
    }

    /// The topic to which messages of `queue` are copied (VIR-5).
    pub(super) fn mirror_of(&self, queue: &Destination) -> Option<Destination> {
        let prefix = self.mirror_prefix.as_ref()?;
        let mirrored = queue.kind == Kind::Queue && !queue.is_temporary();
        mirrored.then(|| Destination::topic(format!("{prefix}{}", queue.name)))
    }
}

/// Where copies of what is sent to a destination go.
#[derive(Default)]
pub struct Routes {
    any: AtomicBool,
    to: RwLock<Arc<Vec<Arc<Cell>>>>,
}

impl Routes {
    /// Whether there are any.
    #[must_use]
    pub fn is_any(&self) -> bool {
        self.any.load(Ordering::Acquire)
    }

    /// Adds one; the list is swapped, so who goes through the old one is not disturbed.
    pub(super) fn add(&self, cell: &Arc<Cell>) {
        let mut to = self.to.write().unwrap_or_else(PoisonError::into_inner);
        if !to.iter().any(|known| Arc::ptr_eq(known, cell)) {
            let mut more = Vec::clone(&to);
            more.push(Arc::clone(cell));
            *to = Arc::new(more);
        }
        self.any.store(true, Ordering::Release);
    }

    fn list(&self) -> Arc<Vec<Arc<Cell>>> {
        Arc::clone(&self.to.read().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A message and where it goes: as it is to the destinations it was sent to, and as copies that tell of each of those
/// that copies. Bodies are shared.
#[must_use]
pub fn spread(cells: &[Arc<Cell>], message: Message) -> Vec<(Vec<Arc<Cell>>, Message)> {
    let mut all = copies(cells, &message);
    all.insert(0, (cells.to_vec(), message));
    all
}

/// The copies alone.
#[must_use]
pub fn copies(cells: &[Arc<Cell>], message: &Message) -> Vec<(Vec<Arc<Cell>>, Message)> {
    let mut copies = Vec::new();
    for cell in cells.iter().filter(|cell| cell.routes.is_any()) {
        let mut to = Vec::new();
        follow(cell, 0, &mut to);
        to.retain(|copy| !Arc::ptr_eq(copy, cell));
        copies.push((to, message.routed_from(&cell.destination)));
    }
    copies
}

fn follow(cell: &Arc<Cell>, hops: usize, to: &mut Vec<Arc<Cell>>) {
    if hops >= HOPS_MAX || !cell.routes.is_any() {
        return;
    }
    for next in cell.routes.list().iter() {
        if !to.iter().any(|known| Arc::ptr_eq(known, next)) {
            to.push(Arc::clone(next));
            follow(next, hops + 1, to);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn consumer_queues_name_their_topics() {
        let rules = Rules {
            virtual_topics: Some(VirtualTopics {
                name: Pattern::parse("VirtualTopic.>").unwrap(),
                prefix: "Consumer.*.".to_owned(),
            }),
            ..Rules::default()
        };
        let topics = |name: &str| rules.consumed_by(name).map(|topics| topics.to_string());
        let check = |name: &str, expected: Option<&str>| {
            assert_eq!(topics(name).as_deref(), expected, "{name}");
        };
        check("Consumer.A.VirtualTopic.x.y", Some("VirtualTopic.x.y"));
        check("Consumer.A.VirtualTopic.>", Some("VirtualTopic.>"));
        check("Consumer.A.B.VirtualTopic.x", None);
        check("Consumer.A.Other.x", None);
        check("Consumer..VirtualTopic.x", None);
        check("Consumer", None);
        let topic = Destination::topic("VirtualTopic.x");
        assert!(rules.feeds(&topic, "Consumer.A.VirtualTopic.*"));
        assert!(!rules.feeds(&topic, "Consumer.A.VirtualTopic.y"));
    }
}

//! Virtual destinations and shared subscriptions: which destinations get a copy of what is sent to another (VIR-1 to VIR-5).
//!
//! - Virtual topics, shared subscriptions, composite destinations and mirrored queues are one thing: a *branch* of routes that hangs on the
//!   destination that is sent to. How a message takes them is the business of `spread.rs`.
//! - Branches are settled when a destination is made and when the rules change, under the registry's lock. A
//!   destination without one costs a look at a flag.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use super::cell::Cell;
use crate::broker::pattern::Syntax;
use crate::broker::{Destination, Filter, Kind, Pattern};

/// What is sent to a matching topic is copied to its consumer queues, which are those whose name is prefix, topic and
/// postfix (VIR-2).
#[derive(Clone, Debug, PartialEq)]
pub struct VirtualTopic {
    /// What all names begin with: topics and queues are of one namespace (SEC-9).
    pub within: String,
    /// The topics, with that.
    pub name: Pattern,
    /// Levels before the name of the topic, each with its separator; `*` is any one level.
    pub prefix: String,
    /// Levels behind it.
    pub postfix: String,
    /// Only what some consumer of the queue wants is copied.
    pub selector_aware: Option<Aware>,
    /// A copy for which its queue has no room is dropped, instead of making the producer wait.
    pub drop_on_resource_limit: bool,
}

/// Whom a route with an eye on selectors looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aware {
    /// The consumers that are there.
    Consumers,
    /// Those that were there before, too.
    Remembered {
        /// Only the last selector of a queue is remembered.
        single: bool,
    },
}

/// Where a composite destination forwards to.
#[derive(Clone, Debug, PartialEq)]
pub struct Forward {
    /// Where.
    pub to: ForwardTo,
    /// What it forwards; `None`: everything.
    pub selector: Option<String>,
}

/// The name of where something is forwarded to.
#[derive(Clone, Debug, PartialEq)]
pub enum ForwardTo {
    /// That one.
    Named(Destination),
    /// The topic of the same name between these (VIR-5).
    TopicAround {
        /// What comes before the name.
        prefix: String,
        /// What comes behind it.
        postfix: String,
    },
}

/// What is sent to a matching destination is forwarded (VIR-4).
#[derive(Clone, Debug, PartialEq)]
pub struct Composite {
    /// Queues or topics.
    pub kind: Kind,
    /// Which.
    pub name: Pattern,
    /// Where to.
    pub forward_to: Vec<Forward>,
    /// When the destination itself gets the message too.
    pub keeps: Keeps,
    /// Copies tell where they were sent to.
    pub tells_origin: bool,
}

/// When a destination gets what is sent to it, although it is forwarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keeps {
    /// Always.
    Always,
    /// Never (`forwardOnly`).
    Never,
    /// When nothing was forwarded (`sendWhenNotMatched`).
    Unmatched,
}

/// All rules.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rules {
    /// Virtual topics.
    pub virtual_topics: Vec<VirtualTopic>,
    /// Composite destinations; mirrors are such.
    pub composites: Vec<Composite>,
    /// How names are split.
    pub syntax: Syntax,
}

impl VirtualTopic {
    /// The topics that the queue `name` consumes, if it is a consumer queue. They may be a pattern (VIR-3).
    fn consumed_by(&self, name: &str, syntax: Syntax) -> Option<Pattern> {
        let is_separator = |letter| letter == '.' || Some(letter) == syntax.separator;
        let fits =
            |wanted: &str, found: &str| wanted == found || wanted == "*" && !found.is_empty();
        let mut rest = name.strip_prefix(&*self.within)?;
        for level in self.prefix.split_terminator(is_separator) {
            let (found, tail) = rest.split_once(is_separator)?;
            if !fits(level, found) {
                return None;
            }
            rest = tail;
        }
        let mut postfix = self.postfix.rsplit(is_separator).peekable();
        while let Some(level) = postfix.next() {
            // Before the first separator there is nothing.
            if postfix.peek().is_none() {
                break;
            }
            let (head, found) = rest.rsplit_once(is_separator)?;
            if !fits(level, found) {
                return None;
            }
            rest = head;
        }
        let topics = Pattern::parse_with(&format!("{}{rest}", self.within), syntax).ok()?;
        self.name.covers(&topics).then_some(topics)
    }
}

impl Rules {
    /// Whether a queue of that name takes copies from virtual topics (VIR-1).
    #[must_use]
    pub fn is_consumer_queue(&self, name: &str) -> bool {
        let mut rules = self.virtual_topics.iter();
        rules.any(|rule| rule.consumed_by(name, self.syntax).is_some())
    }

    /// Whether selectors of consumers of the queue `name` are remembered, and if so whether only the last one is.
    #[must_use]
    pub fn remembers(&self, name: &str) -> Option<bool> {
        let remembered = |rule: &VirtualTopic| match rule.selector_aware {
            Some(Aware::Remembered { single }) => {
                rule.consumed_by(name, self.syntax).map(|_| single)
            }
            _ => None,
        };
        self.virtual_topics.iter().find_map(remembered)
    }

    /// The rules that make `queue` a consumer queue, each with the topics it consumes.
    pub(super) fn feeding(&self, queue: &Destination) -> Vec<(usize, Pattern)> {
        let rules = self.virtual_topics.iter().enumerate();
        let feeding = rules.filter_map(|(rule, virtual_topic)| {
            Some((rule, virtual_topic.consumed_by(&queue.name, self.syntax)?))
        });
        match queue.kind {
            Kind::Queue if !queue.is_temporary() => feeding.collect(),
            _ => Vec::new(),
        }
    }

    /// The rules of virtual topics that match `topic`.
    pub(super) fn virtual_of(&self, topic: &Destination) -> Vec<usize> {
        let rules = self.virtual_topics.iter().enumerate();
        let matching = rules.filter(|(_, rule)| rule.name.matches(&topic.name));
        match topic.kind {
            Kind::Topic if !topic.is_temporary() => matching.map(|(rule, _)| rule).collect(),
            _ => Vec::new(),
        }
    }

    /// The composite destinations that `destination` is.
    pub(super) fn composites_of(
        &self,
        destination: &Destination,
    ) -> impl Iterator<Item = (usize, &Composite)> {
        let composites = self.composites.iter().enumerate();
        composites.filter(|(_, rule)| {
            rule.kind == destination.kind
                && !destination.is_temporary()
                && rule.name.matches(&destination.name)
        })
    }
}

impl Forward {
    /// Where it goes from `origin`.
    pub(super) fn target(&self, origin: &Destination) -> Destination {
        match &self.to {
            ForwardTo::Named(destination) => destination.clone(),
            ForwardTo::TopicAround { prefix, postfix } => {
                Destination::topic(format!("{prefix}{}{postfix}", origin.name))
            }
        }
    }
}

/// Which rule a branch comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    Virtual(usize),
    Composite(usize),
    /// None: the names of shared subscriptions tell their topic.
    Shared,
}

/// The routes that one rule gives to a destination.
#[derive(Clone)]
pub(super) struct Branch {
    pub(super) cause: Cause,
    pub(super) keeps: Keeps,
    pub(super) routes: Vec<Route>,
}

/// One way for a copy.
#[derive(Clone)]
pub(super) struct Route {
    pub(super) to: Arc<Cell>,
    pub(super) filter: Option<Arc<dyn Filter>>,
    pub(super) aware: Option<Aware>,
    pub(super) tells_origin: bool,
    pub(super) may_drop: bool,
}

/// The branches that hang on a destination; mostly none.
#[derive(Default)]
pub struct Routes(OnceLock<Box<Hanging>>);

/// The branches of a destination that has or had some.
#[derive(Default)]
struct Hanging {
    any: AtomicBool,
    branches: RwLock<Arc<Vec<Branch>>>,
    /// Copies for this destination that were dropped for want of room.
    dropped: AtomicU64,
}

impl Routes {
    /// Whether there are any.
    #[inline]
    #[must_use]
    pub fn is_any(&self) -> bool {
        let some = self.0.get();
        some.is_some_and(|some| some.any.load(Ordering::Acquire))
    }

    /// Copies for this destination that were dropped because it had no room (`dropOnResourceLimit`).
    #[must_use]
    pub fn dropped(&self) -> u64 {
        let some = self.0.get();
        some.map_or(0, |some| some.dropped.load(Ordering::Relaxed))
    }

    /// Counts a copy that is dropped; the log is told of the first, and each time their number has doubled.
    pub(super) fn count_dropped(&self, destination: &Destination) {
        let some = self.0.get_or_init(Box::default);
        let dropped = some.dropped.fetch_add(1, Ordering::Relaxed) + 1;
        if dropped.is_power_of_two() {
            tracing::warn!(%destination, dropped, "no room for a copy, which is dropped (dropOnResourceLimit)");
        }
    }

    /// Replaces all branches; who goes through the old ones is not disturbed.
    pub(super) fn set(&self, branches: Vec<Branch>) {
        if !branches.is_empty() || self.is_any() {
            self.change(|all| *all = branches);
        }
    }

    fn change(&self, f: impl FnOnce(&mut Vec<Branch>)) {
        let some = self.0.get_or_init(Box::default);
        let mut current = some
            .branches
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        let mut branches = Vec::clone(&current);
        f(&mut branches);
        let any = !branches.is_empty();
        *current = Arc::new(branches);
        some.any.store(any, Ordering::Release);
    }

    /// Adds a route to the branch of a rule that always keeps.
    pub(super) fn add(&self, cause: Cause, route: Route) {
        self.change(
            |branches| match branches.iter_mut().find(|branch| branch.cause == cause) {
                Some(branch) => {
                    let mut known = branch.routes.iter();
                    if !known.any(|known| Arc::ptr_eq(&known.to, &route.to)) {
                        branch.routes.push(route);
                    }
                }
                None => branches.push(Branch {
                    cause,
                    keeps: Keeps::Always,
                    routes: vec![route],
                }),
            },
        );
    }

    /// Takes the route to `cell` from the branch of a rule that always keeps.
    pub(super) fn remove(&self, cause: Cause, cell: &Arc<Cell>) {
        self.change(|branches| {
            for branch in branches.iter_mut().filter(|branch| branch.cause == cause) {
                branch.routes.retain(|route| !Arc::ptr_eq(&route.to, cell));
            }
            branches.retain(|branch| branch.cause != cause || !branch.routes.is_empty());
        });
    }

    pub(super) fn list(&self) -> Arc<Vec<Branch>> {
        let Some(some) = self.0.get() else {
            return Arc::default();
        };
        let branches = some.branches.read();
        Arc::clone(&branches.unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(name: &str, prefix: &str, postfix: &str, syntax: Syntax) -> Rules {
        Rules {
            virtual_topics: vec![VirtualTopic {
                within: String::new(),
                name: Pattern::parse_with(name, syntax).unwrap(),
                prefix: prefix.to_owned(),
                postfix: postfix.to_owned(),
                selector_aware: None,
                drop_on_resource_limit: false,
            }],
            syntax,
            ..Rules::default()
        }
    }

    fn consumed(rules: &Rules, name: &str) -> Option<String> {
        let found = rules.feeding(&Destination::queue(name)).pop();
        found.map(|(_, topics)| topics.to_string())
    }

    #[track_caller]
    fn check(rules: &Rules, name: &str, expected: Option<&str>) {
        assert_eq!(consumed(rules, name).as_deref(), expected, "{name}");
    }

    #[test]
    fn consumer_queues_name_their_topics() {
        let rules = rule("VirtualTopic.>", "Consumer.*.", "", Syntax::default());
        let check = |name, expected| check(&rules, name, expected);
        check("Consumer.A.VirtualTopic.x.y", Some("VirtualTopic.x.y"));
        check("Consumer.A.VirtualTopic.>", Some("VirtualTopic.>"));
        check("Consumer.A.B.VirtualTopic.x", None);
        check("Consumer.A.Other.x", None);
        check("Consumer.A.>", None);
        check("Consumer..VirtualTopic.x", None);
        check("Consumer", None);
        assert!(rules.is_consumer_queue("Consumer.A.VirtualTopic.*"));
    }

    #[test]
    fn a_namespace_has_virtual_topics_of_its_own() {
        let mut rules = rule("a.VirtualTopic.>", "Consumer.*.", "", Syntax::default());
        rules.virtual_topics[0].within = "a.".to_owned();
        let check = |name, expected| check(&rules, name, expected);
        check("a.Consumer.X.VirtualTopic.y", Some("a.VirtualTopic.y"));
        check("b.Consumer.X.VirtualTopic.y", None);
        check("Consumer.X.VirtualTopic.y", None);
        check("Consumer.X.a.VirtualTopic.y", None);
    }

    #[test]
    fn a_postfix_is_cut_and_other_separators_count() {
        let rules = rule("orders.*", "", ".for.*", Syntax::default());
        check(&rules, "orders.eu.for.billing", Some("orders.eu"));
        check(&rules, "orders.for.billing", None);
        check(&rules, "orders.eu.for.", None);
        check(&rules, "for.billing", None);
        let both = rule(">", "a.*.", ".z", Syntax::default());
        check(&both, "a.b.t.u.z", Some("t.u"));
        check(&both, "a.b.z", None);
        let syntax = Syntax {
            separator: Some('/'),
            ..Syntax::default()
        };
        let rules = rule("VirtualTopic.>", "Consumer.*.", "", syntax);
        check(&rules, "Consumer/A/VirtualTopic/x", Some("VirtualTopic/x"));
    }
}

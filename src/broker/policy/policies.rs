//! Which policy a destination has: the most specific entry that matches it, over the defaults.
//!
//! - The most specific entry wins as a whole. One that inherits is laid over the next specific one, and so on.
//! - What an entry changes is a function over the defaults: this room does not know how it was written down.

use std::fmt;
use std::sync::Arc;

use super::{DeadLetterStrategy, Declared, DestinationPolicy};
use crate::broker::destination::{Destination, Kind};
use crate::broker::pattern::Pattern;

/// Which destinations a policy is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    /// Queues.
    Queue,
    /// Topics.
    Topic,
    /// Temporary queues.
    TempQueue,
    /// Temporary topics.
    TempTopic,
}

impl From<Kind> for Scope {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Queue => Self::Queue,
            Kind::Topic => Self::Topic,
        }
    }
}

/// One entry: whom it is for and what it changes.
#[derive(Clone)]
pub struct Policy {
    /// Its number in the configuration, from 1.
    pub number: usize,
    /// Which kind of destination it is for.
    pub scope: Scope,
    /// Which of those.
    pub pattern: Pattern,
    /// Whether it is laid over less specific ones instead of the defaults.
    pub inherits: bool,
    /// What it changes.
    pub change: Arc<dyn Fn(&mut DestinationPolicy) + Send + Sync>,
}

impl fmt::Debug for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Policy")
            .field("number", &self.number)
            .field("scope", &self.scope)
            .field("pattern", &self.pattern)
            .finish_non_exhaustive()
    }
}

/// All policies of a broker.
#[derive(Clone, Debug)]
pub struct Policies {
    base: DestinationPolicy,
    /// The most specific first.
    entries: Vec<Policy>,
    /// Every strategy there is, for [`Policies::is_dead_letter_destination`].
    strategies: Vec<DeadLetterStrategy>,
}

/// The defaults for all.
impl Default for Policies {
    fn default() -> Self {
        Self::new(DestinationPolicy::default(), Vec::new())
    }
}

impl Policies {
    /// The policies `entries` over the defaults `base`.
    #[must_use]
    pub fn new(base: DestinationPolicy, mut entries: Vec<Policy>) -> Self {
        entries.sort_by_key(|entry| std::cmp::Reverse(entry.pattern.specificity()));
        let mut strategies = vec![base.dead_letters.clone()];
        for (at, entry) in entries.iter().enumerate() {
            let below: &[Policy] = if entry.inherits {
                &entries[at + 1..]
            } else {
                &[]
            };
            let below = below.iter().filter(|other| other.scope == entry.scope);
            let strategy = lay_over(&base, std::iter::once(entry).chain(below)).dead_letters;
            if !strategies.contains(&strategy) {
                strategies.push(strategy);
            }
        }
        Self {
            base,
            entries,
            strategies,
        }
    }

    /// The entries that make the policy of the destination `name`: the deciding one first, then those it inherits from.
    pub fn chain(&self, scope: Scope, name: &str) -> Vec<&Policy> {
        let mut chain = Vec::new();
        let matching = |entry: &&Policy| entry.scope == scope && entry.pattern.matches(name);
        for entry in self.entries.iter().filter(matching) {
            chain.push(entry);
            if !entry.inherits {
                break;
            }
        }
        chain
    }

    /// The policy of the destination `name`.
    #[must_use]
    pub fn choose(&self, scope: Scope, name: &str) -> DestinationPolicy {
        lay_over(&self.base, self.chain(scope, name).into_iter())
    }

    /// The policy of `destination`.
    #[must_use]
    pub fn of(&self, destination: &Destination) -> DestinationPolicy {
        self.choose(destination.kind.into(), &destination.name)
    }

    /// The policy of `destination`, of which a client has `declared` something: what entries say wins.
    #[must_use]
    pub fn of_declared(&self, destination: &Destination, declared: &Declared) -> DestinationPolicy {
        let mut base = self.base.clone();
        declared.apply(&mut base);
        let chain = self.chain(destination.kind.into(), &destination.name);
        lay_over(&base, chain.into_iter())
    }

    /// Whether the entry that decides about `destination` is for `other` too (without one: every other of its kind), as
    /// `maxDestinations` counts them.
    #[must_use]
    pub fn are_alike(&self, destination: &Destination, other: &Destination) -> bool {
        let chain = self.chain(destination.kind.into(), &destination.name);
        let matches = |entry: &&Policy| entry.pattern.matches(&other.name);
        destination.kind == other.kind && chain.first().is_none_or(matches)
    }

    /// Whether dead letters of some destination go to `destination` (DLQ-5).
    #[must_use]
    pub fn is_dead_letter_destination(&self, destination: &Destination) -> bool {
        self.strategies
            .iter()
            .any(|strategy| strategy.is_target(destination))
    }
}

/// The defaults with the changes of `chain`, whose first has the last word.
fn lay_over<'a>(
    base: &DestinationPolicy,
    chain: impl DoubleEndedIterator<Item = &'a Policy>,
) -> DestinationPolicy {
    let mut policy = base.clone();
    for entry in chain.rev() {
        (entry.change)(&mut policy);
    }
    policy
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::policy::DeadLetterKind;

    fn policy(
        number: usize,
        pattern: &str,
        inherits: bool,
        change: impl Fn(&mut DestinationPolicy) + Send + Sync + 'static,
    ) -> Policy {
        Policy {
            number,
            scope: Scope::Queue,
            pattern: Pattern::parse(pattern).expect("a pattern"),
            inherits,
            change: Arc::new(change),
        }
    }

    #[test]
    fn the_most_specific_entry_wins_as_a_whole_unless_it_inherits() {
        let policies = Policies::new(
            DestinationPolicy::default(),
            vec![
                policy(1, ">", false, |policy| {
                    (policy.queue_prefetch, policy.topic_prefetch) = (1, 1);
                }),
                policy(2, "a.>", false, |policy| policy.queue_prefetch = 2),
                policy(3, "a.b.>", true, |policy| policy.durable_topic_prefetch = 3),
            ],
        );
        let prefetch = |name: &str| {
            let policy = policies.of(&Destination::queue(name));
            [
                policy.queue_prefetch,
                policy.topic_prefetch,
                policy.durable_topic_prefetch,
            ]
        };
        assert_eq!(prefetch("x"), [1, 1, 100]);
        assert_eq!(prefetch("a.x"), [2, 32_767, 100]);
        assert_eq!(prefetch("a.b.c"), [2, 32_767, 3]);
        let topic = policies.of(&Destination::topic("x"));
        assert_eq!(topic, DestinationPolicy::default());
        let numbers = |name| {
            let chain = policies.chain(Scope::Queue, name);
            chain.iter().map(|entry| entry.number).collect::<Vec<_>>()
        };
        assert_eq!(numbers("a.b.c"), [3, 2]);
        assert_eq!(numbers("x"), [1]);
    }

    #[test]
    fn every_destination_of_dead_letters_is_known() {
        let policies = Policies::new(
            DestinationPolicy::default(),
            vec![
                policy(1, "a.>", false, |policy| {
                    policy.dead_letters.queue_prefix = "DLQ.".into();
                }),
                policy(2, "a.b", true, |policy| {
                    policy.dead_letters.kind = DeadLetterKind::Individual;
                }),
                policy(3, "c", false, |policy| {
                    policy.dead_letters.queue = "Other".into()
                }),
            ],
        );
        let is_known = |name: &str| policies.is_dead_letter_destination(&Destination::queue(name));
        assert!(is_known("ActiveMQ.DLQ") && is_known("DLQ.a.b") && is_known("Other"));
        assert!(!is_known("a.b") && !is_known("c"));
    }
}

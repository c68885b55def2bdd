//! The policy of a destination: given at its creation and after a reload, asked when messages come in.
//!
//! A send looks at one number of its cell without a lock; what a policy asks for costs something only where it asks.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::Engine;
use super::alike::Alike;
use super::cell::{Cell, Delivering, Journaled, Machine, State, Work};
use super::declare::Declarations;
use super::governor::NoRoom;
use super::properties::PropertyReaders;
use crate::broker::governor::Cause;
use crate::broker::policy::{Overflow, Reached, Usage};
use crate::broker::topic::{TopicPolicy, TopicRules};
use crate::broker::{Destination, DestinationPolicy, Message, Policies, QueuePolicy};

/// The rules of many destinations, equal ones kept once.
#[derive(Default)]
pub(super) struct SharedRules {
    policies: Alike<DestinationPolicy>,
    queues: Alike<QueuePolicy>,
}

impl SharedRules {
    pub(super) fn share(&self, rules: Rules) -> Rules {
        Rules {
            policy: self.policies.share(rules.policy),
            queue: self.queues.share(rules.queue),
        }
    }
}

/// What a destination is told of the policies.
#[derive(Clone, Debug)]
pub struct Rules {
    /// Its own policy; destinations of equal ones share it.
    pub policy: Arc<DestinationPolicy>,
    /// What a queue is told of them, unless they were changed since; shared as the policy is.
    pub(super) queue: Arc<QueuePolicy>,
}

/// Messages may be beyond a limit.
const LIMITED: u8 = 1;
/// Messages are stamped.
pub(super) const STAMPS: u8 = 2;
/// The oldest messages are dropped beyond a limit.
pub(super) const DROPS: u8 = 4;
/// Steps are reported to those who listen.
pub(super) const REPORTS: u8 = 8;

/// Whether a message may be sent to a destination now.
#[derive(Debug, PartialEq, Eq)]
pub enum Admission {
    /// It may.
    Open,
    /// Its producer has to wait for this.
    Wait(Cause),
    /// It is refused, for this reason.
    Refused(NoRoom),
}

/// What is on its way to destinations with limits, and not there yet.
#[derive(Debug, Default)]
pub struct Pending {
    by_id: HashMap<u32, Usage>,
}

impl Pending {
    /// Notes a message for a destination, if that has limits.
    #[inline]
    pub fn add(&mut self, cell: &Cell, message: &Message) {
        if cell.is_limited() {
            let bytes = message.memory_bytes();
            let usage = self.by_id.entry(cell.id.0).or_default();
            *usage = usage.and(Usage {
                messages: 1,
                bytes,
                memory_bytes: bytes,
            });
        }
    }

    /// What is on its way to a destination.
    #[must_use]
    pub fn of(&self, cell: &Cell) -> Usage {
        self.by_id.get(&cell.id.0).copied().unwrap_or_default()
    }

    /// Everything has arrived.
    pub fn clear(&mut self) {
        self.by_id.clear();
    }
}

impl Rules {
    /// The rules that `policies` have for `destination`.
    #[must_use]
    pub fn of(policies: &Policies, destination: &Destination) -> Self {
        let is_dead_letter_destination = policies.is_dead_letter_destination(destination);
        Self::new(policies.of(destination), is_dead_letter_destination)
    }

    fn new(policy: DestinationPolicy, is_dead_letter_destination: bool) -> Self {
        let queue = queue_policy(&policy, is_dead_letter_destination);
        Self {
            policy: Arc::new(policy),
            queue: Arc::new(queue),
        }
    }

    /// The same, with what a client has declared of it.
    pub(super) fn with_declared(
        policies: &Policies,
        destination: &Destination,
        declarations: &Declarations,
    ) -> Self {
        let policy = match declarations.get(destination) {
            Some(declared) => policies.of_declared(destination, &declared),
            None => policies.of(destination),
        };
        let is_dead_letter_destination = policies.is_dead_letter_destination(destination)
            || declarations.is_dead_letter_queue(destination);
        Self::new(policy, is_dead_letter_destination)
    }

    /// Whether dead letters come here (DLQ-5).
    #[must_use]
    pub fn is_dead_letter_destination(&self) -> bool {
        self.queue.is_dead_letter_queue
    }

    /// The same, for a destination that dead letters come to.
    #[must_use]
    pub fn for_dead_letters(self) -> Self {
        let queue = queue_policy(&self.policy, true);
        Self {
            queue: Arc::new(queue),
            ..self
        }
    }

    /// What the queue is told of them.
    #[must_use]
    pub fn for_queue(&self) -> Arc<QueuePolicy> {
        let queue = queue_policy(&self.policy, self.is_dead_letter_destination());
        if *self.queue == queue {
            Arc::clone(&self.queue)
        } else {
            Arc::new(queue)
        }
    }

    /// What the topic is told of them; `readers` read what it asks of messages.
    pub(super) fn for_topic(&self, readers: &Arc<PropertyReaders>) -> Option<TopicRules> {
        (self.policy.topic != TopicPolicy::default()).then(|| TopicRules {
            policy: self.policy.topic.clone(),
            reader: Arc::clone(readers) as _,
        })
    }

    /// What a send has to look at.
    pub(super) fn watched(&self) -> u8 {
        let mut watched = 0;
        if self.policy.limits.are_any() {
            watched |= LIMITED;
        }
        if self.policy.timestamping.is_on() {
            watched |= STAMPS;
        }
        if self.policy.limits.overflow == Overflow::DropHead {
            watched |= DROPS;
        }
        if self.policy.advisories.watches_steps() {
            watched |= REPORTS;
        }
        watched
    }
}

fn queue_policy(policy: &DestinationPolicy, is_dead_letter_queue: bool) -> QueuePolicy {
    QueuePolicy {
        is_dead_letter_queue,
        ..policy.queue
    }
}

impl Cell {
    /// What the destination was told of the policies.
    #[must_use]
    pub fn rules(&self) -> Rules {
        self.lock().rules.clone()
    }

    /// Its policy.
    #[must_use]
    pub fn policy(&self) -> Arc<DestinationPolicy> {
        Arc::clone(&self.lock().rules.policy)
    }

    /// Gives it new rules; what it holds stays and follows them. `window_bytes` of it may stay in memory.
    pub(super) fn set_rules(
        self: &Arc<Self>,
        now_ms: u64,
        rules: Rules,
        window_bytes: u64,
        readers: &Arc<PropertyReaders>,
        work: &mut Work,
    ) {
        self.set_window(rules.policy.dedup);
        let mut state = self.lock();
        self.watched.store(rules.watched(), Ordering::Relaxed);
        let queue_policy = rules.for_queue();
        let topic_rules = rules.for_topic(readers);
        state.rules = rules;
        state.expect_slow();
        self.step_locked(
            &mut state,
            work,
            Journaled::default(),
            |machine, out| match machine {
                Machine::Queue(queue) => {
                    queue.set_window_bytes(window_bytes);
                    queue.set_policy(now_ms, queue_policy, out);
                }
                Machine::Topic(topic) => {
                    topic.set_window_bytes(window_bytes);
                    topic.set_policy(queue_policy.redelivery, queue_policy.on_nack);
                    topic.set_rules(now_ms, topic_rules);
                }
            },
        );
    }

    /// Whether a send has to ask for its [`Cell::admission`].
    #[must_use]
    pub fn is_limited(&self) -> bool {
        self.watches(LIMITED)
    }

    /// Whether its policy asks for this.
    #[inline]
    pub(super) fn watches(&self, what: u8) -> bool {
        self.watched.load(Ordering::Relaxed) & what != 0
    }

    /// Whether one more message of `bytes` octets may come, while `pending` of the same producer are on their way.
    /// Producers that come at the same time may together go beyond a limit by what each has on its way.
    #[must_use]
    pub fn admission(
        &self,
        bytes: u64,
        persistent: bool,
        pending: impl FnOnce() -> Usage,
    ) -> Admission {
        if !self.is_limited() {
            return Admission::Open;
        }
        let state = self.lock();
        let mut limits = state.rules.policy.limits;
        let usage = match &state.machine {
            Machine::Queue(queue) => queue.usage(),
            Machine::Topic(topic) => {
                // What it holds is what its subscribers have not taken; only the memory of that has a limit.
                (limits.messages_max, limits.bytes_max) = (None, None);
                Usage {
                    memory_bytes: topic.held_bytes(),
                    ..Usage::default()
                }
            }
        };
        let usage = usage.and(pending());
        let Some(reached) = limits.reached(usage, bytes, persistent) else {
            return Admission::Open;
        };
        if reached != Reached::Memory && limits.overflow == Overflow::DropHead {
            return Admission::Open;
        }
        let refuses = match reached {
            Reached::Memory => limits.fails_if_no_space,
            _ => limits.overflow == Overflow::Reject || limits.fails_if_no_space,
        };
        let (key, limit, held) = match reached {
            Reached::Messages => ("maxMessages", limits.messages_max, usage.messages),
            Reached::Bytes => ("maxBytes", limits.bytes_max, usage.bytes),
            Reached::Memory => ("memoryLimit", limits.memory_bytes_max, usage.memory_bytes),
        };
        let limit = limit.unwrap_or_default();
        let cause = Cause::Destination {
            of: self.destination.clone(),
            key,
            held,
            limit,
        };
        if !refuses {
            return Admission::Wait(cause);
        }
        let text = format!(
            "Usage Manager Limit reached: {} holds {held} and its policy has {key} = {limit}",
            self.destination
        );
        Admission::Refused(NoRoom::new(cause, text))
    }

    /// Stamps a message that goes here in a transaction (EXP-1).
    pub(super) fn stamp(&self, now_ms: u64, message: &mut Arc<Message>) {
        if self.watches(STAMPS) {
            // One for several destinations is shared; each of them has a policy of its own.
            Arc::make_mut(message);
            self.lock().stamp(now_ms, std::slice::from_mut(message));
        }
    }
}

impl State {
    /// Stamps messages that have just come in (EXP-1).
    pub(super) fn stamp(&self, now_ms: u64, messages: &mut [Arc<Message>]) {
        let timestamping = self.rules.policy.timestamping;
        if !timestamping.is_on() {
            return;
        }
        // A message that has just come is not shared yet.
        for message in messages.iter_mut().filter_map(Arc::get_mut) {
            timestamping.stamp(message, now_ms);
        }
    }
}

/// Drops the oldest messages of a destination that is beyond its limits, if its policy says so.
pub(super) fn drop_head(rules: &Rules, machine: &mut Machine, out: &mut Delivering<'_>) {
    if let (Overflow::DropHead, Machine::Queue(queue)) = (rules.policy.limits.overflow, machine) {
        queue.drop_head(&rules.policy.limits, out);
    }
}

impl Engine {
    /// Replaces the policies of all destinations. Nobody is disconnected; what is there stays and follows the new ones.
    pub fn set_policies(self: &Arc<Self>, policies: Policies) {
        self.registry.set_policies(policies);
        for cell in self.registry.all() {
            self.set_rules(&cell, self.registry.rules(&cell.destination));
        }
    }

    /// Gives one destination other rules, until policies are replaced again.
    pub fn set_rules(self: &Arc<Self>, cell: &Arc<Cell>, rules: Rules) {
        let mut work = Work::default();
        let (window_bytes, readers) = (self.window_bytes(&rules), &self.properties);
        cell.set_rules(
            self.clock.wall_ms(),
            rules,
            window_bytes,
            readers,
            &mut work,
        );
        self.run(&mut work);
    }

    /// How many octets at its head a destination with these rules keeps in memory.
    pub(super) fn window_bytes(&self, rules: &Rules) -> u64 {
        let limits = rules.policy.limits;
        limits.window_bytes(self.settings.queue_window_bytes)
    }
}

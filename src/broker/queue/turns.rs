//! Whose turn it is: consumers in a ring, one ring for each consumer priority (PRE-5).
//!
//! Who lost its credit leaves when its turn comes and joins again when it has some. Who found nothing rests
//! until the end of the step.

use std::collections::VecDeque;

use slotmap::SlotMap;

use super::consumer::Consumer;
use crate::broker::subscription::SubscriptionKey;
use crate::broker::thin::Thin;

/// The consumers of a queue.
pub(super) type Consumers = SlotMap<SubscriptionKey, Box<Consumer>>;

#[derive(Debug)]
struct Ring {
    priority: u8,
    keys: VecDeque<SubscriptionKey>,
}

/// Consumers with credit, in turn. Each knows whether it is among them. If `strict`, turns go by order of subscribing, and who has
/// one keeps it while it has credit.
#[derive(Debug, Default)]
pub(super) struct Turns {
    /// Highest priority first.
    rings: Vec<Ring>,
    resting: Thin<SubscriptionKey>,
}

impl Turns {
    /// Adds a consumer, if it is not there.
    pub(super) fn join(&mut self, consumers: &mut Consumers, key: SubscriptionKey, strict: bool) {
        if let Some(consumer) = consumers.get_mut(key)
            && !std::mem::replace(&mut consumer.in_turn, true)
        {
            self.enter(consumers, key, (strict, false));
        }
    }

    /// The next consumer that may be given something; others on the way leave.
    pub(super) fn first(&mut self, consumers: &mut Consumers) -> Option<SubscriptionKey> {
        for ring in &mut self.rings {
            while let Some(&key) = ring.keys.front() {
                if let Some(consumer) = consumers.get_mut(key) {
                    if consumer.is_willing() {
                        return Some(key);
                    }
                    consumer.in_turn = false;
                }
                ring.keys.pop_front();
            }
        }
        None
    }

    /// The consumer `key`, which was the next, had its turn.
    pub(super) fn rotate(&mut self, consumers: &Consumers, key: SubscriptionKey, strict: bool) {
        if strict {
            return;
        }
        if let Some(ring) = self.ring_of(consumers, key)
            && ring.keys.front() == Some(&key)
        {
            ring.keys.rotate_left(1);
        }
    }

    /// The consumer `key`, which was the next, found nothing.
    pub(super) fn rest(&mut self, consumers: &Consumers, key: SubscriptionKey) {
        if let Some(ring) = self.ring_of(consumers, key)
            && ring.keys.front() == Some(&key)
        {
            ring.keys.pop_front();
            self.resting.push(key);
        }
    }

    /// Ends all rest. Who rested had no turn, and so is next.
    pub(super) fn wake_all(&mut self, consumers: &Consumers, strict: bool) {
        while let Some(key) = self.resting.pop() {
            if consumers.contains_key(key) {
                self.enter(consumers, key, (strict, true));
            }
        }
    }

    /// Everybody in turn, those who rest last.
    pub(super) fn iter(&self) -> impl Iterator<Item = SubscriptionKey> {
        let turns = self.rings.iter().flat_map(|ring| &ring.keys);
        turns.chain(&self.resting).copied()
    }

    /// Lets everybody go.
    pub(super) fn clear(&mut self, consumers: &mut Consumers) {
        self.rings.clear();
        self.resting = Thin::default();
        for consumer in consumers.values_mut() {
            consumer.in_turn = false;
        }
    }

    /// How many places are kept.
    pub(super) fn len(&self) -> usize {
        self.rings.iter().map(|ring| ring.keys.len()).sum()
    }

    /// Lets go the places of those for which `alive` does not hold.
    pub(super) fn forget(&mut self, alive: impl Fn(SubscriptionKey) -> bool) {
        for ring in &mut self.rings {
            ring.keys.retain(|key| alive(*key));
        }
    }

    fn enter(
        &mut self,
        consumers: &Consumers,
        key: SubscriptionKey,
        (strict, first): (bool, bool),
    ) {
        let (priority, serial) = (consumers[key].priority, consumers[key].serial);
        let at = self
            .rings
            .binary_search_by(|ring| priority.cmp(&ring.priority));
        let at = at.unwrap_or_else(|at| {
            let keys = VecDeque::with_capacity(1);
            if self.rings.is_empty() {
                self.rings.reserve_exact(1);
            }
            self.rings.insert(at, Ring { priority, keys });
            at
        });
        let ring = &mut self.rings[at];
        if strict {
            let before = |key: &SubscriptionKey| {
                let other = consumers.get(*key);
                other.map_or(0, |other| other.serial) < serial
            };
            let place = ring.keys.partition_point(before);
            ring.keys.insert(place, key);
        } else if first {
            ring.keys.push_front(key);
        } else {
            ring.keys.push_back(key);
        }
    }

    fn ring_of(&mut self, consumers: &Consumers, key: SubscriptionKey) -> Option<&mut Ring> {
        let priority = consumers.get(key)?.priority;
        self.rings.iter_mut().find(|ring| ring.priority == priority)
    }
}

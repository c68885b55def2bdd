//! Whose turn it is: consumers in a ring, one ring for each consumer priority (PRE-5).
//!
//! Who lost its credit leaves when its turn comes and joins again when it has some. Who found nothing rests
//! until the end of the step.

use std::collections::VecDeque;

use slotmap::SecondaryMap;

use crate::broker::subscription::SubscriptionKey;

/// How a consumer is placed among others.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rank {
    /// Higher goes first.
    pub(super) priority: u8,
    /// Order of subscribing.
    pub(super) serial: u64,
}

#[derive(Debug)]
struct Ring {
    priority: u8,
    keys: VecDeque<SubscriptionKey>,
}

/// Consumers with credit, in turn.
#[derive(Debug, Default)]
pub(super) struct Turns {
    /// Highest priority first.
    rings: Vec<Ring>,
    resting: Vec<SubscriptionKey>,
    ranks: SecondaryMap<SubscriptionKey, Rank>,
    /// Turns go by order of subscribing, and who has one keeps it while it has credit.
    strict: bool,
}

impl Turns {
    /// Whether one consumer is filled before the next.
    pub(super) fn set_strict(&mut self, strict: bool) {
        self.strict = strict;
    }

    /// Adds a consumer, if it is not there.
    pub(super) fn join(&mut self, key: SubscriptionKey, rank: Rank) {
        if self.ranks.capacity() == 0 {
            // Most queues have one consumer.
            self.ranks = SecondaryMap::with_capacity(1);
        }
        if self.ranks.insert(key, rank).is_none() {
            self.enter(key, rank, false);
        }
    }

    /// The next consumer for which `willing` holds; others on the way leave.
    pub(super) fn first(
        &mut self,
        willing: impl Fn(SubscriptionKey) -> bool,
    ) -> Option<SubscriptionKey> {
        for ring in &mut self.rings {
            while let Some(&key) = ring.keys.front() {
                if willing(key) {
                    return Some(key);
                }
                ring.keys.pop_front();
                self.ranks.remove(key);
            }
        }
        None
    }

    /// The consumer `key`, which was the next, had its turn.
    pub(super) fn rotate(&mut self, key: SubscriptionKey) {
        if self.strict {
            return;
        }
        if let Some(ring) = self.ring_of(key)
            && ring.keys.front() == Some(&key)
        {
            ring.keys.rotate_left(1);
        }
    }

    /// The consumer `key`, which was the next, found nothing.
    pub(super) fn rest(&mut self, key: SubscriptionKey) {
        if let Some(ring) = self.ring_of(key)
            && ring.keys.front() == Some(&key)
        {
            ring.keys.pop_front();
            self.resting.push(key);
        }
    }

    /// Ends all rest. Who rested had no turn, and so is next.
    pub(super) fn wake_all(&mut self) {
        while let Some(key) = self.resting.pop() {
            if let Some(rank) = self.ranks.get(key).copied() {
                self.enter(key, rank, true);
            }
        }
    }

    /// Everybody in turn, with their priorities, those who rest last.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u8, SubscriptionKey)> {
        let turns = self
            .rings
            .iter()
            .flat_map(|ring| ring.keys.iter().map(|key| (ring.priority, *key)));
        let resting = self.resting.iter().filter_map(|key| {
            let rank = self.ranks.get(*key)?;
            Some((rank.priority, *key))
        });
        turns.chain(resting)
    }

    /// Lets everybody go.
    pub(super) fn clear(&mut self) {
        self.rings.clear();
        self.resting.clear();
        self.ranks.clear();
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

    fn enter(&mut self, key: SubscriptionKey, rank: Rank, first: bool) {
        let at = self
            .rings
            .binary_search_by(|ring| rank.priority.cmp(&ring.priority));
        let at = at.unwrap_or_else(|at| {
            let (priority, keys) = (rank.priority, VecDeque::with_capacity(1));
            if self.rings.is_empty() {
                self.rings.reserve_exact(1);
            }
            self.rings.insert(at, Ring { priority, keys });
            at
        });
        let (ring, ranks) = (&mut self.rings[at], &self.ranks);
        if self.strict {
            let serial = |key| ranks.get(key).map_or(0, |rank: &Rank| rank.serial);
            let place = ring.keys.partition_point(|key| serial(*key) < rank.serial);
            ring.keys.insert(place, key);
        } else if first {
            ring.keys.push_front(key);
        } else {
            ring.keys.push_back(key);
        }
    }

    fn ring_of(&mut self, key: SubscriptionKey) -> Option<&mut Ring> {
        let rank = self.ranks.get(key)?;
        let priority = rank.priority;
        self.rings.iter_mut().find(|ring| ring.priority == priority)
    }
}

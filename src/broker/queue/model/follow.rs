//! What the model allows: effects one after the other, and the state after each step.

use std::collections::BTreeSet;

use super::{Event, Known, Place, Test};
use crate::broker::delivery::AckMode;
use crate::broker::log::Seen;
use crate::broker::outlet::{Flow, Outlet, Rejected};
use crate::broker::queue::Reason;
use crate::broker::subscription::SubscriptionKey;

impl Test {
    /// Checks the effects of a step one after the other.
    pub(super) fn follow(&mut self) {
        for event in self.world.take() {
            match event {
                Event::Deliver {
                    to,
                    id,
                    number,
                    redelivered,
                    redeliveries,
                    first_of_group,
                    flow,
                } => {
                    if self.is_looker(to) {
                        self.follow_look(to, id.serial, flow);
                        continue;
                    }
                    let known = &self.known[&id.serial];
                    let marks = (known.redelivered, known.redeliveries);
                    assert_eq!(marks, (redelivered, redeliveries));
                    self.follow_delivery(to, id.serial, number, flow);
                    if flow != Flow::Refused {
                        self.follow_group(to, id.serial, first_of_group);
                    }
                }
                Event::Remove(sequence, _) => {
                    assert!(
                        self.due.removed.remove(&sequence),
                        "{sequence} removed unasked"
                    );
                }
                Event::Redelivered(sequence, count) => {
                    assert_eq!(self.due.counted.remove(&sequence), Some(count));
                }
                Event::Reject(rejected) => self.follow_reject(rejected),
                Event::Browsed(to) => self.follow_end_of_look(to),
                Event::Acknowledge(..) | Event::RedeliveredTo(..) => {
                    panic!("a queue has no durable subscriptions")
                }
                Event::Abort(..) => panic!("a queue ends nobody"),
                Event::Stalled(stall) => {
                    // The model is in no hurry to read anything back.
                    assert_eq!(stall.reason, Some(Reason::ReadingBack), "{stall:?}");
                }
            }
        }
        for rejected in std::mem::take(&mut self.away) {
            let known = self.known.get_mut(&rejected.sequence).unwrap();
            known.place = Place::Ready;
            self.queue.take_back(rejected);
        }
        assert!(self.due.removed.is_empty(), "every removal is told");
        assert!(self.due.rejected.is_empty() && self.due.counted.is_empty());
    }

    fn follow_reject(&mut self, rejected: Rejected) {
        let known = &self.known[&rejected.sequence];
        let place = known.place;
        if rejected.expired {
            assert!(matches!(place, Place::Ready | Place::Delayed(_)));
            assert!(known.expires_ms != 0 && known.expires_ms <= self.now_ms);
        } else {
            assert_eq!(place, Place::Ready);
            assert!(self.due.rejected.remove(&rejected.sequence));
            assert_eq!(rejected.entry.redeliveries, known.redeliveries);
        }
        self.out_of_sight(rejected.sequence);
        if self.store_full {
            self.known.get_mut(&rejected.sequence).unwrap().place = Place::Away;
            self.away.push(rejected);
        } else {
            if let Some(at) = rejected.entry.at.filter(|at| at.is_temp()) {
                self.world.remove(rejected.sequence, at);
            }
            self.known.remove(&rejected.sequence);
            self.gone += 1;
        }
    }

    fn follow_delivery(&mut self, to: SubscriptionKey, sequence: u64, number: u64, flow: Flow) {
        let at = self
            .consumers
            .iter()
            .position(|consumer| consumer.key == to);
        let at = at.expect("only a consumer gets a delivery");
        assert!(self.has_credit(at), "never beyond the window");
        self.goes_first(at, sequence);
        self.has_its_turn(at, sequence);
        let consumer = &mut self.consumers[at];
        assert!(number > consumer.last_number, "a number is used once");
        consumer.last_number = number;
        let known = self.known.get_mut(&sequence).unwrap();
        assert!(known.expires_ms == 0 || known.expires_ms > self.now_ms);
        if flow != Flow::Refused {
            known.place = Place::Unacked(to, number);
        }
        self.consumers[at].blocked = flow != Flow::Open;
    }

    pub(super) fn has_credit(&self, at: usize) -> bool {
        let consumer = &self.consumers[at];
        let held = self.held_by(consumer.key);
        let bytes: u64 = held
            .iter()
            .map(|(_, sequence)| self.known[sequence].bytes)
            .sum();
        !consumer.blocked
            && (consumer.mode == AckMode::Auto
                || held.len() < consumer.window.messages_max as usize
                    && bytes < consumer.window.bytes_max)
    }

    pub(super) fn agree(&self) {
        assert_eq!(self.queue.len(), self.known.len());
        let mut seen = BTreeSet::new();
        let mut held_bytes = 0;
        let mut spilled = BTreeSet::new();
        let taken = self
            .transactions
            .iter()
            .flatten()
            .flat_map(|open| &open.taken);
        let taken = taken.map(|delivery| (delivery.sequence, Seen::Here(&delivery.entry)));
        for (sequence, entry) in self.queue.entries().chain(taken) {
            assert!(seen.insert(sequence), "{sequence} is in two places");
            assert_eq!(u64::from(entry.bytes.get()), self.known[&sequence].bytes);
            held_bytes += entry.message.as_ref().map_or(0, |_| entry.bytes.get());
            assert_eq!(entry.journaled_at(), self.known[&sequence].at);
            assert!(entry.message.is_some() || entry.at.is_some());
            let temp = entry.at.filter(|at| at.is_temp());
            assert!(temp.is_none_or(|at| spilled.insert(at)), "one place each");
        }
        assert!(seen.iter().eq(self.known.keys()), "nothing is lost");
        assert_eq!(self.queue.held_bytes(), u64::from(held_bytes));
        let places = self.world.spilled.keys();
        assert!(places.eq(&spilled), "no place is lost and none freed early");
        let stats = self.queue.stats;
        assert_eq!(stats.enqueued, self.enqueued);
        assert_eq!(stats.dequeued, self.gone);
        let loading = !self.world.asked.is_empty();
        // What was taken back is not looked at again in the same step.
        if !loading && !self.store_full {
            for at in 0..self.consumers.len() {
                let left = self.known.iter().find(|(sequence, known)| {
                    self.has_credit(at) && self.is_surely_for(at, **sequence, known)
                });
                assert!(left.is_none(), "what can flow flows: {left:?}");
            }
        }
        let delayed = |known: &&Known| matches!(known.place, Place::Delayed(_));
        assert_eq!(
            self.queue.delayed(),
            self.known.values().filter(delayed).count()
        );
        assert!(
            self.queue.turns.len() <= 2 * self.consumers.len() + 16,
            "no place is kept for those who left"
        );
    }

    /// Whether the consumer may have the message, whatever else there is.
    fn is_surely_for(&self, at: usize, sequence: u64, known: &Known) -> bool {
        let taker = &self.consumers[at];
        let exclusive = self.exclusive();
        known.place == Place::Ready
            && exclusive.is_none_or(|key| key == taker.key)
            && taker.wanted.matches(sequence, known.redelivered)
            && !self.is_held(known)
            && known
                .group
                .is_none_or(|(id, _)| self.owner(id) == Some(taker.key))
    }

    /// Nothing that waits before the message could have gone to the consumer as well.
    fn goes_first(&self, at: usize, sequence: u64) {
        let known = &self.known[&sequence];
        assert_eq!(known.place, Place::Ready);
        assert!(!self.is_held(known), "the group of {sequence} is held back");
        let taker = &self.consumers[at];
        assert!(taker.wanted.matches(sequence, known.redelivered));
        let spot = self.spot(sequence, known);
        let before = self.known.iter().find(|(other, before)| {
            let same_group = before.group.is_some()
                && before.group.map(|(id, _)| id) == known.group.map(|(id, _)| id)
                && before.place == Place::Ready
                && taker.wanted.matches(**other, before.redelivered);
            self.spot(**other, before) < spot
                && (same_group || self.is_surely_for(at, **other, before))
        });
        assert!(before.is_none(), "{before:?} goes before {sequence}");
    }

    /// Exclusive consumers and those of higher priority go first (PRE-5, PRE-9).
    fn has_its_turn(&self, at: usize, sequence: u64) {
        let (taker, known) = (&self.consumers[at], &self.known[&sequence]);
        if let Some(key) = self.exclusive() {
            assert_eq!(key, taker.key, "nothing but to the exclusive consumer");
            return;
        }
        if known.group.is_some() || !self.world.asked.is_empty() {
            return;
        }
        let higher = (0..self.consumers.len()).find(|other| {
            let consumer = &self.consumers[*other];
            consumer.priority > taker.priority
                && self.has_credit(*other)
                && consumer.wanted.matches(sequence, known.redelivered)
        });
        assert!(higher.is_none(), "{higher:?} goes before {taker:?}");
    }

    fn exclusive(&self) -> Option<SubscriptionKey> {
        let exclusive = self.consumers.iter().filter(|taker| taker.exclusive);
        // Of the same priority the first, and `consumers` is in order of subscribing.
        let chosen = exclusive.reduce(|first, next| {
            if next.priority > first.priority {
                next
            } else {
                first
            }
        });
        chosen.map(|taker| taker.key)
    }

    fn spot(&self, sequence: u64, known: &Known) -> (u8, u64) {
        let lane = if self.prioritized {
            9 - known.priority
        } else {
            0
        };
        (lane, sequence)
    }

    fn owner(&self, group: u8) -> Option<SubscriptionKey> {
        let owner = self.groups.get(&group)?.owner?;
        let alive = self.consumers.iter().any(|taker| taker.key == owner);
        alive.then_some(owner)
    }

    /// Whether a delayed member of its group holds the message back (GRP-8).
    fn is_held(&self, known: &Known) -> bool {
        let Some((id, _)) = known.group else {
            return false;
        };
        let life = self.groups.get(&id).map_or(0, |group| group.life);
        self.known.values().any(|other| {
            matches!(other.place, Place::Delayed(_))
                && other.group.is_some_and(|(other, _)| other == id)
                && other.life == life
        })
    }

    fn follow_group(&mut self, to: SubscriptionKey, sequence: u64, first: bool) {
        let Some((id, number)) = self.known[&sequence].group else {
            assert!(!first);
            return;
        };
        match self.owner(id) {
            Some(owner) => assert_eq!((owner, first), (to, false), "an owner stays"),
            None => assert!(first, "the first to an owner is told"),
        }
        let group = self.groups.entry(id).or_default();
        group.owner = Some(to);
        self.known.get_mut(&sequence).unwrap().life = group.life;
        if number < 0 {
            (group.owner, group.life) = (None, group.life + 1);
        }
    }

    fn is_looker(&self, key: SubscriptionKey) -> bool {
        self.lookers.iter().any(|looker| looker.key == key)
    }

    fn follow_look(&mut self, to: SubscriptionKey, sequence: u64, flow: Flow) {
        if flow == Flow::Refused {
            return;
        }
        let spot = self
            .known
            .get(&sequence)
            .map(|known| self.spot(sequence, known));
        let looker = self.lookers.iter_mut().find(|looker| looker.key == to);
        let looker = looker.unwrap();
        assert!(!looker.is_done && sequence < looker.end_sequence);
        looker.expected.remove(&sequence);
        looker.unwritten += 1;
        if let (Some(spot), false) = (spot, looker.is_upset) {
            assert!(looker.last.is_none_or(|last| last < spot), "in order");
            looker.last = Some(spot);
        }
    }

    fn follow_end_of_look(&mut self, to: SubscriptionKey) {
        let (known, now_ms) = (&self.known, self.now_ms);
        let looker = self.lookers.iter_mut().find(|looker| looker.key == to);
        let looker = looker.unwrap();
        assert!(!std::mem::replace(&mut looker.is_done, true), "one end");
        let missed = looker.expected.iter().find(|sequence| {
            let expires_ms = known[*sequence].expires_ms;
            expires_ms == 0 || expires_ms > now_ms
        });
        assert_eq!(missed, None, "everything is shown");
    }
}

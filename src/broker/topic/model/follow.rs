//! What the model allows: effects one after the other, and what it expects of a step.

use super::*;

impl Test {
    /// Checks the effects of a step one after the other, and ends what was rejected.
    pub(super) fn follow(&mut self) {
        loop {
            for event in self.world.take() {
                self.follow_event(event);
            }
            let Some(rejected) = self.away.pop() else {
                break;
            };
            let Some(key) = rejected.subscription else {
                // Nobody has it: only its record is left.
                self.live.remove(&rejected.sequence);
                continue;
            };
            let (sequence, expired) = (rejected.sequence, rejected.expired);
            let durable = rejected.durable.is_some();
            let copy = self.subs.iter_mut().find(|sub| sub.key == key);
            if self.store_full {
                self.topic.take_back(rejected);
                if expired {
                    self.buried.remove(&sequence);
                }
                if let Some(sub) = copy {
                    sub.copies.get_mut(&sequence).unwrap().place = Place::Ready;
                }
            } else {
                drop(rejected);
                copy.map(|sub| sub.copies.remove(&sequence));
                if durable {
                    self.topic.rejected(key, sequence, &mut self.world);
                }
            }
        }
        assert!(
            self.due_rejected.is_empty(),
            "what failed too often is told"
        );
    }

    pub(super) fn follow_event(&mut self, event: Event) {
        match event {
            Event::Stalled(_) => panic!("only queues are watched"),
            Event::Browsed(_) => panic!("nobody browses a topic"),
            Event::Deliver {
                to,
                id,
                number,
                redelivered,
                redeliveries,
                flow,
                ..
            } => {
                let at = self.subs.iter().position(|sub| sub.key == to).unwrap();
                self.skip_expired(at, id.serial);
                assert!(self.has_credit(at), "never beyond the window");
                let sub = &mut self.subs[at];
                let mut ready = sub.copies.iter_mut();
                let first = ready.find(|(_, copy)| copy.place == Place::Ready);
                let (sequence, copy) = first.expect("only what it has still to consume");
                assert_eq!(*sequence, id.serial, "the first goes first");
                assert_eq!(
                    (copy.redelivered, copy.redeliveries),
                    (redelivered, redeliveries)
                );
                if flow != Flow::Refused {
                    copy.place = Place::Unacked(number);
                }
                assert!(number > sub.last_number, "a number is used once");
                sub.last_number = number;
                sub.consumer.as_mut().unwrap().blocked = flow != Flow::Open;
            }
            Event::Remove(sequence, at) => {
                assert!(self.live.remove(&sequence), "{sequence} is removed once");
                assert_eq!(self.sent[&sequence].at, Some(at));
            }
            Event::Acknowledge(id, progress) => {
                let position = self.positions.get_mut(&id).unwrap();
                match progress {
                    Progress::Through(through) => position.through = position.through.max(through),
                    Progress::Single(sequence) => drop(position.exceptions.insert(sequence)),
                }
            }
            Event::Redelivered(..) => panic!("a topic tells no counts for all"),
            Event::RedeliveredTo(id, sequence, redeliveries) => {
                let sub = self
                    .subs
                    .iter()
                    .find(|sub| sub.durable == Some(id))
                    .unwrap();
                assert_eq!(sub.copies[&sequence].redeliveries, redeliveries);
                assert!(self.sent[&sequence].at.is_some());
            }
            Event::Abort(key, cause) => {
                assert!(matches!(cause, AbortCause::Backlog { .. }), "{cause}");
                assert_eq!(self.rules.eviction, Eviction::Disconnect);
                let sub = self.subs.iter_mut().find(|sub| sub.key == key).unwrap();
                assert!(sub.durable.is_none() && !sub.ended, "ended once");
                sub.ended = true;
                let cursor = self.topic.subscriptions[key].cursor;
                sub.copies.retain(|sequence, copy| {
                    let returned = &self.topic.subscriptions[key].returned;
                    copy.place != Place::Ready || returned.contains_key(sequence)
                });
                let waits = |(sequence, copy): (&u64, &Copy)| {
                    copy.place == Place::Ready && *sequence >= cursor
                };
                assert!(!sub.copies.iter().any(waits), "nothing is kept for it");
            }
            Event::Reject(rejected) if rejected.expired && rejected.subscription.is_some() => {
                let (sequence, key) = (rejected.sequence, rejected.subscription.unwrap());
                let sent = self.sent[&sequence];
                assert!(sent.at.is_some() && sent.expires_ms <= self.now_ms);
                assert!(self.buried.insert(sequence), "{sequence} is buried once");
                self.known_dead.insert(sequence);
                let sub = self.subs.iter_mut().find(|sub| sub.key == key).unwrap();
                assert_eq!(sub.durable, rejected.durable);
                let copy = sub.copies.get_mut(&sequence).unwrap();
                assert_eq!(copy.place, Place::Ready);
                copy.place = Place::Away;
                self.away.push(rejected);
            }
            Event::Reject(rejected) => {
                let key = rejected.subscription.unwrap_or_default();
                assert!(self.due_rejected.remove(&(rejected.sequence, key)));
                self.away.push(rejected);
            }
        }
    }

    /// Expired messages go without a sound when their turn comes, but one of each that is stored.
    pub(super) fn skip_expired(&mut self, at: usize, before: u64) {
        let (sent, now_ms) = (&self.sent, self.now_ms);
        self.subs[at].copies.retain(|sequence, copy| {
            let expires_ms = sent[sequence].expires_ms;
            let expired = expires_ms != 0 && expires_ms <= now_ms;
            *sequence >= before || copy.place != Place::Ready || !expired
        });
    }

    pub(super) fn expect_return(&mut self, at: usize, sequence: u64, failed: bool) {
        let sub = &mut self.subs[at];
        let copy = sub.copies.get_mut(&sequence).unwrap();
        copy.place = Place::Ready;
        copy.redelivered = true;
        copy.redeliveries += u16::from(failed);
        if failed && copy.redeliveries > LIMIT {
            copy.place = Place::Away;
            self.due_rejected.insert((sequence, sub.key));
        }
    }

    pub(super) fn expect_refusal(&mut self, at: usize, sequence: u64) {
        self.expect_return(at, sequence, false);
        let sub = &mut self.subs[at];
        let copy = sub.copies.get_mut(&sequence).unwrap();
        copy.place = Place::Away;
        copy.redeliveries += 1;
        self.due_rejected.insert((sequence, sub.key));
    }

    /// The subscription has gone: only a dead letter can come of what its transaction holds.
    pub(super) fn expect_orphan(&mut self, key: SubscriptionKey, delivery: &Delivery, b: u16) {
        if b % 3 == 1 && delivery.entry.redeliveries >= LIMIT {
            self.due_rejected.insert((delivery.sequence, key));
        }
    }

    pub(super) fn expect_restore(&mut self, at: usize, delivery: &Delivery) {
        let key = self.subs[at].key;
        let consumer = self.topic.subscriptions[key].consumer.as_ref();
        // Only the consumer that was given it gets it back as unacknowledged (ACK-6).
        if consumer.is_some_and(|consumer| consumer.was_given(delivery.number)) {
            let copy = self.subs[at].copies.get_mut(&delivery.sequence).unwrap();
            copy.place = Place::Unacked(delivery.number);
        } else {
            self.expect_return(at, delivery.sequence, false);
        }
    }
}

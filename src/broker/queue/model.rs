//! The queue against an obvious model: a list of messages, each in one place.
//!
//! Random steps, from numbers that proptest shrinks. After each step every effect must be one the model
//! allows, counts must agree with a recount, and nothing that could flow may lie still.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::broker::delivery::{Ack, Which};
use crate::broker::double::{Event, World, message};
use crate::broker::message::MessageId;
use crate::broker::outlet::{Flow, Rejected};
use crate::broker::redelivery::RedeliveryPolicy;

const LIMIT: u16 = 2;
const WINDOW_BYTES: u64 = 3000;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Place {
    Ready,
    Unacked(SubscriptionKey, u64),
    Taken(usize),
    /// On the way to the dead-letter queue, which will not take it.
    Away,
}

#[derive(Debug)]
struct Known {
    place: Place,
    bytes: u64,
    at: Option<Locator>,
    expires_ms: u64,
    redeliveries: u16,
    redelivered: bool,
}

#[derive(Debug)]
struct Consumer {
    key: SubscriptionKey,
    mode: AckMode,
    window: Window,
    blocked: bool,
    last_number: u64,
}

struct Transaction {
    key: SubscriptionKey,
    taken: Vec<Delivery>,
}

/// What a step has to bring about, beside deliveries.
#[derive(Default)]
struct Due {
    removed: BTreeSet<u64>,
    counted: BTreeMap<u64, u16>,
    rejected: BTreeSet<u64>,
}

struct Test {
    queue: Queue,
    world: World,
    now_ms: u64,
    /// By sequence.
    known: BTreeMap<u64, Known>,
    consumers: Vec<Consumer>,
    transactions: Vec<Option<Transaction>>,
    reserved: Vec<u64>,
    enqueued: u64,
    gone: u64,
    due: Due,
    away: Vec<Rejected>,
    /// Dead letters cannot be stored, so what is rejected is taken back.
    store_full: bool,
}

type Op = (u8, u16, u16);

impl Test {
    fn new() -> Self {
        let policy = QueuePolicy {
            redelivery: RedeliveryPolicy {
                maximum_redeliveries: Some(LIMIT),
                initial_redelivery_delay_ms: 0,
                redelivery_delay_ms: 0,
                ..RedeliveryPolicy::default()
            },
            ..QueuePolicy::default()
        };
        Self {
            queue: Queue::new(1, WINDOW_BYTES, policy),
            world: World::default(),
            now_ms: 1000,
            known: BTreeMap::new(),
            consumers: Vec::new(),
            transactions: Vec::new(),
            reserved: Vec::new(),
            enqueued: 0,
            gone: 0,
            due: Due::default(),
            away: Vec::new(),
            store_full: false,
        }
    }

    fn step(&mut self, (op, a, b): Op) {
        match op % 24 {
            0..=5 => {
                let sequence = self.queue.reserve(1);
                self.push(sequence, a, b);
            }
            6 => self.reserved.push(self.queue.reserve(1)),
            7 if !self.reserved.is_empty() => {
                let late = self.reserved.remove(a as usize % self.reserved.len());
                self.push(late, b, a);
            }
            8 if self.consumers.len() < 4 => self.subscribe(a, b),
            9 => self.unsubscribe(a, b),
            10..=13 => self.acknowledge(a, b),
            14 => self.take(a, b),
            15 => self.end_transaction(a, b),
            16 | 17 => self.written(a, b),
            18 => self.resume(a),
            19 if a.is_multiple_of(3) => self.world.flows.push(Flow::Refused),
            19 => self.world.flows.push(Flow::Full),
            20 => self.sync(a),
            21 | 22 => self.serve(a, b),
            23 if a.is_multiple_of(9) => self.store_full = !self.store_full,
            23 => self.now_ms += u64::from(a % 8),
            _ => {}
        }
        self.queue.dispatch(self.now_ms, &mut self.world);
        self.follow();
        self.agree();
    }

    fn push(&mut self, sequence: u64, a: u16, b: u16) {
        let persistent = !a.is_multiple_of(3);
        let expires_ms = match b % 4 {
            0 => self.now_ms + u64::from(b % 16),
            _ => 0,
        };
        let message = message(sequence, usize::from(a % 900), persistent, expires_ms);
        let at = persistent.then(|| self.world.store(&message));
        let entry = Entry::held(Arc::new(message), at);
        self.known.insert(
            sequence,
            Known {
                place: Place::Ready,
                bytes: u64::from(entry.bytes.get()),
                at,
                expires_ms,
                redeliveries: 0,
                redelivered: false,
            },
        );
        self.enqueued += 1;
        let incoming = Incoming { sequence, entry };
        self.queue.push(self.now_ms, incoming, &mut self.world);
    }

    fn subscribe(&mut self, a: u16, b: u16) {
        let mode = [AckMode::Auto, AckMode::Client, AckMode::Individual][a as usize % 3];
        let window = Window {
            messages_max: u32::from(b % 5 + 1),
            bytes_max: if b.is_multiple_of(7) { 1500 } else { u64::MAX },
        };
        let key = self.queue.subscribe(mode, window);
        self.consumers.push(Consumer {
            key,
            mode,
            window,
            blocked: true,
            last_number: 0,
        });
    }

    fn unsubscribe(&mut self, a: u16, b: u16) {
        let Some(at) = self.pick(a) else { return };
        let consumer = self.consumers.remove(at);
        let died = b.is_multiple_of(2);
        let held = self.held_by(consumer.key);
        for (index, (_, sequence)) in held.into_iter().enumerate() {
            if died && index == 0 && consumer.mode != AckMode::Auto {
                self.expect_failure(sequence);
            } else {
                self.expect_return(sequence);
            }
        }
        let ending = if died { Ending::Died } else { Ending::Orderly };
        self.queue
            .unsubscribe(self.now_ms, consumer.key, ending, &mut self.world);
    }

    fn acknowledge(&mut self, a: u16, b: u16) {
        let Some(at) = self.pick(a) else { return };
        let key = self.consumers[at].key;
        let (which, named) = self.name(key, b);
        let covered = self.covered(at, named);
        let ack = [
            Ack::Failed,
            Ack::Consumed,
            Ack::Consumed,
            Ack::Requeued,
            Ack::Refused,
        ][b as usize % 5];
        for sequence in &covered {
            match ack {
                Ack::Consumed => self.expect_removal(*sequence),
                Ack::Failed | Ack::FailedFor(_) => self.expect_failure(*sequence),
                Ack::Requeued => self.expect_return(*sequence),
                Ack::Refused => self.expect_refusal(*sequence),
            }
        }
        let known = self
            .queue
            .acknowledge(self.now_ms, key, which, ack, &mut self.world);
        assert_eq!(known, !covered.is_empty(), "{which:?}");
    }

    /// Names a delivery of `key`: one that waits, or one that does not.
    fn name(&self, key: SubscriptionKey, b: u16) -> (Which, Option<(u64, u64)>) {
        let held = self.held_by(key);
        if held.is_empty() || b.is_multiple_of(11) {
            return (Which::Number(u64::from(b) + 100_000), None);
        }
        let named = held[b as usize % held.len()];
        if b.is_multiple_of(2) {
            (Which::Number(named.0), Some(named))
        } else {
            let id = MessageId {
                origin: 1,
                serial: named.1,
            };
            (Which::Message(id), Some(named))
        }
    }

    /// The sequences that naming `named` covers.
    fn covered(&self, at: usize, named: Option<(u64, u64)>) -> Vec<u64> {
        let Some((number, sequence)) = named else {
            return Vec::new();
        };
        match self.consumers[at].mode {
            AckMode::Auto => Vec::new(),
            AckMode::Individual => vec![sequence],
            AckMode::Client => {
                let held = self.held_by(self.consumers[at].key).into_iter();
                held.filter(|(other, _)| *other <= number)
                    .map(|(_, sequence)| sequence)
                    .collect()
            }
        }
    }

    fn take(&mut self, a: u16, b: u16) {
        let Some(at) = self.pick(a) else { return };
        let key = self.consumers[at].key;
        let (which, named) = self.name(key, b);
        let covered = self.covered(at, named);
        let place = Place::Taken(self.transactions.len());
        for sequence in &covered {
            self.known.get_mut(sequence).unwrap().place = place;
        }
        let taken = self
            .queue
            .take(self.now_ms, key, which, &mut self.world)
            .unwrap_or_default();
        let sequences: Vec<u64> = taken.iter().map(|delivery| delivery.sequence).collect();
        assert_eq!(sequences, covered, "taken in order of delivery");
        self.transactions.push(Some(Transaction { key, taken }));
    }

    fn end_transaction(&mut self, a: u16, b: u16) {
        let open: Vec<usize> = (0..self.transactions.len())
            .filter(|at| self.transactions[*at].is_some())
            .collect();
        let Some(&at) = open.get(a as usize % open.len().max(1)) else {
            return;
        };
        let Transaction { key, taken } = self.transactions[at].take().unwrap();
        let alive = self.consumers.iter().any(|consumer| consumer.key == key);
        for delivery in &taken {
            match b % 3 {
                0 => self.expect_removal(delivery.sequence),
                1 => self.expect_failure(delivery.sequence),
                _ if alive => {
                    self.known.get_mut(&delivery.sequence).unwrap().place =
                        Place::Unacked(key, delivery.number);
                }
                _ => self.expect_return(delivery.sequence),
            }
        }
        let (queue, world) = (&mut self.queue, &mut self.world);
        match b % 3 {
            0 => queue.commit(self.now_ms, key, taken, Ack::Consumed, world),
            1 => queue.commit(self.now_ms, key, taken, Ack::Failed, world),
            _ => queue.restore(self.now_ms, key, taken, world),
        }
    }

    fn written(&mut self, a: u16, b: u16) {
        let Some(at) = self.pick(a) else { return };
        if self.consumers[at].mode != AckMode::Auto {
            return;
        }
        let key = self.consumers[at].key;
        let held = self.held_by(key);
        let count = b as usize % (held.len() + 1);
        for (_, sequence) in &held[..count] {
            self.expect_removal(*sequence);
        }
        self.queue.written(key, count as u64, &mut self.world);
    }

    fn resume(&mut self, a: u16) {
        let Some(at) = self.pick(a) else { return };
        self.consumers[at].blocked = false;
        let key = self.consumers[at].key;
        self.queue.resume(self.now_ms, key, &mut self.world);
    }

    fn sync(&mut self, a: u16) {
        let places: Vec<Locator> = self.world.stored.keys().copied().collect();
        let durable = places.get(a as usize % places.len().max(1)).copied();
        self.queue.set_durable(durable);
    }

    /// Serves some of what was asked back, in any order; now and then the store has lost one.
    fn serve(&mut self, a: u16, b: u16) {
        for _ in 0..=a % 4 {
            if self.world.asked.is_empty() {
                return;
            }
            let index = b as usize % self.world.asked.len();
            let (sequence, at) = self.world.asked.swap_remove(index);
            let lost = a.is_multiple_of(13);
            if lost {
                let gone = self.known.remove(&sequence).unwrap();
                assert_eq!(gone.place, Place::Ready, "only ready messages are fetched");
                self.gone += 1;
            }
            let found = self.world.read(at).filter(|_| !lost);
            self.queue
                .loaded(self.now_ms, sequence, found, &mut self.world);
        }
    }

    fn pick(&self, a: u16) -> Option<usize> {
        (!self.consumers.is_empty()).then(|| a as usize % self.consumers.len())
    }

    /// What a consumer holds: numbers with sequences, oldest first.
    fn held_by(&self, key: SubscriptionKey) -> Vec<(u64, u64)> {
        let held = self
            .known
            .iter()
            .filter_map(|(sequence, known)| match known.place {
                Place::Unacked(holder, number) if holder == key => Some((number, *sequence)),
                _ => None,
            });
        let mut held: Vec<_> = held.collect();
        held.sort_unstable();
        held
    }

    fn expect_removal(&mut self, sequence: u64) {
        let known = self.known.remove(&sequence).unwrap();
        self.gone += 1;
        if known.at.is_some() {
            self.due.removed.insert(sequence);
        }
    }

    fn expect_return(&mut self, sequence: u64) {
        let known = self.known.get_mut(&sequence).unwrap();
        known.place = Place::Ready;
        known.redelivered = true;
    }

    fn expect_refusal(&mut self, sequence: u64) {
        self.expect_return(sequence);
        self.known.get_mut(&sequence).unwrap().redeliveries += 1;
        self.due.rejected.insert(sequence);
    }

    fn expect_failure(&mut self, sequence: u64) {
        self.expect_return(sequence);
        let known = self.known.get_mut(&sequence).unwrap();
        known.redeliveries += 1;
        if known.redeliveries > LIMIT {
            self.due.rejected.insert(sequence);
        } else if known.at.is_some() {
            self.due.counted.insert(sequence, known.redeliveries);
        }
    }

    /// Checks the effects of a step one after the other.
    fn follow(&mut self) {
        for event in self.world.take() {
            match event {
                Event::Deliver {
                    to,
                    id,
                    number,
                    redelivered,
                    redeliveries,
                    flow,
                } => {
                    self.follow_delivery(to, id.serial, number, flow);
                    let known = &self.known[&id.serial];
                    let marks = (known.redelivered, known.redeliveries);
                    assert_eq!(marks, (redelivered, redeliveries));
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
                Event::Browsed(_) => panic!("nobody browses"),
                Event::Acknowledge(..) | Event::RedeliveredTo(..) => {
                    panic!("a queue has no durable subscriptions")
                }
            }
        }
        for rejected in std::mem::take(&mut self.away) {
            self.known.get_mut(&rejected.sequence).unwrap().place = Place::Ready;
            self.queue.take_back(rejected);
        }
        assert!(self.due.removed.is_empty(), "every removal is told");
        assert!(self.due.rejected.is_empty() && self.due.counted.is_empty());
    }

    fn follow_reject(&mut self, rejected: Rejected) {
        let known = &self.known[&rejected.sequence];
        assert_eq!(known.place, Place::Ready);
        if rejected.expired {
            assert!(known.expires_ms != 0 && known.expires_ms <= self.now_ms);
        } else {
            assert!(self.due.rejected.remove(&rejected.sequence));
            assert_eq!(rejected.entry.redeliveries, known.redeliveries);
        }
        if self.store_full {
            self.known.get_mut(&rejected.sequence).unwrap().place = Place::Away;
            self.away.push(rejected);
        } else {
            self.known.remove(&rejected.sequence);
            self.gone += 1;
        }
    }

    fn follow_delivery(&mut self, to: SubscriptionKey, sequence: u64, number: u64, flow: Flow) {
        let ready = self
            .known
            .iter()
            .find(|(_, known)| known.place == Place::Ready);
        assert_eq!(
            ready.map(|(first, _)| *first),
            Some(sequence),
            "the first goes first"
        );
        let at = self
            .consumers
            .iter()
            .position(|consumer| consumer.key == to);
        let at = at.expect("only a consumer gets a delivery");
        assert!(self.has_credit(at), "never beyond the window");
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

    fn has_credit(&self, at: usize) -> bool {
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

    fn agree(&self) {
        assert_eq!(self.queue.len(), self.known.len());
        let mut seen = BTreeSet::new();
        let mut held_bytes = 0;
        let taken = self
            .transactions
            .iter()
            .flatten()
            .flat_map(|open| &open.taken);
        let taken = taken.map(|delivery| (delivery.sequence, &delivery.entry));
        for (sequence, entry) in self.queue.entries().chain(taken) {
            assert!(seen.insert(sequence), "{sequence} is in two places");
            assert_eq!(u64::from(entry.bytes.get()), self.known[&sequence].bytes);
            held_bytes += entry.message.as_ref().map_or(0, |_| entry.bytes.get());
        }
        assert!(seen.iter().eq(self.known.keys()), "nothing is lost");
        assert_eq!(self.queue.held_bytes(), u64::from(held_bytes));
        let stats = self.queue.stats;
        assert_eq!(stats.enqueued, self.enqueued);
        assert_eq!(stats.dequeued, self.gone);
        let willing = (0..self.consumers.len()).any(|at| self.has_credit(at));
        let ready = self.known.values().any(|known| known.place == Place::Ready);
        let loading = !self.world.asked.is_empty();
        // What was taken back is not looked at again in the same step.
        let still = loading || self.store_full;
        assert!(!willing || !ready || still, "what can flow flows");
        assert!(
            self.queue.turns.len() <= 2 * self.consumers.len() + 16,
            "no place is kept for those who left"
        );
    }

    /// Ends all transactions, lets one consumer take everything, and looks for what is left.
    fn drain(&mut self) {
        while self.transactions.iter().any(Option::is_some) {
            self.end_transaction(0, 2);
            self.follow();
        }
        while !self.consumers.is_empty() {
            self.unsubscribe(0, 1);
            self.follow();
        }
        self.world.flows.clear();
        self.store_full = false;
        self.subscribe(0, 1);
        self.resume(0);
        for _ in 0..10_000 {
            self.queue.dispatch(self.now_ms, &mut self.world);
            self.follow();
            self.agree();
            self.serve(3, 0);
            self.follow();
            let held = self.held_by(self.consumers[0].key).len();
            for (_, sequence) in self.held_by(self.consumers[0].key) {
                self.expect_removal(sequence);
            }
            let key = self.consumers[0].key;
            self.queue.written(key, held as u64, &mut self.world);
            self.follow();
            if self.known.is_empty() {
                break;
            }
        }
        assert!(self.known.is_empty() && self.queue.is_empty());
        assert_eq!(self.queue.held_bytes(), 0);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { ..ProptestConfig::default() })]

    #[test]
    fn a_queue_behaves_as_a_list_of_messages(
        ops in proptest::collection::vec(any::<(u8, u16, u16)>(), 0..300)
    ) {
        let mut test = Test::new();
        for op in ops {
            test.step(op);
        }
        test.drain();
    }
}

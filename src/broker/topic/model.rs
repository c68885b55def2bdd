//! The topic against an obvious model: for each subscription a list of what it has still to consume.
//!
//! Random steps, from numbers that proptest shrinks. After each step every effect must be one the model
//! allows; references, octets and durable positions must agree with a recount; what can flow must flow.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use proptest::prelude::*;

use super::*;
use crate::broker::delivery::{Ack, AckMode, Delivery, Ending, Which};
use crate::broker::double::{Event, World, message};
use crate::broker::message::MessageId;
use crate::broker::outlet::{Flow, Progress};
use crate::broker::paging::Spill;
use crate::broker::slow::AbortCause;
use crate::broker::subscription::Window;

mod checks;
mod follow;
mod rules;

use checks::Position;
use rules::Kept as KeptForLater;

const LIMIT: u16 = 2;
const WINDOW_BYTES: u64 = 3000;
const SLOW_BYTES: u64 = 4000;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Place {
    Ready,
    Unacked(u64),
    Taken(usize),
    Away,
}

#[derive(Clone, Debug)]
struct Copy {
    place: Place,
    redeliveries: u16,
    redelivered: bool,
}

#[derive(Debug)]
struct Consumer {
    mode: AckMode,
    window: Window,
    blocked: bool,
}

/// Takes what does not divide by three.
#[derive(Debug)]
struct Thirds;

impl Filter for Thirds {
    fn matches(&self, message: &Message, _: u16, _: bool) -> bool {
        !message.id.serial.is_multiple_of(3)
    }
}

#[derive(Debug)]
struct Sub {
    key: SubscriptionKey,
    filtered: bool,
    no_local: bool,
    durable: Option<u32>,
    start: u64,
    consumer: Option<Consumer>,
    last_number: u64,
    /// By sequence: what it has still to consume.
    copies: BTreeMap<u64, Copy>,
    /// Messages that may wait for it, once its consumer has been started.
    pending_max: Option<usize>,
    started: bool,
    /// The topic has ended it.
    ended: bool,
}

#[derive(Clone, Copy, Debug)]
struct Sent {
    bytes: u64,
    at: Option<Locator>,
    expires_ms: u64,
    origin: u64,
    priority: u8,
}

struct Test {
    topic: Topic,
    world: World,
    now_ms: u64,
    sent: HashMap<u64, Sent>,
    /// Stored and not removed.
    live: BTreeSet<u64>,
    subs: Vec<Sub>,
    next_id: u32,
    positions: HashMap<u32, Position>,
    transactions: Vec<Option<(SubscriptionKey, Vec<Delivery>)>>,
    /// Places promised to a transaction, and whether what fills them is stored.
    promised: Vec<(u64, bool)>,
    due_rejected: BTreeSet<(u64, SubscriptionKey)>,
    /// Expired, and the dead-letter path has it.
    buried: BTreeSet<u64>,
    /// Expired, and the dead-letter path has had it; or the store has lost it.
    known_dead: BTreeSet<u64>,
    away: Vec<Rejected>,
    /// What is being written to temporary storage.
    spilling: Vec<(u64, Arc<Message>)>,
    store_full: bool,
    discarded: u64,
    /// The message of this step.
    published: Option<u64>,
    /// A place was filled after later ones.
    filled_late: bool,
    rules: TopicPolicy,
    kept: KeptForLater,
}

impl Test {
    fn new(rules: TopicPolicy) -> Self {
        let limits = TopicLimits {
            window_bytes: WINDOW_BYTES,
            slow_bytes_max: SLOW_BYTES,
        };
        let policy = RedeliveryPolicy {
            maximum_redeliveries: Some(LIMIT),
            initial_redelivery_delay_ms: 0,
            redelivery_delay_ms: 0,
            ..RedeliveryPolicy::default()
        };
        let mut topic = Topic::new(1, limits, policy);
        topic.set_rules(1000, rules::given(&rules));
        Self {
            topic,
            world: World::default(),
            now_ms: 1000,
            sent: HashMap::new(),
            live: BTreeSet::new(),
            subs: Vec::new(),
            next_id: 1,
            positions: HashMap::new(),
            transactions: Vec::new(),
            promised: Vec::new(),
            due_rejected: BTreeSet::new(),
            buried: BTreeSet::new(),
            known_dead: BTreeSet::new(),
            away: Vec::new(),
            spilling: Vec::new(),
            store_full: false,
            discarded: 0,
            published: None,
            filled_late: false,
            rules,
            kept: KeptForLater::default(),
        }
    }

    fn step(&mut self, (op, a, b): (u8, u16, u16)) {
        self.published = None;
        match op % 29 {
            0..=5 => {
                let sequence = self.topic.reserve(1);
                self.publish(sequence, None, a, b);
            }
            6 => {
                let stored = self.topic.has_durables();
                self.promised.push((self.topic.promise(1), stored));
            }
            7 if !self.promised.is_empty() => {
                let (late, stored) = self.promised.remove(a as usize % self.promised.len());
                if !b.is_multiple_of(5) {
                    self.filled_late = true;
                    self.publish(late, Some(stored), b, a);
                }
                self.topic.keep_promise(late);
            }
            8 | 9 if self.subs.len() < 4 => self.subscribe(a, b),
            8..=9 => self.activate(a, b),
            10 => self.unsubscribe(a, b),
            11 if b.is_multiple_of(3) => self.drop_durable(a),
            11..=14 => self.acknowledge(a, b),
            15 => self.take(a, b),
            16 => self.end_transaction(a, b),
            17 | 18 => self.written(a, b),
            19 => self.resume(a),
            20 if a.is_multiple_of(3) => self.world.flows.push(Flow::Refused),
            20 => self.world.flows.push(Flow::Full),
            21 => self.sync(a),
            22 | 23 => self.serve(a, b),
            25 => self.sweep(),
            24 if a.is_multiple_of(9) => self.toggle_store(),
            26 | 27 => self.spill(a, b),
            28 => self.spilled(a),
            _ => self.now_ms += u64::from(a % 8),
        }
        self.follow();
        self.agree();
    }

    /// What was taken back goes out with the next step that concerns its subscription.
    fn toggle_store(&mut self) {
        self.store_full = !self.store_full;
        for sub in self.subs.iter().filter(|sub| sub.consumer.is_some()) {
            self.topic.dispatch(self.now_ms, sub.key, &mut self.world);
        }
    }

    fn sweep(&mut self) {
        self.topic.due(self.now_ms, &mut self.world);
        self.follow();
        if self.store_full {
            return;
        }
        self.learn_drops();
        for sub in self.subs.iter().filter(|sub| sub.consumer.is_none()) {
            for (sequence, copy) in &sub.copies {
                let expires_ms = self.sent[sequence].expires_ms;
                let expired = expires_ms != 0 && expires_ms <= self.now_ms;
                assert!(
                    !expired || copy.place != Place::Ready,
                    "{sequence} is swept"
                );
            }
        }
    }

    /// `stored` says whether it is in the journal, if that was settled before.
    fn publish(&mut self, sequence: u64, stored: Option<bool>, a: u16, b: u16) {
        let persistent = !a.is_multiple_of(3);
        let expires_ms = match b % 4 {
            0 => self.now_ms + u64::from(b % 16),
            _ => 0,
        };
        let mut message = message(sequence, usize::from(a % 900), persistent, expires_ms);
        message.id.origin = u64::from(a % 4);
        message.priority = (b % 10) as u8;
        let (priority, body) = (message.priority, message.body().len());
        let origin = message.id.origin;
        let stored = stored.unwrap_or_else(|| self.topic.is_stored(&message));
        let at = (persistent && stored).then(|| self.world.store(&message));
        let message = Arc::new(message);
        // A transaction still refers to what it sends.
        let outside = Arc::clone(&message);
        let entry = Entry::held(message, at);
        let sent = Sent {
            bytes: u64::from(entry.bytes.get()),
            at,
            expires_ms,
            origin,
            priority,
        };
        self.sent.insert(sequence, sent);
        self.published = Some(sequence);
        self.live.extend(at.map(|_| sequence));
        let expired = expires_ms != 0 && expires_ms <= self.now_ms;
        if !expired {
            let policy = self.rules.recovery;
            self.kept
                .add(&policy, self.now_ms, sequence, (sent.bytes, body));
        }
        for sub in self.subs.iter_mut().filter(|_| !expired) {
            if sub.ended {
                continue;
            }
            if sub.filtered && sequence.is_multiple_of(3) || sub.no_local && origin == 1 {
                continue;
            }
            // A subscription made after the place was promised sees what was not sent before it.
            if sequence < sub.start && sub.durable.is_some() && at.is_none() && persistent {
                continue;
            }
            let copy = Copy {
                place: Place::Ready,
                redeliveries: 0,
                redelivered: false,
            };
            sub.copies.insert(sequence, copy);
        }
        if expired {
            self.due_rejected
                .insert((sequence, SubscriptionKey::default()));
        }
        let incoming = Incoming { sequence, entry };
        self.topic.publish(self.now_ms, incoming, &mut self.world);
        drop(outside);
    }

    fn subscribe(&mut self, a: u16, b: u16) {
        let start = self.topic.next_sequence();
        let (mode, window) = consumer(a, b);
        let (filtered, no_local) = (b % 4 == 1, b % 8 == 2);
        let selection = Selection {
            filter: filtered.then(|| Arc::new(Thirds) as Arc<dyn Filter>),
            no_local: no_local.then(|| Arc::new(AtomicU64::new(1))),
        };
        let from = Progressed {
            start,
            ..Progressed::default()
        };
        let (key, durable, consumer) = if a.is_multiple_of(2) {
            let id = self.next_id;
            self.next_id += 1;
            let through = start - 1;
            let position = Position {
                through,
                ..Position::default()
            };
            self.positions.insert(id, position);
            (
                self.topic.define_durable(id, from, selection),
                Some(id),
                None,
            )
        } else {
            let consumer = Consumer {
                mode,
                window,
                blocked: true,
            };
            (
                self.topic.subscribe(mode, window, selection),
                None,
                Some(consumer),
            )
        };
        self.subs.push(Sub {
            key,
            filtered,
            no_local,
            durable,
            start,
            consumer,
            last_number: 0,
            copies: BTreeMap::new(),
            pending_max: durable
                .is_none()
                .then(|| self.rules.pending.of(window))
                .flatten(),
            started: false,
            ended: false,
        });
        if durable.is_none() && b.is_multiple_of(3) {
            self.recall(b.is_multiple_of(2));
        }
        if durable.is_none() && b.is_multiple_of(5) {
            let wish = u32::from(b % 4);
            self.topic.bound(key, Some(wish));
            self.subs.last_mut().unwrap().pending_max = Some(wish as usize);
        }
    }

    /// The newest subscription gets what was kept for those who come later, if it asks or all do.
    fn recall(&mut self, asked: bool) {
        let policy = self.rules.recovery;
        self.kept.trim(&policy, self.now_ms);
        let sub = self.subs.last_mut().unwrap();
        for sequence in self.kept.sequences() {
            let sent = self.sent[&sequence];
            let expired = sent.expires_ms != 0 && sent.expires_ms <= self.now_ms;
            let wanted =
                !(sub.filtered && sequence.is_multiple_of(3) || sub.no_local && sent.origin == 1);
            if (asked || self.rules.always_retroactive) && wanted && !expired {
                let copy = Copy {
                    place: Place::Ready,
                    redeliveries: 0,
                    redelivered: false,
                };
                sub.copies.insert(sequence, copy);
            }
        }
        let recalled = self.topic.recall(self.now_ms, sub.key, asked);
        assert_eq!(recalled, sub.copies.len());
    }

    fn activate(&mut self, a: u16, b: u16) {
        let Some(at) = self.pick(a) else { return };
        let sub = &mut self.subs[at];
        let (mode, window) = consumer(b, a);
        let free = sub.consumer.is_none();
        assert_eq!(self.topic.activate(sub.key, mode, window), free);
        sub.consumer.get_or_insert(Consumer {
            mode,
            window,
            blocked: true,
        });
    }

    fn unsubscribe(&mut self, a: u16, b: u16) {
        let Some(at) = self.pick(a) else { return };
        let (key, died) = (self.subs[at].key, b.is_multiple_of(2));
        if self.subs[at].durable.is_none() {
            self.subs.remove(at);
        } else if let Some(consumer) = self.subs[at].consumer.take() {
            for (index, (_, sequence)) in held(&self.subs[at]).into_iter().enumerate() {
                let counts = died && index == 0 && consumer.mode != AckMode::Auto;
                self.expect_return(at, sequence, counts);
            }
        }
        let ending = if died { Ending::Died } else { Ending::Orderly };
        self.topic.unsubscribe(key, ending, &mut self.world);
    }

    fn drop_durable(&mut self, a: u16) {
        let Some(at) = self.pick(a) else { return };
        if self.subs[at].durable.is_some() && self.subs[at].consumer.is_none() {
            let key = self.subs.remove(at).key;
            self.topic.drop_subscription(key, &mut self.world);
        }
    }

    fn acknowledge(&mut self, a: u16, b: u16) {
        let Some(at) = self.pick(a) else { return };
        let (which, named) = self.name(at, b);
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
                Ack::Consumed => drop(self.subs[at].copies.remove(sequence)),
                Ack::Failed | Ack::FailedFor(_) => self.expect_return(at, *sequence, true),
                Ack::Requeued => self.expect_return(at, *sequence, false),
                Ack::Refused => self.expect_refusal(at, *sequence),
            }
        }
        let key = self.subs[at].key;
        let known = self
            .topic
            .acknowledge(self.now_ms, key, which, ack, &mut self.world);
        assert_eq!(known, !covered.is_empty(), "{which:?}");
    }

    fn name(&self, at: usize, b: u16) -> (Which, Option<(u64, u64)>) {
        let held = held(&self.subs[at]);
        if held.is_empty() || b.is_multiple_of(11) {
            return (Which::Number(u64::from(b) + 100_000), None);
        }
        let named = held[b as usize % held.len()];
        let id = MessageId {
            origin: self.sent[&named.1].origin,
            serial: named.1,
        };
        match b % 2 {
            0 => (Which::Number(named.0), Some(named)),
            _ => (Which::Message(id), Some(named)),
        }
    }

    fn covered(&self, at: usize, named: Option<(u64, u64)>) -> Vec<u64> {
        let (Some((number, sequence)), Some(consumer)) = (named, &self.subs[at].consumer) else {
            return Vec::new();
        };
        match consumer.mode {
            AckMode::Auto => Vec::new(),
            AckMode::Individual => vec![sequence],
            AckMode::Client => held(&self.subs[at])
                .into_iter()
                .filter(|(other, _)| *other <= number)
                .map(|(_, sequence)| sequence)
                .collect(),
        }
    }

    fn take(&mut self, a: u16, b: u16) {
        let Some(at) = self.pick(a) else { return };
        let (which, named) = self.name(at, b);
        let covered = self.covered(at, named);
        let place = Place::Taken(self.transactions.len());
        for sequence in &covered {
            self.subs[at].copies.get_mut(sequence).unwrap().place = place;
        }
        let key = self.subs[at].key;
        let taken = self.topic.take(self.now_ms, key, which, &mut self.world);
        let taken = taken.unwrap_or_default();
        assert!(taken.iter().map(|delivery| delivery.sequence).eq(covered));
        self.transactions.push(Some((key, taken)));
    }

    fn end_transaction(&mut self, a: u16, b: u16) {
        let open: Vec<usize> = (0..self.transactions.len())
            .filter(|at| self.transactions[*at].is_some())
            .collect();
        let Some(&index) = open.get(a as usize % open.len().max(1)) else {
            return;
        };
        let (key, taken) = self.transactions[index].take().unwrap();
        let at = self.subs.iter().position(|sub| sub.key == key);
        for delivery in &taken {
            let Some(at) = at else {
                self.expect_orphan(key, delivery, b);
                continue;
            };
            match b % 3 {
                0 => drop(self.subs[at].copies.remove(&delivery.sequence)),
                1 => self.expect_return(at, delivery.sequence, true),
                _ => self.expect_restore(at, delivery),
            }
        }
        let (topic, world) = (&mut self.topic, &mut self.world);
        match b % 3 {
            0 => topic.commit(self.now_ms, key, taken, Ack::Consumed, world),
            1 => topic.commit(self.now_ms, key, taken, Ack::Failed, world),
            _ => topic.restore(self.now_ms, key, taken, world),
        }
    }

    fn written(&mut self, a: u16, b: u16) {
        let Some(at) = self.pick(a) else { return };
        let sub = &self.subs[at];
        if sub
            .consumer
            .as_ref()
            .is_none_or(|consumer| consumer.mode != AckMode::Auto)
        {
            return;
        }
        let held = held(sub);
        let count = b as usize % (held.len() + 1);
        let key = sub.key;
        for (_, sequence) in &held[..count] {
            self.subs[at].copies.remove(sequence);
        }
        self.topic.written(key, count as u64, &mut self.world);
    }

    fn resume(&mut self, a: u16) {
        let Some(at) = self.pick(a) else { return };
        let sub = &mut self.subs[at];
        if let Some(consumer) = &mut sub.consumer {
            consumer.blocked = false;
            sub.started = true;
        }
        let key = sub.key;
        self.topic.resume(self.now_ms, key, &mut self.world);
    }

    fn sync(&mut self, a: u16) {
        let places: Vec<Locator> = self.world.stored.keys().copied().collect();
        let durable = places.get(a as usize % places.len().max(1)).copied();
        self.topic.set_durable(durable);
    }

    fn serve(&mut self, a: u16, b: u16) {
        for _ in 0..=a % 4 {
            if self.world.asked.is_empty() {
                return;
            }
            let index = b as usize % self.world.asked.len();
            let (sequence, at) = self.world.asked.swap_remove(index);
            let lost = a.is_multiple_of(13);
            if lost && self.topic.log.get(sequence).is_some() {
                self.live.remove(&sequence);
                self.known_dead.insert(sequence);
                for sub in &mut self.subs {
                    let returned = &self.topic.subscriptions[sub.key].returned;
                    let held = returned.get(&sequence).is_some_and(|e| e.message.is_some());
                    let ready = |copy: &mut Copy| copy.place == Place::Ready;
                    if !held && sub.copies.get_mut(&sequence).is_some_and(ready) {
                        sub.copies.remove(&sequence);
                    }
                }
            }
            let found = self.world.read(at).filter(|_| !lost);
            let world = &mut self.world;
            self.topic.loaded(self.now_ms, sequence, found, world);
            // What it has brought about must be known before the next one is lost.
            self.follow();
        }
    }

    /// Memory runs short: some messages are to be written to temporary storage.
    fn spill(&mut self, a: u16, b: u16) {
        let window_bytes = WINDOW_BYTES >> (a % 16);
        if b.is_multiple_of(3) {
            self.topic.rewind_spill(window_bytes);
        }
        let mut spill = Spill {
            messages: Vec::new(),
            room_bytes: 2000,
            looks: usize::from(b % 40),
            message_bytes_max: 1000,
        };
        let is_end = self.topic.spill(window_bytes, &mut spill);
        assert!(is_end || spill.is_full());
        for (sequence, message) in spill.messages {
            let sent = &self.sent[&sequence];
            assert!(sent.at.is_none() && sent.bytes <= 1000);
            self.spilling.push((sequence, message));
        }
    }

    /// They are written, or the disk is full.
    fn spilled(&mut self, a: u16) {
        let spilling = std::mem::take(&mut self.spilling);
        if a.is_multiple_of(5) {
            return;
        }
        let written = spilling.iter();
        let written = written.map(|(sequence, message)| (*sequence, self.world.spill(message)));
        let written: Vec<_> = written.collect();
        let window_bytes = WINDOW_BYTES >> (a % 16);
        self.topic.spilled(written, window_bytes, &mut self.world);
    }

    fn pick(&self, a: u16) -> Option<usize> {
        (!self.subs.is_empty()).then(|| a as usize % self.subs.len())
    }

    fn has_credit(&self, at: usize) -> bool {
        let sub = &self.subs[at];
        let held = held(sub);
        let bytes: u64 = held
            .iter()
            .map(|(_, sequence)| self.sent[sequence].bytes)
            .sum();
        sub.consumer.as_ref().is_some_and(|consumer| {
            !consumer.blocked
                && (consumer.mode == AckMode::Auto
                    || held.len() < consumer.window.messages_max as usize
                        && bytes < consumer.window.bytes_max)
        })
    }
}

fn consumer(a: u16, b: u16) -> (AckMode, Window) {
    let mode = [AckMode::Auto, AckMode::Client, AckMode::Individual][a as usize % 3];
    let window = Window {
        messages_max: u32::from(b % 5 + 1),
        bytes_max: if b.is_multiple_of(7) { 1500 } else { u64::MAX },
    };
    (mode, window)
}

/// What a consumer holds: numbers with sequences, oldest first.
fn held(sub: &Sub) -> Vec<(u64, u64)> {
    let mut held: Vec<_> = sub
        .copies
        .iter()
        .filter_map(|(sequence, copy)| match copy.place {
            Place::Unacked(number) => Some((number, *sequence)),
            _ => None,
        })
        .collect();
    held.sort_unstable();
    held
}

proptest! {
    #[test]
    fn a_topic_behaves_as_a_list_for_each_subscription(
        ops in proptest::collection::vec(any::<(u8, u16, u16)>(), 0..300),
        rules in rules::any_policy(),
    ) {
        let mut test = Test::new(rules);
        for op in ops {
            test.step(op);
        }
        test.drain();
    }
}

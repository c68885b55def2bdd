//! The queue against an obvious model: a list of messages, each in one place.
//!
//! Random steps, from numbers that proptest shrinks: sends with and without groups, priorities and expiry,
//! consumers with and without selectors, acknowledgements, deaths, time, memory that runs short. After each step every effect must
//! be one the model allows ([`follow`]), counts must agree with a recount, and nothing that could flow may
//! lie still.

mod follow;

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::broker::Filter;
use crate::broker::delivery::{Ack, Delivery, Which};
use crate::broker::double::{Event, World, group_of, grouped, message};
use crate::broker::message::MessageId;
use crate::broker::outlet::{Flow, Rejected};
use crate::broker::paging::Spill;
use crate::broker::redelivery::RedeliveryPolicy;

const LIMIT: u16 = 2;
const WINDOW_BYTES: u64 = 3000;
const FIRST_DELAY_MS: u64 = 3;
const DELAY_MS: u64 = 6;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Place {
    Ready,
    /// Waits for its redelivery until then.
    Delayed(u64),
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
    priority: u8,
    /// Its group and its number there.
    group: Option<(u8, i32)>,
    /// Which life of its group it was last delivered in.
    life: u64,
}

/// What the model knows of a group.
#[derive(Debug, Default)]
struct KnownGroup {
    owner: Option<SubscriptionKey>,
    /// Each close begins another.
    life: u64,
}

/// Selectors.
#[derive(Clone, Copy, Debug)]
enum Wanted {
    All,
    /// Every third message.
    Third(u64),
    /// What was in a frame before.
    Returned,
}

impl Wanted {
    fn matches(self, serial: u64, redelivered: bool) -> bool {
        match self {
            Self::All => true,
            Self::Third(rest) => serial % 3 == rest,
            Self::Returned => redelivered,
        }
    }
}

impl Filter for Wanted {
    fn matches(&self, message: &Message, _: u16, redelivered: bool) -> bool {
        (*self).matches(message.id.serial, redelivered)
    }
}

/// A browser and what it has to see before its end.
#[derive(Debug)]
struct Looker {
    key: SubscriptionKey,
    end_sequence: u64,
    expected: BTreeSet<u64>,
    last: Option<(u8, u64)>,
    unwritten: u64,
    is_done: bool,
    /// Places have changed while it looked, so there is no order any more.
    is_upset: bool,
}

#[derive(Debug)]
struct Taker {
    key: SubscriptionKey,
    wanted: Wanted,
    priority: u8,
    exclusive: bool,
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
    consumers: Vec<Taker>,
    lookers: Vec<Looker>,
    groups: BTreeMap<u8, KnownGroup>,
    prioritized: bool,
    transactions: Vec<Option<Transaction>>,
    reserved: Vec<u64>,
    enqueued: u64,
    gone: u64,
    due: Due,
    away: Vec<Rejected>,
    /// What is being written to temporary storage.
    spilling: Vec<(u64, Arc<Message>)>,
    /// Dead letters cannot be stored, so what is rejected is taken back.
    store_full: bool,
}

type Op = (u8, u16, u16);

fn policy(prioritized: bool) -> QueuePolicy {
    QueuePolicy {
        redelivery: RedeliveryPolicy {
            maximum_redeliveries: Some(LIMIT),
            initial_redelivery_delay_ms: FIRST_DELAY_MS,
            redelivery_delay_ms: DELAY_MS,
            ..RedeliveryPolicy::default()
        },
        prioritized,
        // Time goes slowly here.
        stall_after_ms: 6,
        ..QueuePolicy::default()
    }
}

impl Test {
    fn new() -> Self {
        let mut queue = Queue::new(1, WINDOW_BYTES, policy(false));
        queue.set_group_reader(group_of);
        Self {
            queue,
            world: World::default(),
            now_ms: 1000,
            known: BTreeMap::new(),
            consumers: Vec::new(),
            lookers: Vec::new(),
            groups: BTreeMap::new(),
            prioritized: false,
            transactions: Vec::new(),
            reserved: Vec::new(),
            enqueued: 0,
            gone: 0,
            due: Due::default(),
            away: Vec::new(),
            spilling: Vec::new(),
            store_full: false,
        }
    }

    fn step(&mut self, (op, a, b): Op) {
        match op % 31 {
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
            24 => self.due(),
            25 => self.sweep(),
            26 => self.look(a, b),
            27 if a.is_multiple_of(17) => self.change_policy(),
            28 => self.spill(a, b),
            29 => self.spilled(a),
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
        let size = usize::from(a % 900);
        let group = (b % 5 < 2).then(|| ((a % 4) as u8, if a.is_multiple_of(11) { -1 } else { 0 }));
        let mut message = match group {
            Some((id, number)) => grouped(sequence, size, persistent, id, number),
            None => message(sequence, size, persistent, expires_ms),
        };
        message.expires_ms = expires_ms;
        message.priority = (b / 7 % 10) as u8;
        let priority = message.priority;
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
                priority,
                group,
                life: 0,
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
        let wanted = match b / 5 % 6 {
            0 => Wanted::Third(u64::from(a % 3)),
            1 => Wanted::Returned,
            _ => Wanted::All,
        };
        let wishes = Wishes {
            priority: u8::from(a.is_multiple_of(5)),
            exclusive: a.is_multiple_of(19),
            filter: match wanted {
                Wanted::All => None,
                wanted => Some(Arc::new(wanted)),
            },
            ..Wishes::default()
        };
        let (priority, exclusive) = (wishes.priority, wishes.exclusive);
        let key = self.queue.subscribe_as(mode, window, wishes);
        self.consumers.push(Taker {
            key,
            wanted,
            priority,
            exclusive,
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
                self.expect_failure(sequence, Some(0));
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
        let own_ms = u64::from(a % 5);
        let ack = [
            Ack::Failed,
            Ack::Consumed,
            Ack::Consumed,
            Ack::Requeued,
            Ack::Refused,
            Ack::FailedFor(own_ms),
        ][b as usize % 6];
        for sequence in &covered {
            match ack {
                Ack::Consumed => self.expect_removal(*sequence),
                Ack::Failed => self.expect_failure(*sequence, None),
                Ack::FailedFor(own_ms) => self.expect_failure(*sequence, Some(own_ms)),
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
            self.out_of_sight(*sequence);
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
                1 => self.expect_failure(delivery.sequence, None),
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
            let for_queue = self.known.contains_key(&sequence);
            let lost = a.is_multiple_of(13) && for_queue;
            if lost {
                let gone = self.known.remove(&sequence).unwrap();
                self.out_of_sight(sequence);
                let waits = matches!(gone.place, Place::Ready | Place::Delayed(_));
                assert!(waits, "only waiting messages are fetched");
                self.gone += 1;
            }
            let found = self.world.read(at).filter(|_| !lost);
            self.queue
                .loaded(self.now_ms, sequence, found, &mut self.world);
            self.follow();
        }
    }

    /// Memory runs short: some messages are to be written to temporary storage.
    fn spill(&mut self, a: u16, b: u16) {
        let window_bytes = WINDOW_BYTES >> (a % 16);
        if b.is_multiple_of(3) {
            self.queue.rewind_spill(window_bytes);
        }
        let mut spill = Spill {
            messages: Vec::new(),
            room_bytes: 2000,
            looks: usize::from(b % 40),
            message_bytes_max: 1000,
        };
        let spilled_before = self.spilling.len();
        let is_end = self.queue.spill(window_bytes, &mut spill);
        assert!(is_end || spill.is_full());
        for (sequence, message) in spill.messages {
            let known = &self.known[&sequence];
            let waits = matches!(known.place, Place::Ready | Place::Delayed(_));
            assert!(waits && known.at.is_none() && known.bytes <= 1000);
            // It may be there twice, if it was begun anew before the last ones were written.
            self.spilling.push((sequence, message));
        }
        if is_end && b.is_multiple_of(3) && spilled_before == 0 {
            // What is not held by consumers, not being written and can be written is beyond the window no more.
            let left = self.queue.lanes.iter().filter(|(_, entry)| {
                let at = entry.at;
                let readable = at.is_some_and(|at| self.queue.lanes.paging.readable().has(at));
                entry.message.is_some() && entry.bytes.get() <= 1000 && (at.is_none() || readable)
            });
            let going: Vec<u64> = self
                .spilling
                .iter()
                .map(|(sequence, _)| *sequence)
                .collect();
            let left = left.filter(|(sequence, _)| !going.contains(sequence));
            let left: u64 = left.map(|(_, entry)| u64::from(entry.bytes.get())).sum();
            assert!(left < window_bytes + 1200, "{left} octets stay");
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
        self.queue.spilled(written, window_bytes, &mut self.world);
    }

    /// Lets time have its effects.
    fn due(&mut self) {
        for known in self.known.values_mut() {
            if let Place::Delayed(due_ms) = known.place
                && due_ms <= self.now_ms
            {
                known.place = Place::Ready;
            }
        }
        self.queue.due(self.now_ms, &mut self.world);
        let next_ms = self.queue.next_due_ms();
        let due = |known: &Known| match known.place {
            Place::Delayed(due_ms) => Some(due_ms),
            _ => None,
        };
        let nearest_ms = self.known.values().filter_map(due).min();
        assert!(
            nearest_ms.is_none_or(|nearest_ms| next_ms.is_some_and(|next| next <= nearest_ms)),
            "the next time is told"
        );
    }

    /// Expires all that waits and has expired, and only that (EXP-2).
    fn sweep(&mut self) {
        assert!(self.queue.sweep(self.now_ms, &mut self.world));
        let store_full = self.store_full;
        self.follow();
        let expired = |known: &Known| {
            let waits = matches!(known.place, Place::Ready | Place::Delayed(_));
            waits && known.expires_ms != 0 && known.expires_ms <= self.now_ms
        };
        let left = self.known.iter().find(|(_, known)| expired(known));
        assert!(left.is_none() || store_full, "{left:?} should have expired");
    }

    /// Browses: begins, goes on, or ends.
    fn look(&mut self, a: u16, b: u16) {
        if self.lookers.is_empty() || a.is_multiple_of(4) && self.lookers.len() < 2 {
            let wishes = Wishes {
                browser: true,
                ..Wishes::default()
            };
            let window = Window::messages(10);
            let key = self.queue.subscribe_as(AckMode::Auto, window, wishes);
            let seen = |(sequence, known): (&u64, &Known)| {
                let hidden = matches!(known.place, Place::Taken(_) | Place::Away);
                (!hidden).then_some(*sequence)
            };
            self.lookers.push(Looker {
                key,
                end_sequence: self.queue.next_sequence,
                expected: self.known.iter().filter_map(seen).collect(),
                last: None,
                unwritten: 0,
                is_done: false,
                is_upset: false,
            });
        }
        let at = b as usize % self.lookers.len();
        let (key, unwritten) = (
            self.lookers[at].key,
            std::mem::take(&mut self.lookers[at].unwritten),
        );
        if a.is_multiple_of(7) {
            self.lookers.remove(at);
            let (queue, world) = (&mut self.queue, &mut self.world);
            queue.unsubscribe(self.now_ms, key, Ending::Orderly, world);
        } else {
            self.queue.written(key, unwritten, &mut self.world);
            self.queue.resume(self.now_ms, key, &mut self.world);
        }
    }

    /// No browser need see it.
    fn out_of_sight(&mut self, sequence: u64) {
        for looker in &mut self.lookers {
            looker.expected.remove(&sequence);
        }
    }

    /// Goes by priority from now on, or not any more.
    fn change_policy(&mut self) {
        self.prioritized = !self.prioritized;
        for known in self.known.values_mut() {
            if matches!(known.place, Place::Delayed(_)) {
                // What it held back is forgotten.
                known.life = u64::MAX;
            }
        }
        for looker in &mut self.lookers {
            looker.expected.clear();
            looker.is_upset = true;
        }
        self.queue
            .set_policy(self.now_ms, policy(self.prioritized), &mut self.world);
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
        self.out_of_sight(sequence);
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

    /// A failure, after which the message waits `own_ms` or what the policy says.
    fn expect_failure(&mut self, sequence: u64, own_ms: Option<u64>) {
        self.expect_return(sequence);
        let known = self.known.get_mut(&sequence).unwrap();
        known.redeliveries += 1;
        if known.redeliveries > LIMIT {
            self.due.rejected.insert(sequence);
            return;
        }
        if known.at.is_some() {
            self.due.counted.insert(sequence, known.redeliveries);
        }
        let policy_ms = if known.redeliveries == 1 {
            FIRST_DELAY_MS
        } else {
            DELAY_MS
        };
        let delay_ms = own_ms.unwrap_or(policy_ms);
        if delay_ms > 0 {
            known.place = Place::Delayed(self.now_ms + delay_ms);
        }
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
        while let Some(looker) = self.lookers.pop() {
            let (queue, world) = (&mut self.queue, &mut self.world);
            queue.unsubscribe(self.now_ms, looker.key, Ending::Orderly, world);
        }
        self.world.flows.clear();
        self.store_full = false;
        self.now_ms += 100;
        self.due();
        self.follow();
        self.subscribe(0, 10);
        self.resume(0);
        for _ in 0..10_000 {
            self.now_ms += 10;
            self.due();
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
        assert!(self.world.spilled.is_empty(), "all places are free again");
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

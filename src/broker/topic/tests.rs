use super::*;
use crate::broker::delivery::{Ack, AckMode, Ending, Which};
use crate::broker::double::{World, message};
use crate::broker::outlet::Progress;
use crate::broker::subscription::Window;

struct Bench {
    topic: Topic,
    world: World,
}

impl Bench {
    fn new() -> Self {
        let limits = TopicLimits {
            window_bytes: 1 << 20,
            slow_bytes_max: 1 << 20,
        };
        Self {
            topic: Topic::new(1, limits, RedeliveryPolicy::default()),
            world: World::default(),
        }
    }

    fn publish_at(&mut self, sequence: u64, expires_ms: u64) -> Arc<Message> {
        let message = Arc::new(message(sequence, 100, true, expires_ms));
        let at = self
            .topic
            .has_durables()
            .then(|| self.world.store(&message));
        let entry = Entry::held(Arc::clone(&message), at);
        let incoming = Incoming { sequence, entry };
        self.topic.publish(0, incoming, &mut self.world);
        message
    }

    fn publish(&mut self) {
        let sequence = self.topic.reserve(1);
        self.publish_at(sequence, 0);
    }

    fn durable(&mut self, id: u32) -> SubscriptionKey {
        let start = self.topic.next_sequence();
        let from = Progressed {
            start,
            ..Progressed::default()
        };
        self.topic.define_durable(id, from, Selection::default())
    }

    fn activate(&mut self, key: SubscriptionKey, mode: AckMode) {
        assert!(self.topic.activate(key, mode, Window::messages(10)));
        self.topic.resume(0, key, &mut self.world);
    }

    fn acknowledge(&mut self, key: SubscriptionKey, number: u64) {
        let which = Which::Number(number);
        assert!(
            self.topic
                .acknowledge(0, key, which, Ack::Consumed, &mut self.world)
        );
    }

    fn progress(&mut self) -> Vec<Progress> {
        let told = |event| match event {
            crate::broker::double::Event::Acknowledge(_, progress) => Some(progress),
            _ => None,
        };
        self.world.take().into_iter().filter_map(told).collect()
    }
}

#[test]
fn octets_are_freed_though_somebody_outside_refers_to_the_message() {
    // COMMIT refers to its messages until it is through: each one published in a transaction stayed
    // accounted for, until the broker believed its memory full.
    let mut bench = Bench::new();
    let sequence = bench.topic.reserve(1);
    let outside = bench.publish_at(sequence, 0);
    assert_eq!(bench.topic.held_bytes(), 0);
    drop(outside);
}

#[test]
fn no_position_passes_a_place_that_is_still_to_be_filled() {
    // A transaction had reserved 1 when 2 was published and acknowledged: the journal heard "all up to 2",
    // and after a crash the transaction's message was gone.
    let mut bench = Bench::new();
    let key = bench.durable(1);
    bench.activate(key, AckMode::Individual);
    let promised = bench.topic.promise(1);
    bench.publish();
    bench.acknowledge(key, 1);
    assert_eq!(bench.progress(), [Progress::Single(2)]);
    bench.publish_at(promised, 0);
    bench.topic.keep_promise(promised);
    assert_eq!(bench.world.delivered(), [1]);
    bench.acknowledge(key, 2);
    assert_eq!(bench.progress(), [Progress::Through(2)]);
    bench.publish();
    bench.acknowledge(key, 3);
    assert_eq!(bench.progress(), [Progress::Through(3)]);
}

#[test]
fn an_abort_after_the_consumer_was_replaced_overwrites_nothing() {
    // The new consumer numbered from 1 again, so the old delivery took the place of one of its own.
    let mut bench = Bench::new();
    let key = bench.durable(1);
    bench.activate(key, AckMode::Individual);
    bench.publish();
    let taken = bench
        .topic
        .take(0, key, Which::Number(1), &mut bench.world)
        .unwrap();
    bench
        .topic
        .unsubscribe(key, Ending::Orderly, &mut bench.world);
    bench.activate(key, AckMode::Individual);
    bench.publish();
    bench.world.take();
    bench.topic.restore(0, key, taken, &mut bench.world);
    assert_eq!(bench.world.delivered(), [1]);
    let consumer = bench.topic.subscriptions[key].consumer.as_ref().unwrap();
    assert_eq!(consumer.unacked.len(), 2);
}

#[test]
fn a_returned_message_that_expired_is_not_delivered() {
    // EXP-1: only the way straight from the log looked at the clock.
    let mut bench = Bench::new();
    let key = bench.durable(1);
    bench.activate(key, AckMode::Individual);
    let sequence = bench.topic.reserve(1);
    bench.publish_at(sequence, 50);
    bench
        .topic
        .unsubscribe(key, Ending::Orderly, &mut bench.world);
    assert!(
        bench
            .topic
            .activate(key, AckMode::Auto, Window::messages(1))
    );
    bench.world.take();
    bench.topic.resume(50, key, &mut bench.world);
    let effects = bench.world.take();
    let [crate::broker::double::Event::Reject(dead)] = &effects[..] else {
        panic!("{effects:?}");
    };
    assert!(dead.expired && dead.cause.ends_with("Expiration:50"));
    bench.topic.rejected(key, sequence, &mut bench.world);
    assert!(bench.topic.is_empty());
    assert_eq!(bench.topic.held_bytes(), 0);
}

#[test]
fn dropping_a_subscription_frees_what_its_transaction_holds() {
    // The references stayed, and the message in the journal with them, until the next start.
    let mut bench = Bench::new();
    let key = bench.durable(1);
    bench.activate(key, AckMode::Individual);
    bench.publish();
    let taken = bench
        .topic
        .take(0, key, Which::Number(1), &mut bench.world)
        .unwrap();
    bench
        .topic
        .unsubscribe(key, Ending::Orderly, &mut bench.world);
    bench.topic.drop_subscription(key, &mut bench.world);
    assert!(bench.topic.is_empty());
    bench
        .topic
        .commit(0, key, taken, Ack::Consumed, &mut bench.world);
    assert_eq!(bench.topic.held_bytes(), 0);
}

#[test]
fn laggards_get_their_messages_back_in_turn() {
    // The first in the list asked again before the second had its turn, for as long as it lagged.
    let mut bench = Bench::new();
    let keys = [1, 2001].map(|start| {
        let id = u32::try_from(start).unwrap();
        let from = Progressed {
            start,
            ..Progressed::default()
        };
        bench.topic.define_durable(id, from, Selection::default())
    });
    for sequence in 1..=3000 {
        let at = bench.world.store(&message(sequence, 10, true, 0));
        let entry = Entry::stored(at, 202, 4, crate::broker::MessageFlags(0));
        assert!(bench.topic.recover(sequence, entry, 0, None));
    }
    for key in keys {
        let window = Window::messages(10_000);
        assert!(bench.topic.activate(key, AckMode::Auto, window));
    }
    bench.topic.resume(0, keys[0], &mut bench.world);
    bench.topic.resume(0, keys[1], &mut bench.world);
    let mut asked = Vec::new();
    while !bench.world.asked.is_empty() {
        let wanted = std::mem::take(&mut bench.world.asked);
        asked.push(wanted[0].0);
        for (sequence, at) in wanted {
            let found = bench.world.read(at);
            bench.topic.loaded(0, sequence, found, &mut bench.world);
        }
    }
    assert_eq!(bench.topic.fetching, 0);
    let through = |key: SubscriptionKey| bench.topic.subscriptions[key].cursor;
    assert_eq!((through(keys[0]), through(keys[1])), (3001, 3001));
    assert_eq!(asked, [1, 2001, 1025]);
}

#[test]
fn what_an_inactive_subscription_got_back_leaves_memory() {
    let mut bench = Bench::new();
    bench.topic.limits.window_bytes = 0;
    let key = bench.durable(1);
    bench.activate(key, AckMode::Individual);
    bench.publish();
    let durable = bench.world.stored.keys().next_back().copied();
    bench.topic.set_durable(durable);
    bench
        .topic
        .unsubscribe(key, Ending::Orderly, &mut bench.world);
    bench.publish();
    let durable = bench.world.stored.keys().next_back().copied();
    bench.topic.set_durable(durable);
    bench.publish();
    assert_eq!(bench.topic.held_bytes(), 292, "all but the newest");
    bench.world.take();
    bench.activate(key, AckMode::Individual);
    assert_eq!(bench.world.asked.len(), 2);
    for (sequence, at) in std::mem::take(&mut bench.world.asked) {
        let found = bench.world.read(at);
        bench.topic.loaded(0, sequence, found, &mut bench.world);
    }
    assert_eq!(bench.world.delivered(), [1, 2, 3]);
}

#[test]
fn what_failed_goes_out_again_after_its_delay_and_others_pass() {
    // RED-3, RED-4
    let mut bench = Bench::new();
    let key = bench.durable(1);
    bench.activate(key, AckMode::Individual);
    bench.publish();
    bench.world.take();
    let (which, ack) = (Which::Number(1), Ack::Failed);
    let world = &mut bench.world;
    assert!(bench.topic.acknowledge(0, key, which, ack, world));
    assert_eq!(bench.topic.next_due_ms(), Some(1000));
    assert!(bench.progress().is_empty());
    bench.publish();
    assert_eq!(bench.world.delivered(), [2]);
    bench.topic.due(999, &mut bench.world);
    assert!(bench.world.delivered().is_empty());
    bench.acknowledge(key, 2);
    assert_eq!(bench.progress(), [Progress::Single(2)]);
    assert_eq!(bench.topic.seen().next(), Some((1, 1, 1)));
    bench.topic.due(1000, &mut bench.world);
    assert_eq!(bench.world.delivered(), [1]);
    bench.acknowledge(key, 3);
    assert_eq!(bench.progress(), [Progress::Through(2)]);
    assert!(bench.topic.is_empty());
}

#[test]
fn a_dead_letter_that_could_not_be_stored_is_delivered_again() {
    // A durable subscription never saw it again before the next start.
    let mut bench = Bench::new();
    let key = bench.durable(1);
    bench.publish();
    let mut rejected = None;
    for _ in 0..7 {
        bench.activate(key, AckMode::Client);
        bench.topic.unsubscribe(key, Ending::Died, &mut bench.world);
        for event in bench.world.take() {
            if let crate::broker::double::Event::Reject(found) = event {
                rejected = Some(found);
            }
        }
    }
    bench.topic.take_back(rejected.unwrap());
    bench.activate(key, AckMode::Auto);
    assert_eq!(bench.world.delivered(), [1]);
    bench.topic.written(key, 1, &mut bench.world);
    assert!(bench.topic.is_empty());
    assert_eq!(bench.topic.held_bytes(), 0);
}

/// What is told to one subscription only reaches no other, waits for credit, and gives its octets back.
#[test]
fn a_message_can_be_presented_to_one_subscription() {
    let mut bench = Bench::new();
    let subscribe = |bench: &mut Bench| {
        let (window, all) = (Window::messages(2), Selection::default());
        let key = bench.topic.subscribe(AckMode::Client, window, all);
        bench.topic.resume(0, key, &mut bench.world);
        key
    };
    let (key, other) = (subscribe(&mut bench), subscribe(&mut bench));
    bench.publish();
    bench.world.take();
    for _ in 0..2 {
        let sequence = bench.topic.reserve(1);
        let told = Arc::new(message(sequence, 100, false, 0));
        let entry = Entry::held(told, None);
        let incoming = Incoming { sequence, entry };
        bench.topic.present(0, key, incoming, &mut bench.world);
    }
    // The window has room for one of them; then comes what all get.
    assert_eq!(bench.world.delivered(), [2]);
    bench.publish();
    assert_eq!(bench.world.delivered(), [4], "the other one keeps up");
    bench.acknowledge(key, 2);
    assert_eq!(bench.world.delivered(), [3, 4], "in order");
    bench.acknowledge(key, 4);
    bench.acknowledge(other, 2);
    assert_eq!((bench.topic.held_bytes(), bench.topic.in_flight()), (0, 0));
    // Nobody is left to be told.
    bench
        .topic
        .unsubscribe(key, Ending::Orderly, &mut bench.world);
    let sequence = bench.topic.reserve(1);
    let entry = Entry::held(Arc::new(message(sequence, 100, false, 0)), None);
    let incoming = Incoming { sequence, entry };
    bench.topic.present(0, key, incoming, &mut bench.world);
    assert_eq!(
        (bench.world.delivered(), bench.topic.held_bytes()),
        (vec![], 0)
    );
}

use super::*;
use crate::broker::delivery::{Ack, Which};
use crate::broker::double::{World, message};
use crate::broker::outlet::Flow;

struct Bench {
    queue: Queue,
    world: World,
}

impl Bench {
    fn new() -> Self {
        Self {
            queue: Queue::new(1, 1 << 20, QueuePolicy::default()),
            world: World::default(),
        }
    }

    fn push(&mut self, count: u64) {
        for _ in 0..count {
            let sequence = self.queue.reserve(1);
            let entry = Entry::held(Arc::new(message(sequence, 100, false, 0)), None);
            let incoming = Incoming { sequence, entry };
            self.queue.push(0, incoming, &mut self.world);
        }
    }

    fn subscribe(&mut self, mode: AckMode, messages: u32) -> SubscriptionKey {
        let key = self.queue.subscribe(mode, Window::messages(messages));
        self.queue.resume(0, key, &mut self.world);
        key
    }

    fn end(&mut self, key: SubscriptionKey, ending: Ending) {
        self.queue.unsubscribe(0, key, ending, &mut self.world);
    }
}

#[test]
fn nothing_is_delivered_before_the_consumer_is_started() {
    // A push on another thread went out before the RECEIPT of the SUBSCRIBE.
    let mut bench = Bench::new();
    bench.push(1);
    let key = bench.queue.subscribe(AckMode::Auto, Window::messages(1));
    bench.push(1);
    bench.queue.dispatch(0, &mut bench.world);
    assert!(bench.world.delivered().is_empty());
    bench.queue.resume(0, key, &mut bench.world);
    assert_eq!(bench.world.delivered(), [1, 2]);
}

#[test]
fn what_a_transaction_holds_is_counted_until_its_commit() {
    // TX-6: the queue forgot what was acknowledged in an open transaction.
    let mut bench = Bench::new();
    let key = bench.subscribe(AckMode::Client, 10);
    bench.push(3);
    let taken = bench
        .queue
        .take(0, key, Which::Number(2), &mut bench.world)
        .unwrap();
    assert_eq!((taken.len(), bench.queue.len()), (2, 3));
    bench
        .queue
        .commit(0, key, taken, Ack::Consumed, &mut bench.world);
    assert_eq!(bench.queue.len(), 1);
}

#[test]
fn consumers_that_come_and_go_leave_nothing_behind() {
    // The round kept a place for each, as only a message made it look who is still there.
    let mut bench = Bench::new();
    for _ in 0..1000 {
        let key = bench.subscribe(AckMode::Auto, 1);
        bench.end(key, Ending::Orderly);
    }
    assert!(
        bench.queue.turns.len() <= 16,
        "{} places",
        bench.queue.turns.len()
    );
}

#[test]
fn a_message_that_a_closing_connection_refuses_was_not_delivered() {
    // It came back marked redelivered, and counted as failed if the connection broke.
    let mut bench = Bench::new();
    let closing = bench.subscribe(AckMode::Individual, 10);
    bench.world.flows.push(Flow::Refused);
    bench.push(1);
    bench.end(closing, Ending::Died);
    bench.world.take();
    bench.subscribe(AckMode::Individual, 10);
    let events = bench.world.take();
    let [
        crate::broker::double::Event::Deliver {
            redelivered,
            redeliveries,
            ..
        },
    ] = events[..]
    else {
        panic!("{events:?}");
    };
    assert!(!redelivered);
    assert_eq!((redeliveries, bench.queue.stats.dispatched), (0, 1));
}

#[test]
fn a_refused_message_goes_to_the_next_consumer() {
    let mut bench = Bench::new();
    bench.subscribe(AckMode::Auto, 10);
    bench.subscribe(AckMode::Auto, 10);
    bench.world.flows.push(Flow::Refused);
    bench.push(2);
    assert_eq!(bench.world.delivered(), [1, 2]);
}

#[test]
fn a_dead_letter_that_could_not_be_stored_is_accounted_for() {
    // It went back without its octets, so its next settlement took away more than there was.
    let mut bench = Bench::new();
    bench.push(1);
    let before = bench.queue.held_bytes();
    for _ in 0..7 {
        let key = bench.subscribe(AckMode::Client, 1);
        bench.end(key, Ending::Died);
    }
    let rejected = bench
        .world
        .take()
        .into_iter()
        .find_map(|event| match event {
            crate::broker::double::Event::Reject(rejected) => Some(rejected),
            _ => None,
        });
    assert!(bench.queue.is_empty());
    bench.queue.take_back(rejected.unwrap());
    assert_eq!((bench.queue.len(), bench.queue.held_bytes()), (1, before));
    assert_eq!(
        (bench.queue.stats.dequeued, bench.queue.stats.dead_lettered),
        (0, 0)
    );
    let key = bench.subscribe(AckMode::Auto, 1);
    bench.queue.written(key, 1, &mut bench.world);
    assert_eq!(bench.queue.held_bytes(), 0);
}

#[test]
fn only_the_oldest_delivery_of_a_dead_consumer_counts() {
    // RED-6
    let mut bench = Bench::new();
    bench.push(3);
    let key = bench.subscribe(AckMode::Individual, 3);
    bench.world.take();
    bench.end(key, Ending::Died);
    bench.subscribe(AckMode::Individual, 3);
    let marks: Vec<_> = bench
        .world
        .take()
        .into_iter()
        .filter_map(|event| match event {
            crate::broker::double::Event::Deliver {
                id,
                redelivered,
                redeliveries,
                ..
            } => Some((id.serial, redelivered, redeliveries)),
            _ => None,
        })
        .collect();
    assert_eq!(marks, [(1, true, 1), (2, true, 0), (3, true, 0)]);
}

#[test]
fn a_place_filled_late_keeps_its_order() {
    let mut bench = Bench::new();
    let late = bench.queue.reserve(1);
    bench.push(2);
    let entry = Entry::held(Arc::new(message(late, 1, false, 0)), None);
    let incoming = Incoming {
        sequence: late,
        entry,
    };
    bench.queue.push(0, incoming, &mut bench.world);
    bench.subscribe(AckMode::Auto, 1);
    assert_eq!(bench.world.delivered(), [1, 2, 3]);
}

#[test]
fn consumers_take_turns() {
    // PRE-5
    let mut bench = Bench::new();
    let keys: Vec<_> = (0..3)
        .map(|_| bench.subscribe(AckMode::Client, 10))
        .collect();
    bench.push(6);
    let held = |key: &SubscriptionKey| bench.queue.consumers[*key].subscription.unacked.len();
    assert_eq!(keys.iter().map(held).collect::<Vec<_>>(), [2, 2, 2]);
}

fn marks(world: &mut World) -> Vec<(u64, bool, u16)> {
    let delivery = |event| match event {
        crate::broker::double::Event::Deliver {
            id,
            redelivered,
            redeliveries,
            ..
        } => Some((id.serial, redelivered, redeliveries)),
        _ => None,
    };
    world.take().into_iter().filter_map(delivery).collect()
}

impl Bench {
    fn ack_at(&mut self, now_ms: u64, key: SubscriptionKey, number: u64, ack: Ack) {
        let which = Which::Number(number);
        assert!(
            self.queue
                .acknowledge(now_ms, key, which, ack, &mut self.world)
        );
    }

    fn due(&mut self, now_ms: u64) {
        self.queue.due(now_ms, &mut self.world);
    }
}

#[test]
fn a_refused_message_waits_and_holds_nobody_up() {
    // RED-3, RED-4: it was delivered again at once, for ever.
    let mut bench = Bench::new();
    let key = bench.subscribe(AckMode::Individual, 1);
    bench.push(3);
    bench.world.take();
    bench.ack_at(5000, key, 1, Ack::Failed);
    assert_eq!(marks(&mut bench.world), [(2, false, 0)]);
    assert_eq!(bench.queue.next_due_ms(), Some(6000));
    assert_eq!((bench.queue.len(), bench.queue.delayed()), (3, 1));
    bench.due(5999);
    bench.ack_at(5999, key, 2, Ack::Consumed);
    assert_eq!(marks(&mut bench.world), [(3, false, 0)]);
    bench.push(1);
    bench.due(6000);
    assert_eq!(bench.queue.next_due_ms(), None);
    bench.ack_at(6000, key, 3, Ack::Consumed);
    bench.ack_at(6000, key, 4, Ack::Consumed);
    assert_eq!(
        marks(&mut bench.world),
        [(1, true, 1), (4, false, 0)],
        "it takes its old place (RED-8)"
    );
}

#[test]
fn a_nack_may_name_its_delay_once() {
    // NAK-2
    let mut bench = Bench::new();
    bench.push(1);
    let key = bench.subscribe(AckMode::Individual, 1);
    bench.ack_at(0, key, 1, Ack::FailedFor(50));
    assert_eq!(bench.queue.next_due_ms(), Some(50));
    bench.due(50);
    bench.ack_at(50, key, 2, Ack::Failed);
    assert_eq!(bench.queue.next_due_ms(), Some(1050));
    bench.due(1050);
    bench.ack_at(1050, key, 3, Ack::FailedFor(0));
    assert_eq!(bench.queue.next_due_ms(), None);
    assert_eq!(marks(&mut bench.world).len(), 4, "at once");
}

#[test]
fn what_a_nack_does_is_the_queues_policy() {
    // NAK-2
    let outcome = |on_nack| {
        let mut bench = Bench::new();
        let policy = QueuePolicy {
            on_nack,
            ..QueuePolicy::default()
        };
        bench.queue.set_policy(0, policy, &mut bench.world);
        bench.push(1);
        let key = bench.subscribe(AckMode::Individual, 1);
        bench.world.take();
        bench.ack_at(0, key, 1, Ack::Failed);
        let stats = bench.queue.stats;
        let again = marks(&mut bench.world);
        (again, stats.dead_lettered, stats.discarded)
    };
    use crate::broker::OnNack;
    assert_eq!(outcome(OnNack::Redeliver), (vec![], 0, 0));
    assert_eq!(outcome(OnNack::DeadLetter), (vec![], 1, 0));
    assert_eq!(outcome(OnNack::Requeue), (vec![(1, true, 0)], 0, 0));
    assert_eq!(outcome(OnNack::Discard), (vec![], 0, 1));
}

#[test]
fn a_subscription_may_have_its_own_redelivery() {
    let mut bench = Bench::new();
    bench.push(1);
    let wishes = Wishes {
        redelivery: Some(crate::broker::RedeliveryOverride {
            maximum_redeliveries: Some(Some(1)),
            initial_redelivery_delay_ms: Some(20),
            ..Default::default()
        }),
        ..Wishes::default()
    };
    let key = bench
        .queue
        .subscribe_as(AckMode::Individual, Window::messages(1), wishes);
    bench.queue.resume(0, key, &mut bench.world);
    bench.ack_at(0, key, 1, Ack::Failed);
    bench.due(20);
    bench.ack_at(20, key, 2, Ack::Failed);
    assert_eq!(bench.queue.stats.dead_lettered, 1);
}

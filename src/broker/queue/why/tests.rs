use std::sync::Arc;

use super::*;
use crate::broker::delivery::{Ack, Ending, Which};
use crate::broker::double::{World, group_of, grouped, message};
use crate::broker::filter::Filter;
use crate::broker::message::Message;
use crate::broker::outlet::Flow;
use crate::broker::queue::{Incoming, QueuePolicy, Wishes};
use crate::broker::subscription::Window;

/// Takes messages with an odd serial.
#[derive(Debug)]
struct Odd;

impl Filter for Odd {
    fn matches(&self, message: &Message, _: u16, _: bool) -> bool {
        message.id.serial % 2 == 1
    }
}

struct Bench {
    queue: Queue,
    world: World,
    now_ms: u64,
}

impl Bench {
    fn new() -> Self {
        Self {
            queue: Queue::new(1, 1 << 20, QueuePolicy::default()),
            world: World::default(),
            now_ms: 1000,
        }
    }

    fn push(&mut self, message: Message) {
        let sequence = self.queue.reserve(1);
        let entry = Entry::held(Arc::new(message), None);
        let incoming = Incoming { sequence, entry };
        self.queue.push(self.now_ms, incoming, &mut self.world);
    }

    fn plain(&mut self, serial: u64) {
        self.push(message(serial, 10, false, 0));
    }

    fn subscribe(&mut self, window: u32, wishes: Wishes) -> SubscriptionKey {
        let window = Window::messages(window);
        let key = self.queue.subscribe_as(AckMode::Individual, window, wishes);
        self.queue.resume(self.now_ms, key, &mut self.world);
        key
    }

    fn fail(&mut self, key: SubscriptionKey, number: u64, ack: Ack) {
        let which = Which::Number(number);
        let (now_ms, world) = (self.now_ms, &mut self.world);
        assert!(self.queue.acknowledge(now_ms, key, which, ack, world));
    }

    fn idle(&self) -> Vec<Reason> {
        self.queue.why_idle(self.now_ms)
    }

    fn not(&self, sequence: u64, consumer: Option<SubscriptionKey>) -> Vec<Reason> {
        self.queue.why_not(self.now_ms, sequence, consumer)
    }
}

#[test]
fn an_empty_queue_has_no_reason_to_move() {
    let mut bench = Bench::new();
    assert!(bench.idle().is_empty());
    bench.plain(1);
    assert_eq!(bench.idle(), [Reason::NoConsumer]);
    assert_eq!(bench.not(1, None), [Reason::NoConsumer]);
    assert_eq!(bench.not(2, None), [Reason::Gone]);
}

#[test]
fn a_full_window_says_whose_and_since_when() {
    let mut bench = Bench::new();
    let consumer = bench.subscribe(2, Wishes::default());
    (1..=3).for_each(|serial| {
        bench.now_ms += 1;
        bench.plain(serial);
    });
    let full = Reason::WindowFull {
        consumer,
        unacked: 2,
        window: 2,
        since_ms: 1002,
    };
    assert_eq!(bench.idle(), std::slice::from_ref(&full));
    assert_eq!(bench.not(3, Some(consumer)), [full]);
    assert_eq!(bench.not(1, None), [Reason::InFlight { consumer }]);
}

#[test]
fn a_connection_that_does_not_read_is_told_from_a_consumer_that_does_not_acknowledge() {
    let mut bench = Bench::new();
    let consumer = bench.subscribe(10, Wishes::default());
    bench.world.flows = vec![Flow::Full];
    bench.plain(1);
    bench.plain(2);
    let since_ms = bench.now_ms;
    let full = Reason::ConnectionFull { consumer, since_ms };
    assert_eq!(bench.idle(), [full]);
}

#[test]
fn a_selector_that_never_matches_is_named() {
    let mut bench = Bench::new();
    let wishes = Wishes {
        filter: Some(Arc::new(Odd)),
        ..Wishes::default()
    };
    let consumer = bench.subscribe(10, wishes);
    bench.plain(2);
    let reason = Reason::SelectorFalse { consumer };
    assert_eq!(bench.idle(), std::slice::from_ref(&reason));
    assert_eq!(bench.not(1, None), [reason]);
}

#[test]
fn who_gets_everything_is_named() {
    let mut bench = Bench::new();
    let other = bench.subscribe(10, Wishes::default());
    let wishes = Wishes {
        exclusive: true,
        ..Wishes::default()
    };
    let consumer = bench.subscribe(1, wishes);
    bench.plain(1);
    bench.plain(2);
    let exclusive = Reason::Exclusive { consumer };
    assert_eq!(bench.not(2, Some(other)), std::slice::from_ref(&exclusive));
    assert!(bench.idle().contains(&exclusive));
    assert!(matches!(
        bench.not(2, Some(consumer))[..],
        [Reason::WindowFull { .. }]
    ));
}

#[test]
fn a_higher_priority_is_named_while_it_takes() {
    let mut bench = Bench::new();
    let low = bench.subscribe(10, Wishes::default());
    let wishes = Wishes {
        priority: 5,
        ..Wishes::default()
    };
    let consumer = bench.subscribe(10, wishes);
    bench.queue.set_paused(bench.now_ms, true, &mut bench.world);
    bench.plain(1);
    assert_eq!(
        bench.not(1, Some(low)),
        [Reason::Paused, Reason::HigherPriority { consumer }]
    );
}

#[test]
fn a_delayed_message_says_until_when_and_a_paused_queue_that_it_is() {
    let mut bench = Bench::new();
    let consumer = bench.subscribe(10, Wishes::default());
    bench.plain(1);
    bench.fail(consumer, 1, Ack::FailedFor(500));
    let delayed = Reason::Delayed { until_ms: 1500 };
    assert_eq!(bench.idle(), std::slice::from_ref(&delayed));
    bench.queue.set_paused(bench.now_ms, true, &mut bench.world);
    assert_eq!(bench.idle(), [Reason::Paused]);
    assert_eq!(bench.not(1, None), [Reason::Paused, delayed]);
    bench.now_ms = 1500;
    bench.queue.due(bench.now_ms, &mut bench.world);
    assert_eq!(bench.idle(), [Reason::Paused]);
    bench.world.take();
    bench
        .queue
        .set_paused(bench.now_ms, false, &mut bench.world);
    assert_eq!(bench.world.delivered(), [1]);
    assert!(bench.idle().is_empty());
}

#[test]
fn a_group_says_to_whom_it_belongs_or_what_holds_it() {
    let mut bench = Bench::new();
    bench.queue.set_group_reader(group_of);
    let owner = bench.subscribe(1, Wishes::default());
    bench.push(grouped(1, 10, false, 7, 0));
    let other = bench.subscribe(1, Wishes::default());
    bench.push(grouped(2, 10, false, 7, 0));
    let group = group_of(&grouped(1, 10, false, 7, 0))
        .unwrap()
        .id
        .into_owned();
    let owned = Reason::GroupOwner {
        group: group.clone(),
        consumer: owner,
    };
    assert_eq!(bench.not(2, Some(other)), std::slice::from_ref(&owned));
    assert!(bench.idle().contains(&owned));
    bench.fail(owner, 1, Ack::FailedFor(500));
    assert_eq!(bench.not(2, Some(owner)), [Reason::GroupHeld { group }]);
}

#[test]
fn the_fair_start_is_told() {
    let mut bench = Bench::new();
    let policy = QueuePolicy {
        consumers_before_dispatch: 2,
        time_before_dispatch_ms: 700,
        ..QueuePolicy::default()
    };
    bench
        .queue
        .set_policy(bench.now_ms, policy, &mut bench.world);
    let first = bench.subscribe(10, Wishes::default());
    bench.plain(1);
    let waits = Reason::FairStart {
        consumers: 1,
        wanted: 2,
        until_ms: Some(1700),
    };
    assert_eq!(bench.idle(), [waits]);
    bench.subscribe(10, Wishes::default());
    assert!(bench.idle().is_empty());
    bench
        .queue
        .unsubscribe(bench.now_ms, first, Ending::Orderly, &mut bench.world);
}

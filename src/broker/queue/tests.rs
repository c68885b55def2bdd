use super::*;
use crate::broker::delivery::{Ack, Which};
use crate::broker::double::{Event, World, group_of, grouped, message};
use crate::broker::outlet::Flow;

struct Bench {
    queue: Queue,
    world: World,
}

impl Bench {
    fn new() -> Self {
        Self {
            queue: Queue::new(
                1,
                1 << 20,
                QueuePolicy {
                    // Tests look at what else is due.
                    stall_after_ms: 0,
                    ..QueuePolicy::default()
                },
            ),
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
        Event::Deliver {
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
            Event::Reject(rejected) => Some(rejected),
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
            Event::Deliver {
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
        Event::Deliver {
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

#[test]
fn groups_hold_for_messages_that_have_left_memory() {
    let mut bench = Bench::new();
    bench.queue = Queue::new(1, 5000, QueuePolicy::default());
    bench.queue.set_group_reader(group_of);
    for _ in 0..400 {
        let sequence = bench.queue.reserve(1);
        let message = grouped(sequence, 800, true, (sequence % 4) as u8, 0);
        let at = bench.world.store(&message);
        bench.queue.set_durable(Some(at));
        let entry = Entry::held(Arc::new(message), Some(at));
        bench
            .queue
            .push(0, Incoming { sequence, entry }, &mut bench.world);
    }
    assert!(bench.queue.held_bytes() <= 6000);
    bench.subscribe(AckMode::Individual, 5);
    bench.subscribe(AckMode::Individual, 5);
    let mut owners = std::collections::HashMap::new();
    let mut delivered = 0;
    while delivered < 400 {
        let before = delivered;
        for event in bench.world.take() {
            if let Event::Deliver { to, id, number, .. } = event {
                delivered += 1;
                assert_eq!(*owners.entry(id.serial % 4).or_insert(to), to);
                bench.ack_at(0, to, number, Ack::Consumed);
            }
        }
        for (sequence, at) in std::mem::take(&mut bench.world.asked) {
            let message = bench.world.read(at);
            bench.queue.loaded(0, sequence, message, &mut bench.world);
        }
        assert!(
            delivered > before || !bench.world.events.is_empty(),
            "{delivered} of 400"
        );
    }
}

impl Bench {
    /// A queue with these rules and groups.
    fn with(change: impl FnOnce(&mut QueuePolicy)) -> Self {
        let mut policy = QueuePolicy::default();
        change(&mut policy);
        let mut bench = Self::new();
        bench.queue = Queue::new(1, 1 << 20, policy);
        bench.queue.set_group_reader(group_of);
        bench
    }

    fn join(&mut self, messages: u32, wishes: Wishes) -> SubscriptionKey {
        let window = Window::messages(messages);
        let key = self.queue.subscribe_as(AckMode::Individual, window, wishes);
        self.queue.resume(0, key, &mut self.world);
        key
    }

    fn push_of(&mut self, now_ms: u64, make: impl FnOnce(u64) -> Message) -> u64 {
        let sequence = self.queue.reserve(1);
        let entry = Entry::held(Arc::new(make(sequence)), None);
        let incoming = Incoming { sequence, entry };
        self.queue.push(now_ms, incoming, &mut self.world);
        sequence
    }

    /// Sends a member of group `id` with its number there.
    fn push_member(&mut self, id: u8, number: i32) -> u64 {
        self.push_of(0, |sequence| grouped(sequence, 10, false, id, number))
    }

    /// Whom each message went to, with its delivery number and whether it was the first of its group.
    fn went(&mut self) -> Vec<(u64, SubscriptionKey, u64, bool)> {
        let delivery = |event| match event {
            Event::Deliver {
                to,
                id,
                number,
                first_of_group,
                ..
            } => Some((id.serial, to, number, first_of_group)),
            _ => None,
        };
        self.world.take().into_iter().filter_map(delivery).collect()
    }
}

#[test]
fn priorities_go_first_and_order_holds_within_one() {
    // PRE-8
    let mut bench = Bench::with(|policy| policy.prioritized = true);
    for priority in [1, 9, 5, 9, 1] {
        bench.push_of(0, |sequence| {
            let mut message = message(sequence, 10, false, 0);
            message.priority = priority;
            message
        });
    }
    let key = bench.join(2, Wishes::default());
    assert_eq!(bench.world.delivered(), [2, 4]);
    bench.ack_at(0, key, 1, Ack::Requeued);
    assert_eq!(bench.world.delivered(), [2], "back to its place");
    let policy = QueuePolicy::default();
    bench.queue.set_policy(0, policy, &mut bench.world);
    bench.end(key, Ending::Orderly);
    bench.join(5, Wishes::default());
    assert_eq!(bench.world.delivered(), [1, 2, 3, 4, 5], "and back again");
}

#[test]
fn a_group_begins_anew_with_its_first_number() {
    // GRP-3
    let mut bench = Bench::with(|_| {});
    let (one, two) = (
        bench.join(10, Wishes::default()),
        bench.join(10, Wishes::default()),
    );
    bench.push_member(1, 1);
    bench.push_member(1, 2);
    bench.push_member(2, 0);
    bench.push_member(3, 0);
    let went = bench.went();
    assert_eq!(
        went.iter().map(|(_, to, ..)| *to).collect::<Vec<_>>(),
        [one, one, two, one],
        "the fewest groups, then turns"
    );
    bench.push_member(1, 1);
    bench.push_member(1, 2);
    let went = bench.went();
    let to: Vec<_> = went.iter().map(|(_, to, _, first)| (*to, *first)).collect();
    assert!(to[0].1, "a new owner is told: {to:?}");
    assert_eq!(to[1], (to[0].0, false));
}

#[test]
fn a_closed_group_leaves_what_waited_for_its_owner_to_others() {
    // GRP-3
    let mut bench = Bench::with(|_| {});
    let one = bench.join(2, Wishes::default());
    bench.push_member(1, 0);
    bench.push_member(1, -1);
    let two = bench.join(5, Wishes::default());
    bench.push_member(1, 0);
    let went = bench.went();
    assert_eq!(
        went.iter().map(|(_, to, ..)| *to).collect::<Vec<_>>(),
        [one, one, two]
    );
    assert!(went[2].3, "first of the new life");
}

#[test]
fn idle_groups_move_when_a_consumer_joins_if_the_policy_says_so() {
    // GRP-5
    let mut bench = Bench::with(|policy| policy.group_rebalance = GroupRebalance::Idle);
    let one = bench.join(10, Wishes::default());
    bench.push_member(1, 0);
    bench.push_member(2, 0);
    bench.ack_at(0, one, 1, Ack::Consumed);
    let two = bench.join(10, Wishes::default());
    bench.went();
    bench.push_member(1, 0);
    bench.push_member(2, 0);
    let to: Vec<_> = bench.went().iter().map(|(_, to, ..)| *to).collect();
    assert_eq!(to, [two, one], "the second had one under way");
}

#[test]
fn groups_without_messages_are_forgotten() {
    // GRP-6
    let mut bench = Bench::with(|policy| policy.group_idle_timeout_ms = 5000);
    let key = bench.join(10, Wishes::default());
    bench.push_member(1, 0);
    bench.push_member(2, 0);
    bench.ack_at(0, key, 1, Ack::Consumed);
    assert_eq!(bench.queue.next_due_ms(), Some(5000));
    bench.due(5000);
    let ids: Vec<_> = bench
        .queue
        .groups()
        .into_iter()
        .map(|group| group.id)
        .collect();
    assert_eq!(ids, ["2"], "the other has a message under way");
    assert!(bench.queue.remove_group(5000, "2", &mut bench.world));
    assert!(bench.queue.groups().is_empty());
}

/// Counts how often it is asked.
#[derive(Debug)]
struct Asked {
    wanted: u64,
    times: Arc<std::sync::atomic::AtomicUsize>,
}

impl crate::broker::Filter for Asked {
    fn matches(&self, message: &Message, _: u16, _: bool) -> bool {
        self.times
            .fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        message.id.serial == self.wanted
    }
}

#[test]
fn a_match_is_found_deep_in_a_queue_and_nothing_is_asked_twice() {
    // PRE-11: behind the first 200 messages a match was not found.
    let mut bench = Bench::new();
    bench.queue = Queue::new(1, 50_000, QueuePolicy::default());
    let deep = 20_000;
    for _ in 0..deep {
        let sequence = bench.queue.reserve(1);
        let message = message(sequence, 800, true, 0);
        let at = bench.world.store(&message);
        bench.queue.set_durable(Some(at));
        let entry = Entry::held(Arc::new(message), Some(at));
        bench
            .queue
            .push(0, Incoming { sequence, entry }, &mut bench.world);
    }
    let times = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let filter = Asked {
        wanted: deep - 5,
        times: Arc::clone(&times),
    };
    let wishes = Wishes {
        filter: Some(Arc::new(filter)),
        ..Wishes::default()
    };
    bench.join(10, wishes);
    let mut held_max = 0;
    for _ in 0..100 {
        for (sequence, at) in std::mem::take(&mut bench.world.asked) {
            let message = bench.world.read(at);
            bench.queue.loaded(0, sequence, message, &mut bench.world);
        }
        held_max = held_max.max(bench.queue.held_bytes());
        if bench.queue.next_due_ms() == Some(0) {
            bench.due(0);
        }
    }
    assert_eq!(bench.world.delivered(), [deep - 5]);
    assert!(held_max < 8 << 20, "{held_max} octets held");
    let looks = times.load(std::sync::atomic::Ordering::Relaxed);
    assert_eq!(looks as u64, deep, "each once");
    // A new message costs one look, however deep the queue.
    bench.push(1);
    assert_eq!(times.load(std::sync::atomic::Ordering::Relaxed), looks + 1);
    bench.subscribe(AckMode::Auto, 1);
    assert_eq!(
        bench.world.delivered()[..3],
        [1, 2, 3],
        "others start at the head"
    );
}

#[test]
fn a_slow_worker_is_not_sent_everything() {
    // PRE-7: of two workers without tuning the slow one held a thousand messages.
    let mut bench = Bench::new();
    let adaptive = || Wishes {
        adaptive: true,
        ..Wishes::default()
    };
    let (slow, quick) = (bench.join(1000, adaptive()), bench.join(1000, adaptive()));
    bench.push(1000);
    let mut held = std::collections::HashMap::<_, std::collections::VecDeque<u64>>::new();
    let mut done = std::collections::HashMap::<_, u64>::new();
    let mut now_ms = 0;
    while !bench.queue.is_empty() && now_ms < 200_000 {
        for (_, to, number, _) in bench.went() {
            held.entry(to).or_default().push_back(number);
        }
        now_ms += 50;
        bench.due(now_ms);
        for (worker, pace_ms) in [(quick, 50), (slow, 2000)] {
            if now_ms % pace_ms == 0
                && let Some(number) = held.entry(worker).or_default().pop_front()
            {
                bench.ack_at(now_ms, worker, number, Ack::Consumed);
                *done.entry(worker).or_default() += 1;
            }
        }
    }
    assert!(now_ms < 90_000, "{now_ms} ms, {done:?}");
    assert!(done[&slow] >= 20 && done[&quick] > 900, "{done:?}");
}

#[test]
fn strict_order_waits_for_a_delayed_message() {
    // RED-4
    let mut bench = Bench::with(|policy| policy.strict_order_dispatch = true);
    let exclusive = Wishes {
        exclusive: true,
        ..Wishes::default()
    };
    let key = bench.join(1, exclusive);
    bench.push(2);
    bench.ack_at(0, key, 1, Ack::Failed);
    assert_eq!(bench.world.delivered(), [1]);
    bench.due(1000);
    assert_eq!(bench.world.delivered(), [1]);
}

#[test]
fn the_fair_start_waits_for_time_or_consumers() {
    // PRE-6
    let mut bench = Bench::with(|policy| {
        policy.consumers_before_dispatch = 2;
        policy.time_before_dispatch_ms = 100;
    });
    bench.push(2);
    let key = bench.join(1, Wishes::default());
    assert!(bench.world.delivered().is_empty());
    assert_eq!(bench.queue.next_due_ms(), Some(100));
    bench.due(100);
    assert_eq!(bench.world.delivered(), [1]);
    bench.end(key, Ending::Orderly);
    bench.join(1, Wishes::default());
    assert!(bench.world.delivered().is_empty(), "it begins anew");
    bench.join(1, Wishes::default());
    assert_eq!(bench.world.delivered(), [1, 2]);
}

#[test]
fn a_browser_sees_what_was_there_and_takes_nothing() {
    // BRO-1
    let mut bench = Bench::new();
    bench.push(1200);
    let key = bench.subscribe(AckMode::Individual, 3);
    bench.ack_at(0, key, 2, Ack::Failed);
    bench.world.take();
    let browser = bench.join(
        500,
        Wishes {
            browser: true,
            ..Wishes::default()
        },
    );
    assert!(bench.queue.is_browser(browser));
    bench.push(1);
    assert_eq!(bench.world.delivered(), (1..=500).collect::<Vec<_>>());
    for number in 1..=1200 {
        bench.ack_at(0, browser, number, Ack::Consumed);
    }
    let events = bench.world.take();
    let ends = events
        .iter()
        .filter(|event| matches!(event, Event::Browsed(to) if *to == browser));
    assert_eq!((events.len(), ends.count()), (701, 1));
    assert_eq!(bench.queue.len(), 1201);
}

#[test]
fn a_delayed_member_holds_back_its_group_unless_the_policy_lets_others_go() {
    // GRP-8
    let went = |holds| {
        let mut bench = Bench::with(|policy| policy.group_redelivery_holds = holds);
        let key = bench.join(10, Wishes::default());
        bench.push_member(1, 0);
        bench.ack_at(0, key, 1, Ack::Failed);
        bench.push_member(1, 0);
        bench.push_member(2, 0);
        bench.due(1000);
        let went = bench.went();
        went.iter().map(|(serial, ..)| *serial).collect::<Vec<_>>()
    };
    assert_eq!(went(true), [1, 3, 1, 2]);
    assert_eq!(went(false), [1, 2, 3, 1]);
}

#[test]
fn a_group_whose_owner_is_full_lets_others_pass() {
    // GRP-9
    let mut bench = Bench::with(|_| {});
    let full = bench.join(1, Wishes::default());
    bench.push_member(1, 0);
    let free = bench.join(10, Wishes::default());
    bench.push_member(1, 0);
    bench.push_member(2, 0);
    bench.push(1);
    let to: Vec<_> = bench
        .went()
        .iter()
        .map(|(serial, to, ..)| (*serial, *to))
        .collect();
    assert_eq!(to, [(1, full), (3, free), (4, free)]);
    bench.ack_at(0, full, 1, Ack::Consumed);
    assert_eq!(bench.went()[0].0, 2);
}

#[test]
fn a_long_search_lets_others_go_on() {
    let mut bench = Bench::new();
    bench.push(25_000);
    let times = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let filter = Asked {
        wanted: 25_000,
        times: Arc::clone(&times),
    };
    let wishes = Wishes {
        filter: Some(Arc::new(filter)),
        ..Wishes::default()
    };
    let chooser = bench.join(1, wishes);
    assert_eq!(bench.queue.next_due_ms(), Some(0), "it goes on at once");
    assert_eq!(
        times.load(std::sync::atomic::Ordering::Relaxed),
        10_000,
        "but lets go of the lock"
    );
    let other = bench.subscribe(AckMode::Individual, 2);
    let went = bench.went();
    assert_eq!(
        went.iter()
            .map(|(serial, to, ..)| (*serial, *to))
            .collect::<Vec<_>>(),
        [(1, other), (2, other)]
    );
    bench.due(0);
    let went = bench.went();
    assert_eq!(
        went.iter()
            .map(|(serial, to, ..)| (*serial, *to))
            .collect::<Vec<_>>(),
        [(25_000, chooser)]
    );
    assert_eq!(bench.queue.next_due_ms(), None);
}

//! Who waits, who is woken, and what is told of it.

use super::*;
use crate::broker::governor::{Cause, Resource};
use crate::broker::policy::{DestinationPolicy, Limits, Usage};
use crate::broker::{Kind, Policies};
use crate::engine::governor::{Arriving, UsageLimits};

const SEND: Arriving = Arriving {
    bytes: 100,
    persistent: false,
    in_transaction: false,
};

fn limits(change: impl FnOnce(&mut Limits)) -> Policies {
    let mut base = DestinationPolicy::default();
    change(&mut base.limits);
    Policies::new(base, Vec::new())
}

fn keys(engine: &Engine, cell: &Arc<Cell>, arriving: Arriving) -> Vec<&'static str> {
    let cells = std::slice::from_ref(cell);
    let causes = engine.room_for(cells, false, arriving, |_| Usage::default());
    let causes = causes.expect("nothing is refused");
    causes.iter().filter_map(Cause::key).collect()
}

fn store_limits(store_bytes: u64) -> UsageLimits {
    UsageLimits {
        memory_bytes: 1 << 30,
        memory_mark_bytes: 1 << 30,
        store_bytes: Some(store_bytes),
        scheduler_bytes: 1 << 30,
    }
}

/// An engine whose store takes no more messages.
fn full(directory: &Path) -> Arc<Engine> {
    let engine = stored(directory);
    engine.set_limits(store_limits(1));
    let cell = queue(&engine, "filler");
    let mut connection = Connection::new(&engine, &cell, AckMode::Client, 1);
    let mut serial = 0;
    while !engine.is_store_full() {
        serial += 1;
        connection.send(vec![message(1, serial, 100_000, true)]);
        engine.store.as_ref().unwrap().checkpoint().unwrap();
    }
    connection.end(Ending::Orderly);
    engine
}

#[test]
fn each_message_needs_what_it_takes() {
    let directory = tempfile::tempdir().unwrap();
    let engine = full(directory.path());
    engine.memory.charge(1 << 30);
    let cell = queue(&engine, "q");
    let of = |persistent, in_transaction| {
        let arriving = Arriving {
            persistent,
            in_transaction,
            ..SEND
        };
        keys(&engine, &cell, arriving)
    };
    assert_eq!(of(false, false), ["memory.limit"]);
    assert_eq!(of(true, false), ["store.limit"]);
    // Held in memory until its commit, which needs the store.
    assert_eq!(of(true, true), ["memory.limit"]);
    assert_eq!(of(false, true), ["memory.limit"]);
    engine.memory.release(1 << 30);
    assert_eq!(of(false, false), [""; 0]);
    engine.set_policies(limits(|limits| limits.messages_max = Some(0)));
    assert_eq!(of(true, false), ["store.limit", "maxMessages"]);
    engine.close();
}

#[test]
fn what_is_refused_says_which_limit_and_why() {
    let directory = tempfile::tempdir().unwrap();
    let engine = full(directory.path());
    engine.set_policies(limits(|limits| limits.fails_if_no_space = true));
    let cell = queue(&engine, "q");
    let persistent = Arriving {
        persistent: true,
        ..SEND
    };
    let refused = engine
        .room_for(&[cell], false, persistent, |_| Usage::default())
        .expect_err("it does not wait");
    assert_eq!(refused.cause.usage(), "store");
    let text = refused.to_string();
    assert!(
        text.starts_with("Usage Manager Store Limit reached: the message was not enqueued, because store.limit is"),
        "{text}"
    );
    assert!(
        text.ends_with("; sendFailIfNoSpace is true for /queue/q"),
        "{text}"
    );
    engine.close();
}

/// The connection's task is woken.
fn is_kicked(outbox: &Outbox) -> bool {
    use std::future::Future as _;
    use std::task::{Context, Waker};
    let mut kicked = std::pin::pin!(outbox.kicked());
    let mut context = Context::from_waker(Waker::noop());
    kicked.as_mut().poll(&mut context).is_ready()
}

#[test]
fn who_waits_is_woken_once_when_there_is_room() {
    let directory = tempfile::tempdir().unwrap();
    let engine = full(directory.path());
    let outbox = || Arc::new(Outbox::new(Box::new(Fake::default()), &engine));
    let (for_memory, for_store, for_both) = (outbox(), outbox(), outbox());
    engine.memory.charge(1 << 30);
    engine.wait_for_room(&for_memory, true, false);
    engine.wait_for_room(&for_store, false, true);
    engine.wait_for_room(&for_both, true, true);
    let woken = || [&for_memory, &for_store, &for_both].map(|outbox| is_kicked(outbox));
    assert_eq!(woken(), [false; 3]);
    engine.set_limits(UsageLimits {
        memory_bytes: 2 << 30,
        ..store_limits(1)
    });
    assert_eq!(woken(), [true, false, true]);
    engine.memory.release(1 << 30);
    assert_eq!(woken(), [false; 3], "those are not waiting any more");
    engine.set_limits(store_limits(1 << 30));
    // The store's own thread tells of room that it has to make first.
    while !is_kicked(&for_store) {
        std::thread::yield_now();
    }
    assert!(!engine.is_store_full() && is_kicked(&for_both));
    // Who comes too late is told at once.
    engine.wait_for_room(&for_both, true, true);
    assert!(is_kicked(&for_both));
    engine.close();
}

#[test]
fn marks_are_passed_and_counted() {
    let engine = engine();
    let look = |used: u64| {
        let before = engine.memory.used_bytes();
        engine.memory.charge(used);
        engine.memory.release(before);
        engine.look_at_usage();
        let report = engine.account_reports().remove(0);
        assert_eq!(report.account.resource, Resource::Memory);
        report
    };
    let percent = |percent: u64| (1_u64 << 30) / 100 * percent + 100;
    assert_eq!(look(percent(69)).mark_percent, 0);
    assert_eq!(look(percent(70)).mark_percent, 70);
    assert_eq!(look(percent(100)).mark_percent, 100);
    for _ in 0..4 {
        assert_eq!(look(0).mark_percent, 100, "not yet");
    }
    let report = look(0);
    assert_eq!(report.mark_percent, 0);
    assert_eq!(report.passed, [(70, 1), (90, 1), (100, 1)]);
    assert_eq!(engine.accounts().len(), 1, "it has no store");
}

#[test]
fn persistent_messages_leave_memory_sooner_where_it_is_limited() {
    let directory = tempfile::tempdir().unwrap();
    let engine = stored(directory.path());
    let cell = queue(&engine, "q");
    let mut connection = Connection::new(&engine, &cell, AckMode::Client, 1);
    let mut serial = 0;
    let mut send = || {
        serial += 1;
        connection.send(vec![message(1, serial, 1000, true)]);
        let store = engine.store.as_ref().unwrap();
        store.wait(connection.work.take_ticket().unwrap()).unwrap();
    };
    (0..100).for_each(|_| send());
    let held = || cell.lock().machine.held_bytes();
    assert!(held() > 90_000);
    engine.set_policies(limits(|limits| {
        limits.memory_bytes_max = Some(50_000);
        limits.memory_mark_percent = 60;
    }));
    send();
    assert!(held() <= 32_000, "{}", held());
    let topic = engine.registry.get_or_create(&Destination {
        kind: Kind::Topic,
        name: "t".into(),
    });
    assert_eq!(topic.policy().limits.window_bytes(1 << 20), 30_000);
    connection.end(Ending::Orderly);
    engine.close();
}

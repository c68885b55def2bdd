//! What policies do to the journal: retries, dropped messages, destinations and subscriptions that go.

use super::*;
use crate::broker::policy::{DestinationPolicy, Limits, Overflow};
use crate::broker::{Ack, DeadLetter, Policies, Which};
use crate::engine::choice::Choice;
use crate::engine::durables::{ConsumerEnd, DurableName};
use crate::engine::records;

fn policies(change: impl FnOnce(&mut DestinationPolicy)) -> Policies {
    let mut base = DestinationPolicy::default();
    change(&mut base);
    Policies::new(base, Vec::new())
}

fn kill(connection: &mut Connection, number: u64) {
    let (key, which) = (connection.key, Which::Number(number));
    let cell = Arc::clone(&connection.cell);
    cell.step(
        &mut connection.work,
        Journaled::default(),
        |machine, out| {
            let Machine::Queue(queue) = machine else {
                unreachable!("it is a queue")
            };
            assert!(queue.acknowledge(1000, key, which, Ack::Refused, out));
        },
    );
    connection.engine.run(&mut connection.work);
}

/// What the journal in `directory` holds: destination, and serial and fate of each message.
fn journal(directory: &Path) -> Vec<(String, Vec<(u64, bool)>)> {
    let opened = open(directory, &Arc::new(Durability::default()));
    let read = |at| records::message(opened.store.read(at).unwrap().unwrap());
    let mut found: Vec<_> = opened
        .recovered
        .destinations
        .iter()
        .map(|destination| {
            let messages = destination.entries.iter().map(|entry| read(entry.at));
            let messages =
                messages.map(|message| (message.id.serial, message.dead_letter.is_some()));
            (destination.name.clone(), messages.collect())
        })
        .collect();
    found.sort();
    opened.store.close().unwrap();
    found
}

#[test]
fn a_retried_message_has_no_fate_any_more_and_may_die_again() {
    let directory = tempfile::tempdir().unwrap();
    let engine = stored(directory.path());
    let cell = queue(&engine, "q");
    let mut connection = Connection::new(&engine, &cell, AckMode::Individual, 10);
    connection.start();
    connection.send(vec![
        message(1, 1, 10, true),
        message(1, 2, 10, false),
        message(1, 3, 10, true),
    ]);
    (1..=3).for_each(|number| kill(&mut connection, number));
    let graves = Destination::queue("ActiveMQ.DLQ");
    assert_eq!(queue_len(&queue(&engine, "ActiveMQ.DLQ")), 3);
    assert!(engine.retry(&cell.destination, 1, |_| true).is_err());
    let retried = engine
        .retry(&graves, 9, |message| message.id.serial < 3)
        .unwrap();
    assert_eq!((retried.done, retried.stuck), (2, 0));
    assert!(retried.ticket.is_some());
    // One of them dies again: a move of a move, to where it was before.
    kill(&mut connection, 4);
    connection.end(Ending::Orderly);
    engine.close();
    drop((cell, engine));
    assert_eq!(
        journal(directory.path()),
        [
            ("ActiveMQ.DLQ".to_owned(), vec![(3, true), (1, true)]),
            ("q".to_owned(), vec![(2, false)])
        ]
    );
    // What was read back from the journal can be retried as well.
    let engine = stored(directory.path());
    let retried = engine.retry(&graves, 1, |_| true).unwrap();
    assert_eq!(retried.done, 1);
    engine.close();
    drop(engine);
    let found = journal(directory.path());
    assert_eq!(found[0].1, [(1, true)]);
    assert_eq!(found[1].1, [(2, false), (3, false)]);
}

#[test]
fn a_dead_letter_that_was_not_persistent_is_retried_as_it_was() {
    let directory = tempfile::tempdir().unwrap();
    let engine = stored(directory.path());
    let cell = queue(&engine, "q");
    let mut connection = Connection::new(&engine, &cell, AckMode::Individual, 10);
    connection.start();
    connection.send(vec![message(1, 1, 10, false)]);
    kill(&mut connection, 1);
    connection.end(Ending::Orderly);
    let graves = Destination::queue("ActiveMQ.DLQ");
    assert_eq!(engine.retry(&graves, 9, |_| true).unwrap().done, 1);
    engine.close();
    drop((cell, engine));
    // Its body was written with its fate, which is none of the message.
    let opened = open(directory.path(), &Arc::new(Durability::default()));
    let at = opened.recovered.destinations.iter();
    let at = at.flat_map(|destination| &destination.entries).next();
    let stored = opened.store.read(at.unwrap().at).unwrap().unwrap();
    let read = records::message(stored);
    assert_eq!((read.head(), read.body()), (&[][..], &[b'x'; 10][..]));
    assert!(read.dead_letter.is_none());
    opened.store.close().unwrap();
}

#[test]
fn a_dead_letter_of_a_topic_is_published_again() {
    let directory = tempfile::tempdir().unwrap();
    let engine = stored(directory.path());
    let cell = queue(&engine, "ActiveMQ.DLQ");
    let fate = DeadLetter {
        origin: Destination::topic("t").to_string(),
        cause: "it failed".to_owned(),
        original_expires_ms: 0,
        failures: 6,
        died_ms: 1,
    };
    let dead = Arc::new(message(1, 1, 10, true).to_dead_letter(fate, 0));
    cell.send(1000, &mut vec![dead], &mut Work::default())
        .unwrap();
    let topic = engine.registry.get_or_create(&Destination::topic("t"));
    let mut subscriber = Connection::new(&engine, &topic, AckMode::Auto, 10);
    subscriber.start();
    let retried = engine.retry(&cell.destination, 9, |_| true).unwrap();
    assert_eq!((retried.done, retried.stuck), (1, 0));
    assert_eq!(subscriber.socket.frames().len(), 1);
    engine.close();
}

#[test]
fn dropped_messages_do_not_come_back() {
    let directory = tempfile::tempdir().unwrap();
    let engine = stored(directory.path());
    engine.set_policies(policies(|policy| {
        policy.limits = Limits {
            messages_max: Some(2),
            overflow: Overflow::DropHead,
            ..Limits::default()
        };
    }));
    let cell = queue(&engine, "q");
    let mut connection = Connection::new(&engine, &cell, AckMode::Client, 1);
    connection.send((1..=5).map(|serial| message(1, serial, 10, true)).collect());
    assert_eq!(
        engine.memory.used_bytes(),
        cell.lock().queue().unwrap().usage().bytes
    );
    connection.end(Ending::Orderly);
    engine.close();
    drop((cell, engine));
    assert_eq!(
        journal(directory.path()),
        [("q".to_owned(), vec![(4, false), (5, false)])]
    );
}

#[test]
fn idle_destinations_go_and_the_journal_forgets_them() {
    let directory = tempfile::tempdir().unwrap();
    let engine = stored(directory.path());
    let send = |name: &str| {
        let cell = queue(&engine, name);
        let mut connection = Connection::new(&engine, &cell, AckMode::Auto, 1);
        connection.send(vec![message(1, 1, 10, true)]);
        connection.start();
        connection.pump();
        assert_eq!(queue_len(&cell), 0);
        connection.end(Ending::Orderly);
    };
    ["idle", "held", "other"].into_iter().for_each(send);
    let kept = queue(&engine, "kept");
    let mut connection = Connection::new(&engine, &kept, AckMode::Auto, 1);
    connection.send(vec![message(1, 1, 10, true)]);
    connection.end(Ending::Orderly);
    drop(kept);
    let held = queue(&engine, "held");
    let later = |ms| {
        engine.clock.advance(ms);
        engine.purge_idle(1)
    };
    assert_eq!(later(0), 0);
    assert_eq!(later(600_000), 0, "no policy says so");
    engine.set_policies(policies(|policy| policy.gc_inactive = true));
    assert_eq!(later(0), 0, "counted from now");
    assert_eq!(later(59_999), 0);
    assert_eq!(
        (later(1), later(0), later(0)),
        (1, 1, 0),
        "one at a time, and not those in use"
    );
    drop(held);
    assert_eq!((later(0), later(59_999)), (0, 0), "it was in use until now");
    send("held");
    assert_eq!((later(1), later(60_000)), (0, 1), "used between two looks");
    engine.close();
    drop(engine);
    assert_eq!(
        journal(directory.path()),
        [("kept".to_owned(), vec![(1, false)])]
    );
}

#[test]
fn durable_subscriptions_go_when_their_client_stays_away() {
    let engine = engine();
    let topic = engine.registry.get_or_create(&Destination::topic("t"));
    let name = |name: &str| DurableName {
        client_id: "c".into(),
        name: name.into(),
    };
    let subscribe = |name: &DurableName| {
        let outbox = Arc::new(Outbox::new(Box::new(Fake::default()), &engine));
        let end = ConsumerEnd {
            outbox: &outbox,
            encoder: Box::new(Plain),
            mode: AckMode::Client,
            window: Window::messages(10),
            origin: 1,
        };
        let mut work = Work::default();
        engine
            .subscribe_durable(name, &topic, &Choice::default(), end, &mut work)
            .unwrap()
            .0
    };
    let leave = |key| {
        let mut state = topic.lock();
        Cell::detach(&mut state, key);
        topic.step_locked(
            &mut state,
            &mut Work::default(),
            Journaled::default(),
            |machine, out| {
                let Machine::Topic(topic) = machine else {
                    unreachable!("it is a topic")
                };
                topic.unsubscribe(key, Ending::Orderly, out);
            },
        );
    };
    let (gone, back, here) = (
        subscribe(&name("gone")),
        subscribe(&name("back")),
        subscribe(&name("here")),
    );
    leave(gone.key);
    leave(back.key);
    let later = |ms| {
        engine.clock.advance(ms);
        engine.drop_offline_durables(1000)
    };
    assert_eq!((later(0), later(999)), (0, 0));
    let back = subscribe(&name("back"));
    leave(back.key);
    assert_eq!(later(1), 1);
    assert!(engine.durables.name_of(gone.id.0).is_none());
    assert_eq!(engine.durables.name_of(back.id.0), Some(name("back")));
    assert_eq!(later(1000), 1, "it was back, and left again");
    assert_eq!(engine.durables.name_of(here.id.0), Some(name("here")));
}

//! What touches several destinations or a restart: dead letters, transactions, durable subscriptions.

use super::*;
use crate::broker::Which;
use crate::engine::choice::Choice;
use crate::engine::commit::Transaction;
use crate::engine::durables::{ConsumerEnd, Durable, DurableName};
use crate::engine::records;
use crate::engine::spread::Routed;

fn topic(engine: &Engine, name: &str) -> Arc<Cell> {
    engine.registry.get_or_create(&Destination::topic(name))
}

fn subscribe(engine: &Arc<Engine>, cell: &Arc<Cell>, mode: AckMode) -> (Durable, Fake, Work) {
    let (socket, mut work) = (Fake::default(), Work::default());
    let outbox = Arc::new(Outbox::new(Box::new(socket.clone()), engine));
    let name = DurableName {
        client_id: "c".into(),
        name: "n".into(),
    };
    let end = ConsumerEnd {
        outbox: &outbox,
        encoder: Box::new(Plain),
        mode,
        window: Window::messages(10),
        origin: 1,
    };
    let (durable, _) = engine
        .subscribe_durable(&name, cell, &Choice::default(), end, &mut work)
        .unwrap();
    cell.step(&mut work, Journaled::default(), |machine, out| {
        State::start(machine, 1000, durable.key, out);
    });
    engine.run(&mut work);
    (durable, socket, work)
}

fn publish(engine: &Arc<Engine>, cell: &Arc<Cell>, serial: u64, persistent: bool) {
    let mut work = Work::default();
    let mut messages = vec![message(1, serial, 10, persistent)];
    cell.send(1000, &mut messages, &mut work).unwrap();
    engine.run(&mut work);
}

/// The serials that a durable subscription gets when it comes back after a restart.
fn after_restart(directory: &Path) -> Vec<u64> {
    let engine = stored(directory);
    let cell = topic(&engine, "t");
    let (_, socket, _) = subscribe(&engine, &cell, AckMode::Individual);
    let kept = cell.lock().topic().unwrap().len();
    let clock = Clock::system();
    while socket.frames().len() < kept {
        assert!(
            clock.monotonic_ms() < 60_000,
            "the reader brings nothing back"
        );
        std::thread::yield_now();
    }
    let serials = socket.frames().iter().map(|frame| frame.serial).collect();
    engine.close();
    serials
}

#[test]
fn a_durable_subscription_keeps_what_came_after_a_restart() {
    // Places of messages that were never stored were used again after a restart, below the start of the
    // subscription; at the next start they counted as acknowledged.
    let directory = tempfile::tempdir().unwrap();
    let engine = stored(directory.path());
    let cell = topic(&engine, "t");
    for serial in 1..=20 {
        publish(&engine, &cell, serial, true);
    }
    subscribe(&engine, &cell, AckMode::Individual);
    engine.close();
    drop((cell, engine));

    let engine = stored(directory.path());
    let cell = topic(&engine, "t");
    publish(&engine, &cell, 21, true);
    engine.close();
    drop((cell, engine));

    assert_eq!(after_restart(directory.path()), [21]);
}

#[test]
fn the_id_of_a_dropped_subscription_is_not_used_again() {
    // The highest id was that of a subscription that is there, so the next start gave it to another one.
    let directory = tempfile::tempdir().unwrap();
    let mut ids = Vec::new();
    for _ in 0..2 {
        let engine = stored(directory.path());
        let cell = topic(&engine, "t");
        let (durable, _, mut work) = subscribe(&engine, &cell, AckMode::Individual);
        ids.push(durable.id.0);
        cell.step(&mut work, Journaled::default(), |machine, out| {
            let Machine::Topic(topic) = machine else {
                unreachable!("it is a topic")
            };
            topic.unsubscribe(durable.key, Ending::Orderly, out);
        });
        let name = DurableName {
            client_id: "c".into(),
            name: "n".into(),
        };
        engine.unsubscribe_durable(&name, &mut work).unwrap();
        engine.close();
    }
    assert_eq!(ids, [1, 2]);
}

#[test]
fn a_position_beyond_messages_that_were_not_stored_costs_none_that_are() {
    let directory = tempfile::tempdir().unwrap();
    let engine = stored(directory.path());
    let cell = topic(&engine, "t");
    let (durable, _socket, mut work) = subscribe(&engine, &cell, AckMode::Individual);
    for number in 1..=5 {
        publish(&engine, &cell, number, false);
        cell.step(&mut work, Journaled::default(), |machine, out| {
            let Machine::Topic(topic) = machine else {
                unreachable!("it is a topic")
            };
            let (which, ack) = (Which::Number(number), crate::broker::Ack::Consumed);
            assert!(topic.acknowledge(1000, durable.key, which, ack, out));
        });
    }
    engine.close();
    drop((durable, work, cell, engine));

    let engine = stored(directory.path());
    publish(&engine, &topic(&engine, "t"), 6, true);
    engine.close();
    drop(engine);

    assert_eq!(after_restart(directory.path()), [6]);
}

#[test]
fn a_transaction_to_a_topic_gives_its_memory_back() {
    let engine = engine();
    let cell = topic(&engine, "t");
    let mut transaction = Transaction::default();
    for serial in 1..=3 {
        let message = message(1, serial, 1000, false);
        transaction.bytes += message.memory_bytes();
        transaction.sends.push(Routed {
            cell: Arc::clone(&cell),
            message,
            may_drop: false,
            named: 0,
        });
    }
    engine.memory.charge(transaction.bytes);
    let mut work = Work::default();
    assert!(engine.commit(transaction, &mut work).is_ok());
    engine.run(&mut work);
    assert_eq!(engine.memory.used_bytes(), 0);
}

#[test]
fn dead_letters_arrive_in_the_order_of_their_failing_and_survive() {
    let directory = tempfile::tempdir().unwrap();
    let engine = stored(directory.path());
    let cell = queue(&engine, "q");
    let mut connection = Connection::new(&engine, &cell, AckMode::Client, 10);
    connection.start();
    connection.send((1..=3).map(|serial| message(1, serial, 10, true)).collect());
    for round in 1..=7 {
        let (key, which) = (connection.key, Which::Number(round * 3));
        cell.step(
            &mut connection.work,
            Journaled::default(),
            |machine, out| {
                let Machine::Queue(queue) = machine else {
                    unreachable!("it is a queue")
                };
                assert!(queue.acknowledge(1000, key, which, crate::broker::Ack::FailedFor(0), out));
            },
        );
        engine.run(&mut connection.work);
    }
    assert_eq!(
        (queue_len(&cell), queue_len(&queue(&engine, "ActiveMQ.DLQ"))),
        (0, 3)
    );
    connection.end(Ending::Orderly);
    engine.close();
    drop((cell, engine));
    let opened = open(directory.path(), &Arc::new(Durability::default()));
    let buried = opened
        .recovered
        .destinations
        .iter()
        .find(|found| found.name == "ActiveMQ.DLQ");
    let buried: Vec<_> = buried
        .unwrap()
        .entries
        .iter()
        .map(|entry| records::message(opened.store.read(entry.at).unwrap().unwrap()))
        .collect();
    let serials: Vec<u64> = buried.iter().map(|message| message.id.serial).collect();
    assert_eq!(serials, [1, 2, 3]);
    let fate = buried[0].dead_letter.as_ref().unwrap();
    assert_eq!(fate.origin, "/queue/q");
    assert!(fate.cause.contains("Delivery[7]"), "{}", fate.cause);
    assert!(
        opened
            .recovered
            .destinations
            .iter()
            .all(|found| found.name == "ActiveMQ.DLQ" || found.entries.is_empty())
    );
}

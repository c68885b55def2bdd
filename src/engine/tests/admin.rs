//! What comes by time, and what an administrator does: on one engine, and over a restart.

use super::*;
use crate::broker::{Ack, Which};

fn acknowledge(connection: &mut Connection, number: u64, ack: Ack) -> bool {
    let (key, now_ms) = (connection.key, connection.engine.clock.wall_ms());
    let known = connection.cell.step(
        &mut connection.work,
        Journaled::default(),
        |machine, out| match machine {
            Machine::Queue(queue) => {
                queue.acknowledge(now_ms, key, Which::Number(number), ack, out)
            }
            Machine::Topic(_) => false,
        },
    );
    connection.engine.run(&mut connection.work);
    known
}

fn send(engine: &Arc<Engine>, name: &str, serials: std::ops::RangeInclusive<u64>) -> Arc<Cell> {
    let cell = queue(engine, name);
    let mut work = Work::default();
    let mut messages = serials.map(|serial| message(1, serial, 10, true)).collect();
    cell.send(1000, &mut messages, &mut work).unwrap();
    engine.run(&mut work);
    cell
}

fn serials(engine: &Arc<Engine>, name: &str) -> Vec<u64> {
    let cell = queue(engine, name);
    let listed = match &cell.lock().machine {
        Machine::Queue(queue) => queue.messages(None, 10_000),
        Machine::Topic(_) => Vec::new(),
    };
    let mut found = Vec::new();
    for mut listed in listed {
        if let Some(store) = &engine.store
            && let (None, Some(at)) = (&listed.entry.message, listed.entry.at)
        {
            let stored = store.read(crate::engine::records::to_store(at)).unwrap();
            listed.entry.message = stored.map(crate::engine::records::message);
        }
        found.push(listed.entry.message.unwrap().id.serial);
    }
    found
}

#[test]
fn a_refused_message_comes_again_when_its_delay_is_over() {
    let engine = engine();
    let cell = queue(&engine, "q");
    let mut consumer = Connection::new(&engine, &cell, AckMode::Individual, 10);
    consumer.start();
    consumer.send(vec![message(1, 1, 10, false)]);
    assert!(acknowledge(&mut consumer, 1, Ack::Failed));
    engine.clock.advance(999);
    assert!(!engine.tick(), "nothing is due");
    engine.clock.advance(1);
    assert!(engine.tick());
    let frames = consumer.socket.frames();
    assert_eq!((frames.len(), frames[1].redelivered), (2, true));
    assert!(!engine.tick(), "once");
}

#[test]
fn the_timer_knows_the_nearest_time_of_each_queue() {
    let engine = engine();
    let mut consumers = Vec::new();
    for name in ["a", "b"] {
        let mut consumer = Connection::new(&engine, &queue(&engine, name), AckMode::Individual, 10);
        consumer.start();
        consumer.send(vec![message(1, 1, 10, false), message(1, 2, 10, false)]);
        assert!(acknowledge(&mut consumer, 1, Ack::FailedFor(500)));
        assert!(acknowledge(&mut consumer, 2, Ack::FailedFor(100)));
        consumers.push(consumer);
    }
    let again = |consumers: &[Connection]| -> Vec<usize> {
        let frames = |consumer: &Connection| consumer.socket.frames().len();
        consumers.iter().map(frames).collect()
    };
    engine.clock.advance(100);
    while engine.tick() {}
    assert_eq!(again(&consumers), [3, 3]);
    engine.clock.advance(400);
    while engine.tick() {}
    assert_eq!(again(&consumers), [4, 4]);
}

#[test]
fn a_purge_takes_what_consumers_hold_too() {
    // ADM-22
    let engine = engine();
    let cell = send(&engine, "q", 1..=1000);
    let mut consumer = Connection::new(&engine, &cell, AckMode::Individual, 10);
    consumer.start();
    assert_eq!(engine.purge(&cell).unwrap().done, 1000);
    assert_eq!(queue_len(&cell), 0);
    assert_eq!(cell.lock().machine.held_bytes(), 0);
    assert!(acknowledge(&mut consumer, 1, Ack::Consumed), "ignored");
    assert!(acknowledge(&mut consumer, 2, Ack::Failed), "ignored");
    consumer.send(vec![message(1, 1001, 10, false)]);
    consumer.end(Ending::Died);
    assert_eq!(serials(&engine, "q"), [1001]);
}

#[test]
fn messages_are_moved_and_removed_in_order_and_stay_so() {
    // ADM-23
    let directory = tempfile::tempdir().unwrap();
    let moved = (301..=600).chain(1..=300);
    {
        let engine = stored(directory.path());
        send(&engine, "to", 301..=600);
        let from = send(&engine, "from", 1..=400);
        let to = Destination::queue("to");
        let all = &mut |_: &Message, _: &_| true;
        assert_eq!(
            engine.move_messages(&from, &to, 300, all).unwrap().done,
            300
        );
        let odd = &mut |message: &Message, _: &_| message.id.serial % 2 == 1;
        assert_eq!(
            engine.remove_messages(&from, u64::MAX, odd).unwrap().done,
            50
        );
        assert_eq!(serials(&engine, "from").len(), 50);
        let topic = Destination::topic("t");
        assert!(engine.move_messages(&from, &topic, 1, all).is_err());
        engine.close();
    }
    let engine = stored(directory.path());
    assert!(serials(&engine, "to").into_iter().eq(moved));
    let even = (302..=400).step_by(2);
    assert!(serials(&engine, "from").into_iter().eq(even));
    engine.close();
}

#[test]
fn a_retried_dead_letter_is_as_if_it_had_never_failed() {
    // DLQ-6
    let directory = tempfile::tempdir().unwrap();
    let engine = stored(directory.path());
    let cell = send(&engine, "q", 1..=2);
    let mut consumer = Connection::new(&engine, &cell, AckMode::Individual, 10);
    consumer.start();
    assert!(acknowledge(&mut consumer, 1, Ack::Refused));
    assert!(acknowledge(&mut consumer, 2, Ack::Refused));
    let dlq = send(&engine, "ActiveMQ.DLQ", 3..=3);
    assert_eq!(serials(&engine, "ActiveMQ.DLQ"), [1, 2, 3]);
    assert!(engine.retry(&cell.destination, 1, |_| true).is_err());
    let retried = engine.retry(&dlq.destination, u64::MAX, |_| true).unwrap();
    assert_eq!((retried.done, retried.stuck), (2, 1));
    assert_eq!(
        serials(&engine, "ActiveMQ.DLQ"),
        [3],
        "it never failed anywhere"
    );
    let frames = consumer.socket.frames();
    let again: Vec<_> = frames[2..]
        .iter()
        .map(|frame| (frame.serial, frame.redelivered))
        .collect();
    assert_eq!(again, [(1, false), (2, false)]);
    engine.close();
}

#[test]
fn a_counter_goes_with_a_message_that_is_moved() {
    let directory = tempfile::tempdir().unwrap();
    let failures = |engine: &Arc<Engine>| {
        let cell = queue(engine, "to");
        let mut state = cell.lock();
        let listed = state.queue().unwrap().messages(None, 9);
        let counts = listed.iter().map(|it| it.entry.redeliveries);
        counts.collect::<Vec<_>>()
    };
    {
        let engine = stored(directory.path());
        let cell = send(&engine, "from", 1..=2);
        let mut consumer = Connection::new(&engine, &cell, AckMode::Individual, 1);
        consumer.start();
        assert!(acknowledge(&mut consumer, 1, Ack::Failed));
        consumer.end(Ending::Orderly);
        let to = Destination::queue("to");
        let all = &mut |_: &Message, _: &_| true;
        let moved = engine.move_messages(&cell, &to, 9, all).unwrap();
        assert_eq!(moved.done, 2);
        assert!(moved.ticket.is_some());
        assert_eq!(failures(&engine), [1, 0]);
        engine.close();
    }
    let engine = stored(directory.path());
    assert_eq!(failures(&engine), [1, 0]);
    engine.close();
}

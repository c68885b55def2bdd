//! Queues that stand still: paused ones, over restarts too; those that a fault holds up; and why.

use super::*;
use crate::broker::advisory::{ConnectionFacts, ConsumerFacts};
use crate::broker::thin::OneOrMore;
use crate::broker::{Ack, Which};
use crate::engine::manage::ManageError;
use crate::engine::pausing::Pause;
use crate::engine::why::{Cause, Question, Who, WhyError};

fn stalls(cell: &Cell) -> u32 {
    cell.lock().queue().unwrap().stats.stalls
}

/// Lets time pass as the timer does.
fn pass(engine: &Arc<Engine>, ms: u64) {
    for _ in 0..ms / 100 {
        engine.clock.advance(100);
        while engine.tick() {}
    }
}

fn introduce(connection: &Connection, client_id: &str) -> String {
    let facts = Arc::new(ConsumerFacts {
        connection: Arc::new(ConnectionFacts {
            id: format!("ID:{client_id}"),
            client_id: client_id.to_owned(),
            client_ip: "tcp://192.0.2.1:5".to_owned(),
            user: "anna".to_owned(),
        }),
        session: -1,
        number: 1,
        destinations: OneOrMore::One(connection.cell.destination.clone()),
        prefetch: 1,
        more: None,
        no_local: false,
        exclusive: false,
        browser: false,
        priority: 0,
        retroactive: false,
        pending_max: 0,
    });
    connection.cell.lock().introduce(connection.key, &facts);
    facts.id()
}

#[test]
fn a_consumer_that_the_queue_has_forgotten_is_found_counted_and_called_again() {
    let engine = engine();
    let cell = queue(&engine, "q");
    let mut connection = Connection::new(&engine, &cell, AckMode::Individual, 10);
    connection.start();
    engine.pause(&cell, "anna").unwrap();
    connection.send(
        (1..=3)
            .map(|serial| message(1, serial, 10, false))
            .collect(),
    );
    // The fault: nobody knows any more that there is a consumer with credit.
    cell.lock().queue().unwrap().forget_who_waits();
    engine.resume(&cell, "anna").unwrap();
    assert_eq!(cell.lock().queue().unwrap().in_flight(), 0);
    pass(&engine, 4900);
    assert_eq!(stalls(&cell), 0, "it may still be under way");
    pass(&engine, 5000);
    assert_eq!(stalls(&cell), 1);
    assert_eq!(cell.lock().queue().unwrap().in_flight(), 3);
    pass(&engine, 60_000);
    assert_eq!(stalls(&cell), 1);
}

#[test]
fn a_read_from_disk_that_nobody_answers_is_found() {
    let directory = tempfile::tempdir().unwrap();
    {
        let engine = stored(directory.path());
        let mut connection =
            Connection::new(&engine, &queue(&engine, "q"), AckMode::Individual, 10);
        connection.send((1..=3).map(|serial| message(1, serial, 10, true)).collect());
        engine.close();
    }
    let engine = stored(directory.path());
    let cell = queue(&engine, "q");
    let connection = Connection::new(&engine, &cell, AckMode::Individual, 10);
    let (mut work, key) = (Work::default(), connection.key);
    cell.step(&mut work, Journaled::default(), |machine, out| {
        State::start(machine, 1000, key, out);
    });
    // The fault: what was asked back is never read.
    assert!(!work.fetches.is_empty());
    work.fetches.clear();
    engine.run(&mut work);
    pass(&engine, 9000);
    assert_eq!(stalls(&cell), 1);
    let why = engine.why(&cell.destination, Question::default()).unwrap();
    assert_eq!(why[0].code, "reading-back");
    engine.close();
}

#[test]
fn what_is_where_it_belongs_is_no_stall() {
    let engine = engine();
    let full = queue(&engine, "full");
    let mut connection = Connection::new(&engine, &full, AckMode::Individual, 1);
    connection.start();
    connection.send(
        (1..=3)
            .map(|serial| message(1, serial, 10, false))
            .collect(),
    );
    let paused = queue(&engine, "paused");
    let mut waiting = Connection::new(&engine, &paused, AckMode::Individual, 1);
    waiting.start();
    engine.pause(&paused, "anna").unwrap();
    waiting.send(vec![message(1, 4, 10, false)]);
    let delayed = queue(&engine, "delayed");
    let mut failing = Connection::new(&engine, &delayed, AckMode::Individual, 2);
    failing.start();
    failing.send(vec![message(1, 5, 10, false)]);
    let key = failing.key;
    delayed.step(&mut failing.work, Journaled::default(), |machine, out| {
        let Machine::Queue(queue) = machine else {
            unreachable!("it is a queue")
        };
        let ack = Ack::FailedFor(50_000);
        assert!(queue.acknowledge(1000, key, Which::Number(1), ack, out));
    });
    pass(&engine, 40_000);
    for cell in [&full, &paused, &delayed] {
        assert_eq!(stalls(cell), 0, "{}", cell.destination);
    }
}

#[test]
fn a_pause_is_kept_over_restarts_with_who_and_since_when() {
    let directory = tempfile::tempdir().unwrap();
    let pause = Pause {
        by: "anna of ops".to_owned(),
        since_ms: 1000,
    };
    {
        let engine = stored(directory.path());
        let cell = queue(&engine, "q");
        engine.pause(&cell, &pause.by).unwrap();
        assert_eq!(engine.pause(&cell, "somebody else").unwrap(), None);
        // One that is not paused any more is not after a restart either.
        let other = queue(&engine, "other");
        engine.pause(&other, "anna").unwrap();
        engine.resume(&other, "anna").unwrap();
        let topic = engine.registry.get_or_create(&Destination::topic("t"));
        let refused = engine.pause(&topic, "anna");
        assert!(matches!(refused, Err(ManageError::NotAQueue(_))));
        engine.close();
    }
    for _ in 0..2 {
        let engine = stored(directory.path());
        let cell = queue(&engine, "q");
        assert_eq!(cell.paused().as_ref(), Some(&pause));
        assert_eq!(queue(&engine, "other").paused(), None);
        let mut connection = Connection::new(&engine, &cell, AckMode::Individual, 10);
        connection.start();
        connection.send(vec![message(1, 1, 10, false)]);
        assert_eq!(cell.lock().queue().unwrap().in_flight(), 0);
        engine.clock.advance(60_000);
        let why = engine.why(&cell.destination, Question::default()).unwrap();
        let expected = Cause {
            code: "paused",
            text: "/queue/q has been paused by anna of ops, for 1m now".to_owned(),
            since_ms: Some(1000),
            ..Cause::default()
        };
        assert_eq!(why, [expected]);
        engine.close();
    }
    let engine = stored(directory.path());
    let cell = queue(&engine, "q");
    let mut connection = Connection::new(&engine, &cell, AckMode::Individual, 10);
    connection.start();
    connection.send(vec![message(1, 1, 10, false)]);
    engine.resume(&cell, "anna").unwrap();
    assert_eq!(cell.lock().queue().unwrap().in_flight(), 1);
    engine.close();
}

#[test]
fn an_answer_names_who_and_since_when_and_can_be_written_as_data() {
    let engine = engine();
    let cell = queue(&engine, "q");
    let mut connection = Connection::new(&engine, &cell, AckMode::Individual, 1);
    let id = introduce(&connection, "worker");
    connection.start();
    connection.send(
        (1..=2)
            .map(|serial| message(1, serial, 10, false))
            .collect(),
    );
    engine.clock.advance(90_000);
    let of = &cell.destination;
    let why = engine.why(of, Question::default()).unwrap();
    let text = format!(
        "consumer {id} of client worker, user anna, from tcp://192.0.2.1:5 holds 1 messages of 1 without acknowledging, \
         for 1m 30s now"
    );
    let who = Who {
        id: id.clone(),
        connection: "ID:worker".to_owned(),
        client_id: "worker".to_owned(),
        user: "anna".to_owned(),
        address: "tcp://192.0.2.1:5".to_owned(),
        selector: None,
    };
    let full = Cause {
        code: "window-full",
        text,
        consumer: Some(who),
        since_ms: Some(1000),
        until_ms: None,
    };
    assert_eq!(why, std::slice::from_ref(&full));
    let data = serde_json::to_value(&why[0]).unwrap();
    assert_eq!(data["code"], "window-full");
    assert_eq!(data["consumer"]["client_id"], "worker");
    let of_consumer = Question {
        consumer: Some(&id),
        ..Question::default()
    };
    let found = engine.why(of, of_consumer).unwrap();
    assert_eq!(found, std::slice::from_ref(&full));
    let of_message = |serial| Question {
        message: Some(MessageId { origin: 1, serial }),
        ..Question::default()
    };
    assert_eq!(engine.why(of, of_message(1)).unwrap()[0].code, "in-flight");
    assert_eq!(engine.why(of, of_message(2)).unwrap(), [full]);
    assert_eq!(engine.why(of, of_message(3)).unwrap()[0].code, "gone");
    let nobody = Question {
        consumer: Some("nobody"),
        ..Question::default()
    };
    assert!(matches!(
        engine.why(of, nobody),
        Err(WhyError::UnknownConsumer(..))
    ));
    let other = Destination::queue("other");
    assert_eq!(
        engine.why(&other, Question::default()),
        Err(WhyError::Unknown(other.clone()))
    );
    queue(&engine, "other");
    assert_eq!(
        engine.why(&other, Question::default()).unwrap()[0].code,
        "empty"
    );
}

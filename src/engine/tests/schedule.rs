//! Scheduled messages with a clock of their own: nothing is early, late, lost or twice, whenever the broker restarts.

use super::*;
use crate::broker::scheduler::Schedule;
use crate::engine::job_records::cron_rule;
use crate::engine::records;
use crate::engine::schedule::NewJob;

const HOUR: u64 = 3_600_000;

/// An engine on the journal in `directory`, at this time.
fn stored_at(directory: &Path, wall_ms: u64) -> Arc<Engine> {
    let durability = Arc::new(Durability::default());
    let opened = open(directory, &durability);
    let clock = Clock::manual(wall_ms);
    Engine::build(settings(), clock, durability, Some(opened)).unwrap()
}

fn numbers(delay_ms: i64, period_ms: i64, repeat: i64) -> Schedule {
    Schedule::from_numbers(delay_ms, period_ms, repeat).unwrap()
}

fn job(
    engine: &Engine,
    cell: &Arc<Cell>,
    serial: u64,
    persistent: bool,
    schedule: Schedule,
) -> NewJob {
    let mut message = Message::clone(&message(1, serial, 10, persistent));
    message.timestamp_ms = engine.clock.wall_ms();
    NewJob::new(Arc::clone(cell), engine.reserve_job(), message, schedule)
}

fn schedule(engine: &Engine, cell: &Arc<Cell>, serial: u64, persistent: bool, schedule: Schedule) {
    let job = job(engine, cell, serial, persistent, schedule);
    engine.schedule(job, &mut Work::default()).unwrap();
}

fn fire(engine: &Arc<Engine>) {
    engine.fire_due(&mut Work::default());
}

/// Fires at this time and says how many messages the queue holds then.
#[track_caller]
fn check_at(engine: &Arc<Engine>, cell: &Cell, wall_ms: u64, expected: usize) {
    engine.clock.advance(wall_ms - engine.clock.wall_ms());
    fire(engine);
    assert_eq!(queue_len(cell), expected, "at {wall_ms}");
}

/// Live records, once everything is synced.
fn live(engine: &Engine) -> u64 {
    let store = engine.store.as_ref().unwrap();
    let ((), ticket) = store.append(|_| ()).unwrap();
    store.wait(ticket).unwrap();
    store.usage().unwrap().live_references
}

/// Spec: behaviour SCH-8.
#[test]
fn a_start_knows_whose_a_job_is() {
    let directory = tempfile::tempdir().unwrap();
    let engine = stored_at(directory.path(), HOUR);
    let cell = queue(&engine, "q");
    for (serial, owner) in [(1, "u"), (2, ""), (3, "v"), (4, "u")] {
        let job = job(&engine, &cell, serial, true, numbers(1000, 0, 0)).of(owner);
        engine.schedule(job, &mut Work::default()).unwrap();
    }
    let bytes = engine.scheduling.bytes();
    engine.close();
    drop((engine, cell));
    let engine = stored_at(directory.path(), HOUR);
    assert_eq!(
        (engine.scheduling.len(), engine.scheduling.bytes()),
        (4, bytes)
    );
    let of = |user: &'static str| {
        move |destination: &Destination, owner: &str| {
            assert_eq!(*destination, Destination::queue("q"));
            owner == user
        }
    };
    let mut work = Work::default();
    assert!(engine.remove_job(1, &of("v"), &mut work).is_err());
    assert_eq!(engine.remove_job(1, &of("u"), &mut work), Ok(true));
    assert_eq!(
        engine.remove_job(1, &of("v"), &mut work),
        Ok(false),
        "it is gone"
    );
    engine.remove_jobs(&(0..=u64::MAX), &of("v"), &mut work);
    assert_eq!(engine.scheduling.len(), 2);
    let cell = queue(&engine, "q");
    check_at(&engine, &cell, HOUR + 1000, 2);
    assert_eq!(engine.scheduling.bytes(), 0);
    engine.close();
    drop((engine, cell));
    let engine = stored_at(directory.path(), 2 * HOUR);
    assert!(engine.scheduling.is_empty());
    assert_eq!(queue_len(&queue(&engine, "q")), 2);
}

#[test]
fn nothing_is_early_and_nothing_late() {
    let directory = tempfile::tempdir().unwrap();
    for engine in [engine(), stored_at(directory.path(), 1000)] {
        let cell = queue(&engine, "q");
        for (serial, delay_ms) in [(1, 500), (2, 100), (3, 100), (4, 0)] {
            schedule(&engine, &cell, serial, true, numbers(delay_ms, 0, 0));
        }
        schedule(&engine, &cell, 5, false, numbers(200, 300, 1));
        check_at(&engine, &cell, 1000, 1);
        check_at(&engine, &cell, 1099, 1);
        check_at(&engine, &cell, 1100, 3);
        check_at(&engine, &cell, 1200, 4);
        check_at(&engine, &cell, 1499, 4);
        check_at(&engine, &cell, 1500, 6);
        assert!(engine.scheduling.is_empty());
        engine.close();
    }
}

/// The order is that of the due times, and of scheduling where they are equal; one that comes again gets a new id.
#[test]
fn deliveries_are_in_order_and_repeated_ones_have_ids_of_their_own() {
    let directory = tempfile::tempdir().unwrap();
    let engine = stored_at(directory.path(), 1000);
    let cell = queue(&engine, "q");
    let mut consumer = Connection::new(&engine, &cell, AckMode::Auto, 100);
    consumer.start();
    for (serial, delay_ms) in [(1, 20), (2, 10), (3, 10)] {
        schedule(&engine, &cell, serial, true, numbers(delay_ms, 0, 0));
    }
    schedule(&engine, &cell, 9, true, numbers(30, 10, 2));
    engine.clock.advance(1000);
    fire(&engine);
    consumer.pump();
    let frames = consumer.socket.frames();
    let single: Vec<u64> = frames[..3].iter().map(|frame| frame.serial).collect();
    assert_eq!(single, [2, 3, 1]);
    let again: Vec<_> = frames[3..]
        .iter()
        .map(|frame| (frame.origin, frame.serial))
        .collect();
    assert_eq!(again.len(), 3, "{frames:?}");
    assert!(again.iter().all(|(origin, _)| *origin != 1));
    assert!(again[0] != again[1] && again[1] != again[2] && again[0] != again[2]);
    assert_eq!(live(&engine), 0);
}

/// SCH-7: jobs survive, those due meanwhile fire at start, what was fired does not fire again.
#[test]
fn a_restart_at_any_time_delivers_each_once() {
    for restart_ms in [1000, 1100, 1150, 1300, 1700, 5000] {
        for clean in [true, false] {
            let directory = tempfile::tempdir().unwrap();
            let engine = stored_at(directory.path(), 1000);
            let cell = queue(&engine, "q");
            schedule(&engine, &cell, 1, true, numbers(100, 0, 0));
            schedule(&engine, &cell, 2, true, numbers(200, 200, 2));
            let mut keyed = numbers(300, 0, 0);
            keyed.key = Some("k".into());
            schedule(&engine, &cell, 3, true, keyed.clone());
            schedule(&engine, &cell, 4, true, keyed);
            engine.clock.advance(restart_ms.min(1700) - 1000);
            fire(&engine);
            if clean {
                engine.close();
            }
            drop((cell, engine));
            let engine = stored_at(directory.path(), restart_ms);
            let cell = queue(&engine, "q");
            fire(&engine);
            engine.clock.advance(10_000);
            fire(&engine);
            assert_eq!(
                queue_len(&cell),
                5,
                "restart at {restart_ms}, clean {clean}"
            );
            assert!(engine.scheduling.is_empty());
            assert_eq!(live(&engine), 5);
            engine.close();
        }
    }
}

/// SCH-7: not persistent ones are kept as well until they are delivered; SCH-4: only then their life begins.
#[test]
fn what_is_not_persistent_is_kept_until_it_is_due() {
    let directory = tempfile::tempdir().unwrap();
    let engine = stored_at(directory.path(), 1000);
    let cell = queue(&engine, "q");
    let mut job = job(&engine, &cell, 7, false, numbers(60_000, 0, 0));
    job.message.expires_ms = 1500;
    job.message.priority = 8;
    engine.schedule(job, &mut Work::default()).unwrap();
    drop((cell, engine));
    let engine = stored_at(directory.path(), 50_000);
    let cell = queue(&engine, "q");
    check_at(&engine, &cell, 60_999, 0);
    check_at(&engine, &cell, 61_000, 1);
    let mut state = cell.lock();
    let (_, entry) = state.queue().unwrap().entries().next().unwrap();
    let found = entry.message.clone().unwrap();
    drop(state);
    let id = (found.id.origin, found.id.serial, found.priority);
    assert_eq!((id, found.is_persistent()), ((1, 7, 8), false));
    assert_eq!((found.timestamp_ms, found.expires_ms), (61_000, 61_500));
    assert_eq!(live(&engine), 0);
}

/// A fired message keeps what it was given at its delivery over a restart, and over a move to the dead letters.
#[test]
fn the_identity_of_a_delivery_survives() {
    let directory = tempfile::tempdir().unwrap();
    let engine = stored_at(directory.path(), 1000);
    let cell = queue(&engine, "q");
    let mut twice = job(&engine, &cell, 1, true, numbers(0, 10, 1));
    // Every flag a message may have.
    twice.message.flags = MessageFlags(0x7f);
    engine.schedule(twice, &mut Work::default()).unwrap();
    engine.clock.advance(500);
    fire(&engine);
    let read = |engine: &Engine, cell: &Cell| -> Vec<(MessageId, u64)> {
        let mut state = cell.lock();
        let places: Vec<_> = state
            .queue()
            .unwrap()
            .entries()
            .filter_map(|(_, entry)| entry.at)
            .collect();
        drop(state);
        live(engine);
        let store = engine.store.as_ref().unwrap();
        let read = |at| records::message(store.read(records::to_store(at)).unwrap().unwrap());
        let facts = |found: Arc<Message>| {
            assert_eq!(
                (found.flags, found.size()),
                (MessageFlags(0x7f), 10),
                "{found:?}"
            );
            (found.id, found.timestamp_ms)
        };
        places.into_iter().map(read).map(facts).collect()
    };
    let before = read(&engine, &cell);
    assert_eq!(before.len(), 2);
    assert!(
        before[0].0 != before[1].0 && before.iter().all(|(id, at)| id.origin != 1 && *at == 1500)
    );
    // One of them fails often enough to be dead.
    let mut consumer = Connection::new(&engine, &cell, AckMode::Individual, 2);
    consumer.start();
    for _ in 0..7 {
        let (key, now_ms) = (consumer.key, engine.clock.wall_ms());
        let which = crate::broker::Which::Message(before[0].0);
        let held = cell.step(
            &mut consumer.work,
            Journaled::default(),
            |machine, out| match machine {
                Machine::Queue(queue) => {
                    queue.acknowledge(now_ms, key, which, crate::broker::Ack::Failed, out)
                }
                Machine::Topic(_) => false,
            },
        );
        assert!(held, "it came again");
        engine.run(&mut consumer.work);
        engine.clock.advance(HOUR);
        while engine.tick() {}
    }
    consumer.end(Ending::Orderly);
    assert_eq!(read(&engine, &queue(&engine, "ActiveMQ.DLQ")), before[..1]);
    engine.close();
    drop((cell, engine));
    let engine = stored_at(directory.path(), 9 * HOUR);
    assert_eq!(read(&engine, &queue(&engine, "q")), before[1..]);
    assert_eq!(read(&engine, &queue(&engine, "ActiveMQ.DLQ")), before[..1]);
}

/// SCH-7: what cron missed while the broker was down comes once, and then it goes on.
#[test]
fn cron_fires_once_for_what_it_missed() {
    let directory = tempfile::tempdir().unwrap();
    let hourly = || numbers(0, 0, 0).by_cron(cron_rule("0 * * * *", "UTC").unwrap());
    let engine = stored_at(directory.path(), 1000);
    let cell = queue(&engine, "q");
    schedule(&engine, &cell, 1, true, hourly());
    check_at(&engine, &cell, HOUR - 1, 0);
    check_at(&engine, &cell, HOUR, 1);
    drop((cell, engine));
    let engine = stored_at(directory.path(), 10 * HOUR + 5);
    let cell = queue(&engine, "q");
    check_at(&engine, &cell, 10 * HOUR + 5, 2);
    check_at(&engine, &cell, 11 * HOUR - 1, 2);
    check_at(&engine, &cell, 11 * HOUR, 3);
    assert_eq!(engine.scheduling.len(), 1);
    engine.remove_jobs(&(0..=u64::MAX), &|_, _| true, &mut Work::default());
    assert_eq!(live(&engine), 3);
}

/// SCH-3: each instant starts a series, which is a job of its own.
#[test]
fn a_series_at_each_instant_survives_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let engine = stored_at(directory.path(), 1000);
    let cell = queue(&engine, "q");
    let hourly = numbers(100, 50, 1).by_cron(cron_rule("0 * * * *", "UTC").unwrap());
    schedule(&engine, &cell, 1, true, hourly);
    check_at(&engine, &cell, HOUR, 0);
    assert_eq!(engine.scheduling.len(), 2);
    check_at(&engine, &cell, HOUR + 100, 1);
    drop((cell, engine));
    let engine = stored_at(directory.path(), HOUR + 120);
    let cell = queue(&engine, "q");
    check_at(&engine, &cell, HOUR + 149, 1);
    check_at(&engine, &cell, HOUR + 150, 2);
    check_at(&engine, &cell, 2 * HOUR + 150, 4);
    assert_eq!(engine.scheduling.len(), 1);
}

/// SCH-9, also over a restart: of two jobs with one key the later one is left.
#[test]
fn a_key_replaces_and_cancels() {
    let directory = tempfile::tempdir().unwrap();
    let engine = stored_at(directory.path(), 1000);
    let cell = queue(&engine, "q");
    let keyed = |delay_ms| Schedule {
        key: Some("k".into()),
        ..numbers(delay_ms, 0, 0)
    };
    for serial in 1..=3 {
        schedule(&engine, &cell, serial, true, keyed(100));
    }
    assert_eq!((engine.scheduling.len(), live(&engine)), (1, 1));
    drop((cell, engine));
    let engine = stored_at(directory.path(), 1000);
    let cell = queue(&engine, "q");
    assert_eq!(engine.scheduling.len(), 1);
    schedule(&engine, &cell, 4, true, keyed(200));
    check_at(&engine, &cell, 1150, 0);
    assert!(engine.remove_job_by_key(&cell, "k", &mut Work::default()));
    assert!(!engine.remove_job_by_key(&cell, "k", &mut Work::default()));
    check_at(&engine, &cell, 9000, 0);
    assert_eq!(live(&engine), 0);
}

/// SCH-6: jobs of a transaction come with its commit, their time counts from there, and none comes without it.
#[test]
fn a_transaction_schedules_at_commit() {
    let directory = tempfile::tempdir().unwrap();
    for engine in [engine(), stored_at(directory.path(), 1000)] {
        let cell = queue(&engine, "q");
        let transaction = |serials: [u64; 2]| crate::engine::commit::Transaction {
            jobs: serials
                .map(|serial| job(&engine, &cell, serial, true, numbers(100, 0, 0)))
                .into(),
            ..Default::default()
        };
        let (aborted, committed) = (transaction([1, 2]), transaction([3, 4]));
        engine.clock.advance(1000);
        engine.abort(aborted, &mut Work::default());
        assert!(engine.commit(committed, &mut Work::default()).is_ok());
        check_at(&engine, &cell, 2099, 0);
        check_at(&engine, &cell, 2100, 2);
        engine.close();
    }
}

/// Bodies of a million delayed messages would not fit: none stays in memory while it waits.
#[test]
fn what_waits_is_not_in_memory() {
    let directory = tempfile::tempdir().unwrap();
    let engine = stored_at(directory.path(), 1000);
    let cell = queue(&engine, "q");
    for serial in 0..1000 {
        schedule(&engine, &cell, serial, serial % 2 == 0, numbers(1000, 0, 0));
    }
    assert_eq!(engine.memory.used_bytes(), 0);
    check_at(&engine, &cell, 2000, 1000);
    assert!(engine.memory.used_bytes() > 0);
    // Without a store they are, and are charged.
    let engine = super::engine();
    let cell = queue(&engine, "q");
    schedule(&engine, &cell, 1, true, numbers(1000, 0, 0));
    assert!(engine.memory.used_bytes() > 0);
    engine.remove_jobs(&(0..=u64::MAX), &|_, _| true, &mut Work::default());
    assert_eq!(engine.memory.used_bytes(), 0);
}

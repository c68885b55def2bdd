//! Several producers and consumers on one queue, each on a thread of its own.
//!
//! A consumer's thread waits only for what the engine promises to tell it, so a lost wake-up is a test that
//! ends at its deadline.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use super::*;

const PRODUCERS: u64 = 3;
const EACH: u64 = 2000;
const DEADLINE: Duration = Duration::from_secs(60);

/// Frames that have arrived anywhere.
#[derive(Default)]
struct Arrived {
    count: AtomicUsize,
    outboxes: Mutex<Vec<Arc<Outbox>>>,
}

impl Arrived {
    fn add(&self, count: usize) {
        if self.count.fetch_add(count, Ordering::SeqCst) + count >= total() {
            for outbox in self.outboxes.lock().unwrap().iter() {
                outbox.kick();
            }
        }
    }

    fn all(&self) -> bool {
        self.count.load(Ordering::SeqCst) >= total()
    }
}

fn total() -> usize {
    usize::try_from(PRODUCERS * EACH).unwrap()
}

fn produce(engine: &Arc<Engine>, cell: &Arc<Cell>, origin: u64, persistent: bool) {
    let (mut random, mut work, mut serial) = (origin, Work::default(), 0);
    while serial < EACH {
        let count = (next_random(&mut random) % 40 + 1).min(EACH - serial);
        let batch = serial + 1..=serial + count;
        let size = usize::try_from(next_random(&mut random) % 120).unwrap();
        let mut messages: Vec<_> = batch
            .map(|serial| message(origin, serial, size, persistent))
            .collect();
        cell.send(1000, &mut messages, &mut work).unwrap();
        engine.run(&mut work);
        serial += count;
    }
}

/// What a connection's task does: goes on when told, or when the socket takes more.
fn consume(connection: &mut Connection, arrived: &Arrived) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    let mut seen = 0;
    connection.start();
    loop {
        connection.pump();
        let now = connection.socket.frames().len();
        arrived.add(now - seen);
        seen = now;
        if arrived.all() || connection.outbox.is_closed() {
            return;
        }
        if !connection.outbox.wants_writable() {
            let kicked = connection.outbox.kicked();
            let told = runtime.block_on(async { tokio::time::timeout(DEADLINE, kicked).await });
            assert!(told.is_ok(), "nobody told a consumer to go on");
        }
    }
}

/// Each consumer hears of each producer in order.
fn in_order(frames: &[Frame]) {
    let mut last: HashMap<u64, u64> = HashMap::new();
    for frame in frames {
        let before = last.insert(frame.origin, frame.serial);
        assert!(
            before.is_none_or(|before| before < frame.serial),
            "{before:?} before {frame:?}"
        );
    }
}

/// Frames of healthy connections go out when somebody else flushes, so arrivals are counted again at the end.
fn arrivals(sockets: &[Fake]) -> Vec<Vec<Frame>> {
    sockets.iter().map(Fake::frames).collect()
}

#[test]
fn nothing_is_lost_or_doubled_or_overtaken() {
    let engine = engine();
    let cell = queue(&engine, "q");
    let arrived = Arrived::default();
    let mut connections: Vec<_> = (1..=2)
        .map(|seed| {
            let connection = Connection::new(&engine, &cell, AckMode::Auto, 1);
            connection.socket.0.lock().unwrap().random = seed;
            connection
        })
        .collect();
    let outboxes = connections.iter().map(|c| Arc::clone(&c.outbox));
    *arrived.outboxes.lock().unwrap() = outboxes.collect();
    let sockets: Vec<Fake> = connections.iter().map(|c| c.socket.clone()).collect();
    thread::scope(|scope| {
        for connection in &mut connections {
            scope.spawn(|| consume(connection, &arrived));
        }
        for origin in 1..=PRODUCERS {
            let (engine, cell) = (&engine, &cell);
            scope.spawn(move || produce(engine, cell, origin, false));
        }
    });
    let mut seen = HashSet::new();
    for frames in arrivals(&sockets) {
        in_order(&frames);
        for frame in frames {
            assert!(!frame.redelivered);
            assert!(seen.insert((frame.origin, frame.serial)), "{frame:?} twice");
        }
    }
    assert_eq!(seen.len(), total());
    assert_eq!(queue_len(&cell), 0);
    for connection in connections {
        connection.end(Ending::Orderly);
    }
    assert_eq!(engine.memory.used_bytes(), 0);
}

#[test]
fn what_broken_connections_held_reaches_others() {
    let engine = engine();
    let cell = queue(&engine, "q");
    let mut frames = Vec::new();
    thread::scope(|scope| {
        for origin in 1..=PRODUCERS {
            let (engine, cell) = (&engine, &cell);
            scope.spawn(move || produce(engine, cell, origin, false));
        }
        // Each connection takes some writes and breaks; others deliver into it meanwhile.
        let mut random = 7;
        for _ in 0..30 {
            let mut connection = Connection::new(&engine, &cell, AckMode::Auto, 1);
            let mut plan: Vec<_> = (0..next_random(&mut random) % 20)
                .map(|_| Does::Takes(usize::try_from(next_random(&mut random) % 3000 + 1).unwrap()))
                .collect();
            plan.push(Does::Breaks);
            connection.socket.plan(&plan);
            let socket = connection.socket.clone();
            connection.start();
            for _ in 0..50 {
                connection.pump();
                thread::yield_now();
            }
            connection.end(Ending::Died);
            frames.extend(socket.frames());
        }
    });
    let mut last = Connection::new(&engine, &cell, AckMode::Auto, 1);
    last.start();
    while queue_len(&cell) > 0 {
        last.pump();
    }
    let rest = last.socket.frames();
    in_order(&rest);
    frames.extend(rest);
    let mut seen = HashSet::new();
    for frame in frames {
        // What left in the moment its connection broke may come again, but it says so.
        let fresh = seen.insert((frame.origin, frame.serial));
        assert!(fresh || frame.redelivered, "{frame:?} twice");
    }
    assert_eq!(seen.len(), total());
    last.end(Ending::Orderly);
    assert_eq!(engine.memory.used_bytes(), 0);
}

#[test]
fn journal_order_is_queue_order() {
    let directory = tempfile::tempdir().unwrap();
    let engine = stored(directory.path());
    let cell = queue(&engine, "q");
    let mut connection = Connection::new(&engine, &cell, AckMode::Individual, 100);
    thread::scope(|scope| {
        for origin in 1..=PRODUCERS {
            let (engine, cell) = (&engine, &cell);
            scope.spawn(move || produce(engine, cell, origin, true));
        }
    });
    // Every other one of the first hundred is consumed.
    connection.start();
    for number in (1..=100).step_by(2) {
        let (key, which) = (connection.key, crate::broker::Which::Number(number));
        let known = cell.step(
            &mut connection.work,
            Journaled::default(),
            |machine, out| {
                let Machine::Queue(queue) = machine else {
                    unreachable!("it is a queue")
                };
                queue.acknowledge(1000, key, which, crate::broker::Ack::Consumed, out)
            },
        );
        assert!(known);
    }
    let delivered = connection.socket.frames();
    connection.end(Ending::Orderly);
    engine.close();
    drop((cell, engine));
    let opened = open(directory.path(), &Arc::new(Durability::default()));
    let queue = &opened.recovered.destinations[0];
    assert_eq!(queue.entries.len(), total() - 50);
    assert!(
        queue
            .entries
            .is_sorted_by(|a, b| a.sequence < b.sequence && a.at < b.at)
    );
    let mut last: BTreeMap<u64, u64> = BTreeMap::new();
    for entry in &queue.entries {
        let stored = opened.store.read(entry.at).unwrap().unwrap();
        let before = last.insert(stored.origin, stored.serial);
        assert!(before.is_none_or(|before| before < stored.serial));
    }
    let first = opened.store.read(queue.entries[0].at).unwrap().unwrap();
    assert_eq!(
        (first.origin, first.serial),
        (delivered[1].origin, delivered[1].serial)
    );
}

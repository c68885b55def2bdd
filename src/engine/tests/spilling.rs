//! Messages in temporary storage: all that can happen to one happens, and its place is free afterwards.

use std::ops::RangeInclusive;

use ferrymq_store::io::RealDisk;
use ferrymq_store::{Temp, TempConfig};
use tempfile::TempDir;

use super::*;
use crate::broker::queue::GroupMark;
use crate::broker::{Ack, GroupReader, Which};

const SIZE: usize = 1000;

/// An engine that spills what goes beyond 64 KiB; its directory goes with it.
struct Spilled {
    engine: Arc<Engine>,
    directory: TempDir,
}

impl Spilled {
    fn new(stored: bool) -> Self {
        Self::with(stored, 16 << 20)
    }

    fn with(stored: bool, limit_bytes: u64) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let durability = Arc::new(Durability::default());
        let opened = stored.then(|| open(&directory.path().join("data"), &durability));
        let settings = Settings {
            queue_window_bytes: 16 << 10,
            memory_limit_bytes: 1 << 20,
            memory_mark_bytes: 64 << 10,
            group_reader: Some(group_of as GroupReader),
            ..settings()
        };
        let engine = Engine::build(settings, Clock::manual(1000), durability, opened).unwrap();
        let config = TempConfig {
            limit_bytes,
            file_bytes: 1 << 20,
        };
        let disk = Arc::new(RealDisk);
        let temp = Temp::open(disk, &directory.path().join("temp"), config).unwrap();
        engine.spill_to(temp).unwrap();
        Self { engine, directory }
    }

    /// Sends messages with these serials and waits until most of them have left memory.
    fn fill(&self, name: &str, serials: RangeInclusive<u64>) -> Arc<Cell> {
        let cell = queue(&self.engine, name);
        let messages = serials.map(|serial| message(1, serial, SIZE, false));
        self.send(&cell, messages.collect());
        self.until_spilled();
        cell
    }

    fn send(&self, cell: &Arc<Cell>, mut messages: Vec<Arc<Message>>) {
        let mut work = Work::default();
        cell.send(1000, &mut messages, &mut work).unwrap();
        self.engine.run(&mut work);
    }

    fn until_spilled(&self) {
        until("the memory to be relieved", || {
            self.engine.memory.is_relieved()
        });
        assert!(self.engine.temp().unwrap().used_bytes() > 0);
    }

    /// Everything that was written down is free again.
    fn until_free(&self) {
        until("an empty temporary storage", || {
            self.engine.temp().unwrap().used_bytes() == 0
        });
        let files = std::fs::read_dir(self.directory.path().join("temp")).unwrap();
        assert_eq!(files.count(), 0);
    }

    fn consumer(&self, cell: &Arc<Cell>, window: u32) -> Connection {
        let mut consumer = Connection::new(&self.engine, cell, AckMode::Individual, window);
        consumer.start();
        consumer
    }
}

/// The group of a message is the last digit of its serial.
fn group_of(message: &Message) -> Option<GroupMark<'_>> {
    let id = (message.id.serial % 10).to_string().into();
    Some(GroupMark { id, sequence: 0 })
}

#[track_caller]
fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let clock = Clock::system();
    while !is_so() {
        assert!(clock.monotonic_ms() < 60_000, "waited for {what}");
        std::thread::yield_now();
    }
}

/// The serials of the first deliveries, as many as these, each with its mark.
fn delivered(consumer: &mut Connection, count: usize) -> Vec<(u64, bool)> {
    until("deliveries", || {
        consumer.pump();
        consumer.socket.frames().len() >= count
    });
    let frames = consumer.socket.frames().into_iter();
    frames
        .map(|frame| (frame.serial, frame.redelivered))
        .collect()
}

fn acknowledge(consumer: &mut Connection, which: Which, ack: Ack) {
    let (key, now_ms) = (consumer.key, consumer.engine.clock.wall_ms());
    let known =
        consumer.cell.step(
            &mut consumer.work,
            Journaled::default(),
            |machine, out| match machine {
                Machine::Queue(queue) => queue.acknowledge(now_ms, key, which, ack, out),
                Machine::Topic(_) => false,
            },
        );
    assert!(known);
    consumer.engine.run(&mut consumer.work);
}

fn drain(consumer: &mut Connection, serials: impl IntoIterator<Item = u64>) {
    let expected: Vec<_> = serials.into_iter().collect();
    let mut seen = 0;
    while seen < expected.len() {
        let found = delivered(consumer, seen + 1);
        for (serial, _) in &found[seen..] {
            assert_eq!(*serial, expected[seen]);
            seen += 1;
            acknowledge(consumer, Which::Oldest, Ack::Consumed);
        }
    }
    assert_eq!(queue_len(&consumer.cell), 0);
}

#[test]
fn a_spilled_backlog_is_consumed_in_order() {
    for stored in [false, true] {
        let spilled = Spilled::new(stored);
        let cell = spilled.fill("q", 1..=600);
        drain(&mut spilled.consumer(&cell, 7), 1..=600);
        spilled.until_free();
        assert_eq!(spilled.engine.memory.used_bytes(), 0);
    }
}

#[test]
fn a_spilled_message_keeps_its_place_count_and_mark() {
    let spilled = Spilled::new(true);
    let cell = spilled.fill("q", 1..=300);
    let mut consumer = spilled.consumer(&cell, 200);
    assert_eq!(delivered(&mut consumer, 200)[199], (200, false));
    acknowledge(&mut consumer, Which::Number(150), Ack::FailedFor(0));
    let again = delivered(&mut consumer, 201);
    assert_eq!(again[200], (150, true));
    consumer.end(Ending::Died);
    let mut other = spilled.consumer(&cell, 300);
    let all = delivered(&mut other, 300);
    let expected: Vec<_> = (1..=300).map(|serial| (serial, serial <= 200)).collect();
    assert_eq!(all, expected);
    let counts = |serial| {
        let state = cell.lock();
        let Machine::Queue(queue) = &state.machine else {
            panic!("it is a queue")
        };
        let (_, entry) = queue.entries().find(|(at, _)| *at == serial).unwrap();
        entry.redeliveries
    };
    // The oldest counts against a consumer that died.
    assert_eq!((counts(1), counts(2), counts(150)), (1, 0, 1));
    for _ in 0..300 {
        acknowledge(&mut other, Which::Oldest, Ack::Consumed);
    }
    spilled.until_free();
}

#[test]
fn a_spilled_message_can_be_a_dead_letter() {
    let spilled = Spilled::new(true);
    let cell = spilled.fill("q", 1..=200);
    let mut consumer = spilled.consumer(&cell, 200);
    delivered(&mut consumer, 200);
    for _ in 0..200 {
        acknowledge(&mut consumer, Which::Oldest, Ack::Refused);
    }
    spilled.until_free();
    let dead = queue(&spilled.engine, "ActiveMQ.DLQ");
    assert_eq!(queue_len(&dead), 200);
    let mut gravedigger = spilled.consumer(&dead, 10);
    drain(&mut gravedigger, 1..=200);
}

#[test]
fn spilled_messages_expire() {
    let spilled = Spilled::new(false);
    let cell = queue(&spilled.engine, "q");
    let messages = (1..=300).map(|serial| {
        let mut message = Message::clone(&message(1, serial, SIZE, false));
        message.expires_ms = if serial % 2 == 0 { 2000 } else { 0 };
        Arc::new(message)
    });
    spilled.send(&cell, messages.collect());
    spilled.until_spilled();
    spilled.engine.clock.advance(60_000);
    while spilled.engine.tick() {}
    assert_eq!(queue_len(&cell), 150);
    drain(
        &mut spilled.consumer(&cell, 10),
        (1..=300).filter(|serial| serial % 2 == 1),
    );
    spilled.until_free();
}

#[test]
fn spilled_messages_go_by_priority() {
    let spilled = Spilled::new(false);
    let cell = queue(&spilled.engine, "q");
    let mut rules = cell.rules();
    Arc::make_mut(&mut rules.policy).queue.prioritized = true;
    spilled.engine.set_rules(&cell, rules);
    let messages = (1..=300).map(|serial| {
        let mut message = Message::clone(&message(1, serial, SIZE, false));
        message.priority = if serial % 3 == 0 { 9 } else { 1 };
        Arc::new(message)
    });
    spilled.send(&cell, messages.collect());
    spilled.until_spilled();
    let (high, low): (Vec<u64>, Vec<u64>) = (1..=300).partition(|serial| serial % 3 == 0);
    drain(&mut spilled.consumer(&cell, 5), high.into_iter().chain(low));
    spilled.until_free();
}

#[test]
fn spilled_groups_stay_with_their_consumer() {
    let spilled = Spilled::new(false);
    let cell = queue(&spilled.engine, "q");
    let messages = (1..=300).map(|serial| {
        let id = MessageId { origin: 1, serial };
        let flags = MessageFlags(MessageFlags::GROUPED);
        Arc::new(Message::new(id, vec![b'x'; SIZE].into(), 0, flags, 1))
    });
    spilled.send(&cell, messages.collect());
    spilled.until_spilled();
    let mut consumers = [spilled.consumer(&cell, 300), spilled.consumer(&cell, 300)];
    until("all messages to be delivered", || {
        consumers.iter_mut().for_each(Connection::pump);
        let frames = consumers.iter().map(|one| one.socket.frames().len());
        frames.sum::<usize>() == 300
    });
    for group in 0..10 {
        let has = |consumer: &Connection| {
            let frames = consumer.socket.frames().into_iter();
            let frames = frames.map(|frame| frame.serial);
            frames
                .filter(|serial| serial % 10 == group)
                .collect::<Vec<u64>>()
        };
        let (first, second) = (has(&consumers[0]), has(&consumers[1]));
        assert!(
            first.is_empty() || second.is_empty(),
            "one has group {group}"
        );
        let members = [first, second].concat();
        assert!(members.len() == 30 && members.is_sorted());
    }
}

#[test]
fn what_is_removed_frees_its_place() {
    let spilled = Spilled::new(true);
    let cell = spilled.fill("purged", 1..=200);
    let purged = spilled.engine.purge(&cell).unwrap();
    assert_eq!(purged.done, 200);
    spilled.until_free();

    let cell = spilled.fill("chosen", 1..=200);
    let engine = &spilled.engine;
    let third = &mut |message: &Message, _: &_| message.id.serial.is_multiple_of(3);
    assert_eq!(engine.remove_messages(&cell, 1000, third).unwrap().done, 66);
    let target = Destination::queue("target");
    let moved = engine.move_messages(&cell, &target, 1000, &mut |_, _| true);
    assert_eq!(moved.unwrap().done, 134);
    drain(
        &mut spilled.consumer(&queue(engine, "target"), 10),
        (1..=200).filter(|serial| serial % 3 != 0),
    );
    spilled.until_free();
}

#[test]
fn a_destination_that_goes_frees_the_places_of_its_messages() {
    let spilled = Spilled::new(true);
    let cell = spilled.fill("gone", 1..=200);
    let consumer = spilled.consumer(&cell, 20);
    spilled.engine.registry.remove(&cell.destination);
    consumer.end(Ending::Orderly);
    drop(cell);
    spilled.until_free();
    assert_eq!(spilled.engine.memory.used_bytes(), 0);
}

/// Stored messages leave memory earlier when it is short, although they are within the window of their queue.
#[test]
fn windows_shrink_for_stored_messages() {
    let spilled = Spilled::new(true);
    let engine = &spilled.engine;
    for number in 0..20 {
        let cell = queue(engine, &format!("q{number}"));
        let messages = (1..=10).map(|serial| message(number, serial, SIZE, true));
        spilled.send(&cell, messages.collect());
    }
    let store = engine.store.as_ref().unwrap();
    store.wait(store.append(|_| ()).unwrap().1).unwrap();
    // Whoever takes memory next finds that there is too little.
    until("the memory to be relieved", || {
        engine.memory.charge(1);
        engine.memory.release(1);
        engine.memory.is_relieved()
    });
    assert_eq!(engine.temp().unwrap().used_bytes(), 0);
    for number in 0..20 {
        drain(
            &mut spilled.consumer(&queue(engine, &format!("q{number}")), 3),
            1..=10,
        );
    }
}

#[test]
fn a_full_temporary_storage_is_told_and_gets_room_again() {
    let spilled = Spilled::with(false, 200 << 10);
    let cell = queue(&spilled.engine, "q");
    for chunk in 0..8 {
        let serials = chunk * 50 + 1..=chunk * 50 + 50;
        let messages = serials.map(|serial| message(1, serial, SIZE, false));
        spilled.send(&cell, messages.collect());
    }
    let temp = || spilled.engine.temp().unwrap();
    until("a full temporary storage", || temp().is_full());
    assert!(temp().used_bytes() <= temp().limit_bytes());
    let mut consumer = spilled.consumer(&cell, 5);
    drain(&mut consumer, 1..=400);
    spilled.until_free();
    until("room", || !temp().is_full());
    drop(consumer);
    spilled.fill("again", 1..=200);
}

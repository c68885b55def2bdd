//! A disk in trouble under a running broker: what waits, what goes on, what stops, and what is kept.
//! Spec: behaviour USE-3, USE-7, SND-5, STO-1.

mod troubled;

use std::sync::Arc;

use ferrymq::config::{ByteSize, SizeOrPercent};

use self::troubled::TroubledDisk;
use crate::wait::until;
use crate::wire::client::{Client, frame};
use crate::wire::server::Server;

const QUEUE: &str = "destination:/queue/q";

fn server(disk: &TroubledDisk) -> Server {
    Server::on_disk(Arc::new(disk.clone()), |config| {
        config.store.segment_bytes = ByteSize::from_mib(1);
    })
}

fn is_full(server: &Server) -> bool {
    let store = server.engine().store.as_ref().expect("it has a store");
    store.is_full()
}

/// Sends in a thread, because what is not read by a broker that waits fills the sockets; its RECEIPTs come to the client.
fn pour(client: &Client, from: u64, count: u64) -> std::thread::JoinHandle<()> {
    let mut octets = Vec::new();
    for number in from..from + count {
        let head = format!("SEND {QUEUE} persistent:true receipt:{number} number:{number}");
        octets.extend(frame(&head, [b'x'; 4000]));
    }
    let mut writer = client.writer();
    std::thread::spawn(move || {
        std::io::Write::write_all(&mut writer, &octets).expect("the broker reads");
    })
}

fn receipts(client: &mut Client, from: u64, count: u64) {
    for number in from..from + count {
        client.expect(&format!("RECEIPT receipt-id:{number}"));
    }
}

#[test]
fn without_space_producers_wait_and_consumers_make_it() {
    let disk = TroubledDisk::default();
    let server = server(&disk);
    let mut producer = server.client();
    producer.ask(&format!("SEND {QUEUE} persistent:true number:0"));
    disk.set_room(8 << 20);
    let count = 4000;
    let pouring = pour(&producer, 1, count);
    until("a full store", || is_full(&server).then_some(()));
    // What is not for the store goes on, on its connection too, where nothing is asked of the store before it.
    let mut other = server.client();
    other.ask("SUBSCRIBE id:1 destination:/queue/other");
    other.ask_amid("SEND destination:/queue/other");
    // Consumers acknowledge one by one, and some in transactions; that makes room for the rest.
    let mut consumer = server.client();
    consumer.ask(&format!(
        "SUBSCRIBE id:1 {QUEUE} ack:client-individual activemq.prefetchSize:1"
    ));
    for number in 0..=count {
        let message = consumer.expect(&format!("MESSAGE number:{number} !redelivered"));
        let id = message.must("ack").to_owned();
        if number % 10 == 3 {
            consumer.put("BEGIN transaction:t");
            consumer.put(&format!("ACK id:{id} transaction:t"));
            consumer.put("COMMIT transaction:t");
        } else {
            consumer.put(&format!("ACK id:{id}"));
        }
    }
    consumer.fence();
    receipts(&mut producer, 1, count);
    pouring.join().expect("it has sent all");
}

/// USE-4: without space for temporary storage producers of messages that are not persistent wait, and go on without
/// anybody's help when there is some.
#[test]
fn without_space_messages_are_not_spilled_until_there_is_some() {
    let disk = TroubledDisk::default();
    let server = Server::on_disk(Arc::new(disk.clone()), |config| {
        config.memory.limit = SizeOrPercent::Size(ByteSize::from_mib(16));
        // Nobody else wants space.
        config.broker.ephemeral = true;
    });
    let mut producer = server.client();
    producer.ask(&format!("SEND {QUEUE} number:0"));
    disk.set_room(8 << 20);
    let count: u64 = 4000;
    let mut octets = Vec::new();
    for number in 1..=count {
        let head = format!("SEND {QUEUE} receipt:{number} number:{number}");
        octets.extend(frame(&head, [b'x'; 16_000]));
    }
    let mut writer = producer.writer();
    let pouring = std::thread::spawn(move || {
        std::io::Write::write_all(&mut writer, &octets).expect("the broker reads");
    });
    let temp = || server.engine().temp().expect("it is there");
    until("full memory and a full disk", || {
        let is_full = server.engine().memory.is_full() && temp().is_full();
        is_full.then_some(())
    });
    assert!(!pouring.is_finished());
    disk.set_room(1 << 30);
    receipts(&mut producer, 1, count);
    pouring.join().expect("it has sent all");
    let mut consumer = server.client();
    consumer.ask(&format!("SUBSCRIBE id:1 {QUEUE}"));
    for number in 0..=count {
        consumer.expect(&format!("MESSAGE number:{number}"));
    }
}

#[test]
fn space_that_returns_lets_producers_go_on_every_time() {
    let disk = TroubledDisk::default();
    let server = server(&disk);
    let mut producer = server.client();
    for round in 0..12 {
        disk.set_room(0);
        let (from, count) = (round * 2000, 2000);
        let pouring = pour(&producer, from, count);
        until("a full store", || is_full(&server).then_some(()));
        disk.set_room(64 << 20);
        receipts(&mut producer, from, count);
        pouring.join().expect("it has sent all");
    }
    assert_eq!(server.queue_len("q"), 24_000);
}

#[test]
fn while_a_sync_hangs_messages_flow_and_receipts_wait() {
    let disk = TroubledDisk::default();
    let server = server(&disk);
    let (mut producer, mut consumer) = (server.client(), server.client());
    consumer.ask(&format!("SUBSCRIBE id:1 {QUEUE}"));
    disk.hold_syncs();
    for number in 0..100 {
        producer.put(&format!(
            "SEND {QUEUE} persistent:true receipt:{number} number:{number}"
        ));
        consumer.expect(&format!("MESSAGE number:{number}"));
    }
    disk.until_a_sync_waits();
    // Who asks nothing of the disk is answered meanwhile.
    consumer.fence();
    let mut other = server.client();
    other.ask("SEND destination:/queue/other");
    disk.release_syncs();
    receipts(&mut producer, 0, 100);
}

#[test]
fn a_failed_sync_stops_the_broker_and_promises_nothing() {
    let disk = TroubledDisk::default();
    let server = server(&disk);
    let mut producer = server.client();
    producer.ask(&format!("SEND {QUEUE} persistent:true number:0"));
    disk.hold_syncs();
    producer.put(&format!("SEND {QUEUE} persistent:true receipt:lost"));
    disk.until_a_sync_waits();
    disk.let_syncs_fail();
    disk.release_syncs();
    let reason = server.failure();
    assert!(reason.contains("the disk has lost a write"), "{reason}");
    // Neither this nor what comes later is receipted.
    producer.put(&format!("SEND {QUEUE} persistent:true receipt:later"));
    let directory = server.abandon();
    while let Some(frame) = producer.try_next() {
        assert_ne!(frame.command, "RECEIPT", "{frame:?}");
    }
    // What had been receipted is there at the next start.
    let server = Server::in_directory(directory);
    let mut consumer = server.client();
    consumer.ask(&format!("SUBSCRIBE id:1 {QUEUE}"));
    consumer.expect("MESSAGE number:0");
}

#[test]
fn a_disk_that_becomes_read_only_stops_the_broker_and_says_so() {
    let disk = TroubledDisk::default();
    let server = server(&disk);
    let mut producer = server.client();
    producer.ask(&format!("SEND {QUEUE} persistent:true number:0"));
    disk.set_read_only();
    producer.put(&format!("SEND {QUEUE} persistent:true receipt:lost"));
    let reason = server.failure();
    assert!(reason.contains("read-only"), "{reason}");
    let directory = server.abandon();
    while let Some(frame) = producer.try_next() {
        assert_ne!(frame.command, "RECEIPT", "{frame:?}");
    }
    let server = Server::in_directory(directory);
    let mut consumer = server.client();
    consumer.ask(&format!("SUBSCRIBE id:1 {QUEUE}"));
    consumer.expect("MESSAGE number:0");
}

//! Messages that are not persistent and do not fit into memory: they go to disk and come back as they were.
//! Spec: behaviour USE-1, USE-4, STO-2.

use std::path::{Path, PathBuf};
use std::thread::{self, JoinHandle};

use ferrymq::config::{ByteSize, Config, SizeOrPercent};

use crate::wait::until;
use crate::wire::client::{Client, Frame, frame};
use crate::wire::server::Server;

const MIB: u64 = 1024 * 1024;
const LIMIT_BYTES: u64 = 16 * MIB;
/// What a read brings is taken in whole, on each connection; and a run is on its way.
const SLACK_BYTES: u64 = 4 * MIB;
const BODY_BYTES: usize = 10 * 1024;

fn size(mib: u64) -> SizeOrPercent {
    SizeOrPercent::Size(ByteSize::from_mib(mib))
}

fn small(config: &mut Config) {
    config.memory.limit = size(LIMIT_BYTES / MIB);
}

fn body(number: usize) -> String {
    format!("{number:>BODY_BYTES$}")
}

/// Sends messages `0..count`, then asks for a receipt; ends when it is there.
fn produce(mut client: Client, destination: &str, count: usize) -> JoinHandle<()> {
    let destination = destination.to_owned();
    thread::spawn(move || {
        for number in 0..count {
            let third = number % 3;
            let head = format!("SEND destination:{destination} n:{number} third:{third}");
            client.raw(frame(&head, body(number)));
        }
        client.fence();
    })
}

#[track_caller]
fn check(frame: &Frame, number: usize) {
    frame.check(&format!("MESSAGE n:{number}"));
    assert_eq!(frame.text(), body(number));
}

fn used_bytes(server: &Server) -> u64 {
    server.engine().memory.used_bytes()
}

fn temp_bytes(server: &Server) -> u64 {
    server.engine().temp().expect("it is there").used_bytes()
}

fn until_temp_is_empty(server: &Server) {
    until("an empty temporary storage", || {
        (temp_bytes(server) == 0).then_some(())
    });
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(directory) else {
        return Vec::new();
    };
    entries
        .map(|entry| entry.expect("an entry").path())
        .collect()
}

/// Sends six times what memory holds to a queue nobody reads, and watches the memory.
fn fill(server: &Server, queue: &str) -> usize {
    let count = usize::try_from(100 * MIB).expect("a count") / BODY_BYTES;
    let sending = produce(server.client(), &format!("/queue/{queue}"), count);
    let mut most = 0;
    until("the end of the producer", || {
        most = used_bytes(server).max(most);
        sending.is_finished().then_some(())
    });
    sending.join().expect("the producer got through");
    assert!(most < LIMIT_BYTES + SLACK_BYTES, "{most} octets in use");
    assert_eq!(server.queue_len(queue), count);
    count
}

fn drain(server: &Server, queue: &str, count: usize) {
    let mut client = server.client();
    client.ask(&format!(
        "SUBSCRIBE id:1 destination:/queue/{queue} ack:client"
    ));
    for number in 0..count {
        let found = client.frame();
        check(&found, number);
        if number % 100 == 99 || number + 1 == count {
            client.put(&format!("ACK id:{}", found.must("ack")));
        }
        if number % 1000 == 0 {
            let used = used_bytes(server);
            assert!(used < LIMIT_BYTES + SLACK_BYTES, "{used} octets in use");
        }
    }
    client.fence();
    assert_eq!(server.queue_len(queue), 0);
}

#[test]
fn a_queue_nobody_reads_takes_more_than_memory_holds() {
    let server = Server::with_store(small);
    let count = fill(&server, "deep");
    assert!(temp_bytes(&server) > 80 * MIB);
    drain(&server, "deep", count);
    until_temp_is_empty(&server);
}

#[test]
fn without_a_store_messages_are_spilled_too() {
    let server = Server::with(small);
    let count = fill(&server, "deep");
    drain(&server, "deep", count);
    until_temp_is_empty(&server);
}

#[test]
fn spilled_messages_are_found_by_selectors_and_browsers() {
    let server = Server::with_store(small);
    let count = fill(&server, "chosen");
    let mut browser = server.client();
    browser.ask("SUBSCRIBE id:1 destination:/queue/chosen browser:true");
    for number in 0..count {
        check(&browser.frame(), number);
    }
    browser.expect("MESSAGE browser:end");
    let mut client = server.client();
    client.ask("SUBSCRIBE id:1 destination:/queue/chosen selector:'third = 1'");
    let (chosen, others): (Vec<usize>, Vec<usize>) = (0..count).partition(|number| number % 3 == 1);
    for number in chosen {
        check(&client.frame(), number);
    }
    client.ask("UNSUBSCRIBE id:1");
    until("what was sent to be consumed", || {
        (server.queue_len("chosen") == others.len()).then_some(())
    });
    let mut rest = server.client();
    rest.ask("SUBSCRIBE id:1 destination:/queue/chosen");
    for number in others {
        check(&rest.frame(), number);
    }
    until_temp_is_empty(&server);
}

/// What waits for a slow subscriber, and for a durable subscription without a consumer, is spilled as well.
#[test]
fn the_backlog_of_a_topic_is_spilled() {
    let server = Server::with_store(|config| {
        small(config);
        config.memory.slow_topic_subscriber_bytes_max = ByteSize::from_mib(512);
    });
    let count = usize::try_from(60 * MIB).expect("a count") / BODY_BYTES;
    let mut slow = server.client();
    slow.ask("SUBSCRIBE id:1 destination:/topic/t");
    let durable = "SUBSCRIBE id:1 destination:/topic/t durable:true activemq.subscriptionName:n";
    let mut away = server.client_named("c");
    away.ask(durable);
    away.disconnect();
    produce(server.client(), "/topic/t", count)
        .join()
        .expect("the producer got through");
    assert!(temp_bytes(&server) > 40 * MIB);
    for number in 0..count {
        check(&slow.frame(), number);
    }
    let mut back = server.client_named("c");
    back.ask(durable);
    for number in 0..count {
        check(&back.frame(), number);
    }
    until_temp_is_empty(&server);
}

/// Many queues, none of them deeper than the window that stays in memory otherwise.
#[test]
fn shallow_queues_are_spilled_when_there_are_many() {
    let server = Server::with_store(small);
    let (queues, count) = (40, 100);
    let producers = (0..queues).map(|queue| {
        let destination = format!("/queue/shallow.{queue}");
        produce(server.client(), &destination, count)
    });
    for producer in producers.collect::<Vec<_>>() {
        producer.join().expect("the producer got through");
    }
    assert!(temp_bytes(&server) > 20 * MIB);
    for queue in 0..queues {
        drain(&server, &format!("shallow.{queue}"), count);
    }
    until_temp_is_empty(&server);
}

#[test]
fn at_the_limit_of_temporary_storage_producers_wait_and_others_go_on() {
    let server = Server::with_store(|config| {
        small(config);
        config.temp.limit = size(32);
    });
    let count = usize::try_from(100 * MIB).expect("a count") / BODY_BYTES;
    let sending = produce(server.client(), "/queue/full", count);
    let temp = || server.engine().temp().expect("it is there");
    until("full memory and temporary storage", || {
        let memory = &server.engine().memory;
        (memory.is_full() && temp().is_full()).then_some(())
    });
    assert!(!sending.is_finished());
    assert!(temp().used_bytes() <= temp().limit_bytes());
    // Persistent messages go on, in and out, and so do consumers.
    let mut other = server.client();
    other.ask("SUBSCRIBE id:1 destination:/queue/other");
    for number in 0..50 {
        other.put_with(
            "SEND destination:/queue/other persistent:true",
            body(number),
        );
        assert_eq!(other.expect("MESSAGE").text(), body(number));
    }
    let mut client = server.client();
    client.ask("SUBSCRIBE id:1 destination:/queue/full");
    for number in 0..count {
        check(&client.frame(), number);
    }
    sending.join().expect("the producer got through");
    until_temp_is_empty(&server);
    assert!(!temp().is_full());
}

/// USE-1: a limit is cut to what there is, with a warning; 0 is a wish.
#[test]
fn the_limit_is_within_the_free_space() {
    let free_bytes = 1_000_000_000_000;
    let limit = |limit: &str, free_bytes| {
        let mut config = Config::default();
        config.temp.limit = match limit.strip_suffix(" %") {
            Some(percent) => SizeOrPercent::Percent(percent.parse().expect("a number")),
            None => SizeOrPercent::Size(limit.parse().expect("a size")),
        };
        (
            config.temp.limit_bytes(free_bytes),
            config.temp.is_cut(free_bytes),
        )
    };
    assert_eq!(limit("80 %", free_bytes), (50_000_000_000, false));
    assert_eq!(limit("80 %", 10_000), (8_000, false));
    assert_eq!(limit("60 GB", free_bytes), (60_000_000_000, false));
    assert_eq!(limit("60 GB", 10_000), (10_000, true));
    assert_eq!(limit("0", 10_000), (0, false));
    let server = Server::with(|config| {
        config.temp.limit = "999999 TiB"
            .parse()
            .map(SizeOrPercent::Size)
            .expect("a size")
    });
    let limit_bytes = server.engine().temp().expect("it is there").limit_bytes();
    assert!(limit_bytes < 1 << 50, "{limit_bytes}");
}

/// STO-2: what was spilled is gone after a start, and no file of it is left; persistent messages are there.
#[test]
fn a_start_finds_temporary_storage_empty() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut config = Config::default();
    config.broker.data_dir = directory.path().join("data");
    small(&mut config);
    let temp = config.broker.data_dir.join("temp");
    let server = Server::of(config.clone());
    let mut client = server.client();
    client.ask_with("SEND destination:/queue/kept persistent:true", "kept");
    let count = fill(&server, "gone");
    assert!(count > 0 && !files(&temp).is_empty());
    server.stop();
    assert!(files(&temp).is_empty(), "a stop tidies");
    // As a process leaves it that was killed.
    std::fs::create_dir_all(&temp).expect("a directory");
    std::fs::write(temp.join("00000001.seg"), [7; 100]).expect("a file");
    let server = Server::of(config);
    assert!(files(&temp).is_empty());
    assert_eq!(server.queue_len("gone"), 0);
    let mut client = server.client();
    client.ask("SUBSCRIBE id:1 destination:/queue/kept");
    client.message("kept");
}

/// Damage costs the messages it is in, and the log says so.
#[test]
fn damage_costs_the_messages_it_is_in() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut config = Config::default();
    config.broker.data_dir = directory.path().join("data");
    config.memory.high_water_mark = SizeOrPercent::Percent(10);
    small(&mut config);
    let temp = config.broker.data_dir.join("temp");
    let server = Server::of(config);
    let count = fill(&server, "hurt");
    let first = files(&temp).into_iter().min().expect("a file");
    let mut octets = std::fs::read(&first).expect("a file that can be read");
    let at = octets.len() / 2;
    octets[at] ^= 1;
    // The broker has the file open: what it holds is changed, not replaced.
    use std::io::{Seek, SeekFrom, Write};
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .open(&first)
        .expect("it opens");
    file.seek(SeekFrom::Start(at as u64)).expect("a place");
    file.write_all(&octets[at..=at]).expect("it is written");
    let mut client = server.client();
    client.ask("SUBSCRIBE id:1 destination:/queue/hurt");
    let mut missing = 0;
    for number in 0..count - 1 {
        let found = client.frame();
        let sent: usize = found.must("n").parse().expect("a number");
        missing = sent - number;
        check(&found, number + missing);
    }
    assert_eq!(missing, 1);
    until_temp_is_empty(&server);
}

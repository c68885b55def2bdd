//! Clients that send nonsense, promise too much, never read, or come by the thousand: the broker stays healthy, its
//! memory bounded, and others notice nothing. Spec: behaviour SND-5, CON-17, ERR-4, section 9.

use std::io::Write;
use std::thread;
use std::time::Duration;

use ferrymq::config::{self, ByteSize, SizeOrPercent};

use crate::wait::until;
use crate::wire::client::{Client, frame};
use crate::wire::server::Server;

/// Cases of the list that are tested here.
pub(crate) const COVERED: &[&str] = &["C157"];

const MIB: u64 = 1024 * 1024;

/// Somebody who must not notice anything.
struct Bystander(Client);

impl Bystander {
    fn new(server: &Server) -> Self {
        let mut client = server.client();
        client.ask("SUBSCRIBE id:1 destination:/topic/bystander");
        Self(client)
    }

    #[track_caller]
    fn is_well(&mut self) {
        self.0.put_with("SEND destination:/topic/bystander", "well");
        self.0.message("well");
        self.0.fence();
    }
}

#[track_caller]
fn until_used_at_most(server: &Server, bytes: u64) {
    let memory = &server.engine().memory;
    until(
        &format!("at most {bytes} octets in use, not {}", memory.used_bytes()),
        || (memory.used_bytes() <= bytes).then_some(()),
    );
}

#[test]
fn garbage_ends_its_own_connection_only() {
    let server = Server::start();
    let mut bystander = Bystander::new(&server);
    for seed in 0..40_u64 {
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut octet = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()[3]
        };
        let mut client = if seed % 2 == 0 {
            server.open()
        } else {
            server.client()
        };
        // Half of the seeds keep to what text is made of, so that they get further.
        let alphabet = b"SEND\nCONNECT:a\\n\0\r content-length:9\n\n";
        let garbage: Vec<u8> = (0..50_000)
            .map(|_| match seed % 4 {
                0 | 1 => octet(),
                _ => alphabet[usize::from(octet()) % alphabet.len()],
            })
            .collect();
        client.pour(&garbage);
        // The broker may have closed before.
        let _ = client.writer().shutdown(std::net::Shutdown::Write);
        client.ended();
        bystander.is_well();
    }
    server.until_only(1);
    until_used_at_most(&server, 0);
}

#[test]
fn half_a_frame_is_no_frame() {
    let server = Server::start();
    let whole = frame(
        "SEND destination:/queue/half content-length:5 receipt:1",
        "a\0b\0c",
    );
    for length in 0..whole.len() {
        let mut client = server.client();
        client.raw(&whole[..length]);
        let frames = client.leave();
        assert!(frames.is_empty(), "after {length} octets: {frames:?}");
    }
    assert_eq!(server.queue_len("half"), 0);
}

#[test]
fn what_never_ends_is_cut_off() {
    let server = Server::with(|config| config.stomp.body_bytes_max = ByteSize::from_mib(1));
    let mut bystander = Bystander::new(&server);
    let cases: [(&str, &[u8], &str); 5] = [
        ("", b"S", "command length"),
        ("SEND\nlong:", b"x", "header length"),
        ("SEND\n", b"a:b\n", "number of headers"),
        ("SEND\ndestination:/queue/q\n\n", b"x", "data length"),
        ("SEND\ncontent-length:10737418240\n\n", b"x", "data length"),
    ];
    for (begin, rest, limit) in cases {
        let mut client = server.client();
        let mut writer = client.writer();
        let pouring = thread::spawn(move || {
            let mut octets = begin.as_bytes().to_vec();
            octets.extend(rest.repeat(3 << 20).iter().take(3 << 20));
            // The broker may close before it has read all of it.
            let _ = writer.write_all(&octets);
        });
        client.expect(&format!("ERROR message~'{limit} was exceeded'"));
        pouring.join().expect("the writer ends");
        let used = server.engine().memory.used_bytes();
        assert!(used < 4 * MIB, "{limit}: {used} octets in use");
        bystander.is_well();
    }
}

#[test]
fn endless_line_ends_are_no_frames_and_cost_nothing() {
    let server = Server::start();
    let mut client = server.client();
    for _ in 0..100 {
        client.raw(b"\n\r\n\0".repeat(25_000));
    }
    client.fence();
    let used = server.engine().memory.used_bytes();
    assert!(used < MIB, "{used} octets in use");
}

/// What a header promises costs nothing before it comes.
#[test]
fn promises_take_no_memory() {
    let server = Server::start();
    let clients: Vec<Client> = (0..100)
        .map(|_| {
            let mut client = server.client();
            client.raw("SEND\ndestination:/queue/q\ncontent-length:100000000\n\nbegin");
            client
        })
        .collect();
    Bystander::new(&server).is_well();
    let used = server.engine().memory.used_bytes();
    assert!(used < MIB, "{used} octets in use");
    drop(clients);
    server.until_only(0);
    assert_eq!(server.queue_len("q"), 0);
}

/// Far more than the socket buffers of both machines hold goes to somebody who does not read it.
fn with_a_lazy_subscriber(destination: &str, busy: impl FnOnce(Client, Client)) {
    let server = Server::with(|config| {
        config.stomp.outbox_bytes_max = ByteSize::from_kib(64);
        config.memory.slow_topic_subscriber_bytes_max = ByteSize::from_mib(1);
    });
    let subscribe = format!("SUBSCRIBE id:1 destination:{destination}");
    let mut lazy = server.client();
    lazy.ask(&subscribe);
    let mut reader = server.client();
    reader.ask(&subscribe);
    busy(server.client(), reader);
    let used = server.engine().memory.used_bytes();
    assert!(used < 4 * MIB, "{used} octets in use");
    drop(lazy);
    server.until_only(0);
}

#[test]
fn a_topic_subscriber_that_does_not_read_holds_up_nobody() {
    with_a_lazy_subscriber("/topic/busy", |mut sender, mut reader| {
        let body = "x".repeat(10_000);
        for _ in 0..2500 {
            sender.put_with("SEND destination:/topic/busy", &body);
            reader.message(&body);
        }
    });
}

#[test]
fn a_queue_consumer_that_does_not_read_holds_up_nobody() {
    with_a_lazy_subscriber("/queue/busy", |mut sender, mut reader| {
        let counting = thread::spawn(move || {
            let mut count = 0;
            while reader.frame().text() != "last" {
                count += 1;
            }
            count
        });
        let body = "x".repeat(10_000);
        for _ in 0..2500 {
            sender.put_with("SEND destination:/queue/busy", &body);
        }
        // By now only one of the two takes more.
        sender.send("/queue/busy", "last");
        let count = counting.join().expect("the reader ends");
        assert!(count > 1000, "the reader got only {count}");
    });
}

#[test]
fn slow_loris_is_closed_however_often_it_says_something() {
    let server = Server::with(|config| {
        config.stomp.connect_timeout = config::Duration::from_millis(500);
    });
    let mut bystander = Bystander::new(&server);
    let mut slow: Vec<Client> = (0..50).map(|_| server.open()).collect();
    let mut writers: Vec<_> = slow.iter().map(Client::writer).collect();
    let dribbling = thread::spawn(move || {
        for _ in 0..40 {
            for (octet, writer) in b"CONNECT\nlonglonglong".iter().cycle().zip(&mut writers) {
                // It ends when the broker closes.
                let _ = writer.write_all(&[*octet]);
            }
            // waits: between the octets of a client that is slow on purpose
            thread::sleep(Duration::from_millis(50));
        }
    });
    slow.iter_mut().for_each(Client::ended);
    bystander.is_well();
    dribbling.join().expect("the writer ends");
}

#[test]
fn more_connections_than_the_limit_are_refused_until_one_ends() {
    let server = Server::with(|config| config.stomp.connections_max = 2);
    let first = server.client();
    let mut second = server.client();
    for _ in 0..5 {
        server.open().ended();
    }
    second.fence();
    first.disconnect();
    until("a free place", || {
        let mut client = server.open();
        client.pour(&frame("CONNECT accept-version:1.2", ""));
        matches!(client.try_next(), Some(frame) if frame.command == "CONNECTED").then_some(())
    });
    second.fence();
}

#[test]
fn idle_connections_cost_no_memory_worth_speaking_of() {
    let server = Server::start();
    let clients: Vec<Client> = (0..400).map(|_| server.client()).collect();
    assert_eq!(server.engine().connections.len(), 400);
    assert_eq!(server.engine().memory.used_bytes(), 0);
    drop(clients);
    server.until_only(0);
}

/// A broker with room for 16 MiB, and the octets of SENDs of 100 kB that are more than that, each with a receipt.
fn full(destination: &str, count: usize) -> (Server, Vec<u8>) {
    full_of(100_000, destination, count)
}

fn full_of(body_len: usize, destination: &str, count: usize) -> (Server, Vec<u8>) {
    let server = Server::with_store(|config| {
        config.memory.limit = SizeOrPercent::Size(ByteSize::from_mib(16));
        // Nothing goes to disk instead.
        config.temp.limit = SizeOrPercent::Size(ByteSize::from_mib(0));
        config.stomp.parked_bytes_max = ByteSize::from_mib(16);
    });
    let body = "x".repeat(body_len);
    let sends = (0..count)
        .flat_map(|number| {
            frame(
                &format!("SEND destination:{destination} number:{number} receipt:{number}"),
                &body,
            )
        })
        .collect();
    (server, sends)
}

/// ActiveMQ stops reading the whole connection, and who consumes and produces on it waits for himself.
#[test]
fn acknowledgements_pass_sends_that_wait_for_memory() {
    let (server, sends) = full("/queue/c157", 200);
    consume_and_produce(&server, &sends, 200);
}

/// The same with frames that do not fit into a read buffer.
#[test]
fn acknowledgements_pass_large_sends_that_wait_for_memory() {
    let (server, sends) = full_of(600_000, "/queue/c157", 40);
    consume_and_produce(&server, &sends, 40);
}

#[track_caller]
fn consume_and_produce(server: &Server, sends: &[u8], count: usize) {
    let mut client = server.client();
    client.ask(
        "SUBSCRIBE id:1 destination:/queue/c157 ack:client-individual activemq.prefetchSize:10",
    );
    client.raw(sends);
    let (mut messages, mut receipts) = (0, 0);
    while messages < count || receipts < count {
        let next = client.frame();
        if next.command == "MESSAGE" {
            next.check(&format!("MESSAGE number:{messages}"));
            client.put(&format!("ACK id:{}", next.must("ack")));
            messages += 1;
        } else {
            next.check(&format!("RECEIPT receipt-id:{receipts}"));
            receipts += 1;
        }
        let used = server.engine().memory.used_bytes();
        assert!(used < 32 * MIB, "{used} octets in use");
    }
    client.fence();
    client.disconnect();
    until_used_at_most(server, 0);
}

#[test]
fn a_waiting_send_gets_through_when_others_make_room() {
    let (server, sends) = full("/queue/room", 200);
    let mut sender = server.client();
    sender.raw(sends);
    let mut reader = server.client();
    reader.ask("SUBSCRIBE id:1 destination:/queue/room");
    for number in 0..200 {
        reader.expect(&format!("MESSAGE number:{number}"));
    }
    for number in 0..200 {
        sender.expect(&format!("RECEIPT receipt-id:{number}"));
    }
    // Nothing is left behind: messages, parked frames and outboxes are all given back.
    drop((sender, reader));
    until_used_at_most(&server, 0);
}

/// Only SENDs of non-persistent messages wait; what others ask for and persistent messages go on.
#[test]
fn at_the_memory_limit_everything_else_goes_on() {
    let (server, sends) = full("/queue/else", 200);
    let mut sender = server.client();
    sender.raw(sends);
    sender.put("SEND destination:/queue/kept persistent:true receipt:persistent");
    sender.put("SUBSCRIBE id:1 destination:/topic/else receipt:subscribe");
    sender.put("BEGIN transaction:t receipt:begin");
    let mut passed = Vec::new();
    let mut accepted = 0;
    while passed.len() < 3 {
        let receipt = sender.expect("RECEIPT").must("receipt-id").to_owned();
        if receipt.parse::<usize>() == Ok(accepted) {
            accepted += 1;
        } else {
            passed.push(receipt);
        }
    }
    assert_eq!(passed, ["persistent", "subscribe", "begin"]);
    assert!((150..200).contains(&accepted), "{accepted} were taken in");
    assert_eq!(server.queue_len("else"), accepted);
    // CON-17: what still waits gets its ERROR, then DISCONNECT its RECEIPT.
    sender.put("DISCONNECT receipt:bye");
    for number in accepted..200 {
        sender.expect(&format!("ERROR receipt-id:{number} message~Memory"));
    }
    sender.expect("RECEIPT receipt-id:bye");
    sender.closed();
    assert_eq!(server.queue_len("else"), accepted);
}

/// Frames that say the same but for their bodies take a shorter way; the limit holds on it too.
#[test]
fn repeated_sends_wait_for_memory_and_keep_their_order() {
    let (server, _) = full("/queue/repeated", 0);
    let sender = server.client();
    let mut writer = sender.writer();
    let body = |number: usize| format!("{number:06}{}", "x".repeat(60_000));
    let frames =
        (0..500).flat_map(move |number| frame("SEND destination:/queue/repeated", body(number)));
    let octets: Vec<u8> = frames.collect();
    let pouring = thread::spawn(move || writer.write_all(&octets).expect("it gets through"));
    let memory = &server.engine().memory;
    until("the limit is reached", || memory.is_full().then_some(()));
    let mut reader = server.client();
    reader.ask("SUBSCRIBE id:1 destination:/queue/repeated");
    for number in 0..500 {
        let found = reader.expect("MESSAGE !content-length");
        assert_eq!(found.body, body(number).into_bytes());
        let used = server.engine().memory.used_bytes();
        assert!(used < 32 * MIB, "{used} octets in use");
    }
    pouring.join().expect("the writer ends");
    drop((sender, reader));
    until_used_at_most(&server, 0);
}

/// Behind 64 parked frames the connection is not read, until there is room.
#[test]
fn a_producer_that_never_waits_is_not_read_any_more() {
    let (server, sends) = full("/queue/flood", 500);
    let mut sender = server.client();
    let mut writer = sender.writer();
    let pouring = thread::spawn(move || writer.write_all(&sends).expect("it gets through"));
    for number in 0..150 {
        sender.expect(&format!("RECEIPT receipt-id:{number}"));
    }
    let mut bystander = server.client();
    bystander.ask("SEND destination:/queue/kept persistent:true");
    let used = server.engine().memory.used_bytes();
    assert!(used < 32 * MIB, "{used} octets in use");
    let mut reader = server.client();
    reader.ask("SUBSCRIBE id:1 destination:/queue/flood");
    for number in 0..500 {
        reader.expect(&format!("MESSAGE number:{number}"));
    }
    for number in 150..500 {
        sender.expect(&format!("RECEIPT receipt-id:{number}"));
    }
    pouring.join().expect("the writer ends");
}

/// A SEND in a transaction holds memory until its end, whatever the end is.
#[test]
fn what_transactions_held_is_given_back() {
    let server = Server::start();
    let body = "x".repeat(100_000);
    for end in ["ABORT transaction:t", "DISCONNECT", ""] {
        let mut client = server.client();
        client.ask("BEGIN transaction:t");
        for _ in 0..20 {
            client.ask_with("SEND destination:/queue/held transaction:t", &body);
        }
        let used = server.engine().memory.used_bytes();
        assert!(used >= 2_000_000, "{used} octets in use");
        if !end.is_empty() {
            client.put(end);
        }
        client.leave();
        until_used_at_most(&server, 0);
    }
}

//! What happens when there is no room: who waits, for how long, and what goes on. Spec: behaviour 11.9 (USE-1 to USE-9), SND-5.

use std::collections::HashMap;
use std::sync::Arc;
use std::thread;

use ferrymq::broker::Destination;
use ferrymq::broker::governor::Resource;
use ferrymq::config::{ByteSize, Config, DiskLimit, Duration, SizeOrPercent};
use ferrymq::engine::cell::Cell;
use ferrymq::engine::governor::WaitReport;

use crate::wait::until;
use crate::wire::client::{Client, frame};
use crate::wire::server::Server;

const BODY_BYTES: usize = 8 << 10;

fn store_limit(config: &mut Config, kib: u64) {
    config.store.segment_bytes = ByteSize::from_kib(64);
    config.store.limit = DiskLimit::Of(SizeOrPercent::Size(ByteSize::from_kib(kib)));
}

/// A broker whose journal may take 1 MiB, otherwise as `change` makes it.
fn limited(change: impl FnOnce(&mut Config)) -> Server {
    Server::with_store(|config| {
        store_limit(config, 1024);
        change(config);
    })
}

fn policies(config: &mut Config, entries: &[&str]) {
    let entries = entries.iter().map(|text| text.parse().expect("an entry"));
    config.policy = entries.collect();
}

/// SENDs of persistent messages, each with a receipt, numbered from `from` on.
fn sends(destination: &str, from: usize, count: usize) -> Vec<u8> {
    let body = "x".repeat(BODY_BYTES);
    (from..from + count)
        .flat_map(|number| {
            frame(
                &format!(
                    "SEND destination:{destination} persistent:true number:{number} receipt:{number}"
                ),
                &body,
            )
        })
        .collect()
}

fn cell(server: &Server, queue: &str) -> Arc<Cell> {
    let engine = server.engine();
    engine.registry.get_or_create(&Destination::queue(queue))
}

fn purge(server: &Server, queue: &str) {
    let purged = server.engine().purge(&cell(server, queue));
    purged.expect("it is a queue");
}

/// The keys of the limits for which producers of a queue wait.
fn causes(server: &Server, queue: &str) -> Vec<&'static str> {
    let waiting = server.engine().waiting_for(&Destination::queue(queue));
    let causes = waiting.iter().flat_map(|wait| &wait.causes);
    let mut keys: Vec<_> = causes.filter_map(|cause| cause.key()).collect();
    // A batch and the frames behind it wait each for itself.
    keys.dedup();
    keys
}

fn until_causes(server: &Server, queue: &str, wanted: &[&str]) {
    let mut found = Vec::new();
    let mut look = || {
        found = causes(server, queue);
        (found == wanted).then_some(())
    };
    until(&format!("{queue} to wait for {wanted:?}"), &mut look);
}

fn until_nobody_waits(server: &Server) {
    until("all to go on", || {
        server.engine().waiting_producers().is_empty().then_some(())
    });
}

/// Fills the store from a connection that is left to wait, until it is full and somebody waits.
fn fill(server: &Server, queue: &str) -> Client {
    let client = server.client();
    let mut writer = client.writer();
    let octets = sends(&format!("/queue/{queue}"), 0, 150);
    thread::spawn(move || {
        // The connection may be gone before all is read.
        let _ = std::io::Write::write_all(&mut writer, &octets);
    });
    until("the store to be full", || {
        (server.engine().is_store_full() && !causes(server, queue).is_empty()).then_some(())
    });
    client
}

/// A peer hung for good at this; ActiveMQ's own producers do if one wake-up is missed.
#[test]
fn producers_wait_until_there_is_space_and_not_longer() {
    const COUNT: usize = 300;
    let server = limited(|_| {});
    let mut third = server.client();
    for round in 0..20 {
        let base = round * COUNT;
        third.raw(sends("/queue/third", base, 10));
        for number in base..base + 10 {
            third.expect(&format!("RECEIPT receipt-id:{number}"));
        }
        let mut producers: Vec<(Client, &str)> =
            ["one", "two"].map(|queue| (server.client(), queue)).into();
        let pouring: Vec<_> = producers
            .iter()
            .map(|(client, queue)| {
                let mut writer = client.writer();
                let octets = sends(&format!("/queue/{queue}"), base, COUNT);
                thread::spawn(move || std::io::Write::write_all(&mut writer, &octets))
            })
            .collect();
        for queue in ["one", "two"] {
            until(&format!("{queue} to wait, round {round}"), || {
                let causes = causes(&server, queue);
                (!causes.is_empty() && causes.iter().all(|key| *key == "store.limit")).then_some(())
            });
        }
        assert!(server.engine().is_store_full());
        // Who consumes goes on, on a connection of its own and on one that has sent.
        third.ask("SUBSCRIBE id:1 destination:/queue/third ack:client-individual");
        let messages: Vec<_> = (base..base + 10)
            .map(|number| third.expect(&format!("MESSAGE number:{number}")))
            .collect();
        for message in messages {
            third.ask(&format!("ACK id:{}", message.must("ack")));
        }
        third.ask("UNSUBSCRIBE id:1");
        let mut consumer = server.client();
        consumer.put("SUBSCRIBE id:one destination:/queue/one");
        consumer.put("SUBSCRIBE id:two destination:/queue/two");
        // Both: messages of the one hold the files in which those of the other lie, too.
        let mut next = HashMap::from([("one", base), ("two", base)]);
        for _ in 0..2 * COUNT {
            let message = consumer.expect("MESSAGE");
            let next = next.get_mut(message.must("subscription"));
            let next = next.expect("one of both");
            assert_eq!(message.must("number"), next.to_string());
            *next += 1;
        }
        for (producer, _) in &mut producers {
            for number in base..base + COUNT {
                producer.expect(&format!("RECEIPT receipt-id:{number}"));
            }
        }
        for pouring in pouring {
            let poured = pouring.join().expect("the writer ends");
            poured.expect("everything is read");
        }
        consumer.disconnect();
        until_nobody_waits(&server);
    }
    let (began, _) = server.engine().governor.waits.totals();
    assert!(began >= 40, "{began} waits");
}

#[test]
fn messages_that_need_no_store_pass_by() {
    let server = limited(|_| {});
    let _filling = fill(&server, "full");
    let mut client = server.client();
    client.put("SUBSCRIBE id:1 destination:/queue/light receipt:subscribed");
    client.expect("RECEIPT receipt-id:subscribed");
    client.raw(sends("/queue/heavy", 0, 3));
    until_causes(&server, "heavy", &["store.limit"]);
    client.put_with("SEND destination:/queue/light", "passes");
    client.message("passes");
    client.fence();
    // The same queue is held up as a whole: messages of one sender keep their order.
    client.put_with("SEND destination:/queue/heavy receipt:behind", "behind");
    client.fence();
    assert_eq!(server.queue_len("heavy"), 0);
    purge(&server, "full");
    for receipt in ["0", "1", "2", "behind"] {
        client.expect(&format!("RECEIPT receipt-id:{receipt}"));
    }
    assert_eq!(server.queue_len("heavy"), 4);
}

#[test]
fn who_consumes_and_produces_on_one_connection_does_not_wait_for_himself() {
    const COUNT: usize = 200;
    let server = limited(|config| {
        config.stomp.parked_bytes_max = ByteSize::from_mib(4);
        config.stomp.parked_frames_max = 1000;
    });
    let mut client = server.client();
    client.ask("SUBSCRIBE id:1 destination:/queue/q ack:client-individual activemq.prefetchSize:5");
    let mut writer = client.writer();
    let octets = sends("/queue/q", 0, COUNT);
    let (mut messages, mut receipts) = (0, 0);
    // At once, so that some are parked before the first acknowledgement is read.
    std::io::Write::write_all(&mut writer, &octets[..octets.len() / 4]).expect("it is read");
    let rest = octets[octets.len() / 4..].to_vec();
    let (mut acks, acknowledged) = (Vec::new(), std::sync::mpsc::channel::<Vec<u8>>());
    let pouring = thread::spawn(move || {
        std::io::Write::write_all(&mut writer, &rest).expect("it is read");
        for ack in acknowledged.1 {
            std::io::Write::write_all(&mut writer, &ack).expect("it is read");
        }
    });
    while messages < COUNT || receipts < COUNT {
        let next = client.frame();
        if next.command == "MESSAGE" {
            next.check(&format!("MESSAGE number:{messages}"));
            messages += 1;
            acks.extend(frame(&format!("ACK id:{}", next.must("ack")), ""));
            let sent = acknowledged.0.send(std::mem::take(&mut acks));
            sent.expect("the writer lives");
        } else {
            next.check(&format!("RECEIPT receipt-id:{receipts}"));
            receipts += 1;
        }
    }
    drop(acknowledged.0);
    pouring.join().expect("the writer ends");
    until_nobody_waits(&server);
}

#[test]
fn a_send_fails_at_once_if_it_is_wanted_so() {
    let server = limited(|config| {
        policies(config, &["queue = \"patient\"\nsendFailIfNoSpace = false"]);
        config.usage.send_fail_if_no_space = true;
    });
    let _filling = fill(&server, "patient");
    let mut client = server.client();
    client.raw(sends("/queue/q", 1, 1));
    let refused = client.expect(
        "ERROR receipt-id:1 message~'Usage Manager Store Limit reached' message~'sendFailIfNoSpace is true' \
         message~'store.limit is 1'",
    );
    // Nothing of the machine.
    assert!(!refused.must("message").contains('/') || refused.must("message").contains("/queue/q"));
    // The connection stays, and what needs no store goes on.
    client.send("/queue/q", "light");
    client.ask("BEGIN transaction:t");
    client.ask("SEND destination:/queue/q persistent:true transaction:t");
    client.put("COMMIT transaction:t receipt:c");
    client.expect("ERROR receipt-id:c message~'Store Limit reached' message~'stays open'");
    purge(&server, "patient");
    until("room", || (!server.engine().is_store_full()).then_some(()));
    client.ask("COMMIT transaction:t");
    client.ask("SEND destination:/queue/q persistent:true");
    assert_eq!(server.queue_len("q"), 3);
}

#[test]
fn a_send_fails_when_it_has_waited_long_enough() {
    let server = limited(|config| {
        config.usage.send_fail_if_no_space_after_timeout = Duration::from_millis(300);
        policies(
            config,
            &["queue = \"patient\"\nsendFailIfNoSpaceAfterTimeout = -1"],
        );
    });
    let filling = fill(&server, "patient");
    let mut client = server.client();
    client.raw(sends("/queue/q", 1, 3));
    client.put("SUBSCRIBE id:1 destination:/topic/t receipt:subscribed");
    client.expect("RECEIPT receipt-id:subscribed");
    for number in 1..=3 {
        client.expect(&format!(
            "ERROR receipt-id:{number} message~'Usage Manager Store Limit reached' message~sendFailIfNoSpaceAfterTimeout"
        ));
    }
    client.ask("BEGIN transaction:t");
    client.ask("SEND destination:/queue/q persistent:true transaction:t");
    client.put("COMMIT transaction:t receipt:c");
    client.expect("ERROR receipt-id:c message~sendFailIfNoSpaceAfterTimeout");
    // The transaction stays open.
    assert_eq!(server.queue_len("q"), 0);
    assert_eq!(causes(&server, "patient"), ["store.limit"], "it waits on");
    purge(&server, "patient");
    client.ask("COMMIT transaction:t");
    assert_eq!(server.queue_len("q"), 1);
    drop(filling);
}

#[test]
fn a_limit_with_two_causes_is_not_cleared_by_the_first() {
    for store_first in [true, false] {
        let server = limited(|config| policies(config, &["queue = \"both\"\nmaxMessages = 1"]));
        let mut client = server.client();
        client.send("/queue/both", "first");
        let _filling = fill(&server, "full");
        client.raw(sends("/queue/both", 7, 1));
        until_causes(&server, "both", &["store.limit", "maxMessages"]);
        let [first, second] = match store_first {
            true => ["full", "both"],
            false => ["both", "full"],
        };
        purge(&server, first);
        let left = if store_first {
            "maxMessages"
        } else {
            "store.limit"
        };
        until_causes(&server, "both", &[left]);
        client.fence();
        assert_eq!(server.queue_len("both"), usize::from(store_first));
        purge(&server, second);
        client.expect("RECEIPT receipt-id:7");
        until_nobody_waits(&server);
    }
}

#[test]
fn a_transaction_that_sends_waits_and_one_that_only_acknowledges_does_not() {
    let server = limited(|_| {});
    let mut client = server.client();
    for body in ["1", "2"] {
        client.ask_with("SEND destination:/queue/in persistent:true", body);
    }
    let _filling = fill(&server, "full");
    client.ask("SUBSCRIBE id:1 destination:/queue/in ack:client-individual");
    let found = client.messages(["1", "2"]);
    client.ask("BEGIN transaction:t");
    client.ask(&format!("ACK id:{} transaction:t", found[0].must("ack")));
    client.ask_with(
        "SEND destination:/queue/out persistent:true transaction:t",
        "a",
    );
    client.put("COMMIT transaction:t receipt:commit");
    until_causes(&server, "out", &["store.limit"]);
    let waiting = server.engine().waiting_for(&Destination::queue("out"));
    assert_eq!(waiting[0].transaction.as_deref(), Some("t"));
    // Another of the same connection, which only acknowledges.
    client.ask("BEGIN transaction:u");
    client.ask(&format!("ACK id:{} transaction:u", found[1].must("ack")));
    client.ask("COMMIT transaction:u");
    assert_eq!((server.queue_len("in"), server.queue_len("out")), (1, 0));
    // The same id again: its frames wait behind.
    client.put("BEGIN transaction:t receipt:begin");
    client.put("SEND destination:/queue/out persistent:true transaction:t receipt:send");
    client.put("COMMIT transaction:t receipt:again");
    client.fence();
    purge(&server, "full");
    for receipt in ["commit", "begin", "send", "again"] {
        client.expect(&format!("RECEIPT receipt-id:{receipt}"));
    }
    assert_eq!((server.queue_len("in"), server.queue_len("out")), (0, 2));
    until_nobody_waits(&server);
}

/// It gives back what it waits for.
#[test]
fn an_abort_does_not_wait_behind_what_it_undoes() {
    let server = Server::with(|config| {
        config.memory.limit = SizeOrPercent::Size(ByteSize::from_mib(16));
        // Nothing goes to disk instead.
        config.temp.limit = SizeOrPercent::Size(ByteSize::from_mib(0));
    });
    let mut client = server.client();
    client.ask("BEGIN transaction:t");
    let body = "x".repeat(1 << 20);
    let memory = &server.engine().memory;
    let mut filler = server.client();
    while !memory.is_full() {
        filler.ask_with("SEND destination:/queue/full", &body);
    }
    client.put_with("SEND destination:/queue/q transaction:t receipt:send", "x");
    until_causes(&server, "q", &["memory.limit"]);
    client.put("ABORT transaction:t receipt:abort");
    client.expect("RECEIPT receipt-id:send");
    client.expect("RECEIPT receipt-id:abort");
    assert_eq!(server.queue_len("q"), 0);
    assert!(server.engine().waiting_producers().is_empty());
}

#[test]
fn limits_are_raised_while_they_are_reached() {
    let directory = tempfile::tempdir().expect("a directory");
    let configure = |config: &mut Config, kib: u64, mib: u64| {
        config.broker.data_dir = directory.path().join("data");
        store_limit(config, kib);
        config.temp.limit = SizeOrPercent::Size(ByteSize::from_mib(0));
        config.memory.limit = SizeOrPercent::Size(ByteSize::from_mib(mib));
    };
    let mut config = Config::default();
    configure(&mut config, 1024, 16);
    let server = Server::of(config);
    let mut filling = fill(&server, "full");
    let mut light = server.client();
    let body = "x".repeat(1 << 20);
    for number in 0..20 {
        light.put_with(
            &format!("SEND destination:/queue/light receipt:{number}"),
            &body,
        );
        if server.engine().memory.is_full() {
            break;
        }
    }
    until_causes(&server, "light", &["memory.limit"]);
    let changes = server.reconfigure(|config| configure(config, 4096, 64));
    assert_eq!(changes.at_once, ["memory.limit", "store.limit"]);
    until_nobody_waits(&server);
    for number in 0..150 {
        filling.expect(&format!("RECEIPT receipt-id:{number}"));
    }
    assert_eq!(server.queue_len("full"), 150);
    // Lower again: what is there stays, and the next one waits.
    server.reconfigure(|config| configure(config, 512, 64));
    filling.raw(sends("/queue/full", 150, 20));
    until_causes(&server, "full", &["store.limit"]);
    assert!(server.queue_len("full") >= 150);
    purge(&server, "full");
    for number in 150..170 {
        filling.expect(&format!("RECEIPT receipt-id:{number}"));
    }
    server.stop();
}

#[test]
fn a_producer_that_waits_is_listed_with_all_that_concerns_it() {
    let server = limited(|_| {});
    let _filling = fill(&server, "full");
    let mut client = server.client_named("orders-7");
    client.raw(sends("/queue/orders", 0, 3));
    let report: WaitReport = until("three SENDs to wait", || {
        let mut found = server.engine().waiting_for(&Destination::queue("orders"));
        found.pop().filter(|wait| wait.sends == 3)
    });
    assert_eq!(report.client_id(), "orders-7");
    assert!(report.remote().contains("127.0.0.1"), "{report}");
    assert!(report.bytes > 3 * BODY_BYTES as u64);
    let text = report.to_string();
    assert!(text.starts_with("3 SENDs of orders-7 (24"), "{text}");
    assert!(
        text.contains("to /queue/orders has been waiting for"),
        "{text}"
    );
    assert!(text.contains("store.limit is 100 % used ("), "{text}");
    // It is over when the client goes.
    drop(client);
    until("its wait to end", || {
        causes(&server, "orders").is_empty().then_some(())
    });
}

#[test]
fn accounts_tell_how_full_they_are_and_what_they_have_passed() {
    let server = limited(|_| {});
    let _filling = fill(&server, "full");
    let report = until("the marks", || {
        let reports = server.engine().account_reports().into_iter();
        let mut stores = reports.filter(|report| report.account.resource == Resource::Store);
        stores.next().filter(|report| report.mark_percent == 100)
    });
    assert!(
        report.passed.iter().all(|(_, times)| *times >= 1),
        "{report:?}"
    );
    assert!(report.account.percent() >= 100 && report.account.is_full);
    assert_eq!(report.account.limit_bytes, Some(1 << 20));
}

#[test]
fn a_policy_stops_its_producers_before_the_store_is_full() {
    let server = limited(|config| {
        policies(config, &["queue = \"early\"\nstoreUsageHighWaterMark = 60"]);
    });
    let mut client = server.client();
    client.ask("SEND destination:/queue/early persistent:true");
    // Three files of 64 KiB are prepared ahead, so this makes more than half and less than all.
    client.raw(sends("/queue/other", 0, 60));
    for number in 0..60 {
        client.expect(&format!("RECEIPT receipt-id:{number}"));
    }
    let used = || {
        let accounts = server.engine().accounts();
        let store = accounts.iter().find(|one| one.resource == Resource::Store);
        store.expect("there is a store").percent()
    };
    until("the next file to be prepared", || {
        (used() >= 60).then_some(())
    });
    assert!(used() < 100, "{} %", used());
    until("the mark to be seen", || {
        client.put("SEND destination:/queue/early persistent:true");
        (causes(&server, "early") == ["storeUsageHighWaterMark"]).then_some(())
    });
    client.ask("SEND destination:/queue/other persistent:true");
    server.client().ask("SEND destination:/queue/early");
    purge(&server, "other");
    until_nobody_waits(&server);
}

#[test]
fn the_memory_of_a_destination_has_a_limit_of_its_own() {
    let server = Server::with_store(|config| {
        config.temp.limit = SizeOrPercent::Size(ByteSize::from_mib(0));
        policies(
            config,
            &[
                "queue = \"small\"\nmemoryLimit = \"100 KiB\"",
                "topic = \"small\"\nmemoryLimit = \"100 KiB\"",
                "topic = \"free\"\nmemoryLimit = \"100 KiB\"\nproducerFlowControl = false",
            ],
        );
    });
    let mut slow = server.client();
    for topic in ["small", "free"] {
        slow.ask(&format!(
            "SUBSCRIBE id:{topic} destination:/topic/{topic} ack:client activemq.prefetchSize:1"
        ));
    }
    let mut client = server.client();
    let body = "x".repeat(BODY_BYTES);
    for number in 0..30 {
        for destination in ["/queue/small", "/topic/small", "/topic/free"] {
            client.put_with(
                &format!("SEND destination:{destination} receipt:{number}"),
                &body,
            );
        }
    }
    let waiting = until("a queue and a topic to wait", || {
        let waiting = server.engine().waiting_producers();
        (waiting.len() == 2).then_some(waiting)
    });
    let targets: Vec<String> = waiting.iter().map(WaitReport::target).collect();
    assert_eq!(targets, ["/queue/small", "/topic/small"]);
    assert!(
        waiting
            .iter()
            .all(|wait| wait.cause().contains("memoryLimit of"))
    );
    // Persistent messages leave memory instead; at most 70 % of the limit is theirs.
    let mut persistent = server.client();
    for _ in 0..40 {
        persistent.ask_with("SEND destination:/queue/small persistent:true", &body);
    }
    slow.ask_amid("SUBSCRIBE id:q destination:/queue/small");
    slow.ask_amid("UNSUBSCRIBE id:small");
    until_nobody_waits(&server);
    slow.ask_amid("UNSUBSCRIBE id:q");
    for _ in 0..40 {
        persistent.ask_with("SEND destination:/queue/small persistent:true", &body);
    }
    let held = cell(&server, "small").lock().machine.held_bytes();
    assert!(held <= 90 << 10, "{held} octets in memory");
}

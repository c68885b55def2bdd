//! Duplicate detection (SND-6): over destinations, transactions and limits. What survives a restart: `restart/duplicates.rs`.

use std::thread;

use ferrymq::broker::Destination;
use ferrymq::config::{Composite, ForwardTo};

use crate::wire::client::Client;
use crate::wire::server::Server;

/// Cases of the list that are tested here.
pub(crate) const COVERED: &[&str] = &["C152"];

/// Sends a message with an id; whether the receipt calls it a duplicate.
pub(crate) fn send(client: &mut Client, destination: &str, id: &str, more: &str) -> bool {
    let head = format!("SEND destination:{destination} message-dedup-id:{id} receipt:r {more}");
    client.put_with(head.trim_end(), id);
    let receipt = client.expect("RECEIPT receipt-id:r");
    receipt.get("duplicate") == Some("true")
}

#[test]
fn c152_a_message_that_comes_again_is_dropped_and_its_receipt_says_so() {
    let server = Server::start();
    let mut client = server.client();
    assert!(!send(&mut client, "/queue/a", "1", ""));
    assert!(send(&mut client, "/queue/a", "1", ""));
    assert_eq!(server.queue_len("a"), 1);
    for name in ["_AMQ_DUPL_ID", "x-deduplication-header"] {
        client.put(&format!("SEND destination:/queue/a {name}:1 receipt:alias"));
        client.expect("RECEIPT receipt-id:alias duplicate:true");
    }
    // Each destination has its own window; an empty id is none.
    assert!(!send(&mut client, "/queue/b", "1", ""));
    assert!(!send(&mut client, "/topic/a", "1", ""));
    assert!(send(&mut client, "/topic/a", "1", ""));
    for _ in 0..2 {
        client.put("SEND destination:/queue/b message-dedup-id: receipt:none");
        client.expect("RECEIPT receipt-id:none !duplicate");
    }
    // The id stays when the message is consumed, and another connection meets it too.
    let mut reader = server.client();
    reader.ask("SUBSCRIBE id:1 destination:/queue/a");
    reader.message("1").check("MESSAGE message-dedup-id:1");
    assert!(send(&mut server.client(), "/queue/a", "1", ""));
    reader.fence();
    assert_eq!(server.queue_len("a"), 0);
}

#[test]
fn repeated_heads_are_looked_at_and_one_batch_has_duplicates_of_its_own() {
    let server = Server::start();
    let mut client = server.client();
    for _ in 0..50 {
        client.put("SEND destination:/queue/a message-dedup-id:same");
    }
    for number in 0..50 {
        client.put(&format!(
            "SEND destination:/queue/a message-dedup-id:{} receipt:{number}",
            number / 2
        ));
        client.put("SEND destination:/queue/a");
    }
    for number in 0..50 {
        let duplicate = if number % 2 == 1 {
            "duplicate:true"
        } else {
            "!duplicate"
        };
        client.expect(&format!("RECEIPT receipt-id:{number} {duplicate}"));
    }
    client.fence();
    assert_eq!(server.queue_len("a"), 1 + 25 + 50);
}

#[test]
fn a_list_and_a_virtual_topic_are_known_where_they_were_sent_to() {
    let server = Server::start();
    let mut client = server.client();
    assert!(!send(&mut client, "/queue/a", "1", ""));
    // New to b: no duplicate as a whole, and a gets no second one.
    assert!(!send(&mut client, "/queue/a,/queue/b", "1", ""));
    assert!(send(&mut client, "/queue/a,/queue/b", "1", ""));
    assert_eq!((server.queue_len("a"), server.queue_len("b")), (1, 1));
    let mut reader = server.client();
    reader.ask("SUBSCRIBE id:1 destination:/queue/Consumer.X.VirtualTopic.t ack:client");
    for again in [false, true] {
        assert_eq!(send(&mut client, "/topic/VirtualTopic.t", "1", ""), again);
    }
    // The copy is the business of the topic's window alone.
    assert!(!send(
        &mut client,
        "/queue/Consumer.X.VirtualTopic.t",
        "1",
        ""
    ));
    client.fence();
    assert_eq!(server.queue_len("Consumer.X.VirtualTopic.t"), 2);
}

#[test]
fn in_a_transaction_an_id_counts_from_commit_on() {
    let server = Server::start();
    let (mut one, mut other) = (server.client(), server.client());
    one.ask("BEGIN transaction:t");
    other.ask("BEGIN transaction:t");
    assert!(!send(&mut one, "/queue/a", "1", "transaction:t"));
    // Twice in one transaction, and in another one.
    assert!(!send(&mut one, "/queue/a", "1", "transaction:t"));
    assert!(!send(&mut other, "/queue/a", "1", "transaction:t"));
    assert!(!send(&mut other, "/queue/a", "2", "transaction:t"));
    // Undone: nothing is remembered.
    let mut third = server.client();
    third.ask("BEGIN transaction:t");
    assert!(!send(&mut third, "/queue/a", "3", "transaction:t"));
    third.ask("ABORT transaction:t");
    assert!(!send(&mut third, "/queue/a", "3", ""));
    assert_eq!(server.queue_len("a"), 1);
    one.ask("COMMIT transaction:t");
    assert_eq!(server.queue_len("a"), 2);
    other.ask("COMMIT transaction:t");
    assert_eq!(server.queue_len("a"), 3);
    for id in ["1", "2", "3"] {
        assert!(send(&mut third, "/queue/a", id, ""));
    }
}

#[test]
fn the_window_follows_its_policy() {
    let server = Server::with(|config| {
        let entry = |text: &str| text.parse().expect("an entry");
        config.policy = vec![
            entry("queue = \"small\"\ndedupWindow = 2"),
            entry("queue = \"off\"\ndedupWindow = 0"),
        ];
    });
    let mut client = server.client();
    for id in ["1", "2", "3"] {
        assert!(!send(&mut client, "/queue/small", id, ""));
    }
    assert!(send(&mut client, "/queue/small", "2", ""));
    assert!(!send(&mut client, "/queue/small", "1", ""));
    for _ in 0..2 {
        assert!(!send(&mut client, "/queue/off", "1", ""));
    }
    assert_eq!((server.queue_len("small"), server.queue_len("off")), (4, 2));
}

#[test]
fn a_scheduled_message_that_comes_again_is_scheduled_once() {
    let server = Server::start();
    let mut client = server.client();
    let delayed = "AMQ_SCHEDULED_DELAY:3600000";
    assert!(!send(&mut client, "/queue/a", "1", delayed));
    assert!(send(&mut client, "/queue/a", "1", delayed));
    assert!(send(&mut client, "/queue/a", "1", ""));
    client.ask("BEGIN transaction:t");
    for id in ["1", "2", "2"] {
        send(
            &mut client,
            "/queue/a",
            id,
            &format!("{delayed} transaction:t"),
        );
    }
    client.ask("COMMIT transaction:t");
    assert_eq!(server.engine().scheduling.len(), 2);
}

#[test]
fn of_those_who_send_the_same_at_once_one_is_first() {
    let server = Server::with_store(|_| {});
    let lists = [
        "/queue/a,/queue/b",
        "/queue/b,/queue/a",
        "/queue/a",
        "/queue/b",
    ];
    thread::scope(|scope| {
        for destination in lists {
            let mut client = server.client();
            scope.spawn(move || {
                for id in 0..300 {
                    let head = format!("SEND destination:{destination} message-dedup-id:{id}");
                    client.put(&format!("{head} persistent:{}", id % 2 == 0));
                }
                client.fence();
            });
        }
    });
    assert_eq!((server.queue_len("a"), server.queue_len("b")), (300, 300));
}

/// What is only forwarded is known where it was sent to, and nowhere else; a duplicate takes all that follows from it along
/// (VIR-4), and limits on the way hold for what has an id too.
#[test]
fn a_destination_that_only_forwards_knows_its_ids() {
    let to = |destination: &str, selector: &str| ForwardTo {
        destination: Destination::parse(destination).expect("a destination"),
        selector: selector.to_owned(),
    };
    let server = Server::with(|config| {
        config.composite = vec![Composite {
            queue: "in".to_owned(),
            forward_to: vec![to("/queue/x", "to = 'all'"), to("/queue/y", "to <> 'none'")],
            ..Composite::default()
        }];
        let policy = "queue = \"x\"\nmaxMessages = 2\noverflow = \"reject\"";
        config.policy = vec![policy.parse().expect("an entry")];
    });
    let mut client = server.client();
    let lengths = || ["in", "x", "y"].map(|name| server.queue_len(name));
    assert!(!send(&mut client, "/queue/in", "1", "to:all"));
    assert!(send(&mut client, "/queue/in", "1", "to:all"));
    assert!(!send(&mut client, "/queue/in", "2", "to:some"));
    assert!(!send(&mut client, "/queue/x", "1", ""));
    assert_eq!(lengths(), [0, 2, 2]);
    client.refused(
        "SEND destination:/queue/in message-dedup-id:3 to:all",
        "ERROR message~'maxMessages = 2'",
    );
    assert!(
        !send(&mut client, "/queue/in", "3", "to:some"),
        "refused is not taken"
    );
    // It comes to nobody, and is known all the same.
    assert!(!send(&mut client, "/queue/in", "4", "to:none"));
    assert!(send(&mut client, "/queue/in", "4", "to:none"));
    client.ask("BEGIN transaction:t");
    for id in ["1", "5", "5", "4", "6"] {
        let to = if id == "6" { "none" } else { "some" };
        client.ask(&format!(
            "SEND destination:/queue/in,/queue/z message-dedup-id:{id} transaction:t to:{to}"
        ));
    }
    client.ask("COMMIT transaction:t");
    assert_eq!(lengths(), [0, 2, 4]);
    assert_eq!(server.queue_len("z"), 4);
    assert!(send(&mut client, "/queue/in", "6", "to:some"));
    assert_eq!(lengths(), [0, 2, 4]);
}

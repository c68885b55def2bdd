//! Lists of destinations, wildcards, options and temporary destinations.
//! Spec: behaviour DST-4, DST-5, DST-7 to DST-12, SND-4, ACK-2, RED-6, TMP-1.

use ferrymq::broker::{Destination, Kind};

use crate::wire::client::{Client, Frame};
use crate::wire::server::Server;

/// Cases of the list that are tested here.
pub(crate) const COVERED: &[&str] = &[
    "C148", "C150", "C151", "C186", "C187", "C188", "C295", "C297", "C299", "C301", "C302", "C303",
];

fn ack(message: &Frame) -> String {
    format!("ACK id:{}", message.must("ack"))
}

/// What is left in a queue, by body.
fn rest(server: &Server, queue: &str) -> Vec<String> {
    let mut client = server.client();
    client.ask(&format!("SUBSCRIBE id:rest destination:{queue}"));
    let messages = client.ask_amid("SEND destination:/queue/fence");
    messages
        .iter()
        .map(|message| message.text().to_owned())
        .collect()
}

#[test]
fn a_list_gets_one_copy_each() {
    let server = Server::start();
    let mut listener = server.client();
    listener.ask("SUBSCRIBE id:1 destination:/topic/B");
    let mut client = server.client();
    client.send("/queue/A,/topic/B,C,/queue/A", "m");
    listener.message("m").check("MESSAGE destination:/topic/B");
    listener.fence();
    assert_eq!(rest(&server, "/queue/A"), ["m"]);
    assert_eq!(rest(&server, "/queue/C"), ["m"]);
    client.refused(
        "SEND destination:/queue/A,/queue/B.*",
        "ERROR message~wildcards",
    );
    assert!(rest(&server, "/queue/A").is_empty(), "all or none");
}

#[test]
fn a_list_in_a_transaction_comes_and_goes_as_one() {
    let server = Server::start();
    let mut client = server.client();
    for (transaction, end) in [("t1", "ABORT"), ("t2", "COMMIT")] {
        client.ask(&format!("BEGIN transaction:{transaction}"));
        let head = format!("SEND destination:/queue/A,/queue/B transaction:{transaction}");
        client.ask_with(&head, transaction);
        client.ask(&format!("{end} transaction:{transaction}"));
    }
    assert_eq!(rest(&server, "/queue/A"), ["t2"]);
    assert_eq!(rest(&server, "/queue/B"), ["t2"]);
}

#[test]
fn the_copies_of_a_persistent_message_survive_and_leave_one_by_one() {
    let directory = tempfile::tempdir().expect("a directory");
    let start = || {
        Server::with(|config| {
            config.broker.ephemeral = false;
            config.broker.data_dir = directory.path().join("data");
        })
    };
    let server = start();
    let mut client = server.client();
    let body = "x".repeat(30_000);
    let head = "SEND destination:/queue/A,/queue/B,/queue/C persistent:true";
    client.ask_with(head, &body);
    assert_eq!(rest(&server, "/queue/B"), [body.as_str()]);
    server.stop();
    let server = start();
    // They are on disk only, and come when they are read.
    for queue in ["A", "C"] {
        let mut client = server.client();
        client.ask(&format!("SUBSCRIBE id:1 destination:/queue/{queue}"));
        client.message(&body);
    }
    assert!(rest(&server, "/queue/B").is_empty());
}

#[test]
fn a_subscription_to_a_list_shows_where_each_message_came_from() {
    let server = Server::start();
    let mut client = server.client();
    client.send("/queue/A", "backlog");
    client.ask("SUBSCRIBE id:1 destination:/queue/A,B");
    client
        .message("backlog")
        .check("MESSAGE destination:/queue/A subscription:1");
    let mut other = server.client();
    other.send("/queue/B", "b");
    client
        .message("b")
        .check("MESSAGE destination:/queue/B subscription:1");
    client.ask("UNSUBSCRIBE id:1");
    other.send("/queue/A,/queue/B", "later");
    client.fence();
    assert_eq!(rest(&server, "/queue/A"), ["later"]);
}

#[test]
fn a_wildcard_gets_what_matches_now_and_later() {
    let server = Server::start();
    let (mut client, mut other) = (server.client(), server.client());
    for queue in ["a", "a.b", "a.b.c", "b"] {
        other.send(&format!("/queue/{queue}"), queue);
    }
    client.ask("SUBSCRIBE id:1 destination:/queue/a.>");
    let mut found = Vec::new();
    for _ in 0..3 {
        let message = client.expect("MESSAGE subscription:1");
        let destination = format!("/queue/{}", message.text());
        assert_eq!(message.must("destination"), destination);
        found.push(message.text().to_owned());
    }
    found.sort();
    assert_eq!(found, ["a", "a.b", "a.b.c"]);
    other.send("/queue/a.new", "new");
    client
        .message("new")
        .check("MESSAGE destination:/queue/a.new");
    // A topic that is made by the very message.
    client.ask("SUBSCRIBE id:2 destination:/topic/t.*.x");
    other.send("/topic/t.1.x", "first");
    client
        .message("first")
        .check("MESSAGE destination:/topic/t.1.x subscription:2");
    other.send("/topic/t.1.y", "not wanted");
    client.ask("UNSUBSCRIBE id:2");
    other.send("/topic/t.2.x", "too late");
    other.send("/topic/t.1.x", "too late");
    client.fence();
}

#[test]
fn an_acknowledgement_covers_all_that_came_before_it_from_anywhere() {
    for version in ["1.1", "1.2"] {
        let server = Server::start();
        let (mut client, mut other) = (server.client_of(version), server.client());
        client.ask("SUBSCRIBE id:1 destination:/queue/a.>,/queue/x ack:client");
        let queues = ["a.1", "x", "a.2", "a.1", "x"];
        for (number, queue) in queues.iter().enumerate() {
            other.send(&format!("/queue/{queue}"), &number.to_string());
        }
        let found = client.messages(["0", "1", "2", "3", "4"]);
        let third = match version {
            "1.2" => ack(&found[2]),
            _ => {
                let id = found[2].must("message-id").replace(':', "\\c");
                format!("ACK subscription:1 message-id:{id}")
            }
        };
        client.ask(&third);
        client.disconnect();
        assert_eq!(rest(&server, "/queue/a.1"), ["3"], "{version}");
        assert_eq!(rest(&server, "/queue/x"), ["4"], "{version}");
        assert!(rest(&server, "/queue/a.2").is_empty(), "{version}");
    }
}

#[test]
fn acknowledgements_over_several_destinations_take_part_in_transactions() {
    let server = Server::start();
    let (mut client, mut other) = (server.client(), server.client());
    client.ask("SUBSCRIBE id:1 destination:/queue/a,/queue/b ack:client");
    other.send("/queue/a", "1");
    other.send("/queue/b", "2");
    let found = client.messages(["1", "2"]);
    for end in ["ABORT", "COMMIT"] {
        client.ask("BEGIN transaction:t");
        client.ask(&format!("{} transaction:t", ack(&found[1])));
        client.ask(&format!("{end} transaction:t"));
    }
    client.refused(&ack(&found[0]), "ERROR message~Unexpected");
    client.disconnect();
    assert!(rest(&server, "/queue/a").is_empty());
    assert!(rest(&server, "/queue/b").is_empty());
}

#[test]
fn each_delivery_of_a_list_can_be_acknowledged_alone() {
    let server = Server::start();
    let (mut client, mut other) = (server.client(), server.client());
    client.ask("SUBSCRIBE id:1 destination:/queue/a,/queue/b ack:client-individual");
    other.send("/queue/a", "1");
    other.send("/queue/b", "2");
    let found = client.messages(["1", "2"]);
    assert_ne!(found[0].must("ack"), found[1].must("ack"));
    client.ask(&ack(&found[1]));
    client.refused(&ack(&found[1]), "ERROR message~Unexpected");
    client.leave();
    let mut client = server.client();
    client.ask("SUBSCRIBE id:1 destination:/queue/a,/queue/b");
    client
        .message("1")
        .check("MESSAGE redelivered:true JMSXDeliveryCount:2");
    client.fence();
}

#[test]
fn options_are_headers_and_headers_win() {
    let server = Server::start();
    let mut client = server.client();
    for number in ["1", "2", "3"] {
        client.put_with(&format!("SEND destination:/queue/q n:{number}"), number);
    }
    let options = "consumer.prefetchSize=1&consumer.priority=5";
    client.ask(&format!(
        "SUBSCRIBE id:1 destination:/queue/q?{options} ack:client"
    ));
    client.message("1");
    client.fence();
    client.ask("UNSUBSCRIBE id:1");
    let head =
        "SUBSCRIBE id:2 destination:/queue/q?consumer.prefetchSize=1 activemq.prefetchSize:2";
    client.ask(&format!("{head} ack:client"));
    client.messages(["1", "2"]);
    client.fence();
    client.ask("UNSUBSCRIBE id:2");
    client.ask("SUBSCRIBE id:3 destination:/queue/q?consumer.selector=n%20%3D%20'3' ack:client");
    client.message("3");
    client.fence();
    client.refused(
        "SUBSCRIBE id:4 destination:/queue/q?consumer.colour=red",
        "ERROR message~consumer.colour",
    );
    client.refused(
        "SUBSCRIBE id:4 destination:/queue/q?consumer.prefetchSize=many",
        "ERROR message~consumer.prefetchSize",
    );
    client.refused(
        "SEND destination:/queue/q?consumer.priority=1",
        "ERROR message~'for SUBSCRIBE only'",
    );
}

#[test]
fn a_temporary_queue_is_its_owners_alone() {
    let server = Server::start();
    let (mut client, mut other) = (server.client(), server.client());
    client.ask("SUBSCRIBE id:1 destination:/temp-queue/x");
    other.ask("SUBSCRIBE id:1 destination:/temp-queue/x");
    client.put_with("SEND destination:/temp-queue/x", "mine");
    client
        .message("mine")
        .check("MESSAGE destination:/temp-queue/x");
    other.fence();
    // What was sent before anybody subscribed waits.
    client.send("/temp-queue/y", "waits");
    client.put("SUBSCRIBE id:2 destination:temp-queue\\c//y");
    client.message("waits").check("MESSAGE subscription:2");
    // It is not part of what wildcards see.
    client.send("/temp-queue/z", "hidden");
    other.ask("SUBSCRIBE id:2 destination:/queue/>");
    other.fence();
}

/// The name under which a service finds the reply queue of a request.
fn reply_to(service: &mut Client, body: &str) -> String {
    let request = service.message(body);
    service.ask(&ack(&request));
    request.must("reply-to").to_owned()
}

#[test]
fn a_service_answers_to_a_temporary_queue_and_hears_when_it_is_gone() {
    let server = Server::start();
    let (mut client, mut service) = (server.client(), server.client());
    service.ask("SUBSCRIBE id:1 destination:/queue/service ack:client");
    client.ask("SUBSCRIBE id:r destination:/temp-queue/replies");
    let request = "SEND destination:/queue/service reply-to:/temp-queue/replies correlation-id:7";
    for body in ["one", "two"] {
        client.put_with(request, body);
        let remote = reply_to(&mut service, body);
        assert!(remote.starts_with("/remote-temp-queue/ID"), "{remote}");
        let answer = format!("{body} answered");
        service.put_with(
            &format!("SEND destination:{remote} correlation-id:7"),
            &answer,
        );
        client
            .message(&answer)
            .check("MESSAGE destination:/temp-queue/replies subscription:r correlation-id:7");
    }
    // The owner sees its own name.
    client.ask("SUBSCRIBE id:own destination:/queue/own");
    client.put_with(
        "SEND destination:/queue/own reply-to:/temp-queue/replies",
        "own",
    );
    client
        .message("own")
        .check("MESSAGE reply-to:/temp-queue/replies");
    client.put_with(request, "last");
    let remote = reply_to(&mut service, "last");
    service.refused(
        &format!("SUBSCRIBE id:2 destination:{remote}"),
        "ERROR message~'Subscribing to a temporary queue created by another connection is not permitted'",
    );
    let id = remote.trim_start_matches("/remote-temp-queue/").to_owned();
    client.disconnect();
    service.refused(
        &format!("SEND destination:{remote}"),
        "ERROR message~'does not exist'",
    );
    let gone = Destination::temporary(Kind::Queue, &id);
    assert!(server.engine().registry.get(&gone).is_none());
}

#[test]
fn a_temporary_topic_reaches_its_owner_only_while_it_listens() {
    let server = Server::start();
    let (mut client, mut other) = (server.client(), server.client());
    client.send("/temp-topic/t", "nobody listens");
    client.ask("SUBSCRIBE id:1 destination:/temp-topic/t");
    other.ask("SUBSCRIBE id:1 destination:/queue/q");
    client.put("SEND destination:/queue/q reply-to:/temp-topic/t");
    let message = other.expect("MESSAGE reply-to");
    let remote = message.must("reply-to");
    assert!(remote.starts_with("/remote-temp-topic/ID"), "{remote}");
    other.send(remote, "heard");
    client
        .message("heard")
        .check("MESSAGE destination:/temp-topic/t");
    let mut named = server.client_named("named");
    named.refused(
        "SUBSCRIBE id:d destination:/temp-topic/t activemq.subscriptionName:d",
        "ERROR message~'temporary topic'",
    );
}

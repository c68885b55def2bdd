//! Statistics by message. Spec: behaviour ADM-20, STP-M.

use ferrymq_protocols::map::{MapEntries, MapValue, from_json, from_xml};

use crate::security;
use crate::wire::client::{Client, Frame};
use crate::wire::server::Server;

/// A connection with a place for answers.
fn asker(server: &Server) -> Client {
    let mut client = server.client();
    client.ask("SUBSCRIBE id:answers destination:/temp-queue/answers");
    client
}

/// Asks for figures; the answers come before the receipt or after it.
fn ask(client: &mut Client, what: &str, more: &str) {
    let head = format!(
        "SEND destination:/queue/ActiveMQ.Statistics.{what} reply-to:/temp-queue/answers {more}"
    );
    client.put(head.trim_end());
}

#[track_caller]
fn answer(client: &mut Client) -> MapEntries {
    let frame = client.expect("MESSAGE subscription:answers transformation:jms-map-json");
    from_json(frame.text()).unwrap_or_else(|error| panic!("{error}: {frame:?}"))
}

#[track_caller]
fn figure<'m>(figures: &'m MapEntries, name: &str) -> &'m MapValue {
    let found = figures.iter().find(|(known, _)| known == name);
    &found
        .unwrap_or_else(|| panic!("no {name} in {figures:?}"))
        .1
}

#[track_caller]
fn check(figures: &MapEntries, expected: &[(&str, i64)]) {
    for (name, count) in expected {
        assert_eq!(figure(figures, name), &MapValue::Long(*count), "{name}");
    }
}

fn text(text: &str) -> MapValue {
    MapValue::String(text.to_owned())
}

/// Two queues and a topic with something in them, and who did it.
fn busy(server: &Server) -> Client {
    let mut client = server.client_named("busy");
    for _ in 0..5 {
        client.send("/queue/orders.eu", "12345");
    }
    client.send("/queue/orders.us", "m");
    client.ask_with("SEND destination:/queue/orders.eu expires:1", "late");
    client.ask("SUBSCRIBE id:1 destination:/queue/orders.eu ack:client activemq.prefetchSize:2 selector:'1 = 1'");
    let message = client.message("12345");
    client.ask_amid(&format!("ACK id:{}", message.must("ack")));
    client
}

#[test]
fn a_destination_answers_with_what_it_has_done() {
    let server = Server::start();
    let mut busy = busy(&server);
    let mut client = asker(&server);
    ask(
        &mut client,
        "Destinationorders.eu",
        "correlation-id:7 receipt:1",
    );
    let mut frames: Vec<Frame> = vec![client.frame(), client.frame()];
    frames.sort_by(|one, other| one.command.cmp(&other.command));
    frames[1].check("RECEIPT receipt-id:1");
    frames[0].check("MESSAGE correlation-id:7 destination:/temp-queue/answers");
    let figures = from_json(frames[0].text()).expect("a map");
    assert_eq!(figure(&figures, "brokerName"), &text("ferrymq"));
    assert_eq!(
        figure(&figures, "destinationName"),
        &text("queue://orders.eu")
    );
    let counts = [
        ("size", 4),
        ("enqueueCount", 6),
        ("dequeueCount", 2),
        ("dispatchCount", 3),
        ("expiredCount", 1),
        ("inflightCount", 2),
        ("consumerCount", 1),
        ("producerCount", 1),
        ("messagesCached", 4),
    ];
    check(&figures, &counts);
    let MapValue::Double(size) = figure(&figures, "averageMessageSize") else {
        panic!("{figures:?}");
    };
    assert!(
        (5.0..6.0).contains(size) || *size < 5.0 && *size > 4.0,
        "{size}"
    );
    let MapValue::Long(used) = figure(&figures, "memoryUsage") else {
        panic!("{figures:?}");
    };
    assert!(*used > 4 * 5);
    // What was not there is not made, and not answered.
    ask(&mut client, "Destinationnone", "receipt:2");
    client.expect("RECEIPT receipt-id:2");
    client.fence();
    busy.fence();
}

#[test]
fn a_pattern_is_answered_one_by_one_and_with_an_end_if_that_is_asked_for() {
    let server = Server::start();
    let _busy = busy(&server);
    let mut client = asker(&server);
    let end = "ActiveMQ.Statistics.Destination.List.End.With.Null:true";
    for pattern in ["Destinationorders.>", "Destination.orders.*"] {
        ask(&mut client, pattern, end);
        for name in ["queue://orders.eu", "queue://orders.us"] {
            assert_eq!(figure(&answer(&mut client), "destinationName"), &text(name));
        }
        assert!(answer(&mut client).is_empty());
    }
    let topic = "SEND destination:/topic/ActiveMQ.Statistics.Destination>";
    client.put(&format!("{topic} reply-to:/temp-queue/answers {end}"));
    assert!(answer(&mut client).is_empty(), "there are no topics");
    client.fence();
}

#[test]
fn the_broker_answers_with_sums_also_as_xml() {
    let server = Server::start();
    let _busy = busy(&server);
    let mut client = asker(&server);
    ask(&mut client, "Broker", "transformation:jms-map-xml");
    let frame = client.expect("MESSAGE transformation:jms-map-xml");
    let figures = from_xml(frame.text()).expect("a map");
    check(
        &figures,
        &[
            ("size", 5),
            ("enqueueCount", 7),
            ("expiredCount", 1),
            ("consumerCount", 2),
        ],
    );
    let MapValue::Long(limit) = figure(&figures, "memoryLimit") else {
        panic!("{figures:?}");
    };
    assert_eq!(
        u64::try_from(*limit),
        Ok(server.engine().memory.limit_bytes())
    );
    assert!(matches!(
        figure(&figures, "storePercentUsage"),
        MapValue::Int(0)
    ));
}

#[test]
fn subscriptions_answer_each_for_itself() {
    let server = Server::start();
    let _busy = busy(&server);
    let mut client = asker(&server);
    ask(&mut client, "Subscription", "");
    let own = answer(&mut client);
    assert!(
        matches!(figure(&own, "destinationName"), MapValue::String(name) if name.starts_with("ID-"))
    );
    let figures = answer(&mut client);
    assert_eq!(figure(&figures, "clientId"), &text("busy"));
    assert_eq!(figure(&figures, "destinationName"), &text("orders.eu"));
    assert_eq!(figure(&figures, "selector"), &text("1 = 1"));
    assert_eq!(figure(&figures, "prefetchSize"), &MapValue::Int(2));
    assert_eq!(figure(&figures, "slowConsumer"), &MapValue::Boolean(true));
    check(
        &figures,
        &[("pendingQueueSize", 2), ("dispatchedQueueSize", 2)],
    );
    client.fence();
}

#[test]
fn what_cannot_be_answered_is_refused() {
    let server = Server::start();
    let mut client = asker(&server);
    let broker = "SEND destination:/queue/ActiveMQ.Statistics.Broker";
    client.refused(broker, "ERROR message~'needs a reply-to'");
    let unknown = "SEND destination:/queue/ActiveMQ.Statistics.Other reply-to:/temp-queue/answers";
    client.refused(unknown, "ERROR message~'no statistics'");
    client.ask("BEGIN transaction:t");
    let head = format!("{broker} reply-to:/temp-queue/answers transaction:t");
    client.refused(&head, "ERROR message~transaction");
    client.refused(
        "SUBSCRIBE id:1 destination:/queue/ActiveMQ.Statistics.Broker",
        "ERROR message~'reply-to only'",
    );
}

#[test]
fn figures_are_for_administrators_if_there_are_rules() {
    let users = vec![security::user("boss", ""), security::user("other", "")];
    let rules = [
        ("ActiveMQ.Statistics.>", ["*", "*", "user:boss"]),
        ("orders", ["*", "*", "*"]),
    ];
    let rules = rules.map(|(queue, who)| security::rule(queue, who));
    let server = Server::of(security::config(users, rules.to_vec()));
    for (user, allowed) in [("boss", true), ("other", false)] {
        let mut client = server.open().connected(&security::login(user));
        client.ask("SUBSCRIBE id:answers destination:/temp-queue/answers");
        ask(&mut client, "Destination>", "receipt:1");
        let answer = client.frame();
        if allowed {
            answer.check("RECEIPT receipt-id:1");
        } else {
            answer.check("ERROR receipt-id:1 message~'not authorized to'");
        }
    }
}

/// Asks why something is not delivered.
fn why(client: &mut Client, what: &str, more: &str) -> MapEntries {
    ask(client, &format!("Why.{what}"), more);
    answer(client)
}

#[test]
fn a_question_why_something_is_not_delivered_is_answered_with_names() {
    let server = Server::start();
    let mut client = asker(&server);
    let mut producer = server.client();
    producer.send("/queue/q", "1");
    producer.send("/queue/q", "2");
    let found = why(&mut client, "q", "");
    assert_eq!(figure(&found, "code"), &text("no-consumer"));
    ask(&mut client, "Destination.q", "");
    let figures = answer(&mut client);
    assert_eq!(
        figure(&figures, "idleReason"),
        &text("nobody consumes from /queue/q")
    );

    let mut worker = server.client_named("worker");
    worker.ask("SUBSCRIBE id:1 destination:/queue/q ack:client-individual activemq.prefetchSize:1");
    let message = worker.message("1");
    let found = why(&mut client, "q", "");
    assert_eq!(figure(&found, "code"), &text("window-full"));
    assert_eq!(figure(&found, "clientId"), &text("worker"));
    let MapValue::String(id) = figure(&found, "consumerId").clone() else {
        panic!("{found:?}")
    };
    let head = format!(
        "why-consumer-id:{id} why-message-id:{}",
        message.must("message-id")
    );
    let found = why(&mut client, "q", &head);
    assert_eq!(figure(&found, "code"), &text("in-flight"));
    let mut picky = server.client_named("picky");
    picky.ask("SUBSCRIBE id:1 destination:/queue/q selector:'colour IS NOT NULL'");
    ask(&mut client, "Why.q", "");
    let codes: Vec<MapEntries> = (0..2).map(|_| answer(&mut client)).collect();
    let selector = codes
        .iter()
        .find(|found| figure(found, "code") == &text("selector"));
    let selector = figure(selector.expect("one of both"), "selector");
    assert_eq!(selector, &text("colour IS NOT NULL"));

    let queue = ferrymq::broker::Destination::queue("q");
    let cell = server.engine().registry.get(&queue).expect("it is there");
    server.engine().pause(&cell, "anna").expect("a queue");
    let found = why(&mut client, "q", "");
    let MapValue::String(said) = figure(&found, "text") else {
        panic!("{found:?}")
    };
    assert!(
        said.starts_with("/queue/q has been paused by anna"),
        "{said}"
    );
    for (asked, more) in [
        ("Why.nothing", ""),
        ("Why.q", "why-message-id:ID:x"),
        ("Why.q", "why-consumer-id:x"),
    ] {
        let head = format!(
            "SEND destination:/queue/ActiveMQ.Statistics.{asked} reply-to:/temp-queue/answers {more}"
        );
        client.refused(head.trim_end(), "ERROR");
    }
}

#[test]
fn why_a_topic_subscriber_gets_nothing_is_answered() {
    let server = Server::start();
    let mut client = asker(&server);
    let mut slow = server.client_named("slow");
    slow.ask("SUBSCRIBE id:1 destination:/topic/t ack:client activemq.prefetchSize:1");
    ask(&mut client, "Subscription", "");
    let found = loop {
        let found = answer(&mut client);
        if figure(&found, "clientId") == &text("slow") {
            break found;
        }
    };
    let MapValue::String(id) = figure(&found, "consumerId").clone() else {
        panic!("{found:?}")
    };
    let mut asking = asker(&server);
    let mut ask_topic = || {
        let head = format!(
            "SEND destination:/topic/ActiveMQ.Statistics.Why.t reply-to:/temp-queue/answers why-consumer-id:{id}"
        );
        asking.put(&head);
        answer(&mut asking)
    };
    assert_eq!(figure(&ask_topic(), "code"), &text("empty"));
    let mut producer = server.client();
    producer.send("/topic/t", "1");
    producer.send("/topic/t", "2");
    assert_eq!(figure(&ask_topic(), "code"), &text("window-full"));
}

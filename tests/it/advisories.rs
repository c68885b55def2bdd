//! What the broker reports of itself, over the wire.
//! Spec: behaviour 11.7 with ADV-1 to ADV-6, MSG-6, TMP-1, STP-T; cases 203 to 206.

use std::sync::Arc;

use ferrymq::broker::{Destination, Kind};
use ferrymq::config::Config;
use serde_json::Value;

use crate::security;
use crate::wait::until;
use crate::wire::client::{Client, Frame};
use crate::wire::server::Server;

/// Cases of the list that are tested here.
pub(crate) const COVERED: &[&str] = &["C155", "C203", "C204", "C205", "C206"];

/// Subscribes to advisories, and passes over those of what is there already.
fn listen(server: &Server, topic: &str) -> Client {
    let mut client = server.client();
    client.ask(&format!("SUBSCRIBE id:a destination:{topic}"));
    after_replay(&mut client);
    client
}

/// Passes over what comes before now.
#[track_caller]
fn after_replay(client: &mut Client) {
    client.ask_amid("BEGIN transaction:quiet");
    client.ask("ABORT transaction:quiet");
}

/// Shows that nothing has come, by frames that are reported to nobody.
#[track_caller]
fn quiet(client: &mut Client) {
    client.ask("BEGIN transaction:quiet");
    client.ask("ABORT transaction:quiet");
}

/// The data of an advisory: the name of the command, and its fields.
#[track_caller]
fn data(frame: &Frame) -> (String, Value) {
    frame.check("MESSAGE type:Advisory transformation:jms-advisory-json priority:0 originBrokerName:ferrymq");
    frame.check(
        "MESSAGE originBrokerId:ID\\cferrymq originBrokerURL~tcp !persistent !content-length",
    );
    let Ok(Value::Object(body)) = serde_json::from_str(frame.text()) else {
        panic!("no object: {frame:?}");
    };
    let mut commands = body.into_iter();
    let only = commands.next().expect("a command");
    assert!(commands.next().is_none(), "one command: {frame:?}");
    only
}

/// The next advisory is on this topic and tells of this command; gives its fields and the frame.
#[track_caller]
fn told(client: &mut Client, topic: &str, command: &str) -> (Value, Frame) {
    let frame = client.frame();
    frame.check(&format!(
        "MESSAGE destination:/topic/ActiveMQ.Advisory.{topic}"
    ));
    let (found, fields) = data(&frame);
    assert_eq!(found, command, "{frame:?}");
    (fields, frame)
}

/// A server whose queues and topics have this policy.
fn with_policy(key: &str) -> Server {
    let file = format!(
        "[broker]\nephemeral = true\n[[policy]]\nqueue = \">\"\n{key} = true\n[[policy]]\ntopic = \">\"\n{key} = true\n"
    );
    Server::of(config(&file))
}

fn config(file: &str) -> Config {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("activemq.toml");
    std::fs::write(&path, file).expect("a file");
    let loaded = ferrymq::config::load::load(&ferrymq::config::Sources::file(&path));
    loaded.expect("a correct configuration").config
}

#[test]
fn connections_are_reported_when_they_come_and_go() {
    let server = Server::start();
    let mut client = server.client();
    client.ask("SUBSCRIBE id:a destination:/topic/ActiveMQ.Advisory.Connection");
    let (own, _) = told(&mut client, "Connection", "ConnectionInfo");
    let other = server.client_named("other");
    let (fields, _) = told(&mut client, "Connection", "ConnectionInfo");
    assert_eq!(fields["clientId"], "other");
    assert_ne!(fields["connectionId"], own["connectionId"]);
    assert!(
        fields["clientIp"]
            .as_str()
            .expect("it has one")
            .starts_with("tcp://127.0.0.1:")
    );
    other.disconnect();
    let (gone, _) = told(&mut client, "Connection", "RemoveInfo");
    assert_eq!(gone["objectId"], fields["connectionId"]);
    // One that just dies, too.
    server.client_named("killed").kill();
    told(&mut client, "Connection", "ConnectionInfo");
    told(&mut client, "Connection", "RemoveInfo");
    quiet(&mut client);
}

#[test]
fn advisories_are_xml_on_request() {
    let server = Server::start();
    for (number, name) in ["jms-xml", "jms-advisory-xml"].iter().enumerate() {
        let mut client = server.client();
        let topic = "/topic/ActiveMQ.Advisory.Connection";
        client.ask(&format!(
            "SUBSCRIBE id:a destination:{topic} transformation:{name}"
        ));
        for _ in 0..=number {
            let own = client.expect("MESSAGE transformation:jms-advisory-xml");
            assert!(own.text().starts_with("<ConnectionInfo>"), "{own:?}");
            assert!(own.text().ends_with("</ConnectionInfo>"), "{own:?}");
        }
        // It stays for the next round.
        std::mem::forget(client);
    }
}

#[test]
fn consumers_are_reported_with_their_number_and_told_to_who_comes_later() {
    let server = Server::start();
    let mut early = listen(&server, "/topic/ActiveMQ.Advisory.Consumer.>");
    let mut consumer = server.client_named("c");
    consumer.ask(
        "SUBSCRIBE id:1 destination:/queue/X selector:'a = 1' activemq.prefetchSize:5 ack:client",
    );
    let (fields, frame) = told(&mut early, "Consumer.Queue.X", "ConsumerInfo");
    frame.check("MESSAGE consumerCount:1");
    assert_eq!(fields["destination"], "queue://X");
    assert_eq!(fields["selector"], "a = 1");
    assert_eq!(fields["prefetchSize"], 5);
    assert_eq!(fields["clientId"], "c");
    consumer.ask("SUBSCRIBE id:2 destination:/queue/X");
    told(&mut early, "Consumer.Queue.X", "ConsumerInfo")
        .1
        .check("MESSAGE consumerCount:2");
    consumer.ask("SUBSCRIBE id:3 destination:/topic/T,/queue/Y activemq.priority:3");
    told(&mut early, "Consumer.Topic.T", "ConsumerInfo");
    let (fields, _) = told(&mut early, "Consumer.Queue.Y", "ConsumerInfo");
    assert_eq!(fields["priority"], 3);
    consumer.ask("SUBSCRIBE id:4 destination:/topic/D activemq.subscriptionName:d");
    let (fields, _) = told(&mut early, "Consumer.Topic.D", "ConsumerInfo");
    assert_eq!(fields["subscriptionName"], "d");
    // Who comes later is told of those who are here, and only that one is.
    let mut late = server.client();
    late.ask("SUBSCRIBE id:a destination:/topic/ActiveMQ.Advisory.Consumer.Queue.X");
    for _ in 0..2 {
        told(&mut late, "Consumer.Queue.X", "ConsumerInfo")
            .1
            .check("MESSAGE consumerCount:2");
    }
    quiet(&mut late);
    quiet(&mut early);
    consumer.ask("UNSUBSCRIBE id:2");
    for client in [&mut early, &mut late] {
        told(client, "Consumer.Queue.X", "RemoveInfo")
            .1
            .check("MESSAGE consumerCount:1");
    }
    consumer.disconnect();
    let (removed, frame) = told(&mut late, "Consumer.Queue.X", "RemoveInfo");
    frame.check("MESSAGE consumerCount:0");
    assert!(
        removed["objectId"]
            .as_str()
            .expect("an id")
            .ends_with(":-1:1"),
        "{removed}"
    );
}

#[test]
fn a_selector_chooses_among_advisories() {
    let server = Server::start();
    let mut client = server.client();
    let topic = "/topic/ActiveMQ.Advisory.Consumer.Queue.>";
    client.ask(&format!(
        "SUBSCRIBE id:a destination:{topic} selector:'consumerCount > 1'"
    ));
    let mut consumer = server.client();
    consumer.ask("SUBSCRIBE id:1 destination:/queue/X");
    consumer.ask("SUBSCRIBE id:2 destination:/queue/X");
    told(&mut client, "Consumer.Queue.X", "ConsumerInfo")
        .1
        .check("MESSAGE consumerCount:2");
    quiet(&mut client);
}

#[test]
fn producers_are_connections_that_send_to_a_destination() {
    let server = Server::start();
    let mut client = listen(&server, "/topic/ActiveMQ.Advisory.Producer.>");
    let mut producer = server.client();
    for _ in 0..3 {
        producer.send("/queue/X", "m");
    }
    let (fields, frame) = told(&mut client, "Producer.Queue.X", "ProducerInfo");
    frame.check("MESSAGE producerCount:1");
    assert_eq!(fields["destination"], "queue://X");
    let mut other = server.client();
    other.send("/queue/X,/topic/T", "m");
    told(&mut client, "Producer.Queue.X", "ProducerInfo")
        .1
        .check("MESSAGE producerCount:2");
    told(&mut client, "Producer.Topic.T", "ProducerInfo")
        .1
        .check("MESSAGE producerCount:1");
    producer.disconnect();
    let (removed, frame) = told(&mut client, "Producer.Queue.X", "RemoveInfo");
    frame.check("MESSAGE producerCount:1");
    assert_eq!(removed["objectId"], fields["producerId"]);
    let mut late = server.client();
    late.ask("SUBSCRIBE id:a destination:/topic/ActiveMQ.Advisory.Producer.Queue.X");
    told(&mut late, "Producer.Queue.X", "ProducerInfo");
}

#[test]
fn destinations_are_reported_when_they_are_made_and_removed() {
    let server = Server::start();
    let mut client = server.client();
    client.send("/queue/old", "m");
    client.ask(
        "SUBSCRIBE id:a destination:/topic/ActiveMQ.Advisory.Queue,/topic/ActiveMQ.Advisory.Topic",
    );
    let (fields, _) = told(&mut client, "Queue", "DestinationInfo");
    assert_eq!(fields["destination"], "queue://old");
    let mut other = server.client();
    other.send("/topic/new", "m");
    let (fields, _) = told(&mut client, "Topic", "DestinationInfo");
    assert_eq!(
        (&fields["destination"], &fields["operationType"]),
        (&"topic://new".into(), &0.into())
    );
    after_replay(&mut client);
    assert!(
        server
            .engine()
            .registry
            .get(&Destination::topic("ActiveMQ.Advisory.Consumer.Queue.old"))
            .is_none(),
        "lazily"
    );
}

#[test]
fn temporary_destinations_are_reported_before_a_message_can_name_them() {
    let server = Server::start();
    let both = "/topic/ActiveMQ.Advisory.TempTopic,/topic/ActiveMQ.Advisory.TempQueue";
    let mut client = listen(&server, both);
    client.ask("SUBSCRIBE id:q destination:/queue/service");
    let mut owner = server.client();
    owner.ask("SUBSCRIBE id:1 destination:/temp-queue/x");
    let (queue, _) = told(&mut client, "TempQueue", "DestinationInfo");
    owner.put("SEND destination:/queue/service reply-to:/temp-topic/t");
    let (topic, _) = told(&mut client, "TempTopic", "DestinationInfo");
    assert_eq!(queue["connectionId"], topic["connectionId"]);
    let request = client.expect("MESSAGE subscription:q");
    let name = topic["destination"]
        .as_str()
        .expect("a name")
        .trim_start_matches("temp-topic://");
    assert_eq!(
        request.must("reply-to"),
        format!("/remote-temp-topic/{name}")
    );
    owner.disconnect();
    let mut gone = Vec::new();
    for _ in 0..2 {
        let (_, fields) = data(&client.frame());
        assert_eq!(fields["operationType"], 1);
        gone.push(fields["destination"].clone());
    }
    assert!(gone.contains(&queue["destination"]) && gone.contains(&topic["destination"]));
    quiet(&mut client);
}

#[test]
fn messages_that_expire_or_die_are_reported() {
    let server = Server::start();
    let list = "/topic/ActiveMQ.Advisory.Expired.>,/topic/ActiveMQ.Advisory.MessageDLQd.>";
    let mut client = listen(&server, list);
    let mut producer = server.client();
    producer.ask_with(
        "SEND destination:/queue/q expires:1 persistent:true a:b",
        "secret",
    );
    let (fields, frame) = told(&mut client, "Expired.Queue.q", "ActiveMQMessage");
    frame.check(
        "MESSAGE orignalMessageId:ID\\cferrymq-* orignalDestination:queue\\c//q"
            .split(' ')
            .next()
            .expect("one"),
    );
    frame.check("MESSAGE orignalMessageId~ID\\cferrymq- orignalDestination:queue\\c//q");
    assert_eq!(fields["properties"]["a"], "b");
    assert!(
        fields.get("text").is_none(),
        "no body unless the policy says so"
    );
    let (fields, _) = told(&mut client, "MessageDLQd.Queue.q", "ActiveMQMessage");
    assert_eq!(fields["originalDestination"], "/queue/q");
    quiet(&mut client);
}

#[test]
fn a_report_holds_the_body_if_the_policy_says_so() {
    let server = with_policy("includeBodyForAdvisory");
    let mut client = listen(&server, "/topic/ActiveMQ.Advisory.Expired.Queue.q");
    let mut producer = server.client();
    producer.ask_with("SEND destination:/queue/q expires:1", "shown");
    let (fields, _) = told(&mut client, "Expired.Queue.q", "ActiveMQMessage");
    assert_eq!(fields["text"], "shown");
}

#[test]
fn what_nobody_consumes_is_reported_if_the_policy_says_so() {
    let server = with_policy("sendAdvisoryIfNoConsumers");
    let mut client = listen(&server, "/topic/ActiveMQ.Advisory.NoConsumer.>");
    let mut producer = server.client();
    producer.send("/queue/q", "m");
    told(&mut client, "NoConsumer.Queue.q", "ActiveMQMessage");
    producer.send("/topic/t", "m");
    told(&mut client, "NoConsumer.Topic.t", "ActiveMQMessage");
    producer.ask("SUBSCRIBE id:1 destination:/topic/t");
    producer.put_with("SEND destination:/topic/t", "heard");
    producer.message("heard");
    quiet(&mut client);
}

#[test]
fn each_step_of_a_message_is_reported_if_the_policy_says_so() {
    for (key, topic) in [
        ("advisoryForDelivery", "MessageDelivered"),
        ("advisoryForDispatched", "MessageDispatched"),
        ("advisoryForConsumed", "MessageConsumed"),
    ] {
        let server = with_policy(key);
        let mut client = listen(&server, &format!("/topic/ActiveMQ.Advisory.{topic}.>"));
        let mut other = server.client();
        for destination in ["/queue/q", "/topic/q"] {
            other.ask(&format!(
                "SUBSCRIBE id:{destination} destination:{destination} ack:client"
            ));
            other.put_with(&format!("SEND destination:{destination}"), "m");
            let message = other.message("m");
            other.ask(&format!("ACK id:{}", message.must("ack")));
            let kind = if destination.starts_with("/queue") {
                "Queue"
            } else {
                "Topic"
            };
            let (fields, _) = told(&mut client, &format!("{topic}.{kind}.q"), "ActiveMQMessage");
            let id = message.must("message-id").replace("\\c", ":");
            assert_eq!(fields["messageId"], id.as_str(), "{key}");
            quiet(&mut client);
        }
        // In a transaction, too.
        let mut producer = server.client();
        producer.ask("BEGIN transaction:t");
        producer.ask_with("SEND destination:/queue/q transaction:t", "m2");
        quiet(&mut client);
        producer.ask("COMMIT transaction:t");
        let message = other.message("m2");
        other.ask(&format!("ACK id:{}", message.must("ack")));
        told(&mut client, &format!("{topic}.Queue.q"), "ActiveMQMessage");
    }
}

#[test]
fn a_slow_consumer_is_reported_once() {
    let server = with_policy("advisoryForSlowConsumers");
    let mut client = listen(&server, "/topic/ActiveMQ.Advisory.SlowConsumer.>");
    for destination in ["/queue/q", "/topic/q"] {
        let mut other = server.client();
        let head = format!("SUBSCRIBE id:1 destination:{destination}");
        other.ask(&format!("{head} ack:client activemq.prefetchSize:1"));
        for _ in 0..3 {
            server.client().send(destination, "m");
        }
        let kind = if destination.starts_with("/queue") {
            "Queue"
        } else {
            "Topic"
        };
        let (fields, frame) = told(
            &mut client,
            &format!("SlowConsumer.{kind}.q"),
            "ConsumerInfo",
        );
        frame.check("MESSAGE consumerId");
        assert_eq!(fields["prefetchSize"], 1);
        quiet(&mut client);
    }
}

#[test]
fn messages_that_a_slow_subscriber_loses_are_reported() {
    let mut config = config(
        "[broker]\nephemeral = true\n[[policy]]\ntopic = \">\"\nadvisoryForDiscardingMessages = true\n",
    );
    config.memory.slow_topic_subscriber_bytes_max = "64 KiB".parse().expect("a size");
    let server = Server::of(config);
    let mut client = listen(&server, "/topic/ActiveMQ.Advisory.MessageDiscarded.>");
    let mut slow = server.client();
    slow.ask("SUBSCRIBE id:1 destination:/topic/t ack:client activemq.prefetchSize:1");
    let mut producer = server.client();
    for _ in 0..4 {
        producer.send("/topic/t", &"x".repeat(40 << 10));
    }
    for count in 1..=2 {
        let (_, frame) = told(&mut client, "MessageDiscarded.Topic.t", "ActiveMQMessage");
        frame.check(&format!("MESSAGE consumerId discardedCount:{count}"));
    }
}

#[test]
fn a_producer_that_waits_is_reported_with_what_it_waits_for() {
    let file = "[broker]\nephemeral = true\n[[policy]]\nqueue = \">\"\nmaxMessages = 1\nadvisoryWhenFull = true\nadvisoryForFastProducers = true\n";
    let server = Server::of(config(file));
    let list = "/topic/ActiveMQ.Advisory.FastProducer.>,/topic/ActiveMQ.Advisory.FULL.>";
    let mut client = listen(&server, list);
    let mut producer = server.client();
    producer.send("/queue/q", "fits");
    for _ in 0..2 {
        producer.put_with("SEND destination:/queue/q", "waits");
    }
    producer.fence();
    let (fields, _) = told(&mut client, "FastProducer.Queue.q", "ProducerInfo");
    assert_eq!(fields["destination"], "queue://q");
    let (_, frame) = told(&mut client, "FULL.Queue.q", "Usage");
    frame.check("MESSAGE usageName:destination usageCount:100");
    quiet(&mut client);
}

#[test]
fn nothing_is_reported_of_advisories_nor_when_they_are_off() {
    let server = Server::start();
    let mut client = listen(&server, "/topic/ActiveMQ.Advisory.>");
    client.ask("SUBSCRIBE id:b destination:/topic/ActiveMQ.Advisory.Consumer.>");
    after_replay(&mut client);
    client.ask("UNSUBSCRIBE id:b");
    quiet(&mut client);
    let server = Server::with(|config| config.broker.advisory_support = false);
    let mut client = server.client();
    client.ask("SUBSCRIBE id:a destination:/topic/ActiveMQ.Advisory.>");
    let mut other = server.client();
    other.ask("SUBSCRIBE id:1 destination:/queue/X");
    quiet(&mut client);
}

#[test]
fn who_asks_for_all_topics_gets_what_clients_send() {
    let server = Server::start();
    let mut listener = listen(&server, "/topic/ActiveMQ.Advisory.Connection");
    let mut client = server.client();
    told(&mut listener, "Connection", "ConnectionInfo");
    client.ask("SUBSCRIBE id:1 destination:/topic/>");
    let _other = server.client();
    told(&mut listener, "Connection", "ConnectionInfo");
    client.put_with("SEND destination:/topic/x", "m");
    client.message("m");
    client.ask("UNSUBSCRIBE id:1");
    quiet(&mut client);
}

#[test]
fn advisory_topics_go_with_the_last_who_listens() {
    let server = Server::start();
    let count = || {
        let cells = server.engine().registry.all();
        let advisory = |cell: &&Arc<_>| {
            let cell: &ferrymq::engine::cell::Cell = cell;
            cell.destination.is_advisory()
        };
        cells.iter().filter(advisory).count()
    };
    let mut client = listen(&server, "/topic/ActiveMQ.Advisory.Consumer.>");
    let mut other = server.client();
    other.ask("SUBSCRIBE id:1 destination:/queue/X");
    told(&mut client, "Consumer.Queue.X", "ConsumerInfo");
    assert_eq!(count(), 1);
    client.ask("UNSUBSCRIBE id:a");
    assert_eq!(count(), 0);
    other.ask("UNSUBSCRIBE id:1");
    quiet(&mut client);
}

#[test]
fn only_the_broker_sends_advisories_and_nobody_keeps_them() {
    let server = Server::start();
    let mut client = server.client_named("c");
    client.refused(
        "SEND destination:/topic/ActiveMQ.Advisory.Connection",
        "ERROR message~'only the broker does'",
    );
    client.refused(
        "SUBSCRIBE id:d destination:/topic/ActiveMQ.Advisory.Connection activemq.subscriptionName:d",
        "ERROR message~'cannot durably subscribe to an advisory topic'",
    );
}

#[test]
fn what_waits_for_a_slow_listener_counts_against_nothing_that_producers_wait_for() {
    let server = Server::start();
    let mut slow = server.client();
    let topic = "/topic/ActiveMQ.Advisory.Consumer.>";
    slow.ask(&format!(
        "SUBSCRIBE id:a destination:{topic} ack:client activemq.prefetchSize:1"
    ));
    let mut other = server.client();
    for number in 0..2000 {
        other.put(&format!("SUBSCRIBE id:{number} destination:/topic/T"));
        other.put(&format!("UNSUBSCRIBE id:{number}"));
    }
    other.send("/queue/q", "m");
    let topic = Destination {
        kind: Kind::Topic,
        name: "ActiveMQ.Advisory.Consumer.Topic.T".into(),
    };
    let engine = server.engine();
    let cell = engine.registry.get(&topic).expect("it is there");
    let held = until("advisories to wait", || {
        let held = cell.lock().machine.held_bytes();
        (held > 512 << 10).then_some(held)
    });
    assert!(engine.memory.used_bytes() < held / 2);
}

#[test]
fn the_topics_of_destinations_that_are_gone_go_while_somebody_listens_to_all() {
    let server = Server::start();
    let mut client = listen(&server, "/topic/ActiveMQ.Advisory.Consumer.>");
    let rounds = 3000;
    for _ in 0..rounds / 100 {
        let mut other = server.client();
        for number in 0..100 {
            other.put(&format!(
                "SUBSCRIBE id:{number} destination:/temp-queue/{number}"
            ));
        }
        other.disconnect();
    }
    for _ in 0..2 * rounds {
        client.expect("MESSAGE type:Advisory");
    }
    let cells = server.engine().registry.all();
    let left = cells.iter().filter(|cell| cell.destination.is_advisory());
    assert!(left.count() < rounds / 2);
}

#[test]
fn maps_are_shown_in_the_form_that_is_asked_for() {
    let server = Server::start();
    let mut client = server.client();
    let json = r#"{"map":{"entry":[{"string":["name","a<b"]},{"int":5,"string":"age"}]}}"#;
    let xml = "<map><entry><string>name</string><string>a&lt;b</string></entry><entry><string>age</string>\
               <int>5</int></entry></map>";
    let send =
        |form: &str| format!("SEND destination:/topic/t transformation:{form} k:v persistent:true");
    client.ask("SUBSCRIBE id:x destination:/topic/t transformation:jms-map-xml");
    client.put_with(&send("jms-map-json"), json);
    client.message(xml).check("MESSAGE transformation:jms-map-xml k:v !content-length !transformation-error persistent:true");
    client.ask("UNSUBSCRIBE id:x");
    client.ask("SUBSCRIBE id:j destination:/topic/t transformation:jms-json ack:client");
    client.put_with(&send("jms-map-xml"), xml);
    client
        .message(json)
        .check("MESSAGE transformation:jms-map-json k:v ack");
    client.ask("UNSUBSCRIBE id:j");
    // Without a wish it stays what it is; a name that is not known wishes for nothing.
    for wish in ["", " transformation:test"] {
        client.ask(&format!("SUBSCRIBE id:p destination:/topic/t{wish}"));
        client.put_with(&send("jms-map-xml"), xml);
        client
            .message(xml)
            .check("MESSAGE transformation:jms-map-xml");
        client.ask("UNSUBSCRIBE id:p");
    }
    client.ask("SUBSCRIBE id:e destination:/topic/t transformation:jms-map-xml");
    client.put_with(&send("jms-map-json"), "{");
    client
        .message("{")
        .check("MESSAGE !transformation 'transformation-error~not JSON' k:v");
    client.put_with(&send("jms-map-xml"), "<map><entry>");
    client
        .message("<map><entry>")
        .check("MESSAGE !transformation 'transformation-error~not XML' !content-length");
    client.put_with(&format!("{} content-length:1", send("jms-map-json")), "{");
    client
        .message("{")
        .check("MESSAGE transformation:jms-map-json content-length:1 !transformation-error");
    client.put_with("SEND destination:/topic/t", "plain");
    client.message("plain").check("MESSAGE !transformation");
    quiet(&mut client);
}

#[test]
fn plain_users_see_advisories_of_what_they_may_read() {
    let rules = vec![security::rule("orders.>", ["user:u", "", "*"])];
    let server = Server::of(security::config(vec![security::user("u", "")], rules));
    let mut client = server.open().connected(&security::login("u"));
    for allowed in [
        "Consumer.Queue.orders.new",
        "Expired.Queue.orders.>",
        "TempQueue",
        "TempTopic",
    ] {
        client.ask(&format!(
            "SUBSCRIBE id:{allowed} destination:/topic/ActiveMQ.Advisory.{allowed}"
        ));
    }
    after_replay(&mut client);
    for refused in [
        "Connection",
        "Consumer.Queue.invoices",
        "Consumer.>",
        "Queue",
        ">",
    ] {
        let topic = format!("/topic/ActiveMQ.Advisory.{refused}");
        client.put(&format!("SUBSCRIBE id:x destination:{topic} receipt:1"));
        client.expect("ERROR message~'not authorized to read' receipt-id:1");
        client.put(&format!(
            "SUBSCRIBE id:x destination:/topic/ActiveMQ.Advisory.TempQueue,{topic} receipt:1"
        ));
        client.expect("ERROR message~'not authorized to read' receipt-id:1");
    }
    let mut consumer = server.open().connected(&security::login("u"));
    consumer.ask("SUBSCRIBE id:1 destination:/queue/orders.new");
    told(&mut client, "Consumer.Queue.orders.new", "ConsumerInfo");
}

#[test]
fn a_send_makes_a_temporary_destination_where_the_configuration_says_so() {
    let server = Server::with(|config| {
        config.destinations.temp_auto_create_on_send = true;
        config.destinations.temp_purge_after = ferrymq::config::Duration::from_millis(100);
    });
    let mut client = listen(&server, "/topic/ActiveMQ.Advisory.TempQueue");
    let mut other = server.client();
    other.send("/remote-temp-queue/ID-lost", "m");
    let (fields, _) = told(&mut client, "TempQueue", "DestinationInfo");
    assert_eq!(fields["destination"], "temp-queue://ID-lost");
    assert!(fields["connectionId"].is_null());
    // Nobody takes it over, so it goes with what is in it.
    other.send("/queue/q", "m");
    let (fields, _) = told(&mut client, "TempQueue", "DestinationInfo");
    assert_eq!(fields["operationType"], 1);
    let lost = Destination::temporary(Kind::Queue, "ID-lost");
    assert!(server.engine().registry.get(&lost).is_none());
}

#[test]
fn a_connection_is_never_gone_before_it_came() {
    const THREADS: usize = 4;
    const ROUNDS: usize = 20;
    let server = Server::start();
    let mut client = listen(&server, "/topic/ActiveMQ.Advisory.>");
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                for _ in 0..ROUNDS {
                    let mut other = server.client();
                    other.ask("SUBSCRIBE id:1 destination:/queue/shared");
                    other.disconnect();
                }
            });
        }
    });
    let (mut here, mut gone) = (Vec::new(), 0);
    let mut counts = Vec::new();
    while gone < 2 * THREADS * ROUNDS {
        let frame = client.frame();
        if let Some(count) = frame.get("consumerCount") {
            counts.push(count.parse::<i64>().expect("a number"));
        }
        match data(&frame) {
            (command, fields) if command == "ConnectionInfo" => {
                here.push(fields["connectionId"].clone())
            }
            (command, fields) if command == "ConsumerInfo" => {
                here.push(fields["consumerId"].clone())
            }
            (command, fields) if command == "RemoveInfo" => {
                let at = here.iter().position(|known| *known == fields["objectId"]);
                here.swap_remove(at.unwrap_or_else(|| panic!("never came: {frame:?}")));
                gone += 1;
            }
            _ => {}
        }
    }
    assert!(here.is_empty());
    let threads = i64::try_from(THREADS).expect("a small number");
    assert!(
        counts.iter().all(|count| (0..=threads).contains(count)),
        "{counts:?}"
    );
}

//! Part F: durable subscriptions, and browsers, which are still refused. Spec: behaviour SUB-1 to SUB-7.

use super::client::Client;
use super::server::Server;
use super::table::{Case, case, check};

pub(super) const CASES: &[Case] = &[
    case("C209", |s| {
        let client = durable(s, "c209", "d", "/topic/c209");
        client.disconnect();
        publish(s, "/topic/c209", ["1", "2", "3"]);
        durable(s, "c209", "d", "/topic/c209").messages(["1", "2", "3"]);
    }),
    case("C210", |s| {
        let mut client = durable(s, "c210", "d1", "/topic/c210-1");
        client.ask("SUBSCRIBE id:2 destination:/topic/c210-2 activemq.subscriptionName:d2");
        client.disconnect();
        publish(s, "/topic/c210-1", ["one"]);
        publish(s, "/topic/c210-2", ["two"]);
        let mut client = s.client_named("c210");
        client.ask("SUBSCRIBE id:x destination:/topic/c210-2 activemq.subscriptionName:d2");
        client
            .message("two")
            .check("MESSAGE subscription:x destination:/topic/c210-2");
        client.ask("SUBSCRIBE id:y destination:/topic/c210-1 activemq.subscriptionName:d1");
        client
            .message("one")
            .check("MESSAGE subscription:y destination:/topic/c210-1");
    }),
    case("C214", |s| {
        s.client_named("c214").refused(
            "UNSUBSCRIBE id:1 activemq.subscriptionName:nope",
            "ERROR message~'No durable subscription exists for clientID\\c c214 and subscriptionName\\c nope'",
        );
    }),
    case("C215", |s| {
        let connect = "CONNECT client-id:c215";
        let mut client = Client::connect(s.address(), connect);
        client.ask("SUBSCRIBE destination:/topic/c215 activemq.subscriptionName:d");
        client.disconnect();
        let mut client = Client::connect(s.address(), connect);
        client.ask("UNSUBSCRIBE destination:/topic/c215 activemq.subscriptionName:d");
        publish(s, "/topic/c215", ["m"]);
        client.ask("SUBSCRIBE destination:/topic/c215 activemq.subscriptionName:d");
        client.fence();
    }),
    case("C216", |s| {
        let mut client = s.client_named("c216");
        client.refused(
            "SUBSCRIBE id:1 destination:/queue/c216 activemq.subscriptionName:d",
            "ERROR message~'cannot durably subscribe to a Queue destination'",
        );
        client.send("/queue/c216", "m");
        client.fence();
    }),
    case("C217", |s| {
        s.client().refused(
            "SUBSCRIBE id:1 destination:/topic/c217 activemq.subscriptionName:d",
            "ERROR message~'durable subscription needs a client-id'",
        );
    }),
    case("C220", |s| {
        durable(s, "c220", "d", "/topic/c220-old").disconnect();
        publish(s, "/topic/c220-old", ["backlog"]);
        let mut client = durable(s, "c220", "d", "/topic/c220-new");
        client.fence();
        publish(s, "/topic/c220-old", ["old"]);
        publish(s, "/topic/c220-new", ["new"]);
        client.message("new");
        client.fence();
    }),
    case("C222", |s| aliases(s, "c222", "activemq.subcriptionName")),
    case("C228", |s| {
        s.client_of("1.0").refused(
            "SUBSCRIBE destination:/queue/c228 browser:true",
            "ERROR message~Browser",
        );
    }),
    case("SUB-2 aliases", |s| {
        aliases(s, "sub-2-a", "durable-subscription-name");
        aliases(s, "sub-2-b", "durable-subscriber-name");
        aliases(s, "sub-2-c", "activemq.subscriptionName");
    }),
    case("SUB-3", |s| {
        let _active = durable(s, "sub-3", "d", "/topic/sub-3");
        let mut other = s.client_named("sub-3-other");
        other.ask("SUBSCRIBE id:1 destination:/topic/sub-3 activemq.subscriptionName:d");
        // The same name under another client id is another subscription; the same on one connection is in use.
        other.refused(
            "SUBSCRIBE id:2 destination:/topic/sub-3 activemq.subscriptionName:d",
            "ERROR message~'Durable consumer is in use for client\\c sub-3-other and subscriptionName\\c d'",
        );
    }),
    case("SUB-3 free again", |s| {
        durable(s, "sub-3-again", "d", "/topic/sub-3-again").leave();
        durable(s, "sub-3-again", "d", "/topic/sub-3-again").leave();
        durable(s, "sub-3-again", "d", "/topic/sub-3-again").disconnect();
        durable(s, "sub-3-again", "d", "/topic/sub-3-again").fence();
    }),
    case("SUB-4 same topic keeps the backlog", |s| {
        durable(s, "sub-4", "d", "/topic/sub-4").disconnect();
        publish(s, "/topic/sub-4", ["1"]);
        durable(s, "sub-4", "d", "/topic/sub-4")
            .message("1")
            .check("MESSAGE !redelivered");
    }),
    case("SUB-5", |s| {
        durable(s, "sub-5", "d", "/topic/sub-5").disconnect();
        let mut sender = s.client();
        sender.ask_with(
            "SEND destination:/topic/sub-5 persistent:true",
            "persistent",
        );
        sender.ask_with("SEND destination:/topic/sub-5", "not persistent");
        let mut client = durable(s, "sub-5", "d", "/topic/sub-5");
        client
            .message("persistent")
            .check("MESSAGE persistent:true");
        client
            .message("not persistent")
            .check("MESSAGE !persistent");
    }),
    case("SUB-6 durable", |s| {
        let mut client = durable(s, "sub-6", "d", "/topic/sub-6");
        client.ask("UNSUBSCRIBE id:1");
        publish(s, "/topic/sub-6", ["kept"]);
        client.fence();
        client.ask("SUBSCRIBE id:1 destination:/topic/sub-6 activemq.subscriptionName:d");
        client.message("kept");
    }),
    case("SUB-7", |s| {
        let mut client = durable(s, "sub-7", "d", "/topic/sub-7");
        client.refused(
            "UNSUBSCRIBE id:1 activemq.subscriptionName:d",
            "ERROR message~'Durable consumer is in use'",
        );
        publish(s, "/topic/sub-7", ["still"]);
        client.message("still");
        client.ask("UNSUBSCRIBE id:1");
        publish(s, "/topic/sub-7", ["backlog"]);
        client.ask("UNSUBSCRIBE id:1 activemq.subscriptionName:d");
        client.ask("SUBSCRIBE id:1 destination:/topic/sub-7 activemq.subscriptionName:d");
        client.fence();
    }),
    // One name over all topics that match, those that come later too, whether the client is there or not.
    case("SUB-5 wildcard", |s| {
        let mut client = durable(s, "wide", "d", "/topic/wide.>");
        publish(s, "/topic/wide.a", ["1"]);
        client
            .message("1")
            .check("MESSAGE destination:/topic/wide.a subscription:1");
        client.refused(
            "SUBSCRIBE id:2 destination:/topic/wide.b activemq.subscriptionName:d",
            "ERROR message~'Durable consumer is in use for client\\c wide'",
        );
        client.refused(
            "UNSUBSCRIBE id:9 activemq.subscriptionName:d",
            "ERROR message~'Durable consumer is in use'",
        );
        client.disconnect();
        publish(s, "/topic/wide.a", ["2"]);
        publish(s, "/topic/wide.new", ["3"]);
        publish(s, "/topic/other", ["no"]);
        let mut client = durable(s, "wide", "d", "/topic/wide.>");
        let mut found: Vec<String> = (0..2)
            .map(|_| client.expect("MESSAGE !redelivered").text().to_owned())
            .collect();
        found.sort();
        assert_eq!(found, ["2", "3"]);
        client.fence();
        client.disconnect();
        publish(s, "/topic/wide.a", ["4"]);
        let mut client = s.client_named("wide");
        client.ask("UNSUBSCRIBE id:1 activemq.subscriptionName:d");
        client.refused(
            "UNSUBSCRIBE id:1 activemq.subscriptionName:d",
            "ERROR message~'No durable subscription exists'",
        );
        client.ask("SUBSCRIBE id:1 destination:/topic/wide.> activemq.subscriptionName:d");
        client.fence();
    }),
    case("SUB-4 several topics", |s| {
        let list = "/topic/list-a,/topic/list-b";
        durable(s, "list", "d", list).disconnect();
        publish(s, "/topic/list-b", ["1"]);
        let mut client = s.client_named("list");
        client.refused(
            "SUBSCRIBE id:1 destination:/topic/list-a,list-q activemq.subscriptionName:d",
            "ERROR message~'cannot durably subscribe to a Queue destination'",
        );
        client.refused(
            "SUBSCRIBE id:1 destination:/topic/list-a,/temp-topic/t activemq.subscriptionName:d",
            "ERROR message~'cannot durably subscribe to a temporary topic'",
        );
        // The order does not count, and what it asks for does.
        client.ask(
            "SUBSCRIBE id:1 destination:/topic/list-b,/topic/list-a activemq.subscriptionName:d",
        );
        client.message("1");
        client.ask("UNSUBSCRIBE id:1");
        publish(s, "/topic/list-b", ["2"]);
        client.ask(&format!(
            "SUBSCRIBE id:1 destination:{list} activemq.subscriptionName:d selector:'x = 1'"
        ));
        publish(s, "/topic/list-a", ["3"]);
        client.fence();
        client.ask("UNSUBSCRIBE id:1");
        client.ask("SUBSCRIBE id:1 destination:/topic/list-a activemq.subscriptionName:d");
        publish(s, "/topic/list-b", ["4"]);
        publish(s, "/topic/list-a", ["5"]);
        client.message("5");
        client.fence();
    }),
    // Acknowledgements are those of one subscription, in transactions too.
    case("ACK-6 several topics", |s| {
        let subscribe =
            "SUBSCRIBE id:1 destination:/topic/acks.* ack:client activemq.subscriptionName:d";
        let mut client = s.client_named("acks");
        client.ask(subscribe);
        for (topic, body) in [("a", "1"), ("b", "2"), ("a", "3")] {
            publish(s, &format!("/topic/acks.{topic}"), [body]);
        }
        let found = client.messages(["1", "2", "3"]);
        client.ask("BEGIN transaction:t");
        client.ask(&format!("ACK id:{} transaction:t", found[1].must("ack")));
        client.ask("ABORT transaction:t");
        client.ask("BEGIN transaction:u");
        client.ask(&format!("ACK id:{} transaction:u", found[1].must("ack")));
        client.ask("COMMIT transaction:u");
        client.leave();
        let mut client = s.client_named("acks");
        client.ask(subscribe);
        client.message("3").check("MESSAGE redelivered:true");
        client.fence();
    }),
    // What was unacknowledged comes first when the subscriber is back, in its old order.
    case("RED-8 durable", |s| {
        let subscribe = "SUBSCRIBE id:1 destination:/topic/red-8 ack:client-individual activemq.subscriptionName:d";
        let mut client = s.client_named("red-8");
        client.ask(subscribe);
        publish(s, "/topic/red-8", ["1", "2", "3"]);
        let found = client.messages(["1", "2", "3"]);
        client.ask(&format!("ACK id:{}", found[1].must("ack")));
        client.leave();
        publish(s, "/topic/red-8", ["4"]);
        let mut client = s.client_named("red-8");
        client.ask(subscribe);
        client
            .message("1")
            .check("MESSAGE redelivered:true JMSXDeliveryCount:2");
        client
            .message("3")
            .check("MESSAGE redelivered:true JMSXDeliveryCount:1");
        client.message("4").check("MESSAGE !redelivered");
        client.fence();
    }),
    case("two durables are independent", |s| {
        let mut one = durable(s, "both-1", "d", "/topic/both");
        durable(s, "both-2", "d", "/topic/both").disconnect();
        publish(s, "/topic/both", ["1", "2"]);
        one.messages(["1", "2"]);
        one.fence();
        durable(s, "both-2", "d", "/topic/both").messages(["1", "2"]);
    }),
];

#[track_caller]
fn durable(server: &Server, client_id: &str, name: &str, topic: &str) -> Client {
    let mut client = server.client_named(client_id);
    client.ask(&format!(
        "SUBSCRIBE id:1 destination:{topic} activemq.subscriptionName:{name}"
    ));
    client
}

#[track_caller]
fn publish<const N: usize>(server: &Server, topic: &str, bodies: [&str; N]) {
    let mut client = server.client();
    bodies.iter().for_each(|body| client.send(topic, body));
}

#[track_caller]
fn aliases(server: &Server, client_id: &str, header: &str) {
    let subscribe = format!("SUBSCRIBE id:1 destination:/topic/{client_id} {header}:d");
    let mut client = server.client_named(client_id);
    client.ask(&subscribe);
    client.disconnect();
    publish(server, &format!("/topic/{client_id}"), ["kept"]);
    let mut client = server.client_named(client_id);
    client.ask(&subscribe);
    client.message("kept");
    client.ask("UNSUBSCRIBE id:1");
    client.ask(&format!("UNSUBSCRIBE id:1 {header}:d"));
}

#[test]
fn f_durable() {
    check(CASES);
}

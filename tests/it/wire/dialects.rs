//! Part L, headers and destinations of other brokers: cases C333 to C343 and the rows of section 10.

use ferrymq::broker::Kind;

use super::server::Server;
use super::table::{Case, case, check, check_on};

pub(super) const CASES: &[Case] = &[
    case("C333", |s| {
        let mut client = s.client();
        ["1", "2"]
            .iter()
            .for_each(|body| client.send("/queue/c333", body));
        let head = "SUBSCRIBE id:1 destination:/queue/c333 ack:client";
        client.ask(&format!("{head} prefetch-count:1"));
        let first = client.message("1");
        client.fence();
        client.put(&format!("ACK id:{}", first.must("ack")));
        client.message("2");
        // Both: ActiveMQ's own wins. 0 is without a bound.
        let mut both = s.client();
        both.ask(
            &format!("{head} prefetch-count:1 activemq.prefetchSize:5").replace("c333", "c333-b"),
        );
        ["1", "2"]
            .iter()
            .for_each(|body| s.client().send("/queue/c333-b", body));
        both.messages(["1", "2"]);
    }),
    case("C334", |s| {
        let mut client = s.client();
        client.ask("SUBSCRIBE id:1 destination:/queue/c334");
        client.put("SEND destination:/queue/c334 timestamp:1000 expiration:60000");
        let found = client.expect("MESSAGE");
        let expires_ms: u64 = found.must("expires").parse().expect("a number");
        let now_ms = ferrymq::clock::Clock::system().wall_ms();
        assert!(
            (now_ms + 1..=now_ms + 60_000).contains(&expires_ms),
            "{found:?}"
        );
        client.put("SEND destination:/queue/c334 expires:99999999999999 expiration:1");
        client.expect("MESSAGE expires:99999999999999");
    }),
    case("C335", |s| {
        let head = "SUBSCRIBE destination:/topic/c335 durable:true auto-delete:false id:1234";
        let mut client = s.client_named("c335");
        client.ask(head);
        s.client()
            .ask_with("SEND destination:/topic/c335 persistent:true a:b", "1");
        client.message("1").check(
            "MESSAGE subscription:1234 destination:/topic/c335 a:b !original-destination !redelivered",
        );
        client.disconnect();
        for body in ["2", "3"] {
            s.client().ask_with("SEND destination:/topic/c335", body);
        }
        let mut client = s.client_named("c335");
        client.ask(&head.replace("durable", "persistent"));
        client.messages(["2", "3"]);
        // Shared: another connection with the same id takes turns.
        let mut other = s.client();
        other.ask(head);
        for body in ["4", "5"] {
            s.client().ask_with("SEND destination:/topic/c335", body);
        }
        let (mine, others) = (client.expect("MESSAGE"), other.expect("MESSAGE"));
        assert_ne!(mine.text(), others.text());
        // In use by somebody else, then not.
        let remove = head.replace("SUBSCRIBE", "UNSUBSCRIBE");
        client.refused(&remove, "ERROR message~'it has consumers'");
        other.disconnect();
        client.ask(&remove);
        client.refused(&remove, "ERROR message~'no such durable subscription'");
        s.client().ask_with("SEND destination:/topic/c335", "6");
        client.ask(head);
        s.client().ask_with("SEND destination:/topic/c335", "7");
        client.message("7");
    }),
    case("C336", |s| {
        for more in ["", " auto-delete:false"] {
            s.client_of("1.0").refused(
                &format!("SUBSCRIBE destination:/topic/c336 durable:true{more}"),
                "ERROR message~id message~'is required for durable subscriptions'",
            );
        }
    }),
    case("durable:true elsewhere", |s| {
        let mut client = s.client();
        let head = "SUBSCRIBE id:1 durable:true auto-delete:false";
        for (more, text) in [
            ("destination:/topic/a,/topic/b", "several topics"),
            ("destination:/topic/a.*", "several topics"),
            ("destination:/topic/a selector:a=1", "selectors"),
            (
                "destination:/queue/ActiveMQ.Shared.1.t",
                "belongs to a durable subscription",
            ),
        ] {
            client.refused(
                &format!("{head} {more}"),
                &format!("ERROR message~'{text}'"),
            );
        }
        // A queue is there anyway.
        client.ask(&format!("{head} destination:/queue/durable-q"));
    }),
    case("C338", |s| {
        let mut reader = s.client();
        reader.ask("SUBSCRIBE id:1 destination:/topic/a338.b");
        reader.ask("SUBSCRIBE id:2 destination:/exchange/amq.topic/a338.*");
        s.client()
            .ask_with("SEND destination:/exchange/amq.topic/a338.b", "m");
        for _ in 0..2 {
            reader
                .message("m")
                .check("MESSAGE destination:/topic/a338.b");
        }
        s.client().ask("SEND destination:/exchange/amq.direct/c338");
        assert_eq!(s.queue_len("c338"), 1);
        let fanout = "/exchange/amq.fanout";
        reader.ask(&format!("SUBSCRIBE id:3 destination:{fanout}"));
        s.client()
            .ask_with(&format!("SEND destination:{fanout}/any"), "all");
        reader
            .message("all")
            .check("MESSAGE destination:/topic/amq.fanout");
    }),
    case("C339", |s| {
        for command in ["SEND", "SUBSCRIBE id:1"] {
            s.client().refused(
                &format!("{command} destination:/exchange/custom/key"),
                "ERROR message~'exchanges are not supported' message~[stomp.exchange_map]",
            );
        }
    }),
    case("C340", |s| {
        for header in ["x-queue-type:stream", "x-stream-offset:first"] {
            s.client().refused(
                &format!("SUBSCRIBE id:1 destination:/queue/c340 {header}"),
                "ERROR message:'streams are not supported'",
            );
        }
        s.client()
            .ask("SUBSCRIBE id:1 destination:/queue/c340 x-queue-type:quorum");
    }),
    case("C343", |s| {
        let mut client = s.client();
        let head = "SUBSCRIBE id:1 destination:/queue/c343 ack:client-individual";
        ["1", "2", "3"]
            .iter()
            .for_each(|body| client.send("/queue/c343", body));
        client.ask(&format!("{head} consumer-window-size:0"));
        let first = client.message("1");
        client.fence();
        client.put(&format!("ACK id:{}", first.must("ack")));
        client.message("2");
        client.ask("UNSUBSCRIBE id:1");
        // In octets, of memory: one message is more than one.
        client.ask(&format!("{head} consumer-window-size:1"));
        client.message("2");
        client.fence();
        client.ask("UNSUBSCRIBE id:1");
        client.ask(&format!("{head} consumer-window-size:-1"));
        client.messages(["2", "3"]);
    }),
    case("/amq/queue/", |s| {
        let mut client = s.client();
        for command in ["SEND", "SUBSCRIBE id:1"] {
            client.refused(
                &format!("{command} destination:/amq/queue/amq-1"),
                "ERROR message~'amq-1' message~'does not exist'",
            );
        }
        client.send("/queue/amq-1", "m");
        client.ask("SEND destination:/amq/queue/amq-1");
        client.ask("SUBSCRIBE id:1 destination:/amq/queue/amq-1");
        client
            .message("m")
            .check("MESSAGE destination:/queue/amq-1");
    }),
    case("destination-type", |s| {
        let mut reader = s.client();
        reader.ask("SUBSCRIBE id:1 destination:dt.1 subscription-type:MULTICAST");
        reader.ask("SUBSCRIBE id:2 destination:/queue/dt.1");
        let mut client = s.client();
        for (kind, id) in [("MULTICAST", "1"), ("ANYCAST", "2"), ("multicast", "1")] {
            client.ask_with(
                &format!("SEND destination:dt.1 destination-type:{kind}"),
                kind,
            );
            reader
                .message(kind)
                .check(&format!("MESSAGE subscription:{id}"));
        }
        // What has a prefix needs no type.
        client.ask_with(
            "SEND destination:/queue/dt.1 destination-type:MULTICAST",
            "q",
        );
        reader.message("q").check("MESSAGE subscription:2");
        client.refused(
            "SEND destination:dt.1 destination-type:BOTH",
            "ERROR message~'ANYCAST or MULTICAST'",
        );
        assert_eq!(s.stats(Kind::Topic, "dt.1").enqueued, 2);
    }),
    case("exclusive", |s| {
        let (mut one, mut other) = (s.client(), s.client());
        let head = "SUBSCRIBE id:1 destination:/queue/exclusive-r exclusive:true";
        one.ask(head);
        other.ask(head);
        for body in ["1", "2", "3"] {
            s.client().send("/queue/exclusive-r", body);
        }
        one.messages(["1", "2", "3"]);
        other.fence();
    }),
    case("headers of Apollo", |s| {
        let mut client = s.client();
        client.ask(
            "SUBSCRIBE id:1 destination:/queue/apollo browser-end:false from-seq:-1 credit:1,100",
        );
        s.client().send("/queue/apollo", "m");
        client.message("m");
    }),
    case("message-id of a sender", |s| {
        let mut client = s.client();
        client.ask("SUBSCRIBE id:1 destination:/queue/mid");
        client.put("SEND destination:/queue/mid message-id:mine amqp-message-id:yours");
        client.expect("MESSAGE message-id~ID amqp-message-id:yours");
    }),
];

#[test]
fn dialects() {
    check(CASES);
}

#[test]
fn replies_are_subscribed_to_in_the_dialect_of_rabbitmq() {
    let server = Server::with(|config| config.stomp.dialect = ferrymq::config::Dialect::RabbitMq);
    let (mut client, mut service) = (server.client(), server.client());
    service.ask("SUBSCRIBE id:1 destination:/queue/rpc");
    for number in ["1", "2"] {
        client.put_with("SEND destination:/queue/rpc reply-to:/temp-queue/x", number);
        let asked = service.message(number);
        let head = format!("SEND destination:{}", asked.must("reply-to"));
        service.ask_with(&head, number);
        client
            .message(number)
            .check("MESSAGE subscription:/temp-queue/x destination:/temp-queue/x");
    }
    client.ask("UNSUBSCRIBE id:/temp-queue/x");
}

#[test]
fn names_follow_the_configuration() {
    let server = Server::with(|config| {
        config.stomp.queue_prefix = vec!["jms.queue.".into(), "q/".into()];
        config.stomp.topic_prefix = vec!["jms.topic.".into()];
        let map = [
            ("orders", "jms.topic.orders.{key}"),
            ("loop", "/exchange/loop/x"),
        ];
        config.stomp.exchange_map.0 = map.map(|(a, b)| (a.into(), b.into())).into();
        config.destinations.wildcard_style = ferrymq::config::WildcardStyle::RabbitMq;
    });
    check_on(
        &server,
        &[
            case("prefixes", |s| {
                let mut client = s.client();
                client.ask("SUBSCRIBE id:1 destination:jms.queue.a");
                for destination in ["jms.queue.a", "q/a", "queue://a", "a"] {
                    client.put_with(&format!("SEND destination:{destination}"), destination);
                    client
                        .message(destination)
                        .check("MESSAGE destination:jms.queue.a");
                }
                // No prefix any more, so a name like any other.
                client.ask("SEND destination:/queue/a");
                assert_eq!(s.queue_len("/queue/a"), 1);
            }),
            case("exchanges", |s| {
                let mut client = s.client();
                client.ask("SUBSCRIBE id:1 destination:/exchange/orders/#");
                client.ask("SUBSCRIBE id:2 destination:jms.topic.orders.eu");
                client.put("SEND destination:/exchange/orders/eu");
                for _ in 0..2 {
                    client.expect("MESSAGE destination:jms.topic.orders.eu");
                }
                client.refused(
                    "SEND destination:/exchange/orders",
                    "ERROR message~'routing key'",
                );
                client.refused(
                    "SEND destination:/exchange/loop/x",
                    "ERROR message~'another one'",
                );
            }),
            case("wildcards", |s| {
                let mut client = s.client();
                client.ask("SUBSCRIBE id:1 destination:jms.topic.w.*.#");
                for name in ["w.a", "w.a.b", "w.a.b.c"] {
                    client.put(&format!("SEND destination:jms.topic.{name}"));
                    client.expect(&format!("MESSAGE destination:jms.topic.{name}"));
                }
                client.ask("SEND destination:jms.topic.w");
            }),
        ],
        &[],
    );
}

//! Part E: SUBSCRIBE and UNSUBSCRIBE. Spec: behaviour section 5, PRE-1, PRE-5.

use super::server::Server;
use super::table::{Case, case, check};

pub(super) const CASES: &[Case] = &[
    case("C159", |s| no_id(s, "1.1")),
    case("C160", |s| no_id(s, "1.2")),
    case("C161", |s| {
        let mut client = s.client_of("1.0");
        client.ask("SUBSCRIBE destination:/queue/c161");
        client.put("SEND destination:/queue/c161");
        client.expect("MESSAGE !subscription");
    }),
    case("C162", |s| {
        let mut client = s.client_of("1.0");
        client.ask("SUBSCRIBE id:8fee-3 destination:/queue/c162");
        client.put("SEND destination:/queue/c162");
        client.expect("MESSAGE subscription:8fee-3");
    }),
    case("C163", |s| {
        let mut client = s.client();
        client.refused("SUBSCRIBE id:1 destination:", "ERROR message~destination");
        client.refused("SUBSCRIBE id:1", "ERROR message~destination");
    }),
    case("C165", |s| {
        let mut client = s.client();
        (0..50).for_each(|_| client.put("SEND destination:/queue/c165 persistent:true"));
        client.ask("SUBSCRIBE id:1 destination:/queue/c165");
        (0..50).for_each(|_| drop(client.expect("MESSAGE")));
    }),
    case("C167", |s| consumed_at_once(s, "c167", "")),
    case("C168", |s| {
        consumed_at_once(s, "c168", " ack:bogus");
        let strict = Server::with(|config| config.stomp.strict_ack_mode = true);
        strict.client().refused(
            "SUBSCRIBE id:1 destination:/queue/c168 ack:bogus",
            "ERROR message~strict_ack_mode",
        );
    }),
    case("C169", |s| {
        let mut client = s.client();
        client.ask("SUBSCRIBE id:1 destination:/queue/c169");
        client.refused(
            "SUBSCRIBE id:1 destination:/queue/c169-other",
            "ERROR message~id",
        );
        client.put("SEND destination:/queue/c169");
        client.expect("MESSAGE subscription:1");
        client.send("/queue/c169-other", "m");
        client.fence();
    }),
    case("C170", |s| {
        let (mut one, mut two) = (s.client(), s.client());
        for (client, queue) in [(&mut one, "c170-1"), (&mut two, "c170-2")] {
            client.ask(&format!("SUBSCRIBE id:same destination:/queue/{queue}"));
        }
        let mut sender = s.client();
        sender.send("/queue/c170-1", "one");
        sender.send("/queue/c170-2", "two");
        one.message("one");
        two.message("two");
        one.ask("UNSUBSCRIBE id:same");
        sender.send("/queue/c170-2", "again");
        two.message("again");
    }),
    case("C171", |s| {
        for destination in ["/queue/c171", "/topic/c171"] {
            let mut client = s.client();
            client.ask(&format!("SUBSCRIBE id:1 destination:{destination}"));
            client.ask("UNSUBSCRIBE id:1");
            client.send(destination, "m");
            client.fence();
        }
        assert_eq!(s.queue_len("c171"), 1);
    }),
    case("C172", |s| {
        for version in ["1.1", "1.2"] {
            let mut client = s.client_of(version);
            client.ask("SUBSCRIBE id:1 destination:/queue/c172");
            client.refused("UNSUBSCRIBE destination:/queue/c172", "ERROR message~id");
        }
    }),
    case("C173", |s| {
        let mut client = s.client_of("1.0");
        client.ask("SUBSCRIBE destination:/queue/c173");
        client.ask("UNSUBSCRIBE destination:/queue/c173");
        client.send("/queue/c173", "m");
        client.fence();
    }),
    case("C174", |s| {
        s.client_of("1.0").refused("UNSUBSCRIBE", "ERROR")
    }),
    case("C175", |s| {
        s.client().refused(
            "UNSUBSCRIBE id:9",
            "ERROR message~'No subscription matched'",
        );
        s.client_of("1.0").refused(
            "UNSUBSCRIBE destination:/queue/c175",
            "ERROR message~'No subscription matched'",
        );
    }),
    case("C176", |s| {
        let mut client = s.client();
        for round in ["1", "2", "3"] {
            client.ask("SUBSCRIBE id:1 destination:/queue/c176");
            client.put_with("SEND destination:/queue/c176", round);
            client.message(round);
            client.ask("UNSUBSCRIBE id:1");
        }
    }),
    case("C191", |s| {
        let mut client = s.client();
        (1..=3).for_each(|number| client.send("/queue/c191-tx", &number.to_string()));
        client.ask("BEGIN transaction:tx1");
        client.ask("SUBSCRIBE id:1 destination:/queue/c191-tx ack:client activemq.prefetchSize:1");
        for number in ["1", "2"] {
            let found = client.message(number);
            client.fence();
            client.put(&format!("ACK id:{} transaction:tx1", found.must("ack")));
        }
        client.message("3");
        client.fence();
    }),
    case("C194", |s| {
        for (size, expected) in [("20", 20), ("1", 1), ("0", 1), ("-5", 1)] {
            let mut client = s.client();
            let queue = format!("/queue/c194-{size}");
            let one = super::client::frame(&format!("SEND destination:{queue}"), "");
            client.raw(one.repeat(30));
            client.ask(&format!(
                "SUBSCRIBE id:1 destination:{queue} ack:client activemq.prefetchSize:{size}"
            ));
            (0..expected).for_each(|_| drop(client.expect("MESSAGE")));
            client.fence();
        }
        s.client().refused(
            "SUBSCRIBE id:1 destination:/queue/c194 activemq.prefetchSize:many",
            "ERROR message~number",
        );
    }),
    case("C207", |s| {
        let mut client = s.client();
        for number in 0..50 {
            let body = format!("{number:05}");
            client.put_with("SEND destination:/queue/c207 content-length:5", body);
        }
        client.ask("SUBSCRIBE id:1 destination:/queue/c207");
        for number in 0..50 {
            client
                .message(&format!("{number:05}"))
                .check("MESSAGE content-length:5");
        }
    }),
    case("C305", |s| {
        let mut client = s.client();
        client.ask("SUBSCRIBE id:1 destination:/queue/ID\\cx");
        client.put_with("SEND destination:/queue/ID\\cx", "m");
        client
            .message("m")
            .check("MESSAGE destination:/queue/ID\\cx");
    }),
    case("SUB-6", |s| {
        let mut client = s.client();
        ["1", "2", "3"]
            .iter()
            .for_each(|body| client.send("/queue/sub-6", body));
        client.ask("SUBSCRIBE id:1 destination:/queue/sub-6 ack:client-individual");
        let found = client.messages(["1", "2", "3"]);
        client.ask(&format!("ACK id:{}", found[1].must("ack")));
        client.ask("UNSUBSCRIBE id:1");
        client.send("/queue/sub-6", "4");
        client.ask("SUBSCRIBE id:1 destination:/queue/sub-6 ack:client");
        for body in ["1", "3"] {
            // An orderly end is no failed delivery.
            client
                .message(body)
                .check("MESSAGE redelivered:true JMSXDeliveryCount:1");
        }
        client.message("4").check("MESSAGE !redelivered");
    }),
    case("SUB-8", |s| {
        let mut client = s.client_of("1.0");
        client.ask("SUBSCRIBE id:old destination:/topic/sub-8");
        client.ask("SUBSCRIBE id:new destination:/topic/sub-8");
        client.ask("UNSUBSCRIBE destination:/topic/sub-8");
        client.put("SEND destination:/topic/sub-8");
        client.expect("MESSAGE subscription:new");
        client.fence();
    }),
    // ActiveMQ keeps two lists and alternates between them.
    case("SUB-10", |s| {
        let mut client = s.client();
        for number in 0..100 {
            let persistent = number % 3 == 0;
            client.put_with(
                &format!("SEND destination:/queue/sub-10 persistent:{persistent}"),
                number.to_string(),
            );
        }
        client.ask("SUBSCRIBE id:1 destination:/queue/sub-10");
        client.messages((0..100).map(|number| number.to_string()));
    }),
    case("PRE-5", |s| {
        let (mut one, mut two) = (s.client(), s.client());
        for client in [&mut one, &mut two] {
            client
                .ask("SUBSCRIBE id:1 destination:/queue/pre-5 ack:client activemq.prefetchSize:10");
        }
        let mut sender = s.client();
        (0..10).for_each(|number| sender.send("/queue/pre-5", &number.to_string()));
        let of = |client: &mut super::client::Client| {
            (0..5)
                .map(|_| client.frame().text().to_owned())
                .collect::<Vec<_>>()
        };
        let (ones, twos) = (of(&mut one), of(&mut two));
        assert!(
            ones == ["0", "2", "4", "6", "8"] || twos == ["0", "2", "4", "6", "8"],
            "{ones:?} {twos:?}"
        );
        one.fence();
        two.fence();
    }),
    case("limit: subscriptions", |_| {
        let server = Server::with(|config| config.stomp.subscriptions_max = 2);
        let mut client = server.client();
        client.ask("SUBSCRIBE id:1 destination:/queue/a");
        client.ask("SUBSCRIBE id:2 destination:/queue/a");
        client.refused(
            "SUBSCRIBE id:3 destination:/queue/a",
            "ERROR message~'at maximum limit\\c 2'",
        );
        client.ask("UNSUBSCRIBE id:1");
        client.ask("SUBSCRIBE id:3 destination:/queue/a");
    }),
];

#[track_caller]
fn no_id(server: &Server, version: &str) {
    let mut client = server.client_of(version);
    client.refused("SUBSCRIBE destination:/queue/no-id", "ERROR message~id");
}

#[track_caller]
fn consumed_at_once(server: &Server, queue: &str, ack: &str) {
    let mut client = server.client();
    client.ask(&format!("SUBSCRIBE id:1 destination:/queue/{queue}{ack}"));
    client.put_with(&format!("SEND destination:/queue/{queue}"), "m");
    client.message("m").check("MESSAGE !ack");
    client.leave();
    assert_eq!(server.queue_len(queue), 0);
}

#[test]
fn e_subscribing() {
    check(CASES);
}

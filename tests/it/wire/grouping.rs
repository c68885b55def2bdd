//! Message groups. Spec: GRP-1 to GRP-9.

use super::client::{Client, Frame};
use super::server::Server;
use super::table::{Case, case, check};

pub(super) const CASES: &[Case] = &[
    case("C324", |s| {
        let (mut one, mut two) = (consumer(s, "c324", ""), consumer(s, "c324", ""));
        let mut sender = s.client();
        for round in 0..2 {
            for group in 0..10 {
                let head = format!("SEND destination:/queue/c324 JMSXGroupID:g{group}");
                sender.ask_with(&head, format!("{group} {round}"));
            }
        }
        for (client, groups) in [(&mut one, [0, 2, 4, 6, 8]), (&mut two, [1, 3, 5, 7, 9])] {
            for round in 0..2 {
                for group in groups {
                    let found = client.message(&format!("{group} {round}"));
                    let first = found.get("JMSXGroupFirstForConsumer").is_some();
                    assert_eq!(first, round == 0, "{found:?}");
                }
            }
            client.fence();
        }
    }),
    case("C325", |s| {
        let mut one = consumer(s, "c325", "activemq.prefetchSize:10");
        put(s, "c325", "a", "1");
        one.message("1");
        let mut two = consumer(s, "c325", "activemq.prefetchSize:10");
        let mut sender = s.client();
        sender.ask_with(
            "SEND destination:/queue/c325 JMSXGroupID:a JMSXGroupSeq:-1",
            "last",
        );
        one.message("last");
        // Both own no group now, and it is the turn of the second.
        put(s, "c325", "a", "new");
        two.message("new")
            .check("MESSAGE JMSXGroupFirstForConsumer:true");
        one.fence();
    }),
    case("C326", |s| {
        let mut client = consumer(s, "c326", "");
        put(s, "c326", "a", "a1");
        let refused = client.message("a1");
        client.ask(&format!(
            "NACK id:{} redelivery-delay:500",
            refused.must("ack")
        ));
        put(s, "c326", "a", "a2");
        put(s, "c326", "b", "b1");
        s.client().send("/queue/c326", "none");
        client.messages(["b1", "none", "a1", "a2"]);
    }),
    case("GRP-2", |s| {
        let mut one = consumer(s, "grp-2", "");
        let mut two = consumer(s, "grp-2", "");
        for body in ["1", "2", "3"] {
            put(s, "grp-2", "a", body);
        }
        one.messages(["1", "2", "3"]);
        two.fence();
        one.kill();
        let found = two.messages(["1", "2", "3"]);
        found[0].check("MESSAGE redelivered:true JMSXGroupFirstForConsumer:true");
        found[1].check("MESSAGE redelivered:true !JMSXGroupFirstForConsumer");
    }),
    case("GRP-9", |s| {
        let mut one = consumer(s, "grp-9", "activemq.prefetchSize:1");
        put(s, "grp-9", "a", "a1");
        let held = one.message("a1");
        let mut two = consumer(s, "grp-9", "");
        put(s, "grp-9", "a", "a2");
        put(s, "grp-9", "b", "b1");
        s.client().send("/queue/grp-9", "none");
        two.messages(["b1", "none"]);
        two.fence();
        one.put(&format!("ACK id:{}", held.must("ack")));
        one.message("a2");
    }),
];

fn put(server: &Server, queue: &str, group: &str, body: &str) {
    let head = format!("SEND destination:/queue/{queue} JMSXGroupID:{group}");
    server.client().ask_with(&head, body);
}

#[track_caller]
fn consumer(server: &Server, queue: &str, headers: &str) -> Client {
    let mut client = server.client();
    let head = format!("SUBSCRIBE id:1 destination:/queue/{queue} ack:client-individual {headers}");
    client.ask(head.trim());
    client
}

#[test]
fn grouping() {
    check(CASES);
}

/// With a store the group is known again after the message has left memory.
#[test]
fn groups_hold_for_messages_that_have_left_memory() {
    let server = Server::with_store(|config| {
        config.memory.queue_window_bytes = "64 KiB".parse().expect("a size");
    });
    // Before the messages, as a group stays where it was first.
    let mut clients: Vec<Client> = (0..2)
        .map(|_| consumer(&server, "deep", "activemq.prefetchSize:5"))
        .collect();
    let mut sender = server.client();
    let body = "x".repeat(1000);
    for number in 0..400 {
        let group = number % 4;
        let head =
            format!("SEND destination:/queue/deep persistent:true JMSXGroupID:g{group} n:{number}");
        sender.put_with(&head, &body);
    }
    sender.ask("SEND destination:/queue/other persistent:true");
    let mut owners: Vec<Option<usize>> = vec![None; 4];
    let mut last = [None; 4];
    for _ in 0..200 {
        for (at, client) in clients.iter_mut().enumerate() {
            let found: Frame = client.expect("MESSAGE");
            let number: usize = found.must("n").parse().expect("a number");
            let group = number % 4;
            assert_eq!(*owners[group].get_or_insert(at), at, "{number}");
            assert!(
                last[group] < Some(number),
                "{number} after {:?}",
                last[group]
            );
            last[group] = Some(number);
            client.put(&format!("ACK id:{}", found.must("ack")));
        }
    }
}

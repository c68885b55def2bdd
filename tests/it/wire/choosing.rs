//! Which consumer gets a message, and which message goes first. Spec: PRE-5 to PRE-9.

use super::client::{Client, Frame};
use super::server::Server;
use super::table::{Case, case, check};

pub(super) const CASES: &[Case] = &[
    case("C195", |s| {
        let exclusive = "activemq.exclusive:true";
        let mut first = consumer(s, "c195", exclusive);
        let mut second = consumer(s, "c195", exclusive);
        let mut plain = consumer(s, "c195", "");
        let mut sender = s.client();
        for body in ["1", "2", "3"] {
            sender.send("/queue/c195", body);
        }
        first.messages(["1", "2", "3"]);
        second.fence();
        plain.fence();
        first.disconnect();
        let found = second.messages(["1", "2", "3"]);
        found[0].check("MESSAGE redelivered:true");
        second.ask("UNSUBSCRIBE id:1");
        plain.messages(["1", "2", "3"]);
    }),
    case("C327", |s| {
        s.policy("c327", |policy| policy.prioritized = true);
        queue_by_priority(s, "c327");
        consumer(s, "c327", "").messages(["9", "5", "1"]);
    }),
    // RED-8: what returns goes before others of its priority, not before higher ones.
    case("PRE-8 returned", |s| {
        s.policy("pre-8", |policy| policy.prioritized = true);
        let mut first = consumer(s, "pre-8", "activemq.prefetchSize:1");
        let mut sender = s.client();
        sender.ask_with("SEND destination:/queue/pre-8 priority:5", "5 returned");
        sender.ask_with("SEND destination:/queue/pre-8 priority:5", "5");
        sender.ask_with("SEND destination:/queue/pre-8 priority:9", "9");
        first.message("5 returned");
        first.disconnect();
        consumer(s, "pre-8", "").messages(["9", "5 returned", "5"]);
    }),
    case("PRE-5 priority", |s| {
        let mut low = consumer(s, "pre-5", "activemq.priority:1");
        let mut high = consumer(s, "pre-5", "activemq.priority:2 activemq.prefetchSize:2");
        let mut sender = s.client();
        for body in ["1", "2", "3"] {
            sender.send("/queue/pre-5", body);
        }
        let found = high.messages(["1", "2"]);
        low.message("3");
        high.ask(&ack(&found[0]));
        sender.send("/queue/pre-5", "4");
        high.message("4");
        low.fence();
    }),
    case("PRE-5 strict", |s| {
        s.policy("strict", |policy| policy.strict_order_dispatch = true);
        let mut first = consumer(s, "strict", "activemq.prefetchSize:2");
        let mut second = consumer(s, "strict", "");
        let mut sender = s.client();
        for body in ["1", "2", "3"] {
            sender.send("/queue/strict", body);
        }
        let found = first.messages(["1", "2"]);
        second.message("3");
        first.ask(&ack(&found[0]));
        sender.send("/queue/strict", "4");
        first.message("4");
        second.fence();
    }),
    case("PRE-6", |s| {
        s.policy("pre-6", |policy| policy.consumers_before_dispatch = 2);
        s.client().send("/queue/pre-6", "1");
        s.client().send("/queue/pre-6", "2");
        let mut first = consumer(s, "pre-6", "");
        first.fence();
        let mut second = consumer(s, "pre-6", "");
        first.message("1");
        second.message("2");
    }),
    case("PRE-6 time", |s| {
        s.policy("pre-6-time", |policy| policy.time_before_dispatch_ms = 50);
        s.client().send("/queue/pre-6-time", "1");
        consumer(s, "pre-6-time", "").message("1");
    }),
    // Without tuning a slow worker was sent everything, while the others had nothing to do.
    case("PRE-7 two workers", |s| {
        let mut slow = consumer(s, "pre-7", "");
        let mut sender = s.client();
        for number in 0..100 {
            sender.put_with("SEND destination:/queue/pre-7", number.to_string());
        }
        sender.fence();
        let held = slow.messages((0..32).map(|number| number.to_string()));
        slow.fence();
        let mut quick = consumer(s, "pre-7", "");
        for number in 32..100 {
            let found = quick.message(&number.to_string());
            quick.put(&ack(&found));
        }
        quick.fence();
        slow.kill();
        for (number, before) in held.iter().enumerate() {
            let again = quick.message(&number.to_string());
            assert_eq!(again.get("message-id"), before.get("message-id"));
            quick.put(&ack(&again));
        }
        quick.fence();
        assert_eq!(s.queue_len("pre-7"), 0);
    }),
];

fn ack(message: &Frame) -> String {
    format!("ACK id:{}", message.must("ack"))
}

fn queue_by_priority(server: &Server, queue: &str) {
    let mut sender = server.client();
    for priority in ["1", "9", "5"] {
        let head = format!("SEND destination:/queue/{queue} priority:{priority}");
        sender.ask_with(&head, priority);
    }
}

#[track_caller]
fn consumer(server: &Server, queue: &str, headers: &str) -> Client {
    let mut client = server.client();
    let head = format!("SUBSCRIBE id:1 destination:/queue/{queue} ack:client-individual {headers}");
    client.ask(head.trim());
    client
}

#[test]
fn choosing() {
    check(CASES);
}

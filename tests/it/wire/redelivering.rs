//! What becomes of a refused message, and when it comes again. Spec: RED-1 to RED-4, NAK-2.

use ferrymq::broker::OnNack;
use ferrymq::clock::Clock;

use super::client::{Client, Frame};
use super::server::Server;
use super::table::{Case, case, check};
use crate::wait::until;

const DLQ: &str = "SUBSCRIBE id:dlq destination:/queue/ActiveMQ.DLQ";
const DELAYS: &str = "activemq.initialRedeliveryDelay:100 activemq.redeliveryDelay:100";

pub(super) const CASES: &[Case] = &[
    case("C251", |_| {
        let server = Server::start();
        let more = format!("{DELAYS} activemq.maximumRedeliveries:2");
        let (mut client, mut message) = held(&server, "c251", &more);
        let first = message.clone();
        let clock = Clock::system();
        for delivery in 2..=3 {
            let before_ms = clock.monotonic_ms();
            client.put(&nack(&message));
            message = client.message("1");
            let waited_ms = clock.monotonic_ms() - before_ms;
            assert!(waited_ms >= 99, "it came again after {waited_ms} ms");
            message.check(&format!(
                "MESSAGE redelivered:true JMSXDeliveryCount:{delivery}"
            ));
        }
        client.ask(&nack(&message));
        client.fence();
        let mut reader = server.client();
        reader.ask(DLQ);
        let cause = "dlqDeliveryFailureCause~'java.lang.Throwable\\c Delivery[3] exceeds redelivery policy limit\\c'";
        reader.message("1").check(&format!(
            "MESSAGE message-id:{} original-destination:/queue/c251 {cause}",
            first.must("message-id")
        ));
        assert_eq!(server.queue_len("c251"), 0);
    }),
    case("C264", |s| {
        let (mut client, refused) = held(s, "c264", "activemq.prefetchSize:1");
        s.client().send("/queue/c264", "2");
        s.client().send("/queue/c264", "3");
        client.ask_amid(&nack(&refused));
        assert_eq!(s.queue_len("c264"), 3, "it waits in its queue");
        // Both come before the second of the delay is over, or after: but the first never holds them up.
        let mut bodies = Vec::new();
        let (mut other, mut clock) = (s.client(), None);
        client.leave();
        other.ask("SUBSCRIBE id:1 destination:/queue/c264 ack:client-individual");
        for _ in 0..3 {
            let found = other.expect("MESSAGE");
            clock.get_or_insert_with(Clock::system);
            bodies.push(found.text().to_owned());
            other.put(&format!("ACK id:{}", found.must("ack")));
        }
        assert_eq!(bodies, ["2", "3", "1"]);
    }),
    case("NAK-2 redelivery-delay", |s| {
        let (mut client, message) = held(s, "nak-2", "");
        client.put(&format!("{} redelivery-delay:0", nack(&message)));
        let again = client.message("1");
        again.check("MESSAGE redelivered:true JMSXDeliveryCount:2");
        let clock = Clock::system();
        client.put(&format!("{} redelivery-delay:150", nack(&again)));
        client.message("1");
        assert!(clock.monotonic_ms() >= 149);
        client.refused(
            "NACK id:x redelivery-delay:soon",
            "ERROR message~redelivery-delay",
        );
    }),
    case("NAK-2 on_nack", |_| {
        let server = Server::start();
        for (name, on_nack) in [
            ("dlq", OnNack::DeadLetter),
            ("requeue", OnNack::Requeue),
            ("discard", OnNack::Discard),
        ] {
            server.policy(name, |policy| policy.on_nack = on_nack);
        }
        let (mut client, message) = held(&server, "dlq", "");
        client.ask(&nack(&message));
        assert_eq!(server.queue_len("ActiveMQ.DLQ"), 1);
        let (mut client, message) = held(&server, "requeue", "");
        client.put(&nack(&message));
        client.message("1").check("MESSAGE JMSXDeliveryCount:1");
        let (mut client, message) = held(&server, "discard", "");
        client.ask(&nack(&message));
        assert_eq!(server.queue_len("discard"), 0);
        assert_eq!(server.queue_len("ActiveMQ.DLQ"), 1);
    }),
    case("RED-1 bad numbers", |s| {
        for header in [
            "activemq.maximumRedeliveries:many",
            "activemq.redeliveryDelay:",
            "activemq.useExponentialBackOff:yes",
            "activemq.backOffMultiplier:NaN",
        ] {
            let name = header.split(':').next().expect("a name");
            s.client().refused(
                &format!("SUBSCRIBE id:1 destination:/queue/red-1 {header}"),
                &format!("ERROR message~{name}"),
            );
        }
    }),
    // EXP-2: nobody has to ask for it.
    case("EXP-2 swept", |_| {
        let server = Server::start();
        server.policy("exp-2", |policy| policy.expire_messages_period_ms = 1);
        let mut client = server.client();
        let expires_ms = Clock::system().wall_ms() + 50;
        for _ in 0..10 {
            client.ask(&format!(
                "SEND destination:/queue/exp-2 persistent:true expires:{expires_ms}"
            ));
        }
        client.send("/queue/exp-2", "stays");
        until("a sweep", || (server.queue_len("exp-2") == 1).then_some(()));
        until("dead letters", || {
            (server.queue_len("ActiveMQ.DLQ") == 10).then_some(())
        });
    }),
];

fn nack(message: &Frame) -> String {
    format!("NACK id:{}", message.must("ack"))
}

/// A consumer that holds the only message of a fresh queue.
#[track_caller]
fn held(server: &Server, queue: &str, headers: &str) -> (Client, Frame) {
    server.client().send(&format!("/queue/{queue}"), "1");
    let mut client = server.client();
    let head = format!("SUBSCRIBE id:1 destination:/queue/{queue} ack:client-individual {headers}");
    client.ask(head.trim());
    let message = client.message("1");
    (client, message)
}

#[test]
fn redelivering() {
    check(CASES);
}

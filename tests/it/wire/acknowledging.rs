//! Part G: ACK, NACK and what comes back. Spec: behaviour section 6, RED-5, RED-6, RED-8, DLQ-4, DLQ-5.

use super::client::{Client, Frame};
use super::server::Server;
use super::table::{Case, case, check};

const DLQ: &str = "SUBSCRIBE id:dlq destination:/queue/ActiveMQ.DLQ ack:client-individual";

pub(super) const CASES: &[Case] = &[
    case("C232", |s| {
        let (mut client, found) = held(s, "1.0", "c232", "client", 1);
        client.ask(&format!("ACK message-id:{}", found[0].must("message-id")));
        assert_eq!(s.queue_len("c232"), 0);
    }),
    case("C233", |s| {
        let (mut client, _) = held(s, "1.0", "c233", "client", 1);
        client.refused("ACK foo:bar", "ERROR message~'received without'");
        assert_eq!(s.queue_len("c233"), 1);
    }),
    case("C234", |s| {
        let (mut client, found) = held(s, "1.1", "c234", "client", 1);
        client.ask(&format!(
            "ACK message-id:{} subscription:1",
            found[0].must("message-id")
        ));
        assert_eq!(s.queue_len("c234"), 0);
    }),
    case("C235", |s| {
        let (mut client, found) = held(s, "1.1", "c235", "client", 1);
        let id = found[0].must("message-id");
        client.refused(
            &format!("ACK message-id:{id}"),
            "ERROR message~'received without'",
        );
        client.refused("ACK subscription:1", "ERROR message~'received without'");
        client.refused(
            &format!("ACK message-id:{id} subscription:2"),
            "ERROR message~Unexpected",
        );
        assert_eq!(s.queue_len("c235"), 1);
    }),
    case("C236", |s| {
        let (_, found) = held(s, "1.2", "c236", "client", 1);
        found[0].check("MESSAGE ack");
        let (_, found) = held(s, "1.1", "c236-11", "client", 1);
        found[0].check("MESSAGE !ack");
    }),
    case("C238", |s| {
        let (mut client, found) = held(s, "1.2", "c238", "client", 1);
        client.ask(&ack(&found[0]));
        assert_eq!(s.queue_len("c238"), 0);
    }),
    case("C239", |s| {
        let (mut client, found) = held(s, "1.2", "c239", "client", 1);
        let head = format!("ACK message-id:{} subscription:1", found[0].must("ack"));
        client.refused(&head, "ERROR message~'received without'");
        assert_eq!(s.queue_len("c239"), 1);
        client.ask(&ack(&found[0]));
        assert_eq!(s.queue_len("c239"), 0);
    }),
    case("C241", |s| {
        let (mut client, found) = held(s, "1.2", "c241", "client-individual", 2);
        client.ask(&ack(&found[1]));
        client.leave();
        let mut client = s.client();
        client.ask("SUBSCRIBE id:1 destination:/queue/c241 ack:client");
        client.message("1").check("MESSAGE redelivered:true");
        client.fence();
    }),
    case("C242", |s| {
        let (mut client, found) = held(s, "1.2", "c242", "client", 5);
        client.ask(&ack(&found[2]));
        client.leave();
        let mut client = s.client();
        client.ask("SUBSCRIBE id:1 destination:/queue/c242 ack:client");
        client.messages(["4", "5"]);
        client.fence();
    }),
    case("C243", |s| {
        let (mut client, found) = held(s, "1.2", "c243", "client", 1);
        client.ask(&ack(&found[0]));
        client.refused(
            &ack(&found[0]),
            "ERROR message~'Unexpected ACK received for message-id ['",
        );
        client.refused(
            &nack(&found[0]),
            "ERROR message~'Unexpected NACK received for message-id ['",
        );
    }),
    case("C244", |s| {
        let (mut client, found) = held(s, "1.1", "c244", "auto", 1);
        let head = format!(
            "ACK message-id:{} subscription:1",
            found[0].must("message-id")
        );
        client.refused(&head, "ERROR message~'Unexpected ACK'");
        let (mut client, _) = held(s, "1.2", "c244-12", "auto", 1);
        client.refused("ACK id:1-1", "ERROR message~'Unexpected ACK'");
    }),
    case("C245", |s| {
        let (mut client, _) = held(s, "1.2", "c245", "client", 1);
        for id in [
            "invented",
            "",
            "1-99",
            "99-1",
            "-",
            "1-",
            "1-18446744073709551616",
        ] {
            client.refused(&format!("ACK id:{id}"), "ERROR message~ACK");
        }
        let (mut client, _) = held(s, "1.1", "c245-11", "client", 1);
        client.refused(
            "ACK message-id:invented subscription:1",
            "ERROR message~'Unexpected ACK'",
        );
        assert_eq!((s.queue_len("c245"), s.queue_len("c245-11")), (1, 1));
    }),
    case("C246", |s| {
        let (mut client, found) = held(s, "1.2", "c246", "client", 1);
        client.ask("UNSUBSCRIBE id:1");
        client.refused(&ack(&found[0]), "ERROR message~'Unexpected ACK'");
        assert_eq!(s.queue_len("c246"), 1);
    }),
    case("C247", |s| {
        let mut sender = s.client();
        (1..=3).for_each(|number| sender.send("/queue/c247", &number.to_string()));
        let subscribe =
            "SUBSCRIBE id:1 destination:/queue/c247 ack:client activemq.prefetchSize:10";
        let mut client = s.client();
        client.ask(subscribe);
        client.messages(["1", "2", "3"]);
        let mut other = s.client();
        other.ask(subscribe);
        client.disconnect();
        for body in ["1", "2", "3"] {
            other.message(body).check("MESSAGE redelivered:true");
        }
    }),
    case("C248", |s| {
        let (mut client, found) = held(s, "1.0", "c248", "client", 1);
        let head = format!("NACK message-id:{}", found[0].must("message-id"));
        client.refused(
            &head,
            "ERROR message:'NACK received but connection is in v1.0 mode.'",
        );
    }),
    case("C255", |s| {
        let (mut client, found) = held(s, "1.2", "c255", "client", 3);
        client.ask_amid(&nack(&found[2]));
        // The three have come back before the RECEIPT or come after it; all count one failure.
        client.leave();
        let mut client = s.client();
        client.ask("SUBSCRIBE id:1 destination:/queue/c255 ack:client");
        let again = client.messages(["1", "2", "3"]);
        again[1].check("MESSAGE redelivered:true JMSXDeliveryCount:2");
        again[2].check("MESSAGE redelivered:true JMSXDeliveryCount:2");
    }),
    case("C257", |_| {
        let server = Server::with(|config| config.redelivery.maximum_redeliveries = 0);
        let (mut client, found) = held(&server, "1.2", "c257", "client-individual", 20);
        for (number, message) in found.iter().enumerate() {
            let head = if number % 2 == 0 {
                ack(message)
            } else {
                nack(message)
            };
            client.ask(&head);
        }
        assert_eq!(server.queue_len("c257"), 0);
        assert_eq!(server.queue_len("ActiveMQ.DLQ"), 10);
    }),
    case("C259", |s| {
        let (mut client, found) = held(s, "1.2", "c259", "client-individual", 1);
        client.put(&nack(&found[0]));
        let again = client.message("1");
        assert_ne!(found[0].get("ack"), again.get("ack"));
        assert_eq!(found[0].get("message-id"), again.get("message-id"));
        client.refused(&ack(&found[0]), "ERROR message~'Unexpected ACK'");
        client.ask(&ack(&again));
        assert_eq!(s.queue_len("c259"), 0);
    }),
    // A message that kills its consumer must not do so for ever; in ActiveMQ it does.
    case("C261", |_| {
        let server = Server::start();
        let mut sender = server.client();
        ["bad", "2", "3"]
            .iter()
            .for_each(|body| sender.send("/queue/c261", body));
        let subscribe = "SUBSCRIBE id:1 destination:/queue/c261 ack:client-individual";
        for round in 1..=7 {
            let mut client = server.client();
            client.ask(subscribe);
            let head = client.message("bad");
            head.check(&format!("MESSAGE JMSXDeliveryCount:{round}"));
            assert_eq!(head.get("redelivered").is_some(), round > 1, "{head:?}");
            client.messages(["2", "3"]);
            client.kill();
            server.until_only(1);
        }
        let mut client = server.client();
        client.ask(subscribe);
        for body in ["2", "3"] {
            client
                .message(body)
                .check("MESSAGE redelivered:true JMSXDeliveryCount:1");
        }
        client.fence();
        client.ask(DLQ);
        client.message("bad").check(
            "MESSAGE original-destination:/queue/c261 dlqDeliveryFailureCause:'consumer disconnected 7 times' \
             originalDeliveryMode:NON_PERSISTENT persistent:true",
        );
    }),
    case("C262", |_| {
        let server = Server::with(|config| config.redelivery.maximum_redeliveries = 0);
        let (mut client, found) = held(&server, "1.2", "c262", "client", 1);
        client.ask(&nack(&found[0]));
        client.fence();
        client.ask(DLQ);
        client.message("1");
    }),
    // A message that fails where dead letters are stays there; NACK does not loop.
    case("C331", |_| {
        let server = Server::with(|config| config.redelivery.maximum_redeliveries = 0);
        let (mut client, found) = held(&server, "1.2", "c331", "client", 1);
        client.ask(&nack(&found[0]));
        client.ask(DLQ);
        let mut letter = client.message("1");
        for _ in 0..10 {
            client.put(&nack(&letter));
            letter = client.message("1");
        }
        client.ask(&ack(&letter));
        client.fence();
        assert_eq!(server.queue_len("ActiveMQ.DLQ"), 0);
    }),
    case("ACK-1", |s| {
        // 1.0 looks through all subscriptions of the connection.
        let mut client = s.client_of("1.0");
        client.ask("SUBSCRIBE id:a destination:/queue/ack-1-a ack:client");
        client.ask("SUBSCRIBE id:b destination:/queue/ack-1-b ack:client");
        client.put("SEND destination:/queue/ack-1-b");
        let found = client.expect("MESSAGE subscription:b");
        client.ask(&format!("ACK message-id:{}", found.must("message-id")));
        assert_eq!(s.queue_len("ack-1-b"), 0);
        // 1.2 knows the delivery by its id alone, whatever else is said.
        let (mut client, found) = held(s, "1.2", "ack-1", "client", 1);
        client.ask(&format!("{} message-id:x subscription:y", ack(&found[0])));
        assert_eq!(s.queue_len("ack-1"), 0);
    }),
    case("ACK-2", |s| {
        let (mut client, found) = held(s, "1.2", "ack-2", "client", 4);
        client.ask(&ack(&found[2]));
        assert_eq!(s.queue_len("ack-2"), 1);
        client.refused(&ack(&found[0]), "ERROR message~'Unexpected ACK'");
        client.ask(&ack(&found[3]));
        let (mut client, found) = held(s, "1.2", "ack-2-i", "client-individual", 4);
        client.ask(&ack(&found[2]));
        assert_eq!(s.queue_len("ack-2-i"), 3);
        client.ask(&ack(&found[0]));
    }),
    // ActiveMQ nacks only the named one in `client` mode.
    case("NAK-3", |_| {
        let server = Server::with(|config| config.redelivery.maximum_redeliveries = 0);
        let (mut client, found) = held(&server, "1.2", "nak-3", "client", 3);
        client.ask(&nack(&found[1]));
        assert_eq!(server.queue_len("nak-3"), 1);
        client.ask(&ack(&found[2]));
        let (mut client, found) = held(&server, "1.1", "nak-3-i", "client-individual", 3);
        let head = format!(
            "NACK message-id:{} subscription:1",
            found[1].must("message-id")
        );
        client.ask(&head);
        assert_eq!(server.queue_len("nak-3-i"), 2);
    }),
    // Queue order is order of arrival (SUB-10), and they failed in this order.
    case("NAK-3 order of dead letters", |_| {
        let server = Server::with(|config| config.redelivery.maximum_redeliveries = 0);
        let (mut client, found) = held(&server, "1.2", "nak-3", "client", 3);
        client.ask(&nack(&found[2]));
        client.ask(DLQ);
        client.messages(["1", "2", "3"]);
    }),
    // ActiveMQ answers an error.
    case("NAK-4", |_| {
        let server = Server::with(|config| config.redelivery.maximum_redeliveries = 1);
        let (mut client, found) = held(&server, "1.2", "nak-4", "client-individual", 1);
        client.ask("BEGIN transaction:t");
        client.ask(&format!("{} transaction:t", nack(&found[0])));
        client.fence();
        client.ask("ABORT transaction:t");
        client.fence();
        // None counted at the abort: this is the first failure of two.
        client.put(&nack(&found[0]));
        let again = client.message("1");
        again.check("MESSAGE redelivered:true JMSXDeliveryCount:2");
        client.ask("BEGIN transaction:t");
        client.ask(&format!("{} transaction:t", nack(&again)));
        assert_eq!(server.queue_len("ActiveMQ.DLQ"), 0);
        client.ask("COMMIT transaction:t");
        assert_eq!(server.queue_len("ActiveMQ.DLQ"), 1);
        client.fence();
    }),
    // In its old place, before what was never delivered, and at once.
    case("RED-8", |s| {
        held(s, "1.2", "red-8", "client-individual", 3).0.leave();
        s.client().send("/queue/red-8", "4");
        let mut client = s.client();
        client.ask("SUBSCRIBE id:1 destination:/queue/red-8 ack:client activemq.prefetchSize:2");
        let found = client.messages(["1", "2"]);
        client.put(&nack(&found[0]));
        let again = client.message("1");
        client.put(&ack(&again));
        client.messages(["3", "4"]);
    }),
    // Straight to the dead letters, in and out of a transaction.
    case("C249", |_| {
        let server = Server::start();
        let (mut client, found) = held(&server, "1.1", "c249", "client-individual", 2);
        let id = found[0].must("message-id").to_owned();
        client.ask(&format!(
            "NACK message-id:{id} subscription:1 requeue:false"
        ));
        client.ask("BEGIN transaction:t");
        let second = found[1].must("message-id");
        client.ask(&format!(
            "NACK message-id:{second} subscription:1 requeue:false transaction:t"
        ));
        assert_eq!(server.queue_len("ActiveMQ.DLQ"), 1);
        client.ask("COMMIT transaction:t");
        client.ask(DLQ);
        client.message("1").check(&format!(
            "MESSAGE message-id:{id} original-destination:/queue/c249 dlqDeliveryFailureCause"
        ));
        client
            .message("2")
            .check("MESSAGE original-destination:/queue/c249");
        assert_eq!(server.queue_len("c249"), 0);
    }),
    // Back at once in its old place, and however often, it is no failure.
    case("C253", |s| {
        let (mut client, found) = held(s, "1.2", "c253", "client-individual", 1);
        let mut id = found[0].must("ack").to_owned();
        for _ in 0..20 {
            client.put(&format!("NACK id:{id} requeue:true"));
            let again = client.message("1");
            again.check("MESSAGE redelivered:true JMSXDeliveryCount:1");
            id = again.must("ack").to_owned();
        }
    }),
];

fn ack(message: &Frame) -> String {
    format!("ACK id:{}", message.must("ack"))
}

/// A failure that is tried again at once.
fn nack(message: &Frame) -> String {
    format!("NACK id:{} redelivery-delay:0", message.must("ack"))
}

/// A consumer that holds `1`, `2`, … `count` of a fresh queue.
#[track_caller]
fn held(
    server: &Server,
    version: &str,
    queue: &str,
    mode: &str,
    count: usize,
) -> (Client, Vec<Frame>) {
    let mut sender = server.client();
    (1..=count).for_each(|number| sender.send(&format!("/queue/{queue}"), &number.to_string()));
    let mut client = server.client_of(version);
    client.ask(&format!(
        "SUBSCRIBE id:1 destination:/queue/{queue} ack:{mode}"
    ));
    let found = client.messages((1..=count).map(|number| number.to_string()));
    (client, found)
}

#[test]
fn g_acknowledging() {
    check(CASES);
}

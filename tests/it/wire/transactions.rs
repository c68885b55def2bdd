//! Part H: transactions. Spec: behaviour section 7, ACK-6.

use ferrymq::broker::Kind;

use super::client::{Client, Frame, frame};
use super::server::Server;
use super::table::{Case, case, check};

pub(super) const CASES: &[Case] = &[
    case("C266", |s| {
        let mut reader = s.client();
        reader.ask("SUBSCRIBE id:1 destination:/queue/c266");
        let mut client = s.client();
        client.ask("BEGIN transaction:tx1");
        client.ask_with("SEND destination:/queue/c266 transaction:tx1", "m");
        reader.fence();
        client.ask("COMMIT transaction:tx1");
        reader.message("m").check("MESSAGE !transaction");
    }),
    case("C268", |s| {
        for end in [Client::leave as fn(Client) -> Vec<Frame>, |client| {
            client.kill();
            Vec::new()
        }] {
            let mut client = s.client_named("c268");
            client.ask("BEGIN transaction:tx1");
            client.ask("SEND destination:/queue/c268 transaction:tx1");
            end(client);
            reconnected(s, "c268").disconnect();
        }
        assert_eq!(s.queue_len("c268"), 0);
    }),
    case("C269", |s| {
        let mut client = s.client();
        client.put("BEGIN transaction:tx1");
        client.put("SEND destination:/queue/c269 transaction:tx1");
        client.put("DISCONNECT receipt:1");
        client.expect("RECEIPT receipt-id:1");
        client.closed();
        assert_eq!(s.queue_len("c269"), 0);
    }),
    case("C271", |s| {
        let mut client = s.client();
        client.ask("BEGIN transaction:tx1");
        client.ask("SEND destination:/queue/c271 transaction:tx1");
        client.refused(
            "BEGIN transaction:tx1",
            "ERROR message:'The transaction was already started\\c tx1'",
        );
        client.ask("COMMIT transaction:tx1");
        assert_eq!(s.queue_len("c271"), 1);
    }),
    case("C272", |s| {
        let mut client = s.client();
        for command in ["COMMIT", "ABORT"] {
            let head = format!("{command} transaction:none");
            client.refused(&head, "ERROR message:'Invalid transaction id\\c none'");
        }
    }),
    case("C274", |s| {
        let mut client = s.client();
        for command in ["BEGIN", "COMMIT", "ABORT"] {
            client.refused(command, "ERROR message~transaction");
        }
    }),
    case("C275", |s| {
        let head = "SEND destination:/queue/c275 transaction:none";
        s.client()
            .refused(head, "ERROR message:'Invalid transaction id\\c none'");
        assert_eq!(s.queue_len("c275"), 0);
    }),
    case("C276", |s| {
        let (mut client, found) = held(s, "c276", "client", 1, 1);
        let head = format!("{} transaction:none", ack(&found[0]));
        client.refused(&head, "ERROR message:'Invalid transaction id\\c none'");
        client.ask(&ack(&found[0]));
    }),
    case("C279", |s| {
        let (mut one, mut two) = (s.client(), s.client());
        for client in [&mut one, &mut two] {
            client.ask("BEGIN transaction:same");
            client.ask("SEND destination:/queue/c279 transaction:same");
        }
        one.ask("ABORT transaction:same");
        assert_eq!(s.queue_len("c279"), 0);
        two.ask("COMMIT transaction:same");
        assert_eq!(s.queue_len("c279"), 1);
    }),
    case("C281", |s| {
        let (mut client, found) = ten_taken_and_aborted(s, "c281");
        assert_eq!(s.queue_len("c281"), 10);
        found.iter().for_each(|message| client.ask(&ack(message)));
        assert_eq!(s.queue_len("c281"), 0);
    }),
    case("C282", |_| {
        let server = Server::with(|config| config.redelivery.maximum_redeliveries = 0);
        let (mut client, found) = ten_taken_and_aborted(&server, "c282");
        for message in &found {
            client.ask(&format!("NACK id:{}", message.must("ack")));
        }
        assert_eq!(server.queue_len("ActiveMQ.DLQ"), 10);
    }),
    case("C283", |s| {
        let (mut client, found) = held(s, "c283", "client", 10, 100);
        client.ask("BEGIN transaction:tx1");
        client.ask(&format!("{} transaction:tx1", ack(&found[9])));
        client.ask("ABORT transaction:tx1");
        client.fence();
        found.iter().for_each(|message| client.ask(&ack(message)));
        assert_eq!(s.queue_len("c283"), 0);
    }),
    case("C284", |s| {
        let mut client = s.client();
        for number in 0..50 {
            client.put_with("SEND destination:/queue/c284", number.to_string());
        }
        client.ask(
            "SUBSCRIBE id:1 destination:/queue/c284 ack:client-individual activemq.prefetchSize:1",
        );
        for number in 0..50 {
            let found = client.message(&number.to_string());
            client.put(&format!("BEGIN transaction:tx{number}"));
            client.put(&format!("{} transaction:tx{number}", ack(&found)));
            client.put(&format!("COMMIT transaction:tx{number}"));
        }
        client.fence();
        assert_eq!(s.queue_len("c284"), 0);
    }),
    case("C285", |s| {
        let (mut client, found) = held(s, "c285", "client-individual", 4, 100);
        client.ask("BEGIN transaction:tx1");
        for index in [3, 0, 2, 1] {
            client.ask(&format!("{} transaction:tx1", ack(&found[index])));
        }
        client.ask("COMMIT transaction:tx1");
        assert_eq!(s.queue_len("c285"), 0);
        client.leave();
        let mut client = s.client();
        client.ask("SUBSCRIBE id:1 destination:/queue/c285");
        client.fence();
    }),
    case("C286", |s| {
        let mut client = s.client();
        client.ask("SUBSCRIBE id:1 destination:/topic/c286 ack:client");
        client.put("SEND destination:/topic/c286");
        let found = client.expect("MESSAGE");
        client.ask("BEGIN transaction:tx1");
        client.ask(&format!("{} transaction:tx1", ack(&found)));
        client.ask("COMMIT transaction:tx1");
    }),
    case("C288", |s| {
        let (mut client, found) = held(s, "c288", "client-individual", 1, 100);
        client.ask("BEGIN transaction:tx1");
        client.ask(&format!(
            "NACK id:{} transaction:tx1 redelivery-delay:0",
            found[0].must("ack")
        ));
        client.fence();
        client.put("COMMIT transaction:tx1");
        client
            .message("1")
            .check("MESSAGE redelivered:true JMSXDeliveryCount:2");
    }),
    case("C291", |s| {
        let mut client = s.client();
        client.ask("BEGIN transaction:tx1");
        client.ask("SEND destination:/queue/c291 transaction:tx1 persistent:true");
        assert_eq!(s.queue_len("c291"), 0);
        client.ask("COMMIT transaction:tx1");
        assert_eq!(s.queue_len("c291"), 1);
    }),
    case("C292", |s| {
        let (mut client, found) = held(s, "c292", "client", 1, 100);
        let before = s.stats(Kind::Queue, "c292");
        client.ask("BEGIN transaction:tx1");
        client.ask("SEND destination:/queue/c292 transaction:tx1");
        client.ask(&format!("{} transaction:tx1", ack(&found[0])));
        let open = s.stats(Kind::Queue, "c292");
        assert_eq!(
            (open.enqueued, open.dequeued),
            (before.enqueued, before.dequeued)
        );
        client.ask_amid("COMMIT transaction:tx1");
        let after = s.stats(Kind::Queue, "c292");
        assert_eq!(
            (after.enqueued, after.dequeued),
            (before.enqueued + 1, before.dequeued + 1)
        );
    }),
    case("TX-1", |s| {
        let mut client = s.client();
        client.ask("BEGIN transaction:a");
        client.ask("BEGIN transaction:b");
        client.ask_with("SEND destination:/queue/tx-1 transaction:a", "a");
        client.ask_with("SEND destination:/queue/tx-1 transaction:b", "b");
        client.send("/queue/tx-1", "none");
        client.ask("COMMIT transaction:b");
        client.ask("COMMIT transaction:a");
        client.ask("SUBSCRIBE id:1 destination:/queue/tx-1");
        client.messages(["none", "b", "a"]);
    }),
    case("TX-2", |s| {
        let mut client = s.client();
        client.ask("BEGIN transaction:t");
        client.refused("SEND transaction:t", "ERROR message~destination");
        client.refused(
            "SEND destination:/queue/tx-2.* transaction:t",
            "ERROR message~wildcards",
        );
        client.refused(
            "SEND destination:/queue/tx-2 transaction:t priority:x",
            "ERROR message~priority",
        );
        client.ask("SEND destination:/queue/tx-2 transaction:t");
        client.ask("COMMIT transaction:t");
        assert_eq!(s.queue_len("tx-2"), 1);
    }),
    case("TX-5", |s| {
        let mut client = s.client();
        for end in ["ABORT", "COMMIT", "ABORT", "COMMIT"] {
            client.ask("BEGIN transaction:again");
            client.ask("SEND destination:/queue/tx-5 transaction:again");
            client.ask(&format!("{end} transaction:again"));
        }
        assert_eq!(s.queue_len("tx-5"), 2);
        // What was acknowledged in a transaction comes back with the connection's end.
        let (mut client, found) = held(s, "tx-5-held", "client", 3, 100);
        client.ask("BEGIN transaction:t");
        client.ask(&format!("{} transaction:t", ack(&found[1])));
        client.leave();
        let mut client = s.client();
        client.ask("SUBSCRIBE id:1 destination:/queue/tx-5-held");
        for body in ["1", "2", "3"] {
            client.message(body).check("MESSAGE redelivered:true");
        }
    }),
    // Room in the window at once; over-full after ABORT, and then nothing until it is below its size again.
    case("TX-6", |s| {
        let mut sender = s.client();
        (1..=6).for_each(|number| sender.send("/queue/tx-6", &number.to_string()));
        let mut client = s.client();
        client.ask("BEGIN transaction:t");
        client.ask(
            "SUBSCRIBE id:1 destination:/queue/tx-6 ack:client-individual activemq.prefetchSize:2",
        );
        let mut found = client.messages(["1", "2"]);
        for number in [3, 4] {
            let head = format!("{} transaction:t", ack(&found[number - 3]));
            client.put(&head);
            found.extend(client.messages([number.to_string()]));
        }
        client.ask("ABORT transaction:t");
        client.fence();
        client.ask(&ack(&found[0]));
        client.ask(&ack(&found[1]));
        client.put(&ack(&found[2]));
        // Three acked of four held: one is left, so room for one.
        client.message("5");
        client.fence();
    }),
    case("TX-6 counted until COMMIT", |s| {
        let (mut client, found) = held(s, "tx-6-counted", "client", 3, 100);
        client.ask("BEGIN transaction:t");
        client.ask(&format!("{} transaction:t", ack(&found[1])));
        assert_eq!(s.queue_len("tx-6-counted"), 3);
        client.ask("COMMIT transaction:t");
        assert_eq!(s.queue_len("tx-6-counted"), 1);
    }),
    case("TX-7", |_| {
        let server = Server::with(|config| {
            config.stomp.open_transactions_max = 2;
            config.stomp.transaction_actions_max = 3;
        });
        let mut client = server.client();
        client.ask("BEGIN transaction:a");
        client.ask("BEGIN transaction:b");
        client.refused(
            "BEGIN transaction:c",
            "ERROR message~'maximum number of open transactions'",
        );
        (0..3).for_each(|_| client.ask("SEND destination:/queue/tx-7 transaction:a"));
        client.refused(
            "SEND destination:/queue/tx-7 transaction:a",
            "ERROR message~'maximum number of actions'",
        );
        client.refused(
            "COMMIT transaction:a",
            "ERROR message~'Invalid transaction id'",
        );
        assert_eq!(server.queue_len("tx-7"), 0);
    }),
    // Many at a time, in one write.
    case("TX-3", |s| {
        let mut packet = frame("BEGIN transaction:t", "");
        for number in 0..1000 {
            let queue = number % 2;
            let head = format!("SEND destination:/queue/tx-3-{queue} transaction:t");
            packet.extend(frame(&head, number.to_string()));
        }
        packet.extend(frame("COMMIT transaction:t receipt:1", ""));
        let mut client = s.client();
        client.raw(packet);
        client.expect("RECEIPT receipt-id:1");
        for queue in 0..2 {
            client.ask(&format!(
                "SUBSCRIBE id:{queue} destination:/queue/tx-3-{queue}"
            ));
            let ordered = (0..500).map(|number| (2 * number + queue).to_string());
            client.messages(ordered);
        }
    }),
];

fn ack(message: &Frame) -> String {
    format!("ACK id:{}", message.must("ack"))
}

/// A consumer that holds the first `count` messages of a fresh queue.
#[track_caller]
fn held(
    server: &Server,
    queue: &str,
    mode: &str,
    count: usize,
    prefetch: usize,
) -> (Client, Vec<Frame>) {
    let mut sender = server.client();
    (1..=count).for_each(|number| sender.send(&format!("/queue/{queue}"), &number.to_string()));
    let mut client = server.client();
    client.ask(&format!(
        "SUBSCRIBE id:1 destination:/queue/{queue} ack:{mode} activemq.prefetchSize:{prefetch}"
    ));
    let found = client.messages((1..=count.min(prefetch)).map(|number| number.to_string()));
    (client, found)
}

/// Ten messages acknowledged one by one in a transaction that is aborted, with a window of one.
#[track_caller]
fn ten_taken_and_aborted(server: &Server, queue: &str) -> (Client, Vec<Frame>) {
    let (mut client, mut found) = held(server, queue, "client-individual", 10, 1);
    client.ask("BEGIN transaction:tx1");
    for number in 2..=10 {
        client.put(&format!("{} transaction:tx1", ack(&found[number - 2])));
        found.push(client.message(&number.to_string()));
    }
    client.ask(&format!("{} transaction:tx1", ack(&found[9])));
    client.ask("ABORT transaction:tx1");
    client.fence();
    (client, found)
}

/// A connection of a client id that the one before may not have freed yet.
fn reconnected(server: &Server, id: &str) -> Client {
    crate::wait::until("the client id to be free", || {
        let mut client = server.open();
        client.put(&format!("CONNECT accept-version:1.2 client-id:{id}"));
        (client.frame().command == "CONNECTED").then_some(client)
    })
}

#[test]
fn h_transactions() {
    check(CASES);
}

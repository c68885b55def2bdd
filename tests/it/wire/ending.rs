//! Parts J and K: disconnect, errors, receipts, order. Spec: behaviour CON-17, REC-1, REC-2, ERR-1 to ERR-4, ACK-5.

use super::client::frame;
use super::server::Server;
use super::table::{Case, case, check};

pub(super) const CASES: &[Case] = &[
    case("C306", |s| {
        let mut client = s.client();
        client.put("DISCONNECT receipt:77");
        client.expect("RECEIPT receipt-id:77");
        client.closed();
    }),
    case("C307", |s| {
        let mut client = s.client();
        client.put("DISCONNECT");
        client.closed();
    }),
    case("C308", |s| {
        let mut client = s.client();
        client.put("SEND destination:/queue/c308 persistent:true receipt:1");
        client.put("SEND destination:/queue/c308");
        client.put("DISCONNECT receipt:2");
        client.expect("RECEIPT receipt-id:1");
        client.expect("RECEIPT receipt-id:2");
        assert_eq!(s.queue_len("c308"), 2);
        client.closed();
    }),
    case("C310", |_| {
        let server = Server::start();
        server.client().send("/queue/c310", "m");
        for _ in 0..20 {
            let mut client = server.client();
            client.ask("SUBSCRIBE id:1 destination:/topic/c310");
            client.put("SEND destination:/topic/c310");
            client.expect("MESSAGE");
        }
        server.until_only(0);
    }),
    case("C311", |_| {
        let server = Server::start();
        for number in 0..1000 {
            let mut client = server.open();
            match number % 4 {
                0 => {}
                1 => client.put("CONNECT accept-version:1.2"),
                2 => client.raw("CONNECT\nacc"),
                _ => {
                    client.put("CONNECT accept-version:1.2");
                    client.kill();
                }
            }
        }
        server.client().fence();
        server.until_only(0);
    }),
    case("C312", |s| {
        let mut client = s.client();
        client.put("ACK id:nonsense");
        client.put("SEND destination:/queue/c312 receipt:1");
        client.expect("ERROR message~'Unexpected ACK' !receipt-id");
        client.expect("RECEIPT receipt-id:1");
    }),
    case("C313", |_| {
        let server = Server::with(|config| config.stomp.close_on_error = true);
        let mut client = server.client();
        client.put("ACK id:nonsense");
        client.put("SEND destination:/queue/c313 receipt:1");
        client.expect("ERROR message~'Unexpected ACK'");
        client.closed();
        assert_eq!(server.queue_len("c313"), 0);
    }),
    case("C314", |s| {
        for head in [
            "CONNECT accept-version:9.9 login:u passcode:secret",
            "CONNECT accept-version:1.2 heart-beat:x passcode:secret",
            "SEND destination:/queue/q passcode:secret",
        ] {
            let mut client = s.open();
            client.put(head);
            let error = client.expect("ERROR message content-type:text/plain content-length");
            let command = head.split(' ').next().expect("a command");
            assert!(error.text().contains(command), "{error:?}");
            assert!(!error.text().contains("secret"), "{error:?}");
            assert!(!error.must("message").is_empty());
        }
        let mut client = s.client();
        client.put("SEND foo:bar");
        let error = client.expect("ERROR message content-type:text/plain");
        for part in ["destination", "SEND\n", "foo:bar"] {
            assert!(error.text().contains(part), "{error:?}");
        }
    }),
    case("C315", |s| {
        for head in [
            "SEND",
            "ACK id:x",
            "BEGIN",
            "UNSUBSCRIBE id:x",
            "SUBSCRIBE id:1",
        ] {
            let mut client = s.client();
            client.put(&format!("{head} receipt:77"));
            client.expect("ERROR receipt-id:77");
            client.fence();
        }
        // Fatal ones too.
        s.client()
            .fatal("RECEIPT receipt:78", "ERROR receipt-id:78");
        s.client().fatal(
            "SEND destination:/queue/q receipt:79 content-length:x",
            "ERROR receipt-id:79",
        );
    }),
    case("C317", |_| {
        let directory = tempfile::tempdir().expect("a directory");
        let start = || {
            Server::with(|config| {
                config.broker.ephemeral = false;
                config.broker.data_dir = directory.path().join("data");
            })
        };
        let server = start();
        let mut client = server.client();
        client.ask_with("SEND destination:/queue/c317 persistent:true", "m");
        client.ask("SUBSCRIBE id:1 destination:/queue/c317 ack:client");
        client.message("m");
        let mut silent = server.open();
        let watching = std::thread::spawn(move || {
            client.expect("ERROR message~stopping");
            client.closed();
            // It may not have been accepted yet, and is reset then.
            silent.ended();
        });
        server.stop();
        watching.join().expect("the clients see the close");
        let server = start();
        let mut client = server.client();
        client.ask("SUBSCRIBE id:1 destination:/queue/c317");
        client.message("m").check("MESSAGE redelivered:true");
    }),
    case("C328", |s| {
        let mut client = s.client();
        for priority in ["1", "9", "5"] {
            client.put_with(
                &format!("SEND destination:/queue/c328 priority:{priority}"),
                priority,
            );
        }
        client.ask("SUBSCRIBE id:1 destination:/queue/c328");
        client.messages(["1", "9", "5"]);
    }),
    case("ERR-2 ERR-3", |s| {
        // What costs the frame costs nothing else, whatever it was.
        let mut client = s.client();
        client.ask("SUBSCRIBE id:1 destination:/queue/err-3");
        for head in [
            "SEND",
            "SUBSCRIBE id:2",
            "SUBSCRIBE destination:/queue/q",
            "SUBSCRIBE id:1 destination:/queue/q",
            "UNSUBSCRIBE id:9",
            "ACK id:9",
            "NACK id:9",
            "COMMIT transaction:9",
            "SEND destination:/queue/q transaction:9",
            "SEND destination:/queue/q priority:x",
        ] {
            client.refused(head, "ERROR message");
        }
        client.put_with("SEND destination:/queue/err-3", "m");
        client.message("m");
    }),
    case("close_on_error", |_| {
        let server = Server::with(|config| config.stomp.close_on_error = true);
        for head in [
            "SEND",
            "SUBSCRIBE id:2",
            "UNSUBSCRIBE id:9",
            "COMMIT transaction:9",
        ] {
            server.client().fatal(head, "ERROR message");
        }
    }),
    // One connection's receipts come in the order of their frames, persistent or not.
    case("REC-1", |_| {
        let directory = tempfile::tempdir().expect("a directory");
        let server = Server::with(|config| {
            config.broker.ephemeral = false;
            config.broker.data_dir = directory.path().join("data");
        });
        let mut client = server.client();
        let mut packet = Vec::new();
        for number in 0..200 {
            let head = match number % 5 {
                0 => "SEND destination:/queue/rec-1 persistent:true".to_owned(),
                1 => format!("BEGIN transaction:{number}"),
                2 => "SEND destination:/queue/rec-1".to_owned(),
                3 => format!("SUBSCRIBE id:{number} destination:/topic/rec-1"),
                _ => "SEND destination:/queue/rec-1-other persistent:true".to_owned(),
            };
            packet.extend(frame(&format!("{head} receipt:{number}"), "m"));
        }
        client.raw(packet);
        for number in 0..200 {
            client.expect(&format!("RECEIPT receipt-id:{number}"));
        }
    }),
    case("REC-1 verbatim", |s| {
        let mut client = s.client();
        client.put("SEND destination:/topic/x 'receipt: a\\cb \\\\ '");
        client.expect("RECEIPT 'receipt-id: a\\cb \\\\ '");
        let mut client = s.client_of("1.0");
        client.put("SEND destination:/topic/x 'receipt: a:b '");
        client.expect("RECEIPT receipt-id:a:b");
        client.put("SEND destination:/topic/x receipt:one receipt:two");
        client.expect("RECEIPT receipt-id:one");
        client.fence();
    }),
    // An ERROR takes its place in the order as well.
    case("REC-1 with errors", |s| {
        let mut client = s.client();
        let mut packet = Vec::new();
        for number in 0..50 {
            let destination = if number % 2 == 0 {
                "/queue/rec-1-errors"
            } else {
                "/queue/a.*"
            };
            packet.extend(frame(
                &format!("SEND destination:{destination} receipt:{number}"),
                "",
            ));
        }
        client.raw(packet);
        for number in 0..50 {
            let command = if number % 2 == 0 { "RECEIPT" } else { "ERROR" };
            client.expect(&format!("{command} receipt-id:{number}"));
        }
    }),
    // 20 MB wait; what the client's machine has not taken comes back, marked.
    case("ACK-5", |s| {
        let body = "x".repeat(100_000);
        let mut client = s.client();
        (0..200).for_each(|_| client.put_with("SEND destination:/queue/ack-5", &body));
        client.fence();
        let mut lazy = s.client_named("ack-5");
        lazy.put("SUBSCRIBE id:1 destination:/queue/ack-5");
        lazy.expect("MESSAGE");
        lazy.kill();
        s.until_gone("ack-5");
        let mut reader = s.client();
        reader.ask("SUBSCRIBE id:1 destination:/queue/ack-5 ack:client");
        let mut last = reader.expect("MESSAGE redelivered:true JMSXDeliveryCount:1");
        while last.get("redelivered").is_some() {
            last = reader.expect("MESSAGE");
        }
    }),
];

#[test]
fn j_ending() {
    check(CASES);
}

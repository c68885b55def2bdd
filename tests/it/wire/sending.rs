//! Part D: SEND. Spec: behaviour section 3, section 4, SND-1 to SND-4, MSG-1 to MSG-5.

use std::collections::HashSet;

use ferrymq::broker::Kind;
use ferrymq::clock::Clock;

use super::client::{Frame, frame};
use super::server::Server;
use super::table::{Case, case, check};

pub(super) const CASES: &[Case] = &[
    case("C111", |s| {
        let before_ms = Clock::system().wall_ms();
        s.client().ask_with("SEND destination:/queue/c111", "hello");
        let mut reader = s.client_of("1.0");
        reader.ask("SUBSCRIBE destination:/queue/c111");
        let found = reader.message("hello");
        found.check(
            "MESSAGE destination:/queue/c111 message-id~ID: priority:4 expires:0 !subscription",
        );
        let timestamp_ms: u64 = found.must("timestamp").parse().expect("a number");
        let after_ms = Clock::system().wall_ms();
        assert!((before_ms..=after_ms).contains(&timestamp_ms), "{found:?}");
    }),
    case("C112", |s| {
        s.client()
            .refused("SEND foo:bar", "ERROR message~destination")
    }),
    case("C113", |s| {
        s.client()
            .refused("SEND destination:", "ERROR message~destination");
        s.client()
            .refused("SEND 'destination:  '", "ERROR message~destination");
        s.client()
            .refused("SEND destination:/queue/", "ERROR message~destination");
    }),
    case("C114", |s| {
        echo(s, "SEND destination:/queue/c114 persistent:true").check("MESSAGE persistent:true");
    }),
    case("C115", |s| {
        echo(s, "SEND destination:/queue/c115").check("MESSAGE !persistent");
    }),
    case("C116", |s| {
        for value in ["TRUE", "True", "1", "yes", "false", ""] {
            let head = format!("SEND destination:/queue/c116 persistent:{value}");
            echo(s, &head).check("MESSAGE !persistent");
        }
    }),
    case("C119", |s| {
        for (given, found) in [("3", "3"), ("0", "0"), ("9", "9"), ("10", "9"), ("-1", "0")] {
            let head = format!("SEND destination:/queue/c119 priority:{given}");
            echo(s, &head).check(&format!("MESSAGE priority:{found}"));
        }
    }),
    case("C121", |_| {
        let server = Server::start();
        let mut client = server.client();
        let expires_ms = Clock::system().wall_ms() - 100;
        let head = format!("SEND destination:/queue/c121 persistent:true expires:{expires_ms}");
        client.ask_with(&head, "late");
        // Not persistent: gone without a trace.
        client.ask(&format!(
            "SEND destination:/queue/c121 expires:{expires_ms}"
        ));
        client.ask("SUBSCRIBE id:1 destination:/queue/c121");
        client.ask("SUBSCRIBE id:dlq destination:/queue/ActiveMQ.DLQ");
        let cause = format!("'java.lang.Throwable\\c Message Expired. Expiration\\c{expires_ms}'");
        client.message("late").check(&format!(
            "MESSAGE subscription:dlq original-destination:/queue/c121 expires:0 originalExpiration:{expires_ms} \
             dlqDeliveryFailureCause:{cause}"
        ));
        client.fence();
        assert_eq!(server.queue_len("c121"), 0);
    }),
    case("C123", |s| {
        let headers = "correlation-id:c123 type:t345 JMSXGroupID:abc foo:abc bar:123";
        echo(s, &format!("SEND destination:/queue/c123 {headers}"))
            .check(&format!("MESSAGE {headers}"));
    }),
    case("C124", |s| same(s, "reply-to:/queue/r")),
    case("C125", |s| same(s, "reply-to:JustAString")),
    case("C126", |s| same(s, "'reply-to:some destination'")),
    case("C127", |s| same(s, "content-type:application/json")),
    case("C133", |s| {
        let mut client = s.client();
        for number in 0..10 {
            client.put(&format!("SEND destination:/queue/c133 receipt:{number}"));
        }
        for number in 0..10 {
            client.expect(&format!("RECEIPT receipt-id:{number}"));
        }
    }),
    case("C136", |s| {
        s.client().refused(
            "SEND destination:/queue/c136 amq-msg-type:map",
            "ERROR message~unsupported",
        );
    }),
    case("C144", |s| {
        for destination in ["/queue/a.*", "/queue/a.>", "/topic/*.a"] {
            let head = format!("SEND destination:{destination}");
            s.client().refused(&head, "ERROR message~wildcards");
        }
    }),
    case("C145", |s| {
        for version in ["1.0", "1.1", "1.2"] {
            let mut client = s.client_of(version);
            client.ask(&format!("SEND 'destination: /queue/c145-{version} '"));
            assert_eq!(s.queue_len(&format!("c145-{version}")), 1);
            client.ask(&format!(
                "SUBSCRIBE id:1 'destination: /queue/c145-{version} '"
            ));
            client.expect(&format!("MESSAGE destination:/queue/c145-{version}"));
        }
    }),
    case("C146", |s| {
        let mut client = s.client();
        client.ask("SEND destination:c146");
        client.ask("SUBSCRIBE id:1 destination:/queue/c146");
        client.expect("MESSAGE destination:/queue/c146");
    }),
    case("C147", |s| {
        let mut client = s.client();
        client.ask("SUBSCRIBE id:q destination:/queue/c147");
        client.ask("SUBSCRIBE id:t destination:topic://c147");
        client.put("SEND destination:queue://c147");
        client.expect("MESSAGE subscription:q destination:/queue/c147");
        client.put("SEND destination:/topic/c147");
        client.expect("MESSAGE subscription:t destination:/topic/c147");
    }),
    // What is not built may not be taken for a literal name.
    case("DST-14 refused", |s| {
        for destination in [
            "/topic/ActiveMQ.Advisory.Connection",
            "/queue/ActiveMQ.Statistics.Broker",
        ] {
            let mut client = s.client();
            for command in ["SEND", "SUBSCRIBE id:1"] {
                let head = format!("{command} destination:{destination}");
                client.refused(&head, "ERROR message~'not supported yet'");
            }
        }
    }),
    case("C153", |s| {
        echo(s, "SEND destination:/queue/c153 transformation:test")
            .check("MESSAGE !content-length");
    }),
    // ActiveMQ loses some of them (seed finding).
    case("C158", |s| {
        let mut client = s.client();
        let one = frame("SEND destination:/queue/c158", "m");
        client.raw(one.repeat(1000));
        drop(client);
        crate::wait::until("all thousand", || {
            (s.queue_len("c158") == 1000).then_some(())
        });
    }),
    case("DST-1", |s| {
        let mut client = s.client();
        for name in ["dst-1.A", "dst-1.a", "dst-1 ü /x"] {
            client.ask_with(&format!("SEND 'destination:/queue/{name}'"), name);
        }
        for name in ["dst-1.A", "dst-1.a", "dst-1 ü /x"] {
            client.ask(&format!(
                "SUBSCRIBE 'id:{name}' 'destination:/queue/{name}'"
            ));
            client
                .message(name)
                .check(&format!("MESSAGE 'destination:/queue/{name}'"));
        }
    }),
    case("DST-13", |_| {
        let server = Server::with(|config| config.destinations.auto_create = false);
        let mut client = server.client();
        for command in ["SUBSCRIBE id:1", "SEND"] {
            client.put(&format!("{command} destination:/queue/none receipt:1"));
            client.expect("ERROR message~'does not exist' receipt-id:1");
        }
        client.ask("BEGIN transaction:stays");
    }),
    case("DST-15", |s| {
        let mut client = s.client();
        client.ask("SEND destination:/foo/bar");
        client.ask("SUBSCRIBE id:1 destination:/foo/bar");
        client.expect("MESSAGE destination:/queue//foo/bar");
    }),
    case("SND-1", |s| same(s, "x-type:1 a.b:2 ü:3")),
    // ActiveMQ closes without a frame when a number is none.
    case("SND-3", |s| {
        for header in ["priority:x", "priority:", "expires:soon", "timestamp:now"] {
            let head = format!("SEND destination:/queue/snd-3 {header}");
            s.client().refused(&head, "ERROR message~number");
        }
        assert_eq!(s.queue_len("snd-3"), 0);
    }),
    case("section 4: what the server owns", |s| {
        let owned = "message-id:mine redelivered:true subscription:mine JMSXUserID:me ack:mine \
                     JMSXDeliveryCount:9 original-destination:/queue/x";
        let found = echo(
            s,
            &format!("SEND destination:/queue/owned {owned} timestamp:5"),
        );
        found.check(
            "MESSAGE !redelivered subscription:1 !JMSXUserID !ack JMSXDeliveryCount:1 timestamp:5",
        );
        assert!(!found.must("message-id").contains("mine"), "{found:?}");
        let mut names = HashSet::new();
        assert!(
            found.headers.iter().all(|(name, _)| names.insert(name)),
            "{found:?}"
        );
    }),
    case("MSG-1", |s| {
        let head = "SEND destination:/topic/msg-1 persistent:true correlation-id:c reply-to:/queue/r type:t \
                    content-length:0 priority:1 expires:99999999999999 receipt:x foo:bar";
        let mut client = s.client();
        client.ask("SUBSCRIBE id:1 destination:/topic/msg-1 ack:client");
        client.put(head);
        client.expect(
            "MESSAGE destination:/topic/msg-1 message-id subscription:1 timestamp priority:1 \
            expires:99999999999999 persistent:true correlation-id:c reply-to:/queue/r type:t ack \
            content-length:0 foo:bar !receipt !transaction !redelivered !original-destination",
        );
        client.expect("RECEIPT receipt-id:x");
    }),
    case("MSG-2", |s| {
        // Bytes always have a length, text has none.
        echo(s, "SEND destination:/queue/msg-2 content-length:0").check("MESSAGE content-length:0");
        echo(s, "SEND destination:/queue/msg-2").check("MESSAGE !content-length");
        echo(s, "SEND destination:/queue/msg-2 amq-msg-type:BYTES")
            .check("MESSAGE content-length:0");
        echo(
            s,
            "SEND destination:/queue/msg-2 amq-msg-type:text content-length:0",
        )
        .check("MESSAGE !content-length");
        // Text with a NUL must have one.
        let mut client = s.client();
        client.ask("SUBSCRIBE id:1 destination:/queue/msg-2");
        client.put_with(
            "SEND destination:/queue/msg-2 amq-msg-type:text content-length:3",
            "a\0b",
        );
        assert_eq!(client.expect("MESSAGE content-length:3").body, b"a\0b");
        client.fence();
        let server = Server::with(|config| config.stomp.always_content_length = true);
        echo(&server, "SEND destination:/queue/msg-2").check("MESSAGE content-length:0");
    }),
    case("MSG-3", |s| {
        let mut client = s.client();
        client.ask("SUBSCRIBE id:1 destination:/queue/msg-3");
        let ids: HashSet<String> = (0..100)
            .map(|_| {
                client.put("SEND destination:/queue/msg-3");
                client
                    .expect("MESSAGE message-id~ID")
                    .must("message-id")
                    .to_owned()
            })
            .collect();
        assert_eq!(ids.len(), 100);
    }),
    case("topic without subscribers", |s| {
        let mut client = s.client();
        client.send("/topic/nobody", "lost");
        client.ask("SUBSCRIBE id:1 destination:/topic/nobody");
        client.fence();
        assert_eq!(s.stats(Kind::Topic, "nobody").enqueued, 1);
    }),
];

/// Sends a message and reads it on another connection.
#[track_caller]
fn echo(server: &Server, head: &str) -> Frame {
    server.client().ask(head);
    let destination = head.split(' ').nth(1).expect("a destination");
    let mut reader = server.client();
    reader.ask(&format!("SUBSCRIBE id:1 {destination}"));
    let found = reader.expect("MESSAGE");
    reader.disconnect();
    found
}

/// Headers come back as they went.
#[track_caller]
fn same(server: &Server, headers: &str) {
    let queue: String = headers
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .collect();
    echo(
        server,
        &format!("SEND destination:/queue/{queue} {headers}"),
    )
    .check(&format!("MESSAGE {headers}"));
}

/// FuseSource's JMS client takes any delivery count for that of redeliveries.
#[test]
fn a_client_that_counts_redeliveries_sees_the_count_when_there_are_some() {
    let server = Server::start();
    server
        .client()
        .ask_with("SEND destination:/queue/counts transformation:TEXT", "x");
    let mut first = server.client();
    first.ask("SUBSCRIBE id:1 destination:/queue/counts ack:client");
    first
        .message("x")
        .check("MESSAGE !JMSXDeliveryCount transformation:TEXT");
    first.leave();
    let mut second = server.client();
    second.ask("SUBSCRIBE id:1 destination:/queue/counts ack:client");
    second
        .message("x")
        .check("MESSAGE JMSXDeliveryCount:2 redelivered:true");
}

/// What a SEND says is looked at anew whenever it says anything else than the one before.
#[test]
fn repeated_sends_differ_where_they_differ() {
    let server = Server::start();
    let mut client = server.client();
    let mut reader = server.client();
    reader.ask("SUBSCRIBE id:1 destination:/queue/repeated");
    let bytes = |body: &str| {
        format!(
            "SEND destination:/queue/repeated content-length:{}",
            body.len()
        )
    };
    let text = |body: &str| format!("{} amq-msg-type:text a:1", bytes(body));
    let mut octets = Vec::new();
    for body in ["one", "two", "three", ""] {
        octets.extend(frame(&bytes(body), body));
    }
    for body in ["four", "fi\0ve", "six"] {
        octets.extend(frame(&text(body), body));
    }
    for head in ["a:2", "a:2", "a:2 priority:7", "a:2 persistent:true", "a:2"] {
        octets.extend(frame(
            &format!("SEND destination:/queue/repeated {head}"),
            "x",
        ));
    }
    octets.extend(frame("SEND destination:/queue/other a:2", "x"));
    octets.extend(frame("SEND destination:/queue/repeated a:2", "last"));
    client.raw(octets);
    for body in ["one", "two", "three", ""] {
        let length = body.len();
        reader
            .message(body)
            .check(&format!("MESSAGE content-length:{length} !a priority:4"));
    }
    reader.message("four").check("MESSAGE a:1 !content-length");
    reader
        .message("fi\0ve")
        .check("MESSAGE a:1 content-length:5");
    reader.message("six").check("MESSAGE a:1 !content-length");
    reader
        .message("x")
        .check("MESSAGE a:2 priority:4 !persistent");
    reader
        .message("x")
        .check("MESSAGE a:2 priority:4 !persistent");
    reader
        .message("x")
        .check("MESSAGE a:2 priority:7 !persistent");
    reader
        .message("x")
        .check("MESSAGE a:2 priority:4 persistent:true");
    reader
        .message("x")
        .check("MESSAGE a:2 priority:4 !persistent");
    reader.message("last").check("MESSAGE a:2");
    server
        .client()
        .ask("SUBSCRIBE id:1 destination:/queue/other");
}

#[test]
fn d_sending() {
    check(CASES);
}

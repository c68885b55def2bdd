//! Policies as clients meet them. Spec: behaviour 11.10, DLQ-1 to DLQ-6, DST-13, EXP-1, section 13.

use ferrymq::config::{Config, PolicyEntry};

use super::client::{Client, Frame, frame};
use super::server::Server;
use super::table::{Case, case, check};
use crate::wait::until;

/// A broker with these entries.
fn with(entries: &[&str]) -> Server {
    Server::with(|config| config.policy = read(entries))
}

fn read(entries: &[&str]) -> Vec<PolicyEntry> {
    let entry = |text: &&str| {
        text.parse()
            .unwrap_or_else(|error| panic!("{text}: {error}"))
    };
    entries.iter().map(entry).collect()
}

/// Sends a message, takes it and says NACK.
#[track_caller]
fn fail(server: &Server, destination: &str, headers: &str) -> Client {
    let mut client = server.client();
    client.ask(&format!(
        "SUBSCRIBE id:1 destination:{destination} ack:client-individual"
    ));
    let send = format!("SEND destination:{destination} {headers}");
    client.put_with(send.trim(), "x");
    let message = client.message("x");
    client.ask(&nack(&message));
    client
}

fn nack(message: &Frame) -> String {
    format!("NACK id:{}", message.must("ack"))
}

/// The only message of a queue.
#[track_caller]
fn only(server: &Server, queue: &str) -> Frame {
    let mut client = server.client();
    client.ask(&format!(
        "SUBSCRIBE id:1 destination:/queue/{queue} ack:client"
    ));
    let found = client.message("x");
    client.fence();
    client.leave();
    found
}

pub(super) const CASES: &[Case] = &[
    case("C193", |_| {
        let server = with(&["queue = \"c193\"\nqueuePrefetch = 10"]);
        let mut client = server.client();
        (1..=12).for_each(|number| client.send("/queue/c193", &number.to_string()));
        client.ask("SUBSCRIBE id:1 destination:/queue/c193 ack:client");
        client.messages((1..=10).map(|number| number.to_string()));
        client.fence();
    }),
    case("C329", |_| {
        let server = with(&["queue = \">\"\nonNack = \"dlq\"\n\
             deadLetterStrategy = { type = \"individual\", queuePrefix = \"DLQ.\" }"]);
        fail(&server, "/queue/q", "persistent:true").fence();
        only(&server, "DLQ.q")
            .check("MESSAGE original-destination:/queue/q dlqDeliveryFailureCause");
        // It is one of dead letters itself: what fails there stays there (DLQ-5).
        let mut client = server.client();
        client.ask("SUBSCRIBE id:1 destination:/queue/DLQ.q ack:client-individual");
        let dead = client.message("x");
        client.ask_amid(&nack(&dead));
        client.leave();
        assert_eq!(server.queue_len("DLQ.q"), 1);
        let dead = ferrymq::broker::Destination::queue("DLQ.DLQ.q");
        assert!(server.engine().registry.get(&dead).is_none());
    }),
    case("C332", |_| {
        let server = with(&["queue = \">\"\nonNack = \"dlq\""]);
        fail(&server, "/queue/c332", "persistent:true n:7").leave();
        let dead = only(&server, "ActiveMQ.DLQ");
        let retried = server.retry("ActiveMQ.DLQ").expect("dead letters");
        assert_eq!((retried.done, retried.stuck), (1, 0));
        assert_eq!(server.queue_len("ActiveMQ.DLQ"), 0);
        let back = only(&server, "c332");
        back.check(
            "MESSAGE n:7 persistent:true !dlqDeliveryFailureCause !original-destination !redelivered \
             JMSXDeliveryCount:1",
        );
        assert_eq!(back.get("message-id"), dead.get("message-id"));
        // It may fail again, and is a dead letter again: the audit looks at what lies there (DLQ-3).
        let mut client = server.client();
        client.ask("SUBSCRIBE id:1 destination:/queue/c332 ack:client-individual");
        let message = client.message("x");
        client.ask(&nack(&message));
        only(&server, "ActiveMQ.DLQ");
        let refused = server
            .retry("c332")
            .expect_err("no dead letters")
            .to_string();
        assert_eq!(refused, "/queue/c332 is not a dead-letter queue");
        assert!(server.retry("none").is_err());
    }),
    case("C156", |_| {
        let server = with(&["queue = \"c156\"\nmaxMessages = 2\nsendFailIfNoSpace = true"]);
        let mut client = server.client();
        client.send("/queue/c156", "1");
        client.send("/queue/c156", "2");
        client.put("SEND destination:/queue/c156 receipt:r");
        client
            .expect("ERROR message~'Usage Manager Limit reached' message~maxMessages receipt-id:r");
        client.ask("SUBSCRIBE id:1 destination:/queue/c156 ack:client-individual");
        let found = client.messages(["1", "2"]);
        client.ask(&format!("ACK id:{}", found[0].must("ack")));
        client.ask_amid("SEND destination:/queue/c156");
        // In one read, too: what is on its way counts.
        client.put("SEND destination:/queue/c156 receipt:s");
        client.expect("ERROR receipt-id:s");
    }),
    case("limits of each part of a list", |_| {
        let server = with(&["queue = \"part\"\nmaxMessages = 2\noverflow = \"reject\""]);
        let mut client = server.client();
        client.send("/queue/part", "0");
        // In one read: what is on its way counts.
        let mut octets = frame("SEND destination:/queue/part,/queue/other receipt:1", "1");
        octets.extend(frame(
            "SEND destination:/queue/part,/queue/other receipt:2",
            "2",
        ));
        octets.extend(frame(
            "SEND destination:/queue/other,/queue/part receipt:3",
            "3",
        ));
        client.raw(octets);
        client.expect("RECEIPT receipt-id:1");
        client.expect("ERROR message~maxMessages receipt-id:2");
        client.expect("ERROR message~maxMessages receipt-id:3");
        assert_eq!(
            (server.queue_len("part"), server.queue_len("other")),
            (2, 1)
        );
    }),
    case("C294", |_| {
        let server = with(&["queue = \"c294\"\nmaxMessages = 2\noverflow = \"reject\""]);
        let mut client = server.client();
        client.send("/queue/c294", "1");
        client.ask("BEGIN transaction:t");
        for queue in ["c294-a", "c294", "c294"] {
            client.ask_with(
                &format!("SEND destination:/queue/{queue} transaction:t"),
                "t",
            );
        }
        client.put("COMMIT transaction:t receipt:r");
        client.expect("ERROR message~maxMessages receipt-id:r");
        assert_eq!(
            (server.queue_len("c294"), server.queue_len("c294-a")),
            (1, 0)
        );
        client.ask("SUBSCRIBE id:1 destination:/queue/c294");
        client.message("1");
        until("room", || (server.queue_len("c294") == 0).then_some(()));
        client.put("COMMIT transaction:t");
        client.messages(["t", "t"]);
    }),
    case("DLQ-1 per durable subscriber", |_| {
        let server = with(&[
            "topic = \">\"\nmaximumRedeliveries = 0\n[deadLetterStrategy]\ntype = \"individual\"\n\
             topicSuffix = \".dead\"\ndestinationPerDurableSubscriber = true",
        ]);
        let mut client = server.client_named("c");
        client.ask(
            "SUBSCRIBE id:1 destination:/topic/t ack:client-individual activemq.subscriptionName:n",
        );
        client.put_with("SEND destination:/topic/t persistent:true", "x");
        let message = client.message("x");
        client.ask(&nack(&message));
        only(&server, "ActiveMQ.DLQ.Topic.t.c:n.dead")
            .check("MESSAGE original-destination:/topic/t");
    }),
    case("DLQ-1 to a topic", |_| {
        let server = with(&["queue = \">\"\nonNack = \"dlq\"\n\
             deadLetterStrategy = { type = \"individual\", useQueueForQueueMessages = false }"]);
        let mut watcher = server.client();
        watcher.ask("SUBSCRIBE id:1 destination:/topic/ActiveMQ.DLQ.Queue.q");
        fail(&server, "/queue/q", "persistent:true").leave();
        watcher
            .message("x")
            .check("MESSAGE original-destination:/queue/q");
    }),
    case("DLQ-2", |_| {
        let server = with(&[
            "queue = \">\"\nonNack = \"dlq\"",
            "queue = \"dropped\"\nonNack = \"dlq\"\ndeadLetterStrategy = \"discard\"",
            "queue = \"persistent\"\nonNack = \"dlq\"\ndeadLetterStrategy.processNonPersistentRejected = false",
            "queue = \"late\"\ndeadLetterStrategy.processExpired = false",
            "queue = \"kept\"\ndeadLetterStrategy.processNonPersistent = true",
        ]);
        let mut client = server.client();
        for headers in ["", "persistent:true"] {
            fail(&server, "/queue/dropped", headers).leave();
        }
        fail(&server, "/queue/persistent", "").leave();
        client.ask("SUBSCRIBE id:1 destination:/queue/late");
        client.ask("SEND destination:/queue/late persistent:true expires:1");
        client.fence();
        assert_eq!(server.queue_len("ActiveMQ.DLQ"), 0);
        fail(&server, "/queue/any", "").leave();
        fail(&server, "/queue/persistent", "persistent:true").leave();
        assert_eq!(server.queue_len("ActiveMQ.DLQ"), 2);
        client.ask("SUBSCRIBE id:2 destination:/queue/kept");
        client.ask("SEND destination:/queue/kept expires:1");
        until("an expired one", || {
            (server.queue_len("ActiveMQ.DLQ") == 3).then_some(())
        });
    }),
    case("NAK-2 on a topic", |_| {
        let server = with(&[
            "topic = \"dlq\"\nonNack = \"dlq\"",
            "topic = \"gone\"\nonNack = \"discard\"",
        ]);
        for (topic, count) in [("gone", 0), ("dlq", 1)] {
            let mut client = server.client_named("c");
            let head = format!("SUBSCRIBE id:1 destination:/topic/{topic} ack:client-individual");
            client.ask(&format!("{head} activemq.subscriptionName:{topic}"));
            client.put_with(
                &format!("SEND destination:/topic/{topic} persistent:true"),
                "x",
            );
            let message = client.message("x");
            client.ask(&nack(&message));
            client.leave();
            assert_eq!(server.queue_len("ActiveMQ.DLQ"), count, "{topic}");
        }
    }),
    // A message that two durable subscriptions reject is one dead letter.
    case("DLQ-3", |_| {
        for (audit, count) in [(true, 1), (false, 2)] {
            let entry = format!(
                "topic = \">\"\nmaximumRedeliveries = 0\ndeadLetterStrategy.enableAudit = {audit}"
            );
            let server = with(&[&entry]);
            let mut clients: Vec<Client> = ["a", "b"].map(|id| server.client_named(id)).into();
            for client in &mut clients {
                client.ask("SUBSCRIBE id:1 destination:/topic/t ack:client-individual activemq.subscriptionName:n");
            }
            server
                .client()
                .ask_with("SEND destination:/topic/t persistent:true", "x");
            for client in &mut clients {
                let message = client.message("x");
                client.ask(&nack(&message));
            }
            assert_eq!(server.queue_len("ActiveMQ.DLQ"), count, "{audit}");
        }
    }),
    case("DLQ-4", |_| {
        let server =
            with(&["queue = \">\"\nonNack = \"dlq\"\ndeadLetterStrategy.expiration = \"1h\""]);
        fail(&server, "/queue/dlq-4", "expires:99999999999999").leave();
        let dead = only(&server, "ActiveMQ.DLQ");
        dead.check(
            "MESSAGE originalExpiration:99999999999999 originalDeliveryMode:NON_PERSISTENT dlqDeliveryCount:1 \
             dlqTimestamp !redelivered",
        );
        let number = |name: &str| dead.must(name).parse::<u64>().expect("a number");
        assert_eq!(number("expires"), number("dlqTimestamp") + 3_600_000);
    }),
    case("DST-13 by policy", |_| {
        let server = with(&[
            "queue = \"closed.>\"\nautoCreate = false",
            "queue = \"few.*\"\nmaxDestinations = 2",
        ]);
        let mut client = server.client();
        for command in ["SEND", "SUBSCRIBE id:9"] {
            client.refused(
                &format!("{command} destination:/queue/closed.a"),
                "ERROR message~'autoCreate is false'",
            );
        }
        client.send("/queue/few.a", "1");
        client.send("/queue/few.b", "1");
        client.refused(
            "SEND destination:/queue/few.c",
            "ERROR message~'maxDestinations = 2'",
        );
        client.send("/queue/few.a", "2");
        client.send("/topic/few.c", "1");
        client.send("/queue/many.c", "1");
    }),
    case("EXP-1", |_| {
        let server = with(&[
            "queue = \"exp-1\"\n[timestamping]\nttlCeiling = 60000\nzeroExpirationOverride = 30000",
        ]);
        let mut client = server.client();
        client.ask("SUBSCRIBE id:1 destination:/queue/exp-1");
        let mut ttl = |head: &str| {
            client.put_with(head, "x");
            let found = client.message("x");
            let number = |name: &str| found.must(name).parse::<u64>().expect("a number");
            assert!(number("timestamp") > 1_700_000_000_000, "{found:?}");
            number("expires") - number("timestamp")
        };
        assert_eq!(ttl("SEND destination:/queue/exp-1 timestamp:5"), 30_000);
        assert_eq!(
            ttl("SEND destination:/queue/exp-1 timestamp:5 expires:99999999999999"),
            60_000
        );
        assert_eq!(
            ttl("SEND destination:/queue/exp-1 timestamp:5 expires:1005"),
            1000
        );
        client.ask("BEGIN transaction:t");
        client.ask_with(
            "SEND destination:/queue/exp-1 timestamp:5 transaction:t",
            "x",
        );
        client.put("COMMIT transaction:t");
        assert_ne!(client.message("x").must("timestamp"), "5");
    }),
    case("USE-2 drop-head", |_| {
        let server = with(&["queue = \"drop\"\nmaxMessages = 3\noverflow = \"drop-head\""]);
        let mut client = server.client();
        (1..=10).for_each(|number| client.send("/queue/drop", &number.to_string()));
        assert_eq!(server.queue_len("drop"), 3);
        client.ask("SUBSCRIBE id:1 destination:/queue/drop");
        client.messages(["8", "9", "10"]);
    }),
    // The producer waits, and nothing but it; consumers go on (SND-5).
    case("SND-5 wait", |_| {
        let server = with(&["queue = \"wait\"\nmaxMessages = 2"]);
        let mut sender = server.client();
        for number in 1..=6 {
            sender.put_with("SEND destination:/queue/wait", number.to_string());
        }
        sender.send("/queue/other", "passes");
        assert_eq!(server.queue_len("wait"), 2);
        let mut client = server.client();
        client.ask("SUBSCRIBE id:1 destination:/queue/wait");
        client.messages(["1", "2", "3", "4", "5", "6"]);
    }),
    case("USE-2 memoryLimit", |_| {
        let server = with(&[
            "queue = \"full\"\nmemoryLimit = \"4 KiB\"\nsendFailIfNoSpace = true",
            "queue = \"free\"\nmemoryLimit = \"4 KiB\"\nsendFailIfNoSpace = true\nproducerFlowControl = false",
        ]);
        let mut client = server.client();
        let body = "x".repeat(3000);
        client.send("/queue/full", &body);
        client.put_with("SEND destination:/queue/full receipt:r", &body);
        client.expect("ERROR message~memoryLimit receipt-id:r");
        client.send("/queue/free", &body);
        client.send("/queue/free", &body);
        assert_eq!(server.queue_len("free"), 2);
    }),
    // D-2, D-3, D-20
    case("compat", |_| {
        let mut config = Config::activemq();
        config.broker.ephemeral = true;
        let server = Server::of(config);
        fail(&server, "/queue/compat", "").leave();
        assert_eq!(server.queue_len("ActiveMQ.DLQ"), 0);
        fail(&server, "/queue/compat", "persistent:true").leave();
        assert_eq!(server.queue_len("ActiveMQ.DLQ"), 1);
        server.client().send("/queue/endless", "x");
        for _ in 0..9 {
            let mut client = server.client();
            client.ask("SUBSCRIBE id:1 destination:/queue/endless ack:client-individual");
            client.message("x");
            client.kill();
            server.until_only(0);
        }
        assert_eq!(server.queue_len("endless"), 1);
    }),
    case("reload", |_| {
        let server = Server::start();
        let mut client = server.client();
        client.ask("SUBSCRIBE id:1 destination:/queue/reload ack:client-individual");
        client.put_with("SEND destination:/queue/reload", "x");
        let message = client.message("x");
        let changes = server.reconfigure(|config| {
            config.policy = read(&["queue = \"reload\"\nonNack = \"dlq\""]);
            config.stomp.headers_max = 17;
        });
        assert!(changes.policies);
        // The test's broker keeps nothing on disk, which is not the default.
        assert!(
            changes
                .after_restart
                .contains(&"stomp.headers_max".to_owned())
        );
        client.ask(&nack(&message));
        assert_eq!(server.queue_len("ActiveMQ.DLQ"), 1);
        // And back.
        server.reconfigure(|_| {});
        let policy = server
            .engine()
            .registry
            .get_or_create(&ferrymq::broker::Destination::queue("reload"))
            .policy();
        assert_eq!(*policy, ferrymq::broker::DestinationPolicy::default());
        client.fence();
    }),
];

#[test]
fn policies() {
    check(CASES);
}

//! Consumers that do not keep up: what topic subscribers lose, who is ended, and that nobody else is held up.
//! Spec: behaviour SLO-1, SLO-2, RED-6.

use crate::wire::client::Client;
use crate::wire::server::Server;

/// A server with nothing on disk and these lines in its file.
pub(crate) fn server(lines: &str) -> Server {
    let text = format!("[broker]\nephemeral = true\n{lines}");
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("activemq.toml");
    std::fs::write(&path, text).expect("a file");
    let loaded = ferrymq::config::load::load(&ferrymq::config::Sources::file(&path));
    Server::of(
        loaded
            .unwrap_or_else(|problems| panic!("{problems:?}"))
            .config,
    )
}

/// A subscriber of `/topic/t` that takes one message and acknowledges nothing.
fn stuck(server: &Server, more: &str) -> Client {
    let mut slow = server.client_named("stuck");
    let head =
        format!("SUBSCRIBE id:slow destination:/topic/t ack:client activemq.prefetchSize:1 {more}");
    slow.ask(head.trim_end());
    slow
}

fn publish(server: &Server, heads: &[(&str, &str)]) {
    let mut producer = server.client();
    for (head, body) in heads {
        producer.ask_with(format!("SEND destination:/topic/t {head}").trim_end(), body);
    }
}

/// Acknowledges one message after the other, which have to be these.
fn goes_on(mut slow: Client, bodies: &[&str]) {
    for body in bodies {
        let message = slow.message(body);
        slow.put(&format!("ACK id:{}", message.must("ack")));
    }
    slow.fence();
}

const SIX: [(&str, &str); 6] = [
    ("", "1"),
    ("", "2"),
    ("", "3"),
    ("", "4"),
    ("", "5"),
    ("", "6"),
];

#[test]
fn a_subscriber_keeps_as_many_messages_as_the_policy_says() {
    for (policy, kept) in [
        ("{ type = \"constant\", limit = 2 }", &["1", "5", "6"][..]),
        ("{ type = \"constant\", limit = 0 }", &["1"]),
        (
            "{ type = \"constant\", limit = -1 }",
            &["1", "2", "3", "4", "5", "6"],
        ),
        (
            "{ type = \"prefetchRate\", multiplier = 3.0 }",
            &["1", "4", "5", "6"],
        ),
    ] {
        let server = server(&format!(
            "[[policy]]\ntopic = \"t\"\npendingMessageLimitStrategy = {policy}\n"
        ));
        let slow = stuck(&server, "");
        publish(&server, &SIX);
        goes_on(slow, kept);
    }
}

#[test]
fn a_subscriber_says_itself_how_much_may_wait_for_it() {
    let server = server(
        "[[policy]]\ntopic = \"t\"\npendingMessageLimitStrategy = { type = \"constant\", limit = 1 }\n",
    );
    let header = stuck(&server, "activemq.maximumPendingMessageLimit:3");
    let mut option = server.client();
    option.ask(
        "SUBSCRIBE id:1 destination:/topic/t?consumer.maximumPendingMessageLimit=2 ack:client activemq.prefetchSize:1",
    );
    publish(&server, &SIX);
    goes_on(header, &["1", "4", "5", "6"]);
    goes_on(option, &["1", "5", "6"]);
}

#[test]
fn the_lowest_priority_goes_first_where_the_policy_says_so() {
    let server = server(
        "[[policy]]\ntopic = \"t\"\npendingMessageLimitStrategy = { type = \"constant\", limit = 3 }\n\
         messageEvictionStrategy = \"oldestMessageWithLowestPriorityEvictionStrategy\"\n",
    );
    let slow = stuck(&server, "");
    let heads = [
        ("", "first"),
        ("priority:9", "a"),
        ("priority:1", "b"),
        ("priority:5", "c"),
        ("priority:5", "d"),
        ("priority:7", "e"),
    ];
    publish(&server, &heads);
    goes_on(slow, &["first", "a", "d", "e"]);
}

#[test]
fn the_newest_of_each_value_stays_where_the_policy_says_so() {
    let server = server(
        "[[policy]]\ntopic = \"t\"\npendingMessageLimitStrategy = { type = \"constant\", limit = 2 }\n\
         messageEvictionStrategy = { type = \"uniqueProperty\", propertyName = \"symbol\" }\n",
    );
    let slow = stuck(&server, "");
    let heads = [
        ("", "first"),
        ("symbol:A", "A1"),
        ("symbol:B", "B1"),
        ("symbol:B", "B2"),
        ("symbol:B", "B3"),
        ("symbol:A", "A2"),
    ];
    publish(&server, &heads);
    goes_on(slow, &["first", "B3", "A2"]);
}

#[test]
fn a_subscription_ends_where_the_policy_says_so_and_its_connection_stays() {
    let server = server(
        "[[policy]]\ntopic = \"t\"\npendingMessageLimitStrategy = { type = \"constant\", limit = 2 }\n\
         messageEvictionStrategy = \"disconnect\"\n",
    );
    let mut slow = stuck(&server, "");
    let mut other = server.client();
    other.ask("SUBSCRIBE id:1 destination:/topic/t");
    publish(&server, &SIX);
    other.messages(["1", "2", "3", "4", "5", "6"]);
    slow.message("1");
    slow.expect(
        "ERROR message~'subscription slow' message~/topic/t message~pendingMessageLimitStrategy",
    );
    slow.fence();
    // The id is free again.
    slow.ask("SUBSCRIBE id:slow destination:/topic/t");
    publish(&server, &[("", "7")]);
    slow.message("7");
}

#[test]
fn one_that_is_stuck_among_a_hundred_slows_nobody_down() {
    let server = Server::with(|config| {
        config.stomp.outbox_bytes_max = ferrymq::config::ByteSize::from_kib(64);
        config.memory.slow_topic_subscriber_bytes_max = ferrymq::config::ByteSize::from_kib(64);
    });
    let mut lazy = server.client();
    lazy.ask("SUBSCRIBE id:1 destination:/topic/crowd ack:client activemq.prefetchSize:1");
    let mut readers: Vec<Client> = (0..99).map(|_| server.client()).collect();
    for reader in &mut readers {
        reader.ask("SUBSCRIBE id:1 destination:/topic/crowd");
    }
    let mut producer = server.client();
    for round in 0..40 {
        let body = format!("{round:04}{}", "x".repeat(10_000));
        producer.send("/topic/crowd", &body);
        for reader in &mut readers {
            reader.message(&body);
        }
    }
    let used = server.engine().memory.used_bytes();
    assert!(used < 4 << 20, "{used} octets in use");
    lazy.message(&format!("0000{}", "x".repeat(10_000)));
}

#[test]
fn who_takes_nothing_while_messages_wait_is_ended_and_others_get_them() {
    let server = server(
        "[[policy]]\nqueue = \">\"\nslowConsumerStrategy = { type = \"abortSlowConsumer\", checkPeriod = 20, maxSlowDuration = 40 }\n",
    );
    let mut slow = server.client_named("stuck");
    slow.ask("SUBSCRIBE id:slow destination:/queue/q ack:client activemq.prefetchSize:1");
    // Its window is full, but nothing waits.
    let mut producer = server.client();
    producer.send("/queue/q", "1");
    slow.message("1");
    producer.send("/queue/q", "2");
    slow.expect("ERROR message~'subscription slow' message~/queue/q message~slowConsumerStrategy.maxSlowDuration");
    slow.fence();
    let mut other = server.client();
    other.ask("SUBSCRIBE id:1 destination:/queue/q ack:client");
    // The one that it held may be what stopped it, and is counted (RED-6).
    other
        .message("1")
        .check("MESSAGE redelivered:true JMSXDeliveryCount:2");
    other.message("2").check("MESSAGE !redelivered");
}

#[test]
fn who_is_slow_too_often_is_ended_with_its_connection_where_the_policy_says_so() {
    let server = server(
        "[[policy]]\ntopic = \">\"\nslowConsumerStrategy = { type = \"abortSlowConsumerStrategy\", checkPeriod = 20, \
         maxSlowCount = 2, maxSlowDuration = -1, abortConnection = true }\n",
    );
    let mut slow = stuck(&server, "");
    publish(&server, &SIX);
    slow.message("1");
    slow.expect("ERROR message~'subscription slow' message~slowConsumerStrategy.maxSlowCount");
    slow.closed();
}

#[test]
fn who_acknowledges_nothing_is_ended_and_who_holds_nothing_is_not() {
    let server = server(
        "[[policy]]\nqueue = \">\"\nslowConsumerStrategy = { type = \"abortSlowAckConsumer\", checkPeriod = 20, \
         maxTimeSinceLastAck = 40 }\n",
    );
    let mut idle = server.client();
    idle.ask("SUBSCRIBE id:1 destination:/queue/other ack:client");
    let mut silent = server.client();
    silent.ask("SUBSCRIBE id:silent destination:/queue/q ack:client-individual");
    let mut producer = server.client();
    producer.send("/queue/q", "1");
    silent.message("1");
    silent.expect(
        "ERROR message~'subscription silent' message~slowConsumerStrategy.maxTimeSinceLastAck",
    );
    silent.fence();
    idle.fence();
}

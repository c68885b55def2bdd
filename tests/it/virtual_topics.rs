//! Messages that are copied elsewhere. Spec: behaviour VIR-1, VIR-3, VIR-5, SND-4.

use ferrymq::broker::Destination;
use ferrymq::config::{Composite, Config, ForwardTo, VirtualTopic};

use crate::wire::server::Server;

/// Cases of the list that are tested here.
pub(crate) const COVERED: &[&str] = &["C202"];

#[test]
fn each_consumer_queue_gets_a_copy_and_subscribers_too() {
    let server = Server::start();
    let topic = "/topic/VirtualTopic.FOO";
    let (mut a, mut b, mut plain) = (server.client(), server.client(), server.client());
    a.ask("SUBSCRIBE id:1 destination:/queue/Consumer.A.VirtualTopic.FOO");
    plain.ask(&format!("SUBSCRIBE id:1 destination:{topic}"));
    let mut sender = server.client();
    sender.send(topic, "first");
    // A queue without a consumer collects from when it is there.
    sender.send("/queue/Consumer.B.VirtualTopic.FOO", "sent to itself");
    sender.send(topic, "second");
    a.message("first").check(
        "MESSAGE destination:/queue/Consumer.A.VirtualTopic.FOO original-destination:/topic/VirtualTopic.FOO \
         !dlqDeliveryFailureCause",
    );
    a.message("second");
    a.fence();
    plain
        .message("first")
        .check("MESSAGE destination:/topic/VirtualTopic.FOO !original-destination");
    plain.message("second");
    b.ask("SUBSCRIBE id:1 destination:/queue/Consumer.B.VirtualTopic.FOO");
    b.message("sent to itself")
        .check("MESSAGE !original-destination");
    b.message("second").check("MESSAGE original-destination");
    b.fence();
}

#[test]
fn a_thousand_messages_come_once_each() {
    let server = Server::start();
    let (mut client, mut sender) = (server.client(), server.client());
    client.ask("SUBSCRIBE id:1 destination:/queue/Consumer.A.VirtualTopic.FOO");
    for number in 0..1000 {
        sender.put_with(
            "SEND destination:/topic/VirtualTopic.FOO",
            number.to_string(),
        );
    }
    for number in 0..1000 {
        client.message(&number.to_string());
    }
    client.fence();
}

/// What a job delivers is copied like what is sent; the scheduler takes one destination at a time.
#[test]
fn scheduled_messages_are_copied_when_they_are_delivered() {
    let server = Server::start();
    let (mut client, mut sender) = (server.client(), server.client());
    client.ask("SUBSCRIBE id:1 destination:/queue/Consumer.A.VirtualTopic.FOO");
    let scheduled = "AMQ_SCHEDULED_DELAY:1 persistent:true";
    sender.ask_with(
        &format!("SEND destination:/topic/VirtualTopic.FOO {scheduled}"),
        "later",
    );
    client
        .message("later")
        .check("MESSAGE original-destination:/topic/VirtualTopic.FOO scheduledJobId");
    client.fence();
    sender.refused(
        &format!("SEND destination:/queue/a,/queue/b {scheduled}"),
        "ERROR message~'names several destinations'",
    );
    sender.refused(
        &format!("SEND destination:/temp-queue/a {scheduled}"),
        "ERROR message~'cannot schedule a message for a temporary destination'",
    );
}

#[test]
fn a_consumer_queue_may_name_many_topics() {
    let server = Server::start();
    let (mut client, mut sender) = (server.client(), server.client());
    sender.send("/topic/VirtualTopic.a", "before");
    client.ask("SUBSCRIBE id:1 destination:/queue/Consumer.A.VirtualTopic.>");
    for topic in ["a", "b.c"] {
        sender.send(&format!("/topic/VirtualTopic.{topic}"), topic);
        client.message(topic).check(&format!(
            "MESSAGE original-destination:/topic/VirtualTopic.{topic}"
        ));
    }
    sender.send("/topic/Other.a", "other");
    client.fence();
}

#[test]
fn copies_are_kept_and_join_transactions() {
    let directory = tempfile::tempdir().expect("a directory");
    let start = || {
        Server::with(|config| {
            config.broker.ephemeral = false;
            config.broker.data_dir = directory.path().join("data");
        })
    };
    let server = start();
    let queue = "/queue/Consumer.A.VirtualTopic.FOO";
    let mut sender = server.client();
    sender.send(queue, "makes it");
    sender.ask("BEGIN transaction:t");
    let head = "SEND destination:/topic/VirtualTopic.FOO persistent:true";
    sender.ask_with(&format!("{head} transaction:t"), "committed");
    sender.ask("COMMIT transaction:t");
    sender.ask_with(head, "sent");
    server.stop();
    let server = start();
    let mut client = server.client();
    client.ask(&format!("SUBSCRIBE id:1 destination:{queue}"));
    for body in ["committed", "sent"] {
        client
            .message(body)
            .check("MESSAGE original-destination:/topic/VirtualTopic.FOO persistent:true");
    }
    // The way there is known after a restart.
    let mut sender = server.client();
    sender.send("/topic/VirtualTopic.FOO", "new");
    client.message("new");
}

#[test]
fn rules_can_be_changed_and_queues_mirrored() {
    let server = Server::with(|config| {
        config.virtual_topics.name = "events.>".to_owned();
        config.virtual_topics.prefix = "for.*.".to_owned();
        config.virtual_topics.mirrored_queues = true;
    });
    let (mut client, mut sender) = (server.client(), server.client());
    client.ask("SUBSCRIBE id:q destination:/queue/for.me.events.x");
    client.ask("SUBSCRIBE id:m destination:/topic/VirtualTopic.Mirror.for.me.events.x");
    sender.send("/topic/events.x", "m");
    let found = client.messages(["m", "m"]);
    let mut found: Vec<&str> = found
        .iter()
        .map(|message| message.must("subscription"))
        .collect();
    found.sort();
    assert_eq!(found, ["m", "q"]);
    client.ask("SUBSCRIBE id:plain destination:/topic/VirtualTopic.Mirror.plain");
    sender.send("/queue/plain", "watched");
    client
        .message("watched")
        .check("MESSAGE subscription:plain original-destination:/queue/plain");
    client.fence();
}

/// A composite destination with a selector forwards what matches; the sender is answered as for any message.
#[test]
fn composite_destinations_forward_what_selectors_choose() {
    let server = Server::with(|config| {
        config.composite = vec![
            Composite {
                queue: "orders".to_owned(),
                forward_to: vec![to("/queue/all", ""), to("/topic/big", "amount > 100")],
                ..Composite::default()
            },
            Composite {
                topic: "news.*".to_owned(),
                forward_to: vec![to("/queue/sport", "kind = 'sport'")],
                send_when_not_matched: true,
                copy_message: false,
                ..Composite::default()
            },
        ];
    });
    let (mut client, mut sender) = (server.client(), server.client());
    for (id, name) in [
        "/queue/orders",
        "/queue/all",
        "/topic/big",
        "/topic/news.eu",
        "/queue/sport",
    ]
    .iter()
    .enumerate()
    {
        client.ask(&format!("SUBSCRIBE id:{id} destination:{name}"));
    }
    sender.ask_with("SEND destination:/queue/orders amount:7", "small");
    client
        .message("small")
        .check("MESSAGE destination:/queue/all original-destination:/queue/orders");
    sender.ask_with("SEND destination:/queue/orders amount:700", "big");
    let found = client.messages(["big", "big"]);
    let mut found: Vec<&str> = found
        .iter()
        .map(|message| message.must("destination"))
        .collect();
    found.sort_unstable();
    assert_eq!(found, ["/queue/all", "/topic/big"]);
    sender.ask_with("SEND destination:/topic/news.eu kind:sport", "match");
    client
        .message("match")
        .check("MESSAGE destination:/queue/sport !original-destination");
    sender.ask_with("SEND destination:/topic/news.eu", "other");
    client
        .message("other")
        .check("MESSAGE destination:/topic/news.eu");
    // A job that is due is forwarded too, and its destination gets nothing of it.
    sender.ask_with(
        "SEND destination:/queue/orders amount:1 AMQ_SCHEDULED_DELAY:1",
        "later",
    );
    client
        .message("later")
        .check("MESSAGE destination:/queue/all scheduledJobId");
    client.fence();
}

/// Only what a consumer wants is copied; remembered selectors count while it is away.
#[test]
fn consumers_choose_what_is_copied_to_their_queue() {
    let server = Server::with(|config| {
        config.virtual_topic = vec![VirtualTopic {
            name: "VirtualTopic.>".to_owned(),
            selector_aware: true,
            selector_cache: true,
            ..VirtualTopic::default()
        }];
    });
    let queue = "/queue/Consumer.A.VirtualTopic.FOO";
    let topic = "/topic/VirtualTopic.FOO";
    let mut sender = server.client();
    let mut client = server.client();
    client.ask(&format!(
        "SUBSCRIBE id:1 destination:{queue} selector:'size = 1'"
    ));
    sender.ask_with(&format!("SEND destination:{topic} size:1"), "wanted");
    sender.ask_with(&format!("SEND destination:{topic} size:2"), "unwanted");
    client.message("wanted");
    client.ask("UNSUBSCRIBE id:1");
    sender.ask_with(&format!("SEND destination:{topic} size:1"), "kept");
    sender.ask_with(&format!("SEND destination:{topic} size:2"), "not kept");
    client.ask(&format!("SUBSCRIBE id:2 destination:{queue}"));
    client.message("kept");
    client.fence();
}

/// A copy is under the limits of its own queue: its producer waits, and what is behind goes on.
#[test]
fn a_full_consumer_queue_holds_its_topic_up() {
    let server = Server::with(|config| {
        let policy = "queue = \"Consumer.A.>\"\nmaxMessages = 1";
        config.policy = vec![policy.parse().expect("an entry")];
    });
    let topic = "/topic/VirtualTopic.FOO";
    let (mut sender, mut client) = (server.client(), server.client());
    sender.send("/queue/Consumer.A.VirtualTopic.FOO", "fills it");
    client.ask(&format!("SUBSCRIBE id:1 destination:{topic}"));
    sender.put_with(&format!("SEND destination:{topic} receipt:waits"), "waits");
    sender.send("/queue/other", "passes by");
    client.fence();
    client.ask("SUBSCRIBE id:2 destination:/queue/Consumer.A.VirtualTopic.FOO");
    client.message("fills it");
    sender.expect("RECEIPT receipt-id:waits");
    client.messages(["waits", "waits"]);
}

/// Of copies that are refused there is none.
#[test]
fn a_refused_copy_refuses_all() {
    let server = Server::with(|config| {
        let policy = "queue = \"Consumer.A.>\"\nmaxMessages = 2\noverflow = \"reject\"";
        config.policy = vec![policy.parse().expect("an entry")];
    });
    let topic = "/topic/VirtualTopic.FOO";
    let (mut sender, mut client) = (server.client(), server.client());
    for consumer in ["A", "B"] {
        let queue = format!("/queue/Consumer.{consumer}.VirtualTopic.FOO");
        sender.send(&queue, "there");
    }
    // All in one read: what is on its way counts.
    for _ in 0..3 {
        sender.put_with(&format!("SEND destination:{topic}"), "copy");
    }
    for _ in 0..2 {
        sender.expect("ERROR message~'Usage Manager Limit reached'");
    }
    client.ask("SUBSCRIBE id:1 destination:/queue/Consumer.B.VirtualTopic.FOO");
    client.messages(["there", "copy"]);
    client.fence();
}

#[test]
fn rules_change_while_the_broker_runs() {
    let config = || {
        let mut config = Config::default();
        config.broker.ephemeral = true;
        config
    };
    let server = Server::of(config());
    let (mut client, mut sender) = (server.client(), server.client());
    client.ask("SUBSCRIBE id:1 destination:/queue/a");
    sender.send("/queue/b", "stays");
    let mut changed = config();
    changed.composite = vec![Composite {
        queue: "b".to_owned(),
        forward_to: vec![to("/queue/a", "")],
        ..Composite::default()
    }];
    let changes = server.reload(changed).expect("it is correct");
    assert!(changes.virtual_destinations);
    sender.send("/queue/b", "goes on");
    client
        .message("goes on")
        .check("MESSAGE original-destination:/queue/b");
    server.reload(config()).expect("it is correct");
    sender.send("/queue/b", "stays too");
    client.ask("SUBSCRIBE id:2 destination:/queue/b");
    client.messages(["stays", "stays too"]);
    client.fence();
}

fn to(destination: &str, selector: &str) -> ForwardTo {
    ForwardTo {
        destination: Destination::parse(destination).expect("a destination"),
        selector: selector.to_owned(),
    }
}

//! Messages that are copied elsewhere. Spec: behaviour VIR-1, VIR-3, VIR-5, SND-4.

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

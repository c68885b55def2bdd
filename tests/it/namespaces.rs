//! Users whose destinations lie apart, and how much of them there may be. Spec: behaviour SEC-9, SCH-8.

use ferrymq::config::{AccessRule, Config, Namespace, User};

use crate::wait::until;
use crate::wire::client::Client;
use crate::wire::server::Server;

fn list(words: &str) -> Vec<String> {
    words.split_whitespace().map(str::to_owned).collect()
}

fn user(name: &str, groups: &str) -> User {
    User {
        name: name.to_owned(),
        password: crate::security::cheap(&format!("{name}-secret")),
        groups: list(groups),
        ..User::default()
    }
}

fn namespace(name: &str, who: &str) -> Namespace {
    Namespace {
        name: name.to_owned(),
        who: list(who),
        ..Namespace::default()
    }
}

/// Users a1 and a2 of one namespace, b of another, and ops of none.
fn config(change: impl FnOnce(&mut Config)) -> Config {
    let mut config = Config::default();
    config.broker.ephemeral = true;
    config.security.user = vec![
        user("a1", "as"),
        user("a2", "as"),
        user("b", ""),
        user("ops", ""),
    ];
    config.security.namespace = vec![namespace("acme", "as"), namespace("b.corp", "user:b")];
    change(&mut config);
    config
}

fn connect(server: &Server, name: &str) -> Client {
    let head = format!(
        "CONNECT accept-version:1.2 host:x client-id:c-{name} login:{name} passcode:{name}-secret"
    );
    Client::connect(server.address(), &head)
}

#[test]
fn names_are_the_users_own() {
    let server = Server::of(config(|_| {}));
    let (mut a1, mut a2) = (connect(&server, "a1"), connect(&server, "a2"));
    let (mut b, mut ops) = (connect(&server, "b"), connect(&server, "ops"));
    for client in [&mut a1, &mut b] {
        client.ask("SUBSCRIBE id:q destination:/queue/orders");
        client.ask("SUBSCRIBE id:w destination:/topic/>");
    }
    ops.ask("SUBSCRIBE id:w destination:/topic/>");
    a2.ask_with(
        "SEND destination:queue://orders reply-to:/queue/answers",
        "of a",
    );
    let found = a1.message("of a");
    found.check("MESSAGE destination:/queue/orders reply-to:/queue/answers subscription:q");
    a2.send("/topic/news.eu", "news of a");
    a1.message("news of a")
        .check("MESSAGE destination:/topic/news.eu");
    ops.message("news of a")
        .check("MESSAGE destination:/topic/acme.news.eu");
    ops.put_with("SEND destination:/topic/acme", "beside it");
    ops.message("beside it");
    for (client, body) in [(&mut a1, "a's own"), (&mut b, "b's own")] {
        client.put_with("SEND destination:/topic/own", body);
        client.message(body).check("MESSAGE destination:/topic/own");
        ops.message(body);
    }
    // Who is in no namespace sees all names, and replies get where they are wanted.
    ops.ask("SUBSCRIBE id:q destination:/queue/b.corp.requests");
    b.ask_with(
        "SEND destination:/queue/requests reply-to:/queue/orders",
        "ask",
    );
    let reply_to = ops.message("ask").must("reply-to").to_owned();
    assert_eq!(reply_to, "/queue/b.corp.orders");
    ops.send(&reply_to, "answer");
    b.message("answer")
        .check("MESSAGE destination:/queue/orders");
}

#[test]
fn temporary_destinations_routes_and_dead_letters_keep_to_it() {
    let server = Server::of(config(|config| {
        let policy = "queue = \"acme.>\"\nonNack = \"dlq\"\ndeadLetterStrategy = { type = \"individual\", queuePrefix = \
                      \"acme.DLQ.\" }";
        config.policy = vec![policy.parse().expect("an entry")];
    }));
    let (mut a1, mut a2) = (connect(&server, "a1"), connect(&server, "a2"));
    let mut b = connect(&server, "b");
    a1.ask("SUBSCRIBE id:t destination:/temp-queue/answers");
    a1.ask_with(
        "SEND destination:/queue/requests reply-to:/temp-queue/answers",
        "ask",
    );
    a2.ask("SUBSCRIBE id:q destination:/queue/requests ack:client-individual");
    let request = a2.message("ask");
    let reply_to = request.must("reply-to");
    assert!(reply_to.starts_with("/remote-temp-queue/ID-"), "{reply_to}");
    a2.send(reply_to, "answer");
    a1.message("answer")
        .check("MESSAGE destination:/temp-queue/answers");
    b.refused(
        &format!("SEND destination:{reply_to}"),
        "ERROR message~'does not exist' message~'send to /remote-temp-queue/ID-'",
    );
    a2.ask(&format!("NACK id:{}", request.must("ack")));
    a2.ask("SUBSCRIBE id:d destination:/queue/DLQ.acme.requests");
    a2.message("ask")
        .check("MESSAGE original-destination:/queue/requests");
    a1.ask("SUBSCRIBE id:v destination:/queue/Consumer.A.VirtualTopic.x");
    a2.send("/topic/VirtualTopic.x", "copy");
    a1.message("copy").check(
        "MESSAGE destination:/queue/Consumer.A.VirtualTopic.x original-destination:/topic/VirtualTopic.x",
    );
}

/// Destinations as RabbitMQ's clients name them, what they declare, and their durable subscriptions.
#[test]
fn other_dialects_keep_to_it_too() {
    let server = Server::of(config(|config| {
        config.security.namespace[0].destinations_max = 6;
    }));
    let (mut a1, mut a2) = (connect(&server, "a1"), connect(&server, "a2"));
    let (mut b, mut ops) = (connect(&server, "b"), connect(&server, "ops"));
    let head = "SUBSCRIBE id:s destination:/exchange/amq.topic/news durable:true auto-delete:false";
    a1.ask(head);
    b.ask(head);
    a2.ask_with("SEND destination:/topic/news", "of a");
    a1.message("of a")
        .check("MESSAGE destination:/topic/news !original-destination");
    b.fence();
    let declare =
        "x-message-ttl:60000 x-dead-letter-exchange:amq.direct x-dead-letter-routing-key:dead";
    a1.ask(&format!(
        "SUBSCRIBE id:q destination:/queue/work ack:client-individual {declare} x-max-length:5"
    ));
    a2.ask_with(
        "SEND destination:/amq/queue/work reply-to:/amq/queue/work",
        "job",
    );
    let job = a1.message("job");
    job.check("MESSAGE destination:/queue/work reply-to:/queue/work expires");
    for client in [&mut b, &mut ops] {
        client.refused(
            "SEND destination:/amq/queue/work",
            "ERROR message~'does not exist'",
        );
    }
    ops.ask_with("SEND destination:/amq/queue/acme.work", "of ops");
    a1.message("of ops");
    let work = ferrymq::broker::Destination::queue("acme.work");
    let declared = server.engine().declared(&work).expect("it is declared");
    assert_eq!(declared.dead_letter_queue.as_deref(), Some("acme.dead"));
    // The topic, its subscription, the queue, what fences go to; two more may be.
    a1.fence();
    a1.send("/queue/one", "");
    a1.ask(
        "SUBSCRIBE id:two destination:/topic/news durable:true auto-delete:false x-queue-name:two",
    );
    for head in [
        "SUBSCRIBE id:3 destination:/topic/news durable:true auto-delete:false",
        "SEND destination:/queue/two",
        "SEND destination:/queue/two x-max-length:5",
    ] {
        a1.refused(head, "ERROR message~'destinations_max = 6'");
    }
    a1.ask("UNSUBSCRIBE id:two destination:/topic/news durable:true auto-delete:false x-queue-name:two");
    b.put_with("SEND destination:/topic/news", "of b");
    b.message("of b");
    // There is room again.
    a1.send("/queue/two", "");
    a1.fence();
}

#[test]
fn client_ids_and_texts_are_the_users_own_too() {
    let server = Server::of(config(|config| {
        let policy = "queue = \"*.closed\"\nautoCreate = false";
        config.policy = vec![policy.parse().expect("an entry")];
        let mut rule = AccessRule {
            queue: "acme.>".to_owned(),
            write: list("*"),
            admin: list("*"),
            ..AccessRule::default()
        };
        config.security.acl.push(rule.clone());
        (rule.queue, rule.topic) = (String::new(), ">".to_owned());
        rule.read = list("*");
        config.security.acl.push(rule);
    }));
    let login = |name: &str| {
        format!("CONNECT accept-version:1.2 client-id:same login:{name} passcode:{name}-secret")
    };
    let mut a = Client::connect(server.address(), &login("a1"));
    let mut b = Client::connect(server.address(), &login("b"));
    for client in [&mut a, &mut b] {
        client.ask("SUBSCRIBE id:1 destination:/topic/t activemq.subscriptionName:d");
        client.refused(
            "SUBSCRIBE id:2 destination:/topic/t activemq.subscriptionName:d",
            "ERROR message~'in use for client\\c same and'",
        );
    }
    server.turned_away(
        &login("a2"),
        "ERROR message~'Client\\c same already connected'",
    );
    a.refused(
        "SUBSCRIBE id:3 destination:/queue/secret",
        "ERROR message:'User a1 is not authorized to read from\\c queue\\c//secret'",
    );
    a.refused(
        "SEND destination:/queue/closed",
        "ERROR message~'/queue/closed does not exist'",
    );
    b.refused(
        "SEND destination:/queue/acme.secret",
        "ERROR message:'User b is not authorized to write to\\c queue\\c//acme.secret'",
    );
}

#[test]
fn quotas_refuse_by_name() {
    let server = Server::of(config(|config| {
        let acme = &mut config.security.namespace[0];
        (acme.connections_max, acme.destinations_max) = (2, 4);
        acme.bytes_max = "2 KiB".parse().expect("a size");
    }));
    let mut a1 = connect(&server, "a1");
    let _a2 = connect(&server, "a2");
    server.turned_away(
        "CONNECT accept-version:1.2 login:a1 passcode:a1-secret",
        "ERROR message~'Namespace acme has 2 connections already' message~connections_max",
    );
    a1.fence();
    a1.send("/queue/one", "x");
    a1.send("/queue/two", "x");
    a1.ask("SUBSCRIBE id:t destination:/temp-queue/three");
    for destination in ["/queue/four", "/topic/four", "/temp-queue/four"] {
        a1.refused(
            &format!("SEND destination:{destination}"),
            "ERROR message~'namespace acme has destinations_max = 4'",
        );
    }
    a1.ask_with(
        "SEND destination:/queue/one persistent:true",
        "y".repeat(1000).as_str(),
    );
    a1.put_with("SEND destination:/queue/two", "z".repeat(1000));
    a1.expect("ERROR message~'namespace acme hold' message~'bytes_max = 2048'");
    // Others have nothing to do with it, and what is consumed makes room.
    connect(&server, "b").send("/queue/two", &"b".repeat(5000));
    let mut ops = connect(&server, "ops");
    ops.send("/queue/acme.two", &"o".repeat(5000));
    ops.ask("SUBSCRIBE id:1 destination:/queue/acme.two");
    ops.expect("MESSAGE");
    ops.expect("MESSAGE");
    ops.ask("SUBSCRIBE id:2 destination:/queue/acme.one");
    ops.expect("MESSAGE");
    ops.expect("MESSAGE");
    let engine = server.engine();
    until("room", || {
        let account = engine.registry.accounts.get("acme.");
        account.filter(|account| account.bytes() == 0)
    });
    a1.send("/queue/two", &"z".repeat(1000));
}

#[test]
fn a_user_that_moves_has_to_come_again() {
    let server = Server::of(config(|_| {}));
    let (mut b, mut a1) = (connect(&server, "b"), connect(&server, "a1"));
    let mut changed = config(|config| config.security.namespace[1].name = "c".to_owned());
    changed.security.namespace[0].destinations_max = 2;
    server.reload(changed).expect("it is correct");
    b.expect("ERROR message~'the namespace of the user has changed'");
    b.closed();
    a1.fence();
    a1.send("/queue/one", "x");
    a1.refused(
        "SEND destination:/queue/two",
        "ERROR message~destinations_max",
    );
}

/// Who may write to the scheduler's topic cannot touch jobs of others.
#[test]
fn jobs_are_those_of_who_scheduled_them() {
    let rule = |queue: &str, topic: &str, who: &str| AccessRule {
        queue: queue.to_owned(),
        topic: topic.to_owned(),
        read: list("*"),
        write: list("*"),
        admin: list(who),
        ..AccessRule::default()
    };
    let server = Server::of(config(|config| {
        config.security.namespace.clear();
        config.security.user.push(user("boss", ""));
        config.security.acl = vec![rule(">", "", "user:boss"), rule("", ">", "*")];
    }));
    let manage = "SEND destination:/topic/ActiveMQ.Scheduler.Management AMQ_SCHEDULER_ACTION";
    let mut boss = connect(&server, "boss");
    for queue in ["q", "jobs-a1", "jobs-a2", "jobs-boss"] {
        boss.send(&format!("/queue/{queue}"), "made");
    }
    let browse = |client: &mut Client, name: &str, expected: &[&str]| {
        client.put(&format!("{manage}:BROWSE reply-to:/queue/jobs-{name}"));
        let mut found: Vec<(String, String)> = expected
            .iter()
            .map(|_| client.expect("MESSAGE scheduledJobId"))
            .map(|job| (job.text().to_owned(), job.must("scheduledJobId").to_owned()))
            .collect();
        client.fence();
        found.sort();
        let bodies: Vec<&str> = found.iter().map(|(body, _)| body.as_str()).collect();
        assert_eq!(bodies, expected, "{name}");
        found.into_iter().map(|(_, id)| id).collect::<Vec<_>>()
    };
    let (mut a1, mut a2) = (connect(&server, "a1"), connect(&server, "a2"));
    for (client, name) in [(&mut a1, "a1"), (&mut a2, "a2"), (&mut boss, "boss")] {
        client.ask(&format!("SUBSCRIBE id:1 destination:/queue/jobs-{name}"));
        client.message("made");
    }
    let schedule = "SEND destination:/queue/q AMQ_SCHEDULED_DELAY:3600000";
    a1.ask_with(schedule, "1");
    a1.ask_with(schedule, "2");
    a2.ask_with(schedule, "3");
    let own = browse(&mut a1, "a1", &["1", "2"]);
    a2.refused(
        &format!("{manage}:REMOVE scheduledJobId:{}", own[0]),
        "ERROR message~'User a2 is not authorized to remove this job'",
    );
    a2.ask(&format!("{manage}:REMOVEALL"));
    browse(&mut a2, "a2", &[]);
    browse(&mut boss, "boss", &["1", "2"]);
    a1.ask(&format!("{manage}:REMOVE scheduledJobId:{}", own[0]));
    a1.ask(&format!("{manage}:REMOVE scheduledJobId:{}", own[0]));
    let left = browse(&mut boss, "boss", &["2"]);
    boss.ask(&format!("{manage}:REMOVE scheduledJobId:{}", left[0]));
    browse(&mut a1, "a1", &[]);
}

/// Producers of scheduled messages wait for room in the scheduler, and others do not.
#[test]
fn a_full_scheduler_makes_producers_wait() {
    let server = Server::with(|config| {
        config.scheduler.bytes_max = "1 KiB".parse().expect("a size");
    });
    let mut client = server.client();
    let body = "x".repeat(700);
    client.ask_with(
        "SEND destination:/queue/q AMQ_SCHEDULED_DELAY:3600000 AMQ_SCHEDULED_KEY:k",
        &body,
    );
    client.put_with(
        "SEND destination:/queue/waits AMQ_SCHEDULED_DELAY:3600000 receipt:waits",
        &body,
    );
    client.send("/queue/q", "passes by");
    assert_eq!(server.engine().scheduling.len(), 1);
    client.put(
        "SEND destination:/queue/q AMQ_SCHEDULER_ACTION:REMOVE AMQ_SCHEDULED_KEY:k receipt:gone",
    );
    client.expect("RECEIPT receipt-id:gone");
    client.expect("RECEIPT receipt-id:waits");
    assert_eq!(server.engine().scheduling.len(), 1);
}

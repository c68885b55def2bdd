//! What topic subscriptions choose and keep. Spec: behaviour SUB-4, SEL-9, EXP-2, DLQ-2, RED-7.

use std::path::Path;

use crate::wire::client::Client;
use crate::wire::server::Server;

fn store(directory: &Path) -> Server {
    Server::with(|config| {
        config.broker.ephemeral = false;
        config.broker.data_dir = directory.join("data");
    })
}

/// Cases of the list that are tested here.
pub(crate) const COVERED: &[&str] = &["C197", "C219"];

/// A durable subscription `d` of that client on `topic`.
fn durable(server: &Server, client_id: &str, topic: &str, headers: &str) -> Client {
    let mut client = server.client_named(client_id);
    let head = format!("SUBSCRIBE id:1 destination:{topic} activemq.subscriptionName:d {headers}");
    client.ask(head.trim_end());
    client
}

fn send_persistent(client: &mut Client, destination: &str, body: &str) {
    client.ask_with(
        &format!("SEND destination:{destination} persistent:true"),
        body,
    );
}

#[test]
fn a_topic_subscription_can_leave_out_what_its_own_connection_sends() {
    let server = Server::start();
    for header in ["activemq.noLocal:true", "no-local:true"] {
        let (mut client, mut other) = (server.client(), server.client());
        client.ask(&format!("SUBSCRIBE id:1 destination:/topic/t {header}"));
        client.ask("SUBSCRIBE id:2 destination:/topic/t");
        client.put_with("SEND destination:/topic/t", "own");
        client.message("own").check("MESSAGE subscription:2");
        other.send("/topic/t", "foreign");
        let mut subscriptions: Vec<String> = client
            .messages(["foreign", "foreign"])
            .iter()
            .map(|message| message.must("subscription").to_owned())
            .collect();
        subscriptions.sort();
        assert_eq!(subscriptions, ["1", "2"]);
        client.fence();
    }
}

#[test]
fn a_durable_subscription_leaves_out_its_own_client_over_a_restart_too() {
    let directory = tempfile::tempdir().expect("a directory");
    let server = store(directory.path());
    // Keeps the messages in the journal whatever the other one does.
    durable(&server, "keeper", "/topic/t", "").disconnect();
    durable(&server, "own", "/topic/t", "no-local:true").disconnect();
    let mut client = server.client_named("own");
    let mut other = server.client();
    for number in ["1", "2"] {
        send_persistent(&mut client, "/topic/t", &format!("own {number}"));
        send_persistent(&mut other, "/topic/t", &format!("foreign {number}"));
    }
    client.disconnect();
    server.stop();
    let server = store(directory.path());
    durable(&server, "own", "/topic/t", "no-local:true")
        .messages(["foreign 1", "foreign 2"])
        .iter()
        .for_each(|message| message.check("MESSAGE !redelivered"));
    durable(&server, "keeper", "/topic/t", "").messages([
        "own 1",
        "foreign 1",
        "own 2",
        "foreign 2",
    ]);
}

#[test]
fn a_durable_subscription_that_asks_for_something_else_begins_anew() {
    let directory = tempfile::tempdir().expect("a directory");
    let server = store(directory.path());
    durable(&server, "c", "/topic/t", "").disconnect();
    send_persistent(&mut server.client(), "/topic/t", "backlog");
    durable(&server, "c", "/topic/t", "no-local:true").fence();
    server.stop();
    // What it asks for is remembered: the same again keeps the backlog.
    let server = store(directory.path());
    send_persistent(&mut server.client(), "/topic/t", "new");
    durable(&server, "c", "/topic/t", "no-local:true").message("new");
}

#[test]
fn what_expires_for_an_offline_durable_subscription_is_one_dead_letter() {
    let directory = tempfile::tempdir().expect("a directory");
    let server = store(directory.path());
    for client_id in ["a", "b"] {
        durable(&server, client_id, "/topic/t", "").disconnect();
    }
    let mut client = server.client();
    client.ask("SUBSCRIBE id:1 destination:/queue/ActiveMQ.DLQ");
    send_persistent(&mut client, "/topic/t", "stays");
    client.put_with(
        "SEND destination:/topic/t persistent:true expiration:100",
        "goes",
    );
    client.message("goes").check(
        "MESSAGE original-destination:/topic/t dlqDeliveryFailureCause~'Message Expired' originalExpiration expires:0",
    );
    client.fence();
    for client_id in ["a", "b"] {
        let mut client = durable(&server, client_id, "/topic/t", "");
        client.message("stays");
        client.fence();
    }
    server.stop();
}

#[test]
fn what_has_expired_when_it_is_sent_is_a_dead_letter_too() {
    let directory = tempfile::tempdir().expect("a directory");
    let server = store(directory.path());
    durable(&server, "a", "/topic/t", "").disconnect();
    let mut client = server.client();
    client.ask("SUBSCRIBE id:1 destination:/queue/ActiveMQ.DLQ");
    client.put_with(
        "SEND destination:/topic/t persistent:true expires:1",
        "late",
    );
    client
        .message("late")
        .check("MESSAGE original-destination:/topic/t originalExpiration:1");
    client.put_with("SEND destination:/topic/t expires:1", "not persistent");
    client.fence();
    durable(&server, "a", "/topic/t", "").fence();
}

#[test]
fn selectors_choose_on_queues_and_topics() {
    let server = Server::start();
    for (selector, unwanted, wanted) in [
        ("foo = 'zzz'", "foo:abc", "foo:zzz"),
        ("flag = TRUE", "flag:false", "flag:true"),
        ("f = 3.5", "f:3.4", "f:3.5"),
        ("JMSType LIKE 'a_%'", "type:a", "type:abc"),
    ] {
        for destination in ["/queue/selected", "/topic/selected", "/topic/selected.>"] {
            let (mut client, mut other) = (server.client(), server.client());
            // As octets, for the quotes in it.
            client.raw(format!(
                "SUBSCRIBE\nid:1\ndestination:{destination}\nselector:{selector}\nreceipt:r\n\n\0"
            ));
            client.expect("RECEIPT receipt-id:r");
            let to = destination.trim_end_matches(".>");
            for header in [unwanted, wanted] {
                other.ask_with(&format!("SEND destination:{to} {header}"), header);
            }
            client.message(wanted);
            client.fence();
        }
    }
    server.client().refused(
        "SUBSCRIBE id:1 destination:/topic/a,/topic/b 'selector:a <'",
        "ERROR message~'invalid selector'",
    );
}

#[test]
fn a_durable_subscription_keeps_what_its_selector_chooses_over_restarts() {
    let directory = tempfile::tempdir().expect("a directory");
    let server = store(directory.path());
    let chosen = "'selector:n > 1'";
    durable(&server, "keeper", "/topic/t", "").disconnect();
    durable(&server, "c", "/topic/t", chosen).disconnect();
    let mut client = server.client();
    for number in ["1", "2", "0", "3"] {
        let head = format!("SEND destination:/topic/t persistent:true n:{number}");
        client.ask_with(&head, number);
    }
    server.stop();
    let server = store(directory.path());
    let mut client = durable(&server, "c", "/topic/t", chosen);
    client.messages(["2", "3"]);
    client.fence();
    client.disconnect();
    // Another selector begins anew.
    let mut other = server.client();
    other.ask_with("SEND destination:/topic/t persistent:true n:9", "backlog");
    let mut client = durable(&server, "c", "/topic/t", "'selector:n = 0'");
    for number in ["2", "0"] {
        other.ask_with(&format!("SEND destination:/topic/t n:{number}"), number);
    }
    client.message("0");
    client.fence();
}

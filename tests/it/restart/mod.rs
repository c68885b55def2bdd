//! What survives a stop and a crash. Spec: behaviour SND-4, SUB-5, TX-3, TX-5, RED-5, RED-7, DLQ-4, ACK-7.

mod dialects;
mod duplicates;
mod durables;
mod ledger;
mod limits;
mod load;
mod process;
mod rounds;
mod scheduling;
mod spilled;
mod stopping;

use std::fs;
use std::path::Path;

use tempfile::TempDir;

use crate::wire::client::{Client, Frame};
use crate::wire::server::Server;
use process::Process;

/// Cases of the list that are tested here.
pub(crate) const COVERED: &[&str] = &["C224", "C289", "C290"];

fn directory() -> TempDir {
    tempfile::tempdir().expect("a temporary directory")
}

/// How a broker ends between two runs.
#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    /// In good order, in this process.
    Stop,
    /// In good order, by a signal.
    Terminate,
    /// kill -9.
    Kill,
}

const ENDS: [End; 3] = [End::Stop, End::Terminate, End::Kill];

/// A broker in this process or in one of its own.
enum Running {
    Here(Server),
    There(Process),
}

impl Running {
    fn start(directory: &Path, end: End) -> Self {
        match end {
            End::Stop => Self::Here(Server::with(|config| {
                config.broker.ephemeral = false;
                config.broker.data_dir = directory.join("data");
            })),
            End::Terminate | End::Kill => Self::There(Process::start(directory)),
        }
    }

    fn connect(&self, head: &str) -> Client {
        let address = match self {
            Self::Here(server) => server.address(),
            Self::There(process) => process.address(),
        };
        Client::connect(address, head)
    }

    fn client(&self) -> Client {
        self.connect("CONNECT accept-version:1.2 host:x")
    }

    fn end(self, end: End) {
        match (self, end) {
            (Self::There(process), End::Kill) => process.kill(),
            (Self::There(process), _) => assert_eq!(process.terminate().code(), Some(0)),
            (Self::Here(server), _) => server.stop(),
        }
    }
}

/// Runs `before`, ends the broker in each way, and runs `after` on what the next one has found.
#[track_caller]
fn over_restart(before: impl Fn(&Running, &mut Vec<Client>), after: impl Fn(&Running, End)) {
    for end in ENDS {
        let directory = directory();
        let running = Running::start(directory.path(), end);
        let mut clients = Vec::new();
        before(&running, &mut clients);
        running.end(end);
        drop(clients);
        eprintln!("after {end:?}");
        let running = Running::start(directory.path(), end);
        after(&running, end);
        drop(running);
    }
}

#[track_caller]
fn send_persistent(client: &mut Client, destination: &str, body: &str) {
    client.ask_with(
        &format!("SEND destination:{destination} persistent:true"),
        body,
    );
}

fn ack(message: &Frame) -> String {
    format!("ACK id:{}", message.must("ack"))
}

#[test]
fn persistent_messages_stay_in_order_and_the_others_go() {
    over_restart(
        |running, _| {
            let mut client = running.client();
            for number in 0..300 {
                let persistent = number % 3 == 0;
                let head = "SEND destination:/queue/q content-type:a/b a\\cb:\\\\x priority:7";
                client.put_with(
                    &format!(
                        "{head} correlation-id:{number} persistent:{persistent} timestamp:123"
                    ),
                    format!("body {number}"),
                );
            }
            client.fence();
            client.ask("SEND destination:/queue/q persistent:true content-length:0");
        },
        |running, end| {
            let mut client = running.client();
            client.ask("SUBSCRIBE id:1 destination:/queue/q");
            for number in (0..300).step_by(3) {
                let found = client.message(&format!("body {number}"));
                found.check(&format!(
                    "MESSAGE correlation-id:{number} content-type:a/b a\\cb:\\\\x priority:7 persistent:true \
                     timestamp:123 JMSXDeliveryCount:1 !content-length"
                ));
                // After a crash nobody knows what was delivered; after a stop it is known.
                assert!(
                    end == End::Kill || found.get("redelivered").is_none(),
                    "{found:?}"
                );
            }
            client.expect("MESSAGE content-length:0");
            client.fence();
        },
    );
}

#[test]
fn a_message_keeps_its_id() {
    for end in ENDS {
        let directory = directory();
        let running = Running::start(directory.path(), end);
        let mut client = running.client();
        send_persistent(&mut client, "/queue/q", "m");
        client.ask("SUBSCRIBE id:1 destination:/queue/q ack:client");
        let before = client.message("m");
        running.end(end);
        let running = Running::start(directory.path(), end);
        let mut client = running.client();
        // A new message must not get the id of an old one.
        send_persistent(&mut client, "/queue/q", "new");
        client.ask("SUBSCRIBE id:1 destination:/queue/q ack:client");
        let after = client.message("m");
        assert_eq!(before.get("message-id"), after.get("message-id"), "{end:?}");
        after.check("MESSAGE redelivered:true");
        let new = client.message("new");
        assert_ne!(before.get("message-id"), new.get("message-id"), "{end:?}");
    }
}

/// RED-7: exact after a clean stop; after a crash a false positive is allowed, a false negative not.
#[test]
fn redelivered_is_exact_after_a_stop_and_never_forgotten_after_a_crash() {
    over_restart(
        |running, clients| {
            let mut client = running.client();
            for body in ["nacked", "held", "acked", "waiting"] {
                send_persistent(&mut client, "/queue/q", body);
            }
            client.ask(
                "SUBSCRIBE id:1 destination:/queue/q ack:client-individual activemq.prefetchSize:3",
            );
            let found = client.messages(["nacked", "held", "acked"]);
            client.put(&format!(
                "NACK id:{} redelivery-delay:0",
                found[0].must("ack")
            ));
            client
                .message("nacked")
                .check("MESSAGE redelivered:true JMSXDeliveryCount:2");
            let fence = client.ask_amid(&ack(&found[2]));
            assert!(fence.len() <= 1, "{fence:?}");
            clients.push(client);
        },
        |running, _| {
            let mut client = running.client();
            client.ask("SUBSCRIBE id:1 destination:/queue/q ack:client");
            client
                .message("nacked")
                .check("MESSAGE redelivered:true JMSXDeliveryCount:2");
            client
                .message("held")
                .check("MESSAGE redelivered:true JMSXDeliveryCount:1");
            // It took the place of the acknowledged one in the window.
            client.message("waiting").check("MESSAGE redelivered:true");
            client.fence();
        },
    );
}

#[test]
fn what_was_never_delivered_is_not_marked_after_a_stop() {
    over_restart(
        |running, clients| {
            let mut client = running.client();
            ["held", "waiting"]
                .iter()
                .for_each(|body| send_persistent(&mut client, "/queue/q", body));
            client.ask("SUBSCRIBE id:1 destination:/queue/q ack:client activemq.prefetchSize:1");
            client.message("held");
            client.fence();
            clients.push(client);
        },
        |running, end| {
            let mut client = running.client();
            client.ask("SUBSCRIBE id:1 destination:/queue/q ack:client");
            client.message("held").check("MESSAGE redelivered:true");
            let waiting = client.message("waiting");
            assert!(
                end == End::Kill || waiting.get("redelivered").is_none(),
                "{waiting:?}"
            );
        },
    );
}

/// RED-7: the limit of redeliveries holds over restarts, and the dead letter stays.
#[test]
fn failures_are_counted_over_restarts_and_dead_letters_stay() {
    for end in ENDS {
        let directory = directory();
        for round in 0..4 {
            let running = Running::start(directory.path(), end);
            let mut client = running.client();
            if round == 0 {
                send_persistent(&mut client, "/queue/q", "bad");
            }
            client.ask("SUBSCRIBE id:1 destination:/queue/q ack:client");
            for failure in [2 * round + 1, 2 * round + 2] {
                if failure > 7 {
                    break;
                }
                let found = client.message("bad");
                found.check(&format!("MESSAGE JMSXDeliveryCount:{failure}"));
                client.put(&format!("NACK id:{} redelivery-delay:0", found.must("ack")));
            }
            if round < 3 {
                // Back again; its receipt shows that the failures are in the journal.
                client.message("bad");
                send_persistent(&mut client, "/queue/other", "fence");
            } else {
                send_persistent(&mut client, "/queue/other", "fence");
                client.fence();
            }
            // An end without DISCONNECT would be a failure more (RED-6).
            if end != End::Kill {
                client.disconnect();
            }
            running.end(end);
        }
        let running = Running::start(directory.path(), end);
        let mut client = running.client();
        client.ask("SUBSCRIBE id:1 destination:/queue/q");
        client.fence();
        client.ask("SUBSCRIBE id:2 destination:/queue/ActiveMQ.DLQ");
        client.message("bad").check(
            "MESSAGE original-destination:/queue/q persistent:true dlqDeliveryFailureCause~'Delivery[7] exceeds'",
        );
    }
}

/// C224, SUB-5: the backlog, what was acknowledged in it, and the subscription itself.
#[test]
fn durable_subscriptions_keep_their_backlog() {
    let connect = "CONNECT accept-version:1.2 client-id:c224";
    let subscribe =
        "SUBSCRIBE id:1 destination:/topic/t ack:client-individual activemq.subscriptionName:d";
    over_restart(
        |running, clients| {
            let mut client = running.connect(connect);
            client.ask(subscribe);
            let mut sender = running.client();
            for body in ["1", "2", "3"] {
                send_persistent(&mut sender, "/topic/t", body);
            }
            let found = client.messages(["1", "2", "3"]);
            client.ask(&ack(&found[0]));
            client.ask(&ack(&found[2]));
            client.disconnect();
            send_persistent(&mut sender, "/topic/t", "4");
            sender.send("/topic/t", "not persistent");
            send_persistent(&mut sender, "/topic/t", "5");
            // Another one that is still active at the end.
            let mut active = running.connect("CONNECT accept-version:1.2 client-id:active");
            active.ask(subscribe);
            send_persistent(&mut sender, "/topic/t", "6");
            active.message("6");
            clients.push(active);
        },
        |running, end| {
            let mut sender = running.client();
            send_persistent(&mut sender, "/topic/t", "7");
            let mut client = running.connect(connect);
            client.ask(subscribe);
            let found = client.messages(["2", "4", "5", "6", "7"]);
            found[0].check("MESSAGE redelivered:true");
            for message in &found[1..] {
                let marked = message.get("redelivered").is_some();
                assert!(end == End::Kill || !marked, "{message:?}");
            }
            found.iter().for_each(|message| client.ask(&ack(message)));
            client.fence();
            let mut active = running.connect("CONNECT accept-version:1.2 client-id:active");
            active.ask(subscribe);
            active.message("6").check("MESSAGE redelivered:true");
            active.message("7");
            active.fence();
        },
    );
}

/// RED-7, exact after a clean stop, also where somebody else has seen the message before.
#[test]
fn a_delivery_to_one_durable_subscription_marks_nothing_for_another() {
    let subscribe = "SUBSCRIBE id:1 destination:/topic/t ack:client activemq.subscriptionName:d";
    let connect = |running: &Running, id: &str| {
        running.connect(&format!("CONNECT accept-version:1.2 client-id:{id}"))
    };
    let directory = directory();
    let running = Running::start(directory.path(), End::Stop);
    let mut offline = connect(&running, "offline");
    offline.ask(subscribe);
    offline.disconnect();
    let mut active = connect(&running, "active");
    active.ask(subscribe);
    send_persistent(&mut running.client(), "/topic/t", "m");
    active.message("m");
    running.end(End::Stop);
    let running = Running::start(directory.path(), End::Stop);
    for (id, pattern) in [
        ("active", "MESSAGE redelivered:true"),
        ("offline", "MESSAGE !redelivered"),
    ] {
        let mut client = connect(&running, id);
        client.ask(subscribe);
        client.message("m").check(pattern);
    }
}

#[test]
fn a_removed_durable_subscription_stays_removed() {
    let connect = "CONNECT accept-version:1.2 client-id:c";
    let subscribe = "SUBSCRIBE id:1 destination:/topic/t activemq.subscriptionName:d";
    over_restart(
        |running, _| {
            let mut client = running.connect(connect);
            client.ask(subscribe);
            client.ask("UNSUBSCRIBE id:1");
            send_persistent(&mut client, "/topic/t", "backlog");
            client.ask("UNSUBSCRIBE id:1 activemq.subscriptionName:d");
        },
        |running, _| {
            let mut client = running.connect(connect);
            client.refused(
                "UNSUBSCRIBE id:1 activemq.subscriptionName:d",
                "ERROR message~'No durable subscription exists'",
            );
            client.ask(subscribe);
            client.fence();
        },
    );
}

/// C289: both or none, right after the RECEIPT of the COMMIT; acknowledgements in it too.
#[test]
fn a_committed_transaction_is_there_as_a_whole() {
    over_restart(
        |running, clients| {
            let mut client = running.client();
            send_persistent(&mut client, "/queue/in", "consumed");
            client.ask("SUBSCRIBE id:1 destination:/queue/in ack:client");
            let found = client.message("consumed");
            client.ask("BEGIN transaction:t");
            for queue in ["a", "b"] {
                let head = format!("SEND destination:/queue/{queue} persistent:true transaction:t");
                client.ask_with(&head, queue);
            }
            client.ask(&format!("{} transaction:t", ack(&found)));
            client.ask("COMMIT transaction:t");
            clients.push(client);
        },
        |running, _| {
            let mut client = running.client();
            for queue in ["a", "b"] {
                client.ask(&format!("SUBSCRIBE id:{queue} destination:/queue/{queue}"));
                client.message(queue);
            }
            client.ask("SUBSCRIBE id:in destination:/queue/in");
            client.fence();
        },
    );
}

/// C290: nothing of it, whatever was receipted; what it had acknowledged is back.
#[test]
fn an_open_transaction_leaves_nothing() {
    over_restart(
        |running, clients| {
            let mut client = running.client();
            send_persistent(&mut client, "/queue/in", "consumed");
            client.ask("SUBSCRIBE id:1 destination:/queue/in ack:client");
            let found = client.message("consumed");
            client.ask("BEGIN transaction:t");
            for queue in ["a", "b"] {
                client.ask(&format!(
                    "SEND destination:/queue/{queue} persistent:true transaction:t"
                ));
            }
            client.ask(&format!("{} transaction:t", ack(&found)));
            clients.push(client);
        },
        |running, _| {
            let mut client = running.client();
            for queue in ["a", "b"] {
                client.ask(&format!("SUBSCRIBE id:{queue} destination:/queue/{queue}"));
            }
            client.fence();
            client.ask("SUBSCRIBE id:in destination:/queue/in ack:client");
            client
                .message("consumed")
                .check("MESSAGE redelivered:true JMSXDeliveryCount:1");
        },
    );
}

/// ACK-7: what was acknowledged with a RECEIPT never comes again.
#[test]
fn acknowledged_messages_do_not_come_back() {
    over_restart(
        |running, clients| {
            let mut client = running.client();
            (0..100).for_each(|number| {
                let head = "SEND destination:/queue/q persistent:true";
                client.put_with(head, number.to_string());
            });
            client.ask("SUBSCRIBE id:1 destination:/queue/q ack:client-individual");
            let found = client.messages((0..100).map(|number| number.to_string()));
            found
                .iter()
                .step_by(2)
                .for_each(|message| client.ask(&ack(message)));
            clients.push(client);
        },
        |running, _| {
            let mut client = running.client();
            client.ask("SUBSCRIBE id:1 destination:/queue/q");
            client.messages((1..100).step_by(2).map(|number| number.to_string()));
            client.fence();
        },
    );
}

/// The journal alone is the truth; what lies in `meta` only makes a start shorter.
#[test]
fn without_meta_the_state_is_the_same() {
    for end in ENDS {
        let directory = directory();
        let running = Running::start(directory.path(), end);
        let mut client = running.connect("CONNECT accept-version:1.2 client-id:c");
        for number in 0..50 {
            send_persistent(&mut client, "/queue/q", &number.to_string());
        }
        client.ask(
            "SUBSCRIBE id:1 destination:/queue/q ack:client-individual activemq.prefetchSize:3",
        );
        let found = client.messages(["0", "1", "2"]);
        let amid = client.ask_amid(&ack(&found[1]));
        assert!(amid.len() <= 1);
        let subscribe = "SUBSCRIBE id:d destination:/topic/t activemq.subscriptionName:d";
        client.leave();
        let mut client = running.connect("CONNECT accept-version:1.2 client-id:d");
        client.ask(subscribe);
        client.ask("UNSUBSCRIBE id:d");
        send_persistent(&mut client, "/topic/t", "backlog");
        running.end(end);
        let meta = directory.path().join("data/meta");
        if meta.is_dir() {
            fs::remove_dir_all(&meta).expect("it can be removed");
        } else {
            assert!(!meta.exists() || fs::remove_file(&meta).is_ok());
        }
        let running = Running::start(directory.path(), end);
        let mut client = running.connect("CONNECT accept-version:1.2 client-id:d");
        client.ask("SUBSCRIBE id:1 destination:/queue/q");
        let numbers = (0..50).filter(|number| *number != 1);
        client.messages(numbers.map(|number| number.to_string()));
        client.ask(subscribe);
        client.message("backlog");
        client.fence();
    }
}

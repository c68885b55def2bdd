//! Queue browsers. Spec: BRO-1 to BRO-3.

use super::client::Client;
use super::server::Server;
use super::table::{Case, case, check};

pub(super) const CASES: &[Case] = &[
    case("C225", |s| {
        fill(s, "c225", 10);
        let mut client = s.client_of("1.1");
        browse(&mut client, "c225", "");
        for number in 1..=10 {
            client
                .message(&number.to_string())
                .check("MESSAGE subscription:1 !browser");
        }
        end(&mut client, "c225");
        assert_eq!(s.queue_len("c225"), 10);
    }),
    case("C226", |s| {
        let mut client = s.client();
        browse(&mut client, "c226", "ack:client");
        end(&mut client, "c226");
        // BRO-3: the subscription stays, and nothing more comes.
        fill(s, "c226", 1);
        client.fence();
        client.ask("UNSUBSCRIBE id:1");
    }),
    case("C227", |s| {
        fill(s, "c227", 10);
        let mut client = s.client();
        browse(&mut client, "c227", "");
        client.messages((1..=10).map(|number| number.to_string()));
        end(&mut client, "c227");
        client.ask("UNSUBSCRIBE id:1");
        client.ask("SUBSCRIBE id:1 destination:/queue/c227");
        client.messages((1..=10).map(|number| number.to_string()));
    }),
    case("C229", |s| {
        fill(s, "c229", 1);
        let mut client = s.client();
        browse(&mut client, "c229", "ack:client-individual");
        let found = client.message("1");
        end(&mut client, "c229");
        client.refused(
            &format!("NACK id:{}", found.must("ack")),
            "ERROR message:'Cannot Nack a message on a Queue Browser Subscription.'",
        );
        client.ask(&format!("ACK id:{}", found.must("ack")));
        assert_eq!(s.queue_len("c229"), 1);
    }),
    case("C231", |s| {
        fill(s, "c231", 10);
        let mut consumer = s.client();
        consumer.ask("SUBSCRIBE id:1 destination:/queue/c231 ack:client activemq.prefetchSize:5");
        consumer.messages((1..=5).map(|number| number.to_string()));
        let mut client = s.client();
        browse(&mut client, "c231", "");
        client.messages((1..=10).map(|number| number.to_string()));
        end(&mut client, "c231");
    }),
    // With acknowledgements it is sent a window, then as many as it acknowledges.
    case("BRO-2 window", |s| {
        fill(s, "bro-2", 600);
        let mut client = s.client();
        browse(&mut client, "bro-2", "ack:client");
        let found = client.messages((1..=500).map(|number| number.to_string()));
        client.fence();
        client.put(&format!("ACK id:{}", found[499].must("ack")));
        client.messages((501..=600).map(|number| number.to_string()));
        end(&mut client, "bro-2");
        assert_eq!(s.queue_len("bro-2"), 600);
    }),
    case("BRO-3 topic", |s| {
        s.client().refused(
            "SUBSCRIBE id:1 destination:/topic/bro-3 browser:true",
            "ERROR message~browse",
        );
    }),
];

/// What has left memory is read back for the browser alone.
#[test]
fn a_deep_queue_is_browsed_whole() {
    let server = Server::with_store(|config| {
        config.memory.queue_window_bytes = "64 KiB".parse().expect("a size");
    });
    let mut sender = server.client();
    let body = "x".repeat(1000);
    for number in 0..2000 {
        let head = format!("SEND destination:/queue/deep persistent:true n:{number}");
        sender.put_with(&head, &body);
    }
    sender.ask("SEND destination:/queue/other persistent:true");
    let mut client = server.client();
    browse(&mut client, "deep", "");
    for number in 0..2000 {
        client.expect(&format!("MESSAGE n:{number}"));
    }
    end(&mut client, "deep");
    assert_eq!(server.queue_len("deep"), 2000);
}

fn fill(server: &Server, queue: &str, count: usize) {
    let mut sender = server.client();
    for number in 1..=count {
        let head = format!("SEND destination:/queue/{queue}");
        sender.put_with(&head, number.to_string());
    }
    sender.fence();
}

#[track_caller]
fn browse(client: &mut Client, queue: &str, headers: &str) {
    let head = format!("SUBSCRIBE id:1 destination:/queue/{queue} browser:true {headers}");
    client.ask(head.trim());
}

#[track_caller]
fn end(client: &mut Client, queue: &str) {
    let marker = client.expect(&format!(
        "MESSAGE browser:end subscription:1 destination:/queue/{queue} message-id:0"
    ));
    assert!(marker.body.is_empty(), "{marker:?}");
    client.fence();
}

#[test]
fn browsing() {
    check(CASES);
}

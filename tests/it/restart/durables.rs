//! Durable subscriptions on several topics over a stop and a crash. Spec: behaviour SUB-4, SUB-5, SUB-7, DST-5.

use super::{over_restart, send_persistent};

const CONNECT: &str = "CONNECT accept-version:1.2 host:x client-id:c";

fn subscribe(name: &str, destination: &str) -> String {
    format!(
        "SUBSCRIBE id:{name} destination:{destination} activemq.subscriptionName:{name} ack:client-individual"
    )
}

/// With topics that were there, that came while the client was away, and that come after the restart.
#[test]
fn one_name_over_many_topics_is_kept_with_what_it_holds() {
    over_restart(
        |running, _| {
            let mut sender = running.client();
            send_persistent(&mut sender, "/topic/w.old", "before");
            let mut client = running.connect(CONNECT);
            client.ask(&subscribe("wide", "/topic/w.>,/topic/single"));
            client.ask(&subscribe("empty", "/topic/none.>"));
            client.ask(&subscribe("dropped", "/topic/w.*"));
            client.ask("UNSUBSCRIBE id:dropped");
            client.ask("UNSUBSCRIBE id:dropped activemq.subscriptionName:dropped");
            client.disconnect();
            for (topic, body) in [("w.old", "1"), ("single", "2"), ("w.new.deep", "3")] {
                send_persistent(&mut sender, &format!("/topic/{topic}"), body);
            }
            send_persistent(&mut sender, "/topic/elsewhere", "no");
            let mut client = running.connect(CONNECT);
            client.ask(&subscribe("wide", "/topic/w.>,/topic/single"));
            let found: Vec<_> = (0..3).map(|_| client.expect("MESSAGE")).collect();
            let first = found.iter().find(|message| message.text() == "1");
            client.ask(&super::ack(first.expect("it is there")));
            client.disconnect();
        },
        |running, end| {
            let mut sender = running.client();
            send_persistent(&mut sender, "/topic/w.later", "4");
            send_persistent(&mut sender, "/topic/none.x", "5");
            let mut client = running.connect(CONNECT);
            client.ask(&subscribe("wide", "/topic/w.>,/topic/single"));
            let mut found: Vec<String> = (0..3)
                .map(|_| client.expect("MESSAGE subscription:wide").text().to_owned())
                .collect();
            found.sort();
            assert_eq!(found, ["2", "3", "4"], "{end:?}");
            client.ask(&subscribe("empty", "/topic/none.>"));
            client.message("5").check("MESSAGE subscription:empty");
            let mut other = running.connect("CONNECT accept-version:1.2 host:x client-id:d");
            other.refused(
                "UNSUBSCRIBE id:1 activemq.subscriptionName:wide",
                "ERROR message~'No durable subscription exists'",
            );
            client.refused(
                "UNSUBSCRIBE id:1 activemq.subscriptionName:dropped",
                "ERROR message~'No durable subscription exists'",
            );
            client.fence();
        },
    );
}

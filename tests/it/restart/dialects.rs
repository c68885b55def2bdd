//! What clients have set up by the headers of other brokers survives a stop and a crash (section 10).

use super::{over_restart, send_persistent};

#[test]
fn a_shared_durable_subscription_survives_empty_and_full() {
    let head = |id: &str| {
        format!("SUBSCRIBE destination:/topic/t durable:true auto-delete:false id:{id} ack:client")
    };
    over_restart(
        |running, clients| {
            let mut client = running.client();
            client.ask(&head("empty"));
            client.ask(&head("full"));
            client.ask("UNSUBSCRIBE id:full");
            client.ask("UNSUBSCRIBE id:empty");
            clients.push(client);
        },
        |running, _| {
            let mut client = running.client();
            send_persistent(&mut client, "/topic/t", "1");
            for id in ["empty", "full"] {
                client.ask(&head(id));
                client.message("1").check("MESSAGE destination:/topic/t");
            }
        },
    );
}

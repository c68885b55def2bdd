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

#[test]
fn what_is_declared_of_a_queue_survives_with_it() {
    over_restart(
        |running, clients| {
            let mut client = running.client();
            let head = "SUBSCRIBE id:1 destination:/queue/q x-max-length:2";
            client.ask(&format!("{head} x-dead-letter-routing-key:letters"));
            clients.push(client);
        },
        |running, _| {
            let mut client = running.client();
            for body in ["1", "2", "3"] {
                send_persistent(&mut client, "/queue/q", body);
            }
            let head = "SUBSCRIBE id:1 destination:/queue/q ack:client-individual receipt:r";
            client.put(&format!("{head} x-max-length:3"));
            client.expect("RECEIPT receipt-id:r warning~x-max-length");
            let dead = client.message("2");
            client.message("3");
            client.ask(&format!("NACK id:{} requeue:false", dead.must("ack")));
            client.ask("SUBSCRIBE id:2 destination:/queue/letters");
            client.message("2");
        },
    );
}

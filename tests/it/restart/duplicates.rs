//! Ids of messages survive a stop and a crash (SND-6).

use super::over_restart;
use crate::duplicates::send;

#[test]
fn ids_survive_a_restart_with_and_without_their_messages() {
    over_restart(
        |running, _| {
            let mut client = running.client();
            let persistent = "persistent:true";
            assert!(!send(&mut client, "/queue/kept", "1", persistent));
            assert!(!send(&mut client, "/queue/gone", "1", persistent));
            // Nobody keeps it, so nothing but the id is stored.
            assert!(!send(&mut client, "/topic/t", "1", persistent));
            assert!(!send(&mut client, "/queue/kept", "2", ""));
            client.ask("BEGIN transaction:t");
            let in_transaction = "persistent:true transaction:t";
            assert!(!send(
                &mut client,
                "/queue/kept,/queue/gone",
                "3",
                in_transaction
            ));
            client.ask("COMMIT transaction:t");
            client.ask("BEGIN transaction:open");
            send(
                &mut client,
                "/queue/kept",
                "4",
                "persistent:true transaction:open",
            );
            client.ask("SUBSCRIBE id:1 destination:/queue/gone ack:client");
            client.message("1");
            let last = client.message("3");
            client.ask(&format!("ACK id:{}", last.must("ack")));
        },
        |running, _| {
            let mut client = running.client();
            let persistent = "persistent:true";
            for destination in ["/queue/kept", "/queue/gone"] {
                for id in ["1", "3"] {
                    assert!(
                        send(&mut client, destination, id, persistent),
                        "{destination} {id}"
                    );
                }
            }
            assert!(send(&mut client, "/topic/t", "1", persistent));
            // Not persistent, and never committed.
            assert!(!send(&mut client, "/queue/kept", "2", persistent));
            assert!(!send(&mut client, "/queue/kept", "4", persistent));
        },
    );
}

/// A receipt that says `duplicate:true` promises what the first one would have promised.
#[test]
fn the_receipt_of_a_duplicate_waits_for_what_it_repeats() {
    over_restart(
        |running, clients| {
            let (mut one, mut other) = (running.client(), running.client());
            for number in 0..40 {
                let head =
                    format!("SEND destination:/queue/a persistent:true message-dedup-id:{number}");
                one.put_with(&head, "x");
                other.put_with(&format!("{head} receipt:{number}"), "x");
                other.expect(&format!("RECEIPT receipt-id:{number}"));
            }
            clients.extend([one, other]);
        },
        |running, _| {
            let mut client = running.client();
            client.ask("SUBSCRIBE id:1 destination:/queue/a ack:client");
            for _ in 0..40 {
                client.expect("MESSAGE");
            }
            client.fence();
        },
    );
}

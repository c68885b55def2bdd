//! What a topic keeps for those who come later. Spec: behaviour RCV-1, DST-8.

use crate::slow_consumers::server;
use crate::wire::client::Client;
use crate::wire::server::Server;

/// A server whose topics keep what `policy` says.
fn keeping(policy: &str) -> Server {
    server(&format!(
        "[[policy]]\ntopic = \">\"\nsubscriptionRecoveryPolicy = {policy}\n"
    ))
}

fn publish(server: &Server, bodies: &[&str]) {
    let mut producer = server.client();
    for body in bodies {
        producer.send("/topic/t", body);
    }
}

fn subscribe(server: &Server, more: &str) -> Client {
    let mut client = server.client();
    client.ask(format!("SUBSCRIBE id:1 destination:/topic/t {more}").trim_end());
    client
}

#[test]
fn each_policy_keeps_what_it_says() {
    let large = "x".repeat(40_000);
    for (policy, sent, kept) in [
        ("\"none\"", &["1", "2"][..], &[][..]),
        (
            "\"lastImageSubscriptionRecoveryPolicy\"",
            &["1", "2"],
            &["2"],
        ),
        (
            "{ type = \"fixedCount\", maximumSize = 2 }",
            &["1", "2", "3"],
            &["2", "3"],
        ),
        (
            "{ type = \"fixedSize\" }",
            &["1", &large, &large, "2"],
            &[&large, "2"],
        ),
        (
            "{ type = \"fixedCount\", maxBytes = \"64 KiB\" }",
            &["1", &large, &large, "2"],
            &[&large, "2"],
        ),
        (
            "{ type = \"timed\", recoverDuration = \"1h\" }",
            &["1", "2"],
            &["1", "2"],
        ),
        (
            "{ type = \"timed\", recoverDuration = 0 }",
            &["1", "2"],
            &[],
        ),
    ] {
        let server = keeping(policy);
        publish(&server, sent);
        let mut late = subscribe(&server, "activemq.retroactive:true");
        let mut option = server.client();
        option.ask("SUBSCRIBE id:1 destination:/topic/t?consumer.retroactive=true");
        let mut plain = subscribe(&server, "");
        publish(&server, &["live"]);
        for client in [&mut late, &mut option] {
            client.messages(kept);
            client.message("live");
            client.fence();
        }
        plain.message("live");
        plain.fence();
    }
}

#[test]
fn the_last_message_that_asks_for_it_is_retained_until_an_empty_one_clears_it() {
    let server = keeping("\"retained\"");
    let mut producer = server.client();
    let retained = "SEND destination:/topic/t ActiveMQ.Retain:true";
    for body in ["1", "2"] {
        producer.ask_with(retained, body);
    }
    producer.send("/topic/t", "3");
    subscribe(&server, "activemq.retroactive:true").message("2");
    producer.ask_with(retained, "");
    subscribe(&server, "activemq.retroactive:true").fence();
}

#[test]
fn selectors_apply_and_all_subscribers_may_be_retroactive() {
    let server = server(
        "[[policy]]\ntopic = \">\"\nsubscriptionRecoveryPolicy = \"fixedCount\"\nalwaysRetroactive = true\n",
    );
    let mut producer = server.client();
    for (strength, colour) in [(1, "red"), (2, "blue"), (1, "red")] {
        producer.ask_with(
            &format!("SEND destination:/topic/t strength:{strength}"),
            colour,
        );
    }
    subscribe(&server, "").messages(["red", "blue", "red"]);
    let mut picky = subscribe(&server, "selector:'strength > 1'");
    picky.message("blue");
    picky.fence();
    // So may those of several topics, and each message comes once.
    let mut wild = server.client();
    wild.ask("SUBSCRIBE id:1 destination:/topic/t,/topic/t.> ack:client");
    wild.messages(["red", "blue", "red"]);
    wild.fence();
}

#[test]
fn a_durable_subscription_is_told_that_it_misses_nothing() {
    let server = keeping("\"lastImage\"");
    publish(&server, &["1"]);
    let mut client = server.client_named("durable");
    client.put("SUBSCRIBE id:1 destination:/topic/t activemq.subscriptionName:s activemq.retroactive:true receipt:r");
    client.expect("RECEIPT receipt-id:r warning~'no effect on a durable subscription'");
    client.fence();
}

#[test]
fn what_is_kept_counts_as_memory_in_use_and_goes_with_the_policy() {
    let server = keeping("{ type = \"fixedCount\", maximumSize = 3 }");
    let body = "x".repeat(100_000);
    publish(&server, &[body.as_str(); 5]);
    let used = || server.engine().memory.used_bytes();
    assert!((300_000..400_000).contains(&used()), "{} octets", used());
    let mut late = subscribe(&server, "activemq.retroactive:true");
    late.messages([&body; 3]);
    late.fence();
    assert!(used() < 400_000, "shared, not copied: {} octets", used());
    server
        .engine()
        .set_policies(ferrymq::broker::Policies::default());
    assert_eq!(used(), 0);
}

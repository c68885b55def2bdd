//! A broker inside a test: no disk, a free port, stopped in good order at the end.
//!
//! `cargo run --example embedded_broker`

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

mod client;

use std::error::Error;

use client::{Client, SEND, SUBSCRIBE};
use ferrymq::Broker;
use ferrymq::config::Config;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut config = Config::default();
    config.broker.ephemeral = true;
    config.stomp.listen.set_port(0);
    let broker = Broker::builder().config(config).start().await?;
    println!("the broker listens on {}", broker.stomp_addr());

    // What is under test would be given the address and speak to it; here it is one client.
    let mut client = Client::connect(broker.stomp_addr(), "").await?;
    client
        .frame(SUBSCRIBE, "id:1\ndestination:/queue/orders\n", "")
        .await?;
    client
        .frame(SEND, "destination:/queue/orders\n", "one order")
        .await?;
    let message = client.read().await?;
    assert_eq!(message.body, "one order");
    println!("received: {}", message.body);

    // Waits until every connection has been told and has ended.
    drop(client);
    broker.shutdown().await;
    Ok(())
}

//! A durable subscription: a topic keeps messages for a client that is away.
//!
//! It belongs to a client id and a name; who comes back with both gets what was published meanwhile. The broker here keeps
//! a journal in a temporary directory, so the persistent message would survive a restart too.
//!
//! `cargo run --example durable_subscription`

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

mod client;

use std::error::Error;
use std::net::SocketAddr;

use client::{Client, SEND, SUBSCRIBE};
use ferrymq::Broker;
use ferrymq::config::Config;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let directory = tempfile::tempdir()?;
    let mut config = Config::default();
    config.broker.data_dir = directory.path().to_owned();
    config.stomp.listen.set_port(0);
    let broker = Broker::builder().config(config).start().await?;
    let address = broker.stomp_addr();

    // The first time, the subscription begins; what was published before is not for it.
    subscriber(address).await?.disconnect().await?;

    let mut publisher = Client::connect(address, "").await?;
    let headers = "destination:/topic/news\npersistent:true\nreceipt:1\n";
    publisher
        .frame(SEND, headers, "published while nobody listened")
        .await?;
    // The RECEIPT comes when the message is on disk.
    assert_eq!(publisher.read().await?.header("receipt-id"), "1");
    publisher.disconnect().await?;

    let mut back = subscriber(address).await?;
    let message = back.read().await?;
    println!("received: {}", message.body);
    assert_eq!(message.body, "published while nobody listened");
    back.acknowledge(&message).await?;
    back.disconnect().await?;
    broker.shutdown().await;
    Ok(())
}

async fn subscriber(address: SocketAddr) -> Result<Client, Box<dyn Error>> {
    let mut client = Client::connect(address, "client-id:archiver\n").await?;
    let headers = "id:1\ndestination:/topic/news\nack:client-individual\n\
                   activemq.subscriptionName:archive\nreceipt:s\n";
    client.frame(SUBSCRIBE, headers, "").await?;
    // The RECEIPT comes before the first MESSAGE.
    assert_eq!(client.read().await?.header("receipt-id"), "s");
    Ok(client)
}

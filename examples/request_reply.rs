//! A request and its answer over a temporary queue, which lives as long as the connection that asks.
//!
//! `cargo run --example request_reply`

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

mod client;

use std::error::Error;

use client::{Client, SEND, SUBSCRIBE};
use ferrymq::Broker;
use ferrymq::config::Config;

const REQUESTS: usize = 5;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut config = Config::default();
    config.broker.ephemeral = true;
    config.stomp.listen.set_port(0);
    let broker = Broker::builder().config(config).start().await?;

    let mut server = Client::connect(broker.stomp_addr(), "").await?;
    let headers = "id:1\ndestination:/queue/squares\nack:client-individual\n";
    server.frame(SUBSCRIBE, headers, "").await?;

    let mut client = Client::connect(broker.stomp_addr(), "").await?;
    let headers = "id:1\ndestination:/temp-queue/answers\nack:auto\n";
    client.frame(SUBSCRIBE, headers, "").await?;
    for number in 1..=REQUESTS {
        let headers = format!(
            "destination:/queue/squares\nreply-to:/temp-queue/answers\ncorrelation-id:{number}\n"
        );
        client.frame(SEND, &headers, &number.to_string()).await?;
    }

    for _ in 0..REQUESTS {
        let request = server.read().await?;
        let number: u64 = request.body.parse()?;
        let headers = format!(
            "destination:{}\ncorrelation-id:{}\n",
            request.header("reply-to"),
            request.header("correlation-id")
        );
        let answer = (number * number).to_string();
        server.frame(SEND, &headers, &answer).await?;
        server.acknowledge(&request).await?;
    }

    for _ in 0..REQUESTS {
        let answer = client.read().await?;
        println!(
            "request {} -> {}",
            answer.header("correlation-id"),
            answer.body
        );
    }
    client.disconnect().await?;
    server.disconnect().await?;
    broker.shutdown().await;
    Ok(())
}

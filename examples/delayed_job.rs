//! Messages for later: one after a delay, and one that is cancelled in time.
//!
//! `cargo run --example delayed_job`

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

mod client;

use std::error::Error;
use std::time::Duration;

use client::{Client, SEND, SUBSCRIBE};
use ferrymq::Broker;
use ferrymq::config::Config;
use tokio::time::{Instant, timeout};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut config = Config::default();
    config.broker.ephemeral = true;
    config.stomp.listen.set_port(0);
    let broker = Broker::builder().config(config).start().await?;

    let mut client = Client::connect(broker.stomp_addr(), "").await?;
    let headers = "id:1\ndestination:/queue/later\nack:auto\n";
    client.frame(SUBSCRIBE, headers, "").await?;
    let started = Instant::now();
    let headers = "destination:/queue/later\nAMQ_SCHEDULED_DELAY:500\n";
    client.frame(SEND, headers, "half a second later").await?;
    let headers = "destination:/queue/later\nAMQ_SCHEDULED_DELAY:700\nAMQ_SCHEDULED_KEY:reminder\n";
    client.frame(SEND, headers, "never").await?;
    let headers =
        "destination:/queue/later\nAMQ_SCHEDULER_ACTION:REMOVE\nAMQ_SCHEDULED_KEY:reminder\n";
    client.frame(SEND, headers, "").await?;

    let message = client.read().await?;
    println!("after {:.1?}: {}", started.elapsed(), message.body);
    let other = timeout(Duration::from_secs(1), client.read()).await;
    println!("the other one was cancelled: {}", other.is_err());
    client.disconnect().await?;
    broker.shutdown().await;
    Ok(())
}

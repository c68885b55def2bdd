//! A worker that fails: the job comes back, later each time, and ends in the dead-letter queue with the reason.
//!
//! How long it waits and how often it is tried again is the queue's redelivery policy; a subscription may ask for
//! less, as here, so that the example does not take a minute.
//!
//! `cargo run --example work_queue`

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

mod client;

use std::error::Error;

use client::{Client, SEND, SUBSCRIBE};
use ferrymq::Broker;
use ferrymq::config::Config;
use tokio::time::Instant;

const NACK: &str = "NACK";

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut config = Config::default();
    config.broker.ephemeral = true;
    config.stomp.listen.set_port(0);
    let broker = Broker::builder().config(config).start().await?;

    let mut worker = Client::connect(broker.stomp_addr(), "").await?;
    let headers = "id:1\ndestination:/queue/jobs\nack:client-individual\n\
                   activemq.maximumRedeliveries:3\nactivemq.initialRedeliveryDelay:100\n\
                   activemq.useExponentialBackOff:true\nactivemq.backOffMultiplier:2\n";
    worker.frame(SUBSCRIBE, headers, "").await?;
    let send = "destination:/queue/jobs\n";
    worker
        .frame(SEND, send, "a job that cannot be done")
        .await?;

    let started = Instant::now();
    for _ in 0..4 {
        let job = worker.read().await?;
        let count = job.header("JMSXDeliveryCount");
        println!(
            "delivery {count} after {:.1?}: {}",
            started.elapsed(),
            job.body
        );
        let id = format!("id:{}\n", job.header("ack"));
        worker.frame(NACK, &id, "").await?;
    }

    let headers = "id:dead\ndestination:/queue/ActiveMQ.DLQ\nack:client-individual\n";
    worker.frame(SUBSCRIBE, headers, "").await?;
    let letter = worker.read().await?;
    println!("in the dead-letter queue: {}", letter.body);
    println!("it failed on: {}", letter.header("original-destination"));
    println!("because: {}", letter.header("dlqDeliveryFailureCause"));
    worker.acknowledge(&letter).await?;
    worker.disconnect().await?;
    broker.shutdown().await;
    Ok(())
}

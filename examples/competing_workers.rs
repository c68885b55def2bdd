//! Two workers share a queue, and one is slow. Nobody has tuned anything, and neither starves: the window of a
//! `client-individual` subscription follows its consumer, so the slow one does not sit on what the other could do.
//!
//! `cargo run --example competing_workers`

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

mod client;

use std::error::Error;
use std::net::SocketAddr;
use std::time::Duration;

use client::{Client, SEND, SUBSCRIBE};
use ferrymq::Broker;
use ferrymq::config::Config;
use tokio::time::{sleep, timeout};

const JOBS: usize = 100;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut config = Config::default();
    config.broker.ephemeral = true;
    config.stomp.listen.set_port(0);
    let broker = Broker::builder().config(config).start().await?;
    let address = broker.stomp_addr();

    let mut producer = Client::connect(address, "").await?;
    for number in 0..JOBS {
        let job = format!("job {number}");
        producer
            .frame(SEND, "destination:/queue/jobs\n", &job)
            .await?;
    }
    producer.disconnect().await?;

    let (fast, slow) = tokio::join!(
        work(address, Duration::from_millis(2)),
        work(address, Duration::from_millis(100))
    );
    let (fast, slow) = (fast?, slow?);
    println!("the fast worker did {fast} jobs, the slow one {slow}");
    assert_eq!(fast + slow, JOBS);
    assert!(fast > slow);
    broker.shutdown().await;
    Ok(())
}

/// Works until the queue is empty; gives the number of jobs done.
async fn work(address: SocketAddr, effort: Duration) -> Result<usize, Box<dyn Error>> {
    let mut client = Client::connect(address, "").await?;
    let headers = "id:1\ndestination:/queue/jobs\nack:client-individual\n";
    client.frame(SUBSCRIBE, headers, "").await?;
    let mut done = 0;
    // A worker that dies here loses nothing: what it has not acknowledged goes to the other.
    while let Ok(job) = timeout(Duration::from_millis(500), client.read()).await {
        sleep(effort).await;
        client.acknowledge(&job?).await?;
        done += 1;
    }
    client.disconnect().await?;
    Ok(done)
}

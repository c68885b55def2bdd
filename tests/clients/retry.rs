//! A message that fails too often is a dead letter, and is delivered again when it is retried.
//!
//! Retrying is a call to the broker, so it runs in this process here.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use ferrymq::broker::Destination;
use ferrymq::config::Config;
use ferrymq::{Broker, Handle};
use serde_json::json;
use tokio::runtime::Runtime;

use crate::broker::Transport;
use crate::program::{self, Program};
use crate::scenarios::{again, first};
use crate::wait::until;

pub(crate) const TITLE: &str =
    "a poisonous message backs off, dies, and comes again when it is retried";

/// What the client programs know it by.
pub(crate) const NAME: &str = "retry";

/// Spec: behaviour RED-1, RED-3, RED-4, DLQ-2, DLQ-6.
pub(crate) fn tell(
    mut command: Command,
    transport: Transport,
    origin: Option<String>,
    version: &str,
) -> Result<()> {
    let directory = tempfile::tempdir()?;
    let runtime = Runtime::new()?;
    let handle = runtime.block_on(start(directory.path(), transport, origin))?;
    let section = if transport == Transport::WebSocket {
        "websocket"
    } else {
        "stomp"
    };
    let address = handle.address_of(section).context("it does not listen")?;
    command
        .arg(format!("{}{address}", transport.scheme()))
        .args([NAME, version]);
    let mut client = Program::start(command)?;
    let dead = json!({ "dead": "bad", "origin": "/queue/poison", "failures": "3" });
    let mut results = Vec::new();
    while results.last() != Some(&dead) {
        let Some(result) = client.next()? else {
            client.results().with_context(|| program::text(&results))?;
            anyhow::bail!(
                "it ended before the message was dead: {}",
                program::text(&results)
            );
        };
        results.push(result);
    }
    // The client has seen the dead letter, and what it saw it with may still be about to give it back.
    until("the dead letter to be retried", || {
        let queue = Destination::queue("ActiveMQ.DLQ");
        let retried = runtime.block_on(handle.retry_dead_letters(queue, u64::MAX, |_| true));
        (retried.expect("it is a dead-letter queue").done == 1).then_some(())
    });
    results.extend(client.results()?);
    let expected = [
        first("bad"),
        again("bad", "2"),
        again("bad", "3"),
        json!({ "backed-off": true }),
        dead,
        first("bad"),
    ];
    ensure!(
        results == expected,
        "expected: {}\nresults: {}",
        program::text(&expected),
        program::text(&results)
    );
    runtime.block_on(handle.shutdown());
    Ok(())
}

async fn start(directory: &Path, transport: Transport, origin: Option<String>) -> Result<Handle> {
    let mut config = Config::default();
    config.broker.data_dir = directory.join("data");
    config.stomp.listen = "127.0.0.1:0".parse()?;
    config.websocket.enabled = transport == Transport::WebSocket;
    config.websocket.listen = "127.0.0.1:0".parse()?;
    if let Some(origin) = origin {
        config.websocket.origins = vec![origin];
    }
    Ok(Broker::builder().config(config).start().await?)
}

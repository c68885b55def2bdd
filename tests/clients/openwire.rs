//! ActiveMQ's own client for Java, unmodified, over OpenWire.

use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::broker::{Broker, Setup, Store, Transport};
use crate::program::Program;

pub(crate) const SCRIPT: &str = "ferrymq.OpenWire";

pub(crate) const SCENARIOS: [&str; 14] = [
    "send-receive",
    "client-ack",
    "transacted",
    "large-transaction",
    "durable",
    "request-reply",
    "selector",
    "browser",
    "pull",
    "poison",
    "failover",
    "errors",
    "topics",
    "options",
];

pub(crate) fn tell(mut client: Command, scenario: &str) -> Result<()> {
    let directory = tempfile::tempdir()?;
    let setup = Setup {
        store: Store::Journal,
        transport: Transport::OpenWire,
        guarded: false,
        origin: None,
    };
    let broker = Broker::start_with(directory.path(), setup)?;
    client.args([broker.address(), scenario]);
    let results = Program::start(client)
        .and_then(Program::results)
        .with_context(|| format!("the broker's log:\n{}", broker.log()))?;
    ensure!(results == ["done"], "{results:?}");
    broker.stop()
}

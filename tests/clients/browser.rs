//! What only a page in a browser has: an origin, and the example's page.

use std::process::Command;

use anyhow::{Result, ensure};
use serde_json::json;

use crate::broker::{Broker, Setup, Store, Transport};
use crate::pages;
use crate::program::{self, Program};

pub(crate) const FOREIGN: &str =
    "chromium: a page of an origin that is not in the list is refused, and the log names it";
pub(crate) const EXAMPLE: &str = "chromium: the page of examples/browser carries a chat";

/// Spec: docs/transports.md, origins.
pub(crate) fn tell_foreign(mut page: Command) -> Result<()> {
    let directory = tempfile::tempdir()?;
    let broker = start(&directory, Some(&pages::origin()))?;
    page.args([broker.address(), "knock", "1.2"])
        .env("FERRYMQ_PAGES", pages::foreign_origin());
    let results = Program::start(page).and_then(Program::results)?;
    // 1006 is all that a browser tells a page.
    let expected = [json!({ "refused": 1006 })];
    ensure!(
        results == expected,
        "{}\n{}",
        program::text(&results),
        broker.log()
    );
    let log = broker.log();
    ensure!(log.contains(&pages::foreign_origin()), "not named:\n{log}");
    broker.stop()
}

/// It has to work with the broker as it comes.
pub(crate) fn tell_example(mut page: Command) -> Result<()> {
    let directory = tempfile::tempdir()?;
    let broker = start(&directory, None)?;
    page.args([broker.address(), "chat", "1.2"])
        .env("FERRYMQ_PAGES", pages::origin());
    let results = Program::start(page).and_then(Program::results)?;
    let shown = json!({ "shown": "Hello <b>Ben</b> 😀" });
    let expected = [
        json!({ "state": "connected, STOMP 1.2" }),
        shown.clone(),
        shown,
    ];
    ensure!(
        results == expected,
        "{}\n{}",
        program::text(&results),
        broker.log()
    );
    broker.stop()
}

fn start(directory: &tempfile::TempDir, origin: Option<&str>) -> Result<Broker> {
    let setup = Setup {
        store: Store::Ephemeral,
        transport: Transport::WebSocket,
        guarded: false,
        origin,
    };
    Broker::start_with(directory.path(), setup)
}

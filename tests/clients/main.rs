//! Real clients of several languages against a real broker.
//!
//! - A client program is a script in its language's directory here: it is given an address, a scenario and a protocol
//!   version, uses its STOMP library as its users do, and prints one JSON line per result.
//! - Every trial has a broker process of its own, which must stop in good order afterwards.
//! - A client whose toolchain is missing is reported as ignored with the reason; with `CI=true` it fails.

mod broker;
mod conformance;
mod crash;
mod program;
mod retry;
mod scenarios;
mod toolchain;
#[path = "../it/wait.rs"]
mod wait;

use std::process::{Command, ExitCode};
use std::thread;

use anyhow::{Result, ensure};
use libtest_mimic::{Arguments, Completion, Failed, Trial};

use crate::broker::{Broker, Setup, Transport};
use crate::program::Program;
use crate::scenarios::{SCENARIOS, Scenario};
use crate::toolchain::{GO, JAVA, NODE, PYTHON, RUBY, Toolchain, Unready};

/// A client library and the program that uses it.
struct Client {
    name: &'static str,
    toolchain: &'static Toolchain,
    script: &'static str,
    transport: Transport,
    /// Scenarios that its interface cannot tell.
    without: &'static [&'static str],
}

static CLIENTS: &[Client] = &[
    Client {
        name: "python stomp.py",
        toolchain: &PYTHON,
        script: "client.py",
        transport: Transport::Tcp,
        without: &[],
    },
    Client {
        name: "python stomp.py over TLS",
        toolchain: &PYTHON,
        script: "client.py",
        transport: Transport::Tls,
        without: &["retry"],
    },
    Client {
        name: "node @stomp/stompjs",
        toolchain: &NODE,
        script: "stompjs.mjs",
        transport: Transport::Tcp,
        without: &[],
    },
    Client {
        name: "node @stomp/stompjs over WebSocket",
        toolchain: &NODE,
        script: "stompjs.mjs",
        transport: Transport::WebSocket,
        without: &[],
    },
    Client {
        name: "node stompit",
        toolchain: &NODE,
        script: "stompit.mjs",
        transport: Transport::Tcp,
        without: &[],
    },
    Client {
        name: "go go-stomp",
        toolchain: &GO,
        script: "",
        transport: Transport::Tcp,
        // It can unsubscribe only what it is subscribed to, and a durable name that is in use cannot be removed (SUB-7).
        without: &["durable-removed"],
    },
    Client {
        name: "ruby stomp",
        toolchain: &RUBY,
        script: "client.rb",
        transport: Transport::Tcp,
        without: &[],
    },
];

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    // Most of the time a trial waits for another process.
    let cores = thread::available_parallelism().map_or(1, usize::from);
    arguments.test_threads.get_or_insert(2 * cores);
    let mut trials = Vec::new();
    for client in CLIENTS {
        for scenario in SCENARIOS {
            if client.without.contains(&scenario.name) {
                continue;
            }
            for version in scenario.versions {
                let name = format!("{}: {} (STOMP {version})", client.name, scenario.title);
                trials.push(Trial::ignorable_test(name, || {
                    told(client.toolchain.command(client.script), |command| {
                        tell(command, client.transport, scenario, version)
                    })
                }));
            }
        }
        if client.without.contains(&retry::NAME) {
            continue;
        }
        let name = format!("{}: {}", client.name, retry::TITLE);
        trials.push(Trial::ignorable_test(name, || {
            told(client.toolchain.command(client.script), |command| {
                retry::tell(command, client.transport, "1.2")
            })
        }));
    }
    trials.push(Trial::ignorable_test(crash::TITLE, || {
        let ready = PYTHON
            .command("client.py")
            .and_then(|producer| Ok((producer, GO.command("")?)));
        told(ready, |(producer, consumer)| {
            crash::tell(producer, consumer)
        })
    }));
    trials.push(Trial::ignorable_test(conformance::TITLE, || {
        told(JAVA.command("ferrymq.Conformance"), conformance::tell)
    }));
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// Runs a test that needs a toolchain, or says why not.
fn told<T>(
    ready: Result<T, Unready>,
    test: impl FnOnce(T) -> Result<()>,
) -> Result<Completion, Failed> {
    let nothing_may_be_missing = std::env::var("CI").is_ok_and(|ci| ci == "true");
    match ready {
        Ok(ready) => test(ready)
            .map(|()| Completion::Completed)
            .map_err(|error| format!("{error:#}").into()),
        Err(Unready::Missing(reason)) if !nothing_may_be_missing => {
            Ok(Completion::ignored_with(short(&reason)))
        }
        Err(Unready::Missing(reason)) => {
            Err(format!("missing, which fails with CI=true: {reason}").into())
        }
        Err(Unready::Broken(reason)) => Err(reason.into()),
    }
}

/// A reason on one line: a registry that is out of reach has much to say, to every trial.
fn short(reason: &str) -> String {
    let line = reason.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(400) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

fn tell(
    mut command: Command,
    transport: Transport,
    scenario: &Scenario,
    version: &str,
) -> Result<()> {
    let directory = tempfile::tempdir()?;
    let setup = Setup {
        store: scenario.store,
        transport: if scenario.guarded {
            transport.secured()
        } else {
            transport
        },
        guarded: scenario.guarded,
        origin: None,
    };
    let broker = Broker::start_with(directory.path(), setup)?;
    command
        .arg(broker.address())
        .args([scenario.name, version])
        .env("FERRYMQ_CA", directory.path().join("certificate.pem"));
    let results = Program::start(command)
        .and_then(Program::results)
        .map_err(|error| error.context(format!("the broker's log:\n{}", broker.log())))?;
    let expected = (scenario.expected)(version);
    ensure!(
        results == expected,
        "expected: {}\nresults: {}\nthe broker's log:\n{}",
        program::text(&expected),
        program::text(&results),
        broker.log()
    );
    broker.stop()
}

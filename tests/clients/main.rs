//! Real clients of several languages against a real broker.
//!
//! - A client program is a script in its language's directory here: it is given an address, a scenario and a protocol
//!   version, uses its STOMP library as its users do, and prints one JSON line per result.
//! - Every trial has a broker process of its own, which must stop in good order afterwards.
//! - A client whose toolchain is missing is reported as ignored with the reason; with `CI=true` it fails.

mod broker;
mod browser;
mod conformance;
mod crash;
mod openwire;
mod pages;
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
use crate::toolchain::{
    CHROMIUM, GO, JAVA, JAVA_OPENWIRE, NODE, PERL, PYTHON, RUBY, Toolchain, Unready,
};

/// A client library and the program that uses it.
struct Client {
    name: &'static str,
    toolchain: &'static Toolchain,
    script: &'static str,
    transport: Transport,
    /// The protocol versions it is asked to speak.
    versions: &'static [&'static str],
    /// Scenarios that its interface cannot tell.
    without: &'static [&'static str],
    /// Whether it runs in a page of ours.
    in_page: bool,
}

/// What holds where nothing else is said.
const CLIENT: Client = Client {
    name: "",
    toolchain: &PYTHON,
    script: "",
    transport: Transport::Tcp,
    versions: &["1.0", "1.1", "1.2"],
    without: &[],
    in_page: false,
};

static CLIENTS: &[Client] = &[
    Client {
        name: "python stomp.py",
        toolchain: &PYTHON,
        script: "client.py",
        ..CLIENT
    },
    Client {
        name: "python stomp.py over TLS",
        toolchain: &PYTHON,
        script: "client.py",
        transport: Transport::Tls,
        without: &[retry::NAME],
        ..CLIENT
    },
    Client {
        name: "node @stomp/stompjs",
        toolchain: &NODE,
        script: "stompjs.mjs",
        ..CLIENT
    },
    Client {
        name: "node @stomp/stompjs over WebSocket",
        toolchain: &NODE,
        script: "stompjs.mjs",
        transport: Transport::WebSocket,
        ..CLIENT
    },
    Client {
        name: "chromium @stomp/stompjs over WebSocket",
        toolchain: &CHROMIUM,
        script: "chromium.mjs",
        transport: Transport::WebSocket,
        // A browser takes its time to start.
        versions: &["1.2"],
        in_page: true,
        ..CLIENT
    },
    Client {
        name: "node stompit",
        toolchain: &NODE,
        script: "stompit.mjs",
        // An ERROR is an event that nobody can listen to in the Node of today, which ends the process.
        without: &["login"],
        ..CLIENT
    },
    Client {
        name: "go go-stomp",
        toolchain: &GO,
        // It can unsubscribe only what it is subscribed to, and a durable name that is in use cannot be removed (SUB-7).
        without: &["durable-removed"],
        ..CLIENT
    },
    Client {
        name: "ruby stomp",
        toolchain: &RUBY,
        script: "client.rb",
        ..CLIENT
    },
    Client {
        name: "java spring-messaging",
        toolchain: &JAVA,
        script: "ferrymq.Spring",
        // A JVM takes its time to start.
        versions: &["1.2"],
        // It has no transactions, and does not tell of heart-beats.
        without: &["commit", "abort", "heart-beats"],
        ..CLIENT
    },
    Client {
        name: "perl Net::Stomp",
        toolchain: &PERL,
        script: "client.pl",
        // It knows neither heart-beats nor escapes.
        without: &["heart-beats", "escapes"],
        ..CLIENT
    },
];

impl Client {
    /// The command that runs it, and the only origin that its broker knows.
    fn command(&self) -> Result<(Command, Option<String>), Unready> {
        let mut command = self.toolchain.command(self.script)?;
        let origin = self.in_page.then(pages::origin);
        if let Some(origin) = &origin {
            command.env("FERRYMQ_PAGES", origin);
        }
        Ok((command, origin))
    }
}

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
                if !client.versions.contains(version) {
                    continue;
                }
                let name = format!("{}: {} (STOMP {version})", client.name, scenario.title);
                trials.push(Trial::ignorable_test(name, || {
                    told(client.command(), |(command, origin)| {
                        tell(
                            command,
                            client.transport,
                            origin.as_deref(),
                            scenario,
                            version,
                        )
                    })
                }));
            }
        }
        if client.without.contains(&retry::NAME) {
            continue;
        }
        let name = format!("{}: {}", client.name, retry::TITLE);
        trials.push(Trial::ignorable_test(name, || {
            told(client.command(), |(command, origin)| {
                retry::tell(command, client.transport, origin, "1.2")
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
    trials.push(Trial::ignorable_test(browser::FOREIGN, || {
        told(CHROMIUM.command("chromium.mjs"), browser::tell_foreign)
    }));
    trials.push(Trial::ignorable_test(browser::EXAMPLE, || {
        told(CHROMIUM.command("chromium.mjs"), browser::tell_example)
    }));
    for scenario in openwire::SCENARIOS {
        let name = format!("java activemq-client: {scenario}");
        trials.push(Trial::ignorable_test(name, move || {
            told(JAVA_OPENWIRE.command(openwire::SCRIPT), |client| {
                openwire::tell(client, scenario)
            })
        }));
    }
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
    origin: Option<&str>,
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
        origin,
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

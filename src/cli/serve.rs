//! `ferrymq serve`: runs the broker until a signal or a failure ends it.
//!
//! - The first SIGTERM or SIGINT stops in good order within `broker.shutdown_timeout`; a second one stops at once.
//! - SIGHUP, and a file that has changed, have the configuration read again; see `reload.rs`.
//! - The ready file appears whole, when all listeners accept, or not at all.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::reload::Reloader;
use anyhow::{Context, anyhow, bail};
use clap::Args;
use ferrymq::clock::Clock;
use ferrymq::config::load::Flag;
use ferrymq::config::{Config, SizeOrPercent, Sources, load, machine};
use ferrymq::telemetry::logging;
use ferrymq::{Broker, Handle};
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::{info, warn};

pub(super) const EXAMPLES: &str = "\
Examples:
  ferrymq                                     serve as ./activemq.toml says, or with the defaults
  ferrymq --config /etc/ferrymq/activemq.toml
  ferrymq --stomp 127.0.0.1:0 --ephemeral --ready-file ready.json
  FERRYMQ__LOG__LEVEL=debug ferrymq serve --data /var/lib/ferrymq";

/// The file that is read if there is one and no other is named.
pub(super) const USUAL_FILE: &str = "activemq.toml";

// No doc comment and no help here: clap would take it for the whole program's, because it flattens this.
#[derive(Debug, Args)]
pub(super) struct ServeArgs {
    /// The configuration file [default: ./activemq.toml if there is one]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The directory of the journal (broker.data_dir)
    #[arg(long, value_name = "DIR")]
    data: Option<String>,
    /// The address to serve STOMP on; port 0 takes any free port (stomp.listen)
    #[arg(long, value_name = "ADDR")]
    stomp: Option<String>,
    /// Serve STOMP over TLS too, on this address (stomp_tls.listen)
    #[arg(long, value_name = "ADDR")]
    stomp_tls: Option<String>,
    /// Serve STOMP over WebSocket too, on this address (websocket.listen)
    #[arg(long, value_name = "ADDR", visible_alias = "ws")]
    websocket: Option<String>,
    /// Serve STOMP over WebSocket over TLS too, on this address (websocket_tls.listen)
    #[arg(long, value_name = "ADDR", visible_alias = "wss")]
    websocket_tls: Option<String>,
    /// Serve OpenWire too, on this address (openwire.listen)
    #[arg(long, value_name = "ADDR")]
    openwire: Option<String>,
    /// Serve whatever a connection begins with, on this address (auto.listen)
    #[arg(long, value_name = "ADDR")]
    auto: Option<String>,
    /// Keep nothing on disk (broker.ephemeral)
    #[arg(long)]
    ephemeral: bool,
    /// Write the addresses to this file as one JSON object as soon as all of them accept connections
    #[arg(long, value_name = "FILE")]
    ready_file: Option<PathBuf>,
}

impl ServeArgs {
    fn sources(&self) -> Sources {
        let usual = Path::new(USUAL_FILE);
        let flag = |name, section, key, value: &str| Flag {
            name,
            section,
            key,
            value: value.to_owned(),
        };
        let mut flags = Vec::new();
        if let Some(value) = &self.data {
            flags.push(flag("--data", "broker", "data_dir", value));
        }
        if let Some(value) = &self.stomp {
            flags.push(flag("--stomp", "stomp", "listen", value));
        }
        for (name, section, value) in [
            ("--stomp-tls", "stomp_tls", &self.stomp_tls),
            ("--websocket", "websocket", &self.websocket),
            ("--websocket-tls", "websocket_tls", &self.websocket_tls),
            ("--openwire", "openwire", &self.openwire),
            ("--auto", "auto", &self.auto),
        ] {
            if let Some(value) = value {
                flags.push(flag(name, section, "enabled", "true"));
                flags.push(flag(name, section, "listen", value));
            }
        }
        if self.ephemeral {
            flags.push(flag("--ephemeral", "broker", "ephemeral", "true"));
        }
        let sources = Sources {
            file: self
                .config
                .clone()
                .or_else(|| usual.exists().then(|| usual.to_owned())),
            flags,
            ..Sources::default()
        };
        sources.with_environment()
    }
}

pub(super) fn run(arguments: &ServeArgs) -> anyhow::Result<()> {
    let clock = Clock::system();
    let sources = arguments.sources();
    let config = load::load(&sources)?.config;
    logging::init(config.log.level.as_str(), config.log.format)?;
    warn_of_cut_limits(&config);
    let runtime = runtime(config.broker.worker_threads).context("cannot start the threads")?;
    let outcome = runtime.block_on(Box::pin(serve(
        Reloader::new(sources, config.clone()),
        config,
        arguments.ready_file.as_deref(),
        &clock,
    )));
    // What still hangs must not keep the process: the deadline of the shutdown was its chance.
    runtime.shutdown_background();
    outcome
}

fn runtime(worker_threads: u32) -> io::Result<Runtime> {
    let mut builder = Builder::new_multi_thread();
    if let Ok(threads @ 1..) = usize::try_from(worker_threads) {
        builder.worker_threads(threads);
    }
    builder.enable_all().build()
}

async fn serve(
    mut reloader: Reloader,
    config: Config,
    ready_file: Option<&Path>,
    clock: &Clock,
) -> anyhow::Result<()> {
    let mut signals = Signals::listen().context("cannot listen for signals")?;
    if let Some(path) = ready_file {
        remove_stale(path)?;
    }
    let store = if config.broker.ephemeral {
        "none, ephemeral".to_owned()
    } else {
        config.broker.data_dir.display().to_string()
    };
    let shutdown_timeout = config.broker.shutdown_timeout;

    let handle = tokio::select! {
        started = Broker::builder().config(config).start() => started.context("cannot start")?,
        name = signals.stop() => {
            info!(signal = name, "stopped before it served");
            return Ok(());
        }
    };
    let address_of = |section| handle.address_of(section).map(tracing::field::display);
    info!(
        stomp = address_of("stomp"),
        stomp_tls = address_of("stomp_tls"),
        websocket = address_of("websocket"),
        websocket_tls = address_of("websocket_tls"),
        openwire = address_of("openwire"),
        auto = address_of("auto"),
        certificate_days_left = handle.certificate_days_left(),
        store,
        elapsed_ms = clock.monotonic_ms(),
        "listening"
    );
    if let Some(path) = ready_file {
        write_ready(path, &handle)
            .with_context(|| format!("cannot write the ready file {}", path.display()))?;
    }

    let name = loop {
        let because = tokio::select! {
            reason = handle.failed() => bail!("the broker had to stop: {reason}"),
            name = signals.stop_or_reload() => match name {
                Some(name) => break name,
                None => {
                    handle.reload_certificates();
                    "SIGHUP"
                }
            },
            () = reloader.changed() => "a file has changed",
        };
        reloader.reload(&handle, because).await;
    };
    info!(signal = name, "stopping");
    let since_ms = clock.monotonic_ms();
    tokio::select! {
        ended = tokio::time::timeout(shutdown_timeout.get(), handle.shutdown()) => {
            ended.map_err(|_| anyhow!("not stopped within {shutdown_timeout}, which is broker.shutdown_timeout"))?;
        }
        name = signals.stop() => bail!("stopped at once by a second signal, {name}"),
    }
    info!(elapsed_ms = clock.monotonic_ms() - since_ms, "stopped");
    Ok(())
}

/// The signals that ask the process to stop, and the one that asks it to read its configuration again.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    fn listen() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// Waits for one that asks to stop and gives its name.
    async fn stop(&mut self) -> &'static str {
        loop {
            if let Some(name) = self.stop_or_reload().await {
                return name;
            }
            warn!("SIGHUP: not now");
        }
    }

    /// Waits for any; gives the name of one that asks to stop, `None` for SIGHUP.
    async fn stop_or_reload(&mut self) -> Option<&'static str> {
        tokio::select! {
            _ = self.terminate.recv() => Some("SIGTERM"),
            _ = self.interrupt.recv() => Some("SIGINT"),
            _ = self.hangup.recv() => None,
        }
    }
}

/// Spec: behaviour USE-1, limits larger than what there is are cut to it with a warning.
fn warn_of_cut_limits(config: &Config) {
    let memory = machine::memory_bytes();
    if let SizeOrPercent::Size(limit) = config.memory.limit
        && limit.bytes() > memory
    {
        warn!(limit = %limit, memory_bytes = memory, "memory.limit is more than there is, cut to that");
    }
}

/// Removes the ready file of an earlier run, so that nobody takes it for this one's.
fn remove_stale(path: &Path) -> anyhow::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error)
            .with_context(|| format!("cannot remove the old ready file {}", path.display())),
        _ => Ok(()),
    }
}

fn write_ready(path: &Path, handle: &Handle) -> io::Result<()> {
    let addresses = handle.addresses().iter();
    let ready: serde_json::Map<String, serde_json::Value> = addresses
        .map(|(name, address)| ((*name).to_owned(), address.to_string().into()))
        .collect();
    let ready = serde_json::Value::Object(ready);
    let mut unfinished = OsString::from(path);
    unfinished.push(".unfinished");
    fs::write(&unfinished, format!("{ready}\n"))?;
    fs::rename(&unfinished, path)
}

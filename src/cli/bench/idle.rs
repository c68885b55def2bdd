//! What an idle connection costs: opens many subscribed connections and looks how much memory the broker has taken.

use std::io::{IsTerminal, Write};
use std::net::{IpAddr, Ipv4Addr, TcpStream};
use std::thread;
use std::time::Duration;

use anyhow::Context;
use indicatif::ProgressBar;
use serde::Serialize;

use super::process::{self, Reading};
use super::stopwatch::Stopwatch;
use crate::cli::client::{Client, Command, ConnectArgs, Identity};

/// Connections from one local address; an address has about 28,000 ports to connect from.
const PER_SOURCE: u32 = 20_000;

/// Arguments of `ferrymq bench idle`.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    connect: ConnectArgs,
    /// Connections to open
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    connections: u32,
    /// Queue they all subscribe to
    #[arg(long, value_name = "NAME", default_value = "bench-idle")]
    queue: String,
    /// Give each connection a queue of its own
    #[arg(long)]
    own_queues: bool,
    /// Broker's process
    #[arg(long, value_name = "PID")]
    pid: u32,
    /// Seconds to measure the broker's CPU time while all are idle
    #[arg(long, value_name = "S", default_value_t = 3.0)]
    hold: f64,
    /// Print one JSON object instead of a table
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Report {
    address: String,
    connections: u32,
    opened_per_s: f64,
    rss_before_bytes: u64,
    rss_after_bytes: u64,
    rss_per_connection_bytes: f64,
    idle_cpu_percent: f64,
}

/// Opens the connections, measures, prints, closes.
///
/// # Errors
/// If the broker refuses a connection, or the limit of open files is too low.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let files = rlimit::increase_nofile_limit(u64::from(args.connections) + 1000).unwrap_or(0);
    anyhow::ensure!(
        files > u64::from(args.connections) + 20,
        "{} connections need as many open files, but the limit is {files}",
        args.connections
    );
    // The first connection makes the broker load what any connection needs.
    let first = open(args, 0)?;
    let before = process::settled_rss(args.pid)?;
    let bar = if std::io::stderr().is_terminal() {
        ProgressBar::new(args.connections.into())
    } else {
        ProgressBar::hidden()
    };
    let clock = Stopwatch::start();
    let mut open_ones: Vec<TcpStream> = Vec::with_capacity(args.connections as usize);
    for index in 1..=args.connections {
        open_ones.push(open(args, index).with_context(|| format!("connection {index}"))?);
        bar.inc(1);
    }
    let opening_s = clock.ns() as f64 / 1e9;
    bar.finish_and_clear();
    let after = process::settled_rss(args.pid)?;
    let idle = Reading::of(args.pid)?;
    let held = Stopwatch::start();
    thread::sleep(Duration::from_secs_f64(args.hold));
    let cpu = Reading::of(args.pid)?.since(&idle);
    let report = Report {
        address: args.connect.addr.clone(),
        connections: args.connections,
        opened_per_s: f64::from(args.connections) / opening_s,
        rss_before_bytes: before,
        rss_after_bytes: after,
        rss_per_connection_bytes: after.saturating_sub(before) as f64
            / f64::from(args.connections.max(1)),
        idle_cpu_percent: cpu.ns as f64 / held.ns() as f64 * 100.0,
    };
    drop((first, open_ones));
    print(args, &report)
}

fn print(args: &Args, report: &Report) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    if args.json {
        return super::print_json(&mut out, report);
    }
    writeln!(
        out,
        "{} {} idle subscribed connections, opened {:.0}/s",
        report.address, report.connections, report.opened_per_s
    )?;
    write!(
        out,
        "  broker RSS {:.1} -> {:.1} MiB",
        super::mib(report.rss_before_bytes),
        super::mib(report.rss_after_bytes)
    )?;
    write!(
        out,
        "   {:.2} KiB per connection",
        report.rss_per_connection_bytes / 1024.0
    )?;
    writeln!(out, "   CPU while idle {:.2} %", report.idle_cpu_percent)?;
    Ok(())
}

fn open(args: &Args, index: u32) -> anyhow::Result<TcpStream> {
    let source = (index / PER_SOURCE > 0 && args.connect.is_loopback()).then(|| {
        // 127.0.0.2, 127.0.0.3 and so on: all of 127/8 is this machine.
        IpAddr::V4(Ipv4Addr::from(0x7f00_0001 + index / PER_SOURCE))
    });
    let mut client = Client::connect(
        &args.connect,
        &Identity {
            source,
            ..Identity::default()
        },
    )?;
    let queue = if args.own_queues {
        format!("/queue/{}-{index}", args.queue)
    } else {
        format!("/queue/{}", args.queue)
    };
    client.request(Command::Subscribe, &[("id", "0"), ("destination", &queue)])?;
    Ok(client.into_parts().0)
}

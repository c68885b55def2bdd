//! What scheduled messages cost and how punctual they are: schedules many for later, looks how much memory the broker has
//! taken, then has some delivered and compares when they come with when they were due.

use std::io::Write;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use ferrymq::clock::Clock;
use serde::Serialize;

use super::latency::{Latency, histogram};
use super::options::Size;
use super::process;
use super::stopwatch::Stopwatch;
use crate::cli::client::{Client, Command, ConnectArgs, Identity};

/// Messages between two receipts that are waited for.
const BATCH: u32 = 1000;
/// What waits is due long after the end of the measurement.
const FAR_MS: u64 = 864_000_000;
/// The first of those that are delivered comes so long after the last SEND at the earliest.
const NEAR_MS: u64 = 1000;
/// They come one by one, so that the broker is at rest in between.
const APART_MS: u64 = 5;
/// Where those that wait would go.
const QUEUE: &str = "/queue/bench-delayed";

/// Arguments of `ferrymq bench delayed`.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    connect: ConnectArgs,
    /// Messages that wait
    #[arg(long, value_name = "N", default_value_t = 1_000_000)]
    count: u32,
    /// Messages that are delivered meanwhile
    #[arg(long, value_name = "N", default_value_t = 1000)]
    delivered: u32,
    /// Body size in octets (k and m for KiB and MiB)
    #[arg(long, value_name = "BYTES", default_value = "100")]
    size: Size,
    /// Mark messages persistent
    #[arg(long)]
    persistent: bool,
    /// Broker's process
    #[arg(long, value_name = "PID")]
    pid: u32,
    /// Print one JSON object instead of a table
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Report {
    count: u32,
    scheduled_per_s: f64,
    rss_before_bytes: u64,
    rss_after_bytes: u64,
    rss_per_message_bytes: f64,
    /// After they were due, the way to the broker and back included.
    late: Latency,
}

/// Measures, prints, removes what waits.
///
/// # Errors
/// If the broker refuses, or something does not come.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    ensure!(args.count > 0 && args.delivered > 0, "none of it can be 0");
    let mut client = Client::connect(&args.connect, &Identity::default())?;
    let begun_ms = Clock::system().wall_ms();
    // The first one makes the broker load what any needs.
    schedule(&mut client, args, 1)?;
    let before = process::settled_rss(args.pid)?;
    let clock = Stopwatch::start();
    schedule(&mut client, args, args.count)?;
    let seconds = clock.ns() as f64 / 1e9;
    let after = process::settled_rss(args.pid)?;
    let report = Report {
        count: args.count,
        scheduled_per_s: f64::from(args.count) / seconds,
        rss_before_bytes: before,
        rss_after_bytes: after,
        rss_per_message_bytes: after.saturating_sub(before) as f64 / f64::from(args.count),
        late: punctuality(&mut client, args)?,
    };
    print(args, &report)?;
    remove(&mut client, begun_ms)?;
    client.disconnect()
}

/// Removes what waits, and nobody else's: what was scheduled for the far future since then.
fn remove(client: &mut Client, begun_ms: u64) -> anyhow::Result<()> {
    let from = (begun_ms + FAR_MS).to_string();
    let to = (Clock::system().wall_ms() + FAR_MS).to_string();
    let remove = [
        ("destination", "/topic/ActiveMQ.Scheduler.Management"),
        ("AMQ_SCHEDULER_ACTION", "REMOVEALL"),
        ("ACTION_START_TIME", &*from),
        ("ACTION_END_TIME", &*to),
    ];
    client.request(Command::Send, &remove)
}

/// Sends messages that are due in the far future, and waits until the broker has them.
fn schedule(client: &mut Client, args: &Args, count: u32) -> anyhow::Result<()> {
    let (body, far) = (vec![b'.'; args.size.0], FAR_MS.to_string());
    for sent in 1..=count {
        let mut head = vec![("destination", QUEUE), ("AMQ_SCHEDULED_DELAY", &*far)];
        head.extend(args.persistent.then_some(("persistent", "true")));
        let asks = sent % BATCH == 0 || sent == count;
        head.extend(asks.then_some(("receipt", "scheduled")));
        client.queue(Command::Send, &head, &body, true)?;
        if asks {
            client.flush()?;
            client.await_receipt("scheduled")?;
        }
    }
    Ok(())
}

/// How late messages come that are due one by one.
fn punctuality(client: &mut Client, args: &Args) -> anyhow::Result<Latency> {
    const PROBES: &str = "/queue/bench-punctual";
    client.request(Command::Subscribe, &[("id", "0"), ("destination", PROBES)])?;
    let clock = Stopwatch::start();
    let mut due_ns = Vec::new();
    for index in 0..args.delivered {
        let delay_ms = NEAR_MS + u64::from(index) * APART_MS;
        let (delay, body) = (delay_ms.to_string(), index.to_string());
        let mut head = vec![("destination", PROBES), ("AMQ_SCHEDULED_DELAY", &*delay)];
        head.extend(args.persistent.then_some(("persistent", "true")));
        due_ns.push(clock.ns() + delay_ms * 1_000_000);
        client.queue(Command::Send, &head, body.as_bytes(), true)?;
        client.flush()?;
    }
    let mut late = histogram()?;
    client.set_read_timeout(Duration::from_millis(NEAR_MS) + Duration::from_secs(30))?;
    for _ in 0..args.delivered {
        let frame = client.answer()?;
        let now_ns = clock.ns();
        if frame.command != Command::Message {
            bail!("{} came instead of a message", frame.command.name());
        }
        let index: usize = std::str::from_utf8(&frame.body)?.parse()?;
        let due_ns = due_ns.get(index).context("a message of another run")?;
        late.record(now_ns.saturating_sub(*due_ns).max(1))?;
    }
    Ok(Latency::of(&late))
}

fn print(args: &Args, report: &Report) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    if args.json {
        return super::print_json(&mut out, report);
    }
    writeln!(
        out,
        "{} scheduled messages of {} octets, {:.0}/s",
        report.count, args.size, report.scheduled_per_s
    )?;
    writeln!(
        out,
        "  broker RSS {:.1} -> {:.1} MiB   {:.0} octets per message",
        super::mib(report.rss_before_bytes),
        super::mib(report.rss_after_bytes),
        report.rss_per_message_bytes
    )?;
    writeln!(
        out,
        "  {} delivered beside them, late by {}",
        args.delivered, report.late
    )?;
    Ok(())
}

//! What many queues cost: opens them with one message and one subscription each, looks how much memory the broker has
//! taken, and whether a busy queue beside them is slower for it.

use std::io::Write;

use anyhow::{Context, ensure};
use serde::Serialize;

use super::options::Load;
use super::process;
use super::scenario;
use crate::cli::client::{Client, Command, Identity};

/// Queues set up before the answers are waited for.
const BATCH: u32 = 100;

/// Arguments of `ferrymq bench crowd`.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Args {
    /// Queues to open, each with one message and one subscription
    #[arg(long, value_name = "N", default_value_t = 100_000)]
    queues: u32,
    /// Connections that share the subscriptions
    #[arg(long, value_name = "N", default_value_t = 100)]
    connections: u32,
    /// Runs of the load before and beside the crowd; medians are shown
    #[arg(long, value_name = "N", default_value_t = 3)]
    runs: u32,
    /// The load on the busy queue; --size and --persistent hold for the messages of the crowd too
    #[command(flatten)]
    load: Load,
    /// Print one JSON object instead of a table
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Report {
    queues: u32,
    message_bytes: usize,
    rss_before_bytes: u64,
    rss_after_bytes: u64,
    /// With its subscription, and without the octets of the message.
    rss_per_queue_bytes: f64,
    alone_msgs_per_s: f64,
    beside_msgs_per_s: f64,
    beside_to_alone: f64,
}

/// Measures and prints.
///
/// # Errors
/// If the broker refuses a connection or a queue, or the load could not be measured.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    args.load.check()?;
    let pid = args.load.pid.context("--pid must name the broker")?;
    ensure!(args.connections > 0 && args.runs > 0, "none of it can be 0");
    let alone = median_rate(args)?;
    let before = process::settled_rss(pid)?;
    let mut connections = Vec::new();
    let mut message_bytes = 0;
    for index in 0..args.connections {
        let queues = (index..args.queues).step_by(args.connections as usize);
        let (client, bytes) = open(args, queues).with_context(|| format!("connection {index}"))?;
        message_bytes = bytes.max(message_bytes);
        connections.push(client);
    }
    let after = process::settled_rss(pid)?;
    let beside = median_rate(args)?;
    let per_queue = after.saturating_sub(before) as f64 / f64::from(args.queues.max(1));
    let report = Report {
        queues: args.queues,
        message_bytes,
        rss_before_bytes: before,
        rss_after_bytes: after,
        rss_per_queue_bytes: per_queue - message_bytes as f64,
        alone_msgs_per_s: alone,
        beside_msgs_per_s: beside,
        beside_to_alone: beside / alone,
    };
    drop(connections);
    print(args, &report)
}

/// Messages received a second, in the middle one of the runs.
fn median_rate(args: &Args) -> anyhow::Result<f64> {
    let mut rates = Vec::new();
    for _ in 0..args.runs {
        let report = scenario::run(&args.load)?;
        ensure!(report.faults.none(), "the broker lost or repeated messages");
        rates.push(report.received.msgs_per_s);
    }
    rates.sort_by(f64::total_cmp);
    Ok(rates[rates.len() / 2])
}

/// A connection that holds the one message of each of these queues; and the octets of the largest, head and body.
fn open(args: &Args, queues: impl Iterator<Item = u32>) -> anyhow::Result<(Client, usize)> {
    let mut client = Client::connect(&args.load.connect, &Identity::default())?;
    let queues: Vec<u32> = queues.collect();
    let (body, persistent) = (vec![b'.'; args.load.size.0], args.load.persistent);
    let mut bytes = 0;
    for batch in queues.chunks(BATCH as usize) {
        for queue in batch {
            let (id, destination) = (queue.to_string(), format!("/queue/crowd-{queue}"));
            let mut subscribe = vec![("id", &*id), ("destination", &*destination)];
            subscribe.push(("ack", "client-individual"));
            client.queue(Command::Subscribe, &subscribe, b"", false)?;
            let mut send = vec![("destination", &*destination)];
            send.extend(persistent.then_some(("persistent", "true")));
            client.queue(Command::Send, &send, &body, true)?;
            let head: usize = send
                .iter()
                .map(|(name, value)| name.len() + value.len() + 2)
                .sum();
            bytes = bytes.max(head + body.len());
        }
        client.flush()?;
        for _ in batch {
            let frame = client.answer()?;
            let command = frame.command.name();
            ensure!(
                frame.command == Command::Message,
                "{command}, not a message"
            );
        }
    }
    Ok((client, bytes))
}

fn print(args: &Args, report: &Report) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    if args.json {
        return super::print_json(&mut out, report);
    }
    writeln!(
        out,
        "{} queues with one message and one subscription each, of {} connections",
        report.queues, args.connections
    )?;
    writeln!(
        out,
        "  broker RSS {:.1} -> {:.1} MiB   {:.2} KiB per queue beyond the {} octets of its message",
        super::mib(report.rss_before_bytes),
        super::mib(report.rss_after_bytes),
        report.rss_per_queue_bytes / 1024.0,
        report.message_bytes
    )?;
    writeln!(
        out,
        "  busy queue {:.0} msgs/s alone, {:.0} beside them: {:.3}",
        report.alone_msgs_per_s, report.beside_msgs_per_s, report.beside_to_alone
    )?;
    Ok(())
}

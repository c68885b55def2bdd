//! `ferrymq bench`: measures any STOMP broker, and the limits beside it.
//!
//! - Every message is checked: loss, duplicates, order.
//! - The generator costs less than what it measures: frames are rendered once and patched (`tape`), received frames are recognised
//!   by their shape (`scan`), clocks and counters are read once for each batch. The relay shows what is left.
//! - Latency counts from the intended time of sending, in a histogram, never as an average.
//!
//! `options` says what a load is, `scenario` runs it once with `produce` and `consume`, `report` shows it.

mod consume;
mod crowd;
mod delayed;
mod idle;
mod latency;
mod options;
mod process;
mod produce;
mod receipts;
mod relay;
mod report;
mod scan;
mod scenario;
mod shared;
mod stamp;
mod stopwatch;
mod summary;
mod sync;
mod tape;
mod verify;
mod versus;

use std::io::Write;

use anyhow::bail;

/// Shown at the end of the help.
pub(crate) const EXAMPLES: &str = "\
Exit codes: 0 measured, 1 not measured or messages were lost, duplicated or out of order, 2 wrong arguments

Examples:
  ferrymq bench run --count 1000000
  ferrymq bench run --addr 127.0.0.1:61613 --pid 4711 --persistent --receipts 1000 --size 1k --seconds 10
  ferrymq bench run --rate 1000 --seconds 10 --json
  ferrymq bench versus --pid 4711 --runs 5 --rate 1000 --seconds 5
  ferrymq bench sync --dir /var/lib/ferrymq --size 1024 --window 1,100,1000
  ferrymq bench idle --pid 4711 --connections 10000
  ferrymq bench crowd --pid 4711 --queues 100000 --seconds 5
  ferrymq bench delayed --pid 4711 --count 1000000";

/// Arguments of `ferrymq bench`.
#[derive(Debug, Clone, clap::Args)]
#[command(subcommand_required = true, arg_required_else_help = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Clone, clap::Subcommand)]
enum What {
    /// Send and receive a load once
    Run(Box<RunArgs>),
    /// The bare limit: copy octets from a producer to a consumer on one thread
    Relay(relay::Args),
    /// The durable limit: write + fdatasync, in a growing file and in preallocated space
    Sync(sync::Args),
    /// Compare brokers with the relay and the disk, round by round in one run
    Versus(Box<versus::Args>),
    /// Open many idle connections and look at the broker's memory
    Idle(idle::Args),
    /// Open many queues and look at the broker's memory, and at a busy queue beside them
    Crowd(Box<crowd::Args>),
    /// Schedule many messages and look at the broker's memory, and at how punctual it is
    Delayed(delayed::Args),
}

#[derive(Debug, Clone, clap::Args)]
struct RunArgs {
    #[command(flatten)]
    load: options::Load,
    /// Print one JSON object instead of a table
    #[arg(long)]
    json: bool,
}

/// Runs the measurement that was asked for.
///
/// # Errors
/// If it could not be made, or if a message was lost, duplicated or out of order.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    match &args.what {
        What::Run(args) => run_once(args),
        What::Relay(args) => relay::run(args),
        What::Sync(args) => sync::run(args),
        What::Versus(args) => versus::run(args),
        What::Idle(args) => idle::run(args),
        What::Crowd(args) => crowd::run(args),
        What::Delayed(args) => delayed::run(args),
    }
}

fn run_once(args: &RunArgs) -> anyhow::Result<()> {
    let report = scenario::run(&args.load)?;
    let text = if args.json {
        serde_json::to_string(&report)? + "\n"
    } else {
        report.to_string()
    };
    std::io::stdout().write_all(text.as_bytes())?;
    if !report.faults.none() {
        bail!("the broker lost, duplicated or reordered messages");
    }
    Ok(())
}

/// Prints a report for programs, on a line of its own.
fn print_json(out: &mut impl Write, report: &impl serde::Serialize) -> anyhow::Result<()> {
    Ok(writeln!(out, "{}", serde_json::to_string(report)?)?)
}

/// Octets for people.
fn mib(bytes: u64) -> f64 {
    bytes as f64 / 1024.0 / 1024.0
}

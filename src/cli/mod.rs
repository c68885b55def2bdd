//! The commands.

pub(crate) mod bench;
pub(crate) mod client;

use clap::{Parser, Subcommand};

/// A message broker with JMS semantics.
#[derive(Debug, Parser)]
#[command(version)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Measure a STOMP broker, ours or another
    Bench(bench::Args),
}

/// Runs the command.
///
/// # Errors
/// Whatever the command reports.
pub(crate) fn run(cli: &Cli) -> anyhow::Result<()> {
    match &cli.command {
        Command::Bench(args) => bench::run(args),
    }
}

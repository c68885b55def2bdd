//! The commands.

pub(crate) mod bench;
pub(crate) mod client;
pub(crate) mod publish;
pub(crate) mod subscribe;

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
    /// Send messages to a STOMP broker
    #[command(after_help = publish::EXAMPLES)]
    Pub(publish::Args),
    /// Print messages from a STOMP broker
    #[command(after_help = subscribe::EXAMPLES)]
    Sub(subscribe::Args),
    /// Measure a STOMP broker, ours or another
    #[command(after_help = bench::EXAMPLES)]
    Bench(bench::Args),
}

/// Runs the command.
///
/// # Errors
/// Whatever the command reports.
pub(crate) fn run(cli: &Cli) -> anyhow::Result<()> {
    match &cli.command {
        Command::Pub(args) => publish::run(args),
        Command::Sub(args) => subscribe::run(args),
        Command::Bench(args) => bench::run(args),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_arguments_of_all_commands_fit_together() {
        Cli::command().debug_assert();
    }
}

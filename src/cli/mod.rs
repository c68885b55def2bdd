//! The command line: one file per subcommand, each with its arguments, a `run` and examples in its help.
//!
//! A further subcommand is a module, a variant of [`Command`] and an arm in [`Command::run`].
//!
//! - What a command has to say goes to standard output; the log and errors go to standard error.
//! - Exit codes: see [`EXIT_CODES`]. Clap's own usage errors are 2 as well.

mod bench;
mod check_config;
mod client;
mod config;
mod passwd;
mod properties;
mod publish;
mod reload;
mod serve;
mod store;
mod subscribe;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use ferrymq::StartError;
use ferrymq::config::Problems;
use ferrymq::security::SecurityError;

use check_config::CheckConfigArgs;
use config::ConfigArgs;
use serve::ServeArgs;

const EXIT_CODES: &str = "\
Exit codes:
  0  done, or stopped in good order by SIGTERM or SIGINT
  1  failed
  2  the configuration, the command line or the certificate is wrong
  3  the store is damaged (store verify, store repair)";

/// A message broker with JMS semantics. Without a command it serves.
#[derive(Debug, Parser)]
#[command(name = "ferrymq", version, args_conflicts_with_subcommands = true)]
#[command(after_help = format!("{EXIT_CODES}\n\n{}", serve::EXAMPLES))]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: ServeArgs,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the broker; this is also what happens without a command
    #[command(after_help = serve::EXAMPLES)]
    Serve(ServeArgs),
    /// Check a configuration file, and the FERRYMQ__… variables over it; report all problems at once
    #[command(after_help = check_config::EXAMPLES)]
    CheckConfig(CheckConfigArgs),
    /// Make, change or remove a user of a users file
    #[command(after_help = passwd::EXAMPLES)]
    Passwd(passwd::Args),
    /// Show the configuration and policies as they take effect
    #[command(after_help = config::EXAMPLES)]
    Config(ConfigArgs),
    /// Send messages to a STOMP broker
    #[command(after_help = publish::EXAMPLES)]
    Pub(publish::Args),
    /// Print messages from a STOMP broker
    #[command(after_help = subscribe::EXAMPLES)]
    Sub(subscribe::Args),
    /// Look at a store that no broker has open, mend it, take messages out of it and into it
    #[command(after_help = store::EXAMPLES)]
    Store(store::Args),
    /// Measure a STOMP broker, ours or another
    #[command(after_help = bench::EXAMPLES)]
    Bench(bench::Args),
}

impl Command {
    fn run(&self) -> anyhow::Result<()> {
        match self {
            Self::Serve(arguments) => serve::run(arguments),
            Self::CheckConfig(arguments) => check_config::run(arguments),
            Self::Passwd(arguments) => passwd::run(arguments),
            Self::Config(arguments) => config::run(arguments),
            Self::Pub(arguments) => publish::run(arguments),
            Self::Sub(arguments) => subscribe::run(arguments),
            Self::Store(arguments) => store::run(arguments),
            Self::Bench(arguments) => bench::run(arguments),
        }
    }
}

/// Does what the command line says.
pub(crate) fn run() -> ExitCode {
    let Arguments { command, serve } = Arguments::parse();
    match command.unwrap_or(Command::Serve(serve)).run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            report(&error);
            exit_code(&error)
        }
    }
}

/// Tells an error with its causes: in the log where there is one, else as plain text.
fn report(error: &anyhow::Error) {
    if tracing::enabled!(tracing::Level::ERROR) {
        tracing::error!("{error:#}");
    } else {
        eprintln!("ferrymq: {error:#}");
    }
}

fn exit_code(error: &anyhow::Error) -> ExitCode {
    let is_configuration = error.chain().any(|cause| {
        let start = cause.downcast_ref();
        cause.is::<Problems>()
            || cause.is::<SecurityError>()
            || matches!(
                start,
                Some(StartError::Config(_) | StartError::Certificate(_) | StartError::Security(_))
            )
    });
    let is_damage = error.chain().any(|cause| cause.is::<store::Damaged>());
    ExitCode::from(match (is_configuration, is_damage) {
        (true, _) => 2,
        (false, true) => 3,
        (false, false) => 1,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_well_formed() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn every_help_ends_with_examples() {
        let mut command = Arguments::command();
        command.build();
        for command in std::iter::once(&command).chain(command.get_subcommands()) {
            if command.get_name() == "help" {
                continue;
            }
            let after = command
                .get_after_help()
                .map(ToString::to_string)
                .unwrap_or_default();
            let (_, examples) = after
                .split_once("Examples:\n")
                .expect("a help has examples");
            assert!(
                examples.lines().all(|line| line.starts_with("  ")),
                "{}: {after}",
                command.get_name()
            );
        }
    }
}

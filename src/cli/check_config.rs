//! `ferrymq check-config`: loads a configuration, reports all its problems, and does nothing else.

use std::io::{self, Write};
use std::path::PathBuf;

use clap::Args;
use ferrymq::clock::Clock;
use ferrymq::config::{Sources, load};
use ferrymq::security::Security;

pub(super) const EXAMPLES: &str = "\
Examples:
  ferrymq check-config activemq.toml
  FERRYMQ__STOMP__LISTEN=127.0.0.1:0 ferrymq check-config activemq.toml";

#[derive(Debug, Args)]
pub(super) struct CheckConfigArgs {
    /// The file to check
    file: PathBuf,
}

pub(super) fn run(arguments: &CheckConfigArgs) -> anyhow::Result<()> {
    let loaded = load::load(&Sources::file(&arguments.file).with_environment())?;
    // Also what the file only names: the users file.
    let syntax = loaded.config.pattern_syntax();
    Security::new(&loaded.config.security, syntax, Clock::system())?;
    let config = &loaded.config;
    let warnings = config.policy_warnings().into_iter();
    for warning in warnings.chain(config.virtual_warnings()) {
        eprintln!("ferrymq: {warning}");
    }
    writeln!(io::stdout(), "{}: ok", arguments.file.display())?;
    Ok(())
}

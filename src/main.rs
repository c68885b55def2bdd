//! The command line of ferrymq.

mod cli;

use clap::Parser;

fn main() -> anyhow::Result<()> {
    cli::run(&cli::Cli::parse())
}

//! `ferrymq store`: looks at a store that no broker has open, and mends it. One file per command.
//!
//! Each takes the lock of the data directory, so it cannot meet a running broker; on a copy of the directory it can.

mod export;
mod head;
mod holders;
mod import;
mod info;
mod lines;
mod mend;
mod verify;
mod watched;

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use clap::{Args as ClapArgs, Subcommand};
use ferrymq::config::{Sources, load};
use ferrymq_store::io::{Disk, RealDisk};
use ferrymq_store::{Recovered, Store, StoreConfig};
use indicatif::{ProgressBar, ProgressStyle};

use super::serve::USUAL_FILE;

pub(super) const EXAMPLES: &str = "\
Exit codes of these commands:
  0  done; verify: nothing is wrong
  1  failed, or the store is in use
  2  the configuration or the command line is wrong
  3  damage was found (verify), or is left (repair)

Examples:
  ferrymq store info                                what lies in the data directory of ./activemq.toml
  ferrymq store holders --data /var/lib/ferrymq     who holds the disk
  ferrymq store verify --data copy --json           read everything, change nothing
  ferrymq store repair
  ferrymq store compact
  ferrymq store export orders.jsonl --destination orders
  ferrymq store import orders.jsonl --data new";

#[derive(Debug, ClapArgs)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

/// What all of them take.
#[derive(Debug, ClapArgs)]
struct Common {
    /// The data directory [default: broker.data_dir of the configuration]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// The configuration file [default: ./activemq.toml if there is one]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Tell what is in the store and what it occupies
    Info(Common),
    /// Read every octet that matters and report damage; changes nothing
    Verify(Common),
    /// Move what can be read out of damaged files and set them aside, so that the next start is clean
    Repair(Common),
    /// Copy what is left out of files that are mostly garbage, and delete them
    Compact(Common),
    /// Tell who holds the disk: files, destinations, durable subscriptions
    Holders(Common),
    /// Write messages and durable subscriptions as JSON lines
    Export(export::Args),
    /// Read JSON lines of an export into a store
    Import(import::Args),
}

/// Damage is there: exit code 3.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Damaged(String);

pub(super) fn run(arguments: &Args) -> anyhow::Result<()> {
    match &arguments.command {
        Command::Info(common) => info::run(common),
        Command::Verify(common) => verify::run(common),
        Command::Repair(common) => mend::repair(common),
        Command::Compact(common) => mend::compact(common),
        Command::Holders(common) => holders::run(common),
        Command::Export(arguments) => export::run(arguments),
        Command::Import(arguments) => import::run(arguments),
    }
}

/// Where the store is and what it is opened with.
struct Place {
    directory: PathBuf,
    config: StoreConfig,
}

impl Common {
    fn place(&self) -> anyhow::Result<Place> {
        let usual = Path::new(USUAL_FILE);
        let file = self.config.clone();
        let sources = Sources {
            file: file.or_else(|| usual.exists().then(|| usual.to_owned())),
            ..Sources::default()
        };
        let config = load::load(&sources.with_environment())?.config;
        let defaults = StoreConfig::default();
        let segment_bytes = u32::try_from(config.store.segment_bytes.bytes()).unwrap_or(u32::MAX);
        Ok(Place {
            directory: self.data.clone().unwrap_or(config.broker.data_dir),
            config: StoreConfig {
                segment_bytes,
                first_segment_bytes: defaults.first_segment_bytes.min(segment_bytes),
                ..defaults
            },
        })
    }
}

impl Place {
    /// The disk, if a store is there: a wrong path must not make one.
    fn disk(&self) -> anyhow::Result<Arc<dyn Disk>> {
        let journal = self.directory.join("journal");
        anyhow::ensure!(
            journal.is_dir(),
            "{} holds no store: there is no {}",
            self.directory.display(),
            journal.display()
        );
        Ok(Arc::new(RealDisk))
    }

    /// Octets of the files of the journal.
    fn journal_bytes(&self) -> u64 {
        let Ok(files) = std::fs::read_dir(self.directory.join("journal")) else {
            return 0;
        };
        let lengths = files.filter_map(|file| Some(file.ok()?.metadata().ok()?.len()));
        lengths.sum()
    }

    /// Opens the store for reading only.
    fn inspect(&self) -> anyhow::Result<(Store, Recovered)> {
        let disk = self.disk()?;
        let bar = bar(self.journal_bytes(), "reading");
        let opened = Store::inspect(watched::disk(&disk, &bar), &self.directory);
        bar.finish_and_clear();
        opened.context("cannot open the store")
    }

    /// Opens the store for writing.
    fn open(&self) -> anyhow::Result<(Store, Recovered)> {
        let disk = self.disk()?;
        Store::open(disk, &self.directory, self.config.clone(), Box::new(|_| {}))
            .context("cannot open the store")
    }
}

/// A bar on a terminal, counting octets.
fn bar(total: u64, message: &'static str) -> ProgressBar {
    styled(
        total,
        message,
        "{msg} {wide_bar} {bytes}/{total_bytes} eta {eta}",
    )
}

/// A bar on a terminal, counting messages.
fn counting_bar(total: u64, message: &'static str) -> ProgressBar {
    styled(
        total,
        message,
        "{msg} {wide_bar} {human_pos}/{human_len} eta {eta}",
    )
}

fn styled(total: u64, message: &'static str, template: &str) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(total);
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar.with_message(message)
}

/// What a kind of destination is called.
fn kind_name(kind: u8) -> String {
    match kind {
        0 => "queue".to_owned(),
        1 => "topic".to_owned(),
        2 => "schedule of queue".to_owned(),
        3 => "schedule of topic".to_owned(),
        4 => "selector".to_owned(),
        5 => "durable subscription".to_owned(),
        other => other.to_string(),
    }
}

/// The reverse of [`kind_name`].
fn kind_code(name: &str) -> Option<u8> {
    (0..6)
        .find(|&kind| kind_name(kind) == name)
        .or_else(|| name.parse().ok())
}

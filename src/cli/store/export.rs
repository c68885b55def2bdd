//! `ferrymq store export`: messages and durable subscriptions as JSON lines.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;

use anyhow::Context;
use ferrymq_store::{RecoveredDestination, RecoveredSubscription, Store};
use indicatif::ProgressBar;

use super::lines::{FORMAT, Line, MessageLine, SubscriptionLine};
use super::{Common, counting_bar, kind_name};

/// Messages read at once.
const READ: usize = 512;
/// Octets of the output written at once.
const WRITE: usize = 256 * 1024;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The file to write [default: standard output]
    file: Option<PathBuf>,
    /// Only this destination, with its durable subscriptions; may be repeated
    #[arg(long, value_name = "NAME")]
    destination: Vec<String>,
    #[command(flatten)]
    common: Common,
}

pub(super) fn run(arguments: &Args) -> anyhow::Result<()> {
    let (store, recovered) = arguments.common.place()?.inspect()?;
    let named = &arguments.destination;
    let wanted = |name: &String| named.is_empty() || named.contains(name);
    let destinations: Vec<_> = recovered
        .destinations
        .iter()
        .filter(|one| wanted(&one.name))
        .collect();
    for name in named {
        let known = destinations.iter().any(|one| one.name == *name);
        anyhow::ensure!(known, "there is no destination {name}");
    }
    let count: usize = destinations.iter().map(|one| one.entries.len()).sum();
    let bar = counting_bar(count as u64, "exporting");
    let mut out: Box<dyn Write> = match &arguments.file {
        None => Box::new(io::stdout().lock()),
        Some(path) => {
            let file = File::create_new(path);
            Box::new(file.with_context(|| format!("cannot create {}", path.display()))?)
        }
    };
    let mut out = BufWriter::with_capacity(WRITE, &mut out);
    line(&mut out, &Line::Export { format: FORMAT })?;
    let mut messages = 0;
    for destination in destinations {
        messages += export(&store, destination, &mut out, &bar)?;
        let topic = recovered.subscriptions.iter();
        for subscription in topic.filter(|one| one.definition.topic == destination.id) {
            line(&mut out, &subscription_line(destination, subscription))?;
        }
    }
    line(&mut out, &Line::End { messages })?;
    out.flush()?;
    bar.finish_and_clear();
    if arguments.file.is_some() {
        writeln!(io::stderr(), "{messages} messages exported")?;
    }
    Ok(())
}

fn line(out: &mut impl Write, line: &Line) -> anyhow::Result<()> {
    serde_json::to_writer(&mut *out, line)?;
    out.write_all(b"\n")?;
    Ok(())
}

/// Writes a destination and its messages. What cannot be read is told and left out.
fn export(
    store: &Store,
    destination: &RecoveredDestination,
    out: &mut impl Write,
    bar: &ProgressBar,
) -> anyhow::Result<u64> {
    line(
        out,
        &Line::Destination {
            kind: kind_name(destination.kind),
            name: destination.name.clone(),
            next_sequence: destination.next_sequence,
        },
    )?;
    let (mut written, mut read) = (0, Vec::new());
    for entries in destination.entries.chunks(READ) {
        let places: Vec<_> = entries.iter().map(|entry| entry.at).collect();
        store.read_many(&places, &mut read);
        for (entry, found) in entries.iter().zip(read.drain(..)) {
            let (name, sequence) = (&destination.name, entry.sequence);
            match found {
                Ok(Some(message)) => {
                    let message = MessageLine::of(sequence, entry.redeliveries, &message);
                    line(out, &Line::Message(Box::new(message)))?;
                    written += 1;
                }
                Ok(None) => writeln!(io::stderr(), "{name}: message {sequence} is gone")?,
                Err(error) => writeln!(io::stderr(), "{name}: message {sequence}: {error}")?,
            }
            bar.inc(1);
        }
    }
    Ok(written)
}

fn subscription_line(topic: &RecoveredDestination, found: &RecoveredSubscription) -> Line {
    let definition = &found.definition;
    Line::Subscription(SubscriptionLine {
        topic: topic.name.clone(),
        client_id: definition.client_id.clone(),
        name: definition.name.clone(),
        selector: definition.selector.clone(),
        no_local: definition.no_local,
        start: definition.start,
        through: found.through,
        acknowledged: found.exceptions.clone(),
        marks: found.marks.clone(),
    })
}

//! `ferrymq store import`: reads an export into a store, behind what is in it.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, bail, ensure};
use ferrymq_store::io::RealDisk;
use ferrymq_store::{
    Batch, DestinationId, Patch, Recovered, Store, StoredMessage, SubscriptionDefinition,
    SubscriptionId,
};
use indicatif::ProgressBar;

use super::lines::{FORMAT, Line, MessageLine, SubscriptionLine};
use super::{Common, kind_code, styled};

/// Octets handed to the store before their sync is waited for.
const PENDING_MAX: usize = 8 << 20;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The file to read [default: standard input]
    file: Option<PathBuf>,
    #[command(flatten)]
    common: Common,
}

pub(super) fn run(arguments: &Args) -> anyhow::Result<()> {
    let input: Box<dyn BufRead> = match &arguments.file {
        None => Box::new(io::stdin().lock()),
        Some(path) => {
            let file = File::open(path);
            Box::new(BufReader::new(
                file.with_context(|| format!("cannot open {}", path.display()))?,
            ))
        }
    };
    let place = arguments.common.place()?;
    let disk = Arc::new(RealDisk);
    let (store, recovered) = Store::open(disk, &place.directory, place.config, Box::new(|_| {}))
        .context("cannot open the store")?;
    let mut import = Import::new(&store, &recovered);
    let bar = styled(0, "importing", "{spinner} {msg} {human_pos} {per_sec}");
    for (number, text) in (1..).zip(input.lines()) {
        let read = text.map_err(anyhow::Error::from).and_then(|text| {
            let line = serde_json::from_str(&text)?;
            import.take(line, &bar)
        });
        read.with_context(|| format!("line {number}"))?;
    }
    bar.finish_and_clear();
    store.close()?;
    ensure!(
        import.ended,
        "the export ends before its last line: not everything is there"
    );
    let (messages, skipped) = (import.messages, import.skipped);
    let mut out = io::stdout().lock();
    if arguments.common.json {
        let value = serde_json::json!({ "messages": messages, "subscriptions_skipped": skipped });
        writeln!(out, "{value}")?;
        return Ok(());
    }
    writeln!(out, "{messages} messages imported")?;
    if skipped > 0 {
        writeln!(
            out,
            "{skipped} durable subscriptions were there already and stay as they are"
        )?;
    }
    Ok(())
}

/// A destination being filled.
#[derive(Debug, Clone, Copy)]
struct Target {
    id: DestinationId,
    /// Added to every sequence of the export.
    base: u64,
    /// A sequence nobody else uses.
    spare: u64,
}

struct Import<'a> {
    store: &'a Store,
    /// By kind and name.
    known: HashMap<(u8, String), Target>,
    subscriptions: Vec<(String, String)>,
    next_destination: u32,
    next_subscription: u32,
    current: Option<(u8, String)>,
    begun: bool,
    ended: bool,
    messages: u64,
    skipped: u64,
}

impl<'a> Import<'a> {
    fn new(store: &'a Store, recovered: &Recovered) -> Self {
        let known = recovered.destinations.iter().map(|one| {
            let base = one.next_sequence - 1;
            let (id, spare) = (one.id, one.next_sequence);
            ((one.kind, one.name.clone()), Target { id, base, spare })
        });
        let subscriptions = recovered.subscriptions.iter().map(|one| {
            let definition = &one.definition;
            (definition.client_id.clone(), definition.name.clone())
        });
        Self {
            store,
            known: known.collect(),
            subscriptions: subscriptions.collect(),
            next_destination: recovered.highest_destination + 1,
            next_subscription: recovered.highest_subscription + 1,
            current: None,
            begun: false,
            ended: false,
            messages: 0,
            skipped: 0,
        }
    }

    fn take(&mut self, line: Line, bar: &ProgressBar) -> anyhow::Result<()> {
        ensure!(!self.ended, "there is something behind the last line");
        ensure!(
            self.begun || matches!(line, Line::Export { .. }),
            "this is no export: its first line is missing"
        );
        match line {
            Line::Export { format } => {
                ensure!(
                    format == FORMAT,
                    "format {format}; this program knows {FORMAT}"
                );
                self.begun = true;
            }
            Line::Destination {
                kind,
                name,
                next_sequence,
            } => self.destination(&kind, name, next_sequence)?,
            Line::Message(message) => {
                self.message(&message)?;
                bar.inc(1);
            }
            Line::Subscription(subscription) => self.subscription(subscription)?,
            Line::End { messages } => {
                let found = self.messages;
                ensure!(
                    messages == found,
                    "the export says {messages} messages, {found} were there"
                );
                self.ended = true;
            }
        }
        Ok(())
    }

    /// Appends, and waits when much is on its way.
    fn append(&self, write: impl FnOnce(&mut Batch<'_>)) -> anyhow::Result<()> {
        let ((), ticket) = self.store.append(write)?;
        if self.store.pending_bytes() > PENDING_MAX {
            self.store.wait(ticket)?;
        }
        Ok(())
    }

    fn destination(&mut self, kind: &str, name: String, next: u64) -> anyhow::Result<()> {
        let Some(code) = kind_code(kind) else {
            bail!("unknown kind of destination: {kind}");
        };
        let key = (code, name);
        if let Some(known) = self.known.get_mut(&key) {
            known.spare = known.spare.max(known.base + next);
        } else {
            let id = DestinationId(self.next_destination);
            self.next_destination += 1;
            self.append(|batch| batch.define_destination(id, code, &key.1))?;
            let target = Target {
                id,
                base: 0,
                spare: next.max(1),
            };
            self.known.insert(key.clone(), target);
        }
        self.current = Some(key);
        Ok(())
    }

    fn message(&mut self, line: &MessageLine) -> anyhow::Result<()> {
        let current = self
            .current
            .as_ref()
            .and_then(|key| self.known.get_mut(key));
        let Some(target) = current else {
            bail!("a message comes before its destination");
        };
        ensure!(line.sequence > 0, "sequences begin at 1");
        let (head, body) = line.payload()?;
        let moved = line.moved()?;
        let stored = StoredMessage {
            wire: line.wire,
            flags: line.flags,
            priority: line.priority,
            origin: line.origin,
            serial: line.serial,
            timestamp_ms: line.timestamp_ms,
            expires_ms: line.expires_ms,
            head: &head,
            body: &body,
        };
        let (id, sequence) = (target.id, target.base + line.sequence);
        let spare = target.spare.max(sequence + 1);
        target.spare = spare + u64::from(moved.is_some());
        self.append(|batch| {
            batch.transaction(|batch| {
                let at = match &moved {
                    None => batch.add(&[(id, sequence)], &stored),
                    // As a move writes it: the body, a reference that adds something, and the first one given up.
                    Some(extra) => {
                        let body_at = batch.add(&[(id, spare)], &stored);
                        let patch = Patch {
                            flags: line.flags,
                            priority: line.priority,
                            expires_ms: line.expires_ms,
                            body_size: u32::try_from(head.len() + body.len()).unwrap_or(u32::MAX),
                            extra_head: extra,
                        };
                        let at = batch.place(&[(id, sequence)], body_at, &patch);
                        batch.remove(id, &[(spare, body_at)]);
                        at
                    }
                };
                if line.redeliveries > 0 {
                    batch.redelivered(id, sequence, at, line.redeliveries);
                }
            });
        })?;
        self.messages += 1;
        Ok(())
    }

    fn subscription(&mut self, line: SubscriptionLine) -> anyhow::Result<()> {
        let key = (line.client_id, line.name);
        if self.subscriptions.contains(&key) {
            self.skipped += 1;
            return Ok(());
        }
        let topic = self.known.get(&(1, line.topic.clone()));
        let Some(&Target {
            id: topic, base, ..
        }) = topic
        else {
            bail!("a subscription comes before its topic {}", line.topic);
        };
        let definition = SubscriptionDefinition {
            id: SubscriptionId(self.next_subscription),
            topic,
            client_id: key.0.clone(),
            name: key.1.clone(),
            selector: line.selector,
            no_local: line.no_local,
            start: base + line.start,
        };
        self.next_subscription += 1;
        let single: Vec<u64> = line.acknowledged.iter().map(|one| base + one).collect();
        let marks: Vec<(u64, u16)> = line
            .marks
            .iter()
            .map(|(sequence, count)| (base + sequence, *count))
            .collect();
        self.append(|batch| {
            batch.define_subscription(&definition);
            batch.acknowledge(definition.id, Some(base + line.through), &single);
            batch.redelivered_to(definition.id, &marks);
        })?;
        self.subscriptions.push(key);
        Ok(())
    }
}

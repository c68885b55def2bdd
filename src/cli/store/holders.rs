//! `ferrymq store holders`: who holds the disk.

use std::io::{self, Write};

use ferrymq::clock::Clock;
use ferrymq_store::{Holders, Holding};
use indicatif::{HumanBytes, HumanDuration};
use serde_json::{Value, json};

use super::{Common, kind_name};

pub(super) fn run(common: &Common) -> anyhow::Result<()> {
    let (store, _) = common.place()?.inspect()?;
    let holders = store.holders()?;
    let mut out = io::stdout().lock();
    if common.json {
        writeln!(out, "{}", value(&holders))?;
        return Ok(());
    }
    writeln!(
        out,
        "{:12} {:>12} {:>12} {:>6} {:>10}",
        "file", "size", "alive", "share", "messages"
    )?;
    for one in &holders.segments {
        let (bytes, live) = (
            HumanBytes(one.bytes).to_string(),
            HumanBytes(one.live_bytes).to_string(),
        );
        let share = 100 * one.live_bytes / one.bytes.max(1);
        let note = if one.is_written {
            "  being written"
        } else {
            ""
        };
        let (id, messages) = (one.id, one.live_references);
        writeln!(
            out,
            "{id:08x}.seg {bytes:>12} {live:>12} {share:>5}% {messages:>10}{note}"
        )?;
    }
    let now_ms = Clock::system().wall_ms();
    table(&mut out, "destination", &holders.destinations, now_ms)?;
    table(
        &mut out,
        "durable subscription",
        &holders.subscriptions,
        now_ms,
    )?;
    Ok(())
}

fn table<Id>(
    out: &mut impl Write,
    title: &str,
    rows: &[Holding<Id>],
    now_ms: u64,
) -> io::Result<()> {
    if rows.is_empty() {
        return Ok(());
    }
    writeln!(out)?;
    writeln!(
        out,
        "{:>12} {:>10} {:>6} {:>14}  {title}",
        "holds", "messages", "files", "oldest"
    )?;
    for one in rows {
        let age = one.oldest_ms.map(|oldest| now_ms.saturating_sub(oldest));
        let age = age.map(|age| HumanDuration(std::time::Duration::from_millis(age)).to_string());
        let (bytes, age) = (
            HumanBytes(one.live_bytes).to_string(),
            age.unwrap_or_default(),
        );
        let (kind, name) = (kind_name(one.kind), &one.name);
        let (messages, files) = (one.references, one.segments);
        writeln!(
            out,
            "{bytes:>12} {messages:>10} {files:>6} {age:>14}  {kind} {name}"
        )?;
    }
    Ok(())
}

fn value(holders: &Holders) -> Value {
    fn rows<Id>(rows: &[Holding<Id>]) -> Vec<Value> {
        let row = |one: &Holding<Id>| {
            json!({
                "name": one.name,
                "kind": kind_name(one.kind),
                "live_bytes": one.live_bytes,
                "messages": one.references,
                "segments": one.segments,
                "oldest_ms": one.oldest_ms,
            })
        };
        rows.iter().map(row).collect()
    }
    let segments = holders.segments.iter().map(|one| {
        json!({
            "segment": format!("{:08x}", one.id),
            "bytes": one.bytes,
            "live_bytes": one.live_bytes,
            "messages": one.live_references,
            "is_written": one.is_written,
        })
    });
    json!({
        "segments": segments.collect::<Vec<_>>(),
        "destinations": rows(&holders.destinations),
        "durable_subscriptions": rows(&holders.subscriptions),
    })
}

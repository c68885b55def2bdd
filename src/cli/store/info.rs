//! `ferrymq store info`: what is in the store and what it occupies.

use std::io::{self, Write};

use indicatif::HumanBytes;
use serde_json::json;

use super::{Common, kind_name};

pub(super) fn run(common: &Common) -> anyhow::Result<()> {
    let place = common.place()?;
    let (store, recovered) = place.inspect()?;
    let (usage, holders) = (store.usage()?, store.holders()?);
    let live: u64 = holders.segments.iter().map(|one| one.live_bytes).sum();
    let messages = |kind: u8| -> (usize, usize) {
        let of_kind = recovered.destinations.iter().filter(|one| one.kind == kind);
        let counts: Vec<usize> = of_kind.map(|one| one.entries.len()).collect();
        (counts.len(), counts.iter().sum())
    };
    let report = &recovered.report;
    let mut out = io::stdout().lock();
    if common.json {
        let kinds = (0..4).map(|kind| {
            let (destinations, messages) = messages(kind);
            json!({ "kind": kind_name(kind), "destinations": destinations, "messages": messages })
        });
        let value = json!({
            "directory": place.directory,
            "starts": recovered.epoch - 1,
            "clean": recovered.clean,
            "segments": usage.segments,
            "bytes_on_disk": usage.bytes_on_disk,
            "live_bytes": live,
            "kinds": kinds.collect::<Vec<_>>(),
            "durable_subscriptions": recovered.subscriptions.len(),
            "damaged_ranges": report.quarantined.len(),
        });
        writeln!(out, "{value}")?;
        return Ok(());
    }
    writeln!(out, "directory      {}", place.directory.display())?;
    writeln!(out, "starts         {}", recovered.epoch - 1)?;
    let stop = if recovered.clean {
        "clean"
    } else {
        "not clean"
    };
    writeln!(out, "last stop      {stop}")?;
    let bytes = HumanBytes(usage.bytes_on_disk);
    writeln!(
        out,
        "on disk        {bytes} in {} files with records",
        usage.segments
    )?;
    writeln!(out, "alive          {}", HumanBytes(live))?;
    for kind in 0..4 {
        let (destinations, messages) = messages(kind);
        if destinations > 0 {
            let name = kind_name(kind);
            writeln!(out, "{name:14} {destinations}, with {messages} messages")?;
        }
    }
    writeln!(
        out,
        "durable        {} subscriptions",
        recovered.subscriptions.len()
    )?;
    if !report.quarantined.is_empty() {
        let count = report.quarantined.len();
        writeln!(
            out,
            "damage         {count} ranges; see `ferrymq store verify`"
        )?;
    }
    Ok(())
}

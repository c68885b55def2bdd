//! `ferrymq store repair` and `ferrymq store compact`: the commands that change a store in place.

use std::io::{self, Write};

use ferrymq_store::repair as repair_store;
use indicatif::HumanBytes;
use serde_json::json;

use super::{Common, Damaged, styled, verify};

/// How a step without a known end is shown.
const SPINNER: &str = "{spinner} {msg} {elapsed}";
/// Time between movements of a spinner.
const TICK: std::time::Duration = std::time::Duration::from_millis(100);

pub(super) fn repair(common: &Common) -> anyhow::Result<()> {
    let place = common.place()?;
    let disk = place.disk()?;
    let bar = styled(0, "", SPINNER);
    bar.enable_steady_tick(TICK);
    let mut tell = |what: &str| bar.set_message(what.to_owned());
    let repaired = repair_store(&disk, &place.directory, &place.config, &mut tell);
    bar.finish_and_clear();
    let repaired = repaired?;
    let mut out = io::stdout().lock();
    if common.json {
        let value = json!({
            "before": verify::value(&repaired.before),
            "after": verify::value(&repaired.after),
            "set_aside": repaired.set_aside,
        });
        writeln!(out, "{value}")?;
    } else {
        verify::tell(&mut out, &repaired.before)?;
        for file in &repaired.set_aside {
            writeln!(out, "set aside: {}", file.display())?;
        }
        if !verify::is_damaged(&repaired.before) {
            writeln!(out, "no damage; the checkpoint was written anew")?;
        }
    }
    if !repaired.left.is_empty() || verify::is_damaged(&repaired.after) {
        return Err(Damaged("some damage is left: is there space on the disk?".to_owned()).into());
    }
    Ok(())
}

pub(super) fn compact(common: &Common) -> anyhow::Result<()> {
    let place = common.place()?;
    let (store, _) = place.open()?;
    let before = store.usage()?;
    let bar = styled(0, "compacting", SPINNER);
    bar.enable_steady_tick(TICK);
    store.compact();
    bar.finish_and_clear();
    let after = store.usage()?;
    store.close()?;
    let mut out = io::stdout().lock();
    if common.json {
        let value = json!({
            "segments_before": before.segments,
            "segments_after": after.segments,
            "copied_bytes": after.compacted_bytes,
        });
        writeln!(out, "{value}")?;
        return Ok(());
    }
    let (from, to) = (before.segments, after.segments);
    let copied = HumanBytes(after.compacted_bytes);
    writeln!(
        out,
        "{from} files with records before, {to} now; {copied} copied"
    )?;
    Ok(())
}

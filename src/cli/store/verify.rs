//! `ferrymq store verify`: reads everything, changes nothing, reports damage.

use std::io::{self, Write};

use ferrymq_store::{RecoveryReport, check};
use serde_json::{Value, json};

use super::{Common, Damaged, bar, watched};

pub(super) fn run(common: &Common) -> anyhow::Result<()> {
    let place = common.place()?;
    // Records are read once for what they say and once for how they lie.
    let bar = bar(2 * place.journal_bytes(), "verifying");
    let checked = check(&watched::disk(&place.disk()?, &bar), &place.directory);
    bar.finish_and_clear();
    let report = checked?;
    print(common.json, &report)?;
    if is_damaged(&report) {
        return Err(
            Damaged("the store is damaged; `ferrymq store repair` mends it".to_owned()).into(),
        );
    }
    Ok(())
}

/// True if something is wrong. The end of a batch that was not promised to anyone is not.
pub(super) fn is_damaged(report: &RecoveryReport) -> bool {
    !report.quarantined.is_empty() || report.dropped_transactions > 0
}

fn print(as_json: bool, report: &RecoveryReport) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    if as_json {
        writeln!(out, "{}", value(report))?;
        return Ok(());
    }
    let (segments, records) = (report.segments, report.records);
    writeln!(out, "{segments} files with {records} records read")?;
    tell(&mut out, report)?;
    if !is_damaged(report) {
        writeln!(out, "no damage")?;
    }
    Ok(())
}

/// What is wrong, for people.
pub(super) fn tell(out: &mut impl Write, report: &RecoveryReport) -> io::Result<()> {
    for range in &report.quarantined {
        let (file, from, to) = (&range.file, range.offset, range.offset + range.len);
        writeln!(out, "{file}  octets {from}..{to}  {}", range.reason)?;
    }
    for warning in &report.warnings {
        writeln!(out, "{warning}")?;
    }
    if report.dropped_transactions > 0 {
        let count = report.dropped_transactions;
        writeln!(
            out,
            "{count} transactions without effect: a part of each is damaged"
        )?;
    }
    if report.torn_tail_bytes > 0 {
        let bytes = report.torn_tail_bytes;
        writeln!(
            out,
            "the last batch ({bytes} octets) was not written to its end; nobody was promised it"
        )?;
    }
    for lost in &report.lost {
        let (name, sequence, bytes) = (&lost.destination, lost.sequence, lost.bytes);
        writeln!(
            out,
            "in a damaged range: {name}, message {sequence}, {bytes} octets"
        )?;
    }
    Ok(())
}

/// What is wrong, for programs.
pub(super) fn value(report: &RecoveryReport) -> Value {
    let ranges = report.quarantined.iter().map(|range| {
        json!({ "file": range.file, "offset": range.offset, "bytes": range.len, "reason": range.reason })
    });
    let lost = report.lost.iter().map(|lost| {
        json!({ "destination": lost.destination, "sequence": lost.sequence, "bytes": lost.bytes })
    });
    json!({
        "damaged": is_damaged(report),
        "segments": report.segments,
        "records": report.records,
        "ranges": ranges.collect::<Vec<_>>(),
        "messages_in_ranges": lost.collect::<Vec<_>>(),
        "dropped_transactions": report.dropped_transactions,
        "torn_tail_bytes": report.torn_tail_bytes,
        "warnings": report.warnings,
    })
}

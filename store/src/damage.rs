//! The file that tells of damage found at a start, beside the journal: what, where, and which messages it may have cost.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use crate::error::StoreError;
use crate::io::Disk;
use crate::verify::RecoveryReport;

/// Reports kept; the oldest go.
const REPORTS_MAX: usize = 16;

/// Writes the report of start `epoch`; gives its path.
pub(crate) fn write(
    disk: &dyn Disk,
    data: &Path,
    epoch: u64,
    report: &RecoveryReport,
) -> Result<PathBuf, StoreError> {
    let directory = data.join("damage");
    let path = directory.join(format!("start-{epoch:08}.txt"));
    let text = text(epoch, report);
    let written = || {
        disk.create_dir(&directory)?;
        let file = disk.create(&path)?;
        file.write_at(text.as_bytes(), 0)?;
        file.sync()?;
        let mut names = disk.list(&directory)?;
        names.retain(|name| name.starts_with("start-"));
        names.sort_unstable();
        let beyond = names.len().saturating_sub(REPORTS_MAX);
        for name in names.iter().take(beyond) {
            disk.remove(&directory.join(name))?;
        }
        disk.sync_dir(&directory)
    };
    written().map_err(StoreError::io("write", &path))?;
    Ok(path)
}

/// The report for people.
fn text(epoch: u64, report: &RecoveryReport) -> String {
    let mut out = format!("Damage found in the journal at start {epoch}\n\n");
    for range in &report.quarantined {
        let (file, from, to) = (&range.file, range.offset, range.offset + range.len);
        // Writing to a string cannot fail.
        let _ = writeln!(out, "{file}  octets {from}..{to}  {}", range.reason);
    }
    if report.dropped_transactions > 0 {
        let count = report.dropped_transactions;
        let _ = writeln!(
            out,
            "{count} transactions without effect: a part of each is damaged"
        );
    }
    if !report.lost.is_empty() {
        out.push_str(
            "\nMessages in these ranges (those that were acknowledged before are no loss):\n",
        );
    }
    for lost in &report.lost {
        let (name, sequence, size) = (&lost.destination, lost.sequence, lost.bytes);
        let _ = writeln!(out, "{name}  sequence {sequence}  {size} octets");
    }
    out.push_str("\n`ferrymq store repair` moves the damaged files aside, so that the next start is clean.\n");
    out
}

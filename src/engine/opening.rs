//! Opening the journal and wiring its news to those who wait for them.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ferrymq_store::io::Disk;
use ferrymq_store::{RecoveryReport, Store, StoreConfig, SyncEvent};

use super::durability::Durability;
use super::recover::Opened;

/// Why the journal did not open.
pub type OpenError = ferrymq_store::StoreError;

/// Values the journal is opened with.
#[derive(Clone, Debug)]
pub struct StoreSettings {
    /// The disk with the data directory.
    pub disk: Arc<dyn Disk>,
    /// The data directory.
    pub directory: PathBuf,
    /// Length of a segment.
    pub segment_bytes: u64,
    /// Time between checkpoints.
    pub checkpoint_interval: Duration,
    /// Octets per second copied out of segments that are mostly garbage.
    pub compaction_rate: u64,
}

/// Opens the journal and reads what it holds.
///
/// # Errors
/// The directory is in use, of another version, or cannot be read.
pub fn open(settings: &StoreSettings, durability: &Arc<Durability>) -> Result<Opened, OpenError> {
    let defaults = StoreConfig::default();
    let segment_bytes = u32::try_from(settings.segment_bytes).unwrap_or(u32::MAX);
    let config = StoreConfig {
        segment_bytes,
        first_segment_bytes: defaults.first_segment_bytes.min(segment_bytes),
        checkpoint_interval: settings.checkpoint_interval,
        compact_bytes_per_s: settings.compaction_rate,
        ..defaults
    };
    let durability = Arc::clone(durability);
    let on_event = move |event| match event {
        SyncEvent::Synced(ticket, _) => durability.synced(ticket),
        SyncEvent::Failed(reason) => durability.fail(reason),
        SyncEvent::Full(reason) => {
            tracing::warn!(
                reason,
                "the store is full: producers of persistent messages wait"
            );
        }
        SyncEvent::Room => tracing::info!("the store has space again"),
        _ => {}
    };
    let (store, recovered) = Store::open(
        Arc::clone(&settings.disk),
        &settings.directory,
        config,
        Box::new(on_event),
    )?;
    tell(&recovered.report);
    Ok(Opened {
        store: Arc::new(store),
        recovered,
    })
}

/// Tells the operator what a start found that should not be there.
fn tell(report: &RecoveryReport) {
    for warning in &report.warnings {
        tracing::warn!("{warning}");
    }
    for damage in &report.quarantined {
        let (file, offset, len) = (&damage.file, damage.offset, damage.len);
        tracing::error!(
            file,
            offset,
            len,
            reason = damage.reason,
            "damage in the journal was passed over"
        );
    }
    if let Some(file) = &report.damage_file {
        let file = file.display().to_string();
        tracing::error!(file, "what the damage may have cost is written down");
    }
    if report.dropped_transactions > 0 {
        let count = report.dropped_transactions;
        tracing::error!(
            count,
            "transactions without effect: a part of each is damaged or was never written"
        );
    }
    if report.torn_tail_bytes > 0 {
        let bytes = report.torn_tail_bytes;
        tracing::info!(
            bytes,
            "the last batch was not written to its end and is cut"
        );
    }
}

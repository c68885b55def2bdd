//! Opening the journal and wiring its news to those who wait for them.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ferrymq_store::io::Disk;
use ferrymq_store::{RecoveryReport, Store, StoreConfig, SyncEvent, Temp, TempConfig};

use super::durability::Durability;
use super::governor::Waiters;
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
    /// What the files of the journal may come to; `None`: what the disk has.
    pub limit_bytes: Option<u64>,
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
        bytes_max: settings.limit_bytes,
        ..defaults
    };
    let durability = Arc::clone(durability);
    let room = Arc::new(Waiters::default());
    let waiters = Arc::clone(&room);
    let on_event = move |event| match event {
        SyncEvent::Synced(ticket, _) => durability.synced(ticket),
        SyncEvent::Failed(reason) => durability.fail(reason),
        SyncEvent::Full(reason) => {
            // Who looks at the account tells of it.
            tracing::debug!(reason, "no further file of the journal can be made");
        }
        SyncEvent::Room => waiters.wake(),
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
        room,
    })
}

/// Values temporary storage is opened with.
#[derive(Clone, Debug)]
pub struct TempSettings {
    /// The disk with the directory.
    pub disk: Arc<dyn Disk>,
    /// Its directory, whose files of an earlier process are removed.
    pub directory: PathBuf,
    /// Length of a file.
    pub file_bytes: u64,
}

/// Opens temporary storage, empty; `limit` says how much it may take where so many octets are free.
///
/// # Errors
/// The directory cannot be emptied.
pub fn open_temp(
    settings: &TempSettings,
    limit: impl FnOnce(u64) -> u64,
) -> Result<Temp, OpenError> {
    let TempSettings {
        disk,
        directory,
        file_bytes,
    } = settings;
    Temp::empty(&**disk, directory)?;
    let free_bytes = disk.free_bytes(directory).unwrap_or_else(|error| {
        let directory = directory.display().to_string();
        tracing::warn!(directory, %error, "nobody knows how much space is free");
        u64::MAX
    });
    let config = TempConfig {
        limit_bytes: limit(free_bytes),
        file_bytes: u32::try_from(*file_bytes).unwrap_or(u32::MAX),
    };
    Temp::open(Arc::clone(disk), directory, config)
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

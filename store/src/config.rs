//! Configuration of the store: plain values, checked once at opening.

use std::time::Duration;

use crate::error::StoreError;

/// Smallest segment that makes sense; tests use it to rotate often.
const SEGMENT_BYTES_MIN: u32 = 16 * 1024;

/// What the store needs to know. Values are not reloaded.
#[derive(Debug, Clone)]
pub struct StoreConfig {
    /// Length of a segment file. Default 32 MiB, at least 16 KiB, at most 1 GiB.
    pub segment_bytes: u32,
    /// Length of the first segment of a start, short so that the first sync need not wait for a long zero-fill. Default 2 MiB.
    pub first_segment_bytes: u32,
    /// Segments prepared ahead of the one being written, the reserve included. Default 3.
    pub segments_ahead: u32,
    /// Segments which messages may not use when space runs out, so that removals go on. Default 2.
    pub segments_reserved: u32,
    /// What the files of the journal may come to; no message is taken in for which there could be no room below it, only a batch
    /// that is longer than a segment may end above. At least [`StoreConfig::bytes_min`]. Default none.
    pub bytes_max: Option<u64>,
    /// Time between checkpoints. Default 5 s.
    pub checkpoint_interval: Duration,
    /// Time between attempts to prepare a segment while the disk is full. Default 500 ms.
    pub full_retry: Duration,
    /// Octets per second that are copied out of segments that are mostly dead; 0 copies none. Default 16 MiB.
    pub compact_bytes_per_s: u64,
    /// Begins with the last checkpoint; else a start reads the whole journal. Default true.
    pub trust_checkpoint: bool,
    /// Gather buffers above this size are given back after use. Default 4 MiB.
    pub gather_keep: usize,
    /// Seed of the salts. `None` takes it from the system; tests give one.
    pub salt_seed: Option<u64>,
    /// Runs no threads: the caller drives every step. For the simulation.
    #[cfg(feature = "sim")]
    pub manual: bool,
    /// Completes tickets before the sync, to show that the simulation notices. For the simulation.
    #[cfg(feature = "sim")]
    pub break_ticket_before_sync: bool,
}

impl Default for StoreConfig {
    fn default() -> Self {
        Self {
            segment_bytes: 32 << 20,
            first_segment_bytes: 2 << 20,
            segments_ahead: 3,
            segments_reserved: 2,
            bytes_max: None,
            checkpoint_interval: Duration::from_secs(5),
            full_retry: Duration::from_millis(500),
            compact_bytes_per_s: 16 << 20,
            trust_checkpoint: true,
            gather_keep: 4 << 20,
            salt_seed: None,
            #[cfg(feature = "sim")]
            manual: false,
            #[cfg(feature = "sim")]
            break_ticket_before_sync: false,
        }
    }
}

impl StoreConfig {
    /// Refuses values that cannot work together.
    pub(crate) fn check(&self) -> Result<(), StoreError> {
        let refuse = |key, problem| Err(StoreError::Config { key, problem });
        if !(SEGMENT_BYTES_MIN..=1 << 30).contains(&self.segment_bytes) {
            return refuse("segment_bytes", "must lie between 16 KiB and 1 GiB");
        }
        if !(SEGMENT_BYTES_MIN..=1 << 30).contains(&self.first_segment_bytes) {
            return refuse("first_segment_bytes", "must lie between 16 KiB and 1 GiB");
        }
        if self.segments_ahead <= self.segments_reserved {
            return refuse("segments_ahead", "must exceed segments_reserved");
        }
        if self.bytes_max.is_some_and(|max| max < self.bytes_min()) {
            return refuse(
                "bytes_max",
                "must hold one segment more than segments_ahead",
            );
        }
        Ok(())
    }

    /// The least that `bytes_max` can be.
    #[must_use]
    pub fn bytes_min(&self) -> u64 {
        u64::from(self.segment_bytes) * u64::from(self.segments_ahead + 1)
    }

    /// True if the caller drives every step.
    pub(crate) fn is_manual(&self) -> bool {
        #[cfg(feature = "sim")]
        return self.manual;
        #[cfg(not(feature = "sim"))]
        false
    }

    /// True if tickets complete too early on purpose.
    pub(crate) fn breaks_tickets(&self) -> bool {
        #[cfg(feature = "sim")]
        return self.break_ticket_before_sync;
        #[cfg(not(feature = "sim"))]
        false
    }
}

//! Counters of a destination, plain integers read by whoever samples them (section 12.3 names).

/// What happened to a destination since start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Messages accepted.
    pub enqueued: u64,
    /// Messages removed: acknowledged, expired or dead-lettered.
    pub dequeued: u64,
    /// Messages sent to consumers; a redelivery counts again.
    pub dispatched: u64,
    /// Messages that expired.
    pub expired: u64,
    /// Messages that went to the dead-letter queue.
    pub dead_lettered: u64,
    /// Messages dropped for a slow topic subscriber.
    pub discarded: u64,
}

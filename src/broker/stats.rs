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
    /// Subscriptions ended by the broker because they did not keep up.
    pub aborted: u32,
    /// How often a queue stood still although nothing kept it from moving.
    pub stalls: u32,
    /// Octets of memory that the messages accepted cost.
    pub enqueued_bytes: u64,
    /// How long messages of a queue waited for their first delivery.
    pub waits: Waits,
}

impl Stats {
    /// Adds the counters of another destination.
    pub fn add(&mut self, other: &Self) {
        self.enqueued += other.enqueued;
        self.dequeued += other.dequeued;
        self.dispatched += other.dispatched;
        self.expired += other.expired;
        self.dead_lettered += other.dead_lettered;
        self.discarded += other.discarded;
        self.aborted = self.aborted.saturating_add(other.aborted);
        self.stalls = self.stalls.saturating_add(other.stalls);
        self.enqueued_bytes += other.enqueued_bytes;
        self.waits.add(&other.waits);
    }
}

/// Times that something took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Waits {
    /// How many.
    pub count: u64,
    /// All together, milliseconds.
    pub total_ms: u64,
    /// The shortest; 0 if there is none.
    pub min_ms: u64,
    /// The longest.
    pub max_ms: u64,
}

impl Waits {
    /// Notes one more.
    #[inline]
    pub fn note(&mut self, wait_ms: u64) {
        if self.count == 0 || wait_ms < self.min_ms {
            self.min_ms = wait_ms;
        }
        self.max_ms = self.max_ms.max(wait_ms);
        self.count += 1;
        self.total_ms += wait_ms;
    }

    fn add(&mut self, other: &Self) {
        if other.count == 0 {
            return;
        }
        self.min_ms = if self.count == 0 {
            other.min_ms
        } else {
            self.min_ms.min(other.min_ms)
        };
        self.max_ms = self.max_ms.max(other.max_ms);
        self.count += other.count;
        self.total_ms += other.total_ms;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_add_up() {
        let mut waits = Waits::default();
        waits.add(&Waits::default());
        for wait_ms in [5, 2, 9] {
            waits.note(wait_ms);
        }
        let mut sum = Waits::default();
        sum.add(&waits);
        assert_eq!(
            (sum.count, sum.total_ms, sum.min_ms, sum.max_ms),
            (3, 16, 2, 9)
        );
        sum.note(1);
        sum.add(&waits);
        assert_eq!(
            (sum.count, sum.total_ms, sum.min_ms, sum.max_ms),
            (7, 33, 1, 9)
        );
    }
}

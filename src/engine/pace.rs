//! How long a producer pauses when the consumers of its queue are quick and still fall behind.
//!
//! A backlog that is about to be consumed had better stay small: its messages are then still warm when they
//! leave, and their memory is used again at once. So when a queue holds more than a little and is being
//! drained fast, who sends to it is not read for about the time it takes to drain half. With slow consumers
//! or none nothing is gained by that, and nobody pauses.

/// Octets of backlog below which nobody pauses.
const BEHIND_BYTES: u64 = 2 << 20;
/// Octets a millisecond from which on consumers count as quick: 16 MiB a second.
const QUICK_BYTES_PER_MS: u64 = 16 << 10;
/// Time over which the rate of draining is measured.
const SPAN_MS: u64 = 5;
/// The longest pause, so that acknowledgements on the same connection are never far.
const PAUSE_MS_MAX: u64 = 8;

/// Measures how fast a queue is drained.
#[derive(Debug, Default)]
pub struct Pace {
    since_ms: u64,
    drained_bytes: u64,
    bytes_per_ms: u64,
}

impl Pace {
    /// The pause for a producer, in milliseconds, when `held_bytes` wait at `now_ms` and `drained_bytes`
    /// have been drained since the start.
    pub fn pause_ms(&mut self, now_ms: u64, held_bytes: u64, drained_bytes: u64) -> u64 {
        let span_ms = now_ms.saturating_sub(self.since_ms);
        if span_ms >= SPAN_MS {
            self.bytes_per_ms = (drained_bytes - self.drained_bytes) / span_ms;
            self.since_ms = now_ms;
            self.drained_bytes = drained_bytes;
        }
        if held_bytes <= BEHIND_BYTES || self.bytes_per_ms < QUICK_BYTES_PER_MS {
            return 0;
        }
        (held_bytes / self.bytes_per_ms / 2).clamp(1, PAUSE_MS_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_for_half_the_backlog_of_a_quick_queue() {
        let mut pace = Pace::default();
        assert_eq!(
            pace.pause_ms(1000, 4 << 20, 0),
            0,
            "nothing has been drained"
        );
        assert_eq!(pace.pause_ms(1010, 4 << 20, 10 << 20), 2);
        assert_eq!(pace.pause_ms(1011, 100 << 20, 10 << 20), PAUSE_MS_MAX);
        assert_eq!(
            pace.pause_ms(1012, 1 << 20, 10 << 20),
            0,
            "a short backlog is left alone"
        );
    }

    #[test]
    fn slow_consumers_hold_nobody_up() {
        let mut pace = Pace::default();
        pace.pause_ms(1000, 0, 0);
        assert_eq!(pace.pause_ms(2000, 1 << 30, 1 << 20), 0);
    }
}

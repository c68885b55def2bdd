//! How long a producer pauses when the consumers of its queue are quick and still fall behind.
//!
//! A backlog that is about to be consumed had better stay small: its messages are then still warm when they
//! leave, and their memory is used again at once. So when a queue holds more than a little and is being
//! drained fast, who sends to it is not read for about the time it takes to drain half. With slow consumers
//! or none nothing is gained by that, and nobody pauses.

/// Octets of backlog below which nobody pauses.
const BEHIND_BYTES: u64 = 2 << 20;
/// Octets a millisecond from which on consumers count as quick: 1 MiB a second. Low, because consumers that a
/// flood keeps from working look slow.
const QUICK_BYTES_PER_MS: u64 = 1 << 10;
/// Time over which the rate of draining is measured.
const SPAN_MS: u64 = 3;
/// How long consumers count as quick after they were: a flood keeps them from their work for a while.
const MEMORY_MS: u64 = 100;
/// The longest pause, so that acknowledgements on the same connection are never far.
const PAUSE_MS_MAX: u64 = 8;

/// Whether so much waits that somebody may have to pause.
#[must_use]
pub fn is_behind(held_bytes: u64) -> bool {
    held_bytes > BEHIND_BYTES
}

/// Measures how fast a destination is drained.
#[derive(Debug, Default)]
pub struct Pace {
    since_ms: u64,
    held_bytes: u64,
    /// The rate when it was last quick.
    bytes_per_ms: u64,
    quick_until_ms: u64,
}

impl Pace {
    /// The pause for a producer, in milliseconds. `look` tells how many octets wait, and how many have been
    /// drained since it was last called; that is from time to time.
    pub fn pause_ms(&mut self, now_ms: u64, look: impl FnOnce() -> (u64, u64)) -> u64 {
        let span_ms = now_ms.saturating_sub(self.since_ms);
        if span_ms >= SPAN_MS {
            let (held_bytes, drained_bytes) = look();
            self.held_bytes = held_bytes;
            self.since_ms = now_ms;
            let bytes_per_ms = drained_bytes / span_ms;
            if bytes_per_ms >= QUICK_BYTES_PER_MS {
                self.bytes_per_ms = bytes_per_ms;
                self.quick_until_ms = now_ms + MEMORY_MS;
            }
        }
        if self.held_bytes <= BEHIND_BYTES || now_ms >= self.quick_until_ms {
            return 0;
        }
        (self.held_bytes / self.bytes_per_ms / 2).clamp(1, PAUSE_MS_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_for_half_the_backlog_of_a_quick_queue() {
        let mut pace = Pace::default();
        assert_eq!(
            pace.pause_ms(1000, || (4 << 20, 0)),
            0,
            "nothing was drained"
        );
        assert_eq!(pace.pause_ms(1010, || (4 << 20, 10 << 20)), 2);
        assert_eq!(pace.pause_ms(1011, || unreachable!("too soon")), 2);
        assert_eq!(pace.pause_ms(1020, || (100 << 20, 10 << 20)), PAUSE_MS_MAX);
        assert_eq!(
            pace.pause_ms(1030, || (1 << 20, 10 << 20)),
            0,
            "a short backlog"
        );
    }

    #[test]
    fn slow_consumers_hold_nobody_up() {
        let mut pace = Pace::default();
        pace.pause_ms(1000, || (0, 0));
        assert_eq!(pace.pause_ms(2000, || (1 << 30, 1 << 19)), 0);
    }
}

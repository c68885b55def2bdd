//! The one place of the load generator that reads a clock.
//!
//! Producers write the time into the messages and consumers subtract it, so all threads of a run share one origin and one unit:
//! nanoseconds of the monotonic clock. The wall clock is not used.

use std::time::Instant;

/// A monotonic clock with an origin. Copies share the origin, so their readings can be compared.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stopwatch {
    origin: Instant,
}

impl Stopwatch {
    /// Starts counting now.
    #[must_use]
    #[expect(
        clippy::disallowed_methods,
        reason = "the load generator measures real time; this is its only clock"
    )]
    pub(crate) fn start() -> Self {
        Self {
            origin: Instant::now(),
        }
    }

    /// Nanoseconds since the start; never 0, so that 0 can stand for "no reading".
    #[must_use]
    pub(crate) fn ns(self) -> u64 {
        let elapsed = self.origin.elapsed();
        elapsed.as_secs() * 1_000_000_000 + u64::from(elapsed.subsec_nanos()) + 1
    }
}

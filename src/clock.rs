//! The only place that asks the system what time it is.
//!
//! - Whoever needs time is given a [`Clock`]; the core is given numbers. So every test can own its time.
//! - Two readings that must not be confused: the wall (may jump, says when) and the monotonic one (never goes back,
//!   says how long).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// A source of time. Cheap to clone; clones of a manual clock share its time.
#[derive(Debug, Clone)]
pub struct Clock(Source);

#[derive(Debug, Clone)]
enum Source {
    System { start: Instant },
    Manual(Arc<Hands>),
}

#[derive(Debug)]
struct Hands {
    wall_ms: AtomicU64,
    monotonic_ms: AtomicU64,
}

impl Clock {
    /// The system's clock. Its monotonic reading starts at 0 now.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "this is where time comes from")]
    pub fn system() -> Self {
        Self(Source::System {
            start: Instant::now(),
        })
    }

    /// A clock that stands still at this wall time until it is told to go on. For tests.
    #[must_use]
    pub fn manual(wall_ms: u64) -> Self {
        let hands = Hands {
            wall_ms: AtomicU64::new(wall_ms),
            monotonic_ms: AtomicU64::new(0),
        };
        Self(Source::Manual(Arc::new(hands)))
    }

    /// The time in milliseconds since 1970, UTC. It jumps when somebody sets the system's clock.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "this is where time comes from")]
    pub fn wall_ms(&self) -> u64 {
        match &self.0 {
            Source::System { .. } => {
                // A clock before 1970 counts as 1970: nothing useful could be done with the error.
                let since = SystemTime::now()
                    .duration_since(UNIX_EPOCH)
                    .unwrap_or_default();
                u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
            }
            Source::Manual(hands) => hands.wall_ms.load(Ordering::SeqCst),
        }
    }

    /// The milliseconds since this clock was made. It never goes back.
    #[must_use]
    pub fn monotonic_ms(&self) -> u64 {
        match &self.0 {
            Source::System { start } => {
                u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX)
            }
            Source::Manual(hands) => hands.monotonic_ms.load(Ordering::SeqCst),
        }
    }

    /// Moves a manual clock on, both readings.
    ///
    /// # Panics
    /// If this is the system's clock.
    pub fn advance(&self, ms: u64) {
        let hands = self.hands();
        hands.wall_ms.fetch_add(ms, Ordering::SeqCst);
        hands.monotonic_ms.fetch_add(ms, Ordering::SeqCst);
    }

    /// Sets the wall reading of a manual clock, as an administrator does: the monotonic one does not notice.
    ///
    /// # Panics
    /// If this is the system's clock.
    pub fn set_wall(&self, wall_ms: u64) {
        self.hands().wall_ms.store(wall_ms, Ordering::SeqCst);
    }

    fn hands(&self) -> &Hands {
        match &self.0 {
            Source::Manual(hands) => hands,
            Source::System { .. } => panic!("only a manual clock can be moved"),
        }
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::system()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manual_clock_stands_still_until_moved_and_is_shared() {
        let clock = Clock::manual(1_000);
        let other = clock.clone();
        assert_eq!((other.wall_ms(), other.monotonic_ms()), (1_000, 0));
        clock.advance(5);
        assert_eq!((other.wall_ms(), other.monotonic_ms()), (1_005, 5));
        clock.set_wall(10);
        assert_eq!((other.wall_ms(), other.monotonic_ms()), (10, 5));
    }

    #[test]
    fn the_system_clock_is_past_2020_and_does_not_go_back() {
        let clock = Clock::system();
        assert!(clock.wall_ms() > 1_577_836_800_000);
        let first = clock.monotonic_ms();
        assert!(clock.monotonic_ms() >= first);
    }
}

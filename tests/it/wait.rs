//! Waiting for a condition, with a deadline: the only way a test may wait.

use std::thread;
use std::time::Duration;

use ferrymq::clock::Clock;

/// Far longer than anything takes, so that only a real hang meets it.
const DEADLINE_MS: u64 = 20_000;

/// Asks again and again until there is an answer.
///
/// # Panics
/// If there is none within 20 seconds; `what` says what was waited for.
pub(crate) fn until<T>(what: &str, answer: impl FnMut() -> Option<T>) -> T {
    within(DEADLINE_MS, what, answer)
}

/// The same for what may take longer.
///
/// # Panics
/// If there is no answer within so many milliseconds.
pub(crate) fn within<T>(deadline_ms: u64, what: &str, mut answer: impl FnMut() -> Option<T>) -> T {
    let clock = Clock::system();
    loop {
        if let Some(answer) = answer() {
            return answer;
        }
        assert!(
            clock.monotonic_ms() < deadline_ms,
            "waited {deadline_ms} ms for {what}"
        );
        // waits: between two looks at the condition, so as not to burn the processor
        thread::sleep(Duration::from_millis(2));
    }
}

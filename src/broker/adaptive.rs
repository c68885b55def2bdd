//! A prefetch window that follows how fast its consumer acknowledges (PRE-7).
//!
//! What has been sent cannot be called back, so a slow consumer must not be given much. Whoever
//! acknowledges in batches must not stall: a window that stays full grows, and half a window acknowledged in
//! one go opens it wholly.

/// The first size of a window.
pub const START_MESSAGES: u32 = 32;
/// Acknowledgements within this time double the window.
const QUICK_MS: u64 = 100;
/// Acknowledgements further apart than this halve it.
const SLOW_MS: u64 = 1000;
/// A window that is full for so long without an acknowledgement doubles.
pub const STALL_MS: u64 = 5000;

/// How a consumer has acknowledged so far.
#[derive(Clone, Copy, Debug)]
pub struct Adaptive {
    messages_max: u32,
    window: u32,
    /// The last acknowledgement, or the first delivery after a time with none under way.
    since_ms: u64,
    /// Deliveries acknowledged in one go, at `since_ms`, and the window it began with.
    run: u32,
    run_window: u32,
    /// `u64::MAX`: it is not full.
    full_since_ms: u64,
}

impl Adaptive {
    /// A window that grows to `messages_max` at most.
    #[must_use]
    pub fn new(messages_max: u32) -> Self {
        let messages_max = messages_max.max(1);
        let window = START_MESSAGES.min(messages_max);
        Self {
            messages_max,
            window,
            since_ms: 0,
            run: 0,
            run_window: window,
            full_since_ms: u64::MAX,
        }
    }

    /// Messages that may be unacknowledged.
    #[must_use]
    pub fn window(&self) -> u32 {
        self.window
    }

    /// Notes a delivery; `unacked` is how many there are with it. Returns whether the window is full since.
    pub fn delivered(&mut self, now_ms: u64, unacked: usize) -> bool {
        if unacked == 1 {
            (self.since_ms, self.run) = (now_ms, 0);
        }
        let fills = unacked >= self.window as usize && self.full_since_ms == u64::MAX;
        if fills {
            self.full_since_ms = now_ms;
        }
        fills
    }

    /// Notes that `count` deliveries were acknowledged, or refused.
    pub fn acknowledged(&mut self, now_ms: u64, count: u32) {
        self.full_since_ms = u64::MAX;
        let apart_ms = now_ms.saturating_sub(self.since_ms);
        if self.run == 0 || apart_ms > 0 {
            (self.run, self.run_window) = (0, self.window);
            self.adapt(apart_ms);
        }
        self.since_ms = now_ms;
        self.run = self.run.saturating_add(count);
        // One message is no batch, however small the window.
        if self.run >= 2 && self.run >= self.run_window.div_ceil(2) {
            self.window = self.messages_max;
        }
    }

    /// Doubles a window that has been full for too long. Returns when to look again if it is full still.
    pub fn look(&mut self, now_ms: u64) -> Option<u64> {
        if self.full_since_ms == u64::MAX {
            return None;
        }
        let due_ms = self.full_since_ms.saturating_add(STALL_MS);
        if now_ms < due_ms {
            return Some(due_ms);
        }
        self.full_since_ms = u64::MAX;
        self.window = self.window.saturating_mul(2).min(self.messages_max);
        None
    }

    fn adapt(&mut self, apart_ms: u64) {
        if apart_ms <= QUICK_MS {
            self.window = self.window.saturating_mul(2).min(self.messages_max);
        } else if apart_ms > SLOW_MS {
            self.window = (self.window / 2).max(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quick_acknowledgements_open_the_window_and_slow_ones_close_it() {
        let mut adaptive = Adaptive::new(1000);
        assert_eq!(adaptive.window(), 32);
        let mut sizes = Vec::new();
        for now_ms in (100..=600).step_by(100) {
            adaptive.acknowledged(now_ms, 1);
            sizes.push(adaptive.window());
        }
        assert_eq!(sizes, [64, 128, 256, 512, 1000, 1000]);
        adaptive.acknowledged(1600, 1);
        assert_eq!(adaptive.window(), 1000, "a second is not slow");
        let mut now_ms = 1600;
        for _ in 0..12 {
            now_ms += 1001;
            adaptive.acknowledged(now_ms, 1);
        }
        assert_eq!(adaptive.window(), 1);
    }

    #[test]
    fn waiting_for_messages_is_not_slowness() {
        let mut adaptive = Adaptive::new(1000);
        adaptive.delivered(1_000_000, 1);
        adaptive.acknowledged(1_000_050, 1);
        assert_eq!(adaptive.window(), 64);
    }

    #[test]
    fn who_acknowledges_in_batches_does_not_stall() {
        let mut adaptive = Adaptive::new(1000);
        assert!(adaptive.delivered(0, 32));
        assert!(!adaptive.delivered(10, 32), "told once");
        assert_eq!(adaptive.look(4999), Some(5000));
        assert_eq!(adaptive.look(5000), None);
        assert_eq!(adaptive.window(), 64);
        adaptive.delivered(6000, 64);
        for _ in 0..32 {
            adaptive.acknowledged(9000, 1);
        }
        assert_eq!(adaptive.window(), 1000, "half a window in one go");
    }

    #[test]
    fn one_message_is_no_batch() {
        let mut adaptive = Adaptive::new(1000);
        for round in 1..10 {
            adaptive.acknowledged(round * 3000, 1);
        }
        assert_eq!(adaptive.window(), 1);
    }
}

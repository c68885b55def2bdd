//! SENDs that wait for space, and what must wait behind them (SND-5).
//!
//! The frames are kept as they came and are read again when there is space, so that a parked frame takes
//! the same way as any other. Frames for other destinations, and acknowledgements outside the transactions
//! concerned, pass by.

use std::collections::VecDeque;

/// What a parked frame holds back: later frames with the same key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ParkKey {
    /// Sends to a destination, as it was written.
    Destination(String),
    /// Everything of a transaction.
    Transaction(String),
}

/// Frames in waiting, oldest first.
#[derive(Debug, Default)]
pub(super) struct Parked {
    frames: VecDeque<(ParkKey, Vec<u8>)>,
    bytes: usize,
}

impl Parked {
    pub(super) fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// Whether frames with `key` must wait.
    pub(super) fn holds_back(&self, key: &ParkKey) -> bool {
        self.frames.iter().any(|(held, _)| held == key)
    }

    /// Whether one more frame is beyond the bounds; the first one always fits.
    pub(super) fn is_full(&self, frames_max: usize, bytes_max: usize) -> bool {
        self.frames.len() >= frames_max || self.bytes >= bytes_max
    }

    pub(super) fn push(&mut self, key: ParkKey, frame: &[u8]) {
        self.bytes += frame.len();
        self.frames.push_back((key, frame.to_vec()));
    }

    /// Octets of the frames in waiting.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// All frames, oldest first.
    pub(super) fn into_frames(self) -> impl Iterator<Item = Vec<u8>> {
        self.frames.into_iter().map(|(_, frame)| frame)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holds_back_its_own_and_lets_others_pass() {
        let a = ParkKey::Destination("/queue/a".into());
        let b = ParkKey::Destination("/queue/b".into());
        let mut parked = Parked::default();
        parked.push(a.clone(), b"1234");
        assert!(parked.holds_back(&a) && !parked.holds_back(&b));
        assert!(parked.is_full(1, 100) && parked.is_full(10, 4) && !parked.is_full(10, 5));
        parked.push(b, b"5");
        assert!(parked.into_frames().eq([b"1234".to_vec(), b"5".to_vec()]));
    }
}

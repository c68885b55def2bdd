//! SENDs that wait for space, and what must wait behind them (SND-5): the line they stand in.
//!
//! The frames are kept as they came and are read again when there is space, so that a parked frame takes
//! the same way as any other. Frames for other destinations, and acknowledgements outside the transactions
//! concerned, pass by. What is done with them stands in `parking.rs`.

use std::collections::VecDeque;

use crate::broker::governor::{Cause, Resource};
use crate::engine::governor::Wait;

/// What a parked frame holds back: later frames with the same key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ParkKey {
    /// Sends to a destination, as it was written.
    Destination(String),
    /// Everything of a transaction.
    Transaction(String),
}

/// A frame that waits.
#[derive(Debug)]
pub(super) struct ParkedFrame {
    pub(super) key: ParkKey,
    pub(super) octets: Vec<u8>,
    /// Whether it ends its transaction for good if it gets through.
    pub(super) commits: bool,
    /// When it is refused, in monotonic milliseconds.
    pub(super) fails_at_ms: Option<u64>,
}

/// What a wait is for, as far as it matters to who looks whether it is over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Lacks {
    pub(super) memory: bool,
    pub(super) store: bool,
    /// Something that nobody tells of when it is there.
    pub(super) other: bool,
}

impl Lacks {
    pub(super) fn of(causes: &[Cause]) -> Self {
        let mut lacks = Self::default();
        for cause in causes {
            match cause {
                Cause::Full(account) => match account.resource {
                    Resource::Memory => lacks.memory = true,
                    Resource::Store => lacks.store = true,
                    Resource::Temp => lacks.other = true,
                },
                _ => lacks.other = true,
            }
        }
        lacks
    }

    fn and(self, other: Self) -> Self {
        Self {
            memory: self.memory || other.memory,
            store: self.store || other.store,
            other: self.other || other.other,
        }
    }

    /// Whether some of it may not be lacking any more.
    fn may_have_come(self, full: Self) -> bool {
        self.other || self.memory && !full.memory || self.store && !full.store
    }
}

/// The frames with one key, as others see them.
struct Waiting {
    key: ParkKey,
    wait: Wait,
    lacks: Lacks,
    /// The first of what it waits for, for who is refused.
    cause: Cause,
    sends: u64,
    bytes: u64,
}

/// How often it is looked whether a wait is over of whose end nobody tells: often at first, then seldom.
const LOOK_MS_MIN: u64 = 20;
const LOOK_MS_MAX: u64 = 1000;

/// Frames in waiting, oldest first.
#[derive(Default)]
pub(super) struct Parked {
    frames: VecDeque<ParkedFrame>,
    bytes: usize,
    waiting: Vec<Waiting>,
}

impl Parked {
    pub(super) fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// Whether frames with `key` must wait.
    pub(super) fn holds_back(&self, key: &ParkKey) -> bool {
        self.frames.iter().any(|held| held.key == *key)
    }

    /// Whether one more frame is beyond the bounds; the first one always fits.
    pub(super) fn is_full(&self, frames_max: usize, bytes_max: usize) -> bool {
        self.frames.len() >= frames_max || self.bytes >= bytes_max
    }

    /// Adds a frame; `begin` begins the wait if it is the first with its key. Of what it waits for nothing is said if that is
    /// only the frames before it.
    pub(super) fn push(
        &mut self,
        frame: ParkedFrame,
        causes: Vec<Cause>,
        begin: impl FnOnce(Vec<Cause>) -> Wait,
    ) {
        let known = self.waiting.iter().position(|one| one.key == frame.key);
        let lacks = Lacks::of(&causes);
        let first = causes.first().cloned().unwrap_or(Cause::Behind);
        let at = known.unwrap_or_else(|| {
            self.waiting.push(Waiting {
                key: frame.key.clone(),
                wait: begin(causes.clone()),
                lacks,
                cause: first.clone(),
                sends: 0,
                bytes: 0,
            });
            self.waiting.len() - 1
        });
        let waiting = &mut self.waiting[at];
        if waiting.sends == 0 || first != Cause::Behind {
            (waiting.lacks, waiting.cause) = (lacks, first);
            if known.is_some() {
                waiting.wait.set_causes(causes);
            }
        }
        self.append(frame);
    }

    /// Adds a frame behind others with its key.
    pub(super) fn append(&mut self, frame: ParkedFrame) {
        let bytes = frame.octets.len();
        self.bytes += bytes;
        if let Some(waiting) = self.waiting.iter_mut().find(|one| one.key == frame.key) {
            waiting.sends += 1;
            waiting.bytes += bytes as u64;
        }
        self.frames.push_back(frame);
    }

    /// Octets of the frames in waiting.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Takes all frames out, oldest first, to see which go through. The waits go on until [`Parked::settle`].
    pub(super) fn take(&mut self) -> VecDeque<ParkedFrame> {
        self.bytes = 0;
        for waiting in &mut self.waiting {
            (waiting.sends, waiting.bytes) = (0, 0);
        }
        std::mem::take(&mut self.frames)
    }

    /// Takes the frames of a transaction out that is to be undone, unless its commit is among them.
    pub(super) fn take_undone(&mut self, key: &ParkKey) -> VecDeque<ParkedFrame> {
        let mut own = self.frames.iter().filter(|frame| frame.key == *key);
        if own.any(|frame| frame.commits) {
            return VecDeque::new();
        }
        let (own, others): (VecDeque<_>, VecDeque<_>) =
            self.take().into_iter().partition(|frame| frame.key == *key);
        for frame in others {
            self.append(frame);
        }
        own
    }

    /// Ends the waits that are over, and tells how much waits otherwise.
    pub(super) fn settle(&mut self, now_ms: u64) {
        self.waiting.retain_mut(|waiting| {
            waiting.wait.set_size(now_ms, waiting.sends, waiting.bytes);
            waiting.sends > 0
        });
    }

    /// Whether there is anything new for some frame: something it waits for may have come, or it is to be refused. `full` is
    /// what is known to be lacking.
    pub(super) fn has_news(&self, full: Lacks, now_ms: u64) -> bool {
        let mut waiting = self.waiting.iter();
        waiting.any(|waiting| waiting.lacks.may_have_come(full))
            || self.fails_at_ms().is_some_and(|at_ms| now_ms >= at_ms)
    }

    /// All that is waited for.
    pub(super) fn lacks(&self) -> Lacks {
        let each = self.waiting.iter().map(|waiting| waiting.lacks);
        each.fold(Lacks::default(), Lacks::and)
    }

    /// What a frame waits for.
    pub(super) fn cause(&self, key: &ParkKey) -> Option<&Cause> {
        let found = self.waiting.iter().find(|waiting| waiting.key == *key);
        found.map(|waiting| &waiting.cause)
    }

    fn fails_at_ms(&self) -> Option<u64> {
        self.frames
            .iter()
            .filter_map(|frame| frame.fails_at_ms)
            .min()
    }

    /// When to look again without having been woken.
    pub(super) fn next_look_ms(&self, now_ms: u64) -> Option<u64> {
        let look_ms = self.waiting.iter().map(|waiting| {
            let waited_ms = now_ms.saturating_sub(waiting.wait.since_ms());
            let pause_ms = match waiting.lacks.other {
                true => (waited_ms / 4).clamp(LOOK_MS_MIN, LOOK_MS_MAX),
                false => LOOK_MS_MAX,
            };
            now_ms + pause_ms
        });
        look_ms.chain(self.fails_at_ms()).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::governor::Account;
    use crate::engine::governor::{Subject, Waits};
    use std::sync::Arc;

    fn key(name: &str) -> ParkKey {
        ParkKey::Destination(name.to_owned())
    }

    fn full(resource: Resource) -> Cause {
        Cause::Full(Account {
            resource,
            used_bytes: 1,
            limit_bytes: Some(1),
            is_full: true,
            reason: None,
        })
    }

    fn park(parked: &mut Parked, waits: &Arc<Waits>, name: &str, octets: &[u8], causes: &[Cause]) {
        let frame = ParkedFrame {
            key: key(name),
            octets: octets.to_vec(),
            commits: false,
            fails_at_ms: None,
        };
        let subject = Subject {
            origin: 1,
            connection: None,
            destinations: Vec::new(),
            transaction: None,
            warning_interval_ms: 0,
        };
        parked.push(frame, causes.to_vec(), |causes| {
            waits.begin(1000, subject, causes)
        });
    }

    #[test]
    fn holds_back_its_own_and_lets_others_pass() {
        let waits = Arc::default();
        let mut parked = Parked::default();
        park(&mut parked, &waits, "a", b"1234", &[full(Resource::Store)]);
        assert!(parked.holds_back(&key("a")) && !parked.holds_back(&key("b")));
        assert!(parked.is_full(1, 100) && parked.is_full(10, 4) && !parked.is_full(10, 5));
        park(&mut parked, &waits, "b", b"5", &[full(Resource::Store)]);
        park(&mut parked, &waits, "a", b"67", &[Cause::Behind]);
        parked.settle(1010);
        let sizes = waits
            .reports(1010)
            .into_iter()
            .map(|one| (one.sends, one.bytes));
        assert!(sizes.eq([(2, 6), (1, 1)]));
        let frames = parked.take().into_iter().map(|frame| frame.octets);
        assert!(frames.eq([b"1234".to_vec(), b"5".to_vec(), b"67".to_vec()]));
        parked.settle(1020);
        assert!(waits.is_empty() && parked.bytes() == 0);
    }

    #[test]
    fn a_wait_for_two_things_is_not_over_with_the_first() {
        let waits = Arc::default();
        let mut parked = Parked::default();
        let both = [full(Resource::Memory), full(Resource::Store)];
        park(&mut parked, &waits, "a", b"1", &both);
        let of = |memory, store| Lacks {
            memory,
            store,
            other: false,
        };
        // Looked at again with each of both, so that what is left is known.
        for (full, has_news) in [
            (of(true, true), false),
            (of(true, false), true),
            (of(false, true), true),
            (of(false, false), true),
        ] {
            assert_eq!(parked.has_news(full, 1000), has_news, "{full:?}");
        }
        // What comes behind says nothing of it; what is found the next time does.
        park(&mut parked, &waits, "a", b"2", &[Cause::Behind]);
        assert_eq!(parked.lacks(), of(true, true));
        drop(parked.take());
        park(&mut parked, &waits, "a", b"1", &[full(Resource::Store)]);
        assert_eq!(parked.lacks(), of(false, true));
        assert_eq!(waits.reports(1000)[0].causes, [full(Resource::Store)]);
        assert_eq!(parked.next_look_ms(1000), Some(2000));
        // Other keys do not wait for this one.
        park(&mut parked, &waits, "b", b"1", &[full(Resource::Memory)]);
        assert!(parked.has_news(of(false, true), 1000));
    }

    #[test]
    fn a_frame_fails_at_its_time() {
        let waits = Arc::default();
        let mut parked = Parked::default();
        park(&mut parked, &waits, "a", b"1", &[full(Resource::Store)]);
        parked.frames[0].fails_at_ms = Some(1500);
        let store = Lacks {
            store: true,
            ..Lacks::default()
        };
        assert!(!parked.has_news(store, 1499) && parked.has_news(store, 1500));
        assert_eq!(parked.next_look_ms(1000), Some(1500));
    }
}

//! Duplicate detection: the ids of the messages a destination took last, so that one that comes again is known (SND-6).
//!
//! - An id is a fingerprint of fixed size; what it is made of is the business of the wire. So the memory of a window is
//!   bounded by its number of ids, however long the client's own are.
//! - Asking changes nothing; an id is remembered when its message has been taken. Who asks and then remembers keeps the
//!   window to himself meanwhile.
//! - The window never goes back in time: an id is as old as the newest before it, if the clock was set back.

use std::collections::{HashSet, VecDeque};

use blake2::Blake2s;
use blake2::digest::consts::U16;
use blake2::digest::{FixedOutput, Update};

/// What tells a message from all others that are sent to its destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DedupId(pub u128);

impl DedupId {
    /// The fingerprint of a client's own id; `kind` keeps the ids of different wires apart.
    #[must_use]
    pub fn of(kind: u8, id: &[u8]) -> Self {
        let mut hash = Blake2s::<U16>::default();
        Update::update(&mut hash, &[kind]);
        Update::update(&mut hash, id);
        Self(u128::from_le_bytes(hash.finalize_fixed().into()))
    }
}

/// How much a window remembers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DedupLimits {
    /// The newest so many ids; 0: none, duplicates are not looked for.
    pub ids_max: u32,
    /// Milliseconds after which an id is forgotten; 0: only newer ones push it out.
    pub age_max_ms: u64,
}

impl Default for DedupLimits {
    fn default() -> Self {
        Self {
            ids_max: 20_000,
            age_max_ms: 600_000,
        }
    }
}

impl DedupLimits {
    /// Whether duplicates are looked for.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.ids_max > 0
    }

    fn is_old(&self, time_ms: u64, now_ms: u64) -> bool {
        self.age_max_ms > 0 && time_ms.saturating_add(self.age_max_ms) <= now_ms
    }
}

/// What an id costs in memory: its place in the order and among the known ones, and what the journal remembers of it.
const ID_BYTES: u64 = 112;

/// The ids a destination took last.
#[derive(Debug, Default)]
pub struct Window {
    limits: DedupLimits,
    /// `None` if there are none: most destinations are sent messages without ids.
    ids: Option<Box<Ids>>,
}

#[derive(Debug, Default)]
struct Ids {
    /// Oldest first, with the time each was taken.
    order: VecDeque<(u64, DedupId)>,
    known: HashSet<DedupId>,
}

impl Window {
    /// An empty window.
    #[must_use]
    pub fn new(limits: DedupLimits) -> Self {
        Self {
            limits,
            ..Self::default()
        }
    }

    /// How much it remembers.
    #[must_use]
    pub fn limits(&self) -> DedupLimits {
        self.limits
    }

    /// Changes that; what is beyond it is forgotten at once.
    pub fn set_limits(&mut self, limits: DedupLimits) {
        self.limits = limits;
        self.shrink();
    }

    /// Tells of each of these ids, in order, whether its message comes again: after one of the window, or after one
    /// before it here.
    pub fn come_again(
        &mut self,
        now_ms: u64,
        ids: impl ExactSizeIterator<Item = DedupId>,
    ) -> Vec<bool> {
        if !self.limits.is_on() {
            return vec![false; ids.len()];
        }
        self.expire(now_ms);
        let mut here = HashSet::with_capacity(ids.len());
        let known = self.ids.as_ref().map(|ids| &ids.known);
        let is_known = |id| known.is_some_and(|known| known.contains(&id));
        ids.map(|id| is_known(id) || !here.insert(id)).collect()
    }

    /// The time of an id that is taken now.
    #[must_use]
    pub fn time_ms(&self, now_ms: u64) -> u64 {
        let newest = self.ids.as_ref().and_then(|ids| ids.order.back());
        newest.map_or(now_ms, |(newest_ms, _)| now_ms.max(*newest_ms))
    }

    /// Remembers an id whose message was taken at `time_ms` ([`Window::time_ms`]). Nothing if it is known.
    pub fn remember(&mut self, time_ms: u64, id: DedupId) {
        if !self.limits.is_on() {
            return;
        }
        let ids = self.ids.get_or_insert_default();
        if ids.known.insert(id) {
            ids.order.push_back((time_ms, id));
            self.shrink();
        }
    }

    /// Forgets what is too old.
    pub fn expire(&mut self, now_ms: u64) {
        let Some(ids) = &mut self.ids else { return };
        while let Some((time_ms, _)) = ids.order.front()
            && self.limits.is_old(*time_ms, now_ms)
        {
            ids.forget_oldest();
        }
        if ids.order.is_empty() {
            self.ids = None;
        }
    }

    /// How many ids it remembers.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ids.as_ref().map_or(0, |ids| ids.order.len())
    }

    /// Whether it remembers none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Octets of memory it takes.
    #[must_use]
    pub fn held_bytes(&self) -> u64 {
        self.len() as u64 * ID_BYTES
    }

    fn shrink(&mut self) {
        let Some(ids) = &mut self.ids else { return };
        while ids.order.len() > self.limits.ids_max as usize {
            ids.forget_oldest();
        }
    }
}

impl Ids {
    fn forget_oldest(&mut self) {
        if let Some((_, id)) = self.order.pop_front() {
            self.known.remove(&id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn limits(ids_max: u32, age_max_ms: u64) -> DedupLimits {
        DedupLimits {
            ids_max,
            age_max_ms,
        }
    }

    fn ask(window: &mut Window, now_ms: u64, ids: &[u128]) -> Vec<bool> {
        let ids: Vec<_> = ids.iter().map(|id| DedupId(*id)).collect();
        window.come_again(now_ms, ids.into_iter())
    }

    #[test]
    fn fingerprints_tell_ids_and_wires_apart() {
        assert_eq!(DedupId::of(1, b"a"), DedupId::of(1, b"a"));
        assert_ne!(DedupId::of(1, b"a"), DedupId::of(1, b"b"));
        assert_ne!(DedupId::of(1, b"a"), DedupId::of(2, b"a"));
    }

    #[test]
    fn asking_changes_nothing_and_counts_what_stands_before() {
        let mut window = Window::new(limits(10, 0));
        for _ in 0..2 {
            assert_eq!(ask(&mut window, 0, &[1, 2, 1]), [false, false, true]);
        }
        window.remember(0, DedupId(2));
        assert_eq!(ask(&mut window, 0, &[1, 2, 1]), [false, true, true]);
    }

    #[test]
    fn zero_ids_is_off_and_zero_time_is_without_end() {
        let mut window = Window::new(limits(0, 5));
        window.remember(0, DedupId(1));
        assert_eq!(ask(&mut window, 0, &[1, 1]), [false, false]);
        assert!(window.is_empty());
        window.set_limits(limits(1, 0));
        window.remember(0, DedupId(1));
        assert_eq!(ask(&mut window, u64::MAX, &[1]), [true]);
        window.set_limits(limits(0, 0));
        assert!(window.is_empty());
    }

    #[derive(Clone, Debug)]
    enum Op {
        /// Time goes on by so much; a clock may be set back.
        Time(i8),
        Send(Vec<u8>),
        Limits(u8, u8),
    }

    fn op() -> impl Strategy<Value = Op> {
        prop_oneof![
            (-3_i8..20).prop_map(Op::Time),
            prop::collection::vec(0_u8..12, 0..6).prop_map(Op::Send),
            (0_u8..8, 0_u8..40).prop_map(|(ids, age)| Op::Limits(ids, age)),
        ]
    }

    proptest! {
        /// Against a plain list that is searched from end to end.
        #[test]
        fn a_window_is_a_list_of_the_newest(ops in prop::collection::vec(op(), 0..80)) {
            let mut limits = limits(5, 30);
            let mut window = Window::new(limits);
            let mut list: Vec<(u64, u8)> = Vec::new();
            let mut now_ms = 1000_u64;
            for op in ops {
                match op {
                    Op::Time(step) => now_ms = now_ms.saturating_add_signed(step.into()),
                    Op::Limits(ids, age) => {
                        limits = self::limits(ids.into(), age.into());
                        window.set_limits(limits);
                    }
                    Op::Send(ids) => {
                        let wide: Vec<u128> = ids.iter().map(|id| u128::from(*id)).collect();
                        let again = ask(&mut window, now_ms, &wide);
                        // Old ones go from the front only, and time never goes back.
                        while list.first().is_some_and(|(time_ms, _)| limits.is_old(*time_ms, now_ms)) {
                            list.remove(0);
                        }
                        let before = list.clone();
                        for (at, (id, again)) in ids.iter().zip(again).enumerate() {
                            // What is pushed out within one batch still counts for the batch.
                            let known = before.iter().any(|(_, known)| known == id);
                            let known = known || ids[..at].contains(id);
                            prop_assert_eq!(again, known && limits.is_on());
                            if again {
                                continue;
                            }
                            let newest_ms = list.last().map_or(0, |(time_ms, _)| *time_ms);
                            window.remember(window.time_ms(now_ms), DedupId(u128::from(*id)));
                            if limits.is_on() {
                                list.push((now_ms.max(newest_ms), *id));
                            }
                            while list.len() > limits.ids_max as usize {
                                list.remove(0);
                            }
                        }
                    }
                }
                while list.len() > limits.ids_max as usize {
                    list.remove(0);
                }
                prop_assert_eq!(window.len(), list.len());
                prop_assert_eq!(window.held_bytes(), list.len() as u64 * ID_BYTES);
                let ids = window.ids.take().unwrap_or_default();
                let found: Vec<_> = ids.order.iter().map(|(time_ms, id)| (*time_ms, id.0)).collect();
                let wanted: Vec<_> = list.iter().map(|(time_ms, id)| (*time_ms, u128::from(*id))).collect();
                prop_assert_eq!(found, wanted);
                prop_assert_eq!(ids.known.len(), list.len());
                window.ids = Some(ids);
            }
        }
    }
}

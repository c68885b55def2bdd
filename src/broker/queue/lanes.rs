//! The messages that wait, in the order in which they go out: one lane, or ten by priority (PRE-8).
//!
//! A message keeps its [`Spot`] for as long as it is in the queue, so what returns takes its old place:
//! before everything of its priority that came later (RED-8).

use std::sync::Arc;

use crate::broker::delivery::Entry;
use crate::broker::log::Seen;
use crate::broker::message::{Locator, Message};
use crate::broker::outlet::Outlet;
use crate::broker::paging::{Lane, Lost, Paging, Spill};

/// Lanes of a queue that goes by priority.
pub(super) const LANES_MAX: usize = 10;

/// The place of a message in the order of a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Spot {
    /// 0 goes first.
    pub(super) lane: u8,
    /// Order of arrival within the lane.
    pub(super) sequence: u64,
}

impl Spot {
    /// Nothing lies before it.
    pub(super) const FIRST: Self = Self {
        lane: 0,
        sequence: 0,
    };

    /// The place right behind this one.
    pub(super) fn next(self) -> Self {
        Self {
            sequence: self.sequence + 1,
            ..self
        }
    }
}

/// What waits in a queue, delayed messages included.
#[derive(Debug)]
pub(super) struct Lanes {
    lanes: Vec<Lane>,
    len: usize,
    pub(super) paging: Paging,
}

impl Lanes {
    pub(super) fn new(prioritized: bool, window_bytes: u64) -> Self {
        Self {
            lanes: lanes(prioritized),
            len: 0,
            paging: Paging::new(window_bytes),
        }
    }

    /// How many messages wait.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether there is a lane for each priority.
    pub(super) fn is_prioritized(&self) -> bool {
        self.lanes.len() > 1
    }

    /// Changes between one lane and ten. Every message gets a new spot.
    pub(super) fn set_prioritized(&mut self, prioritized: bool) {
        if prioritized == self.is_prioritized() {
            return;
        }
        let old = std::mem::replace(&mut self.lanes, lanes(prioritized));
        self.len = 0;
        for mut lane in old {
            while let Some((sequence, entry)) = lane.log.pop_first() {
                self.insert(self.spot(sequence, &entry), entry);
            }
        }
    }

    /// Where `entry` belongs.
    pub(super) fn spot(&self, sequence: u64, entry: &Entry) -> Spot {
        spot(self.is_prioritized(), sequence, entry)
    }

    pub(super) fn contains(&self, spot: Spot) -> bool {
        self.lane(spot).log.contains(spot.sequence)
    }

    pub(super) fn get(&self, spot: Spot) -> Option<Seen<'_, Entry>> {
        self.lane(spot).log.get(spot.sequence)
    }

    pub(super) fn get_mut(&mut self, spot: Spot) -> Option<&mut Entry> {
        self.lanes[usize::from(spot.lane)]
            .log
            .get_mut(spot.sequence)
    }

    /// The first message at or behind the place that `from` gives for each lane.
    pub(super) fn first_from(&self, from: &[u64; LANES_MAX]) -> Option<Spot> {
        let mut lanes = (0..).zip(&self.lanes).zip(from);
        lanes.find_map(|((lane, waiting), from)| {
            let sequence = waiting.log.next_from(*from)?;
            Some(Spot { lane, sequence })
        })
    }

    /// The first message.
    pub(super) fn first(&self) -> Option<(Spot, Seen<'_, Entry>)> {
        let (number, lane) = (0..)
            .zip(&self.lanes)
            .find(|(_, lane)| !lane.log.is_empty())?;
        let sequence = lane.log.first()?;
        let entry = lane.log.get(sequence)?;
        let spot = Spot {
            lane: number,
            sequence,
        };
        Some((spot, entry))
    }

    /// The first message at or behind `spot`.
    pub(super) fn next_from(&self, spot: Spot) -> Option<Spot> {
        let mut from = [0; LANES_MAX];
        from[..usize::from(spot.lane)].fill(u64::MAX);
        from[usize::from(spot.lane)] = spot.sequence;
        self.first_from(&from)
    }

    /// Notes that a message comes into the queue, to wait or not.
    pub(super) fn joined(&mut self, spot: Spot, bytes: u64) {
        self.lanes[usize::from(spot.lane)].joined(spot.sequence, bytes, &mut self.paging);
    }

    pub(super) fn insert(&mut self, spot: Spot, entry: Entry) {
        self.lanes[usize::from(spot.lane)].insert(spot.sequence, entry);
        self.len += 1;
    }

    pub(super) fn remove(&mut self, spot: Spot) -> Option<Entry> {
        let entry = self.lanes[usize::from(spot.lane)].remove(spot.sequence)?;
        self.len -= 1;
        Some(entry)
    }

    /// The message that waits at `sequence`, in whichever lane.
    pub(super) fn find(&self, sequence: u64) -> Option<Spot> {
        let mut lanes = (0..).zip(&self.lanes);
        let (lane, _) = lanes.find(|(_, lane)| lane.log.contains(sequence))?;
        Some(Spot { lane, sequence })
    }

    /// The message that would be missed least: the oldest of the lowest priority.
    pub(super) fn least(&self) -> Option<Spot> {
        let mut lanes = (0..).zip(&self.lanes).collect::<Vec<_>>().into_iter().rev();
        lanes.find_map(|(lane, waiting)| {
            let sequence = waiting.log.first()?;
            Some(Spot { lane, sequence })
        })
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, Seen<'_, Entry>)> {
        self.lanes.iter().flat_map(|lane| lane.log.iter())
    }

    /// Changes how many octets at the head stay in memory.
    pub(super) fn set_window_bytes(&mut self, window_bytes: u64) {
        if self.paging.set_window_bytes(window_bytes) {
            for lane in &mut self.lanes {
                lane.narrow(&self.paging);
            }
        }
    }

    /// See [`Lane::page_out`]; what goes out last leaves memory first.
    pub(super) fn page_out(&mut self) {
        if self.paging.pressing().is_none() {
            return;
        }
        for lane in self.lanes.iter_mut().rev() {
            lane.page_out(&mut self.paging);
        }
    }

    /// Whether some messages are not in memory and none is asked for.
    pub(super) fn has_paged(&self) -> bool {
        !self.paging.is_fetching() && self.lanes.iter().any(Lane::has_paged)
    }

    /// See [`Lane::let_go`].
    pub(super) fn let_go(&mut self, spot: Spot) {
        self.lanes[usize::from(spot.lane)].let_go(spot.sequence, &mut self.paging);
    }

    /// See [`Lane::fetch_ahead`].
    pub(super) fn fetch_ahead(&mut self, head: Spot, out: &mut impl Outlet) {
        self.lanes[usize::from(head.lane)].fetch_ahead(head.sequence, &mut self.paging, out);
    }

    /// See [`Lane::fetch_run`].
    pub(super) fn fetch_run(&mut self, from: Spot, out: &mut impl Outlet) {
        self.lanes[usize::from(from.lane)].fetch_run(from.sequence, &mut self.paging, out);
    }

    /// Takes a message that was asked back, or the news that it is lost; returns then where it was, and what.
    pub(super) fn loaded(
        &mut self,
        sequence: u64,
        mut message: Option<Arc<Message>>,
    ) -> Option<(Spot, Lost)> {
        self.paging.answered();
        for (number, lane) in (0..).zip(&mut self.lanes) {
            if let Some(lost) = lane.loaded(sequence, &mut message, &mut self.paging) {
                self.len -= usize::from(lost.is_some());
                let spot = Spot {
                    lane: number,
                    sequence,
                };
                return lost.map(|lost| (spot, lost));
            }
        }
        None
    }

    /// Begins to spill anew behind the first `window_bytes` in memory.
    pub(super) fn rewind_spill(&mut self, window_bytes: u64) {
        let lanes = self.lanes.iter_mut();
        lanes.fold(window_bytes, |left, lane| lane.rewind_spill(left));
    }

    /// See [`Lane::spill`]; what goes out last leaves memory first.
    pub(super) fn spill(&mut self, window_bytes: u64, spill: &mut Spill) -> bool {
        let mut going_bytes = 0;
        let mut lanes = self.lanes.iter_mut().rev();
        lanes.all(|lane| lane.spill(window_bytes, &mut going_bytes, &mut self.paging, spill))
    }

    /// See [`Lane::spilled`].
    pub(super) fn spilled(&mut self, sequence: u64, at: Locator, window_bytes: u64) -> bool {
        let mut lanes = self.lanes.iter_mut();
        lanes.any(|lane| lane.spilled(sequence, at, window_bytes, &mut self.paging))
    }

    fn lane(&self, spot: Spot) -> &Lane {
        &self.lanes[usize::from(spot.lane)]
    }
}

/// Where `entry` belongs in a queue that goes by priority, or does not.
pub(super) fn spot(prioritized: bool, sequence: u64, entry: &Entry) -> Spot {
    let lane = if prioritized { 9 - entry.priority() } else { 0 };
    Spot { lane, sequence }
}

fn lanes(prioritized: bool) -> Vec<Lane> {
    let count = if prioritized { LANES_MAX } else { 1 };
    (0..count).map(|_| Lane::default()).collect()
}

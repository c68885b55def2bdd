//! The way of a message along routes: to whom it comes, as it is or as a copy (VIR-1 to VIR-5).
//!
//! - A message comes to a destination once, however many ways lead there from where it was sent.
//! - Destinations nearer to that come first, and a copy follows [`HOPS_MAX`] routes at most, so circles end. Where all in a
//!   circle only forward, it stays with the last one, so that nothing is lost.
//! - A copy tells the destination the message was sent to, whatever it came by on the way.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use super::Engine;
use super::cell::{Cell, Machine};
use super::governor::NoRoom;
use super::policy::{Admission, Pending};
use super::routes::{Aware, Keeps, Route};
use crate::broker::Message;
use crate::broker::governor::Cause;
use crate::broker::policy::Usage;

/// Routes that a copy may follow (VIR-4).
pub const HOPS_MAX: usize = 8;

/// A message on its way to one destination. The same message to several stands several times in a row: it is stored once.
#[derive(Clone)]
pub struct Routed {
    /// The destination.
    pub cell: Arc<Cell>,
    /// The message.
    pub message: Arc<Message>,
    /// Where the destination has no room it is dropped, and nobody waits for it.
    pub may_drop: bool,
    /// From which of the destinations that the message was sent to it follows: their index.
    pub named: usize,
}

/// A destination that a message has come to.
struct Reached {
    cell: Arc<Cell>,
    hops: usize,
    tells_origin: bool,
    may_drop: bool,
}

/// What becomes of a message that is sent to a destination with routes.
pub(super) struct Spread {
    /// Whether the destination itself gets it.
    pub(super) kept: bool,
    /// Who else does.
    pub(super) copies: Vec<Routed>,
}

impl Engine {
    /// Where a message for `cells` goes in the end.
    #[must_use]
    pub fn spread(&self, cells: &[Arc<Cell>], message: Message) -> Vec<Routed> {
        let message = Arc::new(message);
        let mut all = Vec::with_capacity(cells.len());
        let mut copies = Vec::new();
        for (named, cell) in cells.iter().enumerate() {
            let kept = !cell.routes.is_any() || {
                let spread = self.spread_from(cell, &message);
                copies.extend(
                    spread
                        .copies
                        .into_iter()
                        .map(|copy| Routed { named, ..copy }),
                );
                spread.kept
            };
            if kept {
                all.push(Routed {
                    cell: Arc::clone(cell),
                    message: Arc::clone(&message),
                    may_drop: false,
                    named,
                });
            }
        }
        all.append(&mut copies);
        all
    }

    /// What becomes of a message that is sent to `origin`.
    pub(super) fn spread_from(&self, origin: &Arc<Cell>, message: &Arc<Message>) -> Spread {
        let copy = Arc::new(message.routed_from(&origin.destination));
        let mut spread = Spread {
            kept: true,
            copies: Vec::new(),
        };
        let mut known = HashSet::from([Arc::as_ptr(origin)]);
        let mut next = VecDeque::from([Reached {
            cell: Arc::clone(origin),
            hops: 0,
            tells_origin: false,
            may_drop: false,
        }]);
        let mut untold = Vec::new();
        // Where a circle has closed.
        let mut closed = None;
        while let Some(reached) = next.pop_front() {
            let arriving = if reached.tells_origin { &copy } else { message };
            let (mut taken, mut goes_on) = (false, false);
            let kept = self.follow(&reached, arriving, |route| {
                taken = true;
                if known.insert(Arc::as_ptr(&route.to)) {
                    goes_on = true;
                    next.push_back(Reached {
                        cell: Arc::clone(&route.to),
                        hops: reached.hops + 1,
                        tells_origin: reached.tells_origin || route.tells_origin,
                        may_drop: route.may_drop,
                    });
                }
            });
            let arrived = Routed {
                message: Arc::clone(arriving),
                cell: reached.cell,
                may_drop: reached.may_drop,
                named: 0,
            };
            if reached.hops == 0 {
                spread.kept = kept;
            } else if kept {
                // Those that are the same message stand together.
                match reached.tells_origin {
                    true => spread.copies.push(arrived),
                    false => untold.push(arrived),
                }
                continue;
            }
            if !kept && taken && !goes_on {
                closed = Some((reached.hops, arrived));
            }
        }
        untold.append(&mut spread.copies);
        spread.copies = untold;
        // All only forward, and to each other: it must not get lost.
        if let (false, true, Some((hops, last))) = (spread.kept, spread.copies.is_empty(), closed) {
            match hops {
                0 => spread.kept = true,
                _ => spread.copies.push(last),
            }
        }
        spread
    }

    /// Calls `take` for each route that `message` takes from where it has come to; returns whether it stays there too.
    fn follow(&self, at: &Reached, message: &Message, mut take: impl FnMut(&Route)) -> bool {
        if at.hops >= HOPS_MAX || !at.cell.routes.is_any() {
            return true;
        }
        let mut kept = true;
        for branch in at.cell.routes.list().iter() {
            let mut matched = false;
            for route in &branch.routes {
                if self.takes(route, message) {
                    matched = true;
                    take(route);
                }
            }
            kept &= match branch.keeps {
                Keeps::Always => true,
                Keeps::Never => false,
                Keeps::Unmatched => !matched,
            };
        }
        kept
    }

    fn takes(&self, route: &Route, message: &Message) -> bool {
        let filter = route.filter.as_ref();
        if !filter.is_none_or(|filter| filter.matches(message, 0, false)) {
            return false;
        }
        let Some(aware) = route.aware else {
            return true;
        };
        let wanted = match &route.to.lock().machine {
            Machine::Queue(queue) => queue.is_wanted(message),
            Machine::Topic(_) => true,
        };
        let remembers = matches!(aware, Aware::Remembered { .. });
        wanted || remembers && self.selectors.want(&route.to.destination, message)
    }

    /// Whether all these may come to where they go, while what `pending` says of a destination is on its way there. If
    /// not, none may; those that may be dropped are dropped instead. Who has waited does not wait again.
    #[must_use]
    pub fn admit(
        &self,
        sends: &mut Vec<Routed>,
        has_waited: bool,
        pending: impl Fn(&Cell) -> Usage,
    ) -> Admission {
        match self.weigh(sends, &[], pending) {
            Ok(mut weighed) if !has_waited && !weighed.waits.is_empty() => {
                Admission::Wait(weighed.waits.swap_remove(0))
            }
            Ok(weighed) => {
                drop_copies(sends, &weighed.no_room);
                Admission::Open
            }
            Err(refused) => Admission::Refused(refused),
        }
    }

    /// Looks whether there is room for those that are not `gone` anyway, without taking any out.
    ///
    /// # Errors
    /// One of them is refused, for this reason.
    pub(super) fn weigh(
        &self,
        sends: &[Routed],
        gone: &[bool],
        pending: impl Fn(&Cell) -> Usage,
    ) -> Result<Weighed, NoRoom> {
        let mut weighed = Weighed::default();
        if !sends.iter().any(|send| send.cell.is_limited()) {
            return Ok(weighed);
        }
        let mut own = Pending::default();
        for (at, send) in sends.iter().enumerate() {
            if gone.get(at) == Some(&true) {
                continue;
            }
            let Routed { cell, message, .. } = send;
            let on_its_way = || pending(cell).and(own.of(cell));
            let bytes = message.memory_bytes();
            match self.admission(cell, bytes, message.is_persistent(), on_its_way) {
                Admission::Open => {}
                _ if send.may_drop => {
                    weighed.no_room.push(at);
                    continue;
                }
                Admission::Wait(cause) => weighed.waits.push(cause),
                Admission::Refused(refused) => return Err(refused),
            }
            own.add(cell, message);
        }
        Ok(weighed)
    }
}

/// What there is room for.
#[derive(Default)]
pub(super) struct Weighed {
    /// Places of those that are dropped for want of room, in order.
    pub(super) no_room: Vec<usize>,
    /// What producers of some of the others have to wait for.
    pub(super) waits: Vec<Cause>,
}

/// Takes those out that find no room.
fn drop_copies(sends: &mut Vec<Routed>, no_room: &[usize]) {
    let mut no_room = no_room.iter().copied().peekable();
    let mut at = 0;
    sends.retain(|send| {
        let stays = no_room.next_if_eq(&at).is_none();
        at += 1;
        if !stays {
            send.cell.routes.count_dropped(&send.cell.destination);
        }
        stays
    });
}

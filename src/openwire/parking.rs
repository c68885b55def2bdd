//! Parking: commands for which there is no room wait, and go on in their order when there is (SND-5, USE-5).

use std::sync::Arc;

use ferrymq_protocols::openwire::commands::Command;

use super::adapter::{State, Step};
use super::parked::ParkedCommand;
use super::reply::Failure;
use crate::broker::governor::Cause;
use crate::engine::cell::Cell;
use crate::engine::governor::{NoRoom, no_space};
use crate::session::Session;
use crate::session::link::Next;

/// A command that has to wait.
pub(super) struct Parking<'a> {
    pub(super) command: Command,
    /// Where it would go.
    pub(super) cells: &'a [Arc<Cell>],
    /// Its transaction.
    pub(super) transaction: Option<String>,
    /// What stands in its way.
    pub(super) causes: Vec<Cause>,
}

impl State {
    /// Keeps a command until there is room.
    ///
    /// # Errors
    /// It has waited for as long as it may.
    pub(super) fn park(
        &mut self,
        session: &Session,
        parking: Parking<'_>,
    ) -> Result<Step, Failure> {
        let Parking {
            command,
            cells,
            transaction,
            causes,
        } = parking;
        let now_ms = session.engine.clock.monotonic_ms();
        let (mut patience_ms, mut interval_ms) = (u64::MAX, u64::MAX);
        for limits in cells.iter().map(|cell| cell.limits()) {
            // The strictest counts; 0 is for ever.
            let least = |known: u64, ms: u64| if ms == 0 { known } else { known.min(ms) };
            patience_ms = least(patience_ms, limits.fails_after_ms);
            interval_ms = least(interval_ms, limits.warning_interval_ms);
        }
        let since_ms = self.replayed_since_ms.unwrap_or(now_ms);
        if now_ms - since_ms >= patience_ms {
            let why = "it has waited for as long as sendFailIfNoSpaceAfterTimeout lets it";
            let cause = causes.first().unwrap_or(&Cause::Behind);
            return Err(Failure::resources(no_space(cause, why)));
        }
        if self.replayed_since_ms.is_none() {
            for cause in &causes {
                session.reports_full(cells, cause.usage(), cause.percent());
            }
        }
        let interval_ms = if interval_ms == u64::MAX {
            0
        } else {
            interval_ms
        };
        let about = cells.iter().map(|cell| cell.id.0).collect();
        self.parked.set_causes(about, causes, |causes| {
            session.begin_wait(cells, transaction, interval_ms, causes)
        });
        let parked = ParkedCommand { command, since_ms };
        if self.replayed_since_ms.is_some() {
            self.parked.put_back(parked);
            return Ok(Step::Answered);
        }
        self.parked.push(parked);
        self.parked.settle(now_ms);
        self.wait_for_room(session);
        Ok(Step::Answered)
    }

    /// Carries parked commands out, oldest first, while there is space.
    pub(super) fn replay(&mut self, session: &mut Session) -> Next {
        if self.parked.is_empty() {
            return Next::Read;
        }
        session.look_at_clock();
        while let Some(oldest) = self.parked.take() {
            let behind = self.parked.len();
            self.replayed_since_ms = Some(oldest.since_ms);
            let next = self.carry_out(session, oldest.command);
            self.replayed_since_ms = None;
            if let Next::Close(_) = next {
                return next;
            }
            if self.parked.len() > behind {
                // It still has to wait, and so do those behind it.
                break;
            }
        }
        session.hand_over();
        let now_ms = session.engine.clock.monotonic_ms();
        self.parked.settle(now_ms);
        self.wait_for_room(session);
        self.wait_or_read()
    }

    fn wait_for_room(&self, session: &Session) {
        let (memory, store) = self.parked.lacks();
        session.wait_for_room(memory, store);
    }
}

/// Refuses a message for want of room, and tells those who want to know.
pub(super) fn refused(session: &Session, cells: &[Arc<Cell>], no_room: &NoRoom) -> Failure {
    session.reports_full(cells, no_room.cause.usage(), no_room.cause.percent());
    Failure::resources(no_room.to_string())
}

//! Parking: frames for which there is no room wait, and go on when there is, each in its old order (SND-5, USE-5, USE-7).

use std::sync::Arc;

use bytes::Bytes;
use ferrymq_protocols::stomp::{ClientCommand, Decoder, Frame};

use super::adapter::{State, Step};
use super::parked::{Lacks, ParkKey, ParkedFrame};
use super::reply::Refusal;
use crate::broker::governor::Cause;
use crate::broker::policy::Limits;
use crate::engine::cell::Cell;
use crate::engine::governor::no_space;
use crate::session::Session;

/// A parked frame that is read again.
#[derive(Clone, Copy)]
pub(super) struct Replay {
    /// When it is refused, in monotonic milliseconds.
    fails_at_ms: Option<u64>,
    /// It goes through whatever is full: what it takes is given back at once.
    forced: bool,
}

/// A frame that has to wait.
pub(super) struct Parking<'a> {
    /// What it holds back.
    pub(super) key: ParkKey,
    /// The frame as it came.
    pub(super) raw: &'a [u8],
    /// Where it would go.
    pub(super) cells: &'a [Arc<Cell>],
    /// What stands in its way.
    pub(super) causes: Vec<Cause>,
    /// Whether it is a COMMIT.
    pub(super) commits: bool,
}

/// How long a producer may wait that sends to all of these, and how often that is told: the strictest of their policies
/// counts.
fn patience(cells: &[Arc<Cell>]) -> (Option<u64>, u64) {
    let limits: Vec<Limits> = cells.iter().map(|cell| cell.limits()).collect();
    let least = |each: fn(&Limits) -> u64| limits.iter().map(each).filter(|ms| *ms > 0).min();
    let interval_ms = least(|limits| limits.warning_interval_ms);
    (
        least(|limits| limits.fails_after_ms),
        interval_ms.unwrap_or(0),
    )
}

impl State {
    /// Whether a frame that is read again has to find room like any other.
    pub(super) fn is_forced(&self) -> bool {
        self.replay.is_some_and(|replay| replay.forced)
    }

    /// Commands of a transaction with a parked frame wait behind it. An ABORT does not: it lets them through, as it gives back
    /// at once what they take.
    pub(super) fn park_behind(
        &mut self,
        session: &mut Session,
        command: &ClientCommand<'_>,
        raw: &[u8],
    ) -> Result<Option<Step>, Refusal> {
        if self.parked.is_empty() {
            return Ok(None);
        }
        let transaction = match command {
            ClientCommand::Begin(command)
            | ClientCommand::Commit(command)
            | ClientCommand::Abort(command) => Some(&command.transaction),
            ClientCommand::Ack(ack) | ClientCommand::Nack(ack) => ack.transaction.as_ref(),
            _ => None,
        };
        let Some(transaction) = transaction else {
            return Ok(None);
        };
        let key = ParkKey::Transaction(transaction.to_string());
        if matches!(command, ClientCommand::Abort(_)) {
            self.let_through(session, &key);
        }
        if !self.parked.holds_back(&key) {
            return Ok(None);
        }
        let parking = Parking {
            key,
            raw,
            cells: &[],
            causes: vec![Cause::Behind],
            commits: matches!(command, ClientCommand::Commit(_)),
        };
        self.park(session, parking).map(Some)
    }

    /// Carries out what waits of a transaction that is undone next.
    fn let_through(&mut self, session: &mut Session, key: &ParkKey) {
        for frame in self.parked.take_undone(key) {
            let replay = Replay {
                fails_at_ms: None,
                forced: true,
            };
            self.read_parked(session, frame, replay);
        }
        let now_ms = session.engine.clock.monotonic_ms();
        self.parked.settle(now_ms);
    }

    /// Parks a frame, or stops reading if enough are parked.
    ///
    /// # Errors
    /// It has waited for as long as it may.
    pub(super) fn park(
        &mut self,
        session: &mut Session,
        parking: Parking<'_>,
    ) -> Result<Step, Refusal> {
        let Parking {
            key,
            raw,
            cells,
            causes,
            commits,
        } = parking;
        let now_ms = session.engine.clock.monotonic_ms();
        let (patience_ms, warning_interval_ms) = patience(cells);
        let fails_at_ms = match self.replay {
            Some(replay) => replay.fails_at_ms,
            None => patience_ms.map(|ms| now_ms + ms),
        };
        if fails_at_ms.is_some_and(|at_ms| now_ms >= at_ms) {
            let why = "it has waited for as long as sendFailIfNoSpaceAfterTimeout lets it";
            let cause = causes.first().unwrap_or(&Cause::Behind);
            return Err(Refusal::frame(no_space(cause, why)));
        }
        let (frames_max, bytes_max) = (
            self.settings.parked_frames_max,
            self.settings.parked_bytes_max,
        );
        // One that was parked before has its place.
        if self.replay.is_none() && self.parked.is_full(frames_max, bytes_max) {
            return Ok(Step::Hold);
        }
        let transaction = match &key {
            ParkKey::Transaction(id) => Some(id.clone()),
            ParkKey::Destination(_) => None,
        };
        let frame = ParkedFrame {
            key,
            octets: raw.to_vec(),
            commits,
            fails_at_ms,
        };
        let lacks = Lacks::of(&causes);
        self.parked.push(frame, causes, |causes| {
            session.begin_wait(cells, transaction, warning_interval_ms, causes)
        });
        if self.replay.is_none() {
            self.parked.settle(now_ms);
            session.wait_for_room(lacks.memory, lacks.store);
        }
        Ok(Step::Done)
    }

    /// Carries parked frames out, oldest first, as far as there is space. One that is refused may end the
    /// connection as any other (`stomp.close_on_error`); those behind it are dropped then.
    pub(super) fn replay(&mut self, session: &mut Session) -> Step {
        if self.parked.is_empty() {
            return Step::Done;
        }
        let now_ms = session.engine.clock.monotonic_ms();
        let full = Lacks {
            memory: session.engine.memory.is_full(),
            store: session.engine.is_store_full(),
            other: false,
        };
        if self.parked.has_news(full, now_ms) {
            session.look_at_clock();
            // Each goes through once more; what still has to wait joins a new line, in the old order.
            for frame in self.parked.take() {
                let overdue = frame.fails_at_ms.is_some_and(|at_ms| now_ms >= at_ms);
                if !overdue && self.parked.holds_back(&frame.key) {
                    self.parked.append(frame);
                    continue;
                }
                let replay = Replay {
                    fails_at_ms: frame.fails_at_ms,
                    forced: false,
                };
                if let Step::Close(ending) = self.read_parked(session, frame, replay) {
                    return Step::Close(ending);
                }
            }
            session.hand_over();
            self.parked.settle(now_ms);
        }
        // Woken, but others may have been quicker.
        let lacks = self.parked.lacks();
        session.wait_for_room(lacks.memory, lacks.store);
        Step::Done
    }

    fn read_parked(&mut self, session: &mut Session, frame: ParkedFrame, replay: Replay) -> Step {
        let mut step = Step::Done;
        let outer = self.replay.replace(replay);
        self.read_again(frame.octets, |state, frame, octets| {
            step = state.handle(session, frame, octets, octets);
        });
        self.replay = outer;
        step
    }

    /// Says of every parked frame that nothing came of it (CON-17).
    pub(super) fn refuse_parked(&mut self, session: &mut Session) {
        for frame in self.parked.take() {
            let cause = self.parked.cause(&frame.key).cloned();
            let text = no_space(&cause.unwrap_or(Cause::Behind), "the client disconnects");
            let refusal = Refusal::frame(text);
            self.read_again(frame.octets, |state, frame, _| {
                state.tell(session, &refusal, Some((frame.command, frame.headers)));
            });
        }
        let now_ms = session.engine.clock.monotonic_ms();
        self.parked.settle(now_ms);
    }

    /// Reads a frame again that was whole when it came.
    pub(super) fn read_again(
        &mut self,
        raw: Vec<u8>,
        f: impl FnOnce(&mut Self, &Frame<'_>, &Bytes),
    ) {
        let octets = Bytes::from(raw);
        let mut decoder = Decoder::new(self.settings.limits, self.settings.options);
        decoder.set_version(self.version);
        if let Ok(Some(frame)) = decoder.decode(&octets) {
            f(self, &frame, &octets);
        }
        // The next frame does not repeat this one.
        self.last_send = None;
    }
}

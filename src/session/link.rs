//! The loop of one connection: read what is there, let the adapter act on it, write what waits, keep time.
//!
//! One task does all of it. It holds a read buffer only while a frame is incomplete.

use std::io;
use std::sync::Arc;

use bytes::BytesMut;
use tokio::sync::{Notify, watch};

use super::Session;
use super::alarm::Alarm;
use crate::broker::Ending;
use crate::engine::buffers::READ_BYTES;

/// Reads in a row before others get their turn.
const READS_PER_TURN: usize = 8;
/// The same after a pause for consumers that fall behind.
const READS_AFTER_PAUSE: usize = 2;
/// How long a large frame waits for memory.
const STARVED_MS: u64 = 30_000;
/// How long a half-closed connection is still read, so that the peer sees what was written (ERR-4, CON-17).
const LINGER_MS: u64 = 2000;
/// How many octets it may still send. More than ERR-4 asks for: a client in the middle of a large body must
/// be able to read why (C316).
const LINGER_BYTES_MAX: usize = 4 * 1024 * 1024;
/// How long answers may take to drain to a peer that has closed its side.
const DRAIN_MS: u64 = 10_000;
/// The same when the broker is stopping, which itself may not take much longer.
const STOP_DRAIN_MS: u64 = 2000;

/// Both sides of a connection's octets.
pub trait Wire: Send + Sync {
    /// Waits until the wire can be read or written, as wanted.
    fn ready(&self, read: bool, write: bool) -> impl Future<Output = io::Result<()>> + Send;
    /// Reads what is there, without waiting; 0 at the end.
    ///
    /// # Errors
    /// `WouldBlock` if nothing is there; `InvalidData` if the peer breaks the rules of the wire: then the connection
    /// is closed in good order, and what is read meanwhile is thrown away; anything else ends it at once.
    fn try_read(&self, buffer: &mut BytesMut) -> io::Result<usize>;
    /// Ends the writing side.
    fn shutdown_write(&self);
}

impl<W: Wire> Wire for Arc<W> {
    fn ready(&self, read: bool, write: bool) -> impl Future<Output = io::Result<()>> + Send {
        W::ready(self, read, write)
    }

    fn try_read(&self, buffer: &mut BytesMut) -> io::Result<usize> {
        W::try_read(self, buffer)
    }

    fn shutdown_write(&self) {
        W::shutdown_write(self);
    }
}

/// What the adapter wants after it has seen some input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// More input.
    Read,
    /// No further frame before something happens: answers get synced, space comes free.
    Wait,
    /// The connection ends: what waits is written, then it is closed. `Orderly` after DISCONNECT.
    Close(Ending),
}

/// A protocol on a connection.
pub trait Adapter: Send {
    /// Acts on the frames in `input` and takes them off its front.
    fn input(&mut self, session: &mut Session, input: &mut BytesMut) -> Next;
    /// Whether nothing that came is still to be acted on.
    fn is_idle(&self) -> bool;
    /// Something has happened that the adapter may have waited for.
    fn woken(&mut self, session: &mut Session) -> Next;
    /// The next point of monotonic time at which [`Adapter::tick`] should run.
    fn deadline_ms(&self, session: &Session) -> Option<u64>;
    /// Keeps time: heart-beats, time-outs.
    fn tick(&mut self, session: &mut Session, now_ms: u64) -> Next;
    /// Octets came at `now_ms`.
    fn heard(&mut self, now_ms: u64);
    /// Octets that may still gather for this connection at the memory limit, so that what lies behind a large
    /// frame gets through (SND-5).
    fn bytes_at_limit(&self) -> u64;
    /// There is no memory for the rest of a frame of which `bytes` have come: says so to the client.
    fn starved(&mut self, session: &mut Session, bytes: u64);
    /// The broker is stopping: says so to the client.
    fn stopping(&mut self, session: &mut Session);
    /// The connection has ended, though octets may still flow: releases what is not the session's. May be
    /// called again.
    fn ended(&mut self, session: &mut Session);
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Both sides are open.
    Open,
    /// What waits is written until `until_ms`, then the connection ends; `linger` half-closes first.
    Draining {
        until_ms: u64,
        linger: bool,
    },
    /// Our side is closed; the peer's is read and thrown away.
    Lingering {
        until_ms: u64,
        rest: usize,
    },
    Ended,
}

/// A connection being served.
pub struct Link<W, A: Adapter> {
    wire: W,
    session: Session,
    adapter: A,
    buffer: Option<BytesMut>,
    phase: Phase,
    waiting: bool,
    alarm: Alarm,
    charged: u64,
    /// Not read before this time, because consumers fall behind.
    paced_until_ms: u64,
    /// It has just paused.
    paused: bool,
    /// Set while a large frame is not read further for want of memory: when patience ends.
    starved_until_ms: u64,
}

impl<W: Wire, A: Adapter> Link<W, A> {
    /// A connection at its start.
    pub fn new(wire: W, session: Session, adapter: A) -> Self {
        Self {
            wire,
            session,
            adapter,
            buffer: None,
            phase: Phase::Open,
            waiting: false,
            alarm: Alarm::default(),
            charged: 0,
            paced_until_ms: 0,
            paused: false,
            starved_until_ms: 0,
        }
    }

    /// Begins with octets that have been read already.
    #[must_use]
    pub fn with_input(mut self, input: BytesMut) -> Self {
        self.buffer = Some(input).filter(|input| !input.is_empty());
        self
    }

    /// Serves the connection to its end. `end` ends it from elsewhere, `stopping` with the broker.
    pub async fn serve(mut self, end: Arc<Notify>, mut stopping: watch::Receiver<bool>) {
        let outbox = Arc::clone(&self.session.outbox);
        let mut told = false;
        if self.buffer.is_some() {
            self.act();
            self.give_back();
            self.go_on();
        }
        while self.phase != Phase::Ended {
            let read = self.wants_read();
            let write = outbox.wants_writable();
            self.arm();
            let mut readable = false;
            tokio::select! {
                biased;
                () = end.notified() => { outbox.close(); }
                changed = stopping.changed(), if !told => {
                    told = true;
                    if changed.is_ok() { self.stop(); }
                }
                () = self.alarm.fired() => {}
                () = outbox.kicked() => {}
                outcome = self.wire.ready(read, write), if read || write => {
                    if outcome.is_err() { outbox.close(); }
                    readable = read;
                }
            }
            let more = readable && self.read();
            self.go_on();
            if more {
                // One that sends without a pause always finds something to read, and while its task runs on the thread that
                // waits for sockets, nobody else would hear of theirs.
                tokio::task::yield_now().await;
            }
        }
    }

    fn wants_read(&self) -> bool {
        match self.phase {
            Phase::Open => !self.waiting && self.paced_until_ms == 0 && self.starved_until_ms == 0,
            Phase::Lingering { .. } => true,
            Phase::Draining { .. } | Phase::Ended => false,
        }
    }

    /// Reads what is there and lets the adapter act on it. True if it is time for others and there may be more.
    fn read(&mut self) -> bool {
        let reads = if std::mem::take(&mut self.paused) {
            READS_AFTER_PAUSE
        } else {
            READS_PER_TURN
        };
        let mut left = 0..reads;
        for _ in left.by_ref() {
            let mut buffer = self
                .buffer
                .take()
                .unwrap_or_else(|| self.session.engine.buffers.lend_read());
            if buffer.capacity() - buffer.len() < READ_BYTES / 8 {
                // Grows with the octets that came, never from what a header promises.
                buffer.reserve(buffer.len().max(READ_BYTES));
            }
            let outcome = self.wire.try_read(&mut buffer);
            let now_ms = self.session.engine.clock.monotonic_ms();
            let room = buffer.capacity() > buffer.len();
            self.buffer = Some(buffer);
            match outcome {
                Ok(0) => {
                    self.end_of_input(now_ms);
                    break;
                }
                Ok(count) => {
                    self.adapter.heard(now_ms);
                    if let Phase::Lingering { until_ms, rest } = self.phase {
                        self.discard(until_ms, rest, count);
                    } else {
                        self.act();
                    }
                    if !self.wants_read() || (room && self.buffer.is_none()) {
                        break;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                    self.close(Ending::Died, true);
                    break;
                }
                Err(_) => {
                    self.session.outbox.close();
                    break;
                }
            }
        }
        self.give_back();
        let pause_ms = self.session.take_pause_ms();
        if pause_ms > 0 {
            self.paced_until_ms = self.session.engine.clock.monotonic_ms() + pause_ms;
            self.paused = true;
        }
        left.is_empty()
    }

    fn discard(&mut self, until_ms: u64, rest: usize, count: usize) {
        self.buffer = None;
        self.phase = match rest.checked_sub(count) {
            Some(rest) => Phase::Lingering { until_ms, rest },
            None => Phase::Ended,
        };
    }

    /// Lets the adapter act on what has been read.
    fn act(&mut self) {
        let Some(mut buffer) = self.buffer.take() else {
            return;
        };
        let next = self.adapter.input(&mut self.session, &mut buffer);
        self.buffer = Some(buffer);
        self.follow(next);
    }

    fn follow(&mut self, next: Next) {
        match next {
            Next::Read => self.waiting = false,
            Next::Wait => self.waiting = true,
            Next::Close(ending) => self.close(ending, true),
        }
    }

    /// The peer has closed its side: what was read has been acted on; answers due are still written (CON-18).
    fn end_of_input(&mut self, now_ms: u64) {
        match self.phase {
            Phase::Open => {
                self.session.outbox.stop_deliveries();
                self.session.hand_over();
                self.phase = Phase::Draining {
                    until_ms: now_ms + DRAIN_MS,
                    linger: false,
                };
            }
            _ => self.phase = Phase::Ended,
        }
    }

    fn close(&mut self, ending: Ending, linger: bool) {
        if self.phase != Phase::Open {
            return;
        }
        self.session.outbox.flush();
        self.session.close(ending);
        self.adapter.ended(&mut self.session);
        let now_ms = self.session.engine.clock.monotonic_ms();
        self.phase = Phase::Draining {
            until_ms: now_ms + DRAIN_MS,
            linger,
        };
    }

    fn stop(&mut self) {
        if self.phase == Phase::Open {
            self.session.outbox.stop_deliveries();
            self.adapter.stopping(&mut self.session);
            self.close(Ending::Orderly, true);
        }
        // Who does not read must not keep the broker from stopping in time.
        let latest_ms = self.session.engine.clock.monotonic_ms() + STOP_DRAIN_MS;
        if let Phase::Draining { until_ms, .. } = &mut self.phase {
            *until_ms = latest_ms.min(*until_ms);
        }
    }

    /// After any event: write, tell destinations, see who waited, keep time.
    fn go_on(&mut self) {
        let outbox = Arc::clone(&self.session.outbox);
        self.session.pump();
        let now_ms = self.session.engine.clock.monotonic_ms();
        if self.paced_until_ms > 0 && now_ms >= self.paced_until_ms {
            let on = self.session.engine.is_store_behind();
            self.paced_until_ms = if on { now_ms + 1 } else { 0 };
        }
        match self.phase {
            Phase::Open => self.act_on_events(now_ms),
            // What was parked when the peer closed its side still gets through.
            Phase::Draining { .. } if !self.adapter.is_idle() => {
                self.adapter.woken(&mut self.session);
            }
            _ => {}
        }
        if outbox.flush() {
            self.session.pump();
        }
        if outbox.is_closed() {
            self.phase = Phase::Ended;
        }
        self.account();
        self.look_for_memory(now_ms);
        self.advance(now_ms);
    }

    /// At the memory limit a frame that has grown large is not read further; without this, frames in progress
    /// alone could fill the memory. Patience is bounded, because it may be such frames that fill it.
    fn look_for_memory(&mut self, now_ms: u64) {
        let memory = &self.session.engine.memory;
        let within = self.charged <= self.adapter.bytes_at_limit();
        if self.phase != Phase::Open || within || !memory.is_full() {
            self.starved_until_ms = 0;
        } else if self.starved_until_ms > 0 && now_ms >= self.starved_until_ms {
            self.adapter.starved(&mut self.session, self.charged);
            self.close(Ending::Died, true);
        } else {
            if self.starved_until_ms == 0 {
                self.starved_until_ms = now_ms + STARVED_MS;
            }
            // Again after each wake-up: others may have been quicker.
            self.session.wait_for_room(true, false);
        }
    }

    /// Goes on with what waited, then looks at the clock.
    fn act_on_events(&mut self, now_ms: u64) {
        let waited = self.waiting;
        let next = self.adapter.woken(&mut self.session);
        self.follow(next);
        if waited && !self.waiting && self.phase == Phase::Open && self.buffer.is_some() {
            self.act();
            self.give_back();
        }
        let due = |at: u64| at <= now_ms;
        if self.phase == Phase::Open && self.adapter.deadline_ms(&self.session).is_some_and(due) {
            let next = self.adapter.tick(&mut self.session, now_ms);
            if let Next::Close(ending) = next {
                self.close(ending, true);
            }
        }
    }

    /// Moves a closing connection on.
    fn advance(&mut self, now_ms: u64) {
        let outbox = &self.session.outbox;
        match self.phase {
            Phase::Draining { until_ms, linger } => {
                let idle = self.adapter.is_idle() && !self.session.is_stalled();
                if (!outbox.watch_drained() || !idle) && now_ms < until_ms {
                    return;
                }
                if now_ms >= until_ms {
                    self.phase = Phase::Ended;
                    return;
                }
                if !linger {
                    // Who sees the end of the connection may count on it that what it held has returned.
                    self.session.close(Ending::Died);
                    self.adapter.ended(&mut self.session);
                    self.wire.shutdown_write();
                    self.phase = Phase::Ended;
                    return;
                }
                self.wire.shutdown_write();
                self.buffer = None;
                self.phase = Phase::Lingering {
                    until_ms: now_ms + LINGER_MS,
                    rest: LINGER_BYTES_MAX,
                };
            }
            Phase::Lingering { until_ms, .. } if now_ms >= until_ms => self.phase = Phase::Ended,
            _ => {}
        }
    }

    /// Counts a growing frame as memory in use.
    fn account(&mut self) {
        let held = self
            .buffer
            .as_ref()
            .map_or(0, |buffer| buffer.capacity() as u64);
        let held = if held > 2 * READ_BYTES as u64 {
            held
        } else {
            0
        };
        if held != self.charged {
            self.session.engine.memory.charge(held);
            self.session
                .engine
                .memory
                .release(std::mem::replace(&mut self.charged, held));
        }
    }

    /// An idle connection holds no buffer.
    fn give_back(&mut self) {
        if let Some(buffer) = self.buffer.take_if(|buffer| buffer.is_empty()) {
            self.session.engine.buffers.give_back_read(buffer);
        }
    }

    /// Arms the alarm for the nearest deadline, unless it fires early enough anyway.
    fn arm(&mut self) {
        let deadline_ms = match self.phase {
            Phase::Open => {
                let pauses = [self.paced_until_ms, self.starved_until_ms];
                self.adapter
                    .deadline_ms(&self.session)
                    .into_iter()
                    .chain(pauses.into_iter().filter(|until_ms| *until_ms > 0))
                    .min()
            }
            Phase::Draining { until_ms, .. } | Phase::Lingering { until_ms, .. } => Some(until_ms),
            Phase::Ended => None,
        };
        if let Some(deadline_ms) = deadline_ms {
            let now_ms = self.session.engine.clock.monotonic_ms();
            self.alarm.arm(deadline_ms, now_ms);
        }
    }
}

/// The connection has ended: in good order, by a panic of its adapter, or with the runtime. What it held
/// goes back in any case.
impl<W, A: Adapter> Drop for Link<W, A> {
    fn drop(&mut self) {
        self.session.close(Ending::Died);
        self.session.outbox.close();
        self.adapter.ended(&mut self.session);
        self.session.engine.memory.release(self.charged);
    }
}

#[cfg(test)]
mod tests;

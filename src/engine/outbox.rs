//! What waits to be written to one connection.
//!
//! Under one short lock: frames in order, as owned pieces and shared bodies; receipts that wait for their
//! sync (REC-1); marks that tell when an `auto` delivery has left (ACK-5). Whoever appended flushes: the
//! first one in writes straight to the socket for all who append meanwhile, so there is no task switch per
//! batch. Only when the socket is full does the connection's own task take over.
//!
//! Over `bytes_max` waiting octets the connection's subscriptions get no more credit until half has drained.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use ferrymq_store::Ticket;
use tokio::sync::Notify;

use super::Engine;
use super::buffers::{Buffers, PIECE_BYTES};
use super::cell::{Cell, Encoder};
use super::memory::Memory;
use crate::broker::slow::AbortCause;
use crate::broker::{Outgoing, SubscriptionKey};
use crate::clock::Clock;

/// Bodies from this size on are written from where they are instead of being copied.
const SHARED_BODY_BYTES: usize = 4096;
/// Pieces handed to one write call.
const PIECES_PER_WRITE: usize = 32;
/// Waiting octets are told to the memory account when they have changed by this much.
const ACCOUNT_STEP_BYTES: u64 = 16 * 1024;

/// The write side of a connection.
///
/// A socket that transforms octets (TLS, WebSocket) tells them as written only when all that it made of them has left;
/// until then it is offered them again and goes on where it was. So the outbox holds them, counts them, and knows when
/// an `auto` delivery has left, as with a plain socket.
pub trait Socket: Send + Sync {
    /// Writes what the socket takes now, without waiting.
    ///
    /// # Errors
    /// `WouldBlock` if it takes nothing; anything else ends the connection.
    fn try_write(&self, pieces: &[IoSlice<'_>]) -> io::Result<usize>;

    /// Whether it may leave the last frame of `pieces` for the next call because it has not seen its end. Otherwise
    /// whoever takes less than there is is full.
    fn takes_whole_frames(&self) -> bool {
        false
    }
}

impl<S: Socket> Socket for Arc<S> {
    fn try_write(&self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        S::try_write(self, pieces)
    }

    fn takes_whole_frames(&self) -> bool {
        S::takes_whole_frames(self)
    }
}

/// A subscription as an outbox knows it.
#[derive(Clone)]
pub struct Consumer {
    /// Its destination.
    pub cell: Arc<Cell>,
    /// Its key there.
    pub key: SubscriptionKey,
}

/// What a flush has found out about subscriptions, to be told to their destinations.
#[derive(Default)]
pub struct Reports {
    /// `auto` deliveries that left, in order: whose, how many.
    pub written: Vec<(Consumer, u64)>,
    /// Subscriptions that get credit again.
    pub resumed: Vec<Consumer>,
}

impl Reports {
    /// Whether there is nothing to tell.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.written.is_empty() && self.resumed.is_empty()
    }
}

/// A subscription that the broker ends; its connection has to see to it.
pub struct Ended {
    /// Which.
    pub consumer: Consumer,
    /// Why.
    pub cause: AbortCause,
    /// Whether the whole connection ends.
    pub whole: bool,
}

enum Piece {
    Owned(Vec<u8>),
    Shared(Bytes),
}

impl Piece {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Owned(bytes) => bytes,
            Self::Shared(bytes) => bytes,
        }
    }
}

struct Mark {
    end: u64,
    consumer: u32,
}

/// The part of an outbox that its lock guards.
pub struct Waiting {
    pieces: VecDeque<Piece>,
    sending: VecDeque<Piece>,
    /// Octets of the first sending piece that are written.
    sent: usize,
    appended: u64,
    written: u64,
    marks: VecDeque<Mark>,
    consumers: Vec<Option<Consumer>>,
    blocked: Vec<u32>,
    reports: Reports,
    due: Due,
    /// The connection's task waits for the answers due.
    due_watched: bool,
    /// The connection's task waits until everything is written.
    drain_watched: bool,
    accounted: u64,
    busy: bool,
    dirty: bool,
    wants_writable: bool,
    /// No more deliveries are taken; answers still are.
    deaf: bool,
    closed: bool,
    last_write_ms: u64,
    /// Subscriptions that have to end.
    ended: Vec<Ended>,
}

/// Answers that wait for a sync, in the order of their frames.
#[derive(Default)]
struct Due {
    marks: VecDeque<(Ticket, usize)>,
    bytes: Vec<u8>,
    taken: usize,
}

/// The outgoing side of one connection.
pub struct Outbox {
    waiting: Mutex<Waiting>,
    socket: Box<dyn Socket>,
    kick: Notify,
    /// Some subscriptions have to end.
    has_ended: AtomicBool,
    buffers: Arc<Buffers>,
    memory: Arc<Memory>,
    clock: Clock,
    bytes_max: u64,
}

impl Outbox {
    /// An empty outbox in front of `socket`.
    #[must_use]
    pub fn new(socket: Box<dyn Socket>, engine: &Engine) -> Self {
        let (buffers, memory) = (Arc::clone(&engine.buffers), Arc::clone(&engine.memory));
        let (clock, bytes_max) = (engine.clock.clone(), engine.settings.outbox_bytes_max);
        let waiting = Waiting {
            pieces: VecDeque::new(),
            sending: VecDeque::new(),
            sent: 0,
            appended: 0,
            written: 0,
            marks: VecDeque::new(),
            consumers: Vec::new(),
            blocked: Vec::new(),
            reports: Reports::default(),
            due: Due::default(),
            due_watched: false,
            drain_watched: false,
            accounted: 0,
            busy: false,
            dirty: false,
            wants_writable: false,
            deaf: false,
            closed: false,
            last_write_ms: 0,
            ended: Vec::new(),
        };
        Self {
            waiting: Mutex::new(waiting),
            socket,
            kick: Notify::new(),
            has_ended: AtomicBool::new(false),
            buffers,
            memory,
            clock,
            bytes_max,
        }
    }

    /// Locks the waiting frames. Held for a few lines or one batch of deliveries, never across I/O.
    ///
    /// # Panics
    /// If a panic left the outbox half changed; it costs this connection.
    pub fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting
            .lock()
            .expect("no step panics while it holds an outbox")
    }

    /// Wakes the connection's task.
    pub fn kick(&self) {
        self.kick.notify_one();
    }

    /// Waits until somebody wakes the connection's task.
    pub async fn kicked(&self) {
        self.kick.notified().await;
    }

    /// Appends `frame` after everything that waits, receipts due included. With a `ticket` it also waits
    /// for that sync; `synced` is how far the store has come.
    pub fn reply(&self, ticket: Option<Ticket>, synced: Option<Ticket>, frame: &[u8]) {
        let mut waiting = self.lock();
        if waiting.closed {
            return;
        }
        if waiting.due.is_empty() && ticket <= synced {
            waiting.append(frame, &self.buffers);
        } else {
            waiting.due.push(ticket, frame);
        }
    }

    /// Appends a frame of octets that wait for nothing, such as a heart-beat.
    pub fn append(&self, frame: &[u8]) {
        let mut waiting = self.lock();
        if !waiting.closed {
            waiting.append(frame, &self.buffers);
        }
    }

    /// Lets go the answers whose sync is done. Returns whether answers still wait.
    pub fn settle(&self, synced: Option<Ticket>) -> bool {
        let mut waiting = self.lock();
        let mut due = std::mem::take(&mut waiting.due);
        due.release(synced, |frames| waiting.append(frames, &self.buffers));
        waiting.due = due;
        if waiting.due.is_empty() && std::mem::take(&mut waiting.due_watched) {
            self.kick();
        }
        !waiting.due.is_empty()
    }

    /// Whether answers wait for a sync. If so, the connection's task is woken when they have been let go.
    pub fn watch_due(&self) -> bool {
        let mut waiting = self.lock();
        waiting.due_watched = !waiting.due.is_empty();
        waiting.due_watched
    }

    /// Whether a flush on another thread has left something for the connection's task.
    pub fn has_reports_or_due(&self) -> bool {
        let waiting = self.lock();
        !waiting.reports.is_empty() || !waiting.due.is_empty()
    }

    /// Whether everything has been written. If not, the connection's task is woken when it is.
    pub fn watch_drained(&self) -> bool {
        let mut waiting = self.lock();
        let drained = waiting.is_drained();
        waiting.drain_watched = !drained;
        drained
    }

    /// Whether the socket was full at the last flush, so that the connection's task must wait for it.
    pub fn wants_writable(&self) -> bool {
        self.lock().wants_writable
    }

    /// When something was last written, in monotonic milliseconds.
    pub fn last_write_ms(&self) -> u64 {
        self.lock().last_write_ms
    }

    /// Takes no more deliveries: the peer has closed its side, or the broker is stopping. What is not taken
    /// returns when the subscriptions end.
    pub fn stop_deliveries(&self) {
        self.lock().deaf = true;
    }

    /// Whether the connection is gone.
    pub fn is_closed(&self) -> bool {
        self.lock().closed
    }

    /// Ends the outbox: what waits is dropped, and nothing is taken any more.
    pub fn close(&self) {
        let mut waiting = self.lock();
        waiting.closed = true;
        if !waiting.busy {
            waiting.sending.clear();
        }
        waiting.pieces.clear();
        waiting.due = Due::default();
        self.memory.release(std::mem::take(&mut waiting.accounted));
        drop(waiting);
        self.kick();
    }

    /// Appends a frame rendered in its place, as one has to be that the frames of deliveries refer to.
    pub fn append_with(&self, render: impl FnOnce(&mut Vec<u8>)) {
        let mut waiting = self.lock();
        if !waiting.closed {
            waiting.tell(self, render);
        }
    }

    /// Makes a subscription known, so that marks can name it.
    pub fn register(&self, consumer: Consumer) -> u32 {
        let mut waiting = self.lock();
        let index = waiting
            .consumers
            .iter()
            .position(Option::is_none)
            .unwrap_or(waiting.consumers.len());
        if index == waiting.consumers.len() {
            waiting.consumers.push(None);
        }
        waiting.consumers[index] = Some(consumer);
        u32::try_from(index).unwrap_or(u32::MAX)
    }

    /// Forgets a subscription that has ended.
    pub fn unregister(&self, index: u32) {
        let mut waiting = self.lock();
        waiting.consumers[index as usize] = None;
        waiting.blocked.retain(|blocked| *blocked != index);
        waiting.marks.retain(|mark| mark.consumer != index);
    }

    /// Has the connection's task end a subscription, and the connection with it if `whole`.
    pub fn end(&self, index: u32, cause: AbortCause, whole: bool) {
        self.lock().end(self, index, cause, whole);
    }

    /// The subscriptions that have to end, once each.
    pub fn take_ended(&self) -> Vec<Ended> {
        if !self.has_ended.swap(false, Ordering::Acquire) {
            return Vec::new();
        }
        std::mem::take(&mut self.lock().ended)
    }

    /// What flushes have found out since the last call.
    pub fn take_reports(&self) -> Reports {
        std::mem::take(&mut self.lock().reports)
    }

    /// Writes what waits, unless somebody else is at it; they will see it. Returns whether there is something
    /// to report: who has flushed for others also reports for them.
    pub fn flush(&self) -> bool {
        let mut waiting = self.lock();
        loop {
            waiting.dirty = false;
            if waiting.busy || waiting.closed {
                return !waiting.reports.is_empty();
            }
            if waiting.sending.is_empty() {
                waiting.sending = std::mem::take(&mut waiting.pieces);
            }
            if waiting.sending.is_empty() {
                waiting.wants_writable = false;
                break;
            }
            waiting.busy = true;
            let (mut sending, mut sent) = (std::mem::take(&mut waiting.sending), waiting.sent);
            drop(waiting);
            let (count, outcome) = self.write(&mut sending, &mut sent);
            waiting = self.lock();
            waiting.busy = false;
            waiting.written += count;
            if count > 0 {
                waiting.last_write_ms = self.clock.monotonic_ms();
            }
            if waiting.pieces.capacity() == 0 && sending.is_empty() {
                std::mem::swap(&mut waiting.pieces, &mut sending);
            }
            waiting.sending = sending;
            waiting.sent = sent;
            waiting.report(self.bytes_max);
            match outcome {
                Ok(true) => {}
                Ok(false) => {
                    // The connection's task is told once; from then on it waits for the socket.
                    if !std::mem::replace(&mut waiting.wants_writable, true) {
                        self.kick();
                    }
                    break;
                }
                Err(_) => {
                    waiting.closed = true;
                    waiting.sending.clear();
                    waiting.pieces.clear();
                    self.memory.release(std::mem::take(&mut waiting.accounted));
                    self.kick();
                    return !waiting.reports.is_empty();
                }
            }
        }
        let reported = !waiting.reports.is_empty();
        if waiting.closed {
            // Its octets have been given back; none must be charged that nobody gives back.
            return reported;
        }
        if waiting.drain_watched && waiting.is_drained() {
            waiting.drain_watched = false;
            self.kick();
        }
        let depth = waiting.appended - waiting.written + waiting.due.bytes.len() as u64;
        if depth.abs_diff(waiting.accounted) >= ACCOUNT_STEP_BYTES {
            self.memory.charge(depth);
            self.memory
                .release(std::mem::replace(&mut waiting.accounted, depth));
        }
        reported
    }

    /// Writes until all is gone (`Ok(true)`) or the socket is full; returns the octets written too.
    fn write(&self, sending: &mut VecDeque<Piece>, sent: &mut usize) -> (u64, io::Result<bool>) {
        let mut total = 0;
        while !sending.is_empty() {
            let mut slices = [IoSlice::new(&[]); PIECES_PER_WRITE];
            let mut count = 0;
            for (slice, piece) in slices.iter_mut().zip(sending.iter()) {
                let bytes = piece.bytes();
                *slice = IoSlice::new(if count == 0 { &bytes[*sent..] } else { bytes });
                count += 1;
            }
            let asked: usize = slices[..count].iter().map(|slice| slice.len()).sum();
            match self.socket.try_write(&slices[..count]) {
                Ok(0) => return (total, Err(io::ErrorKind::WriteZero.into())),
                Ok(written) => {
                    total += written as u64;
                    self.advance(sending, sent, written);
                    if written < asked && !self.socket.takes_whole_frames() {
                        return (total, Ok(false));
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return (total, Ok(false));
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return (total, Err(error)),
            }
        }
        (total, Ok(true))
    }

    fn advance(&self, sending: &mut VecDeque<Piece>, sent: &mut usize, mut written: usize) {
        while let Some(piece) = sending.front() {
            let rest = piece.bytes().len() - *sent;
            if written < rest {
                *sent += written;
                return;
            }
            written -= rest;
            *sent = 0;
            if let Some(Piece::Owned(buffer)) = sending.pop_front() {
                self.buffers.give_back(buffer);
            }
        }
    }

    /// The pool that frames are rendered into.
    pub fn buffers(&self) -> &Buffers {
        &self.buffers
    }
}

impl Waiting {
    /// Whether deliveries are still taken: not once the connection is ending.
    #[must_use]
    pub fn takes_deliveries(&self) -> bool {
        !self.closed && !self.deaf
    }

    /// Renders one delivery. Returns whether the connection takes more; if not, `consumer` is remembered and resumed when
    /// it does.
    pub fn deliver(
        &mut self,
        outbox: &Outbox,
        consumer: u32,
        auto: bool,
        outgoing: &Outgoing<'_>,
        encoder: &dyn Encoder,
    ) -> bool {
        let piece = self.open_piece(&outbox.buffers);
        let before = piece.len();
        let body_follows = encoder.head(outgoing, piece);
        let body = outgoing.message.body();
        if !body_follows {
            self.appended += (piece.len() - before) as u64;
        } else if body.len() < SHARED_BODY_BYTES {
            piece.extend_from_slice(body);
            encoder.tail(piece);
            self.appended += (piece.len() - before) as u64;
        } else {
            self.appended += (piece.len() - before + body.len()) as u64;
            let body = outgoing.message.body_shared();
            self.pieces.push_back(Piece::Shared(body));
            self.tell(outbox, |out| encoder.tail(out));
        }
        if auto {
            self.marks.push_back(Mark {
                end: self.appended,
                consumer,
            });
        }
        if self.appended - self.written > outbox.bytes_max {
            self.blocked.push(consumer);
            return false;
        }
        true
    }

    /// [`Outbox::end`] for who holds the lock already.
    pub(super) fn end(&mut self, outbox: &Outbox, index: u32, cause: AbortCause, whole: bool) {
        let Some(consumer) = self.consumers.get(index as usize).cloned().flatten() else {
            return;
        };
        self.ended.push(Ended {
            consumer,
            cause,
            whole,
        });
        outbox.has_ended.store(true, Ordering::Release);
        outbox.kick();
    }

    /// Appends a frame that is no delivery, between those of a step.
    pub(super) fn tell(&mut self, outbox: &Outbox, render: impl FnOnce(&mut Vec<u8>)) {
        let piece = self.open_piece(&outbox.buffers);
        let before = piece.len();
        render(piece);
        self.appended += (piece.len() - before) as u64;
    }

    fn is_drained(&self) -> bool {
        self.appended == self.written && self.due.is_empty()
    }

    /// Marks the outbox as having something to flush; true if it was not marked yet, so that each batch
    /// flushes it once.
    pub fn mark_dirty(&mut self) -> bool {
        !std::mem::replace(&mut self.dirty, true)
    }

    fn append(&mut self, frame: &[u8], buffers: &Buffers) {
        self.open_piece(buffers).extend_from_slice(frame);
        self.appended += frame.len() as u64;
    }

    fn open_piece(&mut self, buffers: &Buffers) -> &mut Vec<u8> {
        let open =
            matches!(self.pieces.back(), Some(Piece::Owned(piece)) if piece.len() < PIECE_BYTES);
        if !open {
            self.pieces.push_back(Piece::Owned(buffers.lend()));
        }
        match self.pieces.back_mut() {
            Some(Piece::Owned(piece)) => piece,
            _ => unreachable!("the last piece is owned"),
        }
    }

    /// Turns what was written into reports.
    fn report(&mut self, bytes_max: u64) {
        while self
            .marks
            .front()
            .is_some_and(|mark| mark.end <= self.written)
        {
            let Some(mark) = self.marks.pop_front() else {
                break;
            };
            let Some(consumer) = &self.consumers[mark.consumer as usize] else {
                continue;
            };
            match self.reports.written.last_mut() {
                Some((last, count))
                    if last.key == consumer.key && Arc::ptr_eq(&last.cell, &consumer.cell) =>
                {
                    *count += 1;
                }
                _ => self.reports.written.push((consumer.clone(), 1)),
            }
        }
        if !self.blocked.is_empty() && self.appended - self.written <= bytes_max / 2 {
            for index in std::mem::take(&mut self.blocked) {
                self.reports
                    .resumed
                    .extend(self.consumers[index as usize].clone());
            }
        }
    }
}

impl Due {
    fn is_empty(&self) -> bool {
        self.marks.is_empty()
    }

    /// Frames of one ticket share a mark. A frame without a ticket waits for those before it only.
    fn push(&mut self, ticket: Option<Ticket>, frame: &[u8]) {
        self.bytes.extend_from_slice(frame);
        match self.marks.back_mut() {
            Some((last, len)) if ticket.is_none_or(|ticket| ticket <= *last) => *len += frame.len(),
            _ => self
                .marks
                .push_back((ticket.unwrap_or_default(), frame.len())),
        }
    }

    fn release(&mut self, synced: Option<Ticket>, mut out: impl FnMut(&[u8])) {
        let mut len = 0;
        while self
            .marks
            .front()
            .is_some_and(|(ticket, _)| Some(*ticket) <= synced)
        {
            len += self.marks.pop_front().map_or(0, |(_, len)| len);
        }
        if len > 0 {
            out(&self.bytes[self.taken..self.taken + len]);
            self.taken += len;
        }
        if self.taken == self.bytes.len() {
            self.bytes.clear();
            self.taken = 0;
        } else if self.taken > PIECE_BYTES {
            self.bytes.drain(..self.taken);
            self.taken = 0;
        }
    }
}

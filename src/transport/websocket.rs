//! STOMP over WebSocket over another wire.
//!
//! In: the payload of messages is handed on as it comes; where messages or fragments end does not matter to STOMP. Out:
//! each STOMP frame is a message of its own, because some clients take no more; a long one goes in fragments, between
//! which pings are answered.

use std::io::{self, IoSlice};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard};

use bytes::BytesMut;
use ferrymq_protocols::stomp::Cutter;
use ferrymq_protocols::websocket::{
    Decoder, Event, Opcode, Utf8, WebSocketError, push_close, push_frame_head, push_pong, status,
};

use super::Duplex;
use super::pieces::Place;
use crate::engine::outbox::Socket;
use crate::session::link::Wire;

/// Octets framed at a time, and the longest fragment.
const BATCH_BYTES: usize = 64 * 1024;
/// Pongs that wait for a client that does not read; further pings are not answered.
const PONGS_BYTES_MAX: usize = 16 * 1024;
/// What an idle connection may keep of its buffer.
const IDLE_BYTES_MAX: usize = 1024;
/// Reads in a row that bring no payload, before others get their turn.
const SILENT_READS_MAX: usize = 8;

/// A connection whose handshake is done.
pub struct WebSocketWire<W> {
    lower: W,
    /// Only the connection's task reads; the lock is for the compiler.
    reading: Mutex<Reading>,
    writing: Mutex<Writing>,
    /// Whether the client's last message was text.
    text: AtomicBool,
    remote: String,
}

struct Reading {
    decoder: Decoder,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    /// Nothing more will come.
    Ended,
    /// What comes is thrown away.
    Failed,
}

struct Writing {
    /// Frames that have not all left.
    out: Vec<u8>,
    /// Octets of them that have.
    sent: usize,
    /// Octets of the outbox that are in `out`.
    ahead: usize,
    /// Octets of the message in progress that are not in `out` yet.
    rest: usize,
    /// What its next fragment is.
    opcode: Opcode,
    /// How the connection is closed, and why.
    close: (u16, String),
    /// The close frame is in `out`, or has left.
    closing: bool,
}

impl<W: Duplex> WebSocketWire<W> {
    /// Takes over a connection after the handshake. `remote` is for the log.
    pub fn new(lower: W, message_bytes_max: u64, remote: String) -> Self {
        let reading = Reading {
            decoder: Decoder::new(message_bytes_max),
            state: State::Open,
        };
        let writing = Writing {
            out: Vec::new(),
            sent: 0,
            ahead: 0,
            rest: 0,
            opcode: Opcode::Continuation,
            close: (status::NORMAL, String::new()),
            closing: false,
        };
        Self {
            lower,
            reading: Mutex::new(reading),
            writing: Mutex::new(writing),
            text: AtomicBool::new(true),
            remote,
        }
    }

    /// Takes what came right behind the handshake; payload is left in `buffer`.
    ///
    /// # Errors
    /// As [`Wire::try_read`].
    pub fn take_in_first(&self, buffer: &mut BytesMut) -> io::Result<()> {
        self.take_in(&mut self.reading(), buffer, 0)
    }

    /// Takes the frames off what `buffer` holds from `start` on and leaves the payload there.
    fn take_in(
        &self,
        reading: &mut Reading,
        buffer: &mut BytesMut,
        start: usize,
    ) -> io::Result<()> {
        let (mut at, mut end) = (start, start);
        let outcome = loop {
            match reading.decoder.next(buffer, &mut at) {
                Ok(Some(Event::Payload(range))) => {
                    let len = range.len();
                    buffer.copy_within(range, end);
                    end += len;
                }
                Ok(Some(Event::Ping(payload))) => self.pong(&payload),
                Ok(Some(Event::Close(code))) => {
                    reading.state = State::Ended;
                    self.writing().close.0 = code.unwrap_or(status::NORMAL);
                    break Ok(());
                }
                Ok(None) => break Ok(()),
                Err(error) => break Err(error),
            }
        };
        buffer.truncate(end);
        self.text
            .store(reading.decoder.last_was_text(), Ordering::Relaxed);
        outcome.map_err(|error| {
            reading.state = State::Failed;
            self.fail(&error)
        })
    }

    fn fail(&self, error: &WebSocketError) -> io::Error {
        let key = match error {
            WebSocketError::TooBig { .. } => " (websocket.message_bytes_max)",
            _ => "",
        };
        tracing::warn!(remote = self.remote, "WebSocket closed: {error}{key}");
        self.writing().close = (error.status(), error.to_string());
        io::Error::new(io::ErrorKind::InvalidData, error.to_string())
    }

    fn pong(&self, payload: &[u8]) {
        let mut writing = self.writing();
        if writing.closing || writing.out.len() - writing.sent > BATCH_BYTES + PONGS_BYTES_MAX {
            return;
        }
        push_pong(payload, &mut writing.out);
        // What does not leave now leaves when the wire below is ready; an error shows at the next read.
        let _ = writing.flush(&self.lower);
    }

    fn reading(&self) -> MutexGuard<'_, Reading> {
        self.reading
            .lock()
            .expect("nothing panics while it reads frames")
    }

    fn writing(&self) -> MutexGuard<'_, Writing> {
        self.writing
            .lock()
            .expect("nothing panics while it writes frames")
    }
}

impl Writing {
    fn is_pending(&self) -> bool {
        self.sent < self.out.len()
    }

    /// Writes the frames there are; returns whether all have left.
    fn flush(&mut self, lower: &impl Socket) -> io::Result<bool> {
        while self.is_pending() {
            match lower.try_write(&[IoSlice::new(&self.out[self.sent..])]) {
                Ok(count) => self.sent += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.sent = 0;
        self.out.clear();
        self.out.shrink_to(IDLE_BYTES_MAX);
        Ok(true)
    }

    /// Frames what the outbox offers and writes it, until all is gone or the wire below is full.
    fn write(
        &mut self,
        pieces: &[IoSlice<'_>],
        text: bool,
        lower: &impl Socket,
    ) -> io::Result<usize> {
        let mut done = 0;
        loop {
            if !self.flush(lower)? {
                let full = Err(io::ErrorKind::WouldBlock.into());
                return if done > 0 { Ok(done) } else { full };
            }
            done += std::mem::take(&mut self.ahead);
            self.fill(Place::after(pieces, done), done == 0, text);
            if self.ahead == 0 {
                return Ok(done);
            }
        }
    }

    /// Frames a batch. Of a frame whose end is not in sight nothing is taken unless it is the `only` one.
    fn fill(&mut self, mut place: Place<'_>, mut only: bool, text: bool) {
        while self.out.len() < BATCH_BYTES && !place.is_end() {
            if self.rest == 0 {
                let (len, is_whole) = frame_len(place);
                if !is_whole && !only {
                    return;
                }
                let is_text = text && is_utf8(place, len);
                self.opcode = if is_text {
                    Opcode::Text
                } else {
                    Opcode::Binary
                };
                self.rest = len;
            }
            only = false;
            let count = self.rest.min(BATCH_BYTES);
            let is_last = count == self.rest;
            push_frame_head(self.opcode, is_last, count, &mut self.out);
            for piece in place.take(count) {
                self.out.extend_from_slice(piece);
            }
            self.opcode = Opcode::Continuation;
            self.rest -= count;
            self.ahead += count;
            place.advance(count);
        }
    }
}

/// The octets of the first STOMP frame, and whether its end is there.
fn frame_len(place: Place<'_>) -> (usize, bool) {
    let (mut cutter, mut len) = (Cutter::default(), 0);
    for piece in place.take(usize::MAX) {
        if let Some(end) = cutter.cut(piece) {
            return (len + end, true);
        }
        len += piece.len();
    }
    (len, false)
}

fn is_utf8(place: Place<'_>, len: usize) -> bool {
    let mut utf8 = Utf8::default();
    place.take(len).all(|piece| utf8.feed(piece)) && utf8.is_whole()
}

impl<W: Duplex> Wire for WebSocketWire<W> {
    async fn ready(&self, read: bool, write: bool) -> io::Result<()> {
        if read && self.reading().state == State::Ended {
            return Ok(());
        }
        let pending = self.writing().is_pending();
        self.lower.ready(read, write || pending).await?;
        if pending {
            let mut writing = self.writing();
            if writing.flush(&self.lower)? && writing.closing {
                self.lower.shutdown_write();
            }
        }
        Ok(())
    }

    fn try_read(&self, buffer: &mut BytesMut) -> io::Result<usize> {
        let mut reading = self.reading();
        for _ in 0..SILENT_READS_MAX {
            if reading.state == State::Ended {
                return Ok(0);
            }
            let start = buffer.len();
            let count = self.lower.try_read(buffer)?;
            if count == 0 {
                reading.state = State::Ended;
            }
            if count == 0 || reading.state == State::Failed {
                return Ok(count);
            }
            self.take_in(&mut reading, buffer, start)?;
            if buffer.len() > start {
                return Ok(buffer.len() - start);
            }
        }
        Err(io::ErrorKind::WouldBlock.into())
    }

    fn shutdown_write(&self) {
        let mut writing = self.writing();
        if !std::mem::replace(&mut writing.closing, true) {
            let (status, reason) = std::mem::take(&mut writing.close);
            push_close(status, &reason, &mut writing.out);
        }
        if writing.flush(&self.lower).unwrap_or(true) {
            self.lower.shutdown_write();
        }
    }
}

impl<W: Duplex> Socket for WebSocketWire<W> {
    fn try_write(&self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        let text = self.text.load(Ordering::Relaxed);
        self.writing().write(pieces, text, &self.lower)
    }

    fn takes_whole_frames(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests;

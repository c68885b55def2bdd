//! TLS over another wire.
//!
//! The connection's task reads, whoever appended to the outbox writes; one short lock around the state of TLS keeps
//! them apart. Nothing is read ahead: what a read brought is decrypted and handed on at once, so that waiting for the
//! wire below is waiting for this one.

use std::cell::RefCell;
use std::io::{self, BufRead, IoSlice, Write};
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::BytesMut;
use rustls::{ServerConfig, ServerConnection};

use super::Duplex;
use super::certificates::subject_of;
use super::pieces::Place;
use crate::engine::buffers::READ_BYTES;
use crate::engine::outbox::Socket;
use crate::session::link::Wire;

/// Reads in a row that bring no plaintext, before others get their turn.
const SILENT_READS_MAX: usize = 8;
/// Pieces encrypted at a time; an outbox offers no more.
const PIECES_MAX: usize = 32;

thread_local! {
    /// What has been read and not been decrypted. Only ever in use within one call, so that connections hold none.
    static CIPHERTEXT: RefCell<BytesMut> = RefCell::new(BytesMut::with_capacity(READ_BYTES));
}

/// A connection with TLS.
pub struct TlsWire<W> {
    lower: W,
    state: Mutex<State>,
}

struct State {
    connection: ServerConnection,
    /// Octets of the outbox that are encrypted but have not all left.
    ahead: usize,
    /// Nothing more will come.
    ended: bool,
    /// Our side ends when what is encrypted has left.
    closing: bool,
}

impl<W: Duplex> TlsWire<W> {
    /// A connection whose handshake has yet to be done.
    ///
    /// # Errors
    /// If the configuration cannot be used.
    pub fn new(lower: W, config: Arc<ServerConfig>) -> Result<Self, rustls::Error> {
        Ok(Self {
            lower,
            state: Mutex::new(State {
                connection: ServerConnection::new(config)?,
                ahead: 0,
                ended: false,
                closing: false,
            }),
        })
    }

    /// Goes on with the handshake; `read` is what has been read below, if anything. Plaintext that comes right behind
    /// it goes to `input`.
    ///
    /// # Errors
    /// If it fails; the client has been told by an alert.
    pub async fn shake_hands(&self, read: &[u8], input: &mut BytesMut) -> io::Result<()> {
        if !read.is_empty() {
            self.state().take_in(read, input, &self.lower)?;
        }
        while self.state().connection.is_handshaking() {
            self.ready(true, false).await?;
            match self.try_read(input) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    /// The subject of the client's certificate, if it has shown one.
    pub fn certificate_dn(&self) -> Option<Arc<str>> {
        let state = self.state();
        let certificate = state.connection.peer_certificates()?.first()?;
        subject_of(certificate).map(Arc::from)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state
            .lock()
            .expect("nothing panics while it holds the state of TLS")
    }
}

impl State {
    /// Decrypts what has been read below and appends it to `buffer`.
    fn take_in(
        &mut self,
        mut ciphertext: &[u8],
        buffer: &mut BytesMut,
        lower: &impl Socket,
    ) -> io::Result<()> {
        while !ciphertext.is_empty() && !self.ended {
            self.connection.read_tls(&mut ciphertext)?;
            match self.connection.process_new_packets() {
                Ok(progress) => self.ended = progress.peer_has_closed(),
                Err(error) => {
                    // The alert says why; whether it gets through is not ours to wait for.
                    let _ = self.flush(lower);
                    return Err(io::Error::new(io::ErrorKind::ConnectionAborted, error));
                }
            }
            let mut reader = self.connection.reader();
            while let Ok(plaintext) = reader.fill_buf()
                && !plaintext.is_empty()
            {
                buffer.extend_from_slice(plaintext);
                let count = plaintext.len();
                reader.consume(count);
            }
        }
        self.flush(lower).map(drop)
    }

    /// Writes what is encrypted; returns whether all of it has left.
    fn flush(&mut self, lower: &impl Socket) -> io::Result<bool> {
        while self.connection.wants_write() {
            match self.connection.write_tls(&mut Lower(lower)) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    /// Encrypts, in records as large as TLS has, and writes, until all is gone or the wire below is full.
    fn write(&mut self, pieces: &[IoSlice<'_>], lower: &impl Socket) -> io::Result<usize> {
        let mut done = 0;
        loop {
            if !self.flush(lower)? {
                let full = Err(io::ErrorKind::WouldBlock.into());
                return if done > 0 { Ok(done) } else { full };
            }
            done += std::mem::take(&mut self.ahead);
            let place = Place::after(pieces, done);
            if place.is_end() {
                return Ok(done);
            }
            let mut slices = [IoSlice::new(&[]); PIECES_MAX];
            let mut count = 0;
            for (slice, piece) in slices.iter_mut().zip(place.take(usize::MAX)) {
                *slice = IoSlice::new(piece);
                count += 1;
            }
            self.ahead = self.connection.writer().write_vectored(&slices[..count])?;
        }
    }
}

impl<W: Duplex> Wire for TlsWire<W> {
    async fn ready(&self, read: bool, write: bool) -> io::Result<()> {
        let (ended, pending) = {
            let state = self.state();
            (state.ended, state.connection.wants_write())
        };
        if ended && read {
            return Ok(());
        }
        self.lower.ready(read, write || pending).await?;
        if pending {
            let mut state = self.state();
            if state.flush(&self.lower)? && state.closing {
                self.lower.shutdown_write();
            }
        }
        Ok(())
    }

    fn try_read(&self, buffer: &mut BytesMut) -> io::Result<usize> {
        CIPHERTEXT.with_borrow_mut(|ciphertext| {
            for _ in 0..SILENT_READS_MAX {
                if self.state().ended {
                    return Ok(0);
                }
                ciphertext.clear();
                let count = self.lower.try_read(ciphertext)?;
                let mut state = self.state();
                let before = buffer.len();
                if count == 0 {
                    // Without the notice that TLS has for it. STOMP has frames, so nothing is taken for whole that is not.
                    state.ended = true;
                } else {
                    state.take_in(ciphertext, buffer, &self.lower)?;
                }
                if buffer.len() > before {
                    return Ok(buffer.len() - before);
                }
            }
            if self.state().ended {
                return Ok(0);
            }
            Err(io::ErrorKind::WouldBlock.into())
        })
    }

    fn shutdown_write(&self) {
        let mut state = self.state();
        if !std::mem::replace(&mut state.closing, true) {
            state.connection.send_close_notify();
        }
        if state.flush(&self.lower).unwrap_or(true) {
            self.lower.shutdown_write();
        }
    }
}

impl<W: Duplex> Socket for TlsWire<W> {
    fn try_write(&self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        self.state().write(pieces, &self.lower)
    }
}

/// The wire below as rustls writes to it.
struct Lower<'a, S>(&'a S);

impl<S: Socket> Write for Lower<'_, S> {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        self.0.try_write(&[IoSlice::new(octets)])
    }

    fn write_vectored(&mut self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        self.0.try_write(pieces)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;

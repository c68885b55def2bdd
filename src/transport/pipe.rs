//! A wire for tests of the wires above it.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::BytesMut;

use crate::engine::outbox::Socket;
use crate::session::link::Wire;

/// A wire below that takes and gives as much as it is told.
#[derive(Default)]
pub(super) struct Pipe {
    pub(super) written: Mutex<Vec<u8>>,
    /// How much each call takes; nothing left: full.
    room: Mutex<VecDeque<usize>>,
    incoming: Mutex<VecDeque<Vec<u8>>>,
    shut: AtomicBool,
}

impl Pipe {
    pub(super) fn say(&self, octets: &[u8]) {
        self.incoming.lock().unwrap().push_back(octets.to_vec());
    }

    pub(super) fn is_shut(&self) -> bool {
        self.shut.load(Ordering::Relaxed)
    }

    /// Full from now on.
    pub(super) fn take_room(&self) {
        self.room.lock().unwrap().clear();
    }

    pub(super) fn make_room(&self, room: &[usize]) {
        self.room.lock().unwrap().extend(room);
    }
}

impl Wire for Pipe {
    async fn ready(&self, _: bool, _: bool) -> io::Result<()> {
        Ok(())
    }

    fn try_read(&self, buffer: &mut BytesMut) -> io::Result<usize> {
        let next = self.incoming.lock().unwrap().pop_front();
        let octets = next.ok_or(io::ErrorKind::WouldBlock)?;
        buffer.extend_from_slice(&octets);
        Ok(octets.len())
    }

    fn shutdown_write(&self) {
        self.shut.store(true, Ordering::Relaxed);
    }
}

impl Socket for Pipe {
    fn try_write(&self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        let room = self.room.lock().unwrap().pop_front();
        let mut room = room
            .filter(|room| *room > 0)
            .ok_or(io::ErrorKind::WouldBlock)?;
        let mut written = self.written.lock().unwrap();
        let before = written.len();
        for piece in pieces {
            let count = piece.len().min(room);
            written.extend_from_slice(&piece[..count]);
            room -= count;
        }
        Ok(written.len() - before)
    }
}

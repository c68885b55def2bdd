//! A TCP connection as the wire of a link.

use std::io::{self, IoSlice};
use std::net::Shutdown;
use std::sync::Arc;

use bytes::BytesMut;
use socket2::SockRef;
use tokio::io::Interest;
use tokio::net::TcpStream;

use crate::engine::outbox::Socket;
use crate::session::link::Wire;

/// A TCP connection.
pub struct TcpWire(TcpStream);

impl TcpWire {
    /// Takes over an accepted connection.
    #[must_use]
    pub fn new(stream: TcpStream) -> Arc<Self> {
        Arc::new(Self(stream))
    }
}

impl Socket for TcpWire {
    fn try_write(&self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        self.0.try_write_vectored(pieces)
    }
}

impl Wire for TcpWire {
    async fn ready(&self, read: bool, write: bool) -> io::Result<()> {
        let interest = match (read, write) {
            (true, true) => Interest::READABLE | Interest::WRITABLE,
            (false, true) => Interest::WRITABLE,
            _ => Interest::READABLE,
        };
        self.0.ready(interest).await.map(|_| ())
    }

    fn try_read(&self, buffer: &mut BytesMut) -> io::Result<usize> {
        self.0.try_read_buf(buffer)
    }

    fn shutdown_write(&self) {
        // The peer may be gone already; then there is nothing to tell it.
        let _ = SockRef::from(&self.0).shutdown(Shutdown::Write);
    }
}

//! Accepting connections and serving each one in a task of its own.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, mpsc, watch};

use super::tcp::{TcpSocket, TcpWire};
use crate::engine::Engine;
use crate::engine::outbox::Outbox;
use crate::session::link::Link;
use crate::session::{Bounds, Session};
use crate::stomp::{Stomp, StompSettings};

/// A STOMP listener.
pub struct StompListener {
    /// The engine behind it.
    pub engine: Arc<Engine>,
    /// How STOMP is spoken.
    pub settings: Arc<StompSettings>,
    /// Bounds of transactions.
    pub bounds: Bounds,
    /// Open connections at most.
    pub connections_max: usize,
    /// When octets that the peer's machine does not acknowledge end the connection; zero: never.
    pub user_timeout: Duration,
    /// Told when the broker stops.
    pub stopping: watch::Receiver<bool>,
    /// Held by each connection; when all are dropped, all have ended.
    pub alive: mpsc::Sender<()>,
}

/// Pause after a failed accept, such as for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

impl StompListener {
    /// Accepts until the broker stops.
    pub async fn run(self, listener: TcpListener) {
        let open = Arc::new(AtomicUsize::new(0));
        let mut stopping = self.stopping.clone();
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                _ = stopping.changed() => return,
            };
            match accepted {
                Ok((stream, remote)) => self.admit(stream, remote, &open),
                Err(error) => {
                    tracing::warn!(%error, "connection not accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    fn admit(&self, stream: TcpStream, remote: SocketAddr, open: &Arc<AtomicUsize>) {
        if open.load(Ordering::Relaxed) >= self.connections_max {
            tracing::warn!(%remote, limit = self.connections_max, "connection refused: stomp.connections_max");
            return;
        }
        if let Err(error) = self.tune(&stream) {
            tracing::debug!(%remote, %error, "socket options not set");
        }
        let counted = Counted::new(open);
        let (link, end) = self.link(stream, remote);
        let (stopping, alive) = (self.stopping.clone(), self.alive.clone());
        tokio::spawn(async move {
            link.serve(end, stopping).await;
            drop((counted, alive));
        });
    }

    fn link(&self, stream: TcpStream, remote: SocketAddr) -> (Link<TcpWire, Stomp>, Arc<Notify>) {
        let wire = TcpWire::new(stream);
        let socket = Box::new(TcpSocket(Arc::clone(&wire)));
        let outbox = Arc::new(Outbox::new(socket, &self.engine));
        let session = Session::new(Arc::clone(&self.engine), outbox, self.bounds);
        let end = Arc::new(Notify::new());
        let now_ms = self.engine.clock.monotonic_ms();
        let stomp = Stomp::new(Arc::clone(&self.settings), remote, Arc::clone(&end), now_ms);
        (Link::new(wire, session, stomp), end)
    }

    /// No delay for small writes, and a dead peer is noticed (CON-8).
    fn tune(&self, stream: &TcpStream) -> std::io::Result<()> {
        stream.set_nodelay(true)?;
        let socket = SockRef::from(stream);
        socket.set_tcp_keepalive(
            &TcpKeepalive::new()
                .with_time(Duration::from_secs(15))
                .with_interval(Duration::from_secs(5)),
        )?;
        #[cfg(target_os = "linux")]
        if !self.user_timeout.is_zero() {
            socket.set_tcp_user_timeout(Some(self.user_timeout))?;
        }
        Ok(())
    }
}

/// Counts a connection while it lives.
struct Counted(Arc<AtomicUsize>);

impl Counted {
    fn new(open: &Arc<AtomicUsize>) -> Self {
        open.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(open))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

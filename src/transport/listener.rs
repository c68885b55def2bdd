//! Accepting connections and serving each one in a task of its own.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::BytesMut;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, mpsc, watch};

use super::Duplex;
use super::opening::{Carrier, Opened, Spoken, Stop};
use super::tcp::TcpWire;
use crate::engine::Engine;
use crate::engine::outbox::Outbox;
use crate::openwire::{OpenWire, OpenWireSettings};
use crate::session::link::{Adapter, Link};
use crate::session::{Bounds, Peer, Session};
use crate::stomp::{Stomp, StompSettings};

pub use super::opening::{Protocol, Speaks, Tls};

/// What all listeners need to serve a connection.
#[derive(Clone)]
pub struct Service {
    /// The engine behind it.
    pub engine: Arc<Engine>,
    /// How STOMP is spoken.
    pub settings: Arc<StompSettings>,
    /// How OpenWire is spoken.
    pub openwire: Arc<OpenWireSettings>,
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

/// A listener of clients.
pub struct Listener {
    /// Its section of the configuration, for the log.
    pub name: &'static str,
    /// What it speaks.
    pub speaks: Arc<Speaks>,
    /// How it serves.
    pub service: Service,
}

/// Pause after a failed accept, such as for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

impl Listener {
    /// Accepts until the broker stops.
    pub async fn run(self, listener: TcpListener) {
        let open = Arc::new(AtomicUsize::new(0));
        let mut stopping = self.service.stopping.clone();
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
        let limit = self.service.connections_max;
        if open.load(Ordering::Relaxed) >= limit {
            tracing::warn!(%remote, limit, listener = self.name, "connection refused: stomp.connections_max");
            return;
        }
        if let Err(error) = self.service.tune(&stream) {
            tracing::debug!(%remote, %error, "socket options not set");
        }
        let counted = Counted::new(open);
        let connection = Connection {
            listener: self.name,
            accepted_ms: self.service.engine.clock.monotonic_ms(),
            service: self.service.clone(),
            remote,
        };
        let wire = TcpWire::new(stream);
        if self.speaks.is_plain() {
            let spoken = Spoken {
                openwire: self.speaks.protocol == Protocol::OpenWire,
                wire: Carrier::Plain(wire),
                input: BytesMut::new(),
                peer: Peer::at(remote),
            };
            tokio::spawn(async move {
                connection.serve(spoken).await;
                drop(counted);
            });
        } else {
            let speaks = Arc::clone(&self.speaks);
            tokio::spawn(async move {
                Box::pin(connection.open(wire, &speaks)).await;
                drop(counted);
            });
        }
    }
}

/// A connection that has been accepted.
struct Connection {
    listener: &'static str,
    service: Service,
    remote: SocketAddr,
    accepted_ms: u64,
}

impl Connection {
    /// Brings the connection as far as STOMP, within the time of a login, and serves it.
    async fn open(mut self, wire: Arc<TcpWire>, speaks: &Speaks) {
        let timeout = Duration::from_millis(self.service.settings.connect_timeout_ms);
        let mut stopping = self.service.stopping.clone();
        let opened = tokio::select! {
            opened = tokio::time::timeout(timeout, speaks.open(wire, &mut self.remote)) => opened,
            _ = stopping.changed() => return,
        };
        let late = || Stop("not opened in time (stomp.connect_timeout)".to_owned());
        match opened.map_err(|_| late()).flatten() {
            Ok(Opened::Tcp(spoken)) => self.serve(spoken).await,
            Ok(Opened::Tls(spoken)) => self.serve(spoken).await,
            Err(Stop(reason)) => {
                let (remote, listener) = (self.remote, self.listener);
                tracing::warn!(%remote, listener, "connection closed: {reason}");
            }
        }
    }

    async fn serve<W: Duplex + Clone>(self, spoken: Spoken<W>) {
        let Spoken {
            openwire,
            wire,
            input,
            peer,
        } = spoken;
        let (end, opened_ms) = (Arc::new(Notify::new()), self.accepted_ms);
        match wire {
            Carrier::Plain(wire) if openwire => {
                let settings = Arc::clone(&self.service.openwire);
                let openwire = OpenWire::new(settings, peer, Arc::clone(&end), opened_ms);
                self.link(wire, input, openwire, end).await;
            }
            Carrier::Plain(wire) => {
                let stomp = self.stomp(peer, &end);
                self.link(wire, input, stomp, end).await;
            }
            Carrier::WebSocket(wire) => {
                let stomp = self.stomp(peer, &end);
                self.link(wire, input, stomp, end).await;
            }
        }
    }

    fn stomp(&self, peer: Peer, end: &Arc<Notify>) -> Stomp {
        let settings = Arc::clone(&self.service.settings);
        Stomp::new(settings, peer, Arc::clone(end), self.accepted_ms)
    }

    async fn link<W: Duplex + Clone>(
        self,
        wire: W,
        input: BytesMut,
        adapter: impl Adapter,
        end: Arc<Notify>,
    ) {
        let service = self.service;
        let outbox = Arc::new(Outbox::new(Box::new(wire.clone()), &service.engine));
        let session = Session::new(Arc::clone(&service.engine), outbox, service.bounds);
        let link = Link::new(wire, session, adapter).with_input(input);
        link.serve(end, service.stopping).await;
        drop(service.alive);
    }
}

impl Service {
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

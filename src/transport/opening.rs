//! What happens on a connection before STOMP: the proxy's header, what it opens with, TLS, the WebSocket handshake.
//!
//! All of it together is bounded like a login: in time by `stomp.connect_timeout`, in octets by
//! `stomp.before_login_bytes_max`. Whoever does not keep to it costs a log line.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::{Buf, BytesMut};
use ferrymq_protocols::sniff::{Opening, sniff};

use super::Duplex;
use super::certificates::Certificates;
use super::http::{self, Answer};
use super::proxy;
use super::tcp::TcpWire;
use super::tls::TlsWire;
use super::websocket::WebSocketWire;
use crate::config::Network;
use crate::session::Peer;

/// Octets that are read and thrown away behind an answer that ends the connection.
const LINGER_BYTES_MAX: usize = 64 * 1024;

/// What a listener speaks, below and above TLS.
#[derive(Clone)]
pub struct Speaks {
    /// What is spoken at last.
    pub protocol: Protocol,
    /// Whether by TLS, and with which certificate.
    pub tls: Tls,
    /// The proxies from which connections come with a PROXY header; `None` if they come without.
    pub proxies: Option<Arc<[Network]>>,
    /// The origins whose pages may connect.
    pub origins: Arc<[String]>,
    /// The longest WebSocket message.
    pub message_bytes_max: u64,
    /// Octets before STOMP begins.
    pub opening_bytes_max: usize,
}

/// What a listener speaks above TCP and TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// STOMP.
    Stomp,
    /// STOMP over WebSocket.
    WebSocket,
    /// OpenWire.
    OpenWire,
    /// Whichever the connection begins with.
    Auto,
}

/// Whether a listener speaks TLS.
#[derive(Clone)]
pub enum Tls {
    /// No.
    Off,
    /// With every connection.
    Always(Arc<Certificates>),
    /// With those that begin with it.
    Detected(Arc<Certificates>),
}

/// A connection that has come as far as STOMP.
pub(super) enum Opened {
    Tcp(Spoken<Arc<TcpWire>>),
    Tls(Spoken<Arc<TlsWire<Arc<TcpWire>>>>),
}

/// Where STOMP is spoken: on a wire, or by WebSocket over it.
pub(super) struct Spoken<W> {
    /// Whether it is OpenWire instead of STOMP.
    pub(super) openwire: bool,
    pub(super) wire: Carrier<W>,
    /// Octets of STOMP that have been read already.
    pub(super) input: BytesMut,
    pub(super) peer: Peer,
}

pub(super) enum Carrier<W> {
    Plain(W),
    WebSocket(Arc<WebSocketWire<W>>),
}

/// Why a connection goes no further; the text is for the log.
pub(super) struct Stop(pub(super) String);

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Self(match error.kind() {
            io::ErrorKind::UnexpectedEof => "the client has closed it".to_owned(),
            _ => error.to_string(),
        })
    }
}

impl Speaks {
    /// Whether a connection is what is spoken at last from its first octet on, so that nothing comes before.
    pub(super) fn is_plain(&self) -> bool {
        matches!(self.protocol, Protocol::Stomp | Protocol::OpenWire)
            && matches!(self.tls, Tls::Off)
            && self.proxies.is_none()
    }

    /// Brings a connection as far as STOMP. `remote` becomes the address of the client, when a proxy tells it.
    pub(super) async fn open(
        &self,
        wire: Arc<TcpWire>,
        remote: &mut SocketAddr,
    ) -> Result<Opened, Stop> {
        let mut input = BytesMut::new();
        if let Some(proxies) = &self.proxies {
            self.proxied(&wire, &mut input, proxies, remote).await?;
        }
        let mut peer = Peer::at(*remote);
        let certificates = match &self.tls {
            Tls::Off => None,
            Tls::Always(certificates) => match self.detect(&wire, &mut input).await? {
                Opening::Tls => Some(certificates),
                other => return Err(Stop(format!("{} on a port for TLS", other.name()))),
            },
            Tls::Detected(certificates) => {
                let opening = self.detect(&wire, &mut input).await?;
                (opening == Opening::Tls).then_some(certificates)
            }
        };
        let Some(certificates) = certificates else {
            return Ok(Opened::Tcp(self.speak(wire, input, peer).await?));
        };
        let wire = TlsWire::new(wire, certificates.config())
            .map_err(|error| Stop(format!("no TLS: {error}")))?;
        let mut plaintext = BytesMut::new();
        wire.shake_hands(&input, &mut plaintext)
            .await
            .map_err(|error| Stop(format!("TLS handshake failed: {}", Stop::from(error).0)))?;
        peer.certificate_dn = wire.certificate_dn();
        let spoken = self.speak(Arc::new(wire), plaintext, peer).await?;
        Ok(Opened::Tls(spoken))
    }

    /// Takes the proxy's header off.
    async fn proxied<W: Duplex>(
        &self,
        wire: &W,
        input: &mut BytesMut,
        proxies: &[Network],
        remote: &mut SocketAddr,
    ) -> Result<(), Stop> {
        if !proxies.iter().any(|network| network.contains(remote.ip())) {
            return Err(Stop("not one of the proxies in proxy.trusted".to_owned()));
        }
        loop {
            match proxy::read(input) {
                Ok(Some(told)) => {
                    input.advance(told.len);
                    *remote = told.client.unwrap_or(*remote);
                    return Ok(());
                }
                Ok(None) => self.more(wire, input).await?,
                Err(error) => return Err(Stop(error.to_string())),
            }
        }
    }

    /// Tells what the connection opens with (FRM-15).
    async fn detect<W: Duplex>(&self, wire: &W, input: &mut BytesMut) -> Result<Opening, Stop> {
        loop {
            match sniff(input) {
                Opening::Undecided => self.more(wire, input).await?,
                opening => return Ok(opening),
            }
        }
    }

    /// Finds out what is spoken above TCP or TLS, and does the handshake of WebSocket.
    async fn speak<W: Duplex>(
        &self,
        wire: W,
        mut input: BytesMut,
        peer: Peer,
    ) -> Result<Spoken<W>, Stop> {
        let opening = match self.protocol {
            Protocol::Stomp => Opening::Stomp,
            Protocol::OpenWire => Opening::OpenWire,
            _ => self.detect(&wire, &mut input).await?,
        };
        match (self.protocol, opening) {
            // What is none of all gets its answer from STOMP, or from HTTP where there is no STOMP.
            (Protocol::Stomp, _) | (Protocol::Auto, Opening::Stomp | Opening::Unknown) => {
                return Ok(Spoken {
                    openwire: false,
                    wire: Carrier::Plain(wire),
                    input,
                    peer,
                });
            }
            (Protocol::OpenWire, _) | (Protocol::Auto, Opening::OpenWire) => {
                return Ok(Spoken {
                    openwire: true,
                    wire: Carrier::Plain(wire),
                    input,
                    peer,
                });
            }
            (_, Opening::Http) | (Protocol::WebSocket, Opening::Unknown) => {}
            (_, other) => return Err(Stop(format!("{} is not spoken on this port", other.name()))),
        }
        self.upgrade(&wire, &mut input).await?;
        let remote = peer.address.to_string();
        let wire = WebSocketWire::new(wire, self.message_bytes_max, remote);
        wire.take_in_first(&mut input)?;
        Ok(Spoken {
            openwire: false,
            wire: Carrier::WebSocket(Arc::new(wire)),
            input,
            peer,
        })
    }

    /// The handshake of WebSocket, or an answer to whatever else is asked.
    async fn upgrade<W: Duplex>(&self, wire: &W, input: &mut BytesMut) -> Result<(), Stop> {
        loop {
            match http::answer(input, &self.origins) {
                None => self.more(wire, input).await?,
                Some((len, Answer::Upgrade(response))) => {
                    input.advance(len);
                    return Ok(write(wire, response.as_bytes()).await?);
                }
                Some((_, Answer::Refuse { response, reason })) => {
                    write(wire, response.as_bytes()).await?;
                    wire.shutdown_write();
                    linger(wire, input).await;
                    return Err(Stop(reason));
                }
            }
        }
    }

    /// Waits for further octets.
    async fn more<W: Duplex>(&self, wire: &W, input: &mut BytesMut) -> Result<(), Stop> {
        if input.len() >= self.opening_bytes_max {
            let max = self.opening_bytes_max;
            return Err(Stop(format!(
                "more than {max} bytes before STOMP (stomp.before_login_bytes_max)"
            )));
        }
        match read(wire, input).await? {
            0 => Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
            _ => Ok(()),
        }
    }
}

/// Reads what comes next; 0 at the end.
async fn read<W: Duplex>(wire: &W, input: &mut BytesMut) -> io::Result<usize> {
    loop {
        wire.ready(true, false).await?;
        match wire.try_read(input) {
            Err(error) if is_transient(&error) => {}
            outcome => return outcome,
        }
    }
}

/// Writes all of it.
async fn write<W: Duplex>(wire: &W, octets: &[u8]) -> io::Result<()> {
    let mut sent = 0;
    while sent < octets.len() {
        match wire.try_write(&[IoSlice::new(&octets[sent..])]) {
            Ok(count) => sent += count,
            Err(error) if is_transient(&error) => wire.ready(false, true).await?,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Reads on for a while, so that the client sees the answer and no reset.
async fn linger<W: Duplex>(wire: &W, input: &mut BytesMut) {
    let mut rest = LINGER_BYTES_MAX;
    while rest > 0 {
        input.clear();
        match read(wire, input).await {
            Ok(0) | Err(_) => return,
            Ok(count) => rest = rest.saturating_sub(count),
        }
    }
}

fn is_transient(error: &io::Error) -> bool {
    let kind = error.kind();
    kind == io::ErrorKind::WouldBlock || kind == io::ErrorKind::Interrupted
}

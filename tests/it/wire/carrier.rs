//! What a test's client speaks through: TCP, TLS, WebSocket, or WebSocket over TLS.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use rustls::{ClientConfig, ClientConnection, StreamOwned};
use tungstenite::protocol::Message;
use tungstenite::{Error, WebSocket};

/// Far longer than anything takes, so that only a real hang meets it.
const DEADLINE: Duration = Duration::from_secs(20);

/// Both directions of a connection.
pub(crate) trait Carrier: Read + Write + Send {
    /// The socket below.
    fn tcp(&self) -> &TcpStream;
    /// Ends the writing side.
    fn half_close(&mut self);
}

/// A connection by TCP.
pub(crate) fn tcp(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("the broker accepts");
    stream.set_nodelay(true).expect("an option");
    stream.set_read_timeout(Some(DEADLINE)).expect("an option");
    stream.set_write_timeout(Some(DEADLINE)).expect("an option");
    stream
}

impl Carrier for TcpStream {
    fn tcp(&self) -> &TcpStream {
        self
    }

    fn half_close(&mut self) {
        self.shutdown(Shutdown::Write).expect("half a close");
    }
}

/// A connection by TLS; the handshake is done with the first octets.
pub(crate) type TlsStream = StreamOwned<ClientConnection, TcpStream>;

pub(crate) fn tls(stream: TcpStream, config: Arc<ClientConfig>) -> TlsStream {
    let name = "localhost".try_into().expect("a name");
    let connection = ClientConnection::new(config, name).expect("a configuration");
    StreamOwned::new(connection, stream)
}

impl Carrier for TlsStream {
    fn tcp(&self) -> &TcpStream {
        &self.sock
    }

    fn half_close(&mut self) {
        self.conn.send_close_notify();
        self.flush().expect("the broker reads");
        self.sock.shutdown(Shutdown::Write).expect("half a close");
    }
}

/// A connection by WebSocket: each write is a message, of text if it can be.
pub(crate) struct WebSocketCarrier<S> {
    pub(crate) socket: WebSocket<S>,
    /// What has come and was not asked for yet.
    rest: Vec<u8>,
}

/// Does the handshake, with these sub-protocols offered; gives the one that was chosen too.
pub(crate) fn websocket<S: Carrier>(
    stream: S,
    offered: &str,
    headers: &[(&'static str, &str)],
) -> Result<(WebSocketCarrier<S>, Option<String>), u16> {
    let mut request = tungstenite::ClientRequestBuilder::new(
        "ws://localhost:1/stomp".parse().expect("an address"),
    );
    if !offered.is_empty() {
        request = request.with_header("Sec-WebSocket-Protocol", offered);
    }
    for (name, value) in headers {
        request = request.with_header(*name, *value);
    }
    match tungstenite::client(request, stream) {
        Ok((socket, response)) => {
            let chosen = response.headers().get("sec-websocket-protocol");
            let chosen = chosen.map(|value| value.to_str().expect("it is text").to_owned());
            let rest = Vec::new();
            Ok((WebSocketCarrier { socket, rest }, chosen))
        }
        Err(tungstenite::HandshakeError::Failure(Error::Http(response))) => {
            Err(response.status().as_u16())
        }
        Err(error) => panic!("{error}"),
    }
}

impl<S: Carrier> Carrier for WebSocketCarrier<S> {
    fn tcp(&self) -> &TcpStream {
        self.socket.get_ref().tcp()
    }

    fn half_close(&mut self) {
        self.socket.close(None).expect("the broker reads");
        self.socket.flush().expect("the broker reads");
    }
}

impl<S: Carrier> Read for WebSocketCarrier<S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.rest.is_empty() {
            match self.socket.read() {
                Ok(Message::Text(text)) => self.rest = text.as_bytes().to_vec(),
                Ok(Message::Binary(octets)) => self.rest = octets.to_vec(),
                Ok(_) => {}
                Err(Error::ConnectionClosed | Error::AlreadyClosed) => return Ok(0),
                Err(Error::Io(error)) => return Err(error),
                Err(error) => return Err(io::Error::new(ErrorKind::ConnectionReset, error)),
            }
        }
        let count = self.rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&self.rest[..count]);
        self.rest.drain(..count);
        Ok(count)
    }
}

impl<S: Carrier> Write for WebSocketCarrier<S> {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        let message = match std::str::from_utf8(octets) {
            Ok(text) => Message::text(text),
            Err(_) => Message::binary(octets.to_vec()),
        };
        match self.socket.send(message) {
            Ok(()) => Ok(octets.len()),
            Err(Error::Io(error)) => Err(error),
            Err(error) => Err(io::Error::new(ErrorKind::BrokenPipe, error)),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

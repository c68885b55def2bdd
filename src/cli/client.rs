//! A small blocking STOMP client, shared by `pub`, `sub` and the set-up of `bench`.
//!
//! - One connection, one thread; time-outs are those of the socket.
//! - STOMP 1.2, 1.1 and 1.0: the highest the broker offers; headers are escaped by that version (CONNECT never is).
//! - No heart-beats are offered or asked for: a command-line tool lives as long as its socket.
//!
//! Frames are written and read by the codec the broker uses. Not here: the hot paths of `bench`, which patch rendered frames and
//! compare shapes instead of decoding (`bench/tape.rs`, `bench/scan.rs`), because a generator must cost less than a broker.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, ToSocketAddrs};
use std::time::Duration;

use anyhow::{Context, bail};
use ferrymq_protocols::stomp::{ClientFrameWriter, DecodeOptions, Decoder};
pub(crate) use ferrymq_protocols::stomp::{Command, Version};
use ferrymq_protocols::{Limits, ProtocolError};

/// How long a broker may take to answer CONNECT or to confirm a receipt.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// What is written together before the socket is called.
const WRITE_BYTES: usize = 64 * 1024;
/// A client takes what the broker it chose to trust sends; these bounds only stop nonsense.
const LIMITS: Limits = Limits {
    command_bytes_max: 1024,
    header_bytes_max: 16 * 1024 * 1024,
    headers_max: 100_000,
    body_bytes_max: 1024 * 1024 * 1024,
    frame_bytes_max: 1088 * 1024 * 1024,
    before_login_bytes_max: 1024 * 1024,
};

/// Where and as whom to connect.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct ConnectArgs {
    /// Broker address, as HOST:PORT or stomp://HOST:PORT
    #[arg(
        long,
        short,
        default_value = "127.0.0.1:61613",
        value_name = "HOST:PORT"
    )]
    pub(crate) addr: String,
    /// User name
    #[arg(long, value_name = "USER")]
    pub(crate) login: Option<String>,
    /// Password
    #[arg(long)]
    pub(crate) passcode: Option<String>,
    /// Virtual host [default: the host of the address]
    #[arg(long, value_name = "NAME")]
    pub(crate) host: Option<String>,
}

impl ConnectArgs {
    /// Whether the broker is on this machine, so that any address of 127/8 can be connected from.
    pub(crate) fn is_loopback(&self) -> bool {
        resolve(&self.addr).is_ok_and(|(addr, _)| addr.is_ipv4() && addr.ip().is_loopback())
    }
}

/// What sets one connection apart from another of the same arguments.
#[derive(Debug, Clone, Default)]
pub(crate) struct Identity {
    /// JMS client id, needed for durable subscriptions.
    pub(crate) client_id: Option<String>,
    /// Say `STOMP` instead of `CONNECT` (the bare relay tells its producer by that).
    pub(crate) stomp_command: bool,
    /// Local address to connect from, when one address has too few ports.
    pub(crate) source: Option<IpAddr>,
}

/// A frame from the broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ServerFrame {
    /// MESSAGE, RECEIPT, ERROR or CONNECTED.
    pub(crate) command: Command,
    /// Headers in order, unescaped.
    pub(crate) headers: Vec<(String, String)>,
    /// The body, without the closing NUL.
    pub(crate) body: Vec<u8>,
}

impl ServerFrame {
    /// The first header of that name.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(n, _)| n == name)
            .map(|(_, v)| v.as_str())
    }
}

/// An open STOMP connection.
#[derive(Debug)]
pub(crate) struct Client {
    stream: TcpStream,
    decoder: Decoder,
    input: Vec<u8>,
    /// Octets of `input` already taken as frames.
    taken: usize,
    output: Vec<u8>,
    version: Version,
    receipts: u64,
}

impl Client {
    /// Connects and logs in.
    ///
    /// # Errors
    /// If nobody listens at the address, or the broker refuses: the error names the address and the broker's words.
    pub(crate) fn connect(args: &ConnectArgs, identity: &Identity) -> anyhow::Result<Self> {
        let (addr, host) = resolve(&args.addr)?;
        let stream = open(addr, identity.source)
            .with_context(|| format!("no connection to {}", args.addr))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
        stream.set_write_timeout(Some(ANSWER_TIMEOUT))?;
        let decoder = Decoder::new(LIMITS, DecodeOptions::default());
        let (input, output) = (Vec::new(), Vec::new());
        let mut client = Self {
            stream,
            decoder,
            input,
            taken: 0,
            output,
            version: Version::V10,
            receipts: 0,
        };
        let command = if identity.stomp_command {
            Command::Stomp
        } else {
            Command::Connect
        };
        let mut headers = vec![
            ("accept-version", "1.0,1.1,1.2"),
            ("host", args.host.as_deref().unwrap_or(&host)),
            ("heart-beat", "0,0"),
        ];
        for (name, value) in [
            ("login", &args.login),
            ("passcode", &args.passcode),
            ("client-id", &identity.client_id),
        ] {
            headers.extend(value.as_deref().map(|value| (name, value)));
        }
        client.queue(command, &headers, b"", false)?;
        client.flush()?;
        let answer = client
            .answer()
            .with_context(|| format!("{} did not accept the connection", args.addr))?;
        if answer.command != Command::Connected {
            bail!(
                "{} answered CONNECT with {}",
                args.addr,
                answer.command.name()
            );
        }
        client.version = answer
            .header("version")
            .and_then(Version::from_number)
            .unwrap_or(Version::V10);
        client.decoder.set_version(client.version);
        Ok(client)
    }

    /// The version the broker chose.
    pub(crate) fn version(&self) -> Version {
        self.version
    }

    /// Adds a frame to what is written next; writes when enough has gathered.
    ///
    /// # Errors
    /// If the socket fails; if the broker closed it after an ERROR, the error says the ERROR's words.
    pub(crate) fn queue(
        &mut self,
        command: Command,
        headers: &[(&str, &str)],
        body: &[u8],
        content_length: bool,
    ) -> anyhow::Result<()> {
        ClientFrameWriter::new(self.version, &mut self.output).frame(
            command,
            headers,
            body,
            content_length,
        );
        if self.output.len() >= WRITE_BYTES {
            self.flush()
        } else {
            Ok(())
        }
    }

    /// Writes what was queued.
    ///
    /// # Errors
    /// As [`queue`](Self::queue).
    pub(crate) fn flush(&mut self) -> anyhow::Result<()> {
        let written = self.stream.write_all(&self.output);
        self.output.clear();
        written.map_err(|error| self.last_words(error))
    }

    /// Sends a frame without a body, with a receipt, and waits for it; messages that come before are dropped.
    ///
    /// # Errors
    /// If the broker answers ERROR, or not at all.
    pub(crate) fn request(
        &mut self,
        command: Command,
        headers: &[(&str, &str)],
    ) -> anyhow::Result<()> {
        self.receipts += 1;
        let id = format!("r{}", self.receipts);
        self.queue(
            command,
            &[headers, &[("receipt", &id)]].concat(),
            b"",
            false,
        )?;
        self.flush()?;
        self.await_receipt(&id)
    }

    /// Reads until the RECEIPT of that id.
    ///
    /// # Errors
    /// If the broker answers ERROR, closes, or does not answer in time.
    pub(crate) fn await_receipt(&mut self, id: &str) -> anyhow::Result<()> {
        loop {
            let frame = self.answer()?;
            if frame.command == Command::Receipt && frame.header("receipt-id") == Some(id) {
                return Ok(());
            }
        }
    }

    /// The next frame, or `None` if none came within the read time-out.
    ///
    /// # Errors
    /// If the connection ended or the octets are no frame.
    pub(crate) fn next_frame(&mut self) -> anyhow::Result<Option<ServerFrame>> {
        loop {
            if let Some(frame) = self.take_frame()? {
                return Ok(Some(frame));
            }
            if !self.fill()? {
                return Ok(None);
            }
        }
    }

    /// Sets how long [`next_frame`](Self::next_frame) waits.
    ///
    /// # Errors
    /// If the socket is gone.
    pub(crate) fn set_read_timeout(&self, timeout: Duration) -> anyhow::Result<()> {
        Ok(self.stream.set_read_timeout(Some(timeout))?)
    }

    /// Ends the connection after the broker has processed everything sent.
    ///
    /// # Errors
    /// If the broker does not confirm the DISCONNECT.
    pub(crate) fn disconnect(mut self) -> anyhow::Result<()> {
        self.set_read_timeout(ANSWER_TIMEOUT)?;
        self.request(Command::Disconnect, &[])
    }

    /// Gives up the socket and what was read from it but not yet taken as a frame.
    pub(crate) fn into_parts(mut self) -> (TcpStream, Vec<u8>) {
        self.input.drain(..self.taken);
        (self.stream, self.input)
    }

    /// The next frame, which must come in time and be no ERROR.
    ///
    /// # Errors
    /// If it is, or none came.
    pub(crate) fn answer(&mut self) -> anyhow::Result<ServerFrame> {
        match self.next_frame()? {
            Some(frame) if frame.command == Command::Error => Err(refusal(&frame)),
            Some(frame) => Ok(frame),
            None => bail!(
                "the broker did not answer within {} s",
                ANSWER_TIMEOUT.as_secs()
            ),
        }
    }

    /// The next frame that has been read already, without waiting.
    ///
    /// # Errors
    /// If the octets are no frame.
    pub(crate) fn take_frame(&mut self) -> anyhow::Result<Option<ServerFrame>> {
        let Some(frame) = self
            .decoder
            .decode(&self.input[self.taken..])
            .map_err(not_stomp)?
        else {
            self.taken += self.decoder.take_idle();
            return Ok(None);
        };
        let headers = frame
            .headers
            .iter()
            .map(|(name, value)| (name.into_owned(), value.into_owned()));
        let taken = ServerFrame {
            command: frame.command,
            headers: headers.collect(),
            body: frame.body.to_vec(),
        };
        self.taken += frame.consumed;
        Ok(Some(taken))
    }

    /// Reads once; false if the read timed out.
    fn fill(&mut self) -> anyhow::Result<bool> {
        self.input.drain(..self.taken);
        self.taken = 0;
        let mut piece = [0; 16 * 1024];
        match self.stream.read(&mut piece) {
            Ok(0) => bail!("the broker closed the connection"),
            Ok(n) => self.input.extend_from_slice(&piece[..n]),
            Err(error) if is_timeout(&error) => return Ok(false),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error).context("the connection broke"),
        }
        Ok(true)
    }

    /// A failed write often means that the broker said why and closed: look for its ERROR before reporting the socket's error.
    fn last_words(&mut self, error: std::io::Error) -> anyhow::Error {
        let _ = self.stream.set_read_timeout(Some(Duration::from_secs(1)));
        while let Ok(Some(frame)) = self.next_frame() {
            if frame.command == Command::Error {
                return refusal(&frame);
            }
        }
        anyhow::Error::new(error).context("the connection broke")
    }
}

fn not_stomp(error: ProtocolError) -> anyhow::Error {
    anyhow::Error::new(error).context("the answer is not STOMP")
}

/// Reads a header argument `NAME:VALUE`.
///
/// # Errors
/// If there is no colon or no name.
pub(crate) fn header_argument(text: &str) -> anyhow::Result<(String, String)> {
    match text.split_once(':') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => bail!("expected NAME:VALUE"),
    }
}

/// Whether a read ended because of the socket's time-out.
#[must_use]
pub(crate) fn is_timeout(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

/// Turns an ERROR frame into an error that shows its `message` and body.
#[must_use]
pub(crate) fn refusal(frame: &ServerFrame) -> anyhow::Error {
    let message = frame.header("message").unwrap_or("(without a message)");
    let body = String::from_utf8_lossy(&frame.body);
    let body = body.trim_end();
    if body.is_empty() || body == message {
        anyhow::anyhow!("the broker answered ERROR: {message}")
    } else {
        anyhow::anyhow!("the broker answered ERROR: {message}\n{body}")
    }
}

fn open(addr: SocketAddr, source: Option<IpAddr>) -> std::io::Result<TcpStream> {
    let Some(source) = source else {
        return TcpStream::connect_timeout(&addr, ANSWER_TIMEOUT);
    };
    let socket = socket2::Socket::new(
        socket2::Domain::for_address(addr),
        socket2::Type::STREAM,
        None,
    )?;
    socket.bind(&SocketAddr::new(source, 0).into())?;
    socket.connect(&addr.into())?;
    Ok(socket.into())
}

/// Takes `stomp://host:port`, `tcp://host:port` or `host:port` apart: an address to connect to, and the host as written.
fn resolve(text: &str) -> anyhow::Result<(SocketAddr, String)> {
    let bare = ["stomp://", "tcp://"]
        .iter()
        .find_map(|scheme| text.strip_prefix(scheme))
        .unwrap_or(text);
    let bare = bare.trim_end_matches('/');
    let with_port = if bare.contains(':') {
        bare.to_owned()
    } else {
        format!("{bare}:61613")
    };
    let mut found = with_port
        .to_socket_addrs()
        .with_context(|| format!("{text:?} is no address (HOST:PORT or stomp://HOST:PORT)"))?;
    let addr = found
        .next()
        .with_context(|| format!("{text:?} names no address"))?;
    let host = with_port
        .rsplit_once(':')
        .map_or(with_port.as_str(), |(host, _)| host);
    Ok((addr, host.to_owned()))
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::thread;

    use super::*;

    /// A broker that reads the CONNECT, says `script` and closes.
    fn scripted(script: &'static [u8]) -> ConnectArgs {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = format!("stomp://{}", listener.local_addr().unwrap());
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut octet = [1];
            while octet[0] != 0 {
                stream.read_exact(&mut octet).unwrap();
            }
            stream.write_all(script).unwrap();
        });
        ConnectArgs {
            addr,
            login: None,
            passcode: None,
            host: None,
        }
    }

    #[test]
    fn frames_come_unescaped_in_the_version_the_broker_chose() {
        let args = scripted(b"CONNECTED\nversion:1.1\n\n\0\n\nMESSAGE\nk:a\\cb\ncontent-length:3\n\na\0b\0\nRECEIPT\nreceipt-id:7\n\n\0");
        let mut client = Client::connect(&args, &Identity::default()).unwrap();
        assert_eq!(client.version(), Version::V11);
        let frame = client.next_frame().unwrap().unwrap();
        assert_eq!(
            (frame.header("k"), frame.body.as_slice()),
            (Some("a:b"), b"a\0b".as_slice())
        );
        client.await_receipt("7").unwrap();
        assert!(
            client
                .next_frame()
                .unwrap_err()
                .to_string()
                .contains("closed")
        );
    }

    #[test]
    fn a_refusal_shows_the_brokers_words_and_the_address() {
        let args = scripted(b"ERROR\nmessage:bad login\n\nUser name [x] is wrong\0");
        let error = format!(
            "{:#}",
            Client::connect(&args, &Identity::default()).unwrap_err()
        );
        for part in [args.addr.as_str(), "bad login", "User name [x] is wrong"] {
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn what_is_no_broker_is_named_so() {
        let args = scripted(b"HTTP/1.1 400 Bad Request\r\n\r\n");
        let error = format!(
            "{:#}",
            Client::connect(&args, &Identity::default()).unwrap_err()
        );
        assert!(error.contains("not STOMP"), "{error}");
        let free = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .to_string();
        let args = ConnectArgs {
            addr: free.clone(),
            ..args
        };
        let error = format!(
            "{:#}",
            Client::connect(&args, &Identity::default()).unwrap_err()
        );
        assert!(
            error.contains(&free) && error.contains("refused"),
            "{error}"
        );
    }

    #[test]
    fn addresses_may_carry_a_scheme_and_need_no_port() {
        let check = |text: &str, port: u16, host: &str| {
            let (addr, found) = resolve(text).unwrap();
            assert_eq!((addr.port(), found.as_str()), (port, host), "{text}");
        };
        check("127.0.0.1:1", 1, "127.0.0.1");
        check("stomp://127.0.0.1:2", 2, "127.0.0.1");
        check("tcp://127.0.0.1:3/", 3, "127.0.0.1");
        check("127.0.0.1", 61613, "127.0.0.1");
        assert!(resolve("127.0.0.1:port").is_err());
    }
}

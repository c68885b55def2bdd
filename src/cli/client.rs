//! A small blocking STOMP client, shared by `pub`, `sub` and the set-up of `bench`.
//!
//! - One connection, one thread; time-outs are those of the socket.
//! - STOMP 1.2, 1.1 and 1.0: the highest the broker offers; headers are escaped by that version (CONNECT never is).
//! - No heart-beats are offered or asked for: a command-line tool lives as long as its socket.
//!
//! Not here: the hot paths of `bench`, which patch rendered frames and read stamps (`bench/tape.rs`, `bench/scan.rs`).

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, ToSocketAddrs};
use std::time::Duration;

use anyhow::{Context, bail};

/// How long a broker may take to answer CONNECT or to confirm a receipt.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// Largest frame a tool accepts; a broker's own limit is 100 MiB.
const FRAME_MAX: usize = 512 * 1024 * 1024;

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

/// The protocol version in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Version {
    /// STOMP 1.0
    V10,
    /// STOMP 1.1
    V11,
    /// STOMP 1.2
    V12,
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
    pub(crate) command: String,
    /// Headers in order, unescaped.
    pub(crate) headers: Vec<(String, String)>,
    /// The body, without the closing NUL.
    pub(crate) body: Vec<u8>,
}

impl ServerFrame {
    /// The first header of that name.
    #[must_use]
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
    input: Vec<u8>,
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
        let mut client = Self {
            stream,
            input: Vec::new(),
            version: Version::V10,
            receipts: 0,
        };
        let command = if identity.stomp_command {
            "STOMP"
        } else {
            "CONNECT"
        };
        let mut head = format!(
            "{command}\naccept-version:1.0,1.1,1.2\nhost:{}\nheart-beat:0,0\n",
            args.host.as_deref().unwrap_or(&host)
        );
        for (name, value) in [
            ("login", &args.login),
            ("passcode", &args.passcode),
            ("client-id", &identity.client_id),
        ] {
            if let Some(value) = value {
                head.push_str(&format!("{name}:{value}\n"));
            }
        }
        head.push_str("\n\0");
        client.write(head.as_bytes())?;
        let answer = client
            .answer()
            .with_context(|| format!("{} did not accept the connection", args.addr))?;
        if answer.command != "CONNECTED" {
            bail!(
                "{} answered CONNECT with {}: is it a STOMP broker?",
                args.addr,
                answer.command
            );
        }
        client.version = match answer.header("version") {
            Some("1.2") => Version::V12,
            Some("1.1") => Version::V11,
            _ => Version::V10,
        };
        Ok(client)
    }

    /// The version the broker chose.
    #[must_use]
    pub(crate) fn version(&self) -> Version {
        self.version
    }

    /// Writes whole frames.
    ///
    /// # Errors
    /// If the socket fails; if the broker closed it after an ERROR, the error says the ERROR's words.
    pub(crate) fn write(&mut self, frames: &[u8]) -> anyhow::Result<()> {
        match self.stream.write_all(frames) {
            Ok(()) => Ok(()),
            Err(error) => Err(self.last_words(error)),
        }
    }

    /// Sends `frame` (see [`FrameWriter`]) with a receipt of its own and waits for it; messages that come before are dropped.
    ///
    /// # Errors
    /// If the broker answers ERROR, or not at all.
    pub(crate) fn request(&mut self, frame: FrameWriter) -> anyhow::Result<()> {
        self.receipts += 1;
        let id = format!("r{}", self.receipts);
        let bytes = frame.header("receipt", &id).finish(b"");
        self.write(&bytes)?;
        self.await_receipt(&id)
    }

    /// Reads until the RECEIPT of that id.
    ///
    /// # Errors
    /// If the broker answers ERROR, closes, or does not answer in time.
    pub(crate) fn await_receipt(&mut self, id: &str) -> anyhow::Result<()> {
        loop {
            let frame = self.answer()?;
            if frame.command == "RECEIPT" && frame.header("receipt-id") == Some(id) {
                return Ok(());
            }
        }
    }

    /// The next frame, or `None` if none came within the read time-out.
    ///
    /// # Errors
    /// If the connection ended or the bytes are no frame.
    pub(crate) fn next_frame(&mut self) -> anyhow::Result<Option<ServerFrame>> {
        loop {
            if let Some((frame, used)) = parse(&self.input, self.version)? {
                self.input.drain(..used);
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
        self.stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
        self.request(FrameWriter::new("DISCONNECT", self.version))
    }

    /// Gives up the socket and what was read from it but not yet taken as a frame.
    #[must_use]
    pub(crate) fn into_parts(self) -> (TcpStream, Vec<u8>) {
        (self.stream, self.input)
    }

    fn answer(&mut self) -> anyhow::Result<ServerFrame> {
        match self.next_frame()? {
            Some(frame) if frame.command == "ERROR" => Err(refusal(&frame)),
            Some(frame) => Ok(frame),
            None => bail!(
                "the broker did not answer within {} s",
                ANSWER_TIMEOUT.as_secs()
            ),
        }
    }

    /// Reads once; false if the read timed out.
    fn fill(&mut self) -> anyhow::Result<bool> {
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
            if frame.command == "ERROR" {
                return refusal(&frame);
            }
        }
        anyhow::Error::new(error).context("the connection broke")
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

/// Builds one client frame.
#[derive(Debug, Clone)]
pub(crate) struct FrameWriter {
    bytes: Vec<u8>,
    version: Version,
}

impl FrameWriter {
    /// Begins a frame of that command.
    #[must_use]
    pub(crate) fn new(command: &str, version: Version) -> Self {
        let mut bytes = Vec::with_capacity(256);
        bytes.extend_from_slice(command.as_bytes());
        bytes.push(b'\n');
        Self { bytes, version }
    }

    /// Adds a header, escaped as the version asks.
    #[must_use]
    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        escape(name, self.version, &mut self.bytes);
        self.bytes.push(b':');
        escape(value, self.version, &mut self.bytes);
        self.bytes.push(b'\n');
        self
    }

    /// Ends the head, adds the body and the NUL.
    #[must_use]
    pub(crate) fn finish(mut self, body: &[u8]) -> Vec<u8> {
        self.bytes.push(b'\n');
        self.bytes.extend_from_slice(body);
        self.bytes.push(0);
        self.bytes
    }
}

/// Spec: STOMP 1.2 and 1.1, Value Encoding. 1.0 has no escapes: a line end would break the frame and becomes a blank.
fn escape(text: &str, version: Version, out: &mut Vec<u8>) {
    for octet in text.bytes() {
        match (octet, version) {
            (b'\n' | b'\r', Version::V10) => out.push(b' '),
            (_, Version::V10) => out.push(octet),
            (b'\\', _) => out.extend_from_slice(b"\\\\"),
            (b'\n', _) => out.extend_from_slice(b"\\n"),
            (b':', _) => out.extend_from_slice(b"\\c"),
            (b'\r', Version::V12) => out.extend_from_slice(b"\\r"),
            _ => out.push(octet),
        }
    }
}

fn unescape(text: &str, version: Version) -> String {
    if version == Version::V10 || !text.contains('\\') {
        return text.to_owned();
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        let (plain, length) = match rest.as_bytes().get(at + 1) {
            Some(b'n') => ("\n", 2),
            Some(b'c') => (":", 2),
            Some(b'r') => ("\r", 2),
            Some(b'\\') => ("\\", 2),
            _ => ("\\", 1),
        };
        out.push_str(plain);
        rest = &rest[at + length..];
    }
    out.push_str(rest);
    out
}

/// Cuts the first whole frame off `input`: the frame and the octets it took. `None`: more octets are needed.
fn parse(input: &[u8], version: Version) -> anyhow::Result<Option<(ServerFrame, usize)>> {
    let Some(start) = input
        .iter()
        .position(|octet| !matches!(octet, b'\n' | b'\r' | 0))
    else {
        return Ok(None);
    };
    let mut lines = Vec::new();
    let mut at = start;
    loop {
        let Some(length) = memchr::memchr(b'\n', &input[at..]) else {
            return Ok(None);
        };
        let line = &input[at..at + length];
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        at += length + 1;
        if line.is_empty() {
            break;
        }
        lines
            .push(std::str::from_utf8(line).context("the broker sent a header that is not UTF-8")?);
    }
    let command = lines.first().map_or("", |line| line.trim()).to_owned();
    let raw = command == "CONNECTED"; // Spec: CON-10, never escaped
    let headers = lines.iter().skip(1).map(|line| {
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        if raw {
            (name.to_owned(), value.to_owned())
        } else {
            (unescape(name, version), unescape(value, version))
        }
    });
    let mut frame = ServerFrame {
        command,
        headers: headers.collect(),
        body: Vec::new(),
    };
    let length = match frame.header("content-length") {
        Some(text) => {
            let length: usize = text
                .trim()
                .parse()
                .with_context(|| format!("the broker sent content-length {text:?}"))?;
            anyhow::ensure!(
                length <= FRAME_MAX,
                "the broker sent a frame of {length} octets"
            );
            length
        }
        None => match memchr::memchr(0, &input[at..]) {
            Some(length) => length,
            None => return Ok(None),
        },
    };
    match input.get(at + length) {
        None => Ok(None),
        Some(0) => {
            frame.body = input[at..at + length].to_vec();
            Ok(Some((frame, at + length + 1)))
        }
        Some(_) => bail!("the broker sent a frame that does not end where its content-length says"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_cut_with_and_without_content_length() {
        let input =
            b"\n\0MESSAGE\na:1\na:2\nb:x\\cy\n\nhello\0\r\nRECEIPT\r\nreceipt-id:7\r\n\r\n\0";
        let (first, used) = parse(input, Version::V12).unwrap().unwrap();
        assert_eq!(
            (first.header("a"), first.header("b"), first.body.as_slice()),
            (Some("1"), Some("x:y"), b"hello".as_slice())
        );
        let (second, rest) = parse(&input[used..], Version::V12).unwrap().unwrap();
        assert_eq!(
            (second.command.as_str(), second.header("receipt-id")),
            ("RECEIPT", Some("7"))
        );
        assert_eq!(used + rest, input.len());
    }

    #[test]
    fn a_frame_that_is_not_whole_yet_is_waited_for() {
        let whole = b"MESSAGE\ncontent-length:3\nx:a\\\\b\n\na\0b\0";
        for end in 0..whole.len() {
            assert_eq!(
                parse(&whole[..end], Version::V12).unwrap(),
                None,
                "{end} octets"
            );
        }
        let (frame, used) = parse(whole, Version::V12).unwrap().unwrap();
        assert_eq!(
            (frame.body.as_slice(), used),
            (b"a\0b".as_slice(), whole.len())
        );
        assert_eq!(frame.header("x"), Some("a\\b"));
    }

    #[test]
    fn a_body_that_runs_past_its_content_length_is_an_error() {
        assert!(parse(b"MESSAGE\ncontent-length:1\n\nab\0", Version::V12).is_err());
        assert!(parse(b"MESSAGE\ncontent-length:x\n\nab\0", Version::V12).is_err());
    }

    #[test]
    fn headers_are_escaped_by_version() {
        let check = |version, expected: &str| {
            let bytes = FrameWriter::new("SEND", version)
                .header("k", "a:b\\c\nd\re")
                .finish(b"");
            assert_eq!(
                String::from_utf8(bytes).unwrap(),
                format!("SEND\nk:{expected}\n\n\0")
            );
        };
        check(Version::V10, "a:b\\c d e");
        check(Version::V11, "a\\cb\\\\c\\nd\re");
        check(Version::V12, "a\\cb\\\\c\\nd\\re");
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

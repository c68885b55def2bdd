//! A STOMP client that says exactly what a test says, octet by octet, and reads what comes with a deadline.
//!
//! Heads are written as in the list of cases: `SEND destination:/queue/q receipt:1`, words with blanks in `'…'`.
//! "Nothing comes" is shown by [`Client::fence`]: a RECEIPT asked for later comes first.

use std::fmt;
use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use socket2::SockRef;

use super::carrier::{self, Carrier};

/// A frame as it came; header values are not unescaped.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) command: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Frame {
    /// The first header of that name.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }

    /// A header that has to be there.
    pub(crate) fn must(&self, name: &str) -> &str {
        self.get(name)
            .unwrap_or_else(|| panic!("no {name} in {self:?}"))
    }

    /// The body, which has to be UTF-8.
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Whether it is as `pattern` says: the command, then `name:value`, `name~part`, `name` (there), `!name` (not there).
    #[track_caller]
    pub(crate) fn check(&self, pattern: &str) {
        let words = words(pattern);
        let (command, headers) = words.split_first().expect("a pattern names a command");
        assert!(command == &self.command, "wanted {pattern}, got {self:?}");
        for wanted in headers {
            let matches = match wanted.find([':', '~']) {
                None => match wanted.strip_prefix('!') {
                    Some(name) => self.get(name).is_none(),
                    None => self.get(wanted).is_some(),
                },
                Some(at) => {
                    let (name, value) = (&wanted[..at], &wanted[at + 1..]);
                    let exact = wanted.as_bytes()[at] == b':';
                    self.get(name)
                        .is_some_and(|found| found == value || !exact && found.contains(value))
                }
            };
            assert!(matches, "wanted {wanted} of {pattern}, got {self:?}");
        }
    }
}

impl fmt::Debug for Frame {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}", self.command)?;
        for (name, value) in &self.headers {
            write!(out, " {name}:{value:?}")?;
        }
        let body = String::from_utf8_lossy(&self.body);
        write!(out, " | {:?}", body.chars().take(300).collect::<String>())
    }
}

/// Splits at blanks outside of quotation marks, which are removed.
fn words(text: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quoted = false;
    for character in text.chars() {
        match character {
            '\'' => quoted = !quoted,
            ' ' if !quoted => words.push(String::new()),
            _ => words
                .last_mut()
                .expect("there is one always")
                .push(character),
        }
    }
    words
}

/// The octets of a frame.
pub(crate) fn frame(head: &str, body: impl AsRef<[u8]>) -> Vec<u8> {
    let mut octets = Vec::new();
    for word in words(head) {
        octets.extend_from_slice(word.as_bytes());
        octets.push(b'\n');
    }
    octets.push(b'\n');
    octets.extend_from_slice(body.as_ref());
    octets.push(0);
    octets
}

/// A connection.
pub(crate) struct Client {
    stream: Box<dyn Carrier>,
    input: Vec<u8>,
    at: usize,
    /// Line ends between frames so far, without the one that ends each frame.
    pub(crate) beats: usize,
    asked: u32,
}

impl Client {
    /// A connection that has said nothing yet.
    pub(crate) fn open(address: SocketAddr) -> Self {
        Self::over(Box::new(carrier::tcp(address)))
    }

    /// The same, by other means.
    pub(crate) fn over(stream: Box<dyn Carrier>) -> Self {
        Self {
            stream,
            input: Vec::new(),
            at: 0,
            beats: 0,
            asked: 0,
        }
    }

    /// A connection that has said this CONNECT and is connected.
    pub(crate) fn connect(address: SocketAddr, head: &str) -> Self {
        Self::open(address).connected(head)
    }

    /// Says this CONNECT and is connected.
    #[track_caller]
    pub(crate) fn connected(mut self, head: &str) -> Self {
        self.put(head);
        self.expect("CONNECTED");
        self
    }

    /// Another handle on the same socket, to write from a second thread: by TCP only.
    pub(crate) fn writer(&self) -> TcpStream {
        self.stream.tcp().try_clone().expect("a second handle")
    }

    pub(crate) fn local_addr(&self) -> SocketAddr {
        self.stream.tcp().local_addr().expect("an address")
    }

    /// Writes octets as they are.
    #[track_caller]
    pub(crate) fn raw(&mut self, octets: impl AsRef<[u8]>) {
        self.stream
            .write_all(octets.as_ref())
            .expect("the broker reads");
    }

    /// Writes octets although the broker may have closed or may close meanwhile.
    pub(crate) fn pour(&mut self, octets: &[u8]) {
        // What became of it is what the reader of the connection sees.
        let _ = self.stream.write_all(octets);
    }

    /// Writes a frame without a body.
    #[track_caller]
    pub(crate) fn put(&mut self, head: &str) {
        self.raw(frame(head, ""));
    }

    /// Writes a frame.
    #[track_caller]
    pub(crate) fn put_with(&mut self, head: &str, body: impl AsRef<[u8]>) {
        self.raw(frame(head, body));
    }

    /// Writes a frame with a receipt, which has to be the next that comes.
    #[track_caller]
    pub(crate) fn ask(&mut self, head: &str) {
        self.ask_with(head, "");
    }

    /// [`Client::ask`] with a body.
    #[track_caller]
    pub(crate) fn ask_with(&mut self, head: &str, body: impl AsRef<[u8]>) {
        self.asked += 1;
        let receipt = format!("ask-{}", self.asked);
        self.put_with(&format!("{head} receipt:{receipt}"), body);
        self.expect(&format!("RECEIPT receipt-id:{receipt}"));
    }

    /// Writes a frame with a receipt and gives the frames that come before it.
    #[track_caller]
    pub(crate) fn ask_amid(&mut self, head: &str) -> Vec<Frame> {
        self.asked += 1;
        let receipt = format!("ask-{}", self.asked);
        self.put(&format!("{head} receipt:{receipt}"));
        let mut before = Vec::new();
        loop {
            let next = self.frame();
            if next.command == "RECEIPT" {
                next.check(&format!("RECEIPT receipt-id:{receipt}"));
                return before;
            }
            before.push(next);
        }
    }

    /// Sends a message and waits until it is enqueued.
    #[track_caller]
    pub(crate) fn send(&mut self, destination: &str, body: &str) {
        self.ask_with(&format!("SEND destination:{destination}"), body);
    }

    /// Shows that nothing has come and that the connection stays.
    #[track_caller]
    pub(crate) fn fence(&mut self) {
        self.ask("SEND destination:/topic/fence");
    }

    /// Shows that a frame costs an ERROR and nothing else.
    #[track_caller]
    pub(crate) fn refused(&mut self, head: &str, pattern: &str) {
        self.put(&format!("{head} receipt:refused"));
        self.expect(&format!("{pattern} receipt-id:refused"));
        self.fence();
    }

    /// Shows that a frame costs an ERROR and the connection.
    #[track_caller]
    pub(crate) fn fatal(&mut self, head: &str, pattern: &str) {
        self.put(head);
        self.expect(pattern);
        self.closed();
    }

    /// The next frame, which has to be as `pattern` says.
    #[track_caller]
    pub(crate) fn expect(&mut self, pattern: &str) -> Frame {
        let Some(frame) = self.next() else {
            panic!("wanted {pattern}, got the end of the connection");
        };
        frame.check(pattern);
        frame
    }

    /// The next frame, which has to be a MESSAGE with this body.
    #[track_caller]
    pub(crate) fn message(&mut self, body: &str) -> Frame {
        let frame = self.expect("MESSAGE");
        assert_eq!(frame.text(), body, "{frame:?}");
        frame
    }

    /// The next MESSAGEs, which have to have these bodies.
    #[track_caller]
    pub(crate) fn messages<B: AsRef<str>>(
        &mut self,
        bodies: impl IntoIterator<Item = B>,
    ) -> Vec<Frame> {
        bodies
            .into_iter()
            .map(|body| self.message(body.as_ref()))
            .collect()
    }

    /// The next frame.
    #[track_caller]
    pub(crate) fn frame(&mut self) -> Frame {
        let Some(frame) = self.next() else {
            panic!("wanted a frame, got the end of the connection");
        };
        frame
    }

    /// The broker closes without a further frame.
    #[track_caller]
    pub(crate) fn closed(&mut self) {
        if let Some(frame) = self.next() {
            panic!("wanted the end of the connection, got {frame:?}");
        }
    }

    /// The broker ends the connection, in whatever way, and whatever came before.
    pub(crate) fn ended(&mut self) {
        let mut piece = [0; 64 * 1024];
        loop {
            match self.stream.read(&mut piece) {
                Ok(0) => return,
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return,
                Err(error) => panic!("the connection did not end: {error}"),
                Ok(_) => {}
            }
        }
    }

    /// The next frame, or `None` when the broker has closed its side in good order.
    #[track_caller]
    pub(crate) fn next(&mut self) -> Option<Frame> {
        loop {
            if let Some(frame) = self.parse() {
                return Some(frame);
            }
            if self.fill() == 0 {
                let rest = String::from_utf8_lossy(&self.input[self.at..]);
                assert!(
                    rest.is_empty(),
                    "the connection ended within a frame: {rest:?}"
                );
                return None;
            }
        }
    }

    /// The next frame, or `None` when the connection has ended in whatever way.
    pub(crate) fn try_next(&mut self) -> Option<Frame> {
        loop {
            if let Some(frame) = self.parse() {
                return Some(frame);
            }
            if matches!(self.read(), Ok(0) | Err(_)) {
                return None;
            }
        }
    }

    /// Waits until line ends have come between frames, and no frame.
    #[track_caller]
    pub(crate) fn until_beats(&mut self, count: usize) {
        loop {
            if let Some(frame) = self.parse() {
                panic!("wanted a heart-beat, got {frame:?}");
            }
            if self.beats >= count {
                return;
            }
            assert_ne!(
                self.fill(),
                0,
                "wanted {count} heart-beats, got {}",
                self.beats
            );
        }
    }

    /// Ends the connection without DISCONNECT, as a program that exits, and waits until the broker has seen it.
    #[track_caller]
    pub(crate) fn leave(mut self) -> Vec<Frame> {
        self.half_close();
        std::iter::from_fn(|| self.next()).collect()
    }

    /// Ends the writing side.
    pub(crate) fn half_close(&mut self) {
        self.stream.half_close();
    }

    /// Ends the connection as a machine that loses power and comes back: with a reset.
    pub(crate) fn kill(self) {
        SockRef::from(self.stream.tcp())
            .set_linger(Some(Duration::ZERO))
            .expect("an option");
    }

    /// Ends the connection in good order.
    #[track_caller]
    pub(crate) fn disconnect(mut self) {
        self.put("DISCONNECT receipt:bye");
        while self.frame().get("receipt-id") != Some("bye") {}
        self.closed();
    }

    #[track_caller]
    fn fill(&mut self) -> usize {
        match self.read() {
            Ok(count) => count,
            Err(error) => panic!("nothing came: {error}"),
        }
    }

    fn read(&mut self) -> io::Result<usize> {
        self.input.drain(..self.at);
        self.at = 0;
        let mut piece = [0; 64 * 1024];
        loop {
            match self.stream.read(&mut piece) {
                Ok(count) => {
                    self.input.extend_from_slice(&piece[..count]);
                    return Ok(count);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Takes a frame out of the octets that have come.
    #[track_caller]
    fn parse(&mut self) -> Option<Frame> {
        while self.input.get(self.at) == Some(&b'\n') {
            self.at += 1;
            self.beats += 1;
        }
        let rest = &self.input[self.at..];
        let head_len = rest.windows(2).position(|pair| pair == b"\n\n")? + 2;
        let head = std::str::from_utf8(&rest[..head_len - 2]).expect("a head is UTF-8");
        let mut lines = head.split('\n');
        let command = lines.next().unwrap_or_default().to_owned();
        let headers: Vec<(String, String)> = lines
            .map(|line| {
                let (name, value) = line
                    .split_once(':')
                    .unwrap_or_else(|| panic!("no colon: {line:?}"));
                (name.to_owned(), value.to_owned())
            })
            .collect();
        let mut frame = Frame {
            command,
            headers,
            body: Vec::new(),
        };
        let body_len = match frame.get("content-length") {
            Some(length) => length.parse().expect("a number"),
            None => rest[head_len..].iter().position(|octet| *octet == 0)?,
        };
        // Spec: behaviour MSG-5, NUL and one LF after each frame.
        let end = rest.get(head_len + body_len..head_len + body_len + 2)?;
        assert_eq!(end, b"\0\n", "what follows the body of {frame:?}");
        frame.body = rest[head_len..head_len + body_len].to_vec();
        self.at += head_len + body_len + 2;
        Some(frame)
    }
}

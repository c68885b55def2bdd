//! Just enough of a STOMP client for the examples: text bodies, no heart-beats, no escapes. Not a library; a real
//! program takes one.

#![allow(dead_code, reason = "each example uses a part of it")]

use std::error::Error;
use std::net::SocketAddr;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

/// The commands the examples send.
pub(crate) const SEND: &str = "SEND";
pub(crate) const SUBSCRIBE: &str = "SUBSCRIBE";
pub(crate) const ACK: &str = "ACK";
pub(crate) const DISCONNECT: &str = "DISCONNECT";

/// A frame from the broker.
pub(crate) struct Received {
    pub(crate) command: String,
    headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Received {
    /// The header `name`, or nothing.
    pub(crate) fn header(&self, name: &str) -> &str {
        let found = self.headers.iter().find(|(known, _)| known == name);
        found.map_or("", |(_, value)| value)
    }
}

/// An open connection.
pub(crate) struct Client(BufReader<TcpStream>);

impl Client {
    /// Connects; `headers` are lines of further CONNECT headers, such as `client-id:a\n`.
    pub(crate) async fn connect(
        address: SocketAddr,
        headers: &str,
    ) -> Result<Self, Box<dyn Error>> {
        let mut client = Self(BufReader::new(TcpStream::connect(address).await?));
        let headers = format!("accept-version:1.2\nhost:localhost\n{headers}");
        client.frame("CONNECT", &headers, "").await?;
        client.read().await?;
        Ok(client)
    }

    /// Sends a frame.
    pub(crate) async fn frame(
        &mut self,
        command: &str,
        headers: &str,
        body: &str,
    ) -> std::io::Result<()> {
        let frame = format!("{command}\n{headers}\n{body}\0");
        self.0.get_mut().write_all(frame.as_bytes()).await
    }

    /// Acknowledges a message of a `client` or `client-individual` subscription.
    pub(crate) async fn acknowledge(&mut self, message: &Received) -> std::io::Result<()> {
        let id = message.header("ack");
        self.frame(ACK, &format!("id:{id}\n"), "").await
    }

    /// Ends the connection in good order; what was sent before has been processed when this returns.
    pub(crate) async fn disconnect(mut self) -> Result<(), Box<dyn Error>> {
        self.frame(DISCONNECT, "receipt:bye\n", "").await?;
        while self.read().await?.command != "RECEIPT" {}
        Ok(())
    }

    /// Waits for a frame; an ERROR becomes an error.
    pub(crate) async fn read(&mut self) -> Result<Received, Box<dyn Error>> {
        let command = loop {
            let line = self.line().await?;
            if !line.is_empty() {
                break line;
            }
        };
        let mut headers = Vec::new();
        loop {
            let line = self.line().await?;
            let Some((name, value)) = line.split_once(':') else {
                break;
            };
            headers.push((name.to_owned(), value.to_owned()));
        }
        let mut frame = Received {
            command,
            headers,
            body: String::new(),
        };
        let mut body = Vec::new();
        if let Ok(length) = frame.header("content-length").parse() {
            body.resize(length, 0);
            self.0.read_exact(&mut body).await?;
        }
        self.0.read_until(0, &mut body).await?;
        body.pop();
        frame.body = String::from_utf8(body)?;
        if frame.command == "ERROR" {
            return Err(frame.header("message").into());
        }
        Ok(frame)
    }

    async fn line(&mut self) -> Result<String, Box<dyn Error>> {
        let mut line = String::new();
        if self.0.read_line(&mut line).await? == 0 {
            return Err("the broker has closed the connection".into());
        }
        line.truncate(line.trim_end_matches(['\r', '\n']).len());
        Ok(line)
    }
}

//! Client frames, for our own tools, tests and load driver.

use super::super::escape::plain_into;
use super::super::frame::Command;
use super::super::version::Version;
use super::push_line;
use crate::decimal::push_u64;

/// Appends client frames in the escaping of one version.
#[derive(Debug)]
pub struct ClientFrameWriter<'o> {
    version: Version,
    out: &'o mut Vec<u8>,
}

impl<'o> ClientFrameWriter<'o> {
    /// A writer to `out`.
    pub fn new(version: Version, out: &'o mut Vec<u8>) -> Self {
        Self { version, out }
    }

    /// Any frame. `content_length` decides whether the body's length is told; without it the
    /// body must hold no NUL.
    pub fn frame(
        &mut self,
        command: Command,
        headers: &[(&str, &str)],
        body: &[u8],
        content_length: bool,
    ) -> &mut Self {
        self.out.extend_from_slice(command.name().as_bytes());
        self.out.push(b'\n');
        for (name, value) in headers {
            if command.is_plain() {
                plain_into(name, self.out);
                self.out.push(b':');
                plain_into(value, self.out);
                self.out.push(b'\n');
            } else {
                push_line(name, value, self.version, self.out);
            }
        }
        if content_length {
            self.out.extend_from_slice(b"content-length:");
            push_u64(body.len() as u64, self.out);
            self.out.push(b'\n');
        }
        self.out.push(b'\n');
        self.out.extend_from_slice(body);
        self.out.push(0);
        self
    }

    /// CONNECT for exactly this writer's version; `headers` come after `accept-version` and
    /// `host`.
    pub fn connect(&mut self, host: &str, headers: &[(&str, &str)]) -> &mut Self {
        let mut all = vec![("accept-version", self.version.as_str()), ("host", host)];
        all.extend_from_slice(headers);
        self.frame(Command::Connect, &all, b"", false)
    }

    /// SEND; with `content_length` a bytes message.
    pub fn send(
        &mut self,
        destination: &str,
        headers: &[(&str, &str)],
        body: &[u8],
        content_length: bool,
    ) -> &mut Self {
        let mut all = vec![("destination", destination)];
        all.extend_from_slice(headers);
        self.frame(Command::Send, &all, body, content_length)
    }

    /// SUBSCRIBE.
    pub fn subscribe(
        &mut self,
        destination: &str,
        id: &str,
        ack: &str,
        headers: &[(&str, &str)],
    ) -> &mut Self {
        let mut all = vec![("destination", destination), ("id", id), ("ack", ack)];
        all.extend_from_slice(headers);
        self.frame(Command::Subscribe, &all, b"", false)
    }

    /// ACK of a 1.2 delivery by its `ack` value.
    pub fn ack(&mut self, id: &str, headers: &[(&str, &str)]) -> &mut Self {
        let mut all = vec![("id", id)];
        all.extend_from_slice(headers);
        self.frame(Command::Ack, &all, b"", false)
    }

    /// DISCONNECT with `receipt`.
    pub fn disconnect(&mut self, receipt: &str) -> &mut Self {
        self.frame(Command::Disconnect, &[("receipt", receipt)], b"", false)
    }

    /// A heart-beat: one LF.
    pub fn heart_beat(&mut self) -> &mut Self {
        self.out.push(b'\n');
        self
    }
}

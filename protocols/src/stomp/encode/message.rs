//! MESSAGE: what is constant for a subscription is rendered once, the rest per delivery.
//!
//! Budget 30–40 ns for a head of about 200 octets: four block copies (template, id,
//! cached essentials, tail), three numbers, one reservation.
//!
//! Spec: STOMP 1.2, MESSAGE; rules MSG-1 … MSG-5, ACK-4, FRM-9.

use super::super::escape::{escape_into, reescape_lines};
use super::super::id::MessageId;
use super::super::version::Version;
use super::push_line;
use crate::decimal::{push_hex, push_u64};

/// What is the same on every MESSAGE of one subscription, in its reader's escaping.
#[derive(Clone, Debug)]
pub struct MessageTemplate {
    version: Version,
    /// `MESSAGE`, `subscription`, `destination` and the beginning of `message-id`; then `ack:<prefix>`, or nothing in auto
    /// mode and before 1.2.
    lines: Box<[u8]>,
    /// Where `destination` begins in `lines`.
    destination_at: u32,
    /// Where `message-id` begins in `lines`.
    message_id_at: u32,
    /// Where `ack` begins in `lines`.
    ack_at: u32,
}

/// Which id a message has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageRef<'a> {
    /// One of ours, rendered after the template's prefix.
    Id(MessageId),
    /// One given elsewhere (OpenWire), in full and unescaped.
    Text(&'a str),
}

/// What differs from delivery to delivery.
#[derive(Clone, Copy, Debug)]
pub struct MessageFields<'a> {
    /// `message-id`, the same on every redelivery (MSG-3).
    pub message_id: MessageRef<'a>,
    /// `timestamp`.
    pub timestamp_ms: u64,
    /// `priority`.
    pub priority: u8,
    /// `expires`, 0 never.
    pub expires_ms: u64,
    /// Adds `persistent:true`.
    pub persistent: bool,
    /// Adds `redelivered:true`.
    pub redelivered: bool,
    /// `JMSXDeliveryCount`, 1 on the first delivery (MSG-4); 0 leaves the header out.
    pub delivery_count: u32,
    /// The delivery's number: `ack` is the template's prefix and this (ACK-4). Ignored by a
    /// template without prefix.
    pub ack: Option<u64>,
    /// Text: `content-length` only if `body_has_nul` (MSG-2, D-11).
    pub text: bool,
    /// Octets of the body.
    pub body_len: usize,
    /// Whether a text body holds a NUL.
    pub body_has_nul: bool,
    /// The user's lines in canonical form ([`crate::stomp::Send::write_user_head`]).
    pub user_head: &'a [u8],
    /// Further canonical lines ([`crate::stomp::push_header`]): `original-destination`, ….
    pub extra: &'a [u8],
    /// Whether `user_head` or `extra` holds a backslash ([`crate::stomp::HeadFlags`]).
    pub escaped: bool,
    /// Replaces the template's destination: wildcard and durable subscriptions, unescaped.
    pub destination: Option<&'a str>,
}

impl Default for MessageFields<'_> {
    fn default() -> Self {
        Self {
            message_id: MessageRef::Id(MessageId::default()),
            timestamp_ms: 0,
            priority: 4,
            expires_ms: 0,
            persistent: false,
            redelivered: false,
            delivery_count: 1,
            ack: None,
            text: true,
            body_len: 0,
            body_has_nul: false,
            user_head: b"",
            extra: b"",
            escaped: false,
            destination: None,
        }
    }
}

/// The last `timestamp`, `priority` and `expires` lines as rendered: messages of one batch
/// mostly share them. One per encoding place (outbox, task); any starting value is right.
#[derive(Clone, Debug, Default)]
pub struct LineCache {
    key: Option<(u64, u8, u64)>,
    lines: Vec<u8>,
}

impl LineCache {
    #[inline]
    fn get(&mut self, fields: &MessageFields<'_>) -> &[u8] {
        let key = (fields.timestamp_ms, fields.priority, fields.expires_ms);
        if self.key != Some(key) {
            self.render(key);
        }
        &self.lines
    }

    fn render(&mut self, key: (u64, u8, u64)) {
        let (timestamp_ms, priority, expires_ms) = key;
        self.key = Some(key);
        self.lines.clear();
        for (name, value) in [
            (&b"timestamp:"[..], timestamp_ms),
            (b"\npriority:", u64::from(priority)),
            (b"\nexpires:", expires_ms),
        ] {
            self.lines.extend_from_slice(name);
            push_u64(value, &mut self.lines);
        }
        self.lines.push(b'\n');
    }
}

/// More than all lines of [`MessageTemplate::encode_message_head`] with fixed names and
/// numeric values take together.
const FIXED_LINES_BYTES_MAX: usize = 320;

/// A place in the lines of a template: what a SUBSCRIBE and a destination name have room for.
fn place(at: usize) -> u32 {
    u32::try_from(at).expect("headers of a frame are limited to less than 4 GiB")
}

impl MessageTemplate {
    /// Renders what is constant.
    ///
    /// `id_prefix`: the broker's prefix of [`MessageId`]s. `subscription_id`: the `id` of
    /// the SUBSCRIBE, if it had one. `destination`: in the reader's form (`/queue/a`).
    /// `ack_prefix`: the text before the delivery number (`7-`); `None` in auto mode; it has
    /// no effect before 1.2 (ACK-4).
    pub fn new(
        version: Version,
        id_prefix: &str,
        subscription_id: Option<&str>,
        destination: &str,
        ack_prefix: Option<&str>,
    ) -> Self {
        let mut lines = b"MESSAGE\n".to_vec();
        if let Some(id) = subscription_id {
            push_line("subscription", id, version, &mut lines);
        }
        let destination_at = place(lines.len());
        push_line("destination", destination, version, &mut lines);
        let message_id_at = place(lines.len());
        lines.extend_from_slice(b"message-id:");
        escape_into("ID:", version, &mut lines);
        escape_into(id_prefix, version, &mut lines);
        let ack_at = place(lines.len());
        if let (Some(prefix), Version::V12) = (ack_prefix, version) {
            lines.extend_from_slice(b"ack:");
            escape_into(prefix, version, &mut lines);
        }
        Self {
            version,
            lines: lines.into(),
            destination_at,
            message_id_at,
            ack_at,
        }
    }

    /// The version it renders for.
    pub fn version(&self) -> Version {
        self.version
    }

    /// Appends everything up to and including the blank line. The body and
    /// [`super::FRAME_END`] follow, from wherever the caller keeps them.
    #[inline]
    pub fn encode_message_head(
        &self,
        fields: &MessageFields<'_>,
        cache: &mut LineCache,
        out: &mut Vec<u8>,
    ) {
        out.reserve(
            self.lines.len() + fields.user_head.len() + fields.extra.len() + FIXED_LINES_BYTES_MAX,
        );
        self.push_identity(fields, out);
        out.extend_from_slice(cache.get(fields));
        if fields.persistent {
            out.extend_from_slice(b"persistent:true\n");
        }
        if fields.redelivered {
            out.extend_from_slice(b"redelivered:true\n");
        }
        match fields.delivery_count {
            0 => {}
            1 => out.extend_from_slice(b"JMSXDeliveryCount:1\n"),
            count => {
                out.extend_from_slice(b"JMSXDeliveryCount:");
                push_u64(u64::from(count), out);
                out.push(b'\n');
            }
        }
        let ack = &self.lines[self.ack_at as usize..];
        if let Some(delivery) = fields.ack
            && !ack.is_empty()
        {
            out.extend_from_slice(ack);
            push_u64(delivery, out);
            out.push(b'\n');
        }
        self.push_user_lines(fields, out);
        if !fields.text || fields.body_has_nul {
            out.extend_from_slice(b"content-length:");
            push_u64(fields.body_len as u64, out);
            out.extend_from_slice(b"\n\n");
        } else {
            out.push(b'\n');
        }
    }

    /// Appends a whole MESSAGE: head, body, NUL, LF.
    #[inline]
    pub fn encode_message(
        &self,
        fields: &MessageFields<'_>,
        body: &[u8],
        cache: &mut LineCache,
        out: &mut Vec<u8>,
    ) {
        debug_assert_eq!(
            fields.body_len,
            body.len(),
            "content-length must be the body's"
        );
        self.encode_message_head(fields, cache, out);
        out.extend_from_slice(body);
        out.extend_from_slice(super::FRAME_END);
    }

    /// Appends the end marker of a queue browser (BRO-1).
    pub fn encode_browser_end(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.lines[..self.message_id_at as usize]);
        out.extend_from_slice(b"message-id:0\nbrowser:end\n\n");
        out.extend_from_slice(super::FRAME_END);
    }

    /// Command, `subscription`, `destination`, `message-id`.
    #[inline]
    fn push_identity(&self, fields: &MessageFields<'_>, out: &mut Vec<u8>) {
        let lines = &self.lines[..self.ack_at as usize];
        match (fields.destination, fields.message_id) {
            (None, MessageRef::Id(_)) => out.extend_from_slice(lines),
            (None, MessageRef::Text(_)) => {
                out.extend_from_slice(&lines[..self.message_id_at as usize]);
            }
            (Some(destination), id) => {
                out.extend_from_slice(&lines[..self.destination_at as usize]);
                push_line("destination", destination, self.version, out);
                if let MessageRef::Id(_) = id {
                    out.extend_from_slice(&lines[self.message_id_at as usize..]);
                }
            }
        }
        match fields.message_id {
            MessageRef::Id(id) => {
                push_hex(id.origin, out);
                let colon: &[u8] = if self.version == Version::V10 {
                    b":"
                } else {
                    b"\\c"
                };
                out.extend_from_slice(colon);
                push_u64(id.serial, out);
                out.push(b'\n');
            }
            MessageRef::Text(id) => push_line("message-id", id, self.version, out),
        }
    }

    #[inline]
    fn push_user_lines(&self, fields: &MessageFields<'_>, out: &mut Vec<u8>) {
        for lines in [fields.user_head, fields.extra] {
            if lines.is_empty() {
                continue;
            }
            if fields.escaped {
                reescape_lines(lines, self.version, out);
            } else {
                out.extend_from_slice(lines);
            }
        }
    }
}

//! The lines of an export: what each says, and how a message becomes one and back.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use ferrymq_store::OwnedMessage;
use serde::{Deserialize, Serialize};

use super::head;

/// Version of the lines.
pub(super) const FORMAT: u32 = 1;

/// One line.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum Line {
    /// The first.
    Export { format: u32 },
    /// A destination; its messages follow, in order.
    Destination {
        kind: String,
        name: String,
        next_sequence: u64,
    },
    /// A message of the destination before it.
    Message(Box<MessageLine>),
    /// A durable subscription of a topic before it.
    Subscription(SubscriptionLine),
    /// The last: without it the export is not whole.
    End { messages: u64 },
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct MessageLine {
    pub(super) sequence: u64,
    /// Both halves of the message id.
    pub(super) origin: u64,
    pub(super) serial: u64,
    pub(super) timestamp_ms: u64,
    #[serde(default)]
    pub(super) expires_ms: u64,
    pub(super) priority: u8,
    pub(super) flags: u8,
    pub(super) wire: u8,
    /// Failed deliveries and the mark of redelivery, as the journal keeps them.
    #[serde(default)]
    pub(super) redeliveries: u16,
    /// The headers the sender gave, where they can be shown; else the head as it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    headers: Option<Vec<(String, String)>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    head_base64: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body_base64: Option<String>,
    /// What moving the message has added, as the journal keeps it.
    #[serde(skip_serializing_if = "Option::is_none")]
    moved_base64: Option<String>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct SubscriptionLine {
    pub(super) topic: String,
    pub(super) client_id: String,
    pub(super) name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) selector: Option<String>,
    pub(super) no_local: bool,
    pub(super) start: u64,
    /// Everything up to here is acknowledged, and so are these beyond it.
    pub(super) through: u64,
    pub(super) acknowledged: Vec<u64>,
    /// Failed deliveries by sequence.
    pub(super) marks: Vec<(u64, u16)>,
}

impl MessageLine {
    pub(super) fn of(sequence: u64, redeliveries: u16, message: &OwnedMessage) -> Self {
        let (raw_head, raw_body) = (message.head(), message.body());
        let headers = head::read(message.wire, &raw_head);
        let body = std::str::from_utf8(&raw_body).ok().map(str::to_owned);
        Self {
            sequence,
            origin: message.origin,
            serial: message.serial,
            timestamp_ms: message.timestamp_ms,
            expires_ms: message.expires_ms,
            priority: message.priority,
            flags: message.flags,
            wire: message.wire,
            redeliveries,
            head_base64: headers.is_none().then(|| BASE64.encode(&raw_head)),
            headers,
            body_base64: body.is_none().then(|| BASE64.encode(&raw_body)),
            body,
            moved_base64: message
                .patch
                .as_ref()
                .map(|patch| BASE64.encode(&patch.extra_head)),
        }
    }

    /// Head and body as the journal keeps them.
    pub(super) fn payload(&self) -> anyhow::Result<(Vec<u8>, Vec<u8>)> {
        let head = match (&self.headers, &self.head_base64) {
            (Some(headers), None) => head::write(headers),
            (None, Some(raw)) => octets(raw)?,
            _ => anyhow::bail!("a message has either headers or head_base64"),
        };
        let body = match (&self.body, &self.body_base64) {
            (Some(text), None) => text.clone().into_bytes(),
            (None, Some(raw)) => octets(raw)?,
            _ => anyhow::bail!("a message has either body or body_base64"),
        };
        Ok((head, body))
    }

    /// What moving it has added.
    pub(super) fn moved(&self) -> anyhow::Result<Option<Vec<u8>>> {
        let raw = self.moved_base64.as_deref();
        raw.map(octets).transpose()
    }
}

fn octets(raw: &str) -> anyhow::Result<Vec<u8>> {
    BASE64
        .decode(raw)
        .map_err(|error| anyhow::anyhow!("base64: {error}"))
}

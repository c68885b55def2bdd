//! SUBSCRIBE and UNSUBSCRIBE. Spec: STOMP 1.2, SUBSCRIBE, UNSUBSCRIBE; behaviour.md
//! section 5, dialects of section 10.

use std::borrow::Cow;

use super::super::fault::FrameFault;
use super::super::frame::{Command, Headers};
use super::super::known::Known;
use super::super::version::Version;
use super::{flag, integer, non_empty};

/// How deliveries of a subscription are acknowledged (ACK-2, ACK-5).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AckMode {
    /// Consumed when written.
    #[default]
    Auto,
    /// Cumulative.
    Client,
    /// One by one.
    ClientIndividual,
}

/// How many deliveries may be unacknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prefetch {
    /// At most so many; at least 1, since STOMP has no pull.
    Messages(u32),
    /// At most so many octets, the last message may go over: `consumer-window-size` of Artemis.
    Bytes(u64),
    /// No bound: `prefetch-count:0` of RabbitMQ.
    Unlimited,
}

/// SUBSCRIBE.
#[derive(Clone, Debug)]
pub struct Subscribe<'a> {
    /// `destination`, blanks trimmed, never empty.
    pub destination: Cow<'a, str>,
    /// `id`; always there from 1.1.
    pub id: Option<Cow<'a, str>>,
    /// `ack`; an unknown value acts as `auto`.
    pub ack: AckMode,
    /// Whether `ack` was absent or a known value; `strict_ack_mode` refuses it otherwise.
    pub ack_is_known: bool,
    /// `selector`; a blank one counts as none.
    pub selector: Option<Cow<'a, str>>,
    /// `receipt`.
    pub receipt: Option<Cow<'a, str>>,
    /// `browser:true`.
    pub browser: bool,
    /// `transformation`.
    pub transformation: Option<Cow<'a, str>>,
    /// `activemq.prefetchSize`, or `prefetch-count`, or `consumer-window-size`.
    pub prefetch: Option<Prefetch>,
    /// `activemq.priority`, clamped to 0–127.
    pub priority: u8,
    /// `activemq.exclusive`, or `exclusive`.
    pub exclusive: bool,
    /// `activemq.noLocal`, or `no-local`.
    pub no_local: bool,
    /// `activemq.retroactive`.
    pub retroactive: bool,
    /// `activemq.maximumPendingMessageLimit`; below 0 no limit.
    pub pending_max: Option<i64>,
    /// The durable subscription's name, by any of its four headers.
    pub durable_name: Option<Cow<'a, str>>,
    /// `durable:true` or `persistent:true` (RabbitMQ).
    pub durable: bool,
    /// `auto-delete` (RabbitMQ).
    pub auto_delete: Option<bool>,
    /// All headers.
    pub headers: Headers<'a>,
}

impl<'a> Subscribe<'a> {
    pub(super) fn parse(headers: &Headers<'a>) -> Result<Self, FrameFault> {
        let headers = *headers;
        let missing = |needed| FrameFault::Missing {
            command: Command::Subscribe,
            needed,
        };
        let destination =
            non_empty(&headers, Known::Destination).ok_or_else(|| missing("a destination"))?;
        let id = headers.get(Known::Id);
        let browser = flag(&headers, Known::Browser);
        if headers.reading.version == Version::V10 {
            if browser {
                return Err(FrameFault::BrowserIn10);
            }
        } else if id.is_none() {
            return Err(missing("a subscription id"));
        }
        let ack = ack_mode(&headers);
        let priority = integer(&headers, Known::ActivemqPriority)?.unwrap_or(0);
        Ok(Self {
            destination,
            id,
            ack: ack.unwrap_or_default(),
            ack_is_known: ack.is_some(),
            selector: non_empty(&headers, Known::Selector),
            receipt: headers.get(Known::Receipt),
            browser,
            transformation: headers.get(Known::Transformation),
            prefetch: prefetch(&headers)?,
            priority: u8::try_from(priority.clamp(0, 127)).unwrap_or(0),
            exclusive: flag(&headers, Known::ActivemqExclusive) || flag(&headers, Known::Exclusive),
            no_local: flag(&headers, Known::ActivemqNoLocal) || flag(&headers, Known::NoLocal),
            retroactive: flag(&headers, Known::ActivemqRetroactive),
            pending_max: integer(&headers, Known::ActivemqMaximumPending)?,
            durable_name: durable_name(&headers),
            durable: durable(&headers),
            auto_delete: auto_delete(&headers),
            headers,
        })
    }
}

/// UNSUBSCRIBE.
#[derive(Clone, Debug)]
pub struct Unsubscribe<'a> {
    /// `id`; always there from 1.1.
    pub id: Option<Cow<'a, str>>,
    /// `destination`, blanks trimmed; in 1.0 always there if `id` is not.
    pub destination: Option<Cow<'a, str>>,
    /// The durable subscription to remove for good (SUB-7).
    pub durable_name: Option<Cow<'a, str>>,
    /// As that of [`Subscribe`].
    pub durable: bool,
    /// As that of [`Subscribe`].
    pub auto_delete: Option<bool>,
    /// `receipt`.
    pub receipt: Option<Cow<'a, str>>,
    /// All headers.
    pub headers: Headers<'a>,
}

impl<'a> Unsubscribe<'a> {
    pub(super) fn parse(headers: &Headers<'a>) -> Result<Self, FrameFault> {
        let headers = *headers;
        let id = headers.get(Known::Id);
        let destination = non_empty(&headers, Known::Destination);
        let by_destination = headers.reading.version == Version::V10 && destination.is_some();
        if id.is_none() && !by_destination {
            let command = Command::Unsubscribe;
            return Err(FrameFault::Missing {
                command,
                needed: "a subscription id",
            });
        }
        Ok(Self {
            id,
            destination,
            durable_name: durable_name(&headers),
            durable: durable(&headers),
            auto_delete: auto_delete(&headers),
            receipt: headers.get(Known::Receipt),
            headers,
        })
    }
}

fn durable(headers: &Headers<'_>) -> bool {
    flag(headers, Known::Durable) || flag(headers, Known::Persistent)
}

fn auto_delete(headers: &Headers<'_>) -> Option<bool> {
    match headers.get(Known::AutoDelete).as_deref() {
        Some("true") => Some(true),
        Some("false") => Some(false),
        _ => None,
    }
}

fn ack_mode(headers: &Headers<'_>) -> Option<AckMode> {
    match headers.get(Known::Ack).as_deref() {
        None | Some("auto") => Some(AckMode::Auto),
        Some("client") => Some(AckMode::Client),
        Some("client-individual") => Some(AckMode::ClientIndividual),
        Some(_) => None,
    }
}

/// `activemq.prefetchSize` wins over `prefetch-count`, and that over `consumer-window-size`; 0 means 1 in the first and no
/// bound in the second.
fn prefetch(headers: &Headers<'_>) -> Result<Option<Prefetch>, FrameFault> {
    let bounded = |number: i64| {
        let number = number.clamp(1, i64::from(u32::MAX));
        Prefetch::Messages(u32::try_from(number).unwrap_or(u32::MAX))
    };
    if let Some(size) = integer(headers, Known::ActivemqPrefetchSize)? {
        return Ok(Some(bounded(size)));
    }
    if let Some(count) = integer(headers, Known::PrefetchCount)? {
        return Ok(Some(match count {
            ..=0 => Prefetch::Unlimited,
            count => bounded(count),
        }));
    }
    // Octets; below 0 any number, 0 one message at a time.
    let size = integer(headers, Known::ConsumerWindowSize)?;
    Ok(size.map(|size| match u64::try_from(size) {
        Err(_) => Prefetch::Unlimited,
        Ok(0) => bounded(1),
        Ok(bytes) => Prefetch::Bytes(bytes),
    }))
}

/// The aliases of section 5 in their order of precedence.
fn durable_name<'a>(headers: &Headers<'a>) -> Option<Cow<'a, str>> {
    [
        Known::DurableSubscriptionName,
        Known::DurableSubscriberName,
        Known::ActivemqSubscriptionName,
        Known::ActivemqSubcriptionName,
    ]
    .into_iter()
    .find_map(|known| headers.get(known).filter(|name| !name.is_empty()))
}

//! ACK and NACK. Spec: STOMP 1.2, ACK, NACK; rules ACK-1, NAK-1, NAK-2.

use std::borrow::Cow;

use super::super::fault::FrameFault;
use super::super::frame::{Command, Frame};
use super::super::known::Known;
use super::super::version::Version;
use super::{natural, require};

/// ACK or NACK.
#[derive(Clone, Debug)]
pub struct Ack<'a> {
    /// Which delivery.
    pub target: AckTarget<'a>,
    /// `transaction`.
    pub transaction: Option<Cow<'a, str>>,
    /// `receipt`.
    pub receipt: Option<Cow<'a, str>>,
    /// `requeue` of a NACK: true back to the queue, false to the dead letters (NAK-2).
    pub requeue: Option<bool>,
    /// `redelivery-delay` of a NACK, in milliseconds.
    pub redelivery_delay_ms: Option<u64>,
}

/// How each version names a delivery (ACK-1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AckTarget<'a> {
    /// 1.0: by message; the subscription is to be found.
    V10 {
        /// `message-id`.
        message_id: Cow<'a, str>,
        /// `subscription`, if the client gave one.
        subscription: Option<Cow<'a, str>>,
    },
    /// 1.1: by message and subscription.
    V11 {
        /// `message-id`.
        message_id: Cow<'a, str>,
        /// `subscription`.
        subscription: Cow<'a, str>,
    },
    /// 1.2: by the delivery's `ack` value; see [`crate::stomp::parse_ack_id`].
    V12 {
        /// `id`.
        id: Cow<'a, str>,
    },
}

impl<'a> Ack<'a> {
    #[inline]
    pub(super) fn parse(frame: &Frame<'a>) -> Result<Self, FrameFault> {
        let headers = &frame.headers;
        let command = frame.command;
        let version = headers.reading.version;
        if version == Version::V10 && command == Command::Nack {
            return Err(FrameFault::NackIn10);
        }
        let message_id = || require(headers, command, Known::MessageId, "a message-id");
        let target = match version {
            Version::V12 => AckTarget::V12 {
                id: require(headers, command, Known::Id, "an id")?,
            },
            Version::V11 => AckTarget::V11 {
                message_id: message_id()?,
                subscription: require(headers, command, Known::Subscription, "a subscription")?,
            },
            Version::V10 => AckTarget::V10 {
                message_id: message_id()?,
                subscription: headers.get(Known::Subscription),
            },
        };
        let mut ack = Self {
            target,
            transaction: headers.get(Known::Transaction),
            receipt: headers.get(Known::Receipt),
            requeue: None,
            redelivery_delay_ms: None,
        };
        if command == Command::Nack {
            ack.redelivery_delay_ms = natural(headers, Known::RedeliveryDelay)?;
            ack.requeue = match headers.get(Known::Requeue).as_deref() {
                Some("true") => Some(true),
                Some("false") => Some(false),
                _ => None,
            };
        }
        Ok(ack)
    }
}

//! Frames to typed client commands.
//!
//! A command that was built has every header it needs; what is missing or malformed is a
//! [`FrameFault`] before anything acted on it.

mod ack;
mod connect;
mod schedule;
mod send;
mod subscribe;

pub use ack::{Ack, AckTarget};
pub use connect::Connect;
pub use schedule::{ScheduleHeaders, SchedulerAction};
pub use send::Send;
pub use subscribe::{AckMode, Prefetch, Subscribe, Unsubscribe};

use std::borrow::Cow;

use super::fault::FrameFault;
use super::frame::{Command, Frame, Headers, trim_blanks, trim_cow};
use super::known::Known;

/// What a client asks for.
#[derive(Debug)]
pub enum ClientCommand<'a> {
    /// CONNECT or STOMP (CON-1).
    Connect(Connect<'a>),
    /// SEND.
    Send(Send<'a>),
    /// SUBSCRIBE.
    Subscribe(Subscribe<'a>),
    /// UNSUBSCRIBE.
    Unsubscribe(Unsubscribe<'a>),
    /// ACK.
    Ack(Ack<'a>),
    /// NACK.
    Nack(Ack<'a>),
    /// BEGIN.
    Begin(TransactionCommand<'a>),
    /// COMMIT.
    Commit(TransactionCommand<'a>),
    /// ABORT.
    Abort(TransactionCommand<'a>),
    /// DISCONNECT.
    Disconnect(Disconnect<'a>),
}

/// BEGIN, COMMIT or ABORT.
#[derive(Clone, Debug)]
pub struct TransactionCommand<'a> {
    /// The `transaction` header.
    pub transaction: Cow<'a, str>,
    /// The `receipt` header.
    pub receipt: Option<Cow<'a, str>>,
}

/// DISCONNECT.
#[derive(Clone, Debug)]
pub struct Disconnect<'a> {
    /// The `receipt` header.
    pub receipt: Option<Cow<'a, str>>,
}

impl<'a> ClientCommand<'a> {
    /// Reads the command of a frame.
    ///
    /// # Errors
    /// [`FrameFault`] if a needed header is missing or malformed; [`Frame::receipt`] then
    /// tells the `receipt-id` of the ERROR (REC-2).
    #[inline]
    pub fn parse(frame: &Frame<'a>) -> Result<Self, FrameFault> {
        match frame.command {
            Command::Send => Send::parse(frame).map(Self::Send),
            Command::Ack => Ack::parse(frame).map(Self::Ack),
            Command::Nack => Ack::parse(frame).map(Self::Nack),
            command => Self::parse_rare(frame, command),
        }
    }

    fn parse_rare(frame: &Frame<'a>, command: Command) -> Result<Self, FrameFault> {
        let headers = &frame.headers;
        match command {
            Command::Connect | Command::Stomp => Connect::parse(frame).map(Self::Connect),
            Command::Subscribe => Subscribe::parse(headers).map(Self::Subscribe),
            Command::Unsubscribe => Unsubscribe::parse(headers).map(Self::Unsubscribe),
            Command::Begin => transaction(headers, command).map(Self::Begin),
            Command::Commit => transaction(headers, command).map(Self::Commit),
            Command::Abort => transaction(headers, command).map(Self::Abort),
            Command::Disconnect => Ok(Self::Disconnect(Disconnect {
                receipt: frame.receipt(),
            })),
            command => Err(FrameFault::ServerFrame { command }),
        }
    }

    /// The `receipt` header, whatever the command; CONNECT has none (CON-9).
    pub fn receipt(&self) -> Option<&str> {
        match self {
            Self::Connect(_) => None,
            Self::Send(send) => send.receipt.as_deref(),
            Self::Subscribe(subscribe) => subscribe.receipt.as_deref(),
            Self::Unsubscribe(unsubscribe) => unsubscribe.receipt.as_deref(),
            Self::Ack(ack) | Self::Nack(ack) => ack.receipt.as_deref(),
            Self::Begin(command) | Self::Commit(command) | Self::Abort(command) => {
                command.receipt.as_deref()
            }
            Self::Disconnect(disconnect) => disconnect.receipt.as_deref(),
        }
    }
}

impl<'a> Frame<'a> {
    /// The `receipt` header: the `receipt-id` of this frame's RECEIPT or ERROR (REC-1).
    pub fn receipt(&self) -> Option<Cow<'a, str>> {
        self.headers.get(Known::Receipt)
    }
}

fn transaction<'a>(
    headers: &Headers<'a>,
    command: Command,
) -> Result<TransactionCommand<'a>, FrameFault> {
    let transaction = require(headers, command, Known::Transaction, "a transaction id")?;
    Ok(TransactionCommand {
        transaction,
        receipt: headers.get(Known::Receipt),
    })
}

/// A header the command cannot do without.
#[inline]
fn require<'a>(
    headers: &Headers<'a>,
    command: Command,
    known: Known,
    needed: &'static str,
) -> Result<Cow<'a, str>, FrameFault> {
    headers
        .get(known)
        .ok_or(FrameFault::Missing { command, needed })
}

/// A header without blanks around it; one that is blank counts as none.
fn non_empty<'a>(headers: &Headers<'a>, known: Known) -> Option<Cow<'a, str>> {
    headers
        .get(known)
        .map(trim_cow)
        .filter(|value| !value.is_empty())
}

/// A header that, if there, holds an integer; blanks around it are tolerated.
#[inline]
fn integer(headers: &Headers<'_>, known: Known) -> Result<Option<i64>, FrameFault> {
    let Some(value) = headers.get(known) else {
        return Ok(None);
    };
    let number = trim_blanks(&value);
    // Numbers that overflow are still numbers: they saturate.
    let digits = number.strip_prefix(['-', '+']).unwrap_or(number);
    if digits.is_empty() || !digits.bytes().all(|octet| octet.is_ascii_digit()) {
        let value = value.into_owned();
        return Err(FrameFault::NotANumber {
            header: known.name(),
            value,
        });
    }
    let edge = if number.starts_with('-') {
        i64::MIN
    } else {
        i64::MAX
    };
    Ok(Some(number.parse().unwrap_or(edge)))
}

/// As [`integer`], with anything below zero taken as zero.
#[inline]
fn natural(headers: &Headers<'_>, known: Known) -> Result<Option<u64>, FrameFault> {
    let number = integer(headers, known)?;
    Ok(number.map(|number| u64::try_from(number).unwrap_or(0)))
}

/// Whether a header is there and `true`.
fn flag(headers: &Headers<'_>, known: Known) -> bool {
    headers.get(known).is_some_and(|value| value == "true")
}

#[cfg(test)]
mod tests;

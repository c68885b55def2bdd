//! Why something is not delivered, in words and with names: what queues and topics know, and who is who.
//!
//! Asked by people, never on the way of a message; an answer changes nothing. Why a *producer* waits is known where it
//! waits (`Admission`, `stomp/send.rs`), and is for who builds that to add here as one more question.

use std::fmt::Write as _;
use std::time::Duration;

use serde::Serialize;

use super::Engine;
use super::cell::{Cell, Machine, State};
use super::pausing::Pause;
use crate::broker::advisory::ConsumerFacts;
use crate::broker::queue::Reason;
use crate::broker::{Destination, MessageId, SubscriptionKey};

/// One thing that keeps something from being delivered.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Cause {
    /// A word for programs.
    pub code: &'static str,
    /// The same for people.
    pub text: String,
    /// The consumer that it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub consumer: Option<Who>,
    /// Since when, milliseconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since_ms: Option<u64>,
    /// Until when, milliseconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until_ms: Option<u64>,
}

/// A consumer by all its names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Who {
    /// Its id.
    pub id: String,
    /// The id of its connection.
    pub connection: String,
    /// The client id of that.
    pub client_id: String,
    /// Who has logged in; empty if nobody had to.
    pub user: String,
    /// Where the connection comes from, as a URI.
    pub address: String,
    /// Its selector.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub selector: Option<String>,
}

impl Who {
    fn of(facts: &ConsumerFacts) -> Self {
        let connection = &facts.connection;
        Self {
            id: facts.id(),
            connection: connection.id.clone(),
            client_id: connection.client_id.clone(),
            user: connection.user.clone(),
            address: connection.client_ip.clone(),
            selector: facts.selector().map(str::to_owned),
        }
    }

    fn text(&self) -> String {
        let mut text = format!("consumer {} of client {}", self.id, self.client_id);
        if !self.user.is_empty() {
            // Writing to a text cannot fail.
            let _ = write!(text, ", user {}", self.user);
        }
        let _ = write!(text, ", from {}", self.address);
        text
    }
}

/// What is asked of a destination: why nothing is delivered at all, or of one message, or to one consumer.
#[derive(Clone, Copy, Debug, Default)]
pub struct Question<'a> {
    /// Which message.
    pub message: Option<MessageId>,
    /// The id of the consumer.
    pub consumer: Option<&'a str>,
}

/// Why there is no answer.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum WhyError {
    /// There is no such destination.
    #[error("{0} does not exist")]
    Unknown(Destination),
    /// There is no such consumer.
    #[error("{0} has no consumer {1}")]
    UnknownConsumer(Destination, String),
    /// A topic hands each message to every subscriber.
    #[error("{0} is a topic: ask for one of its consumers")]
    IsTopic(Destination),
}

impl Engine {
    /// Why something is not delivered. One cause at least: if nothing keeps it, that is said.
    ///
    /// # Errors
    /// There is no such destination or consumer, or a topic is asked about a message.
    pub fn why(&self, of: &Destination, question: Question<'_>) -> Result<Vec<Cause>, WhyError> {
        let unknown = || WhyError::Unknown(of.clone());
        let cell = self.registry.get(of).ok_or_else(unknown)?;
        let now_ms = self.clock.wall_ms();
        let state = cell.lock();
        let consumer = match question.consumer {
            Some(id) => Some(state.consumer(id).ok_or_else(|| {
                let id = id.to_owned();
                WhyError::UnknownConsumer(of.clone(), id)
            })?),
            None => None,
        };
        let (waiting, reasons) = match (&state.machine, question.message, consumer) {
            (Machine::Queue(queue), Some(id), consumer) => {
                let reasons = match queue.sequence_of(id) {
                    Some(sequence) => queue.why_not(now_ms, sequence, consumer),
                    None => vec![Reason::Gone],
                };
                (1, reasons)
            }
            (Machine::Queue(queue), None, Some(key)) => {
                (queue.held_by(key).0, queue.why_not_to(now_ms, key))
            }
            (Machine::Queue(queue), None, None) => (queue.ready(), queue.why_idle(now_ms)),
            (Machine::Topic(topic), None, Some(key)) => {
                (topic.held_by(key).0, topic.why_not_to(key))
            }
            (Machine::Topic(_), ..) => return Err(WhyError::IsTopic(of.clone())),
        };
        if waiting == 0 {
            return Ok(vec![said("empty", "no message waits")]);
        }
        if reasons.is_empty() {
            let text = "nothing keeps it from being delivered: it is under way";
            return Ok(vec![said("none", text)]);
        }
        Ok(state.causes(&cell, now_ms, &reasons))
    }
}

fn said(code: &'static str, text: &str) -> Cause {
    Cause {
        code,
        text: text.to_owned(),
        ..Cause::default()
    }
}

impl State {
    fn consumer(&self, id: &str) -> Option<SubscriptionKey> {
        let mut known = self.told();
        known.find_map(|(key, facts)| (facts.id() == id).then_some(key))
    }

    /// Reasons in words, with names.
    pub(super) fn causes(&self, cell: &Cell, now_ms: u64, reasons: &[Reason]) -> Vec<Cause> {
        let say = |reason| self.cause(cell, now_ms, reason);
        reasons.iter().map(say).collect()
    }

    fn cause(&self, cell: &Cell, now_ms: u64, reason: &Reason) -> Cause {
        let facts = |key: &SubscriptionKey| self.attached.get(*key)?.facts.as_deref().map(Who::of);
        let who = reason.consumer().as_ref().and_then(facts);
        let name = who
            .as_ref()
            .map_or_else(|| "a consumer".to_owned(), Who::text);
        let since_ms = reason.since_ms().filter(|since_ms| *since_ms > 0);
        let since_ms = match reason {
            Reason::Paused => self.paused().map(|pause| pause.since_ms),
            _ => since_ms,
        };
        let until_ms = reason.until_ms();
        let lasting = since_ms.map_or_else(String::new, |since_ms| {
            format!(", for {} now", length(now_ms.saturating_sub(since_ms)))
        });
        let left = until_ms.map_or_else(String::new, |until_ms| {
            format!("{} more", length(until_ms.saturating_sub(now_ms)))
        });
        let text = match reason {
            Reason::NoConsumer => format!("nobody consumes from {}", cell.destination),
            Reason::Paused => {
                let by = self.paused().map(|Pause { by, .. }| by.as_str());
                format!(
                    "{} has been paused by {}{lasting}",
                    cell.destination,
                    by.unwrap_or("somebody")
                )
            }
            Reason::FairStart { .. } if until_ms.is_some() => {
                format!(
                    "{reason}, or in {left} at the latest (consumersBeforeDispatchStarts, timeBeforeDispatchStarts)"
                )
            }
            Reason::FairStart { .. } => {
                format!("{reason} (consumersBeforeDispatchStarts)")
            }
            Reason::WindowFull {
                unacked, window, ..
            } => format!(
                "{name} holds {unacked} messages of {window} without acknowledging{lasting}"
            ),
            Reason::ConnectionFull { .. } => format!(
                "the connection of {name} takes nothing more{lasting}: its client does not read, or too slowly \
                 (stomp.outbox_bytes_max)"
            ),
            Reason::SelectorFalse { .. } => {
                let selector = who.as_ref().and_then(|who| who.selector.as_deref());
                format!(
                    "the selector of {name} does not match: {}",
                    selector.unwrap_or("it leaves out what its own connection sends")
                )
            }
            Reason::Exclusive { .. } => format!("{name} is exclusive and gets everything"),
            Reason::HigherPriority { .. } => {
                format!("{name} has a higher priority and takes what comes")
            }
            Reason::GroupOwner { group, .. } => format!("the group {group} belongs to {name}"),
            Reason::GroupHeld { group } => {
                format!(
                    "a message of the group {group} waits for its redelivery, and the group for it"
                )
            }
            Reason::Delayed { .. } => format!("it waits for its redelivery, {left}"),
            Reason::HeldUp { .. } => format!("{reason}, {left}"),
            Reason::InFlight { .. } => format!("{name} has it and has not acknowledged it"),
            other => other.to_string(),
        };
        Cause {
            code: reason.code(),
            text,
            consumer: who,
            since_ms,
            until_ms,
        }
    }
}

fn length(ms: u64) -> humantime::FormattedDuration {
    let length = if ms < 10_000 {
        Duration::from_millis(ms)
    } else {
        Duration::from_secs(ms / 1000)
    };
    humantime::format_duration(length)
}

/// Causes in one text.
pub(super) fn text(causes: &[Cause]) -> String {
    let texts: Vec<&str> = causes.iter().map(|cause| cause.text.as_str()).collect();
    texts.join("; ")
}

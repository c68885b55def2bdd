//! Headers by which a client says what a queue is like that it makes: RabbitMQ's `x-…` and `auto-delete` (section 10).

use std::sync::Arc;

use ferrymq_protocols::stomp::Headers;

use super::access;
use super::adapter::State;
use super::names::Names;
use super::namespace;
use super::reply::Refusal;
use crate::broker::policy::{Declared, Overflow};
use crate::broker::{Destination, Kind};
use crate::engine::Ticket;
use crate::engine::cell::Cell;
use crate::security::Right;
use crate::session::Session;

/// The header behind a key of a policy, for warnings.
const HEADERS: [(&str, &str); 8] = [
    ("timestamping.zeroExpirationOverride", "x-message-ttl"),
    ("inactiveTimeoutBeforeGC", "x-expires"),
    ("maxMessages", "x-max-length"),
    ("maxBytes", "x-max-length-bytes"),
    ("overflow", "x-overflow"),
    ("prioritizedMessages", "x-max-priority"),
    ("autoDelete", "auto-delete"),
    (
        "deadLetterStrategy.deadLetterQueue",
        "x-dead-letter-routing-key",
    ),
];

/// What headers declare of a queue; `None` if they declare nothing.
fn read(headers: &Headers<'_>, names: &Names) -> Result<Option<Declared>, Refusal> {
    let mut declared = Declared::default();
    let (mut exchange, mut key) = (None, None);
    for (name, value) in headers.iter() {
        let value = value.trim();
        let number = || {
            let number = value.parse::<u64>();
            number.map_err(|_| Refusal::frame(format!("header {name} is not a number: {value}")))
        };
        let positive = || match number()? {
            0 => Err(Refusal::frame(format!("header {name} must be above 0"))),
            number => Ok(number),
        };
        match &*name {
            "auto-delete" => declared.auto_delete = value == "true",
            "x-message-ttl" => declared.ttl_ms = Some(positive()?),
            "x-expires" => declared.expires_ms = Some(positive()?),
            "x-max-length" => declared.messages_max = Some(positive()?),
            "x-max-length-bytes" => declared.bytes_max = Some(positive()?),
            "x-max-priority" => declared.prioritized = Some(number()? > 0),
            "x-overflow" => {
                declared.overflow = Some(match value {
                    "drop-head" => Overflow::DropHead,
                    "reject-publish" => Overflow::Reject,
                    _ => {
                        return Err(Refusal::frame(format!(
                            "x-overflow must be drop-head or reject-publish, not '{value}'"
                        )));
                    }
                });
            }
            "x-dead-letter-exchange" => exchange = Some(value.to_owned()),
            "x-dead-letter-routing-key" => key = Some(value.to_owned()),
            _ => {}
        }
    }
    let is_limited = declared.messages_max.or(declared.bytes_max).is_some();
    if is_limited && declared.overflow.is_none() {
        // RabbitMQ's own default.
        declared.overflow = Some(Overflow::DropHead);
    }
    declared.dead_letter_queue = dead_letter_queue(exchange, key, names)?;
    Ok(declared.is_any().then_some(declared))
}

/// The queue that a dead-letter exchange and routing key lead to.
fn dead_letter_queue(
    exchange: Option<String>,
    key: Option<String>,
    names: &Names,
) -> Result<Option<String>, Refusal> {
    let (exchange, key) = match (exchange, key.filter(|key| !key.is_empty())) {
        (None, None) => return Ok(None),
        (Some(exchange), None) => {
            return Err(Refusal::frame(format!(
                "x-dead-letter-exchange '{exchange}' needs x-dead-letter-routing-key, the name of the dead-letter queue"
            )));
        }
        (exchange, Some(key)) => (exchange.unwrap_or_default(), key),
    };
    let leads_to = names.exchange(&format!("{exchange}/{key}"))?;
    let queue = names.queue_name(&leads_to);
    let queue = queue.filter(|queue| {
        crate::broker::Pattern::parse_with(queue, names.syntax).is_ok_and(|p| !p.is_wildcard())
    });
    queue.map(|queue| Some(queue.to_owned())).ok_or_else(|| {
        Refusal::frame(format!(
            "x-dead-letter-exchange '{exchange}' with routing key '{key}' leads to {leads_to}; dead letters go to queues"
        ))
    })
}

/// A destination that was opened, and what became of what was declared of it.
pub(super) struct Opened {
    pub(super) cell: Arc<Cell>,
    /// What the client has to be told.
    pub(super) warning: Option<String>,
    /// The sync that covers what is declared.
    pub(super) after: Option<Ticket>,
}

impl State {
    /// What headers declare of a queue of this user; `None` if they declare nothing.
    pub(super) fn declared(&self, headers: &Headers<'_>) -> Result<Option<Declared>, Refusal> {
        let mut declared = read(headers, &self.settings.names)?;
        if let Some(queue) = declared
            .as_mut()
            .and_then(|it| it.dead_letter_queue.as_mut())
        {
            queue.insert_str(0, self.prefix());
        }
        Ok(declared)
    }

    /// As [`access::open`]; a queue that is not there yet is made as declared.
    pub(super) fn open_declared(
        &self,
        session: &Session,
        right: Right,
        destination: &Destination,
        declared: Option<&Declared>,
    ) -> Result<Opened, Refusal> {
        let (engine, access) = (&session.engine, self.access.as_ref());
        let declared = declared.filter(|_| destination.kind == Kind::Queue);
        let Some(declared) = declared else {
            let cell = access::open(engine, access, right, destination)?;
            return Ok(Opened {
                cell,
                warning: None,
                after: None,
            });
        };
        let is_new = engine.registry.get(destination).is_none();
        let cell = if is_new {
            access::check(access, right, destination)?;
            access::check(access, Right::Create, destination)?;
            namespace::check_destinations(engine, access)?;
            let opened = engine.registry.open_declared(destination, declared);
            opened.map_err(|refused| Refusal::frame(refused.to_string()))?
        } else {
            access::open(engine, access, right, destination)?
        };
        let mut after = None;
        if is_new {
            after = engine.note_declared(&cell).map_err(|error| {
                Refusal::frame(format!("the queue could not be declared: {error}"))
            })?;
        }
        let known = engine.declared(destination);
        let other = declared.differing(&cell.policy(), known.as_deref());
        let headers = other.iter().filter_map(|key| {
            let found = HEADERS.iter().find(|(known, _)| known == key);
            found.map(|(_, header)| *header)
        });
        let headers: Vec<&str> = headers.collect();
        let warning = (!headers.is_empty()).then(|| {
            format!(
                "{destination} exists with other values, ignored: {}",
                headers.join(", ")
            )
        });
        Ok(Opened {
            cell,
            warning,
            after,
        })
    }
}

//! Selectors at work: what a selector asks, answered from a message and the reader of its wire (SEL-6).

use std::borrow::Cow;
use std::sync::Arc;

use super::Engine;
use super::properties::{PropertyReader, PropertyReaders};
use crate::broker::selector::{
    Header, PropertySource, Selector, SelectorError, SelectorOptions, Value,
};
use crate::broker::{Destination, Filter, Kind, Message};

/// The filter of a subscription on one destination.
#[derive(Debug)]
pub struct SelectorFilter {
    selector: Selector,
    /// As JMSDestination shows it.
    destination: Box<str>,
    readers: Arc<PropertyReaders>,
}

impl Engine {
    /// Compiles the selector of a subscription on `destination`.
    ///
    /// # Errors
    /// If `text` is no selector (SEL-8).
    pub fn filter(
        &self,
        text: &str,
        options: SelectorOptions,
        destination: &Destination,
    ) -> Result<SelectorFilter, SelectorError> {
        let selector = Selector::parse(text, options)?;
        Ok(SelectorFilter::new(
            selector,
            destination,
            Arc::clone(&self.properties),
        ))
    }
}

impl SelectorFilter {
    /// A filter that reads messages of `destination` by `readers`.
    #[must_use]
    pub fn new(
        selector: Selector,
        destination: &Destination,
        readers: Arc<PropertyReaders>,
    ) -> Self {
        let scheme = match destination.kind {
            Kind::Queue => "queue",
            Kind::Topic => "topic",
        };
        Self {
            selector,
            destination: format!("{scheme}://{}", destination.name).into(),
            readers,
        }
    }
}

impl Filter for SelectorFilter {
    fn matches(&self, message: &Message, redeliveries: u16, redelivered: bool) -> bool {
        self.selector.matches(&Source {
            message,
            reader: self.readers.get(message.wire),
            destination: &self.destination,
            redeliveries,
            redelivered,
        })
    }
}

/// One message as a selector sees it.
struct Source<'a> {
    message: &'a Message,
    reader: Option<&'a dyn PropertyReader>,
    destination: &'a str,
    redeliveries: u16,
    redelivered: bool,
}

impl PropertySource for Source<'_> {
    fn property(&self, name: &str) -> Option<Value<'_>> {
        if let Some(found) = self.reader?.property(self.message, name) {
            return Some(found);
        }
        // What delivery would add to a dead letter (DLQ-4).
        let fate = self.message.dead_letter.as_ref()?;
        match name {
            "dlqDeliveryFailureCause" if fate.cause.is_empty() => None,
            "dlqDeliveryFailureCause" => Some(Value::text(&fate.cause)),
            "original-destination" => Some(Value::text(&fate.origin)),
            "originalExpiration" if fate.original_expires_ms != 0 => {
                Some(integer(fate.original_expires_ms))
            }
            _ => None,
        }
    }

    fn header(&self, header: Header) -> Option<Value<'_>> {
        let message = self.message;
        Some(match header {
            // That of a copy is the one it was sent to (VIR-1).
            Header::Destination => match message.routed_origin().and_then(uri) {
                Some(origin) => Value::Str(Cow::Owned(origin)),
                None => Value::text(self.destination),
            },
            Header::DeliveryMode => Value::Str(Cow::Borrowed(if message.is_persistent() {
                "PERSISTENT"
            } else {
                "NON_PERSISTENT"
            })),
            Header::Priority => Value::I64(message.priority.into()),
            Header::Timestamp => integer(message.timestamp_ms),
            Header::Expiration => integer(message.expires_ms),
            Header::Redelivered => Value::Bool(self.redelivered),
            Header::DeliveryCount => Value::I64(i64::from(self.redeliveries) + 1),
            Header::ReplyTo
            | Header::Type
            | Header::CorrelationId
            | Header::MessageId
            | Header::GroupId
            | Header::GroupSeq
            | Header::UserId => return self.reader?.header(message, header),
            // Not recorded: no transaction outlives its commit, and there is one broker only.
            Header::ProducerTxId
            | Header::BrokerInTime
            | Header::BrokerOutTime
            | Header::BrokerPath => return None,
        })
    }
}

/// A destination as JMSDestination shows it.
fn uri(header: &str) -> Option<String> {
    let (kind, name) = header.strip_prefix('/')?.split_once('/')?;
    Some(format!("{kind}://{name}"))
}

fn integer(number: u64) -> Value<'static> {
    Value::I64(i64::try_from(number).unwrap_or(i64::MAX))
}

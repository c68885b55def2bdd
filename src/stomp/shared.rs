//! SUBSCRIBE and UNSUBSCRIBE with `durable:true` and `auto-delete:false`: a durable subscription that connections share, by
//! RabbitMQ's headers (section 10).

use ferrymq_protocols::stomp::{Subscribe, Unsubscribe};

use super::adapter::State;
use super::destination::{Address, Part};
use super::reply::Refusal;
use crate::broker::{Destination, Kind};
use crate::engine::shared::SharedError;
use crate::security::Right;
use crate::session::Session;

/// A shared durable subscription.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SharedName {
    pub(super) topic: Destination,
    pub(super) name: String,
}

impl State {
    /// The shared durable subscription that a SUBSCRIBE asks for, if it does.
    pub(super) fn shared_name(
        &self,
        wanted: &Subscribe<'_>,
        address: &Address,
    ) -> Result<Option<SharedName>, Refusal> {
        let on_topic = address.parts.iter().any(|part| part.kind() == Kind::Topic);
        if !wanted.durable || !on_topic || wanted.durable_name.is_some() {
            return Ok(None);
        }
        let named = wanted.headers.get_name("x-queue-name");
        let Some(id) = named.as_ref().or(wanted.id.as_ref()) else {
            return Err(Refusal::frame(
                "Header 'id' is required for durable subscriptions",
            ));
        };
        if wanted.auto_delete != Some(false) {
            return Ok(None);
        }
        let [Part::Named(topic)] = &address.parts[..] else {
            return Err(Refusal::not_yet(
                "durable subscriptions on several topics are",
            ));
        };
        if wanted.selector.is_some() {
            // What no consumer wants would lie in its queue for ever.
            return Err(Refusal::not_yet("selectors with durable:true are"));
        }
        Ok(Some(SharedName {
            topic: topic.clone(),
            name: id.to_string(),
        }))
    }

    /// Removes a shared durable subscription, if that is what an UNSUBSCRIBE asks for; what this connection consumes of it
    /// ends before. False if it asks for something else.
    pub(super) fn unsubscribe_shared(
        &mut self,
        session: &mut Session,
        wanted: &Unsubscribe<'_>,
    ) -> Result<bool, Refusal> {
        if !wanted.durable || wanted.auto_delete != Some(false) {
            return Ok(false);
        }
        let own = wanted
            .id
            .as_ref()
            .and_then(|id| self.subscriptions.serial(id));
        let parts = match (&wanted.destination, own) {
            (Some(text), _) => self.address(text)?.parts,
            (None, Some(serial)) => match self.subscriptions.parts(serial) {
                Some(parts) => parts.to_vec(),
                None => return Ok(false),
            },
            (None, None) => return Ok(false),
        };
        let [Part::Named(topic)] = &parts[..] else {
            return Ok(false);
        };
        let named = wanted.headers.get_name("x-queue-name");
        let Some(name) = named.as_ref().or(wanted.id.as_ref()) else {
            return Ok(false);
        };
        if topic.kind != Kind::Topic {
            return Ok(false);
        }
        // Who may not read what it holds may not throw it away either.
        super::access::check(self.access.as_ref(), Right::Read, topic)?;
        let refuse = |error: &SharedError| {
            Refusal::frame(format!(
                "Durable subscription {name} of {topic} is not removed: {error}"
            ))
        };
        let consumers = session.engine.shared_consumers(topic, name);
        let Some(consumers) = consumers else {
            return Err(refuse(&SharedError::Unknown));
        };
        let mine = own.filter(|serial| self.subscriptions.is_shared(*serial));
        if consumers > usize::from(mine.is_some()) {
            return Err(refuse(&SharedError::InUse));
        }
        if let Some(serial) = mine {
            self.forget_subscription(serial);
            session.unsubscribe(serial, &[]);
        }
        self.answer(wanted.receipt.as_deref(), |answer| {
            session.remove_shared(topic, name, answer)
        })
        .map_err(|error| refuse(&error))?;
        Ok(true)
    }
}

//! What a subscription asks of messages, as clients say it and as it is remembered of durable ones.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::Engine;
use crate::broker::selector::SelectorOptions;
use crate::broker::topic::Selection;
use crate::broker::{Destination, Filter, Message};

/// A selector and `noLocal`; by default everything is wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Choice {
    /// The selector, beginning with [`CONVERT_PREFIX`](crate::broker::selector::CONVERT_PREFIX) if its
    /// wire knows no types.
    pub selector: Option<String>,
    /// Nothing that the subscriber's own connection has sent.
    pub no_local: bool,
}

/// Which connection each client with a durable `noLocal` subscription has, or had last. What it sends is local
/// to its durable subscriptions, with a consumer or without (JMS: the same client id).
#[derive(Default)]
pub struct Locals {
    by_client: Mutex<HashMap<String, Arc<AtomicU64>>>,
}

impl Locals {
    /// The number of the connection of `client_id`, to follow.
    pub(super) fn of(&self, client_id: &str) -> Arc<AtomicU64> {
        let mut known = self
            .by_client
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        Arc::clone(known.entry(client_id.to_owned()).or_default())
    }

    /// A connection has said CONNECT as `client_id`.
    pub fn connected(&self, client_id: &str, origin: u64) {
        let known = self
            .by_client
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(local) = known.get(client_id) {
            local.store(origin, Ordering::Relaxed);
        }
    }
}

/// Takes what does not come from one connection, and passes its selector.
#[derive(Debug)]
struct Foreign {
    origin: u64,
    filter: Option<Arc<dyn Filter>>,
}

impl Filter for Foreign {
    fn matches(&self, message: &Message, redeliveries: u16, redelivered: bool) -> bool {
        message.id.origin != self.origin
            && self
                .filter
                .as_ref()
                .is_none_or(|filter| filter.matches(message, redeliveries, redelivered))
    }
}

impl Engine {
    /// The filter that `choice` makes for a subscription on `destination`.
    ///
    /// # Errors
    /// Its selector is none (SEL-8); why.
    pub fn filter_of(
        &self,
        choice: &Choice,
        destination: &Destination,
    ) -> Result<Option<Arc<dyn Filter>>, String> {
        let Some(selector) = &choice.selector else {
            return Ok(None);
        };
        let options = SelectorOptions::default();
        let filter = self
            .filter(selector, options, destination)
            .map_err(|error| error.to_string())?;
        Ok(Some(Arc::new(filter)))
    }

    /// The same for a subscription on a queue, `noLocal` included: nothing of the connection `origin`.
    ///
    /// # Errors
    /// As [`Engine::filter_of`].
    pub fn queue_filter(
        &self,
        choice: &Choice,
        destination: &Destination,
        origin: u64,
    ) -> Result<Option<Arc<dyn Filter>>, String> {
        let filter = self.filter_of(choice, destination)?;
        if !choice.no_local {
            return Ok(filter);
        }
        Ok(Some(Arc::new(Foreign { origin, filter })))
    }

    /// What `choice` means for a subscription on a topic; `local` is the connection whose messages are local.
    ///
    /// # Errors
    /// As [`Engine::filter_of`].
    pub fn selection(
        &self,
        choice: &Choice,
        destination: &Destination,
        local: impl FnOnce() -> Arc<AtomicU64>,
    ) -> Result<Selection, String> {
        Ok(Selection {
            filter: self.filter_of(choice, destination)?,
            no_local: choice.no_local.then(local),
        })
    }
}

//! How the deliveries of the subscriptions of a destination get to their connections.
//!
//! Most destinations have one subscription, so a few lie in a list and are compared.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use slotmap::SecondaryMap;

use super::delivering::Encoder;
use super::outbox::Outbox;
use crate::broker::SubscriptionKey;
use crate::broker::advisory::ConsumerFacts;

/// How the deliveries of one subscription get to its connection.
pub(super) struct Attached {
    pub(super) outbox: Arc<Outbox>,
    pub(super) encoder: Box<dyn Encoder>,
    /// Its number at the outbox.
    pub(super) index: u32,
    pub(super) auto: bool,
    /// Whether the encoder has a say in the form of each message.
    pub(super) rewrites: bool,
    /// Messages of other wires are rewritten in any case.
    pub(super) wire: u8,
    /// What is told of the consumer.
    pub(super) facts: Option<Arc<ConsumerFacts>>,
    /// Who numbers deliveries, if the consumer shares its subscription with those of other destinations.
    pub(super) numbers: Option<Arc<AtomicU64>>,
}

/// Subscriptions up to which they are compared.
const FEW_MAX: usize = 4;

/// Those of one destination, by key.
pub(super) enum Attachments {
    Few(Vec<(SubscriptionKey, Attached)>),
    Many(Box<SecondaryMap<SubscriptionKey, Attached>>),
}

impl Default for Attachments {
    fn default() -> Self {
        Self::Few(Vec::new())
    }
}

impl Attachments {
    #[inline]
    pub(super) fn get(&self, key: SubscriptionKey) -> Option<&Attached> {
        match self {
            Self::Few(few) => {
                let found = few.iter().find(|(known, _)| *known == key);
                found.map(|(_, attached)| attached)
            }
            Self::Many(many) => many.get(key),
        }
    }

    pub(super) fn get_mut(&mut self, key: SubscriptionKey) -> Option<&mut Attached> {
        match self {
            Self::Few(few) => {
                let found = few.iter_mut().find(|(known, _)| *known == key);
                found.map(|(_, attached)| attached)
            }
            Self::Many(many) => many.get_mut(key),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        match self {
            Self::Few(few) => few.is_empty(),
            Self::Many(many) => many.is_empty(),
        }
    }

    /// Adds one whose key is not there.
    pub(super) fn insert(&mut self, key: SubscriptionKey, attached: Attached) {
        if let Self::Few(few) = self {
            if few.len() < FEW_MAX {
                few.reserve_exact(1);
                few.push((key, attached));
                return;
            }
            let few = std::mem::take(few);
            *self = Self::Many(Box::new(few.into_iter().collect()));
        }
        if let Self::Many(many) = self {
            many.insert(key, attached);
        }
    }

    pub(super) fn remove(&mut self, key: SubscriptionKey) -> Option<Attached> {
        match self {
            Self::Few(few) => {
                let at = few.iter().position(|(known, _)| *known == key)?;
                Some(few.swap_remove(at).1)
            }
            Self::Many(many) => {
                let removed = many.remove(key);
                if many.is_empty() {
                    *self = Self::default();
                }
                removed
            }
        }
    }

    /// All of them.
    pub(super) fn iter(&self) -> impl Iterator<Item = (SubscriptionKey, &Attached)> {
        let (few, many) = match self {
            Self::Few(few) => (Some(few), None),
            Self::Many(many) => (None, Some(many)),
        };
        let few = few.into_iter().flatten();
        let many = many.into_iter().flat_map(|many| many.iter());
        few.map(|(key, attached)| (*key, attached)).chain(many)
    }
}

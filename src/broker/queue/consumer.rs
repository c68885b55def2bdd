//! A consumer as its queue sees it: a subscription, and what it asked for beyond one.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::browse::Browse;
use super::lanes::Spot;
use super::scan::Scan;
use super::turns::Rank;
use crate::broker::adaptive::Adaptive;
use crate::broker::filter::Filter;
use crate::broker::message::Message;
use crate::broker::redelivery::RedeliveryOverride;
use crate::broker::subscription::Subscription;

/// What a consumer may ask for when it subscribes to a queue.
#[derive(Clone, Debug, Default)]
pub struct Wishes {
    /// Consumer priority, 0 to 127; higher ones go first (PRE-5).
    pub priority: u8,
    /// Whether it wants to be the only one (PRE-9).
    pub exclusive: bool,
    /// Whether its window may follow how fast it acknowledges, up to the one given (PRE-7).
    pub adaptive: bool,
    /// Its own redelivery settings.
    pub redelivery: Option<RedeliveryOverride>,
    /// Its selector (SEL-9).
    pub filter: Option<Arc<dyn Filter>>,
    /// Whether it only looks (BRO-1).
    pub browser: bool,
}

/// A selector and how far it has looked.
#[derive(Debug)]
pub(super) struct Selection {
    pub(super) filter: Arc<dyn Filter>,
    pub(super) scan: Scan,
}

/// One consumer.
#[derive(Debug)]
pub(super) struct Consumer {
    pub(super) subscription: Subscription,
    pub(super) rank: Rank,
    /// The priority it asked for, whether the queue goes by it or not.
    pub(super) wanted_priority: u8,
    pub(super) exclusive: bool,
    /// It has been resumed once: it counts for the fair start (PRE-6).
    pub(super) started: bool,
    pub(super) redelivery: Option<Box<RedeliveryOverride>>,
    pub(super) adaptive: Option<Box<Adaptive>>,
    pub(super) selection: Option<Box<Selection>>,
    /// Messages of its groups that others have passed.
    pub(super) reserved: BTreeSet<Spot>,
    /// Messages of its groups that its selector does not match: nobody's, as long as the group is its own.
    pub(super) declined: BTreeSet<Spot>,
    /// How many groups it owns.
    pub(super) groups: u32,
    pub(super) browse: Option<Box<Browse>>,
    /// When it last took its last credit.
    pub(super) full_since_ms: u64,
}

impl Consumer {
    /// Whether it can be given a message of the queue now.
    pub(super) fn is_willing(&self) -> bool {
        self.browse.is_none() && self.subscription.has_credit()
    }

    /// Whether its selector, if it has one, takes the message.
    pub(super) fn matches(&self, message: &Message, redeliveries: u16, redelivered: bool) -> bool {
        self.selection
            .as_ref()
            .is_none_or(|selection| selection.filter.matches(message, redeliveries, redelivered))
    }

    /// Notes acknowledgements, for its window.
    pub(super) fn acknowledged(&mut self, now_ms: u64, count: usize) {
        if let Some(adaptive) = &mut self.adaptive {
            adaptive.acknowledged(now_ms, u32::try_from(count).unwrap_or(u32::MAX));
            self.subscription.window.messages_max = adaptive.window();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Most queues have one, and hold nothing else for it than its place.
    #[test]
    fn a_consumer_is_small() {
        assert!(size_of::<Consumer>() <= 208, "{}", size_of::<Consumer>());
    }
}

//! A consumer as its queue sees it: a subscription, and what it asked for beyond one.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::browse::Browse;
use super::lanes::Spot;
use super::scan::Scan;
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

/// What a consumer has of message groups.
#[derive(Debug, Default)]
struct Grouped {
    /// How many it owns.
    owned: u32,
    /// Messages of its groups that others have passed.
    reserved: BTreeSet<Spot>,
    /// Messages of its groups that its selector does not match: nobody's, as long as the group is its own.
    declined: BTreeSet<Spot>,
}

/// One consumer.
#[derive(Debug)]
pub(super) struct Consumer {
    pub(super) subscription: Subscription,
    /// Order of subscribing.
    pub(super) serial: u64,
    /// Higher goes first.
    pub(super) priority: u8,
    /// The priority it asked for, whether the queue goes by it or not.
    pub(super) wanted_priority: u8,
    /// It has a place among those in turn.
    pub(super) in_turn: bool,
    pub(super) exclusive: bool,
    /// It has been resumed once: it counts for the fair start (PRE-6).
    pub(super) started: bool,
    pub(super) redelivery: Option<Box<RedeliveryOverride>>,
    pub(super) adaptive: Option<Box<Adaptive>>,
    pub(super) selection: Option<Box<Selection>>,
    /// What it has of groups, if it has some.
    grouped: Option<Box<Grouped>>,
    pub(super) browse: Option<Box<Browse>>,
    /// When it last took its last credit.
    pub(super) full_since_ms: u64,
}

impl Consumer {
    /// The consumer `serial` of the queue, of this priority there; it has asked for `wishes`, which have been taken apart.
    pub(super) fn new(
        subscription: Subscription,
        (serial, priority): (u64, u8),
        wishes: &Wishes,
    ) -> Self {
        Self {
            subscription,
            serial,
            priority,
            wanted_priority: wishes.priority,
            in_turn: false,
            exclusive: wishes.exclusive,
            started: false,
            redelivery: wishes.redelivery.map(Box::new),
            adaptive: None,
            selection: None,
            grouped: None,
            browse: None,
            full_since_ms: 0,
        }
    }

    /// How many groups it owns.
    pub(super) fn groups(&self) -> u32 {
        self.grouped.as_ref().map_or(0, |grouped| grouped.owned)
    }

    /// It has got a group.
    pub(super) fn own_group(&mut self) {
        self.grouped.get_or_insert_default().owned += 1;
    }

    /// It has lost a group.
    pub(super) fn lose_group(&mut self) {
        if let Some(grouped) = &mut self.grouped {
            grouped.owned -= 1;
        }
    }

    /// Whether it has messages of its groups that others have passed.
    pub(super) fn has_reserved(&self) -> bool {
        let grouped = self.grouped.as_ref();
        grouped.is_some_and(|grouped| !grouped.reserved.is_empty())
    }

    /// Whether the message at `spot` is one of those.
    pub(super) fn is_reserved(&self, spot: Spot) -> bool {
        let grouped = self.grouped.as_ref();
        grouped.is_some_and(|grouped| grouped.reserved.contains(&spot))
    }

    /// The first of those.
    pub(super) fn first_reserved(&self) -> Option<Spot> {
        self.grouped.as_ref()?.reserved.first().copied()
    }

    /// The message at `spot` is of one of its groups, and another has passed it.
    pub(super) fn reserve(&mut self, spot: Spot) {
        self.grouped.get_or_insert_default().reserved.insert(spot);
    }

    /// The message at `spot` is not waiting for it any more.
    pub(super) fn unreserve(&mut self, spot: Spot) {
        if let Some(grouped) = &mut self.grouped {
            grouped.reserved.remove(&spot);
        }
    }

    /// The message at `spot` is of one of its groups, and does not match.
    pub(super) fn decline(&mut self, spot: Spot) {
        self.grouped.get_or_insert_default().declined.insert(spot);
    }

    /// Messages that it has declined; nobody's any more.
    pub(super) fn take_declined(&mut self) -> BTreeSet<Spot> {
        let grouped = self.grouped.as_mut();
        grouped.map_or_else(BTreeSet::new, |grouped| {
            std::mem::take(&mut grouped.declined)
        })
    }

    /// The places of all messages that it was to have, or has declined; it knows none any more.
    pub(super) fn take_spots(&mut self) -> impl Iterator<Item = Spot> + use<> {
        let grouped = self.grouped.as_mut();
        let (reserved, declined) = grouped.map_or_else(Default::default, |grouped| {
            (
                std::mem::take(&mut grouped.reserved),
                std::mem::take(&mut grouped.declined),
            )
        });
        reserved.into_iter().chain(declined)
    }

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
        assert!(size_of::<Consumer>() <= 160, "{}", size_of::<Consumer>());
    }
}

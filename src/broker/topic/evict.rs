//! What becomes of a subscriber that does not keep up: what it loses, or that it ends (SLO-1).
//!
//! - A durable subscription loses nothing: its backlog is on disk.
//! - Until its consumer has been started, nothing is counted: who has the answer to his SUBSCRIBE gets what comes then.
//! - Whether the oldest goes first is settled when somebody begins to lag, so that a change of the policy needs no search.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::policy::{Eviction, TopicPolicy, TopicRules};
use super::subscriber::Subscriber;
use super::{Kept, Topic};
use crate::broker::log::Log;
use crate::broker::message::Message;
use crate::broker::outlet::Outlet;
use crate::broker::slow::AbortCause;
use crate::broker::subscription::SubscriptionKey;

/// What a subscriber has that may lose messages, or be ended, before it has as many octets as any may have.
#[derive(Debug, Default)]
pub(super) struct Bounds {
    /// Messages that it has asked for itself; they count more than the policy.
    wish: Option<u32>,
    /// Messages that may wait for it; `None`: any number.
    messages_max: Option<usize>,
    /// What waits for it, if not the oldest goes first.
    ranked: Option<Ranked>,
    /// Its consumer has been started.
    started: bool,
    /// The broker has ended it, and it waits for its connection to notice.
    ended: bool,
}

/// What waits for a subscriber, in the order in which it would be given up.
#[derive(Debug)]
pub(super) struct Ranked {
    by: Eviction,
    /// By place: rank, and the value of the property that is to be kept.
    waiting: BTreeMap<u64, (u8, Option<Arc<str>>)>,
    /// Rank and place; the first goes first.
    order: BTreeSet<(u8, u64)>,
    /// The newest of each value.
    newest: HashMap<Arc<str>, u64>,
}

/// The rank of a message for whose value there is a newer one, and of all others.
const SUPERSEDED: u8 = 0;
const CURRENT: u8 = 1;

impl Ranked {
    fn by(by: Eviction) -> Option<Self> {
        matches!(by, Eviction::LowestPriority | Eviction::UniqueProperty).then(|| Self {
            by,
            waiting: BTreeMap::new(),
            order: BTreeSet::new(),
            newest: HashMap::new(),
        })
    }

    fn insert(&mut self, sequence: u64, message: &Message, rules: &TopicRules) {
        let (rank, value) = match self.by {
            Eviction::LowestPriority => (message.priority, None),
            _ => {
                let property = &rules.policy.eviction_property;
                (CURRENT, rules.reader.text(message, property).map(Arc::from))
            }
        };
        if let Some(value) = &value
            && let Some(older) = self.newest.insert(Arc::clone(value), sequence)
            && let Some((rank, _)) = self.waiting.get_mut(&older)
        {
            self.order.remove(&(*rank, older));
            *rank = SUPERSEDED;
            self.order.insert((SUPERSEDED, older));
        }
        self.order.insert((rank, sequence));
        self.waiting.insert(sequence, (rank, value));
    }

    fn remove(&mut self, sequence: u64) {
        let Some((rank, value)) = self.waiting.remove(&sequence) else {
            return;
        };
        self.order.remove(&(rank, sequence));
        if let Some(value) = value
            && self.newest.get(&value) == Some(&sequence)
        {
            self.newest.remove(&value);
        }
    }

    /// The oldest that waits.
    pub(super) fn first(&self) -> Option<u64> {
        self.waiting
            .first_key_value()
            .map(|(sequence, _)| *sequence)
    }

    pub(super) fn contains(&self, sequence: u64) -> bool {
        self.waiting.contains_key(&sequence)
    }
}

impl Subscriber {
    /// What waits for it, where not the oldest goes first.
    pub(super) fn ranked(&self) -> Option<&Ranked> {
        self.bounds.as_ref()?.ranked.as_ref()
    }

    /// The entry at `sequence` does not wait any more.
    pub(super) fn unrank(&mut self, sequence: u64) {
        if let Some(bounds) = &mut self.bounds
            && let Some(ranked) = &mut bounds.ranked
        {
            ranked.remove(sequence);
        }
    }

    /// Whether the broker has ended it.
    pub(super) fn is_ended(&self) -> bool {
        self.bounds.as_ref().is_some_and(|bounds| bounds.ended)
    }

    /// Its consumer is started: from now on what waits for it is counted.
    pub(super) fn start_counting(&mut self) {
        if let Some(bounds) = &mut self.bounds {
            bounds.started = true;
        }
    }

    /// Notes that a new message of `bytes` octets waits for it.
    pub(super) fn queue_up(
        &mut self,
        sequence: u64,
        bytes: u64,
        message: &Message,
        rules: Option<&TopicRules>,
    ) {
        if let (Some(bounds), Some(rules)) = (&mut self.bounds, rules) {
            if self.lag == 0 {
                bounds.ranked = Ranked::by(rules.policy.eviction);
            }
            if let Some(ranked) = &mut bounds.ranked {
                ranked.insert(sequence, message, rules);
            }
        }
        self.lag_behind(sequence, bytes);
    }

    /// Whether more waits for it than may.
    pub(super) fn is_over(&self, bytes_max: u64) -> bool {
        let counted = |bounds: &Bounds| {
            let messages_max = bounds.messages_max.filter(|_| bounds.started);
            messages_max.is_some_and(|max| self.lag > max)
        };
        self.durable.is_none()
            && (self.lag_bytes > bytes_max || self.bounds.as_ref().is_some_and(|it| counted(it)))
    }

    /// Gives it the bounds that the policy, or it itself, wants.
    fn bound(&mut self, wish: Option<u32>, policy: Option<&TopicPolicy>) {
        let Some(consumer) = self.consumer.as_ref().filter(|_| self.durable.is_none()) else {
            return;
        };
        let wish = wish.or_else(|| self.bounds.as_ref()?.wish);
        let by_policy = policy.and_then(|policy| policy.pending.of(consumer.window));
        let messages_max = wish.map(|max| max as usize).or(by_policy);
        let is_special = policy.is_some_and(|policy| policy.eviction != Eviction::Oldest);
        if messages_max.is_none() && !is_special && self.bounds.is_none() {
            return;
        }
        let started = !consumer.is_blocked();
        let bounds = self.bounds.get_or_insert_default();
        (bounds.wish, bounds.messages_max) = (wish, messages_max);
        bounds.started |= started;
    }

    /// The message that goes next.
    fn victim(&mut self, log: &Log<Kept>) -> Option<u64> {
        match self.ranked() {
            Some(ranked) => ranked.order.first().map(|(_, sequence)| *sequence),
            None => self.next_waiting(log),
        }
    }

    fn give_up(&mut self, sequence: u64, bytes: u64) {
        if self.ranked().is_some() {
            self.leave_out(sequence, bytes);
        } else {
            self.advance(sequence, bytes);
        }
    }
}

impl Topic {
    /// Gives a subscriber the bounds of the policy; `wish` is how many messages it wants to be kept for it, if it said so.
    pub fn bound(&mut self, key: SubscriptionKey, wish: Option<u32>) {
        let policy = self.extras.as_ref().map(|extras| &extras.rules.policy);
        if let Some(subscriber) = self.subscriptions.get_mut(key) {
            subscriber.bound(wish, policy);
        }
    }

    /// Gives all subscribers the bounds of a policy that has changed.
    pub(super) fn bound_all(&mut self) {
        let policy = self.extras.as_ref().map(|extras| &extras.rules.policy);
        for subscriber in self.subscriptions.values_mut() {
            subscriber.bound(None, policy);
        }
    }

    /// Sees to subscribers for whom more waits than may: they lose messages, or end. It costs only themselves.
    pub(super) fn evict(&mut self, over: Vec<SubscriptionKey>, out: &mut impl Outlet) {
        let extras = self.extras.as_ref();
        let eviction = extras.map_or(Eviction::Oldest, |extras| extras.rules.policy.eviction);
        for key in over {
            if eviction == Eviction::Disconnect {
                self.cut_off(key, out);
                continue;
            }
            while let Some(subscriber) = self.subscriptions.get_mut(key)
                && subscriber.is_over(self.limits.slow_bytes_max)
                && let Some(sequence) = subscriber.victim(&self.log)
                && let Some(kept) = self.log.get(sequence)
            {
                subscriber.give_up(sequence, u64::from(kept.entry.bytes.get()));
                self.stats.discarded += 1;
                out.discarded(key, &kept.entry, self.stats.discarded);
                self.release(sequence, out);
            }
        }
    }

    /// Ends a subscriber for whom too much waits. It gets nothing more; its connection is told.
    fn cut_off(&mut self, key: SubscriptionKey, out: &mut impl Outlet) {
        let Some(subscriber) = self.subscriptions.get_mut(key) else {
            return;
        };
        let bounds = subscriber.bounds.get_or_insert_default();
        bounds.ended = true;
        let cause = AbortCause::Backlog {
            messages: subscriber.lag,
            messages_max: bounds.messages_max.filter(|max| subscriber.lag > *max),
            bytes_max: self.limits.slow_bytes_max,
        };
        while let Some(subscriber) = self.subscriptions.get_mut(key)
            && let Some(sequence) = subscriber.next_waiting(&self.log)
            && let Some(kept) = self.log.get(sequence)
        {
            subscriber.advance(sequence, u64::from(kept.entry.bytes.get()));
            self.release(sequence, out);
        }
        self.stats.aborted += 1;
        out.abort(key, cause);
    }
}

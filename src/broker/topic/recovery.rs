//! What a topic keeps for those who come later, and how they get it (RCV-1).
//!
//! - What is kept is held in memory, bounded and accounted for; nothing of it survives a restart.
//! - Who asks gets it in order and before what is published from then on, and nothing twice: it is what the topic had
//!   taken before the subscription was made.

use std::collections::VecDeque;
use std::sync::Arc;

use super::Topic;
use super::policy::{RETAIN, RecoveryKind, RecoveryPolicy, TopicRules};
use crate::broker::delivery::Entry;
use crate::broker::message::Message;
use crate::broker::subscription::SubscriptionKey;

/// What a policy asks of a topic beyond the usual.
#[derive(Debug)]
pub(super) struct Extras {
    pub(super) rules: TopicRules,
    recovery: Recovery,
}

/// Messages kept for those who come later, in order of arrival.
#[derive(Debug, Default)]
struct Recovery {
    kept: VecDeque<Recalled>,
    bytes: u64,
}

#[derive(Debug)]
struct Recalled {
    at_ms: u64,
    sequence: u64,
    entry: Entry,
}

impl Recovery {
    /// Takes out the oldest message if it is beyond what `policy` keeps at `now_ms`.
    fn pop_beyond(&mut self, policy: &RecoveryPolicy, now_ms: u64) -> Option<Entry> {
        let oldest = self.kept.front()?;
        let is_old = policy
            .kept_ms()
            .is_some_and(|kept_ms| oldest.at_ms.saturating_add(kept_ms) <= now_ms);
        let is_much = self.bytes > policy.octets_max() && self.kept.len() > 1;
        if !is_old && !is_much && self.kept.len() <= policy.messages_max() {
            return None;
        }
        self.pop()
    }

    fn pop(&mut self) -> Option<Entry> {
        let Recalled { entry, .. } = self.kept.pop_front()?;
        self.bytes -= u64::from(entry.bytes.get());
        Some(entry)
    }
}

/// Whether a message asks to be kept, or with an empty body to keep none.
fn retains(message: &Message, rules: &TopicRules) -> bool {
    let asked = rules.reader.text(message, RETAIN);
    asked.is_some_and(|asked| asked.trim().eq_ignore_ascii_case("true"))
}

impl Topic {
    /// Changes how subscribers are treated; `None` as by default. What is kept for those who come later stays as far as
    /// the new policy keeps it.
    pub fn set_rules(&mut self, now_ms: u64, rules: Option<TopicRules>) {
        let old = self.extras.take();
        let mut recovery = old.map(|extras| extras.recovery).unwrap_or_default();
        let policy = rules.as_ref().map(|rules| rules.policy.recovery);
        // What was kept as the last of all need not have asked for it.
        let keeps = policy.filter(|policy| policy.kind != RecoveryKind::Retained);
        while let Some(entry) = match &keeps {
            Some(policy) => recovery.pop_beyond(policy, now_ms),
            None => recovery.pop(),
        } {
            self.let_go(entry.message, u64::from(entry.bytes.get()));
        }
        self.extras = rules.map(|rules| Box::new(Extras { rules, recovery }));
        self.bound_all();
    }

    /// Keeps a message that has come for those who come later, if the policy wants that.
    pub(super) fn keep_for_later(&mut self, now_ms: u64, sequence: u64, entry: &mut Entry) {
        let Some(extras) = &mut self.extras else {
            return;
        };
        let Extras { rules, recovery } = &mut **extras;
        let policy = rules.policy.recovery;
        if policy.messages_max() == 0 {
            return;
        }
        let Some(message) = &mut entry.message else {
            return;
        };
        let mut clears = false;
        if policy.kind == RecoveryKind::Retained {
            if !retains(message, rules) {
                return;
            }
            clears = message.body().is_empty();
        }
        // It may stay long, and must not pin the buffer that it came in.
        if let Some(message) = Arc::get_mut(message) {
            message.unpin();
        }
        let mut kept = entry.clone();
        kept.at = None;
        recovery.bytes += u64::from(kept.bytes.get());
        recovery.kept.push_back(Recalled {
            at_ms: now_ms,
            sequence,
            entry: kept,
        });
        let mut gone = Vec::new();
        while let Some(entry) = recovery.pop_beyond(&policy, now_ms) {
            gone.push(entry);
        }
        if clears {
            gone.extend(recovery.pop());
        }
        for entry in gone {
            self.let_go(entry.message, u64::from(entry.bytes.get()));
        }
    }

    /// Gives a new subscriber, which asked for it or not, what was kept for those who come later, as far as it wants that.
    /// Returns how many messages; they flow when its consumer is started.
    pub fn recall(&mut self, now_ms: u64, key: SubscriptionKey, asked: bool) -> usize {
        self.forget_old(now_ms);
        let Some(extras) = &self.extras else {
            return 0;
        };
        let wanted = asked || extras.rules.policy.always_retroactive;
        let Some(subscriber) = self.subscriptions.get_mut(key).filter(|_| wanted) else {
            return 0;
        };
        let mut recalled = 0;
        for Recalled {
            sequence, entry, ..
        } in &extras.recovery.kept
        {
            let wanted =
                |message: &Arc<Message>| !message.is_expired(now_ms) && subscriber.selects(message);
            if subscriber.durable.is_none() && entry.message.as_ref().is_some_and(wanted) {
                subscriber.returned.insert(*sequence, entry.clone());
                recalled += 1;
            }
        }
        recalled
    }

    /// Lets go what was kept for longer than the policy says.
    pub(super) fn forget_old(&mut self, now_ms: u64) {
        while let Some(extras) = &mut self.extras
            && let policy = extras.rules.policy.recovery
            && let Some(entry) = extras.recovery.pop_beyond(&policy, now_ms)
        {
            self.let_go(entry.message, u64::from(entry.bytes.get()));
        }
    }

    /// When something kept for later is too old. Looked at a little late, so that a busy topic is not looked at for each
    /// of its messages.
    pub(super) fn old_ms(&self) -> Option<u64> {
        let extras = self.extras.as_ref()?;
        let kept_ms = extras.rules.policy.recovery.kept_ms()?;
        let oldest = extras.recovery.kept.front()?;
        Some(oldest.at_ms.saturating_add(kept_ms + kept_ms / 16 + 1))
    }

    /// What is kept for those who come later, for the model.
    #[cfg(test)]
    pub(super) fn entries_kept_for_later(&self) -> impl Iterator<Item = &Entry> {
        let extras = self.extras.iter();
        extras.flat_map(|extras| extras.recovery.kept.iter().map(|recalled| &recalled.entry))
    }

    /// How many messages are kept for those who come later, and their octets.
    #[must_use]
    pub fn kept_for_later(&self) -> (usize, u64) {
        let recovery = self.extras.as_ref().map(|extras| &extras.recovery);
        recovery.map_or((0, 0), |recovery| (recovery.kept.len(), recovery.bytes))
    }
}

//! Policies of topics in the model: what is kept for those who come later, and what goes first of too much.

use std::collections::VecDeque;

use super::*;
use crate::broker::filter::TextReader;

/// The value of the property that is to be kept, and who asks to be retained.
#[derive(Debug)]
struct Reader;

impl TextReader for Reader {
    fn text(&self, message: &Message, name: &str) -> Option<String> {
        if name == "symbol" {
            return value_of(message.id.serial).map(|value| value.to_string());
        }
        retains(message.id.serial).then(|| "true".to_owned())
    }
}

fn value_of(sequence: u64) -> Option<u64> {
    (!sequence.is_multiple_of(7)).then_some(sequence % 3)
}

fn retains(sequence: u64) -> bool {
    sequence.is_multiple_of(4)
}

pub(super) fn given(policy: &TopicPolicy) -> Option<TopicRules> {
    (*policy != TopicPolicy::default()).then(|| TopicRules {
        policy: policy.clone(),
        reader: Arc::new(Reader),
    })
}

prop_compose! {
    pub(super) fn any_policy()(
        pending in 0..3_u8,
        messages_max in 0..6_u32,
        eviction in 0..4_usize,
        recovery in 0..6_usize,
        size in proptest::option::of(1..2000_u64),
        always_retroactive: bool,
    ) -> TopicPolicy {
        let kinds = [PendingLimitKind::None, PendingLimitKind::Constant, PendingLimitKind::PrefetchRate];
        let evictions = [
            Eviction::Oldest,
            Eviction::LowestPriority,
            Eviction::UniqueProperty,
            Eviction::Disconnect,
        ];
        let recoveries = [
            RecoveryKind::None,
            RecoveryKind::LastImage,
            RecoveryKind::FixedCount,
            RecoveryKind::FixedSize,
            RecoveryKind::Timed,
            RecoveryKind::Retained,
        ];
        let kind = recoveries[recovery];
        TopicPolicy {
            pending: PendingLimit {
                kind: kinds[usize::from(pending)],
                messages_max: Some(messages_max),
                multiplier: 1.5,
            },
            eviction: evictions[eviction],
            eviction_property: "symbol".to_owned(),
            recovery: RecoveryPolicy {
                kind,
                size_max: match kind {
                    RecoveryKind::FixedCount => size.map(|size| size % 8),
                    _ => size,
                },
                duration_ms: 9,
                bytes_max: 3000,
            },
            always_retroactive,
        }
    }
}

/// What is kept for those who come later, in order of arrival: when it came, which it is, its octets.
#[derive(Debug, Default)]
pub(super) struct Kept(VecDeque<(u64, u64, u64)>);

impl Kept {
    pub(super) fn add(
        &mut self,
        policy: &RecoveryPolicy,
        now_ms: u64,
        sequence: u64,
        (bytes, body): (u64, usize),
    ) {
        match policy.kind {
            RecoveryKind::None => return,
            RecoveryKind::Retained if !retains(sequence) => return,
            RecoveryKind::Retained if body == 0 => {
                self.0.clear();
                return;
            }
            _ => {}
        }
        self.0.push_back((now_ms, sequence, bytes));
        self.trim(policy, now_ms);
    }

    pub(super) fn trim(&mut self, policy: &RecoveryPolicy, now_ms: u64) {
        if policy.kind == RecoveryKind::Timed {
            while self
                .0
                .front()
                .is_some_and(|(at_ms, ..)| at_ms + 9 <= now_ms)
            {
                self.0.pop_front();
            }
        }
        let (count, bytes) = match policy.kind {
            RecoveryKind::None => (0, 0),
            RecoveryKind::LastImage | RecoveryKind::Retained => (1, 3000),
            RecoveryKind::FixedCount => (policy.size_max.unwrap_or(100), 3000),
            RecoveryKind::FixedSize => (u64::MAX, policy.size_max.unwrap_or(u64::MAX).min(3000)),
            RecoveryKind::Timed => (u64::MAX, 3000),
        };
        let sum = |kept: &VecDeque<(u64, u64, u64)>| kept.iter().map(|one| one.2).sum::<u64>();
        while self.0.len() as u64 > count || self.0.len() > 1 && sum(&self.0) > bytes {
            self.0.pop_front();
        }
    }

    pub(super) fn sequences(&self) -> Vec<u64> {
        self.0.iter().map(|(_, sequence, _)| *sequence).collect()
    }
}

impl Test {
    /// What a subscriber has lost went before everything that still waits for it, and not more waits than may.
    pub(super) fn check_choice(&self, at: usize, gone: &[u64]) {
        let sub = &self.subs[at];
        let subscriber = &self.topic.subscriptions[sub.key];
        let waits = |sequence: &&u64| subscriber.waits_for(**sequence);
        let waiting: Vec<u64> = sub.copies.keys().filter(waits).copied().collect();
        // Looked at when a message joins those that wait.
        let joined = |sequence: u64| waiting.contains(&sequence) || gone.contains(&sequence);
        if let Some(max) = sub.pending_max.filter(|_| sub.started)
            && self.published.is_some_and(joined)
        {
            assert!(waiting.len() <= max, "{} of {max}", waiting.len());
        }
        let rank = |sequence: u64| match self.rules.eviction {
            Eviction::LowestPriority => (self.sent[&sequence].priority, sequence),
            Eviction::UniqueProperty => {
                let value = value_of(sequence);
                let newer = |other: &u64| *other > sequence && value_of(*other) == value;
                let superseded = value.is_some() && waiting.iter().any(newer);
                (u8::from(!superseded), sequence)
            }
            _ => (0, sequence),
        };
        // A place filled late is newer than its number says.
        if !self.promised.is_empty() || self.filled_late {
            return;
        }
        for lost in gone {
            let expires_ms = self.sent[lost].expires_ms;
            if sub.durable.is_some() || expires_ms != 0 && expires_ms <= self.now_ms {
                continue;
            }
            for other in &waiting {
                assert!(rank(*lost) <= rank(*other), "{lost} went before {other}");
            }
        }
    }
}

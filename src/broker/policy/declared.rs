//! What a client has declared of a queue when it made it (section 10): part of its policy, under what the operator says.

use std::fmt::Write as _;

use super::{DeadLetterKind, DestinationPolicy, Overflow};

/// What a client can say of a queue that it makes. What it does not say is as the policies have it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Declared {
    /// Time to live of messages that have none, milliseconds.
    pub ttl_ms: Option<u64>,
    /// Milliseconds without a message, consumer or producer after which the queue goes.
    pub expires_ms: Option<u64>,
    /// The most messages.
    pub messages_max: Option<u64>,
    /// The most octets of messages.
    pub bytes_max: Option<u64>,
    /// What happens beyond these.
    pub overflow: Option<Overflow>,
    /// Where dead letters go.
    pub dead_letter_queue: Option<String>,
    /// Messages of higher priority go first.
    pub prioritized: Option<bool>,
    /// The queue goes when its last consumer has left and it is empty.
    pub auto_delete: bool,
}

/// The word for an auto-delete queue in what is written down; there is no key of a policy for it.
const AUTO_DELETE: &str = "autoDelete";
/// The last line, whose value may hold anything.
const DEAD_LETTER_QUEUE: &str = "deadLetterStrategy.deadLetterQueue";

impl Declared {
    /// Whether it says anything.
    #[must_use]
    pub fn is_any(&self) -> bool {
        *self != Self::default()
    }

    /// Whether the queue goes by itself.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        self.auto_delete || self.expires_ms.is_some()
    }

    /// Lays it over a policy.
    pub fn apply(&self, policy: &mut DestinationPolicy) {
        if let Some(ttl_ms) = self.ttl_ms {
            policy.timestamping.zero_expiration_override_ms = ttl_ms;
        }
        if let Some(expires_ms) = self.expires_ms {
            (policy.gc_inactive, policy.inactive_timeout_ms) = (true, expires_ms);
        }
        if self.messages_max.is_some() {
            policy.limits.messages_max = self.messages_max;
        }
        if self.bytes_max.is_some() {
            policy.limits.bytes_max = self.bytes_max;
        }
        if let Some(overflow) = self.overflow {
            policy.limits.overflow = overflow;
        }
        if let Some(queue) = &self.dead_letter_queue {
            policy.dead_letters.kind = DeadLetterKind::Shared;
            policy.dead_letters.queue.clone_from(queue);
        }
        if let Some(prioritized) = self.prioritized {
            policy.queue.prioritized = prioritized;
        }
    }

    /// Its values by the keys of policies, for who shows where a value came from: declared by a client.
    #[must_use]
    pub fn entries(&self) -> Vec<(&'static str, String)> {
        let overflow = |overflow| match overflow {
            Overflow::Wait => "wait",
            Overflow::Reject => "reject",
            Overflow::DropHead => "drop-head",
        };
        let number = |value: Option<u64>| value.map(|value| value.to_string());
        let said = [
            ("timestamping.zeroExpirationOverride", number(self.ttl_ms)),
            ("inactiveTimeoutBeforeGC", number(self.expires_ms)),
            ("maxMessages", number(self.messages_max)),
            ("maxBytes", number(self.bytes_max)),
            ("overflow", self.overflow.map(overflow).map(str::to_owned)),
            (
                "prioritizedMessages",
                self.prioritized.map(|value| value.to_string()),
            ),
            (AUTO_DELETE, self.auto_delete.then(|| "true".to_owned())),
            (DEAD_LETTER_QUEUE, self.dead_letter_queue.clone()),
        ];
        let said = said.into_iter();
        said.filter_map(|(key, value)| Some((key, value?)))
            .collect()
    }

    /// The keys of which a queue with this policy has another value.
    #[must_use]
    pub fn differing(&self, policy: &DestinationPolicy, known: Option<&Self>) -> Vec<&'static str> {
        let entries = self.entries().into_iter();
        let differs = |(key, value): (&'static str, String)| {
            let mut alone = Self::default();
            alone.set(key, &value);
            let mut changed = policy.clone();
            alone.apply(&mut changed);
            let auto_delete = alone.auto_delete && !known.is_some_and(|known| known.auto_delete);
            (changed != *policy || auto_delete).then_some(key)
        };
        entries.filter_map(differs).collect()
    }

    /// As it is written down: a line for each value.
    #[must_use]
    pub fn encode(&self) -> String {
        let mut text = String::new();
        for (key, value) in self.entries() {
            let _ = writeln!(text, "{key} = {value}");
        }
        text
    }

    /// Reads what [`Declared::encode`] wrote. What a later version wrote and this one does not know is passed over.
    #[must_use]
    pub fn decode(text: &str) -> Self {
        let mut declared = Self::default();
        let mut rest = text;
        while let Some((key, after)) = rest.split_once(" = ") {
            if key == DEAD_LETTER_QUEUE {
                declared.set(key, after.strip_suffix('\n').unwrap_or(after));
                break;
            }
            let (value, next) = after.split_once('\n').unwrap_or((after, ""));
            declared.set(key, value);
            rest = next;
        }
        declared
    }

    fn set(&mut self, key: &str, value: &str) {
        let number = || value.parse().ok();
        match key {
            "timestamping.zeroExpirationOverride" => self.ttl_ms = number(),
            "inactiveTimeoutBeforeGC" => self.expires_ms = number(),
            "maxMessages" => self.messages_max = number(),
            "maxBytes" => self.bytes_max = number(),
            "overflow" => {
                self.overflow = match value {
                    "wait" => Some(Overflow::Wait),
                    "reject" => Some(Overflow::Reject),
                    "drop-head" => Some(Overflow::DropHead),
                    _ => None,
                }
            }
            "prioritizedMessages" => self.prioritized = value.parse().ok(),
            AUTO_DELETE => self.auto_delete = value == "true",
            DEAD_LETTER_QUEUE => self.dead_letter_queue = Some(value.to_owned()),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn declared() -> impl Strategy<Value = Declared> {
        let overflow = prop::sample::select(vec![
            None,
            Some(Overflow::Wait),
            Some(Overflow::Reject),
            Some(Overflow::DropHead),
        ]);
        let numbers = any::<[Option<u64>; 4]>();
        (
            numbers,
            overflow,
            any::<Option<String>>(),
            any::<Option<bool>>(),
            any::<bool>(),
        )
            .prop_map(
                |(
                    [ttl_ms, expires_ms, messages_max, bytes_max],
                    overflow,
                    queue,
                    prioritized,
                    auto_delete,
                )| Declared {
                    ttl_ms,
                    expires_ms,
                    messages_max,
                    bytes_max,
                    overflow,
                    dead_letter_queue: queue,
                    prioritized,
                    auto_delete,
                },
            )
    }

    proptest! {
        #[test]
        fn what_is_written_down_comes_back(declared in declared()) {
            let found = Declared::decode(&declared.encode());
            prop_assert_eq!(&found, &declared);
            let mut policy = DestinationPolicy::default();
            declared.apply(&mut policy);
            prop_assert_eq!(declared.differing(&policy, Some(&declared)), Vec::<&str>::new());
        }

        #[test]
        fn no_text_makes_it_panic(text: String) {
            drop(Declared::decode(&text));
        }
    }

    #[test]
    fn it_says_which_values_are_others() {
        let declared = Declared {
            messages_max: Some(5),
            overflow: Some(Overflow::Wait),
            auto_delete: true,
            ..Declared::default()
        };
        let policy = DestinationPolicy::default();
        assert_eq!(
            declared.differing(&policy, None),
            ["maxMessages", "autoDelete"]
        );
    }
}

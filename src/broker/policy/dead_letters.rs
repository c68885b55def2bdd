//! Where the dead letters of a destination go (DLQ-1, DLQ-2).

use crate::broker::destination::{Destination, Kind};

/// How the destination of dead letters is found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DeadLetterKind {
    /// One queue for all.
    #[default]
    Shared,
    /// One for each destination, named after it.
    Individual,
    /// Nowhere: they are dropped.
    Discard,
}

/// What becomes of the dead letters of a destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetterStrategy {
    /// How their destination is found.
    pub kind: DeadLetterKind,
    /// The shared queue.
    pub queue: String,
    /// What the name of an individual one for a queue begins with.
    pub queue_prefix: String,
    /// What it ends with.
    pub queue_suffix: String,
    /// What the name of an individual one for a topic begins with.
    pub topic_prefix: String,
    /// What it ends with.
    pub topic_suffix: String,
    /// Whether the individual one for a queue is a queue, not a topic.
    pub use_queue_for_queue_messages: bool,
    /// Whether the individual one for a topic is a queue, not a topic.
    pub use_queue_for_topic_messages: bool,
    /// Whether each durable subscription has one of its own: `.<clientId>:<name>` is added.
    pub destination_per_durable_subscriber: bool,
    /// Whether expired messages are dead letters.
    pub process_expired: bool,
    /// Whether messages that are not persistent are dead letters, expired ones too.
    pub process_non_persistent: bool,
    /// Whether messages that are not persistent are dead letters when they were rejected, not when they expired (D-3).
    pub process_non_persistent_rejected: bool,
    /// Whether a message that is among the dead letters already is not added again (DLQ-3).
    pub enable_audit: bool,
    /// Milliseconds after which a dead letter expires; 0: never.
    pub expiration_ms: u64,
}

impl Default for DeadLetterStrategy {
    fn default() -> Self {
        Self {
            kind: DeadLetterKind::default(),
            queue: "ActiveMQ.DLQ".to_owned(),
            queue_prefix: "ActiveMQ.DLQ.Queue.".to_owned(),
            queue_suffix: String::new(),
            topic_prefix: "ActiveMQ.DLQ.Topic.".to_owned(),
            topic_suffix: String::new(),
            use_queue_for_queue_messages: true,
            use_queue_for_topic_messages: true,
            destination_per_durable_subscriber: false,
            process_expired: true,
            process_non_persistent: false,
            process_non_persistent_rejected: true,
            enable_audit: true,
            expiration_ms: 0,
        }
    }
}

impl DeadLetterStrategy {
    /// Where a dead letter of `failed` goes; `None` if nowhere. `durable` names the durable subscription that it failed
    /// on, `<clientId>:<name>`.
    #[must_use]
    pub fn target(&self, failed: &Destination, durable: Option<&str>) -> Option<Destination> {
        match self.kind {
            DeadLetterKind::Discard => None,
            DeadLetterKind::Shared => Some(Destination::queue(self.queue.as_str())),
            DeadLetterKind::Individual => {
                let (prefix, suffix) = self.around(failed.kind);
                let durable = durable.filter(|_| self.destination_per_durable_subscriber);
                let mut name = format!("{prefix}{}", failed.name);
                if let Some(durable) = durable {
                    name.push('.');
                    name.push_str(durable);
                }
                name.push_str(suffix);
                let (kind, name) = (self.kind_for(failed.kind), name.into());
                Some(Destination { kind, name })
            }
        }
    }

    /// Whether `destination` is one that dead letters go to by this strategy.
    #[must_use]
    pub fn is_target(&self, destination: &Destination) -> bool {
        match self.kind {
            DeadLetterKind::Discard => false,
            DeadLetterKind::Shared => {
                destination.kind == Kind::Queue && *destination.name == *self.queue
            }
            DeadLetterKind::Individual => [Kind::Queue, Kind::Topic].into_iter().any(|failed| {
                let (prefix, suffix) = self.around(failed);
                let inner = destination.name.strip_prefix(prefix);
                let inner = inner.and_then(|inner| inner.strip_suffix(suffix));
                self.kind_for(failed) == destination.kind
                    && inner.is_some_and(|name| !name.is_empty())
            }),
        }
    }

    /// Whether a message is a dead letter and not just dropped.
    #[must_use]
    pub fn keeps(&self, expired: bool, persistent: bool) -> bool {
        if expired {
            self.process_expired && (persistent || self.process_non_persistent)
        } else {
            persistent || self.process_non_persistent || self.process_non_persistent_rejected
        }
    }

    /// When a dead letter of now expires; 0: never.
    #[must_use]
    pub fn expires_ms(&self, now_ms: u64) -> u64 {
        match self.expiration_ms {
            0 => 0,
            after_ms => now_ms.saturating_add(after_ms),
        }
    }

    fn around(&self, failed: Kind) -> (&str, &str) {
        match failed {
            Kind::Queue => (&self.queue_prefix, &self.queue_suffix),
            Kind::Topic => (&self.topic_prefix, &self.topic_suffix),
        }
    }

    fn kind_for(&self, failed: Kind) -> Kind {
        let queue = match failed {
            Kind::Queue => self.use_queue_for_queue_messages,
            Kind::Topic => self.use_queue_for_topic_messages,
        };
        if queue { Kind::Queue } else { Kind::Topic }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_strategy_names_its_destination() {
        let (queue, topic) = (Destination::queue("a"), Destination::topic("a"));
        let target = |strategy: &DeadLetterStrategy, failed, durable| {
            let target = strategy.target(failed, durable)?;
            assert!(strategy.is_target(&target), "{target}");
            Some(target.to_string())
        };
        let mut strategy = DeadLetterStrategy::default();
        let shared = Some("/queue/ActiveMQ.DLQ".to_owned());
        assert_eq!(target(&strategy, &queue, None), shared);
        assert_eq!(target(&strategy, &topic, Some("c:n")), shared);
        assert!(!strategy.is_target(&queue));

        strategy.kind = DeadLetterKind::Individual;
        let individual = |strategy: &DeadLetterStrategy, failed, durable| {
            target(strategy, failed, durable).expect("a destination")
        };
        assert_eq!(
            individual(&strategy, &queue, None),
            "/queue/ActiveMQ.DLQ.Queue.a"
        );
        assert_eq!(
            individual(&strategy, &topic, Some("c:n")),
            "/queue/ActiveMQ.DLQ.Topic.a"
        );
        strategy.destination_per_durable_subscriber = true;
        strategy.topic_suffix = "!".into();
        strategy.use_queue_for_topic_messages = false;
        assert_eq!(
            individual(&strategy, &topic, Some("c:n")),
            "/topic/ActiveMQ.DLQ.Topic.a.c:n!"
        );
        assert_eq!(
            individual(&strategy, &topic, None),
            "/topic/ActiveMQ.DLQ.Topic.a!"
        );
        assert!(!strategy.is_target(&topic));
        assert!(!strategy.is_target(&Destination::queue("ActiveMQ.DLQ.Queue.")));

        strategy.kind = DeadLetterKind::Discard;
        assert_eq!(target(&strategy, &queue, None), None);
    }

    #[test]
    fn what_is_kept_depends_on_how_it_died() {
        let mut strategy = DeadLetterStrategy::default();
        let kept = |strategy: &DeadLetterStrategy| {
            [(true, true), (true, false), (false, true), (false, false)]
                .map(|(expired, persistent)| strategy.keeps(expired, persistent))
        };
        assert_eq!(kept(&strategy), [true, false, true, true]);
        strategy.process_non_persistent_rejected = false;
        assert_eq!(kept(&strategy), [true, false, true, false]);
        strategy.process_non_persistent = true;
        assert_eq!(kept(&strategy), [true; 4]);
        strategy.process_expired = false;
        assert_eq!(kept(&strategy), [false, false, true, true]);
        assert_eq!((strategy.expires_ms(5), strategy.expiration_ms), (0, 0));
        strategy.expiration_ms = 10;
        assert_eq!(strategy.expires_ms(5), 15);
    }
}

//! What becomes of a failed delivery: again, or to the dead-letter queue.
//!
//! The seam of the full policy (RED-1): delays, back-off and settings per destination will live here.

/// When a message has failed too often.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RedeliveryPolicy {
    /// Redeliveries after which the next failure dead-letters the message (RED-1: 6, so 7 deliveries);
    /// `None`: never.
    pub maximum_redeliveries: Option<u16>,
    /// Whether the destination is itself a dead-letter queue, from which nothing is dead-lettered (DLQ-5).
    pub is_dead_letter_queue: bool,
}

impl Default for RedeliveryPolicy {
    fn default() -> Self {
        Self {
            maximum_redeliveries: Some(6),
            is_dead_letter_queue: false,
        }
    }
}

/// What a dead letter tells that expired at `expires_ms` (DLQ-4).
#[must_use]
pub fn expired_cause(expires_ms: u64) -> String {
    format!("java.lang.Throwable: Message Expired. Expiration:{expires_ms}")
}

/// Why a delivery failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The consumer said NACK.
    Nack,
    /// The consumer said NACK and wants it dead-lettered at once.
    Refused,
    /// The consumer's connection broke (RED-6).
    ConsumerDied,
}

impl RedeliveryPolicy {
    /// The cause of death if a message with `failures` failed deliveries may not be delivered again.
    #[must_use]
    pub fn verdict(&self, failures: u16, failure: Failure) -> Option<String> {
        if self.is_dead_letter_queue {
            return None;
        }
        if failure == Failure::Refused {
            return Some("java.lang.Throwable: NACK with requeue:false".to_owned());
        }
        let maximum = self.maximum_redeliveries?;
        if failures <= maximum {
            return None;
        }
        Some(match failure {
            Failure::Nack | Failure::Refused => format!(
                "java.lang.Throwable: Delivery[{failures}] exceeds redelivery policy limit:RedeliveryPolicy \
                 {{maximumRedeliveries = {maximum}}}, cause:NACK"
            ),
            Failure::ConsumerDied => format!("consumer disconnected {failures} times"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_seventh_failure_dead_letters() {
        let policy = RedeliveryPolicy::default();
        assert_eq!(policy.verdict(6, Failure::Nack), None);
        let cause = policy.verdict(7, Failure::Nack).unwrap();
        assert!(
            cause.starts_with("java.lang.Throwable: Delivery[7] exceeds redelivery policy limit:"),
            "{cause}"
        );
        assert_eq!(
            policy.verdict(7, Failure::ConsumerDied).unwrap(),
            "consumer disconnected 7 times"
        );
    }

    #[test]
    fn nothing_leaves_a_dead_letter_queue() {
        let policy = RedeliveryPolicy {
            is_dead_letter_queue: true,
            ..RedeliveryPolicy::default()
        };
        assert_eq!(policy.verdict(1000, Failure::Nack), None);
    }
}

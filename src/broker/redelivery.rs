//! What becomes of a failed delivery: again, after which delay, or to the dead-letter queue.
//!
//! Plain data with ActiveMQ's keys (RED-1). Delays are computed from the count alone, so nothing but the
//! count has to be remembered of a message; randomness is an argument.

/// When a message is delivered again, and when it has failed too often.
///
/// The fields are ActiveMQ's keys of the same name in camel case, with its defaults.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RedeliveryPolicy {
    /// Redeliveries after which the next failure dead-letters the message (6, so 7 deliveries; 0 none);
    /// `None`: never.
    pub maximum_redeliveries: Option<u16>,
    /// The delay before the first redelivery (1000). At 0 it is `redelivery_delay_ms`.
    pub initial_redelivery_delay_ms: u64,
    /// The delay before each later one, and the start of the back-off if the initial delay is 0 (1000).
    pub redelivery_delay_ms: u64,
    /// Whether each delay is a multiple of the one before (false).
    pub use_exponential_back_off: bool,
    /// That multiple (5); has an effect above 1 only.
    pub back_off_multiplier: f64,
    /// The longest delay of the back-off, and the bound of what a consumer or a NACK may ask for;
    /// `None` (−1): no bound.
    pub maximum_redelivery_delay_ms: Option<u64>,
    /// Whether delays are spread at random, so that messages that failed together do not return together
    /// (false).
    pub use_collision_avoidance: bool,
    /// By which part of itself a delay is spread, up and down (0.15).
    pub collision_avoidance_factor: f64,
}

impl Default for RedeliveryPolicy {
    fn default() -> Self {
        Self {
            maximum_redeliveries: Some(6),
            initial_redelivery_delay_ms: 1000,
            redelivery_delay_ms: 1000,
            use_exponential_back_off: false,
            back_off_multiplier: 5.0,
            maximum_redelivery_delay_ms: None,
            use_collision_avoidance: false,
            collision_avoidance_factor: 0.15,
        }
    }
}

/// What a dead letter tells that expired at `expires_ms` (DLQ-4).
#[must_use]
pub fn expired_cause(expires_ms: u64) -> String {
    format!("java.lang.Throwable: Message Expired. Expiration:{expires_ms}")
}

/// What a NACK does, set per destination (NAK-2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnNack {
    /// It counts as a failed delivery: again after a delay, or dead-lettered past the limit.
    #[default]
    Redeliver,
    /// The message is dead-lettered at once.
    DeadLetter,
    /// It goes back to its place at once and is not counted.
    Requeue,
    /// It is dropped.
    Discard,
}

/// What a subscription asks of the policy for its own deliveries; `None`: as the destination has it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct RedeliveryOverride {
    /// `maximumRedeliveries`; the inner `None` is −1.
    pub maximum_redeliveries: Option<Option<u16>>,
    /// `initialRedeliveryDelay`.
    pub initial_redelivery_delay_ms: Option<u64>,
    /// `redeliveryDelay`.
    pub redelivery_delay_ms: Option<u64>,
    /// `useExponentialBackOff`.
    pub use_exponential_back_off: Option<bool>,
    /// `backOffMultiplier`.
    pub back_off_multiplier: Option<f64>,
    /// `maximumRedeliveryDelay`; the inner `None` is −1.
    pub maximum_redelivery_delay_ms: Option<Option<u64>>,
    /// `useCollisionAvoidance`.
    pub use_collision_avoidance: Option<bool>,
}

/// Why a delivery failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The consumer said NACK.
    Nack,
    /// The consumer said NACK and wants it dead-lettered at once.
    Refused,
    /// The consumer said NACK, which dead-letters on this destination.
    Poison,
    /// The consumer's connection broke (RED-6).
    ConsumerDied,
}

impl RedeliveryPolicy {
    /// The cause of death if a message with `failures` failed deliveries may not be delivered again.
    #[must_use]
    pub fn verdict(&self, failures: u16, failure: Failure) -> Option<String> {
        if failure == Failure::Refused {
            return Some("java.lang.Throwable: NACK with requeue:false".to_owned());
        }
        if failure == Failure::Poison {
            return Some("java.lang.Throwable: NACK (on_nack = dlq)".to_owned());
        }
        let maximum = self.maximum_redeliveries?;
        if failures <= maximum {
            return None;
        }
        Some(match failure {
            Failure::Nack | Failure::Refused | Failure::Poison => format!(
                "java.lang.Throwable: Delivery[{failures}] exceeds redelivery policy limit:RedeliveryPolicy \
                 {{maximumRedeliveries = {maximum}}}, cause:NACK"
            ),
            Failure::ConsumerDied => format!("consumer disconnected {failures} times"),
        })
    }

    /// The delay before the redelivery number `redelivery` (from 1). `random` is any number; the same one
    /// gives the same delay.
    #[must_use]
    pub fn delay_ms(&self, redelivery: u16, random: u64) -> u64 {
        let delay_ms = self.plain_delay_ms(redelivery);
        if !self.use_collision_avoidance {
            return delay_ms;
        }
        // 53 bits are what a double holds exactly: a number from -1 to 1.
        let unit = (random >> 11) as f64 / (1_u64 << 52) as f64 - 1.0;
        let spread = delay_ms as f64 * self.collision_avoidance_factor.clamp(0.0, 1.0) * unit;
        to_ms(delay_ms as f64 + spread)
    }

    /// A delay that a client asks for, as far as the policy allows it.
    #[must_use]
    pub fn bounded_ms(&self, delay_ms: u64) -> u64 {
        delay_ms.min(self.maximum_redelivery_delay_ms.unwrap_or(u64::MAX))
    }

    /// This policy with what a subscription asks for. Its limit can only be lower than the destination's,
    /// and its delays stay within `maximum_redelivery_delay_ms` if the destination has one.
    #[must_use]
    pub fn overridden(&self, wanted: &RedeliveryOverride) -> Self {
        let limit = |limit: Option<u16>| limit.unwrap_or(u16::MAX);
        let maximum_redeliveries = match wanted.maximum_redeliveries {
            Some(own) if limit(own) < limit(self.maximum_redeliveries) => own,
            _ => self.maximum_redeliveries,
        };
        let or = |own: Option<u64>, ours| own.map_or(ours, |own| self.bounded_ms(own));
        let maximum_redelivery_delay_ms = match wanted.maximum_redelivery_delay_ms {
            Some(Some(own)) => Some(self.bounded_ms(own)),
            _ => self.maximum_redelivery_delay_ms,
        };
        Self {
            maximum_redeliveries,
            initial_redelivery_delay_ms: or(
                wanted.initial_redelivery_delay_ms,
                self.initial_redelivery_delay_ms,
            ),
            redelivery_delay_ms: or(wanted.redelivery_delay_ms, self.redelivery_delay_ms),
            use_exponential_back_off: wanted
                .use_exponential_back_off
                .unwrap_or(self.use_exponential_back_off),
            back_off_multiplier: wanted
                .back_off_multiplier
                .unwrap_or(self.back_off_multiplier),
            maximum_redelivery_delay_ms,
            use_collision_avoidance: wanted
                .use_collision_avoidance
                .unwrap_or(self.use_collision_avoidance),
            collision_avoidance_factor: self.collision_avoidance_factor,
        }
    }

    fn plain_delay_ms(&self, redelivery: u16) -> u64 {
        let first_ms = match self.initial_redelivery_delay_ms {
            0 => self.redelivery_delay_ms,
            initial_ms => initial_ms,
        };
        if redelivery <= 1 {
            return first_ms;
        }
        if !self.use_exponential_back_off || self.back_off_multiplier <= 1.0 {
            return self.redelivery_delay_ms;
        }
        let steps = i32::from(redelivery) - 1;
        let delay_ms = to_ms(first_ms as f64 * self.back_off_multiplier.powi(steps));
        match self.maximum_redelivery_delay_ms {
            Some(maximum_ms) => delay_ms.min(maximum_ms.max(self.redelivery_delay_ms)),
            None => delay_ms,
        }
    }
}

/// Whole milliseconds; what is too large for them is as long as can be.
#[expect(
    clippy::cast_possible_truncation,
    reason = "the cast from a float saturates, which is what is wanted"
)]
fn to_ms(ms: f64) -> u64 {
    ms.round() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delays(policy: &RedeliveryPolicy) -> Vec<u64> {
        (1..=4).map(|number| policy.delay_ms(number, 7)).collect()
    }

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
    fn delays_follow_the_policy() {
        // RED-1
        let plain = RedeliveryPolicy {
            initial_redelivery_delay_ms: 100,
            redelivery_delay_ms: 300,
            ..RedeliveryPolicy::default()
        };
        assert_eq!(delays(&plain), [100, 300, 300, 300]);
        let no_initial = RedeliveryPolicy {
            initial_redelivery_delay_ms: 0,
            ..plain
        };
        assert_eq!(delays(&no_initial), [300, 300, 300, 300]);
        let backing_off = RedeliveryPolicy {
            use_exponential_back_off: true,
            ..plain
        };
        assert_eq!(delays(&backing_off), [100, 500, 2500, 12_500]);
        let capped = RedeliveryPolicy {
            maximum_redelivery_delay_ms: Some(1000),
            ..backing_off
        };
        assert_eq!(delays(&capped), [100, 500, 1000, 1000]);
        let low_cap = RedeliveryPolicy {
            maximum_redelivery_delay_ms: Some(10),
            ..backing_off
        };
        assert_eq!(delays(&low_cap), [100, 300, 300, 300]);
        let no_multiple = RedeliveryPolicy {
            back_off_multiplier: 1.0,
            ..backing_off
        };
        assert_eq!(delays(&no_multiple), [100, 300, 300, 300]);
        assert_eq!(backing_off.delay_ms(u16::MAX, 0), u64::MAX, "saturates");
    }

    #[test]
    fn collisions_are_avoided_within_the_factor() {
        let policy = RedeliveryPolicy {
            use_collision_avoidance: true,
            ..RedeliveryPolicy::default()
        };
        assert_eq!(policy.delay_ms(1, 0), 850);
        assert_eq!(policy.delay_ms(1, u64::MAX), 1150);
        assert_eq!(policy.delay_ms(1, 1 << 63), 1000);
    }

    #[test]
    fn a_subscription_stays_within_the_policy_of_its_destination() {
        let policy = RedeliveryPolicy {
            maximum_redelivery_delay_ms: Some(5000),
            ..RedeliveryPolicy::default()
        };
        let wanted = RedeliveryOverride {
            maximum_redeliveries: Some(Some(2)),
            initial_redelivery_delay_ms: Some(10),
            redelivery_delay_ms: Some(60_000),
            maximum_redelivery_delay_ms: Some(None),
            ..RedeliveryOverride::default()
        };
        let own = policy.overridden(&wanted);
        assert_eq!(own.maximum_redeliveries, Some(2));
        assert_eq!(delays(&own), [10, 5000, 5000, 5000]);
        assert_eq!(own.maximum_redelivery_delay_ms, Some(5000));
        let more = RedeliveryOverride {
            maximum_redeliveries: Some(None),
            ..RedeliveryOverride::default()
        };
        assert_eq!(policy.overridden(&more), policy);
    }
}

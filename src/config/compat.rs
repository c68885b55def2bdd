//! `broker.compat`: the defaults of another system, where systems disagree (section 13).
//!
//! A profile changes defaults only: a key that somebody set keeps its value. Each line below is a switch of its own too.

use super::Config;
use super::leaf::Literal;
use super::schema::Written;
use super::words::Compat;

/// Where a default of the profile comes from, as people are told.
pub(super) const ACTIVEMQ: &str = "broker.compat = \"activemq\"";

/// A default that the profile changes.
#[derive(Debug)]
pub struct Change {
    /// The section of the key.
    pub section: &'static str,
    /// The key.
    pub key: &'static str,
    /// Its value in the profile.
    pub value: Literal<'static>,
    /// The decision it belongs to.
    pub decision: &'static str,
}

/// What `activemq` changes.
pub const CHANGES: &[Change] = &[
    Change {
        section: "redelivery",
        key: "on_nack",
        value: Literal::Text("dlq"),
        decision: "D-2",
    },
    Change {
        section: "redelivery",
        key: "process_non_persistent_rejected",
        value: Literal::Boolean(false),
        decision: "D-3",
    },
    Change {
        section: "destinations",
        key: "adaptive_prefetch",
        value: Literal::Boolean(false),
        decision: "D-6",
    },
    Change {
        section: "redelivery",
        key: "group_redelivery",
        value: Literal::Text("pass"),
        decision: "D-7",
    },
    Change {
        section: "redelivery",
        key: "maximum_redeliveries",
        value: Literal::Integer(-1),
        decision: "D-20",
    },
];

/// Changes the defaults as `broker.compat` says. `is_set` says of a key (`section.key`) whether somebody set it. Returns
/// the keys that were changed.
pub(super) fn apply(
    config: &mut Config,
    is_set: impl Fn(&str) -> bool,
) -> Vec<(&'static str, &'static str)> {
    if config.broker.compat != Compat::ActiveMq {
        return Vec::new();
    }
    let mut changed = Vec::new();
    for change in CHANGES {
        if !is_set(&format!("{}.{}", change.section, change.key)) {
            let set = config.set(change.section, change.key, Written::Typed(change.value));
            debug_assert_eq!(set, Some(Ok(())), "{change:?}");
            changed.push((change.section, change.key));
        }
    }
    changed
}

impl Config {
    /// The defaults of the profile `activemq`, for programs that build a configuration themselves.
    #[must_use]
    pub fn activemq() -> Self {
        let mut config = Self::default();
        config.broker.compat = Compat::ActiveMq;
        apply(&mut config, |_| false);
        config
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::OnNack;

    #[test]
    fn the_profile_turns_every_switch() {
        let (ours, theirs) = (Config::default(), Config::activemq());
        for change in CHANGES {
            let of = |config: &Config| config.to_toml(change.section, change.key);
            assert!(of(&ours).is_some(), "{change:?} is a key");
            assert_ne!(of(&ours), of(&theirs), "{change:?}");
        }
        let policy = theirs.base_policy();
        assert_eq!(policy.queue.on_nack, OnNack::DeadLetter);
        assert_eq!(policy.queue.redelivery.maximum_redeliveries, None);
        assert!(!policy.dead_letters.process_non_persistent_rejected);
        assert!(!policy.queue.adaptive_prefetch && !policy.queue.group_redelivery_holds);
    }
}

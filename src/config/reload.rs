//! What a reload changes: users and rights, virtual destinations, limits, policies and the keys that are their defaults.
//! Everything else waits for the next start.

use super::Config;
use super::policy::keys::{self, Effect};
use super::schema::Written;

/// What differs between a running configuration and one that was read again.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Changes {
    /// Keys that take effect at once, `section.key`.
    pub at_once: Vec<String>,
    /// Keys that need a restart.
    pub after_restart: Vec<String>,
    /// Whether limits are among `at_once`.
    pub limits: bool,
    /// Whether `[[policy]]` entries differ.
    pub policies: bool,
    /// Whether rules of virtual destinations differ.
    pub virtual_destinations: bool,
}

impl Config {
    /// Compares with a configuration that was read again.
    #[must_use]
    pub fn changes(&self, new: &Self) -> Changes {
        let mut changes = Changes {
            policies: self.policy != new.policy,
            virtual_destinations: self.virtual_topics != new.virtual_topics
                || self.virtual_topic != new.virtual_topic
                || self.composite != new.composite
                || self.security.namespace != new.security.namespace,
            ..Changes::default()
        };
        for section in Self::sections() {
            for key in section.keys {
                let of = |config: &Self| config.to_toml(section.name, key.name);
                if of(self) == of(new) {
                    continue;
                }
                let list = if reloads(section.name, key.name) {
                    &mut changes.at_once
                } else {
                    &mut changes.after_restart
                };
                changes.limits |= LIMITS.contains(&(section.name, key.name));
                list.push(format!("{}.{}", section.name, key.name));
            }
        }
        changes
    }

    /// Takes over from a configuration that was read again what takes effect without a restart.
    pub fn adopt(&mut self, new: Self) {
        for section in Self::sections() {
            for key in section
                .keys
                .iter()
                .filter(|key| reloads(section.name, key.name))
            {
                let written = new.to_toml(section.name, key.name).unwrap_or_default();
                let Ok(table) = format!("v = {written}").parse::<toml::Table>() else {
                    continue;
                };
                let value = super::policy::literal(&table["v"]);
                let set = self.set(section.name, key.name, Written::Typed(value));
                debug_assert_eq!(set, Some(Ok(())), "{}.{}", section.name, key.name);
            }
        }
        self.policy = new.policy;
        self.virtual_topic = new.virtual_topic;
        self.composite = new.composite;
        self.security = new.security;
    }
}

/// Limits that can be raised while they are reached (USE-9).
const LIMITS: [(&str, &str); 4] = [
    ("memory", "limit"),
    ("memory", "high_water_mark"),
    ("store", "limit"),
    ("scheduler", "bytes_max"),
];

/// Whether a key takes effect without a restart.
fn reloads(section: &str, key: &str) -> bool {
    if section == "virtual_topics" || LIMITS.contains(&(section, key)) {
        return true;
    }
    // Its lists are adopted with it.
    if section == "security" {
        return key != "verifications_max";
    }
    let is_default = |policy_key: &keys::PolicyKey| matches!(&policy_key.effect, Effect::Sets(setter) if setter.section_key == Some((section, key)));
    // A profile is nothing but defaults.
    (section, key) == ("broker", "compat") || keys::all().any(is_default)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_named_with_when_it_counts() {
        let old = Config::default();
        assert_eq!(old.changes(&old), Changes::default());
        let mut new = old.clone();
        new.destinations.queue_prefetch = 7;
        new.stomp.headers_max = 17;
        new.policy.push("queue = \">\"".parse().expect("an entry"));
        let changes = old.changes(&new);
        assert_eq!(changes.at_once, ["destinations.queue_prefetch"]);
        assert_eq!(changes.after_restart, ["stomp.headers_max"]);
        assert!(changes.policies && !changes.virtual_destinations);
        let mut running = old;
        running.adopt(new.clone());
        let left = running.changes(&new);
        assert_eq!((left.at_once.len(), left.policies), (0, false));
        assert_eq!(left.after_restart, ["stomp.headers_max"]);
    }
}

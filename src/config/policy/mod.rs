//! `[[policy]]`: rules for destinations by name, in ActiveMQ's own spelling (section 11.10).
//!
//! - An entry is kept as it was written, each value with its place; what it means for a destination is worked out by
//!   [`Policies`].
//! - The most specific entry that matches a destination wins as a whole; `inherit = true` lays it over the next one.
//! - A key is looked up whatever its spelling: `queuePrefetch` and `queue_prefetch` are the same.

mod forms;
pub mod keys;
mod read;

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use super::check::{Origin, Problem, snake_case};
use super::leaf::Literal;
use super::{Config, WildcardStyle};
use crate::broker::Pattern;
use crate::broker::pattern::Syntax;
use crate::broker::policy::{
    DeadLetterKind, DestinationPolicy, Eviction, PendingLimit, PendingLimitKind, Policies, Policy,
    Scope, TopicPolicy,
};
use keys::{Effect, PolicyKey, Setter};

pub(super) use read::{PREFIX, read_all};

/// One value of an entry.
#[derive(Debug, Clone)]
struct Setting {
    key: &'static PolicyKey,
    value: toml::Value,
    origin: Origin,
}

/// One `[[policy]]` entry.
///
/// A program makes one from the text of its table:
/// `"queue = \"orders.>\"\nmaximumRedeliveries = 3".parse()`.
#[derive(Debug, Clone)]
pub struct PolicyEntry {
    scope: Scope,
    pattern: String,
    inherits: bool,
    settings: Vec<Setting>,
    origin: Origin,
    /// Which entry of its file it is, from 1. Of a file with problems not all entries are kept.
    number: Option<usize>,
}

/// Two entries are equal if they say the same, wherever they stand.
impl PartialEq for PolicyEntry {
    fn eq(&self, other: &Self) -> bool {
        (self.scope, &self.pattern, self.inherits) == (other.scope, &other.pattern, other.inherits)
            && self
                .settings
                .iter()
                .map(Setting::said)
                .eq(other.settings.iter().map(Setting::said))
    }
}

impl PolicyEntry {
    /// Where it stands.
    #[must_use]
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Whether it is laid over less specific entries.
    #[must_use]
    pub fn inherits(&self) -> bool {
        self.inherits
    }

    /// Its keys and values, and where each stands.
    pub fn settings(&self) -> impl Iterator<Item = (&'static str, &toml::Value, &Origin)> {
        self.settings
            .iter()
            .map(|setting| (setting.key.name, &setting.value, &setting.origin))
    }
}

impl Setting {
    fn said(&self) -> (&'static str, &toml::Value) {
        (self.key.name, &self.value)
    }
}

/// The names of the keys that say whom an entry is for.
const SCOPES: [(&str, Scope); 4] = [
    ("queue", Scope::Queue),
    ("topic", Scope::Topic),
    ("tempQueue", Scope::TempQueue),
    ("tempTopic", Scope::TempTopic),
];

impl fmt::Display for PolicyEntry {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} = {:?}", scope_name(self.scope), self.pattern)
    }
}

fn scope_name(scope: Scope) -> &'static str {
    let found = SCOPES.iter().find(|(_, known)| *known == scope);
    found.map_or("", |(name, _)| name)
}

impl FromStr for PolicyEntry {
    type Err = String;

    /// Reads the table of one entry.
    fn from_str(text: &str) -> Result<Self, String> {
        read::read_one(text)
    }
}

impl TryFrom<toml::Table> for PolicyEntry {
    type Error = String;

    fn try_from(table: toml::Table) -> Result<Self, String> {
        toml::to_string(&table)
            .map_err(|error| error.to_string())?
            .parse()
    }
}

impl From<PolicyEntry> for toml::Table {
    fn from(entry: PolicyEntry) -> Self {
        let mut table = Self::new();
        table.insert(scope_name(entry.scope).to_owned(), entry.pattern.into());
        if entry.inherits {
            table.insert("inherit".to_owned(), true.into());
        }
        for setting in entry.settings {
            // A key with a dot stands in a table of its own.
            match setting.key.name.split_once('.') {
                None => {
                    table.insert(setting.key.name.to_owned(), setting.value);
                }
                Some((group, name)) => {
                    let group = table
                        .entry(group.to_owned())
                        .or_insert_with(|| Self::new().into());
                    if let Some(group) = group.as_table_mut() {
                        group.insert(name.to_owned(), setting.value);
                    }
                }
            }
        }
        table
    }
}

impl serde::Serialize for PolicyEntry {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serde::Serialize::serialize(&toml::Table::from(self.clone()), serializer)
    }
}

impl<'de> serde::Deserialize<'de> for PolicyEntry {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let table = <toml::Table as serde::Deserialize>::deserialize(deserializer)?;
        Self::try_from(table).map_err(serde::de::Error::custom)
    }
}

/// The key of that name, in any spelling.
fn find(name: &str) -> Option<&'static PolicyKey> {
    let same = |known: &str| snake_case(known) == snake_case(name);
    keys::all().find(|key| same(key.name) || key.aliases.iter().any(|alias| same(alias)))
}

pub(super) fn literal(value: &toml::Value) -> Literal<'_> {
    match value {
        toml::Value::String(text) => Literal::Text(text),
        toml::Value::Integer(number) => Literal::Integer(*number),
        toml::Value::Float(number) => Literal::Float(*number),
        toml::Value::Boolean(truth) => Literal::Boolean(*truth),
        toml::Value::Datetime(_) => Literal::Other("a date or time"),
        toml::Value::Array(_) => Literal::Other("an array"),
        toml::Value::Table(_) => Literal::Other("a table"),
    }
}

/// A value of a policy and where it came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Effective {
    /// The key.
    pub key: &'static str,
    /// Its value as a file has it.
    pub value: String,
    /// The entry that says so, by number; `None` if none does.
    pub entry: Option<usize>,
    /// Where it stands, or the key of a section that is the default of all destinations.
    pub section_key: Option<(&'static str, &'static str)>,
    /// Where the entry has it.
    pub origin: Origin,
}

impl Config {
    /// How names of destinations are split and which words are wildcards (DST-5, DST-6).
    #[must_use]
    pub fn pattern_syntax(&self) -> Syntax {
        Syntax {
            separator: self.destinations.path_separator.chars().next(),
            hash_is_rest: self.destinations.wildcard_style != WildcardStyle::ActiveMq,
        }
    }

    /// The policies of all destinations.
    #[must_use]
    pub fn policies(&self) -> Policies {
        let syntax = self.pattern_syntax();
        let entries = self.policy.iter().enumerate().filter_map(|(at, entry)| {
            // What cannot be read was refused by the check.
            let pattern = Pattern::parse_with(&entry.pattern, syntax).ok()?;
            let settings = entry.settings.clone();
            Some(Policy {
                number: at + 1,
                scope: entry.scope,
                pattern,
                inherits: entry.inherits,
                change: Arc::new(move |policy: &mut DestinationPolicy| apply(&settings, policy)),
            })
        });
        Policies::new(self.base_policy(), entries.collect())
    }

    /// The policy of destinations that no entry matches: the defaults, and what sections say for all.
    #[must_use]
    pub fn base_policy(&self) -> DestinationPolicy {
        let mut policy = DestinationPolicy::default();
        for (_, setter) in setters() {
            let Some((section, key)) = setter.section_key else {
                continue;
            };
            let written = self
                .to_toml(section, key)
                .expect("a key names a key of a section");
            let read = format!("v = {written}").parse::<toml::Table>();
            let value = &read.expect("what is written can be read")["v"];
            let set = (setter.set)(&mut policy, &literal(value));
            debug_assert!(set, "{section}.{key} is not of the form of its policy key");
        }
        policy
    }

    /// The policy of a destination, key by key.
    #[must_use]
    pub fn effective_policy(&self, scope: Scope, name: &str) -> Vec<Effective> {
        let policies = self.policies();
        let policy = policies.choose(scope, name);
        let chain = policies.chain(scope, name);
        let said = |key: &PolicyKey| {
            chain.iter().find_map(|found| {
                let entry = &self.policy[found.number - 1];
                let setting = entry
                    .settings
                    .iter()
                    .rfind(|setting| std::ptr::eq(setting.key, key))?;
                Some((found.number, setting.origin.clone()))
            })
        };
        setters()
            .map(|(key, setter)| {
                let (entry, origin) = said(key).unzip();
                Effective {
                    key: key.name,
                    value: (setter.get)(&policy),
                    entry,
                    section_key: setter.section_key,
                    origin: origin.unwrap_or(Origin::Default),
                }
            })
            .collect()
    }

    /// One line for each key of the entries that is accepted and does nothing.
    #[must_use]
    pub fn policy_warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        for key in keys::all() {
            let Effect::Nothing { because, .. } = key.effect else {
                continue;
            };
            let has = |entry: &PolicyEntry| entry.settings.iter().any(|s| std::ptr::eq(s.key, key));
            let entries: Vec<String> = self
                .policy
                .iter()
                .enumerate()
                .filter(|(_, entry)| has(entry))
                .map(|(at, entry)| format!("policy {} ({entry})", at + 1))
                .collect();
            if !entries.is_empty() {
                let entries = entries.join(", ");
                warnings.push(format!(
                    "{} has no effect in {entries}: {because}",
                    key.name
                ));
            }
        }
        warnings
    }
}

/// All keys that set a field.
fn setters() -> impl Iterator<Item = (&'static PolicyKey, &'static Setter)> {
    keys::all().filter_map(|key| match &key.effect {
        Effect::Sets(setter) => Some((key, setter)),
        _ => None,
    })
}

fn apply(settings: &[Setting], policy: &mut DestinationPolicy) {
    for setting in settings {
        if let Effect::Sets(setter) = &setting.key.effect {
            (setter.set)(policy, &literal(&setting.value));
        }
    }
}

/// Applies the rules that look at whole entries.
pub(super) fn rules(config: &Config) -> Vec<Problem> {
    let syntax = config.pattern_syntax();
    let base = config.base_policy();
    let mut problems = Vec::new();
    for (at, entry) in config.policy.iter().enumerate() {
        let number = |at: usize, entry: &PolicyEntry| entry.number.unwrap_or(at + 1);
        let mut refuse = |text: String| {
            problems.push(Problem {
                origin: entry.origin.clone(),
                key: format!("policy {} ({entry})", number(at, entry)),
                text,
                suggestion: None,
            });
        };
        if let Err(error) = Pattern::parse_with(&entry.pattern, syntax) {
            refuse(error.to_string());
        }
        let same =
            |other: &PolicyEntry| (other.scope, &other.pattern) == (entry.scope, &entry.pattern);
        if let Some(first) = config.policy[..at].iter().position(same) {
            refuse(format!(
                "is for the same destinations as policy {}",
                number(first, &config.policy[first])
            ));
        }
        let mut policy = base.clone();
        apply(&entry.settings, &mut policy);
        check_policy(&policy).into_iter().for_each(&mut refuse);
    }
    problems
}

/// What is wrong with a policy although each of its values is right.
fn check_policy(policy: &DestinationPolicy) -> Vec<String> {
    let mut problems = Vec::new();
    let strategy = &policy.dead_letters;
    let unnamed = |prefix: &str, suffix: &str| prefix.is_empty() && suffix.is_empty();
    if strategy.kind == DeadLetterKind::Individual {
        if strategy.use_queue_for_queue_messages
            && unnamed(&strategy.queue_prefix, &strategy.queue_suffix)
        {
            problems.push(
                "deadLetterStrategy: queuePrefix and queueSuffix are both empty, so that each queue would be its own \
                 dead-letter queue"
                    .to_owned(),
            );
        }
        if !strategy.use_queue_for_topic_messages
            && unnamed(&strategy.topic_prefix, &strategy.topic_suffix)
        {
            problems.push(
                "deadLetterStrategy: topicPrefix and topicSuffix are both empty, so that each topic would be its own \
                 dead-letter topic"
                    .to_owned(),
            );
        }
    }
    if let Err(text) = super::check::queue_name(&strategy.queue) {
        problems.push(format!("deadLetterStrategy.deadLetterQueue: {text}"));
    }
    problems.extend(check_topic(&policy.topic));
    if policy.slow.check_period_ms == 0 {
        problems.push("slowConsumerStrategy.checkPeriod: must be above 0".to_owned());
    }
    let factor = policy.queue.redelivery.collision_avoidance_factor;
    if !(0.0..=1.0).contains(&factor) {
        problems.push(format!(
            "collisionAvoidanceFactor: must be from 0 to 1, found {factor}"
        ));
    }
    problems
}

/// The same for what concerns topics only.
fn check_topic(policy: &TopicPolicy) -> Vec<String> {
    let mut problems = Vec::new();
    let pending = &policy.pending;
    let unused = PendingLimit {
        kind: pending.kind,
        ..PendingLimit::default()
    };
    if pending.kind == PendingLimitKind::None && *pending != unused {
        problems.push(
            "pendingMessageLimitStrategy: limit and multiplier mean nothing without a type, \"constant\" or \
             \"prefetchRate\""
                .to_owned(),
        );
    }
    if !(0.0..=1e6).contains(&pending.multiplier) {
        problems.push(format!(
            "pendingMessageLimitStrategy.multiplier: must be from 0 to 1000000, found {}",
            pending.multiplier
        ));
    }
    if policy.eviction == Eviction::UniqueProperty && policy.eviction_property.is_empty() {
        problems.push("messageEvictionStrategy: uniqueProperty needs a propertyName".to_owned());
    }
    if policy.recovery.bytes_max == 0 {
        problems.push("subscriptionRecoveryPolicy.maxBytes: must be above 0".to_owned());
    }
    problems
}

#[cfg(test)]
mod tests;

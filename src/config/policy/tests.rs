use super::*;
use crate::broker::Destination;
use crate::broker::OnNack;
use crate::broker::policy::{Overflow, PendingLimitKind};
use crate::config::load::{self, Sources};

fn load(text: &str) -> Result<load::Loaded, Vec<String>> {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("f.toml");
    std::fs::write(&path, text).expect("a file");
    let short = format!("{}/", directory.path().display());
    load::load(&Sources::file(path)).map_err(|problems| {
        let texts = problems
            .0
            .iter()
            .map(|problem| problem.to_string().replace(&short, ""));
        texts.collect()
    })
}

fn problems(text: &str) -> Vec<String> {
    load(text).expect_err("problems")
}

#[test]
fn entries_are_read_in_either_spelling_and_as_tables() {
    let loaded = load(
        r#"
[[policy]]
queue = "orders.>"
maximum_redeliveries = 3
redeliveryPolicy = { initialRedeliveryDelay = 100, useExponentialBackOff = true }
deadLetterStrategy = { type = "individual", queuePrefix = "DLQ.", processExpired = false }
maxBytes = "1 MiB"
overflow = "drop-head"
[[policy]]
topic = "a.*"
dead_letter_strategy = "discarding"
timestamping.ttlCeiling = 60000
dispatchPolicy = "simpleDispatchPolicy"
[policy.pendingMessageLimitStrategy]
type = "constantPendingMessageLimitStrategy"
limit = 50
[[policy]]
tempQueue = true
queuePrefetch = 1
"#,
    )
    .expect("no problems");
    let policies = loaded.config.policies();
    let orders = policies.of(&Destination::queue("orders.eu"));
    assert_eq!(orders.queue.redelivery.maximum_redeliveries, Some(3));
    assert_eq!(orders.queue.redelivery.initial_redelivery_delay_ms, 100);
    assert!(orders.queue.redelivery.use_exponential_back_off);
    assert_eq!(orders.dead_letters.kind, DeadLetterKind::Individual);
    assert_eq!(orders.dead_letters.queue_prefix, "DLQ.");
    assert!(!orders.dead_letters.process_expired);
    assert_eq!(orders.limits.bytes_max, Some(1 << 20));
    assert_eq!(orders.limits.overflow, Overflow::DropHead);
    let topic = policies.of(&Destination::topic("a.b"));
    assert_eq!(topic.dead_letters.kind, DeadLetterKind::Discard);
    assert_eq!(topic.timestamping.ttl_ceiling_ms, 60_000);
    assert_eq!(topic.topic.pending.kind, PendingLimitKind::Constant);
    assert_eq!(topic.topic.pending.messages_max, Some(50));
    assert_eq!(policies.choose(Scope::TempQueue, "x").queue_prefetch, 1);
    assert_eq!(
        policies.of(&Destination::queue("x")),
        DestinationPolicy::default()
    );
    assert_eq!(
        loaded.config.policy_warnings(),
        [
            "dispatchPolicy has no effect in policy 2 (topic = \"a.*\"): every subscriber gets every message in order of \
             arrival"
        ]
    );
}

#[test]
fn every_problem_names_file_entry_and_key() {
    assert_eq!(
        problems(
            r#"
[[policy]]
queue = ">"
queuePrefech = 1
maximumRedeliveries = "many"
dropAll = true
processExpired = true
[[policy]]
queuePrefetch = 1
[[policy]]
topic = "a.>.b"
[[policy]]
queue = ">"
[[policy]]
queue = "x"
deadLetterStrategy = { type = "individual", queuePrefix = "" }
[[policy]]
topic = "z"
pendingMessageLimitStrategy.limit = 5
messageEvictionStrategy = "uniquePropertyMessageEvictionStrategy"
slowConsumerStrategy = { type = "abortSlowConsumerStrategy", checkPeriod = 0 }
[[policy]]
topic = "y"
subscriptionRecoveryPolicy = "queryBasedSubscriptionRecoveryPolicy"
inherit = 1
"#
        ),
        [
            "f.toml:4:1: policy 1 (queue = \">\").queuePrefech: unknown key; did you mean `queuePrefetch`?",
            "f.toml:5:23: policy 1 (queue = \">\").maximumRedeliveries: expected a whole number, or -1 for no limit, \
             found \"many\"",
            "f.toml:6:11: policy 1 (queue = \">\").dropAll: is not supported; write an entry for the destinations whose \
             dead letters are to be dropped, with deadLetterStrategy = \"discard\"",
            "f.toml:7:1: policy 1 (queue = \">\").processExpired: unknown key; did you mean \
             `deadLetterStrategy.processExpired`?",
            "f.toml:8:1: policy 2: needs one of queue, topic, tempQueue and tempTopic, with a name or a pattern such as \
             \"orders.>\"",
            "f.toml:24:30: policy 7 (topic = \"y\").subscriptionRecoveryPolicy.type: recovery by query is not supported; \
             leave the key out, or use another policy",
            "f.toml:25:11: policy 7 (topic = \"y\").inherit: expected true or false, found 1",
            "f.toml:10:1: policy 3 (topic = \"a.>.b\"): the wildcard \">\" can only be the last level; \"*\" stands for \
             one level",
            "f.toml:14:1: policy 5 (queue = \"x\"): deadLetterStrategy: queuePrefix and queueSuffix are both empty, so \
             that each queue would be its own dead-letter queue",
            "f.toml:17:1: policy 6 (topic = \"z\"): pendingMessageLimitStrategy: limit and multiplier mean nothing without \
             a type, \"constant\" or \"prefetchRate\"",
            "f.toml:17:1: policy 6 (topic = \"z\"): messageEvictionStrategy: uniqueProperty needs a propertyName",
            "f.toml:17:1: policy 6 (topic = \"z\"): slowConsumerStrategy.checkPeriod: must be above 0",
        ]
    );
    assert_eq!(
        problems("[[policy]]\nqueue = \"a\"\n[[policy]]\nqueue = \"a\"\n"),
        ["f.toml:3:1: policy 2 (queue = \"a\"): is for the same destinations as policy 1"]
    );
    assert_eq!(
        problems("[policy]\nqueue = \"a\"\n"),
        ["f.toml:1:1: policy: expected entries, each written [[policy]]"]
    );
}

#[test]
fn each_key_takes_and_gives_back_its_default() {
    let default = DestinationPolicy::default();
    for (key, setter) in setters() {
        let written = (setter.get)(&default);
        let entry = format!("queue = \"a\"\n{} = {written}", key.name);
        let entry: PolicyEntry = entry.parse().unwrap_or_else(|error| panic!("{error}"));
        let mut policy = default.clone();
        apply(&entry.settings, &mut policy);
        assert_eq!(policy, default, "{}", key.name);
        assert!(!key.doc.is_empty(), "{} says what it means", key.name);
    }
}

#[test]
fn sections_give_the_defaults_of_all_destinations() {
    assert_eq!(
        Config::default().base_policy(),
        DestinationPolicy::default()
    );
    let mut config = Config::default();
    config.redelivery.maximum_redeliveries = 2;
    config.redelivery.dead_letter_queue = "Graves".into();
    config.destinations.queue_prefetch = 7;
    let policy = config.base_policy();
    assert_eq!(policy.queue.redelivery.maximum_redeliveries, Some(2));
    assert_eq!(policy.dead_letters.queue, "Graves");
    assert_eq!(policy.queue_prefetch, 7);
}

#[test]
fn the_effective_policy_knows_where_each_value_comes_from() {
    let loaded = load(
        "[destinations]\ntopic_prefetch = 9\n[[policy]]\nqueue = \">\"\nonNack = \"dlq\"\nqueuePrefetch = 1\n\
         [[policy]]\nqueue = \"a\"\ninherit = true\nqueuePrefetch = 2\n",
    )
    .expect("no problems");
    let effective = loaded.config.effective_policy(Scope::Queue, "a");
    let of = |key: &str| {
        let found = effective
            .iter()
            .find(|effective| effective.key == key)
            .expect("a key");
        (found.value.as_str(), found.entry)
    };
    assert_eq!(of("queuePrefetch"), ("2", Some(2)));
    assert_eq!(of("onNack"), ("\"dlq\"", Some(1)));
    assert_eq!(of("topicPrefetch"), ("9", None));
    assert_eq!(of("overflow"), ("\"wait\"", None));
}

#[test]
fn an_entry_survives_being_written() {
    let text = "queue = \"a.>\"\ninherit = true\nonNack = \"dlq\"\ndeadLetterStrategy.queuePrefix = \"D.\"";
    let entry: PolicyEntry = text.parse().expect("an entry");
    let mut config = Config::default();
    config.policy.push(entry);
    let written = toml::to_string(&config).expect("it can be written");
    assert_eq!(
        toml::from_str::<Config>(&written).expect("it can be read"),
        config
    );
    let policy = config.policies().of(&Destination::queue("a.b"));
    assert_eq!(policy.queue.on_nack, OnNack::DeadLetter);
}

#[test]
fn wildcards_follow_the_style_and_the_separator() {
    let loaded = load(
        "[destinations]\npath_separator = \"/\"\nwildcard_style = \"artemis\"\n[[policy]]\nqueue = \"a/#\"\n\
         queuePrefetch = 1\n",
    )
    .expect("no problems");
    let policies = loaded.config.policies();
    assert_eq!(policies.of(&Destination::queue("a.b/c")).queue_prefetch, 1);
    assert!(
        problems("[destinations]\npath_separator = \"//\"\n")[0].contains("must be one character")
    );
}

#[test]
fn names_are_unique() {
    let mut names = std::collections::HashSet::new();
    for key in keys::all() {
        for name in key.aliases.iter().chain([&key.name]) {
            assert!(names.insert(snake_case(name)), "{name}");
        }
    }
}

const MANUAL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/policies.md");
const KEYS_BEGIN: &str = "<!-- keys: written from src/config/policy/keys.rs by `just config` -->\n";
const KEYS_END: &str = "<!-- end of keys -->\n";

/// The tables of the manual.
fn tables() -> String {
    let default = DestinationPolicy::default();
    let mut sets = String::from("| key | default | meaning |\n|---|---|---|\n");
    let mut nothing =
        String::from("| key | default in ActiveMQ | why it has no effect |\n|---|---|---|\n");
    let mut refused = String::from("| key | use instead |\n|---|---|\n");
    for key in keys::all() {
        let name = key.name;
        match &key.effect {
            Effect::Sets(setter) => {
                let meaning = key.doc.concat();
                let section = setter
                    .section_key
                    .map(|(section, key)| format!(" (`{section}.{key}`)"));
                let aliases: Vec<String> = key
                    .aliases
                    .iter()
                    .map(|alias| format!("`{alias}`"))
                    .collect();
                let also = if aliases.is_empty() {
                    String::new()
                } else {
                    format!(" Also written {}.", aliases.join(", "))
                };
                sets.push_str(&format!(
                    "| `{name}` | `{}`{} |{meaning}{also} |\n",
                    (setter.get)(&default),
                    section.unwrap_or_default()
                ));
            }
            Effect::Nothing { default, because } => {
                nothing.push_str(&format!("| `{name}` | {default} | {because} |\n"));
            }
            Effect::Refused(instead) => refused.push_str(&format!("| `{name}` | {instead} |\n")),
        }
    }
    format!(
        "{sets}\nAccepted, without effect; the log names them once at the start and at a reload:\n\n{nothing}\nRefused:\n\n\
         {refused}"
    )
}

/// `just config` writes the tables anew.
#[test]
fn the_manual_lists_every_policy_key() {
    let manual = std::fs::read_to_string(MANUAL).expect("docs/policies.md is there");
    let (before, rest) = manual.split_once(KEYS_BEGIN).expect("the tables begin");
    let (found, after) = rest.split_once(KEYS_END).expect("the tables end");
    let wanted = format!("\n{}\n", tables());
    if std::env::var_os("FERRYMQ_WRITE_CONFIG").is_some() {
        let written = format!("{before}{KEYS_BEGIN}{wanted}{KEYS_END}{after}");
        std::fs::write(MANUAL, written).expect("docs/policies.md is writable");
        return;
    }
    assert_eq!(found, wanted, "docs/policies.md: run `just config`");
}

/// What the profile changes stands in the manual.
#[test]
fn the_manual_names_every_change_of_the_profile() {
    let manual = std::fs::read_to_string(MANUAL).expect("docs/policies.md is there");
    for change in crate::config::compat::CHANGES {
        let row = format!(
            "| {} | `{}.{}` | `{}` |",
            change.decision, change.section, change.key, change.value
        );
        assert!(manual.contains(&row), "docs/policies.md has no {row}");
    }
}

/// Spec: behaviour 11.10, every key is known, and what has an effect there has one here or says why not.
#[test]
fn every_key_of_activemq_is_known() {
    let names = "producerFlowControl memoryLimit cursorMemoryHighWaterMark storeUsageHighWaterMark \
        blockedProducerWarningInterval sendFailIfNoSpace sendFailIfNoSpaceAfterTimeout deadLetterStrategy queuePrefetch \
        topicPrefetch durableTopicPrefetch queueBrowserPrefetch usePrefetchExtension prioritizedMessages \
        strictOrderDispatch useConsumerPriority allConsumersExclusiveByDefault consumersBeforeDispatchStarts \
        timeBeforeDispatchStarts messageGroupMapFactoryType expireMessagesPeriod maxExpirePageSize \
        gcInactiveDestinations inactiveTimeoutBeforeGC inactiveTimoutBeforeGC gcWithNetworkConsumers \
        pendingMessageLimitStrategy messageEvictionStrategy slowConsumerStrategy subscriptionRecoveryPolicy \
        alwaysRetroactive dispatchPolicy pendingQueuePolicy pendingSubscriberPolicy pendingDurableSubscriberPolicy \
        advisoryForSlowConsumers advisoryForFastProducers advisoryForDiscardingMessages advisoryForDelivery \
        advisoryForConsumed advisoryForDispatched advisoryWhenFull sendAdvisoryIfNoConsumers includeBodyForAdvisory \
        persistJMSRedelivered maxDestinations enableAudit maxAuditDepth maxQueueAuditDepth maxProducersToAudit \
        minimumMessageSize useCache optimizedDispatch lazyDispatch maxPageSize maxBrowsePageSize \
        reduceMemoryFootprint doOptimzeMessageStorage optimizeMessageStoreInFlightLimit \
        useTopicSubscriptionInflightStats allowTempDestinationStealing advancedNetworkStatisticsEnabled \
        advancedMessageStatisticsEnabled messageInterceptorStrategy deadLetterStrategy.queuePrefix \
        deadLetterStrategy.topicPrefix deadLetterStrategy.useQueueForQueueMessages \
        deadLetterStrategy.useQueueForTopicMessages deadLetterStrategy.destinationPerDurableSubscriber \
        deadLetterStrategy.processExpired deadLetterStrategy.processNonPersistent deadLetterStrategy.enableAudit \
        deadLetterStrategy.expiration maximumRedeliveries initialRedeliveryDelay redeliveryDelay \
        useExponentialBackOff backOffMultiplier maximumRedeliveryDelay useCollisionAvoidance \
        collisionAvoidanceFactor timestamping.ttlCeiling timestamping.zeroExpirationOverride timestamping.futureOnly \
        timestamping.processNetworkMessages";
    for name in names.split_whitespace() {
        let key = find(name).unwrap_or_else(|| panic!("{name} is not known"));
        assert!(
            !matches!(key.effect, Effect::Refused(_)),
            "{name} is refused"
        );
    }
}

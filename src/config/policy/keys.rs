//! The keys of `[[policy]]`, each declared once: name, form, field, meaning, effect.
//!
//! - The default of a key is that of its field ([`DestinationPolicy::default`]), unless the key of a section is its
//!   default for all destinations (`also`).
//! - `docs/policies.md` is written from here, and a test compares the two.

use crate::broker::OnNack;
use crate::broker::policy::{
    DeadLetterKind, DestinationPolicy, Eviction, Overflow, PendingLimitKind, RecoveryKind, SlowKind,
};
use crate::broker::queue::GroupRebalance;
use crate::config::leaf::Literal;

use super::forms::{
    Bytes, Form, HoldOrPass, Messages, Millis, MillisOrNever, MillisOrNone, OrAny, Percent, Plain,
    Size, SizeOrDefault, Word,
};

/// A key of a policy entry.
#[derive(Debug)]
pub struct PolicyKey {
    /// Its name in ActiveMQ's spelling; a key of a sub-table after a dot.
    pub name: &'static str,
    /// Other names it is known by.
    pub aliases: &'static [&'static str],
    /// What it means, line by line, each with the leading space of a doc comment.
    pub doc: &'static [&'static str],
    /// What it does here.
    pub effect: Effect,
}

/// What a key does.
#[derive(Debug)]
pub enum Effect {
    /// It sets a field.
    Sets(Setter),
    /// It is accepted and does nothing, for this reason.
    Nothing {
        /// ActiveMQ's default.
        default: &'static str,
        /// Why it does nothing.
        because: &'static str,
    },
    /// It is refused: what to use instead.
    Refused(&'static str),
}

/// How a key sets its field.
#[derive(Debug)]
pub struct Setter {
    /// What a correct value looks like.
    pub expected: &'static str,
    /// The key of a section that is the default for all destinations.
    pub section_key: Option<(&'static str, &'static str)>,
    /// Reads the value into its field; false if it is none.
    pub set: fn(&mut DestinationPolicy, &Literal<'_>) -> bool,
    /// Writes the field as a file has it.
    pub get: fn(&DestinationPolicy) -> String,
}

/// Declares keys that set a field: `"name" = field as Form;`, with `| "alias"` before and `, also section.key` after.
macro_rules! effective {
    ($(
        $(#[doc = $doc:literal])*
        $name:literal $(| $alias:literal)* = $($field:ident).+ as $form:ty $(, also $section:ident.$key:ident)?;
    )*) => {
        &[$(PolicyKey {
            name: $name,
            aliases: &[$($alias),*],
            doc: &[$($doc),*],
            effect: Effect::Sets(Setter {
                expected: <$form as Form>::EXPECTED,
                section_key: effective!(@section $($section $key)?),
                set: |policy, literal| match <$form as Form>::read(literal) {
                    Some(value) => {
                        policy.$($field).+ = value;
                        true
                    }
                    None => false,
                },
                get: |policy| <$form as Form>::write(&policy.$($field).+),
            }),
        }),*]
    };
    (@section) => { None };
    (@section $section:ident $key:ident) => { Some((stringify!($section), stringify!($key))) };
}

/// Declares keys without effect: `"name" = "default": "why";`.
macro_rules! without_effect {
    ($($name:literal $(| $alias:literal)* = $default:literal: $because:expr;)*) => {
        &[$(PolicyKey {
            name: $name,
            aliases: &[$($alias),*],
            doc: &[],
            effect: Effect::Nothing { default: $default, because: $because },
        }),*]
    };
}

/// Declares keys that are refused: `"name": "what to use instead";`.
macro_rules! refused {
    ($($name:literal: $instead:expr;)*) => {
        &[$(PolicyKey { name: $name, aliases: &[], doc: &[], effect: Effect::Refused($instead) }),*]
    };
}

/// All keys, in the order of the documentation.
pub fn all() -> impl Iterator<Item = &'static PolicyKey> {
    [EFFECTIVE, WITHOUT_EFFECT, REFUSED].into_iter().flatten()
}

static EFFECTIVE: &[PolicyKey] = effective! {
    /// Redeliveries before a message is a dead letter; 0: none; -1: without end.
    "maximumRedeliveries" = queue.redelivery.maximum_redeliveries as OrAny<u16>, also redelivery.maximum_redeliveries;
    /// The delay before the first redelivery after a failed delivery (NACK); 0: as `redeliveryDelay`.
    "initialRedeliveryDelay" = queue.redelivery.initial_redelivery_delay_ms as Millis;
    /// The delay before each later one.
    "redeliveryDelay" = queue.redelivery.redelivery_delay_ms as Millis;
    /// Whether each delay is a multiple of the one before.
    "useExponentialBackOff" = queue.redelivery.use_exponential_back_off as Plain<bool>;
    /// That multiple; has an effect above 1.
    "backOffMultiplier" = queue.redelivery.back_off_multiplier as Plain<f64>;
    /// The longest delay.
    "maximumRedeliveryDelay" = queue.redelivery.maximum_redelivery_delay_ms as MillisOrNone;
    /// Whether delays are spread at random, so that messages that failed together do not return together.
    "useCollisionAvoidance" = queue.redelivery.use_collision_avoidance as Plain<bool>;
    /// By which part of itself a delay is spread, up and down.
    "collisionAvoidanceFactor" = queue.redelivery.collision_avoidance_factor as Plain<f64>;
    /// What a NACK does: a failed delivery (`redeliver`), a dead letter at once (`dlq`), back to its place (`requeue`),
    /// or dropped (`discard`).
    "onNack" = queue.on_nack as Word<OnNack>, also redelivery.on_nack;

    /// Where dead letters go: `shared` (one queue), `individual` (one for each destination) or `discard` (nowhere).
    "deadLetterStrategy.type" | "deadLetterStrategy" = dead_letters.kind as Word<DeadLetterKind>;
    /// The shared queue.
    "deadLetterStrategy.deadLetterQueue" = dead_letters.queue as Plain<String>, also redelivery.dead_letter_queue;
    /// What the individual one for a queue begins with.
    "deadLetterStrategy.queuePrefix" = dead_letters.queue_prefix as Plain<String>;
    /// What it ends with.
    "deadLetterStrategy.queueSuffix" = dead_letters.queue_suffix as Plain<String>;
    /// What the individual one for a topic begins with.
    "deadLetterStrategy.topicPrefix" = dead_letters.topic_prefix as Plain<String>;
    /// What it ends with.
    "deadLetterStrategy.topicSuffix" = dead_letters.topic_suffix as Plain<String>;
    /// Whether the individual one for a queue is a queue, not a topic.
    "deadLetterStrategy.useQueueForQueueMessages" = dead_letters.use_queue_for_queue_messages as Plain<bool>;
    /// Whether the individual one for a topic is a queue, not a topic.
    "deadLetterStrategy.useQueueForTopicMessages" = dead_letters.use_queue_for_topic_messages as Plain<bool>;
    /// Whether each durable subscription has one of its own: `.<clientId>:<name>` is added to the name.
    "deadLetterStrategy.destinationPerDurableSubscriber" =
        dead_letters.destination_per_durable_subscriber as Plain<bool>;
    /// Whether expired messages are dead letters; else they are dropped.
    "deadLetterStrategy.processExpired" = dead_letters.process_expired as Plain<bool>;
    /// Whether messages that are not persistent are dead letters, expired ones included.
    "deadLetterStrategy.processNonPersistent" = dead_letters.process_non_persistent as Plain<bool>;
    /// Whether messages that are not persistent are dead letters when they were rejected (not in ActiveMQ: false there).
    "deadLetterStrategy.processNonPersistentRejected" =
        dead_letters.process_non_persistent_rejected as Plain<bool>, also redelivery.process_non_persistent_rejected;
    /// Whether a message that lies among the dead letters already is not added again.
    "deadLetterStrategy.enableAudit" = dead_letters.enable_audit as Plain<bool>;
    /// How long a dead letter is kept; 0: for ever.
    "deadLetterStrategy.expiration" = dead_letters.expiration_ms as Millis;

    /// The unacknowledged messages of a queue subscription that asks for no number of its own.
    "queuePrefetch" = queue_prefetch as Plain<u32>, also destinations.queue_prefetch;
    /// The same for a queue browser.
    "queueBrowserPrefetch" = queue_browser_prefetch as Plain<u32>;
    /// The same for a topic subscription.
    "topicPrefetch" = topic_prefetch as Plain<u32>, also destinations.topic_prefetch;
    /// The same for a durable topic subscription.
    "durableTopicPrefetch" = durable_topic_prefetch as Plain<u32>, also destinations.durable_topic_prefetch;
    /// Whether the window of a `client-individual` subscription without a number adapts to its consumer (not in
    /// ActiveMQ: false there).
    "adaptivePrefetch" = queue.adaptive_prefetch as Plain<bool>, also destinations.adaptive_prefetch;

    /// Whether messages of higher JMS priority go first.
    "prioritizedMessages" = queue.prioritized as Plain<bool>;
    /// Whether one consumer is filled before the next gets anything, instead of turns.
    "strictOrderDispatch" = queue.strict_order_dispatch as Plain<bool>;
    /// Whether consumers of higher priority go first.
    "useConsumerPriority" = queue.use_consumer_priority as Plain<bool>;
    /// Whether every consumer counts as exclusive.
    "allConsumersExclusiveByDefault" = queue.exclusive_by_default as Plain<bool>;
    /// How often waiting messages are looked at for having expired; 0: only when their turn comes.
    "expireMessagesPeriod" = queue.expire_messages_period_ms as Millis;
    /// Consumers to wait for before anything is delivered; 0: none.
    "consumersBeforeDispatchStarts" = queue.consumers_before_dispatch as Plain<u32>;
    /// How long to wait for them after the first one; 0: not.
    "timeBeforeDispatchStarts" = queue.time_before_dispatch_ms as Millis;
    /// What a group does while one of its messages is in redelivery delay: `hold` or `pass` (not in ActiveMQ).
    "groupRedelivery" = queue.group_redelivery_holds as HoldOrPass, also redelivery.group_redelivery;
    /// Whether idle groups move when a consumer joins: `never` or `idle` (not in ActiveMQ).
    "groupRebalance" = queue.group_rebalance as Word<GroupRebalance>;
    /// After which time without a message a group is forgotten (not in ActiveMQ).
    "groupIdleTimeout" = queue.group_idle_timeout_ms as Millis;

    /// After which time without a delivery a queue is reported that could deliver, by a line in the log; 0: never (not in
    /// ActiveMQ).
    "stallTimeout" = queue.stall_after_ms as Millis;

    /// Whether a client that names a destination creates it (not in ActiveMQ).
    "autoCreate" = auto_create as Plain<bool>, also destinations.auto_create;
    /// The most destinations that the entry may match; -1: any number.
    "maxDestinations" = destinations_max as OrAny<u32>;
    /// Whether the destination is removed when nobody has used it for `inactiveTimeoutBeforeGC`; needs
    /// `destinations.purge_interval`.
    "gcInactiveDestinations" = gc_inactive as Plain<bool>;
    /// How long it has to be without a message, consumer or producer.
    "inactiveTimeoutBeforeGC" | "inactiveTimoutBeforeGC" = inactive_timeout_ms as Millis;

    /// The most messages in a queue, in flight ones included; 0: any number (not in ActiveMQ).
    "maxMessages" = limits.messages_max as Messages;
    /// The most octets of messages in a queue, on disk included; 0: any number (not in ActiveMQ).
    "maxBytes" = limits.bytes_max as Bytes;
    /// What happens beyond these: producers `wait`, get an error (`reject`), or the oldest messages are dropped
    /// (`drop-head`) (not in ActiveMQ).
    "overflow" = limits.overflow as Word<Overflow>;
    /// The octets in memory at which producers of messages that are not persistent wait; 0: only `memory.limit` counts. The disk is
    /// not bounded by it: persistent messages leave memory sooner.
    "memoryLimit" = limits.memory_bytes_max as Bytes;
    /// Whether producers wait at `memoryLimit`.
    "producerFlowControl" = limits.producer_flow_control as Plain<bool>;
    /// The part of `memoryLimit`, in percent, from which on persistent messages leave memory.
    "cursorMemoryHighWaterMark" = limits.memory_mark_percent as Percent;
    /// The part of `store.limit`, in percent, from which on producers of persistent messages wait.
    "storeUsageHighWaterMark" = limits.store_mark_percent as Percent;
    /// Whether a producer gets an error where it would wait for space.
    "sendFailIfNoSpace" = limits.fails_if_no_space as Plain<bool>, also usage.send_fail_if_no_space;
    /// After which time a producer that waits for space gets an error; 0 or -1: it waits.
    "sendFailIfNoSpaceAfterTimeout" = limits.fails_after_ms as MillisOrNever, also usage.send_fail_if_no_space_after_timeout;
    /// How often the log says that a producer still waits for space; 0 or -1: only when it begins and ends.
    "blockedProducerWarningInterval" =
        limits.warning_interval_ms as MillisOrNever, also usage.blocked_producer_warning_interval;

    /// How many messages may wait for a topic subscriber beyond its window: any number (`none`), `constant` or
    /// `prefetchRate`; see slow-consumers.md, as for all of these.
    "pendingMessageLimitStrategy.type" | "pendingMessageLimitStrategy" = topic.pending.kind as Word<PendingLimitKind>;
    /// That number, if it is constant; -1: any.
    "pendingMessageLimitStrategy.limit" = topic.pending.messages_max as OrAny<u32>;
    /// By what the window is multiplied otherwise.
    "pendingMessageLimitStrategy.multiplier" = topic.pending.multiplier as Plain<f64>;
    /// What goes when more wait: the `oldest`, the oldest of the lowest priority (`oldestWithLowestPriority`), the oldest
    /// with a newer one of the same value (`uniqueProperty`), or the subscription itself (`disconnect`, not in ActiveMQ).
    "messageEvictionStrategy.type" | "messageEvictionStrategy" = topic.eviction as Word<Eviction>;
    /// The property of that value.
    "messageEvictionStrategy.propertyName" = topic.eviction_property as Plain<String>;
    /// Which consumers are ended: none, those that take nothing while messages wait (`abortSlowConsumer`), or those that
    /// acknowledge nothing (`abortSlowAckConsumer`).
    "slowConsumerStrategy.type" | "slowConsumerStrategy" = slow.kind as Word<SlowKind>;
    /// At how many looks in a row a consumer may be slow; -1: any number.
    "slowConsumerStrategy.maxSlowCount" = slow.count_max as OrAny<u32>;
    /// For how long it may take nothing; -1: for ever.
    "slowConsumerStrategy.maxSlowDuration" = slow.duration_max_ms as MillisOrNone;
    /// How often consumers are looked at.
    "slowConsumerStrategy.checkPeriod" = slow.check_period_ms as Millis;
    /// Whether the whole connection is ended, not the subscription alone.
    "slowConsumerStrategy.abortConnection" = slow.abort_connection as Plain<bool>;
    /// For how long a consumer may acknowledge nothing.
    "slowConsumerStrategy.maxTimeSinceLastAck" = slow.ack_max_ms as Millis;
    /// Whether one that holds nothing may be silent.
    "slowConsumerStrategy.ignoreIdleConsumers" = slow.ignore_idle as Plain<bool>;
    /// What a topic keeps for those who come later: nothing (`none`), the last message (`lastImage`), `fixedCount`,
    /// `fixedSize`, `timed`, or the last one with `ActiveMQ.Retain` (`retained`); see retroactive.md, as for all of these.
    "subscriptionRecoveryPolicy.type" | "subscriptionRecoveryPolicy" = topic.recovery.kind as Word<RecoveryKind>;
    /// How many messages (`fixedCount`) or octets (`fixedSize`); -1: 100 messages, 64 KiB.
    "subscriptionRecoveryPolicy.maximumSize" = topic.recovery.size_max as SizeOrDefault;
    /// For how long (`timed`).
    "subscriptionRecoveryPolicy.recoverDuration" = topic.recovery.duration_ms as Millis;
    /// The most octets in any case (not in ActiveMQ).
    "subscriptionRecoveryPolicy.maxBytes" = topic.recovery.bytes_max as Size;
    /// Whether every topic subscriber gets what is kept, asked for or not.
    "alwaysRetroactive" = topic.always_retroactive as Plain<bool>;

    /// How many ids of messages (`message-dedup-id`) are remembered to recognise duplicates; 0: none, every message is
    /// taken (not in ActiveMQ).
    "dedupWindow" = dedup.ids_max as Plain<u32>;
    /// How long an id is remembered; 0: until newer ones push it out (not in ActiveMQ).
    "dedupWindowTime" = dedup.age_max_ms as Millis;
    /// Whether it is reported that a consumer's window is full while messages wait; see advisories.md, as for all of these.
    "advisoryForSlowConsumers" = advisories.slow_consumers as Plain<bool>;
    /// Whether it is reported that a producer has to wait.
    "advisoryForFastProducers" = advisories.fast_producers as Plain<bool>;
    /// Whether each message is reported that a slow topic subscriber loses.
    "advisoryForDiscardingMessages" = advisories.discarding as Plain<bool>;
    /// Whether each message that comes in is reported.
    "advisoryForDelivery" = advisories.delivery as Plain<bool>;
    /// Whether each message that is acknowledged is reported.
    "advisoryForConsumed" = advisories.consumed as Plain<bool>;
    /// Whether each message that goes to a consumer is reported.
    "advisoryForDispatched" = advisories.dispatched as Plain<bool>;
    /// Whether it is reported that a producer met a limit.
    "advisoryWhenFull" = advisories.when_full as Plain<bool>;
    /// Whether each message is reported that came while nobody consumed; of a topic only if it is not persistent.
    "sendAdvisoryIfNoConsumers" = advisories.no_consumers as Plain<bool>;
    /// Whether reports of a message hold its body.
    "includeBodyForAdvisory" = advisories.include_body as Plain<bool>;

    /// Whether the broker's time replaces the sender's, and the expiry moves along.
    "timestamping.enabled" | "timestamping" = timestamping.enabled as Plain<bool>;
    /// The longest time to live; 0: any. Above 0 it turns `timestamping` on.
    "timestamping.ttlCeiling" = timestamping.ttl_ceiling_ms as Millis;
    /// The time to live of messages that have none; 0: none. Above 0 it turns `timestamping` on.
    "timestamping.zeroExpirationOverride" = timestamping.zero_expiration_override_ms as Millis;
    /// Only move an expiry later, never earlier.
    "timestamping.futureOnly" = timestamping.future_only as Plain<bool>;
};

const AUDIT: &str =
    "what a producer of OpenWire sends again is found by dedupWindow, as ids of STOMP are";
const CURSORS: &str =
    "a backlog leaves memory by itself (memory.queue_window_bytes); there are no cursors to choose";
const GROUPS: &str = "groups are always exact";
const INTERNAL: &str = "it tunes a mechanism that this broker does not have";

static WITHOUT_EFFECT: &[PolicyKey] = without_effect! {
    "usePrefetchExtension" = "true": "what a transaction acknowledges always frees room";
    "messageGroupMapFactoryType" | "messageGroupMapFactory" = "cached": GROUPS;
    "maxExpirePageSize" = "400": "expired messages are found without a page limit";
    "enableMessageExpirationOnActiveDurableSubs" = "false": "expired messages are noticed when their turn comes";
    "gcWithNetworkConsumers" = "false": "there are no networks of brokers";
    "messageEvictionStrategy.evictExpiredMessagesHighWatermark" = "1000": "expired messages are noticed when their turn comes";
    "slowConsumerStrategy.ignoreNetworkConsumers" = "true": "there are no networks of brokers";
    "subscriptionRecoveryPolicy.useSharedBuffer" = "true": INTERNAL;
    "subscriptionRecoveryPolicy.wrapped" = "none": "a topic has one recovery policy";
    "dispatchPolicy" = "simple": "every subscriber gets every message in order of arrival";
    "pendingQueuePolicy" = "store": CURSORS;
    "pendingSubscriberPolicy" = "file": CURSORS;
    "pendingDurableSubscriberPolicy" = "store": CURSORS;
    "persistJMSRedelivered" = "false": "counters of failed deliveries always survive a restart";
    "enableAudit" = "true": AUDIT;
    "maxAuditDepth" = "10000": AUDIT;
    "maxQueueAuditDepth" = "10000": AUDIT;
    "maxProducersToAudit" = "64": AUDIT;
    "deadLetterStrategy.maxAuditDepth" = "2048": "the audit looks at what lies in the dead-letter queue";
    "deadLetterStrategy.maxProducersToAudit" = "64": "the audit looks at what lies in the dead-letter queue";
    "timestamping.processNetworkMessages" = "false": "there are no networks of brokers";
    "minimumMessageSize" = "1024": "messages are counted with their real size";
    "useCache" = "true": INTERNAL;
    "optimizedDispatch" = "false": INTERNAL;
    "lazyDispatch" = "false": INTERNAL;
    "maxPageSize" = "200": "a match is found anywhere in a queue";
    "maxBrowsePageSize" = "400": INTERNAL;
    "reduceMemoryFootprint" = "false": INTERNAL;
    "doOptimzeMessageStorage" | "doOptimizeMessageStorage" = "true": INTERNAL;
    "optimizeMessageStoreInFlightLimit" = "10": INTERNAL;
    "useTopicSubscriptionInflightStats" = "true": INTERNAL;
    "allowTempDestinationStealing" = "false": "not supported: only its own connection consumes from a temporary destination";
    "advancedNetworkStatisticsEnabled" = "false": "not supported";
    "advancedMessageStatisticsEnabled" = "false": "not supported";
    "messageInterceptorStrategy" = "none": "not supported";
    "sendToDlqIfMaxRetriesExceeded" = "true": "a message that failed too often always goes where deadLetterStrategy says";
    "fallbackToDeadLetter" = "true": "every destination has a redelivery policy";
};

const DISCARD: &str = "write an entry for the destinations whose dead letters are to be dropped, with \
                       deadLetterStrategy = \"discard\"";
const TARGET: &str =
    "say which destinations the entry is for with queue, topic, tempQueue or tempTopic";

static REFUSED: &[PolicyKey] = refused! {
    "dropAll": DISCARD;
    "dropOnly": DISCARD;
    "dropTemporaryQueues": DISCARD;
    "dropTemporaryTopics": DISCARD;
    "reportInterval": "each dropped dead letter is counted; there is nothing to report at intervals";
    "destination": TARGET;
    "redeliveryPolicyMap": "write an entry for each destination, with the redelivery keys in it";
    "networkBridgeFilterFactory": "there are no networks of brokers; leave it out";
};

//! [`Known`]: the header names this protocol gives a meaning to.
//!
//! A name is recognised by its length and one comparison, so that a header line
//! costs a few nanoseconds whatever the number of known names.

/// Declares the names once, grouped by length, and derives enum, text and look-up.
macro_rules! known_headers {
    ($($length:literal => [$($variant:ident $name:literal,)*],)*) => {
        /// A header name with a meaning in STOMP or one of its dialects.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum Known {
            $($(
                #[doc = concat!("`", $name, "`")]
                $variant,
            )*)*
        }

        impl Known {
            /// Every known name.
            pub const ALL: &'static [Known] = &[$($(Known::$variant,)*)*];

            /// The name as it stands on the wire.
            pub fn name(self) -> &'static str {
                match self {
                    $($(Self::$variant => $name,)*)*
                }
            }

            /// The known name these octets spell; names are case sensitive (FRM-4).
            #[inline]
            pub fn from_name(name: &[u8]) -> Option<Self> {
                match name.len() {
                    $($length => {
                        $(
                            if name == $name.as_bytes() {
                                return Some(Self::$variant);
                            }
                        )*
                        None
                    })*
                    _ => None,
                }
            }
        }
    };
}

known_headers! {
    2 => [
        Id "id",
    ],
    3 => [
        Ack "ack",
    ],
    4 => [
        Host "host",
        Type "type",
    ],
    5 => [
        Login "login",
    ],
    6 => [
        Server "server",
    ],
    7 => [
        Receipt "receipt",
        Expires "expires",
        Version "version",
        Session "session",
        Message "message",
        Requeue "requeue",
        Browser "browser",
        Durable "durable",
    ],
    8 => [
        Priority "priority",
        ReplyTo "reply-to",
        Selector "selector",
        Passcode "passcode",
        NoLocal "no-local",
    ],
    9 => [
        Timestamp "timestamp",
        ClientId "client-id",
        Exclusive "exclusive",
    ],
    10 => [
        ReceiptId "receipt-id",
        Persistent "persistent",
        MessageId "message-id",
        HeartBeat "heart-beat",
        RequestId "request-id",
        JmsxUserId "JMSXUserID",
        Expiration "expiration",
    ],
    11 => [
        Destination "destination",
        Transaction "transaction",
        Redelivered "redelivered",
        JmsxGroupId "JMSXGroupID",
        ResponseId "response-id",
        AutoDelete "auto-delete",
    ],
    12 => [
        ContentType "content-type",
        Subscription "subscription",
        AmqMsgType "amq-msg-type",
        JmsxGroupSeq "JMSXGroupSeq",
        AmqDuplId "_AMQ_DUPL_ID",
    ],
    14 => [
        ContentLength "content-length",
        CorrelationId "correlation-id",
        AcceptVersion "accept-version",
        PrefetchCount "prefetch-count",
        Transformation "transformation",
        ScheduledJobId "scheduledJobId",
    ],
    15 => [
        ActionEndTime "ACTION_END_TIME",
    ],
    16 => [
        RedeliveryDelay "redelivery-delay",
        MessageDedupId "message-dedup-id",
        ActivemqNoLocal "activemq.noLocal",
        DestinationType "destination-type",
    ],
    17 => [
        ScheduledKey "AMQ_SCHEDULED_KEY",
        ActionStartTime "ACTION_START_TIME",
        JmsxDeliveryCount "JMSXDeliveryCount",
        ActivemqPriority "activemq.priority",
        ActivemqClientId "activemq.clientId",
        SubscriptionType "subscription-type",
    ],
    18 => [
        ScheduledCron "AMQ_SCHEDULED_CRON",
        ActivemqExclusive "activemq.exclusive",
    ],
    19 => [
        ScheduledDelay "AMQ_SCHEDULED_DELAY",
    ],
    20 => [
        OriginalDestination "original-destination",
        ScheduledPeriod "AMQ_SCHEDULED_PERIOD",
        ScheduledRepeat "AMQ_SCHEDULED_REPEAT",
        SchedulerAction "AMQ_SCHEDULER_ACTION",
        ActivemqRetroactive "activemq.retroactive",
        ConsumerWindowSize "consumer-window-size",
    ],
    21 => [
        ScheduledCronTz "AMQ_SCHEDULED_CRON_TZ",
        ActivemqPrefetchSize "activemq.prefetchSize",
    ],
    22 => [
        DeduplicationHeader "x-deduplication-header",
    ],
    23 => [
        DurableSubscriberName "durable-subscriber-name",
        DlqCause "dlqDeliveryFailureCause",
    ],
    24 => [
        ActivemqSubcriptionName "activemq.subcriptionName",
    ],
    25 => [
        ActivemqSubscriptionName "activemq.subscriptionName",
        DurableSubscriptionName "durable-subscription-name",
    ],
    35 => [
        ActivemqMaximumPending "activemq.maximumPendingMessageLimit",
    ],
}

impl Known {
    /// How many names there are.
    pub(crate) const COUNT: usize = Self::ALL.len();

    /// This name's bit in a set of known names.
    #[inline]
    pub(crate) fn bit(self) -> u128 {
        1 << (self as u8)
    }

    /// Whether a sender's header of this name stays out of what readers get: transport
    /// headers, and those the server renders itself (behaviour.md section 4).
    #[inline]
    pub(crate) fn is_server_owned(self) -> bool {
        SERVER_OWNED & self.bit() != 0
    }
}

/// See [`Known::is_server_owned`].
pub(crate) const SERVER_OWNED: u128 = set(&[
    Known::Destination,
    Known::Transaction,
    Known::Receipt,
    Known::Persistent,
    Known::Priority,
    Known::Expires,
    Known::Timestamp,
    Known::ContentLength,
    Known::MessageId,
    Known::Redelivered,
    Known::Subscription,
    Known::JmsxUserId,
    Known::JmsxDeliveryCount,
    Known::Ack,
    Known::AmqMsgType,
    Known::ScheduledDelay,
    Known::ScheduledPeriod,
    Known::ScheduledRepeat,
    Known::ScheduledCron,
    Known::ScheduledCronTz,
    Known::ScheduledKey,
    Known::SchedulerAction,
]);

/// The set of these names.
pub(crate) const fn set(names: &[Known]) -> u128 {
    let mut set = 0;
    let mut at = 0;
    while at < names.len() {
        set |= 1u128 << (names[at] as u8);
        at += 1;
    }
    set
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_recognised_and_stands_under_its_length() {
        const { assert!(Known::COUNT <= 128, "the set is a u128") };
        for (at, &known) in Known::ALL.iter().enumerate() {
            assert_eq!(known as usize, at);
            assert_eq!(
                Known::from_name(known.name().as_bytes()),
                Some(known),
                "{known:?}"
            );
        }
    }

    #[test]
    fn names_are_case_sensitive_and_whole() {
        for name in ["", "Destination", "destinatio", "destination ", "ID", "x"] {
            assert_eq!(Known::from_name(name.as_bytes()), None, "{name:?}");
        }
    }
}

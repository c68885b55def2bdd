//! The header identifiers of a selector (SEL-6).

macro_rules! headers {
    ($($(#[$doc:meta])* $variant:ident $name:literal,)*) => {
        /// A header with a meaning of its own; every other identifier is a user property (SEL-6).
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Header {
            $($(#[$doc])* $variant,)*
        }

        impl Header {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The identifier.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }

            /// The header of that identifier, case sensitive.
            #[must_use]
            pub fn from_name(name: &str) -> Option<Self> {
                match name {
                    $($name => Some(Self::$variant),)*
                    _ => None,
                }
            }
        }
    };
}

headers! {
    /// Where the message was sent, as `queue://N` or `topic://N`.
    Destination "JMSDestination",
    /// Where answers are wanted.
    ReplyTo "JMSReplyTo",
    /// The application's type of message.
    Type "JMSType",
    /// `'PERSISTENT'` or `'NON_PERSISTENT'`.
    DeliveryMode "JMSDeliveryMode",
    /// 0 to 9.
    Priority "JMSPriority",
    /// The message id.
    MessageId "JMSMessageID",
    /// When it was sent, milliseconds since 1970.
    Timestamp "JMSTimestamp",
    /// What it answers or belongs to.
    CorrelationId "JMSCorrelationID",
    /// When it expires, milliseconds since 1970; 0 for never.
    Expiration "JMSExpiration",
    /// Whether it was in a frame to a consumer before.
    Redelivered "JMSRedelivered",
    /// Which delivery this is, from 1.
    DeliveryCount "JMSXDeliveryCount",
    /// The message group.
    GroupId "JMSXGroupID",
    /// The place in its group.
    GroupSeq "JMSXGroupSeq",
    /// Who sent it, as authenticated.
    UserId "JMSXUserID",
    /// The transaction it was sent in.
    ProducerTxId "JMSXProducerTXID",
    /// When it came to the broker.
    BrokerInTime "JMSActiveMQBrokerInTime",
    /// When it left the broker.
    BrokerOutTime "JMSActiveMQBrokerOutTime",
    /// The brokers it came through.
    BrokerPath "JMSActiveMQBrokerPath",
}

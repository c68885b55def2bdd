//! Records of old stores that have numbers among the data types. They are not on connections (openwire.md section 19).

use std::sync::Arc;

use super::{Destination, MessageAck, MessageId, TransactionId};
use crate::openwire::schema::{absent, is_present, wire};
use crate::openwire::text::Text;

wire! {
    /// An acknowledgement of a durable subscription.
    data JournalTopicAck = 50 {
        /// The topic.
        destination: Option<Destination>,
        /// The message.
        message_id: Option<MessageId>,
        /// Its place.
        message_sequence_id: i64,
        /// The subscription.
        subscription_name: Option<Text>,
        /// The client.
        client_id: Option<Text>,
        /// The transaction.
        transaction_id: Option<TransactionId>,
    }

    /// An acknowledgement on a queue.
    data JournalQueueAck = 52 {
        /// The queue.
        destination: Option<Destination>,
        /// The acknowledgement.
        message_ack: Option<MessageAck>,
    }

    /// A remark.
    data JournalTrace = 53 {
        /// The remark.
        message: Option<Text>,
    }

    /// A step of a transaction.
    data JournalTransaction = 54 {
        /// The transaction.
        transaction_id: Option<TransactionId>,
        /// The step.
        kind: i8,
        /// Whether it had voted.
        was_prepared: bool,
    }

    /// A durable subscription.
    data SubscriptionInfo = 55 {
        /// The client.
        client_id: Option<Text>,
        /// What it subscribed to.
        destination: Option<Arc<Destination>>,
        /// Which messages it wants.
        selector: Option<Text>,
        /// Its name.
        subscription_name: Option<Text>,
        /// The topic it is stored for.
        subscribed_destination: Option<Destination> [since 3],
        /// Whether it wants none of its own connection's messages.
        no_local: bool [since 11],
    }
}

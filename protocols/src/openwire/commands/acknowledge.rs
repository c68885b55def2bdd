//! Delivering, asking for and acknowledging messages (openwire.md sections 13 to 15).

use std::sync::Arc;

use super::{ConsumerId, Destination, Message, MessageId, Throwable, TransactionId};
use crate::openwire::schema::{absent, is_present, wire};
use crate::openwire::text::Text;

wire! {
    /// Asks for one message; version 2 and later.
    command MessagePull = 20 {
        /// For whom.
        consumer_id: Option<Arc<ConsumerId>>,
        /// Of which destination.
        destination: Option<Arc<Destination>>,
        /// How long it may take in ms: 0 for ever, -1 not at all.
        timeout: i64,
        /// Unused.
        correlation_id: Option<Text> [since 3],
        /// Unused.
        message_id: Option<MessageId> [since 3],
    }

    /// Delivers a message. Without message and destination it ends a pull or a browse.
    command MessageDispatch = 21 {
        /// To whom.
        consumer_id: Option<Arc<ConsumerId>>,
        /// The destination it was taken from, not the pattern.
        destination: Option<Arc<Destination>>,
        /// The message.
        message: Option<Message>,
        /// How often it was delivered before; overrules what the message says.
        redelivery_counter: i32,
    }

    /// Acknowledges messages.
    command MessageAck = 22 {
        /// Where they were taken from.
        destination: Option<Arc<Destination>>,
        /// The transaction that acknowledges.
        transaction_id: Option<Arc<TransactionId>>,
        /// Who acknowledges.
        consumer_id: Option<Arc<ConsumerId>>,
        /// What it means, see [`kind`](Self::kind).
        ack_type: i8,
        /// The first one; none is the oldest.
        first_message_id: Option<MessageId>,
        /// The last one.
        last_message_id: Option<MessageId>,
        /// How many.
        message_count: i32,
        /// Why the client gave up.
        poison_cause: Option<Box<Throwable>> [since 7],
    }

    /// Replication of old.
    command MessageDispatchNotification = 90 {
        /// To whom.
        consumer_id: Option<Arc<ConsumerId>>,
        /// The destination.
        destination: Option<Arc<Destination>>,
        /// The order of dispatch.
        delivery_sequence_id: i64,
        /// The message.
        message_id: Option<MessageId>,
    }
}

/// What an acknowledgement means (section 14).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i8)]
pub enum AckType {
    /// The application has them, and more may come.
    Delivered = 0,
    /// The client gave up: dead letters.
    Poison = 1,
    /// They are done.
    Standard = 2,
    /// The client delivers them again by itself.
    Redelivered = 3,
    /// The last one is done.
    Individual = 4,
    /// The selector does not want them.
    Unmatched = 5,
    /// They have expired at the client.
    Expired = 6,
}

impl MessageAck {
    /// What it means; `None` for a number that means nothing.
    pub fn kind(&self) -> Option<AckType> {
        Some(match self.ack_type {
            0 => AckType::Delivered,
            1 => AckType::Poison,
            2 => AckType::Standard,
            3 => AckType::Redelivered,
            4 => AckType::Individual,
            5 => AckType::Unmatched,
            6 => AckType::Expired,
            _ => return None,
        })
    }
}

//! What announces and removes connections, sessions, consumers, producers and destinations, and steps of transactions
//! (openwire.md sections 11 to 18).

use std::sync::Arc;

use super::{
    BrokerId, ConnectionId, ConsumerId, Destination, NetworkBridgeFilter, ProducerId, SessionId,
    TransactionId,
};
use crate::openwire::cache::CachedObject;
use crate::openwire::schema::{absent, is_present, wire};
use crate::openwire::text::{Secret, Text};

/// `last_delivered_sequence_id` of a consumer that ended without telling.
pub const SEQUENCE_UNKNOWN: i64 = -2;

wire! {
    /// A client logs in.
    command ConnectionInfo = 3 {
        /// The connection.
        connection_id: Option<Arc<ConnectionId>>,
        /// The client id, given by the user or made.
        client_id: Option<Text>,
        /// The password.
        password: Option<Secret>,
        /// The user.
        user_name: Option<Text>,
        /// The brokers it came through.
        broker_path: Option<Vec<Option<BrokerId>>>,
        /// Of old.
        broker_master_connector: bool,
        /// Whether the client wants ConnectionControl.
        manageable: bool,
        /// Of old.
        client_master: bool [since 2, else true],
        /// Whether the client has a failover transport.
        fault_tolerant: bool [since 6],
        /// Whether it comes again, and repeats what it had.
        failover_reconnect: bool [since 6],
        /// The address of the client, as a broker saw it.
        client_ip: Option<Text> [since 8],
    }

    /// A session begins.
    command SessionInfo = 4 {
        /// The session.
        session_id: Option<Arc<SessionId>>,
    }

    /// A consumer begins.
    command ConsumerInfo = 5 {
        /// The consumer.
        consumer_id: Option<Arc<ConsumerId>>,
        /// Whether it only looks.
        browser: bool,
        /// What it consumes; may be a wildcard or composite.
        destination: Option<Arc<Destination>>,
        /// Its window; 0 is pulling.
        prefetch_size: i32,
        /// Messages that may wait beyond the window, for topics; 0 is unset.
        maximum_pending_message_limit: i32,
        /// A hint.
        dispatch_async: bool,
        /// Which messages it wants.
        selector: Option<Text>,
        /// The client id of its connection.
        client_id: Option<Text> [since 10],
        /// The name of a durable subscription.
        subscription_name: Option<Text>,
        /// Whether it wants none of its own connection's messages.
        no_local: bool,
        /// Whether it wants the queue for itself.
        exclusive: bool,
        /// Whether it wants what was published before.
        retroactive: bool,
        /// Higher ones are served first.
        priority: i8,
        /// The brokers it came through.
        broker_path: Option<Vec<Option<BrokerId>>>,
        /// What a bridge leaves out.
        additional_predicate: Option<NetworkBridgeFilter>,
        /// Whether a bridge made it.
        network_subscription: bool,
        /// A hint.
        optimized_acknowledge: bool,
        /// A hint.
        no_range_acks: bool,
        /// The consumers behind one of a bridge.
        network_consumer_path: Option<Vec<Option<ConsumerId>>> [since 4],
    }

    /// A producer begins.
    command ProducerInfo = 6 {
        /// The producer.
        producer_id: Option<Arc<ProducerId>>,
        /// Where it sends; none if each message says.
        destination: Option<Arc<Destination>>,
        /// The brokers it came through.
        broker_path: Option<Vec<Option<BrokerId>>>,
        /// A hint.
        dispatch_async: bool [since 2],
        /// Octets it may have unacknowledged; 0 is no window.
        window_size: i32 [since 3],
    }

    /// A step of a transaction.
    command TransactionInfo = 7 {
        /// The connection.
        connection_id: Option<Arc<ConnectionId>>,
        /// The transaction; none for recovery.
        transaction_id: Option<Arc<TransactionId>>,
        /// The step, see [`operation`](Self::operation).
        kind: i8,
    }

    /// A destination is made or removed.
    command DestinationInfo = 8 {
        /// The connection that wants it, which owns a temporary one.
        connection_id: Option<Arc<ConnectionId>>,
        /// The destination.
        destination: Option<Arc<Destination>>,
        /// What is to be done, see [`operation`](Self::operation).
        operation_type: i8,
        /// How long a removal waits for consumers, in ms.
        timeout: i64,
        /// The brokers it came through.
        broker_path: Option<Vec<Option<BrokerId>>>,
    }

    /// A durable subscription is removed.
    command RemoveSubscriptionInfo = 9 {
        /// The connection that wants it.
        connection_id: Option<Arc<ConnectionId>>,
        /// The name of the subscription.
        subscription_name: Option<Text>,
        /// The client it belongs to.
        client_id: Option<Text>,
    }

    /// A connection, session, consumer or producer ends.
    command RemoveInfo = 12 {
        /// Which one.
        object_id: Option<CachedObject>,
        /// The last message that the application was given, by broker sequence; -1 none, [`SEQUENCE_UNKNOWN`].
        last_delivered_sequence_id: i64 [since 5, else SEQUENCE_UNKNOWN],
    }
}

/// The steps of a transaction (section 17).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i8)]
pub enum TransactionOperation {
    /// It begins.
    Begin = 0,
    /// It votes.
    Prepare = 1,
    /// It takes effect, without having voted.
    CommitOnePhase = 2,
    /// It takes effect after its vote.
    CommitTwoPhase = 3,
    /// It has none.
    Rollback = 4,
    /// Which ones have voted.
    Recover = 5,
    /// It is forgotten.
    Forget = 6,
    /// Work in it pauses or ends.
    End = 7,
}

impl TransactionInfo {
    /// The step; `None` for a number that is none.
    pub fn operation(&self) -> Option<TransactionOperation> {
        use TransactionOperation as Op;
        Some(match self.kind {
            0 => Op::Begin,
            1 => Op::Prepare,
            2 => Op::CommitOnePhase,
            3 => Op::CommitTwoPhase,
            4 => Op::Rollback,
            5 => Op::Recover,
            6 => Op::Forget,
            7 => Op::End,
            _ => return None,
        })
    }
}

/// What is done with a destination (section 18).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i8)]
pub enum DestinationOperation {
    /// It is made.
    Add = 0,
    /// It is removed.
    Remove = 1,
}

impl DestinationInfo {
    /// What is to be done; `None` for a number that is nothing.
    pub fn operation(&self) -> Option<DestinationOperation> {
        match self.operation_type {
            0 => Some(DestinationOperation::Add),
            1 => Some(DestinationOperation::Remove),
            _ => None,
        }
    }
}

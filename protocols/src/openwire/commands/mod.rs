//! The data types of OpenWire, one file per family, and [`Command`], any of them.
//!
//! Source: openwire-commands.json for names, order and versions; openwire.md for what they mean, in the sections named.

mod acknowledge;
mod broker;
mod connection;
mod control;
mod destination;
mod ids;
mod journal;
mod message;
mod response;
mod throwable;

pub use acknowledge::{
    AckType, MessageAck, MessageDispatch, MessageDispatchNotification, MessagePull,
};
pub use broker::{BrokerInfo, BrokerSubscriptionInfo, DiscoveryEvent, NetworkBridgeFilter};
pub use connection::{
    ConnectionInfo, ConsumerInfo, DestinationInfo, DestinationOperation, ProducerInfo, RemoveInfo,
    RemoveSubscriptionInfo, SEQUENCE_UNKNOWN, SessionInfo, TransactionInfo, TransactionOperation,
};
pub use control::{
    ConnectionControl, ConnectionError, ConsumerControl, ControlCommand, FlushCommand,
    KeepAliveInfo, LastPartialCommand, MAGIC, PartialCommand, ProducerAck, ReplayCommand,
    ShutdownInfo, WireFormatInfo,
};
pub use destination::{Destination, DestinationKind};
pub use ids::{
    BrokerId, ConnectionId, ConsumerId, LocalTransactionId, MessageId, ProducerId, SessionId,
    TransactionId, XaTransactionId,
};
pub use journal::{
    JournalQueueAck, JournalTopicAck, JournalTrace, JournalTransaction, SubscriptionInfo,
};
pub use message::{BlobFields, Message, MessageKind};
pub use response::{DataArrayResponse, DataResponse, ExceptionResponse, IntegerResponse, Response};
pub use throwable::{StackFrame, Throwable};

use super::error::Fault;
use super::reader::Reader;
use super::schema::Object;
use super::writer::Writer;

macro_rules! commands {
    ($($(#[$meta:meta])* $name:ident($id:pat)),* $(,)?) => {
        /// A data type of any kind: what stands in a frame, and in fields where any type may stand. All but those from
        /// `DiscoveryEvent` on are commands. Messages are large and frequent: boxing them would be an allocation each.
        #[derive(Clone, Debug, PartialEq)]
        pub enum Command {
            $($(#[$meta])* $name($name),)*
        }

        impl Object for Command {
            fn type_id(&self) -> u8 {
                match self {
                    $(Self::$name(object) => object.type_id(),)*
                }
            }

            fn write(&self, writer: &mut Writer<'_>) {
                match self {
                    $(Self::$name(object) => object.write(writer),)*
                }
            }

            fn read(type_id: u8, reader: &mut Reader<'_>) -> Result<Self, Fault> {
                match type_id {
                    $($id => $name::read(type_id, reader).map(Self::$name),)*
                    _ => Err(Fault::UnknownType { type_id }),
                }
            }
        }

        $(
            impl From<$name> for Command {
                fn from(object: $name) -> Self {
                    Self::$name(object)
                }
            }
        )*

        impl Command {
            /// The name of its type, without what it holds: for log lines.
            pub fn name(&self) -> &'static str {
                match self {
                    $(Self::$name(_) => stringify!($name),)*
                }
            }
        }

        #[cfg(test)]
        impl super::tests::Sample for Command {
            fn sample(random: &mut super::tests::Random) -> Self {
                let makers: &[fn(&mut super::tests::Random) -> Self] =
                    &[$(|random| Self::$name(super::tests::Sample::sample(random))),*];
                let make = makers[random.below(makers.len())];
                make(random)
            }

            fn json(&self, version: u8) -> serde_json::Value {
                match self {
                    $(Self::$name(object) => super::tests::Sample::json(object, version),)*
                }
            }
        }
    };
}

commands! {
    /// The options of a side; the first frame each way (section 2).
    WireFormatInfo(1),
    /// Who a broker is (sections 11, 21).
    BrokerInfo(2),
    /// A client logs in (section 11).
    ConnectionInfo(3),
    /// A session begins (section 11).
    SessionInfo(4),
    /// A consumer begins (section 13).
    ConsumerInfo(5),
    /// A producer begins (section 12).
    ProducerInfo(6),
    /// A step of a transaction (section 17).
    TransactionInfo(7),
    /// A destination is made or removed (section 18).
    DestinationInfo(8),
    /// A durable subscription is removed (section 13).
    RemoveSubscriptionInfo(9),
    /// A sign of life (section 3).
    KeepAliveInfo(10),
    /// The end of the conversation (section 19).
    ShutdownInfo(11),
    /// A connection, session, consumer or producer ends (section 11).
    RemoveInfo(12),
    /// Unused (section 19).
    ControlCommand(14),
    /// Unused (section 19).
    FlushCommand(15),
    /// A failure of what wanted no response (section 19).
    ConnectionError(16),
    /// Changes or closes a consumer (section 19).
    ConsumerControl(17),
    /// Changes a connection (section 19).
    ConnectionControl(18),
    /// Credit for a producer (section 12).
    ProducerAck(19),
    /// Asks for one message (section 15).
    MessagePull(20),
    /// Delivers a message (section 13).
    MessageDispatch(21),
    /// Acknowledges messages (section 14).
    MessageAck(22),
    /// A message of any kind (sections 8, 12).
    Message(23..=29),
    /// Success (section 10).
    Response(30),
    /// Failure (section 10).
    ExceptionResponse(31),
    /// Success with an object (section 10).
    DataResponse(32),
    /// Success with objects (section 17).
    DataArrayResponse(33),
    /// Success with a number (section 17).
    IntegerResponse(34),
    /// A part of a command; datagrams only (section 19).
    PartialCommand(60),
    /// The last part of a command; datagrams only (section 19).
    LastPartialCommand(61),
    /// Asks for lost datagrams (section 19).
    ReplayCommand(65),
    /// Replication of old (section 19).
    MessageDispatchNotification(90),
    /// Durable subscriptions of a bridge (section 21).
    BrokerSubscriptionInfo(92),
    /// A broker was found (section 19).
    DiscoveryEvent(40),
    /// A record of old stores (section 19).
    JournalTopicAck(50),
    /// A record of old stores (section 19).
    JournalQueueAck(52),
    /// A record of old stores (section 19).
    JournalTrace(53),
    /// A record of old stores (section 19).
    JournalTransaction(54),
    /// A durable subscription in old stores (section 19).
    SubscriptionInfo(55),
    /// What a bridge leaves out (section 21).
    NetworkBridgeFilter(91),
    /// A destination (section 9).
    Destination(100..=103),
    /// Identifies a message (section 9).
    MessageId(110),
    /// Identifies a transaction (section 9).
    TransactionId(111 | 112),
    /// Identifies a connection (section 9).
    ConnectionId(120),
    /// Identifies a session (section 9).
    SessionId(121),
    /// Identifies a consumer (section 9).
    ConsumerId(122),
    /// Identifies a producer (section 9).
    ProducerId(123),
    /// Identifies a broker (section 9).
    BrokerId(124),
}

/// Asks each command for its number and whether a response is wanted.
macro_rules! headers {
    ($($name:ident),* $(,)?) => {
        impl Command {
            /// The command id, if it has one: what a response names.
            pub fn command_id(&self) -> Option<i32> {
                match self {
                    $(Self::$name(command) => Some(command.command_id),)*
                    Self::PartialCommand(command) => Some(command.command_id),
                    Self::LastPartialCommand(command) => Some(command.command_id),
                    _ => None,
                }
            }

            /// Whether the sender waits for a response.
            pub fn response_required(&self) -> bool {
                match self {
                    $(Self::$name(command) => command.response_required,)*
                    _ => false,
                }
            }
        }
    };
}

headers! {
    BrokerInfo, ConnectionInfo, SessionInfo, ConsumerInfo, ProducerInfo, TransactionInfo, DestinationInfo,
    RemoveSubscriptionInfo, KeepAliveInfo, ShutdownInfo, RemoveInfo, ControlCommand, FlushCommand, ConnectionError,
    ConsumerControl, ConnectionControl, ProducerAck, MessagePull, MessageDispatch, MessageAck, Message, Response,
    ExceptionResponse, DataResponse, DataArrayResponse, IntegerResponse, ReplayCommand, MessageDispatchNotification,
    BrokerSubscriptionInfo,
}

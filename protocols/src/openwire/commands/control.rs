//! What concerns the conversation itself: options, signs of life, credit, errors (openwire.md sections 2, 3, 12, 19).

use bytes::Bytes;

use super::{ConnectionId, ConsumerId, Destination, ProducerId, Throwable};
use crate::openwire::schema::{absent, is_present, wire};
use crate::openwire::text::Text;

/// What WireFormatInfo begins with.
pub const MAGIC: [u8; 8] = *b"ActiveMQ";

wire! {
    /// The options of one side; `openwire::negotiate` reads them.
    data WireFormatInfo = 1 {
        /// [`MAGIC`].
        magic: [u8; 8],
        /// The highest version the side speaks.
        version: i32,
        /// The options, a primitive map.
        marshalled_properties: Option<Bytes>,
    }

    /// A sign of life.
    command KeepAliveInfo = 10 {}

    /// The end of the conversation.
    command ShutdownInfo = 11 {}

    /// Unused.
    command ControlCommand = 14 {
        /// What is to be done.
        command: Option<Text>,
    }

    /// Unused.
    command FlushCommand = 15 {}

    /// A failure of a command that wanted no response.
    command ConnectionError = 16 {
        /// What failed.
        exception: Option<Box<Throwable>>,
        /// Whose it is.
        connection_id: Option<ConnectionId>,
    }

    /// Closes a consumer or sets its window.
    command ConsumerControl = 17 {
        /// What it consumes.
        destination: Option<Destination> [since 6],
        /// Whether it ends.
        close: bool,
        /// The consumer.
        consumer_id: Option<ConsumerId>,
        /// Its window.
        prefetch: i32,
        /// Unused.
        flush: bool [since 2],
        /// Unused.
        start: bool [since 2],
        /// Unused.
        stop: bool [since 2],
    }

    /// Tells a client of other brokers, or a broker of a failover transport.
    command ConnectionControl = 18 {
        /// Unused.
        close: bool,
        /// Unused.
        exit: bool,
        /// Whether the client has a failover transport.
        fault_tolerant: bool,
        /// Unused.
        resume: bool,
        /// Unused.
        suspend: bool,
        /// Addresses of other brokers, with commas between.
        connected_brokers: Option<Text> [since 6, else Some(Text::default())],
        /// The address of the broker the client is to go to.
        reconnect_to: Option<Text> [since 6, else Some(Text::default())],
        /// Whether the client is to choose again among the brokers.
        rebalance_connection: bool [since 6],
        /// Unused.
        token: Option<Bytes> [since 8],
    }

    /// Gives a producer credit back; version 3 and later.
    command ProducerAck = 19 {
        /// The producer.
        producer_id: Option<ProducerId>,
        /// Octets, see `Message::window_bytes`.
        size: i32,
    }

    /// A part of a command, over datagrams.
    data PartialCommand = 60 {
        /// The command it is a part of.
        command_id: i32,
        /// The part.
        data: Option<Bytes>,
    }

    /// The last part of a command, over datagrams.
    data LastPartialCommand = 61 {
        /// The command it is a part of.
        command_id: i32,
        /// The part.
        data: Option<Bytes>,
    }

    /// Asks for datagrams that were lost.
    command ReplayCommand = 65 {
        /// The first one.
        first_nak_number: i32,
        /// The last one.
        last_nak_number: i32,
    }
}

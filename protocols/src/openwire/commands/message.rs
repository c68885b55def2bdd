//! [`Message`]: a message of any kind (openwire.md section 8). Its content and properties are octets until somebody asks
//! (`openwire::body`, `openwire::properties`).

use std::sync::Arc;

use bytes::Bytes;

use super::{BrokerId, Command, ConsumerId, Destination, MessageId, ProducerId, TransactionId};
use crate::openwire::error::Fault;
use crate::openwire::reader::Reader;
use crate::openwire::schema::{Object, absent, is_present, wire};
use crate::openwire::text::Text;
use crate::openwire::writer::Writer;

/// What the content of a message is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum MessageKind {
    /// There is none.
    #[default]
    Plain,
    /// Octets.
    Bytes,
    /// Named values.
    Map,
    /// An object in the serialization of Java.
    Object,
    /// A sequence of values.
    Stream,
    /// A text.
    Text,
    /// Elsewhere, at an address.
    Blob,
}

impl MessageKind {
    const ALL: [Self; 7] = [
        Self::Plain,
        Self::Bytes,
        Self::Map,
        Self::Object,
        Self::Stream,
        Self::Text,
        Self::Blob,
    ];

    fn of(type_id: u8) -> Result<Self, Fault> {
        let kind = type_id
            .checked_sub(23)
            .and_then(|kind| Self::ALL.get(usize::from(kind)));
        kind.copied().ok_or(Fault::UnexpectedType { type_id })
    }
}

wire! {
    /// A message. Cached objects are shared; texts and octets are slices of the frame it came in.
    fields Message {
        /// Numbers the commands of one sender; in a dispatched message a leftover of its producer.
        command_id: i32,
        /// Whether the producer waits for a response; in a dispatched message a leftover.
        response_required: bool,
        /// Who sent it here: the producer of a client, or of a bridge.
        producer_id: Option<Arc<ProducerId>>,
        /// Where it goes.
        destination: Option<Arc<Destination>>,
        /// The transaction it is part of.
        transaction_id: Option<Arc<TransactionId>>,
        /// Where it went before the broker moved it.
        original_destination: Option<Arc<Destination>>,
        /// Which message it is.
        message_id: Option<MessageId>,
        /// The transaction it was part of before the broker moved it.
        original_transaction_id: Option<Arc<TransactionId>>,
        /// JMSXGroupID.
        group_id: Option<Text>,
        /// JMSXGroupSeq; -1 closes the group.
        group_sequence: i32,
        /// JMSCorrelationID.
        correlation_id: Option<Text>,
        /// JMSDeliveryMode.
        persistent: bool,
        /// JMSExpiration, absolute in ms; 0 is never.
        expiration: i64,
        /// JMSPriority, 0 to 9.
        priority: i8,
        /// JMSReplyTo.
        reply_to: Option<Destination>,
        /// JMSTimestamp, absolute in ms.
        timestamp: i64,
        /// JMSType.
        jms_type: Option<Text>,
        /// The body, in a form that depends on the kind; deflated if `compressed`.
        content: Option<Bytes>,
        /// The application's properties, a primitive map.
        marshalled_properties: Option<Bytes>,
        /// What an advisory tells of.
        data_structure: Option<Box<Command>>,
        /// The only consumer it is for, in replayed advisories.
        target_consumer_id: Option<Arc<ConsumerId>>,
        /// Whether the content is deflated.
        compressed: bool,
        /// How often it was delivered before.
        redelivery_counter: i32,
        /// The brokers it came through.
        broker_path: Option<Vec<Option<BrokerId>>>,
        /// When it came to a broker, absolute in ms.
        arrival: i64,
        /// JMSXUserID.
        user_id: Option<Text>,
        /// Set by some brokers; nothing depends on it.
        received_by_df_bridge: bool,
        /// Whether a broker may drop it.
        droppable: bool [since 2],
        /// The brokers of a cluster that have it.
        cluster: Option<Vec<Option<BrokerId>>> [since 3],
        /// When the broker got it, absolute in ms.
        broker_in_time: i64 [since 3],
        /// When the broker dispatched it, absolute in ms.
        broker_out_time: i64 [since 3],
        /// Whether it is the first one of its group for this consumer.
        jmsx_group_first_for_consumer: bool [since 10],
    } and {
        /// What the content is.
        kind: MessageKind,
        /// The fields of [`MessageKind::Blob`]; none for other kinds.
        blob: Option<Box<BlobFields>>,
    }

    /// What a blob message has in addition.
    fields BlobFields {
        /// Where the content is.
        remote_blob_url: Option<Text>,
        /// What it is.
        mime_type: Option<Text>,
        /// Whether the broker removes it when the message is consumed.
        deleted_by_broker: bool,
    } and {}
}

impl Message {
    /// What the broker and the client count as its size, for producer windows (section 12): content, properties and
    /// 1024 octets for the rest.
    pub fn window_bytes(&self) -> usize {
        let length = |octets: &Option<Bytes>| octets.as_ref().map_or(0, Bytes::len);
        1_024 + length(&self.content) + length(&self.marshalled_properties)
    }
}

impl Object for Message {
    fn type_id(&self) -> u8 {
        23 + self.kind as u8
    }

    fn write(&self, writer: &mut Writer<'_>) {
        self.write_fields(writer);
        if self.kind == MessageKind::Blob {
            match &self.blob {
                Some(blob) => blob.write_fields(writer),
                None => BlobFields::default().write_fields(writer),
            }
        }
    }

    fn read(type_id: u8, reader: &mut Reader<'_>) -> Result<Self, Fault> {
        let kind = MessageKind::of(type_id)?;
        let mut message = Self::read_fields(reader)?;
        message.kind = kind;
        if kind == MessageKind::Blob {
            message.blob = Some(Box::new(BlobFields::read_fields(reader)?));
        }
        Ok(message)
    }
}

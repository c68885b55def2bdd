//! Identifiers (openwire.md section 9), with the text forms that Java shows.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use crate::openwire::error::Fault;
use crate::openwire::reader::Reader;
use crate::openwire::schema::{Object, absent, is_present, wire};
use crate::openwire::text::Text;
use crate::openwire::writer::Writer;

wire! {
    /// Identifies a connection.
    #[derive(Eq, Hash)]
    data ConnectionId = 120 {
        /// The text that identifies it, as `ID:host-port-time-n:m`.
        value: Option<Text>,
    }

    /// Identifies a session of a connection. The session -1 exists without being announced.
    #[derive(Eq, Hash)]
    data SessionId = 121 {
        /// The connection.
        connection_id: Option<Text>,
        /// Its number there.
        value: i64,
    }

    /// Identifies a consumer of a session.
    #[derive(Eq, Hash)]
    data ConsumerId = 122 {
        /// The connection.
        connection_id: Option<Text>,
        /// The session.
        session_id: i64,
        /// Its number there.
        value: i64,
    }

    /// Identifies a producer of a session. The order of fields is not that of [`ConsumerId`].
    #[derive(Eq, Hash)]
    data ProducerId = 123 {
        /// The connection.
        connection_id: Option<Text>,
        /// Its number in the session.
        value: i64,
        /// The session.
        session_id: i64,
    }

    /// Identifies a broker.
    #[derive(Eq, Hash)]
    data BrokerId = 124 {
        /// The text that identifies it.
        value: Option<Text>,
    }

    /// Identifies a message: by producer and producer sequence.
    data MessageId = 110 {
        /// The JMS id of a foreign message, shown instead of the rest.
        text_view: Option<Text> [since 10],
        /// Who made it.
        producer_id: Option<Arc<ProducerId>>,
        /// Counts the messages of that producer, from 1.
        producer_sequence_id: i64,
        /// Where it is in the order of all messages of the broker; 0 until the broker has it.
        broker_sequence_id: i64,
    }

    /// Identifies a transaction of a connection.
    #[derive(Eq, Hash)]
    data LocalTransactionId = 111 {
        /// Its number there.
        value: i64,
        /// The connection.
        connection_id: Option<Arc<ConnectionId>>,
    }

    /// Identifies a branch of a distributed transaction.
    #[derive(Eq, Hash)]
    data XaTransactionId = 112 {
        /// The format of the other two.
        format_id: i32,
        /// The transaction.
        global_transaction_id: Option<Bytes>,
        /// The branch.
        branch_qualifier: Option<Bytes>,
    }
}

/// Identifies a transaction.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum TransactionId {
    /// Of one connection.
    Local(LocalTransactionId),
    /// Of a transaction manager.
    Xa(XaTransactionId),
}

impl Object for TransactionId {
    fn type_id(&self) -> u8 {
        match self {
            Self::Local(id) => id.type_id(),
            Self::Xa(id) => id.type_id(),
        }
    }

    fn write(&self, writer: &mut Writer<'_>) {
        match self {
            Self::Local(id) => id.write(writer),
            Self::Xa(id) => id.write(writer),
        }
    }

    fn read(type_id: u8, reader: &mut Reader<'_>) -> Result<Self, Fault> {
        match type_id {
            LocalTransactionId::TYPE_ID => {
                LocalTransactionId::read(type_id, reader).map(Self::Local)
            }
            _ => XaTransactionId::read(type_id, reader).map(Self::Xa),
        }
    }
}

fn detached(text: Option<&Text>) -> Option<Text> {
    text.map(Text::detached)
}

fn text_bytes(text: Option<&Text>) -> usize {
    text.map_or(0, |text| text.as_bytes().len())
}

impl ConnectionId {
    pub(in crate::openwire) fn text_bytes(&self) -> usize {
        text_bytes(self.value.as_ref())
    }

    /// A copy that shares no memory with a frame.
    #[must_use]
    pub fn detached(&self) -> Self {
        Self {
            value: detached(self.value.as_ref()),
        }
    }
}

impl SessionId {
    pub(in crate::openwire) fn text_bytes(&self) -> usize {
        text_bytes(self.connection_id.as_ref())
    }

    /// A copy that shares no memory with a frame.
    #[must_use]
    pub fn detached(&self) -> Self {
        Self {
            connection_id: detached(self.connection_id.as_ref()),
            ..*self
        }
    }
}

impl ConsumerId {
    pub(in crate::openwire) fn text_bytes(&self) -> usize {
        text_bytes(self.connection_id.as_ref())
    }

    /// A copy that shares no memory with a frame.
    #[must_use]
    pub fn detached(&self) -> Self {
        Self {
            connection_id: detached(self.connection_id.as_ref()),
            ..*self
        }
    }

    /// The session it belongs to.
    pub fn session(&self) -> SessionId {
        SessionId {
            connection_id: self.connection_id.clone(),
            value: self.session_id,
        }
    }
}

impl ProducerId {
    pub(in crate::openwire) fn text_bytes(&self) -> usize {
        text_bytes(self.connection_id.as_ref())
    }

    /// A copy that shares no memory with a frame.
    #[must_use]
    pub fn detached(&self) -> Self {
        Self {
            connection_id: detached(self.connection_id.as_ref()),
            ..*self
        }
    }

    /// The session it belongs to.
    pub fn session(&self) -> SessionId {
        SessionId {
            connection_id: self.connection_id.clone(),
            value: self.session_id,
        }
    }
}

impl BrokerId {
    pub(in crate::openwire) fn text_bytes(&self) -> usize {
        text_bytes(self.value.as_ref())
    }

    /// A copy that shares no memory with a frame.
    #[must_use]
    pub fn detached(&self) -> Self {
        Self {
            value: detached(self.value.as_ref()),
        }
    }
}

impl TransactionId {
    pub(in crate::openwire) fn text_bytes(&self) -> usize {
        let length = |octets: &Option<Bytes>| octets.as_ref().map_or(0, Bytes::len);
        match self {
            Self::Local(id) => id
                .connection_id
                .as_deref()
                .map_or(0, ConnectionId::text_bytes),
            Self::Xa(id) => length(&id.global_transaction_id) + length(&id.branch_qualifier),
        }
    }

    /// A copy that shares no memory with a frame.
    #[must_use]
    pub fn detached(&self) -> Self {
        let copied = |octets: &Option<Bytes>| octets.as_deref().map(Bytes::copy_from_slice);
        match self {
            // What is cached in it has memory of its own already.
            Self::Local(id) => Self::Local(id.clone()),
            Self::Xa(id) => Self::Xa(XaTransactionId {
                format_id: id.format_id,
                global_transaction_id: copied(&id.global_transaction_id),
                branch_qualifier: copied(&id.branch_qualifier),
            }),
        }
    }
}

fn shown(text: Option<&Text>) -> std::borrow::Cow<'_, str> {
    text.map_or(std::borrow::Cow::Borrowed(""), Text::to_str)
}

impl fmt::Display for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&shown(self.value.as_ref()))
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", shown(self.connection_id.as_ref()), self.value)
    }
}

impl fmt::Display for ConsumerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let connection = shown(self.connection_id.as_ref());
        write!(f, "{connection}:{}:{}", self.session_id, self.value)
    }
}

impl fmt::Display for ProducerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let connection = shown(self.connection_id.as_ref());
        write!(f, "{connection}:{}:{}", self.session_id, self.value)
    }
}

impl fmt::Display for BrokerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&shown(self.value.as_ref()))
    }
}

/// What JMSMessageID says: the text view, with `ID:` in front if it is missing, or producer and sequence.
impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(text_view) = &self.text_view {
            let text_view = text_view.to_str();
            let prefix = if text_view.starts_with("ID:") {
                ""
            } else {
                "ID:"
            };
            return write!(f, "{prefix}{text_view}");
        }
        if let Some(producer_id) = &self.producer_id {
            write!(f, "{producer_id}")?;
        }
        write!(f, ":{}", self.producer_sequence_id)
    }
}

impl fmt::Display for LocalTransactionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TX:")?;
        if let Some(connection_id) = &self.connection_id {
            write!(f, "{connection_id}")?;
        }
        write!(f, ":{}", self.value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_shown_as_java_shows_them() {
        let connection_id = Some(Text::from("ID:host-1-2-0:1"));
        let consumer = ConsumerId {
            connection_id: connection_id.clone(),
            session_id: -1,
            value: 3,
        };
        assert_eq!(consumer.to_string(), "ID:host-1-2-0:1:-1:3");
        assert_eq!(consumer.session().to_string(), "ID:host-1-2-0:1:-1");
        let producer = ProducerId {
            connection_id: connection_id.clone(),
            value: 3,
            session_id: 2,
        };
        assert_eq!(producer.to_string(), "ID:host-1-2-0:1:2:3");
        assert_eq!(producer.session().to_string(), "ID:host-1-2-0:1:2");
        let mut message = MessageId {
            producer_id: Some(producer.into()),
            producer_sequence_id: 9,
            ..MessageId::default()
        };
        assert_eq!(message.to_string(), "ID:host-1-2-0:1:2:3:9");
        message.text_view = Some("x".into());
        assert_eq!(message.to_string(), "ID:x");
        let connection = ConnectionId {
            value: connection_id,
        };
        let transaction = LocalTransactionId {
            value: 7,
            connection_id: Some(connection.into()),
        };
        assert_eq!(transaction.to_string(), "TX:ID:host-1-2-0:1:7");
    }
}

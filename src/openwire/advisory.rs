//! Advisories as OpenWire has them: a message whose data structure is the command that tells of the event (section 18 of
//! the protocol).

use std::sync::Arc;

use bytes::Bytes;
use ferrymq_protocols::openwire::commands::{
    Command, ConnectionId, ConnectionInfo, ConsumerId, ConsumerInfo, DestinationInfo,
    Message as WireMessage, MessageId, ProducerId, ProducerInfo, RemoveInfo, SEQUENCE_UNKNOWN,
};
use ferrymq_protocols::openwire::properties::{MapWriter, Value};
use ferrymq_protocols::openwire::{CachedObject, encode_stored};

use super::WIRE_OPENWIRE;
use super::destination::shown;
use super::encoder::signed;
use crate::broker::advisory::{
    Change, ConsumerFacts, Event, MESSAGE_TYPE, ProducerFacts, Property,
};
use crate::broker::{Destination, Message};
use crate::engine::advisories::AdvisoryProperties;

/// Writes advisories for one connection.
#[derive(Clone)]
pub(super) struct AdvisoryForm {
    /// What all advisories say.
    pub(super) properties: Arc<AdvisoryProperties>,
    /// The producer of the broker's own messages.
    pub(super) producer: Arc<ProducerId>,
}

impl AdvisoryForm {
    /// The advisory as a message of this wire; `None` if it is too long for it.
    pub(super) fn render(&self, message: &Message, event: &Event) -> Option<Message> {
        let advisory = WireMessage {
            producer_id: Some(Arc::clone(&self.producer)),
            destination: Some(Arc::new(shown(&event.topic()))),
            message_id: Some(MessageId {
                producer_id: Some(Arc::clone(&self.producer)),
                producer_sequence_id: message.id.serial.cast_signed(),
                ..MessageId::default()
            }),
            jms_type: Some(MESSAGE_TYPE.into()),
            timestamp: signed(message.timestamp_ms),
            marshalled_properties: Some(self.properties_of(event)?),
            data_structure: data(event).map(Box::new),
            ..WireMessage::default()
        };
        let mut head = Vec::with_capacity(512);
        encode_stored(&advisory, &mut head).ok()?;
        let head_len = u32::try_from(head.len()).ok()?;
        let mut rendered = Message::new(
            message.id,
            head.into(),
            head_len,
            message.flags,
            WIRE_OPENWIRE,
        );
        rendered.timestamp_ms = message.timestamp_ms;
        rendered.priority = message.priority;
        Some(rendered)
    }

    fn properties_of(&self, event: &Event) -> Option<Bytes> {
        let mut out = Vec::new();
        let mut map = MapWriter::new(&mut out);
        for (name, value) in self.properties.constants() {
            map.put(*name, &Value::String(value.as_str().into())).ok()?;
        }
        for (name, value) in event.properties() {
            let text;
            let value = match value {
                Property::Text(found) => {
                    text = found;
                    Value::String(text.as_str().into())
                }
                Property::Count(count) => Value::Int(i32::try_from(count).unwrap_or(i32::MAX)),
                Property::Message(id) => {
                    text = format!("ID:{:x}:{}", id.origin, id.serial);
                    Value::String(text.as_str().into())
                }
            };
            map.put(name, &value).ok()?;
        }
        Some(out.into())
    }
}

/// The command that tells of the event; `None` where there is none yet.
fn data(event: &Event) -> Option<Command> {
    Some(match event {
        Event::Connection { change, who } => {
            let id = connection_id(&who.id);
            match change {
                Change::Added => Command::from(ConnectionInfo {
                    connection_id: Some(id),
                    client_id: Some(who.client_id.as_str().into()),
                    user_name: Some(who.user.as_str().into()),
                    client_ip: Some(who.client_ip.as_str().into()),
                    manageable: true,
                    ..ConnectionInfo::default()
                }),
                Change::Removed => removed(CachedObject::ConnectionId(id)),
            }
        }
        Event::Destination { change, of, owner } => Command::from(DestinationInfo {
            connection_id: owner.as_deref().map(connection_id),
            destination: Some(Arc::new(shown(of))),
            operation_type: i8::from(*change == Change::Removed),
            ..DestinationInfo::default()
        }),
        Event::Consumer {
            change: Change::Added,
            of,
            who,
            ..
        }
        | Event::SlowConsumer { of, who } => consumer(who, of).into(),
        Event::Consumer { who, .. } => removed(CachedObject::ConsumerId(consumer_id(who))),
        Event::Producer {
            change: Change::Added,
            who,
            ..
        }
        | Event::FastProducer(who) => ProducerInfo {
            producer_id: Some(producer_id(who)),
            destination: Some(Arc::new(shown(&who.destination))),
            ..ProducerInfo::default()
        }
        .into(),
        Event::Producer { who, .. } => removed(CachedObject::ProducerId(producer_id(who))),
        Event::Full { .. } | Event::Message(_) => return None,
    })
}

fn connection_id(id: &str) -> Arc<ConnectionId> {
    Arc::new(ConnectionId {
        value: Some(id.into()),
    })
}

fn consumer_id(who: &ConsumerFacts) -> Arc<ConsumerId> {
    Arc::new(ConsumerId {
        connection_id: Some(who.connection.id.as_str().into()),
        session_id: who.session,
        value: who.number.cast_signed(),
    })
}

fn producer_id(who: &ProducerFacts) -> Arc<ProducerId> {
    Arc::new(ProducerId {
        connection_id: Some(who.connection.id.as_str().into()),
        session_id: who.session,
        value: who.number.cast_signed(),
    })
}

fn consumer(who: &ConsumerFacts, of: &Destination) -> ConsumerInfo {
    ConsumerInfo {
        consumer_id: Some(consumer_id(who)),
        destination: Some(Arc::new(shown(of))),
        client_id: Some(who.connection.client_id.as_str().into()),
        prefetch_size: i32::try_from(who.prefetch).unwrap_or(i32::MAX),
        selector: who.selector().map(Into::into),
        subscription_name: who.subscription_name().map(Into::into),
        browser: who.browser,
        no_local: who.no_local,
        exclusive: who.exclusive,
        retroactive: who.retroactive,
        maximum_pending_message_limit: i32::try_from(who.pending_max).unwrap_or(-1),
        priority: i8::try_from(who.priority).unwrap_or(i8::MAX),
        dispatch_async: true,
        ..ConsumerInfo::default()
    }
}

fn removed(id: CachedObject) -> Command {
    Command::from(RemoveInfo {
        object_id: Some(id),
        last_delivered_sequence_id: SEQUENCE_UNKNOWN,
        ..RemoveInfo::default()
    })
}

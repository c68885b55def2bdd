//! The properties and the group of a message that came in on OpenWire, read when a selector or a queue asks (OWI-6).

use std::borrow::Cow;

use ferrymq_protocols::openwire::StoredDecoder;
use ferrymq_protocols::openwire::commands::Message as WireMessage;
use ferrymq_protocols::openwire::properties::{Map, Value as WireValue};

use super::WIRE_OPENWIRE;
use super::{crossing, encoder};
use crate::broker::selector::{Header, Value};
use crate::broker::{GroupMark, Message};
use crate::engine::neutral::Neutral;
use crate::engine::properties::PropertyReader;

/// Reads heads in the form of [`WIRE_OPENWIRE`].
pub struct OpenWireProperties;

fn read(message: &Message) -> Option<WireMessage> {
    encoder::read(&mut StoredDecoder::default(), message)
}

fn text(text: Option<impl ToString>) -> Option<Value<'static>> {
    text.map(|text| Value::Str(Cow::Owned(text.to_string())))
}

impl PropertyReader for OpenWireProperties {
    fn property<'m>(&self, message: &'m Message, name: &str) -> Option<Value<'m>> {
        let message = read(message)?;
        let map = Map::of(message.marshalled_properties.as_ref()).ok()?;
        value(&map.get(name).ok()??)
    }

    fn header<'m>(&self, message: &'m Message, header: Header) -> Option<Value<'m>> {
        let message = read(message)?;
        match header {
            Header::ReplyTo => text(message.reply_to),
            Header::Type => text(message.jms_type),
            Header::CorrelationId => text(message.correlation_id),
            Header::GroupId => text(message.group_id),
            Header::GroupSeq => {
                (message.group_id.is_some()).then_some(Value::I64(message.group_sequence.into()))
            }
            Header::UserId => text(message.user_id),
            Header::MessageId => {
                let id = message.message_id?;
                match id.text_view {
                    Some(view) => text(Some(view)),
                    None => text(
                        id.producer_id
                            .map(|producer| format!("{producer}:{}", id.producer_sequence_id)),
                    ),
                }
            }
            _ => None,
        }
    }

    fn neutral(&self, message: &Message) -> Option<Neutral> {
        crossing::to_neutral(message)
    }
}

/// A property as a selector sees it.
pub(super) fn value(value: &WireValue<'_>) -> Option<Value<'static>> {
    Some(match value {
        WireValue::Boolean(flag) => Value::Bool(*flag),
        WireValue::Byte(number) => Value::I64((*number).into()),
        WireValue::Short(number) => Value::I64((*number).into()),
        WireValue::Int(number) => Value::I64((*number).into()),
        WireValue::Long(number) => Value::I64(*number),
        WireValue::Float(number) => Value::F64((*number).into()),
        WireValue::Double(number) => Value::F64(*number),
        WireValue::String(text) => Value::Str(Cow::Owned(text.to_str().into_owned())),
        _ => return None,
    })
}

/// The group that a message names (GRP-1).
#[must_use]
pub fn group_of(message: &Message) -> Option<GroupMark<'_>> {
    if message.wire != WIRE_OPENWIRE {
        return None;
    }
    let read = read(message)?;
    let id = read.group_id?.to_string();
    (!id.is_empty()).then_some(GroupMark {
        id: Cow::Owned(id),
        sequence: read.group_sequence,
    })
}

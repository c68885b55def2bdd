//! Advisories as STOMP shows them: headers for the properties, JSON or XML for the data (MSG-6).
//!
//! Elements and fields have the names of ActiveMQ's commands; ids and destinations are text (`queue://orders`).

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ferrymq_protocols::map::escape_text;
use ferrymq_protocols::stomp::{
    self, Escapes, HeadFlags, encode_message_id, push_header, unescape,
};
use serde_json::{Map, Value, json};

use super::{WIRE_STOMP, properties};
use crate::broker::advisory::{
    Change, ConsumerFacts, Event, MESSAGE_TYPE, MessageEvent, ProducerFacts, Property,
};
use crate::broker::{Message, MessageFlags, MessageId};
use crate::engine::advisories::AdvisoryProperties;

/// What a command of ActiveMQ says of a connection that a broker cannot know more of.
const UNKNOWN_SEQUENCE: i64 = -2;

/// Writes advisories for the subscriptions of one connection.
pub(super) struct AdvisoryForm {
    /// What message ids begin with.
    pub(super) id_prefix: String,
    /// What all advisories say.
    pub(super) properties: Arc<AdvisoryProperties>,
}

impl AdvisoryForm {
    /// The advisory as a message of this wire, in XML rather than JSON if `xml` says so.
    pub(super) fn render(&self, message: &Message, event: &Event, xml: bool) -> Message {
        let mut head = Vec::new();
        let mut found = push_header("type", MESSAGE_TYPE, &mut head);
        let mut push = |name: &str, value: &str| {
            let flags = push_header(name, value, &mut head);
            found = HeadFlags::and(found, flags);
        };
        for (name, value) in self.properties.constants() {
            push(name, value);
        }
        for (name, value) in event.properties() {
            let text = match value {
                Property::Text(text) => text,
                Property::Count(count) => count.to_string(),
                Property::Message(id) => self.message_id(id),
            };
            push(name, &text);
        }
        let form = if xml { "xml" } else { "json" };
        push("transformation", &format!("jms-advisory-{form}"));
        let (name, fields) = self.data(event);
        let body = if xml {
            let mut out = String::new();
            push_element(name, &Value::Object(fields), &mut out);
            out
        } else {
            json!({ name: fields }).to_string()
        };
        let mut rendered = message_of(message.id, head, body.as_bytes(), found.escaped);
        rendered.timestamp_ms = message.timestamp_ms;
        rendered.priority = message.priority;
        rendered
    }

    /// The command that tells of the event, and its fields.
    fn data(&self, event: &Event) -> (&'static str, Map<String, Value>) {
        let (name, fields) = match event {
            Event::Connection {
                change: Change::Added,
                who,
            } => (
                "ConnectionInfo",
                json!({
                    "connectionId": who.id, "clientId": who.client_id, "clientIp": who.client_ip,
                    "userName": who.user, "manageable": true, "clientMaster": false,
                    "brokerMasterConnector": false, "faultTolerant": false, "failoverReconnect": false,
                }),
            ),
            Event::Connection { who, .. } => removed(&who.id),
            Event::Destination { change, of, owner } => (
                "DestinationInfo",
                json!({
                    "connectionId": owner, "destination": of.uri(), "timeout": 0,
                    "operationType": u8::from(*change == Change::Removed),
                }),
            ),
            Event::Consumer {
                change: Change::Added,
                of,
                who,
                ..
            }
            | Event::SlowConsumer { of, who } => ("ConsumerInfo", consumer(who, &of.uri())),
            Event::Consumer { who, .. } => removed(&who.id()),
            Event::Producer {
                change: Change::Added,
                who,
                ..
            }
            | Event::FastProducer(who) => ("ProducerInfo", producer(who)),
            Event::Producer { who, .. } => removed(&who.id()),
            Event::Full { of, usage, percent } => (
                "Usage",
                json!({ "destination": of.uri(), "usageName": usage, "usageCount": percent }),
            ),
            Event::Message(event) => ("ActiveMQMessage", self.message(event)),
        };
        match fields {
            Value::Object(fields) => (name, fields),
            _ => unreachable!("fields are an object"),
        }
    }

    fn message(&self, event: &MessageEvent) -> Value {
        let mut fields = json!({
            "messageId": self.message_id(event.id), "destination": event.of.uri(),
        });
        let Some(message) = &event.message else {
            return fields;
        };
        fields["timestamp"] = json!(message.timestamp_ms);
        fields["expiration"] = json!(message.expires_ms);
        fields["priority"] = json!(message.priority);
        fields["persistent"] = json!(message.is_persistent());
        if let Some(fate) = message.fate() {
            fields["originalDestination"] = json!(fate.origin);
            fields["dlqDeliveryFailureCause"] = json!(fate.cause);
        }
        if message.wire != WIRE_STOMP {
            return fields;
        }
        let escapes = message.flags.has(MessageFlags::ESCAPED);
        let mut properties = Map::new();
        for line in properties::lines(message.head()) {
            let line = String::from_utf8_lossy(line);
            let Some((name, value)) = line.split_once(':') else {
                continue;
            };
            if escapes {
                let (name, value) = (unescape(name, Escapes::V12), unescape(value, Escapes::V12));
                properties.insert(name.into_owned(), json!(value));
            } else {
                properties.insert(name.to_owned(), json!(value));
            }
        }
        fields["properties"] = Value::Object(properties);
        match std::str::from_utf8(message.body()) {
            Ok("") => {}
            Ok(text) if message.flags.has(MessageFlags::TEXT) => fields["text"] = json!(text),
            _ => fields["content"] = json!(STANDARD.encode(message.body())),
        }
        fields
    }

    fn message_id(&self, id: MessageId) -> String {
        let MessageId { origin, serial } = id;
        let mut out = Vec::new();
        encode_message_id(
            &self.id_prefix,
            stomp::MessageId { origin, serial },
            &mut out,
        );
        String::from_utf8_lossy(&out).into_owned()
    }
}

/// A text message of this wire.
pub(super) fn message_of(id: MessageId, head: Vec<u8>, body: &[u8], escaped: bool) -> Message {
    let mut payload = head;
    let head_len = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    payload.extend_from_slice(body);
    let mut flags = MessageFlags::TEXT;
    if escaped {
        flags |= MessageFlags::ESCAPED;
    }
    if memchr::memchr(0, body).is_some() {
        flags |= MessageFlags::HAS_NUL;
    }
    Message::new(
        id,
        payload.into(),
        head_len,
        MessageFlags(flags),
        WIRE_STOMP,
    )
}

fn removed(id: &str) -> (&'static str, Value) {
    let fields = json!({ "objectId": id, "lastDeliveredSequenceId": UNKNOWN_SEQUENCE });
    ("RemoveInfo", fields)
}

fn consumer(who: &ConsumerFacts, destination: &str) -> Value {
    json!({
        "consumerId": who.id(), "destination": destination, "clientId": who.connection.client_id,
        "prefetchSize": who.prefetch, "maximumPendingMessageLimit": who.pending_max, "dispatchAsync": true,
        "selector": who.selector(), "subscriptionName": who.subscription_name(), "browser": who.browser,
        "noLocal": who.no_local, "exclusive": who.exclusive, "retroactive": who.retroactive, "priority": who.priority,
        "networkSubscription": false, "optimizedAcknowledge": false, "noRangeAcks": false,
    })
}

fn producer(who: &ProducerFacts) -> Value {
    json!({
        "producerId": who.id(), "destination": who.destination.uri(), "dispatchAsync": false, "windowSize": 0,
    })
}

/// Writes a value as an element; what is not there is left out.
fn push_element(name: &str, value: &Value, out: &mut String) {
    if value.is_null() {
        return;
    }
    out.push_str(&format!("<{name}>"));
    match value {
        Value::Object(fields) if name == "properties" => {
            // Names of properties are no names of elements.
            for (name, value) in fields {
                let (name, value) = (escape_text(name), value.as_str().unwrap_or_default());
                let value = escape_text(value);
                out.push_str(&format!(
                    "<entry><string>{name}</string><string>{value}</string></entry>"
                ));
            }
        }
        Value::Object(fields) => {
            for (name, value) in fields {
                push_element(name, value, out);
            }
        }
        Value::String(text) => out.push_str(&escape_text(text)),
        other => out.push_str(&other.to_string()),
    }
    out.push_str(&format!("</{name}>"));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::Destination;
    use crate::broker::advisory::{ConnectionFacts, News};
    use crate::engine::advisories::AdvisorySettings;

    const ID: MessageId = MessageId {
        origin: 1,
        serial: 2,
    };

    fn rendered(event: Event, xml: bool) -> Message {
        let form = AdvisoryForm {
            id_prefix: "b-".to_owned(),
            properties: Arc::new(AdvisoryProperties::new(&AdvisorySettings::default())),
        };
        let message = Message::reporting(ID, Arc::new(event));
        let event = message.event().expect("it reports");
        form.render(&message, event, xml)
    }

    fn body(message: &Message) -> &str {
        std::str::from_utf8(message.body()).unwrap()
    }

    fn connection(change: Change) -> Event {
        let who = ConnectionFacts {
            id: "ID:b-1".to_owned(),
            client_id: "a<b".to_owned(),
            client_ip: "tcp://127.0.0.1:1".to_owned(),
            user: "alice".to_owned(),
        };
        let who = Arc::new(who);
        Event::Connection { change, who }
    }

    #[test]
    fn a_command_is_json_or_xml() {
        let json = rendered(connection(Change::Added), false);
        assert!(
            body(&json).starts_with("{\"ConnectionInfo\":{"),
            "{}",
            body(&json)
        );
        let read: Value = serde_json::from_str(body(&json)).unwrap();
        assert_eq!(read["ConnectionInfo"]["clientId"], "a<b");
        let head = String::from_utf8_lossy(json.head()).into_owned();
        assert!(head.contains("type:Advisory\n") && head.contains("originBrokerName:ferrymq\n"));
        assert!(
            head.contains("transformation:jms-advisory-json\n"),
            "{head}"
        );
        let xml = rendered(connection(Change::Removed), true);
        assert_eq!(
            body(&xml),
            "<RemoveInfo><lastDeliveredSequenceId>-2</lastDeliveredSequenceId><objectId>ID:b-1</objectId></RemoveInfo>"
        );
        let xml = rendered(connection(Change::Added), true);
        assert!(body(&xml).contains("<clientId>a&lt;b</clientId>"));
    }

    #[test]
    fn a_message_shows_its_headers_and_the_body_it_has() {
        let mut told = message_of(ID, b"a\\cb:1\nc:<d>\n".to_vec(), b"body", true);
        for (expected, xml) in [(Some("body"), "<text>body</text>"), (None, "</properties>")] {
            let event = || {
                Event::Message(Box::new(MessageEvent {
                    news: News::Expired,
                    of: Destination::queue("q"),
                    id: ID,
                    message: Some(told.clone()),
                    consumer: None,
                    discarded_total: 0,
                }))
            };
            let json = rendered(event(), false);
            let read: Value = serde_json::from_str(body(&json)).unwrap();
            let read = &read["ActiveMQMessage"];
            assert_eq!(read["text"].as_str(), expected);
            assert_eq!(read["properties"]["a:b"], "1");
            assert!(String::from_utf8_lossy(json.head()).contains("orignalMessageId:ID\\cb-"));
            let written = rendered(event(), true);
            assert!(body(&written).contains(xml), "{}", body(&written));
            assert!(body(&written).contains("<string>&lt;d&gt;</string>"));
            told = told.without_body();
        }
    }
}

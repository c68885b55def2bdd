//! `transformation`: bodies in another form than the one they came in (STP-T).
//!
//! A message is checked when it is sent and transformed when it is delivered, for subscriptions that asked for a form. What
//! says nothing of the kind is not looked at.

use std::sync::Arc;

use ferrymq_protocols::map::{MapEntries, MapError, from_json, from_xml, to_json, to_xml};
use ferrymq_protocols::stomp::{HeadFlags, Known, Send, push_header};

use super::advisory::{AdvisoryForm, message_of};
use super::{WIRE_STOMP, properties};
use crate::broker::{Message, MessageFlags};

/// A form of structured bodies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Json,
    Xml,
}

impl Form {
    /// The form that a subscription asks for. A name that is not known asks for nothing.
    pub(super) fn wanted(name: &str) -> Option<Self> {
        let name = name.trim().to_ascii_lowercase();
        match name.as_str() {
            "jms-json" | "jms-map-json" | "jms-object-json" | "jms-advisory-json" => {
                Some(Self::Json)
            }
            "jms-xml" | "jms-map-xml" | "jms-object-xml" | "jms-advisory-xml" => Some(Self::Xml),
            _ => None,
        }
    }

    /// The form of the map that a message holds.
    fn of_map(name: &str) -> Option<Self> {
        match name.trim() {
            "jms-map-json" => Some(Self::Json),
            "jms-map-xml" => Some(Self::Xml),
            _ => None,
        }
    }

    fn read(self, body: &[u8]) -> Result<MapEntries, MapError> {
        let text =
            std::str::from_utf8(body).map_err(|_| MapError::Shape("the body is not UTF-8"))?;
        match self {
            Self::Json => from_json(text),
            Self::Xml => from_xml(text),
        }
    }

    fn write(self, entries: &MapEntries) -> String {
        match self {
            Self::Json => to_json(entries),
            Self::Xml => to_xml(entries),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Json => "jms-map-json",
            Self::Xml => "jms-map-xml",
        }
    }
}

/// Why the body of a SEND is not what its `transformation` says; `None` if it is, or says nothing that is known. Bytes
/// are never transformed.
pub(super) fn failure(send: &Send<'_>) -> Option<MapError> {
    if !send.headers.has(Known::Transformation) || !send.text {
        return None;
    }
    let form = Form::of_map(&send.headers.get(Known::Transformation)?)?;
    form.read(send.body).err()
}

/// Takes the `transformation` out of the lines of a message whose body is no such thing, and says why.
pub(super) fn give_up(head: &mut Vec<u8>, error: &MapError) -> HeadFlags {
    *head = without_transformation(head);
    push_header("transformation-error", &error.to_string(), head)
}

fn without_transformation(head: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(head.len() + 64);
    for line in head.split_inclusive(|octet| *octet == b'\n') {
        if !line.starts_with(b"transformation:") {
            out.extend_from_slice(line);
        }
    }
    out
}

/// How the bodies of one subscription look.
pub(super) struct Transformation {
    wanted: Option<Form>,
    advisories: Arc<AdvisoryForm>,
}

impl Transformation {
    /// For a subscription that asked for `wanted`.
    pub(super) fn new(wanted: Option<Form>, advisories: &Arc<AdvisoryForm>) -> Self {
        Self {
            wanted,
            advisories: Arc::clone(advisories),
        }
    }

    /// Whether it has to look at all messages, and not only at advisories.
    pub(super) fn is_wanted(&self) -> bool {
        self.wanted.is_some()
    }

    /// The message in the form that the subscription wants, if it has another.
    pub(super) fn apply(&self, message: &Message) -> Option<Message> {
        if let Some(event) = message.event() {
            let xml = self.wanted == Some(Form::Xml);
            return Some(self.advisories.render(message, event, xml));
        }
        let wanted = self.wanted?;
        if message.wire != WIRE_STOMP || !message.flags.has(MessageFlags::TEXT) {
            return None;
        }
        let found = Form::of_map(&properties::find(message, "transformation")?)?;
        if found == wanted {
            return None;
        }
        // It could be read when it was sent.
        let entries = found.read(message.body()).ok()?;
        let mut head = without_transformation(message.head());
        push_header("transformation", wanted.name(), &mut head);
        let escaped = message.flags.has(MessageFlags::ESCAPED);
        let body = wanted.write(&entries);
        let body = message_of(message.id, head, body.as_bytes(), escaped);
        Some(message.with_payload_of(&body))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_activemq() {
        for (name, form) in [
            ("jms-xml", Some(Form::Xml)),
            ("JMS-MAP-JSON", Some(Form::Json)),
            ("jms-object-xml", Some(Form::Xml)),
            ("jms-byte", None),
            ("test", None),
        ] {
            assert_eq!(Form::wanted(name), form, "{name}");
        }
    }

    #[test]
    fn a_body_that_is_no_map_says_why() {
        let error = Form::Xml.read(b"<map>").expect_err("it does not end");
        let mut head = b"a:b\ntransformation:jms-map-xml\nc:d\n".to_vec();
        let flags = give_up(&mut head, &error);
        let text = String::from_utf8(head).unwrap();
        assert!(
            text.starts_with("a:b\nc:d\ntransformation-error:not XML"),
            "{text}"
        );
        assert!(flags.escaped || !text.contains('\\'));
    }
}

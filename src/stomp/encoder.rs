//! Deliveries as MESSAGE frames (MSG-1 to MSG-5).

use std::cell::RefCell;
use std::sync::Arc;

use ferrymq_protocols::stomp::{
    FRAME_END, HeadFlags, LineCache, MessageFields, MessageId, MessageRef, MessageTemplate,
    push_header,
};

use super::temporary::OwnNames;
use super::transformation::Transformation;
use super::{WIRE_STOMP, crossing};
use crate::broker::{DeadLetter, Message, MessageFlags, Outgoing};
use crate::engine::cell::Encoder;
use crate::engine::properties::PropertyReaders;

thread_local! {
    /// One for all subscriptions: deliveries of one moment share their lines, whoever gets them, and a quiet subscription
    /// need not keep its own.
    static LINES: RefCell<LineCache> = RefCell::default();
}

/// Renders MESSAGE frames for one subscription.
pub(super) struct MessageEncoder {
    template: MessageTemplate,
    /// D-11: text messages get a `content-length` too.
    always_content_length: bool,
    /// How the reader calls its temporary destinations (DST-10).
    names: Arc<OwnNames>,
    /// The subscription is a queue only inside: that its messages are copies is nobody's business.
    hides_route: bool,
    transformation: Transformation,
    /// Who reads messages of other wires.
    readers: Arc<PropertyReaders>,
}

impl MessageEncoder {
    pub(super) fn new(
        template: MessageTemplate,
        always_content_length: bool,
        names: Arc<OwnNames>,
        hides_route: bool,
        transformation: Transformation,
        readers: Arc<PropertyReaders>,
    ) -> Self {
        Self {
            template,
            always_content_length,
            names,
            hides_route,
            transformation,
            readers,
        }
    }
}

impl Encoder for MessageEncoder {
    fn head(&self, outgoing: &Outgoing<'_>, out: &mut Vec<u8>) -> bool {
        let message = outgoing.message;
        let flags = message.flags;
        let (mut extra, mut escaped) = (Vec::new(), flags.has(MessageFlags::ESCAPED));
        if let Some(fate) = &message.dead_letter
            && !(self.hides_route && fate.cause.is_empty())
        {
            let origin = self.names.find(&fate.origin);
            let origin = origin.as_deref().unwrap_or(&fate.origin);
            escaped |= dead_letter_lines(fate, origin, flags, &mut extra).escaped;
        }
        if outgoing.first_of_group {
            escaped |= push_header("JMSXGroupFirstForConsumer", "true", &mut extra).escaped;
        }
        let localized = self.names.localize(message.head());
        let fields = MessageFields {
            message_id: MessageRef::Id(MessageId {
                origin: message.id.origin,
                serial: message.id.serial,
            }),
            timestamp_ms: message.timestamp_ms,
            priority: message.priority,
            expires_ms: message.expires_ms,
            persistent: message.is_persistent(),
            redelivered: outgoing.redelivered,
            delivery_count: delivery_count(outgoing),
            ack: Some(outgoing.number),
            text: flags.has(MessageFlags::TEXT) && !self.always_content_length,
            body_len: message.body().len(),
            body_has_nul: flags.has(MessageFlags::HAS_NUL),
            user_head: localized.as_deref().unwrap_or_else(|| message.head()),
            extra: &extra,
            escaped,
            destination: None,
        };
        LINES.with_borrow_mut(|lines| self.template.encode_message_head(&fields, lines, out));
        true
    }

    fn wire(&self) -> u8 {
        WIRE_STOMP
    }

    fn tail(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(FRAME_END);
    }

    fn rewrites(&self) -> bool {
        self.transformation.is_wanted()
    }

    fn rewritten(&self, message: &Message) -> Option<Message> {
        if message.wire == WIRE_STOMP || message.event().is_some() {
            return self.transformation.apply(message);
        }
        let neutral = self.readers.neutral(message);
        Some(crossing::of_neutral(message, &neutral))
    }

    fn browse_end(&self, out: &mut Vec<u8>) {
        self.template.encode_browser_end(out);
    }
}

/// MSG-4, but for messages of FuseSource's JMS client: it marks its own and takes any count for that of redeliveries, so
/// theirs show it from the second delivery on.
fn delivery_count(outgoing: &Outgoing<'_>) -> u32 {
    let redeliveries = u32::from(outgoing.redeliveries);
    let flags = outgoing.message.flags;
    if redeliveries == 0 && flags.has(MessageFlags::COUNTS_REDELIVERIES) {
        0
    } else {
        redeliveries + 1
    }
}

/// What a dead letter tells (DLQ-4, NAK-5), as canonical lines.
fn dead_letter_lines(
    fate: &DeadLetter,
    origin: &str,
    flags: MessageFlags,
    out: &mut Vec<u8>,
) -> HeadFlags {
    let mut found = push_header("original-destination", origin, out);
    if fate.cause.is_empty() {
        return found;
    }
    found = found.and(push_header("dlqDeliveryFailureCause", &fate.cause, out));
    if fate.original_expires_ms != 0 {
        found = found.and(push_header(
            "originalExpiration",
            &fate.original_expires_ms.to_string(),
            out,
        ));
    }
    // Beside what ActiveMQ tells: how often it failed, and when it died.
    found = found.and(push_header(
        "dlqDeliveryCount",
        &fate.failures.to_string(),
        out,
    ));
    if fate.died_ms != 0 {
        found = found.and(push_header("dlqTimestamp", &fate.died_ms.to_string(), out));
    }
    if flags.has(MessageFlags::WAS_TRANSIENT) {
        found = found.and(push_header("originalDeliveryMode", "NON_PERSISTENT", out));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    /// There is one for each subscription.
    #[test]
    fn an_encoder_is_small() {
        assert!(
            size_of::<MessageEncoder>() <= 128,
            "{}",
            size_of::<MessageEncoder>()
        );
    }
}

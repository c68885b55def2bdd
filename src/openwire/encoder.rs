//! Deliveries as MessageDispatch, content and properties untouched.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use ferrymq_protocols::openwire::commands::{
    Command, ConsumerId, Destination, Message as WireMessage, MessageDispatch,
};
use ferrymq_protocols::openwire::properties::{Map, MapWriter, Value};
use ferrymq_protocols::openwire::{Encoder as FrameEncoder, Format, Object, StoredDecoder};

use super::WIRE_OPENWIRE;
use super::advisory::AdvisoryForm;
use super::crossing;
use super::destination::shown;
use crate::broker::{DeadLetter, Message, Outgoing};
use crate::clock::Clock;
use crate::engine::cell::Encoder;
use crate::engine::properties::PropertyReaders;

/// Contents from this size on are sent from where they are.
const SHARED_CONTENT_BYTES: usize = 4096;

/// What all frames that go through the object cache of a connection are written with, in the order in which they stand in
/// its outbox: whoever holds it has locked that.
#[derive(Default)]
pub(super) struct Frames(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    encoder: FrameEncoder,
    stored: StoredDecoder,
    /// What follows the content of the delivery begun last, if that is sent from where it is.
    tail: Vec<u8>,
}

impl Frames {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on in the format that was agreed on.
    pub(super) fn agree(&self, format: &Format) {
        self.lock().encoder.agree(format);
    }

    /// Appends a frame.
    pub(super) fn push(&self, command: &impl Object, out: &mut Vec<u8>) {
        if let Err(error) = self.lock().encoder.encode(command, out) {
            tracing::error!(%error, "a frame could not be written");
        }
    }
}

/// The numbers by which deliveries of a connection are known to its client, as broker sequences: they name the connection
/// too, so that what a client remembers of another one names nothing here.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sequences {
    base: u64,
}

/// Bits of a sequence that count deliveries of a consumer.
const NUMBER_BITS: u32 = 36;

impl Sequences {
    /// Those of the connection `origin`.
    pub(super) fn of(origin: u64) -> Self {
        const CONNECTION_BITS: u32 = 17;
        let connection = origin & ((1 << CONNECTION_BITS) - 1);
        let epoch = origin >> 32 & 0x3ff;
        Self {
            base: (epoch << CONNECTION_BITS | connection) << NUMBER_BITS,
        }
    }

    fn show(self, number: u64) -> i64 {
        (self.base | number & ((1 << NUMBER_BITS) - 1)).cast_signed()
    }

    /// The number of a delivery of this connection.
    pub(super) fn number(self, sequence: i64) -> Option<u64> {
        let sequence = sequence.cast_unsigned();
        (sequence >> NUMBER_BITS << NUMBER_BITS == self.base).then_some(sequence & !self.base)
    }
}

/// Renders the deliveries of one consumer from one destination.
pub(super) struct Dispatches {
    pub(super) frames: Arc<Frames>,
    pub(super) consumer: Arc<ConsumerId>,
    /// Where the messages are taken from.
    pub(super) destination: Arc<Destination>,
    pub(super) sequences: Sequences,
    pub(super) clock: Clock,
    pub(super) advisories: AdvisoryForm,
    /// Who reads messages of other wires.
    pub(super) readers: Arc<PropertyReaders>,
    pub(super) broker: Arc<str>,
}

impl Dispatches {
    /// The message as the client gets it.
    fn dispatched(&self, inner: &mut Inner, outgoing: &Outgoing<'_>) -> Option<WireMessage> {
        let message = outgoing.message;
        let mut shown = read(&mut inner.stored, message)?;
        if shown.content.is_some() {
            shown.content = Some(message.body_shared());
        }
        if let Some(id) = &mut shown.message_id {
            id.broker_sequence_id = self.sequences.show(outgoing.number);
        }
        shown.redelivery_counter = outgoing.redeliveries.into();
        shown.broker_out_time = signed(self.clock.wall_ms());
        shown.jmsx_group_first_for_consumer = outgoing.first_of_group;
        if shown.destination.as_ref() != Some(&self.destination) {
            let before = shown.destination.replace(Arc::clone(&self.destination));
            shown.original_destination = shown.original_destination.or(before);
        }
        shown.expiration = signed(message.expires_ms);
        shown.timestamp = signed(message.timestamp_ms);
        shown.persistent = message.is_persistent();
        if let Some(fate) = &message.dead_letter {
            tell_fate(fate, &mut shown);
        }
        Some(shown)
    }
}

impl Encoder for Dispatches {
    fn wire(&self) -> u8 {
        WIRE_OPENWIRE
    }

    fn head(&self, outgoing: &Outgoing<'_>, out: &mut Vec<u8>) -> bool {
        let mut inner = self.frames.lock();
        let Some(message) = self.dispatched(&mut inner, outgoing) else {
            tracing::error!(id = ?outgoing.message.id, destination = ?self.destination, "a message cannot be read");
            return false;
        };
        let dispatch = MessageDispatch {
            consumer_id: Some(Arc::clone(&self.consumer)),
            destination: Some(Arc::clone(&self.destination)),
            redelivery_counter: message.redelivery_counter,
            message: Some(message),
            ..MessageDispatch::default()
        };
        match (inner.encoder).encode_sharing(&dispatch, out, SHARED_CONTENT_BYTES) {
            Ok(None) => false,
            Ok(Some(shared)) if is_same(&shared.octets, outgoing.message.body()) => {
                inner.tail.clear();
                inner.tail.extend_from_slice(&out[shared.at..]);
                out.truncate(shared.at);
                true
            }
            // Long properties.
            Ok(Some(shared)) => {
                let at = shared.at;
                out.splice(at..at, shared.octets.iter().copied());
                false
            }
            Err(error) => {
                tracing::error!(%error, id = ?outgoing.message.id, "a message cannot be delivered to an OpenWire client");
                false
            }
        }
    }

    fn tail(&self, out: &mut Vec<u8>) {
        // Nothing else was written since the head: the outbox stays locked.
        out.extend_from_slice(&self.frames.lock().tail);
    }

    fn browse_end(&self, out: &mut Vec<u8>) {
        self.frames.push(&empty(&self.consumer), out);
    }

    fn rewritten(&self, message: &Message) -> Option<Message> {
        if let Some(event) = message.event() {
            return self.advisories.render(message, event);
        }
        if message.wire == WIRE_OPENWIRE {
            return None;
        }
        let neutral = self.readers.neutral(message);
        crossing::of_neutral(message, neutral, &self.broker)
    }
}

/// Whether both are the same memory.
fn is_same(one: &[u8], other: &[u8]) -> bool {
    std::ptr::eq(one, other)
}

/// What ends a browse or a pull.
pub(super) fn empty(consumer: &Arc<ConsumerId>) -> MessageDispatch {
    MessageDispatch {
        consumer_id: Some(Arc::clone(consumer)),
        ..MessageDispatch::default()
    }
}

/// The message as it came, without its content.
pub(super) fn read(stored: &mut StoredDecoder, message: &Message) -> Option<WireMessage> {
    match stored.decode(&message.head_shared()) {
        Ok(Command::Message(found)) => Some(found),
        _ => None,
    }
}

pub(super) fn signed(ms: u64) -> i64 {
    i64::try_from(ms).unwrap_or(i64::MAX)
}

/// Says what became of a message (DLQ-4), or where a copy was sent to (VIR-1).
fn tell_fate(fate: &DeadLetter, shown: &mut WireMessage) {
    if let Some(origin) = origin(&fate.origin) {
        shown.original_destination = Some(Arc::new(origin));
    }
    if fate.cause.is_empty() {
        return;
    }
    let mut out = Vec::new();
    let mut map = MapWriter::new(&mut out);
    let own = Map::of(shown.marshalled_properties.as_ref());
    for (name, value) in own.iter().flat_map(Map::iter).flatten() {
        // It was in a map of this form before.
        let _ = map.put(name, &value);
    }
    let _ = map.put(
        "dlqDeliveryFailureCause",
        &Value::String(fate.cause.as_str().into()),
    );
    if fate.original_expires_ms != 0 {
        let expires = Value::Long(signed(fate.original_expires_ms));
        let _ = map.put("originalExpiration", &expires);
    }
    shown.marshalled_properties = Some(Bytes::from(out));
}

fn origin(text: &str) -> Option<Destination> {
    use crate::broker::{Destination as Ours, Kind};
    let temporary = |prefix, kind| Some(Ours::temporary(kind, text.strip_prefix(prefix)?));
    let found = Ours::parse(text)
        .or_else(|| temporary("/remote-temp-queue/", Kind::Queue))
        .or_else(|| temporary("/remote-temp-topic/", Kind::Topic))?;
    Some(shown(&found))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequences_name_the_connection_and_grow() {
        let (one, other) = (Sequences::of(3 << 32 | 7), Sequences::of(4 << 32 | 7));
        assert!(one.show(1) > 0 && one.show(2) > one.show(1));
        assert_eq!(one.number(one.show(12)), Some(12));
        assert_eq!(one.number(other.show(12)), None);
        assert_eq!(one.number(0), None);
        assert!(Sequences::of(u64::MAX).show(1) > 0);
    }
}

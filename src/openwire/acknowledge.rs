//! MessageAck (section 14 of the protocol).

use ferrymq_protocols::openwire::commands::{AckType, MessageAck, MessageId, Throwable};

use super::adapter::{State, Step};
use super::consume::key_of;
use super::reply::Failure;
use super::transact::name_of;
use crate::broker::{Ack, Room, Which};
use crate::engine::feeds::ANY_FEED;
use crate::session::{Session, Subscribed, TransactionError, feed_serial};

/// Deliveries that one acknowledgement may name.
const RANGE_MAX: u64 = 1 << 24;
/// Acknowledgements that are gathered before they take effect.
const GATHERED_MAX: u64 = 4096;

impl State {
    /// Acknowledges, in a transaction or out of one.
    pub(super) fn acknowledge(
        &mut self,
        session: &mut Session,
        ack: &MessageAck,
    ) -> Result<Step, Failure> {
        let key = key_of(ack.consumer_id.as_ref())?;
        let Some(kind) = ack.kind() else {
            let text = format!("{} is no type of acknowledgement", ack.ack_type);
            return Err(Failure::jms(text));
        };
        let Some(consumer) = self.consumers.get_mut(key) else {
            // It is gone, and what it held has returned.
            return Ok(Step::Done);
        };
        let what = match kind {
            AckType::Delivered => {
                let count = u32::try_from(ack.message_count).unwrap_or(0);
                consumer.extension = consumer.extension.saturating_add(count);
                session.set_room(consumer.serial, consumer.room());
                return Ok(Step::Done);
            }
            // The client delivers them again by itself.
            AckType::Redelivered => return Ok(Step::Done),
            AckType::Poison if ack.transaction_id.is_some() => {
                return Err(Failure::jms("a poison ack cannot be part of a transaction"));
            }
            AckType::Poison => Ack::Refused,
            // Back to its place, where it expires.
            AckType::Expired => Ack::Requeued,
            AckType::Standard | AckType::Individual | AckType::Unmatched => Ack::Consumed,
        };
        let sequences = self.sequences;
        let number = |id: &Option<MessageId>| {
            let id = id.as_ref()?;
            sequences.number(id.broker_sequence_id)
        };
        let Some(last) = number(&ack.last_message_id) else {
            tracing::debug!(
                client_id = self.client_id,
                "acknowledges what it was not given"
            );
            return Ok(Step::Done);
        };
        let first = match (kind, &ack.first_message_id) {
            (AckType::Individual, _) => last,
            (_, None) => consumer.floor,
            (_, first) => number(first).unwrap_or(last),
        };
        if last.saturating_sub(first) > RANGE_MAX {
            return Err(Failure::jms("an acknowledgement names too many messages"));
        }
        let pulled = consumer.pull;
        if pulled.is_some()
            && session.set_room(consumer.serial, Room::Messages(0))
                >= pulled.map_or(0, |pull| pull.held)
        {
            consumer.pull = None;
        }
        let serial = match session.subscription(consumer.serial) {
            Some(Subscribed::Many(_)) => feed_serial(consumer.serial, ANY_FEED),
            _ => consumer.serial,
        };
        if let Some(id) = &ack.transaction_id {
            let name = name_of(id)?;
            for number in first..=last {
                let which = Which::Number(number);
                match session.acknowledge_in(&name, serial, which, what) {
                    // It may have been acknowledged before, in the same transaction.
                    Ok(()) | Err(TransactionError::UnknownDelivery) => {}
                    Err(error) => return Err(error.into()),
                }
            }
            if let Some(floors) = self.open.get_mut(&name) {
                floors.push((key, last + 1));
            }
        } else if let Some(cause) = poison_cause(ack, kind) {
            while session.apply_acknowledgements().is_some() {}
            for number in first..=last {
                session.poison(serial, Which::Number(number), &cause);
            }
        } else {
            for number in first..=last {
                session.acknowledge(serial, Which::Number(number), what, &[]);
                if (number - first) % GATHERED_MAX == GATHERED_MAX - 1 {
                    while session.apply_acknowledgements().is_some() {}
                }
            }
        }
        if ack.transaction_id.is_none() && first <= consumer.floor {
            consumer.floor = consumer.floor.max(last + 1);
        }
        if consumer.pull.is_some() {
            // Another pull waits: it is for one beyond what is left.
            while session.apply_acknowledgements().is_some() {}
            let held = session.set_room(consumer.serial, Room::More(1)) + 1;
            if let Some(pull) = &mut consumer.pull {
                pull.held = held;
            }
        } else if consumer.extension > 0 {
            let count = u32::try_from(last.saturating_sub(first) + 1).unwrap_or(u32::MAX);
            consumer.extension = consumer.extension.saturating_sub(count);
            session.set_room(consumer.serial, consumer.room());
        }
        if ack.response_required {
            self.apply_acknowledgements(session);
        }
        Ok(Step::Done)
    }

    /// Lets acknowledgements take effect. Those of messages that have returned meanwhile are for nobody.
    pub(super) fn apply_acknowledgements(&mut self, session: &mut Session) {
        while session.apply_acknowledgements().is_some() {}
    }
}

/// Octets of a cause that are kept.
const CAUSE_BYTES_MAX: usize = Throwable::MESSAGE_BYTES_MAX;

/// Why the client gave a message up, as Java prints it, if it says so.
fn poison_cause(ack: &MessageAck, kind: AckType) -> Option<String> {
    let thrown = ack
        .poison_cause
        .as_ref()
        .filter(|_| kind == AckType::Poison)?;
    let class = thrown.class.as_ref().map(ToString::to_string);
    let message = thrown.message.as_ref().map(ToString::to_string);
    let mut cause = match (class, message) {
        (Some(class), Some(message)) => format!("{class}: {message}"),
        (class, message) => class.or(message)?,
    };
    let mut ends = (0..=CAUSE_BYTES_MAX.min(cause.len())).rev();
    let end = ends.find(|end| cause.is_char_boundary(*end));
    cause.truncate(end.unwrap_or(0));
    Some(cause)
}

//! ACK and NACK (section 6).

use std::borrow::Cow;

use ferrymq_protocols::stomp::{
    Ack as WireAck, AckTarget, ClientCommand, Frame, parse_ack_id, parse_message_id,
};

use super::adapter::{State, Step};
use super::reply::Refusal;
use crate::broker::{Ack, MessageId, Which};
use crate::session::{Session, TransactionError};

/// ACK and NACK frames handed to the session and not applied yet, as they came: if one names no waiting
/// delivery, its ERROR repeats it.
#[derive(Default)]
pub(super) struct Unapplied {
    frames: Vec<u8>,
    ends: Vec<usize>,
}

impl Unapplied {
    pub(super) fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    fn push(&mut self, raw: &[u8]) {
        self.frames.extend_from_slice(raw);
        self.ends.push(self.frames.len());
    }

    fn get(&self, index: usize) -> &[u8] {
        let start = index.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.frames[start..self.ends[index]]
    }

    fn clear(&mut self) {
        self.frames.clear();
        self.ends.clear();
    }
}

impl State {
    /// Applies an acknowledgement: in its transaction, or together with those of the same read.
    pub(super) fn acknowledge(
        &mut self,
        session: &mut Session,
        wanted: &WireAck<'_>,
        ack: Ack,
        raw: &[u8],
    ) -> Result<Step, Refusal> {
        let ack = match (wanted.requeue, wanted.redelivery_delay_ms) {
            (Some(true), _) => Ack::Requeued,
            (Some(false), _) => Ack::Refused,
            (None, Some(delay_ms)) if ack == Ack::Failed => Ack::FailedFor(delay_ms),
            (None, _) => ack,
        };
        if ack != Ack::Consumed
            && let Some((serial, _)) = self.find(session, wanted)
            && self.subscriptions.is_browser(serial)
        {
            return Err(Refusal::frame(
                "Cannot Nack a message on a Queue Browser Subscription.",
            ));
        }
        if let Some(transaction) = &wanted.transaction {
            return self.acknowledge_in(session, wanted, transaction, ack);
        }
        let Some((serial, which)) = self.find(session, wanted) else {
            return Err(unexpected(wanted, ack));
        };
        let receipt = wanted.receipt.as_deref();
        self.answer(receipt, |answer| {
            session.acknowledge(serial, which, ack, answer)
        });
        self.unapplied.push(raw);
        Ok(Step::Done)
    }

    /// Applies the acknowledgements gathered so far.
    pub(super) fn apply_acknowledgements(&mut self, session: &mut Session) -> Step {
        if self.unapplied.ends.is_empty() {
            return Step::Done;
        }
        let unapplied = std::mem::take(&mut self.unapplied);
        let mut step = Step::Done;
        while let Some(index) = session.apply_acknowledgements() {
            let raw = unapplied.get(index).to_vec();
            self.read_again(raw, |state, frame, _| {
                step = state.refuse_acknowledgement(session, frame);
            });
            if matches!(step, Step::Close(_)) {
                break;
            }
        }
        self.unapplied = unapplied;
        self.unapplied.clear();
        step
    }

    fn refuse_acknowledgement(&mut self, session: &mut Session, frame: &Frame<'_>) -> Step {
        let refusal = match ClientCommand::parse(frame) {
            Ok(ClientCommand::Ack(ack)) => unexpected(&ack, Ack::Consumed),
            Ok(ClientCommand::Nack(ack)) => unexpected(&ack, Ack::Failed),
            _ => unreachable!("only ACK and NACK are gathered"),
        };
        self.refuse(session, frame, &refusal)
    }

    fn acknowledge_in(
        &mut self,
        session: &mut Session,
        wanted: &WireAck<'_>,
        transaction: &str,
        ack: Ack,
    ) -> Result<Step, Refusal> {
        if !session.in_transaction(transaction) {
            let unknown = TransactionError::Unknown(transaction.to_owned());
            return Err(Refusal::frame(unknown.to_string()));
        }
        let Some((serial, which)) = self.find(session, wanted) else {
            return Err(unexpected(wanted, ack));
        };
        match session.acknowledge_in(transaction, serial, which, ack) {
            Ok(()) => {
                self.answer(wanted.receipt.as_deref(), |answer| {
                    session.reply(None, answer)
                });
                Ok(Step::Done)
            }
            Err(TransactionError::UnknownDelivery) => Err(unexpected(wanted, ack)),
            Err(error) => Err(Refusal::frame(error.to_string())),
        }
    }

    /// The subscription and the delivery that a frame names. In 1.0 the subscription has to be searched for.
    fn find(&self, session: &Session, wanted: &WireAck<'_>) -> Option<(u64, Which)> {
        let by_message = |text: &str| {
            let id = parse_message_id(text, &self.id_prefix)?;
            Some(Which::Message(MessageId {
                origin: id.origin,
                serial: id.serial,
            }))
        };
        match &wanted.target {
            AckTarget::V12 { id } => {
                parse_ack_id(id).map(|(serial, number)| (serial, Which::Number(number)))
            }
            AckTarget::V11 {
                message_id,
                subscription,
            } => self
                .subscriptions
                .serial(subscription)
                .zip(by_message(message_id)),
            AckTarget::V10 { message_id, .. } => {
                let which = by_message(&without_escapes(message_id))?;
                let mut serials = self.subscriptions.serials();
                serials
                    .find(|serial| session.holds(*serial, which))
                    .map(|serial| (serial, which))
            }
        }
    }
}

/// A message id as we gave it out: 1.0 has no escapes, and yet some clients (go-stomp) escape the colons of what they
/// send back. No id of ours holds a backslash, so this mistakes none for another.
fn without_escapes(message_id: &str) -> Cow<'_, str> {
    if message_id.contains('\\') {
        Cow::Owned(message_id.replace("\\c", ":"))
    } else {
        Cow::Borrowed(message_id)
    }
}

/// ACK-3.
fn unexpected(wanted: &WireAck<'_>, ack: Ack) -> Refusal {
    let what = if ack == Ack::Consumed { "ACK" } else { "NACK" };
    let id = named(&wanted.target);
    Refusal::frame(format!("Unexpected {what} received for message-id [{id}]"))
}

fn named<'a>(target: &'a AckTarget<'_>) -> &'a str {
    match target {
        AckTarget::V10 { message_id, .. } | AckTarget::V11 { message_id, .. } => message_id,
        AckTarget::V12 { id } => id,
    }
}

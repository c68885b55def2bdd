//! ACK and NACK (section 6).

use ferrymq_protocols::stomp::{Ack as WireAck, AckTarget, parse_ack_id, parse_message_id};

use super::adapter::State;
use super::reply::Refusal;
use crate::broker::{Ack, MessageId, Which};
use crate::session::{Session, TransactionError};

impl State {
    /// Applies an acknowledgement, at once or in its transaction.
    pub(super) fn acknowledge(
        &mut self,
        session: &mut Session,
        wanted: &WireAck<'_>,
        ack: Ack,
    ) -> Result<(), Refusal> {
        if let Some(transaction) = &wanted.transaction
            && !session.in_transaction(transaction)
        {
            return Err(Refusal::frame(
                TransactionError::Unknown(transaction.to_string()).to_string(),
            ));
        }
        let candidates = self.candidates(wanted);
        for (serial, which) in candidates {
            match &wanted.transaction {
                Some(transaction) => {
                    match session.acknowledge_in(transaction, serial, which, ack) {
                        Ok(()) => {
                            self.answer(wanted.receipt.as_deref(), |answer| {
                                session.reply(None, answer)
                            });
                            return Ok(());
                        }
                        Err(TransactionError::UnknownDelivery) => {}
                        Err(error) => return Err(Refusal::frame(error.to_string())),
                    }
                }
                None => {
                    let receipt = wanted.receipt.as_deref();
                    if self.answer(receipt, |answer| {
                        session.acknowledge(serial, which, ack, answer)
                    }) {
                        return Ok(());
                    }
                }
            }
        }
        let (what, id) = (
            if ack == Ack::Consumed { "ACK" } else { "NACK" },
            named(&wanted.target),
        );
        Err(Refusal::frame(format!(
            "Unexpected {what} received for message-id [{id}]"
        )))
    }

    /// Where the delivery may wait: one subscription from 1.1 on, any of them in 1.0 (ACK-1).
    fn candidates(&self, wanted: &WireAck<'_>) -> Vec<(u64, Which)> {
        let by_message = |text: &str| {
            let id = parse_message_id(text, &self.settings.id_prefix())?;
            Some(Which::Message(MessageId {
                origin: id.origin,
                serial: id.serial,
            }))
        };
        match &wanted.target {
            AckTarget::V12 { id } => parse_ack_id(id)
                .map(|(serial, number)| (serial, Which::Number(number)))
                .into_iter()
                .collect(),
            AckTarget::V11 {
                message_id,
                subscription,
            } => {
                let serial = self.subscriptions.serial(subscription);
                serial.zip(by_message(message_id)).into_iter().collect()
            }
            AckTarget::V10 { message_id, .. } => match by_message(message_id) {
                Some(which) => self
                    .subscriptions
                    .serials()
                    .map(|serial| (serial, which))
                    .collect(),
                None => Vec::new(),
            },
        }
    }
}

fn named<'a>(target: &'a AckTarget<'_>) -> &'a str {
    match target {
        AckTarget::V10 { message_id, .. } | AckTarget::V11 { message_id, .. } => message_id,
        AckTarget::V12 { id } => id,
    }
}

//! Consumers that the broker closes of its own accord: because they are slow (SLO-1, SLO-2), or because the user may not have
//! them any more (SEC-5).

use ferrymq_protocols::openwire::commands::ConsumerControl;

use super::adapter::{State, Step};
use super::consume::Consumer;
use super::reply::Failure;
use crate::broker::Ending;
use crate::session::Session;

impl State {
    /// Ends the consumers that the broker wants ended, and the connection where the policy says so.
    pub(super) fn end_slow(&mut self, session: &mut Session) -> Step {
        for (serial, ended) in session.take_ended() {
            let destination = &ended.consumer.cell.destination;
            tracing::warn!(
                client_id = self.client_id,
                remote = %self.remote,
                %destination,
                cause = %ended.cause,
                connection_ends = ended.whole,
                "a slow consumer has ended"
            );
            let text = format!(
                "the consumer of {destination} is too slow and has ended: {}",
                ended.cause
            );
            session.hand_over();
            session.abort_subscription(serial);
            let failure = Failure::jms(text);
            match self.consumers.remove_serial(serial) {
                Some(consumer) if !ended.whole => self.tell_closed(session, &consumer, &failure),
                _ => session.reply(None, self.answers.failure(None, &failure)),
            }
            if ended.whole {
                return Step::Close(Ending::Died);
            }
        }
        Step::Done
    }

    /// Tells the client that a consumer is closed, and why.
    pub(super) fn tell_closed(
        &mut self,
        session: &mut Session,
        consumer: &Consumer,
        failure: &Failure,
    ) {
        self.starting
            .retain(|starting| *starting != consumer.serial);
        session.reply(None, self.answers.failure(None, failure));
        let control = ConsumerControl {
            destination: Some((*consumer.destination).clone()),
            close: true,
            consumer_id: Some((*consumer.id).clone()),
            ..ConsumerControl::default()
        };
        session.reply(None, self.answers.render(&control));
    }
}

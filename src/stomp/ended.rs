//! Subscriptions that the broker ends because they are slow: each with an ERROR that names it (SLO-1, SLO-2).

use super::adapter::{State, Step};
use super::reply::Refusal;
use crate::broker::Ending;
use crate::engine::outbox::Ended;
use crate::session::Session;

impl State {
    /// Ends the subscriptions that the broker wants ended, and the connection where the policy says so.
    pub(super) fn end_slow(&mut self, session: &mut Session) -> Step {
        for (serial, ended) in session.take_ended() {
            let refusal = self.refusal_of(serial, &ended);
            tracing::warn!(
                client_id = self.client_id,
                remote = %self.remote,
                destination = %ended.consumer.cell.destination,
                cause = %ended.cause,
                connection_ends = ended.whole,
                "a slow subscription has ended"
            );
            session.hand_over();
            self.forget_subscription(serial);
            session.abort_subscription(serial);
            self.tell(session, &refusal, None);
            if ended.whole || self.settings.close_on_error {
                return Step::Close(Ending::Died);
            }
        }
        Step::Done
    }

    fn refusal_of(&self, serial: u64, ended: &Ended) -> Refusal {
        let mut all = self.subscriptions.all();
        let id = all.find_map(|(known, _, id)| (known == serial).then_some(id).flatten());
        let which = id.map_or_else(String::new, |id| format!(" {id}"));
        let destination = &ended.consumer.cell.destination;
        let text = format!(
            "the subscription{which} to {destination} is too slow and has ended: {}",
            ended.cause
        );
        if ended.whole {
            Refusal::connection(text)
        } else {
            Refusal::frame(text)
        }
    }
}

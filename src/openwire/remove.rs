//! RemoveInfo and RemoveSubscriptionInfo: the end of consumers, producers, sessions and connections, with what is below
//! them (section 11 and 16 of the protocol).

use ferrymq_protocols::openwire::CachedObject;
use ferrymq_protocols::openwire::commands::{RemoveInfo, RemoveSubscriptionInfo};

use super::access;
use super::adapter::{State, Step};
use super::consume::{Key, refuse_durable};
use super::parked::Parked;
use super::reply::Failure;
use crate::broker::Ending;
use crate::engine::durables::DurableName;
use crate::security::Right;
use crate::session::Session;

/// Nothing was given to the application.
const NOTHING_DELIVERED: i64 = -1;

impl State {
    /// Something of this connection ends, or all of it.
    pub(super) fn remove(
        &mut self,
        session: &mut Session,
        info: &RemoveInfo,
    ) -> Result<Step, Failure> {
        let last = info.last_delivered_sequence_id;
        match &info.object_id {
            Some(CachedObject::ConsumerId(id)) => {
                let key = (id.session_id, id.value);
                if !self.end_consumer(session, key, last) {
                    return Err(Failure::state("no such consumer"));
                }
            }
            Some(CachedObject::ProducerId(id)) => {
                let key = super::consume::producer_key(id);
                self.windows.remove(&key);
            }
            Some(CachedObject::SessionId(id)) => {
                for key in self.consumers.keys(Some(id.value)) {
                    self.end_consumer(session, key, last);
                }
                self.windows.retain(|key, _| key.0 != id.value);
            }
            Some(CachedObject::ConnectionId(_)) => {
                // What it waits for is not sent any more.
                self.parked = Parked::default();
                for key in self.consumers.keys(None) {
                    self.end_consumer(session, key, last);
                }
                session.outbox.stop_deliveries();
                // Before the answer can go out: who has it may come back at once under the same client id.
                session.outbox.flush();
                session.close(Ending::Orderly);
                session
                    .engine
                    .connections
                    .unregister(self.client_id.as_deref().unwrap_or_default(), &self.end);
            }
            _ => return Err(Failure::state("nothing of that kind can be removed")),
        }
        Ok(Step::Done)
    }

    /// Ends a consumer; deliveries up to `last` count as failed if they come back (RED-5).
    fn end_consumer(&mut self, session: &mut Session, key: Key, last: i64) -> bool {
        let Some(consumer) = self.consumers.remove(&key) else {
            return false;
        };
        let ending = match (last, self.sequences.number(last)) {
            (NOTHING_DELIVERED, _) => Ending::Orderly,
            (_, Some(number)) => Ending::Given(number),
            // A sequence of nothing that it holds, or unknown.
            (0.., None) => Ending::Orderly,
            _ => Ending::Given(u64::MAX),
        };
        self.starting
            .retain(|starting| *starting != consumer.serial);
        session.unsubscribe_as(consumer.serial, ending, &[]);
        true
    }

    /// Removes a durable subscription for good (SUB-7).
    pub(super) fn forget_durable(
        &mut self,
        session: &mut Session,
        info: &RemoveSubscriptionInfo,
    ) -> Result<Step, Failure> {
        let text = |text: &Option<ferrymq_protocols::openwire::Text>| {
            text.as_ref().map(ToString::to_string).unwrap_or_default()
        };
        let name = DurableName {
            client_id: self.client_id.clone().unwrap_or_default(),
            name: text(&info.subscription_name),
        };
        if text(&info.client_id) != name.client_id {
            return Err(Failure::security(
                "the durable subscription belongs to another client",
            ));
        }
        // Who may not read what it holds may not throw it away either.
        for topic in session.engine.durables.topics_of(&name) {
            access::check(self.access.as_ref(), Right::Read, &topic)?;
        }
        let to = info.response_required.then_some(info.command_id);
        session
            .unsubscribe_durable(&name, self.answers.success(to))
            .map_err(|error| match error {
                crate::engine::durables::DurableError::InUse => {
                    Failure::jms("Durable consumer is in use")
                }
                error => refuse_durable(&error, Some(&name)),
            })?;
        Ok(Step::Answered)
    }
}

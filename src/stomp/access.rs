//! What the connection's user may do with destinations, and what happens when that changes (SEC-4, SEC-5, ERR-5).

use std::sync::Arc;

use super::adapter::{State, Step};
use super::destination::Part;
use super::namespace;
use super::reply::Refusal;
use crate::broker::{Destination, Ending};
use crate::engine::Engine;
use crate::engine::cell::Cell;
use crate::security::{Access, Change, Denied, Refused, Right};
use crate::session::Session;

impl From<Denied> for Refusal {
    fn from(denied: Denied) -> Self {
        Self::frame(denied.to_string())
    }
}

/// The destination for whoever may do `right` with it, made by first use if that is allowed (DST-13, SEC-5). The only way
/// of this room from a name to a destination, so that nothing gets past the rules.
pub(super) fn open(
    engine: &Engine,
    access: Option<&Access>,
    right: Right,
    destination: &Destination,
) -> Result<Arc<Cell>, Refusal> {
    check(access, right, destination)?;
    if let Some(cell) = engine.registry.get(destination) {
        return Ok(cell);
    }
    check(access, Right::Create, destination)?;
    namespace::check_destinations(engine, access)?;
    let opened = engine.registry.open(destination);
    opened.map_err(|refused| Refusal::frame(refused.to_string()))
}

/// The queue, for whoever may do `right` with it; naming it does not make it (`/amq/queue/`).
pub(super) fn find(
    engine: &Engine,
    access: Option<&Access>,
    right: Right,
    destination: &Destination,
) -> Result<Arc<Cell>, Refusal> {
    check(access, right, destination)?;
    let missing = || Refusal::frame(format!("queue '{}' does not exist", destination.name));
    engine.registry.get(destination).ok_or_else(missing)
}

/// The temporary destination of some connection, for whoever may send to it; it is there or not (DST-10).
pub(super) fn find_temporary(
    engine: &Engine,
    access: Option<&Access>,
    destination: &Destination,
) -> Result<Arc<Cell>, Refusal> {
    check(access, Right::Write, destination)?;
    engine.registry.find_temporary(destination).ok_or_else(|| {
        Refusal::frame(format!(
            "Cannot send to {destination}: the destination does not exist"
        ))
    })
}

/// Whether the user has the right. Nobody has any before CONNECT; the frames for it do not get here then.
pub(super) fn check(
    access: Option<&Access>,
    right: Right,
    destination: &Destination,
) -> Result<(), Refusal> {
    match access {
        Some(access) => Ok(access.check(right, destination)?),
        None => Err(Refusal::connection("Not connected")),
    }
}

impl State {
    /// Looks whether users or access rules have changed. What was remembered is forgotten then; subscriptions that the
    /// user may not read any more end, each with an ERROR; so does the connection of a user who is gone.
    pub(super) fn follow_access(&mut self, session: &mut Session) -> Step {
        let Some(access) = &mut self.access else {
            return Step::Done;
        };
        match access.refresh() {
            Change::None => return Step::Done,
            Change::Gone => {
                let name = access.user().to_owned();
                tracing::info!(user = name, remote = %self.remote, "the user is gone, closed");
                session.hand_over();
                let refused = Refused::Invalid { name };
                self.tell(session, &Refusal::connection(refused.to_string()), None);
                return Step::Close(Ending::Died);
            }
            Change::Moved => {
                session.hand_over();
                let refusal = Refusal::connection("the namespace of the user has changed");
                self.tell(session, &refusal, None);
                return Step::Close(Ending::Died);
            }
            Change::Changed => {}
        }
        self.destinations.forget();
        self.last_send = None;
        session.hand_over();
        for (serial, refusal) in self.lost_subscriptions() {
            self.forget_subscription(serial);
            session.unsubscribe(serial, &[]);
            self.tell(session, &refusal, None);
            if self.settings.close_on_error {
                return Step::Close(Ending::Died);
            }
        }
        Step::Done
    }

    /// The user's name for JMSXUserID, if receivers are to be told.
    pub(super) fn user_id(&self) -> Option<&str> {
        self.access.as_ref()?.user_id()
    }

    /// The subscriptions one of whose destinations may not be read any more, with what is to be said of each.
    fn lost_subscriptions(&self) -> Vec<(u64, Refusal)> {
        let denied = |(serial, parts, id): (u64, &[Part], Option<&str>)| {
            let mut destinations = parts.iter().filter_map(Part::guarded);
            let denied = destinations.find_map(|destination| {
                check(self.access.as_ref(), Right::Read, &destination).err()
            })?;
            let which = id.map_or_else(String::new, |id| format!(" {id}"));
            let text = format!("{}; the subscription{which} has ended", denied.message);
            Some((serial, Refusal::frame(text)))
        };
        self.subscriptions.all().filter_map(denied).collect()
    }
}

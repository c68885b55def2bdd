//! What the connection's user may do with destinations, and what happens when that changes (SEC-4, SEC-5).

use std::sync::Arc;

use super::adapter::{State, Step};
use super::destination::Part;
use super::reply::Failure;
use crate::broker::{Destination, Ending};
use crate::engine::Engine;
use crate::engine::cell::Cell;
use crate::security::{Access, Change, Refused, Right};
use crate::session::Session;

/// Whether the user has the right. Nobody has any before the login; commands for it do not get here then.
pub(super) fn check(
    access: Option<&Access>,
    right: Right,
    destination: &Destination,
) -> Result<(), Failure> {
    match access {
        Some(access) => Ok(access.check(right, destination)?),
        None => Err(Failure::state("not connected")),
    }
}

/// The destination for whoever may do `right` with it, made by first use if that is allowed (DST-13, SEC-5).
pub(super) fn open(
    engine: &Engine,
    access: Option<&Access>,
    right: Right,
    destination: &Destination,
) -> Result<Arc<Cell>, Failure> {
    check(access, right, destination)?;
    if let Some(cell) = engine.registry.get(destination) {
        return Ok(cell);
    }
    check(access, Right::Create, destination)?;
    let opened = engine.registry.open(destination);
    opened.map_err(|refused| Failure::destination(refused.to_string()))
}

impl State {
    /// Looks whether users or access rules have changed. Consumers that the user may not have any more are closed; so is
    /// the connection of a user who is gone.
    pub(super) fn follow_access(&mut self, session: &mut Session) -> Step {
        let Some(access) = &mut self.access else {
            return Step::Done;
        };
        match access.refresh() {
            Change::None => return Step::Done,
            Change::Gone | Change::Moved => {
                let name = access.user().to_owned();
                tracing::info!(user = name, remote = %self.remote, "the user is gone, closed");
                session.hand_over();
                let failure = Failure::security(Refused::Invalid { name }.to_string());
                session.reply(None, self.answers.failure(None, &failure));
                return Step::Close(Ending::Died);
            }
            Change::Changed => {}
        }
        self.targets.forget();
        session.hand_over();
        let denied = |part: &Part| {
            let guarded = part.guarded();
            guarded.and_then(|one| check(self.access.as_ref(), Right::Read, &one).err())
        };
        let lost = self.consumers.iter().filter_map(|(key, consumer)| {
            let failure = consumer.parts.iter().find_map(denied)?;
            Some((*key, failure))
        });
        let lost: Vec<_> = lost.collect();
        for (key, failure) in lost {
            let Some(consumer) = self.consumers.remove(&key) else {
                continue;
            };
            session.unsubscribe(consumer.serial, &[]);
            self.tell_closed(session, &consumer, &failure);
        }
        Step::Done
    }
}

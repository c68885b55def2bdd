//! DestinationInfo: temporary destinations, and making ordinary ones (section 18 of the protocol).

use std::sync::Arc;

use ferrymq_protocols::openwire::commands::{DestinationInfo, DestinationOperation as Operation};

use super::access;
use super::adapter::{State, Step};
use super::destination::{self, Part};
use super::reply::Failure;
use crate::broker::Destination;
use crate::engine::cell::Cell;
use crate::security::Right;
use crate::session::{Session, TemporaryError};

impl State {
    /// Makes or removes a destination.
    pub(super) fn define(
        &mut self,
        session: &mut Session,
        info: &DestinationInfo,
    ) -> Result<Step, Failure> {
        let parts = destination::parse(info.destination.as_deref(), self.settings.syntax)?;
        let [part] = &parts[..] else {
            return Err(Failure::destination("one destination at a time"));
        };
        let removes = match info.operation() {
            Some(Operation::Add) => false,
            Some(Operation::Remove) => true,
            None => {
                let text = format!("{} is nothing to do with it", info.operation_type);
                return Err(Failure::jms(text));
            }
        };
        match part {
            Part::Temporary(destination) if removes => {
                self.targets.forget();
                session
                    .remove_temporary(destination)
                    .map_err(|error| refuse(&error))?;
            }
            Part::Temporary(destination) => self.make_temporary(session, destination)?,
            Part::Named(_) | Part::Pattern(..) if removes => {
                return Err(Failure::not_yet("removing destinations is"));
            }
            Part::Named(destination) => {
                let access = self.access.as_ref();
                access::open(&session.engine, access, Right::Create, destination)?;
            }
            Part::Pattern(..) => {
                return Err(Failure::destination("a wildcard is no destination"));
            }
        }
        Ok(Step::Done)
    }

    fn make_temporary(
        &mut self,
        session: &mut Session,
        destination: &Destination,
    ) -> Result<(), Failure> {
        let found = session.engine.registry.get(destination);
        match found.as_ref().and_then(|cell| cell.owner.get()) {
            Some(owner) if **owner == self.connection_id => return Ok(()),
            Some(_) => {
                let text = format!("{} belongs to another connection", destination.uri());
                return Err(Failure::destination(text));
            }
            None => {}
        }
        session.create_temporary(destination.kind, destination.physical_name());
        Ok(())
    }

    /// A temporary destination to consume from: only its connection may (DST-11).
    pub(super) fn own_temporary(
        &self,
        session: &Session,
        destination: &Destination,
    ) -> Result<Arc<Cell>, Failure> {
        let found = session.engine.registry.get(destination);
        let own = found.filter(|cell| {
            let owner = cell.owner.get();
            owner.is_some_and(|owner| **owner == self.connection_id)
        });
        own.ok_or_else(|| {
            Failure::destination(format!(
                "{} is no temporary destination of this connection",
                destination.uri()
            ))
        })
    }
}

fn refuse(error: &TemporaryError) -> Failure {
    match error {
        TemporaryError::NotOwn(_) => Failure::destination(error.to_string()),
        TemporaryError::InUse(_) => Failure::jms(error.to_string()),
    }
}

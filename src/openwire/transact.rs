//! TransactionInfo: transactions of one connection (section 17 of the protocol).

use ferrymq_protocols::openwire::commands::{
    TransactionId, TransactionInfo, TransactionOperation as Operation,
};

use super::adapter::{State, Step};
use super::parking::Parking;
use super::reply::Failure;
use crate::broker::governor::Cause;
use crate::session::Session;

/// How the session calls a transaction.
pub(super) fn name_of(id: &TransactionId) -> Result<String, Failure> {
    match id {
        TransactionId::Local(id) => {
            let connection = id.connection_id.as_ref();
            let connection = connection.and_then(|id| id.value.as_ref());
            let connection = connection.map(|id| id.to_str()).unwrap_or_default();
            Ok(format!("TX:{connection}:{}", id.value))
        }
        TransactionId::Xa(_) => Err(Failure::xa()),
    }
}

impl State {
    /// A step of a transaction.
    pub(super) fn transact(
        &mut self,
        session: &mut Session,
        info: &TransactionInfo,
    ) -> Result<Step, Failure> {
        let Some(operation) = info.operation() else {
            return Err(Failure::jms(format!(
                "{} is no step of a transaction",
                info.kind
            )));
        };
        let Some(id) = &info.transaction_id else {
            return Err(Failure::xa());
        };
        let name = name_of(id)?;
        let to = info.response_required.then_some(info.command_id);
        match operation {
            Operation::Begin => {
                if !session.in_transaction(&name) {
                    session.begin(&name)?;
                    self.open.insert(name, Vec::new());
                }
                return Ok(Step::Done);
            }
            Operation::CommitOnePhase | Operation::CommitTwoPhase => {
                let doomed = self.doomed.remove(&name);
                if doomed.is_none()
                    && let Some(step) = self.park_commit(session, info, &name)?
                {
                    return Ok(step);
                }
                let floors = self.open.remove(&name).unwrap_or_default();
                if let Some(cause) = doomed {
                    if session.in_transaction(&name) {
                        session.abort(&name, &[])?;
                    }
                    return Err(Failure::rolled_back(format!(
                        "{name} was rolled back: {cause}"
                    )));
                }
                if let Err(error) = session.commit(&name, self.answers.success(to)) {
                    if session.in_transaction(&name) {
                        // The client takes it for rolled back and begins anew.
                        session.abort(&name, &[])?;
                        return Err(Failure::rolled_back(format!(
                            "{name} was rolled back: {error}"
                        )));
                    }
                    return Err(error.into());
                }
                for (key, floor) in floors {
                    if let Some(consumer) = self.consumers.get_mut(key) {
                        consumer.floor = consumer.floor.max(floor);
                    }
                }
            }
            Operation::Rollback => {
                self.open.remove(&name);
                let doomed = self.doomed.remove(&name).is_some();
                if doomed && !session.in_transaction(&name) {
                    return Ok(Step::Done);
                }
                session.abort(&name, self.answers.success(to))?;
            }
            Operation::End => return Ok(Step::Done),
            Operation::Prepare | Operation::Recover | Operation::Forget => {
                return Err(Failure::xa());
            }
        }
        Ok(Step::Answered)
    }

    /// Parks a commit while the store has no room for what the transaction sends (USE-3).
    fn park_commit(
        &mut self,
        session: &mut Session,
        info: &TransactionInfo,
        name: &str,
    ) -> Result<Option<Step>, Failure> {
        let Some(cells) = session.commit_shortage(name) else {
            return Ok(None);
        };
        if cells.iter().any(|cell| cell.limits().fails_if_no_space) {
            // It fails with that.
            return Ok(None);
        }
        let parking = Parking {
            command: info.clone().into(),
            cells: &cells,
            transaction: Some(name.to_owned()),
            causes: vec![session.engine.store_shortage().unwrap_or(Cause::Behind)],
        };
        match self.park(session, parking) {
            Ok(step) => Ok(Some(step)),
            Err(failure) => {
                // The client takes it for rolled back and begins anew.
                self.open.remove(name);
                session.abort(name, &[])?;
                let text = format!("{name} was rolled back: {}", failure.text);
                Err(Failure::rolled_back(text))
            }
        }
    }
}

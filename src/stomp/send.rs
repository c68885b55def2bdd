//! SEND (section 4).

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use ferrymq_protocols::stomp::{Known, Send, encode_receipt, push_header};

use super::WIRE_STOMP;
use super::adapter::{State, Step};
use super::parked::ParkKey;
use super::reply::Refusal;
use super::{access, destination};
use crate::broker::{Message, MessageFlags};
use crate::engine::Engine;
use crate::engine::cell::Cell;
use crate::security::{Access, Right};
use crate::session::Session;

/// Destination headers this connection has used, so that a name is read once.
#[derive(Default)]
pub(super) struct Destinations {
    last: Option<(String, Arc<Cell>)>,
    known: HashMap<String, Arc<Cell>>,
}

/// Names remembered for one connection.
const NAMES_MAX: usize = 1024;

/// Headers that ask for a delayed delivery, which is not built yet.
const SCHEDULED: [Known; 4] = [
    Known::ScheduledDelay,
    Known::ScheduledPeriod,
    Known::ScheduledRepeat,
    Known::ScheduledCron,
];

impl Destinations {
    fn last(&self, text: &str) -> Option<&Arc<Cell>> {
        self.last
            .as_ref()
            .filter(|(known, _)| known == text)
            .map(|(_, cell)| cell)
    }

    /// Forgets all names: what may be sent to has changed.
    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }

    /// The destination that `text` names, made by first use if it may be; only one the user may write to is
    /// remembered.
    fn resolve(
        &mut self,
        engine: &Engine,
        access: Option<&Access>,
        text: &str,
        auto_create: bool,
    ) -> Result<Arc<Cell>, Refusal> {
        if let Some(cell) = self.known.get(text) {
            return Ok(Arc::clone(cell));
        }
        let destination = destination::parse(text)?;
        if destination.is_wildcard() {
            return Err(Refusal::frame(format!(
                "cannot send to {text}: wildcards are for SUBSCRIBE only"
            )));
        }
        let cell = access::open(engine, access, Right::Write, &destination, auto_create)?;
        if self.known.len() >= NAMES_MAX {
            self.known.clear();
        }
        self.known.insert(text.to_owned(), Arc::clone(&cell));
        Ok(cell)
    }
}

impl State {
    /// Enqueues a message, records it in its transaction, or parks it.
    pub(super) fn send(
        &mut self,
        session: &mut Session,
        send: &Send<'_>,
        octets: &Bytes,
        raw: &[u8],
    ) -> Result<Step, Refusal> {
        if let Some(step) = self.park_send(session, send, raw) {
            return Ok(step);
        }
        if self.destinations.last(&send.destination).is_none() {
            let cell = self.destinations.resolve(
                &session.engine,
                self.access.as_ref(),
                &send.destination,
                self.settings.auto_create,
            )?;
            self.destinations.last = Some((send.destination.to_string(), cell));
        }
        if let Some(known) = SCHEDULED.iter().find(|known| send.headers.has(**known)) {
            return Err(Refusal::not_yet(&format!(
                "scheduled messages ({}) are",
                known.name()
            )));
        }
        let message = build(session, send, octets, self.user_id());
        let Some(cell) = self.destinations.last(&send.destination) else {
            unreachable!("the destination was just resolved");
        };
        if let Some(transaction) = &send.transaction {
            session.hand_over();
            session
                .send_in(transaction, cell, message)
                .map_err(|error| Refusal::frame(error.to_string()))?;
            self.answer(send.receipt.as_deref(), |answer| {
                session.reply(None, answer)
            });
            return Ok(Step::Done);
        }
        self.scratch.clear();
        if let Some(receipt) = &send.receipt {
            encode_receipt(self.version, receipt, &[], &mut self.scratch);
        }
        session.send(cell, message, &self.scratch);
        Ok(Step::Done)
    }

    /// Whether the SEND has to wait: for memory, for the store, or behind one that does (SND-5).
    fn park_send(&mut self, session: &mut Session, send: &Send<'_>, raw: &[u8]) -> Option<Step> {
        let engine = &session.engine;
        let in_memory = !send.persistent || engine.store.is_none() || send.transaction.is_some();
        let full =
            in_memory && engine.memory.is_full() || send.persistent && engine.is_store_full();
        if !full && self.parked.is_empty() && !session.is_stalled() {
            return None;
        }
        let key = match &send.transaction {
            Some(transaction) => ParkKey::Transaction(transaction.to_string()),
            None => ParkKey::Destination(send.destination.to_string()),
        };
        if !full && !session.is_stalled() && !self.parked.holds_back(&key) {
            return None;
        }
        // What can never be carried out is refused at once rather than parked.
        let resolvable = self
            .destinations
            .resolve(
                &session.engine,
                self.access.as_ref(),
                &send.destination,
                self.settings.auto_create,
            )
            .is_ok();
        resolvable.then(|| self.park(session, key, raw))
    }
}

/// Bodies from this size on stay in the buffer they came in until they leave or have to wait.
const BORROWED_BODY_BYTES: usize = 16 * 1024;

/// Makes the message: the user's lines and a small body, copied once into memory of their size.
/// `user_id` is told to receivers as JMSXUserID; what the client says it is was dropped (SEC-11).
fn build(session: &mut Session, send: &Send<'_>, octets: &Bytes, user_id: Option<&str>) -> Message {
    let borrows = send.body.len() >= BORROWED_BODY_BYTES;
    let copied: &[u8] = if borrows { &[] } else { send.body };
    let mut payload = Vec::with_capacity(send.user_head_len_hint() + copied.len());
    let mut head = send.write_user_head(&mut payload);
    if let Some(user) = user_id {
        head = head.and(push_header(Known::JmsxUserId.name(), user, &mut payload));
    }
    let head_len = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    payload.extend_from_slice(copied);
    // Boxed, so that the capacity is the length and no second allocation is needed to share it.
    let payload = Bytes::from(payload.into_boxed_slice());
    let flags = flags(send, head.escaped);
    let id = session.next_id();
    let mut message = if borrows {
        let body = octets.slice_ref(send.body);
        Message::with_borrowed_body(id, payload, body, flags, WIRE_STOMP)
    } else {
        Message::new(id, payload, head_len, flags, WIRE_STOMP)
    };
    message.timestamp_ms = send.timestamp_ms.unwrap_or_else(|| session.now_ms());
    message.expires_ms = expiry(session, send);
    message.priority = send.priority;
    message
}

/// When the message expires: `expires`, or else `expiration` from now (section 10).
fn expiry(session: &Session, send: &Send<'_>) -> u64 {
    match send.expiration_ms {
        Some(after_ms) if send.expires_ms == 0 => session.now_ms().saturating_add(after_ms),
        _ => send.expires_ms,
    }
}

fn flags(send: &Send<'_>, escaped: bool) -> MessageFlags {
    let mut flags = 0;
    if send.persistent {
        flags |= MessageFlags::PERSISTENT;
    }
    if send.text {
        flags |= MessageFlags::TEXT;
        if send.body_has_nul() {
            flags |= MessageFlags::HAS_NUL;
        }
    }
    if escaped {
        flags |= MessageFlags::ESCAPED;
    }
    MessageFlags(flags)
}

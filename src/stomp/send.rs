//! SEND (section 4).

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use ferrymq_protocols::stomp::{Frame, Known, Send, encode_receipt};

use super::WIRE_STOMP;
use super::adapter::{State, Step};
use super::destination::{self, Part};
use super::parked::ParkKey;
use super::reply::Refusal;
use super::temporary::set_reply_to;
use crate::broker::{Message, MessageFlags};
use crate::engine::Engine;
use crate::engine::cell::Cell;
use crate::session::Session;

/// Where a SEND goes.
#[derive(Clone)]
pub(super) enum Target {
    /// To one destination.
    One(Arc<Cell>),
    /// A copy to each (DST-4).
    Many(Arc<[Arc<Cell>]>),
}

impl Target {
    fn cells(&self) -> &[Arc<Cell>] {
        match self {
            Self::One(cell) => std::slice::from_ref(cell),
            Self::Many(cells) => cells,
        }
    }
}

/// Destination headers this connection has used, so that a name is read once.
#[derive(Default)]
pub(super) struct Destinations {
    last: Option<(String, Target)>,
    known: HashMap<String, Target>,
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
    fn last(&self, text: &str) -> Option<&Target> {
        self.last
            .as_ref()
            .filter(|(known, _)| known == text)
            .map(|(_, target)| target)
    }
}

/// The destination of that name, made if there is none and it may be (DST-13).
pub(super) fn find(
    engine: &Engine,
    destination: &crate::broker::Destination,
    auto_create: bool,
) -> Result<Arc<Cell>, Refusal> {
    if auto_create {
        return Ok(engine.registry.get_or_create(destination));
    }
    engine.registry.get(destination).ok_or_else(|| {
        Refusal::frame(format!(
            "{destination} does not exist, and destinations.auto_create is false"
        ))
    })
}

/// What a plain SEND came to: one that repeats its head is carried out from this. Plain is one that asks for
/// no answer, belongs to no transaction and says nothing that counts from now.
pub(super) struct LastSend {
    cell: Arc<Cell>,
    /// The user's lines.
    head: Vec<u8>,
    /// All but [`MessageFlags::HAS_NUL`], which depends on the body.
    flags: MessageFlags,
    has_content_length: bool,
    priority: u8,
    expires_ms: u64,
    timestamp_ms: Option<u64>,
}

impl LastSend {
    fn is_plain(send: &Send<'_>) -> bool {
        send.receipt.is_none() && send.transaction.is_none() && send.expiration_ms.is_none()
    }

    /// What `message` came to, in the memory of the one before.
    fn of(before: Option<Self>, cell: &Arc<Cell>, send: &Send<'_>, message: &Message) -> Self {
        let (kept, mut head) = match before {
            Some(before) => (Some(before.cell), before.head),
            None => (None, Vec::new()),
        };
        head.clear();
        head.extend_from_slice(message.head());
        Self {
            cell: kept
                .filter(|kept| Arc::ptr_eq(kept, cell))
                .unwrap_or_else(|| Arc::clone(cell)),
            head,
            flags: MessageFlags(message.flags.0 & !MessageFlags::HAS_NUL),
            has_content_length: send.has_content_length,
            priority: send.priority,
            expires_ms: send.expires_ms,
            timestamp_ms: send.timestamp_ms,
        }
    }
}

impl State {
    /// Where a SEND to `text` goes, destinations made by first use if they may be; and whether that lasts: a temporary
    /// destination of another connection may go at any time.
    fn resolve(&mut self, session: &mut Session, text: &str) -> Result<(Target, bool), Refusal> {
        if let Some(target) = self.destinations.known.get(text) {
            return Ok((target.clone(), true));
        }
        let address = destination::parse(text, self.settings.syntax)?;
        if address.options.is_some() {
            return Err(Refusal::frame(format!(
                "cannot send to {text}: options after '?' are for SUBSCRIBE only"
            )));
        }
        let mut cells = Vec::with_capacity(address.parts.len());
        let mut lasting = true;
        for part in &address.parts {
            lasting &= !matches!(part, Part::Remote(_));
            cells.push(self.target(session, part)?);
        }
        let target = match <[Arc<Cell>; 1]>::try_from(cells) {
            Ok([cell]) => Target::One(cell),
            Err(cells) => Target::Many(cells.into()),
        };
        if lasting {
            let known = &mut self.destinations.known;
            if known.len() >= NAMES_MAX {
                known.clear();
            }
            known.insert(text.to_owned(), target.clone());
        }
        Ok((target, lasting))
    }

    fn target(&mut self, session: &mut Session, part: &Part) -> Result<Arc<Cell>, Refusal> {
        match part {
            Part::Named(destination) => {
                find(&session.engine, destination, self.settings.auto_create)
            }
            Part::Own(kind, name) => Ok(self.temporaries.get(session, *kind, name)),
            Part::Remote(destination) => {
                let found = session.engine.registry.get(destination);
                found.ok_or_else(|| {
                    Refusal::frame(format!(
                        "Cannot send to {destination}: the destination does not exist"
                    ))
                })
            }
            Part::Pattern(_, pattern) => Err(Refusal::frame(format!(
                "cannot send to {pattern}: wildcards are for SUBSCRIBE only"
            ))),
        }
    }

    /// The name by which others know the temporary destination of this connection to which the answer to a message
    /// shall go, if it names one (DST-10).
    fn remote_reply_to(&mut self, session: &mut Session, send: &Send<'_>) -> Option<String> {
        let reply_to = send.headers.get(Known::ReplyTo)?;
        let (kind, name) = destination::own(&reply_to)?;
        let cell = self.temporaries.get(session, kind, name);
        Some(cell.destination.to_string())
    }

    /// Enqueues the message of a SEND that says the same as the one before, if nothing stands in its way.
    /// Returns false if it must take the general way.
    #[inline]
    pub(super) fn send_again(
        &mut self,
        session: &mut Session,
        frame: &Frame<'_>,
        octets: &Bytes,
    ) -> bool {
        let Some(last) = &self.last_send else {
            return false;
        };
        let persistent = last.flags.has(MessageFlags::PERSISTENT);
        let free = self.parked.is_empty() && self.unapplied.is_empty();
        if !free || !has_room(session, persistent, false) {
            return false;
        }
        let mut flags = last.flags;
        if flags.has(MessageFlags::TEXT)
            && last.has_content_length
            && memchr::memchr(0, frame.body).is_some()
        {
            flags.0 |= MessageFlags::HAS_NUL;
        }
        let head = |payload: &mut Vec<u8>| payload.extend_from_slice(&last.head);
        let mut message = assemble(session, last.head.len(), head, frame.body, octets);
        message.flags = flags;
        message.timestamp_ms = last.timestamp_ms.unwrap_or_else(|| session.now_ms());
        message.expires_ms = last.expires_ms;
        message.priority = last.priority;
        session.send(&last.cell, message, &[]);
        true
    }

    /// Enqueues a message, records it in its transaction, or parks it.
    pub(super) fn send(
        &mut self,
        session: &mut Session,
        send: &Send<'_>,
        octets: &Bytes,
        raw: &[u8],
    ) -> Result<Step, Refusal> {
        // Kept only by a plain SEND that goes through.
        let last = self.last_send.take();
        if let Some(step) = self.park_send(session, send, raw) {
            return Ok(step);
        }
        let mut lasting = true;
        if self.destinations.last(&send.destination).is_none() {
            let (target, lasts) = self.resolve(session, &send.destination)?;
            self.destinations.last = Some((send.destination.to_string(), target));
            lasting = lasts;
        }
        if let Some(known) = SCHEDULED.iter().find(|known| send.headers.has(**known)) {
            return Err(Refusal::not_yet(&format!(
                "scheduled messages ({}) are",
                known.name()
            )));
        }
        let reply_to = self.remote_reply_to(session, send);
        let message = build(session, send, octets, reply_to.as_deref());
        let Some((text, target)) = self.destinations.last.take() else {
            unreachable!("the destination was just resolved");
        };
        let step = self.hand_in(session, send, &target, message, last);
        if lasting {
            self.destinations.last = Some((text, target));
        } else {
            self.last_send = None;
        }
        step
    }

    /// Hands a message to the session.
    fn hand_in(
        &mut self,
        session: &mut Session,
        send: &Send<'_>,
        target: &Target,
        message: Message,
        last: Option<LastSend>,
    ) -> Result<Step, Refusal> {
        if let Some(transaction) = &send.transaction {
            session.hand_over();
            session
                .send_in(transaction, target.cells(), message)
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
        match target {
            Target::One(cell) => {
                if LastSend::is_plain(send) {
                    self.last_send = Some(LastSend::of(last, cell, send, &message));
                }
                session.send(cell, message, &self.scratch);
            }
            Target::Many(cells) => session.send_to_all(cells, message, &self.scratch),
        }
        Ok(Step::Done)
    }

    /// Whether the SEND has to wait: for memory, for the store, or behind one that does (SND-5).
    fn park_send(&mut self, session: &mut Session, send: &Send<'_>, raw: &[u8]) -> Option<Step> {
        let full = !has_room(session, send.persistent, send.transaction.is_some());
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
        let resolvable = self.resolve(session, &send.destination).is_ok();
        resolvable.then(|| self.park(session, key, raw))
    }
}

/// Whether there is room for a message: in the store if it is kept there, else in memory.
#[inline]
fn has_room(session: &Session, persistent: bool, in_transaction: bool) -> bool {
    let engine = &session.engine;
    let in_memory = !persistent || engine.store.is_none() || in_transaction;
    !(in_memory && engine.memory.is_full() || persistent && engine.is_store_full())
}

/// Bodies from this size on stay in the buffer they came in until they leave or have to wait.
const BORROWED_BODY_BYTES: usize = 16 * 1024;

/// Makes the message of a SEND.
fn build(
    session: &mut Session,
    send: &Send<'_>,
    octets: &Bytes,
    reply_to: Option<&str>,
) -> Message {
    let mut escaped = false;
    let head = |payload: &mut Vec<u8>| {
        escaped = send.write_user_head(payload).escaped;
        if let Some(remote) = reply_to {
            set_reply_to(payload, remote);
        }
    };
    let mut message = assemble(session, send.user_head_len_hint(), head, send.body, octets);
    message.flags = flags(send, escaped);
    message.timestamp_ms = send.timestamp_ms.unwrap_or_else(|| session.now_ms());
    message.expires_ms = expiry(session, send);
    message.priority = send.priority;
    message
}

/// Brings the user's lines and a small body together, copied once into memory of their size.
#[inline]
fn assemble(
    session: &mut Session,
    head_len_hint: usize,
    write_head: impl FnOnce(&mut Vec<u8>),
    body: &[u8],
    octets: &Bytes,
) -> Message {
    let borrows = body.len() >= BORROWED_BODY_BYTES;
    let copied: &[u8] = if borrows { &[] } else { body };
    let mut payload = Vec::with_capacity(head_len_hint + copied.len());
    write_head(&mut payload);
    let head_len = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    payload.extend_from_slice(copied);
    // Boxed, so that the capacity is the length and no second allocation is needed to share it.
    let payload = Bytes::from(payload.into_boxed_slice());
    let (id, flags) = (session.next_id(), MessageFlags::default());
    if borrows {
        let body = octets.slice_ref(body);
        Message::with_borrowed_body(id, payload, body, flags, WIRE_STOMP)
    } else {
        Message::new(id, payload, head_len, flags, WIRE_STOMP)
    }
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
    if send.headers.has(Known::Transformation) && is_of_stompjms(send) {
        flags |= MessageFlags::COUNTS_REDELIVERIES;
    }
    if send.headers.has(Known::JmsxGroupId) {
        flags |= MessageFlags::GROUPED;
    }
    MessageFlags(flags)
}

/// Whether the message bears the mark by which FuseSource's JMS client knows the type of its own messages.
fn is_of_stompjms(send: &Send<'_>) -> bool {
    const TYPES: [&str; 7] = [
        "MESSAGE",
        "BYTES",
        "MAP",
        "OBJECT",
        "STREAM",
        "TEXT",
        "TEXT_NULL",
    ];
    let mark = send.headers.get(Known::Transformation);
    mark.is_some_and(|mark| TYPES.contains(&mark.as_ref()))
}

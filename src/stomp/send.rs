//! SEND (section 4).

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use ferrymq_protocols::stomp::{
    ClientCommand, DecodeOptions, Decoder, Frame, Headers, Known, Send, Version, encode_receipt,
    push_header,
};

use super::WIRE_STOMP;
use super::access;
use super::adapter::{State, Step};
use super::destination::Part;
use super::names;
use super::namespace;
use super::parked::ParkKey;
use super::parking::Parking;
use super::reply::Refusal;
use super::statistics;
use super::temporary::{set_reply_to, shown};
use super::transformation;
use crate::broker::dedup::DedupId;
use crate::broker::governor::Cause;
use crate::broker::policy::Declared;
use crate::broker::{Kind, Message, MessageFlags};
use crate::engine::cell::Cell;
use crate::engine::dedup::Guard;
use crate::engine::governor::{Arriving, NoRoom};
use crate::engine::policy::Admission;
use crate::engine::spread::Routed;
use crate::security::Right;
use crate::session::{Once, Session};

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
    known: HashMap<Box<str>, Target>,
}

/// Names remembered for one connection.
const NAMES_MAX: usize = 1024;

impl Destinations {
    /// Forgets all names: what may be sent to has changed.
    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }
}

/// What a plain SEND came to: one that repeats its head is carried out from this, while the user may do the same. Plain is
/// one that asks for no answer, belongs to no transaction, says nothing that counts from now, and may come again.
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
        send.receipt.is_none()
            && send.transaction.is_none()
            && send.expiration_ms.is_none()
            && send.dedup_id.is_none()
            // Each body is looked at.
            && !send.headers.has(Known::Transformation)
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
    /// destination of another connection may go at any time. Only what the user may write to is remembered; of several
    /// destinations that is all (SEC-4).
    fn resolve(
        &mut self,
        session: &mut Session,
        text: &str,
        headers: Option<&Headers<'_>>,
    ) -> Result<(Target, bool), Refusal> {
        if let Some(target) = self.destinations.known.get(text) {
            return Ok((target.clone(), true));
        }
        let address = self.address(text)?;
        if address.options.is_some() {
            return Err(Refusal::frame(format!(
                "cannot send to {text}: options after '?' are for SUBSCRIBE only"
            )));
        }
        if address.parts.len() > 1 {
            // All may be written to, or none is made (SEC-4).
            for part in &address.parts {
                if let Part::Named(destination) | Part::Existing(destination) = part {
                    access::check(self.access.as_ref(), Right::Write, destination)?;
                }
            }
        }
        let declared = match headers {
            Some(headers) => {
                names::refuse_streams(headers)?;
                self.declared(headers)?
            }
            None => None,
        };
        let mut cells = Vec::with_capacity(address.parts.len());
        let mut lasting = true;
        for part in &address.parts {
            lasting &= !matches!(part, Part::Remote(_));
            cells.push(self.target(session, part, declared.as_ref())?);
        }
        if lasting {
            session.sends_to(&cells);
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
            known.insert(text.into(), target.clone());
        }
        Ok((target, lasting))
    }

    fn target(
        &mut self,
        session: &mut Session,
        part: &Part,
        declared: Option<&Declared>,
    ) -> Result<Arc<Cell>, Refusal> {
        let access = self.access.as_ref();
        match part {
            Part::Named(destination) if destination.is_advisory() => Err(Refusal::frame(format!(
                "cannot send to {destination}: only the broker does"
            ))),
            Part::Named(destination) => {
                let opened = self.open_declared(session, Right::Write, destination, declared)?;
                self.warning = self.warning.take().or(opened.warning);
                Ok(opened.cell)
            }
            Part::Existing(destination) => {
                access::find(&session.engine, access, Right::Write, destination)
            }
            Part::Own(kind, name) => self.temporary(session, *kind, name),
            Part::Remote(destination) => {
                access::find_temporary(&session.engine, access, destination)
            }
            Part::Pattern(_, pattern) => Err(Refusal::frame(format!(
                "cannot send to {pattern}: wildcards are for SUBSCRIBE only"
            ))),
        }
    }

    /// The one destination that `text` names, for what works with one only.
    pub(super) fn resolve_one(
        &mut self,
        session: &mut Session,
        text: &str,
    ) -> Result<Arc<Cell>, Refusal> {
        match self.resolve(session, text, None)?.0 {
            Target::One(cell) => Ok(cell),
            Target::Many(_) => Err(Refusal::frame(format!(
                "{text} names several destinations; the scheduler takes one at a time"
            ))),
        }
    }

    /// A temporary destination of this connection.
    pub(super) fn temporary(
        &mut self,
        session: &mut Session,
        kind: Kind,
        name: &str,
    ) -> Result<Arc<Cell>, Refusal> {
        if !self.temporaries.has(kind, name) {
            namespace::check_destinations(&session.engine, self.access.as_ref())?;
        }
        let prefix = self.prefix().to_owned();
        Ok(self.temporaries.get(session, &prefix, kind, name))
    }

    /// The name by which others know the destination to which the answer to a message shall go, where that is another: it
    /// is a temporary one of this connection (DST-10), or in a namespace (SEC-9).
    pub(super) fn remote_reply_to(
        &mut self,
        session: &mut Session,
        send: &Send<'_>,
    ) -> Result<Option<String>, Refusal> {
        let Some(reply_to) = send.headers.get(Known::ReplyTo) else {
            return Ok(None);
        };
        if let Some((kind, name)) = names::own(&reply_to) {
            let cell = self.temporary(session, kind, name)?;
            if self.settings.subscribes_replies && kind == Kind::Queue {
                self.subscribe_replies(session, name);
            }
            return Ok(Some(cell.destination.to_string()));
        }
        Ok(match self.prefix() {
            "" => None,
            prefix => namespace::enter_text(&reply_to, prefix, &self.settings.names),
        })
    }

    /// Subscribes to a temporary queue of this connection as RabbitMQ does when a `reply-to` names it: in auto mode, with
    /// its name as id (section 10).
    fn subscribe_replies(&mut self, session: &mut Session, name: &str) {
        let id = shown(Kind::Queue, name);
        if self.subscriptions.serial(&id).is_some() {
            return;
        }
        let mut raw = b"SUBSCRIBE\n".to_vec();
        push_header(Known::Id.name(), &id, &mut raw);
        push_header(Known::Destination.name(), &id, &mut raw);
        raw.extend_from_slice(b"\n\0");
        let mut decoder = Decoder::new(self.settings.limits, DecodeOptions::default());
        decoder.set_version(Version::V12);
        session.hand_over();
        let subscribed = match decoder.decode(&raw) {
            Ok(Some(frame)) => match ClientCommand::parse(&frame) {
                Ok(ClientCommand::Subscribe(wanted)) => self.subscribe(session, &wanted).map(drop),
                _ => Ok(()),
            },
            _ => Ok(()),
        };
        if let Err(refusal) = subscribed {
            tracing::debug!(refusal.message, "replies are not subscribed to");
        }
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
        let free = self.parked.is_empty() && self.unapplied.is_empty() && !session.is_stalled();
        let plain = !last.cell.is_limited() && !last.cell.routes.is_any();
        if !free || !plain || !session.engine.has_room(persistent, false) {
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
        if send.headers.has(Known::DestinationType)
            && let Some(kind) = names::typed(&send.headers, Known::DestinationType)?
        {
            let mut typed = send.clone();
            let written = &self.settings.names;
            typed.destination = written.with_kind(&send.destination, kind).into();
            return self.send_named(session, &typed, octets, raw);
        }
        self.send_named(session, send, octets, raw)
    }

    fn send_named(
        &mut self,
        session: &mut Session,
        send: &Send<'_>,
        octets: &Bytes,
        raw: &[u8],
    ) -> Result<Step, Refusal> {
        // Kept only by a plain SEND that goes through.
        let last = self.last_send.take();
        self.warning = None;
        if send.concerns_scheduler()
            && let Some(step) = self.send_to_scheduler(session, send, octets, raw)?
        {
            return Ok(step);
        }
        let last_target = self.destinations.last.take();
        let (named, lasting) = match last_target.filter(|(text, _)| *text == send.destination) {
            Some(named) => (named, true),
            None => {
                if let Some(asked) = statistics::request(&send.destination) {
                    return self.send_figures(session, send, asked);
                }
                let headers = Some(&send.headers);
                let (target, lasting) = self.resolve(session, &send.destination, headers)?;
                ((send.destination.to_string(), target), lasting)
            }
        };
        let step = self.send_to(session, &named.1, (send, octets, raw), last);
        if lasting {
            self.destinations.last = Some(named);
        } else {
            self.last_send = None;
        }
        step
    }

    fn send_to(
        &mut self,
        session: &mut Session,
        target: &Target,
        (send, octets, raw): (&Send<'_>, &Bytes, &[u8]),
        last: Option<LastSend>,
    ) -> Result<Step, Refusal> {
        // What routes a message takes depends on what it says; their limits are looked at when it is made.
        let routed = target.cells().iter().any(|cell| cell.routes.is_any());
        if let Some(step) = self.park_send(session, target, routed, send, raw)? {
            return Ok(step);
        }
        let reply_to = self.remote_reply_to(session, send)?;
        let stamps = Stamps {
            user_id: self.user_id(),
            job: None,
            reply_to: reply_to.as_deref(),
        };
        let message = build(session, send, octets, stamps);
        if let (Target::One(cell), false, None) = (target, routed, &send.transaction) {
            self.hand_in(session, send, cell, message, last);
            return Ok(Step::Done);
        }
        let mut sends = session.spread(target.cells(), message);
        if routed {
            let behind = session.is_stalled()
                && sends
                    .iter()
                    .any(|one| session.has_stalled_for(std::slice::from_ref(&one.cell)));
            let cause = match session.admit(&mut sends) {
                _ if self.is_forced() => None,
                Admission::Open => behind.then_some(Cause::Behind),
                Admission::Wait(cause) => Some(cause),
                Admission::Refused(refused) => return Err(Refusal::frame(refused.to_string())),
            };
            if let Some(cause) = cause {
                return self.park_for(session, send, raw, (target.cells(), vec![cause]));
            }
        }
        let guard = dedup_id(send).map(|id| Guard {
            cells: target.cells(),
            id,
            persistent: send.persistent,
        });
        self.hand_in_all(session, send, sends, guard)?;
        Ok(Step::Done)
    }

    /// Hands a message for one destination to the session.
    fn hand_in(
        &mut self,
        session: &mut Session,
        send: &Send<'_>,
        cell: &Arc<Cell>,
        message: Message,
        last: Option<LastSend>,
    ) {
        if LastSend::is_plain(send) && !self.has_bytes_quota() {
            self.last_send = Some(LastSend::of(last, cell, send, &message));
        }
        let warning = self.warning.take();
        let warning = warning.as_deref().map(|text| ("warning", text));
        let once = dedup_id(send).map(|id| (id, self.answer_again(send)));
        self.answer_with(
            send.receipt.as_deref(),
            warning.as_slice(),
            |answer| match &once {
                None => session.send(cell, message, answer),
                Some((id, again)) => {
                    let once = Once { id: *id, again };
                    session.send_once(cell, message, once, answer);
                }
            },
        );
    }

    /// Hands a message for several destinations, or of a transaction, to the session.
    fn hand_in_all(
        &mut self,
        session: &mut Session,
        send: &Send<'_>,
        sends: Vec<Routed>,
        guard: Option<Guard<'_>>,
    ) -> Result<(), Refusal> {
        if let Some(transaction) = &send.transaction {
            session.hand_over();
            session
                .send_in(transaction, sends, guard)
                .map_err(|error| Refusal::frame(error.to_string()))?;
            self.answer(send.receipt.as_deref(), |answer| {
                session.reply(None, answer)
            });
            return Ok(());
        }
        let warning = self.warning.take();
        let warning = warning.as_deref().map(|text| ("warning", text));
        let again = guard.map(|_| self.answer_again(send));
        self.answer_with(
            send.receipt.as_deref(),
            warning.as_slice(),
            |answer| match (guard, again) {
                (Some(guard), Some(again)) => {
                    session.send_to_all_once(sends, guard, &again, answer);
                }
                _ => session.send_to_all(sends, answer),
            },
        );
        Ok(())
    }

    /// The RECEIPT of a SEND whose message comes again, if one was asked for (SND-6).
    pub(super) fn answer_again(&self, send: &Send<'_>) -> Vec<u8> {
        let mut again = Vec::new();
        if let Some(receipt) = &send.receipt {
            let duplicate = [("duplicate", "true")];
            encode_receipt(self.version, receipt, &duplicate, &mut again);
        }
        again
    }

    /// Whether the SEND has to wait: for memory, for the store, for its destination unless routes lead on from there, or
    /// behind one that does (SND-5).
    fn park_send(
        &mut self,
        session: &mut Session,
        target: &Target,
        routed: bool,
        send: &Send<'_>,
        raw: &[u8],
    ) -> Result<Option<Step>, Refusal> {
        if self.is_forced() {
            return Ok(None);
        }
        let arriving = Arriving {
            bytes: raw.len() as u64,
            persistent: send.persistent,
            in_transaction: send.transaction.is_some(),
        };
        self.check_bytes(&session.engine, arriving.bytes)?;
        let cells = target.cells();
        let mut causes = session
            .room_for(cells, routed, arriving)
            .map_err(|no_room| refused(session, cells, &no_room))?;
        if causes.is_empty() && self.parked.is_empty() && !session.is_stalled() {
            return Ok(None);
        }
        let key = park_key(send);
        if causes.is_empty() {
            let behind = self.parked.holds_back(&key)
                || send.transaction.is_none() && session.has_stalled_for(cells);
            if !behind {
                return Ok(None);
            }
            causes.push(Cause::Behind);
        }
        self.park_for(session, send, raw, (cells, causes)).map(Some)
    }

    /// Parks a SEND to `cells` for these causes.
    pub(super) fn park_for(
        &mut self,
        session: &mut Session,
        send: &Send<'_>,
        raw: &[u8],
        (cells, causes): (&[Arc<Cell>], Vec<Cause>),
    ) -> Result<Step, Refusal> {
        let key = park_key(send);
        if self.replay.is_none() && !self.parked.holds_back(&key) {
            for cause in &causes {
                session.reports_full(cells, cause.usage(), cause.percent());
            }
        }
        let parking = Parking {
            key,
            raw,
            cells,
            causes,
            commits: false,
        };
        self.park(session, parking)
    }
}

/// Refuses a SEND for want of room, and tells those who want to know.
fn refused(session: &Session, cells: &[Arc<Cell>], no_room: &NoRoom) -> Refusal {
    session.reports_full(cells, no_room.cause.usage(), no_room.cause.percent());
    Refusal::frame(no_room.to_string())
}

/// What a SEND that waits holds back.
fn park_key(send: &Send<'_>) -> ParkKey {
    match &send.transaction {
        Some(transaction) => ParkKey::Transaction(transaction.to_string()),
        None => ParkKey::Destination(send.destination.to_string()),
    }
}

/// By what a destination knows the message if it comes again.
pub(super) fn dedup_id(send: &Send<'_>) -> Option<DedupId> {
    let id = send.dedup_id.as_deref()?;
    Some(DedupId::of(WIRE_STOMP, id.as_bytes()))
}

/// Bodies from this size on stay in the buffer they came in until they leave or have to wait.
const BORROWED_BODY_BYTES: usize = 16 * 1024;

/// What a message says beside what its sender said.
#[derive(Clone, Copy, Default)]
pub(super) struct Stamps<'a> {
    /// JMSXUserID; what the client says it is was dropped (SEC-11).
    pub(super) user_id: Option<&'a str>,
    /// The job of a message that is to be scheduled (SCH-4).
    pub(super) job: Option<u64>,
    /// What others call the temporary destination that the sender names in `reply-to` (DST-10).
    pub(super) reply_to: Option<&'a str>,
}

/// Makes the message of a SEND.
pub(super) fn build(
    session: &mut Session,
    send: &Send<'_>,
    octets: &Bytes,
    stamps: Stamps<'_>,
) -> Message {
    let mut escaped = false;
    let failure = transformation::failure(send);
    let head = |payload: &mut Vec<u8>| {
        let mut flags = send.write_user_head(payload);
        if let Some(error) = &failure {
            flags = flags.and(transformation::give_up(payload, error));
        }
        if let Some(remote) = stamps.reply_to {
            set_reply_to(payload, remote);
        }
        if let Some(user) = stamps.user_id {
            flags = flags.and(push_header(Known::JmsxUserId.name(), user, payload));
        }
        if let Some(job) = stamps.job {
            let id = super::schedule::job_id(job);
            flags = flags.and(push_header(Known::ScheduledJobId.name(), &id, payload));
        }
        escaped = flags.escaped;
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

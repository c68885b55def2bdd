//! Messages of producers (section 12 of the protocol).

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use ferrymq_protocols::openwire::commands::{
    Command, Destination as WireDestination, Message as WireMessage, ProducerAck,
};
use ferrymq_protocols::openwire::encode_stored;

use super::WIRE_OPENWIRE;
use super::access;
use super::adapter::{State, Step};
use super::consume::producer_key;
use super::destination::{self, Part};
use super::encoder::signed;
use super::parking::{Parking, refused};
use super::reply::Failure;
use super::transact::name_of;
use crate::broker::dedup::DedupId;
use crate::broker::governor::Cause;
use crate::broker::{Message, MessageFlags};
use crate::engine::cell::Cell;
use crate::engine::dedup::Guard;
use crate::engine::governor::Arriving;
use crate::engine::policy::Admission;
use crate::security::Right;
use crate::session::{Once, Session};

/// What a destination stands for: a composite for several.
type Cells = Arc<[Arc<Cell>]>;

/// Destinations this connection has sent to, so that a name is read once. The last one is found by its address.
#[derive(Default)]
pub(super) struct Targets {
    last: Option<(Arc<WireDestination>, Cells)>,
    known: HashMap<Arc<WireDestination>, Cells>,
}

/// Names remembered for one connection.
const NAMES_MAX: usize = 1024;

impl Targets {
    /// Forgets all names: what may be sent to has changed.
    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }
}

/// Contents from this size on stay in the buffer they came in until they leave or have to wait.
const BORROWED_CONTENT_BYTES: usize = 16 * 1024;
/// What the names of properties that ask for a later delivery begin with.
const SCHEDULED: &[u8] = b"AMQ_SCHEDULED_";

impl State {
    /// Where a message to `named` goes, destinations made by first use if they may be.
    pub(super) fn resolve(
        &mut self,
        session: &mut Session,
        named: &Arc<WireDestination>,
    ) -> Result<Cells, Failure> {
        if let Some((last, cells)) = &self.targets.last
            && Arc::ptr_eq(last, named)
        {
            return Ok(Arc::clone(cells));
        }
        if let Some(cells) = self.targets.known.get(named) {
            self.targets.last = Some((Arc::clone(named), Arc::clone(cells)));
            return Ok(Arc::clone(cells));
        }
        let parts = destination::parse(Some(named), self.settings.syntax)?;
        for destination in parts.iter().filter_map(Part::guarded) {
            // All may be written to, or none is made (SEC-4).
            access::check(self.access.as_ref(), Right::Write, &destination)?;
        }
        let (engine, access) = (&session.engine, self.access.as_ref());
        let mut cells = Vec::with_capacity(parts.len());
        let mut lasting = true;
        for part in &parts {
            cells.push(match part {
                Part::Named(destination) if destination.is_advisory() => {
                    let text =
                        format!("cannot send to {}: only the broker does", destination.uri());
                    return Err(Failure::destination(text));
                }
                Part::Named(destination) => {
                    access::open(engine, access, Right::Write, destination)?
                }
                Part::Temporary(destination) => {
                    // One of another connection may go at any time.
                    lasting = false;
                    let found = engine.registry.find_temporary(destination);
                    found.ok_or_else(|| Failure::destination(destination.uri()))?
                }
                Part::Pattern(..) => {
                    let text = format!("cannot send to {named}: wildcards are for consumers only");
                    return Err(Failure::destination(text));
                }
            });
        }
        let cells: Cells = cells.into();
        if lasting {
            session.sends_to(&cells);
            if self.targets.known.len() >= NAMES_MAX {
                self.targets.forget();
            }
            let known = &mut self.targets.known;
            known.insert(Arc::clone(named), Arc::clone(&cells));
            self.targets.last = Some((Arc::clone(named), Arc::clone(&cells)));
        }
        Ok(cells)
    }

    /// Enqueues a message, records it in its transaction, or parks it.
    pub(super) fn send(
        &mut self,
        session: &mut Session,
        mut message: WireMessage,
    ) -> Result<Step, Failure> {
        let named = message.destination.take();
        let named = named.ok_or_else(|| Failure::destination("no destination is given"))?;
        let cells = self.resolve(session, &named)?;
        message.destination = Some(named);
        if let Some(properties) = &message.marshalled_properties
            && memchr::memmem::find(properties, SCHEDULED).is_some()
        {
            return Err(Failure::not_yet("scheduled messages (AMQ_SCHEDULED_…) are"));
        }
        let transaction = message.transaction_id.as_deref().map(name_of).transpose()?;
        if let Some(name) = &transaction
            && !session.in_transaction(name)
        {
            return Err(Failure::jms(format!(
                "Transaction '{name}' has not been started."
            )));
        }
        let routed = cells.iter().any(|cell| cell.routes.is_any());
        let causes = self.lacks(session, &cells, routed, &message)?;
        if !causes.is_empty() {
            let parking = Parking {
                command: Command::Message(message),
                cells: &cells,
                transaction,
                causes,
            };
            return self.park(session, parking);
        }
        let size = message.window_bytes();
        let wanted = message.response_required;
        let to = message.command_id;
        let producer = message.producer_id.clone();
        let once = self.fault_tolerant.then(|| dedup_id(&message)).flatten();
        // Of the answers one at most is wanted: a producer with a window waits for nothing else.
        let window = producer
            .as_deref()
            .filter(|producer| !wanted && self.windows.contains_key(&producer_key(producer)));
        let credit = window.map(|producer| ProducerAck {
            producer_id: Some(producer.clone()),
            size: i32::try_from(size).unwrap_or(i32::MAX),
            ..ProducerAck::default()
        });
        if message.expiration > 0 && message.expiration <= signed(session.now_ms()) {
            // Too late already: taken, and gone.
            session.hand_over();
            let answer = match &credit {
                Some(credit) => self.answers.render(credit),
                None => self.answers.success(wanted.then_some(to)),
            };
            session.reply(None, answer);
            return Ok(Step::Answered);
        }
        let kept = match (&transaction, routed, &cells[..]) {
            (None, false, [_]) => None,
            _ => Some(message.clone()),
        };
        let built = self.build(session, message)?;
        let answer = match &credit {
            Some(credit) => self.answers.render(credit),
            None => self.answers.success(wanted.then_some(to)),
        };
        let Some(kept) = kept else {
            match once {
                None => session.send(&cells[0], built, answer),
                Some(id) => {
                    let again = answer.to_vec();
                    let once = Once { id, again: &again };
                    session.send_once(&cells[0], built, once, answer);
                }
            }
            return Ok(Step::Answered);
        };
        let persistent = built.is_persistent();
        let mut sends = session.spread(&cells, built);
        if routed {
            let mut targets = sends.iter().map(|one| std::slice::from_ref(&one.cell));
            let behind = session.is_stalled() && targets.any(|to| session.has_stalled_for(to));
            let cause = match session.admit(&mut sends) {
                Admission::Open => behind.then_some(Cause::Behind),
                Admission::Wait(cause) => Some(cause),
                Admission::Refused(no_room) => return Err(refused(session, &cells, &no_room)),
            };
            if let Some(cause) = cause {
                let parking = Parking {
                    command: Command::Message(kept),
                    cells: &cells,
                    transaction,
                    causes: vec![cause],
                };
                return self.park(session, parking);
            }
        }
        let guard = once.map(|id| Guard {
            cells: &cells,
            id,
            persistent,
        });
        let answer = answer.to_vec();
        if let Some(name) = &transaction {
            session.hand_over();
            session.send_in(name, sends, guard)?;
            session.reply(None, &answer);
        } else {
            match guard {
                None => session.send_to_all(sends, &answer),
                Some(guard) => session.send_to_all_once(sends, guard, &answer, &answer),
            }
        }
        Ok(Step::Answered)
    }

    /// What stands in the way of the message (SND-5): of a destination, of the broker, or what was sent there before.
    fn lacks(
        &self,
        session: &Session,
        cells: &[Arc<Cell>],
        routed: bool,
        message: &WireMessage,
    ) -> Result<Vec<Cause>, Failure> {
        let arriving = Arriving {
            bytes: message.window_bytes() as u64,
            persistent: message.persistent,
            in_transaction: message.transaction_id.is_some(),
        };
        let mut causes = session
            .room_for(cells, routed, arriving)
            .map_err(|no_room| refused(session, cells, &no_room))?;
        let behind = !arriving.in_transaction && session.has_stalled_for(cells);
        if causes.is_empty() && behind {
            causes.push(Cause::Behind);
        }
        Ok(causes)
    }

    /// Makes a message: all fields but the content in the form in which they are kept, and the content.
    fn build(
        &mut self,
        session: &mut Session,
        mut message: WireMessage,
    ) -> Result<Message, Failure> {
        let content = message.content.take();
        // That there is one, though elsewhere.
        message.content = content.as_ref().map(|_| Bytes::new());
        (message.command_id, message.response_required) = (0, false);
        (message.transaction_id, message.redelivery_counter) = (None, 0);
        message.broker_in_time = signed(session.now_ms());
        message.user_id = self
            .access
            .as_ref()
            .and_then(|access| access.user_id())
            .map(Into::into);
        self.head.clear();
        encode_stored(&message, &mut self.head)
            .map_err(|error| Failure::jms(format!("the message cannot be kept: {error}")))?;
        let content = content.unwrap_or_default();
        let borrows = content.len() >= BORROWED_CONTENT_BYTES;
        let copied: &[u8] = if borrows { &[] } else { &content };
        let mut payload = Vec::with_capacity(self.head.len() + copied.len());
        payload.extend_from_slice(&self.head);
        payload.extend_from_slice(copied);
        let payload = Bytes::from(payload.into_boxed_slice());
        let mut flags = 0;
        if message.persistent {
            flags |= MessageFlags::PERSISTENT;
        }
        if message.group_id.as_ref().is_some_and(|id| *id != "") {
            flags |= MessageFlags::GROUPED;
        }
        let (id, flags) = (session.next_id(), MessageFlags(flags));
        let mut built = if borrows {
            Message::with_borrowed_body(id, payload, content, flags, WIRE_OPENWIRE)
        } else {
            let head_len = u32::try_from(self.head.len()).unwrap_or(u32::MAX);
            Message::new(id, payload, head_len, flags, WIRE_OPENWIRE)
        };
        let ms = |ms: i64| u64::try_from(ms).unwrap_or(0);
        built.timestamp_ms = ms(message.timestamp);
        built.expires_ms = ms(message.expiration);
        built.priority = u8::try_from(message.priority).unwrap_or(4).min(9);
        Ok(built)
    }
}

/// By what a destination knows the message if it comes again (OWI-4).
fn dedup_id(message: &WireMessage) -> Option<DedupId> {
    let id = message.message_id.as_ref()?;
    let producer = id.producer_id.as_ref()?;
    let text = format!("{producer}:{}", id.producer_sequence_id);
    Some(DedupId::of(WIRE_OPENWIRE, text.as_bytes()))
}

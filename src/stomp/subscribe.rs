//! SUBSCRIBE and UNSUBSCRIBE (section 5).

use std::collections::HashSet;
use std::sync::Arc;

use ferrymq_protocols::stomp::{
    AckMode as WireAck, Known, MessageTemplate, Prefetch, Subscribe, Unsubscribe,
};

use super::adapter::{State, Step};
use super::destination::{Address, Part};
use super::encoder::MessageEncoder;
use super::ids::Ids;
use super::reply::Refusal;
use super::transformation::{Form, Transformation};
use super::{access, names, namespace, options, wishes};
use crate::broker::rising::Rising;
use crate::broker::selector::CONVERT_PREFIX;
use crate::broker::thin::OneOrMore;
use crate::broker::{AckMode, Destination, Kind, Pattern, Window};
use crate::engine::cell::{Cell, Encoder};
use crate::engine::choice::Choice;
use crate::engine::durables::{DurableError, DurableName};
use crate::engine::feeds::{self, Blueprint, Lateness, MakeEncoder};
use crate::security::Right;
use crate::session::{Session, SubscribeRequest, feed_serial};

/// The client's names for its subscriptions.
#[derive(Default)]
pub(super) struct Subscriptions {
    ids: Ids,
    /// By serial, in order of subscribing (SUB-8, ACK-1 in 1.0).
    all: Rising<Subscription>,
    last_serial: u64,
    browsers: HashSet<u64>,
    /// Those to shared durable subscriptions.
    shared: HashSet<u64>,
}

/// What is remembered of a subscription.
struct Subscription {
    to: OneOrMore<Part>,
    id: Option<Box<str>>,
}

impl Subscriptions {
    /// The serial of the subscription `id`.
    pub(super) fn serial(&self, id: &str) -> Option<u64> {
        let has = |serial| self.id(serial) == Some(id);
        self.ids.find(id, has)
    }

    fn id(&self, serial: u64) -> Option<&str> {
        self.all.get(serial)?.id.as_deref()
    }

    /// Whether the subscription only looks.
    pub(super) fn is_browser(&self, serial: u64) -> bool {
        self.browsers.contains(&serial)
    }

    /// Whether the subscription is to a shared durable one.
    pub(super) fn is_shared(&self, serial: u64) -> bool {
        self.shared.contains(&serial)
    }

    /// What the subscription is to.
    pub(super) fn parts(&self, serial: u64) -> Option<&[Part]> {
        Some(&self.all.get(serial)?.to)
    }

    /// All serials, oldest first.
    pub(super) fn serials(&self) -> impl Iterator<Item = u64> {
        self.all.iter().map(|(serial, _)| serial)
    }

    /// All of them, oldest first: serial, destinations, id.
    pub(super) fn all(&self) -> impl Iterator<Item = (u64, &[Part], Option<&str>)> {
        self.all
            .iter()
            .map(|(serial, known)| (serial, &*known.to, known.id.as_deref()))
    }

    fn add(&mut self, serial: u64, address: Address, id: Option<Box<str>>) {
        if let Some(id) = &id {
            self.ids.add(id, serial);
        }
        let to = address.parts.into_iter().collect();
        self.all.insert(serial, Subscription { to, id });
    }

    fn remove(&mut self, serial: u64) {
        self.browsers.remove(&serial);
        self.shared.remove(&serial);
        if let Some(id) = self.all.remove(serial).and_then(|known| known.id) {
            let all = &self.all;
            let id_of = |serial| all.get(serial)?.id.as_deref();
            self.ids.remove(&id, serial, id_of);
        }
    }

    fn oldest_on(&self, address: &Address) -> Option<u64> {
        self.all
            .iter()
            .find(|(_, known)| *known.to == address.parts)
            .map(|(serial, _)| serial)
    }
}

impl State {
    /// Adds a subscription; its RECEIPT comes before its first MESSAGE.
    pub(super) fn subscribe(
        &mut self,
        session: &mut Session,
        wanted: &Subscribe<'_>,
    ) -> Result<Step, Refusal> {
        if wanted.receipt.is_some() && session.outbox.watch_due() {
            // Answers before it wait for a sync; deliveries must not overtake its own.
            return Ok(Step::Hold);
        }
        names::refuse_streams(&wanted.headers)?;
        let kind = names::typed(&wanted.headers, Known::SubscriptionType)?;
        let typed = kind.map(|kind| self.settings.names.with_kind(&wanted.destination, kind));
        let mut address = self.address(typed.as_deref().unwrap_or(&wanted.destination))?;
        let mut with_options = None;
        if let Some(options) = &address.options {
            options::apply(with_options.insert(wanted.clone()), options)?;
        }
        let wanted = with_options.as_ref().unwrap_or(wanted);
        self.check_subscribe(wanted, &address)?;
        let durable = self.durable_name(wanted, &address)?;
        let shared = self.shared_name(wanted, &address)?;
        for destination in address.parts.iter().filter_map(Part::guarded) {
            // All may be read, or none is made (SEC-4).
            access::check(self.access.as_ref(), Right::Read, &destination)?;
        }
        let declared = self.declared(&wanted.headers)?;
        let (mut warning, mut after) = (late_warning(wanted), None);
        let (mut cells, mut patterns) = (Vec::new(), Vec::new());
        for part in &mut address.parts {
            match part {
                Part::Pattern(Kind::Queue, pattern)
                    if session.engine.is_consumer_queue(pattern.as_str()) =>
                {
                    let queue = Destination::queue(pattern.as_str());
                    cells.push(self.readable(session, &queue)?);
                }
                Part::Pattern(kind, pattern) => patterns.push((*kind, Pattern::clone(pattern))),
                Part::Named(destination) => {
                    let declared = declared.as_ref();
                    let opened = self.open_declared(session, Right::Read, destination, declared)?;
                    (warning, after) = (warning.or(opened.warning), after.max(opened.after));
                    // The name is there once, however many remember it.
                    *destination = opened.cell.destination.clone();
                    cells.push(opened.cell);
                }
                part => cells.push(self.source(session, part)?),
            }
        }
        if let (Some(shared), [topic]) = (&shared, &cells[..]) {
            let known = (session.engine).shared_consumers(&shared.topic, &shared.name);
            if known.is_none() {
                namespace::check_destinations(&session.engine, self.access.as_ref())?;
            }
            let opened = session.engine.open_shared(topic, &shared.name);
            let (queue, ticket) = opened.map_err(|error| {
                Refusal::frame(format!(
                    "the durable subscription could not be stored: {error}"
                ))
            })?;
            (cells, after) = (vec![queue], ticket);
        }
        let serial = self.subscriptions.last_serial + 1;
        let (mut blueprint, is_shared) = (
            self.blueprint(session, wanted, serial, durable.is_some())?,
            shared.is_some(),
        );
        if let Some(shared) = shared {
            blueprint.encode = self.encode_as(session, wanted, serial, Some(shared.topic));
        }
        self.subscriptions.last_serial = serial;
        let request = SubscribeRequest {
            cells,
            patterns,
            blueprint,
            durable: durable.clone(),
            after,
        };
        let warning = warning.as_deref().map(|text| ("warning", text));
        self.answer_with(wanted.receipt.as_deref(), warning.as_slice(), |answer| {
            session.subscribe(serial, request, answer)
        })
        .map_err(|error| refuse_durable(&error, durable.as_ref()))?;
        self.subscriptions
            .add(serial, address, wanted.id.as_deref().map(Box::from));
        if wanted.browser {
            self.subscriptions.browsers.insert(serial);
        }
        if is_shared {
            self.subscriptions.shared.insert(serial);
        }
        if durable.is_some() || after.is_some() {
            self.starting.push(serial);
        }
        Ok(Step::Done)
    }

    /// A destination to consume from. Only the owner of a temporary one may (DST-11).
    fn source(&mut self, session: &mut Session, part: &Part) -> Result<Arc<Cell>, Refusal> {
        match part {
            Part::Named(destination) => self.readable(session, destination),
            Part::Existing(destination) => {
                let access = self.access.as_ref();
                access::find(&session.engine, access, Right::Read, destination)
            }
            Part::Own(kind, name) => self.temporary(session, *kind, name),
            Part::Remote(destination) => {
                let own = self.temporaries.by_destination(destination);
                own.ok_or_else(|| {
                    let kind = match destination.kind {
                        Kind::Queue => "queue",
                        Kind::Topic => "topic",
                    };
                    Refusal::frame(format!(
                        "Subscribing to a temporary {kind} created by another connection is not permitted"
                    ))
                })
            }
            Part::Pattern(..) => unreachable!("a pattern is no destination"),
        }
    }

    fn readable(&self, session: &Session, destination: &Destination) -> Result<Arc<Cell>, Refusal> {
        let access = self.access.as_ref();
        access::open(&session.engine, access, Right::Read, destination)
    }

    /// What the consumers of a subscription are like.
    fn blueprint(
        &self,
        session: &Session,
        wanted: &Subscribe<'_>,
        serial: u64,
        durable: bool,
    ) -> Result<Blueprint, Refusal> {
        let mode = mode_of(wanted);
        let (prefetch, browser) = (wanted.prefetch, wanted.browser);
        let window = move |cell: &Cell| window(prefetch, browser, durable, cell);
        Ok(Blueprint {
            mode,
            window: Box::new(window),
            choice: Choice {
                selector: wanted.selector.as_deref().map(converting),
                no_local: wanted.no_local,
            },
            wishes: wishes::of(wanted, mode)?,
            encode: self.encode_as(session, wanted, serial, None),
            origin: session.origin(),
            lateness: lateness(wanted),
            facts: None,
        })
    }

    /// How deliveries of a subscription are rendered: as those of `topic`, if its queue is only inside.
    fn encode_as(
        &self,
        session: &Session,
        wanted: &Subscribe<'_>,
        serial: u64,
        topic: Option<Destination>,
    ) -> MakeEncoder {
        let mode = mode_of(wanted);
        let (version, id_prefix) = (self.version, self.id_prefix.clone());
        let id = wanted.id.as_ref().map(ToString::to_string);
        let transformation = wanted.headers.get(Known::Transformation);
        let form = transformation.and_then(|name| Form::wanted(&name));
        let advisories = Arc::clone(self.advisory_form(session));
        let readers = Arc::clone(&session.engine.properties);
        let always_content_length = self.settings.always_content_length;
        let (names, written) = (
            Arc::clone(&self.temporaries.names),
            self.settings.names.clone(),
        );
        let encode = move |destination: &Destination, index: u64| {
            let serial = feed_serial(serial, index);
            let ack_prefix = (mode != AckMode::Auto).then(|| format!("{serial}-"));
            let destination = topic.as_ref().unwrap_or(destination);
            let template = MessageTemplate::new(
                version,
                &id_prefix,
                id.as_deref(),
                &names.shown(destination, &written),
                ack_prefix.as_deref(),
            );
            let names = Arc::clone(&names);
            let transformation = Transformation::new(form, &advisories);
            let hides_route = topic.is_some();
            let encoder = MessageEncoder::new(
                template,
                always_content_length,
                names,
                hides_route,
                transformation,
                Arc::clone(&readers),
            );
            Box::new(encoder) as Box<dyn Encoder>
        };
        Box::new(encode)
    }

    fn check_subscribe(&self, wanted: &Subscribe<'_>, address: &Address) -> Result<(), Refusal> {
        if wanted.browser {
            match &address.parts[..] {
                [Part::Named(_) | Part::Existing(_) | Part::Own(..)]
                    if address.parts[0].kind() == Kind::Queue => {}
                [_] if address.parts[0].kind() == Kind::Topic => {
                    return Err(Refusal::frame("cannot browse a topic"));
                }
                _ => return Err(Refusal::frame("only one queue can be browsed at a time")),
            }
        }
        if self.settings.strict_ack_mode && !wanted.ack_is_known {
            return Err(Refusal::frame(
                "ack must be auto, client or client-individual (stomp.strict_ack_mode)",
            ));
        }
        if let Some(id) = &wanted.id
            && self.subscriptions.serial(id).is_some()
        {
            return Err(Refusal::frame(format!(
                "There already is a subscription with id {id} on this connection"
            )));
        }
        let max = self.settings.subscriptions_max;
        if max > 0 && self.subscriptions.all.len() >= max {
            return Err(Refusal::frame(format!(
                "subscriptions at maximum limit: {max} (stomp.subscriptions_max)"
            )));
        }
        Ok(())
    }

    fn durable_name(
        &self,
        wanted: &Subscribe<'_>,
        address: &Address,
    ) -> Result<Option<DurableName>, Refusal> {
        let Some(name) = &wanted.durable_name else {
            return Ok(None);
        };
        if address.parts.iter().any(|part| part.kind() == Kind::Queue) {
            return Err(Refusal::frame(
                "cannot durably subscribe to a Queue destination",
            ));
        }
        let is_advisory = |part: &Part| match part {
            Part::Named(topic) => topic.is_advisory(),
            Part::Pattern(kind, pattern) => feeds::listens(*kind, pattern),
            _ => false,
        };
        if address.parts.iter().any(is_advisory) {
            return Err(Refusal::frame(
                "cannot durably subscribe to an advisory topic",
            ));
        }
        let is_temporary = |part: &Part| matches!(part, Part::Own(..) | Part::Remote(_));
        if address.parts.iter().any(is_temporary) {
            return Err(Refusal::frame(
                "cannot durably subscribe to a temporary topic",
            ));
        }
        self.named(name).map(Some)
    }

    /// A durable subscription belongs to a client id that the client has chosen itself (SUB-2).
    fn named(&self, name: &str) -> Result<DurableName, Refusal> {
        if !self.own_client_id {
            return Err(Refusal::frame("durable subscription needs a client-id"));
        }
        Ok(DurableName {
            client_id: self.client_id().to_owned(),
            name: name.to_owned(),
        })
    }

    /// Ends a subscription, or removes a durable one for good.
    pub(super) fn unsubscribe(
        &mut self,
        session: &mut Session,
        wanted: &Unsubscribe<'_>,
    ) -> Result<(), Refusal> {
        if let Some(name) = &wanted.durable_name {
            let name = self.named(name)?;
            // Who may not read what it holds may not throw it away either.
            for topic in session.engine.durables.topics_of(&name) {
                access::check(self.access.as_ref(), Right::Read, &topic)?;
            }
            return self
                .answer(wanted.receipt.as_deref(), |answer| {
                    session.unsubscribe_durable(&name, answer)
                })
                .map_err(|error| refuse_durable(&error, Some(&name)));
        }
        if self.unsubscribe_shared(session, wanted)? {
            return Ok(());
        }
        let serial = match (&wanted.id, &wanted.destination) {
            (Some(id), _) => self.subscriptions.serial(id),
            (None, Some(text)) => {
                let address = self.address(text)?;
                self.subscriptions.oldest_on(&address)
            }
            (None, None) => None,
        };
        let Some(serial) = serial else {
            return Err(Refusal::frame("No subscription matched."));
        };
        self.forget_subscription(serial);
        self.answer(wanted.receipt.as_deref(), |answer| {
            session.unsubscribe(serial, answer)
        });
        Ok(())
    }

    /// The client's name for a subscription means nothing any more.
    pub(super) fn forget_subscription(&mut self, serial: u64) {
        self.subscriptions.remove(serial);
        self.starting.retain(|starting| *starting != serial);
    }
}

fn mode_of(wanted: &Subscribe<'_>) -> AckMode {
    match wanted.ack {
        WireAck::Auto => AckMode::Auto,
        WireAck::Client => AckMode::Client,
        WireAck::ClientIndividual => AckMode::Individual,
    }
}

/// What the subscription asks of topics beyond what comes from now on. As in ActiveMQ a limit of 0 asks for nothing.
fn lateness(wanted: &Subscribe<'_>) -> Lateness {
    let pending_max = wanted.pending_max.filter(|max| *max != 0);
    Lateness {
        retroactive: wanted.retroactive,
        // Below 0: any number.
        pending_max: pending_max.map(|max| u32::try_from(max).unwrap_or(u32::MAX)),
    }
}

/// What the RECEIPT has to say of wishes that do nothing.
fn late_warning(wanted: &Subscribe<'_>) -> Option<String> {
    let is_durable = wanted.durable_name.is_some();
    (wanted.retroactive && is_durable).then(|| {
        "activemq.retroactive has no effect on a durable subscription, which misses nothing"
            .to_owned()
    })
}

/// The selector of a STOMP subscription: all properties are strings there, so they convert (SEL-4).
fn converting(selector: &str) -> String {
    format!("{CONVERT_PREFIX}{selector}")
}

fn refuse_durable(error: &DurableError, name: Option<&DurableName>) -> Refusal {
    let (client_id, name) = name.map_or(("", ""), |name| {
        (name.client_id.as_str(), name.name.as_str())
    });
    Refusal::frame(match error {
        DurableError::InUse => {
            format!(
                "Durable consumer is in use for client: {client_id} and subscriptionName: {name}"
            )
        }
        DurableError::Unknown => {
            format!(
                "No durable subscription exists for clientID: {client_id} and subscriptionName: {name}"
            )
        }
        DurableError::Selector(error) => error.clone(),
        DurableError::Store(error) => {
            format!("the durable subscription could not be stored: {error}")
        }
    })
}

/// The window that a client asked for, or else the policy of the destination (PRE-1).
fn window(prefetch: Option<Prefetch>, browser: bool, durable: bool, cell: &Cell) -> Window {
    if let Some(Prefetch::Bytes(bytes_max)) = prefetch {
        return Window::bytes(bytes_max);
    }
    let policy = cell.policy();
    Window::messages(match (prefetch, cell.destination.kind, durable) {
        (Some(Prefetch::Messages(count)), ..) => count,
        (Some(Prefetch::Unlimited | Prefetch::Bytes(_)), ..) => u32::MAX,
        (None, Kind::Queue, _) if browser => policy.queue_browser_prefetch,
        (None, Kind::Queue, _) => policy.queue_prefetch,
        (None, Kind::Topic, false) => policy.topic_prefetch,
        (None, Kind::Topic, true) => policy.durable_topic_prefetch,
    })
}

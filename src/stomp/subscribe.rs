//! SUBSCRIBE and UNSUBSCRIBE (section 5).

use std::collections::HashSet;

use ferrymq_protocols::stomp::{
    AckMode as WireAck, MessageTemplate, Prefetch, Subscribe, Unsubscribe,
};

use super::adapter::{SerialById, State, Step};
use super::encoder::MessageEncoder;
use super::reply::Refusal;
use super::{destination, send, wishes};
use crate::broker::selector::CONVERT_PREFIX;
use crate::broker::{AckMode, Destination, Kind, Window};
use crate::engine::choice::Choice;
use crate::engine::durables::{DurableError, DurableName};
use crate::session::{Session, SubscribeRequest};

/// What a browser may be sent without an acknowledgement, if it wants any (PRE-1, BRO-2).
const BROWSER_PREFETCH: u32 = 500;

/// The client's names for its subscriptions.
#[derive(Default)]
pub(super) struct Known {
    by_id: SerialById,
    /// In order of subscribing: serial, destination, id (SUB-8, ACK-1 in 1.0).
    all: Vec<(u64, Destination, Option<String>)>,
    last_serial: u64,
    browsers: HashSet<u64>,
}

impl Known {
    /// The serial of the subscription `id`.
    pub(super) fn serial(&self, id: &str) -> Option<u64> {
        self.by_id.get(id).copied()
    }

    /// Whether the subscription only looks.
    pub(super) fn is_browser(&self, serial: u64) -> bool {
        self.browsers.contains(&serial)
    }

    /// All serials, oldest first.
    pub(super) fn serials(&self) -> impl Iterator<Item = u64> {
        self.all.iter().map(|(serial, ..)| *serial)
    }

    fn add(&mut self, serial: u64, destination: Destination, id: Option<String>) {
        if let Some(id) = &id {
            self.by_id.insert(id.clone(), serial);
        }
        self.all.push((serial, destination, id));
    }

    fn remove(&mut self, serial: u64) {
        self.browsers.remove(&serial);
        if let Some(at) = self.all.iter().position(|(known, ..)| *known == serial)
            && let (_, _, Some(id)) = self.all.remove(at)
        {
            self.by_id.remove(&id);
        }
    }

    fn oldest_on(&self, destination: &Destination) -> Option<u64> {
        self.all
            .iter()
            .find(|(_, known, _)| known == destination)
            .map(|(serial, ..)| *serial)
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
        let destination = self.check_subscribe(wanted)?;
        let durable = self.durable_name(wanted, &destination)?;
        let cell = send::find(&session.engine, &destination, self.settings.auto_create)?;
        let mode = match wanted.ack {
            WireAck::Auto => AckMode::Auto,
            WireAck::Client => AckMode::Client,
            WireAck::ClientIndividual => AckMode::Individual,
        };
        self.subscriptions.last_serial += 1;
        let serial = self.subscriptions.last_serial;
        let ack_prefix = (mode != AckMode::Auto).then(|| format!("{serial}-"));
        let template = MessageTemplate::new(
            self.version,
            &self.settings.id_prefix(),
            wanted.id.as_deref(),
            &destination.to_string(),
            ack_prefix.as_deref(),
        );
        let request = SubscribeRequest {
            cell: &cell,
            mode,
            window: self.window(wanted, destination.kind, durable.is_some()),
            choice: Choice {
                selector: wanted.selector.as_deref().map(converting),
                no_local: wanted.no_local,
            },
            encoder: Box::new(MessageEncoder::new(
                template,
                self.settings.always_content_length,
            )),
            durable: durable.clone(),
            wishes: wishes::of(wanted, mode, destination.kind)?,
        };
        self.answer(wanted.receipt.as_deref(), |answer| {
            session.subscribe(serial, request, answer)
        })
        .map_err(|error| refuse_durable(&error, durable.as_ref()))?;
        self.subscriptions.add(
            serial,
            destination,
            wanted.id.as_ref().map(ToString::to_string),
        );
        if wanted.browser {
            self.subscriptions.browsers.insert(serial);
        }
        if durable.is_some() {
            self.starting.push(serial);
        }
        Ok(Step::Done)
    }

    fn check_subscribe(&self, wanted: &Subscribe<'_>) -> Result<Destination, Refusal> {
        let destination = destination::parse(&wanted.destination)?;
        let not_yet = [
            (destination.is_wildcard(), "wildcard subscriptions are"),
            (wanted.retroactive, "retroactive subscriptions are"),
            (wanted.durable, "durable:true subscriptions are"),
        ];
        if let Some((_, what)) = not_yet.iter().find(|(wanted, _)| *wanted) {
            return Err(Refusal::not_yet(what));
        }
        if wanted.browser && destination.kind == Kind::Topic {
            return Err(Refusal::frame("cannot browse a topic"));
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
        Ok(destination)
    }

    fn durable_name(
        &self,
        wanted: &Subscribe<'_>,
        destination: &Destination,
    ) -> Result<Option<DurableName>, Refusal> {
        let Some(name) = &wanted.durable_name else {
            return Ok(None);
        };
        if destination.kind == Kind::Queue {
            return Err(Refusal::frame(
                "cannot durably subscribe to a Queue destination",
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

    fn window(&self, wanted: &Subscribe<'_>, kind: Kind, durable: bool) -> Window {
        Window::messages(match (wanted.prefetch, kind, durable) {
            (Some(Prefetch::Messages(count)), ..) => count,
            (Some(Prefetch::Unlimited), ..) => u32::MAX,
            (None, Kind::Queue, _) if wanted.browser => BROWSER_PREFETCH,
            (None, Kind::Queue, _) => self.settings.queue_prefetch,
            (None, Kind::Topic, false) => self.settings.topic_prefetch,
            (None, Kind::Topic, true) => self.settings.durable_topic_prefetch,
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
            return self
                .answer(wanted.receipt.as_deref(), |answer| {
                    session.unsubscribe_durable(&name, answer)
                })
                .map_err(|error| refuse_durable(&error, Some(&name)));
        }
        let serial = match (&wanted.id, &wanted.destination) {
            (Some(id), _) => self.subscriptions.serial(id),
            (None, Some(text)) => self.subscriptions.oldest_on(&destination::parse(text)?),
            (None, None) => None,
        };
        let Some(serial) = serial else {
            return Err(Refusal::frame("No subscription matched."));
        };
        self.subscriptions.remove(serial);
        self.starting.retain(|starting| *starting != serial);
        self.answer(wanted.receipt.as_deref(), |answer| {
            session.unsubscribe(serial, answer)
        });
        Ok(())
    }
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

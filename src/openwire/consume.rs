//! ConsumerInfo, ConsumerControl and MessagePull: consumers, their windows, and what they ask for (section 13 and 15 of
//! the protocol).

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use ferrymq_protocols::openwire::commands::{
    ConsumerControl, ConsumerId, ConsumerInfo, Destination as WireDestination, MessagePull,
    ProducerId, ProducerInfo,
};

use super::adapter::{State, Step};
use super::advisory::AdvisoryForm;
use super::destination::{self, Part};
use super::encoder::{Dispatches, empty};
use super::reply::Failure;
use super::{access, destination::shown};
use crate::broker::{AckMode, Destination, Kind, Room, Window, Wishes};
use crate::engine::cell::{Cell, Encoder};
use crate::engine::choice::Choice;
use crate::engine::durables::{DurableError, DurableName};
use crate::engine::feeds::{self, Blueprint, Lateness, MakeEncoder};
use crate::security::Right;
use crate::session::{Session, SubscribeRequest, Subscribed};

/// A consumer by its session and its number there.
pub(super) type Key = (i64, i64);

/// A consumer of this connection.
pub(super) struct Consumer {
    pub(super) id: Arc<ConsumerId>,
    pub(super) serial: u64,
    /// As the client named it.
    pub(super) destination: Arc<WireDestination>,
    pub(super) parts: Vec<Part>,
    /// The window it asked for.
    pub(super) prefetch: u32,
    /// By how much acknowledgements as delivered have widened it (PRE-3).
    pub(super) extension: u32,
    /// Both together, for destinations that join later.
    window: Arc<AtomicU32>,
    /// All deliveries before this number are acknowledged.
    pub(super) floor: u64,
    /// It has asked for one message.
    pub(super) pull: Option<Pull>,
}

/// A consumer asks for one message (PRE-2).
#[derive(Clone, Copy)]
pub(super) struct Pull {
    /// How many messages it holds when it has got it.
    pub(super) held: usize,
    /// When it gives up; `None`: never.
    until_ms: Option<u64>,
}

impl Consumer {
    pub(super) fn room(&self) -> Room {
        let messages = self.prefetch.saturating_add(self.extension);
        self.window.store(messages, Ordering::Relaxed);
        Room::Messages(messages)
    }
}

/// The consumers of a connection.
#[derive(Default)]
pub(super) struct Consumers {
    by_key: HashMap<Key, Consumer>,
}

impl Consumers {
    pub(super) fn iter(&self) -> impl Iterator<Item = (&Key, &Consumer)> {
        self.by_key.iter()
    }

    pub(super) fn get_mut(&mut self, key: Key) -> Option<&mut Consumer> {
        self.by_key.get_mut(&key)
    }

    pub(super) fn remove(&mut self, key: &Key) -> Option<Consumer> {
        self.by_key.remove(key)
    }

    /// Removes the one whose subscription it is.
    pub(super) fn remove_serial(&mut self, serial: u64) -> Option<Consumer> {
        let mut consumers = self.by_key.iter();
        let key = consumers.find_map(|(key, consumer)| (consumer.serial == serial).then_some(*key));
        self.by_key.remove(&key?)
    }

    /// The keys of those of a session; of all without one.
    pub(super) fn keys(&self, session: Option<i64>) -> Vec<Key> {
        let keys = self.by_key.keys().copied();
        keys.filter(|key| session.is_none_or(|session| key.0 == session))
            .collect()
    }

    /// When the first pull gives up.
    pub(super) fn next_pull_ms(&self) -> Option<u64> {
        let pulls = self.by_key.values().filter_map(|consumer| consumer.pull);
        pulls.filter_map(|pull| pull.until_ms).min()
    }
}

/// The key of a consumer.
pub(super) fn key_of(id: Option<&Arc<ConsumerId>>) -> Result<Key, Failure> {
    let id = id.ok_or_else(|| Failure::state("no consumer is named"))?;
    Ok((id.session_id, id.value))
}

/// How long a pull that does not want to wait waits for a message that has to be read from disk.
const READ_BACK_MS: u64 = 200;

impl State {
    /// ProducerInfo: whether it may send there, and what window it has.
    pub(super) fn produce(
        &mut self,
        session: &mut Session,
        info: &ProducerInfo,
    ) -> Result<Step, Failure> {
        let id = info
            .producer_id
            .as_ref()
            .ok_or_else(|| Failure::state("no producer is named"))?;
        let key = producer_key(id);
        if let Some(destination) = &info.destination {
            self.resolve(session, destination)?;
        }
        if info.window_size > 0 {
            self.windows.insert(key, info.window_size);
        }
        Ok(Step::Done)
    }

    /// ConsumerInfo.
    pub(super) fn consume(
        &mut self,
        session: &mut Session,
        info: &ConsumerInfo,
    ) -> Result<Step, Failure> {
        let key = key_of(info.consumer_id.as_ref())?;
        if self.consumers.get_mut(key).is_some() {
            // A client that comes again may say so twice.
            return Ok(Step::Done);
        }
        if info.network_subscription || info.additional_predicate.is_some() {
            return Err(Failure::not_yet("networks of brokers are"));
        }
        let (Some(id), Some(named)) = (info.consumer_id.clone(), info.destination.clone()) else {
            return Err(Failure::destination("no destination is given"));
        };
        let parts = destination::parse(Some(&named), self.settings.syntax)?;
        let durable = self.durable_name(info, &parts)?;
        check_browser(info, &parts)?;
        for destination in parts.iter().filter_map(Part::guarded) {
            // All may be read, or none is made (SEC-4).
            access::check(self.access.as_ref(), Right::Read, &destination)?;
        }
        let (mut cells, mut patterns) = (Vec::new(), Vec::new());
        for part in &parts {
            match part {
                Part::Pattern(Kind::Queue, pattern)
                    if session.engine.is_consumer_queue(pattern.as_str()) =>
                {
                    let queue = Destination::queue(pattern.as_str());
                    cells.push(self.readable(session, &queue)?);
                }
                Part::Pattern(kind, pattern) => patterns.push((*kind, pattern.clone())),
                Part::Named(destination) => cells.push(self.readable(session, destination)?),
                Part::Temporary(destination) => {
                    cells.push(self.own_temporary(session, destination)?);
                }
            }
        }
        self.last_serial += 1;
        let serial = self.last_serial;
        let prefetch = u32::try_from(info.prefetch_size).unwrap_or(0);
        let window = Arc::new(AtomicU32::new(prefetch));
        let blueprint = self.blueprint(session, info, &id, &window);
        let request = SubscribeRequest {
            cells,
            patterns,
            blueprint,
            durable: durable.clone(),
            after: None,
        };
        let to = info.response_required.then_some(info.command_id);
        session
            .subscribe(serial, request, self.answers.success(to))
            .map_err(|error| refuse_durable(&error, durable.as_ref()))?;
        if durable.is_some() {
            self.starting.push(serial);
        }
        let consumer = Consumer {
            id,
            serial,
            destination: named,
            parts,
            prefetch,
            extension: 0,
            window,
            floor: 1,
            pull: None,
        };
        self.consumers.by_key.insert(key, consumer);
        Ok(Step::Answered)
    }

    fn readable(&self, session: &Session, destination: &Destination) -> Result<Arc<Cell>, Failure> {
        let access = self.access.as_ref();
        access::open(&session.engine, access, Right::Read, destination)
    }

    /// What the consumer is like on each of its destinations.
    fn blueprint(
        &self,
        session: &Session,
        info: &ConsumerInfo,
        id: &Arc<ConsumerId>,
        window: &Arc<AtomicU32>,
    ) -> Blueprint {
        let window = Arc::clone(window);
        let selector = info.selector.as_ref().map(ToString::to_string);
        Blueprint {
            mode: AckMode::Individual,
            window: Box::new(move |_| Window {
                messages_max: window.load(Ordering::Relaxed),
                bytes_max: u64::MAX,
            }),
            choice: Choice {
                selector: selector.filter(|selector| !selector.trim().is_empty()),
                no_local: info.no_local,
            },
            wishes: Wishes {
                priority: u8::try_from(info.priority).unwrap_or(0),
                exclusive: info.exclusive,
                browser: info.browser,
                ..Wishes::default()
            },
            encode: self.encode(session, id),
            origin: session.origin(),
            lateness: lateness(info),
            facts: None,
        }
    }

    fn encode(&self, session: &Session, id: &Arc<ConsumerId>) -> MakeEncoder {
        let (frames, id) = (Arc::clone(&self.frames), Arc::clone(id));
        let (sequences, clock) = (self.sequences, session.engine.clock.clone());
        let readers = Arc::clone(&session.engine.properties);
        let broker: Arc<str> = self.settings.broker_name.as_str().into();
        let advisories = AdvisoryForm {
            properties: Arc::clone(session.engine.advisories.properties()),
            producer: Arc::new(ProducerId {
                connection_id: Some(format!("ID:{}", self.settings.broker_name).into()),
                ..ProducerId::default()
            }),
        };
        Box::new(move |destination: &Destination, _| {
            Box::new(Dispatches {
                frames: Arc::clone(&frames),
                consumer: Arc::clone(&id),
                destination: Arc::new(shown(destination)),
                sequences,
                clock: clock.clone(),
                advisories: advisories.clone(),
                readers: Arc::clone(&readers),
                broker: Arc::clone(&broker),
            }) as Box<dyn Encoder>
        })
    }

    fn durable_name(
        &self,
        info: &ConsumerInfo,
        parts: &[Part],
    ) -> Result<Option<DurableName>, Failure> {
        let Some(name) = &info.subscription_name else {
            return Ok(None);
        };
        for part in parts {
            let refused = match part {
                part if part.kind() == Kind::Queue => "a queue",
                Part::Named(topic) if topic.is_advisory() => "an advisory topic",
                Part::Pattern(kind, pattern) if feeds::listens(*kind, pattern) => {
                    "an advisory topic"
                }
                Part::Temporary(_) => "a temporary topic",
                _ => continue,
            };
            let text = format!("cannot durably subscribe to {refused}");
            return Err(Failure::destination(text));
        }
        Ok(Some(DurableName {
            client_id: self.client_id.clone().unwrap_or_default(),
            name: name.to_string(),
        }))
    }

    /// ConsumerControl of a client: another window.
    pub(super) fn control(
        &mut self,
        session: &mut Session,
        control: &ConsumerControl,
    ) -> Result<Step, Failure> {
        let id = control.consumer_id.as_ref();
        let found = id.and_then(|id| self.consumers.get_mut((id.session_id, id.value)));
        if let Some(consumer) = found
            && !control.close
        {
            consumer.prefetch = u32::try_from(control.prefetch).unwrap_or(0);
            session.set_room(consumer.serial, consumer.room());
        }
        Ok(Step::Done)
    }

    /// MessagePull.
    pub(super) fn pull(
        &mut self,
        session: &mut Session,
        pull: &MessagePull,
    ) -> Result<Step, Failure> {
        let key = key_of(pull.consumer_id.as_ref())?;
        let Some(consumer) = self.consumers.get_mut(key) else {
            return Ok(Step::Done);
        };
        if consumer.prefetch > 0 {
            return Ok(Step::Done);
        }
        let Some(Subscribed::One(feed)) = session.subscription(consumer.serial) else {
            let consumer = Arc::clone(&consumer.id);
            self.tell_empty(session, &consumer);
            return Err(Failure::not_yet(
                "pulling (prefetch 0) from several destinations is",
            ));
        };
        let is_empty = match &feed.cell.lock().machine {
            crate::engine::cell::Machine::Queue(queue) => queue.is_empty(),
            crate::engine::cell::Machine::Topic(topic) => topic.is_empty(),
        };
        let now_ms = session.engine.clock.monotonic_ms();
        let held = session.set_room(consumer.serial, Room::More(1)) + 1;
        let until_ms = match pull.timeout {
            0 => None,
            timeout if timeout > 0 => Some(now_ms.saturating_add(timeout.unsigned_abs())),
            _ if is_empty => Some(now_ms),
            _ => Some(now_ms + READ_BACK_MS),
        };
        consumer.pull = Some(Pull { held, until_ms });
        Ok(Step::Done)
    }

    /// Tells consumers whose pull has got nothing in time.
    pub(super) fn end_pulls(&mut self, session: &mut Session, now_ms: u64) {
        let mut empty = Vec::new();
        for consumer in self.consumers.by_key.values_mut() {
            let due = |pull: &mut Pull| pull.until_ms.is_some_and(|until_ms| until_ms <= now_ms);
            if let Some(pull) = consumer.pull.take_if(due)
                && session.set_room(consumer.serial, Room::Messages(0)) < pull.held
            {
                empty.push(Arc::clone(&consumer.id));
            }
        }
        for consumer in empty {
            self.tell_empty(session, &consumer);
        }
    }

    fn tell_empty(&self, session: &Session, consumer: &Arc<ConsumerId>) {
        let (frames, end) = (Arc::clone(&self.frames), empty(consumer));
        session.outbox.append_with(|out| frames.push(&end, out));
    }
}

/// The key of a producer.
pub(super) fn producer_key(id: &ProducerId) -> (i64, i64) {
    (id.session_id, id.value)
}

/// What the consumer asks of topics about messages that it would miss (SLO-1, RCV-1).
fn lateness(info: &ConsumerInfo) -> Lateness {
    let pending_max = Some(info.maximum_pending_message_limit).filter(|max| *max != 0);
    Lateness {
        retroactive: info.retroactive,
        // Below 0: any number.
        pending_max: pending_max.map(|max| u32::try_from(max).unwrap_or(u32::MAX)),
    }
}

fn check_browser(info: &ConsumerInfo, parts: &[Part]) -> Result<(), Failure> {
    match parts {
        _ if !info.browser => Ok(()),
        [Part::Named(one) | Part::Temporary(one)] if one.kind == Kind::Queue => Ok(()),
        _ => Err(Failure::destination(
            "only one queue can be browsed at a time",
        )),
    }
}

pub(super) fn refuse_durable(error: &DurableError, name: Option<&DurableName>) -> Failure {
    let (client, name) = name.map_or(("", ""), |name| {
        (name.client_id.as_str(), name.name.as_str())
    });
    match error {
        DurableError::InUse => Failure::jms(format!(
            "Durable consumer is in use for client: {client} and subscriptionName: {name}"
        )),
        DurableError::Unknown => Failure::destination(format!(
            "No durable subscription exists for clientID: {client} and subscriptionName: {name}"
        )),
        DurableError::Selector(error) => Failure::selector(error.clone()),
        DurableError::Store(error) => Failure::resources(format!(
            "the durable subscription could not be stored: {error}"
        )),
    }
}

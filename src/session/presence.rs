//! What others are told of a connection: that it is here, what it consumes and where it sends to (section 11.7).
//!
//! A wire without producers of its own, as STOMP is, has one for each destination that the connection sends to, from its
//! first message there on until the connection ends.

use std::sync::Arc;

use super::state::{Session, SubscribeRequest, Subscribed};
use crate::broker::Destination;
use crate::broker::advisory::{ConnectionFacts, ConsumerFacts, Event, MoreFacts, ProducerFacts};
use crate::broker::selector::CONVERT_PREFIX;
use crate::engine::advisories::Listener;
use crate::engine::cell::Cell;
use crate::engine::feeds;

/// Producers remembered of a connection; what it sends to further destinations is nobody's.
const PRODUCERS_MAX: usize = 1024;

/// The session that subscriptions and producers of STOMP belong to, as ActiveMQ has it.
const SESSION: i64 = -1;

/// A connection as others see it.
#[derive(Default)]
pub(super) struct Presence {
    connection: Option<Arc<ConnectionFacts>>,
    producers: Producers,
    /// Subscriptions to advisory topics.
    listeners: Vec<u64>,
}

/// Producers of a connection, in the order of the numbers of their destinations in the journal, which nothing else has.
#[derive(Default)]
struct Producers(Vec<(u32, Arc<ProducerFacts>)>);

impl Producers {
    fn find(&self, destination: u32) -> Result<usize, usize> {
        self.0
            .binary_search_by_key(&destination, |(known, _)| *known)
    }

    fn get(&self, destination: u32) -> Option<&Arc<ProducerFacts>> {
        let at = self.find(destination).ok()?;
        Some(&self.0[at].1)
    }

    fn add(&mut self, destination: u32, producer: Arc<ProducerFacts>) {
        if let Err(at) = self.find(destination) {
            self.0.insert(at, (destination, producer));
        }
    }
}

impl Session {
    /// The client has logged in.
    pub fn logged_in(&mut self, connection: ConnectionFacts) {
        let connection = Arc::new(connection);
        self.presence.connection = Some(Arc::clone(&connection));
        let event = self.engine.roster.connected(self.origin(), connection);
        self.engine.advisories.note(|| event);
    }

    /// The id of the connection, once it has logged in.
    #[must_use]
    pub fn connection_id(&self) -> Option<&str> {
        let connection = self.presence.connection.as_ref()?;
        Some(&connection.id)
    }

    /// The connection sends to these destinations. What is known already costs a look each.
    pub fn sends_to(&mut self, cells: &[Arc<Cell>]) {
        for cell in cells {
            let number = self.presence.producers.0.len() as u64 + 1;
            let known = self.presence.producers.get(cell.id.0).is_some();
            let Some(connection) = self.presence.connection.as_ref().filter(|_| !known) else {
                continue;
            };
            if self.presence.producers.0.len() >= PRODUCERS_MAX {
                return;
            }
            let producer = Arc::new(ProducerFacts {
                connection: Arc::clone(connection),
                session: SESSION,
                number,
                destination: cell.destination.clone(),
            });
            let origin = self.origin();
            let event = self.engine.roster.producer_came(origin, number, &producer);
            self.engine.advisories.note(|| event);
            self.presence.producers.add(cell.id.0, producer);
        }
    }

    /// A producer begins to wait, or is refused, because `usage`, of which `percent` are used, is used up.
    pub fn reports_full(&self, cells: &[Arc<Cell>], usage: &'static str, percent: u64) {
        if self.engine.advisories.are_wanted() {
            for cell in cells {
                self.report_full(cell, usage, percent);
            }
        }
    }

    fn report_full(&self, cell: &Cell, usage: &'static str, percent: u64) {
        let wanted = cell.policy().advisories;
        let advisories = &self.engine.advisories;
        if wanted.fast_producers
            && let Some(producer) = self.presence.producers.get(cell.id.0)
        {
            advisories.note(|| Event::FastProducer(Arc::clone(producer)));
        }
        if wanted.when_full {
            advisories.note(|| Event::Full {
                of: cell.destination.clone(),
                usage,
                percent,
            });
        }
    }

    /// The client as a producer, for who lists those that wait.
    pub(super) fn connection_facts(&self) -> Option<Arc<ConnectionFacts>> {
        self.presence.connection.clone()
    }

    /// What is told of a new subscription.
    pub(super) fn consumer_facts(
        &self,
        serial: u64,
        request: &SubscribeRequest,
    ) -> Option<Arc<ConsumerFacts>> {
        let connection = Arc::clone(self.presence.connection.as_ref()?);
        let SubscribeRequest {
            cells,
            patterns,
            blueprint,
            durable,
            after: _,
        } = request;
        let named = cells.iter().map(|cell| cell.destination.clone());
        let by_pattern = patterns.iter().map(|(kind, pattern)| Destination {
            kind: *kind,
            name: pattern.as_str().into(),
        });
        let selector = blueprint.choice.selector.as_deref();
        let window = cells.first().map(|cell| (blueprint.window)(cell));
        let more = || MoreFacts {
            selector: selector
                .map(|text| text.strip_prefix(CONVERT_PREFIX).unwrap_or(text).to_owned()),
            subscription_name: durable.as_ref().map(|durable| durable.name.clone()),
        };
        Some(Arc::new(ConsumerFacts {
            connection,
            session: SESSION,
            number: serial,
            destinations: named.chain(by_pattern).collect(),
            prefetch: window.map_or(0, |window| window.messages_max),
            more: (selector.is_some() || durable.is_some()).then(|| Box::new(more())),
            no_local: blueprint.choice.no_local,
            exclusive: blueprint.wishes.exclusive,
            browser: blueprint.wishes.browser,
            priority: blueprint.wishes.priority,
            retroactive: blueprint.lateness.retroactive,
            pending_max: blueprint.lateness.pending_max.unwrap_or(0),
        }))
    }

    /// Whether a new subscription is to advisory topics. If so, nothing is missed from now on.
    pub(super) fn begin_listening(&self, request: &SubscribeRequest) -> bool {
        let mut patterns = request.patterns.iter();
        let mut cells = request.cells.iter();
        let listens = cells.any(|cell| cell.destination.is_advisory())
            || patterns.any(|(kind, pattern)| feeds::listens(*kind, pattern));
        if listens {
            self.engine.begin_listening();
        }
        listens
    }

    /// A subscription has begun.
    pub(super) fn consumer_came(
        &mut self,
        serial: u64,
        subscribed: &Subscribed,
        facts: Option<&Arc<ConsumerFacts>>,
        listens: bool,
    ) {
        if let (Some(facts), Subscribed::One(feed)) = (facts, subscribed) {
            feed.cell.lock().introduce(feed.key, facts);
        }
        if let Some(facts) = facts {
            let roster = &self.engine.roster;
            for event in roster.consumer_came(self.origin(), serial, facts) {
                self.engine.advisories.note(|| event);
            }
        }
        if listens {
            self.presence.listeners.push(serial);
            let listener = match subscribed {
                Subscribed::One(feed) => Listener::One(feed),
                Subscribed::Many(feeds) => Listener::Many(feeds),
            };
            self.engine.replay_advisories(&listener, &mut self.work);
        }
    }

    /// A subscription has ended.
    pub(super) fn consumer_left(&mut self, serial: u64) {
        let roster = &self.engine.roster;
        for event in roster.consumer_left(self.origin(), serial) {
            self.engine.advisories.note(|| event);
        }
        let listeners = &mut self.presence.listeners;
        if let Some(at) = listeners.iter().position(|known| *known == serial) {
            listeners.swap_remove(at);
            self.engine.end_listening();
        }
    }

    /// The connection sends no more.
    pub(super) fn producers_left(&mut self) {
        for (_, producer) in std::mem::take(&mut self.presence.producers).0 {
            let roster = &self.engine.roster;
            if let Some(event) = roster.producer_left(self.origin, producer.number) {
                self.engine.advisories.note(|| event);
            }
        }
    }

    /// The connection has ended.
    pub(super) fn logged_out(&mut self) {
        if self.presence.connection.take().is_some()
            && let Some(event) = self.engine.roster.disconnected(self.origin())
        {
            self.engine.advisories.note(|| event);
        }
    }
}

//! One subscription fed by several destinations: a list of them, or all that match a pattern (DST-4, DST-5).
//!
//! - Each destination has a consumer of its own, a *feed*. Deliveries are numbered over all of them, in the order
//!   in which they enter the outbox, so that an acknowledgement can mean "all before it" (ACK-2).
//! - Which destinations match is settled when the subscription or the destination is made, never for a message.
//! - Lock order: registry, then the feeds of one subscription, then a destination.

use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use ferrymq_store::SubscriptionId;

use super::Engine;
use super::cell::{Cell, Encoder, Journaled, Machine, State, Work};
use super::choice::Choice;
use super::durables::ConsumerEnd;
use super::outbox::Outbox;
use super::wide::Wide;
use crate::broker::advisory::{self, ConsumerFacts};
use crate::broker::{
    AckMode, Destination, Ending, Kind, Pattern, Room, SubscriptionKey, Which, Window, Wishes,
};

/// Makes what renders the deliveries of one feed: its destination, and its index.
pub type MakeEncoder = Box<dyn Fn(&Destination, u64) -> Box<dyn Encoder> + Send + Sync>;

/// The credit of the consumer of a destination.
pub type WindowOf = Box<dyn Fn(&Cell) -> Window + Send + Sync>;

/// What all consumers of one subscription have in common.
pub struct Blueprint {
    /// How they acknowledge.
    pub mode: AckMode,
    /// The credit of each.
    pub window: WindowOf,
    /// What they ask of messages.
    pub choice: Choice,
    /// What they ask of queues.
    pub wishes: Wishes,
    /// How they render.
    pub encode: MakeEncoder,
    /// The number of their connection.
    pub origin: u64,
    /// What they ask of topics, without a durable subscription.
    pub lateness: Lateness,
    /// What is told of them.
    pub facts: Option<Arc<ConsumerFacts>>,
}

/// Stands for the index of a feed where any may hold the delivery.
pub const ANY_FEED: u64 = u32::MAX as u64;

/// What a subscription asks of topics about messages that it would miss (SLO-1, RCV-1).
#[derive(Clone, Copy, Debug, Default)]
pub struct Lateness {
    /// What was kept for those who come later.
    pub retroactive: bool,
    /// How many messages may wait for it; `None`: as the policy says.
    pub pending_max: Option<u32>,
}

/// Whether a pattern is about advisory topics: only one that names them, so that who asks for all topics gets what
/// clients send and not what the broker reports.
#[must_use]
pub fn listens(kind: Kind, pattern: &Pattern) -> bool {
    kind == Kind::Topic && pattern.as_str().starts_with(advisory::PREFIX)
}

/// The consumer of one destination.
#[derive(Clone)]
pub struct Feed {
    /// The destination.
    pub cell: Arc<Cell>,
    /// Its key there.
    pub key: SubscriptionKey,
    /// The durable subscription in the journal, if it is one.
    pub durable: Option<SubscriptionId>,
}

/// All feeds of one subscription.
pub struct Feeds {
    blueprint: Blueprint,
    patterns: Vec<(Kind, Pattern)>,
    /// The durable subscription whose consumer it is.
    durable: Option<Arc<Wide>>,
    outbox: Arc<Outbox>,
    engine: Weak<Engine>,
    numbers: Arc<AtomicU64>,
    state: Mutex<Joined>,
}

#[derive(Default)]
struct Joined {
    /// By index; a place whose feed has left is given to another. Deliveries have numbers of their own, so none of one is
    /// taken for one of the other.
    places: Vec<Option<Joining>>,
    started: bool,
    ended: bool,
}

/// A feed, and why it is one.
struct Joining {
    feed: Feed,
    /// The subscription names its destination, which does not just match a pattern.
    is_named: bool,
}

impl Joined {
    fn feeds(&self) -> impl Iterator<Item = &Feed> {
        self.places.iter().flatten().map(|joining| &joining.feed)
    }
}

impl Feeds {
    /// A subscription without feeds yet, to whatever matches one of `patterns`.
    #[must_use]
    pub fn new(
        engine: &Arc<Engine>,
        outbox: &Arc<Outbox>,
        blueprint: Blueprint,
        patterns: Vec<(Kind, Pattern)>,
        durable: Option<Arc<Wide>>,
    ) -> Self {
        let new = || Arc::new(AtomicU64::new(1));
        let numbers = durable
            .as_ref()
            .map_or_else(new, |wide| Arc::clone(&wide.numbers));
        Self {
            blueprint,
            patterns,
            durable,
            outbox: Arc::clone(outbox),
            engine: Arc::downgrade(engine),
            numbers,
            state: Mutex::default(),
        }
    }

    fn joined(&self) -> MutexGuard<'_, Joined> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a destination of that name belongs to it by a pattern.
    #[must_use]
    pub fn matches(&self, destination: &Destination) -> bool {
        let fits = |(kind, pattern): &(Kind, Pattern)| {
            *kind == destination.kind
                && pattern.matches(&destination.name)
                && (!destination.is_advisory() || listens(*kind, pattern))
        };
        !destination.is_temporary() && self.patterns.iter().any(fits)
    }

    /// Whether some of it are advisory topics.
    #[must_use]
    pub fn is_listener(&self) -> bool {
        let joined = self.joined();
        self.patterns
            .iter()
            .any(|(kind, pattern)| listens(*kind, pattern))
            || joined
                .feeds()
                .any(|feed| feed.cell.destination.is_advisory())
    }

    /// The consumer of a destination of that name, if there is one.
    #[must_use]
    pub fn feed_of(&self, destination: &Destination) -> Option<Feed> {
        let joined = self.joined();
        let mut feeds = joined.feeds();
        let found = feeds.find(|feed| feed.cell.destination == *destination);
        found.cloned()
    }

    /// Adds the feed of a destination that matches a pattern, unless it is there.
    pub fn join(&self, cell: &Arc<Cell>) {
        self.add(cell, false);
    }

    /// Ends the feed of a destination that matches a pattern, if nothing is under way to it.
    pub(super) fn leave(&self, cell: &Arc<Cell>, now_ms: u64, work: &mut Work) {
        let mut joined = self.joined();
        let left = joined.places.iter_mut().find(|place| {
            place
                .as_ref()
                .is_some_and(|joining| !joining.is_named && Arc::ptr_eq(&joining.feed.cell, cell))
        });
        let is_idle = || match &cell.lock().machine {
            Machine::Queue(queue) => queue.is_empty(),
            Machine::Topic(topic) => topic.is_empty() && topic.in_flight() == 0,
        };
        if let Some(place) = left
            && is_idle()
            && let Some(joining) = place.take()
        {
            joining.feed.end(now_ms, Ending::Orderly, work);
        }
    }

    fn add(&self, cell: &Arc<Cell>, is_named: bool) {
        let Some(engine) = self.engine.upgrade() else {
            return;
        };
        let mut joined = self.joined();
        let known = joined.feeds().any(|feed| Arc::ptr_eq(&feed.cell, cell));
        if known || joined.ended {
            return;
        }
        let free = joined.places.iter().position(Option::is_none);
        let index = free.unwrap_or(joined.places.len());
        let encoder = (self.blueprint.encode)(&cell.destination, index as u64);
        let added = match &self.durable {
            Some(wide) => self.add_part(wide, cell, encoder),
            None => {
                let numbers = Some(&self.numbers);
                engine.add_consumer(cell, &self.blueprint, &self.outbox, encoder, numbers)
            }
        };
        let feed = match added {
            Ok(feed) => feed,
            Err(error) => {
                tracing::error!(destination = %cell.destination, error, "no feed of a subscription");
                return;
            }
        };
        if joined.started {
            // A destination that was just made: nothing flows yet.
            feed.start(engine.clock.wall_ms(), &mut Work::default());
        }
        let joining = Joining { feed, is_named };
        if index == joined.places.len() {
            joined.places.push(None);
        }
        joined.places[index] = Some(joining);
    }

    /// The consumer of a part of the durable subscription.
    fn add_part(
        &self,
        wide: &Wide,
        cell: &Arc<Cell>,
        encoder: Box<dyn Encoder>,
    ) -> Result<Feed, String> {
        let part = wide.part(cell).ok_or("the durable subscription is gone")?;
        let end = ConsumerEnd {
            outbox: &self.outbox,
            encoder,
            mode: self.blueprint.mode,
            window: (self.blueprint.window)(cell),
            origin: self.blueprint.origin,
        };
        part.activate(end, Some(&self.numbers));
        Ok(Feed {
            cell: Arc::clone(cell),
            key: part.key,
            durable: Some(part.id),
        })
    }

    /// Lets deliveries flow.
    pub fn start(&self, now_ms: u64, work: &mut Work) {
        let mut joined = self.joined();
        joined.started = true;
        for feed in joined.feeds() {
            feed.start(now_ms, work);
        }
    }

    /// Changes the window of each feed. Returns how many messages they held before.
    pub fn set_room(&self, now_ms: u64, room: Room, work: &mut Work) -> usize {
        let joined = self.joined();
        let held = joined.feeds().map(|feed| feed.set_room(now_ms, room, work));
        held.sum()
    }

    /// Ends all feeds, and there will be no more. If the connection died, only the oldest delivery of the
    /// subscription counts as failed (RED-6).
    pub fn end(&self, now_ms: u64, ending: Ending, work: &mut Work) {
        let mut joined = self.joined();
        joined.ended = true;
        let places = std::mem::take(&mut joined.places);
        drop(joined);
        let feeds: Vec<Feed> = places.into_iter().flatten().map(|one| one.feed).collect();
        let oldest = feeds
            .iter()
            .filter_map(|feed| Some((feed.oldest()?, feed.key, Arc::as_ptr(&feed.cell))))
            .min();
        for feed in feeds {
            let is_oldest = oldest
                .is_some_and(|(_, key, cell)| key == feed.key && cell == Arc::as_ptr(&feed.cell));
            let ending = match ending {
                Ending::Died if !is_oldest => Ending::Orderly,
                ending => ending,
            };
            feed.end(now_ms, ending, work);
        }
        if let Some(wide) = &self.durable {
            wide.set_active(false);
        }
    }

    /// Whether the consumer `key` of `cell` is one of them.
    #[must_use]
    pub fn has(&self, cell: &Arc<Cell>, key: SubscriptionKey) -> bool {
        self.joined().feeds().any(|feed| feed.is(cell, key))
    }

    /// The feeds that an acknowledgement concerns, with what it means to each: `which` names a delivery of the feed
    /// `index`, or any if it names a message. `None` if it is not there.
    #[must_use]
    pub fn concerned(&self, index: u64, which: Which) -> Option<Vec<(Feed, Which)>> {
        let joined = self.joined();
        let named = match which {
            _ if index == ANY_FEED => joined
                .feeds()
                .find_map(|feed| Some((feed, feed.find(which)?)))?,
            Which::Message(_) => joined
                .feeds()
                .find_map(|feed| Some((feed, feed.find(which)?)))?,
            _ => {
                let place = joined.places.get(usize::try_from(index).ok()?)?;
                let feed = &place.as_ref()?.feed;
                (feed, feed.find(which)?)
            }
        };
        let (feed, number) = named;
        if self.blueprint.mode != AckMode::Client {
            return Some(vec![(feed.clone(), Which::Number(number))]);
        }
        let through = Which::Through(number);
        let held = joined.feeds().filter(|feed| feed.find(through).is_some());
        Some(held.map(|feed| (feed.clone(), through)).collect())
    }
}

impl Feed {
    /// Whether it is the consumer `key` of `cell`.
    #[must_use]
    pub fn is(&self, cell: &Arc<Cell>, key: SubscriptionKey) -> bool {
        self.key == key && Arc::ptr_eq(&self.cell, cell)
    }

    /// Lets deliveries flow.
    pub fn start(&self, now_ms: u64, work: &mut Work) {
        self.cell.step(work, Journaled::default(), |machine, out| {
            State::start(machine, now_ms, self.key, out);
        });
    }

    /// Changes the window of the consumer (PRE-4). Returns how many messages it held before.
    pub fn set_room(&self, now_ms: u64, room: Room, work: &mut Work) -> usize {
        let journaled = Journaled::default();
        self.cell
            .step(work, journaled, |machine, out| match machine {
                Machine::Queue(queue) => queue.set_room(now_ms, self.key, room, out),
                Machine::Topic(topic) => topic.set_room(now_ms, self.key, room, out),
            })
    }

    /// Ends the consumer; what it holds returns.
    pub fn end(&self, now_ms: u64, ending: Ending, work: &mut Work) {
        let mut state = self.cell.lock();
        Cell::detach(&mut state, self.key);
        let journaled = Journaled::default();
        self.cell
            .step_locked(&mut state, work, journaled, |machine, out| match machine {
                Machine::Queue(queue) => queue.unsubscribe(now_ms, self.key, ending, out),
                Machine::Topic(topic) => topic.unsubscribe(self.key, ending, out),
            });
    }

    /// The number of the delivery that `which` names, if it waits.
    #[must_use]
    pub fn find(&self, which: Which) -> Option<u64> {
        match &self.cell.lock().machine {
            Machine::Queue(queue) => queue.number_of(self.key, which),
            Machine::Topic(topic) => topic.number_of(self.key, which),
        }
    }

    /// The number of the oldest delivery that waits.
    fn oldest(&self) -> Option<u64> {
        self.find(Which::Oldest)
    }
}

impl Engine {
    /// Adds a consumer to `cell`; nothing flows to it yet. With `numbers` its deliveries are numbered by those.
    ///
    /// # Errors
    /// Its selector is none (SEL-8).
    pub fn add_consumer(
        &self,
        cell: &Arc<Cell>,
        blueprint: &Blueprint,
        outbox: &Arc<Outbox>,
        encoder: Box<dyn Encoder>,
        numbers: Option<&Arc<AtomicU64>>,
    ) -> Result<Feed, String> {
        let Blueprint {
            mode,
            choice,
            origin,
            ..
        } = blueprint;
        let window = (blueprint.window)(cell);
        self.remember_selector(cell, blueprint);
        let mut wishes = blueprint.wishes.clone();
        let mut selection = crate::broker::topic::Selection::default();
        match cell.destination.kind {
            Kind::Queue => wishes.filter = self.queue_filter(choice, &cell.destination, *origin)?,
            Kind::Topic => {
                let local = || Arc::new(AtomicU64::new(*origin));
                selection = self.selection(choice, &cell.destination, local)?;
            }
        }
        let mut state = cell.lock();
        let key = match &mut state.machine {
            Machine::Queue(queue) => queue.subscribe_as(*mode, window, wishes),
            Machine::Topic(topic) => {
                let Lateness {
                    retroactive,
                    pending_max,
                } = blueprint.lateness;
                let key = topic.subscribe(*mode, window, selection);
                topic.bound(key, pending_max);
                topic.recall(self.clock.wall_ms(), key, retroactive);
                key
            }
        };
        cell.attach(&mut state, key, outbox, encoder, *mode);
        if let Some(facts) = &blueprint.facts {
            state.introduce(key, facts);
        }
        if let Some(numbers) = numbers {
            state.number_by(key, numbers);
        }
        Ok(Feed {
            cell: Arc::clone(cell),
            key,
            durable: None,
        })
    }

    /// Remembers what a consumer of a queue chooses, where a rule wants that (VIR-2).
    fn remember_selector(&self, cell: &Cell, blueprint: &Blueprint) {
        if cell.destination.kind != Kind::Queue || blueprint.wishes.browser {
            return;
        }
        if let Some(single) = self
            .registry
            .route_rules()
            .remembers(&cell.destination.name)
        {
            let selector = blueprint.choice.selector.as_deref();
            let id = || self.registry.next_id();
            self.selectors
                .remember(&cell.destination, selector, single, id);
        }
    }

    /// Feeds a subscription from `cells` and from all destinations that match it, those that come later too.
    pub fn feed(&self, feeds: &Arc<Feeds>, cells: &[Arc<Cell>]) {
        for cell in cells {
            feeds.add(cell, true);
        }
        for cell in self.registry.watch(feeds) {
            feeds.join(&cell);
        }
    }
}

//! Destinations by name, created on first use (DST-13).

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use ferrymq_store::{DestinationId, Store};

use super::Settings;
use super::advisories::{self, Advisories};
use super::cell::{Cell, Common, Machine, Shared};
use super::declare::Declarations;
use super::feeds::Feeds;
use super::memory::Memory;
use super::namespaces::Accounts;
use super::policy::{Rules, SharedRules};
use super::properties::PropertyReaders;
use super::routes;
use super::shared;
use super::timer::Timer;
use super::wide::Wide;
use crate::broker::advisory::{Change, Event};
use crate::broker::policy::Declared;
use crate::broker::topic::TopicLimits;
use crate::broker::{Destination, Kind, Policies, Queue, Topic};

mod cells;
mod linking;

use cells::Cells;

/// All destinations.
pub struct Registry {
    known: RwLock<Known>,
    next_id: AtomicU32,
    /// Advisory topics since a sweep.
    made_advisories: AtomicU32,
    settings: Settings,
    policies: RwLock<Arc<Policies>>,
    routes: RwLock<Arc<routes::Rules>>,
    properties: Arc<PropertyReaders>,
    /// What each namespace holds.
    pub accounts: Accounts,
    shared_rules: SharedRules,
    /// What clients have declared of queues.
    pub(super) declarations: Declarations,
    /// What destinations share that the journal may know,
    stored: Arc<Common>,
    /// temporary ones,
    unstored: Arc<Common>,
    /// and those that the broker reports to.
    reporting: Arc<Common>,
    advisories: Arc<Advisories>,
}

#[derive(Default)]
struct Known {
    cells: Cells,
    /// Subscriptions that destinations made later may belong to.
    feeds: Vec<Arc<Feeds>>,
    /// Durable ones, with a consumer or without.
    durables: Vec<Arc<Wide>>,
    /// The queues behind shared subscriptions, by the name of their topic.
    shared: HashMap<String, Vec<Destination>>,
}

impl Known {
    fn insert(&mut self, cell: &Arc<Cell>) {
        let destination = &cell.destination;
        if let Some(topic) = shared::topic_of(destination) {
            let queues = self.shared.entry(topic.to_owned()).or_default();
            queues.push(destination.clone());
        }
        self.cells.insert(cell);
    }

    fn remove(&mut self, destination: &Destination) -> Option<Arc<Cell>> {
        self.forget_shared(destination);
        self.cells.remove(destination)
    }

    fn forget_shared(&mut self, destination: &Destination) {
        if let Some(topic) = shared::topic_of(destination)
            && let Some(queues) = self.shared.get_mut(topic)
        {
            queues.retain(|queue| queue != destination);
            if queues.is_empty() {
                self.shared.remove(topic);
            }
        }
    }
}

/// Why a destination was not made by its first use.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenRefused {
    /// It must be there before.
    #[error("{0} does not exist, and autoCreate is false in its policy (destinations.auto_create)")]
    NoAutoCreate(Destination),
    /// There are enough.
    #[error("{destination} cannot be created: its policy has maxDestinations = {max}")]
    TooMany {
        /// The destination.
        destination: Destination,
        /// How many there may be.
        max: u32,
    },
}

impl Registry {
    /// An empty registry.
    #[must_use]
    pub fn new(
        settings: Settings,
        store: Option<Arc<Store>>,
        memory: Arc<Memory>,
        timer: Arc<Timer>,
        advisories: Arc<Advisories>,
        properties: Arc<PropertyReaders>,
    ) -> Self {
        let stored = Common {
            store,
            memory,
            timer,
            advisories: Arc::clone(&advisories),
        };
        let unstored = Common {
            store: None,
            ..stored.clone()
        };
        // Neither kept, nor counted where it would hold up producers (ADV-2).
        let reporting = Common {
            memory: Arc::clone(&advisories.memory),
            ..unstored.clone()
        };
        Self {
            known: RwLock::default(),
            next_id: AtomicU32::new(1),
            made_advisories: AtomicU32::new(0),
            policies: RwLock::new(Arc::clone(&settings.policies)),
            routes: RwLock::new(Arc::new(settings.routes.clone())),
            properties,
            accounts: Accounts::default(),
            shared_rules: SharedRules::default(),
            declarations: Declarations::default(),
            settings,
            stored: Arc::new(stored),
            unstored: Arc::new(unstored),
            reporting: Arc::new(reporting),
            advisories,
        }
    }

    /// A number for the journal that nothing else has.
    pub fn next_id(&self) -> DestinationId {
        DestinationId(self.next_id.fetch_add(1, Ordering::Relaxed))
    }

    /// Says that the journal uses `id`.
    pub fn claim(&self, id: DestinationId) {
        self.next_id.fetch_max(id.0 + 1, Ordering::Relaxed);
    }

    fn known(&self) -> RwLockReadGuard<'_, Known> {
        self.known.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn known_mut(&self) -> RwLockWriteGuard<'_, Known> {
        self.known.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// The destination of that name, made if there is none and its policy lets a client make it (DST-13).
    ///
    /// # Errors
    /// It is not there and may not be made.
    pub fn open(&self, destination: &Destination) -> Result<Arc<Cell>, OpenRefused> {
        if let Some(cell) = self.get(destination) {
            return Ok(cell);
        }
        if destination.is_advisory() {
            // The broker's own.
            return Ok(self.get_or_create(destination));
        }
        let policies = self.policies();
        let policy = policies.of(destination);
        if !policy.auto_create {
            return Err(OpenRefused::NoAutoCreate(destination.clone()));
        }
        // Of two clients that make the last one at the same time, both may.
        if let Some(max) = policy.destinations_max {
            let known = self.known();
            let others = known
                .cells
                .names()
                .filter(|other| !other.is_temporary() && !other.is_advisory());
            let alike = others.filter(|other| policies.are_alike(destination, other));
            if alike.count() >= max as usize {
                let destination = destination.clone();
                return Err(OpenRefused::TooMany { destination, max });
            }
        }
        Ok(self.get_or_create(destination))
    }

    /// The destination of that name, made if there is none, whatever its policy.
    pub fn get_or_create(&self, destination: &Destination) -> Arc<Cell> {
        if let Some(cell) = self.get(destination) {
            return cell;
        }
        let mut known = self.known_mut();
        if let Some(cell) = known.cells.get(destination) {
            return Arc::clone(cell);
        }
        self.create(&mut known, destination)
    }

    /// Makes a destination, with all that follows from its name.
    fn create(&self, known: &mut Known, destination: &Destination) -> Arc<Cell> {
        let id = self.next_id();
        tracing::debug!(%destination, "destination created");
        let cell = self.make(destination.clone(), id, self.machine(destination, 1), false);
        self.note(Change::Added, destination, None);
        // Routes may lead back to it. Nobody else sees it before the lock is gone.
        known.insert(&cell);
        // Before anybody can send to it, so that no subscription misses its first message.
        for wide in known.durables.iter().filter(|one| one.matches(destination)) {
            wide.join(&cell);
        }
        for feeds in known
            .feeds
            .iter()
            .filter(|feeds| feeds.matches(destination))
        {
            feeds.join(&cell);
        }
        if destination.is_advisory() {
            self.made_advisories.fetch_add(1, Ordering::Relaxed);
        } else {
            self.link(known, &cell);
        }
        cell
    }

    /// Reports that a destination has come or gone.
    fn note(&self, change: Change, of: &Destination, owner: Option<&str>) {
        self.advisories.note(|| Event::Destination {
            change,
            of: of.clone(),
            owner: owner.map(str::to_owned),
        });
    }

    /// The advisory topic of that name, made if somebody has subscribed to it by a pattern; `None` if nobody listens.
    pub(super) fn advisory_topic(&self, topic: &Destination) -> Option<Arc<Cell>> {
        let known = self.known();
        if let Some(cell) = known.cells.get(topic) {
            return Some(Arc::clone(cell));
        }
        let wanted = known.feeds.iter().any(|feeds| feeds.matches(topic));
        drop(known);
        wanted.then(|| self.get_or_create(topic))
    }

    /// Whether `count` advisory topics have been made since this was last true.
    pub(super) fn has_made_advisories(&self, count: u32) -> bool {
        let made = &self.made_advisories;
        made.load(Ordering::Relaxed) >= count && made.swap(0, Ordering::Relaxed) >= count
    }

    /// Subscriptions to patterns that match a destination.
    pub(super) fn watching(&self, destination: &Destination) -> Vec<Arc<Feeds>> {
        let known = self.known();
        let feeds = known.feeds.iter();
        feeds
            .filter(|feeds| feeds.matches(destination))
            .cloned()
            .collect()
    }

    /// Removes advisory topics without a subscription.
    pub(super) fn remove_unused_advisories(&self) {
        let mut known = self.known_mut();
        known.cells.retain(|cell| !advisories::is_unused(cell));
    }

    /// A temporary destination, which nothing of is stored; it is there until it is removed (DST-9). `owner` is the id of
    /// its connection.
    pub fn create_temporary(&self, kind: Kind, id: &str, owner: Option<&str>) -> Arc<Cell> {
        let destination = Destination::temporary(kind, id);
        if let Some(cell) = self.get(&destination)
            && let Some(owner) = owner
            && cell.owner.set(owner.into()).is_ok()
        {
            // Somebody has sent to it before; what was sent is there.
            return cell;
        }
        let rules = self.rules(&destination);
        let machine = self.machine(&destination, 1);
        let shared = self.shared(&destination, &self.unstored);
        let number = self.next_id();
        let name = destination.clone();
        let cell = Cell::new(name, number, machine, rules, false, shared);
        if let Some(owner) = owner {
            cell.owner.get_or_init(|| owner.into());
        }
        let cell = Arc::new(cell);
        self.note(Change::Added, &destination, owner);
        self.known_mut().insert(&cell);
        cell
    }

    /// The rules of a destination, with what a client has declared of it.
    #[must_use]
    pub fn rules(&self, destination: &Destination) -> Rules {
        let rules = Rules::with_declared(&self.policies(), destination, &self.declarations);
        self.shared_rules.share(rules)
    }

    /// As [`Registry::open`], for a queue of which a client declares something if it makes it.
    ///
    /// # Errors
    /// As [`Registry::open`].
    pub fn open_declared(
        &self,
        destination: &Destination,
        declared: &Declared,
    ) -> Result<Arc<Cell>, OpenRefused> {
        // Before it is there, so that it begins as declared.
        self.declarations.add(destination, declared.clone());
        self.open(destination)
            .inspect_err(|_| self.declarations.forget(destination))
    }

    /// The temporary destination of that name. If there is none, one without an owner is made where the configuration
    /// lets a SEND do that (GC-3).
    pub fn find_temporary(&self, destination: &Destination) -> Option<Arc<Cell>> {
        let found = self.get(destination);
        let id = destination.temporary_id()?;
        found.or_else(|| {
            let may = self.settings.temporaries.auto_create_on_send;
            may.then(|| self.create_temporary(destination.kind, id, None))
        })
    }

    /// Removes temporary destinations without an owner that nobody refers to and that `may_go`.
    pub(super) fn remove_ownerless(&self, mut may_go: impl FnMut(&Cell) -> bool) -> usize {
        let mut known = self.known_mut();
        let before = known.cells.len();
        known.cells.retain(|cell| {
            let destination = &cell.destination;
            if !destination.is_temporary() || cell.owner.get().is_some() {
                return true;
            }
            if Arc::strong_count(cell) > 1 {
                cell.note_use();
                return true;
            }
            let goes = may_go(cell);
            if goes {
                self.note(Change::Removed, destination, None);
            }
            !goes
        });
        before - known.cells.len()
    }

    /// Removes a destination. Who still holds it sends into the void.
    pub fn remove(&self, destination: &Destination) {
        self.declarations.forget(destination);
        let removed = self.known_mut().remove(destination);
        if let Some(cell) = removed {
            let owner = cell.owner.get();
            self.note(Change::Removed, destination, owner.map(|owner| &**owner));
        }
    }

    /// Remembers a subscription for destinations that come later; gives those that match it now.
    pub(super) fn watch(&self, feeds: &Arc<Feeds>) -> Vec<Arc<Cell>> {
        let mut known = self.known_mut();
        known.feeds.push(Arc::clone(feeds));
        let cells = known.cells.iter();
        cells
            .filter(|cell| feeds.matches(&cell.destination))
            .cloned()
            .collect()
    }

    /// From now on `wide` learns of destinations that match it; returns those that are there.
    pub(super) fn watch_durable(&self, wide: &Arc<Wide>) -> Vec<Arc<Cell>> {
        let mut known = self.known_mut();
        known.durables.push(Arc::clone(wide));
        let cells = known.cells.iter();
        cells
            .filter(|cell| wide.matches(&cell.destination))
            .cloned()
            .collect()
    }

    /// Forgets a durable subscription that is gone.
    pub(super) fn unwatch_durable(&self, wide: &Arc<Wide>) {
        let mut known = self.known_mut();
        known.durables.retain(|other| !Arc::ptr_eq(other, wide));
    }

    /// Forgets a subscription that has ended.
    pub fn unwatch(&self, feeds: &Arc<Feeds>) {
        let mut known = self.known_mut();
        known.feeds.retain(|other| !Arc::ptr_eq(other, feeds));
    }

    /// The destination of that name, if there is one.
    pub fn get(&self, destination: &Destination) -> Option<Arc<Cell>> {
        self.known().cells.get(destination).cloned()
    }

    /// How many destinations there are whose names begin with `prefix`, temporary ones included.
    pub fn count_within(&self, prefix: &str) -> usize {
        let known = self.known();
        let names = known.cells.names();
        names.filter(|name| shared::is_within(name, prefix)).count()
    }

    /// All destinations.
    pub fn all(&self) -> Vec<Arc<Cell>> {
        self.known().cells.iter().cloned().collect()
    }

    /// Adds a destination that the journal knows, with its recovered machine.
    pub fn adopt(
        &self,
        destination: Destination,
        id: DestinationId,
        machine: Machine,
    ) -> Arc<Cell> {
        self.claim(id);
        let cell = self.make(destination, id, machine, true);
        let mut known = self.known_mut();
        known.insert(&cell);
        drop(known);
        cell
    }

    /// A machine for `destination` whose next message gets `next_sequence`, by the rules it has.
    #[must_use]
    pub fn machine(&self, destination: &Destination, next_sequence: u64) -> Machine {
        let rules = self.rules(destination);
        let limits = rules.policy.limits;
        let window_bytes = limits.window_bytes(self.settings.queue_window_bytes);
        let policy = rules.for_queue();
        match destination.kind {
            Kind::Queue => {
                let mut queue = Queue::new(next_sequence, window_bytes, policy);
                if let Some(reader) = self.settings.group_reader {
                    queue.set_group_reader(reader);
                }
                Machine::Queue(queue)
            }
            Kind::Topic => {
                let limits = TopicLimits {
                    window_bytes,
                    slow_bytes_max: self.settings.slow_subscriber_bytes_max,
                };
                let mut topic = Topic::new(next_sequence, limits, policy.redelivery);
                topic.set_policy(policy.redelivery, policy.on_nack);
                topic.set_rules(0, rules.for_topic(&self.properties));
                Machine::Topic(Box::new(topic))
            }
        }
    }

    /// The policies of all destinations.
    #[must_use]
    pub fn policies(&self) -> Arc<Policies> {
        Arc::clone(&self.policies.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Replaces the policies; destinations that come later follow them. Those that are there are told by the engine.
    pub(super) fn set_policies(&self, policies: Policies) -> Arc<Policies> {
        let policies = Arc::new(policies);
        let mut current = self
            .policies
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        *current = Arc::clone(&policies);
        policies
    }

    /// Removes destinations that nobody but this registry refers to and that `may_go`, `count_max` at most; returns their
    /// names. No one can come to refer to one of them meanwhile.
    pub(super) fn remove_if(
        &self,
        count_max: usize,
        mut may_go: impl FnMut(&Cell) -> bool,
    ) -> Vec<Destination> {
        let mut known = self.known_mut();
        let mut gone = Vec::new();
        known.cells.retain(|cell| {
            let destination = &cell.destination;
            // These live with their connection (DST-9).
            if destination.is_temporary() {
                return true;
            }
            if Arc::strong_count(cell) > 1 || destination.is_advisory() {
                cell.note_use();
                return true;
            }
            let goes = gone.len() < count_max && may_go(cell);
            if goes {
                self.declarations.forget(destination);
                self.note(Change::Removed, destination, None);
                gone.push(destination.clone());
            }
            !goes
        });
        gone.iter().for_each(|name| known.forget_shared(name));
        gone
    }

    fn make(
        &self,
        destination: Destination,
        id: DestinationId,
        machine: Machine,
        defined: bool,
    ) -> Arc<Cell> {
        let rules = self.rules(&destination);
        let common = if destination.is_advisory() {
            &self.reporting
        } else {
            &self.stored
        };
        let shared = self.shared(&destination, common);
        Arc::new(Cell::new(destination, id, machine, rules, defined, shared))
    }

    fn shared(&self, destination: &Destination, common: &Arc<Common>) -> Shared {
        Shared {
            common: Arc::clone(common),
            account: self.accounts.of(destination),
        }
    }
}

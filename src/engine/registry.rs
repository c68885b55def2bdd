//! Destinations by name, created on first use (DST-13).

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use ferrymq_store::{DestinationId, Store};

use super::Settings;
use super::cell::{Cell, Machine, Shared};
use super::declare::Declarations;
use super::feeds::Feeds;
use super::memory::Memory;
use super::policy::{Rules, SharedRules};
use super::timer::Timer;
use crate::broker::policy::Declared;
use crate::broker::topic::TopicLimits;
use crate::broker::{Destination, Kind, Policies, Queue, Topic};

/// All destinations.
pub struct Registry {
    known: RwLock<Known>,
    next_id: AtomicU32,
    settings: Settings,
    policies: RwLock<Arc<Policies>>,
    shared_rules: SharedRules,
    /// What clients have declared of queues.
    pub(super) declarations: Declarations,
    store: Option<Arc<Store>>,
    memory: Arc<Memory>,
    timer: Arc<Timer>,
}

#[derive(Default)]
struct Known {
    cells: HashMap<Destination, Arc<Cell>>,
    /// Subscriptions that destinations made later may belong to.
    feeds: Vec<Arc<Feeds>>,
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
    ) -> Self {
        Self {
            known: RwLock::default(),
            next_id: AtomicU32::new(1),
            policies: RwLock::new(Arc::clone(&settings.policies)),
            shared_rules: SharedRules::default(),
            declarations: Declarations::default(),
            settings,
            store,
            memory,
            timer,
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
        let policies = self.policies();
        let policy = policies.of(destination);
        if !policy.auto_create {
            return Err(OpenRefused::NoAutoCreate(destination.clone()));
        }
        // Of two clients that make the last one at the same time, both may.
        if let Some(max) = policy.destinations_max {
            let known = self.known();
            let others = known.cells.keys().filter(|other| !other.is_temporary());
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
        // Before anybody can send to it, so that no subscription misses its first message.
        for feeds in known
            .feeds
            .iter()
            .filter(|feeds| feeds.matches(destination))
        {
            feeds.join(&cell);
        }
        self.link(known, &cell);
        known.cells.insert(destination.clone(), Arc::clone(&cell));
        cell
    }

    /// Sets the routes up that a new destination brings.
    fn link(&self, known: &mut Known, cell: &Arc<Cell>) {
        let rules = &self.settings.routes;
        for (from, to) in rules.links(cell, known.cells.values()) {
            from.routes.add(to);
        }
        if let Some(mirror) = rules.mirror_of(&cell.destination) {
            let mirror = match known.cells.get(&mirror) {
                Some(mirror) => Arc::clone(mirror),
                None => self.create(known, &mirror),
            };
            cell.routes.add(&mirror);
        }
    }

    /// A temporary destination, which nothing of is stored; it is there until it is removed (DST-9).
    pub fn create_temporary(&self, kind: Kind, id: &str) -> Arc<Cell> {
        let destination = Destination::temporary(kind, id);
        let rules = Rules::of(&self.policies(), &destination);
        let rules = self.shared_rules.share(rules);
        let machine = self.machine(&destination, 1);
        let shared = self.shared(None);
        let number = self.next_id();
        let name = destination.clone();
        let cell = Arc::new(Cell::new(name, number, machine, rules, false, shared));
        self.known_mut()
            .cells
            .insert(destination, Arc::clone(&cell));
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

    /// Removes a destination. Who still holds it sends into the void.
    pub fn remove(&self, destination: &Destination) {
        self.declarations.forget(destination);
        self.known_mut().cells.remove(destination);
    }

    /// Remembers a subscription for destinations that come later; gives those that match it now.
    pub(super) fn watch(&self, feeds: &Arc<Feeds>) -> Vec<Arc<Cell>> {
        let mut known = self.known_mut();
        known.feeds.push(Arc::clone(feeds));
        let cells = known.cells.values();
        cells
            .filter(|cell| feeds.matches(&cell.destination))
            .cloned()
            .collect()
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

    /// All destinations.
    pub fn all(&self) -> Vec<Arc<Cell>> {
        self.known().cells.values().cloned().collect()
    }

    /// Adds a destination that the journal knows, with its recovered machine.
    pub fn adopt(
        &self,
        destination: Destination,
        id: DestinationId,
        machine: Machine,
    ) -> Arc<Cell> {
        self.claim(id);
        let cell = self.make(destination.clone(), id, machine, true);
        let mut known = self.known_mut();
        known.cells.insert(destination, Arc::clone(&cell));
        drop(known);
        cell
    }

    /// Sets the routes up between all that was adopted.
    pub fn link_adopted(&self) {
        for cell in self.all() {
            self.link(&mut self.known_mut(), &cell);
        }
    }

    /// A machine for `destination` whose next message gets `next_sequence`, by the rules it has.
    #[must_use]
    pub fn machine(&self, destination: &Destination, next_sequence: u64) -> Machine {
        let policy = self.rules(destination).for_queue();
        match destination.kind {
            Kind::Queue => {
                let window_bytes = self.settings.queue_window_bytes;
                let mut queue = Queue::new(next_sequence, window_bytes, policy);
                if let Some(reader) = self.settings.group_reader {
                    queue.set_group_reader(reader);
                }
                Machine::Queue(queue)
            }
            Kind::Topic => {
                let limits = TopicLimits {
                    window_bytes: self.settings.queue_window_bytes,
                    slow_bytes_max: self.settings.slow_subscriber_bytes_max,
                };
                let mut topic = Topic::new(next_sequence, limits, policy.redelivery);
                topic.set_policy(policy.redelivery, policy.on_nack);
                Machine::Topic(topic)
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
        known.cells.retain(|destination, cell| {
            // These live with their connection (DST-9).
            if destination.is_temporary() {
                return true;
            }
            if Arc::strong_count(cell) > 1 {
                cell.note_use();
                return true;
            }
            let goes = gone.len() < count_max && may_go(cell);
            if goes {
                self.declarations.forget(destination);
                gone.push(destination.clone());
            }
            !goes
        });
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
        let shared = self.shared(self.store.clone());
        Arc::new(Cell::new(destination, id, machine, rules, defined, shared))
    }

    fn shared(&self, store: Option<Arc<Store>>) -> Shared {
        Shared {
            store,
            memory: Arc::clone(&self.memory),
            timer: Arc::clone(&self.timer),
        }
    }
}

//! Destinations by name, created on first use (DST-13).

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use ferrymq_store::{DestinationId, Store};

use super::Settings;
use super::cell::{Cell, Machine};
use super::feeds::Feeds;
use super::memory::Memory;
use super::timer::Timer;
use crate::broker::topic::TopicLimits;
use crate::broker::{Destination, Kind, Queue, QueuePolicy, RedeliveryPolicy, Topic};

/// All destinations.
pub struct Registry {
    known: RwLock<Known>,
    next_id: AtomicU32,
    settings: Settings,
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
            settings,
            store,
            memory,
            timer,
        }
    }

    /// Ids up to `highest` were given away once.
    pub fn used_through(&self, highest: u32) {
        self.next_id.fetch_max(highest + 1, Ordering::Relaxed);
    }

    fn known(&self) -> RwLockReadGuard<'_, Known> {
        self.known.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn known_mut(&self) -> RwLockWriteGuard<'_, Known> {
        self.known.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// The destination of that name, made if there is none.
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
        let id = DestinationId(self.next_id.fetch_add(1, Ordering::Relaxed));
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
        let number = DestinationId(self.next_id.fetch_add(1, Ordering::Relaxed));
        let cell = Arc::new(Cell::new(
            destination.clone(),
            number,
            self.machine(&destination, 1),
            false,
            None,
            Arc::clone(&self.memory),
            Arc::clone(&self.timer),
        ));
        self.known_mut()
            .cells
            .insert(destination, Arc::clone(&cell));
        cell
    }

    /// Removes a destination. Who still holds it sends into the void.
    pub fn remove(&self, destination: &Destination) {
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
        self.next_id.fetch_max(id.0 + 1, Ordering::Relaxed);
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

    /// A machine for `destination` whose next message gets `next_sequence`.
    #[must_use]
    pub fn machine(&self, destination: &Destination, next_sequence: u64) -> Machine {
        let redelivery = RedeliveryPolicy {
            maximum_redeliveries: self.settings.maximum_redeliveries,
            ..RedeliveryPolicy::default()
        };
        match destination.kind {
            Kind::Queue => {
                let policy = QueuePolicy {
                    redelivery,
                    is_dead_letter_queue: self.is_dead_letter_queue(destination),
                    ..QueuePolicy::default()
                };
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
                Machine::Topic(Topic::new(next_sequence, limits, redelivery))
            }
        }
    }

    /// Whether `destination` is the dead-letter queue (DLQ-5).
    #[must_use]
    pub fn is_dead_letter_queue(&self, destination: &Destination) -> bool {
        destination.kind == Kind::Queue && destination.name == self.settings.dead_letter_queue
    }

    fn make(
        &self,
        destination: Destination,
        id: DestinationId,
        machine: Machine,
        defined: bool,
    ) -> Arc<Cell> {
        Arc::new(Cell::new(
            destination,
            id,
            machine,
            defined,
            self.store.clone(),
            Arc::clone(&self.memory),
            Arc::clone(&self.timer),
        ))
    }
}

//! Destinations by name, created on first use (DST-13).

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use ferrymq_store::{DestinationId, Store};

use super::Settings;
use super::cell::{Cell, Machine, Shared};
use super::memory::Memory;
use super::policy::Rules;
use super::timer::Timer;
use crate::broker::topic::TopicLimits;
use crate::broker::{Destination, Kind, Policies, Queue, Topic};

/// All destinations.
pub struct Registry {
    cells: RwLock<HashMap<Destination, Arc<Cell>>>,
    next_id: AtomicU32,
    settings: Settings,
    policies: RwLock<Arc<Policies>>,
    store: Option<Arc<Store>>,
    memory: Arc<Memory>,
    timer: Arc<Timer>,
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
            cells: RwLock::default(),
            next_id: AtomicU32::new(1),
            policies: RwLock::new(Arc::clone(&settings.policies)),
            settings,
            store,
            memory,
            timer,
        }
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
            let cells = self.cells.read().unwrap_or_else(PoisonError::into_inner);
            let alike = cells
                .keys()
                .filter(|other| policies.are_alike(destination, other));
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
        let mut cells = self.cells.write().unwrap_or_else(PoisonError::into_inner);
        let make = || {
            let id = self.next_id();
            tracing::debug!(%destination, "destination created");
            self.make(destination.clone(), id, self.machine(destination, 1), false)
        };
        Arc::clone(cells.entry(destination.clone()).or_insert_with(make))
    }

    /// The destination of that name, if there is one.
    pub fn get(&self, destination: &Destination) -> Option<Arc<Cell>> {
        self.cells
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(destination)
            .cloned()
    }

    /// All destinations.
    pub fn all(&self) -> Vec<Arc<Cell>> {
        self.cells
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .values()
            .cloned()
            .collect()
    }

    /// A number for the journal that nothing else has.
    pub fn next_id(&self) -> DestinationId {
        DestinationId(self.next_id.fetch_add(1, Ordering::Relaxed))
    }

    /// Says that the journal uses `id`.
    pub fn claim(&self, id: DestinationId) {
        self.next_id.fetch_max(id.0 + 1, Ordering::Relaxed);
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
        self.cells
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(destination, Arc::clone(&cell));
        cell
    }

    /// A machine for `destination` whose next message gets `next_sequence`, by the rules it has.
    #[must_use]
    pub fn machine(&self, destination: &Destination, next_sequence: u64) -> Machine {
        let policy = Rules::of(&self.policies(), destination).for_queue();
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
        let mut cells = self.cells.write().unwrap_or_else(PoisonError::into_inner);
        let mut gone = Vec::new();
        cells.retain(|destination, cell| {
            if Arc::strong_count(cell) > 1 {
                cell.note_use();
                return true;
            }
            let goes = gone.len() < count_max && may_go(cell);
            if goes {
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
        let rules = Rules::of(&self.policies(), &destination);
        let shared = Shared {
            store: self.store.clone(),
            memory: Arc::clone(&self.memory),
            timer: Arc::clone(&self.timer),
        };
        Arc::new(Cell::new(destination, id, machine, rules, defined, shared))
    }
}

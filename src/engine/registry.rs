//! Destinations by name, created on first use (DST-13).

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use ferrymq_store::{DestinationId, Store};

use super::Settings;
use super::cell::{Cell, Machine};
use super::memory::Memory;
use super::timer::Timer;
use crate::broker::topic::TopicLimits;
use crate::broker::{Destination, Kind, Queue, QueuePolicy, RedeliveryPolicy, Topic};

/// All destinations.
pub struct Registry {
    cells: RwLock<HashMap<Destination, Arc<Cell>>>,
    next_id: AtomicU32,
    settings: Settings,
    store: Option<Arc<Store>>,
    memory: Arc<Memory>,
    timer: Arc<Timer>,
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

    /// The destination of that name, made if there is none.
    pub fn get_or_create(&self, destination: &Destination) -> Arc<Cell> {
        let cells = self.cells.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(cell) = cells.get(destination) {
            return Arc::clone(cell);
        }
        drop(cells);
        let mut cells = self.cells.write().unwrap_or_else(PoisonError::into_inner);
        let make = || {
            let id = DestinationId(self.next_id.fetch_add(1, Ordering::Relaxed));
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

    /// Adds a destination that the journal knows, with its recovered machine.
    pub fn adopt(
        &self,
        destination: Destination,
        id: DestinationId,
        machine: Machine,
    ) -> Arc<Cell> {
        self.next_id.fetch_max(id.0 + 1, Ordering::Relaxed);
        let cell = self.make(destination.clone(), id, machine, true);
        self.cells
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(destination, Arc::clone(&cell));
        cell
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

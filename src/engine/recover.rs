//! From what the journal holds to machines, and a clean stop.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use ferrymq_store::{
    DestinationId, Recovered, RecoveredDestination, RecoveredEntry, RecoveredSubscription, Store,
};

use super::buffers::Buffers;
use super::cell::{Cell, Machine};
use super::connections::Connections;
use super::durability::Durability;
use super::durables::{Durable, DurableName, Durables};
use super::memory::Memory;
use super::read_back::ReadBack;
use super::registry::Registry;
use super::timer::Timer;
use super::{Engine, Settings, job_records, records};
use crate::broker::{Destination, Entry, Locator, MessageFlags};
use crate::clock::Clock;

/// Octets of memory a stored message costs beside its payload, once it is read back.
const OVERHEAD_BYTES: u64 = 192;

/// The journal and what it held.
pub struct Opened {
    /// The journal.
    pub store: Arc<Store>,
    /// What it held.
    pub recovered: Recovered,
}

impl Engine {
    /// Builds the engine, from the journal if there is one.
    ///
    /// # Errors
    /// A thread could not be started.
    pub fn build(
        settings: Settings,
        clock: Clock,
        durability: Arc<Durability>,
        opened: Option<Opened>,
    ) -> std::io::Result<Arc<Self>> {
        let memory = Arc::new(Memory::new(settings.memory_limit_bytes));
        let (store, recovered) = opened
            .map(|opened| (opened.store, opened.recovered))
            .unzip();
        let epoch = recovered.as_ref().map_or_else(
            || clock.wall_ms() & 0xffff_ffff,
            |recovered| recovered.epoch,
        );
        let timer = Arc::new(Timer::default());
        let engine = Arc::new(Self {
            registry: Registry::new(
                settings.clone(),
                store.clone(),
                Arc::clone(&memory),
                Arc::clone(&timer),
            ),
            timer,
            durables: Durables::default(),
            connections: Connections::default(),
            memory,
            buffers: Arc::new(Buffers::default()),
            store,
            durability,
            settings,
            clock,
            properties: Arc::default(),
            scheduling: Arc::default(),
            epoch,
            origins: AtomicU64::new(1),
            read_back: ReadBack::default(),
        });
        if let Some(recovered) = recovered {
            engine.adopt(recovered);
        }
        engine.read_back.start(&engine)?;
        Ok(engine)
    }

    fn adopt(&self, recovered: Recovered) {
        let clean = recovered.clean;
        let passed = passed(&recovered.subscriptions);
        let mut topics: HashMap<DestinationId, Arc<Cell>> = HashMap::new();
        let mut backlogs = Vec::new();
        // Numbers first: a schedule may name a destination that the journal does not know yet.
        for found in &recovered.destinations {
            self.registry.claim(found.id);
        }
        let (schedules, destinations): (Vec<_>, Vec<_>) = recovered
            .destinations
            .into_iter()
            .partition(|found| job_records::kind_of(found.kind).is_some());
        for found in destinations {
            let RecoveredDestination {
                id,
                kind,
                name,
                next_sequence,
                entries,
                ..
            } = found;
            let destination = Destination {
                kind: records::kind_of(kind),
                name,
            };
            let next_sequence = next_sequence.max(passed.get(&id).copied().unwrap_or(0));
            let mut machine = self.registry.machine(&destination, next_sequence);
            match &mut machine {
                Machine::Queue(queue) => {
                    for found in entries {
                        queue.recover(found.sequence, entry(&found, clean), found.expires_ms);
                    }
                    self.registry.adopt(destination, id, machine);
                }
                Machine::Topic(_) => {
                    let cell = self.registry.adopt(destination, id, machine);
                    backlogs.push((Arc::clone(&cell), entries));
                    topics.insert(id, cell);
                }
            }
        }
        for found in recovered.subscriptions {
            let Some(topic) = topics.get(&found.definition.topic) else {
                continue;
            };
            let start = found.definition.start.max(found.through.saturating_add(1));
            let mut state = topic.lock();
            let Some(machine) = state.topic() else {
                continue;
            };
            let key = machine.define_durable(found.definition.id.0, start, found.exceptions);
            let name = DurableName {
                client_id: found.definition.client_id,
                name: found.definition.name,
            };
            let durable = Durable {
                id: found.definition.id,
                topic: Arc::clone(topic),
                key,
            };
            self.durables.adopt(name, durable);
        }
        for (cell, entries) in backlogs {
            self.adopt_backlog(&cell, &entries, clean);
        }
        self.adopt_schedules(schedules);
    }

    /// Gives a topic its stored messages; those that every subscription has acknowledged go.
    fn adopt_backlog(&self, cell: &Cell, entries: &[RecoveredEntry], clean: bool) {
        let mut state = cell.lock();
        let Some(topic) = state.topic() else { return };
        let unwanted: Vec<_> = entries
            .iter()
            .filter(|found| !topic.recover(found.sequence, entry(found, clean)))
            .map(|found| (found.sequence, found.at))
            .collect();
        if let (Some(store), false) = (&self.store, unwanted.is_empty())
            && let Err(error) = store.append(|batch| batch.remove(cell.id, &unwanted))
        {
            tracing::warn!(destination = %cell.destination, %error, "acknowledged messages stay in the journal");
        }
    }

    /// Writes down what only memory knows, so that flags are exact after a clean stop (RED-7).
    pub fn note_for_restart(&self) {
        let Some(store) = &self.store else { return };
        for cell in self.registry.all() {
            let state = cell.lock();
            let seen = state.seen();
            if seen.is_empty() {
                continue;
            }
            let appended = store.append(|batch| {
                for (sequence, at, redeliveries) in seen {
                    batch.redelivered(
                        cell.id,
                        sequence,
                        records::to_store(at),
                        records::count_code(redeliveries, true),
                    );
                }
            });
            if let Err(error) = appended {
                tracing::warn!(destination = %cell.destination, %error, "redelivery marks not recorded");
            }
        }
    }
}

impl super::cell::State {
    /// Stored messages that were in a frame to a consumer and are still here: place and failed deliveries.
    fn seen(&self) -> Vec<(u64, Locator, u16)> {
        let seen = |(sequence, entry): (u64, &Entry)| {
            let at = entry.at.filter(|_| entry.redelivered)?;
            Some((sequence, at, entry.redeliveries))
        };
        match &self.machine {
            Machine::Queue(queue) => queue.entries().filter_map(seen).collect(),
            Machine::Topic(topic) => topic.returned().filter_map(seen).collect(),
        }
    }
}

/// The first place beyond all that durable subscriptions have passed, for each topic. The journal knows the
/// places of stored messages only, but positions pass others too: a message put at a place that was passed
/// would count as acknowledged after the next start.
fn passed(subscriptions: &[RecoveredSubscription]) -> HashMap<DestinationId, u64> {
    let mut passed = HashMap::new();
    for found in subscriptions {
        let last = found.exceptions.last().copied().unwrap_or(0);
        let next = last.max(found.through).saturating_add(1);
        let first = passed.entry(found.definition.topic).or_insert(0);
        *first = next.max(found.definition.start).max(*first);
    }
    passed
}

/// A recovered message as the core keeps it. After an unclean stop every one counts as delivered before,
/// because nobody knows (RED-7).
fn entry(found: &RecoveredEntry, clean: bool) -> Entry {
    let mut entry = Entry::stored(
        records::from_store(found.at),
        u64::from(found.size) + OVERHEAD_BYTES,
        found.priority,
        MessageFlags(found.flags),
    );
    let (redeliveries, redelivered) = records::count_of(found.redeliveries);
    entry.redeliveries = redeliveries;
    entry.redelivered = redelivered || !clean;
    entry
}

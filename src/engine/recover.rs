//! From what the journal holds to machines, and a clean stop.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use ferrymq_store::{
    DestinationId, Recovered, RecoveredDestination, RecoveredEntry, RecoveredSubscription, Store,
    SubscriptionId,
};

use super::advisories::Advisories;
use super::buffers::Buffers;
use super::cell::{Cell, Machine};
use super::choice::{Choice, Locals};
use super::connections::Connections;
use super::durability::Durability;
use super::durables::{Durable, DurableName, Durables};
use super::governor::{Governor, Waiters};
use super::memory::Memory;
use super::properties::PropertyReaders;
use super::read_back::ReadBack;
use super::registry::Registry;
use super::remembered::Selectors;
use super::roster::Roster;
use super::timer::Timer;
use super::{Engine, Settings, StoreError, job_records, records};
use crate::broker::advisory::WIRE_BROKER;
use crate::broker::log::Seen;
use crate::broker::policy::Declared;
use crate::broker::topic::{Progressed, Selection};
use crate::broker::{Destination, Entry, Message, MessageFlags, Queue, Topic};
use crate::clock::Clock;

/// Octets of memory a stored message costs beside its payload, once it is read back.
const OVERHEAD_BYTES: u64 = 192;

/// Messages read at a time to see whom they are for.
const READ_MESSAGES: usize = 1024;

/// The journal and what it held.
pub struct Opened {
    /// The journal.
    pub store: Arc<Store>,
    /// What it held.
    pub recovered: Recovered,
    /// Who waits for room in it.
    pub room: Arc<Waiters>,
}

impl Engine {
    /// Builds the engine, from the journal if there is one, with nobody to read properties yet.
    ///
    /// # Errors
    /// A thread could not be started.
    pub fn build(
        settings: Settings,
        clock: Clock,
        durability: Arc<Durability>,
        opened: Option<Opened>,
    ) -> std::io::Result<Arc<Self>> {
        Self::build_with(settings, clock, durability, opened, Arc::default())
    }

    /// Builds the engine, from the journal if there is one. What the selectors of durable subscriptions have passed over
    /// is found out with `properties`.
    ///
    /// # Errors
    /// A thread could not be started.
    pub fn build_with(
        settings: Settings,
        clock: Clock,
        durability: Arc<Durability>,
        opened: Option<Opened>,
        properties: Arc<PropertyReaders>,
    ) -> std::io::Result<Arc<Self>> {
        let memory = Arc::new(Memory::with_mark(
            settings.memory_limit_bytes,
            settings.memory_mark_bytes,
        ));
        let (store, recovered, room) = match opened {
            Some(opened) => (Some(opened.store), Some(opened.recovered), opened.room),
            None => (None, None, Arc::default()),
        };
        let epoch = recovered.as_ref().map_or_else(
            || clock.wall_ms() & 0xffff_ffff,
            |recovered| recovered.epoch,
        );
        let timer = Arc::new(Timer::default());
        let advisories = Arc::new(Advisories::new(&settings.advisories));
        properties.register(WIRE_BROKER, Arc::clone(advisories.properties()) as _);
        let engine = Arc::new(Self {
            registry: Registry::new(
                settings.clone(),
                store.clone(),
                Arc::clone(&memory),
                Arc::clone(&timer),
                Arc::clone(&advisories),
                Arc::clone(&properties),
            ),
            advisories,
            roster: Roster::default(),
            selectors: Selectors::new(store.clone(), Arc::clone(&properties)),
            timer,
            durables: Durables::default(),
            locals: Locals::default(),
            connections: Connections::default(),
            memory,
            governor: Governor::new(room, settings.scheduler_bytes_max),
            buffers: Arc::new(Buffers::default()),
            store,
            durability,
            settings,
            clock,
            properties,
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

    fn adopt(self: &Arc<Self>, recovered: Recovered) {
        let clean = recovered.clean;
        self.registry
            .claim(DestinationId(recovered.highest_destination));
        self.durables.used_through(recovered.highest_subscription);
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
            .partition(|found| job_records::is_schedule(found.kind));
        for found in destinations {
            if found.kind == records::KIND_SELECTOR {
                self.selectors.adopt(found.id, &found.name);
                continue;
            }
            if found.kind == records::KIND_WIDE {
                self.adopt_wide(found.id, &found.name);
                continue;
            }
            let RecoveredDestination {
                id,
                kind,
                name,
                next_sequence,
                entries,
                ids,
                declared,
                paused,
                ..
            } = found;
            let destination = Destination {
                kind: records::kind_of(kind),
                name: name.into(),
            };
            if !declared.is_empty() {
                let declared = Declared::decode(&declared);
                self.registry.declarations.add(&destination, declared);
            }
            let next_sequence = next_sequence.max(passed.get(&id).copied().unwrap_or(0));
            let mut machine = self.registry.machine(&destination, next_sequence);
            match &mut machine {
                Machine::Queue(queue) => {
                    for found in entries {
                        queue.recover(found.sequence, entry(&found, clean), found.expires_ms);
                    }
                    let cell = self.registry.adopt(destination, id, machine);
                    cell.recover_ids(&ids, self.clock.wall_ms());
                    if !paused.is_empty() {
                        cell.recover_pause(&paused);
                    }
                }
                Machine::Topic(_) => {
                    let cell = self.registry.adopt(destination, id, machine);
                    cell.recover_ids(&ids, self.clock.wall_ms());
                    backlogs.push((Arc::clone(&cell), entries));
                    topics.insert(id, cell);
                }
            }
        }
        for found in recovered.subscriptions {
            if let Some(topic) = topics.get(&found.definition.topic) {
                self.adopt_durable(topic, found);
            }
        }
        for wide in self.durables.wide() {
            for cell in topics
                .values()
                .filter(|cell| wide.matches(&cell.destination))
            {
                wide.join_recovered(cell);
            }
        }
        for (cell, entries) in backlogs {
            self.adopt_backlog(&cell, &entries, clean);
        }
        self.registry.link_adopted();
        self.adopt_schedules(schedules);
    }

    fn adopt_durable(&self, topic: &Arc<Cell>, found: RecoveredSubscription) {
        let RecoveredSubscription {
            definition,
            through,
            exceptions,
            marks,
        } = found;
        let choice = Choice {
            selector: definition.selector,
            no_local: definition.no_local,
        };
        let local = || self.locals.of(&definition.client_id);
        let selection = self.selection(&choice, &topic.destination, local);
        let selection = selection.unwrap_or_else(|error| {
            tracing::error!(
                client_id = definition.client_id,
                subscription = definition.name,
                error,
                "the selector of a durable subscription is not understood any more: it gets everything"
            );
            Selection::default()
        });
        let from = Progressed {
            start: definition.start.max(through.saturating_add(1)),
            acknowledged: exceptions,
            marks,
        };
        let mut state = topic.lock();
        let Some(machine) = state.topic() else { return };
        let key = machine.define_durable(definition.id.0, from, selection);
        let name = DurableName {
            client_id: definition.client_id,
            name: definition.name,
        };
        let durable = Durable {
            id: definition.id,
            topic: Arc::clone(topic),
            key,
            choice,
        };
        self.durables.adopt(name, durable);
    }

    /// Gives a topic its stored messages; those that every subscription has acknowledged go.
    fn adopt_backlog(&self, cell: &Cell, entries: &[RecoveredEntry], clean: bool) {
        let mut state = cell.lock();
        let Some(topic) = state.topic() else { return };
        let mut unwanted = Vec::new();
        for part in entries.chunks(READ_MESSAGES) {
            let mut read = self.read_for_selectors(topic, part);
            for found in part {
                let message = read.remove(&found.sequence);
                let (sequence, expires_ms) = (found.sequence, found.expires_ms);
                if !topic.recover(
                    sequence,
                    entry(found, clean),
                    expires_ms,
                    message.as_deref(),
                ) {
                    unwanted.push((sequence, found.at));
                }
            }
        }
        if let (Some(store), false) = (&self.store, unwanted.is_empty())
            && let Err(error) = store.append(|batch| batch.remove(cell.id, &unwanted))
        {
            tracing::warn!(destination = %cell.destination, %error, "acknowledged messages stay in the journal");
        }
    }

    /// The messages that must be looked at to tell for which subscriptions they are (SEL-9). One that cannot be read
    /// counts as wanted by all; its damage shows when it is asked for.
    fn read_for_selectors(
        &self,
        topic: &Topic,
        entries: &[RecoveredEntry],
    ) -> HashMap<u64, Arc<Message>> {
        let wanted = entries
            .iter()
            .filter(|found| topic.must_read(found.sequence));
        let (sequences, places): (Vec<u64>, Vec<_>) =
            wanted.map(|found| (found.sequence, found.at)).unzip();
        let (Some(store), false) = (&self.store, places.is_empty()) else {
            return HashMap::new();
        };
        let mut found = Vec::with_capacity(places.len());
        store.read_many(&places, &mut found);
        let messages = found.into_iter().map(|found| found.ok().flatten());
        sequences
            .into_iter()
            .zip(messages)
            .filter_map(|(sequence, stored)| Some((sequence, records::message(stored?))))
            .collect()
    }

    /// Writes down what only memory knows, so that flags are exact after a clean stop (RED-7).
    pub fn note_for_restart(&self) {
        let Some(store) = &self.store else { return };
        for cell in self.registry.all() {
            let state = cell.lock();
            let appended = match &state.machine {
                Machine::Queue(queue) => note_queue(store, &cell, queue),
                Machine::Topic(topic) => note_topic(store, topic),
            };
            if let Err(error) = appended {
                tracing::warn!(destination = %cell.destination, %error, "redelivery marks not recorded");
            }
        }
    }
}

/// Notes what was in a frame to a consumer and is still in the queue.
fn note_queue(store: &Store, cell: &Cell, queue: &Queue) -> Result<(), StoreError> {
    let seen = |(sequence, entry): (u64, Seen<'_, Entry>)| {
        let at = entry.journaled_at().filter(|_| entry.redelivered)?;
        Some((sequence, at, entry.redeliveries))
    };
    let mut seen = queue.entries().filter_map(seen).peekable();
    if seen.peek().is_none() {
        return Ok(());
    }
    let ((), _) = store.append(|batch| {
        for (sequence, at, redeliveries) in seen {
            batch.redelivered(
                cell.id,
                sequence,
                records::to_store(at),
                records::count_code(redeliveries, true),
            );
        }
    })?;
    Ok(())
}

/// The same for each durable subscription of a topic.
fn note_topic(store: &Store, topic: &Topic) -> Result<(), StoreError> {
    let mut seen: BTreeMap<u32, Vec<(u64, u16)>> = BTreeMap::new();
    for (subscription, sequence, redeliveries) in topic.seen() {
        let marks = seen.entry(subscription).or_default();
        marks.push((sequence, redeliveries));
    }
    if seen.is_empty() {
        return Ok(());
    }
    let ((), _) = store.append(|batch| {
        for (subscription, marks) in &seen {
            batch.redelivered_to(SubscriptionId(*subscription), marks);
        }
    })?;
    Ok(())
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

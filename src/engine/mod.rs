//! The shell around the pure core: names to cells, locks, outboxes, the journal, read-back.
//!
//! Knows no wire and no session: an adapter hands in messages and encoders, and gets its answers through
//! an [`outbox::Outbox`].

pub mod advisories;
mod alike;
mod attachments;
pub mod buffers;
pub mod cell;
pub mod choice;
pub mod commit;
pub mod connections;
pub mod dead_letter;
pub mod declare;
pub mod dedup;
pub mod defining;
pub mod delivering;
pub mod durability;
pub mod durables;
pub mod feeds;
pub mod filter;
mod fire;
pub mod governor;
pub mod housekeeping;
pub mod job_records;
pub mod machine;
pub mod manage;
pub mod memory;
mod moving;
pub mod namespaces;
pub mod neutral;
pub mod opening;
pub mod outbox;
pub mod pace;
pub mod pausing;
pub mod policy;
pub mod properties;
pub mod read_back;
pub mod records;
pub mod recover;
pub mod registry;
pub mod remembered;
mod reporting;
pub mod roster;
pub mod routes;
pub mod schedule;
pub mod shared;
pub mod spilling;
pub mod spread;
pub mod statistics;
pub mod timer;
mod vigil;
pub mod why;
pub mod wide;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ferrymq_store::Store;
pub use ferrymq_store::{StoreError, SubscriptionId, Ticket};

use crate::broker::{GroupReader, Policies};
use crate::clock::Clock;
use advisories::{Advisories, AdvisorySettings};
use buffers::Buffers;
use cell::{Journaled, Machine, Work};
use choice::Locals;
use connections::Connections;
use durability::Durability;
use durables::Durables;
use governor::Governor;
use memory::Memory;
use outbox::Outbox;
use properties::PropertyReaders;
use read_back::ReadBack;
use registry::Registry;
use roster::Roster;
use schedule::Scheduling;
use timer::Timer;

/// Values the engine works with; taken from the configuration by whoever builds it.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Octets of messages kept in memory at the head of each queue.
    pub queue_window_bytes: u64,
    /// Octets a non-durable topic subscriber may lag.
    pub slow_subscriber_bytes_max: u64,
    /// Octets that may wait for one connection before its subscriptions lose their credit.
    pub outbox_bytes_max: u64,
    /// What is copied where.
    pub routes: routes::Rules,
    /// The policies of destinations at the start.
    pub policies: Arc<Policies>,
    /// Octets of messages that all of the broker may hold.
    pub memory_limit_bytes: u64,
    /// Octets from which on messages leave memory for temporary storage.
    pub memory_mark_bytes: u64,
    /// Octets of messages that may be scheduled.
    pub scheduler_bytes_max: u64,
    /// How the message group of a message is read, whatever its wire.
    pub group_reader: Option<GroupReader>,
    /// Whether and as whom the broker reports what happens to it.
    pub advisories: AdvisorySettings,
    /// How temporary destinations come and go.
    pub temporaries: TemporaryRules,
}

/// How temporary destinations come and go, beside with their connection (GC-3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TemporaryRules {
    /// Whether a SEND makes one that is not there.
    pub auto_create_on_send: bool,
    /// Milliseconds without use after which one goes that no connection owns.
    pub purge_after_ms: u64,
}

/// Octets handed to the journal and not written yet from which on connections are read more slowly.
const PENDING_BYTES_MAX: usize = 64 << 20;

/// Rounds of flushing and dispatching before a connection's own task takes over.
const PUMP_ROUNDS_MAX: usize = 8;

/// The engine.
pub struct Engine {
    /// Destinations.
    pub registry: Registry,
    /// Durable subscriptions by client id and name.
    pub durables: Durables,
    /// Connections of clients with durable `noLocal` subscriptions.
    pub locals: Locals,
    /// Open connections.
    pub connections: Connections,
    /// Who is here.
    pub roster: Roster,
    /// What is reported of all this.
    pub advisories: Arc<Advisories>,
    /// The memory account.
    pub memory: Arc<Memory>,
    /// Who waits for room, and how much of everything is used.
    pub governor: Governor,
    /// What is due when.
    pub timer: Arc<Timer>,
    /// Buffers to lend.
    pub buffers: Arc<Buffers>,
    /// The journal; `None` without one.
    pub store: Option<Arc<Store>>,
    /// Messages to be delivered later.
    pub scheduling: Arc<Scheduling>,
    /// Selectors of consumers that may be away.
    pub selectors: remembered::Selectors,
    /// Answers that wait for a sync.
    pub durability: Arc<Durability>,
    /// Settings.
    pub settings: Settings,
    /// Time.
    pub clock: Clock,
    /// Who reads properties of messages, by wire.
    pub properties: Arc<PropertyReaders>,
    /// Which start of the broker this is; part of every message id.
    pub epoch: u64,
    origins: AtomicU64,
    read_back: ReadBack,
}

impl Engine {
    /// A number for a new connection, unique over all starts of this broker: the upper half is the epoch.
    #[must_use]
    pub fn next_origin(&self) -> u64 {
        self.epoch << 32 | self.origins.fetch_add(1, Ordering::Relaxed)
    }

    /// Whether a queue of that name takes copies from virtual topics (VIR-1).
    #[must_use]
    pub fn is_consumer_queue(&self, name: &str) -> bool {
        self.registry.route_rules().is_consumer_queue(name)
    }

    /// Replaces the rules of virtual destinations (VIR-6). Selectors that none of them wants remembered are forgotten.
    pub fn set_routes(&self, rules: routes::Rules) {
        self.selectors
            .retain(|queue| rules.remembers(queue).is_some());
        self.registry.set_routes(rules);
    }

    /// Whether the store refuses messages for want of space.
    #[must_use]
    pub fn is_store_full(&self) -> bool {
        self.store.as_ref().is_some_and(|store| store.is_full())
    }

    /// Whether the disk has fallen behind what was handed to the journal, by so much that it costs memory.
    #[must_use]
    pub fn is_store_behind(&self) -> bool {
        self.store
            .as_ref()
            .is_some_and(|store| store.pending_bytes() > PENDING_BYTES_MAX)
    }

    /// Stops in good order: what only memory knows is written down, the journal synced and closed.
    pub fn close(&self) {
        self.scheduling.stop();
        if let Some(spilling) = self.memory.spilling() {
            spilling.stop();
        }
        self.note_for_restart();
        if let Some(store) = &self.store
            && let Err(error) = store.close()
        {
            tracing::error!(%error, "the store was not closed in good order");
        }
    }

    /// How far the store has synced.
    #[must_use]
    pub fn synced(&self) -> Option<Ticket> {
        self.store.as_ref().map(|store| store.synced())
    }

    /// Answers a client: after all answers before it, and after the sync that `ticket` names.
    pub fn reply(&self, outbox: &Arc<Outbox>, ticket: Option<Ticket>, frame: &[u8]) {
        let synced = self.synced();
        outbox.reply(ticket, synced, frame);
        if let Some(ticket) = ticket
            && ticket > synced.unwrap_or_default()
        {
            self.durability.wait(outbox, ticket);
            // The sync may have come between the look and the entry in the list.
            if self.synced() >= Some(ticket) {
                outbox.settle(self.synced());
            }
        }
    }

    /// Writes the dead letters that a step has made, so that `work.ticket` covers them.
    pub fn bury_all(self: &Arc<Self>, work: &mut Work) {
        while !work.rejected.is_empty() {
            for (cell, rejected) in std::mem::take(&mut work.rejected) {
                self.bury(&cell, rejected, work);
            }
        }
    }

    /// Does what needs no connection: dead letters, advisories and read-back.
    fn run_detached(self: &Arc<Self>, work: &mut Work) {
        self.bury_all(work);
        self.publish_noted(work);
        if !work.freed.is_empty() {
            let freed = work.freed.drain(..);
            if let Some(spilling) = self.memory.spilling() {
                spilling.free(freed);
            }
        }
        for (cell, wanted) in work.fetches.drain(..) {
            self.read_back.ask(cell, wanted);
        }
    }

    /// Does what steps have left to do: dead letters, read-back, flushing, and what follows from those.
    pub fn run(self: &Arc<Self>, work: &mut Work) {
        for _ in 0..PUMP_ROUNDS_MAX {
            self.run_detached(work);
            if work.touched.is_empty() {
                return;
            }
            for outbox in std::mem::take(&mut work.touched) {
                outbox.flush();
                self.report(&outbox, work);
            }
        }
        // The last reports may have made some; a queue that waits for its messages waits for nothing else.
        self.run_detached(work);
        // A deep backlog flows to a fast consumer: its own task goes on, so that this one can read again.
        for outbox in work.touched.drain(..) {
            outbox.kick();
        }
    }

    /// Tells destinations what became of their deliveries on this connection.
    pub fn report(self: &Arc<Self>, outbox: &Arc<Outbox>, work: &mut Work) {
        let reports = outbox.take_reports();
        if reports.is_empty() {
            return;
        }
        let now_ms = self.clock.wall_ms();
        for (consumer, count) in reports.written {
            consumer
                .cell
                .step(work, Journaled::default(), |machine, out| match machine {
                    Machine::Queue(queue) => queue.written(consumer.key, count, out),
                    Machine::Topic(topic) => topic.written(consumer.key, count, out),
                });
        }
        for consumer in reports.resumed {
            consumer
                .cell
                .step(work, Journaled::default(), |machine, out| match machine {
                    Machine::Queue(queue) => queue.resume(now_ms, consumer.key, out),
                    Machine::Topic(topic) => topic.resume(now_ms, consumer.key, out),
                });
        }
    }

    /// Writes what waits for a connection and tells its destinations; for the connection's own task.
    pub fn pump(self: &Arc<Self>, outbox: &Arc<Outbox>, work: &mut Work) {
        outbox.settle(self.synced());
        outbox.flush();
        self.report(outbox, work);
        self.run(work);
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.scheduling.stop();
        if let Some(spilling) = self.memory.spilling() {
            spilling.stop();
        }
    }
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine")
            .field("epoch", &self.epoch)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;

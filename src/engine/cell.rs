//! One destination behind its lock: step the machine, render deliveries, hand records to the journal.
//!
//! Order is fixed under the lock: deliveries go to outboxes and records to the journal while it is held.
//! What may wait or touch other destinations (flushing, dead letters, read-back) is noted in [`Work`] and
//! done by the engine after the lock is gone. Lock order: durable registry, cell, then outbox or journal.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};

use ferrymq_store::{DestinationId, Store, StoreError, SubscriptionId, Ticket};

use super::advisories::Advisories;
use super::attachments::{Attached, Attachments};
use super::dead_letter::Audit;
use super::dedup::NewIds;
pub use super::delivering::{Delivering, Encoder};
use super::housekeeping::Idle;
pub use super::machine::Machine;
use super::memory::Memory;
use super::namespaces::{Account, Share};
use super::outbox::{Consumer, Outbox};
use super::pace::{self, Pace};
use super::pausing::Pause;
use super::policy::{self, Rules};
use super::records;
use super::routes::Routes;
use super::timer::Timer;
use crate::broker::advisory::ConsumerFacts;
use crate::broker::dedup::Window;
use crate::broker::outlet::Progress;
use crate::broker::queue::Incoming;
use crate::broker::slow::SlowWatch;
use crate::broker::{
    AckMode, Destination, Entry, Locator, Message, Queue, Rejected, SubscriptionKey, Topic,
};

/// Messages of a destination that are wanted back in memory: sequence and place of each.
pub type Fetch = (Arc<Cell>, Vec<(u64, Locator)>);

/// What is left to do when a destination's lock is gone. Reused, so a batch does not allocate.
#[derive(Default)]
pub struct Work {
    /// Outboxes with something new.
    pub touched: Vec<Arc<Outbox>>,
    /// Messages to dead-letter or drop, with where they failed.
    pub rejected: Vec<(Arc<Cell>, Rejected)>,
    /// Messages to read back.
    pub fetches: Vec<Fetch>,
    /// Places in temporary storage of messages that are gone.
    pub(super) freed: Vec<Locator>,
    /// The sync that covers all records handed over so far.
    pub ticket: Option<Ticket>,
    pub(super) records: Records,
}

/// Records of one step on their way to the journal.
#[derive(Default)]
pub(super) struct Records {
    pub(super) removed: Vec<(u64, ferrymq_store::Locator)>,
    pub(super) acknowledged: Vec<(u32, Progress)>,
    pub(super) redelivered: Vec<(u64, Locator, u16)>,
    pub(super) marked: Vec<(u32, u64, u16)>,
    pub(super) rejected: Vec<Rejected>,
    pub(super) fetches: Vec<(u64, Locator)>,
    pub(super) freed: Vec<Locator>,
}

impl Work {
    /// Notes that the message of `entry` is gone: its place in temporary storage, if it has one, is free.
    pub(super) fn free(&mut self, entry: &Entry) {
        self.freed.extend(entry.at.filter(|at| at.is_temp()));
    }

    /// Takes the ticket gathered so far.
    pub fn take_ticket(&mut self) -> Option<Ticket> {
        self.ticket.take()
    }
}

/// What a cell's lock guards.
pub struct State {
    /// The machine.
    pub machine: Machine,
    pub(super) attached: Attachments,
    /// Made when it is needed.
    pub(super) rare: Option<Box<Rare>>,
    charged_bytes: u64,
    /// What of it counts for its namespace.
    pub(super) share: Share,
    /// Made when much waits for the first time.
    pace: Option<Box<Pace>>,
    defined: bool,
    /// How many bits the number of discarded messages had when the log was told of it.
    discarded_bits: u8,
    pub(super) rules: Rules,
    /// Made with the first dead letter.
    pub(super) audit: Option<Box<Audit>>,
    pub(super) idle: Idle,
    /// The nearest time for which the timer knows this destination; `u64::MAX` for none.
    armed_ms: u64,
}

/// What few destinations need.
#[derive(Default)]
pub(super) struct Rare {
    /// Consumers that were slow after the last step, where that is reported.
    pub(super) slow: Vec<SubscriptionKey>,
    /// What is known of slow consumers, where the policy ends them.
    pub(super) slow_watch: Option<SlowWatch>,
    /// Who has paused the queue.
    pub(super) paused: Option<Pause>,
}

/// A destination.
pub struct Cell {
    /// Its name.
    pub destination: Destination,
    /// Its id in the journal.
    pub id: DestinationId,
    /// The id of the connection it lives with, if it is a temporary one with an owner.
    pub owner: OnceLock<Box<str>>,
    /// Where copies of what is sent to it go.
    pub routes: Routes,
    /// What of its policy a send has to look at; see `policy.rs`.
    pub(super) watched: AtomicU8,
    /// Somebody referred to it when it was last looked at; see `housekeeping.rs`.
    pub(super) in_use: AtomicBool,
    /// The ids of messages it must not take again; see `dedup.rs`. Locked before the state, never after it.
    pub(super) window: Mutex<Window>,
    state: Mutex<State>,
    pub(super) common: Arc<Common>,
}

/// What all destinations of a kind have in common.
#[derive(Clone)]
pub struct Common {
    /// The journal; `None` without one.
    pub store: Option<Arc<Store>>,
    /// The memory account.
    pub memory: Arc<Memory>,
    /// What is due when.
    pub timer: Arc<Timer>,
    /// What is reported.
    pub advisories: Arc<Advisories>,
}

/// What a destination shares with others.
pub struct Shared {
    /// With all of its kind.
    pub common: Arc<Common>,
    /// What its namespace holds.
    pub account: Option<Arc<Account>>,
}

/// Which effects are in the journal already, because one group holds them with others.
#[derive(Clone, Copy, Default)]
pub struct Journaled {
    /// Removals of queue messages.
    pub removals: bool,
    /// Single acknowledgements of durable subscriptions.
    pub progress: bool,
}

impl Cell {
    /// A cell around `machine`; `defined` says whether the journal knows the destination.
    #[must_use]
    pub fn new(
        destination: Destination,
        id: DestinationId,
        machine: Machine,
        rules: Rules,
        defined: bool,
        shared: Shared,
    ) -> Self {
        let Shared { common, account } = shared;
        let charged_bytes = machine.held_bytes();
        let watched = AtomicU8::new(rules.watched());
        let window = Window::new(rules.policy.dedup);
        let state = State {
            machine,
            attached: Attachments::default(),
            rare: None,
            charged_bytes,
            share: Share::of(account),
            pace: None,
            defined,
            discarded_bits: 1,
            rules,
            audit: None,
            idle: Idle::default(),
            armed_ms: u64::MAX,
        };
        Self {
            destination,
            id,
            owner: OnceLock::new(),
            routes: Routes::default(),
            watched,
            in_use: AtomicBool::new(false),
            window: Mutex::new(window),
            state: Mutex::new(state),
            common,
        }
    }

    pub(super) fn memory(&self) -> &Memory {
        &self.common.memory
    }

    pub(super) fn journal_store(&self) -> Option<&Arc<Store>> {
        self.common.store.as_ref()
    }

    /// Whether what it holds can be in the journal.
    #[must_use]
    pub fn is_stored(&self) -> bool {
        self.common.store.is_some()
    }

    /// Locks the destination. Never across I/O, and never two destinations at once.
    ///
    /// # Panics
    /// If a panic left a step half done: the machine cannot be trusted, the process must end.
    pub fn lock(&self) -> MutexGuard<'_, State> {
        self.state
            .lock()
            .expect("a step never panics; if it did, the process is ending")
    }

    /// Runs one step of the machine, with its effects carried out or noted in `work`.
    pub fn step<R>(
        self: &Arc<Self>,
        work: &mut Work,
        journaled: Journaled,
        f: impl FnOnce(&mut Machine, &mut Delivering<'_>) -> R,
    ) -> R {
        let mut state = self.lock();
        self.step_locked(&mut state, work, journaled, f)
    }

    /// [`Cell::step`] for who holds the lock already.
    pub fn step_locked<R>(
        self: &Arc<Self>,
        state: &mut State,
        work: &mut Work,
        journaled: Journaled,
        f: impl FnOnce(&mut Machine, &mut Delivering<'_>) -> R,
    ) -> R {
        let State {
            machine,
            attached,
            rare,
            rules,
            ..
        } = state;
        if let Some(store) = &self.common.store {
            let durable = store.durable_through().map(records::from_store);
            match machine {
                Machine::Queue(queue) => queue.set_durable(durable),
                Machine::Topic(topic) => topic.set_durable(durable),
            }
        }
        let mut records = std::mem::take(&mut work.records);
        let mut delivering = Delivering {
            attached,
            current: None,
            touched: &mut work.touched,
            records: &mut records,
            stored: self.common.store.is_some(),
            journaled,
            cell: self,
            rules,
            reporting: self.reporting(rules),
        };
        let whole = WholeStep {
            unwinding: std::thread::panicking(),
        };
        let result = f(machine, &mut delivering);
        if self.watches(policy::DROPS) {
            policy::drop_head(rules, machine, &mut delivering);
        }
        let reporting = delivering.reporting;
        drop(delivering);
        drop(whole);
        if let Some(reporting) = reporting {
            reporting.slow_consumers(machine, rare, attached);
        }
        self.settle(state, work, &mut records);
        work.records = records;
        result
    }

    /// Takes a batch of messages in, in order. Persistent ones are handed to the journal first, so that
    /// journal order is queue order. On an error nothing was taken in. Returns for how many milliseconds the
    /// producer had better pause, because consumers fall behind.
    ///
    /// # Errors
    /// The store is full or dead.
    pub fn send(
        self: &Arc<Self>,
        now_ms: u64,
        messages: &mut Vec<Arc<Message>>,
        work: &mut Work,
    ) -> Result<u64, StoreError> {
        self.send_with(now_ms, messages, &NewIds::NONE, work)
    }

    /// The same, with ids of some of them for the journal.
    pub(super) fn send_with(
        self: &Arc<Self>,
        now_ms: u64,
        messages: &mut Vec<Arc<Message>>,
        ids: &NewIds,
        work: &mut Work,
    ) -> Result<u64, StoreError> {
        let mut state = self.lock();
        if self.watches(policy::STAMPS) {
            state.stamp(now_ms, messages);
        }
        let first = state.machine.reserve(messages.len() as u64);
        let stored = self.append_adds(&mut state, first, messages, ids, work)?;
        self.report_arrivals(&state, messages.iter());
        let mut places = stored.into_iter();
        self.step_locked(&mut state, work, Journaled::default(), |machine, out| {
            for (sequence, message) in (first..).zip(messages.drain(..)) {
                let at = if machine.stores(&message) {
                    places.next()
                } else {
                    None
                };
                let incoming = Incoming {
                    sequence,
                    entry: Entry::held(message, at),
                };
                match machine {
                    Machine::Queue(queue) => queue.push(now_ms, incoming, out),
                    Machine::Topic(topic) => topic.publish(now_ms, incoming, out),
                }
            }
        });
        let state = &mut *state;
        let (machine, pace) = (&mut state.machine, &mut state.pace);
        if pace.is_none() && !pace::is_behind(machine.held_bytes()) {
            return Ok(0);
        }
        let pace = pace.get_or_insert_default();
        Ok(pace.pause_ms(now_ms, || match machine {
            Machine::Queue(queue) => (queue.held_bytes(), queue.take_drained_bytes()),
            Machine::Topic(topic) => topic.take_laggard(),
        }))
    }

    /// Defines the destination in the journal, once, before its first record there.
    pub(super) fn define(&self, state: &mut State, batch: &mut ferrymq_store::Batch<'_>) {
        if !state.defined {
            state.defined = true;
            batch.define_destination(
                self.id,
                records::kind_code(self.destination.kind),
                &self.destination.name,
            );
        }
    }

    fn append_adds(
        &self,
        state: &mut State,
        first: u64,
        messages: &[Arc<Message>],
        ids: &NewIds,
        work: &mut Work,
    ) -> Result<Vec<Locator>, StoreError> {
        let Some(store) = &self.common.store else {
            return Ok(Vec::new());
        };
        let stored = messages
            .iter()
            .filter(|message| state.machine.stores(message))
            .count();
        if stored == 0 && ids.is_empty() {
            return Ok(Vec::new());
        }
        let mut places = Vec::with_capacity(stored);
        let defined = state.defined;
        let appended = store.append(|batch| {
            self.define(state, batch);
            ids.write(batch, self);
            for (sequence, message) in (first..).zip(messages) {
                if !state.machine.stores(message) {
                    continue;
                }
                let at = records::add(batch, &[(self.id, sequence)], message);
                places.push(records::from_store(at));
            }
        });
        match appended {
            Ok(((), ticket)) => {
                work.ticket = work.ticket.max(Some(ticket));
                Ok(places)
            }
            Err(error) => {
                state.defined = defined;
                Err(error)
            }
        }
    }

    /// Connects a subscription of the machine with the outbox it delivers to.
    pub fn attach(
        self: &Arc<Self>,
        state: &mut State,
        key: SubscriptionKey,
        outbox: &Arc<Outbox>,
        encoder: Box<dyn Encoder>,
        mode: AckMode,
    ) {
        let index = outbox.register(Consumer {
            cell: Arc::clone(self),
            key,
        });
        let attached = Attached {
            outbox: Arc::clone(outbox),
            index,
            auto: mode == AckMode::Auto,
            rewrites: encoder.rewrites(),
            wire: encoder.wire(),
            encoder,
            facts: None,
            numbers: None,
        };
        state.attached.insert(key, attached);
        state.expect_slow();
    }

    /// Disconnects a subscription from its outbox.
    pub fn detach(state: &mut State, key: SubscriptionKey) {
        if let Some(attached) = state.attached.remove(key) {
            attached.outbox.unregister(attached.index);
        }
    }

    /// Hands the records of a step to the journal and its memory to the account.
    fn settle(self: &Arc<Self>, state: &mut State, work: &mut Work, records: &mut Records) {
        self.journal(records, work);
        work.rejected.extend(
            records
                .rejected
                .drain(..)
                .map(|rejected| (Arc::clone(self), rejected)),
        );
        if !records.fetches.is_empty() {
            work.fetches
                .push((Arc::clone(self), std::mem::take(&mut records.fetches)));
        }
        work.freed.append(&mut records.freed);
        let held = state.machine.held_bytes();
        let charged = std::mem::replace(&mut state.charged_bytes, held);
        if held > charged {
            self.common.memory.charge(held - charged);
        } else if held < charged {
            self.common.memory.release(charged - held);
        }
        state.settle_share();
        self.arm(state);
        if let Machine::Topic(topic) = &state.machine
            && topic.stats.discarded >> state.discarded_bits != 0
        {
            state.discarded_bits = bits(topic.stats.discarded);
            tracing::warn!(
                destination = %self.destination,
                discarded_total = topic.stats.discarded,
                "a subscriber does not keep up and loses messages (pendingMessageLimitStrategy, \
                 memory.slow_topic_subscriber_bytes_max)"
            );
        }
    }

    /// Tells the timer what a start has found.
    pub(super) fn rearm(self: &Arc<Self>) {
        self.arm(&mut self.lock());
    }

    /// Tells the timer of something that is due sooner than all it knows of.
    fn arm(self: &Arc<Self>, state: &mut State) {
        let due_ms = match &state.machine {
            Machine::Queue(queue) => queue.next_due_ms(),
            Machine::Topic(topic) => topic.next_due_ms(),
        };
        let watch = state
            .rare
            .as_ref()
            .and_then(|rare| rare.slow_watch.as_ref());
        let look_ms = watch.map(SlowWatch::next_ms);
        if let Some(due_ms) = due_ms.into_iter().chain(look_ms).min()
            && due_ms < state.armed_ms
        {
            state.armed_ms = due_ms;
            self.common.timer.arm(self, due_ms);
        }
    }

    fn journal(&self, records: &mut Records, work: &mut Work) {
        let empty = records.removed.is_empty()
            && records.acknowledged.is_empty()
            && records.redelivered.is_empty()
            && records.marked.is_empty();
        let Some(store) = &self.common.store else {
            return;
        };
        if empty {
            return;
        }
        let appended = store.append(|batch| {
            if !records.removed.is_empty() {
                batch.remove(self.id, &records.removed);
            }
            for &(subscription, progress) in &records.acknowledged {
                let id = SubscriptionId(subscription);
                match progress {
                    Progress::Through(through) => batch.acknowledge(id, Some(through), &[]),
                    Progress::Single(sequence) => batch.acknowledge(id, None, &[sequence]),
                }
            }
            for &(sequence, at, redeliveries) in &records.redelivered {
                batch.redelivered(
                    self.id,
                    sequence,
                    records::to_store(at),
                    records::count_code(redeliveries, true),
                );
            }
            for &(subscription, sequence, redeliveries) in &records.marked {
                batch.redelivered_to(SubscriptionId(subscription), &[(sequence, redeliveries)]);
            }
        });
        records.marked.clear();
        records.removed.clear();
        records.acknowledged.clear();
        records.redelivered.clear();
        match appended {
            Ok(((), ticket)) => work.ticket = work.ticket.max(Some(ticket)),
            // The journal is dead and the broker is stopping: what was consumed may come again.
            Err(error) => tracing::debug!(%error, "removals not recorded"),
        }
    }
}

/// How many bits a number has.
fn bits(number: u64) -> u8 {
    // 64 at most; with 63 it was told for the last time.
    u8::try_from(u64::BITS - number.leading_zeros()).map_or(63, |bits| bits.min(63))
}

/// Whoever let go of a destination last gives back the memory of what was in it.
impl Drop for Cell {
    fn drop(&mut self) {
        if let Ok(state) = self.state.get_mut() {
            self.common.memory.release(state.charged_bytes);
            if let Some(spilling) = self.common.memory.spilling() {
                spilling.free(state.machine.places_in_temp());
            }
        }
        if let Ok(window) = self.window.get_mut() {
            self.common.memory.release(window.held_bytes());
        }
    }
}

/// Lives while a step runs. A panic leaves the machine half changed, so it ends the process: recovery, which
/// trusts only the journal, does better than whoever would go on.
struct WholeStep {
    /// The step cleans up after a panic of somebody else.
    unwinding: bool,
}

impl Drop for WholeStep {
    fn drop(&mut self) {
        if std::thread::panicking() && !self.unwinding {
            tracing::error!(
                "a step of a destination has panicked: the process ends, a start recovers"
            );
            std::process::abort();
        }
    }
}

impl State {
    /// Whether the journal knows the destination.
    #[must_use]
    pub fn is_defined(&self) -> bool {
        self.defined
    }

    /// Says whether the journal knows the destination.
    pub(super) fn set_defined(&mut self, defined: bool) {
        self.defined = defined;
    }

    /// The timer has come to `at_ms`.
    pub(super) fn disarm(&mut self, at_ms: u64) {
        if self.armed_ms == at_ms {
            self.armed_ms = u64::MAX;
        }
    }

    /// Says what is told of the consumer `key`, which is attached.
    pub fn introduce(&mut self, key: SubscriptionKey, facts: &Arc<ConsumerFacts>) {
        if let Some(attached) = self.attached.get_mut(key) {
            attached.facts = Some(Arc::clone(facts));
        }
    }

    /// What is told of the consumers that are attached.
    pub(super) fn told(&self) -> impl Iterator<Item = (SubscriptionKey, &Arc<ConsumerFacts>)> {
        let attached = self.attached.iter();
        attached.filter_map(|(key, attached)| Some((key, attached.facts.as_ref()?)))
    }

    /// From now on `numbers` numbers the deliveries of the consumer `key`, which is attached.
    pub(super) fn number_by(&mut self, key: SubscriptionKey, numbers: &Arc<AtomicU64>) {
        if let Some(attached) = self.attached.get_mut(key) {
            attached.numbers = Some(Arc::clone(numbers));
        }
        match &mut self.machine {
            Machine::Queue(queue) => queue.number_outside(key),
            Machine::Topic(topic) => topic.number_outside(key),
        }
    }

    /// The queue machine, if this is a queue.
    pub fn queue(&mut self) -> Option<&mut Queue> {
        match &mut self.machine {
            Machine::Queue(queue) => Some(queue),
            Machine::Topic(_) => None,
        }
    }

    /// The topic machine, if this is a topic.
    pub fn topic(&mut self) -> Option<&mut Topic> {
        match &mut self.machine {
            Machine::Queue(_) => None,
            Machine::Topic(topic) => Some(topic),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// There may be hundreds of thousands of quiet destinations. What only some of them need is made when they need it.
    #[test]
    fn a_quiet_destination_is_small() {
        assert!(size_of::<Cell>() <= 624, "{}", size_of::<Cell>());
        assert!(size_of::<Queue>() <= 384, "{}", size_of::<Queue>());
        // References to what destinations of equal policies share.
        assert_eq!(size_of::<Rules>(), 16);
        assert!(size_of::<Attached>() <= 48, "{}", size_of::<Attached>());
    }
}

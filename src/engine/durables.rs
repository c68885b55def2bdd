//! Durable subscriptions by client id and name (SUB-1 to SUB-7).

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ferrymq_store::{SubscriptionDefinition, SubscriptionId, Ticket};

use super::Engine;
use super::cell::{Cell, Encoder, Journaled, Machine, State, Work};
use super::choice::Choice;
use super::outbox::Outbox;
use super::wide::Wide;
use crate::broker::topic::Progressed;
use crate::broker::{AckMode, Destination, Outlet, SubscriptionKey, Window};

/// Who a durable subscription belongs to and what it is called.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct DurableName {
    /// The client id of its connection.
    pub client_id: String,
    /// Its name.
    pub name: String,
}

/// A durable subscription with or without a consumer.
#[derive(Clone)]
pub struct Durable {
    /// Its id in the journal.
    pub id: SubscriptionId,
    /// The topic.
    pub topic: Arc<Cell>,
    /// Its key there.
    pub key: SubscriptionKey,
    /// What it asks for.
    pub choice: Choice,
}

/// A durable subscription of either sort.
#[derive(Clone)]
pub(super) enum Known {
    /// On one topic.
    One(Durable),
    /// On several.
    Wide(Arc<Wide>),
}

impl Known {
    pub(super) fn is_active(&self) -> bool {
        match self {
            Self::One(durable) => durable.is_active(),
            Self::Wide(wide) => wide.is_active(),
        }
    }

    fn has_id(&self, id: u32) -> bool {
        match self {
            Self::One(durable) => durable.id.0 == id,
            Self::Wide(wide) => wide.has_part(id),
        }
    }
}

/// Why a durable subscription was refused.
#[derive(Debug, thiserror::Error)]
pub enum DurableError {
    /// It has a consumer already (SUB-3).
    #[error("durable subscription is in use")]
    InUse,
    /// There is none of that name (SUB-7).
    #[error("no such durable subscription")]
    Unknown,
    /// Its selector is none (SEL-8).
    #[error("{0}")]
    Selector(String),
    /// The journal refused.
    #[error(transparent)]
    Store(#[from] ferrymq_store::StoreError),
}

/// All durable subscriptions. Its lock comes before any destination's.
#[derive(Default)]
pub struct Durables {
    known: Mutex<HashMap<DurableName, Known>>,
    /// Since when those without a client have been seen without one, in monotonic milliseconds.
    offline: Mutex<HashMap<DurableName, u64>>,
    next_id: AtomicU32,
}

impl Durables {
    /// Ids up to `highest` were given away once.
    pub fn used_through(&self, highest: u32) {
        self.next_id.fetch_max(highest, Ordering::Relaxed);
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, HashMap<DurableName, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn next_id(&self) -> SubscriptionId {
        SubscriptionId(self.next_id.fetch_add(1, Ordering::Relaxed) + 1)
    }

    /// The name of the durable subscription `id`, or of that with a part `id`.
    #[must_use]
    pub fn name_of(&self, id: u32) -> Option<DurableName> {
        let known = self.lock();
        let found = known.iter().find(|(_, durable)| durable.has_id(id));
        found.map(|(name, _)| name.clone())
    }

    /// What the subscription `name` is on, patterns as names; nothing if there is none.
    #[must_use]
    pub fn topics_of(&self, name: &DurableName) -> Vec<Destination> {
        match self.lock().get(name) {
            Some(Known::One(durable)) => vec![durable.topic.destination.clone()],
            Some(Known::Wide(wide)) => wide.destinations(),
            None => Vec::new(),
        }
    }

    /// The durable subscriptions that have been without a client for `timeout_ms`, as far as calls of this have seen: the
    /// first one that finds them without begins to count (GC-2).
    pub fn offline_since(&self, now_ms: u64, timeout_ms: u64) -> Vec<DurableName> {
        let known = self.lock();
        let mut offline = self.offline.lock().unwrap_or_else(PoisonError::into_inner);
        offline.retain(|name, _| known.get(name).is_some_and(|durable| !durable.is_active()));
        for (name, durable) in known.iter() {
            if !durable.is_active() {
                offline.entry(name.clone()).or_insert(now_ms);
            }
        }
        let late = offline
            .iter()
            .filter(|(_, since_ms)| now_ms.saturating_sub(**since_ms) >= timeout_ms);
        late.map(|(name, _)| name.clone()).collect()
    }

    /// The client of a durable subscription is here: what was counted of its absence is forgotten.
    pub(super) fn is_back(&self, name: &DurableName) {
        self.offline
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(name);
    }

    /// Adds a recovered subscription, or a recovered part of one on several topics.
    pub fn adopt(&self, name: DurableName, durable: Durable) {
        match self.lock().entry(name) {
            Entry::Occupied(mut known) => match known.get() {
                Known::Wide(wide) => wide.adopt(durable),
                Known::One(_) => drop(known.insert(Known::One(durable))),
            },
            Entry::Vacant(free) => drop(free.insert(Known::One(durable))),
        }
    }

    /// All on several topics.
    pub(super) fn wide(&self) -> Vec<Arc<Wide>> {
        let known = self.lock();
        let wide = known.values().filter_map(|known| match known {
            Known::Wide(wide) => Some(Arc::clone(wide)),
            Known::One(_) => None,
        });
        wide.collect()
    }
}

/// The consumer end of a new subscription.
pub struct ConsumerEnd<'a> {
    /// Where it delivers to.
    pub outbox: &'a Arc<Outbox>,
    /// How it renders.
    pub encoder: Box<dyn Encoder>,
    /// How it acknowledges.
    pub mode: AckMode,
    /// Its credit.
    pub window: Window,
    /// The number of its connection.
    pub origin: u64,
}

impl Engine {
    /// Gives the durable subscription `name` of `topic` a consumer, making the subscription if there is none;
    /// one on another topic, or that asks for something else, is replaced with its backlog (SUB-4).
    ///
    /// # Errors
    /// It is in use, or the journal refused.
    pub fn subscribe_durable(
        self: &Arc<Self>,
        name: &DurableName,
        topic: &Arc<Cell>,
        choice: &Choice,
        end: ConsumerEnd<'_>,
        work: &mut Work,
    ) -> Result<(Durable, Option<Ticket>), DurableError> {
        let mut known = self.durables.lock();
        self.durables.is_back(name);
        if let Some(before) = known.get(name).cloned() {
            if before.is_active() {
                return Err(DurableError::InUse);
            }
            if let Known::One(durable) = &before
                && Arc::ptr_eq(&durable.topic, topic)
                && durable.choice == *choice
            {
                self.locals.connected(&name.client_id, end.origin);
                durable.activate(end, None);
                return Ok((durable.clone(), None));
            }
            // First, so that what is refused costs nothing.
            self.filter_of(choice, &topic.destination)
                .map_err(DurableError::Selector)?;
            self.drop_known(&before, work)?;
            known.remove(name);
        }
        let (durable, ticket) = self.define_durable(name, topic, choice)?;
        self.locals.connected(&name.client_id, end.origin);
        durable.activate(end, None);
        known.insert(name.clone(), Known::One(durable.clone()));
        Ok((durable, ticket))
    }

    /// Removes the durable subscription `name` for good (SUB-7).
    ///
    /// # Errors
    /// It is unknown or in use, or the journal refused.
    pub fn unsubscribe_durable(
        self: &Arc<Self>,
        name: &DurableName,
        work: &mut Work,
    ) -> Result<Option<Ticket>, DurableError> {
        let mut known = self.durables.lock();
        let durable = known.get(name).cloned().ok_or(DurableError::Unknown)?;
        if durable.is_active() {
            return Err(DurableError::InUse);
        }
        let ticket = self.drop_known(&durable, work)?;
        known.remove(name);
        Ok(ticket)
    }

    fn define_durable(
        &self,
        name: &DurableName,
        topic: &Arc<Cell>,
        choice: &Choice,
    ) -> Result<(Durable, Option<Ticket>), DurableError> {
        let local = || self.locals.of(&name.client_id);
        let selection = self
            .selection(choice, &topic.destination, local)
            .map_err(DurableError::Selector)?;
        let id = self.durables.next_id();
        let mut state = topic.lock();
        let start = state.topic().map_or(0, |topic| topic.next_sequence());
        let mut ticket = None;
        if let Some(store) = &self.store {
            let definition = SubscriptionDefinition {
                id,
                topic: topic.id,
                client_id: name.client_id.clone(),
                name: name.name.clone(),
                selector: choice.selector.clone(),
                no_local: choice.no_local,
                start,
            };
            let ((), synced_by) = store.append(|batch| {
                topic.define(&mut state, batch);
                batch.define_subscription(&definition);
            })?;
            ticket = Some(synced_by);
        }
        let from = Progressed {
            start,
            ..Progressed::default()
        };
        let key = state
            .topic()
            .map(|machine| machine.define_durable(id.0, from, selection));
        let key = key.unwrap_or_else(|| unreachable!("durable subscriptions are on topics"));
        Ok((
            Durable {
                id,
                topic: Arc::clone(topic),
                key,
                choice: choice.clone(),
            },
            ticket,
        ))
    }

    pub(super) fn drop_known(
        &self,
        known: &Known,
        work: &mut Work,
    ) -> Result<Option<Ticket>, DurableError> {
        match known {
            Known::One(durable) => self.drop_durable(durable, work),
            Known::Wide(wide) => Ok(self.drop_wide(wide, work)?),
        }
    }

    fn drop_durable(
        &self,
        durable: &Durable,
        work: &mut Work,
    ) -> Result<Option<Ticket>, DurableError> {
        let mut ticket = None;
        if let Some(store) = &self.store {
            let ((), synced_by) = store.append(|batch| batch.drop_subscription(durable.id))?;
            ticket = Some(synced_by);
        }
        durable
            .topic
            .step(work, Journaled::default(), |machine, out| {
                if let Machine::Topic(topic) = machine {
                    topic.drop_subscription(durable.key, out);
                }
            });
        Ok(ticket)
    }
}

impl Durable {
    /// Whether it has a consumer.
    #[must_use]
    pub fn is_active(&self) -> bool {
        self.topic
            .lock()
            .topic()
            .is_some_and(|topic| topic.is_active(self.key))
    }

    /// Gives it its consumer; with `numbers` its deliveries are numbered by those. Whoever activates has seen to it under
    /// the registry's lock that it is free.
    pub(super) fn activate(&self, end: ConsumerEnd<'_>, numbers: Option<&Arc<AtomicU64>>) {
        let mut state = self.topic.lock();
        let free = state
            .topic()
            .is_some_and(|topic| topic.activate(self.key, end.mode, end.window));
        debug_assert!(free, "activity is looked at under the registry's lock");
        self.topic
            .attach(&mut state, self.key, end.outbox, end.encoder, end.mode);
        if let Some(numbers) = numbers {
            state.number_by(self.key, numbers);
        }
    }
}

impl State {
    /// Lets deliveries flow to a subscription whose client has been answered.
    pub fn start(machine: &mut Machine, now_ms: u64, key: SubscriptionKey, out: &mut impl Outlet) {
        match machine {
            Machine::Queue(queue) => queue.resume(now_ms, key, out),
            Machine::Topic(topic) => topic.resume(now_ms, key, out),
        }
    }
}

//! Durable subscriptions on several topics: a list of them, or all that match a pattern (SUB-1 to SUB-7, DST-5).
//!
//! - On each topic it has a *part*, a durable subscription of its own in the journal, all under one name. A topic made
//!   later gets its part before anybody can send to it, whether the subscription has a consumer or not.
//! - What it is on is one more record: a destination of a kind of its own whose name says it all.
//! - Its consumer is that of any subscription on several destinations, see `feeds.rs`.
//! - Lock order: durable registry, registry, the subscription, destination.

use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use ferrymq_store::{DestinationId, StoreError, SubscriptionDefinition, Ticket};

use super::Engine;
use super::cell::{Cell, Journaled, Machine, Work};
use super::choice::Choice;
use super::durables::{Durable, DurableError, DurableName, Known};
use super::records::{self, KIND_WIDE};
use crate::broker::pattern::Syntax;
use crate::broker::topic::{Progressed, Selection};
use crate::broker::{Destination, Kind, Pattern};

/// What marks a name in the record, and what a pattern.
const NAMED: char = '=';
const MATCHED: char = '~';

/// A durable subscription on several topics.
pub struct Wide {
    name: DurableName,
    topics: Vec<Destination>,
    patterns: Vec<Pattern>,
    pub(super) choice: Choice,
    /// Its number in the journal.
    record: DestinationId,
    engine: Weak<Engine>,
    /// Numbers the deliveries of its consumers; none is used twice (ACK-4).
    pub(super) numbers: Arc<AtomicU64>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    parts: Vec<Durable>,
    stage: Stage,
    /// Topics that came before it was in the journal.
    early: Vec<Arc<Cell>>,
    active: bool,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Stage {
    /// It is being made.
    #[default]
    New,
    Defined,
    /// It was removed.
    Gone,
}

impl Wide {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a topic of that name belongs to it.
    #[must_use]
    pub fn matches(&self, destination: &Destination) -> bool {
        destination.kind == Kind::Topic
            && !destination.is_temporary()
            && (self.topics.contains(destination)
                || self
                    .patterns
                    .iter()
                    .any(|one| one.matches(&destination.name)))
    }

    /// What it is on, patterns as names.
    #[must_use]
    pub fn destinations(&self) -> Vec<Destination> {
        let patterns = self.patterns.iter();
        let patterns = patterns.map(|pattern| Destination::topic(pattern.as_str()));
        self.topics.iter().cloned().chain(patterns).collect()
    }

    /// Whether it has a consumer.
    #[must_use]
    pub fn is_active(&self) -> bool {
        self.state().active
    }

    /// It has a consumer now, or none any more.
    pub(super) fn set_active(&self, active: bool) {
        self.state().active = active;
    }

    /// Whether one of its parts has this id.
    pub(super) fn has_part(&self, id: u32) -> bool {
        self.state().parts.iter().any(|part| part.id.0 == id)
    }

    /// Takes a recovered part over.
    pub(super) fn adopt(&self, part: Durable) {
        self.state().parts.push(part);
    }

    /// A topic that matches was made: it gets its part, unless it has one.
    pub(super) fn join(&self, cell: &Arc<Cell>) {
        let mut state = self.state();
        match state.stage {
            Stage::Gone => {}
            Stage::New => state.early.push(Arc::clone(cell)),
            Stage::Defined => drop(self.part_of(&mut state, cell, None)),
        }
    }

    /// Its part on a topic, made if there is none; `None` when it is gone.
    pub(super) fn part(&self, cell: &Arc<Cell>) -> Option<Durable> {
        let mut state = self.state();
        match state.stage {
            Stage::Gone => None,
            Stage::New | Stage::Defined => self.part_of(&mut state, cell, None),
        }
    }

    /// A recovered topic without a part was made after the subscription, and what it holds is wanted.
    pub(super) fn join_recovered(&self, cell: &Arc<Cell>) {
        drop(self.part_of(&mut self.state(), cell, Some(1)));
    }

    fn part_of(&self, state: &mut State, cell: &Arc<Cell>, start: Option<u64>) -> Option<Durable> {
        let known = |part: &&Durable| Arc::ptr_eq(&part.topic, cell);
        if let Some(part) = state.parts.iter().find(known) {
            return Some(part.clone());
        }
        let engine = self.engine.upgrade()?;
        let (part, definition) = self.make(&engine, cell, start);
        if let Some(store) = &engine.store
            && let Err(error) = store.append(|batch| batch.define_subscription(&definition))
        {
            // What the topic stores meanwhile is found at a start, by the subscription's own record.
            tracing::error!(
                client_id = self.name.client_id,
                subscription = self.name.name,
                topic = %cell.destination,
                %error,
                "the part of a durable subscription on a new topic is not in the journal"
            );
        }
        state.parts.push(part.clone());
        Some(part)
    }

    /// A part in memory, and what the journal has to know of it.
    fn make(
        &self,
        engine: &Engine,
        cell: &Arc<Cell>,
        start: Option<u64>,
    ) -> (Durable, SubscriptionDefinition) {
        let id = engine.durables.next_id();
        let selection = self.selection(engine, cell);
        let mut locked = cell.lock();
        if let (Some(store), false) = (&engine.store, locked.is_defined())
            && let Err(error) = store.append(|batch| cell.define(&mut locked, batch))
        {
            locked.set_defined(false);
            tracing::debug!(topic = %cell.destination, %error, "not defined yet");
        }
        let machine = locked.topic();
        let machine =
            machine.unwrap_or_else(|| unreachable!("durable subscriptions are on topics"));
        let start = start.unwrap_or_else(|| machine.next_sequence());
        let from = Progressed {
            start,
            ..Progressed::default()
        };
        let key = machine.define_durable(id.0, from, selection);
        drop(locked);
        let part = Durable {
            id,
            topic: Arc::clone(cell),
            key,
            choice: self.choice.clone(),
        };
        let definition = SubscriptionDefinition {
            id,
            topic: cell.id,
            client_id: self.name.client_id.clone(),
            name: self.name.name.clone(),
            selector: self.choice.selector.clone(),
            no_local: self.choice.no_local,
            start,
        };
        (part, definition)
    }

    fn selection(&self, engine: &Engine, cell: &Cell) -> Selection {
        let local = || engine.locals.of(&self.name.client_id);
        let selection = engine.selection(&self.choice, &cell.destination, local);
        selection.unwrap_or_else(|error| {
            tracing::error!(
                client_id = self.name.client_id,
                subscription = self.name.name,
                error,
                "the selector of a durable subscription is not understood any more: it gets everything"
            );
            Selection::default()
        })
    }

    /// What the record says.
    fn text(&self) -> String {
        let no_local = if self.choice.no_local { "1" } else { "" };
        let selector = self.choice.selector.as_deref().unwrap_or_default();
        let topics = self.topics.iter().map(|one| format!("{NAMED}{}", one.name));
        let patterns = self.patterns.iter().map(|one| format!("{MATCHED}{one}"));
        let on: Vec<String> = topics.chain(patterns).collect();
        let DurableName { client_id, name } = &self.name;
        let head = [client_id.as_str(), name, no_local, selector];
        records::fields_text(head.into_iter().chain(on.iter().map(String::as_str)))
    }

    /// The subscription that a record says.
    pub(super) fn read(
        record: DestinationId,
        text: &str,
        syntax: Syntax,
        engine: Weak<Engine>,
    ) -> Option<Self> {
        let fields = records::split_fields(text)?;
        let [client_id, name, no_local, selector, on @ ..] = &fields[..] else {
            return None;
        };
        let (mut topics, mut patterns) = (Vec::new(), Vec::new());
        for one in on {
            if let Some(name) = one.strip_prefix(NAMED) {
                topics.push(Destination::topic(name));
            } else {
                let pattern = Pattern::parse_with(one.strip_prefix(MATCHED)?, syntax);
                patterns.push(pattern.ok()?);
            }
        }
        Some(Self {
            name: DurableName {
                client_id: client_id.clone(),
                name: name.clone(),
            },
            topics,
            patterns,
            choice: Choice {
                selector: (!selector.is_empty()).then(|| selector.clone()),
                no_local: !no_local.is_empty(),
            },
            record,
            engine,
            numbers: Arc::new(AtomicU64::new(1)),
            state: Mutex::new(State {
                stage: Stage::Defined,
                ..State::default()
            }),
        })
    }

    fn is_on(&self, topics: &[Destination], patterns: &[Pattern]) -> bool {
        (self.topics.len(), self.patterns.len()) == (topics.len(), patterns.len())
            && topics.iter().all(|topic| self.topics.contains(topic))
            && patterns.iter().all(|one| self.patterns.contains(one))
    }
}

impl Engine {
    /// The durable subscription `name` on all these topics and those that match, for its consumer, which it has from now
    /// on; it is made if there is none. One on others, or that asks for something else, is replaced with its backlog
    /// (SUB-4).
    ///
    /// # Errors
    /// It is in use, its selector is none, or the journal refused.
    pub fn subscribe_wide(
        self: &Arc<Self>,
        name: &DurableName,
        (cells, patterns): (&[Arc<Cell>], Vec<Pattern>),
        (choice, origin): (&Choice, u64),
        work: &mut Work,
    ) -> Result<(Arc<Wide>, Option<Ticket>), DurableError> {
        let mut known = self.durables.lock();
        self.durables.is_back(name);
        let topics: Vec<Destination> = cells.iter().map(|cell| cell.destination.clone()).collect();
        let before = known.get(name).cloned();
        if before.as_ref().is_some_and(Known::is_active) {
            return Err(DurableError::InUse);
        }
        // First, so that what is refused costs nothing.
        self.filter_of(choice, &Destination::topic(""))
            .map_err(DurableError::Selector)?;
        self.locals.connected(&name.client_id, origin);
        if let Some(Known::Wide(wide)) = &before
            && wide.is_on(&topics, &patterns)
            && wide.choice == *choice
        {
            wide.set_active(true);
            return Ok((Arc::clone(wide), None));
        }
        if let Some(before) = before {
            self.drop_known(&before, work)?;
            known.remove(name);
        }
        let wide = Arc::new(Wide {
            name: name.clone(),
            topics,
            patterns,
            choice: choice.clone(),
            record: self.registry.next_id(),
            engine: Arc::downgrade(self),
            numbers: Arc::new(AtomicU64::new(1)),
            state: Mutex::default(),
        });
        let ticket = self.define_wide(&wide, cells, work)?;
        // What `noLocal` looks at is there now.
        self.locals.connected(&name.client_id, origin);
        wide.set_active(true);
        known.insert(name.clone(), Known::Wide(Arc::clone(&wide)));
        Ok((wide, ticket))
    }

    /// Makes the parts on all topics there are, and writes all of it as one.
    fn define_wide(
        &self,
        wide: &Arc<Wide>,
        cells: &[Arc<Cell>],
        work: &mut Work,
    ) -> Result<Option<Ticket>, StoreError> {
        let matching = self.registry.watch_durable(wide);
        let mut state = wide.state();
        let early = std::mem::take(&mut state.early);
        let mut definitions = Vec::new();
        for cell in cells.iter().chain(&matching).chain(&early) {
            let mut parts = state.parts.iter();
            if !parts.any(|part| Arc::ptr_eq(&part.topic, cell)) {
                let (part, definition) = wide.make(self, cell, None);
                state.parts.push(part);
                definitions.push(definition);
            }
        }
        let Some(store) = &self.store else {
            state.stage = Stage::Defined;
            return Ok(None);
        };
        let written = store.append(|batch| {
            for definition in &definitions {
                batch.define_subscription(definition);
            }
            batch.define_destination(wide.record, KIND_WIDE, &wide.text());
        });
        match written {
            Ok(((), ticket)) => {
                state.stage = Stage::Defined;
                Ok(Some(ticket))
            }
            Err(error) => {
                state.stage = Stage::Gone;
                let parts = std::mem::take(&mut state.parts);
                drop(state);
                self.registry.unwatch_durable(wide);
                drop_parts(&parts, work);
                Err(error)
            }
        }
    }

    /// Removes it for good, with all parts.
    pub(super) fn drop_wide(
        &self,
        wide: &Arc<Wide>,
        work: &mut Work,
    ) -> Result<Option<Ticket>, StoreError> {
        let mut ticket = None;
        let mut state = wide.state();
        if let Some(store) = &self.store {
            let ((), synced_by) = store.append(|batch| {
                for part in &state.parts {
                    batch.drop_subscription(part.id);
                }
                batch.drop_destination(wide.record);
            })?;
            ticket = Some(synced_by);
        }
        state.stage = Stage::Gone;
        let parts = std::mem::take(&mut state.parts);
        drop(state);
        self.registry.unwatch_durable(wide);
        drop_parts(&parts, work);
        Ok(ticket)
    }

    /// Takes the records of such subscriptions over, before their parts come.
    pub(super) fn adopt_wide(self: &Arc<Self>, record: DestinationId, text: &str) {
        let syntax = self.settings.routes.syntax;
        let Some(wide) = Wide::read(record, text, syntax, Arc::downgrade(self)) else {
            tracing::error!(
                text,
                "a durable subscription on several topics makes no sense"
            );
            return;
        };
        let wide = Arc::new(wide);
        self.registry.watch_durable(&wide);
        let mut known = self.durables.lock();
        known.insert(wide.name.clone(), Known::Wide(wide));
    }
}

fn drop_parts(parts: &[Durable], work: &mut Work) {
    for part in parts {
        part.topic.step(work, Journaled::default(), |machine, out| {
            if let Machine::Topic(topic) = machine {
                topic.drop_subscription(part.key, out);
            }
        });
    }
}

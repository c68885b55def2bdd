//! Selectors that consumers of queues have had, for when they are away (VIR-2, `selectorCache`).
//!
//! In the journal each is a destination of a kind of its own, whose name is queue and selector: it costs nothing to
//! keep, and a start finds it with the names of all others.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use ferrymq_store::{DestinationId, Store};

use super::filter::SelectorFilter;
use super::properties::PropertyReaders;
use super::records::{self, KIND_SELECTOR};
use crate::broker::selector::{Selector, SelectorOptions};
use crate::broker::{Destination, Filter, Kind, Message};

/// Selectors remembered of one queue; beyond it the oldest are forgotten.
const SELECTORS_MAX: usize = 256;

struct Remembered {
    /// Empty: everything.
    selector: String,
    filter: Option<Arc<dyn Filter>>,
    id: DestinationId,
}

/// All of them, by the name of their queue.
pub struct Selectors {
    by_queue: RwLock<HashMap<Arc<str>, Vec<Remembered>>>,
    store: Option<Arc<Store>>,
    properties: Arc<PropertyReaders>,
}

impl Selectors {
    pub(super) fn new(store: Option<Arc<Store>>, properties: Arc<PropertyReaders>) -> Self {
        Self {
            by_queue: RwLock::default(),
            store,
            properties,
        }
    }

    /// Notes that a consumer of `queue` has this selector, or none; in place of all others if `single`. `id` makes a
    /// number for the journal.
    pub(super) fn remember(
        &self,
        queue: &Destination,
        selector: Option<&str>,
        single: bool,
        id: impl FnOnce() -> DestinationId,
    ) {
        let selector = selector.unwrap_or_default();
        let mut by_queue = self
            .by_queue
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        let known = by_queue.entry(queue.name.clone()).or_default();
        let others_max = if single { 0 } else { SELECTORS_MAX - 1 };
        let mut gone = Vec::new();
        let has = known.iter().any(|one| one.selector == selector);
        if has && !single {
            return;
        }
        if single {
            gone.extend(known.extract_if(.., |one| one.selector != selector));
        } else {
            let surplus = known.len().saturating_sub(others_max);
            gone.extend(known.drain(..surplus));
        }
        let id = (!has).then(id);
        if let Some(store) = &self.store {
            let written = store.append(|batch| {
                if let Some(id) = id {
                    let name = records::fields_text([&*queue.name, selector]);
                    batch.define_destination(id, KIND_SELECTOR, &name);
                }
                gone.iter().for_each(|one| batch.drop_destination(one.id));
            });
            if let Err(error) = written {
                tracing::warn!(destination = %queue, %error, "a selector is not remembered over a restart");
            }
        }
        if let Some(id) = id {
            known.push(self.compile(queue, selector, id));
        }
    }

    /// Takes one over that the journal has under this name.
    pub(super) fn adopt(&self, id: DestinationId, name: &str) {
        let Some([queue, selector]) = records::text_fields(name) else {
            tracing::error!(name, "a remembered selector makes no sense");
            return;
        };
        let queue = Destination::queue(queue);
        let remembered = self.compile(&queue, &selector, id);
        let mut by_queue = self
            .by_queue
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        by_queue.entry(queue.name).or_default().push(remembered);
    }

    /// Forgets those of a queue that is gone, or of all that `keeps` does not keep.
    pub(super) fn retain(&self, keeps: impl Fn(&str) -> bool) {
        let mut by_queue = self
            .by_queue
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        let gone: Vec<_> = by_queue.extract_if(|queue, _| !keeps(queue)).collect();
        drop(by_queue);
        let mut ids = gone.iter().flat_map(|(_, all)| all).peekable();
        if let (Some(store), Some(_)) = (&self.store, ids.peek())
            && let Err(error) =
                store.append(|batch| ids.for_each(|one| batch.drop_destination(one.id)))
        {
            tracing::warn!(%error, "selectors that are forgotten come back with the next start");
        }
    }

    /// Whether some consumer of `queue`, as remembered, wants the message.
    pub(super) fn want(&self, queue: &Destination, message: &Message) -> bool {
        let by_queue = self.by_queue.read().unwrap_or_else(PoisonError::into_inner);
        let wants = |one: &Remembered| {
            let filter = one.filter.as_ref();
            filter.is_none_or(|filter| filter.matches(message, 0, false))
        };
        by_queue
            .get(&queue.name)
            .is_some_and(|known| known.iter().any(wants))
    }

    fn compile(&self, queue: &Destination, selector: &str, id: DestinationId) -> Remembered {
        debug_assert_eq!(queue.kind, Kind::Queue);
        let filter = (!selector.is_empty())
            .then(|| Selector::parse(selector, SelectorOptions::default()))
            .and_then(|read| {
                read.inspect_err(
                    |error| tracing::error!(destination = %queue, %error, "a remembered selector is not understood any more: it counts as none"),
                )
                .ok()
            });
        let filter = filter.map(|selector| {
            let properties = Arc::clone(&self.properties);
            Arc::new(SelectorFilter::new(selector, queue, properties)) as Arc<dyn Filter>
        });
        Remembered {
            selector: selector.to_owned(),
            filter,
            id,
        }
    }
}

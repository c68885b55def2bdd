//! What the store must remember, in a few maps, and whether a recovered state is one of those it may have.

use std::collections::{BTreeMap, BTreeSet};

use ferrymq_store::{Locator, Recovered, Store, Ticket};

use crate::support::body_of;

/// A reference as the model knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) at: Locator,
    pub(crate) serial: u64,
    pub(crate) length: usize,
    pub(crate) redeliveries: u16,
    pub(crate) flags: u8,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Destination {
    pub(crate) name: String,
    pub(crate) next: u64,
    pub(crate) entries: BTreeMap<u64, Entry>,
    /// Times of ids, the id being the same number.
    pub(crate) ids: Vec<u64>,
    pub(crate) declared: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Subscription {
    pub(crate) through: u64,
    pub(crate) exceptions: BTreeSet<u64>,
    pub(crate) marks: BTreeMap<u64, u16>,
}

/// Everything the store must know at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Model {
    pub(crate) destinations: BTreeMap<u32, Destination>,
    pub(crate) subscriptions: BTreeMap<u32, Subscription>,
    /// Highest ids ever given to a destination and a subscription.
    pub(crate) highest: (u32, u32),
}

/// The model after each append, with the append's ticket. The first is what was recovered.
#[derive(Debug)]
pub(crate) struct History {
    pub(crate) states: Vec<(Ticket, Model)>,
    /// Last ticket the store completed.
    pub(crate) completed: Ticket,
}

impl History {
    pub(crate) fn new(model: Model) -> Self {
        Self {
            states: vec![(Ticket::default(), model)],
            completed: Ticket::default(),
        }
    }

    pub(crate) fn now(&self) -> &Model {
        &self.states[self.states.len() - 1].1
    }

    /// Finds the state that was recovered among those that keep every promise.
    pub(crate) fn accept(&mut self, store: &Store, recovered: &Recovered) -> Result<(), String> {
        let found = of(store, recovered)?;
        let promised = self
            .states
            .iter()
            .rposition(|(ticket, _)| *ticket <= self.completed)
            .unwrap_or(0);
        let Some(_) = self.states[promised..]
            .iter()
            .find(|(_, state)| *state == found)
        else {
            let before = self.states[..promised]
                .iter()
                .rposition(|(_, state)| *state == found);
            return Err(format!(
                "recovered a state that is not allowed (an older one: {before:?}, promised {promised} of {}):\n{}\nreport {:?}",
                self.states.len(),
                difference(&self.states[promised].1, &found),
                recovered.report,
            ));
        };
        *self = Self::new(found);
        Ok(())
    }
}

/// What a store recovered, as a model; every message is read back and compared.
pub(crate) fn of(store: &Store, recovered: &Recovered) -> Result<Model, String> {
    let mut model = Model {
        highest: (
            recovered.highest_destination,
            recovered.highest_subscription,
        ),
        ..Model::default()
    };
    for destination in &recovered.destinations {
        let mut entries = BTreeMap::new();
        let mut last = 0;
        for entry in &destination.entries {
            if entry.sequence <= last {
                return Err(format!("sequence {} after {last}", entry.sequence));
            }
            last = entry.sequence;
            let message = store
                .read(entry.at)
                .map_err(|error| format!("{}: {error}", entry.at))?;
            let message = message.ok_or_else(|| format!("{} is gone", entry.at))?;
            let body = message.body();
            if body != body_of(message.serial, body.len())
                || message.payload.len() != entry.size as usize
            {
                return Err(format!("{} has another body", entry.at));
            }
            let known = Entry {
                at: entry.at,
                serial: message.serial,
                length: body.len(),
                redeliveries: entry.redeliveries,
                flags: message.flags,
            };
            entries.insert(entry.sequence, known);
        }
        let name = destination.name.clone();
        model.destinations.insert(
            destination.id.0,
            Destination {
                name,
                next: destination.next_sequence,
                entries,
                ids: destination.ids.iter().map(|id| id.time_ms).collect(),
                declared: destination.declared.clone(),
            },
        );
    }
    for subscription in &recovered.subscriptions {
        let exceptions = subscription.exceptions.iter().copied().collect();
        let known = Subscription {
            through: subscription.through,
            exceptions,
            marks: subscription.marks.iter().copied().collect(),
        };
        model
            .subscriptions
            .insert(subscription.definition.id.0, known);
    }
    Ok(model)
}

/// The first difference, for reading.
pub(crate) fn difference(expected: &Model, found: &Model) -> String {
    for (id, destination) in &expected.destinations {
        let Some(other) = found.destinations.get(id) else {
            return format!("destination {id} is missing");
        };
        if (destination.next, &destination.name) != (other.next, &other.name) {
            return format!(
                "destination {id}: {} {}, not {} {}",
                other.name, other.next, destination.name, destination.next
            );
        }
        if (&destination.ids, &destination.declared) != (&other.ids, &other.declared) {
            return format!(
                "destination {id}: ids {:?} {:?}, not {:?} {:?}",
                other.ids, other.declared, destination.ids, destination.declared
            );
        }
        for (sequence, entry) in &destination.entries {
            match other.entries.get(sequence) {
                None => return format!("destination {id}: {sequence} at {} is missing", entry.at),
                Some(other) if other != entry => {
                    return format!("destination {id}: {sequence} is {other:?}, not {entry:?}");
                }
                Some(_) => {}
            }
        }
        if let Some(more) = other
            .entries
            .keys()
            .find(|sequence| !destination.entries.contains_key(sequence))
        {
            return format!(
                "destination {id}: {more} ({:?}) should not be there",
                other.entries[more]
            );
        }
    }
    format!(
        "expected {:?} {:?}, found {:?} {:?}",
        expected.highest, expected.subscriptions, found.highest, found.subscriptions
    )
}

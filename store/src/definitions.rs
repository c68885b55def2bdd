//! What exists by name: destinations and durable subscriptions, and the Snapshot that carries all of it forward.
//!
//! Ids are never used twice, so defining or dropping the same thing again while reading is harmless.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::fields::{Reader, put_octets, put_varint};
use crate::liveness::{put_rising, rising};
use crate::locator::{DestinationId, SubscriptionId};
use crate::message::SubscriptionDefinition;

const BIT_NO_LOCAL: u64 = 1;
const BIT_SELECTOR: u64 = 2;

/// Everything defined and not dropped.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Definitions {
    pub(crate) destinations: BTreeMap<DestinationId, (u8, String)>,
    pub(crate) subscriptions: BTreeMap<SubscriptionId, SubscriptionDefinition>,
    /// Highest id ever defined: what is not above it and not here was dropped.
    pub(crate) highest_destination: u32,
}

impl Definitions {
    pub(crate) fn define_destination(&mut self, id: DestinationId, kind: u8, name: &str) {
        self.highest_destination = self.highest_destination.max(id.0);
        self.destinations.insert(id, (kind, name.to_owned()));
    }
}

/// How far a durable subscription has got.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Position {
    pub(crate) through: u64,
    pub(crate) exceptions: BTreeSet<u64>,
}

impl Position {
    /// Takes an acknowledgement in; positions only advance.
    pub(crate) fn acknowledge(&mut self, through: Option<u64>, singles: impl Iterator<Item = u64>) {
        if let Some(through) = through.filter(|&through| through > self.through) {
            self.through = through;
            self.exceptions = self.exceptions.split_off(&through.saturating_add(1));
        }
        let through = self.through;
        self.exceptions
            .extend(singles.filter(|&sequence| sequence > through));
    }
}

/// The numbers that move all the time, kept apart from the names.
#[derive(Debug, Clone, Default)]
pub(crate) struct Progress {
    /// Next sequence per destination.
    pub(crate) sequences: HashMap<DestinationId, u64>,
    pub(crate) positions: HashMap<SubscriptionId, Position>,
}

impl Progress {
    /// Notes that `sequence` is in use.
    pub(crate) fn used(&mut self, destination: DestinationId, sequence: u64) {
        self.at_least(destination, sequence.saturating_add(1));
    }

    fn at_least(&mut self, destination: DestinationId, next: u64) {
        let known = self.sequences.entry(destination).or_insert(0);
        *known = next.max(*known);
    }

    /// Merges a possibly older picture.
    pub(crate) fn merge(&mut self, other: Self) {
        for (destination, next) in other.sequences {
            self.at_least(destination, next);
        }
        for (id, position) in other.positions {
            let known = self.positions.entry(id).or_default();
            known.acknowledge(Some(position.through), position.exceptions.into_iter());
        }
    }
}

/// Encodes the payload of a Snapshot.
pub(crate) fn encode(definitions: &Definitions, progress: &Progress, out: &mut Vec<u8>) {
    put_varint(out, u64::from(definitions.highest_destination));
    put_varint(out, definitions.destinations.len() as u64);
    for (id, (kind, name)) in &definitions.destinations {
        put_varint(out, u64::from(id.0));
        put_varint(out, u64::from(*kind));
        put_octets(out, name.as_bytes());
        put_varint(out, progress.sequences.get(id).copied().unwrap_or(0));
    }
    put_varint(out, definitions.subscriptions.len() as u64);
    let nowhere = Position::default();
    for (id, definition) in &definitions.subscriptions {
        put_varint(out, u64::from(id.0));
        put_varint(out, u64::from(definition.topic.0));
        put_varint(out, definition.start);
        let no_local = if definition.no_local { BIT_NO_LOCAL } else { 0 };
        put_varint(
            out,
            no_local
                | if definition.selector.is_some() {
                    BIT_SELECTOR
                } else {
                    0
                },
        );
        put_octets(out, definition.client_id.as_bytes());
        put_octets(out, definition.name.as_bytes());
        if let Some(selector) = &definition.selector {
            put_octets(out, selector.as_bytes());
        }
        let position = progress.positions.get(id).unwrap_or(&nowhere);
        put_varint(out, position.through);
        put_rising(
            out,
            position.exceptions.len(),
            position.exceptions.iter().copied(),
        );
    }
}

/// Decodes the payload of a Snapshot.
pub(crate) fn decode(octets: &[u8]) -> Option<(Definitions, Progress)> {
    let mut reader = Reader::new(octets);
    let mut definitions = Definitions {
        highest_destination: reader.short()?,
        ..Definitions::default()
    };
    let mut progress = Progress::default();
    for _ in 0..reader.varint()? {
        let id = DestinationId(reader.short()?);
        let kind = u8::try_from(reader.varint()?).ok()?;
        definitions
            .destinations
            .insert(id, (kind, reader.string()?));
        progress.sequences.insert(id, reader.varint()?);
    }
    for _ in 0..reader.varint()? {
        let id = SubscriptionId(reader.short()?);
        let (topic, start, bits) = (
            DestinationId(reader.short()?),
            reader.varint()?,
            reader.varint()?,
        );
        let definition = SubscriptionDefinition {
            id,
            topic,
            start,
            no_local: bits & BIT_NO_LOCAL != 0,
            client_id: reader.string()?,
            name: reader.string()?,
            selector: if bits & BIT_SELECTOR != 0 {
                Some(reader.string()?)
            } else {
                None
            },
        };
        definitions.subscriptions.insert(id, definition);
        let through = reader.varint()?;
        let exceptions = rising(&mut reader)?.into_iter().collect();
        progress.positions.insert(
            id,
            Position {
                through,
                exceptions,
            },
        );
    }
    Some((definitions, progress))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_snapshot_comes_back() {
        let mut definitions = Definitions::default();
        definitions.define_destination(DestinationId(7), 1, "orders");
        let definition = SubscriptionDefinition {
            id: SubscriptionId(3),
            topic: DestinationId(7),
            client_id: "c".into(),
            name: "n".into(),
            selector: Some("a > 1".into()),
            no_local: true,
            start: 12,
        };
        definitions.subscriptions.insert(definition.id, definition);
        let mut progress = Progress::default();
        progress.used(DestinationId(7), 41);
        progress
            .positions
            .entry(SubscriptionId(3))
            .or_default()
            .acknowledge(Some(20), [22, 24].into_iter());
        let mut octets = Vec::new();
        encode(&definitions, &progress, &mut octets);
        let (found, numbers) = decode(&octets).unwrap();
        assert_eq!(found, definitions);
        assert_eq!(numbers.sequences, progress.sequences);
        assert_eq!(numbers.positions, progress.positions);
    }

    proptest! {
        #[test]
        fn positions_do_not_depend_on_repetition(acks: Vec<(Option<u64>, Vec<u64>)>) {
            let (mut once, mut twice) = (Position::default(), Position::default());
            for (through, singles) in acks.iter().chain(&[]) {
                let through = through.filter(|&through| through < u64::MAX);
                once.acknowledge(through, singles.iter().copied());
            }
            for (through, singles) in acks.iter().chain(&acks) {
                let through = through.filter(|&through| through < u64::MAX);
                twice.acknowledge(through, singles.iter().copied());
            }
            prop_assert_eq!(once, twice);
        }

        #[test]
        fn no_octets_make_a_snapshot_panic(octets: Vec<u8>) {
            drop(decode(&octets));
        }
    }
}

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
    /// What clients have declared of destinations, opaque.
    pub(crate) declared: BTreeMap<DestinationId, String>,
    /// Destinations that are paused, and what was said then, opaque.
    pub(crate) paused: BTreeMap<DestinationId, String>,
    /// Highest id ever defined: what is not above it and not here was dropped.
    pub(crate) highest_destination: u32,
    /// The same of subscriptions, so that a dropped one's id is not used again.
    pub(crate) highest_subscription: u32,
}

impl Definitions {
    pub(crate) fn define_destination(&mut self, id: DestinationId, kind: u8, name: &str) {
        self.highest_destination = self.highest_destination.max(id.0);
        self.destinations.insert(id, (kind, name.to_owned()));
    }

    pub(crate) fn drop_destination(&mut self, id: DestinationId) {
        self.destinations.remove(&id);
        self.declared.remove(&id);
        self.paused.remove(&id);
    }

    pub(crate) fn pause(&mut self, id: DestinationId, text: &str) {
        if text.is_empty() {
            self.paused.remove(&id);
        } else {
            self.paused.insert(id, text.to_owned());
        }
    }

    pub(crate) fn define_subscription(&mut self, definition: SubscriptionDefinition) {
        self.highest_subscription = self.highest_subscription.max(definition.id.0);
        self.subscriptions.insert(definition.id, definition);
    }

    /// Takes the place of an older picture; the highest ids never sink.
    pub(crate) fn succeed(&mut self, older: &Self) {
        self.highest_destination = self.highest_destination.max(older.highest_destination);
        self.highest_subscription = self.highest_subscription.max(older.highest_subscription);
    }
}

/// How far a durable subscription has got.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Position {
    pub(crate) through: u64,
    pub(crate) exceptions: BTreeSet<u64>,
    /// Failed deliveries of sequences that are not acknowledged yet.
    pub(crate) marks: BTreeMap<u64, u16>,
}

impl Position {
    /// Takes an acknowledgement in; positions only advance.
    pub(crate) fn acknowledge(&mut self, through: Option<u64>, singles: impl Iterator<Item = u64>) {
        if let Some(through) = through.filter(|&through| through > self.through) {
            self.through = through;
            self.exceptions = self.exceptions.split_off(&through.saturating_add(1));
            self.marks = self.marks.split_off(&through.saturating_add(1));
        }
        for sequence in singles.filter(|&sequence| sequence > self.through) {
            self.exceptions.insert(sequence);
            self.marks.remove(&sequence);
        }
    }

    /// Takes a counter in; counters only rise, and what is acknowledged has none.
    pub(crate) fn mark(&mut self, marks: impl Iterator<Item = (u64, u16)>) {
        for (sequence, count) in marks {
            if sequence > self.through && !self.exceptions.contains(&sequence) {
                let known = self.marks.entry(sequence).or_insert(0);
                *known = count.max(*known);
            }
        }
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
            known.mark(position.marks.into_iter());
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
    put_varint(out, u64::from(definitions.highest_subscription));
    for id in definitions.subscriptions.keys() {
        let position = progress.positions.get(id).unwrap_or(&nowhere);
        put_rising(out, position.marks.len(), position.marks.keys().copied());
        for count in position.marks.values() {
            put_varint(out, u64::from(*count));
        }
    }
    for texts in [&definitions.declared, &definitions.paused] {
        put_varint(out, texts.len() as u64);
        for (id, text) in texts {
            put_varint(out, u64::from(id.0));
            put_octets(out, text.as_bytes());
        }
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
        definitions.define_subscription(definition);
        let through = reader.varint()?;
        let exceptions = rising(&mut reader)?.into_iter().collect();
        progress.positions.insert(
            id,
            Position {
                through,
                exceptions,
                ..Position::default()
            },
        );
    }
    // Version 1 ends here.
    if !reader.is_empty() {
        let highest = reader.short()?;
        definitions.highest_subscription = definitions.highest_subscription.max(highest);
        for id in definitions.subscriptions.keys() {
            let position = progress.positions.entry(*id).or_default();
            for sequence in rising(&mut reader)? {
                position.marks.insert(sequence, 0);
            }
            for count in position.marks.values_mut() {
                *count = u16::try_from(reader.varint()?).ok()?;
            }
        }
    }
    // Version 2 ends here.
    if !reader.is_empty() {
        for _ in 0..reader.varint()? {
            let id = DestinationId(reader.short()?);
            definitions.declared.insert(id, reader.string()?);
        }
    }
    // So do the first ones of version 3.
    if !reader.is_empty() {
        for _ in 0..reader.varint()? {
            let id = DestinationId(reader.short()?);
            definitions.paused.insert(id, reader.string()?);
        }
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
        definitions.define_subscription(definition);
        definitions.highest_subscription = 9;
        definitions
            .declared
            .insert(DestinationId(7), "a = 1".into());
        definitions.pause(DestinationId(7), "1 me");
        let mut progress = Progress::default();
        progress.used(DestinationId(7), 41);
        progress
            .positions
            .entry(SubscriptionId(3))
            .or_default()
            .acknowledge(Some(20), [22, 24].into_iter());
        let position = progress.positions.entry(SubscriptionId(3)).or_default();
        position.mark([(20, 5), (21, 3), (22, 5), (30, 1)].into_iter());
        assert_eq!(position.marks, [(21, 3), (30, 1)].into());
        let mut octets = Vec::new();
        encode(&definitions, &progress, &mut octets);
        let (found, numbers) = decode(&octets).unwrap();
        assert_eq!(found, definitions);
        assert_eq!(numbers.sequences, progress.sequences);
        assert_eq!(numbers.positions, progress.positions);
        // What version 1 wrote had neither counters nor the highest subscription.
        let paused = 1 + 1 + 1 + "1 me".len();
        let third = &octets[..octets.len() - paused];
        let (found, _) = decode(third).unwrap();
        assert!(found.paused.is_empty() && !found.declared.is_empty());
        let declared = 1 + 1 + 1 + "a = 1".len();
        let second = &third[..third.len() - declared];
        let (found, numbers) = decode(second).unwrap();
        assert!(found.declared.is_empty());
        assert_eq!(numbers.positions, progress.positions);
        let old = &second[..second.len() - 6];
        let (found, numbers) = decode(old).unwrap();
        assert_eq!(found.highest_subscription, 3);
        assert!(numbers.positions[&SubscriptionId(3)].marks.is_empty());
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

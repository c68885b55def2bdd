//! Who holds the disk: how much of each segment must stay, and for which destinations and durable subscriptions.
//!
//! Segments that have not changed since the last time are not read again, so asking once a minute costs little.

use std::collections::BTreeMap;

use crate::definitions::Position;
use crate::error::StoreError;
use crate::footer::Entry;
use crate::journal::Shared;
use crate::locator::{DestinationId, Locator, SubscriptionId};
use crate::message::SubscriptionDefinition;
use crate::occupancy::Held;
use crate::recovered::each_entry;

/// See the module.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Holders {
    /// Segments that hold records, by id.
    pub segments: Vec<SegmentHolding>,
    /// Destinations that hold something, the largest first.
    pub destinations: Vec<Holding<DestinationId>>,
    /// Durable subscriptions that hold something, the largest first. What several hold counts for each of them, and what a selector
    /// passes over counts until its position has moved beyond it.
    pub subscriptions: Vec<Holding<SubscriptionId>>,
}

/// How much of one segment must stay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentHolding {
    /// Its number.
    pub id: u32,
    /// Octets of the file.
    pub bytes: u64,
    /// Octets of records that must stay.
    pub live_bytes: u64,
    /// References that are alive.
    pub live_references: u64,
    /// It is the one being written.
    pub is_written: bool,
}

/// What one destination or subscription holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holding<Id> {
    /// Its number.
    pub id: Id,
    /// Name of the destination, or `client id:subscription name`.
    pub name: String,
    /// The kind of the destination, or of the topic of the subscription; opaque to the store.
    pub kind: u8,
    /// Octets of the messages (head and body).
    pub live_bytes: u64,
    /// Messages.
    pub references: u64,
    /// Segments that cannot go as long as these messages are there.
    pub segments: u64,
    /// When the broker took the oldest of them; `None` if that cannot be read.
    pub oldest_ms: Option<u64>,
}

/// A sum over segments.
#[derive(Default)]
struct Sum {
    bytes: u64,
    references: u64,
    segments: u64,
    /// Lowest sequence, and the name of its record.
    oldest: Option<(u64, Locator)>,
}

impl Sum {
    fn add(&mut self, held: &Held) {
        self.bytes += held.bytes;
        self.references += held.references;
        self.segments += 1;
        let oldest = (held.lowest, held.oldest);
        self.oldest = Some(self.oldest.map_or(oldest, |known| known.min(oldest)));
    }
}

impl Shared {
    /// See [`crate::Store::holders`].
    pub(crate) fn holders(&self) -> Result<Holders, StoreError> {
        let state = self.state()?;
        let (ids, written) = (
            state.segments.keys().copied().collect::<Vec<_>>(),
            state.as_of(),
        );
        let positions = state.progress.positions.clone();
        drop(state);
        let definitions = self.commit.gather()?.definitions.clone();
        let mut holders = Holders::default();
        let mut destinations: BTreeMap<DestinationId, Sum> = BTreeMap::new();
        let mut subscriptions: BTreeMap<SubscriptionId, Sum> = BTreeMap::new();
        for id in ids {
            let Some(found) = self.occupancy(id)? else {
                continue;
            };
            let bytes = self.state()?.segments.get(&id).map_or(0, |it| it.length);
            holders.segments.push(SegmentHolding {
                id,
                bytes,
                live_bytes: found.bytes,
                live_references: u64::from(found.references),
                is_written: id == written,
            });
            for (destination, held) in &found.held {
                destinations.entry(*destination).or_default().add(held);
            }
            for definition in definitions.subscriptions.values() {
                let Some(held) = found.held.get(&definition.topic) else {
                    continue;
                };
                if let Some(open) = self.open_part(id, definition, &positions, held)? {
                    subscriptions.entry(definition.id).or_default().add(&open);
                }
            }
        }
        for (id, sum) in destinations {
            let (kind, name) = definitions
                .destinations
                .get(&id)
                .cloned()
                .unwrap_or_default();
            holders
                .destinations
                .push(self.holding(id, name, kind, &sum));
        }
        for (id, sum) in subscriptions {
            if let Some(known) = definitions.subscriptions.get(&id) {
                let topic = definitions.destinations.get(&known.topic);
                let name = format!("{}:{}", known.client_id, known.name);
                let kind = topic.map_or(0, |(kind, _)| *kind);
                holders
                    .subscriptions
                    .push(self.holding(id, name, kind, &sum));
            }
        }
        holders
            .destinations
            .sort_by_key(|one| u64::MAX - one.live_bytes);
        holders
            .subscriptions
            .sort_by_key(|one| u64::MAX - one.live_bytes);
        Ok(holders)
    }

    fn holding<Id>(&self, id: Id, name: String, kind: u8, sum: &Sum) -> Holding<Id> {
        let oldest = sum.oldest.and_then(|(_, at)| self.read(at).ok().flatten());
        Holding {
            id,
            name,
            kind,
            live_bytes: sum.bytes,
            references: sum.references,
            segments: sum.segments,
            oldest_ms: oldest.map(|message| message.timestamp_ms),
        }
    }

    /// The part of what a topic holds in one segment that a subscription has not acknowledged.
    fn open_part(
        &self,
        id: u32,
        definition: &SubscriptionDefinition,
        positions: &std::collections::HashMap<SubscriptionId, Position>,
        held: &Held,
    ) -> Result<Option<Held>, StoreError> {
        let nowhere = Position::default();
        let position = positions.get(&definition.id).unwrap_or(&nowhere);
        let through = position.through.max(definition.start.saturating_sub(1));
        if held.highest <= through {
            return Ok(None);
        }
        let exceptions = &position.exceptions;
        if held.lowest > through
            && exceptions
                .range(held.lowest..=held.highest)
                .next()
                .is_none()
        {
            return Ok(Some(*held));
        }
        // A border lies in this segment: its references one by one.
        let state = self.state()?;
        let Some(segment) = state.segments.get(&id) else {
            return Ok(None);
        };
        let (live, copies) = (segment.live.clone(), segment.copies.clone());
        let (salt, length) = (segment.salt, segment.length);
        drop(state);
        let Some(file) = self.files.get(&*self.disk, &self.journal, id)? else {
            return Ok(None);
        };
        let mut open: Option<Held> = None;
        let mut take = |entry: Entry| {
            let mine = entry.destination == definition.topic && live.get(entry.bit());
            if !mine || entry.sequence <= through || exceptions.contains(&entry.sequence) {
                return;
            }
            let name = copies.get(&entry.offset).copied();
            let fresh = Held {
                bytes: 0,
                references: 0,
                lowest: entry.sequence,
                highest: entry.sequence,
                oldest: name.unwrap_or_else(|| Locator::new(id, entry.offset)),
            };
            let open = open.get_or_insert(fresh);
            open.bytes += u64::from(entry.size);
            open.references += 1;
            if entry.sequence < open.lowest {
                (open.lowest, open.oldest) = (fresh.lowest, fresh.oldest);
            }
        };
        let path = crate::segment::path(&self.journal, id);
        each_entry(&*file, length, id, salt, &mut take).map_err(StoreError::io("read", &path))?;
        Ok(open)
    }
}

//! What a start hands to the engine: destinations with their live references in order, subscriptions with their positions.
//!
//! References come from footers where there are any, so bodies are not read. A reference costs 32 octets.

use std::collections::BTreeMap;

use crate::error::StoreError;
use crate::footer::{self, Entry, Footer};
use crate::io::File;
use crate::liveness::Bitmap;
use crate::locator::{DestinationId, Locator};
use crate::message::{StoredId, SubscriptionDefinition};
use crate::recover::Recovery;
use crate::replay::{Scan, Slots};
use crate::segment::{BATCH_HEADER, DATA_START};
use crate::verify::RecoveryReport;

/// What was alive in the store.
#[derive(Debug, Clone)]
pub struct Recovered {
    /// Number of this start, one higher than the last.
    pub epoch: u64,
    /// The last run ended with a clean stop, after everything else, and nothing is damaged.
    pub clean: bool,
    /// Destinations by id.
    pub destinations: Vec<RecoveredDestination>,
    /// Durable subscriptions by id.
    pub subscriptions: Vec<RecoveredSubscription>,
    /// Highest id a destination ever had.
    pub highest_destination: u32,
    /// Highest id a durable subscription ever had.
    pub highest_subscription: u32,
    /// What was read and what was found wrong.
    pub report: RecoveryReport,
}

/// A destination and what lies in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecoveredDestination {
    /// Its number.
    pub id: DestinationId,
    /// Opaque to the store.
    pub kind: u8,
    /// Its name; empty if its definition was lost to damage.
    pub name: String,
    /// First sequence that was never used. Sequences begin at 1.
    pub next_sequence: u64,
    /// Live references by sequence.
    pub entries: Vec<RecoveredEntry>,
    /// Ids it must not take again, oldest first. They may be older than their limits say.
    pub ids: Vec<StoredId>,
    /// What was declared of it; empty if nothing was.
    pub declared: String,
    /// What was said when it was paused; empty if it is not.
    pub paused: String,
}

/// A live reference to a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecoveredEntry {
    /// Its sequence in the destination.
    pub sequence: u64,
    /// Where it is.
    pub at: Locator,
    /// When it expires; 0 never.
    pub expires_ms: u64,
    /// Octets of head and body.
    pub size: u32,
    /// Failed deliveries.
    pub redeliveries: u16,
    /// Opaque to the store.
    pub flags: u8,
    /// JMS priority.
    pub priority: u8,
}

/// A durable subscription and how far it has got.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecoveredSubscription {
    /// As defined.
    pub definition: SubscriptionDefinition,
    /// Everything up to here is acknowledged, or was before its start.
    pub through: u64,
    /// Acknowledged sequences above `through`, rising.
    pub exceptions: Vec<u64>,
    /// Failed deliveries of sequences that are not acknowledged, rising by sequence.
    pub marks: Vec<(u64, u16)>,
}

/// Turns the recovered state into what the engine needs.
pub(crate) fn collect(
    recovery: &mut Recovery,
) -> Result<(Vec<RecoveredDestination>, Vec<RecoveredSubscription>), StoreError> {
    let mut entries: BTreeMap<DestinationId, Vec<RecoveredEntry>> = BTreeMap::new();
    let ids: Vec<u32> = recovery.state.segments.keys().copied().collect();
    for id in ids {
        segment(recovery, id, &mut entries)?;
    }
    let unknown: Vec<_> = entries
        .keys()
        .filter(|id| !recovery.definitions.destinations.contains_key(id))
        .copied()
        .collect();
    for id in unknown {
        let warning = format!("destination {} has messages and no definition", id.0);
        recovery.report.warnings.push(warning);
        recovery.definitions.define_destination(id, 0, "");
    }
    let mut ids = recovery.state.all_ids();
    for id in ids.keys().copied().collect::<Vec<_>>() {
        if !recovery.definitions.destinations.contains_key(&id) {
            recovery.state.drop_ids(id);
        }
    }
    let definitions = &recovery.definitions;
    let progress = &mut recovery.state.progress;
    progress
        .sequences
        .retain(|id, _| definitions.destinations.contains_key(id));
    progress
        .positions
        .retain(|id, _| definitions.subscriptions.contains_key(id));
    let destination = |(&id, (kind, name)): (&DestinationId, &(u8, String))| {
        let mut entries = entries.remove(&id).unwrap_or_default();
        if !entries.is_sorted_by_key(|entry| entry.sequence) {
            entries.sort_unstable_by_key(|entry| entry.sequence);
        }
        let next_sequence = progress.sequences.get(&id).copied().unwrap_or(0).max(1);
        RecoveredDestination {
            id,
            kind: *kind,
            name: name.clone(),
            next_sequence,
            entries,
            ids: ids.remove(&id).unwrap_or_default(),
            declared: definitions.declared.get(&id).cloned().unwrap_or_default(),
            paused: definitions.paused.get(&id).cloned().unwrap_or_default(),
        }
    };
    let destinations = definitions.destinations.iter().map(destination).collect();
    let subscription = |definition: &SubscriptionDefinition| {
        let position = progress
            .positions
            .get(&definition.id)
            .cloned()
            .unwrap_or_default();
        let through = position.through.max(definition.start.saturating_sub(1));
        let exceptions = position
            .exceptions
            .into_iter()
            .filter(|&sequence| sequence > through)
            .collect();
        let marks = position.marks.into_iter();
        RecoveredSubscription {
            definition: definition.clone(),
            through,
            exceptions,
            marks: marks.filter(|(sequence, _)| *sequence > through).collect(),
        }
    };
    let subscriptions = definitions
        .subscriptions
        .values()
        .map(subscription)
        .collect();
    Ok((destinations, subscriptions))
}

/// Gives the live references of one segment to their destinations.
fn segment(
    recovery: &mut Recovery,
    id: u32,
    entries: &mut BTreeMap<DestinationId, Vec<RecoveredEntry>>,
) -> Result<(), StoreError> {
    let (Some(state), Some(file)) = (recovery.state.segments.get(&id), recovery.files.get(&id))
    else {
        return Ok(());
    };
    if state.live.ones() == 0 {
        return Ok(());
    }
    let mut found = Bitmap::default();
    let mut orphans = Vec::new();
    let mut take = |entry: Entry| {
        let bit = entry.bit();
        if !state.live.get(bit) || !found.set(bit) {
            return;
        }
        let defined = recovery
            .definitions
            .destinations
            .contains_key(&entry.destination);
        if !defined
            && (entry.destination.0 <= recovery.settled
                || recovery.dropped.contains(&entry.destination))
        {
            orphans.push(bit);
            return;
        }
        entries
            .entry(entry.destination)
            .or_default()
            .push(RecoveredEntry {
                sequence: entry.sequence,
                at: recovery.state.name_of(Locator::new(id, entry.offset)),
                expires_ms: entry.expires_ms,
                size: entry.size,
                redeliveries: state.redeliveries.get(&bit).copied().unwrap_or(0),
                flags: entry.flags,
                priority: entry.priority,
            });
    };
    let read = each_entry(&*file.open()?, file.length, id, state.salt, &mut take);
    let read = read.map_err(|error| StoreError::Io {
        action: "read the index of",
        path: format!("{id:08x}.seg").into(),
        source: error,
    })?;
    recovery.report.bytes_read += read;
    // References of destinations that were dropped, and of records that can no longer be read.
    let lost: Vec<u32> = state.live.iter().filter(|&bit| !found.get(bit)).collect();
    if !lost.is_empty() {
        recovery.report.warnings.push(format!(
            "{id:08x}.seg: {} live references cannot be read",
            lost.len()
        ));
    }
    for bit in lost.into_iter().chain(orphans) {
        recovery.state.release_bit(id, bit);
    }
    Ok(())
}

/// Gives every reference in a segment, from its footer or else by reading all of it. Returns the octets read.
pub(crate) fn each_entry(
    file: &dyn File,
    length: u64,
    id: u32,
    salt: u64,
    take: &mut impl FnMut(Entry),
) -> std::io::Result<u64> {
    if let Some((_, layout)) = footer::trailer(file, id, salt)?
        && let Some(footer) = Footer::read(file, &layout, salt)?
    {
        footer.entries().for_each(&mut *take);
        return Ok(footer.length());
    }
    let mut scan = Scan::new(file, id, Some(salt));
    let mut at = DATA_START;
    while let Some((offset, header)) = scan.next_header(at, length)? {
        // What lies before a header that was searched for may hold records too.
        let end = offset.saturating_add(header.length);
        let mut slots = Slots::default();
        scan.records(at, offset, &mut slots)?;
        scan.records(offset + crate::fields::short(BATCH_HEADER), end, &mut slots)?;
        for slot in &slots.good {
            if let Some(record) = scan.record(slot)? {
                footer::each_entry(slot.offset, &record, &mut *take);
            }
        }
        at = end;
    }
    Ok(scan.window.read)
}

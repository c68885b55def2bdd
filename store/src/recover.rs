//! From what lies on disk to what is alive: checkpoint, then the records after it, then the references that are left.
//!
//! - Without a checkpoint all segments are read; the result is the same.
//! - The last batch may never have been promised: if anything in it is bad, it is cut whole. Anything bad before it is damage.
//! - Damage costs what it covers and is reported; nothing here gives up because of it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::checkpoint::{self, Checkpoint};
use crate::clock::Stopwatch;
use crate::commit::Begin;
use crate::config::StoreConfig;
use crate::definitions::{self, Definitions};
use crate::error::StoreError;
use crate::footer::{self, Footer};
use crate::io::Disk;
use crate::liveness::SegmentState;
use crate::locator::{DestinationId, Locator};
use crate::meta::{self, Meta};
use crate::prepare::Leftovers;
use crate::record::{Kind, Record};
use crate::replay::{Scan, Slot, Slots, Window};
use crate::segment::{BATCH_HEADER, BatchHeader, DATA_START};
use crate::state::State;
use crate::survey::{SegmentFile, Survey};
use crate::verify::{Lost, Quarantined, RecoveryReport};

/// Octets of the last batch written again at once.
const REWRITE: usize = 256 * 1024;
/// Messages in damaged ranges that a report names.
const LOST_MAX: usize = 10_000;
/// Files of free space kept at the start.
const FREE_KEEP: usize = 3;

/// What a start needs to go on.
pub(crate) struct Recovery {
    pub(crate) state: State,
    pub(crate) definitions: Definitions,
    pub(crate) begin: Begin,
    pub(crate) clean: bool,
    /// End of what was recovered.
    pub(crate) end: Option<Locator>,
    pub(crate) leftovers: Leftovers,
    pub(crate) meta: Option<Box<dyn Meta>>,
    /// Segments the checkpoint has values of.
    pub(crate) known: BTreeSet<u32>,
    pub(crate) files: BTreeMap<u32, SegmentFile>,
    pub(crate) report: RecoveryReport,
    /// Destinations up to this id that are not defined were dropped.
    pub(crate) settled: u32,
    pub(crate) dropped: BTreeSet<DestinationId>,
}

/// Reads the journal of `data`.
pub(crate) fn recover(
    disk: &Arc<dyn Disk>,
    data: &Path,
    config: &StoreConfig,
) -> Result<Recovery, StoreError> {
    let watch = Stopwatch::start();
    let journal = data.join("journal");
    let trusts_checkpoint = config.trust_checkpoint;
    disk.create_dir(&journal)
        .map_err(StoreError::io("create", &journal))?;
    let mut survey = Survey::look(disk, &journal)?;
    survey.tidy(&**disk, config.segment_bytes, FREE_KEEP)?;
    let mut replay = Replay::new(survey, journal);
    let (meta, checkpoint) = replay.open_meta(disk, data)?;
    let known = checkpoint
        .as_ref()
        .map(|found| found.state.segments.keys().copied().collect())
        .unwrap_or_default();
    let highest = checkpoint.as_ref().map_or(0, |found| found.covered.epoch);
    replay.run(checkpoint.filter(|_| trusts_checkpoint))?;
    replay.sync_tail()?;
    replay.erase_torn()?;
    replay.report.elapsed = watch.elapsed();
    replay.finish(meta, known, highest)
}

/// Reads everything and changes nothing.
pub(crate) fn inspect(disk: &Arc<dyn Disk>, data: &Path) -> Result<Recovery, StoreError> {
    let watch = Stopwatch::start();
    let journal = data.join("journal");
    let mut replay = Replay::new(Survey::look(disk, &journal)?, journal);
    replay.run(None)?;
    replay.report.elapsed = watch.elapsed();
    replay.finish(None, BTreeSet::new(), 0)
}

struct Replay {
    survey: Survey,
    journal: PathBuf,
    state: State,
    definitions: Definitions,
    settled: u32,
    dropped: BTreeSet<DestinationId>,
    /// Everything up to this sequence was synced once, so if it is bad it is damage.
    synced: u64,
    /// First sequences of epochs that were read: earlier epochs end before them.
    epoch_firsts: BTreeMap<u64, u64>,
    last_sequence: u64,
    /// The last batch taken in: segment, begin and end.
    tail: Option<(u32, u32, u32)>,
    /// The batch that was cut: segment and begin.
    torn: Option<(u32, u32)>,
    epoch: u64,
    report: RecoveryReport,
}

impl Replay {
    fn new(mut survey: Survey, journal: PathBuf) -> Self {
        let quarantined = std::mem::take(&mut survey.quarantined);
        let segments = survey.segments.len() as u64;
        Self {
            survey,
            journal,
            state: State {
                replaying: true,
                ..State::default()
            },
            definitions: Definitions::default(),
            settled: 0,
            dropped: BTreeSet::new(),
            synced: 0,
            epoch_firsts: BTreeMap::new(),
            last_sequence: 0,
            tail: None,
            torn: None,
            epoch: 0,
            report: RecoveryReport {
                segments,
                quarantined,
                ..RecoveryReport::default()
            },
        }
    }

    /// What was read, as a start needs it.
    fn finish(
        mut self,
        meta: Option<Box<dyn Meta>>,
        known: BTreeSet<u32>,
        highest: u64,
    ) -> Result<Recovery, StoreError> {
        self.find_lost()?;
        let (last, epoch) = (
            self.last_sequence,
            self.survey.highest_epoch.max(highest).max(self.epoch) + 1,
        );
        let highest_id = self
            .survey
            .highest_id
            .max(self.state.segments.keys().next_back().copied().unwrap_or(0));
        let begin = Begin {
            segment: highest_id + 1,
            sequence: last + 1,
            epoch,
        };
        Ok(Recovery {
            clean: self.state.clean && self.report.quarantined.is_empty(),
            end: self.state.applied_end,
            state: self.state,
            definitions: self.definitions,
            begin,
            leftovers: self.survey.leftovers,
            meta,
            known,
            files: self.survey.segments,
            report: self.report,
            settled: self.settled,
            dropped: self.dropped,
        })
    }

    /// Learns from footers which messages lay in damaged ranges.
    fn find_lost(&mut self) -> Result<(), StoreError> {
        let mut ranges: BTreeMap<u32, Vec<(u64, u64)>> = BTreeMap::new();
        for range in &self.report.quarantined {
            if let Some(id) = crate::segment::id_of(&range.file) {
                let to = range.offset + range.len;
                ranges.entry(id).or_default().push((range.offset, to));
            }
        }
        for (id, ranges) in ranges {
            let Some(segment) = self.survey.segments.get(&id) else {
                continue;
            };
            let file = segment.open()?;
            let path = crate::segment::path(&self.journal, id);
            let salt = self.state.segments.get(&id).map_or(0, |state| state.salt);
            let wrap = |error| StoreError::io("read the footer of", &path)(error);
            let Some((_, layout)) = footer::trailer(&*file, id, salt).map_err(wrap)? else {
                continue;
            };
            let Some(footer) = Footer::read(&*file, &layout, salt).map_err(wrap)? else {
                continue;
            };
            for entry in footer.entries() {
                let at = u64::from(entry.offset);
                let hit = ranges.iter().any(|&(from, to)| (from..to).contains(&at));
                if !hit || self.report.lost.len() >= LOST_MAX {
                    continue;
                }
                let known = self.definitions.destinations.get(&entry.destination);
                let name = known.map(|(_, name)| name.clone());
                self.report.lost.push(Lost {
                    destination: name.unwrap_or_else(|| format!("#{}", entry.destination.0)),
                    sequence: entry.sequence,
                    bytes: entry.size,
                });
            }
        }
        Ok(())
    }

    /// Opens the meta store if there is one, and reads its checkpoint if it can be trusted and fits the journal.
    #[expect(clippy::type_complexity, reason = "a pair of options, used once")]
    fn open_meta(
        &mut self,
        disk: &Arc<dyn Disk>,
        data: &Path,
    ) -> Result<(Option<Box<dyn Meta>>, Option<Checkpoint>), StoreError> {
        // A new directory gets its meta store with its first checkpoint: opening sled must not delay the first start.
        if disk.is_real() && !data.join("meta").exists() {
            return Ok((None, None));
        }
        let (mut meta, warning) = meta::open(disk, data)?;
        self.report.warnings.extend(warning);
        let values = match meta.load() {
            Ok(values) => values,
            Err(error) if disk.is_real() => {
                drop(meta);
                let aside = meta::move_aside(&data.join("meta"))?;
                self.report
                    .warnings
                    .push(format!("{error}; moved to {}", aside.display()));
                return Ok((None, None));
            }
            Err(error) => {
                self.report.warnings.push(error.to_string());
                return Ok((Some(meta), None));
            }
        };
        let Some(found) = checkpoint::load(&values) else {
            if !values.is_empty() {
                self.report
                    .warnings
                    .push("the checkpoint does not check; reading the whole journal".to_owned());
            }
            return Ok((Some(meta), None));
        };
        // The segment it ends in may have been deleted since; another salt means another journal.
        let salts = found
            .state
            .segments
            .iter()
            .map(|(id, segment)| Some((self.survey.segments.get(id)?.salt(), segment.salt)));
        let salts: Vec<(Option<u64>, u64)> = salts.flatten().collect();
        if salts
            .iter()
            .any(|&(on_disk, known)| on_disk.is_some_and(|salt| salt != known))
        {
            self.report
                .warnings
                .push("the checkpoint is of another journal; reading the whole journal".to_owned());
            return Ok((Some(meta), None));
        }
        if salts.is_empty() {
            return Ok((Some(meta), None));
        }
        self.synced = found.covered.sequence;
        Ok((Some(meta), Some(found)))
    }

    fn run(&mut self, checkpoint: Option<Checkpoint>) -> Result<(), StoreError> {
        let mut from = (0, DATA_START);
        if let Some(Checkpoint {
            covered,
            state,
            definitions,
        }) = checkpoint
        {
            from = (covered.end.segment(), covered.end.offset());
            self.last_sequence = covered.sequence;
            self.epoch = covered.epoch;
            self.settled = definitions.highest_destination;
            self.state = state;
            self.state.replaying = true;
            self.definitions = definitions;
            self.forget_missing();
        }
        let ids: Vec<u32> = self
            .survey
            .segments
            .range(from.0..)
            .map(|(&id, _)| id)
            .collect();
        self.look_ahead(&ids)?;
        for &id in &ids {
            let begin = if id == from.0 { from.1 } else { DATA_START };
            self.segment(id, begin, ids.last() == Some(&id))?;
        }
        self.state.recount();
        Ok(())
    }

    /// Segments of the checkpoint that were deleted after it. What was live in them has died since; the news of that may have gone
    /// with another segment, so their absence is all there is to know.
    fn forget_missing(&mut self) {
        let Self { state, survey, .. } = self;
        state
            .segments
            .retain(|id, _| survey.segments.contains_key(id));
        state.find_copies();
    }

    /// Learns where epochs begin and how far the journal was synced, from the first batches and the last segment.
    fn look_ahead(&mut self, ids: &[u32]) -> Result<(), StoreError> {
        for &id in ids {
            let Some(segment) = self.survey.segments.get(&id) else {
                continue;
            };
            let file = segment.open()?;
            let mut scan = Scan::new(&*file, id, segment.salt());
            let mut at = DATA_START;
            let limit = segment.length;
            let path = crate::segment::path(&self.journal, id);
            if let Some(salt) = segment.salt() {
                // What has a footer was synced before it got one.
                let trailer = footer::trailer(&*file, id, salt);
                let sealed = trailer.map_err(StoreError::io("read", &path))?;
                self.synced = self
                    .synced
                    .max(sealed.map_or(0, |(sealed, _)| sealed.sequence));
            }
            let mut step = |at| {
                scan.next_header(at, limit)
                    .map_err(StoreError::io("read", &path))
            };
            // One header is enough, except in the last segment, where damage must be told from the torn tail.
            while let Some((offset, header)) = step(at)? {
                self.synced = self.synced.max(header.synced);
                self.epoch = self.epoch.max(header.epoch);
                self.epoch_firsts.insert(header.epoch, header.epoch_first);
                at = offset.saturating_add(header.length);
                if ids.last() != Some(&id) {
                    break;
                }
            }
        }
        Ok(())
    }

    /// True if a batch was cut when a later epoch began.
    fn is_cut(&self, header: &BatchHeader) -> bool {
        self.epoch_firsts
            .range(header.epoch + 1..)
            .any(|(_, &first)| header.sequence >= first)
    }

    fn segment(&mut self, id: u32, begin: u32, last: bool) -> Result<(), StoreError> {
        let Some(segment) = self.survey.segments.get(&id) else {
            return Ok(());
        };
        let (file, length, salt) = (segment.open()?, segment.length, segment.salt());
        let path = crate::segment::path(&self.journal, id);
        let wrap = |error| StoreError::io("read", &path)(error);
        let mut scan = Scan::new(&*file, id, salt);
        let trailer = match salt {
            Some(salt) => footer::trailer(&*file, id, salt).map_err(wrap)?,
            None => None,
        };
        let limit = trailer.map_or(length, |(sealed, _)| u64::from(sealed.end));
        let fresh = SegmentState {
            salt: salt.unwrap_or(0),
            length,
            version: 1,
            ..SegmentState::default()
        };
        self.state.segments.entry(id).or_insert(fresh);
        let mut at = begin;
        loop {
            let found = scan.next_header(at, limit).map_err(wrap)?;
            let Some((offset, header)) = found else { break };
            if self.is_cut(&header) {
                at = u32::try_from(limit).unwrap_or(u32::MAX);
                break;
            }
            if let Some(state) = self.state.segments.get_mut(&id) {
                state.salt = header.salt;
            }
            self.look_for_gap(id, &header);
            if offset > at {
                self.salvage(&mut scan, id, at, offset)?;
            }
            if !self.batch(&mut scan, id, offset, &header)? {
                break;
            }
            at = offset + header.length;
        }
        self.end_of_segment(&mut scan, id, at, limit, trailer.is_some(), last)?;
        self.report.bytes_read += scan.window.read;
        Ok(())
    }

    /// Numbers of batches rise by one. A jump from one segment to its neighbour means that the end of the first is lost.
    fn look_for_gap(&mut self, id: u32, header: &BatchHeader) {
        let expected = self.last_sequence + 1;
        let neighbours = self.tail.is_some_and(|(before, ..)| before + 1 == id);
        if let (true, Some((before, _, end))) =
            (neighbours && header.sequence > expected, self.tail)
        {
            let file = format!("{before:08x}.seg");
            if !self
                .report
                .quarantined
                .iter()
                .any(|range| range.file == file)
            {
                self.quarantine(before, end, 0, "synced batches are missing");
            }
        }
    }

    /// Damage at the end of a segment shows in its trailer, or, in the last segment, in what the checkpoint knew to be synced.
    fn end_of_segment(
        &mut self,
        scan: &mut Scan<'_>,
        id: u32,
        at: u32,
        limit: u64,
        sealed: bool,
        last: bool,
    ) -> Result<(), StoreError> {
        if u64::from(at) >= limit {
            return Ok(());
        }
        if sealed {
            return self.salvage(scan, id, at, u32::try_from(limit).unwrap_or(u32::MAX));
        }
        if last && self.last_sequence < self.synced {
            self.quarantine(
                id,
                at,
                u32::try_from(limit).unwrap_or(u32::MAX) - at,
                "synced batches are missing",
            );
            self.last_sequence = self.synced;
        }
        Ok(())
    }

    fn quarantine(&mut self, id: u32, offset: u32, len: u32, reason: &'static str) {
        let file = format!("{id:08x}.seg");
        self.report.quarantined.push(Quarantined {
            file,
            offset: offset.into(),
            len: len.into(),
            reason,
        });
    }

    /// Keeps what checks in a range whose batch headers are lost.
    fn salvage(
        &mut self,
        scan: &mut Scan<'_>,
        id: u32,
        from: u32,
        to: u32,
    ) -> Result<(), StoreError> {
        let mut slots = Slots::default();
        let path = crate::segment::path(&self.journal, id);
        scan.records(from, to, &mut slots)
            .map_err(StoreError::io("read", &path))?;
        for &(offset, length) in &slots.bad {
            self.quarantine(id, offset, length, "batch header does not check");
        }
        self.apply(scan, id, &slots.good)?;
        // What was kept can be read.
        self.state.applied_end = self.state.applied_end.max(Some(Locator::new(id, to)));
        Ok(())
    }

    /// Reads one batch. False if it is the torn tail.
    fn batch(
        &mut self,
        scan: &mut Scan<'_>,
        id: u32,
        offset: u32,
        header: &BatchHeader,
    ) -> Result<bool, StoreError> {
        let end = offset.saturating_add(header.length);
        let mut slots = Slots::default();
        let path = crate::segment::path(&self.journal, id);
        let from = offset + crate::fields::short(BATCH_HEADER);
        scan.records(from, end, &mut slots)
            .map_err(StoreError::io("read", &path))?;
        if !slots.bad.is_empty() && header.sequence > self.synced {
            self.report.torn_tail_bytes += u64::from(header.length);
            self.torn = Some((id, offset));
            return Ok(false);
        }
        for &(offset, length) in &slots.bad {
            self.quarantine(id, offset, length, "record does not check");
        }
        self.last_sequence = header.sequence;
        self.tail = Some((id, offset, end));
        self.apply(scan, id, &slots.good)?;
        self.state.applied = header.sequence;
        self.state.applied_end = Some(Locator::new(id, end));
        Ok(true)
    }

    /// Takes records in, except those of transactions that are not whole.
    fn apply(&mut self, scan: &mut Scan<'_>, id: u32, slots: &[Slot]) -> Result<(), StoreError> {
        let dropped = incomplete(slots);
        self.report.dropped_transactions += dropped.len() as u64;
        let path = crate::segment::path(&self.journal, id);
        for slot in slots
            .iter()
            .filter(|slot| !dropped.contains(&slot.transaction))
        {
            let record = scan.record(slot).map_err(StoreError::io("read", &path))?;
            self.report.records += 1;
            match record {
                Some(record) => self.take(Locator::new(id, slot.offset), &record),
                None => self.quarantine(
                    id,
                    slot.offset,
                    crate::fields::short(slot.length),
                    "record makes no sense",
                ),
            }
        }
        Ok(())
    }

    fn take(&mut self, at: Locator, record: &Record<'_>) {
        match *record {
            Record::DefineDestination { id, kind, name } => {
                self.definitions.define_destination(id, kind, name)
            }
            Record::Declare { id, text } => {
                self.definitions.declared.insert(id, text.to_owned());
            }
            Record::Pause { id, text } => self.definitions.pause(id, text),
            Record::DropDestination { id } => {
                self.definitions.drop_destination(id);
                self.dropped.insert(id);
            }
            Record::DefineSubscription { octets } => {
                if let Some(definition) = crate::record::subscription(octets) {
                    self.definitions.define_subscription(definition);
                }
            }
            Record::DropSubscription { id } => drop(self.definitions.subscriptions.remove(&id)),
            Record::Snapshot { octets, .. } => {
                if let Some((mut definitions, _)) = definitions::decode(octets) {
                    self.settled = self.settled.max(definitions.highest_destination);
                    definitions.succeed(&self.definitions);
                    self.definitions = definitions;
                }
            }
            Record::Start { epoch } => self.epoch = self.epoch.max(epoch),
            _ => {}
        }
        self.state.apply(at, record);
    }

    /// A batch that is cut loses its header for good. Its number is used again, and when the segments that tell of that are gone, it
    /// must not look like damage in what was synced.
    fn erase_torn(&self) -> Result<(), StoreError> {
        let Some((id, offset)) = self.torn else {
            return Ok(());
        };
        let Some(segment) = self.survey.segments.get(&id) else {
            return Ok(());
        };
        let file = segment.open()?;
        let erased = file
            .write_at(&[0; BATCH_HEADER], u64::from(offset))
            .and_then(|()| file.sync());
        erased.map_err(StoreError::io(
            "cut the torn tail of",
            &crate::segment::path(&self.journal, id),
        ))
    }

    /// The last batch may have been in memory only: the process was killed, or its sync failed, after which Linux takes the pages for
    /// clean and a second sync does nothing. Now that it is believed it must last, so it is written again and synced.
    fn sync_tail(&self) -> Result<(), StoreError> {
        let (Some((id, from, to)), true) = (self.tail, self.last_sequence > self.synced) else {
            return Ok(());
        };
        let Some(segment) = self.survey.segments.get(&id) else {
            return Ok(());
        };
        let file = segment.open()?;
        let again = || {
            let mut window = Window::new(&*file);
            let mut at = u64::from(from);
            while at < u64::from(to) {
                let part = REWRITE.min(usize::try_from(u64::from(to) - at).unwrap_or(REWRITE));
                let octets = window.get(at, part)?;
                file.write_at(octets, at)?;
                at += part as u64;
            }
            file.sync()
        };
        again().map_err(StoreError::io(
            "sync",
            &crate::segment::path(&self.journal, id),
        ))
    }
}

/// Transactions among these records whose members and outcome are not all there.
fn incomplete(slots: &[Slot]) -> BTreeSet<u64> {
    let mut counts: BTreeMap<u64, i64> = BTreeMap::new();
    for slot in slots.iter().filter(|slot| slot.transaction != 0) {
        let difference = if slot.kind == Kind::Outcome {
            -i64::from(slot.count)
        } else {
            1
        };
        *counts.entry(slot.transaction).or_insert(0) += difference;
    }
    counts
        .into_iter()
        .filter(|&(_, count)| count != 0)
        .map(|(transaction, _)| transaction)
        .collect()
}

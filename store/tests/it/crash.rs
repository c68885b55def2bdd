//! Crashes: at every operation of a workload, at random ones, one after the other, and inside recovery.
//!
//! A state may be recovered if it is that of some append at or after the last promise. So an acknowledged add is there, an acknowledged
//! removal stays, a transaction is whole, nothing is out of order and nothing comes from nowhere.
//!
//! A failure prints its seed; `FERRYMQ_SIM_SEED=<seed>` runs it alone, `FERRYMQ_SIM_RUNS=<n>` runs more of them.

use std::path::Path;
use std::sync::Arc;

use ferrymq_store::sim::{Random, SimDisk};
use ferrymq_store::{
    Batch, DestinationId, Drive, IdLimits, Patch, Store, StoreConfig, StoreError, StoredId,
    SubscriptionDefinition, SubscriptionId,
};

use crate::model::{Destination, Entry, History, Model, Subscription, difference, of};
use crate::support::{body_of, message};

const DIR: &str = "data";
const DESTINATIONS: u64 = 4;

pub(crate) fn config() -> StoreConfig {
    StoreConfig {
        segment_bytes: 24 * 1024,
        first_segment_bytes: 16 * 1024,
        salt_seed: Some(3),
        manual: true,
        ..StoreConfig::default()
    }
}

pub(crate) fn open(
    disk: &SimDisk,
    config: StoreConfig,
) -> Result<(Store, ferrymq_store::Recovered), StoreError> {
    Store::open(
        Arc::new(disk.clone()),
        Path::new(DIR),
        config,
        Box::new(|_| {}),
    )
}

/// A workload that knows what it did.
struct Workload {
    random: Random,
    history: History,
    serial: u64,
    next_destination: u32,
    next_subscription: u32,
    /// The last life ended with a clean stop.
    closed: bool,
    /// Octets that compaction copied in all lives.
    copied: u64,
    /// What a read gave that it must not give.
    misread: Option<String>,
}

impl Workload {
    fn new(seed: u64) -> Self {
        Self {
            random: Random::new(seed),
            history: History::new(Model::default()),
            serial: 0,
            next_destination: 1,
            next_subscription: 1,
            closed: false,
            copied: 0,
            misread: None,
        }
    }

    /// One append or one step of the store.
    fn act(&mut self, store: &Store) -> Result<(), StoreError> {
        match self.random.below(16) {
            0..=7 => self.append(store)?,
            8..=10 => store.drive(Drive::Write).map(drop)?,
            11..=12 => store.drive(Drive::Prepare).map(drop)?,
            13 => store.drive(Drive::Keep).map(drop)?,
            14 if self.random.one_in(2) => store.drive(Drive::Keep).map(drop)?,
            14 if self.random.one_in(4) => self.read(store),
            14 => store.drive(Drive::Compact).map(drop)?,
            _ if self.random.one_in(4) => {
                while store.drive(Drive::Write)? {}
                // A checkpoint that cannot be written costs nothing but time.
                let _ = store.drive(Drive::Checkpoint);
            }
            _ => {}
        }
        Ok(())
    }

    /// Reads a message that is alive, whether or not it is being copied.
    fn read(&mut self, store: &Store) {
        let Some((id, sequences)) = self.pick(&self.history.now().clone(), 1) else {
            return;
        };
        let entry = &self.history.now().destinations[&id].entries[&sequences[0]];
        let found = store.read(entry.at);
        let sound = match &found {
            Ok(Some(message)) => {
                message.serial == entry.serial
                    && message.body() == body_of(entry.serial, entry.length)
            }
            Ok(None) => false,
            Err(StoreError::NotSynced { .. }) => store.durable_through() < Some(entry.at),
            Err(_) => store.failure().is_some(),
        };
        if !sound {
            self.misread = Some(format!("reading {} gives {found:?}", entry.at));
        }
    }

    fn append(&mut self, store: &Store) -> Result<(), StoreError> {
        let mut model = self.history.now().clone();
        let operations = 1 + self.random.below(3);
        let whole = self.random.one_in(3);
        let appended = store.append(|batch| {
            if whole {
                batch.transaction(|batch| {
                    (0..operations).for_each(|_| self.operation(batch, &mut model))
                });
            } else {
                (0..operations).for_each(|_| self.operation(batch, &mut model));
            }
        });
        match appended {
            Ok(((), ticket)) => self.history.states.push((ticket, model)),
            Err(StoreError::Full) => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn operation(&mut self, batch: &mut Batch<'_>, model: &mut Model) {
        if (model.destinations.len() as u64) < DESTINATIONS || self.random.one_in(60) {
            return self.define(batch, model);
        }
        match self.random.below(23) {
            0..=7 => self.add(batch, model),
            8..=13 => self.remove(batch, model),
            14 => self.move_on(batch, model),
            15 => self.redeliver(batch, model),
            16..=17 => self.acknowledge(batch, model),
            18 => self.mark(batch, model),
            19..=20 => self.note_ids(batch, model),
            21 => self.declare(batch, model),
            _ => self.drop_something(batch, model),
        }
    }

    fn define(&mut self, batch: &mut Batch<'_>, model: &mut Model) {
        let id = self.next_destination;
        self.next_destination += 1;
        let name = format!("destination.{id}");
        batch.define_destination(DestinationId(id), 1, &name);
        model.destinations.insert(
            id,
            Destination {
                name,
                next: 1,
                entries: [].into(),
                ids: Vec::new(),
                declared: String::new(),
            },
        );
        let definition = SubscriptionDefinition {
            id: SubscriptionId(self.next_subscription),
            topic: DestinationId(id),
            client_id: "c".into(),
            name: format!("s{id}"),
            selector: self.random.one_in(2).then(|| "a = 1".into()),
            no_local: false,
            start: 5,
        };
        model.highest = (id, self.next_subscription);
        self.next_subscription += 1;
        batch.define_subscription(&definition);
        model.subscriptions.insert(
            definition.id.0,
            Subscription {
                through: 4,
                ..Subscription::default()
            },
        );
    }

    /// Some destinations, each with a sequence that is not in use.
    fn targets(&mut self, model: &mut Model, most: u64) -> Vec<(DestinationId, u64)> {
        let mut ids: Vec<u32> = model.destinations.keys().copied().collect();
        let count = 1 + self.random.below(most);
        let mut targets = Vec::new();
        for _ in 0..count.min(ids.len() as u64) {
            let id = ids.swap_remove(usize::try_from(self.random.below(ids.len() as u64)).unwrap());
            let destination = model.destinations.get_mut(&id).unwrap();
            targets.push((DestinationId(id), destination.next));
            destination.next += 1;
        }
        targets
    }

    fn add(&mut self, batch: &mut Batch<'_>, model: &mut Model) {
        let most = if self.random.one_in(4) { 4 } else { 1 };
        let targets = self.targets(model, most);
        self.serial += 1;
        let length = if self.random.one_in(80) {
            30_000
        } else {
            usize::try_from(self.random.below(2500)).unwrap()
        };
        let body = body_of(self.serial, length);
        let at = batch.add(&targets, &message(self.serial, &body));
        for (id, sequence) in targets {
            let entry = Entry {
                at,
                serial: self.serial,
                length,
                redeliveries: 0,
                flags: 3,
            };
            model
                .destinations
                .get_mut(&id.0)
                .unwrap()
                .entries
                .insert(sequence, entry);
        }
    }

    /// Ids that must not come again. They stay whatever becomes of messages and segments.
    fn note_ids(&mut self, batch: &mut Batch<'_>, model: &mut Model) {
        let limits = IdLimits {
            count_max: 6,
            age_max_ms: u64::MAX,
        };
        let Some(id) = self.some_destination(model) else {
            return;
        };
        let known = model.destinations.get_mut(&id).unwrap();
        let mut noted = Vec::new();
        for _ in 0..1 + self.random.below(3) {
            self.serial += 1;
            known.ids.push(self.serial);
            noted.push(StoredId {
                time_ms: self.serial,
                id: u128::from(self.serial) << 64,
            });
        }
        let surplus = known.ids.len().saturating_sub(6);
        known.ids.drain(..surplus);
        batch.ids(DestinationId(id), limits, &noted);
    }

    fn declare(&mut self, batch: &mut Batch<'_>, model: &mut Model) {
        if let Some(id) = self.some_destination(model) {
            let text = format!("a = {}", self.random.below(1000));
            batch.declare(DestinationId(id), &text);
            model.destinations.get_mut(&id).unwrap().declared = text;
        }
    }

    fn some_destination(&mut self, model: &Model) -> Option<u32> {
        let ids: Vec<u32> = model.destinations.keys().copied().collect();
        let at = self.random.below(ids.len() as u64);
        ids.get(usize::try_from(at).unwrap()).copied()
    }

    /// A destination with entries, and one or more of them.
    fn pick(&mut self, model: &Model, most: u64) -> Option<(u32, Vec<u64>)> {
        let full: Vec<u32> = model
            .destinations
            .iter()
            .filter(|(_, known)| !known.entries.is_empty())
            .map(|(id, _)| *id)
            .collect();
        let id = *full.get(usize::try_from(self.random.below(full.len() as u64)).unwrap())?;
        let mut sequences: Vec<u64> = model.destinations[&id].entries.keys().copied().collect();
        // Mostly from the front, as consumers do.
        let from = if self.random.one_in(3) {
            self.random.below(sequences.len() as u64)
        } else {
            0
        };
        sequences.drain(..usize::try_from(from).unwrap());
        // Some stay for long, so that segments get sparse.
        if sequences.iter().any(|sequence| sequence % 4 != 0) && !self.random.one_in(30) {
            sequences.retain(|sequence| sequence % 4 != 0);
        }
        sequences.truncate(usize::try_from(1 + self.random.below(most)).unwrap());
        Some((id, sequences))
    }

    fn remove(&mut self, batch: &mut Batch<'_>, model: &mut Model) {
        let Some((id, sequences)) = self.pick(model, 6) else {
            return;
        };
        let entries = &mut model.destinations.get_mut(&id).unwrap().entries;
        let removed: Vec<_> = sequences
            .iter()
            .map(|sequence| (*sequence, entries.remove(sequence).unwrap().at))
            .collect();
        batch.remove(DestinationId(id), &removed);
    }

    fn move_on(&mut self, batch: &mut Batch<'_>, model: &mut Model) {
        let Some((id, sequences)) = self.pick(model, 1) else {
            return;
        };
        let entry = model
            .destinations
            .get_mut(&id)
            .unwrap()
            .entries
            .remove(&sequences[0])
            .unwrap();
        let targets = self.targets(model, 2);
        let body_size = u32::try_from(entry.length).unwrap() + 9;
        let flags = u8::try_from(self.random.below(200)).unwrap();
        let patch = Patch {
            flags,
            priority: 4,
            expires_ms: 0,
            body_size,
            extra_head: b"moved",
        };
        batch.transaction(|batch| {
            let at = batch.place(&targets, entry.at, &patch);
            batch.remove(DestinationId(id), &[(sequences[0], entry.at)]);
            for (to, sequence) in &targets {
                let moved = Entry {
                    at,
                    flags,
                    redeliveries: 0,
                    ..entry.clone()
                };
                model
                    .destinations
                    .get_mut(&to.0)
                    .unwrap()
                    .entries
                    .insert(*sequence, moved);
            }
        });
    }

    fn redeliver(&mut self, batch: &mut Batch<'_>, model: &mut Model) {
        let Some((id, sequences)) = self.pick(model, 1) else {
            return;
        };
        let entry = model
            .destinations
            .get_mut(&id)
            .unwrap()
            .entries
            .get_mut(&sequences[0])
            .unwrap();
        entry.redeliveries += 1;
        batch.redelivered(
            DestinationId(id),
            sequences[0],
            entry.at,
            entry.redeliveries,
        );
    }

    fn acknowledge(&mut self, batch: &mut Batch<'_>, model: &mut Model) {
        let ids: Vec<u32> = model.subscriptions.keys().copied().collect();
        let Some(&id) = ids.get(usize::try_from(self.random.below(ids.len() as u64)).unwrap())
        else {
            return;
        };
        let known = model.subscriptions.get_mut(&id).unwrap();
        let through = self
            .random
            .one_in(2)
            .then(|| known.through + self.random.below(4));
        let base = through.unwrap_or(known.through);
        let single: Vec<u64> = (0..self.random.below(3))
            .map(|_| base + 1 + self.random.below(9))
            .collect();
        batch.acknowledge(SubscriptionId(id), through, &single);
        known.through = base;
        known.exceptions.extend(single);
        known.exceptions.retain(|&sequence| sequence > base);
        let exceptions = &known.exceptions;
        known
            .marks
            .retain(|sequence, _| *sequence > base && !exceptions.contains(sequence));
    }

    /// Failed deliveries of what a subscription has not acknowledged; of what it has they must leave no trace.
    fn mark(&mut self, batch: &mut Batch<'_>, model: &mut Model) {
        let ids: Vec<u32> = model.subscriptions.keys().copied().collect();
        let Some(&id) = ids.get(usize::try_from(self.random.below(ids.len() as u64)).unwrap())
        else {
            return;
        };
        let known = model.subscriptions.get_mut(&id).unwrap();
        let marked: Vec<(u64, u16)> = (0..1 + self.random.below(3))
            .map(|_| {
                let sequence = known.through + self.random.below(9);
                (sequence, u16::try_from(self.random.below(20)).unwrap())
            })
            .collect();
        batch.redelivered_to(SubscriptionId(id), &marked);
        for (sequence, count) in marked {
            if sequence > known.through && !known.exceptions.contains(&sequence) {
                let mark = known.marks.entry(sequence).or_insert(0);
                *mark = count.max(*mark);
            }
        }
    }

    fn drop_something(&mut self, batch: &mut Batch<'_>, model: &mut Model) {
        if self.random.one_in(2) {
            if let Some((id, _)) = model.subscriptions.pop_first() {
                batch.drop_subscription(SubscriptionId(id));
            }
        } else if let Some((id, destination)) = model.destinations.pop_first() {
            let removed: Vec<_> = destination
                .entries
                .iter()
                .map(|(sequence, entry)| (*sequence, entry.at))
                .collect();
            batch.remove(DestinationId(id), &removed);
            batch.drop_destination(DestinationId(id));
        }
    }

    /// Opens, checks, works for a while, and lets the disk end it. `crash` counts operations of the disk.
    fn life(
        &mut self,
        disk: &SimDisk,
        config: StoreConfig,
        crash: Option<u64>,
        acts: u64,
    ) -> Result<(), String> {
        if let Some(crash) = crash {
            disk.crash_in(crash);
        }
        let (store, recovered) = match open(disk, config) {
            Ok(opened) => opened,
            Err(_) if disk.is_down() || disk.has_failed_sync() => return Ok(()),
            Err(error) => return Err(format!("cannot open: {error}")),
        };
        if !recovered.report.quarantined.is_empty() || !recovered.report.warnings.is_empty() {
            return Err(format!(
                "damage where there is none: {:?}",
                recovered.report
            ));
        }
        if recovered.report.dropped_transactions != 0 {
            return Err("a transaction was torn".to_owned());
        }
        self.history.accept(&store, &recovered)?;
        if std::mem::take(&mut self.closed) && !recovered.clean {
            return Err(format!(
                "a clean stop is not seen as one: {:?}",
                recovered.report
            ));
        }
        let mut copied = 0;
        for _ in 0..acts {
            let acted = self.act(&store);
            // Also after an error: what was promised up to the crash counts.
            self.history.completed = store.synced();
            if let Some(misread) = self.misread.take().filter(|_| !disk.is_down()) {
                return Err(misread);
            }
            let usage = store.usage().map_err(|error| error.to_string())?;
            self.copied += usage.compacted_bytes - copied;
            copied = usage.compacted_bytes;
            if let Err(error) = acted {
                let expected = disk.is_down() || store.failure().is_some();
                return if expected {
                    Ok(())
                } else {
                    Err(format!("refused without a cause: {error}"))
                };
            }
        }
        if self.random.one_in(3) {
            let completed = self.history.states.last().map(|(ticket, _)| *ticket);
            let closed = store.close();
            self.closed = closed.is_ok();
            if let (Ok(()), Some(completed)) = (closed, completed) {
                self.history.completed = completed;
            }
        }
        Ok(())
    }
}

/// Several lives on one disk, each ended by a crash, a kill, a failed sync or nothing.
fn lives(seed: u64, broken: bool) -> Result<(u64, u64), String> {
    let disk = SimDisk::new(seed);
    let mut work = Workload::new(seed ^ 0x5555);
    let mut random = Random::new(seed ^ 0xaaaa);
    let config = StoreConfig {
        break_ticket_before_sync: broken,
        ..config()
    };
    for _ in 0..6 {
        let crash = (!random.one_in(5)).then(|| 1 + random.below(400));
        if random.one_in(8) {
            disk.fail_sync_in(1 + random.below(60));
        }
        // Now and then the disk is full, or soon will be.
        let space = random
            .one_in(4)
            .then(|| disk.allocated() + random.below(120_000));
        disk.set_capacity(space);
        work.life(&disk, config.clone(), crash, 50 + random.below(400))?;
        disk.set_capacity(None);
        if !broken && random.one_in(3) {
            disk.kill();
        } else {
            disk.restart();
        }
        let fork = disk.fork();
        fork.remove_all(&Path::new(DIR).join("meta"));
        same(&disk.fork(), &fork, &config)?;
        if random.one_in(3) {
            disk.remove_all(&Path::new(DIR).join("meta"));
        }
    }
    work.life(&disk, config, None, 0)?;
    Ok((disk.operations(), work.copied))
}

/// With and without the checkpoint, the same is recovered.
fn same(with: &SimDisk, without: &SimDisk, config: &StoreConfig) -> Result<(), String> {
    let opened = |disk| open(disk, config.clone()).map_err(|error| format!("cannot open: {error}"));
    let (one, other) = (opened(with)?, opened(without)?);
    let models = (of(&one.0, &one.1)?, of(&other.0, &other.1)?);
    if models.0 != models.1 {
        let difference = difference(&models.0, &models.1);
        return Err(format!(
            "without the checkpoint: {difference}\n{:?}\n{:?}",
            one.1.report, other.1.report
        ));
    }
    if (one.1.epoch, one.1.clean) != (other.1.epoch, other.1.clean) {
        return Err(format!(
            "the checkpoint changes epoch or cleanness: {:?} {:?}",
            one.1.report, other.1.report
        ));
    }
    Ok(())
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn no_promise_is_broken_by_any_sequence_of_crashes() {
    let seeds = match number("FERRYMQ_SIM_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("FERRYMQ_SIM_RUNS").unwrap_or(80),
    };
    let several = seeds.end - seeds.start > 20;
    let mut copied = 0;
    for seed in seeds {
        match lives(seed, false) {
            Ok((_, octets)) => copied += octets,
            Err(what) => panic!("FERRYMQ_SIM_SEED={seed}: {what}"),
        }
    }
    assert!(copied > 0 || !several, "nothing was ever compacted");
    println!("{copied} octets compacted");
}

#[test]
fn no_promise_is_broken_by_a_crash_at_any_operation() {
    for seed in [1, 2] {
        let count = {
            let disk = SimDisk::new(seed);
            let mut work = Workload::new(seed);
            work.life(&disk, config(), None, 250).unwrap();
            disk.operations()
        };
        for crash in 1..=count {
            let disk = SimDisk::new(seed);
            let mut work = Workload::new(seed);
            let mut run = || {
                work.life(&disk, config(), Some(crash), 250)?;
                disk.restart();
                // The power goes again while the store is being opened.
                work.life(&disk, config(), Some(1 + crash % 7), 0)?;
                disk.restart();
                work.life(&disk, config(), None, 20)
            };
            if let Err(what) = run() {
                panic!("seed {seed}, crash at operation {crash}: {what}");
            }
        }
    }
}

#[test]
fn no_promise_is_broken_by_a_failed_sync_at_any_point() {
    let seed = 5;
    let count = {
        let disk = SimDisk::new(seed);
        let mut work = Workload::new(seed);
        work.life(&disk, config(), None, 600).unwrap();
        assert!(work.copied > 0, "nothing is compacted");
        disk.syncs()
    };
    for failing in 1..=count {
        let disk = SimDisk::new(seed);
        let mut work = Workload::new(seed);
        let mut run = || {
            disk.fail_sync_in(failing);
            work.life(&disk, config(), None, 600)?;
            disk.restart();
            work.life(&disk, config(), None, 20)
        };
        if let Err(what) = run() {
            panic!("seed {seed}, failed sync {failing}: {what}");
        }
    }
}

#[test]
fn a_store_that_promises_before_the_sync_is_caught() {
    let violations = (0..40).filter_map(|seed| lives(seed, true).err());
    let caught = violations
        .filter(|what| what.contains("not allowed"))
        .count();
    assert!(
        caught > 0,
        "the simulation does not notice promises that are not kept"
    );
}

//! Damage at rest: whatever happens to a file, a start succeeds, what is left is right, and what is lost is reported.
//!
//! `FERRYMQ_SIM_SEED=<seed>` runs one damage, `FERRYMQ_SIM_RUNS=<n>` so many.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use ferrymq_store::io::Disk;
use ferrymq_store::sim::{Random, SimDisk};
use ferrymq_store::{DestinationId, Drive, RecoveryReport, Store, StoreConfig, check, repair};

use crate::crash::{config, open};
use crate::model::{Model, of};
use crate::support::{body_of, message};

const DIR: &str = "data";

/// A store with removals, moves, counters, transactions and copies in it, closed in good order.
fn victim() -> (SimDisk, Model) {
    let disk = SimDisk::new(1);
    let (store, _) = open(&disk, config()).unwrap();
    let queues = [1, 2, 3].map(DestinationId);
    store
        .append(|batch| {
            for id in queues {
                batch.define_destination(id, 0, &format!("q{}", id.0));
            }
        })
        .unwrap();
    for serial in 1..=240_u64 {
        let body = body_of(serial, usize::try_from(serial % 7 * 150 + 20).unwrap());
        let queue = queues[usize::try_from(serial % 3).unwrap()];
        let (at, _) = store
            .append(|batch| {
                batch.transaction(|batch| {
                    let at = batch.add(&[(queue, serial)], &message(serial, &body));
                    if serial % 5 == 0 {
                        batch.redelivered(queue, serial, at, 2);
                    }
                    at
                })
            })
            .unwrap();
        if serial % 9 != 0 {
            store
                .append(|batch| batch.remove(queue, &[(serial, at)]))
                .unwrap();
        }
        while store.drive(Drive::Prepare).unwrap() {}
        while store.drive(Drive::Write).unwrap() {}
        store.drive(Drive::Keep).unwrap();
        if serial % 40 == 0 {
            store.drive(Drive::Compact).unwrap();
        }
    }
    assert!(store.usage().unwrap().compacted_bytes > 0);
    store.close().unwrap();
    drop(store);
    let (store, recovered) = open(&disk.fork(), config()).unwrap();
    (disk, of(&store, &recovered).unwrap())
}

/// Damages a file: a bit, a page, or its end.
fn hurt(disk: &SimDisk, random: &mut Random) -> (PathBuf, String) {
    let mut files = disk.files(&Path::new(DIR).join("journal"));
    files.extend(disk.files(&Path::new(DIR).join("meta")));
    files.retain(|file| !disk.contents(file).unwrap().is_empty());
    let below =
        |random: &mut Random, bound: usize| usize::try_from(random.below(bound as u64)).unwrap();
    let file = files.swap_remove(below(random, files.len()));
    let length = disk.contents(&file).unwrap().len();
    let at = below(random, length);
    let what = match random.below(4) {
        0 => {
            let from = at / 4096 * 4096;
            let to = length.min(from + 4096);
            disk.tamper(&file, |octets| octets[from..to].fill(0));
            format!("zeroed {from}..{to}")
        }
        1 => {
            disk.tamper(&file, |octets| octets.truncate(at));
            format!("cut at {at} of {length}")
        }
        _ => {
            disk.tamper(&file, |octets| octets[at] ^= 1 << (at % 8));
            format!("flipped a bit of octet {at} of {length}")
        }
    };
    (file, what)
}

fn is_silent(report: &RecoveryReport) -> bool {
    report.quarantined.is_empty()
        && report.warnings.is_empty()
        && report.torn_tail_bytes == 0
        && report.dropped_transactions == 0
}

/// What must hold after a damage.
fn survive(disk: &SimDisk, sound: &Model) -> Result<(), String> {
    let as_disk: Arc<dyn Disk> = Arc::new(disk.clone());
    let checked = check(&as_disk, Path::new(DIR)).map_err(|error| format!("check: {error}"))?;
    let config = StoreConfig {
        trust_checkpoint: false,
        ..config()
    };
    let without = disk.fork();
    let (store, recovered) = open(&without, config).map_err(|error| format!("start: {error}"))?;
    let found = of(&store, &recovered)?;
    if found != *sound && is_silent(&checked) && is_silent(&recovered.report) {
        return Err("something is different and nobody says so".to_owned());
    }
    // Nothing that is left may be wrong or new, except that what was removed may be there again if the removal is lost.
    let lost = |model: &Model| -> usize {
        let known = model.destinations.values();
        known.map(|known| known.entries.len()).sum()
    };
    if lost(&found) + 60 < lost(sound) {
        return Err(format!("{} of {} are left", lost(&found), lost(sound)));
    }
    drop(store);
    // And with the checkpoint: what is read is right or damaged, never wrong.
    let (store, recovered) =
        open(disk, crate::crash::config()).map_err(|error| format!("start: {error}"))?;
    for entry in recovered
        .destinations
        .iter()
        .flat_map(|known| &known.entries)
    {
        match store.read(entry.at) {
            Ok(Some(message))
                if message.body() == body_of(message.serial, message.body().len()) => {}
            Ok(Some(_)) => return Err(format!("{} has another body", entry.at)),
            Ok(None) | Err(_) if is_silent(&checked) => {
                return Err(format!("{} cannot be read and nobody says so", entry.at));
            }
            Ok(None) | Err(_) => {}
        }
    }
    Ok(())
}

#[test]
fn every_damage_at_rest_is_found_or_harmless() {
    let number = |name: &str| -> Option<u64> { std::env::var(name).ok()?.parse().ok() };
    let seeds = match number("FERRYMQ_SIM_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("FERRYMQ_SIM_RUNS").unwrap_or(1000),
    };
    let (disk, sound) = victim();
    for seed in seeds {
        let disk = disk.fork();
        let mut random = Random::new(seed);
        let (file, what) = hurt(&disk, &mut random);
        if let Err(why) = survive(&disk, &sound) {
            panic!("FERRYMQ_SIM_SEED={seed}: {} {what}: {why}", file.display());
        }
    }
}

#[test]
fn a_repaired_store_starts_clean_and_keeps_what_can_be_read() {
    let (disk, _) = victim();
    let mut repairs = 0;
    for seed in 0..60 {
        let disk = disk.fork();
        let mut random = Random::new(seed);
        let (file, what) = hurt(&disk, &mut random);
        let context = format!("seed {seed}: {} {what}", file.display());
        let before = {
            let fork = disk.fork();
            let config = StoreConfig {
                trust_checkpoint: false,
                ..config()
            };
            let (store, recovered) = open(&fork, config).unwrap();
            of(&store, &recovered).unwrap()
        };
        let as_disk: Arc<dyn Disk> = Arc::new(disk.clone());
        let config = StoreConfig {
            manual: false,
            ..config()
        };
        let repaired = repair(&as_disk, Path::new(DIR), &config, &mut |_| {}).unwrap();
        assert!(repaired.left.is_empty(), "{context}: {repaired:?}");
        assert!(is_silent(&repaired.after), "{context}: {repaired:?}");
        repairs += u32::from(!repaired.set_aside.is_empty());
        for trust_checkpoint in [true, false] {
            let config = StoreConfig {
                trust_checkpoint,
                ..crate::crash::config()
            };
            let fork = disk.fork();
            let (store, recovered) = open(&fork, config).unwrap();
            assert!(is_silent(&recovered.report), "{context}: {recovered:?}");
            let after = of(&store, &recovered).unwrap();
            assert_eq!(after.destinations, before.destinations, "{context}");
        }
    }
    assert!(
        repairs > 10,
        "only {repairs} of the damages needed a repair"
    );
}

#[test]
fn a_start_writes_down_what_is_damaged() {
    let (disk, _) = victim();
    let report = |store: Store| drop(store);
    let segments = disk.files(&Path::new(DIR).join("journal"));
    let file = segments
        .iter()
        .find(|file| file.extension().is_some_and(|it| it == "seg"))
        .unwrap();
    // The records of the second batch of a sealed segment.
    disk.tamper(file, |octets| octets[4096 + 64 + 40] ^= 1);
    disk.remove_all(&Path::new(DIR).join("meta"));
    let (store, recovered) = open(&disk, config()).unwrap();
    report(store);
    assert!(!recovered.report.quarantined.is_empty());
    let path = recovered.report.damage_file.clone().unwrap();
    let text = String::from_utf8(disk.contents(&path).unwrap()).unwrap();
    let range = &recovered.report.quarantined[0];
    assert!(
        text.contains(&range.file) && text.contains(range.reason),
        "{text}"
    );
}

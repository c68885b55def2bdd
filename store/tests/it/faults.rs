//! One fault at a time: damage in the middle, a full disk, a failed sync, space used twice.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use ferrymq_store::sim::SimDisk;
use ferrymq_store::{
    DestinationId, Drive, Locator, Quarantined, Recovered, Store, StoreConfig, StoreError,
    SyncEvent,
};

use crate::crash::{config, open};
use crate::support::{body_of, message};

const QUEUE: DestinationId = DestinationId(1);
const MESSAGES: u64 = 40;

/// Writes everything that is pending.
fn drain(store: &Store) {
    while store.drive(Drive::Prepare).unwrap() {}
    while store.drive(Drive::Write).unwrap() || store.drive(Drive::Prepare).unwrap() {}
    store.drive(Drive::Keep).unwrap();
}

fn add(store: &Store, serial: u64, length: usize) -> Result<Locator, StoreError> {
    let body = body_of(serial, length);
    Ok(store
        .append(|batch| batch.add(&[(QUEUE, serial)], &message(serial, &body)))?
        .0)
}

/// A disk with some segments of messages, one batch each, and where they are.
fn filled() -> (SimDisk, Vec<Locator>) {
    let disk = SimDisk::new(1);
    let (store, _) = open(&disk, config()).unwrap();
    store
        .append(|batch| batch.define_destination(QUEUE, 1, "q"))
        .unwrap();
    drain(&store);
    let add = |serial| {
        let at = add(&store, serial, 900).unwrap();
        drain(&store);
        at
    };
    let places = (1..=MESSAGES).map(add).collect();
    drop(store);
    (disk, places)
}

fn file_of(at: Locator) -> PathBuf {
    Path::new("data/journal").join(format!("{:08x}.seg", at.get() >> 32))
}

fn offset_of(at: Locator) -> usize {
    usize::try_from(at.get() & u64::from(u32::MAX)).unwrap()
}

/// Opens after damage and gives what is left and what is reported.
fn left(disk: &SimDisk) -> (Vec<u64>, Vec<Quarantined>) {
    let (store, recovered) = open(disk, config()).unwrap();
    let entries = recovered
        .destinations
        .first()
        .map(|queue| queue.entries.clone())
        .unwrap_or_default();
    for entry in &entries {
        let message = store.read(entry.at).unwrap().unwrap();
        assert_eq!(message.body(), body_of(entry.sequence, 900));
    }
    (
        entries.iter().map(|entry| entry.sequence).collect(),
        recovered.report.quarantined,
    )
}

#[test]
fn a_flipped_bit_costs_one_record() {
    let (disk, places) = filled();
    for (lost, within) in [(3, 8), (3, 4), (10, 100), (20, 500), (39, 0)] {
        let (disk, at) = (disk.fork(), places[lost - 1]);
        disk.tamper(&file_of(at), |octets| {
            octets[offset_of(at) + within] ^= 0x10
        });
        let (found, quarantined) = left(&disk);
        let expected: Vec<u64> = (1..=MESSAGES)
            .filter(|&sequence| sequence != lost as u64)
            .collect();
        assert_eq!(found, expected);
        assert_eq!(quarantined.len(), 1, "{quarantined:?}");
        assert!(file_of(at).ends_with(&quarantined[0].file));
        let range = quarantined[0].offset..quarantined[0].offset + quarantined[0].len;
        assert!(
            range.contains(&(offset_of(at) as u64 + within as u64)),
            "{quarantined:?} {at}"
        );
        assert!(quarantined[0].len < 1100);
    }
}

#[test]
fn any_flipped_bit_costs_at_most_one_record() {
    let (disk, places) = filled();
    let victim = file_of(places[12]);
    let length = disk.contents(&victim).unwrap().len();
    for at in (0..length).step_by(97) {
        let disk = disk.fork();
        disk.tamper(&victim, |octets| octets[at] ^= 1 << (at % 8));
        let (found, _) = left(&disk);
        assert!(
            found.len() as u64 >= MESSAGES - 1,
            "a bit at {at} of {} costs {found:?}",
            victim.display()
        );
    }
}

#[test]
fn a_lost_batch_header_costs_nothing_else() {
    let (disk, places) = filled();
    let at = places[15];
    disk.tamper(&file_of(at), |octets| octets[offset_of(at) - 50] ^= 1);
    let (found, quarantined) = left(&disk);
    assert_eq!(found, (1..=MESSAGES).collect::<Vec<_>>());
    assert_eq!(quarantined.len(), 1, "{quarantined:?}");
}

#[test]
fn zeroed_pages_cost_what_they_cover() {
    let (disk, places) = filled();
    let at = places[15];
    let page = offset_of(at) / 4096 * 4096;
    disk.tamper(&file_of(at), |octets| octets[page..page + 4096].fill(0));
    let (found, quarantined) = left(&disk);
    assert!(
        !found.contains(&16) && found.len() as u64 >= MESSAGES - 5,
        "{found:?}"
    );
    assert!(!quarantined.is_empty());
    let covered: u64 = quarantined.iter().map(|range| range.len).sum();
    assert!(
        (4096..4096 + 2 * 1100).contains(&covered),
        "{quarantined:?}"
    );
}

#[test]
fn a_truncated_segment_costs_its_end() {
    let (disk, places) = filled();
    let at = places[15];
    disk.tamper(&file_of(at), |octets| octets.truncate(offset_of(at) + 10));
    let (found, _) = left(&disk);
    let lost: Vec<u64> = (1..=MESSAGES)
        .filter(|sequence| !found.contains(sequence))
        .collect();
    let same =
        |sequence: u64| file_of(places[usize::try_from(sequence).unwrap() - 1]) == file_of(at);
    assert!(
        lost.iter()
            .all(|&sequence| sequence >= 16 && same(sequence)),
        "{lost:?}"
    );
}

#[test]
fn damage_behind_a_checkpoint_shows_when_it_is_read() {
    let (disk, places) = filled();
    {
        let (store, _) = open(&disk, config()).unwrap();
        drain(&store);
        assert!(store.drive(Drive::Checkpoint).unwrap());
    }
    let at = places[5];
    disk.tamper(&file_of(at), |octets| octets[offset_of(at) + 300] ^= 1);
    let (store, recovered) = open(&disk, config()).unwrap();
    assert_eq!(recovered.destinations[0].entries.len() as u64, MESSAGES);
    assert!(matches!(store.read(at), Err(StoreError::Damaged { at: named, .. }) if named == at));
    drop(store);
    let disk: Arc<dyn ferrymq_store::io::Disk> = Arc::new(disk);
    let report = ferrymq_store::check(&disk, Path::new("data")).unwrap();
    assert_eq!(report.quarantined.len(), 1);
}

#[test]
fn a_damaged_member_takes_its_transaction_along() {
    let disk = SimDisk::new(1);
    let (store, _) = open(&disk, config()).unwrap();
    let bodies: Vec<_> = (1..=4).map(|serial| body_of(serial, 900)).collect();
    store
        .append(|batch| batch.define_destination(QUEUE, 1, "q"))
        .unwrap();
    let (places, _) = store
        .append(|batch| {
            let before = batch.add(&[(QUEUE, 1)], &message(1, &bodies[0]));
            batch.transaction(|batch| {
                batch.add(&[(QUEUE, 2)], &message(2, &bodies[1]));
                batch.remove(QUEUE, &[(1, before)]);
                batch.add(&[(QUEUE, 3)], &message(3, &bodies[2]))
            })
        })
        .unwrap();
    drain(&store);
    add(&store, 4, 900).unwrap();
    drain(&store);
    drop(store);
    disk.tamper(&file_of(places), |octets| {
        octets[offset_of(places) + 200] ^= 1
    });
    let (found, quarantined) = left(&disk);
    assert_eq!((found, quarantined.len()), (vec![1, 4], 1));
}

#[test]
fn damage_in_the_last_batch_is_not_taken_for_a_torn_tail() {
    let (disk, _) = filled();
    let (store, _) = open(&disk, config()).unwrap();
    let at = add(&store, MESSAGES + 1, 900).unwrap();
    store.close().unwrap();
    disk.remove_all(Path::new("data/meta"));
    disk.tamper(&file_of(at), |octets| octets[offset_of(at) + 500] ^= 1);
    let (found, quarantined) = left(&disk);
    assert_eq!(found, (1..=MESSAGES).collect::<Vec<_>>());
    assert_eq!(quarantined.len(), 1, "{quarantined:?}");
}

#[test]
fn another_format_version_is_refused() {
    let (disk, places) = filled();
    disk.tamper(&file_of(places[0]), |octets| {
        octets[12..16].copy_from_slice(&9_u32.to_le_bytes());
        let sum = crc32fast::hash(&octets[12..64]);
        octets[8..12].copy_from_slice(&sum.to_le_bytes());
    });
    assert!(matches!(
        open(&disk, config()),
        Err(StoreError::Version {
            found: 9,
            known: 3,
            ..
        })
    ));
}

/// Opens with the events collected.
fn open_listening(
    disk: &SimDisk,
    config: StoreConfig,
) -> (Store, Recovered, Arc<Mutex<Vec<SyncEvent>>>) {
    let events = Arc::new(Mutex::new(Vec::new()));
    let theirs = Arc::clone(&events);
    let on_sync = Box::new(move |event| theirs.lock().unwrap().push(event));
    let (store, recovered) =
        Store::open(Arc::new(disk.clone()), Path::new("data"), config, on_sync).unwrap();
    (store, recovered, events)
}

#[test]
fn a_full_disk_stops_messages_and_not_removals() {
    let disk = SimDisk::new(1);
    let (store, _, events) = open_listening(&disk, config());
    store
        .append(|batch| batch.define_destination(QUEUE, 1, "q"))
        .unwrap();
    drain(&store);
    disk.set_capacity(Some(200_000));
    let mut places = Vec::new();
    let refused = loop {
        match add(&store, places.len() as u64 + 1, 2000) {
            Ok(at) => places.push(at),
            Err(error) => break error,
        }
        drain(&store);
    };
    assert!(matches!(refused, StoreError::Full));
    assert!(store.is_full() && store.usage().unwrap().shortage.is_some());
    assert!(store.failure().is_none());
    // Everything accepted is on disk, and removing goes on until there is space again.
    let mut accepted = places.len() as u64;
    for (serial, at) in (1..).zip(&places) {
        let ((), ticket) = store
            .append(|batch| batch.remove(QUEUE, &[(serial, *at)]))
            .unwrap();
        drain(&store);
        assert!(store.synced() >= ticket, "a removal waits for space");
    }
    for _ in 0..10 {
        drain(&store);
    }
    assert!(!store.is_full(), "{:?}", store.usage());
    assert!(events.lock().unwrap().contains(&SyncEvent::Room));
    accepted += 1;
    add(&store, accepted, 2000).unwrap();
    drain(&store);
    drop(store);
    disk.restart();
    let (_store, recovered) = open(&disk, config()).unwrap();
    let sequences: Vec<u64> = recovered.destinations[0]
        .entries
        .iter()
        .map(|entry| entry.sequence)
        .collect();
    assert_eq!(sequences, [accepted]);
}

/// Fills a disk with messages and gives where they are.
fn full(disk: &SimDisk, store: &Store, length: usize) -> Vec<Locator> {
    store
        .append(|batch| batch.define_destination(QUEUE, 1, "q"))
        .unwrap();
    drain(store);
    disk.set_capacity(Some(1_000_000));
    let mut places = Vec::new();
    loop {
        match add(store, places.len() as u64 + 1, length) {
            Ok(at) => places.push(at),
            Err(StoreError::Full) => return places,
            Err(error) => panic!("{error}"),
        }
        drain(store);
    }
}

/// The worst that consumers can do to a full disk: every removal is a batch of its own, and some message of each segment
/// stays, so that no segment of messages is ever free. There are many times more removals than the reserve has room for: they
/// must get on because what is removed of a segment is soon written down as a whole, and then they are garbage themselves.
#[test]
fn removals_go_on_in_the_reserve_whatever_stays() {
    for (length, stays_each) in [(40, 200), (40, 20), (200, 7), (900, 3), (2000, 2)] {
        let disk = SimDisk::new(1);
        let (store, _, _) = open_listening(&disk, config());
        let places = full(&disk, &store, length);
        let mut stay = Vec::new();
        for (serial, at) in (1..).zip(&places) {
            if serial % stays_each == 0 {
                stay.push(serial);
                continue;
            }
            let ((), ticket) = store
                .append(|batch| batch.remove(QUEUE, &[(serial, *at)]))
                .unwrap();
            drain(&store);
            assert!(
                store.synced() >= ticket,
                "{length} octets, each {stays_each}th stays: removal {serial} of {} waits: {:?}",
                places.len(),
                store.usage()
            );
        }
        drop(store);
        disk.restart();
        let (_store, recovered) = open(&disk, config()).unwrap();
        let left = recovered.destinations[0].entries.iter();
        assert_eq!(left.map(|entry| entry.sequence).collect::<Vec<_>>(), stay);
    }
}

/// What is accepted of one append may need more than a segment; if the disk has no space for that, it takes the reserve's.
#[test]
fn an_append_larger_than_its_segment_does_not_hold_up_removals() {
    let disk = SimDisk::new(1);
    let (store, _, _) = open_listening(&disk, config());
    store
        .append(|batch| batch.define_destination(QUEUE, 1, "q"))
        .unwrap();
    let first = add(&store, 1, 100).unwrap();
    drain(&store);
    let body = body_of(2, 900);
    let ((), ticket) = store
        .append(|batch| {
            for serial in 2..=30 {
                batch.add(&[(QUEUE, serial)], &message(2, &body));
            }
        })
        .unwrap();
    // Somebody else takes what was free.
    disk.set_capacity(Some(disk.allocated()));
    drain(&store);
    assert!(store.synced() >= ticket, "{:?}", store.usage());
    assert!(matches!(add(&store, 31, 900), Err(StoreError::Full)));
    let ((), ticket) = store
        .append(|batch| batch.remove(QUEUE, &[(1, first)]))
        .unwrap();
    drain(&store);
    assert!(store.synced() >= ticket, "{:?}", store.usage());
    disk.set_capacity(None);
    drain(&store);
    assert!(!store.is_full());
    add(&store, 31, 900).unwrap();
    drain(&store);
    drop(store);
    disk.restart();
    let (_store, recovered) = open(&disk, config()).unwrap();
    let left = recovered.destinations[0].entries.iter();
    assert!(left.map(|entry| entry.sequence).eq(2..=31));
}

#[test]
fn a_store_closes_though_the_disk_has_no_space_for_the_rest() {
    let disk = SimDisk::new(1);
    let config = StoreConfig {
        manual: false,
        ..config()
    };
    let (store, _, _) = open_listening(&disk, config);
    let body = body_of(1, 900);
    store
        .append(|batch| {
            disk.set_capacity(Some(0));
            // More than the reserve and all that is ready.
            for serial in 1..=200 {
                batch.add(&[(QUEUE, serial)], &message(1, &body));
            }
        })
        .unwrap();
    assert!(matches!(store.close(), Err(StoreError::Full)));
}

#[test]
fn a_read_only_disk_is_final() {
    let disk = SimDisk::new(1);
    let (store, _, events) = open_listening(&disk, config());
    disk.set_read_only();
    assert!(matches!(
        store.drive(Drive::Prepare),
        Err(StoreError::Dead { .. })
    ));
    assert!(matches!(add(&store, 1, 10), Err(StoreError::Dead { .. })));
    let events = events.lock().unwrap();
    assert!(
        matches!(&events[..], [SyncEvent::Failed(reason)] if reason.contains("read-only")),
        "{events:?}"
    );
}

#[test]
fn a_failed_sync_is_final() {
    let disk = SimDisk::new(1);
    let (store, _, events) = open_listening(&disk, config());
    store
        .append(|batch| batch.define_destination(QUEUE, 1, "q"))
        .unwrap();
    drain(&store);
    let synced = store.synced();
    let ((), ticket) = store
        .append(|batch| batch.define_destination(DestinationId(2), 1, "p"))
        .unwrap();
    disk.fail_sync_in(1);
    assert!(matches!(
        store.drive(Drive::Write),
        Err(StoreError::Dead { .. })
    ));
    assert!(matches!(add(&store, 1, 10), Err(StoreError::Dead { .. })));
    assert!(matches!(
        store.drive(Drive::Write),
        Err(StoreError::Dead { .. })
    ));
    assert!(matches!(store.wait(ticket), Err(StoreError::Dead { .. })));
    assert_eq!(store.synced(), synced);
    let failures = events
        .lock()
        .unwrap()
        .iter()
        .filter(|event| matches!(event, SyncEvent::Failed(_)))
        .count();
    assert_eq!(failures, 1);
}

#[test]
fn records_of_an_earlier_use_do_not_pass() {
    let disk = SimDisk::new(1);
    let (store, _) = open(&disk, config()).unwrap();
    store
        .append(|batch| batch.define_destination(QUEUE, 1, "q"))
        .unwrap();
    drain(&store);
    let mut highest = 0;
    for serial in 1..=300 {
        let at = add(&store, serial, 1500).unwrap();
        drain(&store);
        store
            .append(|batch| batch.remove(QUEUE, &[(serial, at)]))
            .unwrap();
        drain(&store);
        highest = highest.max(at.get() >> 32);
    }
    // Many more segments were written than files exist, so the space of dead ones was used again.
    assert!(highest > 20 && disk.files(Path::new("data/journal")).len() < 10);
    drop(store);
    disk.remove_all(Path::new("data/meta"));
    let (_store, recovered) = open(&disk, config()).unwrap();
    assert!(recovered.destinations[0].entries.is_empty());
    assert_eq!(recovered.destinations[0].next_sequence, 301);
    assert!(
        recovered.report.quarantined.is_empty(),
        "{:?}",
        recovered.report
    );
}

//! Space comes back: mostly dead segments are compacted, names stay, and one can ask who holds the disk.

use std::path::Path;
use std::sync::Arc;

use ferrymq_store::sim::SimDisk;
use ferrymq_store::{
    DestinationId, Drive, Locator, Patch, Store, StoreConfig, StoreError, SubscriptionDefinition,
    SubscriptionId,
};

use crate::crash::{config, open};
use crate::support::{body_of, message, small};

const DESTINATIONS: u32 = 100;

/// Writes what is pending and lets the store tidy up until nothing changes.
fn settle(store: &Store) {
    for _ in 0..2000 {
        while store.drive(Drive::Prepare).unwrap() {}
        let mut busy = store.drive(Drive::Write).unwrap();
        store.drive(Drive::Keep).unwrap();
        busy |= store.drive(Drive::Write).unwrap();
        busy |= store.drive(Drive::Compact).unwrap();
        if !busy {
            return;
        }
    }
    panic!("the store never comes to rest: {:?}", store.usage());
}

/// One destination each with one old message, and much that came and went in between.
fn churned(disk: &SimDisk, rounds: u64) -> (Store, Vec<(DestinationId, Locator)>) {
    let (store, _) = open(disk, config()).unwrap();
    let mut kept = Vec::new();
    let mut serial = 0;
    for id in (1..=DESTINATIONS).map(DestinationId) {
        let (at, _) = store
            .append(|batch| {
                batch.define_destination(id, 0, &format!("q{}", id.0));
                serial += 1;
                batch.add(&[(id, 1)], &message(serial, &body_of(serial, 40)))
            })
            .unwrap();
        kept.push((id, at));
        for round in 0..rounds {
            serial += 1;
            let (at, _) = store
                .append(|batch| {
                    let body = body_of(serial, 900);
                    batch.add(&[(id, 2 + round)], &message(serial, &body))
                })
                .unwrap();
            store
                .append(|batch| batch.remove(id, &[(2 + round, at)]))
                .unwrap();
        }
        while store.drive(Drive::Prepare).unwrap() {}
        while store.drive(Drive::Write).unwrap() || store.drive(Drive::Prepare).unwrap() {}
        store.drive(Drive::Keep).unwrap();
    }
    (store, kept)
}

#[test]
fn one_old_message_per_destination_pins_no_more_than_itself() {
    let disk = SimDisk::new(1);
    let (store, kept) = churned(&disk, 30);
    settle(&store);
    let usage = store.usage().unwrap();
    let holders = store.holders().unwrap();
    let live: u64 = holders.segments.iter().map(|one| one.live_bytes).sum();
    let used: u64 = holders.segments.iter().map(|one| one.bytes).sum();
    assert_eq!(usage.live_references, u64::from(DESTINATIONS));
    assert!(
        usage.segments <= 3 || used <= 2 * live,
        "{used} octets in {} segments for {live} live ones",
        usage.segments
    );
    assert!(usage.compacted_bytes > 0);
    for &(id, at) in &kept {
        let found = store.read(at).unwrap().unwrap();
        assert_eq!(found.serial, 1 + u64::from(id.0 - 1) * 31);
        assert_eq!(found.body(), body_of(found.serial, 40));
    }
    let mut read = Vec::new();
    let places: Vec<Locator> = kept.iter().rev().map(|(_, at)| *at).collect();
    store.read_many(&places, &mut read);
    assert!(read.iter().all(|one| matches!(one, Ok(Some(_)))));
    // The names lead there after a restart too, and removing by them frees everything.
    drop(store);
    disk.restart();
    let (store, recovered) = open(&disk, config()).unwrap();
    for (found, (id, at)) in recovered.destinations.iter().zip(&kept) {
        assert_eq!((found.id, found.entries[0].at), (*id, *at));
    }
    for (id, at) in kept {
        store.append(|batch| batch.remove(id, &[(1, at)])).unwrap();
    }
    settle(&store);
    let usage = store.usage().unwrap();
    assert_eq!(usage.live_references, 0);
    assert!(usage.segments <= 2, "{usage:?}");
}

#[test]
fn a_moved_message_survives_the_copying_of_its_body_and_of_itself() {
    let disk = SimDisk::new(1);
    let (queue, dead, jobs) = (DestinationId(1), DestinationId(2), DestinationId(3));
    let (store, _) = open(&disk, config()).unwrap();
    let patch = Patch {
        flags: 9,
        priority: 1,
        expires_ms: 77,
        body_size: 309,
        extra_head: b"cause",
    };
    let body = body_of(1, 300);
    let add = |store: &Store, serial: u64| {
        let body = body_of(serial, 900);
        let (at, _) = store
            .append(|batch| batch.add(&[(queue, serial)], &message(serial, &body)))
            .unwrap();
        store
            .append(|batch| batch.remove(queue, &[(serial, at)]))
            .unwrap();
    };
    let (origin, _) = store
        .append(|batch| {
            for id in [queue, dead, jobs] {
                batch.define_destination(id, 0, "d");
            }
            batch.add(&[(queue, 1)], &message(1, &body))
        })
        .unwrap();
    (2..60).for_each(|serial| add(&store, serial));
    settle(&store);
    // The body has been copied; now it is a dead letter and a job, the queue lets go of it.
    let ((moved, job), _) = store
        .append(|batch| {
            batch.transaction(|batch| {
                let moved = batch.place(&[(dead, 1)], origin, &patch);
                let job = batch.place(&[(jobs, 1)], moved, &patch);
                batch.remove(queue, &[(1, origin)]);
                (moved, job)
            })
        })
        .unwrap();
    store
        .append(|batch| batch.redelivered(dead, 1, moved, 5))
        .unwrap();
    for round in 1..4 {
        (60 * round..60 * round + 58).for_each(|serial| add(&store, serial));
        settle(&store);
    }
    assert!(store.usage().unwrap().segments <= 3);
    let (job_again, _) = store
        .append(|batch| batch.place(&[(jobs, 2)], job, &patch))
        .unwrap();
    store
        .append(|batch| batch.remove(jobs, &[(1, job)]))
        .unwrap();
    settle(&store);
    drop(store);
    for with_meta in [true, false] {
        disk.restart();
        if !with_meta {
            disk.remove_all(&Path::new("data").join("meta"));
        }
        let (store, recovered) = open(&disk, config()).unwrap();
        let entries = |id: usize| &recovered.destinations[id].entries;
        assert!(entries(0).is_empty());
        assert_eq!((entries(1)[0].at, entries(1)[0].redeliveries), (moved, 5));
        assert_eq!((entries(2)[0].at, entries(2).len()), (job_again, 1));
        for at in [moved, job_again] {
            let found = store.read(at).unwrap().unwrap();
            assert_eq!(found.body(), body);
            assert_eq!(&found.patch.unwrap().extra_head[..], b"cause");
        }
        settle(&store);
    }
}

#[test]
fn what_was_copied_and_then_removed_does_not_come_back_from_where_it_was() {
    let disk = SimDisk::new(1);
    let queue = DestinationId(1);
    let (store, _) = open(&disk, config()).unwrap();
    let work = |store: &Store| {
        while store.drive(Drive::Prepare).unwrap() {}
        while store.drive(Drive::Write).unwrap() {}
        store.drive(Drive::Keep).unwrap();
    };
    let mut serial = 0;
    let mut add = |store: &Store, length: usize| {
        serial += 1;
        let body = body_of(serial, length);
        let (at, _) = store
            .append(|batch| batch.add(&[(queue, serial)], &message(serial, &body)))
            .unwrap();
        work(store);
        (serial, at)
    };
    // Traffic that speaks of no segment, so that nothing else than the copy keeps its own.
    let churn = |store: &Store| {
        for _ in 0..30 {
            store
                .append(|batch| batch.acknowledge(SubscriptionId(9), Some(500), &[1; 110]))
                .unwrap();
            work(store);
        }
    };
    store
        .append(|batch| batch.define_destination(queue, 0, "q"))
        .unwrap();
    // Two messages, each larger than what is copied at once, in each of several segments.
    let mut kept = Vec::new();
    for _ in 0..6 {
        kept.push(add(&store, 3100));
        kept.push(add(&store, 3100));
        churn(&store);
    }
    // The first is copied; the one beside it stays where it is.
    assert!(store.drive(Drive::Compact).unwrap());
    let copied = store.usage().unwrap().compacted_bytes;
    assert!((3100..6000).contains(&copied), "{copied}");
    work(&store);
    churn(&store);
    let first = kept.remove(0);
    store.append(|batch| batch.remove(queue, &[first])).unwrap();
    // The segment with the copy dies, and so does that with the removal.
    for _ in 0..3 {
        churn(&store);
    }
    drop(store);
    disk.restart();
    disk.remove_all(&Path::new("data").join("meta"));
    let (_store, recovered) = open(&disk, config()).unwrap();
    let found = recovered.destinations[0].entries.iter();
    let found: Vec<(u64, Locator)> = found.map(|entry| (entry.sequence, entry.at)).collect();
    assert_eq!(found, kept);
}

#[test]
fn holders_name_destinations_subscriptions_and_age() {
    let disk = SimDisk::new(1);
    let (queue, topic) = (DestinationId(1), DestinationId(2));
    let (store, _) = open(&disk, config()).unwrap();
    let definition = |id: u32, name: &str| SubscriptionDefinition {
        id: SubscriptionId(id),
        topic,
        client_id: "client".into(),
        name: name.into(),
        selector: None,
        no_local: false,
        start: 1,
    };
    store
        .append(|batch| {
            batch.define_destination(queue, 0, "orders");
            batch.define_destination(topic, 1, "news");
            batch.define_subscription(&definition(1, "slow"));
            batch.define_subscription(&definition(2, "empty"));
        })
        .unwrap();
    for serial in 1..=100 {
        let body = body_of(serial, 491);
        store
            .append(|batch| {
                batch.add(&[(topic, serial)], &message(serial, &body));
                if serial > 90 {
                    batch.add(&[(queue, serial)], &message(1000 + serial, &body));
                }
            })
            .unwrap();
    }
    store
        .append(|batch| {
            batch.acknowledge(SubscriptionId(1), Some(20), &[30, 40]);
            batch.acknowledge(SubscriptionId(2), Some(100), &[]);
        })
        .unwrap();
    settle(&store);
    let check = |store: &Store| {
        let holders = store.holders().unwrap();
        let [news, orders] = &holders.destinations[..] else {
            panic!("{holders:?}");
        };
        assert_eq!((&*news.name, news.kind, news.references), ("news", 1, 100));
        assert_eq!((news.live_bytes, news.oldest_ms), (100 * 500, Some(1001)));
        assert_eq!((orders.live_bytes, orders.references), (10 * 500, 10));
        assert_eq!(orders.oldest_ms, Some(2091));
        assert!(orders.segments < news.segments);
        let [slow] = &holders.subscriptions[..] else {
            panic!("{holders:?}");
        };
        assert_eq!((&*slow.name, slow.references), ("client:slow", 78));
        assert_eq!((slow.live_bytes, slow.oldest_ms), (78 * 500, Some(1021)));
        holders
    };
    let first = check(&store);
    assert_eq!(check(&store), first);
    drop(store);
    let (store, _) = Store::inspect(Arc::new(disk), Path::new("data")).unwrap();
    check(&store);
    assert!(matches!(
        store.append(|batch| batch.drop_destination(queue)),
        Err(StoreError::Dead { .. })
    ));
}

#[test]
fn a_full_disk_is_compacted_out_of_the_reserve() {
    let disk = SimDisk::new(1);
    let (store, _) = open(&disk, config()).unwrap();
    let queue = DestinationId(1);
    store
        .append(|batch| batch.define_destination(queue, 0, "q"))
        .unwrap();
    disk.set_capacity(Some(400_000));
    let work = |store: &Store| {
        while store.drive(Drive::Prepare).unwrap() {}
        while store.drive(Drive::Write).unwrap() || store.drive(Drive::Prepare).unwrap() {}
        store.drive(Drive::Keep).unwrap();
    };
    let mut places = Vec::new();
    loop {
        let serial = places.len() as u64 + 1;
        let body = body_of(serial, 700);
        match store.append(|batch| batch.add(&[(queue, serial)], &message(serial, &body))) {
            Ok((at, _)) => places.push((serial, at)),
            Err(StoreError::Full) => break,
            Err(error) => panic!("{error}"),
        }
        work(&store);
    }
    // Two of three are acknowledged, all over the disk, so that no segment dies by itself. Every one goes through at once.
    let (kept, gone): (Vec<_>, Vec<_>) =
        places.into_iter().partition(|(serial, _)| serial % 3 == 0);
    for one in gone {
        let ((), ticket) = store.append(|batch| batch.remove(queue, &[one])).unwrap();
        work(&store);
        assert!(store.synced() >= ticket, "a removal waits for space");
    }
    assert!(store.is_full());
    settle(&store);
    assert!(!store.is_full(), "{:?}", store.usage());
    drop(store);
    disk.restart();
    let (_store, recovered) = open(&disk, config()).unwrap();
    let found = recovered.destinations[0].entries.iter();
    assert!(found.map(|entry| (entry.sequence, entry.at)).eq(kept));
}

#[test]
fn the_reserve_takes_removals_to_its_last_octet() {
    let disk = SimDisk::new(1);
    let (store, _) = open(&disk, config()).unwrap();
    let queue = DestinationId(1);
    store
        .append(|batch| batch.define_destination(queue, 0, "q"))
        .unwrap();
    while store.drive(Drive::Prepare).unwrap() {}
    while store.drive(Drive::Write).unwrap() {}
    disk.set_capacity(Some(0));
    let mut serial = 0;
    loop {
        serial += 1;
        let body = body_of(serial, 200);
        match store.append(|batch| batch.add(&[(queue, serial)], &message(serial, &body))) {
            Ok(_) => {}
            Err(StoreError::Full) => break,
            Err(error) => panic!("{error}"),
        }
        while store.drive(Drive::Write).unwrap() {}
        while store.drive(Drive::Prepare).unwrap() {}
    }
    // Both segments of the reserve, to the end: counters, which free nothing. Each is synced.
    let (reserve, mut taken) = (2 * u64::from(config().segment_bytes), 0);
    let at = Locator::from_u64(1 << 32 | 4096).unwrap();
    loop {
        let ((), ticket) = store
            .append(|batch| batch.redelivered(queue, 1, at, 3))
            .unwrap();
        while store.drive(Drive::Write).unwrap() {}
        while store.drive(Drive::Prepare).unwrap() {}
        if store.synced() < ticket {
            break;
        }
        taken += 64 + 64;
    }
    assert!(
        taken > reserve * 3 / 4,
        "{taken} octets fit into a reserve of {reserve}"
    );
    // It waits, and goes on when there is space.
    assert!(store.failure().is_none());
    disk.set_capacity(None);
    while store.drive(Drive::Prepare).unwrap() || store.drive(Drive::Write).unwrap() {}
    drop(store);
    disk.restart();
    let (_store, recovered) = open(&disk, config()).unwrap();
    assert_eq!(recovered.destinations[0].entries.len() as u64, serial - 1);
}

#[test]
fn threads_compact_while_others_read_and_write() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Arc::new(ferrymq_store::io::RealDisk);
    let config = StoreConfig {
        checkpoint_interval: std::time::Duration::from_millis(20),
        compact_bytes_per_s: 1 << 30,
        ..small()
    };
    let (store, _) = Store::open(disk, dir.path(), config, Box::new(|_| {})).unwrap();
    let queue = DestinationId(1);
    store
        .append(|batch| batch.define_destination(queue, 0, "q"))
        .unwrap();
    let mut kept: Vec<(u64, Locator)> = Vec::new();
    let mut serial = 0;
    // Compaction has its own pace, so the work goes on until it has had its turns.
    while store.usage().unwrap().compacted_bytes < 200_000 {
        for _ in 0..50 {
            serial += 1;
            let body = body_of(serial, 500);
            let (at, ticket) = store
                .append(|batch| batch.add(&[(queue, serial)], &message(serial, &body)))
                .unwrap();
            if serial % 8 == 0 {
                kept.push((serial, at));
            } else {
                store
                    .append(|batch| batch.remove(queue, &[(serial, at)]))
                    .unwrap();
            }
            store.wait(ticket).unwrap();
        }
        let places: Vec<Locator> = kept.iter().map(|(_, at)| *at).collect();
        let mut read = Vec::new();
        store.read_many(&places, &mut read);
        for (found, (serial, at)) in read.iter().zip(&kept) {
            let found = found.as_ref().unwrap().as_ref();
            let found = found.unwrap_or_else(|| panic!("{at} is gone"));
            assert_eq!(found.body(), body_of(*serial, 500));
        }
        assert!(serial < 1_000_000, "nothing is compacted");
        let drop_first = kept.len().saturating_sub(400);
        for one in kept.drain(..drop_first) {
            store.append(|batch| batch.remove(queue, &[one])).unwrap();
        }
    }
    store.compact().unwrap();
    let holders = store.holders().unwrap();
    let sealed = holders.segments.iter().filter(|one| !one.is_written);
    let mostly_dead: Vec<_> = sealed
        .filter(|one| 2 * one.live_bytes < one.bytes)
        .collect();
    // The last two are not worth it.
    assert!(mostly_dead.len() <= 2, "{mostly_dead:?}");
    store.close().unwrap();
    let (store, recovered) = crate::support::open(dir.path(), small());
    let found = recovered.destinations[0].entries.iter();
    assert!(found.map(|entry| (entry.sequence, entry.at)).eq(kept));
    drop(store);
}

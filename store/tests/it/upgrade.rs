//! Stores written by earlier versions of the format are read, go on, and can be compacted.
//!
//! How the fixtures were made: see `tests/fixtures/README.md`.

use std::path::Path;

use ferrymq_store::{DestinationId, StoreConfig, check};

use crate::support::{body_of, message, open};

fn config() -> StoreConfig {
    StoreConfig {
        segment_bytes: 16 * 1024,
        first_segment_bytes: 16 * 1024,
        ..StoreConfig::default()
    }
}

/// A copy of a fixture to write in.
fn copy_of(fixture: &str) -> tempfile::TempDir {
    let from = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures")
        .join(fixture);
    let to = tempfile::tempdir().unwrap();
    std::fs::create_dir(to.path().join("journal")).unwrap();
    for file in std::fs::read_dir(from).unwrap() {
        let file = file.unwrap();
        let copy = to.path().join("journal").join(file.file_name());
        std::fs::copy(file.path(), copy).unwrap();
    }
    to
}

fn reads_and_goes_on(fixture: &str) {
    let dir = copy_of(fixture);
    let disk: std::sync::Arc<dyn ferrymq_store::io::Disk> =
        std::sync::Arc::new(ferrymq_store::io::RealDisk);
    let checked = check(&disk, dir.path()).unwrap();
    assert!(checked.quarantined.is_empty(), "{checked:?}");
    let queue = DestinationId(1);
    let odd: Vec<u64> = (1..=40).filter(|it| it % 2 == 1 && *it != 5).collect();
    for round in 0..3 {
        let (store, recovered) = open(dir.path(), config());
        assert!(recovered.clean, "{:?}", recovered.report);
        let [orders, dead, news] = &recovered.destinations[..] else {
            panic!("{recovered:?}");
        };
        let names = [orders, dead, news].map(|one| (one.kind, &*one.name));
        assert_eq!(names, [(0, "orders"), (0, "dead"), (1, "news")]);
        let sequences: Vec<u64> = orders.entries.iter().map(|entry| entry.sequence).collect();
        assert_eq!(sequences, odd);
        assert_eq!(orders.entries[1].redeliveries, 4);
        for entry in &orders.entries {
            let found = store.read(entry.at).unwrap().unwrap();
            assert_eq!(found.body(), body_of(entry.sequence, 300));
        }
        assert_eq!(news.entries.len(), 40);
        let moved = store.read(dead.entries[0].at).unwrap().unwrap();
        assert_eq!((moved.serial, moved.flags), (5, 9));
        assert_eq!(&moved.patch.unwrap().extra_head[..], b"cause");
        let subscription = &recovered.subscriptions[0];
        assert_eq!(
            (subscription.through, &*subscription.exceptions),
            (10, &[12, 14][..])
        );
        assert_eq!(subscription.definition.selector.as_deref(), Some("a = 1"));
        // Traffic and compaction, so that old and new records meet.
        for serial in 1..100 {
            let sequence = 100 + 100 * round + serial;
            let body = body_of(serial, 900);
            let (at, ticket) = store
                .append(|batch| batch.add(&[(queue, sequence)], &message(serial, &body)))
                .unwrap();
            store
                .append(|batch| batch.remove(queue, &[(sequence, at)]))
                .unwrap();
            store.wait(ticket).unwrap();
        }
        store.compact();
        store.close().unwrap();
    }
}

#[test]
fn a_store_of_version_1_is_read_and_goes_on() {
    reads_and_goes_on("version-1");
}

#[test]
fn a_store_of_version_2_is_read_and_goes_on() {
    reads_and_goes_on("version-2");
}

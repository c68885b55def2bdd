//! The store on the real disk, with its threads.

use ferrymq_store::{
    DestinationId, Patch, StoreConfig, StoreError, SubscriptionDefinition, SubscriptionId,
};

use crate::support::{body_of, message, open, shrink, small};

const QUEUE: DestinationId = DestinationId(1);
const OTHER: DestinationId = DestinationId(2);

#[test]
fn what_was_synced_is_there_after_reopening() {
    let dir = tempfile::tempdir().unwrap();
    let mut at = Vec::new();
    {
        let (store, recovered) = open(dir.path(), small());
        assert_eq!((recovered.epoch, recovered.destinations.len()), (1, 0));
        store
            .append(|batch| batch.define_destination(QUEUE, 1, "orders"))
            .unwrap();
        for serial in 1..=500 {
            let body = body_of(serial, 700);
            let (place, _) = store
                .append(|batch| batch.add(&[(QUEUE, serial)], &message(serial, &body)))
                .unwrap();
            at.push(place);
        }
        store
            .append(|batch| batch.remove(QUEUE, &[(1, at[0]), (3, at[2])]))
            .unwrap();
        store
            .append(|batch| batch.redelivered(QUEUE, 2, at[1], 5))
            .unwrap();
        store.close().unwrap();
    }
    for with_meta in [true, false] {
        if !with_meta {
            std::fs::remove_dir_all(dir.path().join("meta")).unwrap();
        }
        let (store, recovered) = open(dir.path(), small());
        assert!(recovered.clean, "{:?}", recovered.report);
        assert!(recovered.report.quarantined.is_empty() && recovered.report.warnings.is_empty());
        let queue = &recovered.destinations[0];
        assert_eq!(
            (
                queue.id,
                queue.kind,
                queue.name.as_str(),
                queue.next_sequence
            ),
            (QUEUE, 1, "orders", 501)
        );
        let expected: Vec<u64> = [2].into_iter().chain(4..=500).collect();
        assert_eq!(
            queue
                .entries
                .iter()
                .map(|entry| entry.sequence)
                .collect::<Vec<_>>(),
            expected
        );
        assert_eq!(
            (
                queue.entries[0].redeliveries,
                queue.entries[0].at,
                queue.entries[0].size
            ),
            (5, at[1], 709)
        );
        let places: Vec<_> = queue.entries.iter().map(|entry| entry.at).rev().collect();
        let mut read = Vec::new();
        store.read_many(&places, &mut read);
        for (found, entry) in read.iter().rev().zip(&queue.entries) {
            let found = found.as_ref().unwrap().as_ref().unwrap();
            assert_eq!(found.body(), body_of(entry.sequence, 700));
            assert_eq!(found.head(), b"SEND\nhead"[..]);
            assert_eq!(store.read(entry.at).unwrap().as_ref(), Some(found));
        }
        store.close().unwrap();
    }
}

#[test]
fn a_moved_message_keeps_its_body() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path(), small());
    let patch = Patch {
        flags: 9,
        priority: 1,
        expires_ms: 77,
        body_size: 5009,
        extra_head: b"cause",
    };
    let body = body_of(1, 5000);
    let (at, ticket) = store
        .append(|batch| {
            batch.define_destination(QUEUE, 1, "q");
            batch.define_destination(OTHER, 1, "dlq");
            let at = batch.add(&[(QUEUE, 1)], &message(1, &body));
            batch.transaction(|batch| {
                let moved = batch.place(&[(OTHER, 1)], at, &patch);
                batch.remove(QUEUE, &[(1, at)]);
                let again = batch.place(
                    &[(QUEUE, 2)],
                    moved,
                    &Patch {
                        extra_head: b"again",
                        ..patch
                    },
                );
                batch.remove(OTHER, &[(1, moved)]);
                again
            })
        })
        .unwrap();
    store.wait(ticket).unwrap();
    // Enough traffic for several segments: the one with the body must stay.
    for serial in 10..200 {
        let (place, _) = store
            .append(|batch| batch.add(&[(QUEUE, serial)], &message(serial, &body)))
            .unwrap();
        store
            .append(|batch| batch.remove(QUEUE, &[(serial, place)]))
            .unwrap();
    }
    store.close().unwrap();
    let (store, recovered) = open(dir.path(), small());
    let entry = recovered.destinations[0].entries[0];
    assert_eq!(
        (
            entry.at,
            entry.flags,
            entry.priority,
            entry.expires_ms,
            entry.size
        ),
        (at, 9, 1, 77, 5009)
    );
    let found = store.read(at).unwrap().unwrap();
    assert_eq!(found.body(), body);
    assert_eq!(&found.patch.unwrap().extra_head[..], b"again");
    shrink(&store, 3);
    assert_eq!(store.read(at).unwrap().unwrap().body(), body);
}

#[test]
fn subscriptions_and_sequences_survive_their_segments() {
    let dir = tempfile::tempdir().unwrap();
    let definition = SubscriptionDefinition {
        id: SubscriptionId(5),
        topic: QUEUE,
        client_id: "client".into(),
        name: "name".into(),
        selector: None,
        no_local: false,
        start: 3,
    };
    let (store, _) = open(dir.path(), small());
    store
        .append(|batch| {
            batch.define_destination(QUEUE, 2, "topic");
            batch.define_subscription(&definition);
        })
        .unwrap();
    let body = body_of(0, 1000);
    for serial in 1..=400 {
        let (at, _) = store
            .append(|batch| batch.add(&[(QUEUE, serial)], &message(serial, &body)))
            .unwrap();
        store
            .append(|batch| batch.remove(QUEUE, &[(serial, at)]))
            .unwrap();
        store
            .append(|batch| batch.acknowledge(definition.id, Some(serial / 2), &[serial]))
            .unwrap();
    }
    store.close().unwrap();
    std::fs::remove_dir_all(dir.path().join("meta")).unwrap();
    let (store, recovered) = open(dir.path(), small());
    assert_eq!(recovered.destinations[0].next_sequence, 401);
    assert!(recovered.destinations[0].entries.is_empty());
    let subscription = &recovered.subscriptions[0];
    assert_eq!(
        (&subscription.definition, subscription.through),
        (&definition, 200)
    );
    assert_eq!(subscription.exceptions, (201..=400).collect::<Vec<_>>());
    shrink(&store, 2);
}

#[test]
fn a_batch_larger_than_a_segment_gets_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path(), small());
    let (small_body, large_body) = (body_of(1, 100), body_of(2, 300_000));
    let (at, ticket) = store
        .append(|batch| {
            batch.define_destination(QUEUE, 1, "q");
            batch.add(&[(QUEUE, 1)], &message(1, &small_body))
        })
        .unwrap();
    let (large, _) = store
        .append(|batch| batch.add(&[(QUEUE, 2)], &message(2, &large_body)))
        .unwrap();
    let (last, ticket_last) = store
        .append(|batch| batch.add(&[(QUEUE, 3)], &message(3, &small_body)))
        .unwrap();
    assert!(ticket < ticket_last);
    store.wait(ticket_last).unwrap();
    for (place, body) in [(at, &small_body), (large, &large_body), (last, &small_body)] {
        assert_eq!(store.read(place).unwrap().unwrap().body(), body[..]);
    }
    drop(store);
    let (_store, recovered) = open(dir.path(), small());
    assert!(!recovered.clean);
    assert_eq!(recovered.destinations[0].entries.len(), 3);
}

#[test]
fn a_directory_is_opened_once() {
    let dir = tempfile::tempdir().unwrap();
    let (_store, _) = open(dir.path(), small());
    let disk: std::sync::Arc<dyn ferrymq_store::io::Disk> =
        std::sync::Arc::new(ferrymq_store::io::RealDisk);
    let second =
        ferrymq_store::Store::open(disk, dir.path(), StoreConfig::default(), Box::new(|_| {}));
    assert!(matches!(
        second,
        Err(StoreError::Locked {
            holder: Some(_),
            ..
        })
    ));
}

//! A limit of the journal: messages stop before it, removals never, and it can change while the store is open.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use ferrymq_store::sim::SimDisk;
use ferrymq_store::{DestinationId, Drive, Locator, Store, StoreConfig, StoreError, SyncEvent};

use crate::crash::config;
use crate::support::{body_of, message};

const QUEUE: DestinationId = DestinationId(1);

/// A store with a limit, and how often it said that there is room.
fn limited(segments: u64) -> (Store, Arc<AtomicUsize>) {
    let rooms = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&rooms);
    let on_sync = Box::new(move |event| {
        if event == SyncEvent::Room {
            counted.fetch_add(1, Ordering::Relaxed);
        }
    });
    let config = StoreConfig {
        bytes_max: Some(segments * u64::from(config().segment_bytes)),
        ..config()
    };
    let disk = Arc::new(SimDisk::new(1));
    let (store, _) = Store::open(disk, Path::new("data"), config, on_sync).unwrap();
    store
        .append(|batch| batch.define_destination(QUEUE, 1, "q"))
        .unwrap();
    (store, rooms)
}

fn segments(count: u64) -> u64 {
    count * u64::from(config().segment_bytes)
}

/// Does all there is to do.
fn drain(store: &Store) {
    loop {
        let mut any = store.drive(Drive::Prepare).unwrap();
        any |= store.drive(Drive::Write).unwrap();
        if !any {
            break;
        }
    }
    store.drive(Drive::Keep).unwrap();
}

fn bytes(store: &Store) -> u64 {
    store.usage().unwrap().bytes_on_disk
}

struct Filled {
    store: Store,
    places: Mutex<Vec<(u64, Locator)>>,
    serial: AtomicUsize,
}

impl Filled {
    fn new(store: Store) -> Self {
        Self {
            store,
            places: Mutex::default(),
            serial: AtomicUsize::new(1),
        }
    }

    fn add(&self, length: usize) -> Result<(), StoreError> {
        let serial = self.serial.fetch_add(1, Ordering::Relaxed) as u64;
        let body = body_of(serial, length);
        let (at, _) = self
            .store
            .append(|batch| batch.add(&[(QUEUE, serial)], &message(serial, &body)))?;
        self.places.lock().unwrap().push((serial, at));
        Ok(())
    }

    /// Takes messages in until it is refused for good: a large one may only be early.
    fn fill(&self, length: usize, drive: bool) {
        loop {
            match self.add(length) {
                Ok(()) if drive => drain(&self.store),
                Ok(()) => {}
                Err(StoreError::Full) if self.store.is_full() => return,
                Err(StoreError::Full) => {
                    assert!(self.store.is_refusing());
                    drain(&self.store);
                    assert!(!self.store.is_refusing() || self.store.is_full());
                }
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// Removes some, the oldest first; each removal gets to the disk.
    fn remove(&self, count: usize) {
        let mut places = self.places.lock().unwrap();
        let count = count.min(places.len());
        for gone in places.drain(..count) {
            let ((), ticket) = self
                .store
                .append(|batch| batch.remove(QUEUE, &[gone]))
                .unwrap();
            drain(&self.store);
            assert!(self.store.synced() >= ticket, "a removal waits for space");
        }
        for _ in 0..5 {
            drain(&self.store);
        }
    }
}

/// What is gathered far ahead of the disk could never be written, nor the removals behind it.
#[test]
fn nothing_is_taken_in_for_which_there_could_be_no_room() {
    for (length, drive) in [
        (900, false),
        (900, true),
        (30_000, false),
        (60_000, true),
        (300_000, false),
        (300_000, true),
    ] {
        let (store, rooms) = limited(8);
        let filled = Filled::new(store);
        for round in 1..=20 {
            filled.fill(length, drive);
            assert!(filled.store.is_full(), "{length}");
            drain(&filled.store);
            // A batch longer than a segment may end above the limit, one at a time.
            let over = if length > 24_000 {
                length as u64 + segments(1)
            } else {
                0
            };
            let used = bytes(&filled.store);
            assert!(used <= segments(8) + over, "{used} octets, {length}");
            filled.remove(usize::MAX);
            assert!(!filled.store.is_full(), "{:?}", filled.store.usage());
            assert!(rooms.load(Ordering::Relaxed) >= round, "{length}: {round}");
        }
    }
}

#[test]
fn a_higher_limit_makes_room_at_once() {
    let (store, rooms) = limited(5);
    let filled = Filled::new(store);
    filled.fill(900, true);
    assert_eq!(rooms.load(Ordering::Relaxed), 0);
    assert_eq!(
        filled.store.set_bytes_max(Some(segments(9))),
        Some(segments(9))
    );
    assert_eq!(
        rooms.load(Ordering::Relaxed) + usize::from(filled.store.is_full()),
        1
    );
    drain(&filled.store);
    assert!(!filled.store.is_full());
    assert_eq!(rooms.load(Ordering::Relaxed), 1);
    filled.add(900).unwrap();
    filled.store.set_bytes_max(None);
    for _ in 0..1000 {
        filled.add(900).unwrap();
        drain(&filled.store);
    }
    assert!(bytes(&filled.store) > segments(20));
}

#[test]
fn a_lower_limit_holds_when_what_is_there_has_gone() {
    let (store, _) = limited(40);
    let filled = Filled::new(store);
    while bytes(&filled.store) < segments(30) {
        filled.add(900).unwrap();
        drain(&filled.store);
    }
    // Not less than the store needs to go on.
    assert_eq!(filled.store.set_bytes_max(Some(1)), Some(segments(4)));
    filled.store.set_bytes_max(Some(segments(6)));
    assert!(filled.store.is_full());
    // What is left of the open segment may be used.
    filled.fill(900, true);
    filled.remove(usize::MAX);
    assert!(!filled.store.is_full(), "{:?}", filled.store.usage());
    let used = bytes(&filled.store);
    assert!(used <= segments(6), "{used} octets");
    filled.fill(900, true);
    let used = bytes(&filled.store);
    assert!(used <= segments(6), "{used} octets");
}

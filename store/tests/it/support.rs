//! What the tests share: messages that can be recognised, and stores opened in one line.

use std::path::Path;
use std::sync::Arc;

use ferrymq_store::io::{Disk, RealDisk};
use ferrymq_store::{Recovered, Store, StoreConfig, StoredMessage};

/// A configuration with small segments, so that they change often.
pub(crate) fn small() -> StoreConfig {
    StoreConfig {
        segment_bytes: 64 * 1024,
        first_segment_bytes: 16 * 1024,
        salt_seed: Some(7),
        ..StoreConfig::default()
    }
}

/// A message whose body follows from its serial.
pub(crate) fn message(serial: u64, body: &[u8]) -> StoredMessage<'_> {
    StoredMessage {
        wire: 1,
        flags: 3,
        priority: 4,
        origin: 99,
        serial,
        timestamp_ms: 1000 + serial,
        expires_ms: 0,
        head: b"SEND\nhead",
        body,
    }
}

/// Octets that tell one serial from another.
pub(crate) fn body_of(serial: u64, length: usize) -> Vec<u8> {
    (0..length as u64)
        .map(|at| u8::try_from((serial.wrapping_mul(31) ^ at) & 0xff).unwrap())
        .collect()
}

/// Opens a store on the real disk.
pub(crate) fn open(dir: &Path, config: StoreConfig) -> (Store, Recovered) {
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    Store::open(disk, dir, config, Box::new(|_| {})).unwrap()
}

/// Lets the store tidy up until only `most` segments are left.
pub(crate) fn shrink(store: &Store, most: usize) {
    for _ in 0..1000 {
        if store.usage().unwrap().segments <= most {
            return;
        }
        store.checkpoint().unwrap();
    }
    panic!("dead segments are not deleted: {:?}", store.usage());
}

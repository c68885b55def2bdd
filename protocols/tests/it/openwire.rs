//! Octets that are almost OpenWire, through the bodies of the fuzz targets.

use std::fs;
use std::path::Path;
use std::sync::LazyLock;

use ferrymq_protocols::fuzz::{openwire_decode, openwire_values};
use proptest::prelude::*;

fn seeds(target: &str) -> Vec<Vec<u8>> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fuzz/corpus")
        .join(target);
    let files = fs::read_dir(directory).expect("the corpus is in the tree");
    let read = |file: Result<fs::DirEntry, _>| fs::read(file.expect("it is readable").path());
    let mut seeds: Vec<_> = files
        .map(|file| read(file).expect("it is readable"))
        .collect();
    // Their order is that of the directory, and a seed of a test has to mean the same everywhere.
    seeds.sort();
    seeds
}

static STREAMS: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| seeds("openwire_decode"));
static VALUES: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| seeds("openwire_values"));

/// A seed of which some octets are changed and, at times, some put in or left out.
fn mutated(seeds: &'static [Vec<u8>]) -> impl Strategy<Value = Vec<u8>> {
    let changes = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..8_u8), 0..5);
    (prop::sample::select(seeds), changes).prop_map(|(mut octets, changes)| {
        for (index, octet, kind) in changes {
            let at = index.index(octets.len());
            match kind {
                0 => octets.insert(at, octet),
                1 if octets.len() > 1 => drop(octets.remove(at)),
                2 => octets[at] ^= 1 << (octet % 8),
                3 => octets[at] = octets[at].wrapping_add(1),
                4 => octets[at] = 0xff,
                _ => octets[at] = octet,
            }
        }
        octets
    })
}

proptest! {
    #[test]
    fn almost_frames_never_panic_and_split_alike(stream in mutated(&STREAMS), choice in any::<u8>()) {
        openwire_decode(&stream);
        let again = [&[choice], stream.get(1..).unwrap_or_default()].concat();
        openwire_decode(&again);
    }

    #[test]
    fn almost_values_never_panic(octets in mutated(&VALUES)) {
        openwire_values(&octets);
    }

    #[test]
    fn garbage_never_panics(octets in prop::collection::vec(any::<u8>(), 0..200)) {
        openwire_decode(&octets);
        openwire_values(&octets);
    }
}

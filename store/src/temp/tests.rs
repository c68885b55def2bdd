use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::message::OwnedMessage;
use crate::sim::SimDisk;

const DIRECTORY: &str = "data/temp";

fn open(disk: &SimDisk, limit_bytes: u64) -> Temp {
    let config = TempConfig {
        limit_bytes,
        file_bytes: 64 << 10,
    };
    Temp::open(Arc::new(disk.clone()), Path::new(DIRECTORY), config).unwrap()
}

/// A message that is told from others by its serial.
fn message(serial: u64, body: &[u8]) -> StoredMessage<'_> {
    StoredMessage {
        wire: 1,
        flags: 2,
        priority: 3,
        origin: 4,
        serial,
        timestamp_ms: 5,
        expires_ms: 6,
        head: b"a:b\n",
        body,
    }
}

fn write(temp: &Temp, serials: std::ops::Range<u64>, size: usize) -> Vec<TempPlace> {
    let (mut run, body) = (TempRun::default(), vec![7; size]);
    for serial in serials {
        run.add(&message(serial, &body));
    }
    temp.write(&mut run).unwrap()
}

fn read(temp: &Temp, places: &[TempPlace]) -> Vec<Option<u64>> {
    let mut found = Vec::new();
    temp.read_many(places, &mut found);
    let serial = |message: OwnedMessage| message.serial;
    let found = found.into_iter();
    found
        .map(|found| found.ok().flatten().map(serial))
        .collect()
}

fn files(disk: &SimDisk) -> Vec<PathBuf> {
    disk.files(Path::new(DIRECTORY))
}

#[test]
fn a_run_comes_back_as_it_was() {
    let temp = open(&SimDisk::new(1), u64::MAX);
    let sizes = [0, 1, 31, 4000, 4096, 100_000, 3 << 20, 17];
    let bodies = sizes.map(|size| vec![9; size]);
    let mut run = TempRun::default();
    for (serial, body) in (0..).zip(&bodies) {
        let before = run.len_bytes();
        run.add(&message(serial, body));
        assert_eq!(
            run.len_bytes() - before,
            TempRun::bytes_of(b"a:b\n".len() + body.len())
        );
    }
    let mut places = temp.write(&mut run).unwrap();
    assert_eq!(temp.used_bytes(), run.len_bytes() as u64);
    // In whatever order they are wanted.
    places.rotate_left(3);
    let mut found = Vec::new();
    temp.read_many(&places, &mut found);
    for (at, outcome) in found.into_iter().enumerate() {
        let serial = (at + 3) % sizes.len();
        let read = outcome.unwrap().unwrap();
        assert_eq!(read.serial, serial as u64);
        let essentials = (read.wire, read.flags, read.priority, read.origin);
        assert_eq!(essentials, (1, 2, 3, 4));
        assert_eq!((read.timestamp_ms, read.expires_ms), (5, 6));
        assert_eq!(read.head(), &b"a:b\n"[..]);
        assert_eq!(read.body(), bodies[serial]);
        let again = TempPlace::from_u64(places[at].get().get()).unwrap();
        assert_eq!(temp.read(again).unwrap().unwrap(), read);
    }
}

#[test]
fn a_file_goes_when_nothing_in_it_is_wanted() {
    let disk = SimDisk::new(2);
    let temp = open(&disk, u64::MAX);
    let old = write(&temp, 0..60, 1000);
    let new = write(&temp, 60..90, 1000);
    assert_eq!(files(&disk).len(), 2, "a run lies in one file");
    assert!(!temp.release(&old[1..]));
    temp.tidy().unwrap();
    assert_eq!(read(&temp, &old[..1]), [Some(0)]);
    assert!(temp.release(&old[..1]), "there is something to tidy");
    temp.tidy().unwrap();
    assert_eq!(files(&disk).len(), 1);
    assert_eq!(read(&temp, &[old[0], new[0]]), [None, Some(60)]);
    // The file that is written to goes too, and the next run begins another.
    assert!(temp.release(&new));
    temp.tidy().unwrap();
    assert_eq!((files(&disk).len(), temp.used_bytes()), (0, 0));
    let next = write(&temp, 90..91, 10);
    assert_eq!(read(&temp, &[new[0], next[0]]), [None, Some(90)]);
}

#[test]
fn what_is_written_behind_released_messages_keeps_their_file() {
    let disk = SimDisk::new(3);
    let temp = open(&disk, u64::MAX);
    let old = write(&temp, 0..3, 10);
    assert!(temp.release(&old));
    let new = write(&temp, 3..6, 10);
    temp.tidy().unwrap();
    assert_eq!(read(&temp, &new), [Some(3), Some(4), Some(5)]);
    assert!(temp.release(&new));
    temp.tidy().unwrap();
    assert!(files(&disk).is_empty());
}

#[test]
fn at_its_limit_it_refuses_until_a_file_has_gone() {
    let disk = SimDisk::new(4);
    let temp = open(&disk, 200_000);
    let first = write(&temp, 0..60, 1000);
    write(&temp, 60..120, 1000);
    let mut run = TempRun::default();
    let body = vec![0; 70_000];
    run.add(&message(200, &body));
    let refused = temp.write(&mut run).unwrap_err();
    assert!(
        matches!(refused, StoreError::TempFull { reason } if reason == "temp.limit is reached")
    );
    assert!(temp.is_full());
    temp.release(&first);
    temp.tidy().unwrap();
    assert!(!temp.is_full());
    let places = temp.write(&mut run).unwrap();
    assert_eq!(read(&temp, &places), [Some(200)]);
    assert!(temp.used_bytes() <= temp.limit_bytes());
}

#[test]
fn a_full_disk_is_no_failure() {
    let disk = SimDisk::new(5);
    let temp = open(&disk, u64::MAX);
    let first = write(&temp, 0..10, 1000);
    disk.set_capacity(Some(disk.allocated() + 5000));
    let mut run = TempRun::default();
    let body = vec![0; 6000];
    run.add(&message(10, &body));
    for _ in 0..2 {
        let refused = temp.write(&mut run).unwrap_err();
        assert!(matches!(refused, StoreError::TempFull { .. }), "{refused}");
        assert!(temp.is_full());
    }
    assert_eq!(read(&temp, &first[..1]), [Some(0)], "reading goes on");
    disk.set_capacity(None);
    let places = temp.write(&mut run).unwrap();
    assert!(!temp.is_full());
    assert_eq!(read(&temp, &places), [Some(10)]);
}

#[test]
fn damage_costs_the_message_it_is_in() {
    let disk = SimDisk::new(6);
    let temp = open(&disk, u64::MAX);
    let places = write(&temp, 0..10, 1000);
    let file = files(&disk).remove(0);
    disk.tamper(&file, |octets| octets[5 * 1088 + 500] ^= 1);
    let expected: Vec<_> = (0..10)
        .map(|serial| (serial != 5).then_some(serial))
        .collect();
    assert_eq!(read(&temp, &places), expected);
    let damaged = temp.read(places[5]).unwrap_err();
    assert!(
        matches!(&damaged, StoreError::TempDamaged { path, .. } if *path == file),
        "{damaged}"
    );
    // A length that was damaged is not believed.
    disk.tamper(&file, |octets| octets[4..8].copy_from_slice(&[255; 4]));
    assert!(matches!(
        temp.read(places[0]),
        Err(StoreError::TempDamaged { .. })
    ));
    disk.tamper(&file, |octets| octets.truncate(9 * 1088 + 20));
    assert!(temp.read(places[9]).is_err());
    assert_eq!(read(&temp, &places[8..9]), [Some(8)]);
    disk.remove_all(Path::new(DIRECTORY));
    temp.open.forget(1);
    let gone = temp.read(places[8]).unwrap_err();
    assert!(matches!(gone, StoreError::TempDamaged { .. }), "{gone}");
}

#[test]
fn after_a_failed_write_another_file_is_begun() {
    let disk = SimDisk::new(7);
    let temp = open(&disk, u64::MAX);
    let first = write(&temp, 0..2, 10);
    disk.crash_in(1);
    let mut run = TempRun::default();
    run.add(&message(2, b"x"));
    assert!(matches!(temp.write(&mut run), Err(StoreError::Io { .. })));
    disk.kill();
    let second = temp.write(&mut run).unwrap();
    assert_eq!(read(&temp, &second), [Some(2)]);
    assert_eq!(files(&disk).len(), 2);
    temp.release(&first);
    temp.release(&second);
    temp.tidy().unwrap();
    assert!(files(&disk).is_empty());
}

#[test]
fn an_earlier_process_leaves_nothing() {
    let disk = SimDisk::new(8);
    write(&open(&disk, u64::MAX), 0..10, 1000);
    let temp = open(&disk, u64::MAX);
    assert_eq!((files(&disk).len(), temp.used_bytes()), (0, 0));
    let places = write(&temp, 0..10, 1000);
    temp.close().unwrap();
    assert_eq!((files(&disk).len(), temp.used_bytes()), (0, 0));
    assert!(!temp.release(&places), "all places are void");
    let mut run = TempRun::default();
    run.add(&message(0, b""));
    assert!(temp.write(&mut run).is_err());
}

#[test]
fn a_real_directory_is_made_when_it_is_needed() {
    let parent = tempfile::tempdir().unwrap();
    let directory = parent.path().join("temp");
    let config = TempConfig {
        limit_bytes: 1 << 20,
        file_bytes: 1 << 20,
    };
    let temp = Temp::open(Arc::new(io::RealDisk), &directory, config).unwrap();
    assert!(!directory.exists());
    let places = write(&temp, 0..10, 5000);
    assert_eq!(read(&temp, &places[9..]), [Some(9)]);
    assert!(io::RealDisk.free_bytes(&directory).unwrap() > 0);
    assert!(io::RealDisk.free_bytes(&directory.join("a/b")).unwrap() > 0);
    drop(temp);
    Temp::open(Arc::new(io::RealDisk), &directory, config).unwrap();
    assert_eq!(std::fs::read_dir(&directory).unwrap().count(), 0);
}

proptest! {
    /// Whatever is written and released, what is wanted can be read, and nothing else takes room.
    #[test]
    fn what_is_wanted_is_there(ops in proptest::collection::vec((0..4_u8, any::<u16>()), 1..60)) {
        let disk = SimDisk::new(9);
        let temp = open(&disk, 1 << 20);
        let mut wanted: BTreeMap<u64, TempPlace> = BTreeMap::new();
        let mut serial = 0;
        for (op, number) in ops {
            match op {
                0 => {
                    let mut run = TempRun::default();
                    let body = vec![1; usize::from(number)];
                    let serials = serial..serial + 1 + u64::from(number % 5);
                    for serial in serials.clone() {
                        run.add(&message(serial, &body[..body.len() >> (serial % 7)]));
                    }
                    let used = temp.used_bytes();
                    if let Ok(places) = temp.write(&mut run) {
                        wanted.extend(serials.clone().zip(places));
                        serial = serials.end;
                    } else {
                        prop_assert!(used + run.len_bytes() as u64 > temp.limit_bytes());
                    }
                }
                1 | 2 => {
                    let count = usize::from(number) % 8;
                    let gone: Vec<u64> = wanted.keys().copied().skip(usize::from(number >> 8) % 4).take(count).collect();
                    let places: Vec<_> = gone.iter().filter_map(|serial| wanted.remove(serial)).collect();
                    temp.release(&places);
                }
                _ => temp.tidy().unwrap(),
            }
            let (serials, places): (Vec<_>, Vec<_>) = wanted.iter().map(|(serial, at)| (Some(*serial), *at)).unzip();
            prop_assert_eq!(read(&temp, &places), serials);
        }
        temp.tidy().unwrap();
        let mut expected: Vec<_> = wanted.values().map(|at| at.0.segment()).collect();
        expected.dedup();
        // A file that was begun and refused for want of room is empty.
        let held = files(&disk).into_iter().filter(|path| disk.contents(path).is_some_and(|octets| !octets.is_empty()));
        prop_assert_eq!(held.count(), expected.len());
        prop_assert_eq!(temp.used_bytes(), disk.allocated());
    }
}

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

const DESTINATION: u32 = 7;

fn plain(due_ms: u64) -> Job {
    Job {
        due_ms,
        at: None,
        message: None,
        schedule: None,
        destination: DESTINATION,
        owner: 0,
        bytes: 10,
    }
}

fn keyed(due_ms: u64, key: &str) -> Job {
    let schedule = Schedule {
        key: Some(key.into()),
        ..Schedule::default()
    };
    Job {
        schedule: Some(Box::new(schedule)),
        ..plain(due_ms)
    }
}

fn due(scheduler: &mut Scheduler, now_ms: u64) -> Vec<u64> {
    let mut out = Vec::new();
    scheduler.take_due(now_ms, usize::MAX, &mut out);
    out.iter().map(|due| due.number).collect()
}

#[test]
fn a_plain_job_costs_less_than_100_octets() {
    // Its slot in the log, a bit of the chunk's mask with its share of the chunk, and its share of the agenda, which may
    // have twice the room it needs.
    let slot = size_of::<Option<Job>>() + 1;
    assert!(slot + 2 <= 100, "{slot}");
}

#[test]
fn jobs_come_out_in_order_of_time_then_of_number() {
    let mut scheduler = Scheduler::default();
    for due_ms in [30, 10, 20, 10] {
        let number = scheduler.reserve();
        assert!(scheduler.add(number, plain(due_ms)).is_none());
    }
    assert_eq!(scheduler.next_due_ms(), Some(10));
    assert_eq!(due(&mut scheduler, 9), [0; 0]);
    assert_eq!(due(&mut scheduler, 20), [2, 4, 3]);
    assert_eq!(scheduler.next_due_ms(), Some(30));
}

#[test]
fn octets_are_counted_as_jobs_come_and_go() {
    let mut scheduler = Scheduler::default();
    let sized = |bytes, job: Job| Job { bytes, ..job };
    scheduler.add(1, sized(5, plain(10)));
    scheduler.add(2, sized(7, keyed(10, "k")));
    assert_eq!(scheduler.bytes(), 12);
    scheduler.add(3, sized(1, keyed(20, "k")));
    assert_eq!(scheduler.bytes(), 6, "replaced by its key");
    assert_eq!(due(&mut scheduler, 10), [1]);
    assert!(scheduler.fired(1, Some(sized(9, plain(30)))));
    assert_eq!(scheduler.bytes(), 10);
    assert!(scheduler.fired(1, None));
    assert!(scheduler.remove(3).is_some());
    assert_eq!(scheduler.bytes(), 0);
}

#[test]
fn a_job_that_goes_on_is_due_again() {
    let mut scheduler = Scheduler::default();
    scheduler.add(5, plain(10));
    assert_eq!(due(&mut scheduler, 10), [5]);
    assert_eq!(scheduler.next_due_ms(), None);
    assert!(scheduler.fired(5, Some(plain(20))));
    assert_eq!(due(&mut scheduler, 20), [5]);
    assert!(scheduler.fired(5, None));
    assert!(scheduler.is_empty());
    assert_eq!(scheduler.reserve(), 6);
}

#[test]
fn what_is_removed_while_it_fires_does_not_come_back() {
    let mut scheduler = Scheduler::default();
    scheduler.add(1, plain(10));
    assert_eq!(due(&mut scheduler, 10), [1]);
    assert!(scheduler.remove(1).is_some());
    assert!(!scheduler.fired(1, Some(plain(20))));
    scheduler.put_back(1, 20);
    assert_eq!(scheduler.next_due_ms(), None);
}

#[test]
fn what_could_not_be_fired_comes_again() {
    let mut scheduler = Scheduler::default();
    scheduler.add(1, plain(10));
    assert_eq!(due(&mut scheduler, 15), [1]);
    scheduler.put_back(1, 115);
    assert_eq!(due(&mut scheduler, 114), [0; 0]);
    assert_eq!(due(&mut scheduler, 115), [1]);
}

#[test]
fn a_key_belongs_to_one_job_of_its_destination_sch_9() {
    let mut scheduler = Scheduler::default();
    assert!(scheduler.add(1, keyed(10, "a")).is_none());
    assert!(scheduler.add(2, keyed(10, "b")).is_none());
    let other = Job {
        destination: 8,
        ..keyed(10, "a")
    };
    assert!(scheduler.add(3, other).is_none());
    assert_eq!(scheduler.by_key(DESTINATION, "a"), Some(1));
    let replaced = scheduler.add(4, keyed(20, "a")).unwrap();
    assert_eq!(replaced.number, 1);
    assert_eq!(scheduler.by_key(DESTINATION, "a"), Some(4));
    assert_eq!(due(&mut scheduler, 10), [2, 3]);
    // Fired and going on it keeps its key; done it gives it up.
    assert_eq!(due(&mut scheduler, 20), [4]);
    assert!(scheduler.fired(4, Some(keyed(30, "a"))));
    assert_eq!(scheduler.by_key(DESTINATION, "a"), Some(4));
    assert!(scheduler.fired(4, None));
    assert_eq!(scheduler.by_key(DESTINATION, "a"), None);
}

#[test]
fn replacing_for_ever_does_not_grow_the_heap() {
    let mut scheduler = Scheduler::default();
    for number in 1..100_000 {
        scheduler.add(number, keyed(u64::MAX - number, "a"));
    }
    assert_eq!(scheduler.len(), 1);
    assert!(scheduler.agenda.entries() <= 1025);
}

#[test]
fn browsing_is_by_time_sch_8() {
    let mut scheduler = Scheduler::default();
    for (number, due_ms) in [(1, 30), (2, 10), (3, 20)] {
        scheduler.add(number, plain(due_ms));
    }
    assert_eq!(scheduler.between(&(0..=u64::MAX)), [2, 3, 1]);
    assert_eq!(scheduler.between(&(10..=20)), [2, 3]);
    assert_eq!(scheduler.between(&(21..=29)), [0; 0]);
}

proptest! {
    /// Against a sorted map of all jobs, each waiting or fired.
    #[test]
    fn agrees_with_a_sorted_map(steps in proptest::collection::vec((0..6_u8, 0..50_u64), 0..200)) {
        let mut scheduler = Scheduler::default();
        let mut model: BTreeMap<u64, u64> = BTreeMap::new();
        let mut firing: Vec<u64> = Vec::new();
        for (step, value) in steps {
            match step {
                0 | 1 => {
                    let number = scheduler.reserve();
                    scheduler.add(number, plain(value));
                    model.insert(number, value);
                }
                2 => {
                    let removed = scheduler.remove(value).is_some();
                    prop_assert_eq!(removed, model.remove(&value).is_some());
                }
                3 => {
                    let mut expected: Vec<(u64, u64)> = model
                        .iter()
                        .filter(|(number, due_ms)| **due_ms <= value && !firing.contains(number))
                        .map(|(number, due_ms)| (*due_ms, *number))
                        .collect();
                    expected.sort_unstable();
                    let found = due(&mut scheduler, value);
                    let expected: Vec<u64> = expected.into_iter().map(|(_, number)| number).collect();
                    prop_assert_eq!(&found, &expected);
                    firing.extend(found);
                }
                4 => if let Some(number) = firing.pop() {
                    let known = scheduler.fired(number, Some(plain(value)));
                    prop_assert_eq!(known, model.contains_key(&number));
                    if known {
                        model.insert(number, value);
                    }
                },
                _ => if let Some(number) = firing.pop() {
                    prop_assert_eq!(scheduler.fired(number, None), model.remove(&number).is_some());
                },
            }
            let waiting = model.iter().filter(|(number, _)| !firing.contains(number));
            prop_assert_eq!(scheduler.next_due_ms(), waiting.map(|(_, due_ms)| *due_ms).min());
            prop_assert_eq!(scheduler.len(), model.len());
        }
    }
}

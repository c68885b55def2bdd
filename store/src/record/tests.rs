//! What is encoded comes back, and no octets make the decoder panic.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

fn targets() -> impl Strategy<Value = Vec<(DestinationId, u64)>> {
    vec((any::<u32>().prop_map(DestinationId), any::<u64>()), 1..40)
}

fn locator() -> impl Strategy<Value = Locator> {
    (1..u32::MAX, any::<u32>()).prop_map(|(segment, offset)| Locator::new(segment, offset))
}

/// Seals, checks that damage shows, and gives the octets back.
fn sealed(mut octets: Vec<u8>, salt: u64, offset: u32, flip: usize) -> Vec<u8> {
    seal(&mut octets, salt, offset);
    let found = head(&octets).unwrap();
    assert_eq!(octets.len(), stride(&found));
    assert!(checks(&octets, &found, salt, offset));
    assert!(
        !checks(&octets, &found, salt, offset ^ 32),
        "the place is part of the checksum"
    );
    assert!(
        !checks(&octets, &found, salt ^ 1, offset),
        "the salt is part of the checksum"
    );
    let mut damaged = octets.clone();
    let bit = flip % (found.length * 8);
    damaged[bit / 8] ^= 1 << (bit % 8);
    assert!(head(&damaged).is_none_or(|found| !checks(&damaged, &found, salt, offset)));
    octets
}

proptest! {
    #[test]
    fn adds_come_back(to in targets(), octets: (Vec<u8>, Vec<u8>), numbers: [u64; 4], small: [u8; 3],
                      transaction: u64, salt: u64, offset: u32, flip: usize) {
        let message = StoredMessage {
            wire: small[0], flags: small[1], priority: small[2], origin: numbers[0], serial: numbers[1],
            timestamp_ms: numbers[2], expires_ms: numbers[3], head: &octets.0, body: &octets.1,
        };
        let mut out = Vec::new();
        encode::add(&mut out, transaction, &to, &message);
        let out = sealed(out, salt, offset, flip);
        prop_assert!(out.len() >= to.len() * GRANULE);
        prop_assert_eq!(head(&out).unwrap().transaction, transaction);
        let Some(Record::Add { targets, message: found }) = decode(&out) else { panic!("not an add") };
        prop_assert_eq!(targets.iter().collect::<Vec<_>>(), to);
        prop_assert_eq!(format!("{found:?}"), format!("{message:?}"));
    }

    #[test]
    fn places_come_back(to in targets(), body in locator(), extra: Vec<u8>, flags: u8, priority: u8, expires_ms: u64,
                        body_size: u32, salt: u64, offset: u32, flip: usize) {
        let patch = Patch { flags, priority, expires_ms, body_size, extra_head: &extra };
        let mut out = Vec::new();
        encode::place(&mut out, 0, &to, body, &patch);
        let out = sealed(out, salt, offset, flip);
        let Some(Record::Place { targets, body_of, patch: found }) = decode(&out) else { panic!("not a place") };
        prop_assert_eq!(targets.iter().collect::<Vec<_>>(), to);
        prop_assert_eq!(body_of, body);
        prop_assert_eq!(format!("{found:?}"), format!("{patch:?}"));
    }

    #[test]
    fn removals_come_back(entries in vec((any::<u64>(), locator()), 0..50), destination: u32, salt: u64, offset: u32, flip: usize) {
        let mut out = Vec::new();
        encode::remove(&mut out, 9, DestinationId(destination), &entries);
        let out = sealed(out, salt, offset, flip);
        let Some(Record::Remove { destination: found, entries: octets }) = decode(&out) else { panic!("not a removal") };
        prop_assert_eq!(found.0, destination);
        prop_assert_eq!(removals(octets).collect::<Vec<_>>(), entries);
    }

    #[test]
    fn acknowledgements_come_back(through: Option<u64>, single: Vec<u64>, id: u32, salt: u64, offset: u32, flip: usize) {
        let mut out = Vec::new();
        encode::acknowledge(&mut out, 0, SubscriptionId(id), through, &single);
        let out = sealed(out, salt, offset, flip);
        let Some(Record::Acknowledge { id: found, through: all, singles: some }) = decode(&out) else { panic!("not an ack") };
        prop_assert_eq!((found.0, all), (id, through));
        prop_assert_eq!(singles(some).collect::<Vec<_>>(), single);
    }

    #[test]
    fn marks_come_back(marked: Vec<(u64, u16)>, id: u32, salt: u64, offset: u32, flip: usize) {
        let mut out = Vec::new();
        encode::marks(&mut out, 7, SubscriptionId(id), &marked);
        let out = sealed(out, salt, offset, flip);
        let Some(Record::Marks { id: found, entries }) = decode(&out) else { panic!("no marks") };
        prop_assert_eq!(found.0, id);
        prop_assert_eq!(marks(entries).collect::<Vec<_>>(), marked);
    }

    #[test]
    fn subscriptions_come_back(id: u32, topic: u32, client_id: String, name: String, selector: Option<String>,
                               no_local: bool, start: u64, salt: u64, offset: u32, flip: usize) {
        let definition = SubscriptionDefinition {
            id: SubscriptionId(id), topic: DestinationId(topic), client_id, name, selector, no_local, start,
        };
        let mut out = Vec::new();
        encode::define_subscription(&mut out, 0, &definition);
        let out = sealed(out, salt, offset, flip);
        let Some(Record::DefineSubscription { octets }) = decode(&out) else { panic!("not a subscription") };
        prop_assert_eq!(subscription(octets), Some(definition));
    }

    #[test]
    fn no_octets_make_the_decoder_panic(mut octets in vec(any::<u8>(), 32..300), kind in 0_u8..20, length in 0_u32..300, count in 0_u32..20) {
        octets[8] = kind;
        fields::set_u32(&mut octets, 4, length);
        fields::set_u32(&mut octets, 12, count);
        match decode(&octets) {
            Some(Record::DefineSubscription { octets }) => drop(subscription(octets)),
            Some(Record::Remove { entries, .. }) => drop(removals(entries).count()),
            Some(Record::Marks { entries, .. }) => drop(marks(entries).count()),
            _ => {}
        }
    }
}

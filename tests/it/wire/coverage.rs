//! The list of cases is covered: each number is in a table or has a reason not to be.

use std::collections::{BTreeMap, BTreeSet};

use super::table::Case;
use super::{
    acknowledging, browsing, choosing, connecting, dialects, durable, ending, grouping,
    heart_beats, policies, redelivering, scheduling, selecting, sending, subscribing, syntax,
    transactions,
};
use crate::{
    destinations, duplicates, hostile, restart, security, topics, transport, virtual_topics,
};

/// The numbers of the list; it has gaps.
#[rustfmt::skip]
const LIST: &[u16] = &[
    // A, B
    1, 2, 3, 4, 5, 6, 8, 9, 12, 14, 15, 16, 17, 19, 20, 22, 23, 24, 25, 28, 29, 30, 31, 32, 33, 36, 38, 39, 41, 43, 44,
    45, 46, 47, 49, 50, 52, 53, 54, 55, 56, 57, 58, 59, 60, 61,
    // C
    62, 64, 65, 66, 67, 68, 69, 70, 71, 72, 73, 74, 76, 77, 78, 79, 80, 81, 83, 85, 86, 87, 88, 89, 90, 91, 92, 93, 94,
    95, 97, 98, 99, 101, 102, 106, 107, 108, 109,
    // D
    111, 112, 113, 114, 115, 116, 119, 121, 123, 124, 125, 126, 127, 129, 133, 136, 137, 138, 139, 141, 142, 143, 144,
    145, 146, 147, 148, 150, 151, 152, 153, 154, 155, 156, 157, 158,
    // E, F
    159, 160, 161, 162, 163, 165, 167, 168, 169, 170, 171, 172, 173, 174, 175, 176, 177, 179, 180, 181, 183, 186, 187,
    188, 191, 193, 194, 195, 197, 201, 202, 203, 204, 205, 206, 207, 209, 210, 214, 215, 216, 217, 219, 220, 222, 224,
    225, 226, 227, 228, 229, 231,
    // G, H, I
    232, 233, 234, 235, 236, 238, 239, 241, 242, 243, 244, 245, 246, 247, 248, 249, 251, 253, 255, 257, 259, 261, 262,
    264, 266, 268, 269, 271, 272, 274, 275, 276, 279, 281, 282, 283, 284, 285, 286, 288, 289, 290, 291, 292, 294, 295,
    297, 299, 301, 302, 303, 305,
    // J, K, L
    306, 307, 308, 310, 311, 312, 313, 314, 315, 316, 317, 318, 319, 320, 324, 325, 326, 327, 328, 329, 331, 332, 333,
    334, 335, 336, 338, 339, 340, 343, 344, 345, 346, 347, 348, 349, 350, 351, 352,
];

/// What is not tested here, and why. Where a case is refused with "not supported yet" until it is built, that is.
#[rustfmt::skip]
const NOT_YET: &[(&str, &[u16])] = &[
    ("needs a JMS client, or JMS messages", &[72, 73, 74, 76, 154, 155, 318, 319, 320]),
    ("advisories are refused (DST-14)", &[203, 204, 205, 206]),
    ("OpenWire is not built", &[352]),
];

/// Cases that are tests of their own elsewhere.
const ELSEWHERE: [&[&str]; 8] = [
    destinations::COVERED,
    duplicates::COVERED,
    hostile::COVERED,
    restart::COVERED,
    security::COVERED,
    topics::COVERED,
    transport::COVERED,
    virtual_topics::COVERED,
];

const TABLES: [&[Case]; 17] = [
    acknowledging::CASES,
    browsing::CASES,
    choosing::CASES,
    connecting::CASES,
    dialects::CASES,
    durable::CASES,
    ending::CASES,
    grouping::CASES,
    heart_beats::CASES,
    policies::CASES,
    redelivering::CASES,
    scheduling::CASES,
    selecting::CASES,
    sending::CASES,
    subscribing::CASES,
    syntax::CASES,
    transactions::CASES,
];

#[test]
fn every_case_of_the_list_is_tested_or_has_its_reason() {
    let tables = TABLES.iter().copied().flatten().map(|case| case.name);
    let elsewhere = ELSEWHERE.iter().copied().flatten().copied();
    let mut covered = BTreeSet::new();
    for name in tables.chain(elsewhere) {
        let Some(number) = name.strip_prefix('C').and_then(|rest| rest.parse().ok()) else {
            continue;
        };
        assert!(covered.insert(number), "{name} is there twice");
    }
    let reasons: BTreeMap<u16, &str> = NOT_YET
        .iter()
        .flat_map(|(reason, numbers)| numbers.iter().map(|number| (*number, *reason)))
        .collect();
    let list: BTreeSet<u16> = LIST.iter().copied().collect();
    for number in &covered {
        assert!(list.contains(number), "C{number:03} is not in the list");
        let reason = reasons.get(number);
        assert_eq!(reason, None, "C{number:03} is tested all the same");
    }
    for number in reasons.keys() {
        assert!(list.contains(number), "C{number:03} is not in the list");
    }
    let missing: Vec<_> = list
        .iter()
        .filter(|number| !covered.contains(number) && !reasons.contains_key(number))
        .collect();
    assert!(missing.is_empty(), "nobody tests {missing:?}");
}

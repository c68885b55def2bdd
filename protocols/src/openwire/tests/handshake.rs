//! What two sides agree on.

use crate::openwire::commands::WireFormatInfo;
use crate::openwire::properties::{MapWriter, Value};
use crate::openwire::{Format, Negotiated, NegotiationError, WireFormat};

fn info_of(options: &[(&str, Value<'_>)]) -> WireFormatInfo {
    let mut octets = Vec::new();
    let mut map = MapWriter::new(&mut octets);
    for (name, value) in options {
        map.put(*name, value).expect("it is short");
    }
    let info = WireFormat::default().to_info().expect("it is short");
    WireFormatInfo {
        marshalled_properties: Some(octets.into()),
        ..info
    }
}

#[test]
fn an_offer_comes_back() {
    let offer = WireFormat {
        host: Some("h\u{f6}st".into()),
        provider_name: Some("ferrymq".into()),
        cache_size: 200,
        inactivity_ms: 7,
        ..WireFormat::default()
    };
    assert_eq!(
        WireFormat::of(&offer.to_info().expect("it is short")),
        Ok(offer)
    );
}

#[test]
fn both_must_want_it_and_the_smaller_counts() {
    let ours = WireFormat {
        frame_bytes_max: 1_000,
        ..WireFormat::default()
    };
    let theirs = WireFormat {
        version: 9,
        cache_size: 500,
        inactivity_ms: 900,
        ..WireFormat::default()
    };
    let agreed = Negotiated::between(&ours, &theirs).expect("they agree");
    assert_eq!(Negotiated::between(&theirs, &ours), Ok(agreed));
    let expected = Format {
        version: 9,
        tight: true,
        cache_size: Some(500),
        stack_traces: true,
        size_prefix: true,
        frame_bytes_max: 1_000,
    };
    assert_eq!(agreed.format, expected);
    assert_eq!(
        (agreed.inactivity_ms, agreed.inactivity_initial_ms),
        (900, 10_000)
    );
    let loose = WireFormat {
        tight: false,
        cache: false,
        stack_traces: false,
        inactivity_ms: 0,
        ..ours.clone()
    };
    let agreed = Negotiated::between(&ours, &loose).expect("they agree");
    assert!(
        !agreed.format.tight && agreed.format.cache_size.is_none() && !agreed.format.stack_traces
    );
    assert_eq!(agreed.inactivity_ms, 0, "off on one side is off");
    let unsized_frames = WireFormat {
        size_prefix_disabled: true,
        ..WireFormat::default()
    };
    let prefix = |a, b| {
        Negotiated::between(a, b)
            .expect("they agree")
            .format
            .size_prefix
    };
    assert!(prefix(&ours, &unsized_frames) && !prefix(&unsized_frames, &unsized_frames));
}

#[test]
fn what_is_not_said_does_not_count() {
    let nothing = WireFormat::of(&info_of(&[])).expect("it reads");
    let agreed = Negotiated::between(
        &WireFormat::default(),
        &WireFormat {
            version: 0,
            ..nothing
        },
    );
    let agreed = agreed.expect("they agree");
    assert_eq!(agreed.format.version, 12, "no version is any");
    assert_eq!(agreed.format.frame_bytes_max, i64::MAX.cast_unsigned());
    assert_eq!((agreed.format.tight, agreed.inactivity_ms), (false, 0));
}

#[test]
fn a_cache_that_cannot_work_is_left_out() {
    let ours = WireFormat::default();
    let size = |cache_size| WireFormat {
        cache_size,
        ..WireFormat::default()
    };
    let agreed = |theirs: &WireFormat| {
        Negotiated::between(&ours, theirs).map(|agreed| agreed.format.cache_size)
    };
    assert_eq!(agreed(&size(100)), Ok(Some(100)));
    assert_eq!(
        agreed(&size(99)),
        Err(NegotiationError::CacheSize { size: 99 })
    );
    assert_eq!(
        agreed(&size(-1)),
        Err(NegotiationError::CacheSize { size: -1 })
    );
    assert_eq!(agreed(&size(0)), Ok(Some(16_383)));
    let answer = ours.in_answer_to(&size(50));
    assert!(!answer.cache);
    assert_eq!(
        Negotiated::between(&answer, &size(50))
            .expect("they agree")
            .format
            .cache_size,
        None
    );
    assert_eq!(ours.in_answer_to(&size(100)), ours);
}

#[test]
fn a_value_of_the_wrong_type_is_named() {
    let wrong = |name, value| WireFormat::of(&info_of(&[(name, value)]));
    let expected = |option| Err(NegotiationError::Type { option });
    assert_eq!(
        wrong("CacheSize", Value::Long(1_024)),
        expected("CacheSize")
    );
    assert_eq!(
        wrong("MaxFrameSize", Value::Int(1)),
        expected("MaxFrameSize")
    );
    assert_eq!(wrong("CacheEnabled", Value::Null), expected("CacheEnabled"));
    assert_eq!(wrong("Host", Value::Int(1)), expected("Host"));
    assert!(wrong("Unheard", Value::Int(1)).is_ok());
    let bad = WireFormatInfo {
        magic: *b"ActiveMX",
        ..info_of(&[])
    };
    assert_eq!(WireFormat::of(&bad), Err(NegotiationError::Magic));
}

//! decode(encode(x)) = x in every version, form and cache setting, whatever pieces it comes in.

use bytes::Bytes;
use proptest::prelude::*;

use super::{Random, Sample, format};
use crate::openwire::commands::{
    Command, ConnectionControl, ConnectionInfo, Destination, DestinationKind, Message,
    MessageDispatch, MessageKind, RemoveInfo, SEQUENCE_UNKNOWN,
};
use crate::openwire::schema::Object;
use crate::openwire::{
    Decoder, EncodeError, Encoder, Format, Limits, Secret, StoredDecoder, encode_stored,
};

fn all_formats(version: u8) -> impl Iterator<Item = Format> {
    let forms = [
        (false, None),
        (false, Some(130)),
        (true, None),
        (true, Some(130)),
    ];
    forms
        .into_iter()
        .map(move |(tight, cache)| format(version, tight, cache))
}

/// Writes and reads in one format.
fn there_and_back(command: &Command, format: &Format) -> Result<Command, EncodeError> {
    let mut octets = Vec::new();
    Encoder::with_format(format).encode(command, &mut octets)?;
    let mut input = Bytes::from(octets);
    let mut decoder = Decoder::with_format(Limits::default(), format);
    let read = decoder
        .decode(&mut input)
        .unwrap_or_else(|error| panic!("{error} in {command:?}"));
    assert!(input.is_empty());
    Ok(read.expect("it is whole"))
}

/// Feeds a stream in pieces and gives its commands.
fn in_pieces(stream: &[u8], format: &Format, mut piece: impl FnMut() -> usize) -> Vec<Command> {
    let mut decoder = Decoder::with_format(Limits::default(), format);
    let (mut held, mut fed, mut commands) = (Bytes::new(), 0, Vec::new());
    while fed < stream.len() {
        let end = stream.len().min(fed + piece());
        held = [&held[..], &stream[fed..end]].concat().into();
        fed = end;
        while let Some(command) = decoder.decode(&mut held).expect("it was written") {
            commands.push(command);
        }
        assert!(
            held.is_empty() || decoder.frame_bytes_hint() > held.len(),
            "it would be whole"
        );
    }
    assert!(held.is_empty());
    commands
}

proptest! {
    #[test]
    fn loose_and_tight_agree_in_every_version(seed in any::<u64>(), version in 1..=12_u8) {
        let command = Command::sample(&mut Random::new(seed));
        let mut read = all_formats(version).map(|format| there_and_back(&command, &format));
        let first = read.next().expect("there are four");
        for other in read {
            prop_assert_eq!(&other, &first);
        }
        match first {
            Ok(first) => {
                if version == 12 {
                    prop_assert_eq!(&first, &command);
                }
                // What a version has, it keeps.
                for format in all_formats(version) {
                    prop_assert_eq!(there_and_back(&first, &format), Ok(first.clone()));
                }
            }
            Err(error) => {
                let is_missing = matches!(error, EncodeError::Version { .. });
                prop_assert!(is_missing && version < 12, "{}", error);
            }
        }
    }

    #[test]
    fn a_stream_means_the_same_in_any_pieces(
        seed in any::<u64>(), tight in any::<bool>(), size_prefix in any::<bool>(), cache in any::<bool>(),
    ) {
        let mut random = Random::new(seed);
        let format = Format { size_prefix, ..format(12, tight, cache.then_some(101)) };
        let commands: Vec<_> = (0..30).map(|_| Command::sample(&mut random)).collect();
        let (mut encoder, mut stream) = (Encoder::with_format(&format), Vec::new());
        for command in &commands {
            encoder.encode(command, &mut stream).expect("version 12 has everything");
        }
        prop_assert_eq!(&in_pieces(&stream, &format, || usize::MAX / 2), &commands);
        prop_assert_eq!(&in_pieces(&stream, &format, || 1), &commands);
        prop_assert_eq!(&in_pieces(&stream, &format, || 1 + random.below(90)), &commands);
    }

    #[test]
    fn what_is_kept_comes_back(seed in any::<u64>()) {
        let mut random = Random::new(seed);
        let mut decoder = StoredDecoder::default();
        for _ in 0..8 {
            let command = Command::sample(&mut random);
            let mut stored = Vec::new();
            encode_stored(&command, &mut stored).expect("it is short");
            prop_assert_eq!(decoder.decode(&stored.into()), Ok(command));
        }
    }

    #[test]
    fn a_content_that_is_shared_belongs_where_it_says(seed in any::<u64>(), tight in any::<bool>()) {
        let mut random = Random::new(seed);
        let content = Bytes::from(vec![7; 5_000]);
        let message = Message { content: Some(content.clone()), ..Message::sample(&mut random) };
        let dispatch = MessageDispatch { message: Some(message), ..MessageDispatch::sample(&mut random) };
        let format = format(12, tight, Some(1_024));
        let (mut whole, mut split) = (Vec::new(), b"before".to_vec());
        Encoder::with_format(&format).encode(&dispatch, &mut whole).expect("it is short");
        let shared = Encoder::with_format(&format).encode_sharing(&dispatch, &mut split, 4_096);
        let shared = shared.expect("it is short").expect("it is long enough");
        prop_assert_eq!(&shared.octets, &content);
        prop_assert_eq!(shared.octets.as_ptr(), content.as_ptr());
        let joined = [&split[6..shared.at], &shared.octets, &split[shared.at..]].concat();
        prop_assert_eq!(joined, whole);
    }
}

#[test]
fn ids_are_the_same_object_with_the_cache_on_or_off() {
    let mut random = Random::new(1);
    let message = loop {
        let message = Message::sample(&mut random);
        if message.producer_id.is_some() && message.destination.is_some() {
            break message;
        }
    };
    for format in all_formats(12) {
        let (mut encoder, mut stream) = (Encoder::with_format(&format), Vec::new());
        for _ in 0..2 {
            encoder.encode(&message, &mut stream).expect("it is short");
        }
        let commands = in_pieces(&stream, &format, || usize::MAX / 2);
        let [Command::Message(first), Command::Message(second)] = &commands[..] else {
            panic!("two messages");
        };
        let same = |a: &Option<std::sync::Arc<_>>, b: &Option<std::sync::Arc<_>>| match (a, b) {
            (Some(a), Some(b)) => std::sync::Arc::ptr_eq(a, b),
            _ => false,
        };
        assert!(same(&first.destination, &second.destination), "{format:?}");
        assert!(
            first
                .producer_id
                .as_ref()
                .zip(second.producer_id.as_ref())
                .is_some_and(|(a, b)| std::sync::Arc::ptr_eq(a, b))
        );
    }
}

#[test]
fn a_command_that_cannot_be_written_leaves_nothing_behind() {
    let format = format(12, true, Some(200));
    let mut encoder = Encoder::with_format(&format);
    let mut random = Random::new(7);
    let (mut stream, mut expected) = (Vec::new(), Vec::new());
    for _ in 0..200 {
        // New values for the cache, and then a text that is too long.
        let mut message = Message::sample(&mut random);
        message.user_id = Some("x".repeat(40_000).into());
        let before = stream.len();
        let refused = encoder.encode(&message, &mut stream);
        assert!(
            matches!(
                refused,
                Err(EncodeError::StringSize {
                    place: "Message.user_id",
                    ..
                })
            ),
            "{refused:?}"
        );
        assert_eq!(stream.len(), before);
        message.user_id = None;
        if Sample::sample(&mut random) {
            encoder.encode(&message, &mut stream).expect("it is short");
            expected.push(Command::from(message));
        }
    }
    assert_eq!(in_pieces(&stream, &format, || 1_000), expected);
}

#[test]
fn a_frame_that_is_larger_than_agreed_is_not_written() {
    let format = Format {
        frame_bytes_max: 100,
        ..format(12, true, None)
    };
    let mut encoder = Encoder::with_format(&format);
    let message = Message {
        content: Some(vec![0; 100].into()),
        kind: MessageKind::Bytes,
        ..Message::default()
    };
    let mut out = Vec::new();
    let refused = encoder.encode(&message, &mut out);
    assert!(
        matches!(refused, Err(EncodeError::FrameSize { max: 100, .. })),
        "{refused:?}"
    );
    assert!(out.is_empty());
    assert_eq!(message.type_id(), 24);
}

#[test]
fn a_long_name_is_sent_and_not_kept() {
    let format = format(12, true, Some(100));
    let name = "n".repeat(5_000);
    let destination = Destination::new(DestinationKind::Queue, name.as_str());
    let message = Message {
        destination: Some(destination.into()),
        ..Message::default()
    };
    let (mut encoder, mut stream) = (Encoder::with_format(&format), Vec::new());
    for _ in 0..3 {
        encoder.encode(&message, &mut stream).expect("it is short");
    }
    assert!(stream.len() > 3 * name.len(), "each frame has it");
    let expected = vec![Command::from(message); 3];
    assert_eq!(in_pieces(&stream, &format, || 999), expected);
}

#[test]
fn what_an_old_version_does_not_say_has_its_value_of_old() {
    let back = |command: &Command, version| {
        let format = format(version, true, None);
        there_and_back(command, &format).expect("the version has the type")
    };
    let removal = RemoveInfo {
        last_delivered_sequence_id: 7,
        ..RemoveInfo::default()
    }
    .into();
    let sequence = |command| match command {
        Command::RemoveInfo(info) => info.last_delivered_sequence_id,
        other => panic!("{other:?}"),
    };
    assert_eq!(
        (sequence(back(&removal, 4)), sequence(back(&removal, 5))),
        (SEQUENCE_UNKNOWN, 7)
    );
    let master = |command| match command {
        Command::ConnectionInfo(info) => (info.client_master, info.client_ip),
        other => panic!("{other:?}"),
    };
    let info = ConnectionInfo {
        client_ip: Some("::1".into()),
        ..ConnectionInfo::default()
    }
    .into();
    assert_eq!(master(back(&info, 1)), (true, None));
    assert_eq!(master(back(&info, 8)), (false, Some("::1".into())));
    let control = ConnectionControl {
        reconnect_to: Some("tcp://b".into()),
        ..ConnectionControl::default()
    };
    let Command::ConnectionControl(old) = back(&control.into(), 5) else {
        panic!("another type");
    };
    assert_eq!(
        (old.connected_brokers, old.reconnect_to),
        (Some("".into()), Some("".into()))
    );
}

#[test]
fn a_password_is_not_shown() {
    let info = ConnectionInfo {
        password: Some(Secret("tiger".into())),
        ..ConnectionInfo::default()
    };
    let shown = format!("{:?}", Command::from(info));
    assert!(
        shown.contains("password: Some((not shown))") && !shown.contains("tiger"),
        "{shown}"
    );
}

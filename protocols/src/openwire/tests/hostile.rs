//! Octets that mean harm: refused with what and where, never a panic, never memory for what is not there.

use bytes::Bytes;

use super::format;
use crate::openwire::commands::MAGIC;
use crate::openwire::{
    Command, Decoder, Encoder, Fault, Format, Limits, OpenWireError, WireFormat,
};

fn refusal(format: &Format, limits: Limits, octets: &[u8]) -> OpenWireError {
    let mut decoder = Decoder::with_format(limits, format);
    let mut input = Bytes::copy_from_slice(octets);
    match decoder.decode(&mut input) {
        Err(error) => error,
        Ok(read) => panic!("it was read: {read:?}"),
    }
}

fn loose(octets: &[u8]) -> OpenWireError {
    refusal(&format(12, false, Some(100)), Limits::default(), octets)
}

/// A frame with its size in front.
fn sized(body: &[u8]) -> Vec<u8> {
    let size = u32::try_from(body.len()).expect("it is small");
    [&size.to_be_bytes()[..], body].concat()
}

#[test]
fn a_connection_begins_with_wire_format_info() {
    let mut decoder = Decoder::new(Limits::default());
    let mut input = Bytes::from_static(b"\0\0\0\x02\x0a\0");
    assert_eq!(
        decoder.decode(&mut input).map_err(|error| error.fault),
        Err(Fault::Magic)
    );
    let mut decoder = Decoder::new(Limits::default());
    let mut input = Bytes::from_static(b"\0\0\x01\0\x01Activist");
    assert_eq!(
        decoder.decode(&mut input).map_err(|error| error.fault),
        Err(Fault::Magic)
    );
    assert!(MAGIC.starts_with(b"Active"));
}

#[test]
fn nothing_is_read_between_handshake_and_agreement() {
    let mut stream = Vec::new();
    let info = WireFormat::default().to_info().expect("it is short");
    let mut encoder = Encoder::new();
    encoder.encode(&info, &mut stream).expect("it is short");
    stream.extend_from_slice(&sized(&[10, 0, 0, 0, 1, 0]));
    let mut input = Bytes::from(stream);
    let mut decoder = Decoder::new(Limits::default());
    assert!(matches!(
        decoder.decode(&mut input),
        Ok(Some(Command::WireFormatInfo(_)))
    ));
    assert_eq!(decoder.decode(&mut input), Ok(None));
    decoder.agree(&format(12, false, None));
    assert!(matches!(
        decoder.decode(&mut input),
        Ok(Some(Command::KeepAliveInfo(_)))
    ));
}

#[test]
fn a_frame_without_an_object_is_nothing() {
    let frames = [sized(&[0]), sized(&[10, 0, 0, 0, 7, 0]), sized(&[0])].concat();
    let mut decoder = Decoder::with_format(Limits::default(), &format(12, false, None));
    let mut input = Bytes::from(frames);
    let read = decoder.decode(&mut input).expect("both are legal");
    assert_eq!(read.and_then(|command| command.command_id()), Some(7));
    assert_eq!(decoder.decode(&mut input), Ok(None));
    assert!(input.is_empty());
    let mut handshake = Decoder::new(Limits::default());
    let fault = handshake
        .decode(&mut sized(&[0]).into())
        .map_err(|error| error.fault);
    assert_eq!(fault, Err(Fault::Magic), "it is no beginning");
}

#[test]
fn sizes_are_refused_before_the_frame_has_come() {
    let limits = Limits {
        frame_bytes_max: 1_000,
        ..Limits::default()
    };
    let format = format(12, false, None);
    let too_large = refusal(&format, limits, &[0, 0, 3, 0xe9]);
    assert_eq!(
        too_large.fault,
        Fault::FrameSize {
            size: 1_001,
            max: 1_000
        }
    );
    assert_eq!(too_large.config_key(), Some("openwire.frame_bytes_max"));
    assert_eq!(loose(&[0xff; 4]).fault, Fault::Negative { length: -1 });
    assert_eq!(
        loose(&[0, 0, 1, 0, 13]).fault,
        Fault::UnknownType { type_id: 13 }
    );
    let old = super::format(2, false, None);
    assert_eq!(
        refusal(&old, limits, &[0, 0, 1, 0, 19]).fault,
        Fault::UnknownType { type_id: 19 }
    );
}

#[test]
fn a_fault_says_what_and_where() {
    // ConsumerInfo whose destination is a ConnectionId.
    let error = loose(&sized(&[
        5, 0, 0, 0, 1, 0, 1, 0, 0, 0, 0, 1, 0, 1, 1, 120, 0,
    ]));
    let text = "data type 120 is not what this field holds: ConsumerInfo.destination at octet 21 of the frame";
    assert_eq!(error.to_string(), text);
    let error = loose(&sized(&[120, 1, 0, 200, b'x']));
    assert_eq!(
        error.to_string(),
        "200 octets are wanted, and the frame has 1 left: ConnectionId.value at octet 8 of the frame"
    );
    assert_eq!(loose(&sized(&[120, 1, 0, 1, 0xff])).fault, Fault::Utf);
    assert_eq!(
        loose(&sized(&[120, 0, 9])).fault,
        Fault::LeftOver { octets: 1 }
    );
}

#[test]
fn the_cache_is_entered_only_where_something_is() {
    let session = |octets: &[u8]| loose(&sized(&[&[4, 0, 0, 0, 1, 0][..], octets].concat())).fault;
    assert_eq!(
        session(&[0, 0, 5]),
        Fault::CacheIndex {
            index: 5,
            size: 100
        }
    );
    assert_eq!(
        session(&[0, 0xff, 0xff]),
        Fault::CacheIndex {
            index: -1,
            size: 100
        }
    );
    assert_eq!(
        session(&[1, 0, 100, 0]),
        Fault::CacheIndex {
            index: 100,
            size: 100
        }
    );
    assert_eq!(
        session(&[1, 0x80, 0, 0]),
        Fault::CacheIndex {
            index: i16::MIN,
            size: 100
        }
    );
}

#[test]
fn depth_and_elements_are_bounded() {
    // A DataResponse whose data is a DataResponse whose data…
    let response = [32, 0, 0, 0, 1, 0, 0, 0, 0, 2, 1];
    let error = loose(&sized(&response.repeat(40)));
    assert_eq!(
        (error.fault, error.config_key()),
        (Fault::Depth { max: 32 }, Some("openwire.depth_max"))
    );
    // Arrays of arrays: the account is that of the frame.
    let limits = Limits {
        items_max: 10,
        ..Limits::default()
    };
    let array = |count: u8, elements: &[u8]| {
        [&[33, 0, 0, 0, 1, 0, 0, 0, 0, 2, 1, 0, count][..], elements].concat()
    };
    let inner = array(6, &[0; 6]);
    let outer = array(5, &[&[1][..], &inner, &[0; 4]].concat());
    let error = refusal(&format(12, false, None), limits, &sized(&outer));
    assert_eq!(error.fault, Fault::Items { max: 10 });
    // A count beyond what is left.
    let error = loose(&sized(&array(100, &[0; 5])));
    assert!(matches!(error.fault, Fault::Truncated { wanted: 100, .. }));
}

#[test]
fn a_preserialised_message_is_read() {
    // Java writes none; what it would read is read here too. The flags: consumer, destination, message present,
    // preserialised.
    let tight = format(12, true, None);
    let mut plain = Vec::new();
    let message = crate::openwire::commands::Message {
        priority: 4,
        ..Default::default()
    };
    Encoder::with_format(&tight)
        .encode(&message, &mut plain)
        .expect("it is short");
    let own = &plain[4..];
    let frame = [
        &[21, 1, 0b0001_1000, 0, 0, 0, 9][..],
        &own[..1],
        &[0, 0, 0, 0, 0],
        &own[1..],
        &[0, 0, 0, 3],
    ]
    .concat();
    let mut input = Bytes::from(sized(&frame));
    let mut decoder = Decoder::with_format(Limits::default(), &tight);
    let Ok(Some(Command::MessageDispatch(dispatch))) = decoder.decode(&mut input) else {
        panic!("it is a dispatch");
    };
    assert_eq!(
        (dispatch.message, dispatch.redelivery_counter),
        (Some(message), 3)
    );
}

#[test]
fn a_string_is_bounded() {
    let limits = Limits {
        string_bytes_max: 3,
        ..Limits::default()
    };
    let error = refusal(
        &format(12, false, None),
        limits,
        &sized(&[120, 1, 0, 4, b'a', b'b', b'c', b'd']),
    );
    assert_eq!(error.fault, Fault::StringSize { length: 4, max: 3 });
    assert_eq!(error.config_key(), Some("openwire.string_bytes_max"));
}

#[test]
fn the_texts_of_the_cache_are_bounded() {
    let limits = Limits {
        cache_bytes_max: 20_000,
        ..Limits::default()
    };
    let info = |index: u8, length: u16| {
        let [high, low] = length.to_be_bytes();
        let head = [4, 0, 0, 0, 1, 0, 1, 0, index, 1, 121, 1, high, low];
        sized(&[&head[..], &vec![b'x'; length.into()], &[0; 8]].concat())
    };
    let mut decoder = Decoder::with_format(limits, &format(12, false, Some(100)));
    let mut read = |frame: Vec<u8>| decoder.decode(&mut frame.into()).map(drop);
    for _ in 0..5 {
        // A slot that is filled again counts once.
        assert_eq!(read(info(0, 15_000)), Ok(()));
    }
    assert_eq!(read(info(1, 5_000)), Ok(()));
    let refused = read(info(2, 1)).expect_err("one octet more");
    assert_eq!(refused.fault, Fault::CacheBytes { max: 20_000 });
    assert_eq!(refused.config_key(), Some("openwire.cache_bytes_max"));
}

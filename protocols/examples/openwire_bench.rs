//! Prints nanoseconds per decoded and encoded OpenWire frame.
//!
//! `cargo run --release -p ferrymq-protocols --example openwire_bench`
//!
//! As `codec_bench`: best of several rounds over one batch, with warm caches.
#![expect(clippy::print_stdout, reason = "printing is what this program is for")]
#![expect(clippy::disallowed_methods, reason = "a stopwatch needs the clock")]

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use ferrymq_protocols::openwire::commands::{
    ConsumerId, Destination, DestinationKind, Message, MessageAck, MessageDispatch, MessageId,
    MessageKind, ProducerId,
};
use ferrymq_protocols::openwire::{
    Command, Decoder, Encoder, Format, Limits, StoredDecoder, VERSION_MAX, encode_stored,
};

const BATCH: usize = 200;
const ROUNDS: usize = 2_000;

fn main() {
    for (tight, cache_size) in [
        (true, Some(1_024)),
        (true, None),
        (false, Some(1_024)),
        (false, None),
    ] {
        let format = Format {
            version: VERSION_MAX,
            tight,
            cache_size,
            ..Format::START
        };
        let form = if tight { "tight" } else { "loose" };
        let cache = if cache_size.is_some() {
            "cache"
        } else {
            "no cache"
        };
        let name = format!("{form}, {cache}");
        decode(&format!("message {name}"), &format, |n| message(n).into());
        decode(&format!("ack {name}"), &format, |n| {
            acknowledgement(n).into()
        });
        dispatch(&name, &format);
    }
}

fn producer() -> Arc<ProducerId> {
    let connection_id = Some("ID:host.example.org-40001-1763721234567-1:1".into());
    Arc::new(ProducerId {
        connection_id,
        value: 1,
        session_id: 1,
    })
}

fn consumer() -> Arc<ConsumerId> {
    let connection_id = Some("ID:host.example.org-40002-1763721234567-1:1".into());
    Arc::new(ConsumerId {
        connection_id,
        session_id: 1,
        value: 1,
    })
}

fn destination() -> Arc<Destination> {
    Arc::new(Destination::new(DestinationKind::Queue, "bench.orders"))
}

fn message_id(number: i64) -> MessageId {
    MessageId {
        producer_id: Some(producer()),
        producer_sequence_id: number,
        broker_sequence_id: number,
        ..MessageId::default()
    }
}

/// A text of 100 octets, as Java sends it.
fn message(number: i64) -> Message {
    Message {
        producer_id: Some(producer()),
        destination: Some(destination()),
        message_id: Some(message_id(number)),
        persistent: true,
        priority: 4,
        timestamp: 1_763_721_234_567,
        content: Some(Bytes::from_static(&[b'x'; 104])),
        kind: MessageKind::Text,
        ..Message::default()
    }
}

fn acknowledgement(number: i64) -> MessageAck {
    MessageAck {
        destination: Some(destination()),
        consumer_id: Some(consumer()),
        ack_type: 2,
        last_message_id: Some(message_id(number)),
        message_count: 1,
        ..MessageAck::default()
    }
}

fn decode(name: &str, format: &Format, make: impl Fn(i64) -> Command) {
    let (mut encoder, mut first, mut batch) =
        (Encoder::with_format(format), Vec::new(), Vec::new());
    encoder.encode(&make(1), &mut first).expect("it is short");
    for number in 0..BATCH as i64 {
        encoder
            .encode(&make(1_000 + number), &mut batch)
            .expect("it is short");
    }
    let mut decoder = Decoder::with_format(Limits::default(), format);
    decoder.decode(&mut first.into()).expect("it was written");
    let size = batch.len() / BATCH;
    let batch = Bytes::from(batch);
    let nanos = best_of(|| {
        let mut input = batch.clone();
        while let Ok(Some(command)) = decoder.decode(&mut input) {
            black_box(&command);
        }
        assert!(input.is_empty(), "all frames were decoded");
    });
    println!("decode {name} ({size} octets): {nanos:.1} ns");
}

/// What is kept, read and sent to a consumer.
fn dispatch(name: &str, format: &Format) {
    let mut stored = Vec::new();
    encode_stored(&message(1_000), &mut stored).expect("it is short");
    let stored = Bytes::from(stored);
    let (consumer, destination) = (consumer(), destination());
    let (mut decoder, mut encoder) = (StoredDecoder::default(), Encoder::with_format(format));
    let mut out = Vec::with_capacity(1 << 16);
    let nanos = best_of(|| {
        out.clear();
        for number in 0..BATCH as i64 {
            let Ok(Command::Message(mut message)) = decoder.decode(black_box(&stored)) else {
                unreachable!("a message was kept");
            };
            message.broker_out_time = 1_763_721_234_567 + number;
            let dispatch = MessageDispatch {
                consumer_id: Some(Arc::clone(&consumer)),
                destination: Some(Arc::clone(&destination)),
                message: Some(message),
                ..MessageDispatch::default()
            };
            encoder.encode(&dispatch, &mut out).expect("it is short");
        }
        black_box(&out);
    });
    let size = out.len() / BATCH;
    println!("stored to dispatch {name} ({size} octets): {nanos:.1} ns");
}

/// Nanoseconds per item of the fastest of [`ROUNDS`] runs over a batch.
fn best_of(mut run: impl FnMut()) -> f64 {
    let fastest = (0..ROUNDS)
        .map(|_| {
            let start = Instant::now();
            run();
            start.elapsed()
        })
        .min()
        .unwrap_or_default();
    fastest.as_nanos() as f64 / BATCH as f64
}

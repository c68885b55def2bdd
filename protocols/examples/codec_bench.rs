//! Prints nanoseconds per decoded SEND and ACK and per encoded MESSAGE.
//!
//! `cargo run --release -p ferrymq-protocols --example codec_bench`
//!
//! Best of several rounds over one batch as a 64 KiB read delivers it: what the codec costs
//! inside the broker's loop, with warm caches and without the system calls around it.
#![expect(clippy::print_stdout, reason = "printing is what this program is for")]
#![expect(clippy::disallowed_methods, reason = "a stopwatch needs the clock")]

use std::hint::black_box;
use std::time::Instant;

use ferrymq_protocols::Limits;
use ferrymq_protocols::stomp::{
    ClientCommand, DecodeOptions, Decoder, LineCache, MessageFields, MessageId, MessageRef,
    MessageTemplate, Version,
};

const READ_BYTES: usize = 64 * 1024;
const ROUNDS: usize = 4_000;

fn main() {
    let body = [b'x'; 100];
    let plain = [
        &b"SEND\ndestination:/queue/bench\ncontent-length:100\n\n"[..],
        &body,
        b"\0",
    ]
    .concat();
    let text = [&b"SEND\ndestination:/queue/bench\n\n"[..], &body, b"\0\n"].concat();
    let rich = [
        &b"SEND\ndestination:/queue/bench\npersistent:true\npriority:5\ncorrelation-id:c-123\n\
           reply-to:/queue/replies\ncontent-type:application/json\nx-tenant:blue\norder:17\n\
           receipt:1234\ncontent-length:100\n\n"[..],
        &body,
        b"\0",
    ]
    .concat();
    for (name, frame) in [
        ("100 B", &plain),
        ("100 B text", &text),
        ("10 headers", &rich),
    ] {
        decode(name, Version::V12, frame, false);
        decode(name, Version::V12, frame, true);
    }
    decode("100 B", Version::V10, &plain, true);
    decode("ACK", Version::V12, b"ACK\nid:7-123456\n\n\0", false);
    for version in [Version::V10, Version::V12] {
        encode("auto, no user head", version, b"", false);
        encode("ack, no user head", version, b"", true);
        encode("ack, 5 user lines", version, USER_HEAD, true);
    }
}

const USER_HEAD: &[u8] = b"correlation-id:c-123\nreply-to:/queue/replies\n\
content-type:application/json\nx-tenant:blue\norder:17\n";

fn decode(name: &str, version: Version, frame: &[u8], with_user_head: bool) {
    if !is_wanted(name) {
        return;
    }
    let count = READ_BYTES / frame.len();
    let input = frame.repeat(count);
    let mut decoder = Decoder::new(Limits::default(), DecodeOptions::default());
    decoder.set_version(version);
    let mut head = Vec::with_capacity(READ_BYTES);
    let nanos = best_of(count, || {
        let mut rest = black_box(&input[..]);
        head.clear();
        while let Ok(Some(frame)) = decoder.decode(rest) {
            let command = ClientCommand::parse(&frame);
            if let (true, Ok(ClientCommand::Send(send))) = (with_user_head, &command) {
                black_box(send.write_user_head(&mut head));
            }
            assert!(black_box(&command).is_ok());
            rest = &rest[frame.consumed..];
        }
        assert_eq!(decoder.take_idle(), rest.len(), "all frames were decoded");
    });
    let extra = if with_user_head { " + user head" } else { "" };
    println!("decode {version} {name}{extra}: {nanos:.1} ns");
}

fn encode(name: &str, version: Version, user_head: &[u8], with_ack: bool) {
    if !is_wanted(name) {
        return;
    }
    let template = MessageTemplate::new(
        version,
        "host-40001-18fa-",
        Some("0"),
        "/queue/bench",
        with_ack.then_some("7-"),
    );
    let mut cache = LineCache::default();
    let body = [b'x'; 100];
    let mut out = Vec::with_capacity(READ_BYTES);
    let count = 200;
    let mut serial = 1_000_000;
    let nanos = best_of(count, || {
        out.clear();
        for index in 0..count as u64 {
            serial += 1;
            let fields = MessageFields {
                message_id: MessageRef::Id(MessageId {
                    origin: 0x2b,
                    serial,
                }),
                timestamp_ms: 1_763_721_234_567 + serial / 1_000,
                ack: with_ack.then_some(index + 123_456),
                text: false,
                body_len: body.len(),
                user_head,
                ..MessageFields::default()
            };
            template.encode_message(black_box(&fields), &body, &mut cache, &mut out);
        }
        black_box(&out);
    });
    let size = out.len() / count;
    println!("encode {version} {name} ({size} octets): {nanos:.1} ns");
}

/// Whether `name` is asked for: all are without an argument.
fn is_wanted(name: &str) -> bool {
    std::env::args()
        .nth(1)
        .is_none_or(|part| name.contains(&part))
}

/// Nanoseconds per item of the fastest of [`ROUNDS`] runs.
fn best_of(items: usize, mut run: impl FnMut()) -> f64 {
    let fastest = (0..ROUNDS)
        .map(|_| {
            let start = Instant::now();
            run();
            start.elapsed()
        })
        .min()
        .unwrap_or_default();
    fastest.as_nanos() as f64 / items as f64
}

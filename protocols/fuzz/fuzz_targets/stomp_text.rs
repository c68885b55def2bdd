//! Run with `cargo +nightly fuzz run stomp_text`; the body is a plain test too.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ferrymq_protocols::fuzz::stomp_text(data));

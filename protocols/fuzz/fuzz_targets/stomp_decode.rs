//! Run with `cargo +nightly fuzz run stomp_decode`; the body is a plain test too.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ferrymq_protocols::fuzz::stomp_decode(data));

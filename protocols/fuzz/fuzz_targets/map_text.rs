//! Run with `cargo +nightly fuzz run map_text`; the body is a plain test too.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ferrymq_protocols::fuzz::map_text(data));

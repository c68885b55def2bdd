//! Run with `cargo +nightly fuzz run openwire_values`; the body is a plain test too.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ferrymq_protocols::fuzz::openwire_values(data));

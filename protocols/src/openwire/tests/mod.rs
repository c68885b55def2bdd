//! What every declared type promises: captured frames come back to the octet, both forms agree, no octets panic.

mod bodies;
mod handshake;
mod hostile;
mod round_trip;
mod sample;
mod vectors;

pub(in crate::openwire) use sample::{Random, Sample};

use super::Format;

/// A format of version 12 that is not told otherwise.
fn format(version: u8, tight: bool, cache_size: Option<u16>) -> Format {
    Format {
        version,
        tight,
        cache_size,
        stack_traces: true,
        ..Format::START
    }
}

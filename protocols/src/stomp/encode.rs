//! Typed frames to octets, appended to a `Vec<u8>` the caller reuses.
//!
//! Deliveries ([`MessageTemplate`]) are the hot path; the other server frames and the client
//! frames favour brevity.

mod client;
mod message;
mod server;

pub use client::ClientFrameWriter;
pub use message::{LineCache, MessageFields, MessageRef, MessageTemplate};
pub use server::{
    Connected, ErrorFrame, encode_connected, encode_error, encode_receipt, error_body,
};

use super::escape::escape_into;
use super::version::Version;

/// What ends every server frame: NUL and one LF (MSG-5).
pub const FRAME_END: &[u8] = b"\0\n";

/// Appends `name:value` and LF with the escapes of `version`.
fn push_line(name: &str, value: &str, version: Version, out: &mut Vec<u8>) {
    escape_into(name, version, out);
    out.push(b':');
    escape_into(value, version, out);
    out.push(b'\n');
}

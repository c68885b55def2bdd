//! STOMP on top of a session: typed commands to session calls, deliveries and answers to frames.

mod acknowledge;
mod adapter;
mod connect;
mod destination;
mod encoder;
mod parked;
mod properties;
mod reply;
mod send;
mod subscribe;

pub use adapter::{Stomp, StompSettings};
pub use properties::StompProperties;

/// The wire code of messages whose head is canonical STOMP 1.2 header lines.
pub const WIRE_STOMP: u8 = 1;

//! STOMP on top of a session: typed commands to session calls, deliveries and answers to frames.

mod access;
mod acknowledge;
mod adapter;
mod advisory;
mod connect;
mod crossing;
mod declare;
mod destination;
mod encoder;
mod ended;
mod group;
mod ids;
mod names;
mod namespace;
mod options;
mod parked;
mod parking;
mod properties;
mod reply;
mod schedule;
mod send;
mod shared;
mod statistics;
mod subscribe;
mod temporary;
mod transformation;
mod wishes;

pub use adapter::{Stomp, StompSettings};
pub use group::group_of;
pub use names::Names;
pub use properties::StompProperties;

/// The wire code of messages whose head is canonical STOMP 1.2 header lines.
pub const WIRE_STOMP: u8 = 1;

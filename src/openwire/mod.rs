//! OpenWire on top of a session: commands to session calls, deliveries and answers to commands.

mod access;
mod acknowledge;
mod adapter;
mod advisory;
mod connect;
mod consume;
mod crossing;
mod destination;
mod encoder;
mod ended;
mod parked;
mod parking;
mod properties;
mod remove;
mod reply;
mod send;
mod temporary;
mod transact;

pub use adapter::{OpenWire, OpenWireSettings};
pub use properties::{OpenWireProperties, group_of};

/// The wire code of messages whose head is a message of OpenWire in the form in which it is kept, without its content.
pub const WIRE_OPENWIRE: u8 = 2;

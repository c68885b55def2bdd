//! Wire protocols of ferrymq: octets to typed commands and back.
//!
//! Invariants:
//! - no I/O, no clock, no locks, no runtime: time and limits are arguments;
//! - no input whatever makes a decoder panic, allocate ahead of the octets that
//!   arrived, or look twice at octets it has already searched;
//! - nothing here knows a broker: a destination is a string, a body is opaque.
//!
//! Deliberately not here: what a command *does* (sessions, destinations,
//! transactions) and any policy beyond "is this a well-formed frame".

pub mod limits;
pub mod map;

mod decimal;
mod error;
#[doc(hidden)]
pub mod fuzz;
pub mod openwire;
pub mod sniff;
pub mod stomp;
pub mod websocket;

pub use error::{ContentLengthFault, LimitKind, ProtocolError};
pub use limits::Limits;

//! Sockets: listening, accepting, and the wire that a connection is served on.

pub mod listener;
pub mod tcp;

//! Sockets: listening, accepting, and the wires that connections are served on.
//!
//! A wire moves octets without waiting. TLS and WebSocket are wires over another wire, so whatever a connection comes
//! through, the session, its heart-beats and its flow control are the same code.

pub mod certificates;
mod http;
pub mod listener;
mod opening;
mod pieces;
#[cfg(test)]
mod pipe;
mod proxy;
pub mod tcp;
pub mod tls;
pub mod websocket;

use crate::engine::outbox::Socket;
use crate::session::link::Wire;

/// Both directions of a connection.
pub trait Duplex: Wire + Socket + 'static {}

impl<T: Wire + Socket + 'static> Duplex for T {}

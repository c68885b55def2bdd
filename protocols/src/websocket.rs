//! The framing of WebSocket: octets to payload and control frames, and back.
//!
//! No extensions, the server's side. Payload is never gathered: it is handed on as it comes, because what it carries
//! has frames of its own.
//!
//! Spec: RFC 6455, sections 5 and 7.

mod decode;
mod encode;
mod utf8;

pub use decode::{Decoder, Event, WebSocketError};
pub use encode::{FRAME_HEAD_BYTES_MAX, push_close, push_frame_head, push_pong};
pub use utf8::Utf8;

/// What a frame holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opcode {
    /// More of the message before it.
    Continuation,
    /// The beginning of a message of text.
    Text,
    /// The beginning of a message of octets.
    Binary,
    /// The end of the connection.
    Close,
    /// A question that wants a pong.
    Ping,
    /// The answer to a ping.
    Pong,
}

impl Opcode {
    fn of(code: u8) -> Option<Self> {
        Some(match code {
            0 => Self::Continuation,
            1 => Self::Text,
            2 => Self::Binary,
            8 => Self::Close,
            9 => Self::Ping,
            10 => Self::Pong,
            _ => return None,
        })
    }

    fn code(self) -> u8 {
        match self {
            Self::Continuation => 0,
            Self::Text => 1,
            Self::Binary => 2,
            Self::Close => 8,
            Self::Ping => 9,
            Self::Pong => 10,
        }
    }

    fn is_control(self) -> bool {
        self.code() >= 8
    }
}

/// Status codes of a close frame (RFC 6455, 7.4.1).
pub mod status {
    /// The purpose is fulfilled.
    pub const NORMAL: u16 = 1000;
    /// A frame that breaks the protocol.
    pub const PROTOCOL_ERROR: u16 = 1002;
    /// Text that is not UTF-8.
    pub const INVALID_TEXT: u16 = 1007;
    /// A message over the limit.
    pub const TOO_BIG: u16 = 1009;
}

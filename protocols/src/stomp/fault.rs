//! [`FrameFault`]: what is wrong with one well-formed frame.
//!
//! Its `Display` is the `message` header of the ERROR frame. Most cost only their frame
//! (ERR-3); [`FrameFault::closes_connection`] names the others (ERR-2).

use super::frame::Command;
use super::version::SUPPORTED_VERSIONS;

/// A frame that was cut out properly but cannot be carried out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FrameFault {
    /// A header the command needs is missing, or a destination is blank (DST-3, ACK-1, TX-1).
    #[error("{} received without {}", command.name(), needed)]
    Missing {
        /// The command.
        command: Command,
        /// What it needs, with its article: `a destination`.
        needed: &'static str,
    },
    /// A header that must hold a number does not (section 4).
    #[error("header {header} is not a number: {value}")]
    NotANumber {
        /// The header's name.
        header: &'static str,
        /// Its value.
        value: String,
    },
    /// `amq-msg-type` is neither `text` nor `bytes` (C136).
    #[error("unsupported message type '{value}'")]
    MessageType {
        /// Its value.
        value: String,
    },
    /// NACK on a 1.0 connection (NAK-1).
    #[error("NACK received but connection is in v1.0 mode.")]
    NackIn10,
    /// A queue browser on a 1.0 connection (section 5).
    #[error("Queue Browser feature only valid for Stomp v1.1+ clients!")]
    BrowserIn10,
    /// A frame only a server may send (CON-3).
    #[error("{} is not a client frame", command.name())]
    ServerFrame {
        /// The command.
        command: Command,
    },
    /// No version in common (CON-5); the ERROR carries `version:1.0,1.1,1.2`.
    #[error("Supported protocol versions are {SUPPORTED_VERSIONS}")]
    NoCommonVersion,
    /// A malformed `heart-beat` (CON-12).
    #[error("Invalid heart-beat header: {value}")]
    HeartBeat {
        /// Its value.
        value: String,
    },
}

impl FrameFault {
    /// Whether the connection must close after the ERROR (ERR-2); the others leave it open
    /// unless `stomp.close_on_error` is set (D-1).
    pub fn closes_connection(&self) -> bool {
        matches!(
            self,
            Self::ServerFrame { .. } | Self::NoCommonVersion | Self::HeartBeat { .. }
        )
    }
}

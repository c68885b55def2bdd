//! [`ProtocolError`]: what is wrong with the octets, where, and which limit said so.
//!
//! Every value of it is fatal for its connection: after it the frame boundary is
//! unknown. What costs only one frame is [`crate::stomp::FrameFault`].

/// A limit of [`crate::Limits`] that was hit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LimitKind {
    /// The command line.
    Command,
    /// One header line.
    Header,
    /// The number of header lines.
    Headers,
    /// The body.
    Body,
    /// The whole frame.
    Frame,
    /// The whole frame, before the client has logged in.
    BeforeLogin,
}

impl LimitKind {
    /// The configuration key that sets this limit.
    pub fn config_key(self) -> &'static str {
        match self {
            Self::Command => "stomp.command_bytes_max",
            Self::Header => "stomp.header_bytes_max",
            Self::Headers => "stomp.headers_max",
            Self::Body => "stomp.body_bytes_max",
            Self::Frame => "stomp.frame_bytes_max",
            Self::BeforeLogin => "stomp.before_login_bytes_max",
        }
    }

    /// The text users of ActiveMQ know for this limit (behaviour.md section 9).
    pub fn wire_text(self) -> &'static str {
        match self {
            Self::Command => "The maximum command length was exceeded",
            Self::Header => "The maximum header length was exceeded",
            Self::Headers => "The maximum number of headers was exceeded",
            Self::Body => "The maximum data length was exceeded",
            Self::Frame | Self::BeforeLogin => "The maximum frame size was exceeded",
        }
    }

    fn noun(self) -> &'static str {
        match self {
            Self::Command => "command line",
            Self::Header => "header line",
            Self::Headers => "number of headers",
            Self::Body => "body",
            Self::Frame => "frame",
            Self::BeforeLogin => "frame before login",
        }
    }
}

/// What is wrong with a `content-length` (FRM-10).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContentLengthFault {
    /// A number below zero.
    Negative,
    /// No number at all.
    NotANumber,
}

/// Octets that are no STOMP. The connection must answer ERROR and close (ERR-2).
///
/// `offset` counts octets from the first octet of the frame's command.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProtocolError {
    /// A limit was exceeded; refused as soon as the octets showed it.
    #[error("{} exceeds {max} ({}) at octet {offset}", kind.noun(), kind.config_key())]
    Limit {
        /// Which limit.
        kind: LimitKind,
        /// Its value.
        max: usize,
        /// Where the frame went over it.
        offset: usize,
    },
    /// A command that STOMP does not have (FRM-3).
    #[error("unknown command {command:?}")]
    UnknownCommand {
        /// Its first 64 characters.
        command: String,
    },
    /// A `content-length` that is no length (FRM-10).
    #[error("content-length {value:?} {} at octet {offset}", match fault {
        ContentLengthFault::Negative => "may not be negative",
        ContentLengthFault::NotANumber => "is not a valid integer",
    })]
    ContentLength {
        /// What is wrong with it.
        fault: ContentLengthFault,
        /// Its first 64 characters.
        value: String,
        /// Where the header line begins.
        offset: usize,
    },
    /// The octet after `content-length` octets of body is not NUL (FRM-10).
    #[error("content-length {length} is not followed by NUL at octet {offset}")]
    BodyEnd {
        /// The length that was announced.
        length: usize,
        /// Where NUL was expected.
        offset: usize,
    },
    /// A command or header is not UTF-8 (FRM-13).
    #[error("headers are not valid UTF-8 at octet {offset}")]
    InvalidUtf8 {
        /// The first octet that is not UTF-8.
        offset: usize,
    },
    /// An escape the version does not define (FRM-8).
    #[error("undefined escape sequence in a header at octet {offset}")]
    UndefinedEscape {
        /// Where its backslash is.
        offset: usize,
    },
    /// A frame ends, or holds a NUL, before its blank line.
    #[error("NUL before the end of the headers at octet {offset}")]
    NulInHead {
        /// Where the NUL is.
        offset: usize,
    },
}

impl ProtocolError {
    /// Octets between the frame's first octet and the fault.
    pub fn offset(&self) -> usize {
        match *self {
            Self::UnknownCommand { .. } => 0,
            Self::Limit { offset, .. }
            | Self::ContentLength { offset, .. }
            | Self::BodyEnd { offset, .. }
            | Self::InvalidUtf8 { offset }
            | Self::UndefinedEscape { offset }
            | Self::NulInHead { offset } => offset,
        }
    }

    /// Whether the connection must close: always, the next frame cannot be found.
    pub fn closes_connection(&self) -> bool {
        true
    }

    /// The limit that was hit and the configuration key that sets it.
    pub fn limit(&self) -> Option<(LimitKind, &'static str)> {
        match self {
            Self::Limit { kind, .. } => Some((*kind, kind.config_key())),
            _ => None,
        }
    }

    /// The `message` header of the ERROR frame; the `Display` text belongs into its body.
    pub fn message(&self) -> String {
        match self {
            Self::Limit { kind, .. } => kind.wire_text().to_owned(),
            Self::UnknownCommand { command } => format!("Unknown STOMP action: {command}"),
            Self::ContentLength { fault, .. } => match fault {
                ContentLengthFault::Negative => "content-length may not be negative".to_owned(),
                ContentLengthFault::NotANumber => {
                    "content-length is not a valid integer".to_owned()
                }
            },
            Self::BodyEnd { length, .. } => {
                format!("content-length bytes were read ({length}) and there was no trailing null")
            }
            Self::InvalidUtf8 { .. } => "headers are not valid UTF-8".to_owned(),
            Self::UndefinedEscape { .. } => "undefined escape sequence in a header".to_owned(),
            Self::NulInHead { .. } => "malformed frame: NUL before the blank line".to_owned(),
        }
    }
}

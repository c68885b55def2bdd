//! [`Throwable`]: an exception as data. Nothing is made from its class name; it is a string.

use crate::openwire::text::Text;

/// An exception on the wire (openwire.md sections 4, 10).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Throwable {
    /// Its class, as `javax.jms.JMSException`.
    pub class: Option<Text>,
    /// What it says.
    pub message: Option<Text>,
    /// Where it was thrown; on the wire only if stack traces were negotiated.
    pub stack: Vec<StackFrame>,
    /// What it was caused by; likewise.
    pub cause: Option<Box<Throwable>>,
}

impl Throwable {
    /// Longest text that is sent, in octets: as much as the Java encoders of some versions send.
    pub const MESSAGE_BYTES_MAX: usize = 1_024;

    /// An exception without a stack trace. A text that is too long is cut.
    pub fn new(class: &str, message: &str) -> Self {
        let mut cut = message.len().min(Self::MESSAGE_BYTES_MAX);
        while !message.is_char_boundary(cut) {
            cut -= 1;
        }
        Self {
            class: Some(class.into()),
            message: Some(message[..cut].into()),
            ..Self::default()
        }
    }
}

/// One line of a stack trace.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StackFrame {
    /// The class.
    pub class: Option<Text>,
    /// The method.
    pub method: Option<Text>,
    /// The file, often absent.
    pub file: Option<Text>,
    /// The line; -1 unknown, -2 a native method.
    pub line: i32,
}

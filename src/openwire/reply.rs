//! What a client is told of a command: success, or an exception of a class that it knows (OWI-5).

use ferrymq_protocols::openwire::commands::{
    ConnectionError, ExceptionResponse, Response, Throwable,
};
use ferrymq_protocols::openwire::{Encoder, Format};

use crate::security::Denied;
use crate::session::TransactionError;

/// Why a command was not carried out.
#[derive(Debug)]
pub(super) struct Failure {
    class: &'static str,
    pub(super) text: String,
    /// Whether the connection ends with it.
    pub(super) fatal: bool,
}

impl Failure {
    fn new(class: &'static str, text: impl Into<String>) -> Self {
        Self {
            class,
            text: text.into(),
            fatal: false,
        }
    }

    /// Anything without a class of its own.
    pub(super) fn jms(text: impl Into<String>) -> Self {
        Self::new("javax.jms.JMSException", text)
    }

    /// A destination that is not there or is none.
    pub(super) fn destination(text: impl Into<String>) -> Self {
        Self::new("javax.jms.InvalidDestinationException", text)
    }

    /// A selector that is none.
    pub(super) fn selector(text: impl Into<String>) -> Self {
        Self::new("javax.jms.InvalidSelectorException", text)
    }

    /// A client id that is missing or taken; the connection ends.
    pub(super) fn client_id(text: impl Into<String>) -> Self {
        Self::new("javax.jms.InvalidClientIDException", text).ending()
    }

    /// Something the user may not do.
    pub(super) fn security(text: impl Into<String>) -> Self {
        Self::new("java.lang.SecurityException", text)
    }

    /// There is no room, and the policy wants an error.
    pub(super) fn resources(text: impl Into<String>) -> Self {
        Self::new("javax.jms.ResourceAllocationException", text)
    }

    /// Something names what is not there.
    pub(super) fn state(text: impl Into<String>) -> Self {
        Self::new("java.lang.IllegalStateException", text)
    }

    /// A transaction that was rolled back instead of being committed.
    pub(super) fn rolled_back(text: impl Into<String>) -> Self {
        Self::new("javax.jms.TransactionRolledBackException", text)
    }

    /// A command that means nothing here.
    pub(super) fn io(text: impl Into<String>) -> Self {
        Self::new("java.io.IOException", text)
    }

    /// A step of a distributed transaction; the client reads the code at the end of the text.
    pub(super) fn xa() -> Self {
        const XAER_RMERR: i32 = -3;
        let text = format!("XA transactions are not supported yet xaErrorCode:{XAER_RMERR}");
        Self::new("javax.transaction.xa.XAException", text)
    }

    /// What the broker does not do over OpenWire yet.
    pub(super) fn not_yet(what: &str) -> Self {
        Self::jms(format!("{what} not supported yet over OpenWire"))
    }

    /// The same, after which the connection ends.
    pub(super) fn ending(self) -> Self {
        Self {
            fatal: true,
            ..self
        }
    }

    fn throwable(&self) -> Throwable {
        Throwable::new(self.class, &self.text)
    }
}

impl From<Denied> for Failure {
    fn from(denied: Denied) -> Self {
        Self::security(denied.to_string())
    }
}

impl From<TransactionError> for Failure {
    fn from(error: TransactionError) -> Self {
        match error {
            TransactionError::Unknown(id) => {
                Self::jms(format!("Transaction '{id}' has not been started."))
            }
            TransactionError::Refused(_) | TransactionError::StoreFull => {
                Self::resources(error.to_string())
            }
            error => Self::jms(error.to_string()),
        }
    }
}

/// Renders answers. They hold nothing that travels through the object cache, so they can be rendered ahead of what stands
/// before them in the outbox.
pub(super) struct Answers {
    encoder: Encoder,
    scratch: Vec<u8>,
}

impl Default for Answers {
    fn default() -> Self {
        Self {
            encoder: Encoder::new(),
            scratch: Vec::new(),
        }
    }
}

impl Answers {
    /// From now on in the format that was agreed on.
    pub(super) fn agree(&mut self, format: &Format) {
        self.encoder.agree(format);
    }

    /// The answer to the command `to`, if one is wanted; else nothing.
    pub(super) fn success(&mut self, to: Option<i32>) -> &[u8] {
        self.scratch.clear();
        if let Some(to) = to {
            self.push(&Response::to(to));
        }
        &self.scratch
    }

    /// Tells of the failure of the command `to`, or of one that wanted no answer.
    pub(super) fn failure(&mut self, to: Option<i32>, failure: &Failure) -> &[u8] {
        self.scratch.clear();
        match to {
            Some(to) => self.push(&ExceptionResponse::to(to, failure.throwable())),
            None => self.push(&ConnectionError {
                exception: Some(Box::new(failure.throwable())),
                ..ConnectionError::default()
            }),
        }
        &self.scratch
    }

    /// Any other command without cached objects in it.
    pub(super) fn render(&mut self, command: &impl ferrymq_protocols::openwire::Object) -> &[u8] {
        self.scratch.clear();
        self.push(command);
        &self.scratch
    }

    fn push(&mut self, command: &impl ferrymq_protocols::openwire::Object) {
        if let Err(error) = self.encoder.encode(command, &mut self.scratch) {
            tracing::error!(%error, "an answer could not be written");
        }
    }
}

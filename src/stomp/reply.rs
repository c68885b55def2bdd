//! Refusals, and the ERROR frames that tell them (ERR-1).

use ferrymq_protocols::stomp::{
    Command, ErrorFrame, FrameFault, Headers, Known, SUPPORTED_VERSIONS, Version, encode_error,
    error_body,
};

/// Why a frame was not carried out.
#[derive(Debug)]
pub(super) struct Refusal {
    /// The `message` header.
    pub(super) message: String,
    /// Whether the connection ends (ERR-2).
    pub(super) fatal: bool,
    /// Whether the ERROR names the supported versions (CON-5).
    names_versions: bool,
}

impl Refusal {
    /// A refusal that costs the frame only (ERR-3).
    pub(super) fn frame(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            fatal: false,
            names_versions: false,
        }
    }

    /// A refusal that ends the connection.
    pub(super) fn connection(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            fatal: true,
            names_versions: false,
        }
    }

    /// Something that a later version will do; never taken as something else meanwhile.
    pub(super) fn not_yet(what: &str) -> Self {
        Self::frame(format!("{what} not supported yet"))
    }

    /// The same in other words.
    pub(super) fn saying(&self, message: String) -> Self {
        Self { message, ..*self }
    }

    /// Renders the ERROR frame for the frame that `failed` shows.
    pub(super) fn render(
        &self,
        version: Version,
        failed: Option<(Command, Headers<'_>)>,
        out: &mut Vec<u8>,
    ) {
        let receipt = failed
            .as_ref()
            .and_then(|(_, headers)| headers.get(Known::Receipt));
        let versions = [("version", SUPPORTED_VERSIONS)];
        let body = error_body(&self.message, failed);
        let error = ErrorFrame {
            message: &self.message,
            receipt_id: receipt.as_deref(),
            headers: if self.names_versions { &versions } else { &[] },
            body: &body,
        };
        encode_error(version, &error, out);
    }
}

impl From<FrameFault> for Refusal {
    fn from(fault: FrameFault) -> Self {
        let names_versions = matches!(fault, FrameFault::NoCommonVersion);
        Self {
            message: fault.to_string(),
            fatal: fault.closes_connection(),
            names_versions,
        }
    }
}

//! Bounds a decoder respects, passed in by the caller.
//!
//! Plain numbers in octets or counts; the configuration tree of the broker owns
//! their names and units. Every bound is enforced while octets arrive, never
//! after a frame was gathered.

/// Bounds of one STOMP connection (behaviour.md section 9).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Longest command line, in octets without its line end. Key `stomp.command_bytes_max`.
    pub command_bytes_max: usize,
    /// Longest header line (name, colon, value), in octets without its line end.
    /// Key `stomp.header_bytes_max`.
    pub header_bytes_max: usize,
    /// Most header lines of one frame. Key `stomp.headers_max`.
    pub headers_max: usize,
    /// Longest body in octets; refused from `content-length` before a body octet is read.
    /// Key `stomp.body_bytes_max`.
    pub body_bytes_max: usize,
    /// Longest frame in octets from its command to its NUL. Key `stomp.frame_bytes_max`.
    pub frame_bytes_max: usize,
    /// Longest frame before the client has logged in. Key `stomp.before_login_bytes_max`.
    pub before_login_bytes_max: usize,
}

impl Limits {
    const COMMAND: usize = 1_024;
    const HEADER: usize = 10_240;
    const HEADERS: usize = 1_000;
    const BODY: usize = 104_857_600;
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            command_bytes_max: Self::COMMAND,
            header_bytes_max: Self::HEADER,
            headers_max: Self::HEADERS,
            body_bytes_max: Self::BODY,
            // The largest head the limits above allow fits beside the largest body; two
            // octets per line for its end, and four for the blank line, NUL and slack.
            frame_bytes_max: Self::BODY
                + Self::COMMAND
                + Self::HEADERS * (Self::HEADER + 2)
                + 2
                + 4,
            before_login_bytes_max: 65_536,
        }
    }
}

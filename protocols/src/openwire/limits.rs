//! Bounds of an OpenWire decoder, passed in by the caller and checked before anything is allocated.

/// Bounds of one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Longest frame in octets, without its size. What was negotiated applies too. Key `openwire.frame_bytes_max`.
    pub frame_bytes_max: u32,
    /// Longest string in octets of modified UTF-8. The wire allows 65,535, but what is longer than
    /// [`STRING_BYTES_MAX`](super::STRING_BYTES_MAX) could not be handed on. Key `openwire.string_bytes_max`.
    pub string_bytes_max: u32,
    /// Most elements in all arrays and stack traces of one frame. An absent element takes one bit of a frame and some
    /// hundred octets of memory. Key `openwire.items_max`.
    pub items_max: u32,
    /// How deep objects may lie in objects, and causes in causes. Key `openwire.depth_max`.
    pub depth_max: u32,
    /// Most octets of text in the object cache, which stays as long as the connection. Key `openwire.cache_bytes_max`.
    pub cache_bytes_max: u32,
}

impl Limits {
    /// The same, with little allowed: for frames before the client has logged in.
    #[must_use]
    pub fn before_login(self) -> Self {
        Self {
            frame_bytes_max: self.frame_bytes_max.min(65_536),
            items_max: self.items_max.min(100),
            ..self
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            // As much as a STOMP frame: a body of 100 MiB and a head.
            frame_bytes_max: 104_857_600 + 1_048_576,
            string_bytes_max: 32_766,
            items_max: 10_000,
            depth_max: 32,
            // Twenty times what a full cache of ids of Java takes.
            cache_bytes_max: 2_097_152,
        }
    }
}

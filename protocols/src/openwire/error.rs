//! What is wrong with a frame, where, and which limit said so. Every such error ends the connection: OpenWire has no way
//! to find the next frame, and the object cache of both sides would differ (openwire.md section 1).

/// A frame that cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{fault}: {place} at octet {offset} of the frame")]
pub struct OpenWireError {
    /// What is wrong.
    pub fault: Fault,
    /// The data type and field that was being read, as `ConsumerInfo.selector`.
    pub place: &'static str,
    /// Octets between the first one of the frame, its size included, and the fault.
    pub offset: usize,
}

impl OpenWireError {
    /// The configuration key of the limit that was hit, if it was one.
    pub fn config_key(&self) -> Option<&'static str> {
        match self.fault {
            Fault::FrameSize { .. } => Some("openwire.frame_bytes_max"),
            Fault::StringSize { .. } => Some("openwire.string_bytes_max"),
            Fault::Items { .. } => Some("openwire.items_max"),
            Fault::Depth { .. } => Some("openwire.depth_max"),
            Fault::CacheBytes { .. } => Some("openwire.cache_bytes_max"),
            _ => None,
        }
    }
}

/// What can be wrong with a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// The frame is larger than allowed.
    #[error("a frame of {size} octets exceeds {max} (openwire.frame_bytes_max)")]
    FrameSize {
        /// What it says.
        size: u32,
        /// The limit.
        max: u32,
    },
    /// The size of a frame, or a length or count in it, is below zero.
    #[error("a length of {length} is below zero")]
    Negative {
        /// The length.
        length: i32,
    },
    /// Something is longer than what is left of the frame.
    #[error("{wanted} octets are wanted, and the frame has {left} left")]
    Truncated {
        /// How many were wanted.
        wanted: u32,
        /// How many there are.
        left: u32,
    },
    /// The flags of a tight frame are used up.
    #[error("more flags are wanted than the frame has")]
    Flags,
    /// Octets or flags are left over where the frame should end.
    #[error("{octets} octets are left over at the end of the frame")]
    LeftOver {
        /// How many; flags in whole octets.
        octets: u32,
    },
    /// A type that the negotiated version does not have.
    #[error("data type {type_id} is unknown in this version")]
    UnknownType {
        /// Its number.
        type_id: u8,
    },
    /// A known type where another is wanted.
    #[error("data type {type_id} is not what this field holds")]
    UnexpectedType {
        /// Its number.
        type_id: u8,
    },
    /// A string that is no modified UTF-8.
    #[error("the string is no modified UTF-8")]
    Utf,
    /// A string is longer than allowed.
    #[error("a string of {length} octets exceeds {max} (openwire.string_bytes_max)")]
    StringSize {
        /// Its length in octets.
        length: u32,
        /// The limit.
        max: u32,
    },
    /// Objects in objects, or causes of causes, deeper than allowed.
    #[error("objects lie more than {max} deep (openwire.depth_max)")]
    Depth {
        /// The limit.
        max: u32,
    },
    /// The arrays of the frame have more elements than allowed.
    #[error("the arrays of a frame hold more than {max} elements (openwire.items_max)")]
    Items {
        /// The limit.
        max: u32,
    },
    /// An index outside the object cache, or of nothing.
    #[error("index {index} is not in the object cache of {size}")]
    CacheIndex {
        /// The index.
        index: i16,
        /// The negotiated size.
        size: u16,
    },
    /// The object cache holds more text than allowed.
    #[error("the object cache holds more than {max} octets of text (openwire.cache_bytes_max)")]
    CacheBytes {
        /// The limit.
        max: u32,
    },
    /// The first frame is no WireFormatInfo, or its magic differs.
    #[error("the connection does not begin with WireFormatInfo")]
    Magic,
}

/// A command that cannot be written. Nothing of it was, and the connection can go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EncodeError {
    /// A string that Java could not read.
    #[error("{place}: a string of {length} octets exceeds {max}")]
    StringSize {
        /// The data type and field.
        place: &'static str,
        /// Its length in octets.
        length: usize,
        /// The most that may be written.
        max: usize,
    },
    /// An array or octets with more elements than their count can tell.
    #[error("{place}: {length} elements exceed {max}")]
    Length {
        /// The data type and field.
        place: &'static str,
        /// How many there are.
        length: usize,
        /// The most that may be written.
        max: usize,
    },
    /// The frame is larger than was negotiated.
    #[error("a frame of {size} octets exceeds {max}, which was negotiated")]
    FrameSize {
        /// Its size.
        size: usize,
        /// The limit.
        max: usize,
    },
    /// The negotiated version does not have the type.
    #[error("data type {type_id} is not in version {version}")]
    Version {
        /// Its number.
        type_id: u8,
        /// The version.
        version: u8,
    },
}

//! [`Format`]: how the frames of one direction are written, as both sides have agreed.

/// The version an implementation of this codec offers.
pub const VERSION_MAX: u8 = 12;

/// How frames are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Format {
    /// 1 to [`VERSION_MAX`]: which fields and types there are.
    pub version: u8,
    /// Flags in front of each frame, variable longs (section 5), or everything in place (section 4).
    pub tight: bool,
    /// Slots of the object cache (section 6); `None` if it is off.
    pub cache_size: Option<u16>,
    /// Whether exceptions carry stack traces and causes.
    pub stack_traces: bool,
    /// Whether each frame begins with its size.
    pub size_prefix: bool,
    /// Largest frame in octets, without its size.
    pub frame_bytes_max: u64,
}

impl Format {
    /// The format of the first frame each way (section 2).
    pub const START: Self = Self {
        version: 1,
        tight: false,
        cache_size: None,
        stack_traces: false,
        size_prefix: true,
        frame_bytes_max: u64::MAX,
    };

    /// The format of what is kept: every field there is, and nothing that refers to another frame.
    pub const STORED: Self = Self {
        version: VERSION_MAX,
        tight: false,
        cache_size: None,
        stack_traces: true,
        size_prefix: false,
        frame_bytes_max: u64::MAX,
    };
}

/// The version that brought a data type; `u8::MAX` for types that never were (section 23).
pub(super) fn first_version(type_id: u8) -> u8 {
    match type_id {
        1..=12 | 14..=18 | 21..=28 | 30..=34 | 40 | 50 | 52..=55 => 1,
        60 | 61 | 65 | 90 | 91 | 100..=103 | 110..=112 | 120..=124 => 1,
        20 => 2,
        19 | 29 => 3,
        92 => 12,
        _ => u8::MAX,
    }
}

/// Whether a type has one flag more in the tight form of a field: WireFormatInfo and messages (section 5.2).
pub(super) fn is_marshall_aware(type_id: u8) -> bool {
    matches!(type_id, 1 | 23..=29)
}

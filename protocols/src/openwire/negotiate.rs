//! What both sides offer in WireFormatInfo, and what they agree on (openwire.md sections 2, 3).

use super::cache::CACHE_SIZE_MIN;
use super::commands::{MAGIC, WireFormatInfo};
use super::format::{Format, VERSION_MAX};
use super::properties::{Map, MapWriter, Value, ValueError};

/// Most options that are looked at.
const OPTIONS_MAX: usize = 4_096;

/// Slots of the cache if both sides say 0.
const CACHE_SIZE_UNSAID: u16 = 16_383;

/// Why the sides cannot agree. It ends the connection.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NegotiationError {
    /// It does not begin as WireFormatInfo does.
    #[error("WireFormatInfo does not begin with its magic")]
    Magic,
    /// The options cannot be read.
    #[error("the options of WireFormatInfo: {0}")]
    Options(#[from] ValueError),
    /// There are too many options.
    #[error("WireFormatInfo has {count} options, more than {OPTIONS_MAX}")]
    Count {
        /// How many.
        count: usize,
    },
    /// An option has a value of another type: Java could not read it either.
    #[error("the option {option} of WireFormatInfo has a value of the wrong type")]
    Type {
        /// Its name.
        option: &'static str,
    },
    /// A cache so small that the Java side would loop for ever.
    #[error("an object cache of {size} is smaller than {CACHE_SIZE_MIN}, the least that works")]
    CacheSize {
        /// What it would be.
        size: i32,
    },
}

/// What one side offers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WireFormat {
    /// The highest version.
    pub version: i32,
    /// Whether the tight form may be used.
    pub tight: bool,
    /// Whether there may be an object cache.
    pub cache: bool,
    /// Its slots; 0 leaves it to the other side.
    pub cache_size: i32,
    /// Whether exceptions may carry stack traces.
    pub stack_traces: bool,
    /// Whether TCP_NODELAY is wanted.
    pub tcp_no_delay: bool,
    /// Whether frames may go without their size. Better never offered: see [`Decoder`](super::Decoder).
    pub size_prefix_disabled: bool,
    /// Largest frame in octets; 0 and less is unsaid.
    pub frame_bytes_max: i64,
    /// How long a side may be silent, in ms; 0 is for ever.
    pub inactivity_ms: i64,
    /// How long a side may be silent at first, in ms.
    pub inactivity_initial_ms: i64,
    /// The name by which the client calls the broker.
    pub host: Option<String>,
    /// The name of the software.
    pub provider_name: Option<String>,
    /// Its version.
    pub provider_version: Option<String>,
}

impl Default for WireFormat {
    /// What Java offers.
    fn default() -> Self {
        Self {
            version: i32::from(VERSION_MAX),
            tight: true,
            cache: true,
            cache_size: 1_024,
            stack_traces: true,
            tcp_no_delay: true,
            size_prefix_disabled: false,
            frame_bytes_max: i64::MAX,
            inactivity_ms: 30_000,
            inactivity_initial_ms: 10_000,
            host: None,
            provider_name: None,
            provider_version: None,
        }
    }
}

impl WireFormat {
    /// An offer of nothing: what a side means that names no options.
    fn bare(version: i32) -> Self {
        Self {
            version,
            tight: false,
            cache: false,
            cache_size: 0,
            stack_traces: false,
            tcp_no_delay: false,
            size_prefix_disabled: false,
            frame_bytes_max: 0,
            inactivity_ms: 0,
            inactivity_initial_ms: 0,
            host: None,
            provider_name: None,
            provider_version: None,
        }
    }

    /// What the other side offers.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn of(info: &WireFormatInfo) -> Result<Self, NegotiationError> {
        if info.magic != MAGIC {
            return Err(NegotiationError::Magic);
        }
        let options = Map::of(info.marshalled_properties.as_ref())?;
        if options.len() > OPTIONS_MAX {
            return Err(NegotiationError::Count {
                count: options.len(),
            });
        }
        let mut offer = Self::bare(info.version);
        for entry in options.iter() {
            let (name, value) = entry?;
            offer.set(&name.to_str(), &value)?;
        }
        Ok(offer)
    }

    /// Takes one option; an unknown one is ignored.
    fn set(&mut self, name: &str, value: &Value<'_>) -> Result<(), NegotiationError> {
        match name {
            "TightEncodingEnabled" => take_flag(value, "TightEncodingEnabled", &mut self.tight),
            "CacheEnabled" => take_flag(value, "CacheEnabled", &mut self.cache),
            "StackTraceEnabled" => take_flag(value, "StackTraceEnabled", &mut self.stack_traces),
            "TcpNoDelayEnabled" => take_flag(value, "TcpNoDelayEnabled", &mut self.tcp_no_delay),
            "SizePrefixDisabled" => {
                take_flag(value, "SizePrefixDisabled", &mut self.size_prefix_disabled)
            }
            "CacheSize" => match value {
                Value::Int(size) => {
                    self.cache_size = *size;
                    Ok(())
                }
                _ => Err(NegotiationError::Type {
                    option: "CacheSize",
                }),
            },
            "MaxFrameSize" => take_long(value, "MaxFrameSize", &mut self.frame_bytes_max),
            "MaxInactivityDuration" => {
                take_long(value, "MaxInactivityDuration", &mut self.inactivity_ms)
            }
            // The spelling is that of the wire.
            "MaxInactivityDurationInitalDelay" => {
                let option = "MaxInactivityDurationInitalDelay";
                take_long(value, option, &mut self.inactivity_initial_ms)
            }
            "Host" => take_text(value, "Host", &mut self.host),
            "ProviderName" => take_text(value, "ProviderName", &mut self.provider_name),
            "ProviderVersion" => take_text(value, "ProviderVersion", &mut self.provider_version),
            _ => Ok(()),
        }
    }

    /// The first frame of this side.
    ///
    /// # Errors
    /// If a text is too long.
    pub fn to_info(&self) -> Result<WireFormatInfo, ValueError> {
        let mut options = Vec::with_capacity(512);
        let mut map = MapWriter::new(&mut options);
        let long = Value::Long;
        let flag = Value::Boolean;
        map.put("TightEncodingEnabled", &flag(self.tight))?;
        map.put("CacheEnabled", &flag(self.cache))?;
        map.put("CacheSize", &Value::Int(self.cache_size))?;
        map.put("StackTraceEnabled", &flag(self.stack_traces))?;
        map.put("TcpNoDelayEnabled", &flag(self.tcp_no_delay))?;
        map.put("SizePrefixDisabled", &flag(self.size_prefix_disabled))?;
        map.put("MaxFrameSize", &long(self.frame_bytes_max))?;
        map.put("MaxFrameSizeEnabled", &flag(self.frame_bytes_max > 0))?;
        map.put("MaxInactivityDuration", &long(self.inactivity_ms))?;
        map.put(
            "MaxInactivityDurationInitalDelay",
            &long(self.inactivity_initial_ms),
        )?;
        let texts = [
            ("Host", &self.host),
            ("ProviderName", &self.provider_name),
            ("ProviderVersion", &self.provider_version),
        ];
        for (name, value) in texts {
            if let Some(value) = value {
                map.put(name, &Value::String(value.as_str().into()))?;
            }
        }
        Ok(WireFormatInfo {
            magic: MAGIC,
            version: self.version,
            marshalled_properties: Some(options.into()),
        })
    }

    /// What to offer to a client whose offer is known: the cache is left out if it would be too small to work.
    #[must_use]
    pub fn in_answer_to(&self, client: &Self) -> Self {
        let too_small = agreed_cache(self, client).is_err();
        Self {
            cache: self.cache && !too_small,
            ..self.clone()
        }
    }
}

fn take_flag(
    value: &Value<'_>,
    option: &'static str,
    into: &mut bool,
) -> Result<(), NegotiationError> {
    let Value::Boolean(flag) = value else {
        return Err(NegotiationError::Type { option });
    };
    *into = *flag;
    Ok(())
}

fn take_long(
    value: &Value<'_>,
    option: &'static str,
    into: &mut i64,
) -> Result<(), NegotiationError> {
    let Value::Long(long) = value else {
        return Err(NegotiationError::Type { option });
    };
    *into = *long;
    Ok(())
}

fn take_text(
    value: &Value<'_>,
    option: &'static str,
    into: &mut Option<String>,
) -> Result<(), NegotiationError> {
    *into = match value {
        Value::String(text) => Some(text.to_str().into_owned()),
        Value::Null => None,
        _ => return Err(NegotiationError::Type { option }),
    };
    Ok(())
}

/// What both sides do from their second frame on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Negotiated {
    /// How frames are written, both ways.
    pub format: Format,
    /// Whether to set TCP_NODELAY.
    pub tcp_no_delay: bool,
    /// How long a side may be silent, in ms; 0 is for ever.
    pub inactivity_ms: u64,
    /// How long it may be at first, in ms.
    pub inactivity_initial_ms: u64,
}

impl Negotiated {
    /// What two offers come to; it does not matter whose is whose.
    ///
    /// # Errors
    /// If a cache would be agreed on that is too small to work.
    pub fn between(ours: &WireFormat, theirs: &WireFormat) -> Result<Self, NegotiationError> {
        let said = |a: i64, b: i64| match (a > 0, b > 0) {
            (true, true) => Some(a.min(b)),
            (true, false) => Some(a),
            (false, true) => Some(b),
            (false, false) => None,
        };
        let version = said(i64::from(ours.version), i64::from(theirs.version));
        let version = version.map_or(VERSION_MAX, |version| {
            u8::try_from(version).unwrap_or(VERSION_MAX)
        });
        let frame_bytes_max = said(ours.frame_bytes_max, theirs.frame_bytes_max);
        let shorter = |a: i64, b: i64| u64::try_from(a.min(b)).unwrap_or(0);
        Ok(Self {
            format: Format {
                version: version.min(VERSION_MAX),
                tight: ours.tight && theirs.tight,
                cache_size: agreed_cache(ours, theirs)?,
                stack_traces: ours.stack_traces && theirs.stack_traces,
                size_prefix: !(ours.size_prefix_disabled && theirs.size_prefix_disabled),
                frame_bytes_max: frame_bytes_max.map_or(u64::MAX, i64::cast_unsigned),
            },
            tcp_no_delay: ours.tcp_no_delay && theirs.tcp_no_delay,
            inactivity_ms: shorter(ours.inactivity_ms, theirs.inactivity_ms),
            inactivity_initial_ms: shorter(
                ours.inactivity_initial_ms,
                theirs.inactivity_initial_ms,
            ),
        })
    }
}

/// The size of the cache, if both want one: the smaller; 0 is [`CACHE_SIZE_UNSAID`].
fn agreed_cache(ours: &WireFormat, theirs: &WireFormat) -> Result<Option<u16>, NegotiationError> {
    if !(ours.cache && theirs.cache) {
        return Ok(None);
    }
    match ours.cache_size.min(theirs.cache_size) {
        0 => Ok(Some(CACHE_SIZE_UNSAID)),
        size => match u16::try_from(size) {
            Ok(size) if size >= CACHE_SIZE_MIN => Ok(Some(size.min(32_767))),
            _ => Err(NegotiationError::CacheSize { size }),
        },
    }
}

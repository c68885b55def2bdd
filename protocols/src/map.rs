//! The body of a map message as typed entries, and its two text forms: JSON and XML.
//!
//! Spec: behaviour STP-M, STP-T. The forms are those of ActiveMQ, made by a serialiser of Java objects: types are named
//! after Java's, a pair of two strings is a list of two, one entry alone may stand without its list. What is written here
//! is one of the forms that are read.

mod json;
mod xml;

pub use json::{from_json, to_json};
pub use xml::{escape_text, from_xml, to_xml};

/// One value of a map message.
#[derive(Clone, Debug, PartialEq)]
pub enum MapValue {
    /// Nothing.
    Null,
    /// `boolean`.
    Boolean(bool),
    /// `byte`.
    Byte(i8),
    /// `short`.
    Short(i16),
    /// `int`.
    Int(i32),
    /// `long`.
    Long(i64),
    /// `float`.
    Float(f32),
    /// `double`.
    Double(f64),
    /// `char`; one of 16 bits, so not each of Rust's.
    Char(u16),
    /// `string`.
    String(String),
    /// `byte-array`.
    Bytes(Vec<u8>),
}

/// The entries of a map message, in the order of the sender.
pub type MapEntries = Vec<(String, MapValue)>;

/// Why a text is no map.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MapError {
    /// It is not JSON.
    #[error("not JSON: {0}")]
    Json(String),
    /// It is not XML, or of a kind that is not read.
    #[error("not XML that is read here, at byte {at}: {what}")]
    Xml {
        /// Where.
        at: usize,
        /// What is wrong.
        what: &'static str,
    },
    /// It is something else than a map.
    #[error("not a map: {0}")]
    Shape(&'static str),
    /// A value has a type that map messages do not have.
    #[error("a map message has no values of type '{0}'")]
    Type(String),
    /// A value is none of its type.
    #[error("'{value}' is no {kind}")]
    Value {
        /// The value.
        value: String,
        /// Its type.
        kind: &'static str,
    },
}

impl MapValue {
    /// The name of its type in both forms.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Boolean(_) => "boolean",
            Self::Byte(_) => "byte",
            Self::Short(_) => "short",
            Self::Int(_) => "int",
            Self::Long(_) => "long",
            Self::Float(_) => "float",
            Self::Double(_) => "double",
            Self::Char(_) => "char",
            Self::String(_) => "string",
            Self::Bytes(_) => "byte-array",
        }
    }

    /// It as text, as both forms have it.
    fn text(&self) -> String {
        match self {
            Self::Null => String::new(),
            Self::Boolean(value) => value.to_string(),
            Self::Byte(value) => value.to_string(),
            Self::Short(value) => value.to_string(),
            Self::Int(value) => value.to_string(),
            Self::Long(value) => value.to_string(),
            Self::Float(value) => floating(value, value.is_infinite()),
            Self::Double(value) => floating(value, value.is_infinite()),
            Self::Char(value) => match char::from_u32(u32::from(*value)) {
                Some(character) if !character.is_control() && *value < 0xfffe => {
                    character.to_string()
                }
                // Neither form can say it; of five digits it is read as a number.
                _ => format!("{value:05}"),
            },
            Self::String(value) => value.clone(),
            Self::Bytes(value) => base64::encode(value),
        }
    }

    /// Reads what [`MapValue::text`] writes of a value of that type.
    fn parse(kind: &str, text: &str) -> Result<Self, MapError> {
        fn number<T: std::str::FromStr>(text: &str, kind: &'static str) -> Result<T, MapError> {
            text.trim().parse().map_err(|_| MapError::Value {
                value: text.chars().take(VALUE_CHARS_SHOWN).collect(),
                kind,
            })
        }
        Ok(match kind {
            "null" => Self::Null,
            "boolean" => Self::Boolean(number(text, "boolean")?),
            "byte" => Self::Byte(number(text, "byte")?),
            "short" => Self::Short(number(text, "short")?),
            "int" => Self::Int(number(text, "int")?),
            "long" => Self::Long(number(text, "long")?),
            "float" => Self::Float(number(text, "float")?),
            "double" => Self::Double(number(text, "double")?),
            "char" => {
                let mut units = text.encode_utf16();
                match (units.next(), units.next()) {
                    (Some(unit), None) => Self::Char(unit),
                    _ => number(text, "char").map(Self::Char)?,
                }
            }
            "string" => Self::String(text.to_owned()),
            "byte-array" => {
                let bytes = base64::decode(text).ok_or_else(|| MapError::Value {
                    value: text.chars().take(VALUE_CHARS_SHOWN).collect(),
                    kind: "byte-array",
                })?;
                Self::Bytes(bytes)
            }
            other => return Err(MapError::Type(other.to_owned())),
        })
    }
}

/// Characters of a wrong value that an error shows.
const VALUE_CHARS_SHOWN: usize = 32;

/// A number as Java writes and reads it.
fn floating(value: &dyn std::fmt::Debug, is_infinite: bool) -> String {
    let text = format!("{value:?}");
    if is_infinite {
        text.replace("inf", "Infinity")
    } else {
        text
    }
}

/// Base64 with padding, for `byte-array`.
mod base64 {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

    pub(super) fn encode(bytes: &[u8]) -> String {
        let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
        for group in bytes.chunks(3) {
            let octet = |at: usize| u32::from(group.get(at).copied().unwrap_or(0));
            let bits = octet(0) << 16 | octet(1) << 8 | octet(2);
            for digit in 0..4 {
                if digit <= group.len() {
                    let value = bits >> (18 - 6 * digit) & 63;
                    text.push(char::from(DIGITS[value as usize]));
                } else {
                    text.push('=');
                }
            }
        }
        text
    }

    /// White space between digits passes, as serialisers break long lines.
    pub(super) fn decode(text: &str) -> Option<Vec<u8>> {
        let digits = text.bytes().filter(|octet| !octet.is_ascii_whitespace());
        let digits: Vec<u8> = digits.collect();
        if !digits.len().is_multiple_of(4) {
            return None;
        }
        let unpadded = digits.iter().rposition(|digit| *digit != b'=');
        let (digits, padding) = digits.split_at(unpadded.map_or(0, |last| last + 1));
        if padding.len() > 2 {
            return None;
        }
        let mut bytes = Vec::with_capacity(digits.len() * 3 / 4);
        for group in digits.chunks(4) {
            let mut bits = 0_u32;
            for digit in group {
                let value = DIGITS.iter().position(|known| known == digit)?;
                bits = bits << 6 | u32::try_from(value).ok()?;
            }
            bits <<= 6 * (4 - group.len());
            let octets = bits.to_be_bytes();
            bytes.extend_from_slice(&octets[1..group.len()]);
        }
        Some(bytes)
    }
}

#[cfg(test)]
mod tests;

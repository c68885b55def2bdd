//! [`Text`]: a string field of a command, a slice of the frame it came in; and [`Secret`], one that is not shown.

use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;

use super::utf::{self, Form, JavaStr};

/// A string in modified UTF-8, shared with the frame it was read from. Who keeps it longer than the frame calls
/// [`detached`](Self::detached), so that a few octets do not hold a whole read buffer.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct Text(Bytes);

impl Text {
    /// Checks `octets`.
    ///
    /// # Errors
    /// The offset of the first octet that is no modified UTF-8.
    pub fn read(octets: Bytes) -> Result<Self, usize> {
        match utf::check(&octets)? {
            Form::Canonical => Ok(Self(octets)),
            Form::RawNul => Ok(Self(utf::without_raw_nul(&octets).into())),
        }
    }

    /// Reads the form with one octet for each UTF-16 unit.
    pub(super) fn read_ascii(octets: Bytes) -> Self {
        if octets.is_ascii() && memchr::memchr(0, &octets).is_none() {
            Self(octets)
        } else {
            // Java does not write these, but reads them as what they say.
            Self(utf::from_latin1(&octets).into())
        }
    }

    /// The octets of the wire, without a length.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The characters; see [`JavaStr::to_str`].
    pub fn to_str(&self) -> Cow<'_, str> {
        utf::decode(&self.0)
    }

    /// The same, borrowed.
    pub fn as_java(&self) -> JavaStr<'_> {
        JavaStr::checked(&self.0)
    }

    /// Whether all units are in `01`…`7F`, so that the tight form may have one octet for each.
    pub fn is_ascii(&self) -> bool {
        // NUL is never one octet here.
        self.0.is_ascii()
    }

    /// A copy in memory of its size.
    #[must_use]
    pub fn detached(&self) -> Self {
        Self(Bytes::copy_from_slice(&self.0))
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        Self(Bytes::copy_from_slice(&utf::encode(text)))
    }
}

impl From<String> for Text {
    fn from(text: String) -> Self {
        let encoded = match utf::encode(&text) {
            Cow::Owned(octets) => Some(octets),
            Cow::Borrowed(_) => None,
        };
        Self(encoded.unwrap_or_else(|| text.into_bytes()).into())
    }
}

impl PartialEq<str> for Text {
    fn eq(&self, other: &str) -> bool {
        *self.0 == *utf::encode(other)
    }
}

impl PartialEq<&str> for Text {
    fn eq(&self, other: &&str) -> bool {
        self == *other
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.to_str(), f)
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_str())
    }
}

/// A text that is not to be shown: a password. Its octets are for those who ask for them by name.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(pub Text);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(not shown)")
    }
}

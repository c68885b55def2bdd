//! STOMP versions and their negotiation.

/// A version of the STOMP specification.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Version {
    /// STOMP 1.0: no escapes, values trimmed.
    #[default]
    V10,
    /// STOMP 1.1: escapes, heart-beats, NACK.
    V11,
    /// STOMP 1.2: CR LF line ends, `ack` header.
    V12,
}

/// What this implementation speaks, as the `version` header of an ERROR lists it (CON-5).
pub const SUPPORTED_VERSIONS: &str = "1.0,1.1,1.2";

impl Version {
    /// The number on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::V10 => "1.0",
            Self::V11 => "1.1",
            Self::V12 => "1.2",
        }
    }

    /// Reads one number. Spec: STOMP 1.2, Protocol Negotiation.
    pub fn from_number(number: &str) -> Option<Self> {
        match number {
            "1.0" => Some(Self::V10),
            "1.1" => Some(Self::V11),
            "1.2" => Some(Self::V12),
            _ => None,
        }
    }

    /// The highest version of a comma list of `accept-version` that we speak too.
    ///
    /// No header means 1.0, unknown numbers are ignored, items are trimmed one by one
    /// (ActiveMQ trims only the whole list and loses the second of `1.1, 1.2`). `None`:
    /// nothing in common, so ERROR and close. Rule CON-5.
    pub fn negotiate(accept_version: Option<&str>) -> Option<Self> {
        let Some(list) = accept_version else {
            return Some(Self::V10);
        };
        list.split(',')
            .filter_map(|item| Self::from_number(item.trim()))
            .max()
    }
}

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(accept_version: Option<&str>, expected: Option<Version>) {
        assert_eq!(
            Version::negotiate(accept_version),
            expected,
            "{accept_version:?}"
        );
    }

    #[test]
    fn the_highest_common_version_is_taken() {
        check(None, Some(Version::V10)); // C001
        check(Some("1.0"), Some(Version::V10)); // C002
        check(Some("1.0,1.1,1.2"), Some(Version::V12)); // C008
        check(Some("1.2,1.0"), Some(Version::V12)); // C009
        check(Some("1.1, 1.2 ,9.9"), Some(Version::V12)); // CON-5
        check(Some("9.0,10.1"), None); // C012
        check(Some(""), None);
        check(Some("1.10"), None);
    }
}

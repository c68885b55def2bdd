//! The units of the configuration: sizes, shares of the machine, times, heart-beats, log levels.
//!
//! - Each is a newtype, so that bytes and milliseconds cannot be confused.
//! - Each prints what it reads: `parse(to_string(x)) == x`.

use std::fmt;
use std::str::FromStr;

use serde::Deserialize;

use super::leaf::{Leaf, Literal, expected, quoted};

/// A number of bytes: `"64 MiB"`, `"10 MB"`, or a plain number of bytes.
///
/// `KiB MiB GiB TiB` are powers of 1024, `KB MB GB TB` powers of 1000; case and the space do not matter. ActiveMQ's
/// `mb` means 1024 × 1024: write `MiB` for the same size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ByteSize(u64);

/// Units from large to small, so that printing takes the largest that divides.
const SIZES: [(&str, u64); 9] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("KB", 1_000),
    ("B", 1),
];

impl ByteSize {
    /// A size of so many bytes.
    #[must_use]
    pub const fn from_bytes(bytes: u64) -> Self {
        Self(bytes)
    }

    /// A size of so many KiB.
    #[must_use]
    pub const fn from_kib(kib: u64) -> Self {
        Self(kib << 10)
    }

    /// A size of so many MiB.
    #[must_use]
    pub const fn from_mib(mib: u64) -> Self {
        Self(mib << 20)
    }

    /// The size in bytes.
    #[must_use]
    pub const fn bytes(self) -> u64 {
        self.0
    }

    /// The size in bytes for use in memory; what a 32-bit machine cannot address becomes its largest size.
    #[must_use]
    pub fn to_usize(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, bytes) = SIZES
            .into_iter()
            .find(|(_, bytes)| self.0 != 0 && self.0.is_multiple_of(*bytes))
            .unwrap_or(("B", 1));
        write!(out, "{} {name}", self.0 / bytes)
    }
}

impl FromStr for ByteSize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let refused = || expected::<Self>(&Literal::Text(text));
        let trimmed = text.trim();
        let digits = trimmed
            .bytes()
            .take_while(|byte| byte.is_ascii_digit() || *byte == b'_')
            .count();
        let (number, unit) = trimmed.split_at(digits);
        let number: u64 = number.replace('_', "").parse().map_err(|_| refused())?;
        let unit = match unit.trim() {
            "" => "B",
            unit => unit,
        };
        let (_, bytes) = SIZES
            .into_iter()
            .find(|(name, _)| name.eq_ignore_ascii_case(unit))
            .ok_or_else(refused)?;
        number.checked_mul(bytes).map(Self).ok_or_else(refused)
    }
}

impl Leaf for ByteSize {
    const EXPECTED: &'static str = "a size such as \"64 MiB\" or a number of bytes";

    fn read(literal: &Literal<'_>) -> Result<Self, String> {
        match literal {
            Literal::Text(text) => text.parse(),
            Literal::Integer(bytes) => u64::try_from(*bytes)
                .map(Self)
                .map_err(|_| expected::<Self>(literal)),
            other => Err(expected::<Self>(other)),
        }
    }

    fn to_toml(&self) -> String {
        quoted(&self.to_string())
    }
}

/// A size, or a share of what there is: `"1 GiB"` or `"25 %"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SizeOrPercent {
    /// So many bytes.
    Size(ByteSize),
    /// So many hundredths of the whole, 1 to 100.
    Percent(u8),
}

impl SizeOrPercent {
    /// The size in bytes where `total_bytes` is all there is. Never more than that.
    #[must_use]
    pub fn of(self, total_bytes: u64) -> u64 {
        match self {
            Self::Size(size) => size.0.min(total_bytes),
            Self::Percent(percent) => {
                let share = u128::from(total_bytes) * u128::from(percent.min(100)) / 100;
                u64::try_from(share).expect("a share is not more than the whole")
            }
        }
    }
}

impl fmt::Display for SizeOrPercent {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Size(size) => size.fmt(out),
            Self::Percent(percent) => write!(out, "{percent} %"),
        }
    }
}

impl Leaf for SizeOrPercent {
    const EXPECTED: &'static str = "a size such as \"1 GiB\" or a share from \"1 %\" to \"100 %\"";

    fn read(literal: &Literal<'_>) -> Result<Self, String> {
        let refused = |_| expected::<Self>(literal);
        match literal {
            Literal::Text(text) => match text.trim().strip_suffix('%') {
                Some(number) => match number.trim().parse() {
                    Ok(percent @ 1..=100) => Ok(Self::Percent(percent)),
                    _ => Err(expected::<Self>(literal)),
                },
                None => text.parse().map(Self::Size).map_err(refused),
            },
            other => ByteSize::read(other).map(Self::Size).map_err(refused),
        }
    }

    fn to_toml(&self) -> String {
        quoted(&self.to_string())
    }
}

/// A length of time: `"30s"`, `"1m 30s"`, `"250ms"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Duration(std::time::Duration);

impl Duration {
    /// A length of so many milliseconds.
    #[must_use]
    pub const fn from_millis(millis: u64) -> Self {
        Self(std::time::Duration::from_millis(millis))
    }

    /// The length as the standard library has it.
    #[must_use]
    pub const fn get(self) -> std::time::Duration {
        self.0
    }

    /// The length in whole milliseconds.
    #[must_use]
    pub fn as_millis(self) -> u64 {
        u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX)
    }

    /// Says if the length is nothing, which for most keys means "off".
    #[must_use]
    pub const fn is_zero(self) -> bool {
        self.0.is_zero()
    }
}

impl fmt::Display for Duration {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        humantime::format_duration(self.0).fmt(out)
    }
}

impl Leaf for Duration {
    const EXPECTED: &'static str = "a length of time with its unit such as \"30s\" or \"250ms\"";

    fn read(literal: &Literal<'_>) -> Result<Self, String> {
        match literal {
            Literal::Text(text) => humantime::parse_duration(text.trim())
                .map(Self)
                .map_err(|_| expected::<Self>(literal)),
            other => Err(expected::<Self>(other)),
        }
    }

    fn to_toml(&self) -> String {
        quoted(&self.to_string())
    }
}

/// The two numbers of a STOMP `heart-beat` header, `"0,0"` for none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct HeartBeat {
    /// The sender of the header can send something every so many milliseconds; 0: cannot.
    pub sends_ms: u32,
    /// The sender of the header wants something every so many milliseconds; 0: does not.
    pub wants_ms: u32,
}

impl fmt::Display for HeartBeat {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{},{}", self.sends_ms, self.wants_ms)
    }
}

impl Leaf for HeartBeat {
    const EXPECTED: &'static str = "two numbers of milliseconds such as \"10000,10000\"";

    fn read(literal: &Literal<'_>) -> Result<Self, String> {
        let Literal::Text(text) = literal else {
            return Err(expected::<Self>(literal));
        };
        let parts = text.split_once(',').and_then(|(sends, wants)| {
            Some(Self {
                sends_ms: sends.trim().parse().ok()?,
                wants_ms: wants.trim().parse().ok()?,
            })
        });
        parts.ok_or_else(|| expected::<Self>(literal))
    }

    fn to_toml(&self) -> String {
        quoted(&self.to_string())
    }
}

/// What is logged: a level, or a level per target: `"info"`, `"warn,ferrymq::stomp=debug"`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct LogFilter(String);

impl LogFilter {
    /// The filter as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for LogFilter {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(out)
    }
}

impl Leaf for LogFilter {
    const EXPECTED: &'static str = "off, error, warn, info, debug or trace, or one per target such as \"info,ferrymq::stomp=debug\"";

    fn read(literal: &Literal<'_>) -> Result<Self, String> {
        let Literal::Text(text) = literal else {
            return Err(expected::<Self>(literal));
        };
        // A bare word must be a level here: the filter itself would take a misspelt level for a target and be silent.
        let is_level = |word: &str| {
            ["off", "error", "warn", "info", "debug", "trace"]
                .iter()
                .any(|level| level.eq_ignore_ascii_case(word))
        };
        let is_target = |word: &str| {
            !word.is_empty()
                && word
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"_:".contains(&byte))
        };
        let well_formed = text
            .split(',')
            .map(str::trim)
            .all(|item| match item.split_once('=') {
                Some((target, level)) => is_target(target.trim()) && is_level(level.trim()),
                None => is_level(item),
            });
        if well_formed {
            Ok(Self(text.split_whitespace().collect()))
        } else {
            Err(expected::<Self>(literal))
        }
    }

    fn to_toml(&self) -> String {
        quoted(&self.0)
    }
}

/// How a line of the log looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LogFormat {
    /// One line of text for people.
    Human,
    /// One JSON object a line for machines.
    Json,
}

impl fmt::Display for LogFormat {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Human => "human",
            Self::Json => "json",
        })
    }
}

impl Leaf for LogFormat {
    const EXPECTED: &'static str = "\"human\" or \"json\"";

    fn read(literal: &Literal<'_>) -> Result<Self, String> {
        match literal {
            Literal::Text("human") => Ok(Self::Human),
            Literal::Text("json") => Ok(Self::Json),
            other => Err(expected::<Self>(other)),
        }
    }

    fn to_toml(&self) -> String {
        quoted(&self.to_string())
    }
}

/// Whether connections begin with a PROXY protocol header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ProxyProtocol {
    /// None do; one that does is refused as any other unknown command.
    Off,
    /// All do; one that does not is closed.
    Required,
}

impl fmt::Display for ProxyProtocol {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Off => "off",
            Self::Required => "required",
        })
    }
}

impl Leaf for ProxyProtocol {
    const EXPECTED: &'static str = "\"off\" or \"required\"";

    fn read(literal: &Literal<'_>) -> Result<Self, String> {
        match literal {
            Literal::Text("off") => Ok(Self::Off),
            Literal::Text("required") => Ok(Self::Required),
            other => Err(expected::<Self>(other)),
        }
    }

    fn to_toml(&self) -> String {
        quoted(&self.to_string())
    }
}

/// A value as serde may hand it over; read further by [`Leaf`].
#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum Written {
    Integer(i64),
    Text(String),
}

/// Lets serde read and write a unit through its [`Leaf`] and `Display`, so that there is one grammar for each.
macro_rules! serde_by_leaf {
    ($($unit:ty),*) => {$(
        impl serde::Serialize for $unit {
            fn serialize<S: serde::Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
                out.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $unit {
            fn deserialize<D: serde::Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
                $crate::config::units::Written::deserialize(input)?
                    .read()
                    .map_err(serde::de::Error::custom)
            }
        }
    )*};
}
pub(super) use serde_by_leaf;

impl Written {
    pub(super) fn read<T: Leaf>(&self) -> Result<T, String> {
        match self {
            Self::Integer(number) => T::read(&Literal::Integer(*number)),
            Self::Text(text) => T::read(&Literal::Text(text)),
        }
    }
}

serde_by_leaf!(
    ByteSize,
    SizeOrPercent,
    Duration,
    HeartBeat,
    LogFilter,
    LogFormat,
    ProxyProtocol
);

#[cfg(test)]
mod tests {
    use super::*;

    fn check<T: Leaf + PartialEq + fmt::Debug>(text: &str, value: &T) {
        assert_eq!(T::read(&Literal::Text(text)).as_ref(), Ok(value), "{text}");
    }

    fn refused<T: Leaf + PartialEq + fmt::Debug>(text: &str) {
        let refusal = T::read(&Literal::Text(text)).expect_err("it is not well formed");
        assert!(refusal.ends_with(&format!("found {:?}", text)), "{refusal}");
    }

    #[test]
    fn sizes() {
        for (text, bytes) in [
            ("0", Some(0)),
            ("17", Some(17)),
            ("1 B", Some(1)),
            ("64 MiB", Some(64 << 20)),
            ("64mib", Some(64 << 20)),
            ("10 MB", Some(10_000_000)),
            ("3KB", Some(3_000)),
            ("1_000 KiB", Some(1_024_000)),
            ("2 GiB", Some(2 << 30)),
            ("", None),
            ("MiB", None),
            ("1.5 MiB", None),
            ("-1", None),
            ("1 MiBs", None),
            ("99999999999 TiB", None),
        ] {
            match bytes {
                Some(bytes) => check(text, &ByteSize::from_bytes(bytes)),
                None => refused::<ByteSize>(text),
            }
        }
        assert_eq!(
            ByteSize::read(&Literal::Integer(5)),
            Ok(ByteSize::from_bytes(5))
        );
        assert!(ByteSize::read(&Literal::Float(0.5)).is_err());
    }

    #[test]
    fn sizes_print_in_the_largest_unit_that_is_exact() {
        for (bytes, text) in [
            (0, "0 B"),
            (1, "1 B"),
            (1024, "1 KiB"),
            (1536, "1536 B"),
            (101 << 20, "101 MiB"),
            (3_000, "3 KB"),
        ] {
            assert_eq!(ByteSize::from_bytes(bytes).to_string(), text);
            assert_eq!(text.parse(), Ok(ByteSize::from_bytes(bytes)));
        }
    }

    #[test]
    fn shares() {
        check("25 %", &SizeOrPercent::Percent(25));
        check("100%", &SizeOrPercent::Percent(100));
        check("1 GiB", &SizeOrPercent::Size(ByteSize::from_mib(1024)));
        refused::<SizeOrPercent>("0 %");
        refused::<SizeOrPercent>("101 %");
        refused::<SizeOrPercent>("%");
        assert_eq!(SizeOrPercent::Percent(25).of(8 << 30), 2 << 30);
        assert_eq!(SizeOrPercent::Percent(100).of(u64::MAX), u64::MAX);
        assert_eq!(
            SizeOrPercent::Size(ByteSize::from_mib(1)).of(2 << 20),
            1 << 20
        );
        assert_eq!(
            SizeOrPercent::Size(ByteSize::from_mib(4)).of(2 << 20),
            2 << 20
        );
    }

    #[test]
    fn times() {
        check("30s", &Duration::from_millis(30_000));
        check("1m 30s", &Duration::from_millis(90_000));
        check("0s", &Duration::default());
        refused::<Duration>("30");
        refused::<Duration>("soon");
        assert!(Duration::read(&Literal::Integer(30)).is_err());
        assert_eq!(Duration::from_millis(90_000).to_string(), "1m 30s");
    }

    #[test]
    fn heart_beats() {
        check("0,0", &HeartBeat::default());
        check(
            "100, 200",
            &HeartBeat {
                sends_ms: 100,
                wants_ms: 200,
            },
        );
        for wrong in ["0", "T,0", "100,10,50", "-1,0", ""] {
            refused::<HeartBeat>(wrong);
        }
    }

    proptest::proptest! {
        #[test]
        fn what_is_printed_reads_back(bytes: u64, percent in 1..=100_u8, millis: u64, sends_ms: u32, wants_ms: u32) {
            let size = ByteSize::from_bytes(bytes);
            check(&size.to_string(), &size);
            check(&size.to_string(), &SizeOrPercent::Size(size));
            check(&format!("{percent} %"), &SizeOrPercent::Percent(percent));
            let time = Duration::from_millis(millis);
            check(&time.to_string(), &time);
            check(&format!("{sends_ms},{wants_ms}"), &HeartBeat { sends_ms, wants_ms });
        }
    }

    #[test]
    fn a_misspelt_level_is_refused() {
        check("info", &LogFilter("info".to_owned()));
        check(
            "warn, ferrymq::stomp=debug",
            &LogFilter("warn,ferrymq::stomp=debug".to_owned()),
        );
        for wrong in ["inof", "", "info,", "ferrymq=loud", "=info"] {
            refused::<LogFilter>(wrong);
        }
    }
}

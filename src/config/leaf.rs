//! One value of the configuration, and how it is read.
//!
//! - [`Leaf`] is the only way from text to value: the file, the environment, the flags and the defaults all come
//!   through it, so they accept and refuse the same things with the same words.
//! - A refusal says what was expected and what was found. It never knows the key or the place: `check.rs` adds them.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

/// A value as it was written, before it has a type.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Literal<'a> {
    /// A string.
    Text(&'a str),
    /// A whole number.
    Integer(i64),
    /// A number with a fraction.
    Float(f64),
    /// `true` or `false`.
    Boolean(bool),
    /// An array of strings.
    Texts(&'a [&'a str]),
    /// Something no key takes (another array, a table, a date); the name of its type.
    Other(&'static str),
}

impl fmt::Display for Literal<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => write!(out, "\"{}\"", text.escape_debug()),
            Self::Integer(number) => write!(out, "{number}"),
            Self::Float(number) => write!(out, "{number}"),
            Self::Boolean(truth) => write!(out, "{truth}"),
            Self::Texts(texts) => write!(out, "{texts:?}"),
            Self::Other(name) => write!(out, "{name}"),
        }
    }
}

impl<'a> From<&'a str> for Literal<'a> {
    fn from(text: &'a str) -> Self {
        Self::Text(text)
    }
}

impl From<i64> for Literal<'_> {
    fn from(number: i64) -> Self {
        Self::Integer(number)
    }
}

impl From<f64> for Literal<'_> {
    fn from(number: f64) -> Self {
        Self::Float(number)
    }
}

impl From<bool> for Literal<'_> {
    fn from(truth: bool) -> Self {
        Self::Boolean(truth)
    }
}

/// A type a key can have.
pub trait Leaf: Sized {
    /// What a correct value looks like, as it stands after "expected".
    const EXPECTED: &'static str;

    /// Reads a value as it stands in a file.
    ///
    /// # Errors
    /// A sentence that says what was expected and what was found.
    fn read(literal: &Literal<'_>) -> Result<Self, String>;

    /// Reads a value where everything is text: the environment and the command line.
    ///
    /// # Errors
    /// As [`Leaf::read`].
    fn read_text(text: &str) -> Result<Self, String> {
        Self::read(&Literal::Text(text))
    }

    /// Writes the value as it stands in a file, so that [`Leaf::read`] gives it back.
    fn to_toml(&self) -> String;
}

/// The refusal of a value whose form is wrong.
pub(super) fn expected<T: Leaf>(found: &Literal<'_>) -> String {
    format!("expected {}, found {found}", T::EXPECTED)
}

/// A string as TOML writes it.
pub(super) fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}

impl Leaf for bool {
    const EXPECTED: &'static str = "true or false";

    fn read(literal: &Literal<'_>) -> Result<Self, String> {
        match literal {
            Literal::Boolean(truth) => Ok(*truth),
            other => Err(expected::<Self>(other)),
        }
    }

    fn read_text(text: &str) -> Result<Self, String> {
        text.trim()
            .parse()
            .map_err(|_| expected::<Self>(&Literal::Text(text)))
    }

    fn to_toml(&self) -> String {
        self.to_string()
    }
}

/// Whole numbers differ in nothing but their ends.
macro_rules! whole_numbers {
    ($($number:ty: $expected:literal;)*) => {$(
        impl Leaf for $number {
            const EXPECTED: &'static str = $expected;

            fn read(literal: &Literal<'_>) -> Result<Self, String> {
                match literal {
                    Literal::Integer(number) => Self::try_from(*number).map_err(|_| expected::<Self>(literal)),
                    other => Err(expected::<Self>(other)),
                }
            }

            fn read_text(text: &str) -> Result<Self, String> {
                text.trim().parse().map_err(|_| expected::<Self>(&Literal::Text(text)))
            }

            fn to_toml(&self) -> String {
                self.to_string()
            }
        }
    )*};
}
whole_numbers! {
    u32: "a whole number from 0 to 4294967295";
    i32: "a whole number from -2147483648 to 2147483647";
}

impl Leaf for f64 {
    const EXPECTED: &'static str = "a number such as 2.0";

    fn read(literal: &Literal<'_>) -> Result<Self, String> {
        match literal {
            Literal::Float(number) if number.is_finite() => Ok(*number),
            // Exact below 2^53; a factor that large is out of every range.
            Literal::Integer(number) => i32::try_from(*number)
                .map(Self::from)
                .map_err(|_| expected::<Self>(literal)),
            other => Err(expected::<Self>(other)),
        }
    }

    fn read_text(text: &str) -> Result<Self, String> {
        match text.trim().parse::<Self>() {
            Ok(number) if number.is_finite() => Ok(number),
            _ => Err(expected::<Self>(&Literal::Text(text))),
        }
    }

    fn to_toml(&self) -> String {
        format!("{self:?}")
    }
}

impl Leaf for String {
    const EXPECTED: &'static str = "a string";

    fn read(literal: &Literal<'_>) -> Result<Self, String> {
        match literal {
            Literal::Text(text) => Ok((*text).to_owned()),
            other => Err(expected::<Self>(other)),
        }
    }

    fn to_toml(&self) -> String {
        quoted(self)
    }
}

impl Leaf for Vec<String> {
    const EXPECTED: &'static str = "an array of strings such as [\"a\", \"b\"]";

    /// One string with commas will do too: the environment has nothing else.
    fn read(literal: &Literal<'_>) -> Result<Self, String> {
        let owned = |text: &str| text.trim().to_owned();
        let texts: Self = match literal {
            Literal::Texts(texts) => texts.iter().map(|text| owned(text)).collect(),
            Literal::Text("") => return Ok(Self::new()),
            Literal::Text(text) => text.split(',').map(owned).collect(),
            other => return Err(expected::<Self>(other)),
        };
        if texts.iter().any(String::is_empty) {
            return Err(format!("{}, none of them empty", expected::<Self>(literal)));
        }
        Ok(texts)
    }

    fn to_toml(&self) -> String {
        let texts: Vec<String> = self.iter().map(|text| quoted(text)).collect();
        format!("[{}]", texts.join(", "))
    }
}

impl Leaf for PathBuf {
    const EXPECTED: &'static str = "a path such as \"data\"";

    fn read(literal: &Literal<'_>) -> Result<Self, String> {
        match literal {
            Literal::Text("") => Err(expected::<Self>(literal)),
            Literal::Text(text) => Ok(Self::from(text)),
            other => Err(expected::<Self>(other)),
        }
    }

    fn to_toml(&self) -> String {
        quoted(&self.to_string_lossy())
    }
}

impl Leaf for SocketAddr {
    const EXPECTED: &'static str = "a numeric address and port such as \"127.0.0.1:61613\"";

    fn read(literal: &Literal<'_>) -> Result<Self, String> {
        match literal {
            Literal::Text(text) => text.trim().parse().map_err(|_| expected::<Self>(literal)),
            other => Err(expected::<Self>(other)),
        }
    }

    fn to_toml(&self) -> String {
        quoted(&self.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round<T: Leaf + PartialEq + fmt::Debug>(value: &T) {
        let document = format!("x = {}", value.to_toml());
        let table: toml::Table = document.parse().expect("toml");
        let texts: Vec<&str>;
        let literal = match &table["x"] {
            toml::Value::Array(array) => {
                texts = array.iter().filter_map(toml::Value::as_str).collect();
                Literal::Texts(&texts)
            }
            toml::Value::String(text) => Literal::Text(text),
            toml::Value::Integer(number) => Literal::Integer(*number),
            toml::Value::Float(number) => Literal::Float(*number),
            toml::Value::Boolean(truth) => Literal::Boolean(*truth),
            other => panic!("{other}"),
        };
        assert_eq!(T::read(&literal).as_ref(), Ok(value));
    }

    #[test]
    fn what_is_written_reads_back() {
        round(&true);
        round(&7_u32);
        round(&2.0_f64);
        round(&"a \"quoted\"\nname".to_owned());
        round(&Vec::<String>::new());
        round(&vec!["a, \"b\"".to_owned(), "c".to_owned()]);
        round(&PathBuf::from("some where/data"));
        round(&SocketAddr::from(([127, 0, 0, 1], 61613)));
    }

    #[test]
    fn a_refusal_names_what_was_expected_and_found() {
        assert_eq!(
            SocketAddr::read(&Literal::Integer(61613)),
            Err(
                "expected a numeric address and port such as \"127.0.0.1:61613\", found 61613"
                    .to_owned()
            )
        );
        assert_eq!(
            bool::read(&Literal::Text("yes")),
            Err("expected true or false, found \"yes\"".to_owned())
        );
        assert_eq!(bool::read_text("true"), Ok(true));
        assert_eq!(
            Vec::<String>::read_text("a, b").as_deref(),
            Ok(&["a".to_owned(), "b".to_owned()][..])
        );
        assert!(Vec::<String>::read_text("a,,b").is_err());
        assert!(u32::read(&Literal::Integer(-1)).is_err());
        assert!(f64::read_text("inf").is_err());
    }
}

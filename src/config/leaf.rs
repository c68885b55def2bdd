//! One value of the configuration, and how it is read.
//!
//! - [`Leaf`] is the only way from text to value: the file, the environment, the flags and the defaults all come
//!   through it, so they accept and refuse the same things with the same words.
//! - A refusal says what was expected and what was found. It never knows the key or the place: `check.rs` adds them.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

/// A value as it was written, before it has a type.
#[derive(Debug, Clone, Copy)]
pub enum Literal<'a> {
    /// A string.
    Text(&'a str),
    /// A whole number.
    Integer(i64),
    /// A number with a fraction.
    Float(f64),
    /// `true` or `false`.
    Boolean(bool),
    /// A list.
    Array(&'a DeArray<'a>),
    /// A table.
    Table(&'a DeTable<'a>),
    /// Something no key takes (a date, a number beyond all bounds); the name of its type.
    Other(&'static str),
}

impl fmt::Display for Literal<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => write!(out, "\"{}\"", text.escape_debug()),
            Self::Integer(number) => write!(out, "{number}"),
            Self::Float(number) => write!(out, "{number}"),
            Self::Boolean(truth) => write!(out, "{truth}"),
            Self::Array(_) => out.write_str("an array"),
            Self::Table(_) => out.write_str("a table"),
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

impl<'a> Literal<'a> {
    /// A value of a file.
    pub(super) fn of(value: &'a Spanned<DeValue<'_>>) -> Self {
        match value.get_ref() {
            DeValue::String(text) => Self::Text(text),
            DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
                .map_or(Self::Other("a number that is too large"), Self::Integer),
            DeValue::Float(number) => number
                .as_str()
                .parse()
                .map_or(Self::Other("a number that is too large"), Self::Float),
            DeValue::Boolean(truth) => Self::Boolean(*truth),
            DeValue::Datetime(_) => Self::Other("a date or time"),
            DeValue::Array(items) => Self::Array(items),
            DeValue::Table(table) => Self::Table(table),
        }
    }
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

/// A list: in a file `["a", "b"]`; as text, and where there is one item only, `a, b`.
impl<T: Leaf> Leaf for Vec<T> {
    const EXPECTED: &'static str = "a list such as [\"a\", \"b\"]";

    fn read(literal: &Literal<'_>) -> Result<Self, String> {
        match literal {
            Literal::Text(text) => text
                .split(',')
                .map(str::trim)
                .filter(|item| !item.is_empty())
                .map(T::read_text)
                .collect(),
            Literal::Array(items) => items
                .iter()
                .map(|item| T::read(&Literal::of(item)))
                .collect(),
            other => Err(expected::<Self>(other)),
        }
    }

    fn to_toml(&self) -> String {
        let items: Vec<String> = self.iter().map(Leaf::to_toml).collect();
        format!("[{}]", items.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round<T: Leaf + PartialEq + fmt::Debug>(value: &T) {
        let document = format!("x = {}", value.to_toml());
        let table: toml::Table = document.parse().expect("toml");
        let literal = match &table["x"] {
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
        round(&PathBuf::from("some where/data"));
        round(&SocketAddr::from(([127, 0, 0, 1], 61613)));
    }

    #[test]
    fn a_list_comes_from_a_file_or_as_text() {
        let document = DeTable::parse("x = [\"a\", \"b\"]\ny = [1]").expect("toml");
        let read = |key| Vec::<String>::read(&Literal::of(&document.get_ref()[key]));
        assert_eq!(read("x"), Ok(vec!["a".to_owned(), "b".to_owned()]));
        assert_eq!(read("y"), Err("expected a string, found 1".to_owned()));
        let both = vec!["a".to_owned(), "b".to_owned()];
        assert_eq!(Vec::<String>::read_text(" a, b "), Ok(both.clone()));
        assert_eq!(Vec::<String>::read_text(""), Ok(Vec::new()));
        assert!(Vec::<String>::read(&Literal::Integer(1)).is_err());
        assert_eq!(both.to_toml(), "[\"a\", \"b\"]");
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
        assert!(u32::read(&Literal::Integer(-1)).is_err());
        assert!(f64::read_text("inf").is_err());
    }
}

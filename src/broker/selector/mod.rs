//! Selectors: conditions on headers and properties that choose messages (SEL-1 to SEL-8).
//!
//! A selector is compiled once, where a consumer subscribes, and evaluated for each message. What a message
//! says is asked of a [`PropertySource`], which its wire implements, and only for names that occur.
//!
//! - Evaluation allocates nothing, unless `+` joins two strings or a source has to unescape.
//! - Nothing in a text costs more than its length: nesting, terms, patterns and the text itself are bounded.
//! - Logic has three values: a property that is not there is NULL, and only TRUE selects (SEL-3).

mod ast;
mod error;
mod evaluate;
mod header;
mod lex;
mod like;
mod parse;
mod values;

pub use error::SelectorError;
pub use header::Header;
pub use values::Value;

use evaluate::Context;

/// What a selector begins with if it converts strings whatever its options say (SEL-4).
pub const CONVERT_PREFIX: &str = "convert_string_expressions:";

/// How values are compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SelectorOptions {
    /// Strings that meet a number or a boolean are read as one, because the properties of STOMP are all strings
    /// (SEL-4).
    pub convert_strings: bool,
}

/// What a selector asks of a message. `None` is NULL.
pub trait PropertySource {
    /// A user property by its case-sensitive name.
    fn property(&self, name: &str) -> Option<Value<'_>>;
    /// One of the headers with a meaning of their own.
    fn header(&self, header: Header) -> Option<Value<'_>>;
}

/// A compiled selector.
#[derive(Clone, Debug)]
pub struct Selector {
    root: ast::Expr,
    options: SelectorOptions,
}

impl Selector {
    /// Compiles `text`, which may begin with [`CONVERT_PREFIX`].
    ///
    /// # Errors
    /// If `text` is no selector or beyond the bounds: where, and what was expected (SEL-8).
    pub fn parse(text: &str, mut options: SelectorOptions) -> Result<Self, SelectorError> {
        let behind_prefix = text.strip_prefix(CONVERT_PREFIX);
        options.convert_strings |= behind_prefix.is_some();
        let text = behind_prefix.unwrap_or(text);
        let root = parse::parse(text, options)?;
        Ok(Self { root, options })
    }

    /// Whether the message behind `source` is selected.
    #[must_use]
    pub fn matches<S: PropertySource + ?Sized>(&self, source: &S) -> bool {
        let context = Context {
            source,
            convert: self.options.convert_strings,
        };
        self.root.truth(&context) == Some(true)
    }
}

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;

//! Why a text is no selector, in one line.

use std::fmt;

/// A selector that does not compile (SEL-8).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SelectorError {
    /// The first character that is wrong, counted from 1; one past the last if the text ends too soon.
    pub position: usize,
    /// What is wrong there, or what was expected.
    pub problem: String,
}

impl SelectorError {
    /// A problem at the octet `at` of `text`.
    pub(super) fn new(text: &str, at: usize, problem: impl Into<String>) -> Self {
        let before = text.get(..at).unwrap_or(text);
        Self {
            position: before.chars().count() + 1,
            problem: problem.into(),
        }
    }
}

impl fmt::Display for SelectorError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { position, problem } = self;
        write!(f, "invalid selector at character {position}: {problem}")
    }
}

impl std::error::Error for SelectorError {}

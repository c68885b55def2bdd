//! LIKE patterns: `%` stands for any run, `_` for one character, line breaks included (SEL-5).

use memchr::memmem;

/// A pattern of LIKE, ready to be matched.
#[derive(Clone, Debug)]
pub(super) enum Pattern {
    /// No wildcard.
    Exact(Box<str>),
    /// `text%`
    Prefix(Box<str>),
    /// `%text`
    Suffix(Box<str>),
    /// `%text%`
    Contains(Box<str>),
    /// Anything else.
    General(Box<[Piece]>),
}

/// A part of a pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Piece {
    Literal(char),
    AnyOne,
    AnyRun,
}

impl Pattern {
    /// Compiles `text`; a wildcard behind `escape` stands for itself.
    pub(super) fn compile(text: &str, escape: Option<char>) -> Self {
        let mut pieces = Vec::new();
        let mut characters = text.chars();
        while let Some(character) = characters.next() {
            let piece = match character {
                _ if Some(character) == escape => {
                    Piece::Literal(characters.next().unwrap_or(character))
                }
                '%' if pieces.last() == Some(&Piece::AnyRun) => continue,
                '%' => Piece::AnyRun,
                '_' => Piece::AnyOne,
                _ => Piece::Literal(character),
            };
            pieces.push(piece);
        }
        let run_before = pieces.first() == Some(&Piece::AnyRun);
        let run_behind = pieces.last() == Some(&Piece::AnyRun);
        let mut inner = pieces.as_slice();
        if run_before {
            inner = &inner[1..];
        }
        if run_behind && !inner.is_empty() {
            inner = &inner[..inner.len() - 1];
        }
        match (literal(inner), run_before, run_behind) {
            (None, ..) => Self::General(pieces.into()),
            (Some(text), false, false) => Self::Exact(text),
            (Some(text), false, true) => Self::Prefix(text),
            (Some(text), true, false) => Self::Suffix(text),
            (Some(text), true, true) => Self::Contains(text),
        }
    }

    /// Whether the whole of `text` is like this.
    pub(super) fn matches(&self, text: &str) -> bool {
        match self {
            Self::Exact(wanted) => text == &**wanted,
            Self::Prefix(wanted) => text.starts_with(&**wanted),
            Self::Suffix(wanted) => text.ends_with(&**wanted),
            Self::Contains(wanted) => memmem::find(text.as_bytes(), wanted.as_bytes()).is_some(),
            Self::General(pieces) => matches_pieces(pieces, text),
        }
    }
}

fn literal(pieces: &[Piece]) -> Option<Box<str>> {
    let character = |piece: &Piece| match piece {
        Piece::Literal(character) => Some(*character),
        Piece::AnyOne | Piece::AnyRun => None,
    };
    let text: Option<String> = pieces.iter().map(character).collect();
    text.map(String::into_boxed_str)
}

/// Matches greedily; where it fails, only the last run is made longer, since an earlier one could not do
/// better.
fn matches_pieces(pieces: &[Piece], text: &str) -> bool {
    let (mut piece, mut rest) = (0, text);
    let mut last_run: Option<(usize, &str)> = None;
    loop {
        let mut after = rest.chars();
        let next = after.next();
        match (pieces.get(piece), next) {
            (None, None) => return true,
            (Some(Piece::AnyRun), _) => {
                piece += 1;
                last_run = Some((piece, rest));
                continue;
            }
            (Some(Piece::AnyOne), Some(_)) => {
                (piece, rest) = (piece + 1, after.as_str());
                continue;
            }
            (Some(Piece::Literal(wanted)), Some(found)) if *wanted == found => {
                (piece, rest) = (piece + 1, after.as_str());
                continue;
            }
            _ => {}
        }
        let Some((behind_run, from)) = last_run else {
            return false;
        };
        let mut from = from.chars();
        if from.next().is_none() {
            return false;
        }
        (piece, rest) = (behind_run, from.as_str());
        last_run = Some((behind_run, rest));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards_and_escapes() {
        let check = |pattern: &str, escape: Option<char>, text: &str, expected: bool| {
            let compiled = Pattern::compile(pattern, escape);
            assert_eq!(compiled.matches(text), expected, "{pattern:?} {text:?}");
        };
        check("a_%", None, "abc", true);
        check("a_%", None, "a", false);
        check("12%3", None, "12993", true);
        check("12%3", None, "1234", false);
        check("l_se", None, "lüse", true);
        check("%a%", None, "bab", true);
        check("%a_c%a", None, "aabacxabca", true);
        check("a%c", None, "a\nb\nc", true);
        check("a_c", None, "a\nc", true);
        check("", None, "", true);
        check("", None, "a", false);
        check("%", None, "", true);
        check("%%", None, "x", true);
        check("\\_%", Some('\\'), "_foo", true);
        check("\\_%", Some('\\'), "bar", false);
        check("a!%", Some('!'), "a%", true);
        check("a!%", Some('!'), "ab", false);
        check("a!!", Some('!'), "a!", true);
        check("a!", Some('!'), "a!", true);
        check("Ab%", None, "abc", false);
    }
}

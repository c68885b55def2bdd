//! Patterns over destination names: `*` is one level, `>` the rest (DST-5).
//!
//! - A level counts only as a whole: `a.b*` is a plain name.
//! - `a.b.>` matches `a.b` itself and all below it; `>` alone matches every name.
//! - Of two patterns that match the same name and are not the same, one is more specific: [`Specificity`] is a total
//!   order there, and what matches fewer names is above what matches more.
//!
//! Which kind of destination a pattern is for (queues, topics) is the business of whoever keeps it.

use std::fmt;

/// What separates levels and which words are wildcards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Syntax {
    /// A character that separates levels as `.` does (`path_separator`).
    pub separator: Option<char>,
    /// `#` means what `>` means (`wildcard_style = "artemis"`, DST-6).
    pub hash_is_rest: bool,
}

impl Syntax {
    fn levels(self, name: &str) -> impl Iterator<Item = &str> {
        name.split(move |c| c == '.' || Some(c) == self.separator)
    }

    fn is_rest(self, level: &str) -> bool {
        level == ">" || (self.hash_is_rest && level == "#")
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Level {
    /// Exactly this.
    Literal(Box<str>),
    /// `*`: whatever it is.
    Any,
}

/// A destination name that may hold wildcards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    text: Box<str>,
    syntax: Syntax,
    levels: Box<[Level]>,
    /// Ends in `>`.
    has_rest: bool,
}

/// Why a text is no pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PatternError {
    /// There is nothing in it.
    Empty,
    /// `>` stands before the last level, where it could mean several things.
    RestNotLast,
}

impl fmt::Display for PatternError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "a destination pattern cannot be empty",
            Self::RestNotLast => {
                "the wildcard \">\" can only be the last level; \"*\" stands for one level"
            }
        })
    }
}

impl std::error::Error for PatternError {}

/// How specific a pattern is; the greater one wins where several match.
///
/// More literal levels first, then more `*`, then no `>`, then the earlier literal levels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Specificity {
    literals: usize,
    any: usize,
    is_bounded: bool,
    /// A bit for each literal level, the first level highest; levels beyond 64 are not told apart.
    places: u64,
}

impl Pattern {
    /// Reads a pattern in the default syntax: `.` separates, `*` and `>` are wildcards.
    ///
    /// # Errors
    /// If it is empty, or `>` stands before the last level.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        Self::parse_with(text, Syntax::default())
    }

    /// Reads a pattern; names are later split by the same `syntax`.
    ///
    /// # Errors
    /// As [`Pattern::parse`].
    pub fn parse_with(text: &str, syntax: Syntax) -> Result<Self, PatternError> {
        if text.is_empty() {
            return Err(PatternError::Empty);
        }
        let mut levels = Vec::new();
        let mut has_rest = false;
        for level in syntax.levels(text) {
            if has_rest {
                return Err(PatternError::RestNotLast);
            }
            if syntax.is_rest(level) {
                has_rest = true;
            } else if level == "*" {
                levels.push(Level::Any);
            } else {
                levels.push(Level::Literal(level.into()));
            }
        }
        Ok(Self {
            text: text.into(),
            syntax,
            levels: levels.into(),
            has_rest,
        })
    }

    /// Whether the pattern matches `name`, a plain destination name.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        let mut names = self.syntax.levels(name);
        let levels = self.levels.iter().all(|level| match (level, names.next()) {
            (Level::Literal(literal), Some(found)) => &**literal == found,
            (Level::Any, found) => found.is_some(),
            (Level::Literal(_), None) => false,
        });
        levels && (self.has_rest || names.next().is_none())
    }

    /// Whether every name that `other` matches is one that this pattern matches too. Both are read in the same syntax.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        let mut theirs = other.levels.iter();
        let alike = self
            .levels
            .iter()
            .all(|level| match (level, theirs.next()) {
                (Level::Literal(literal), Some(Level::Literal(found))) => literal == found,
                (Level::Any, found) => found.is_some(),
                (Level::Literal(_), _) => false,
            });
        let rest = theirs.next().is_some() || other.has_rest;
        // A name has at least one level, so `*.>` is all of them.
        let all = other.levels.is_empty() && *self.levels == [Level::Any];
        self.has_rest && (alike || all) || alike && !rest
    }

    /// How specific the pattern is, for comparison with others that match the same name.
    #[must_use]
    pub fn specificity(&self) -> Specificity {
        let is_literal = |level: &Level| matches!(level, Level::Literal(_));
        let literals = self.levels.iter().filter(|level| is_literal(level)).count();
        let places = self
            .levels
            .iter()
            .take(64)
            .enumerate()
            .filter(|(_, level)| is_literal(level))
            .fold(0, |places, (at, _)| places | 1 << (63 - at));
        Specificity {
            literals,
            any: self.levels.len() - literals,
            is_bounded: !self.has_rest,
            places,
        }
    }

    /// Whether the pattern can match more than the one name it is written as.
    #[must_use]
    pub fn is_wildcard(&self) -> bool {
        self.has_rest || self.levels.contains(&Level::Any)
    }

    /// Whether it matches every name.
    #[must_use]
    pub fn is_everything(&self) -> bool {
        self.levels.is_empty() && self.has_rest
    }

    /// The pattern as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pattern(text: &str) -> Pattern {
        Pattern::parse(text).expect("a pattern")
    }

    #[test]
    fn wildcards_stand_for_whole_levels() {
        for (text, yes, no) in [
            (">", &["a", "a.b", ""][..], &[][..]),
            ("*", &["a", ""], &["a.b"]),
            ("a.b", &["a.b"], &["a", "a.b.c", "A.b", "a/b"]),
            ("a.*", &["a.b", "a."], &["a", "a.b.c", "b.a"]),
            ("a.*.c", &["a.b.c"], &["a.b", "a.b.d", "a.b.c.d"]),
            (
                "a.b.>",
                &["a.b", "a.b.c", "a.b.c.d"],
                &["a", "a.bc", "b.a.b"],
            ),
            ("*.>", &["a", "a.b"], &[]),
            ("a.b*", &["a.b*"], &["a.bc"]),
            ("a>.b", &["a>.b"], &["ac.b", "a>"]),
            ("a.#", &["a.#"], &["a", "a.b"]),
        ] {
            for name in yes {
                assert!(pattern(text).matches(name), "{text} {name}");
            }
            for name in no {
                assert!(!pattern(text).matches(name), "{text} {name}");
            }
        }
    }

    #[test]
    fn another_separator_is_equal_to_the_dot() {
        let syntax = Syntax {
            separator: Some('/'),
            ..Syntax::default()
        };
        let pattern = Pattern::parse_with("a/*.c", syntax).expect("a pattern");
        assert!(pattern.matches("a.b/c") && pattern.matches("a/b.c"));
        assert!(!pattern.matches("a/b"));
    }

    #[test]
    fn artemis_writes_the_rest_as_a_hash() {
        let syntax = Syntax {
            hash_is_rest: true,
            ..Syntax::default()
        };
        let pattern = Pattern::parse_with("a.#", syntax).expect("a pattern");
        assert!(pattern.is_wildcard() && pattern.matches("a") && pattern.matches("a.b.c"));
        assert_eq!(
            Pattern::parse_with("#.a", syntax),
            Err(PatternError::RestNotLast)
        );
    }

    #[test]
    fn what_is_no_pattern() {
        assert_eq!(Pattern::parse(""), Err(PatternError::Empty));
        assert_eq!(Pattern::parse("a.>.b"), Err(PatternError::RestNotLast));
        assert!(!pattern("a.b").is_wildcard());
        assert_eq!(pattern("a.*").to_string(), "a.*");
    }

    #[test]
    fn specific_before_general() {
        for (general, specific) in [
            (">", "a.>"),
            ("a.>", "a.*"),
            ("a.*", "a.b"),
            ("a.>", "a"),
            ("a.b.>", "a.b"),
            ("*.b.c", "a.*.c"),
        ] {
            assert!(
                pattern(general).specificity() < pattern(specific).specificity(),
                "{general} {specific}"
            );
        }
    }

    /// Levels of few letters, so that patterns and names often meet.
    fn name() -> impl Strategy<Value = Vec<&'static str>> {
        prop::collection::vec(prop::sample::select(vec!["a", "b", "c", ""]), 1..5)
    }

    fn pattern_text() -> impl Strategy<Value = String> {
        let level = prop::sample::select(vec!["a", "b", "c", "*", "*"]);
        (prop::collection::vec(level, 0..4), any::<bool>()).prop_map(|(mut levels, rest)| {
            if rest || levels.is_empty() {
                levels.push(">");
            }
            levels.join(".")
        })
    }

    #[test]
    fn covering_is_told_by_levels_whatever_separates_them() {
        let syntax = Syntax {
            separator: Some('/'),
            hash_is_rest: true,
        };
        let covers = |one: &str, other: &str| {
            let read = |text| Pattern::parse_with(text, syntax).expect("a pattern");
            read(one).covers(&read(other))
        };
        for (one, yes, no) in [
            (
                "a.>",
                &["a/>", "a.#", "a", "a/b", "a.*", "a/*/c.>"][..],
                &["#", "*", "b", "*.a"][..],
            ),
            ("a.*", &["a/b", "a/*"], &["a.>", "a", "a/#", "a.*.*"]),
            (">", &["#", "a", "*", "*.>"], &[]),
            ("*.>", &[">", "#", "a"], &[]),
            ("a", &["a"], &["a.>", "a.#", "*", ">"]),
        ] {
            for other in yes {
                assert!(covers(one, other), "{one} {other}");
            }
            for other in no {
                assert!(!covers(one, other), "{one} {other}");
            }
        }
    }

    /// The rule again, by recursion over levels.
    fn naive(pattern: &[&str], name: &[&str]) -> bool {
        match (pattern, name) {
            ([">"], _) | ([], []) => true,
            ([first, pattern @ ..], [found, name @ ..]) => {
                (*first == "*" || first == found) && naive(pattern, name)
            }
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn matching_is_level_by_level(text in pattern_text(), name in name()) {
            let levels: Vec<&str> = text.split('.').collect();
            prop_assert_eq!(pattern(&text).matches(&name.join(".")), naive(&levels, &name), "{} {:?}", text, name);
        }

        #[test]
        fn a_plain_name_matches_itself_alone(one in name(), other in name()) {
            let (one, other) = (one.join("."), other.join("."));
            prop_assume!(!one.is_empty());
            prop_assert!(!pattern(&one).is_wildcard());
            prop_assert_eq!(pattern(&one).matches(&other), one == other);
        }

        #[test]
        fn what_covers_matches_all_that_is_covered(one in pattern_text(), other in pattern_text(), names in prop::collection::vec(name(), 1..20)) {
            if pattern(&one).covers(&pattern(&other)) {
                for name in names {
                    let name = name.join(".");
                    prop_assert!(!pattern(&other).matches(&name) || pattern(&one).matches(&name), "{one} {other} {name}");
                }
            }
        }

        /// Making a pattern narrower makes it more specific.
        #[test]
        fn narrower_is_more_specific(text in pattern_text(), letter in "[abc]") {
            let wide = pattern(&text);
            let mut narrower = Vec::new();
            if let Some((head, ">")) = text.rsplit_once('.') {
                narrower.extend([head.to_owned(), format!("{head}.*"), format!("{head}.*.>"), format!("{head}.{letter}.>")]);
            }
            let levels: Vec<&str> = text.split('.').collect();
            for at in (0..levels.len()).filter(|at| levels[*at] == "*") {
                let mut levels = levels.clone();
                levels[at] = &letter;
                narrower.push(levels.join("."));
            }
            for narrow in narrower {
                prop_assert!(pattern(&narrow).specificity() > wide.specificity(), "{} {}", narrow, text);
            }
        }

        /// Of patterns that match one name only equal ones are equally specific.
        #[test]
        fn the_choice_is_never_open(name in name(), one in mask(), other in mask()) {
            let text = name.join(".");
            let (one, other) = (pattern(&masked(&name, &one)), pattern(&masked(&name, &other)));
            prop_assert!(one.matches(&text) && other.matches(&text), "{one} {other} {text}");
            prop_assert_eq!(one.specificity() == other.specificity(), one == other, "{} {}", one, other);
        }
    }

    /// Which levels become `*`, and where the rest begins.
    fn mask() -> impl Strategy<Value = (Vec<bool>, Option<usize>)> {
        (
            prop::collection::vec(any::<bool>(), 5),
            prop::option::of(0..5_usize),
        )
    }

    /// A pattern that matches `name`.
    fn masked(name: &[&str], (any, rest): &(Vec<bool>, Option<usize>)) -> String {
        let kept = rest.map_or(name.len(), |rest| rest.min(name.len()));
        let mut levels: Vec<&str> = name[..kept]
            .iter()
            .zip(any)
            .map(|(level, any)| if *any { "*" } else { level })
            .collect();
        if rest.is_some() || levels == [""] {
            levels.push(">");
        }
        levels.join(".")
    }
}

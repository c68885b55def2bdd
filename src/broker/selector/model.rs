//! Selectors against an obvious evaluator: random trees are rendered to text, compiled, and both must agree.
//!
//! The evaluator here shares nothing with the real one: it walks the tree that made the text, and counts in `f64`,
//! which is exact for the small numbers used.

use std::collections::HashMap;

use proptest::prelude::*;

use super::*;

/// A random tree; conditions and values are one type, as in the language.
#[derive(Clone, Debug)]
enum Tree {
    Null,
    Bool(bool),
    Int(i32),
    Quarters(i32),
    Text(&'static str),
    Name(usize),
    Negate(Box<Tree>),
    Calculate(char, Box<Tree>, Box<Tree>),
    Compare(&'static str, Box<Tree>, Box<Tree>),
    Between(bool, Box<Tree>, Box<Tree>, Box<Tree>),
    In(bool, usize, Vec<&'static str>),
    Like(bool, Box<Tree>, &'static str),
    IsNull(bool, Box<Tree>),
    Not(Box<Tree>),
    And(Box<Tree>, Box<Tree>),
    Or(Box<Tree>, Box<Tree>),
}

const NAMES: [&str; 5] = ["a", "b_1", "$c", "x-type", "JMSPriority"];
const TEXTS: [&str; 8] = ["", "EU", "it's", "12", "-2.5", "true", "False", "a%b\n"];
const PATTERNS: [&str; 6] = ["%", "E_", "%t's", "1%", "_%_", "EU"];
const COMPARISONS: [&str; 6] = ["=", "<>", "<", "<=", ">", ">="];

/// Makes trees from a tape of numbers, so that what fails can shrink.
struct Maker<'t> {
    tape: std::slice::Iter<'t, u16>,
}

impl Maker<'_> {
    fn next(&mut self, below: usize) -> usize {
        usize::from(self.tape.next().copied().unwrap_or(0)) % below
    }

    fn flag(&mut self) -> bool {
        self.next(2) == 1
    }

    fn int(&mut self) -> i32 {
        i32::try_from(self.next(25)).unwrap() - 4
    }

    /// Something that may stand where a condition is wanted.
    fn condition(&mut self, depth: usize) -> Tree {
        if depth == 0 {
            return match self.next(4) {
                0 => Tree::Bool(self.flag()),
                1 => Tree::Null,
                _ => Tree::Name(self.next(NAMES.len())),
            };
        }
        let depth = depth - 1;
        match self.next(12) {
            0 | 1 => Tree::And(self.condition(depth).into(), self.condition(depth).into()),
            2 | 3 => Tree::Or(self.condition(depth).into(), self.condition(depth).into()),
            4 => Tree::Not(self.condition(depth).into()),
            5 => Tree::IsNull(self.flag(), self.value(depth).into()),
            6 => Tree::Like(
                self.flag(),
                self.value(depth).into(),
                PATTERNS[self.next(6)],
            ),
            7 => {
                let list = (0..=self.next(3)).map(|_| TEXTS[self.next(8)]).collect();
                Tree::In(self.flag(), self.next(NAMES.len()), list)
            }
            8 => {
                let (value, low) = (self.ordered(depth).into(), self.ordered(depth).into());
                Tree::Between(self.flag(), value, low, self.ordered(depth).into())
            }
            9 | 10 => {
                let comparison = COMPARISONS[self.next(6)];
                Tree::Compare(
                    comparison,
                    self.ordered(depth).into(),
                    self.ordered(depth).into(),
                )
            }
            _ => {
                let comparison = COMPARISONS[self.next(2)];
                Tree::Compare(
                    comparison,
                    self.value(depth).into(),
                    self.value(depth).into(),
                )
            }
        }
    }

    /// Any value.
    fn value(&mut self, depth: usize) -> Tree {
        match self.next(8) {
            0 => Tree::Text(TEXTS[self.next(8)]),
            1 if depth > 0 => self.condition(depth - 1),
            2 if depth > 0 => Tree::Calculate(
                '+',
                self.value(depth - 1).into(),
                self.value(depth - 1).into(),
            ),
            3 => Tree::Bool(self.flag()),
            _ => self.ordered(depth),
        }
    }

    /// A value that may be less or greater than another.
    fn ordered(&mut self, depth: usize) -> Tree {
        match self.next(if depth == 0 { 6 } else { 9 }) {
            0 => Tree::Int(self.int()),
            1 => Tree::Quarters(self.int()),
            2 => Tree::Null,
            3..=5 => Tree::Name(self.next(NAMES.len())),
            6 => Tree::Negate(self.ordered(depth - 1).into()),
            _ => {
                let operator = ['+', '-', '*', '/', '%'][self.next(5)];
                Tree::Calculate(
                    operator,
                    self.ordered(depth - 1).into(),
                    self.ordered(depth - 1).into(),
                )
            }
        }
    }

    /// A property of a message.
    fn property(&mut self) -> Naive {
        match self.next(6) {
            0 => Naive::Null,
            1 => Naive::Bool(self.flag()),
            2 => Naive::Number(f64::from(self.int()), true),
            3 => Naive::Number(f64::from(self.int()) / 4.0, false),
            _ => Naive::Text(TEXTS[self.next(8)].to_owned()),
        }
    }
}

/// Renders a tree, with parentheses where precedence needs them and sometimes where not.
struct Writer<'t> {
    noise: Maker<'t>,
    out: String,
}

impl Writer<'_> {
    fn tree(&mut self, tree: &Tree, level: usize) {
        let own = match tree {
            Tree::Or(..) => 0,
            Tree::And(..) => 1,
            Tree::Compare("=" | "<>", ..) | Tree::IsNull(..) => 2,
            Tree::Compare(..) | Tree::Between(..) | Tree::In(..) | Tree::Like(..) => 3,
            Tree::Calculate('+' | '-', ..) => 4,
            Tree::Calculate(..) => 5,
            Tree::Not(_) | Tree::Negate(_) => 6,
            Tree::Int(number) | Tree::Quarters(number) if *number < 0 => 6,
            _ => 7,
        };
        let wrap = own < level || self.noise.next(8) == 7;
        if wrap {
            self.word("(");
        }
        self.bare(tree);
        if wrap {
            self.word(")");
        }
    }

    fn bare(&mut self, tree: &Tree) {
        match tree {
            Tree::Null => self.word("NULL"),
            Tree::Bool(flag) => self.word(if *flag { "TRUE" } else { "FALSE" }),
            Tree::Int(number) => self.int(*number),
            Tree::Quarters(number) => {
                let number = f64::from(*number) / 4.0;
                self.raw(&format!("{number:?}"));
            }
            Tree::Text(text) => self.text(text),
            Tree::Name(index) => self.name(*index),
            Tree::Negate(inner) => {
                self.word("-");
                self.tree(inner, 6);
            }
            Tree::Calculate(operator @ ('+' | '-'), left, right) => {
                self.infix(&operator.to_string(), left, 4, right, 5);
            }
            Tree::Calculate(operator, left, right) => {
                self.infix(&operator.to_string(), left, 5, right, 6);
            }
            Tree::Compare(comparison @ ("=" | "<>"), left, right) => {
                self.infix(comparison, left, 2, right, 3);
            }
            Tree::Compare(comparison, left, right) => self.infix(comparison, left, 4, right, 4),
            Tree::Between(negated, value, low, high) => {
                self.tree(value, 4);
                self.keyword_unless(*negated, "BETWEEN");
                self.infix("AND", low, 4, high, 4);
            }
            Tree::In(negated, name, list) => {
                self.name(*name);
                self.keyword_unless(*negated, "IN");
                for (index, text) in list.iter().enumerate() {
                    self.word(if index == 0 { "(" } else { "," });
                    self.text(text);
                }
                self.word(")");
            }
            Tree::Like(negated, value, pattern) => {
                self.tree(value, 3);
                self.keyword_unless(*negated, "LIKE");
                self.text(pattern);
            }
            Tree::IsNull(negated, value) => {
                self.tree(value, 2);
                self.word("IS");
                self.keyword_unless(*negated, "NULL");
            }
            Tree::Not(inner) => {
                self.word("NOT");
                self.tree(inner, 6);
            }
            Tree::And(left, right) => self.infix("AND", left, 1, right, 2),
            Tree::Or(left, right) => self.infix("OR", left, 0, right, 1),
        }
    }

    fn infix(
        &mut self,
        word: &str,
        left: &Tree,
        left_level: usize,
        right: &Tree,
        right_level: usize,
    ) {
        self.tree(left, left_level);
        self.word(word);
        self.tree(right, right_level);
    }

    fn int(&mut self, number: i32) {
        match self.noise.next(4) {
            0 if number >= 0 => self.raw(&format!("0x{number:X}")),
            1 if number >= 0 => self.raw(&format!("0{number:o}")),
            2 => self.raw(&format!("{number}L")),
            _ => self.raw(&number.to_string()),
        }
    }

    fn name(&mut self, index: usize) {
        let name = NAMES[index];
        let quotes = name.contains('-') || (!name.starts_with("JMS") && self.noise.flag());
        self.raw(&if quotes {
            format!("\"{name}\"")
        } else {
            name.to_owned()
        });
    }

    fn text(&mut self, text: &str) {
        self.raw(&format!("'{}'", text.replace('\'', "''")));
    }

    fn keyword_unless(&mut self, negated: bool, keyword: &str) {
        if negated {
            self.word("NOT");
        }
        self.word(keyword);
    }

    fn word(&mut self, word: &str) {
        let lower = self.noise.flag();
        self.raw(&if lower {
            word.to_lowercase()
        } else {
            word.to_owned()
        });
    }

    fn raw(&mut self, text: &str) {
        let blank = [" ", "  ", "\t", "\n", " /* AND */ ", " -- 'OR\n"][self.noise.next(6)];
        self.out.push_str(text);
        self.out.push_str(blank);
    }
}

/// A value of the evaluator; numbers remember whether they are integers.
#[derive(Clone, Debug, PartialEq)]
enum Naive {
    Null,
    Bool(bool),
    Number(f64, bool),
    Text(String),
}

impl Naive {
    /// The result of a calculation: zero has a sign only among the floating ones.
    fn of(number: f64, int: bool) -> Self {
        Naive::Number(if int { number + 0.0 } else { number }, int)
    }
}

struct Message {
    properties: HashMap<&'static str, Naive>,
    convert: bool,
}

impl Message {
    fn truth(&self, tree: &Tree) -> Option<bool> {
        match self.value(tree) {
            Naive::Null => None,
            Naive::Bool(flag) => Some(flag),
            Naive::Text(text) if self.convert => Some(text.to_lowercase() == "true"),
            _ => Some(false),
        }
    }

    fn value(&self, tree: &Tree) -> Naive {
        let answer = match tree {
            Tree::Null => return Naive::Null,
            Tree::Bool(flag) => return Naive::Bool(*flag),
            Tree::Int(number) => return Naive::Number(f64::from(*number), true),
            Tree::Quarters(number) => return Naive::Number(f64::from(*number) / 4.0, false),
            Tree::Text(text) => return Naive::Text((*text).to_owned()),
            Tree::Name(index) => return self.properties[NAMES[*index]].clone(),
            Tree::Negate(inner) => {
                return match self.number(&self.value(inner)) {
                    Some((number, int)) => Naive::of(-number, int),
                    None => Naive::Null,
                };
            }
            Tree::Calculate(operator, left, right) => {
                return self.calculate(*operator, &self.value(left), &self.value(right));
            }
            Tree::Compare(comparison, left, right) => {
                self.compare(comparison, &self.value(left), &self.value(right))
            }
            Tree::Between(negated, value, low, high) => {
                let value = self.value(value);
                let above = self.compare(">=", &value, &self.value(low));
                let below = self.compare("<=", &value, &self.value(high));
                self.not_if(*negated, and(above, below))
            }
            Tree::In(negated, name, list) => match &self.properties[NAMES[*name]] {
                Naive::Text(text) => self.not_if(*negated, Some(list.contains(&text.as_str()))),
                _ => None,
            },
            Tree::Like(negated, value, pattern) => match self.value(value) {
                Naive::Null => None,
                Naive::Text(text) => {
                    let (pattern, text): (Vec<_>, Vec<_>) =
                        (pattern.chars().collect(), text.chars().collect());
                    self.not_if(*negated, Some(like(&pattern, &text)))
                }
                _ => self.not_if(*negated, Some(false)),
            },
            Tree::IsNull(negated, value) => Some((self.value(value) == Naive::Null) != *negated),
            Tree::Not(inner) => self.truth(inner).map(|truth| !truth),
            Tree::And(left, right) => and(self.truth(left), self.truth(right)),
            Tree::Or(left, right) => {
                let neither = and(
                    self.truth(left).map(|truth| !truth),
                    self.truth(right).map(|truth| !truth),
                );
                neither.map(|neither| !neither)
            }
        };
        answer.map_or(Naive::Null, Naive::Bool)
    }

    fn not_if(&self, negated: bool, truth: Option<bool>) -> Option<bool> {
        truth.map(|truth| truth != negated)
    }

    fn number(&self, value: &Naive) -> Option<(f64, bool)> {
        match value {
            Naive::Number(number, int) => Some((*number, *int)),
            Naive::Text(text) if self.convert => {
                let number = text.parse().ok()?;
                Some((number, !text.contains('.')))
            }
            _ => None,
        }
    }

    fn flag(&self, value: &Naive) -> Option<bool> {
        match value {
            Naive::Bool(flag) => Some(*flag),
            Naive::Text(text) if self.convert => text.to_lowercase().parse().ok(),
            _ => None,
        }
    }

    fn calculate(&self, operator: char, left: &Naive, right: &Naive) -> Naive {
        if let ('+', Naive::Text(left), Naive::Text(right)) = (operator, left, right) {
            return Naive::Text([left.as_str(), right.as_str()].concat());
        }
        let (Some((a, a_int)), Some((b, b_int))) = (self.number(left), self.number(right)) else {
            return Naive::Null;
        };
        let int = a_int && b_int;
        match operator {
            '+' => Naive::of(a + b, int),
            '-' => Naive::of(a - b, int),
            '*' => Naive::of(a * b, int),
            '/' => Naive::of(a / b, false),
            _ if int && b == 0.0 => Naive::Null,
            _ => Naive::of(a % b, int),
        }
    }

    fn compare(&self, comparison: &str, left: &Naive, right: &Naive) -> Option<bool> {
        if *left == Naive::Null || *right == Naive::Null {
            return None;
        }
        let equality = comparison == "=" || comparison == "<>";
        if equality && let (Naive::Text(left), Naive::Text(right)) = (left, right) {
            return Some((left == right) == (comparison == "="));
        }
        let is_flag = |value: &Naive| matches!(value, Naive::Bool(_));
        if is_flag(left) || is_flag(right) {
            return match (self.flag(left), self.flag(right)) {
                (Some(left), Some(right)) if equality => {
                    Some((left == right) == (comparison == "="))
                }
                _ => Some(false),
            };
        }
        let (Some((a, _)), Some((b, _))) = (self.number(left), self.number(right)) else {
            return Some(false);
        };
        if a.is_nan() || b.is_nan() {
            return Some(false);
        }
        Some(match comparison {
            "=" => a == b,
            "<>" => a != b,
            "<" => a < b,
            "<=" => a <= b,
            ">" => a > b,
            _ => a >= b,
        })
    }
}

fn and(left: Option<bool>, right: Option<bool>) -> Option<bool> {
    match (left, right) {
        (Some(false), _) | (_, Some(false)) => Some(false),
        (Some(true), Some(true)) => Some(true),
        _ => None,
    }
}

fn like(pattern: &[char], text: &[char]) -> bool {
    match (pattern.split_first(), text.split_first()) {
        (None, None) => true,
        (Some(('%', rest)), None) => like(rest, text),
        (Some(('%', rest)), Some((_, tail))) => like(rest, text) || like(pattern, tail),
        (Some((wanted, rest)), Some((found, tail))) => {
            (*wanted == '_' || wanted == found) && like(rest, tail)
        }
        _ => false,
    }
}

impl Message {
    fn shown(&self, name: &str) -> Option<Value<'_>> {
        #[expect(clippy::cast_possible_truncation, reason = "small whole numbers")]
        match &self.properties[name] {
            Naive::Null => None,
            Naive::Bool(flag) => Some(Value::Bool(*flag)),
            Naive::Number(number, true) => Some(Value::I64(*number as i64)),
            Naive::Number(number, false) => Some(Value::F64(*number)),
            Naive::Text(text) => Some(Value::text(text)),
        }
    }
}

impl PropertySource for Message {
    fn property(&self, name: &str) -> Option<Value<'_>> {
        assert!(
            !name.starts_with("JMS"),
            "headers are not asked for by text"
        );
        self.shown(name)
    }

    fn header(&self, header: Header) -> Option<Value<'_>> {
        self.shown(header.name())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn agrees_with_the_obvious_evaluator(
        tape in proptest::collection::vec(any::<u16>(), 1..80),
        noise in proptest::collection::vec(any::<u16>(), 0..200),
        values in proptest::collection::vec(any::<u16>(), 15),
        convert: bool,
    ) {
        let tree = Maker { tape: tape.iter() }.condition(4);
        let mut writer = Writer { noise: Maker { tape: noise.iter() }, out: String::new() };
        writer.tree(&tree, 0);
        let mut values = Maker { tape: values.iter() };
        let properties = NAMES.iter().map(|name| (*name, values.property())).collect();
        let message = Message { properties, convert };

        let options = SelectorOptions { convert_strings: convert };
        let selector = Selector::parse(&writer.out, options);
        let selector = selector.map_err(|error| TestCaseError::fail(format!("{error}: {}", writer.out)))?;
        let expected = message.truth(&tree) == Some(true);
        prop_assert_eq!(selector.matches(&message), expected, "{} {:?}", writer.out, message.properties);
    }

    #[test]
    fn no_text_breaks_the_parser(text in "\\PC{0,40}") {
        if let Err(error) = Selector::parse(&text, SelectorOptions::default()) {
            prop_assert!(!error.to_string().contains('\n'));
            prop_assert!(error.position <= text.chars().count() + 1);
        }
    }

    #[test]
    fn no_words_break_the_parser(
        words in proptest::collection::vec(
            proptest::sample::select(vec![
                "a", "NOT", "AND", "OR", "IN", "IS", "NULL", "LIKE", "BETWEEN", "(", ")", ",", "=", "<", "-", "'x'",
                "5", "REGEX", "INLIST", "MAKELIST", "SPLIT", "ESCAPE", "TRUE", "*", "--", "/*", "\"q\"", "0x", ".",
            ]),
            0..30,
        ),
    ) {
        let text = words.join(" ");
        if let Err(error) = Selector::parse(&text, SelectorOptions::default()) {
            prop_assert!(!error.to_string().contains('\n'));
            prop_assert!(error.position <= text.chars().count() + 1);
        }
    }
}

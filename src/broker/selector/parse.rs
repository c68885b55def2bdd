//! The grammar of selectors, by recursive descent over tokens (SEL-1).
//!
//! One function per level of precedence, the loosest first. NOT binds tightest, as in ActiveMQ: `NOT a = 1` is
//! `(NOT a) = 1`.

use regex::RegexBuilder;

use super::SelectorOptions;
use super::ast::{Expr, List};
use super::error::SelectorError;
use super::header::Header;
use super::lex::{Kind, Token, tokens};
use super::like::Pattern;
use super::values::{Comparison, Operator, Value};

/// Octets of a selector.
const LENGTH_MAX: usize = 64 * 1024;
/// Parentheses, NOTs and signs within each other; bounds the stack of the parser.
const DEPTH_MAX: usize = 64;
/// Operators, names and literals; bounds the stack and the time of an evaluation.
const TERMS_MAX: usize = 1024;
/// Octets of a LIKE pattern or a regular expression.
const PATTERN_LENGTH_MAX: usize = 1024;
/// Octets of memory for a compiled regular expression.
const REGEX_BYTES_MAX: usize = 256 * 1024;

/// Reads and compiles `text`.
pub(super) fn parse(text: &str, options: SelectorOptions) -> Result<Expr, SelectorError> {
    if text.len() > LENGTH_MAX {
        let problem = format!("longer than {LENGTH_MAX} octets");
        return Err(SelectorError::new(text, LENGTH_MAX, problem));
    }
    let tokens = tokens(text)?;
    let mut parser = Parser {
        text,
        tokens: &tokens,
        at: 0,
        depth: 0,
        terms: 0,
        convert: options.convert_strings,
    };
    let root = parser.condition(Parser::or)?;
    match parser.peek() {
        None => Ok(root),
        Some(_) => Err(parser.expected("an operator or the end")),
    }
}

const KEYWORDS: [&str; 13] = [
    "NOT", "AND", "OR", "BETWEEN", "LIKE", "ESCAPE", "IN", "IS", "TRUE", "FALSE", "NULL", "XPATH",
    "XQUERY",
];

struct Parser<'a> {
    text: &'a str,
    tokens: &'a [Token<'a>],
    at: usize,
    depth: usize,
    terms: usize,
    convert: bool,
}

type Parsed = Result<Expr, SelectorError>;

impl<'a> Parser<'a> {
    fn or(&mut self) -> Parsed {
        self.chain("OR", Self::and, Expr::Or)
    }

    fn and(&mut self) -> Parsed {
        self.chain("AND", Self::equality, Expr::And)
    }

    /// Conditions joined by one keyword, all on one level however many they are.
    fn chain(
        &mut self,
        keyword: &str,
        next: fn(&mut Self) -> Parsed,
        join: fn(Vec<Expr>) -> Expr,
    ) -> Parsed {
        let start = self.at;
        let first = next(self)?;
        if !self.is_keyword(keyword) {
            return Ok(first);
        }
        let mut terms = vec![self.as_condition(first, start)?];
        while self.take_keyword(keyword) {
            terms.push(self.condition(next)?);
        }
        self.made(join(terms))
    }

    fn equality(&mut self) -> Parsed {
        let mut left = self.comparison()?;
        loop {
            left = if self.take_symbol("=") {
                self.compared(Comparison::Equal, left)?
            } else if self.take_symbol("<>") {
                self.compared(Comparison::NotEqual, left)?
            } else if self.take_keyword("IS") {
                let negated = self.take_keyword("NOT");
                if !self.take_keyword("NULL") {
                    return Err(self.expected(if negated { "NULL" } else { "NULL or NOT NULL" }));
                }
                self.made_unless(negated, Expr::IsNull(left.into()))?
            } else {
                return Ok(left);
            }
        }
    }

    fn compared(&mut self, comparison: Comparison, left: Expr) -> Parsed {
        let right = self.comparison()?;
        self.made(Expr::Compare(comparison, Box::new((left, right))))
    }

    fn comparison(&mut self) -> Parsed {
        let start = self.at;
        let mut left = self.sum()?;
        loop {
            let order = [
                ("<=", Comparison::LessOrEqual),
                (">=", Comparison::GreaterOrEqual),
                ("<", Comparison::Less),
                (">", Comparison::Greater),
            ];
            let order = order
                .into_iter()
                .find(|(symbol, _)| self.take_symbol(symbol));
            left = if let Some((_, comparison)) = order {
                self.check_order(&left, start)?;
                let right = self.ordered()?;
                self.made(Expr::Compare(comparison, Box::new((left, right))))?
            } else {
                let negated = self.is_keyword("NOT");
                self.at += usize::from(negated);
                if self.take_keyword("BETWEEN") {
                    self.between(left, start, negated)?
                } else if self.take_keyword("LIKE") {
                    self.like(left, negated)?
                } else if self.take_keyword("IN") {
                    self.within(left, start, negated)?
                } else if negated {
                    return Err(self.expected("BETWEEN, LIKE or IN after NOT"));
                } else {
                    return Ok(left);
                }
            };
        }
    }

    fn between(&mut self, value: Expr, start: usize, negated: bool) -> Parsed {
        self.check_order(&value, start)?;
        let low = self.ordered()?;
        if !self.take_keyword("AND") {
            return Err(self.expected("AND and the upper bound of BETWEEN"));
        }
        let high = self.ordered()?;
        self.made_unless(negated, Expr::Between(Box::new((value, low, high))))
    }

    fn like(&mut self, value: Expr, negated: bool) -> Parsed {
        let pattern = self.pattern("the pattern of LIKE, a string")?;
        let mut escape = None;
        if self.take_keyword("ESCAPE") {
            let start = self.at;
            let text = self.string("the escape character, a string")?;
            let mut characters = text.chars();
            escape = characters.next();
            if escape.is_none() || characters.next().is_some() {
                return Err(self.problem(start, "ESCAPE takes exactly one character"));
            }
        }
        let pattern = Pattern::compile(pattern, escape);
        self.made_unless(negated, Expr::Like(value.into(), pattern))
    }

    fn within(&mut self, value: Expr, start: usize, negated: bool) -> Parsed {
        if !matches!(value, Expr::Property(_) | Expr::Header(_)) {
            return Err(self.problem(start, "IN stands behind a name only"));
        }
        self.symbol("(", "'(' and the list of IN")?;
        let mut list = Vec::new();
        loop {
            list.push(Box::from(self.string("a string of the list of IN")?));
            if !self.take_symbol(",") {
                break;
            }
        }
        self.symbol(")", "',' or ')'")?;
        list.sort_unstable();
        list.dedup();
        self.made_unless(negated, Expr::In(value.into(), list.into()))
    }

    fn sum(&mut self) -> Parsed {
        let operators = [("+", Operator::Add), ("-", Operator::Subtract)];
        self.calculation(&operators, Self::product)
    }

    fn product(&mut self) -> Parsed {
        let operators = [
            ("*", Operator::Multiply),
            ("/", Operator::Divide),
            ("%", Operator::Remainder),
        ];
        self.calculation(&operators, Self::unary)
    }

    fn calculation(
        &mut self,
        operators: &[(&str, Operator)],
        next: fn(&mut Self) -> Parsed,
    ) -> Parsed {
        let mut left = next(self)?;
        while let Some((_, operator)) = operators
            .iter()
            .find(|(symbol, _)| self.take_symbol(symbol))
        {
            let right = next(self)?;
            left = self.made(Expr::Arithmetic(*operator, Box::new((left, right))))?;
        }
        Ok(left)
    }

    fn unary(&mut self) -> Parsed {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            let problem = format!("nested more than {DEPTH_MAX} deep");
            return Err(self.problem(self.at, problem));
        }
        let found = if self.take_symbol("+") {
            self.unary()
        } else if self.take_symbol("-") {
            self.negative()
        } else if self.take_keyword("NOT") {
            let inner = self.condition(Self::unary)?;
            self.made(Expr::Not(inner.into()))
        } else {
            self.primary()
        };
        self.depth -= 1;
        found
    }

    /// What follows a minus. The smallest integer has no literal of its own without it.
    fn negative(&mut self) -> Parsed {
        if let Some(Kind::Integer(magnitude)) = self.peek() {
            let number = 0_i64.checked_sub_unsigned(*magnitude).unwrap_or(i64::MIN);
            self.at += 1;
            return self.made(Expr::Literal(Some(Value::I64(number))));
        }
        let inner = self.unary()?;
        self.made(Expr::Negate(inner.into()))
    }

    fn primary(&mut self) -> Parsed {
        let start = self.at;
        let Some(kind) = self.peek() else {
            return Err(self.expected("a value"));
        };
        self.at += 1;
        let expr = match kind {
            Kind::Symbol("(") => {
                let inner = self.or()?;
                self.symbol(")", "an operator or ')'")?;
                return Ok(inner);
            }
            Kind::Word(word) => return self.word(word, start),
            Kind::Quoted(name) => Expr::Property(Box::from(&**name)),
            Kind::Text(text) => Expr::Literal(Some(Value::Str(text.clone().into_owned().into()))),
            Kind::Integer(magnitude) => Expr::Literal(Some(natural(*magnitude))),
            Kind::Float(number) => Expr::Literal(Some(Value::F64(*number))),
            Kind::Symbol(_) => {
                self.at = start;
                return Err(self.expected("a value"));
            }
        };
        self.made(expr)
    }

    fn word(&mut self, word: &str, start: usize) -> Parsed {
        let is = |keyword: &str| word.eq_ignore_ascii_case(keyword);
        let literal = if is("TRUE") {
            Some(Value::Bool(true))
        } else if is("FALSE") {
            Some(Value::Bool(false))
        } else if is("NULL") {
            None
        } else if is("XPATH") || is("XQUERY") {
            let problem = format!("{} is not supported", word.to_ascii_uppercase());
            return Err(self.problem(start, problem));
        } else if KEYWORDS.iter().any(|keyword| is(keyword)) {
            self.at = start;
            return Err(self.expected("a value"));
        } else if self.take_symbol("(") {
            return self.function(word, start);
        } else {
            return self.made(match Header::from_name(word) {
                Some(header) => Expr::Header(header),
                None => Expr::Property(word.into()),
            });
        };
        self.made(Expr::Literal(literal))
    }

    /// A function behind its parenthesis (SEL-7).
    fn function(&mut self, name: &str, start: usize) -> Parsed {
        if name.eq_ignore_ascii_case("REGEX") {
            self.regex()
        } else if name.eq_ignore_ascii_case("INLIST") {
            self.in_list()
        } else {
            let problem = format!("{name}() is not supported; REGEX and INLIST are");
            Err(self.problem(start, problem))
        }
    }

    fn regex(&mut self) -> Parsed {
        let start = self.at;
        let pattern = self.pattern("the regular expression, a string")?;
        let compiled = RegexBuilder::new(pattern)
            .size_limit(REGEX_BYTES_MAX)
            .dfa_size_limit(REGEX_BYTES_MAX)
            .build();
        let compiled = compiled.map_err(|error| {
            // The crate draws its error on several lines; the last one says it.
            let error = error.to_string();
            let said = error.lines().last().unwrap_or_default().trim();
            self.problem(start, said.strip_prefix("error: ").unwrap_or(said))
        })?;
        self.symbol(",", "',' and what REGEX is matched against")?;
        let value = self.or()?;
        self.symbol(")", "')' after the two arguments of REGEX")?;
        self.made(Expr::Regex(value.into(), compiled.into()))
    }

    fn in_list(&mut self) -> Parsed {
        let list = self.list()?;
        self.symbol(",", "',' and what INLIST looks for")?;
        let value = self.or()?;
        self.symbol(")", "')' after the two arguments of INLIST")?;
        self.made(Expr::InList(value.into(), list))
    }

    fn list(&mut self) -> Result<List, SelectorError> {
        let wanted = "MAKELIST(…) or SPLIT(…), the list of INLIST";
        let Some(Kind::Word(word)) = self.peek() else {
            return Err(self.expected(wanted));
        };
        let makes = word.eq_ignore_ascii_case("MAKELIST");
        if !makes && !word.eq_ignore_ascii_case("SPLIT") {
            return Err(self.expected(wanted));
        }
        self.at += 1;
        self.symbol("(", "'('")?;
        let first = self.or()?;
        if !makes {
            self.symbol(",", "',' and the separator of SPLIT")?;
            let start = self.at;
            let separator = self.string("the separator of SPLIT, a string")?;
            if separator.is_empty() {
                return Err(self.problem(start, "the separator of SPLIT is empty"));
            }
            self.symbol(")", "')' after the two arguments of SPLIT")?;
            return Ok(List::Split(first.into(), separator.into()));
        }
        let mut values = vec![first];
        while self.take_symbol(",") {
            values.push(self.or()?);
        }
        self.symbol(")", "',' or ')'")?;
        Ok(List::Values(values.into()))
    }

    /// Parses by `next` what must be a condition.
    fn condition(&mut self, next: fn(&mut Self) -> Parsed) -> Parsed {
        let start = self.at;
        let found = next(self)?;
        self.as_condition(found, start)
    }

    fn as_condition(&self, found: Expr, start: usize) -> Parsed {
        if found.may_be_condition() {
            Ok(found)
        } else {
            Err(self.problem(start, "expected a condition, which is TRUE or FALSE"))
        }
    }

    /// Parses what something is less or greater than.
    fn ordered(&mut self) -> Parsed {
        let start = self.at;
        let found = self.sum()?;
        self.check_order(&found, start)?;
        Ok(found)
    }

    fn check_order(&self, found: &Expr, start: usize) -> Result<(), SelectorError> {
        if found.may_be_ordered() {
            return Ok(());
        }
        Err(self.problem(start, "strings and conditions compare by = and <> only"))
    }

    /// Counts and folds what has been parsed.
    fn made(&mut self, expr: Expr) -> Parsed {
        self.terms += 1;
        if self.terms > TERMS_MAX {
            let problem = format!("more than {TERMS_MAX} names, literals and operators");
            return Err(self.problem(self.at.saturating_sub(1), problem));
        }
        Ok(expr.fold(self.convert))
    }

    fn made_unless(&mut self, negated: bool, expr: Expr) -> Parsed {
        let made = self.made(expr)?;
        if negated {
            self.made(Expr::Not(made.into()))
        } else {
            Ok(made)
        }
    }

    fn peek(&self) -> Option<&'a Kind<'a>> {
        self.tokens.get(self.at).map(|token| &token.kind)
    }

    fn is_keyword(&self, keyword: &str) -> bool {
        matches!(self.peek(), Some(Kind::Word(word)) if word.eq_ignore_ascii_case(keyword))
    }

    fn take_keyword(&mut self, keyword: &str) -> bool {
        let found = self.is_keyword(keyword);
        self.at += usize::from(found);
        found
    }

    fn take_symbol(&mut self, symbol: &str) -> bool {
        let found = matches!(self.peek(), Some(Kind::Symbol(found)) if *found == symbol);
        self.at += usize::from(found);
        found
    }

    fn symbol(&mut self, symbol: &str, wanted: &str) -> Result<(), SelectorError> {
        if self.take_symbol(symbol) {
            Ok(())
        } else {
            Err(self.expected(wanted))
        }
    }

    fn string(&mut self, wanted: &str) -> Result<&'a str, SelectorError> {
        let Some(Kind::Text(text)) = self.peek() else {
            return Err(self.expected(wanted));
        };
        self.at += 1;
        Ok(text)
    }

    fn pattern(&mut self, wanted: &str) -> Result<&'a str, SelectorError> {
        let start = self.at;
        let text = self.string(wanted)?;
        if text.len() > PATTERN_LENGTH_MAX {
            let problem = format!("the pattern is longer than {PATTERN_LENGTH_MAX} octets");
            return Err(self.problem(start, problem));
        }
        Ok(text)
    }

    /// An error at the next token: what stands there, and what was expected.
    fn expected(&self, wanted: &str) -> SelectorError {
        let found = match self.peek() {
            None => "the end".to_owned(),
            Some(Kind::Word(word)) => format!("{word:?}"),
            Some(Kind::Quoted(name)) => format!("the name {name:?}"),
            Some(Kind::Text(_)) => "a string".to_owned(),
            Some(Kind::Integer(_) | Kind::Float(_)) => "a number".to_owned(),
            Some(Kind::Symbol(symbol)) => format!("'{symbol}'"),
        };
        self.problem(self.at, format!("expected {wanted}, found {found}"))
    }

    /// An error at the token number `token`.
    fn problem(&self, token: usize, problem: impl Into<String>) -> SelectorError {
        let at = self
            .tokens
            .get(token)
            .map_or(self.text.len(), |token| token.at);
        SelectorError::new(self.text, at, problem)
    }
}

/// An integer without a sign.
#[expect(
    clippy::cast_precision_loss,
    reason = "2^63 alone is left, which is exact"
)]
fn natural(magnitude: u64) -> Value<'static> {
    match i64::try_from(magnitude) {
        Ok(number) => Value::I64(number),
        Err(_) => Value::F64(magnitude as f64),
    }
}

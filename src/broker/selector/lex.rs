//! A selector's text as tokens (SEL-1, SEL-2).

use std::borrow::Cow;

use nom::branch::alt;
use nom::bytes::complete::{tag, tag_no_case, take_until, take_while, take_while1};
use nom::character::complete::{char, digit1, multispace1, one_of, satisfy};
use nom::combinator::{map, not, opt, recognize, value, verify};
use nom::multi::{fold_many1, many0_count};
use nom::sequence::{delimited, pair, preceded, terminated};
use nom::{IResult, Parser};

use super::error::SelectorError;

/// What a token is.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Kind<'a> {
    /// A keyword or an identifier.
    Word(&'a str),
    /// An identifier in double quotes.
    Quoted(Cow<'a, str>),
    /// A string literal.
    Text(Cow<'a, str>),
    /// An integer literal; it has no sign yet, and may be one more than the largest `i64`.
    Integer(u64),
    /// A floating literal, or an integer too long for the other.
    Float(f64),
    /// An operator, parenthesis or comma.
    Symbol(&'a str),
}

/// A token and the octet where it begins.
#[derive(Clone, Debug)]
pub(super) struct Token<'a> {
    pub(super) at: usize,
    pub(super) kind: Kind<'a>,
}

/// Cuts `text` into tokens.
pub(super) fn tokens(text: &str) -> Result<Vec<Token<'_>>, SelectorError> {
    let mut tokens = Vec::new();
    let mut rest = skip_blank(text);
    while !rest.is_empty() {
        let at = text.len() - rest.len();
        let Ok((behind, kind)) = token(rest) else {
            return Err(SelectorError::new(text, at, problem(rest)));
        };
        tokens.push(Token { at, kind });
        rest = skip_blank(behind);
    }
    Ok(tokens)
}

/// What is wrong with a rest that begins with no token.
fn problem(rest: &str) -> String {
    let first = rest.chars().next().unwrap_or_default();
    match first {
        '\'' => "this string has no closing quote".into(),
        '"' => "this name has no closing quote, or nothing in it".into(),
        '0'..='9' | '.' if number_like(rest) => "malformed number".into(),
        '/' if rest.starts_with("/*") => "this comment has no end".into(),
        _ => format!("unexpected {first:?}"),
    }
}

fn number_like(rest: &str) -> bool {
    rest.trim_start_matches('.')
        .starts_with(|first: char| first.is_ascii_digit())
}

fn skip_blank(text: &str) -> &str {
    let line_comment = || recognize(pair(tag("--"), take_while(|c| c != '\n' && c != '\r')));
    let block_comment = || recognize(delimited(tag("/*"), take_until("*/"), tag("*/")));
    let blank: IResult<&str, usize> =
        many0_count(alt((multispace1, line_comment(), block_comment()))).parse(text);
    blank.map_or(text, |(rest, _)| rest)
}

fn token(input: &str) -> IResult<&str, Kind<'_>> {
    alt((
        terminated(number, not(satisfy(is_name))),
        map(word, Kind::Word),
        map(quoted('\'', "''"), Kind::Text),
        map(
            verify(quoted('"', "\"\""), |name: &Cow<'_, str>| !name.is_empty()),
            Kind::Quoted,
        ),
        map(symbol, Kind::Symbol),
    ))
    .parse(input)
}

fn is_name(character: char) -> bool {
    character.is_ascii_alphanumeric() || character == '_' || character == '$'
}

fn word(input: &str) -> IResult<&str, &str> {
    let begin = satisfy(|first| is_name(first) && !first.is_ascii_digit());
    recognize(pair(begin, take_while(is_name))).parse(input)
}

fn symbol(input: &str) -> IResult<&str, &str> {
    alt((
        tag("<>"),
        tag("<="),
        tag(">="),
        recognize(preceded(not(tag("/*")), one_of("=<>()+-*/%,"))),
    ))
    .parse(input)
}

/// Text between quotes; a doubled quote stands for one.
fn quoted<'a>(
    quote: char,
    doubled: &'static str,
) -> impl Parser<&'a str, Output = Cow<'a, str>, Error = nom::error::Error<&'a str>> {
    let one = map(take_while1(move |c| c != quote), Cow::Borrowed);
    let escaped = map(tag(doubled), |pair: &str| Cow::Borrowed(&pair[1..]));
    let joined = fold_many1(alt((one, escaped)), Cow::default, |text, part| {
        // Adding to nothing keeps the part where it is; only a doubled quote makes a copy.
        text + part
    });
    delimited(
        char(quote),
        map(opt(joined), Option::unwrap_or_default),
        char(quote),
    )
}

fn number(input: &str) -> IResult<&str, Kind<'_>> {
    let suffix = || opt(one_of("lL"));
    let hexadecimal = preceded(
        tag_no_case("0x"),
        terminated(take_while1(|c: char| c.is_ascii_hexdigit()), suffix()),
    );
    let octal = preceded(
        char('0'),
        terminated(take_while1(|c: char| c.is_digit(8)), suffix()),
    );
    let zero = value(Kind::Integer(0), terminated(char('0'), suffix()));
    let decimal = terminated(
        verify(digit1, |digits: &str| !digits.starts_with('0')),
        suffix(),
    );
    alt((
        map(float, |text| Kind::Float(text.parse().unwrap_or(f64::NAN))),
        map(hexadecimal, |digits| integer(digits, 16)),
        map(octal, |digits| integer(digits, 8)),
        map(decimal, |digits| integer(digits, 10)),
        zero,
    ))
    .parse(input)
}

/// `5.5`, `5.`, `.5`, `5e3`.
fn float(input: &str) -> IResult<&str, &str> {
    let exponent = || recognize((one_of("eE"), opt(one_of("+-")), digit1));
    let pointed = recognize((digit1, char('.'), opt(digit1), opt(exponent())));
    let bare = recognize((char('.'), digit1, opt(exponent())));
    let raised = recognize((digit1, exponent()));
    alt((pointed, bare, raised)).parse(input)
}

/// An integer of at most 2^63, or the floating number nearest to it.
fn integer<'a>(digits: &str, radix: u32) -> Kind<'a> {
    /// The one that fits only with a minus before it.
    const MAGNITUDE_MAX: u64 = 1 << 63;
    match u64::from_str_radix(digits, radix) {
        Ok(number) if number <= MAGNITUDE_MAX => Kind::Integer(number),
        _ => Kind::Float(digits.chars().fold(0.0, |number, digit| {
            number * f64::from(radix) + f64::from(digit.to_digit(radix).unwrap_or(0))
        })),
    }
}

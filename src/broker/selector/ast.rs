//! The compiled form of a selector, and what compiling does to it: constants are calculated once.

use regex::Regex;

use super::evaluate::{Context, Nothing};
use super::header::Header;
use super::like::Pattern;
use super::values::{Comparison, Operator, Value};

/// A condition or a value; where one stands for the other, [`Expr::truth`] and [`Expr::value`] convert.
#[derive(Clone, Debug)]
pub(super) enum Expr {
    Literal(Option<Value<'static>>),
    Property(Box<str>),
    Header(Header),
    Negate(Box<Expr>),
    Arithmetic(Operator, Box<(Expr, Expr)>),
    Compare(Comparison, Box<(Expr, Expr)>),
    Between(Box<(Expr, Expr, Expr)>),
    /// Sorted, so that a long list is searched in halves.
    In(Box<Expr>, Box<[Box<str>]>),
    Like(Box<Expr>, Pattern),
    Regex(Box<Expr>, Box<Regex>),
    InList(Box<Expr>, List),
    IsNull(Box<Expr>),
    Not(Box<Expr>),
    And(Vec<Expr>),
    Or(Vec<Expr>),
}

/// The list of INLIST (SEL-7).
#[derive(Clone, Debug)]
pub(super) enum List {
    /// MAKELIST.
    Values(Box<[Expr]>),
    /// SPLIT: a text and what stands between its parts.
    Split(Box<Expr>, Box<str>),
}

impl Expr {
    /// Calculates what depends on no message.
    pub(super) fn fold(self, convert: bool) -> Self {
        let context = Context {
            source: &Nothing,
            convert,
        };
        match self {
            Self::And(terms) => fold_terms(terms, &context, false),
            Self::Or(terms) => fold_terms(terms, &context, true),
            other if other.has_constant_parts() => {
                let value = other.value(&context).map(into_static);
                Self::Literal(value)
            }
            other => other,
        }
    }

    /// Whether this may stand where a condition is wanted: a condition, or something whose type is not known yet.
    pub(super) fn may_be_condition(&self) -> bool {
        match self {
            Self::Literal(value) => matches!(value, None | Some(Value::Bool(_))),
            Self::Property(_) | Self::Header(_) => true,
            _ => self.is_condition(),
        }
    }

    /// Whether this is TRUE, FALSE or unknown whatever the message says.
    pub(super) fn is_condition(&self) -> bool {
        match self {
            Self::Literal(value) => matches!(value, Some(Value::Bool(_))),
            Self::Compare(..)
            | Self::Between(_)
            | Self::In(..)
            | Self::Like(..)
            | Self::Regex(..)
            | Self::InList(..)
            | Self::IsNull(_)
            | Self::Not(_)
            | Self::And(_)
            | Self::Or(_) => true,
            Self::Property(_) | Self::Header(_) | Self::Negate(_) | Self::Arithmetic(..) => false,
        }
    }

    /// Whether this can be less or greater than something (SEL-4).
    pub(super) fn may_be_ordered(&self) -> bool {
        let is_text = matches!(self, Self::Literal(Some(Value::Str(_))));
        !is_text && !self.is_condition()
    }

    fn is_constant(&self) -> bool {
        matches!(self, Self::Literal(_))
    }

    fn has_constant_parts(&self) -> bool {
        match self {
            Self::Literal(_) | Self::Property(_) | Self::Header(_) => false,
            Self::Negate(inner) | Self::IsNull(inner) | Self::Not(inner) => inner.is_constant(),
            Self::Like(inner, _) | Self::Regex(inner, _) | Self::In(inner, _) => {
                inner.is_constant()
            }
            Self::Arithmetic(_, pair) | Self::Compare(_, pair) => {
                pair.0.is_constant() && pair.1.is_constant()
            }
            Self::Between(parts) => {
                parts.0.is_constant() && parts.1.is_constant() && parts.2.is_constant()
            }
            Self::InList(inner, list) => {
                inner.is_constant()
                    && match list {
                        List::Values(values) => values.iter().all(Self::is_constant),
                        List::Split(text, _) => text.is_constant(),
                    }
            }
            Self::And(terms) | Self::Or(terms) => terms.iter().all(Self::is_constant),
        }
    }
}

/// AND or OR: a term that says `decides` decides all, one that says the opposite adds nothing.
fn fold_terms(mut terms: Vec<Expr>, context: &Context<'_, Nothing>, decides: bool) -> Expr {
    let said = |term: &Expr| term.is_constant().then(|| term.truth(context)).flatten();
    if terms.iter().any(|term| said(term) == Some(decides)) {
        return Expr::Literal(Some(Value::Bool(decides)));
    }
    terms.retain(|term| said(term).is_none());
    if terms.is_empty() {
        return Expr::Literal(Some(Value::Bool(!decides)));
    }
    if terms.iter().all(Expr::is_constant) {
        return Expr::Literal(None);
    }
    if decides {
        Expr::Or(terms)
    } else {
        Expr::And(terms)
    }
}

fn into_static(value: Value<'_>) -> Value<'static> {
    match value {
        Value::Str(text) => Value::Str(text.into_owned().into()),
        Value::I64(number) => Value::I64(number),
        Value::F64(number) => Value::F64(number),
        Value::Bool(flag) => Value::Bool(flag),
    }
}

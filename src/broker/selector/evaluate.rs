//! Evaluation: three-valued, lazy, without allocation (SEL-3).

use super::PropertySource;
use super::ast::{Expr, List};
use super::header::Header;
use super::values::{Comparison, Value};

/// What an evaluation needs beside the expression.
pub(super) struct Context<'s, S: ?Sized> {
    pub(super) source: &'s S,
    pub(super) convert: bool,
}

/// The source of constants: everything is NULL.
pub(super) struct Nothing;

impl PropertySource for Nothing {
    fn property(&self, _name: &str) -> Option<Value<'_>> {
        None
    }

    fn header(&self, _header: Header) -> Option<Value<'_>> {
        None
    }
}

impl Expr {
    /// The expression as a condition; `None` is unknown.
    pub(super) fn truth<S: PropertySource + ?Sized>(
        &self,
        context: &Context<'_, S>,
    ) -> Option<bool> {
        let convert = context.convert;
        match self {
            Self::Compare(comparison, pair) => {
                let left = pair.0.value(context)?;
                let right = pair.1.value(context)?;
                Some(comparison.compare(&left, &right, convert))
            }
            Self::And(terms) => all(terms, context, true),
            Self::Or(terms) => all(terms, context, false),
            Self::Not(inner) => inner.truth(context).map(|truth| !truth),
            Self::IsNull(inner) => Some(inner.value(context).is_none()),
            Self::In(inner, list) => match inner.value(context)? {
                Value::Str(text) => Some(is_among(&text, list)),
                _ => None,
            },
            Self::Like(inner, pattern) => Some(match inner.value(context)? {
                Value::Str(text) => pattern.matches(&text),
                _ => false,
            }),
            Self::Between(parts) => between(parts, context),
            Self::Regex(inner, regex) => Some(match inner.value(context)? {
                Value::Str(text) => regex.is_match(&text),
                _ => false,
            }),
            Self::InList(inner, list) => list.contains(&inner.value(context)?, context),
            Self::Literal(_)
            | Self::Property(_)
            | Self::Header(_)
            | Self::Negate(_)
            | Self::Arithmetic(..) => self.value(context).map(|value| value.truth(convert)),
        }
    }

    /// The expression as a value; `None` is NULL.
    pub(super) fn value<'a, S: PropertySource + ?Sized>(
        &'a self,
        context: &Context<'a, S>,
    ) -> Option<Value<'a>> {
        match self {
            Self::Literal(value) => value.as_ref().map(Value::borrowed),
            Self::Property(name) => context.source.property(name),
            Self::Header(header) => context.source.header(*header),
            Self::Negate(inner) => inner.value(context)?.negate(context.convert),
            Self::Arithmetic(operator, pair) => {
                let left = pair.0.value(context)?;
                let right = pair.1.value(context)?;
                operator.apply(&left, &right, context.convert)
            }
            _ => self.truth(context).map(Value::Bool),
        }
    }
}

/// AND: FALSE if a term is, TRUE if all are, else unknown. With `wanted` false, the mirror of it: OR.
fn all<S: PropertySource + ?Sized>(
    terms: &[Expr],
    context: &Context<'_, S>,
    wanted: bool,
) -> Option<bool> {
    let mut result = Some(wanted);
    for term in terms {
        match term.truth(context) {
            Some(truth) if truth != wanted => return Some(truth),
            Some(_) => {}
            None => result = None,
        }
    }
    result
}

/// `x >= low AND x <= high`; a bound that x misses decides even if the other one is NULL.
fn between<S: PropertySource + ?Sized>(
    (value, low, high): &(Expr, Expr, Expr),
    context: &Context<'_, S>,
) -> Option<bool> {
    let value = value.value(context)?;
    let holds = |comparison: Comparison, bound: &Expr| {
        let bound = bound.value(context)?;
        Some(comparison.compare(&value, &bound, context.convert))
    };
    match (
        holds(Comparison::GreaterOrEqual, low),
        holds(Comparison::LessOrEqual, high),
    ) {
        (Some(false), _) | (_, Some(false)) => Some(false),
        (Some(true), Some(true)) => Some(true),
        _ => None,
    }
}

fn is_among(text: &str, sorted: &[Box<str>]) -> bool {
    sorted
        .binary_search_by(|candidate| (**candidate).cmp(text))
        .is_ok()
}

impl List {
    fn contains<S: PropertySource + ?Sized>(
        &self,
        value: &Value<'_>,
        context: &Context<'_, S>,
    ) -> Option<bool> {
        let same = |other: &Value<'_>| Comparison::Equal.compare(other, value, context.convert);
        match self {
            Self::Values(values) => Some(
                values
                    .iter()
                    .any(|other| other.value(context).is_some_and(|other| same(&other))),
            ),
            Self::Split(text, separator) => Some(match text.value(context)? {
                Value::Str(text) => text
                    .split(&**separator)
                    .any(|part| same(&Value::text(part))),
                _ => false,
            }),
        }
    }
}

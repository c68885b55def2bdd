//! Values of properties and what may be done with them: compare, convert, calculate (SEL-4).

use std::borrow::Cow;
use std::cmp::Ordering;

/// A value that is not NULL.
#[derive(Clone, Debug, PartialEq)]
pub enum Value<'a> {
    /// Text; owned only if it had to be unescaped or joined.
    Str(Cow<'a, str>),
    /// An integer of any width.
    I64(i64),
    /// A floating number of any width.
    F64(f64),
    /// TRUE or FALSE.
    Bool(bool),
}

impl<'a> Value<'a> {
    /// Text that lies elsewhere.
    #[must_use]
    pub fn text(text: &'a str) -> Self {
        Self::Str(Cow::Borrowed(text))
    }

    /// The same value without a copy of its text.
    #[inline]
    pub(super) fn borrowed(&self) -> Value<'_> {
        match self {
            Self::Str(text) => Value::Str(Cow::Borrowed(text)),
            Self::I64(number) => Value::I64(*number),
            Self::F64(number) => Value::F64(*number),
            Self::Bool(flag) => Value::Bool(*flag),
        }
    }

    /// What the value says where a condition stands: a value of another type is FALSE.
    pub(super) fn truth(&self, convert: bool) -> bool {
        match self {
            Self::Bool(flag) => *flag,
            Self::Str(text) if convert => boolean(text) == Some(true),
            _ => false,
        }
    }

    /// The value as a number; text only with `convert`.
    #[inline]
    fn number(&self, convert: bool) -> Option<Number> {
        match self {
            Self::I64(number) => Some(Number::I64(*number)),
            Self::F64(number) => Some(Number::F64(*number)),
            Self::Str(text) if convert => Number::read(text),
            _ => None,
        }
    }

    /// The value with its sign turned; NULL if it is no number.
    pub(super) fn negate(&self, convert: bool) -> Option<Value<'static>> {
        Some(match self.number(convert)? {
            Number::I64(number) => match number.checked_neg() {
                Some(negated) => Value::I64(negated),
                None => Value::F64(-float(number)),
            },
            Number::F64(number) => Value::F64(-number),
        })
    }
}

/// A comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Comparison {
    /// Whether it asks for an order, which only numbers have.
    pub(super) fn orders(self) -> bool {
        !matches!(self, Self::Equal | Self::NotEqual)
    }

    fn holds(self, ordering: Ordering) -> bool {
        match self {
            Self::Equal => ordering.is_eq(),
            Self::NotEqual => ordering.is_ne(),
            Self::Less => ordering.is_lt(),
            Self::LessOrEqual => ordering.is_le(),
            Self::Greater => ordering.is_gt(),
            Self::GreaterOrEqual => ordering.is_ge(),
        }
    }

    /// Compares two values. Types that do not compare make every comparison false, `<>` included (JMS).
    pub(super) fn compare(self, left: &Value<'_>, right: &Value<'_>, convert: bool) -> bool {
        let ordering = match (left, right) {
            (Value::Str(left), Value::Str(right)) if !self.orders() => Some(left.cmp(right)),
            (Value::Bool(left), Value::Bool(right)) if !self.orders() => Some(left.cmp(right)),
            (Value::Bool(flag), Value::Str(text)) if convert && !self.orders() => {
                boolean(text).map(|other| flag.cmp(&other))
            }
            (Value::Str(text), Value::Bool(flag)) if convert && !self.orders() => {
                boolean(text).map(|other| other.cmp(flag))
            }
            _ => match (left.number(convert), right.number(convert)) {
                (Some(left), Some(right)) => left.order(right),
                _ => None,
            },
        };
        ordering.is_some_and(|ordering| self.holds(ordering))
    }
}

/// An arithmetic operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operator {
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
}

impl Operator {
    /// Calculates; NULL for types that do not calculate and for an integer remainder by zero.
    ///
    /// A quotient is always floating; an integer result that does not fit becomes floating.
    pub(super) fn apply<'a>(
        self,
        left: &Value<'a>,
        right: &Value<'a>,
        convert: bool,
    ) -> Option<Value<'a>> {
        if let (Self::Add, Value::Str(left), Value::Str(right)) = (self, left, right) {
            return Some(Value::Str(Cow::Owned(format!("{left}{right}"))));
        }
        let (left, right) = (left.number(convert)?, right.number(convert)?);
        if let (Number::I64(left), Number::I64(right)) = (left, right) {
            let exact = match self {
                Self::Add => left.checked_add(right),
                Self::Subtract => left.checked_sub(right),
                Self::Multiply => left.checked_mul(right),
                Self::Divide => None,
                Self::Remainder if right == 0 => return None,
                Self::Remainder => Some(left.wrapping_rem(right)),
            };
            if let Some(exact) = exact {
                return Some(Value::I64(exact));
            }
        }
        let (left, right) = (left.float(), right.float());
        Some(Value::F64(match self {
            Self::Add => left + right,
            Self::Subtract => left - right,
            Self::Multiply => left * right,
            Self::Divide => left / right,
            Self::Remainder => left % right,
        }))
    }
}

/// A number of either width.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Number {
    I64(i64),
    F64(f64),
}

impl Number {
    /// Reads decimal digits, with a sign, a point and an exponent at most.
    #[inline]
    fn read(text: &str) -> Option<Self> {
        if let Ok(number) = text.parse() {
            return Some(Self::I64(number));
        }
        let is_numeric = |octet| matches!(octet, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E');
        if !text.bytes().all(is_numeric) {
            return None;
        }
        text.parse().ok().map(Self::F64)
    }

    fn float(self) -> f64 {
        match self {
            Self::I64(number) => float(number),
            Self::F64(number) => number,
        }
    }

    fn order(self, other: Self) -> Option<Ordering> {
        match (self, other) {
            (Self::I64(left), Self::I64(right)) => Some(left.cmp(&right)),
            (Self::F64(left), Self::F64(right)) => left.partial_cmp(&right),
            (Self::I64(left), Self::F64(right)) => order_mixed(left, right),
            (Self::F64(left), Self::I64(right)) => order_mixed(right, left).map(Ordering::reverse),
        }
    }
}

/// Compares exactly: an integer may have more digits than a floating number can hold.
#[expect(clippy::cast_possible_truncation, reason = "the range is checked")]
fn order_mixed(left: i64, right: f64) -> Option<Ordering> {
    /// 2^63, the first number beyond an `i64`.
    const BEYOND: f64 = 9_223_372_036_854_775_808.0;
    if right.is_nan() {
        return None;
    }
    if right >= BEYOND {
        return Some(Ordering::Less);
    }
    if right < -BEYOND {
        return Some(Ordering::Greater);
    }
    let whole = right.trunc();
    let by_whole = left.cmp(&(whole as i64));
    Some(by_whole.then_with(|| whole.total_cmp(&right)))
}

#[expect(clippy::cast_precision_loss, reason = "arithmetic across widths")]
fn float(number: i64) -> f64 {
    number as f64
}

fn boolean(text: &str) -> Option<bool> {
    if text.eq_ignore_ascii_case("true") {
        Some(true)
    } else if text.eq_ignore_ascii_case("false") {
        Some(false)
    } else {
        None
    }
}

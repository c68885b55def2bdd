//! How the values of policy keys are written down: ActiveMQ's forms (milliseconds, −1 for "no limit") and ours.

use std::marker::PhantomData;

use crate::broker::OnNack;
use crate::broker::policy::{
    DeadLetterKind, Eviction, Overflow, PendingLimitKind, RecoveryKind, SlowKind,
};
use crate::broker::queue::GroupRebalance;
use crate::config::leaf::{Leaf, Literal, quoted};
use crate::config::{ByteSize, Duration};

/// One way to write a value down.
pub(super) trait Form {
    /// The type of the value in the core.
    type Value;
    /// What a correct value looks like, as it stands after "expected".
    const EXPECTED: &'static str;

    /// Reads a value; `None` if it is not of this form.
    fn read(literal: &Literal<'_>) -> Option<Self::Value>;

    /// Writes a value as it stands in a file.
    fn write(value: &Self::Value) -> String;
}

/// A type that is written the same way everywhere in the configuration.
pub(super) struct Plain<T>(PhantomData<T>);

impl<T: Leaf> Form for Plain<T> {
    type Value = T;
    const EXPECTED: &'static str = T::EXPECTED;

    fn read(literal: &Literal<'_>) -> Option<T> {
        T::read(literal).ok()
    }

    fn write(value: &T) -> String {
        value.to_toml()
    }
}

/// Milliseconds, as ActiveMQ has them, or a length of time.
pub(super) struct Millis;

impl Form for Millis {
    type Value = u64;
    const EXPECTED: &'static str = "a number of milliseconds, or a length of time such as \"30s\"";

    fn read(literal: &Literal<'_>) -> Option<u64> {
        match literal {
            Literal::Integer(ms) => u64::try_from(*ms).ok(),
            Literal::Text(_) => Duration::read(literal).ok().map(Duration::as_millis),
            _ => None,
        }
    }

    fn write(ms: &u64) -> String {
        ms.to_string()
    }
}

/// The same, or −1 for none.
pub(super) struct MillisOrNone;

impl Form for MillisOrNone {
    type Value = Option<u64>;
    const EXPECTED: &'static str =
        "a number of milliseconds, a length of time such as \"30s\", or -1 for none";

    fn read(literal: &Literal<'_>) -> Option<Option<u64>> {
        match literal {
            Literal::Integer(-1) => Some(None),
            other => Millis::read(other).map(Some),
        }
    }

    fn write(ms: &Option<u64>) -> String {
        ms.map_or_else(|| "-1".to_owned(), |ms| ms.to_string())
    }
}

/// Milliseconds, or 0 for never, which −1 means too.
pub(super) struct MillisOrNever;

impl Form for MillisOrNever {
    type Value = u64;
    const EXPECTED: &'static str =
        "a number of milliseconds, a length of time such as \"30s\", or 0 for never";

    fn read(literal: &Literal<'_>) -> Option<u64> {
        match literal {
            Literal::Integer(-1) => Some(0),
            other => Millis::read(other),
        }
    }

    fn write(ms: &u64) -> String {
        Millis::write(ms)
    }
}

/// A part of a whole, 1 to 100.
pub(super) struct Percent;

impl Form for Percent {
    type Value = u8;
    const EXPECTED: &'static str = "a whole number from 1 to 100";

    fn read(literal: &Literal<'_>) -> Option<u8> {
        match literal {
            Literal::Integer(percent @ 1..=100) => u8::try_from(*percent).ok(),
            _ => None,
        }
    }

    fn write(percent: &u8) -> String {
        percent.to_string()
    }
}

/// A number, or −1 for any.
pub(super) struct OrAny<T>(PhantomData<T>);

impl<T: TryFrom<i64> + ToString> Form for OrAny<T> {
    type Value = Option<T>;
    const EXPECTED: &'static str = "a whole number, or -1 for no limit";

    fn read(literal: &Literal<'_>) -> Option<Option<T>> {
        match literal {
            Literal::Integer(-1) => Some(None),
            Literal::Integer(number) => T::try_from(*number).ok().map(Some),
            _ => None,
        }
    }

    fn write(value: &Option<T>) -> String {
        value.as_ref().map_or_else(|| "-1".to_owned(), T::to_string)
    }
}

/// A number of messages, or 0 for any.
pub(super) struct Messages;

impl Form for Messages {
    type Value = Option<u64>;
    const EXPECTED: &'static str = "a number of messages, or 0 for no limit";

    fn read(literal: &Literal<'_>) -> Option<Option<u64>> {
        match literal {
            Literal::Integer(number) => u64::try_from(*number).ok().map(|n| (n > 0).then_some(n)),
            _ => None,
        }
    }

    fn write(value: &Option<u64>) -> String {
        value.unwrap_or(0).to_string()
    }
}

/// A size, or 0 for any.
pub(super) struct Bytes;

impl Form for Bytes {
    type Value = Option<u64>;
    const EXPECTED: &'static str = "a size such as \"64 MiB\", or 0 for no limit";

    fn read(literal: &Literal<'_>) -> Option<Option<u64>> {
        let size = ByteSize::read(literal).ok()?;
        Some((size.bytes() > 0).then_some(size.bytes()))
    }

    fn write(value: &Option<u64>) -> String {
        match value {
            Some(bytes) => ByteSize::from_bytes(*bytes).to_toml(),
            None => "0".to_owned(),
        }
    }
}

/// A size.
pub(super) struct Size;

impl Form for Size {
    type Value = u64;
    const EXPECTED: &'static str = "a size such as \"16 MiB\"";

    fn read(literal: &Literal<'_>) -> Option<u64> {
        ByteSize::read(literal).ok().map(ByteSize::bytes)
    }

    fn write(bytes: &u64) -> String {
        ByteSize::from_bytes(*bytes).to_toml()
    }
}

/// A number, of messages or octets, or −1 for the usual one.
pub(super) struct SizeOrDefault;

impl Form for SizeOrDefault {
    type Value = Option<u64>;
    const EXPECTED: &'static str = "a number, a size such as \"64 KiB\", or -1 for the default";

    fn read(literal: &Literal<'_>) -> Option<Option<u64>> {
        match literal {
            Literal::Integer(-1) => Some(None),
            Literal::Integer(number) => u64::try_from(*number).ok().map(Some),
            Literal::Text(_) => Size::read(literal).map(Some),
            _ => None,
        }
    }

    fn write(value: &Option<u64>) -> String {
        value.map_or_else(|| "-1".to_owned(), |number| number.to_string())
    }
}

/// A value out of a few words; the first word of each is the one written.
pub(super) trait Words: Copy + PartialEq + 'static {
    /// The words, as they stand after "expected".
    const EXPECTED: &'static str;
    /// All words and what they mean.
    const WORDS: &'static [(&'static str, Self)];
}

/// One of [`Words`].
pub(super) struct Word<T>(PhantomData<T>);

impl<T: Words> Form for Word<T> {
    type Value = T;
    const EXPECTED: &'static str = T::EXPECTED;

    fn read(literal: &Literal<'_>) -> Option<T> {
        let Literal::Text(text) = literal else {
            return None;
        };
        let found = T::WORDS
            .iter()
            .find(|(word, _)| word.eq_ignore_ascii_case(text.trim()));
        found.map(|(_, value)| *value)
    }

    fn write(value: &T) -> String {
        let found = T::WORDS.iter().find(|(_, known)| known == value);
        quoted(found.map_or("", |(word, _)| word))
    }
}

impl Words for DeadLetterKind {
    const EXPECTED: &'static str = "\"shared\", \"individual\" or \"discard\"";
    const WORDS: &'static [(&'static str, Self)] = &[
        ("shared", Self::Shared),
        ("individual", Self::Individual),
        ("discard", Self::Discard),
        ("discarding", Self::Discard),
        ("sharedDeadLetterStrategy", Self::Shared),
        ("individualDeadLetterStrategy", Self::Individual),
    ];
}

impl Words for Overflow {
    const EXPECTED: &'static str = "\"wait\", \"reject\" or \"drop-head\"";
    const WORDS: &'static [(&'static str, Self)] = &[
        ("wait", Self::Wait),
        ("reject", Self::Reject),
        ("drop-head", Self::DropHead),
    ];
}

impl Words for OnNack {
    const EXPECTED: &'static str = "\"redeliver\", \"dlq\", \"requeue\" or \"discard\"";
    const WORDS: &'static [(&'static str, Self)] = &[
        ("redeliver", Self::Redeliver),
        ("dlq", Self::DeadLetter),
        ("requeue", Self::Requeue),
        ("discard", Self::Discard),
    ];
}

impl Words for GroupRebalance {
    const EXPECTED: &'static str = "\"never\" or \"idle\"";
    const WORDS: &'static [(&'static str, Self)] = &[("never", Self::Never), ("idle", Self::Idle)];
}

impl Words for PendingLimitKind {
    const EXPECTED: &'static str = "\"none\", \"constant\" or \"prefetchRate\"";
    const WORDS: &'static [(&'static str, Self)] = &[
        ("none", Self::None),
        ("constant", Self::Constant),
        ("prefetchRate", Self::PrefetchRate),
        ("constantPendingMessageLimitStrategy", Self::Constant),
        (
            "prefetchRatePendingMessageLimitStrategy",
            Self::PrefetchRate,
        ),
    ];
}

impl Words for Eviction {
    const EXPECTED: &'static str =
        "\"oldest\", \"oldestWithLowestPriority\", \"uniqueProperty\" or \"disconnect\"";
    const WORDS: &'static [(&'static str, Self)] = &[
        ("oldest", Self::Oldest),
        ("oldestWithLowestPriority", Self::LowestPriority),
        ("uniqueProperty", Self::UniqueProperty),
        ("disconnect", Self::Disconnect),
        ("oldestMessageEvictionStrategy", Self::Oldest),
        (
            "oldestMessageWithLowestPriorityEvictionStrategy",
            Self::LowestPriority,
        ),
        (
            "uniquePropertyMessageEvictionStrategy",
            Self::UniqueProperty,
        ),
    ];
}

impl Words for SlowKind {
    const EXPECTED: &'static str = "\"none\", \"abortSlowConsumer\" or \"abortSlowAckConsumer\"";
    const WORDS: &'static [(&'static str, Self)] = &[
        ("none", Self::None),
        ("abortSlowConsumer", Self::Window),
        ("abortSlowAckConsumer", Self::Acks),
        ("abortSlowConsumerStrategy", Self::Window),
        ("abortSlowAckConsumerStrategy", Self::Acks),
    ];
}

impl Words for RecoveryKind {
    const EXPECTED: &'static str =
        "\"none\", \"lastImage\", \"fixedCount\", \"fixedSize\", \"timed\" or \"retained\"";
    const WORDS: &'static [(&'static str, Self)] = &[
        ("none", Self::None),
        ("lastImage", Self::LastImage),
        ("fixedCount", Self::FixedCount),
        ("fixedSize", Self::FixedSize),
        ("timed", Self::Timed),
        ("retained", Self::Retained),
        ("noSubscriptionRecoveryPolicy", Self::None),
        ("lastImageSubscriptionRecoveryPolicy", Self::LastImage),
        ("fixedCountSubscriptionRecoveryPolicy", Self::FixedCount),
        ("fixedSizedSubscriptionRecoveryPolicy", Self::FixedSize),
        ("timedSubscriptionRecoveryPolicy", Self::Timed),
        ("retainedMessageSubscriptionRecoveryPolicy", Self::Retained),
    ];
}

/// Whether a group waits for its member in redelivery delay.
pub(super) struct HoldOrPass;

impl Form for HoldOrPass {
    type Value = bool;
    const EXPECTED: &'static str = "\"hold\" or \"pass\"";

    fn read(literal: &Literal<'_>) -> Option<bool> {
        match literal {
            Literal::Text("hold") => Some(true),
            Literal::Text("pass") => Some(false),
            _ => None,
        }
    }

    fn write(holds: &bool) -> String {
        quoted(if *holds { "hold" } else { "pass" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn activemq_writes_milliseconds_and_minus_one() {
        assert_eq!(Millis::read(&Literal::Integer(1000)), Some(1000));
        assert_eq!(Millis::read(&Literal::Text("1s")), Some(1000));
        assert_eq!(Millis::read(&Literal::Integer(-1)), None);
        assert_eq!(MillisOrNone::read(&Literal::Integer(-1)), Some(None));
        assert_eq!(MillisOrNone::write(&None), "-1");
        assert_eq!(MillisOrNever::read(&Literal::Integer(-1)), Some(0));
        assert_eq!(MillisOrNever::read(&Literal::Text("0s")), Some(0));
        assert_eq!(Percent::read(&Literal::Integer(100)), Some(100));
        assert_eq!(Percent::read(&Literal::Integer(0)), None);
        assert_eq!(Percent::read(&Literal::Integer(101)), None);
        assert_eq!(OrAny::<u16>::read(&Literal::Integer(-1)), Some(None));
        assert_eq!(OrAny::<u16>::read(&Literal::Integer(70_000)), None);
        assert_eq!(OrAny::<u16>::write(&Some(6)), "6");
        assert_eq!(Messages::read(&Literal::Integer(0)), Some(None));
        assert_eq!(Bytes::read(&Literal::Text("1 KiB")), Some(Some(1024)));
        assert_eq!(Bytes::write(&Some(1024)), "\"1 KiB\"");
    }

    #[test]
    fn words_read_in_any_case_and_write_back() {
        for (word, value) in DeadLetterKind::WORDS {
            assert_eq!(Word::read(&Literal::Text(word)), Some(*value), "{word}");
        }
        assert_eq!(Word::write(&DeadLetterKind::Discard), "\"discard\"");
        assert_eq!(
            Word::<Overflow>::read(&Literal::Text("Drop-Head")),
            Some(Overflow::DropHead)
        );
        assert_eq!(Word::<Overflow>::read(&Literal::Text("drop")), None);
        assert_eq!(HoldOrPass::read(&Literal::Text("pass")), Some(false));
    }
}

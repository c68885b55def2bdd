//! Keys whose value is one of a few words.

use std::fmt;

use super::leaf::{Leaf, Literal, expected, quoted};

/// Declares a type whose values are written as words; serde reads and writes the words as well.
macro_rules! words {
    ($(
        $(#[doc = $doc:literal])*
        $name:ident: $expected:literal { $( $(#[doc = $word_doc:literal])* $variant:ident = $word:literal, )* }
    )*) => {$(
        $(#[doc = $doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $name {
            $( $(#[doc = $word_doc])* $variant, )*
        }

        impl fmt::Display for $name {
            fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str(match self { $(Self::$variant => $word,)* })
            }
        }

        impl Leaf for $name {
            const EXPECTED: &'static str = $expected;

            fn read(literal: &Literal<'_>) -> Result<Self, String> {
                match literal {
                    $(Literal::Text(text) if text.trim().eq_ignore_ascii_case($word) => Ok(Self::$variant),)*
                    _ => Err(expected::<Self>(literal)),
                }
            }

            fn to_toml(&self) -> String {
                quoted(&self.to_string())
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <String as serde::Deserialize>::deserialize(deserializer)?;
                Self::read(&Literal::Text(&text)).map_err(serde::de::Error::custom)
            }
        }
    )*};
}
words! {
    /// Whose ways the defaults follow where systems disagree (section 13).
    Compat: "\"ferrymq\" or \"activemq\"" {
        /// Ours.
        Ferrymq = "ferrymq",
        /// Those of ActiveMQ Classic.
        ActiveMq = "activemq",
    }

    /// What a NACK does (NAK-2).
    NackAction: "\"redeliver\", \"dlq\", \"requeue\" or \"discard\"" {
        /// It counts as a failed delivery.
        Redeliver = "redeliver",
        /// The message is a dead letter at once.
        DeadLetter = "dlq",
        /// It goes back to its place at once.
        Requeue = "requeue",
        /// It is dropped.
        Discard = "discard",
    }

    /// What a group does while one of its messages is in redelivery delay (GRP-8).
    GroupRedelivery: "\"hold\" or \"pass\"" {
        /// The group waits.
        Hold = "hold",
        /// The others of the group pass.
        Pass = "pass",
    }

    /// Whose further ways of STOMP are followed (section 10).
    Dialect: "\"activemq\" or \"rabbitmq\"" {
        /// ActiveMQ's.
        ActiveMq = "activemq",
        /// RabbitMQ's: reply queues are subscribed to by naming them.
        RabbitMq = "rabbitmq",
    }

    /// Which words are wildcards (DST-6).
    WildcardStyle: "\"activemq\", \"artemis\" or \"rabbitmq\"" {
        /// `*` and `>`.
        ActiveMq = "activemq",
        /// `#` as well, which means `>`.
        Artemis = "artemis",
        /// The same, as RabbitMQ writes it.
        RabbitMq = "rabbitmq",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_reads_and_writes_alike() {
        let read = |text| NackAction::read(&Literal::Text(text));
        assert_eq!(read("DLQ"), Ok(NackAction::DeadLetter));
        assert_eq!(NackAction::DeadLetter.to_toml(), "\"dlq\"");
        assert_eq!(
            read("drop"),
            Err(
                "expected \"redeliver\", \"dlq\", \"requeue\" or \"discard\", found \"drop\""
                    .to_owned()
            )
        );
    }
}

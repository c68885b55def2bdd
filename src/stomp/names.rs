//! What names of destinations mean on our listeners: prefixes, exchanges of RabbitMQ, wildcards (section 10, DST-15).

use std::borrow::Cow;
use std::collections::BTreeMap;

use ferrymq_protocols::stomp::{Headers, Known};

use super::reply::Refusal;
use crate::broker::pattern::Syntax;
use crate::broker::{Destination, Kind};

/// How destinations are written down.
#[derive(Clone, Debug)]
pub struct Names {
    /// How names are split and which words are wildcards (DST-5).
    pub syntax: Syntax,
    /// What a queue's name may stand behind; the first is how queues are shown.
    pub queue_prefixes: Vec<String>,
    /// The same of topics.
    pub topic_prefixes: Vec<String>,
    /// Destinations of exchanges by name; `{key}` stands for the routing key.
    pub exchanges: BTreeMap<String, String>,
}

impl Default for Names {
    fn default() -> Self {
        Self {
            syntax: Syntax::default(),
            queue_prefixes: vec![QUEUE.to_owned()],
            topic_prefixes: vec![TOPIC.to_owned()],
            exchanges: BTreeMap::new(),
        }
    }
}

const QUEUE: &str = "/queue/";
const TOPIC: &str = "/topic/";

/// Prefixes that are always honoured (DST-2).
const SCHEMES: [(&str, Kind); 2] = [("queue://", Kind::Queue), ("topic://", Kind::Topic)];

/// Prefixes of temporary destinations of this connection.
const OWN: [(&str, Kind); 4] = [
    ("/temp-queue/", Kind::Queue),
    ("/temp-topic/", Kind::Topic),
    ("temp-queue://", Kind::Queue),
    ("temp-topic://", Kind::Topic),
];

/// Prefixes of temporary destinations as others see them; the last is RabbitMQ's.
const REMOTE: [(&str, Kind); 3] = [
    ("/remote-temp-queue/", Kind::Queue),
    ("/remote-temp-topic/", Kind::Topic),
    ("/reply-queue/", Kind::Queue),
];

const EXCHANGE: &str = "/exchange/";
const EXISTING: &str = "/amq/queue/";

/// What stands for the routing key in the destination of an exchange.
const KEY: &str = "{key}";

/// What a text names, before its name is looked at.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Named<'a> {
    /// A destination of this kind.
    Plain(Kind, &'a str),
    /// A queue that has to be there.
    Existing(&'a str),
    /// A temporary destination of this connection (DST-9).
    Own(Kind, &'a str),
    /// A temporary destination as others see it (DST-10).
    Remote(Kind, &'a str),
    /// A routing key behind the name of an exchange.
    Exchange(&'a str),
    /// A text without a prefix that is known.
    Bare(&'a str),
}

/// The temporary destination of this connection that `text` names.
pub(super) fn own(text: &str) -> Option<(Kind, &str)> {
    behind(text, &OWN)
}

fn behind<'a>(text: &'a str, prefixes: &[(&str, Kind)]) -> Option<(Kind, &'a str)> {
    prefixes
        .iter()
        .find_map(|(prefix, kind)| Some((*kind, text.strip_prefix(prefix)?)))
}

impl Names {
    /// Reads the prefix of one name.
    pub(super) fn read<'a>(&self, text: &'a str) -> Named<'a> {
        if let Some((kind, name)) = own(text) {
            return Named::Own(kind, name);
        }
        if let Some((kind, id)) = behind(text, &REMOTE) {
            return Named::Remote(kind, id);
        }
        if let Some(rest) = text.strip_prefix(EXCHANGE) {
            return Named::Exchange(rest);
        }
        if let Some(name) = text.strip_prefix(EXISTING) {
            return Named::Existing(name);
        }
        if let Some((kind, name)) = behind(text, &SCHEMES) {
            return Named::Plain(kind, name);
        }
        // Of prefixes that begin alike the longest counts.
        let queues = self.queue_prefixes.iter().map(|p| (p, Kind::Queue));
        let topics = self.topic_prefixes.iter().map(|p| (p, Kind::Topic));
        let found = queues
            .chain(topics)
            .filter_map(|(prefix, kind)| Some((prefix.len(), kind, text.strip_prefix(prefix)?)))
            .max_by_key(|(length, ..)| *length);
        found.map_or(Named::Bare(text), |(_, kind, name)| {
            Named::Plain(kind, name)
        })
    }

    /// Where `/exchange/<rest>` leads, as one would write it here.
    pub(super) fn exchange(&self, rest: &str) -> Result<String, Refusal> {
        let (exchange, key) = match rest.split_once('/') {
            Some((exchange, key)) => (exchange, Some(key).filter(|key| !key.is_empty())),
            None => (rest, None),
        };
        let template = match exchange {
            _ if self.exchanges.contains_key(exchange) => self.exchanges[exchange].as_str(),
            "" | "amq.default" | "amq.direct" => "queue://{key}",
            "amq.topic" => "topic://{key}",
            "amq.fanout" => "topic://amq.fanout",
            _ => {
                return Err(Refusal::frame(format!(
                    "exchanges are not supported; map '{exchange}' to a topic with [stomp.exchange_map]"
                )));
            }
        };
        match key {
            Some(key) => Ok(template.replace(KEY, key)),
            None if template.contains(KEY) => Err(Refusal::frame(format!(
                "destination '{EXCHANGE}{rest}' has no routing key: {EXCHANGE}{exchange}/<key>"
            ))),
            None => Ok(template.to_owned()),
        }
    }

    /// The name of the queue that `text` names, if it is a queue.
    pub(super) fn queue_name<'a>(&self, text: &'a str) -> Option<&'a str> {
        match self.read(text) {
            Named::Plain(Kind::Queue, name) | Named::Bare(name) => {
                Some(name).filter(|name| !name.is_empty())
            }
            _ => None,
        }
    }

    /// How a destination is shown to readers. What has a name of its own to this connection is not asked for here.
    pub(super) fn shown(&self, destination: &Destination) -> String {
        let prefixes = match destination.kind {
            Kind::Queue => &self.queue_prefixes,
            Kind::Topic => &self.topic_prefixes,
        };
        match prefixes.first() {
            Some(prefix) if !destination.is_temporary() => format!("{prefix}{}", destination.name),
            _ => destination.to_string(),
        }
    }

    /// The destinations in `text` with `kind` for those that no prefix tells the kind of (`destination-type`).
    pub(super) fn with_kind(&self, text: &str, kind: Kind) -> String {
        let scheme = SCHEMES.iter().find(|(_, known)| *known == kind);
        let scheme = scheme.map_or("", |(scheme, _)| scheme);
        let typed = text.split(',').map(|part| match self.read(part.trim()) {
            Named::Bare(name) => Cow::Owned(format!("{scheme}{name}")),
            _ => Cow::Borrowed(part),
        });
        typed.collect::<Vec<_>>().join(",")
    }
}

/// The kind that Artemis' headers give a destination without a prefix: `destination-type` on SEND, `subscription-type` on
/// SUBSCRIBE.
pub(super) fn typed(headers: &Headers<'_>, header: Known) -> Result<Option<Kind>, Refusal> {
    match headers.get(header).as_deref().map(str::trim) {
        None => Ok(None),
        Some(word) if word.eq_ignore_ascii_case("ANYCAST") => Ok(Some(Kind::Queue)),
        Some(word) if word.eq_ignore_ascii_case("MULTICAST") => Ok(Some(Kind::Topic)),
        Some(word) => Err(Refusal::frame(format!(
            "{} must be ANYCAST or MULTICAST, not '{word}'",
            header.name()
        ))),
    }
}

/// Streams of RabbitMQ are nothing a queue could stand for; its other types of queues are.
pub(super) fn refuse_streams(headers: &Headers<'_>) -> Result<(), Refusal> {
    let is_stream = |(name, value): (Cow<'_, str>, Cow<'_, str>)| {
        name == "x-queue-type" && value.trim() == "stream" || name.starts_with("x-stream-")
    };
    if headers.iter().any(is_stream) {
        return Err(Refusal::frame("streams are not supported"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_can_be_others_and_the_longest_counts() {
        let names = Names {
            queue_prefixes: vec!["jms.queue.".to_owned(), "jms.".to_owned()],
            topic_prefixes: vec!["jms.topic.".to_owned()],
            ..Names::default()
        };
        let plain = |kind, name| Named::Plain(kind, name);
        assert_eq!(names.read("jms.queue.a"), plain(Kind::Queue, "a"));
        assert_eq!(names.read("jms.topic.a"), plain(Kind::Topic, "a"));
        assert_eq!(names.read("jms.a"), plain(Kind::Queue, "a"));
        assert_eq!(names.read("queue://a"), plain(Kind::Queue, "a"));
        assert_eq!(names.read("/queue/a"), Named::Bare("/queue/a"));
        assert_eq!(names.shown(&Destination::queue("a")), "jms.queue.a");
        assert_eq!(names.shown(&Destination::topic("a")), "jms.topic.a");
        let temporary = Destination::temporary(Kind::Queue, "ID-1-1");
        assert_eq!(names.shown(&temporary), temporary.to_string());
    }

    #[test]
    fn exchanges_lead_to_destinations() {
        let exchanges = [
            ("orders", "/topic/orders.{key}.x"),
            ("all", "/topic/all"),
            ("amq.direct", "/queue/direct.{key}"),
        ];
        let names = Names {
            exchanges: exchanges.map(|(a, b)| (a.into(), b.into())).into(),
            ..Names::default()
        };
        for (rest, found) in [
            ("amq.topic/a.b", "topic://a.b"),
            ("amq.topic/a/b", "topic://a/b"),
            ("/q", "queue://q"),
            ("amq.fanout", "topic://amq.fanout"),
            ("amq.fanout/any", "topic://amq.fanout"),
            ("orders/eu", "/topic/orders.eu.x"),
            ("all", "/topic/all"),
            ("amq.direct/q", "/queue/direct.q"),
        ] {
            assert_eq!(names.exchange(rest).expect(rest), found);
        }
        for rest in [
            "custom/key",
            "amq.topic",
            "amq.topic/",
            "orders",
            "amq.headers/a",
        ] {
            assert!(names.exchange(rest).is_err(), "{rest}");
        }
    }

    #[test]
    fn a_type_counts_where_no_prefix_does() {
        let names = Names::default();
        let typed = names.with_kind("a, /queue/b,/exchange/amq.topic/c", Kind::Topic);
        assert_eq!(typed, "topic://a, /queue/b,/exchange/amq.topic/c");
        assert_eq!(names.with_kind("/foo/a", Kind::Queue), "queue:///foo/a");
    }
}

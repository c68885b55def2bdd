//! Destination headers to destinations (section 3).

use super::reply::Refusal;
use crate::broker::pattern::Syntax;
use crate::broker::{Destination, Kind, Pattern};

/// Prefixes whose meaning is known but not built yet; never taken as literal names.
const NOT_YET: [(&str, &str); 3] = [
    ("/exchange/", "exchanges are"),
    ("/amq/queue/", "/amq/queue/ destinations are"),
    ("/reply-queue/", "reply queues are"),
];

/// Prefixes of temporary destinations of this connection.
const OWN: [(&str, Kind); 4] = [
    ("/temp-queue/", Kind::Queue),
    ("/temp-topic/", Kind::Topic),
    ("temp-queue://", Kind::Queue),
    ("temp-topic://", Kind::Topic),
];

/// Prefixes of temporary destinations as others see them.
const REMOTE: [(&str, Kind); 2] = [
    ("/remote-temp-queue/", Kind::Queue),
    ("/remote-temp-topic/", Kind::Topic),
];

/// One of the names in a header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// A queue or topic.
    Named(Destination),
    /// All that match (DST-5).
    Pattern(Kind, Pattern),
    /// A temporary destination of this connection, by its own name (DST-9).
    Own(Kind, String),
    /// A temporary destination as others see it (DST-10).
    Remote(Destination),
}

/// What a header names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Address {
    /// The destinations, at least one (DST-4).
    pub(super) parts: Vec<Part>,
    /// What stands behind `?` (DST-8).
    pub(super) options: Option<String>,
}

impl Part {
    /// What access rules say whether it may be read or not; nothing of what belongs to the connection itself.
    pub(super) fn guarded(&self) -> Option<Destination> {
        match self {
            Self::Named(destination) => Some(destination.clone()),
            Self::Pattern(kind, pattern) => Some(Destination {
                kind: *kind,
                name: pattern.as_str().to_owned(),
            }),
            Self::Own(..) | Self::Remote(_) => None,
        }
    }

    /// Queue or topic.
    pub(super) fn kind(&self) -> Kind {
        match self {
            Self::Named(destination) | Self::Remote(destination) => destination.kind,
            Self::Pattern(kind, _) | Self::Own(kind, _) => *kind,
        }
    }
}

/// Reads a destination header.
pub(super) fn parse(text: &str, syntax: Syntax) -> Result<Address, Refusal> {
    let (names, options) = match text.split_once('?') {
        Some((names, options)) => (names, Some(options.to_owned())),
        None => (text, None),
    };
    let mut parts = Vec::new();
    for name in names.split(',') {
        let part = parse_one(name.trim(), syntax)?;
        // Twice the same destination is one (DST-4: one copy to each).
        if !parts.contains(&part) {
            parts.push(part);
        }
    }
    Ok(Address { parts, options })
}

/// The temporary destination of this connection that `text` names.
pub(super) fn own(text: &str) -> Option<(Kind, &str)> {
    OWN.iter()
        .find_map(|(prefix, kind)| Some((*kind, text.strip_prefix(prefix)?)))
}

/// Reads one name. Without a known prefix it is a queue of that name (DST-2, DST-15).
fn parse_one(text: &str, syntax: Syntax) -> Result<Part, Refusal> {
    if let Some((_, what)) = NOT_YET.iter().find(|(prefix, _)| text.starts_with(prefix)) {
        return Err(Refusal::not_yet(what));
    }
    let nameless = || Refusal::frame(format!("destination '{text}' has no name"));
    if let Some((kind, name)) = own(text) {
        if name.trim().is_empty() {
            return Err(nameless());
        }
        return Ok(Part::Own(kind, name.to_owned()));
    }
    let remote = |(prefix, kind): &(&str, Kind)| Some((*kind, text.strip_prefix(prefix)?));
    if let Some((kind, id)) = REMOTE.iter().find_map(remote) {
        return Ok(Part::Remote(Destination::temporary(kind, id)));
    }
    let topic = ["/topic/", "topic://"]
        .iter()
        .find_map(|prefix| text.strip_prefix(prefix));
    let queue = ["/queue/", "queue://"]
        .iter()
        .find_map(|prefix| text.strip_prefix(prefix));
    let destination = match (topic, queue) {
        (Some(name), _) => Destination::topic(name),
        (None, Some(name)) => Destination::queue(name),
        (None, None) => Destination::queue(text),
    };
    if destination.name.trim().is_empty() {
        return Err(nameless());
    }
    reserved(&destination)?;
    let pattern = Pattern::parse_with(&destination.name, syntax)
        .map_err(|error| Refusal::frame(format!("destination '{text}': {error}")))?;
    if pattern.is_wildcard() {
        return Ok(Part::Pattern(destination.kind, pattern));
    }
    Ok(Part::Named(destination))
}

/// Names with a meaning of their own (DST-14) that are no destinations to anything else.
fn reserved(destination: &Destination) -> Result<(), Refusal> {
    let name = destination.name.as_str();
    if name.starts_with("ActiveMQ.Statistics.") {
        return Err(Refusal::frame(format!(
            "{destination} takes single SENDs with a reply-to only"
        )));
    }
    if name.starts_with("ActiveMQ.Scheduler.") {
        return Err(Refusal::frame(format!(
            "{destination} takes SEND with AMQ_SCHEDULER_ACTION only"
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(text: &str) -> Vec<Part> {
        let address = parse(text, Syntax::default());
        address.expect(text).parts
    }

    #[test]
    fn prefixes_decide_the_kind() {
        let check = |text: &str, expected: Destination| {
            assert_eq!(parts(text), [Part::Named(expected)], "{text}");
        };
        check("/queue/a.b", Destination::queue("a.b"));
        check("/topic/a", Destination::topic("a"));
        check("queue://a", Destination::queue("a"));
        check("topic://a", Destination::topic("a"));
        check("a", Destination::queue("a"));
        check("/foo/bar", Destination::queue("/foo/bar"));
        let own = Part::Own(Kind::Topic, "a".to_owned());
        assert_eq!(parts("temp-topic://a"), [own]);
        let remote = Part::Remote(Destination::temporary(Kind::Queue, "ID-1-2"));
        assert_eq!(parts("/remote-temp-queue/ID-1-2"), [remote]);
    }

    #[test]
    fn each_name_of_a_list_has_a_prefix_of_its_own() {
        let named = [
            Part::Named(Destination::topic("a")),
            Part::Named(Destination::queue("b")),
        ];
        assert_eq!(parts("/topic/a, b,/topic/a"), named);
        let found = parse("/queue/a,b?consumer.priority=3", Syntax::default()).unwrap();
        assert_eq!(found.parts.len(), 2);
        assert_eq!(found.options.as_deref(), Some("consumer.priority=3"));
        for text in ["/queue/a,,b", "/queue/", ",", "/temp-queue/", "?a=b"] {
            assert!(parse(text, Syntax::default()).is_err(), "{text}");
        }
    }

    #[test]
    fn wildcards_are_whole_levels() {
        assert!(matches!(
            parts("/topic/a.>")[..],
            [Part::Pattern(Kind::Topic, _)]
        ));
        assert!(matches!(parts("/topic/a>")[..], [Part::Named(_)]));
        assert!(parse("/topic/a.>.b", Syntax::default()).is_err());
    }

    #[test]
    fn what_is_not_built_is_refused_and_never_literal() {
        for text in ["/exchange/amq.topic/a", "/reply-queue/a"] {
            let refusal = parse(text, Syntax::default()).expect_err(text);
            assert!(
                refusal.message.ends_with("not supported yet"),
                "{text}: {}",
                refusal.message
            );
            assert!(!refusal.fatal);
        }
    }
}

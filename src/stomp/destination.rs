//! Destination headers to destinations (section 3).

use super::names::{Named, Names};
use super::reply::Refusal;
use crate::broker::{Destination, Kind, Pattern};
use crate::engine::shared::SHARED_PREFIX;

/// One of the names in a header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// A queue or topic.
    Named(Destination),
    /// A queue that has to be there: naming it does not make it.
    Existing(Destination),
    /// All that match (DST-5).
    Pattern(Kind, Box<Pattern>),
    /// A temporary destination of this connection, by its own name (DST-9).
    Own(Kind, Box<str>),
    /// A temporary destination as others see it (DST-10).
    Remote(Destination),
}

/// What a header names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Address {
    /// The destinations, at least one (DST-4).
    pub(super) parts: Vec<Part>,
    /// What stands behind `?` (DST-8).
    pub(super) options: Option<Box<str>>,
}

impl Part {
    /// What access rules say whether it may be read or not; nothing of what belongs to the connection itself.
    pub(super) fn guarded(&self) -> Option<Destination> {
        match self {
            Self::Named(destination) | Self::Existing(destination) => Some(destination.clone()),
            Self::Pattern(kind, pattern) => Some(Destination {
                kind: *kind,
                name: pattern.as_str().into(),
            }),
            Self::Own(..) | Self::Remote(_) => None,
        }
    }

    /// Queue or topic.
    pub(super) fn kind(&self) -> Kind {
        match self {
            Self::Named(destination) | Self::Existing(destination) | Self::Remote(destination) => {
                destination.kind
            }
            Self::Pattern(kind, _) | Self::Own(kind, _) => *kind,
        }
    }
}

/// Reads a destination header.
pub(super) fn parse(text: &str, names: &Names) -> Result<Address, Refusal> {
    let (list, options) = match text.split_once('?') {
        Some((list, options)) => (list, Some(options.into())),
        None => (text, None),
    };
    // Kept with a subscription, and most name one.
    let mut parts = Vec::with_capacity(1);
    for name in list.split(',') {
        let part = parse_one(name.trim(), names)?;
        // Twice the same destination is one (DST-4: one copy to each).
        if !parts.contains(&part) {
            parts.push(part);
        }
    }
    Ok(Address { parts, options })
}

/// Reads one name. Without a known prefix it is a queue of that name (DST-2, DST-15).
fn parse_one(text: &str, names: &Names) -> Result<Part, Refusal> {
    if let Named::Exchange(rest) = names.read(text) {
        let leads_to = names.exchange(rest)?;
        return match names.read(&leads_to) {
            Named::Exchange(_) => Err(Refusal::frame(format!(
                "destination '{text}': an exchange leads to another one ({leads_to}) in [stomp.exchange_map]"
            ))),
            _ => parse_one(&leads_to, names),
        };
    }
    let nameless = || Refusal::frame(format!("destination '{text}' has no name"));
    let (destination, existing) = match names.read(text) {
        Named::Own(_, name) if name.trim().is_empty() => return Err(nameless()),
        Named::Own(kind, name) => return Ok(Part::Own(kind, name.into())),
        Named::Remote(kind, id) => return Ok(Part::Remote(Destination::temporary(kind, id))),
        Named::Plain(kind, name) => (named(kind, name), false),
        Named::Existing(name) => (Destination::queue(name), true),
        Named::Bare(name) | Named::Exchange(name) => (Destination::queue(name), false),
    };
    if destination.name.trim().is_empty() {
        return Err(nameless());
    }
    reserved(&destination)?;
    if existing {
        return Ok(Part::Existing(destination));
    }
    let pattern = Pattern::parse_with(&destination.name, names.syntax)
        .map_err(|error| Refusal::frame(format!("destination '{text}': {error}")))?;
    if pattern.is_wildcard() {
        return Ok(Part::Pattern(destination.kind, Box::new(pattern)));
    }
    Ok(Part::Named(destination))
}

fn named(kind: Kind, name: &str) -> Destination {
    match kind {
        Kind::Queue => Destination::queue(name),
        Kind::Topic => Destination::topic(name),
    }
}

/// Names with a meaning of their own (DST-14) that are no destinations to anything else.
fn reserved(destination: &Destination) -> Result<(), Refusal> {
    let name = &*destination.name;
    if name.starts_with(SHARED_PREFIX) {
        return Err(Refusal::frame(format!(
            "{destination} belongs to a durable subscription: SUBSCRIBE to its topic with durable:true"
        )));
    }
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
        let address = parse(text, &Names::default());
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
        check("/exchange/amq.topic/a", Destination::topic("a"));
        check("/exchange/amq.direct/a", Destination::queue("a"));
        let existing = Part::Existing(Destination::queue("a"));
        assert_eq!(parts("/amq/queue/a"), [existing]);
        let own = Part::Own(Kind::Topic, "a".into());
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
        let found = parse("/queue/a,b?consumer.priority=3", &Names::default()).unwrap();
        assert_eq!(found.parts.len(), 2);
        assert_eq!(found.options.as_deref(), Some("consumer.priority=3"));
        for text in ["/queue/a,,b", "/queue/", ",", "/temp-queue/", "?a=b"] {
            assert!(parse(text, &Names::default()).is_err(), "{text}");
        }
    }

    #[test]
    fn wildcards_are_whole_levels() {
        assert!(matches!(
            parts("/topic/a.>")[..],
            [Part::Pattern(Kind::Topic, _)]
        ));
        assert!(matches!(parts("/topic/a>")[..], [Part::Named(_)]));
        assert!(parse("/topic/a.>.b", &Names::default()).is_err());
    }
}

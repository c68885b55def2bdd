//! Destinations of OpenWire to ours and back.

use ferrymq_protocols::openwire::commands::{self as wire, DestinationKind};

use super::reply::Failure;
use crate::broker::pattern::Syntax;
use crate::broker::{Destination, Kind, Pattern};

/// One of the destinations that a name stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// A queue or topic.
    Named(Destination),
    /// All that match.
    Pattern(Kind, Pattern),
    /// One that lives with a connection.
    Temporary(Destination),
}

impl Part {
    /// What access rules are asked about.
    pub(super) fn guarded(&self) -> Option<Destination> {
        match self {
            Self::Named(destination) => Some(destination.clone()),
            Self::Pattern(kind, pattern) => Some(Destination {
                kind: *kind,
                name: pattern.as_str().into(),
            }),
            Self::Temporary(_) => None,
        }
    }

    /// Whether it is a queue, or are queues.
    pub(super) fn kind(&self) -> Kind {
        match self {
            Self::Named(destination) | Self::Temporary(destination) => destination.kind,
            Self::Pattern(kind, _) => *kind,
        }
    }
}

const PREFIXES: [DestinationKind; 4] = [
    DestinationKind::TempQueue,
    DestinationKind::TempTopic,
    DestinationKind::Queue,
    DestinationKind::Topic,
];

/// Reads a destination; a composite gives several.
pub(super) fn parse(
    destination: Option<&wire::Destination>,
    syntax: Syntax,
) -> Result<Vec<Part>, Failure> {
    let Some(destination) = destination else {
        return Err(Failure::destination("no destination is given"));
    };
    let name = destination.physical_name.as_ref();
    let name = name.map(|name| name.to_str()).unwrap_or_default();
    let mut parts = Vec::with_capacity(1);
    for element in name.split(',') {
        let element = element.trim();
        let own = PREFIXES
            .iter()
            .find_map(|kind| Some((*kind, element.strip_prefix(kind.prefix())?)));
        let (kind, name) = own.unwrap_or((destination.kind, element));
        let part = parse_one(kind, name, syntax)?;
        // Twice the same destination is one (DST-4: one copy to each).
        if !parts.contains(&part) {
            parts.push(part);
        }
    }
    Ok(parts)
}

fn parse_one(kind: DestinationKind, name: &str, syntax: Syntax) -> Result<Part, Failure> {
    if name.is_empty() {
        return Err(Failure::destination("a destination has no name"));
    }
    let ours = match kind.is_queue() {
        true => Kind::Queue,
        false => Kind::Topic,
    };
    if kind.is_temporary() {
        return Ok(Part::Temporary(Destination::temporary(ours, name)));
    }
    let pattern = Pattern::parse_with(name, syntax)
        .map_err(|error| Failure::destination(format!("{}{name}: {error}", kind.prefix())))?;
    if pattern.is_wildcard() {
        return Ok(Part::Pattern(ours, pattern));
    }
    Ok(Part::Named(Destination {
        kind: ours,
        name: name.into(),
    }))
}

/// A destination as OpenWire has it.
pub(super) fn shown(destination: &Destination) -> wire::Destination {
    let kind = match (destination.kind, destination.is_temporary()) {
        (Kind::Queue, false) => DestinationKind::Queue,
        (Kind::Topic, false) => DestinationKind::Topic,
        (Kind::Queue, true) => DestinationKind::TempQueue,
        (Kind::Topic, true) => DestinationKind::TempTopic,
    };
    wire::Destination::new(kind, destination.physical_name())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(kind: DestinationKind, name: &str) -> Vec<Part> {
        let destination = wire::Destination::new(kind, name);
        parse(Some(&destination), Syntax::default()).expect(name)
    }

    #[test]
    fn elements_of_a_composite_have_kinds_of_their_own() {
        let found = parts(
            DestinationKind::Queue,
            "a,topic://b.>,a,temp-queue://ID:x:1",
        );
        let pattern = Pattern::parse("b.>").unwrap();
        let expected = [
            Part::Named(Destination::queue("a")),
            Part::Pattern(Kind::Topic, pattern),
            Part::Temporary(Destination::temporary(Kind::Queue, "ID:x:1")),
        ];
        assert_eq!(found, expected);
        let nameless = wire::Destination::new(DestinationKind::Queue, "a,,b");
        assert!(parse(Some(&nameless), Syntax::default()).is_err());
        assert!(parse(None, Syntax::default()).is_err());
    }

    #[test]
    fn what_is_shown_is_read_again() {
        for destination in [
            Destination::queue("q"),
            Destination::topic("t"),
            Destination::temporary(Kind::Topic, "ID:x:1"),
        ] {
            let shown = shown(&destination);
            let parts = parse(Some(&shown), Syntax::default()).unwrap();
            let (Part::Named(found) | Part::Temporary(found)) = &parts[0] else {
                panic!("{parts:?}");
            };
            assert_eq!(*found, destination);
        }
    }
}

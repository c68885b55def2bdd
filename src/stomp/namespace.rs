//! What a user of a namespace calls destinations, and what they are called in the broker (SEC-9).
//!
//! Names come in at one place and go out at three: the destination of a MESSAGE, headers that name destinations, and
//! texts of refusals.

use super::adapter::State;
use super::destination::{self, Address, Part};
use super::names::{Named, Names};
use super::reply::Refusal;
use crate::broker::pattern::Syntax;
use crate::broker::{Destination, Kind, Pattern};
use crate::engine::Engine;
use crate::security::{Access, Namespace};

/// Forms of temporary destinations in headers, as others see them.
const REMOTE: [&str; 2] = ["/remote-temp-queue/", "/remote-temp-topic/"];

/// The address in the broker of what is called `address` inside.
fn enter(address: Address, prefix: &str, syntax: Syntax) -> Result<Address, Refusal> {
    let part = |part: Part| -> Result<Part, Refusal> {
        Ok(match part {
            Part::Named(Destination { kind, name }) => {
                let name = format!("{prefix}{name}").into();
                Part::Named(Destination { kind, name })
            }
            Part::Existing(Destination { kind, name }) => {
                let name = format!("{prefix}{name}").into();
                Part::Existing(Destination { kind, name })
            }
            Part::Pattern(kind, pattern) => {
                // The namespace itself is no name inside, so its rest has one level at least.
                let rest = if pattern.is_everything() {
                    "*.>"
                } else {
                    pattern.as_str()
                };
                let pattern = Pattern::parse_with(&format!("{prefix}{rest}"), syntax);
                let pattern = pattern.map_err(|error| Refusal::frame(error.to_string()))?;
                Part::Pattern(kind, Box::new(pattern))
            }
            Part::Remote(destination) => {
                let id = destination.temporary_id().unwrap_or_default();
                let id = format!("{prefix}{id}");
                Part::Remote(Destination::temporary(destination.kind, &id))
            }
            own @ Part::Own(..) => own,
        })
    };
    Ok(Address {
        parts: address
            .parts
            .into_iter()
            .map(part)
            .collect::<Result<_, _>>()?,
        options: address.options,
    })
}

/// A destination of a header as it is called in the broker, as it stands in a header line; `None` for what is no
/// destination.
pub(super) fn enter_text(text: &str, prefix: &str, names: &Names) -> Option<String> {
    let enter = |destination: Destination| {
        let text = destination.to_string().replace('\\', "\\\\");
        let text = text.replace('\n', "\\n").replace('\r', "\\r");
        text.replace(':', "\\c")
    };
    Some(enter(match names.read(text) {
        Named::Plain(Kind::Topic, name) => Destination::topic(format!("{prefix}{name}")),
        Named::Plain(Kind::Queue, name) | Named::Existing(name) => {
            Destination::queue(format!("{prefix}{name}"))
        }
        Named::Remote(kind, id) => Destination::temporary(kind, &format!("{prefix}{id}")),
        Named::Exchange(rest) => match names.read(&names.exchange(rest).ok()?) {
            Named::Plain(Kind::Topic, name) => Destination::topic(format!("{prefix}{name}")),
            Named::Plain(Kind::Queue, name) => Destination::queue(format!("{prefix}{name}")),
            _ => return None,
        },
        Named::Own(..) | Named::Bare(_) => return None,
    }))
}

/// A destination of a header as it is called inside; `None` if that is no other.
pub(super) fn leave_text(text: &str, prefix: &str, names: &Names) -> Option<String> {
    if let Some(mut destination) = Destination::parse(text) {
        destination.name = destination.name.strip_prefix(prefix)?.into();
        return Some(names.shown(&destination));
    }
    REMOTE.iter().find_map(|form| {
        let id = text.strip_prefix(form)?.strip_prefix(prefix)?;
        Some(format!("{form}{id}"))
    })
}

/// A text for the user, with names as they are inside.
pub(super) fn leave(text: &str, prefix: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut from = 0;
    for (at, _) in text.match_indices(prefix) {
        let before = text[..at].chars().next_back();
        let is_inside_name = |letter: char| letter.is_alphanumeric() || "._-".contains(letter);
        if at >= from && !before.is_some_and(is_inside_name) {
            out.push_str(&text[from..at]);
            from = at + prefix.len();
        }
    }
    out.push_str(&text[from..]);
    out
}

impl State {
    /// What the names of the user's destinations begin with in the broker; empty without a namespace.
    pub(super) fn prefix(&self) -> &str {
        let namespace = self.access.as_ref().and_then(Access::namespace);
        namespace.map_or("", |namespace| &namespace.prefix)
    }

    /// Reads a destination header of this user.
    pub(super) fn address(&self, text: &str) -> Result<Address, Refusal> {
        let names = &self.settings.names;
        let address = destination::parse(text, names)?;
        match self.prefix() {
            "" => Ok(address),
            prefix => enter(address, prefix, names.syntax),
        }
    }

    /// Whether there is a limit to what the user's namespace may hold.
    pub(super) fn has_bytes_quota(&self) -> bool {
        let namespace = self.access.as_ref().and_then(Access::namespace);
        namespace.is_some_and(|namespace| namespace.bytes_max > 0)
    }

    /// Whether the user's namespace may hold a message of `bytes` more. Producers that come at the same time may together
    /// go beyond it by what each has on its way.
    pub(super) fn check_bytes(&self, engine: &Engine, bytes: u64) -> Result<(), Refusal> {
        let namespace = self.access.as_ref().and_then(Access::namespace);
        let Some(namespace) = namespace.filter(|namespace| namespace.bytes_max > 0) else {
            return Ok(());
        };
        let account = engine.registry.accounts.get(&namespace.prefix);
        let held = account.map_or(0, |account| account.bytes());
        let Namespace {
            name, bytes_max, ..
        } = &**namespace;
        if held.saturating_add(bytes) <= *bytes_max {
            return Ok(());
        }
        Err(Refusal::frame(format!(
            "Usage Manager Limit reached: the destinations of namespace {name} hold {held} bytes, and it has bytes_max = \
             {bytes_max} (security.namespace)"
        )))
    }
}

/// Whether the user's namespace may have one destination more.
pub(super) fn check_destinations(engine: &Engine, access: Option<&Access>) -> Result<(), Refusal> {
    let namespace = access.and_then(Access::namespace);
    let Some(namespace) = namespace.filter(|namespace| namespace.destinations_max > 0) else {
        return Ok(());
    };
    let max = namespace.destinations_max;
    if engine.registry.count_within(&namespace.prefix) < max as usize {
        return Ok(());
    }
    let name = &namespace.name;
    Err(Refusal::frame(format!(
        "no more destinations can be created: namespace {name} has destinations_max = {max} (security.namespace)"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_go_in_and_come_out() {
        let enter = |text: &str| {
            let address = destination::parse(text, &Names::default()).expect(text);
            let address = enter(address, "a.", Syntax::default()).expect(text);
            let names = address.parts.iter().filter_map(Part::guarded);
            names.map(|name| name.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(enter("/queue/x,/topic/a.y"), ["/queue/a.x", "/topic/a.a.y"]);
        assert_eq!(enter("/topic/>"), ["/topic/a.*.>"]);
        assert_eq!(enter("/topic/b.>"), ["/topic/a.b.>"]);
        assert_eq!(enter("/amq/queue/x"), ["/queue/a.x"]);
        assert_eq!(enter("/exchange/amq.topic/x"), ["/topic/a.x"]);
        let names = Names::default();
        let texts = [
            ("/queue/x", "/queue/a.x"),
            ("/remote-temp-topic/ID-1", "/remote-temp-topic/a.ID-1"),
        ];
        for (inside, outside) in texts {
            assert_eq!(enter_text(inside, "a.", &names).as_deref(), Some(outside));
            assert_eq!(leave_text(outside, "a.", &names).as_deref(), Some(inside));
        }
        assert_eq!(
            enter_text("topic://x:y", "a.", &names).as_deref(),
            Some("/topic/a.x\\cy")
        );
        assert_eq!(
            enter_text("/reply-queue/ID-1", "a.", &names).as_deref(),
            Some("/remote-temp-queue/a.ID-1")
        );
        assert_eq!(enter_text("opaque", "a.", &names), None);
        assert_eq!(leave_text("/queue/b.x", "a.", &names), None);
        let written = Names {
            queue_prefixes: vec!["jms.queue.".to_owned()],
            ..Names::default()
        };
        let outside = enter_text("jms.queue.x", "a.", &written).unwrap();
        assert_eq!(outside, "/queue/a.x");
        let inside = leave_text(&outside, "a.", &written);
        assert_eq!(inside.as_deref(), Some("jms.queue.x"));
    }

    #[test]
    fn texts_name_what_the_user_knows() {
        let text =
            "User u is not authorized to read from: queue://a.x and '/topic/a.a.y', not ba.c";
        let expected =
            "User u is not authorized to read from: queue://x and '/topic/a.y', not ba.c";
        assert_eq!(leave(text, "a."), expected);
    }
}

//! Statistics by message: a SEND to a name with a meaning is answered with figures, to its `reply-to` (ADM-20).

use ferrymq_protocols::map::{MapEntries, MapValue, to_json, to_xml};
use ferrymq_protocols::stomp::{Known, Send, parse_message_id, push_header};

use super::access;
use super::adapter::{State, Step};
use super::advisory::message_of;
use super::reply::Refusal;
use crate::broker::pattern::Syntax;
use crate::broker::{Destination, Kind, MessageId, Pattern};
use crate::engine::Engine;
use crate::engine::statistics::{Figure, Figures};
use crate::engine::why::Question;
use crate::security::Right;
use crate::session::Session;

/// What the names begin with.
const PREFIX: &str = "ActiveMQ.Statistics.";

/// What follows in the name of a question why something is not delivered, before the name of a destination.
const WHY: &str = "Why.";

/// Headers that ask about one message, and about one consumer.
const WHY_MESSAGE: &str = "why-message-id";
const WHY_CONSUMER: &str = "why-consumer-id";

/// A header that asks for an empty message after the last answer.
const END_WITH_NULL: &str = "ActiveMQ.Statistics.Destination.List.End.With.Null";

/// Kind and name of a destination that answers with figures.
pub(super) fn request(destination: &str) -> Option<(Kind, &str)> {
    let of = |prefixes: [&str; 2]| {
        let mut prefixes = prefixes.into_iter();
        prefixes.find_map(|prefix| destination.strip_prefix(prefix))
    };
    let (kind, name) = match of(["/topic/", "topic://"]) {
        Some(name) => (Kind::Topic, name),
        None => (
            Kind::Queue,
            of(["/queue/", "queue://"]).unwrap_or(destination),
        ),
    };
    name.starts_with(PREFIX).then_some((kind, name))
}

impl State {
    /// Answers a SEND to the destination `name` of that kind.
    pub(super) fn send_figures(
        &mut self,
        session: &mut Session,
        send: &Send<'_>,
        (kind, name): (Kind, &str),
    ) -> Result<Step, Refusal> {
        session.hand_over();
        let asked = Destination {
            kind,
            name: name.into(),
        };
        // Who may administer it: figures tell of destinations that one may not read.
        access::check(self.access.as_ref(), Right::Create, &asked)?;
        if send.transaction.is_some() {
            return Err(Refusal::frame("statistics cannot be part of a transaction"));
        }
        let Some(reply_to) = send.headers.get(Known::ReplyTo) else {
            return Err(Refusal::frame(format!(
                "a SEND to {asked} needs a reply-to"
            )));
        };
        let mut answers = match name
            .strip_prefix(PREFIX)
            .and_then(|it| it.strip_prefix(WHY))
        {
            Some(name) => self.why(&session.engine, send, (kind, name))?,
            None => figures(&session.engine, kind, name, self.settings.names.syntax)?,
        };
        if send.headers.get_name(END_WITH_NULL).is_some() {
            answers.push(Figures::new());
        }
        let reply = self.resolve_one(session, &reply_to)?;
        let correlation = send.headers.get(Known::CorrelationId);
        let transformation = send.headers.get(Known::Transformation);
        let xml = transformation.is_some_and(|name| name.trim() == "jms-map-xml");
        for answer in answers {
            let mut head = Vec::new();
            let form = if xml { "jms-map-xml" } else { "jms-map-json" };
            let mut found = push_header("transformation", form, &mut head);
            if let Some(correlation) = &correlation {
                found = found.and(push_header("correlation-id", correlation, &mut head));
            }
            let entries = entries(answer);
            let body = if xml {
                to_xml(&entries)
            } else {
                to_json(&entries)
            };
            let id = session.next_id();
            let mut message = message_of(id, head, body.as_bytes(), found.escaped);
            message.timestamp_ms = session.now_ms();
            session.send(&reply, message, &[]);
        }
        session.hand_over();
        self.answer(send.receipt.as_deref(), |answer| {
            session.reply(None, answer);
        });
        Ok(Step::Done)
    }
}

impl State {
    /// Why something is not delivered from the destination `name`, or of it what headers ask for.
    fn why(
        &self,
        engine: &Engine,
        send: &Send<'_>,
        (kind, name): (Kind, &str),
    ) -> Result<Vec<Figures>, Refusal> {
        let header = |name| send.headers.get_name(name);
        let (message, consumer) = (header(WHY_MESSAGE), header(WHY_CONSUMER));
        let id = |text: &str| {
            let id = parse_message_id(text, &self.id_prefix);
            let id = id.map(|id| MessageId {
                origin: id.origin,
                serial: id.serial,
            });
            id.ok_or_else(|| Refusal::frame(format!("'{text}' is not an id of this broker")))
        };
        let of = Destination {
            kind,
            name: name.into(),
        };
        let question = Question {
            message: message.as_deref().map(id).transpose()?,
            consumer: consumer.as_deref(),
        };
        let answers = engine.why_figures(&of, question);
        answers.map_err(|error| Refusal::frame(error.to_string()))
    }
}

fn figures(
    engine: &Engine,
    kind: Kind,
    name: &str,
    syntax: Syntax,
) -> Result<Vec<Figures>, Refusal> {
    let what = name.strip_prefix(PREFIX).unwrap_or_default();
    if what == "Broker" {
        return Ok(vec![engine.broker_figures()]);
    }
    if what == "Subscription" {
        return Ok(engine.subscription_figures());
    }
    let Some(wanted) = what.strip_prefix("Destination") else {
        return Err(Refusal::frame(format!(
            "there are no statistics {name}: Broker, Destination and the name of one, Why. and the name of one, or \
             Subscription"
        )));
    };
    let wanted = wanted.trim_start_matches('.');
    let pattern = Pattern::parse_with(wanted, syntax)
        .map_err(|error| Refusal::frame(format!("destination '{wanted}': {error}")))?;
    Ok(engine.destination_figures(kind, &pattern))
}

/// Figures as the entries of a map message, with the types that ActiveMQ gives them.
fn entries(figures: Figures) -> MapEntries {
    let value = |figure| match figure {
        Figure::Text(text) => MapValue::String(text),
        Figure::Count(count) => MapValue::Long(i64::try_from(count).unwrap_or(i64::MAX)),
        Figure::Small(count) => MapValue::Int(i32::try_from(count).unwrap_or(i32::MAX)),
        Figure::Average(average) => MapValue::Double(average),
        Figure::Flag(flag) => MapValue::Boolean(flag),
    };
    let entries = figures.into_iter();
    entries
        .map(|(name, figure)| (name.to_owned(), value(figure)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_known_by_name() {
        let check = |text: &str, expected: Option<(Kind, &str)>| {
            assert_eq!(request(text), expected, "{text}");
        };
        let broker = "ActiveMQ.Statistics.Broker";
        check(
            "/queue/ActiveMQ.Statistics.Broker",
            Some((Kind::Queue, broker)),
        );
        check(
            "topic://ActiveMQ.Statistics.Broker",
            Some((Kind::Topic, broker)),
        );
        check(broker, Some((Kind::Queue, broker)));
        check("/queue/ActiveMQ.Statistic", None);
    }
}

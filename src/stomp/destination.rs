//! Destination headers to destinations (section 3).

use super::reply::Refusal;
use crate::broker::Destination;

/// Prefixes whose meaning is known but not built yet; never taken as literal names.
const NOT_YET: [(&str, &str); 9] = [
    ("/temp-queue/", "temporary destinations are"),
    ("/temp-topic/", "temporary destinations are"),
    ("temp-queue://", "temporary destinations are"),
    ("temp-topic://", "temporary destinations are"),
    ("/remote-temp-queue/", "temporary destinations are"),
    ("/remote-temp-topic/", "temporary destinations are"),
    ("/exchange/", "exchanges are"),
    ("/amq/queue/", "/amq/queue/ destinations are"),
    ("/reply-queue/", "reply queues are"),
];

/// Reads a destination header. Without a known prefix it is a queue of that name (DST-2, DST-15).
pub(super) fn parse(text: &str) -> Result<Destination, Refusal> {
    if text.contains(',') {
        return Err(Refusal::not_yet("composite destinations are"));
    }
    if let Some((_, what)) = NOT_YET.iter().find(|(prefix, _)| text.starts_with(prefix)) {
        return Err(Refusal::not_yet(what));
    }
    if text.contains('?') {
        return Err(Refusal::not_yet("destination options after '?' are"));
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
        return Err(Refusal::frame(format!("destination '{text}' has no name")));
    }
    reserved(&destination)?;
    Ok(destination)
}

/// Names with a meaning of their own (DST-14) are refused until they have it.
fn reserved(destination: &Destination) -> Result<(), Refusal> {
    let name = destination.name.as_str();
    let consumer_queue = name
        .strip_prefix("Consumer.")
        .is_some_and(|rest| rest.contains(".VirtualTopic."));
    let what = if name.starts_with("ActiveMQ.Advisory.") {
        "advisories are"
    } else if name.starts_with("ActiveMQ.Statistics.") {
        "statistics by message are"
    } else if name.starts_with("ActiveMQ.Scheduler.") {
        return Err(Refusal::frame(format!(
            "{destination} takes SEND with AMQ_SCHEDULER_ACTION only"
        )));
    } else if name.starts_with("VirtualTopic.") || consumer_queue {
        "virtual topics are"
    } else {
        return Ok(());
    };
    Err(Refusal::not_yet(what))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_decide_the_kind() {
        let check = |text: &str, expected: Destination| {
            assert_eq!(parse(text).ok(), Some(expected), "{text}")
        };
        check("/queue/a.b", Destination::queue("a.b"));
        check("/topic/a", Destination::topic("a"));
        check("queue://a", Destination::queue("a"));
        check("topic://a", Destination::topic("a"));
        check("a", Destination::queue("a"));
        check("/foo/bar", Destination::queue("/foo/bar"));
    }

    #[test]
    fn what_is_not_built_is_refused_and_never_literal() {
        for text in [
            "/queue/a,/queue/b",
            "/temp-queue/a",
            "temp-topic://a",
            "/remote-temp-queue/a",
            "/queue/a?consumer.prefetchSize=1",
            "/exchange/amq.topic/a",
            "/topic/ActiveMQ.Advisory.Connection",
            "/topic/VirtualTopic.a",
            "/queue/Consumer.A.VirtualTopic.a",
        ] {
            let refusal = parse(text).expect_err(text);
            assert!(
                refusal.message.ends_with("not supported yet"),
                "{text}: {}",
                refusal.message
            );
            assert!(!refusal.fatal);
        }
        assert!(parse("/queue/").is_err());
    }
}

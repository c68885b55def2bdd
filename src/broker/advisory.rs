//! Advisories: what the broker reports of itself, on topics of its own (section 11.7).
//!
//! An [`Event`] is plain data with ActiveMQ's notions; each wire renders it in its own form. Which topic it goes to and
//! which properties its message has is said here, once for all wires.

use std::sync::Arc;

use super::destination::{Destination, Kind};
use super::message::{Message, MessageId};
use super::thin::OneOrMore;

/// What names of advisory topics begin with.
pub const PREFIX: &str = "ActiveMQ.Advisory.";

/// The type of advisory messages (JMSType).
pub const MESSAGE_TYPE: &str = "Advisory";

/// The wire code of messages that hold an [`Event`] and no octets.
pub const WIRE_BROKER: u8 = 0;

/// Whether something has come or gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It is new.
    Added,
    /// It is gone.
    Removed,
}

/// A connection.
#[derive(Debug, PartialEq, Eq)]
pub struct ConnectionFacts {
    /// Its id, unique in the broker.
    pub id: String,
    /// Its client id.
    pub client_id: String,
    /// Where it comes from, as a URI.
    pub client_ip: String,
    /// Who has logged in; empty if nobody had to.
    pub user: String,
}

/// A consumer: one subscription, which may be to several destinations.
#[derive(Debug, PartialEq, Eq)]
pub struct ConsumerFacts {
    /// Its connection.
    pub connection: Arc<ConnectionFacts>,
    /// Its session; -1 where a wire knows none.
    pub session: i64,
    /// Its number in the session.
    pub number: u64,
    /// What it consumes; patterns by their text.
    pub destinations: OneOrMore<Destination>,
    /// Its window, messages.
    pub prefetch: u32,
    /// What few have.
    pub more: Option<Box<MoreFacts>>,
    /// Whether it leaves out what its own connection sends.
    pub no_local: bool,
    /// Whether it wants to be the only one.
    pub exclusive: bool,
    /// Whether it only looks.
    pub browser: bool,
    /// Its priority.
    pub priority: u8,
    /// Whether it asks for what topics have kept for those who come later.
    pub retroactive: bool,
    /// How many messages of topics may wait for it; 0: as the policy says.
    pub pending_max: u32,
}

/// What is told of a consumer that has it.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct MoreFacts {
    /// Its selector.
    pub selector: Option<String>,
    /// The name of the durable subscription.
    pub subscription_name: Option<String>,
}

/// A producer: a connection that sends to a destination.
#[derive(Debug, PartialEq, Eq)]
pub struct ProducerFacts {
    /// Its connection.
    pub connection: Arc<ConnectionFacts>,
    /// Its session; -1 where a wire knows none.
    pub session: i64,
    /// Its number in the session.
    pub number: u64,
    /// Where it sends to.
    pub destination: Destination,
}

/// What happened to a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum News {
    /// It expired.
    Expired,
    /// It was sent where nobody consumes.
    NoConsumer,
    /// It was dropped for a slow subscriber of a topic.
    Discarded,
    /// The destination has taken it.
    Delivered,
    /// It went to a consumer.
    Dispatched,
    /// A consumer has acknowledged it.
    Consumed,
    /// It went to the dead-letter queue.
    DeadLettered,
}

impl News {
    fn topic(self) -> &'static str {
        match self {
            Self::Expired => "Expired",
            Self::NoConsumer => "NoConsumer",
            Self::Discarded => "MessageDiscarded",
            Self::Delivered => "MessageDelivered",
            Self::Dispatched => "MessageDispatched",
            Self::Consumed => "MessageConsumed",
            Self::DeadLettered => "MessageDLQd",
        }
    }
}

/// Something that happened to a message.
#[derive(Debug)]
pub struct MessageEvent {
    /// What.
    pub news: News,
    /// On which destination.
    pub of: Destination,
    /// The message's id.
    pub id: MessageId,
    /// The message, with its body only if the policy says so; `None` if it was not in memory.
    pub message: Option<Message>,
    /// The consumer concerned.
    pub consumer: Option<Arc<ConsumerFacts>>,
    /// How many messages the destination has dropped so far; of [`News::Discarded`].
    pub discarded_total: u64,
}

/// Something the broker reports.
#[derive(Debug)]
pub enum Event {
    /// A connection has come or gone.
    Connection {
        /// Which.
        change: Change,
        /// Whose.
        who: Arc<ConnectionFacts>,
    },
    /// A destination was made or removed.
    Destination {
        /// Which.
        change: Change,
        /// The destination.
        of: Destination,
        /// The id of the connection that it belongs to, if it is a temporary one.
        owner: Option<String>,
    },
    /// A consumer has come or gone.
    Consumer {
        /// Which.
        change: Change,
        /// The destination, or pattern.
        of: Destination,
        /// The consumer.
        who: Arc<ConsumerFacts>,
        /// Consumers of that name that there are now.
        count: u32,
    },
    /// A producer has come or gone.
    Producer {
        /// Which.
        change: Change,
        /// The producer.
        who: Arc<ProducerFacts>,
        /// Producers for its destination that there are now.
        count: u32,
    },
    /// A consumer's window is full, and messages wait.
    SlowConsumer {
        /// The destination.
        of: Destination,
        /// The consumer.
        who: Arc<ConsumerFacts>,
    },
    /// A producer has to wait.
    FastProducer(Arc<ProducerFacts>),
    /// Something is used up.
    Full {
        /// The destination whose producer has met it.
        of: Destination,
        /// What is used up.
        usage: &'static str,
        /// How much of it is used, percent.
        percent: u64,
    },
    /// Something happened to a message.
    Message(Box<MessageEvent>),
}

/// The value of a property of an advisory message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Property {
    /// Text.
    Text(String),
    /// A number.
    Count(u64),
    /// The id of a message, written as each wire does.
    Message(MessageId),
}

impl Event {
    /// The topic it is reported on.
    #[must_use]
    pub fn topic(&self) -> Destination {
        let about = |what: &str, of: &Destination| {
            let kind = match of.kind {
                Kind::Queue => "Queue",
                Kind::Topic => "Topic",
            };
            format!("{PREFIX}{what}.{kind}.{}", of.physical_name())
        };
        Destination::topic(match self {
            Self::Connection { .. } => format!("{PREFIX}Connection"),
            Self::Destination { of, .. } => {
                let temporary = if of.is_temporary() { "Temp" } else { "" };
                match of.kind {
                    Kind::Queue => format!("{PREFIX}{temporary}Queue"),
                    Kind::Topic => format!("{PREFIX}{temporary}Topic"),
                }
            }
            Self::Consumer { of, .. } => about("Consumer", of),
            Self::Producer { who, .. } => about("Producer", &who.destination),
            Self::SlowConsumer { of, .. } => about("SlowConsumer", of),
            Self::FastProducer(who) => about("FastProducer", &who.destination),
            Self::Full { of, .. } => about("FULL", of),
            Self::Message(event) => about(event.news.topic(), &event.of),
        })
    }

    /// The destination it is about, if it is about one.
    #[must_use]
    pub fn of(&self) -> Option<&Destination> {
        match self {
            Self::Connection { .. } => None,
            Self::Destination { of, .. }
            | Self::Consumer { of, .. }
            | Self::SlowConsumer { of, .. }
            | Self::Full { of, .. } => Some(of),
            Self::Producer { who, .. } | Self::FastProducer(who) => Some(&who.destination),
            Self::Message(event) => Some(&event.of),
        }
    }

    /// What its message says beside the data, in the names of ActiveMQ.
    #[must_use]
    pub fn properties(&self) -> Vec<(&'static str, Property)> {
        match self {
            Self::Connection { .. } | Self::Destination { .. } => Vec::new(),
            Self::Consumer { count, .. } => vec![("consumerCount", count_of(*count))],
            Self::Producer { count, .. } => vec![("producerCount", count_of(*count))],
            Self::SlowConsumer { who, .. } => vec![("consumerId", Property::Text(who.id()))],
            Self::FastProducer(who) => vec![("producerId", Property::Text(who.id()))],
            Self::Full { usage, percent, .. } => vec![
                ("usageName", Property::Text((*usage).to_owned())),
                ("usageCount", Property::Count(*percent)),
            ],
            Self::Message(event) => event.properties(),
        }
    }
}

impl MessageEvent {
    fn properties(&self) -> Vec<(&'static str, Property)> {
        // Spelt so in ActiveMQ.
        let mut found = vec![
            ("orignalMessageId", Property::Message(self.id)),
            ("orignalDestination", Property::Text(self.of.uri())),
        ];
        if let Some(consumer) = &self.consumer {
            found.push(("consumerId", Property::Text(consumer.id())));
        }
        if self.news == News::Discarded {
            found.push(("discardedCount", Property::Count(self.discarded_total)));
        }
        found
    }
}

fn count_of(count: u32) -> Property {
    Property::Count(count.into())
}

impl ConsumerFacts {
    /// Its selector.
    #[must_use]
    pub fn selector(&self) -> Option<&str> {
        self.more.as_ref()?.selector.as_deref()
    }

    /// The name of the durable subscription.
    #[must_use]
    pub fn subscription_name(&self) -> Option<&str> {
        self.more.as_ref()?.subscription_name.as_deref()
    }

    /// Its id, unique in the broker.
    #[must_use]
    pub fn id(&self) -> String {
        format!("{}:{}:{}", self.connection.id, self.session, self.number)
    }
}

impl ProducerFacts {
    /// Its id, unique in the broker among producers.
    #[must_use]
    pub fn id(&self) -> String {
        format!("{}:{}:{}", self.connection.id, self.session, self.number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn consumer(of: Destination) -> Event {
        let connection = Arc::new(ConnectionFacts {
            id: "ID:b-1".to_owned(),
            client_id: "c".to_owned(),
            client_ip: "tcp://127.0.0.1:1".to_owned(),
            user: String::new(),
        });
        let who = Arc::new(ConsumerFacts {
            connection,
            session: -1,
            number: 7,
            destinations: OneOrMore::One(of.clone()),
            prefetch: 1,
            more: None,
            no_local: false,
            exclusive: false,
            browser: false,
            priority: 0,
            retroactive: false,
            pending_max: 0,
        });
        assert_eq!(who.id(), "ID:b-1:-1:7");
        let (change, count) = (Change::Added, 2);
        Event::Consumer {
            change,
            of,
            who,
            count,
        }
    }

    #[test]
    fn each_event_has_its_topic() {
        let topic = |event: &Event| event.topic().name.to_string();
        let queue = consumer(Destination::queue("a.b"));
        assert_eq!(topic(&queue), "ActiveMQ.Advisory.Consumer.Queue.a.b");
        assert_eq!(queue.properties(), [("consumerCount", Property::Count(2))]);
        let temporary = Destination::temporary(Kind::Topic, "ID-1");
        let own = consumer(temporary.clone());
        assert_eq!(topic(&own), "ActiveMQ.Advisory.Consumer.Topic.ID-1");
        let made = |of| Event::Destination {
            change: Change::Added,
            of,
            owner: None,
        };
        assert_eq!(topic(&made(temporary)), "ActiveMQ.Advisory.TempTopic");
        let queue = made(Destination::queue("q"));
        assert_eq!(topic(&queue), "ActiveMQ.Advisory.Queue");
        assert!(queue.topic().is_advisory());
    }
}

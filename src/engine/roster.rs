//! Who is here: connections, their consumers and their producers.
//!
//! Asked by who wants to know what was there before it came: advisories that are replayed, statistics. Changed when
//! somebody comes or goes, never for a message. Its lock is innermost.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::broker::Destination;
use crate::broker::advisory::{Change, ConnectionFacts, ConsumerFacts, Event, ProducerFacts};
use crate::broker::rising::Rising;

/// All connections that have logged in, and what they consume and produce.
#[derive(Default)]
pub struct Roster {
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    /// By the number of the connection.
    connections: BTreeMap<u64, Present>,
    counts: HashMap<Destination, Counts>,
}

/// A connection, and what it has by its own numbers.
#[derive(Default)]
struct Present {
    /// `None` before it has logged in.
    who: Option<Arc<ConnectionFacts>>,
    consumers: Rising<Arc<ConsumerFacts>>,
    producers: Rising<Arc<ProducerFacts>>,
}

/// How many refer to a destination by its name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Consumers; of a pattern those that have subscribed to just this.
    pub consumers: u32,
    /// Producers.
    pub producers: u32,
}

impl Known {
    /// All consumers, by the numbers of the connection and of the consumer there.
    fn consumers(&self) -> impl Iterator<Item = &Arc<ConsumerFacts>> {
        let present = self.connections.values();
        present.flat_map(|present| present.consumers.iter().map(|(_, who)| who))
    }

    /// Changes the counts of a destination; returns what they are then.
    fn count(&mut self, of: &Destination, change: impl FnOnce(&mut Counts)) -> Counts {
        let counts = self.counts.entry(of.clone()).or_default();
        change(counts);
        let counts = *counts;
        if counts == Counts::default() {
            self.counts.remove(of);
        }
        counts
    }

    fn consumer_events(&mut self, change: Change, who: &Arc<ConsumerFacts>) -> Vec<Event> {
        let mut events = Vec::with_capacity(who.destinations.len());
        for of in who.destinations.iter() {
            let counts = self.count(of, |counts| match change {
                Change::Added => counts.consumers += 1,
                Change::Removed => counts.consumers = counts.consumers.saturating_sub(1),
            });
            events.push(Event::Consumer {
                change,
                of: of.clone(),
                who: Arc::clone(who),
                count: counts.consumers,
            });
        }
        events
    }
}

impl Roster {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection has logged in.
    pub fn connected(&self, origin: u64, who: Arc<ConnectionFacts>) -> Event {
        let change = Change::Added;
        let mut known = self.known();
        known.connections.entry(origin).or_default().who = Some(Arc::clone(&who));
        Event::Connection { change, who }
    }

    /// It has gone.
    pub fn disconnected(&self, origin: u64) -> Option<Event> {
        let who = self.known().connections.remove(&origin)?.who?;
        let change = Change::Removed;
        Some(Event::Connection { change, who })
    }

    /// The connection has the consumer `number`.
    pub fn consumer_came(&self, origin: u64, number: u64, who: &Arc<ConsumerFacts>) -> Vec<Event> {
        let mut known = self.known();
        let present = known.connections.entry(origin).or_default();
        present.consumers.insert(number, Arc::clone(who));
        known.consumer_events(Change::Added, who)
    }

    /// It has gone.
    pub fn consumer_left(&self, origin: u64, number: u64) -> Vec<Event> {
        let mut known = self.known();
        let present = known.connections.get_mut(&origin);
        match present.and_then(|present| present.consumers.remove(number)) {
            Some(who) => known.consumer_events(Change::Removed, &who),
            None => Vec::new(),
        }
    }

    /// The connection has the producer `number`.
    pub fn producer_came(&self, origin: u64, number: u64, who: &Arc<ProducerFacts>) -> Event {
        let mut known = self.known();
        let present = known.connections.entry(origin).or_default();
        present.producers.insert(number, Arc::clone(who));
        let counts = known.count(&who.destination, |counts| counts.producers += 1);
        Event::Producer {
            change: Change::Added,
            who: Arc::clone(who),
            count: counts.producers,
        }
    }

    /// It has gone.
    pub fn producer_left(&self, origin: u64, number: u64) -> Option<Event> {
        let mut known = self.known();
        let present = known.connections.get_mut(&origin)?;
        let who = present.producers.remove(number)?;
        let counts = known.count(&who.destination, |counts| {
            counts.producers = counts.producers.saturating_sub(1);
        });
        Some(Event::Producer {
            change: Change::Removed,
            who,
            count: counts.producers,
        })
    }

    /// How many refer to a destination by its name.
    #[must_use]
    pub fn counts(&self, of: &Destination) -> Counts {
        self.known().counts.get(of).copied().unwrap_or_default()
    }

    /// All consumers.
    #[must_use]
    pub fn consumers(&self) -> Vec<Arc<ConsumerFacts>> {
        let known = self.known();
        let consumers = known.consumers();
        consumers.cloned().collect()
    }

    /// What was reported of those who are here when they came, with the counts of now.
    #[must_use]
    pub fn present(&self) -> Vec<Event> {
        let known = self.known();
        let change = Change::Added;
        let counts = |of: &Destination| known.counts.get(of).copied().unwrap_or_default();
        let present = known.connections.values();
        let connections = present.clone().filter_map(|present| {
            let who = Arc::clone(present.who.as_ref()?);
            Some(Event::Connection { change, who })
        });
        let consumers = known.consumers().flat_map(|who| {
            who.destinations.iter().map(|of| Event::Consumer {
                change,
                of: of.clone(),
                who: Arc::clone(who),
                count: counts(of).consumers,
            })
        });
        let producers = present.flat_map(|present| present.producers.iter());
        let producers = producers.map(|(_, who)| Event::Producer {
            change,
            who: Arc::clone(who),
            count: counts(&who.destination).producers,
        });
        connections.chain(producers).chain(consumers).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connection() -> Arc<ConnectionFacts> {
        Arc::new(ConnectionFacts {
            id: "ID:b-1".to_owned(),
            client_id: "c".to_owned(),
            client_ip: "tcp://127.0.0.1:1".to_owned(),
            user: String::new(),
        })
    }

    fn producer(number: u64) -> Arc<ProducerFacts> {
        Arc::new(ProducerFacts {
            connection: connection(),
            session: -1,
            number,
            destination: Destination::queue("q"),
        })
    }

    #[test]
    fn counts_follow_those_who_come_and_go() {
        let roster = Roster::default();
        let count = |event: &Event| match event {
            Event::Producer { count, .. } => *count,
            _ => panic!("{event:?}"),
        };
        roster.connected(1, connection());
        assert_eq!(count(&roster.producer_came(1, 1, &producer(1))), 1);
        assert_eq!(count(&roster.producer_came(1, 2, &producer(2))), 2);
        assert_eq!(roster.present().len(), 3);
        let left = roster.producer_left(1, 1).expect("it was there");
        assert_eq!(count(&left), 1);
        assert!(roster.producer_left(1, 1).is_none());
        roster.producer_left(1, 2);
        assert_eq!(roster.counts(&Destination::queue("q")), Counts::default());
        assert!(
            roster.known().counts.is_empty(),
            "no name is kept for nothing"
        );
        assert!(roster.disconnected(1).is_some());
        assert!(roster.present().is_empty());
    }
}

//! Checks that every message came once and in order.
//!
//! A *stream* is what one producer sends to one destination; its messages are numbered from 0. Each consumer keeps a [`Ledger`] of
//! the streams it sees: which numbers came, and whether they came in order. After the run the ledgers are laid on each other: on a
//! queue every number must be in exactly one of them, on a topic in every one that subscribed. Messages marked redelivered may come
//! a second time or late; they are counted apart, but they do fill their place.

use std::fmt;

use super::stamp::Stamp;

/// What went wrong, in messages.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub(crate) struct Faults {
    /// Sent and never received.
    pub(crate) lost: u64,
    /// Received more than once without being marked redelivered.
    pub(crate) duplicated: u64,
    /// Received after a later one of the same producer and destination.
    pub(crate) out_of_order: u64,
    /// Marked redelivered by the broker (no fault by itself).
    pub(crate) redelivered: u64,
    /// Not sent by this run (no fault of this run).
    pub(crate) foreign: u64,
    /// Received although never sent.
    pub(crate) unexpected: u64,
}

impl Faults {
    /// Whether the broker kept its promises.
    #[must_use]
    pub(crate) fn none(&self) -> bool {
        self.lost == 0 && self.duplicated == 0 && self.out_of_order == 0 && self.unexpected == 0
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.none() {
            write!(f, "nothing lost, duplicated or out of order")?;
        } else {
            write!(
                f,
                "{} lost, {} duplicated, {} out of order",
                self.lost, self.duplicated, self.out_of_order
            )?;
            write!(f, ", {} never sent", self.unexpected)?;
        }
        for (count, what) in [
            (self.redelivered, "marked redelivered"),
            (self.foreign, "from another run"),
        ] {
            if count > 0 {
                write!(f, "; {count} {what}")?;
            }
        }
        Ok(())
    }
}

/// One producer's messages to one destination, as one consumer saw them.
#[derive(Debug, Clone, Default)]
struct Stream {
    /// One above the highest number seen.
    next: u32,
    /// One bit for each number.
    seen: Vec<u64>,
    /// Numbers first seen in a message marked redelivered: another consumer may have them too.
    again: Vec<u32>,
}

impl Stream {
    /// Sets the bit of `sequence`; false if it was set.
    #[inline]
    fn mark(&mut self, sequence: u32) -> bool {
        let (word, bit) = (sequence as usize / 64, 1u64 << (sequence % 64));
        if word >= self.seen.len() {
            self.seen.resize((word + 1).next_power_of_two(), 0);
        }
        let fresh = self.seen[word] & bit == 0;
        self.seen[word] |= bit;
        fresh
    }
}

/// What one consumer has seen.
#[derive(Debug)]
pub(crate) struct Ledger {
    producers: u16,
    destinations: u16,
    streams: Vec<Stream>,
    /// What this consumer alone can tell; losses come from [`settle`].
    pub(crate) faults: Faults,
}

impl Ledger {
    /// An empty ledger for that many producers and destinations.
    #[must_use]
    pub(crate) fn new(producers: u16, destinations: u16) -> Self {
        let streams = vec![Stream::default(); usize::from(producers) * usize::from(destinations)];
        Self {
            producers,
            destinations,
            streams,
            faults: Faults::default(),
        }
    }

    /// Enters a message; true if this consumer had not seen it.
    #[inline]
    pub(crate) fn enter(&mut self, stamp: &Stamp, redelivered: bool) -> bool {
        let index = usize::from(stamp.producer) * usize::from(self.destinations)
            + usize::from(stamp.destination);
        let known = stamp.producer < self.producers && stamp.destination < self.destinations;
        let Some(stream) = self.streams.get_mut(index).filter(|_| known) else {
            self.faults.unexpected += 1;
            return false;
        };
        let fresh = stream.mark(stamp.sequence);
        if redelivered {
            self.faults.redelivered += 1;
            if fresh {
                stream.again.push(stamp.sequence);
            }
        } else if !fresh {
            self.faults.duplicated += 1;
        } else if stamp.sequence < stream.next {
            self.faults.out_of_order += 1;
        }
        stream.next = stream.next.max(stamp.sequence.saturating_add(1));
        fresh
    }
}

/// Lays the ledgers of all consumers on each other. `sent(producer, destination)` is the length of a stream;
/// `subscribed(consumer, destination)` says who should have got it. `shared`: each message goes to one of the consumers (a queue).
pub(crate) fn settle(
    ledgers: &[&Ledger],
    shared: bool,
    sent: impl Fn(u16, u16) -> u32,
    subscribed: impl Fn(usize, u16) -> bool,
) -> Faults {
    let mut total = Faults::default();
    for ledger in ledgers {
        total.duplicated += ledger.faults.duplicated;
        total.out_of_order += ledger.faults.out_of_order;
        total.redelivered += ledger.faults.redelivered;
        total.foreign += ledger.faults.foreign;
        total.unexpected += ledger.faults.unexpected;
    }
    let Some(first) = ledgers.first() else {
        return total;
    };
    for producer in 0..first.producers {
        for destination in 0..first.destinations {
            let index =
                usize::from(producer) * usize::from(first.destinations) + usize::from(destination);
            let length = sent(producer, destination);
            let streams = ledgers
                .iter()
                .enumerate()
                .filter(|(c, _)| subscribed(*c, destination))
                .map(|(_, l)| &l.streams[index]);
            if shared {
                lay_together(streams, length, &mut total);
            } else {
                streams
                    .for_each(|stream| lay_together(std::iter::once(stream), length, &mut total));
            }
        }
    }
    total
}

/// Compares what came of one stream with what was sent.
fn lay_together<'a>(streams: impl Iterator<Item = &'a Stream>, sent: u32, total: &mut Faults) {
    let mut all = Stream::default();
    let mut again = Vec::new();
    for stream in streams {
        let mut seen = stream.seen.clone();
        for sequence in &stream.again {
            seen[*sequence as usize / 64] &= !(1 << (sequence % 64));
            again.push(*sequence);
        }
        all.seen.resize(all.seen.len().max(seen.len()), 0);
        for (into, from) in all.seen.iter_mut().zip(&seen) {
            total.duplicated += u64::from((*into & from).count_ones());
            *into |= from;
        }
    }
    for sequence in again {
        all.mark(sequence);
    }
    let came: u64 = all
        .seen
        .iter()
        .map(|word| u64::from(word.count_ones()))
        .sum();
    let beyond: u64 = (u64::from(sent)..all.seen.len() as u64 * 64)
        .map(|sequence| usize::try_from(sequence).unwrap_or(usize::MAX))
        .filter(|sequence| all.seen[sequence / 64] & (1 << (sequence % 64)) != 0)
        .fold(0, |n, _| n + 1);
    total.unexpected += beyond;
    total.lost += u64::from(sent).saturating_sub(came - beyond);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ledger(entries: &[(u32, bool)]) -> Ledger {
        let mut ledger = Ledger::new(1, 1);
        for (sequence, redelivered) in entries {
            ledger.enter(
                &Stamp {
                    run: 0,
                    producer: 0,
                    destination: 0,
                    sequence: *sequence,
                    sent_ns: 0,
                },
                *redelivered,
            );
        }
        ledger
    }

    fn check(ledgers: &[Ledger], shared: bool, sent: u32, expected: Faults) {
        let ledgers: Vec<_> = ledgers.iter().collect();
        assert_eq!(settle(&ledgers, shared, |_, _| sent, |_, _| true), expected);
    }

    #[test]
    fn a_perfect_run_has_no_faults() {
        let all: Vec<_> = (0..200).map(|s| (s, false)).collect();
        check(&[ledger(&all)], true, 200, Faults::default());
        let (even, odd): (Vec<_>, Vec<_>) = all.iter().partition(|(s, _)| s % 2 == 0);
        check(&[ledger(&even), ledger(&odd)], true, 200, Faults::default());
        check(&[ledger(&all), ledger(&all)], false, 200, Faults::default());
    }

    #[test]
    fn a_loss_is_found_in_the_middle_and_at_the_end() {
        check(
            &[ledger(&[(0, false), (2, false)])],
            true,
            5,
            Faults {
                lost: 3,
                ..Faults::default()
            },
        );
        check(
            &[ledger(&[]), ledger(&[])],
            true,
            70,
            Faults {
                lost: 70,
                ..Faults::default()
            },
        );
        check(
            &[ledger(&[(0, false)]), ledger(&[(0, false), (1, false)])],
            false,
            2,
            Faults {
                lost: 1,
                ..Faults::default()
            },
        );
    }

    #[test]
    fn a_duplicate_is_found_within_and_across_consumers() {
        check(
            &[ledger(&[(0, false), (1, false), (1, false)])],
            true,
            2,
            Faults {
                duplicated: 1,
                ..Faults::default()
            },
        );
        check(
            &[ledger(&[(0, false), (1, false)]), ledger(&[(1, false)])],
            true,
            2,
            Faults {
                duplicated: 1,
                ..Faults::default()
            },
        );
    }

    #[test]
    fn a_late_message_is_out_of_order_once() {
        check(
            &[ledger(&[(0, false), (2, false), (1, false), (3, false)])],
            true,
            4,
            Faults {
                out_of_order: 1,
                ..Faults::default()
            },
        );
    }

    #[test]
    fn redelivered_messages_fill_their_place_and_are_no_fault() {
        let expected = Faults {
            redelivered: 2,
            ..Faults::default()
        };
        check(
            &[ledger(&[
                (0, false),
                (1, false),
                (2, false),
                (1, true),
                (2, true),
            ])],
            true,
            3,
            expected,
        );
        check(
            &[
                ledger(&[(0, false), (1, false)]),
                ledger(&[(1, true), (2, true)]),
            ],
            true,
            3,
            expected,
        );
    }

    #[test]
    fn what_nobody_sent_is_unexpected() {
        check(
            &[ledger(&[(0, false), (1, false), (100, false)])],
            true,
            2,
            Faults {
                unexpected: 1,
                ..Faults::default()
            },
        );
        let mut other = Ledger::new(1, 1);
        assert!(!other.enter(
            &Stamp {
                run: 0,
                producer: 1,
                destination: 0,
                sequence: 0,
                sent_ns: 0
            },
            false
        ));
        assert_eq!(other.faults.unexpected, 1);
    }
}

//! What an administrator does with messages: look, purge, remove, take elsewhere (ADM-22, ADM-23, DLQ-6).
//!
//! Each call does a bounded amount of work; who wants more calls again, and others get the lock between.

use super::Queue;
use super::lanes::Spot;
use crate::broker::delivery::Entry;
use crate::broker::outlet::Outlet;

/// The place of a message in the order of its queue, to be given back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place(Spot);

impl Place {
    /// The message's sequence in its queue.
    #[must_use]
    pub fn sequence(self) -> u64 {
        self.0.sequence
    }
}

/// A message as it was found.
#[derive(Clone, Debug)]
pub struct Listed {
    /// Where.
    pub place: Place,
    /// The message, in memory or not.
    pub entry: Entry,
}

/// A waiting message taken out of its queue, to be put elsewhere or back.
#[derive(Debug)]
pub struct Withdrawn {
    /// Its sequence in the queue it was in.
    pub sequence: u64,
    /// The message, in memory or not.
    pub entry: Entry,
    expires_ms: u64,
}

impl Queue {
    /// The messages behind `after` in order, in flight ones included, `count` at most.
    #[must_use]
    pub fn messages(&self, after: Option<Place>, count: usize) -> Vec<Listed> {
        let from = after.map_or(Spot::FIRST, |Place(spot)| spot.next());
        let found = self.list(from, u64::MAX, count).into_iter();
        found
            .map(|(spot, entry)| Listed {
                place: Place(spot),
                entry,
            })
            .collect()
    }

    /// Removes up to `count` messages for good, waiting ones first, then those that consumers hold. Returns
    /// how many; 0 when nothing is left.
    pub fn purge(&mut self, count: usize, out: &mut impl Outlet) -> usize {
        let mut purged = 0;
        while purged < count
            && let Some((spot, _)) = self.lanes.first()
        {
            self.remove_waiting(spot, out);
            purged += 1;
        }
        for consumer in self.consumers.values_mut() {
            if consumer.browse.is_some() {
                continue;
            }
            for delivery in consumer.subscription.unacked.iter_mut() {
                if purged == count {
                    return purged;
                }
                if delivery.entry.is_purged() {
                    continue;
                }
                let bytes = u64::from(delivery.entry.bytes.get());
                self.lanes.paging.bytes -= bytes;
                if delivery.entry.message.is_some() {
                    self.lanes.paging.held_bytes -= bytes;
                }
                if let Some(at) = delivery.entry.at {
                    out.remove(delivery.sequence, at);
                }
                delivery.entry.purge();
                self.purged += 1;
                self.stats.dequeued += 1;
                purged += 1;
            }
        }
        purged
    }

    /// Removes those of the messages for good that still wait. Returns how many.
    pub fn remove(&mut self, places: &[Place], out: &mut impl Outlet) -> usize {
        let removed = places
            .iter()
            .filter(|Place(spot)| self.remove_waiting(*spot, out));
        removed.count()
    }

    /// Takes those of the messages out that still wait, in order, to put them elsewhere. The journal is not
    /// told: whoever moves them does so together with their new places.
    pub fn withdraw(&mut self, places: &[Place]) -> Vec<Withdrawn> {
        let mut withdrawn = Vec::with_capacity(places.len());
        for &Place(spot) in places {
            let Some((entry, expires_ms)) = self.take_waiting(spot) else {
                continue;
            };
            if entry.message.is_some() {
                self.lanes.paging.held_bytes -= u64::from(entry.bytes.get());
            }
            self.stats.dequeued += 1;
            withdrawn.push(Withdrawn {
                sequence: spot.sequence,
                entry,
                expires_ms,
            });
        }
        withdrawn
    }

    /// Takes a message back that could not be put elsewhere.
    pub fn give_back(&mut self, withdrawn: Withdrawn) {
        let Withdrawn {
            sequence,
            entry,
            expires_ms,
        } = withdrawn;
        self.put_in_place(sequence, entry, expires_ms);
    }

    /// Messages from `from` on in order, in flight ones included, that came before `end_sequence`.
    pub(super) fn list(&self, from: Spot, end_sequence: u64, count: usize) -> Vec<(Spot, Entry)> {
        let held = self
            .takers()
            .flat_map(|consumer| consumer.subscription.unacked.iter())
            .filter(|delivery| !delivery.entry.is_purged())
            .map(|delivery| {
                let spot = self.lanes.spot(delivery.sequence, &delivery.entry);
                (spot, &delivery.entry)
            })
            .filter(|(spot, _)| *spot >= from && spot.sequence < end_sequence);
        let mut found: Vec<(Spot, Entry)> =
            held.map(|(spot, entry)| (spot, entry.clone())).collect();
        let (mut at, mut waiting) = (from, 0);
        while waiting < count
            && let Some(spot) = self.lanes.next_from(at)
        {
            if spot.sequence < end_sequence {
                found.extend(self.lanes.get(spot).map(|entry| (spot, entry.clone())));
                at = spot.next();
                waiting += 1;
            } else {
                // The rest of this lane came later.
                at = Spot {
                    lane: spot.lane,
                    sequence: u64::MAX,
                };
            }
        }
        found.sort_unstable_by_key(|(spot, _)| *spot);
        found.truncate(count);
        found
    }

    fn remove_waiting(&mut self, spot: Spot, out: &mut impl Outlet) -> bool {
        let Some((entry, _)) = self.take_waiting(spot) else {
            return false;
        };
        if entry.message.is_some() {
            self.lanes.paging.held_bytes -= u64::from(entry.bytes.get());
        }
        if let Some(at) = entry.at {
            out.remove(spot.sequence, at);
        }
        self.stats.dequeued += 1;
        true
    }

    /// Takes a message from its spot, delayed or not, with its time of expiry as far as it is known.
    pub(super) fn take_waiting(&mut self, spot: Spot) -> Option<(Entry, u64)> {
        let mut entry = self.lanes.remove(spot)?;
        self.lanes.paging.bytes -= u64::from(entry.bytes.get());
        let expires_ms = entry
            .message
            .as_ref()
            .map_or(0, |message| message.expires_ms);
        self.expiry.remove(expires_ms, spot);
        self.end_delay(spot, &mut entry);
        Some((entry, expires_ms))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::broker::double::{World, message};
    use crate::broker::queue::{Incoming, QueuePolicy};

    #[test]
    fn what_is_withdrawn_can_be_given_back() {
        let mut queue = Queue::new(1, 1 << 20, QueuePolicy::default());
        for _ in 0..3 {
            let sequence = queue.reserve(1);
            let entry = Entry::held(Arc::new(message(sequence, 10, false, 0)), None);
            queue.push(0, Incoming { sequence, entry }, &mut World::default());
        }
        let usage = queue.usage();
        let places: Vec<Place> = queue.messages(None, 9).iter().map(|it| it.place).collect();
        let mut withdrawn = queue.withdraw(&places[1..2]);
        assert!(queue.withdraw(&places[1..2]).is_empty(), "it is gone");
        assert!(!queue.has(2) && queue.has(3));
        assert_eq!(queue.len(), 2);
        queue.give_back(withdrawn.remove(0));
        assert_eq!(queue.usage(), usage);
        let order = queue.messages(None, 9).into_iter().map(|it| it.place);
        assert!(order.eq(places));
    }
}

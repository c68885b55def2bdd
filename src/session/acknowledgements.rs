//! Acknowledgements of one read, applied together: one lock and one journal entry for a run on one destination.

use std::sync::Arc;

use super::state::{Answer, Session, Subscribed, split_serial};
use crate::broker::{Ack, Which};
use crate::engine::cell::{Journaled, Machine};
use crate::engine::feeds::Feeds;

/// Acknowledgements that wait to be applied, oldest first.
#[derive(Default)]
pub(super) struct Acknowledgements {
    items: Vec<Item>,
    /// Items before this one are done.
    applied: usize,
    answers: Vec<u8>,
    answered: usize,
}

#[derive(Clone, Copy)]
struct Item {
    serial: u64,
    which: Which,
    ack: Ack,
    /// Where its answer ends among the answers.
    answer_end: usize,
}

impl Session {
    /// Adds an acknowledgement outside a transaction to the batch; it takes effect with
    /// [`Session::apply_acknowledgements`].
    pub fn acknowledge(&mut self, serial: u64, which: Which, ack: Ack, answer: Answer<'_>) {
        let batch = &mut self.acknowledgements;
        batch.answers.extend_from_slice(answer);
        let answer_end = batch.answers.len();
        batch.items.push(Item {
            serial,
            which,
            ack,
            answer_end,
        });
    }

    /// Dead-letters a delivery at once for a reason that the client gives (RED-5). Acknowledgements before it have to be applied.
    /// Nothing happens if no such delivery waits.
    pub fn poison(&mut self, serial: u64, which: Which, cause: &str) {
        let concerned = match self.subscription(serial) {
            Some(Subscribed::One(feed)) => vec![(feed.clone(), which)],
            Some(Subscribed::Many(feeds)) => {
                let concerned = feeds.concerned(split_serial(serial).1, which);
                concerned.unwrap_or_default()
            }
            None => return,
        };
        let now_ms = self.engine.clock.wall_ms();
        self.work.take_ticket();
        for (feed, which) in concerned {
            let before = self.work.rejected.len();
            let (work, journaled, key) = (&mut self.work, Journaled::default(), feed.key);
            feed.cell
                .step(work, journaled, |machine, out| match machine {
                    Machine::Queue(queue) => {
                        queue.acknowledge(now_ms, key, which, Ack::Refused, out)
                    }
                    Machine::Topic(topic) => {
                        topic.acknowledge(now_ms, key, which, Ack::Refused, out)
                    }
                });
            let rejected = self.work.rejected[before..].iter_mut();
            // What has expired meanwhile died of that.
            for (_, rejected) in rejected.filter(|(_, rejected)| !rejected.expired) {
                cause.clone_into(&mut rejected.cause);
            }
        }
        self.engine.bury_all(&mut self.work);
        // Nobody waits for the dead letter to be on disk.
        self.work.take_ticket();
    }

    /// Applies the batch up to the first acknowledgement that names no waiting delivery, and returns its
    /// index in the batch (ACK-3). To be called until it returns `None`.
    pub fn apply_acknowledgements(&mut self) -> Option<usize> {
        let mut batch = std::mem::take(&mut self.acknowledgements);
        let mut unknown = None;
        while unknown.is_none() && batch.applied < batch.items.len() {
            if !self.apply_run(&mut batch) {
                unknown = Some(batch.applied);
                batch.answered = batch.items[batch.applied].answer_end;
                batch.applied += 1;
            }
        }
        if unknown.is_none() {
            batch.items.clear();
            batch.answers.clear();
            (batch.applied, batch.answered) = (0, 0);
        }
        self.acknowledgements = batch;
        unknown
    }

    /// Applies items of one destination. Returns false if the next one names no waiting delivery.
    fn apply_run(&mut self, batch: &mut Acknowledgements) -> bool {
        let cell = match self.subscription(batch.items[batch.applied].serial) {
            Some(Subscribed::One(feed)) => Arc::clone(&feed.cell),
            Some(Subscribed::Many(feeds)) => {
                let feeds = Arc::clone(feeds);
                return self.apply_to_feeds(batch, &feeds);
            }
            None => return false,
        };
        let (now_ms, subscriptions) = (self.engine.clock.wall_ms(), &self.subscriptions);
        self.work.take_ticket();
        let mut known = true;
        cell.step(&mut self.work, Journaled::default(), |machine, out| {
            while let Some(item) = batch.items.get(batch.applied) {
                let Some(Subscribed::One(feed)) = subscriptions.get(item.serial) else {
                    break;
                };
                if !Arc::ptr_eq(&feed.cell, &cell) {
                    break;
                }
                let key = feed.key;
                known = match machine {
                    Machine::Queue(queue) => {
                        queue.acknowledge(now_ms, key, item.which, item.ack, out)
                    }
                    Machine::Topic(topic) => {
                        topic.acknowledge(now_ms, key, item.which, item.ack, out)
                    }
                };
                if !known {
                    break;
                }
                batch.applied += 1;
            }
        });
        self.answer_applied(batch);
        known
    }

    /// Applies one item to all feeds that it concerns. Returns false if it names no waiting delivery.
    fn apply_to_feeds(&mut self, batch: &mut Acknowledgements, feeds: &Feeds) -> bool {
        let Item {
            serial, which, ack, ..
        } = batch.items[batch.applied];
        let Some(concerned) = feeds.concerned(split_serial(serial).1, which) else {
            return false;
        };
        let now_ms = self.engine.clock.wall_ms();
        self.work.take_ticket();
        for (feed, which) in concerned {
            let (work, journaled) = (&mut self.work, Journaled::default());
            feed.cell
                .step(work, journaled, |machine, out| match machine {
                    Machine::Queue(queue) => queue.acknowledge(now_ms, feed.key, which, ack, out),
                    Machine::Topic(topic) => topic.acknowledge(now_ms, feed.key, which, ack, out),
                });
        }
        batch.applied += 1;
        self.answer_applied(batch);
        true
    }

    /// Answers what has been applied.
    fn answer_applied(&mut self, batch: &mut Acknowledgements) {
        // Dead letters written now belong to these acknowledgements and are covered by their answers.
        self.engine.bury_all(&mut self.work);
        let ticket = self.work.take_ticket();
        let end = batch
            .applied
            .checked_sub(1)
            .map_or(0, |last| batch.items[last].answer_end);
        if end > batch.answered {
            self.reply(ticket, &batch.answers[batch.answered..end]);
            batch.answered = end;
        }
    }
}

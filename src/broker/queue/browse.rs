//! Browsers: consumers that look at what is in a queue and take nothing (BRO-1 to BRO-3).
//!
//! A browser walks over the places that were taken when it came, in order, in runs of [`RUN_MESSAGES_MAX`]:
//! waiting messages, delayed ones and those that other consumers hold. What is not in memory is asked back
//! for the run alone. So a browser costs a run of memory, whatever the depth of the queue.

use crate::broker::filter::Filter;
use std::collections::VecDeque;
use std::sync::Arc;

use super::Queue;
use super::lanes::Spot;
use crate::broker::delivery::{Delivery, Entry};
use crate::broker::message::Message;
use crate::broker::outlet::{Flow, Outgoing, Outlet};
use crate::broker::subscription::SubscriptionKey;

/// Messages looked up in one go.
const RUN_MESSAGES_MAX: usize = 500;
/// Octets of messages looked up in one go; the last one may go over.
const RUN_BYTES_MAX: u64 = 2 << 20;
/// Runs in one step; a browser whose selector matches little goes on in the next.
const RUNS_MAX: usize = 8;
/// Marks what a browser asks back, as it is not for the queue.
const FOR_BROWSER: u64 = 1 << 63;

/// How far a browser is.
#[derive(Debug)]
pub(super) struct Browse {
    at: Spot,
    /// What came later is not shown.
    end_sequence: u64,
    run: VecDeque<(Spot, Entry)>,
    is_done: bool,
}

impl Browse {
    /// Looks at what comes before `end_sequence`.
    pub(super) fn new(end_sequence: u64) -> Self {
        Self {
            at: Spot::FIRST,
            end_sequence,
            run: VecDeque::new(),
            is_done: false,
        }
    }

    /// Whether it has seen everything.
    pub(super) fn is_done(&self) -> bool {
        self.is_done
    }
}

impl Queue {
    /// Lets browsers see what they can take. Returns whether there is more to do at once.
    pub(super) fn serve_browsers(&mut self, now_ms: u64, out: &mut impl Outlet) -> bool {
        let browsers: Vec<SubscriptionKey> = self
            .consumers
            .iter()
            .filter(|(_, consumer)| {
                consumer
                    .browse
                    .as_ref()
                    .is_some_and(|browse| !browse.is_done)
            })
            .map(|(key, _)| key)
            .collect();
        let mut more = false;
        for key in browsers {
            more |= self.serve_browser(now_ms, key, out);
        }
        more
    }

    /// Takes a message that a browser asked for. Returns false if it was not asked for by one.
    pub(super) fn loaded_for_browser(
        &mut self,
        sequence: u64,
        message: Option<&Arc<Message>>,
    ) -> bool {
        if sequence & FOR_BROWSER == 0 {
            return false;
        }
        let sequence = sequence & !FOR_BROWSER;
        for consumer in self.consumers.values_mut() {
            let Some(browse) = &mut consumer.browse else {
                continue;
            };
            let place = |(spot, entry): &(Spot, Entry)| {
                spot.sequence == sequence && entry.message.is_none()
            };
            if let Some(at) = browse.run.iter().position(place) {
                match message {
                    Some(message) => browse.run[at].1.message = Some(Arc::clone(message)),
                    None => drop(browse.run.remove(at)),
                }
            }
        }
        true
    }

    fn serve_browser(&mut self, now_ms: u64, key: SubscriptionKey, out: &mut impl Outlet) -> bool {
        for _ in 0..RUNS_MAX {
            if !self.show_run(now_ms, key, out) {
                return false;
            }
            self.fill_run(key, out);
            let consumer = &mut self.consumers[key];
            let Some(browse) = &mut consumer.browse else {
                return false;
            };
            if browse.run.is_empty() && !consumer.subscription.is_blocked() {
                browse.is_done = true;
                self.browsers -= 1;
                out.browsed(key);
                return false;
            }
        }
        true
    }

    /// Shows what is there of the run. Returns whether the run is at its end.
    fn show_run(&mut self, now_ms: u64, key: SubscriptionKey, out: &mut impl Outlet) -> bool {
        let consumer = &mut self.consumers[key];
        let Some(browse) = &mut consumer.browse else {
            return false;
        };
        while let Some((spot, mut entry)) = browse.run.pop_front() {
            let Some(message) = &entry.message else {
                browse.run.push_front((spot, entry));
                return false;
            };
            let (redeliveries, redelivered) = (entry.redeliveries, entry.redelivered);
            let unwanted =
                |filter: &dyn Filter| !filter.matches(message, redeliveries, redelivered);
            let selection = consumer.selection.as_ref();
            if message.is_expired(now_ms)
                || selection.is_some_and(|selection| unwanted(&*selection.filter))
            {
                continue;
            }
            if !consumer.subscription.has_credit() {
                browse.run.push_front((spot, entry));
                return false;
            }
            let outgoing = Outgoing {
                message,
                number: consumer.subscription.number_next(|| out.number(key)),
                redelivered,
                redeliveries,
                first_of_group: false,
            };
            let flow = out.deliver(key, &outgoing);
            if flow != Flow::Open {
                consumer.subscription.set_blocked(true);
            }
            if flow == Flow::Refused {
                browse.run.push_front((spot, entry));
                return false;
            }
            let (number, id) = (outgoing.number, message.id);
            // The browser remembers that it showed the message, and holds nothing of it.
            (entry.message, entry.at) = (None, None);
            consumer.subscription.hold(Delivery {
                number,
                sequence: spot.sequence,
                id,
                expires_ms: 0,
                entry,
                group: None,
            });
        }
        !consumer.subscription.is_blocked()
    }

    /// Looks up the next run.
    fn fill_run(&mut self, key: SubscriptionKey, out: &mut impl Outlet) {
        let Some(browse) = &self.consumers[key].browse else {
            return;
        };
        let mut found = self.list(browse.at, browse.end_sequence, RUN_MESSAGES_MAX);
        let mut bytes = 0;
        let within = found.iter().take_while(|(_, entry)| {
            let before = bytes;
            bytes += u64::from(entry.bytes.get());
            before < RUN_BYTES_MAX
        });
        let count = within.count();
        found.truncate(count);
        let Some(browse) = &mut self.consumers[key].browse else {
            return;
        };
        if let Some((last, _)) = found.last() {
            browse.at = last.next();
        }
        for (spot, entry) in &found {
            if let (None, Some(at)) = (&entry.message, entry.at) {
                out.fetch(spot.sequence | FOR_BROWSER, at);
            }
        }
        browse.run.extend(found);
    }
}

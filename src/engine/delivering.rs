//! The effects of a step: deliveries rendered into outboxes, and records gathered for the journal.

use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard};

use super::attachments::Attachments;
use super::cell::{Cell, Journaled, Records};
use super::outbox::{Outbox, Waiting};
use super::policy::Rules;
use super::records;
use super::reporting::Reporting;
use crate::broker::advisory::{ConsumerFacts, News};
use crate::broker::outlet::Progress;
use crate::broker::queue::Stall;
use crate::broker::slow::AbortCause;
use crate::broker::{
    Delivery, Entry, Flow, Locator, Message, Outgoing, Outlet, Rejected, SubscriptionKey,
};

/// Renders deliveries for one subscription in the form of its wire.
pub trait Encoder: Send {
    /// The wire whose form of messages it renders; it is asked to rewrite all others.
    fn wire(&self) -> u8;
    /// Appends everything of the frame that comes before the body.
    /// Returns whether the body follows; else that was the whole frame.
    fn head(&self, outgoing: &Outgoing<'_>, out: &mut Vec<u8>) -> bool;
    /// Appends what follows the body of the frame that [`Encoder::head`] has just begun.
    fn tail(&self, out: &mut Vec<u8>);
    /// Appends the frame that tells a browser that it has seen everything (BRO-1).
    fn browse_end(&self, out: &mut Vec<u8>);
    /// Whether it may have something to say of any message's form; asked once. It is always asked about messages of other
    /// wires, advisories included.
    fn rewrites(&self) -> bool {
        false
    }
    /// The message in the form in which it is to be rendered, if that is another one.
    fn rewritten(&self, _message: &Message) -> Option<Message> {
        None
    }
}

/// The outlet of a cell: renders deliveries into outboxes and gathers records.
pub struct Delivering<'a> {
    pub(super) attached: &'a Attachments,
    /// The outbox of the last delivery, kept locked because the next one mostly goes there too.
    pub(super) current: Option<(&'a Arc<Outbox>, MutexGuard<'a, Waiting>)>,
    pub(super) touched: &'a mut Vec<Arc<Outbox>>,
    pub(super) records: &'a mut Records,
    pub(super) stored: bool,
    pub(super) journaled: Journaled,
    pub(super) cell: &'a Cell,
    pub(super) rules: &'a Rules,
    /// What of this step is to be reported, if anything.
    pub(super) reporting: Option<Reporting<'a>>,
}

impl<'a> Delivering<'a> {
    /// What is told of a consumer.
    fn facts(&self, of: SubscriptionKey) -> Option<&'a Arc<ConsumerFacts>> {
        self.attached.get(of)?.facts.as_ref()
    }

    /// Locks `outbox`, if it is not the one of the last delivery.
    fn open(&mut self, outbox: &'a Arc<Outbox>) -> &mut MutexGuard<'a, Waiting> {
        let is_current = self
            .current
            .as_ref()
            .is_some_and(|(current, _)| Arc::ptr_eq(current, outbox));
        if !is_current {
            // Two outboxes are never locked at once.
            self.current = None;
            let mut waiting = outbox.lock();
            if waiting.mark_dirty() {
                self.touched.push(Arc::clone(outbox));
            }
            self.current = Some((outbox, waiting));
        }
        match &mut self.current {
            Some((_, waiting)) => waiting,
            None => unreachable!("it has just been locked"),
        }
    }
}

impl Outlet for Delivering<'_> {
    fn number(&mut self, to: SubscriptionKey) -> u64 {
        // The outbox stays locked until the delivery is in it, so numbers are in the order of frames.
        let Some(attached) = self.attached.get(to) else {
            return 0;
        };
        self.open(&attached.outbox);
        let numbers = attached.numbers.as_ref();
        numbers.map_or(0, |numbers| numbers.fetch_add(1, Ordering::Relaxed))
    }

    fn deliver(&mut self, to: SubscriptionKey, outgoing: &Outgoing<'_>) -> Flow {
        let Some(attached) = self.attached.get(to) else {
            return Flow::Refused;
        };
        let outbox = &attached.outbox;
        let waiting = self.open(outbox);
        if !waiting.takes_deliveries() {
            return Flow::Refused;
        }
        let encoder = &attached.encoder;
        let rewritten = if attached.rewrites || outgoing.message.wire != attached.wire {
            encoder.rewritten(outgoing.message).map(Arc::new)
        } else {
            None
        };
        let told = outgoing.message;
        let other;
        let outgoing = match &rewritten {
            None => outgoing,
            Some(message) => {
                other = Outgoing {
                    message,
                    ..*outgoing
                };
                &other
            }
        };
        let open = waiting.deliver(outbox, attached.index, attached.auto, outgoing, &**encoder);
        if let Some(reporting) = &self.reporting
            && reporting.wanted.dispatched
        {
            let consumer = attached.facts.as_ref();
            reporting.message(News::Dispatched, (told.id, Some(told)), consumer, 0);
        }
        if open { Flow::Open } else { Flow::Full }
    }

    fn consumed(&mut self, by: SubscriptionKey, delivery: &Delivery) {
        if let Some(reporting) = &self.reporting
            && reporting.wanted.consumed
            && !delivery.entry.is_purged()
        {
            let told = (delivery.id, delivery.entry.message.as_deref());
            reporting.message(News::Consumed, told, self.facts(by), 0);
        }
    }

    fn expired(&mut self, entry: &Entry) {
        if let Some(message) = &entry.message {
            let wanted = self.rules.policy.advisories;
            self.cell.report_end(wanted, News::Expired, message);
        }
    }

    fn discarded(&mut self, from: SubscriptionKey, entry: &Entry, total: u64) {
        if let Some(reporting) = &self.reporting
            && reporting.wanted.discarding
            && let Some(message) = &entry.message
        {
            let told = (message.id, Some(&**message));
            reporting.message(News::Discarded, told, self.facts(from), total);
        }
    }

    fn abort(&mut self, whose: SubscriptionKey, cause: AbortCause) {
        if let Some(attached) = self.attached.get(whose) {
            let waiting = self.open(&attached.outbox);
            waiting.end(&attached.outbox, attached.index, cause, false);
        }
    }

    fn stalled(&mut self, stall: &Stall) {
        self.cell.report_stall(stall, self.facts(stall.consumer));
    }

    fn browsed(&mut self, to: SubscriptionKey) {
        let Some(attached) = self.attached.get(to) else {
            return;
        };
        let waiting = self.open(&attached.outbox);
        if waiting.takes_deliveries() {
            waiting.tell(&attached.outbox, |out| attached.encoder.browse_end(out));
        }
    }

    fn remove(&mut self, sequence: u64, at: Locator) {
        if at.is_temp() {
            self.records.freed.push(at);
        } else if self.stored && !self.journaled.removals {
            self.records.removed.push((sequence, records::to_store(at)));
        }
    }

    fn acknowledge(&mut self, subscription: u32, progress: Progress) {
        // A position says nothing that the group does not, but without one the exceptions would only grow.
        let journaled = self.journaled.progress && matches!(progress, Progress::Single(_));
        if self.stored && !journaled {
            self.records.acknowledged.push((subscription, progress));
        }
    }

    fn redelivered(&mut self, sequence: u64, at: Locator, redeliveries: u16) {
        self.records.redelivered.push((sequence, at, redeliveries));
    }

    fn redelivered_to(&mut self, subscription: u32, sequence: u64, redeliveries: u16) {
        let marked = (subscription, sequence, redeliveries);
        self.records.marked.push(marked);
    }

    fn reject(&mut self, rejected: Rejected) {
        self.records.rejected.push(rejected);
    }

    fn fetch(&mut self, sequence: u64, at: Locator) {
        self.records.fetches.push((sequence, at));
    }
}

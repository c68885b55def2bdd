//! The effects of a step: deliveries rendered into outboxes, and records gathered for the journal.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, MutexGuard};

use slotmap::SecondaryMap;

use super::cell::{Cell, Journaled, Records};
use super::outbox::{Outbox, Waiting};
use super::policy::Rules;
use super::records;
use super::reporting::{Facts, Reporting};
use crate::broker::advisory::News;
use crate::broker::outlet::Progress;
use crate::broker::queue::Stall;
use crate::broker::slow::AbortCause;
use crate::broker::{
    Delivery, Entry, Flow, Locator, Message, Outgoing, Outlet, Rejected, SubscriptionKey,
};

/// Renders deliveries for one subscription in the form of its wire.
pub trait Encoder: Send {
    /// Appends everything of the frame that comes before the body.
    fn head(&mut self, outgoing: &Outgoing<'_>, out: &mut Vec<u8>);
    /// What follows the body.
    fn tail(&self) -> &'static [u8];
    /// Appends the frame that tells a browser that it has seen everything (BRO-1).
    fn browse_end(&self, out: &mut Vec<u8>);
    /// Whether it may have something to say of any message's form; asked once. Advisories it is asked about always.
    fn rewrites(&self) -> bool {
        false
    }
    /// The message in the form in which it is to be rendered, if that is another one.
    fn rewritten(&mut self, _message: &Message) -> Option<Message> {
        None
    }
}

/// How the deliveries of a consumer are rendered.
pub(super) struct Rendering {
    pub(super) encoder: Box<dyn Encoder>,
    /// Whether the encoder has a say in the form of each message.
    pub(super) rewrites: bool,
}

/// How the deliveries of one subscription get to its connection.
pub(super) struct Attached {
    pub(super) outbox: Arc<Outbox>,
    /// Its number there.
    pub(super) index: u32,
    pub(super) auto: bool,
    /// Who numbers deliveries, if the consumer shares its subscription with those of other destinations.
    pub(super) numbers: Option<Arc<AtomicU64>>,
}

/// The outlet of a cell: renders deliveries into outboxes and gathers records.
pub struct Delivering<'a> {
    pub(super) attached: &'a SecondaryMap<SubscriptionKey, Attached>,
    pub(super) encoders: &'a mut SecondaryMap<SubscriptionKey, Rendering>,
    /// The outbox of the last delivery, kept locked because the next one mostly goes there too.
    pub(super) current: Option<(&'a Arc<Outbox>, MutexGuard<'a, Waiting>)>,
    pub(super) touched: &'a mut Vec<Arc<Outbox>>,
    pub(super) records: &'a mut Records,
    pub(super) stored: bool,
    pub(super) journaled: Journaled,
    pub(super) facts: &'a Facts,
    pub(super) cell: &'a Cell,
    pub(super) rules: &'a Rules,
    /// What of this step is to be reported, if anything.
    pub(super) reporting: Option<Reporting<'a>>,
}

impl<'a> Delivering<'a> {
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
        let (Some((_, waiting)), Some(rendering)) = (&mut self.current, self.encoders.get_mut(to))
        else {
            return Flow::Refused;
        };
        let Rendering { encoder, rewrites } = rendering;
        let rewritten = if *rewrites || outgoing.message.event().is_some() {
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
        let tail = encoder.tail();
        let open = waiting.deliver(
            outbox,
            attached.index,
            attached.auto,
            outgoing.message,
            |out| encoder.head(outgoing, out),
            tail,
        );
        if let Some(reporting) = &self.reporting
            && reporting.wanted.dispatched
        {
            let consumer = self.facts.get(to);
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
            reporting.message(News::Consumed, told, self.facts.get(by), 0);
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
            reporting.message(News::Discarded, told, self.facts.get(from), total);
        }
    }

    fn abort(&mut self, whose: SubscriptionKey, cause: AbortCause) {
        if let Some(attached) = self.attached.get(whose) {
            let waiting = self.open(&attached.outbox);
            waiting.end(&attached.outbox, attached.index, cause, false);
        }
    }

    fn stalled(&mut self, stall: &Stall) {
        self.cell
            .report_stall(stall, self.facts.get(stall.consumer));
    }

    fn browsed(&mut self, to: SubscriptionKey) {
        let Some(Attached { outbox, .. }) = self.attached.get(to) else {
            return;
        };
        self.open(outbox);
        if let (Some((_, waiting)), Some(rendering)) = (&mut self.current, self.encoders.get(to))
            && waiting.takes_deliveries()
        {
            waiting.tell(outbox, |out| rendering.encoder.browse_end(out));
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

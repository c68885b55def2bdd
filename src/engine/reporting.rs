//! What a step of a destination reports, where its policy asks for it (section 11.7).
//!
//! Decided once for a step: without a policy that asks, or without anybody who listens, a message costs a look at an
//! empty option.

use std::sync::Arc;

use super::advisories::Advisories;
use super::attachments::Attachments;
use super::cell::{Cell, Machine, Rare, State};
use super::policy::{self, Rules};
use crate::broker::advisory::{ConsumerFacts, Event, MessageEvent, News};
use crate::broker::policy::AdvisoryPolicy;
use crate::broker::queue::Stall;
use crate::broker::{Destination, Kind, Message, MessageId};

/// A step that has something to report.
#[derive(Clone, Copy)]
pub(super) struct Reporting<'a> {
    pub(super) wanted: AdvisoryPolicy,
    advisories: &'a Advisories,
    of: &'a Destination,
}

impl<'a> Reporting<'a> {
    /// Reports something that happened to a message.
    pub(super) fn message(
        &self,
        news: News,
        (id, message): (MessageId, Option<&Message>),
        consumer: Option<&Arc<ConsumerFacts>>,
        discarded_total: u64,
    ) {
        self.advisories.note(|| {
            Event::Message(Box::new(MessageEvent {
                news,
                of: self.of.clone(),
                id,
                message: message.map(|message| shown(message, self.wanted)),
                consumer: consumer.map(Arc::clone),
                discarded_total,
            }))
        });
    }

    /// Reports messages that are about to come in.
    pub(super) fn arrivals<'m>(
        &self,
        machine: &Machine,
        messages: impl Iterator<Item = &'m Arc<Message>>,
    ) {
        let nobody = self.wanted.no_consumers && machine.consumers() == 0;
        if !nobody && !self.wanted.delivery {
            return;
        }
        for message in messages {
            let told = (message.id, Some(&**message));
            if self.wanted.delivery {
                self.message(News::Delivered, told, None, 0);
            }
            if nobody && (self.of.kind == Kind::Queue || !message.is_persistent()) {
                self.message(News::NoConsumer, told, None, 0);
            }
        }
    }

    /// Reports consumers that have become slow since the last step.
    pub(super) fn slow_consumers(
        &self,
        machine: &Machine,
        rare: &mut Option<Box<Rare>>,
        attached: &Attachments,
    ) {
        if !self.wanted.slow_consumers {
            return;
        }
        let slow = match machine {
            Machine::Queue(queue) => queue.slow_consumers(),
            Machine::Topic(topic) => topic.slow_consumers(),
        };
        if slow.is_empty() && rare.is_none() {
            return;
        }
        let known = &mut rare.get_or_insert_default().slow;
        for key in slow.iter().filter(|key| !known.contains(key)) {
            if let Some(who) = attached.get(*key).and_then(|it| it.facts.as_ref()) {
                self.advisories.note(|| Event::SlowConsumer {
                    of: self.of.clone(),
                    who: Arc::clone(who),
                });
            }
        }
        *known = slow;
    }
}

/// As much of a message as a report shows.
fn shown(message: &Message, wanted: AdvisoryPolicy) -> Message {
    if wanted.include_body {
        message.clone()
    } else {
        message.without_body()
    }
}

impl Cell {
    /// What the next step has to report; mostly nothing.
    #[inline]
    pub(super) fn reporting(&self, rules: &Rules) -> Option<Reporting<'_>> {
        (self.watches(policy::REPORTS)
            && self.common.advisories.are_wanted()
            && !self.destination.is_advisory())
        .then(|| self.report(rules.policy.advisories))
    }

    fn report(&self, wanted: AdvisoryPolicy) -> Reporting<'_> {
        Reporting {
            wanted,
            advisories: &self.common.advisories,
            of: &self.destination,
        }
    }

    /// Reports a message that has expired or become a dead letter, whatever the policy.
    pub(super) fn report_end(&self, wanted: AdvisoryPolicy, news: News, message: &Message) {
        if self.common.advisories.are_wanted() {
            self.report(wanted)
                .message(news, (message.id, Some(message)), None, 0);
        }
    }

    /// Says in the log that a queue stands still, and who should have got what.
    pub(super) fn report_stall(&self, stall: &Stall, who: Option<&Arc<ConsumerFacts>>) {
        let reason = stall.reason.as_ref().map_or_else(
            || "nothing keeps it: a fault of the broker".to_owned(),
            ToString::to_string,
        );
        tracing::warn!(
            destination = %self.destination,
            waiting = stall.waiting,
            still_ms = stall.still_ms,
            sequence = stall.sequence,
            consumer = who.map(|who| who.id()),
            client_id = who.map(|who| who.connection.client_id.as_str()),
            reason,
            "a queue stands still although a consumer has credit (stallTimeout)"
        );
    }

    /// Reports messages that are about to come in.
    pub(super) fn report_arrivals<'m>(
        &self,
        state: &State,
        messages: impl Iterator<Item = &'m Arc<Message>>,
    ) {
        if let Some(reporting) = self.reporting(&state.rules) {
            reporting.arrivals(&state.machine, messages);
        }
    }
}

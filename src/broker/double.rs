//! The world outside a destination, for tests: keeps every effect in order and does as it is told.

use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::sync::Arc;

use super::message::{Locator, Message, MessageFlags, MessageId};
use super::outlet::{Flow, Outgoing, Outlet, Progress, Rejected};
use super::queue::{GroupMark, Stall};
use super::slow::AbortCause;
use super::subscription::SubscriptionKey;

/// One effect.
#[derive(Debug)]
pub(super) enum Event {
    Deliver {
        to: SubscriptionKey,
        id: MessageId,
        number: u64,
        redelivered: bool,
        redeliveries: u16,
        first_of_group: bool,
        flow: Flow,
    },
    Browsed(SubscriptionKey),
    Remove(u64, Locator),
    Acknowledge(u32, Progress),
    Redelivered(u64, u16),
    RedeliveredTo(u32, u64, u16),
    Reject(Rejected),
    Abort(SubscriptionKey, AbortCause),
    Stalled(Stall),
}

/// Remembers effects and answers deliveries as planned.
#[derive(Debug, Default)]
pub(super) struct World {
    /// Effects of the steps since they were last taken.
    pub(super) events: Vec<Event>,
    /// What was asked back and has not been served.
    pub(super) asked: Vec<(u64, Locator)>,
    /// Answers to the next deliveries, last one first; open when there are none.
    pub(super) flows: Vec<Flow>,
    /// What the store holds.
    pub(super) stored: BTreeMap<Locator, Arc<Message>>,
    /// What temporary storage holds.
    pub(super) spilled: BTreeMap<Locator, Arc<Message>>,
    spilled_total: u64,
}

impl World {
    /// The effects so far, which are forgotten.
    pub(super) fn take(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.events)
    }

    /// The ids of what was delivered since effects were last taken; everything else is forgotten too.
    pub(super) fn delivered(&mut self) -> Vec<u64> {
        let delivered = |event| match event {
            Event::Deliver { id, flow, .. } if flow != Flow::Refused => Some(id.serial),
            _ => None,
        };
        self.take().into_iter().filter_map(delivered).collect()
    }

    /// Keeps a copy of `message` as the store does, at the next place, which is a multiple of 32.
    pub(super) fn store(&mut self, message: &Message) -> Locator {
        let last = self.stored.keys().next_back().map_or(0, |at| at.0.get());
        let at = Locator(NonZeroU64::new(last + 32).unwrap());
        let copy = copy(message);
        self.stored.insert(at, Arc::new(copy));
        at
    }

    /// Keeps a copy of `message` as temporary storage does; see [`World::store`].
    pub(super) fn spill(&mut self, message: &Message) -> Locator {
        self.spilled_total += 1;
        let at = Locator::temp(NonZeroU64::new(self.spilled_total * 32).unwrap());
        self.spilled.insert(at, Arc::new(copy(message)));
        at
    }

    /// A copy of what the store holds at `at`, as reading it makes one.
    pub(super) fn read(&self, at: Locator) -> Option<Arc<Message>> {
        let found = self.stored.get(&at).or_else(|| self.spilled.get(&at));
        found.map(|message| Arc::new(copy(message)))
    }
}

impl Outlet for World {
    fn number(&mut self, _: SubscriptionKey) -> u64 {
        unreachable!("nobody numbers outside")
    }

    fn deliver(&mut self, to: SubscriptionKey, outgoing: &Outgoing<'_>) -> Flow {
        let flow = self.flows.pop().unwrap_or(Flow::Open);
        self.events.push(Event::Deliver {
            to,
            id: outgoing.message.id,
            number: outgoing.number,
            redelivered: outgoing.redelivered,
            redeliveries: outgoing.redeliveries,
            first_of_group: outgoing.first_of_group,
            flow,
        });
        flow
    }

    fn browsed(&mut self, to: SubscriptionKey) {
        self.events.push(Event::Browsed(to));
    }

    fn remove(&mut self, sequence: u64, at: Locator) {
        if at.is_temp() {
            let freed = self.spilled.remove(&at);
            assert!(freed.is_some(), "a place is freed once");
            return;
        }
        self.events.push(Event::Remove(sequence, at));
    }

    fn acknowledge(&mut self, subscription: u32, progress: Progress) {
        self.events.push(Event::Acknowledge(subscription, progress));
    }

    fn redelivered(&mut self, sequence: u64, at: Locator, redeliveries: u16) {
        assert!(
            self.stored.contains_key(&at),
            "only a stored counter is told"
        );
        self.events.push(Event::Redelivered(sequence, redeliveries));
    }

    fn redelivered_to(&mut self, subscription: u32, sequence: u64, redeliveries: u16) {
        let event = Event::RedeliveredTo(subscription, sequence, redeliveries);
        self.events.push(event);
    }

    fn reject(&mut self, rejected: Rejected) {
        self.events.push(Event::Reject(rejected));
    }

    fn abort(&mut self, whose: SubscriptionKey, cause: AbortCause) {
        self.events.push(Event::Abort(whose, cause));
    }

    fn stalled(&mut self, stall: &Stall) {
        self.events.push(Event::Stalled(stall.clone()));
    }

    fn fetch(&mut self, sequence: u64, at: Locator) {
        self.asked.push((sequence, at));
    }
}

/// A message whose serial is the sequence it will have.
pub(super) fn message(serial: u64, size: usize, persistent: bool, expires_ms: u64) -> Message {
    let flags = if persistent {
        MessageFlags::PERSISTENT
    } else {
        0
    };
    let id = MessageId { origin: 1, serial };
    let mut message = Message::new(id, vec![0; size].into(), 0, MessageFlags(flags), 1);
    message.expires_ms = expires_ms;
    message
}

/// A member of group `id`; the head is its mark.
pub(super) fn grouped(
    serial: u64,
    size: usize,
    persistent: bool,
    id: u8,
    sequence: i32,
) -> Message {
    let plain = message(serial, size, persistent, 0);
    let mut payload = vec![id];
    payload.extend_from_slice(&sequence.to_le_bytes());
    let head_len = u32::try_from(payload.len()).unwrap();
    payload.extend_from_slice(plain.body());
    let flags = MessageFlags(plain.flags.0 | MessageFlags::GROUPED);
    Message::new(plain.id, payload.into(), head_len, flags, plain.wire)
}

/// Reads what [`grouped`] wrote.
pub(super) fn group_of(message: &Message) -> Option<GroupMark<'_>> {
    let (id, sequence) = message.head().split_first()?;
    let sequence = i32::from_le_bytes(sequence.try_into().ok()?);
    let id = id.to_string().into();
    Some(GroupMark { id, sequence })
}

fn copy(message: &Message) -> Message {
    let head_len = u32::try_from(message.head().len()).unwrap();
    let payload = [message.head(), message.body()].concat();
    let mut copy = Message::new(
        message.id,
        payload.into(),
        head_len,
        message.flags,
        message.wire,
    );
    (copy.expires_ms, copy.priority) = (message.expires_ms, message.priority);
    copy
}

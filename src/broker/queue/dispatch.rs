//! Who gets which message: consumers take turns, and each takes the first message that it may have.

use super::Queue;
use super::lanes::Spot;
use crate::broker::delivery::{Delivery, Entry};
use crate::broker::outlet::{Flow, Outgoing, Outlet};
use crate::broker::subscription::SubscriptionKey;

/// Messages looked at in one step, by those who choose and by all others; a search that needs more goes on in
/// the next step, so that others get the lock.
const LOOKS_MAX: usize = 10_000;

/// What a search for a consumer has found.
enum Found {
    /// The message there.
    Ready(Spot),
    /// A message that has to come back to memory before more can be said.
    Paged(Spot),
    /// Nothing it may have.
    Nothing,
    /// The step has looked at enough.
    Enough,
}

/// Whether a consumer may have a message.
enum Judgement {
    Take,
    Pass,
    /// It belongs to a group of the consumer, whose selector does not want it.
    Decline,
    Load,
}

/// What one step has looked at, and what it could not see.
struct Search {
    /// Messages that consumers without a selector may still look at, and those with one.
    looks: usize,
    choosing_looks: usize,
    /// Consumers that could not have what is reserved for them.
    asked: Vec<SubscriptionKey>,
    /// A message to bring back to memory for consumers without a selector, which take what comes.
    ahead: Option<Spot>,
    /// One for those who look for certain messages.
    sought: Option<Spot>,
}

impl Default for Search {
    fn default() -> Self {
        Self {
            looks: LOOKS_MAX,
            choosing_looks: LOOKS_MAX,
            asked: Vec::new(),
            ahead: None,
            sought: None,
        }
    }
}

impl Search {
    fn want(&mut self, spot: Spot, seeks: bool) {
        let place = if seeks {
            &mut self.sought
        } else {
            &mut self.ahead
        };
        *place = Some(place.map_or(spot, |other| other.min(spot)));
    }
}

impl Queue {
    /// Delivers what can be delivered.
    pub fn dispatch(&mut self, now_ms: u64, out: &mut impl Outlet) {
        self.unfinished = false;
        if self.lanes.is_empty() {
            if !self.shared.is_fresh() {
                self.shared.restart();
            }
        } else if self.is_open(now_ms) {
            self.deliver_from_head(now_ms, out);
            self.deliver_in_turn(now_ms, out);
        }
        if self.watchdog.is_none() && !self.lanes.is_empty() {
            self.watch(now_ms);
        }
        if self.browsers > 0 {
            self.unfinished |= self.serve_browsers(now_ms, out);
        }
        self.lanes.page_out();
    }

    /// Whether a message may go to whoever is next, without a search.
    pub(super) fn is_plain(&mut self, now_ms: u64) -> bool {
        self.selective.is_empty() && self.exclusive.is_none() && self.is_open(now_ms)
    }

    /// The consumer whose turn it is and who has credit.
    pub(super) fn next_in_turn(&mut self) -> Option<SubscriptionKey> {
        self.turns.first(&mut self.consumers)
    }

    /// Hands the message to the consumer. Returns false if it stays, for the consumer takes no more.
    pub(super) fn hand_out(
        &mut self,
        now_ms: u64,
        key: SubscriptionKey,
        spot: Spot,
        entry: Entry,
        out: &mut impl Outlet,
    ) -> bool {
        let Some(message) = &entry.message else {
            return false;
        };
        if message.is_expired(now_ms) {
            let expires_ms = message.expires_ms;
            self.expire(spot, entry, expires_ms, out);
            return true;
        }
        let group = if entry.is_grouped() {
            self.group_reader
                .and_then(|read| read(message))
                .and_then(|mark| Some((self.groups.find(&mark.id)?, mark.sequence)))
        } else {
            None
        };
        let first_of_group = group
            .is_some_and(|(group, _)| self.groups.get_mut(group).is_some_and(|group| group.is_new));
        let consumer = &mut self.consumers[key];
        let number = consumer.subscription.number_next(|| out.number(key));
        let outgoing = Outgoing {
            message,
            number,
            redelivered: entry.redelivered,
            redeliveries: entry.redeliveries,
            first_of_group,
        };
        let flow = out.deliver(key, &outgoing);
        if flow != Flow::Open {
            consumer.subscription.set_blocked(true);
        }
        if flow == Flow::Refused {
            let expires_ms = message.expires_ms;
            self.insert(spot, entry, expires_ms);
            return false;
        }
        let (id, expires_ms) = (message.id, message.expires_ms);
        let (timestamp_ms, is_first) = (message.timestamp_ms, !entry.redelivered);
        consumer.subscription.hold(Delivery {
            number,
            sequence: spot.sequence,
            id,
            expires_ms,
            entry,
            group: group.map(|(group, _)| group),
        });
        if !consumer.subscription.has_credit() {
            consumer.full_since_ms = now_ms;
        }
        if let Some(adaptive) = &mut consumer.adaptive
            && adaptive.delivered(now_ms, consumer.subscription.unacked.len())
        {
            let stall_ms = now_ms.saturating_add(crate::broker::adaptive::STALL_MS);
            self.stall_check_ms = self.stall_check_ms.min(stall_ms);
        }
        self.stats.dispatched += 1;
        if is_first {
            self.stats.waits.note(now_ms.saturating_sub(timestamp_ms));
        }
        if let Some(readable) = self.lanes.paging.pressing() {
            self.lanes.paging.held_bytes -= consumer.subscription.unacked.shed(readable);
        }
        if let Some((group, sequence)) = group {
            self.groups.delivered(group, spot, now_ms);
            if sequence < 0 {
                self.close_group(group);
            }
        }
        let strict = self.policy.strict_order_dispatch;
        self.turns.rotate(&self.consumers, key, strict);
        true
    }

    /// Delivers from the head as long as anybody may have what is there: the most common case, without a
    /// search.
    fn deliver_from_head(&mut self, now_ms: u64, out: &mut impl Outlet) {
        if !self.selective.is_empty() || self.exclusive.is_some() || !self.shared.is_fresh() {
            return;
        }
        while let Some((spot, entry)) = self.lanes.first() {
            if entry.message.is_none() || entry.is_grouped() || entry.is_delayed() {
                return;
            }
            let Some(key) = self.next_in_turn() else {
                return;
            };
            let Some(entry) = self.take_ready(spot) else {
                return;
            };
            self.hand_out(now_ms, key, spot, entry, out);
            if self.lanes.has_paged()
                && let Some((head, _)) = self.lanes.first()
            {
                self.lanes.fetch_ahead(head, out);
            }
        }
    }

    fn deliver_in_turn(&mut self, now_ms: u64, out: &mut impl Outlet) {
        let mut search = Search::default();
        while !self.lanes.is_empty() {
            let owed = self.next_owed(&search);
            let Some(key) = owed.or_else(|| self.next_taker()) else {
                break;
            };
            let found = self.find(now_ms, key, owed.is_some(), &mut search);
            match found {
                Found::Ready(spot) => {
                    let Some(entry) = self.take_ready(spot) else {
                        break;
                    };
                    self.consumers[key].unreserve(spot);
                    self.hand_out(now_ms, key, spot, entry, out);
                    if self.selective.is_empty()
                        && self.lanes.has_paged()
                        && let Some(head) = self.shared.peek(&self.lanes)
                    {
                        self.lanes.fetch_ahead(head, out);
                    }
                    continue;
                }
                Found::Enough => self.unfinished = true,
                Found::Paged(spot) => search.want(spot, self.seeks(key, spot)),
                Found::Nothing => {}
            }
            if owed.is_some() {
                search.asked.push(key);
                continue;
            }
            let is_last = self.consumers[key].selection.is_none()
                && self.selective.is_empty()
                && self.next_owed(&search).is_none();
            if is_last || self.exclusive.is_some() {
                // Nobody else would find more than this one.
                break;
            }
            self.turns.rest(&self.consumers, key);
        }
        let strict = self.policy.strict_order_dispatch;
        self.turns.wake_all(&self.consumers, strict);
        self.fetch(&search, out);
    }

    /// A consumer with messages of its groups that others have passed. It goes before those in turn, as
    /// nobody else may have them.
    fn next_owed(&mut self, search: &Search) -> Option<SubscriptionKey> {
        if self.owed.is_empty() || self.exclusive.is_some() {
            return None;
        }
        let consumers = &self.consumers;
        self.owed.retain(|key| {
            consumers
                .get(*key)
                .is_some_and(|consumer| consumer.has_reserved())
        });
        let waiting = self
            .owed
            .iter()
            .find(|key| consumers[**key].is_willing() && !search.asked.contains(*key));
        waiting.copied()
    }

    fn next_taker(&mut self) -> Option<SubscriptionKey> {
        match self.exclusive {
            Some(key) => self.consumers[key].is_willing().then_some(key),
            None => self.next_in_turn(),
        }
    }

    /// Whether the consumer looks for certain messages rather than for the next one.
    fn seeks(&self, key: SubscriptionKey, spot: Spot) -> bool {
        let consumer = &self.consumers[key];
        consumer.selection.is_some() || consumer.is_reserved(spot)
    }

    /// Asks for one run. Both kinds get theirs in turn, as the first one wants the next at once.
    fn fetch(&mut self, search: &Search, out: &mut impl Outlet) {
        match (search.ahead, search.sought) {
            (Some(head), None) => self.lanes.fetch_ahead(head, out),
            (None, Some(spot)) => self.lanes.fetch_run(spot, out),
            (Some(head), Some(spot)) => {
                self.sought_last = !self.sought_last;
                if self.sought_last {
                    self.lanes.fetch_run(spot, out);
                } else {
                    self.lanes.fetch_ahead(head, out);
                }
            }
            (None, None) => {}
        }
    }

    /// Takes a message from its spot to be handed out.
    fn take_ready(&mut self, spot: Spot) -> Option<Entry> {
        let entry = self.lanes.remove(spot)?;
        if let Some(message) = &entry.message {
            self.expiry.remove(message.expires_ms, spot);
        }
        Some(entry)
    }

    /// Looks for the first message that the consumer may have; with `only_owed` only if that is one of its
    /// groups that others have passed.
    fn find(
        &mut self,
        now_ms: u64,
        key: SubscriptionKey,
        only_owed: bool,
        search: &mut Search,
    ) -> Found {
        loop {
            let reserved = self.first_reserved(key);
            let (scan, looks) = match &mut self.consumers[key].selection {
                Some(selection) => (&mut selection.scan, &mut search.choosing_looks),
                None => (&mut self.shared, &mut search.looks),
            };
            let ahead = scan.peek(&self.lanes);
            let spot = match (reserved, ahead) {
                (Some(reserved), Some(ahead)) => reserved.min(ahead),
                (Some(spot), None) | (None, Some(spot)) => spot,
                (None, None) => return Found::Nothing,
            };
            if only_owed && reserved != Some(spot) {
                return Found::Nothing;
            }
            if *looks == 0 {
                return Found::Enough;
            }
            *looks -= 1;
            let judgement = self.judge(now_ms, key, spot);
            match judgement {
                Judgement::Take => return Found::Ready(spot),
                Judgement::Load => return Found::Paged(spot),
                Judgement::Decline | Judgement::Pass => {
                    let declines = matches!(judgement, Judgement::Decline);
                    self.pass(key, spot, reserved == Some(spot), declines);
                }
            }
        }
    }

    pub(super) fn first_reserved(&mut self, key: SubscriptionKey) -> Option<Spot> {
        let consumer = &mut self.consumers[key];
        while let Some(spot) = consumer.first_reserved() {
            if self.lanes.contains(spot) {
                return Some(spot);
            }
            consumer.unreserve(spot);
        }
        None
    }

    fn judge(&mut self, now_ms: u64, key: SubscriptionKey, spot: Spot) -> Judgement {
        let Some(entry) = self.lanes.get(spot) else {
            return Judgement::Pass;
        };
        if entry.is_delayed() {
            return Judgement::Pass;
        }
        let Some(message) = &entry.message else {
            return Judgement::Load;
        };
        if message.is_expired(now_ms) {
            return Judgement::Take;
        }
        let consumer = &self.consumers[key];
        if !consumer.matches(message, entry.redeliveries, entry.redelivered) {
            return if consumer.is_reserved(spot) {
                Judgement::Decline
            } else {
                Judgement::Pass
            };
        }
        let is_fresh = entry.redeliveries == 0 && !entry.redelivered;
        if !entry.is_grouped() || self.is_its_groups_turn(now_ms, key, spot, is_fresh) {
            Judgement::Take
        } else {
            Judgement::Pass
        }
    }

    fn pass(&mut self, key: SubscriptionKey, spot: Spot, is_reserved: bool, declines: bool) {
        let consumer = &mut self.consumers[key];
        if is_reserved {
            consumer.unreserve(spot);
            if declines {
                consumer.decline(spot);
            }
            return;
        }
        match &mut consumer.selection {
            Some(selection) => selection.scan.pass(spot),
            None => {
                self.shared.pass(spot);
                self.lanes.let_go(spot);
            }
        }
    }
}

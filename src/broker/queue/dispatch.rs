//! Who gets which message: consumers take turns, and each takes the first message that it may have.

use super::Queue;
use super::lanes::Spot;
use crate::broker::delivery::{Delivery, Entry, GroupKey};
use crate::broker::outlet::{Flow, Outgoing, Outlet};
use crate::broker::subscription::SubscriptionKey;

/// Messages looked at in one step; a search that needs more goes on in the next one, so that others get the
/// lock.
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

/// Messages that have to come back to memory.
#[derive(Default)]
struct Wanted {
    /// For consumers without a selector, which take what comes.
    ahead: Option<Spot>,
    /// For those who look for certain messages.
    sought: Option<Spot>,
}

impl Queue {
    /// Delivers what can be delivered.
    pub fn dispatch(&mut self, now_ms: u64, out: &mut impl Outlet) {
        self.unfinished = false;
        if !self.lanes.is_empty() && self.is_open(now_ms) {
            self.deliver_in_turn(now_ms, out);
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
        let consumers = &self.consumers;
        self.turns
            .first(|key| consumers.get(key).is_some_and(super::Consumer::is_willing))
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
        consumer.subscription.hold(Delivery {
            number,
            sequence: spot.sequence,
            id,
            expires_ms,
            entry,
            group: group.map(|(group, _)| group),
        });
        if let Some(adaptive) = &mut consumer.adaptive
            && adaptive.delivered(now_ms, consumer.subscription.unacked.len())
        {
            let stall_ms = now_ms.saturating_add(crate::broker::adaptive::STALL_MS);
            self.stall_check_ms.get_or_insert(stall_ms);
        }
        self.stats.dispatched += 1;
        if let Some(durable) = self.lanes.paging.pressing() {
            self.lanes.paging.held_bytes -= consumer.subscription.unacked.shed(durable);
        }
        if let Some((group, sequence)) = group {
            self.groups.delivered(group, spot, now_ms);
            if sequence < 0 {
                self.close_group(group);
            }
        }
        self.turns.rotate(key);
        true
    }

    fn deliver_in_turn(&mut self, now_ms: u64, out: &mut impl Outlet) {
        let mut looks = LOOKS_MAX;
        let mut wanted = Wanted::default();
        while !self.lanes.is_empty() {
            let Some(key) = self.next_taker() else {
                break;
            };
            match self.find(now_ms, key, &mut looks) {
                Found::Ready(spot) => {
                    let Some(entry) = self.take_ready(spot) else {
                        break;
                    };
                    self.hand_out(now_ms, key, spot, entry, out);
                    if self.selective.is_empty()
                        && self.lanes.has_paged()
                        && let Some(head) = self.shared.peek(&self.lanes)
                    {
                        self.lanes.fetch_ahead(head, out);
                    }
                    continue;
                }
                Found::Enough => {
                    self.unfinished = true;
                    break;
                }
                Found::Paged(spot) => wanted.note(spot, self.seeks(key, spot)),
                Found::Nothing => {}
            }
            if self.exclusive.is_some() {
                break;
            }
            self.turns.rest(key);
        }
        self.turns.wake_all();
        self.fetch(&wanted, out);
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
        consumer.selection.is_some() || consumer.reserved.contains(&spot)
    }

    /// Asks for one run. Both kinds get theirs in turn, as the first one wants the next at once.
    fn fetch(&mut self, wanted: &Wanted, out: &mut impl Outlet) {
        match (wanted.ahead, wanted.sought) {
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

    /// Looks for the first message that the consumer may have.
    fn find(&mut self, now_ms: u64, key: SubscriptionKey, looks: &mut usize) -> Found {
        loop {
            let reserved = self.first_reserved(key);
            let scan = match &mut self.consumers[key].selection {
                Some(selection) => &mut selection.scan,
                None => &mut self.shared,
            };
            let ahead = scan.peek(&self.lanes);
            let spot = match (reserved, ahead) {
                (Some(reserved), Some(ahead)) => reserved.min(ahead),
                (Some(spot), None) | (None, Some(spot)) => spot,
                (None, None) => return Found::Nothing,
            };
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

    fn first_reserved(&mut self, key: SubscriptionKey) -> Option<Spot> {
        let reserved = &mut self.consumers[key].reserved;
        while let Some(&spot) = reserved.first() {
            if self.lanes.get(spot).is_some() {
                return Some(spot);
            }
            reserved.pop_first();
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
            return if consumer.reserved.contains(&spot) {
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
            consumer.reserved.remove(&spot);
            if declines {
                consumer.declined.insert(spot);
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

    /// Whether the message at `spot`, which belongs to a group, may go to the consumer: it owns the group,
    /// perhaps from now on, and nothing holds the group back. If not, it is noted where it waits.
    fn is_its_groups_turn(
        &mut self,
        now_ms: u64,
        key: SubscriptionKey,
        spot: Spot,
        is_fresh: bool,
    ) -> bool {
        let message = self.lanes.get(spot).and_then(|entry| entry.message.clone());
        let (Some(read), Some(message)) = (self.group_reader, message) else {
            return true;
        };
        let Some(mark) = read(&message) else {
            return true;
        };
        let idle_ms = self.policy.group_idle_timeout_ms;
        let group_key = self.groups.key(&mark.id, now_ms, idle_ms);
        let begins = mark.sequence == 1 && is_fresh;
        let Some(group) = self.groups.get_mut(group_key) else {
            return true;
        };
        if group.delayed > 0 && self.policy.group_redelivery_holds {
            group.waiting.insert(spot);
            return false;
        }
        if begins && group.owner.is_some() && group.begun_by != Some(spot) {
            self.release_group(group_key);
        }
        let owner = self.owner_of(group_key);
        let owner = match owner {
            Some(owner) => owner,
            None => {
                let owner = self.choose_owner(key, &message, spot);
                self.assign(group_key, owner, begins.then_some(spot));
                owner
            }
        };
        if owner == key {
            return true;
        }
        if let Some(group) = self.groups.get_mut(group_key) {
            group.waiting.insert(spot);
        }
        self.consumers[owner].reserved.insert(spot);
        self.turns.wake(owner);
        false
    }

    fn owner_of(&mut self, group: GroupKey) -> Option<SubscriptionKey> {
        let owner = self.groups.get_mut(group)?.owner?;
        self.consumers.contains_key(owner).then_some(owner)
    }

    /// Of those who could take the message now, the next in turn with the fewest groups (GRP-1). `asking` is
    /// one of them.
    fn choose_owner(
        &self,
        asking: SubscriptionKey,
        message: &crate::broker::Message,
        spot: Spot,
    ) -> SubscriptionKey {
        if self.exclusive.is_some() {
            return asking;
        }
        let (redeliveries, redelivered) = self
            .lanes
            .get(spot)
            .map_or((0, false), |entry| (entry.redeliveries, entry.redelivered));
        let priority = self.consumers[asking].rank.priority;
        let candidates = self.turns.iter().filter_map(|(other, key)| {
            let consumer = self.consumers.get(key)?;
            let could = other == priority
                && consumer.is_willing()
                && consumer.matches(message, redeliveries, redelivered);
            could.then_some((consumer.groups, key))
        });
        let fewest = candidates.min_by_key(|(groups, _)| *groups);
        fewest.map_or(asking, |(_, key)| key)
    }

    fn assign(&mut self, group: GroupKey, owner: SubscriptionKey, begun_by: Option<Spot>) {
        if let Some(group) = self.groups.get_mut(group) {
            group.owner = Some(owner);
            group.is_new = true;
            group.begun_by = begun_by.or(group.begun_by);
            self.consumers[owner].groups += 1;
        }
    }

    /// Takes a group from its owner; the next message chooses anew. What waited for the owner is looked at
    /// again.
    pub(super) fn release_group(&mut self, group_key: GroupKey) {
        let Some(group) = self.groups.get_mut(group_key) else {
            return;
        };
        let owner = group.owner.take();
        let waiting = std::mem::take(&mut group.waiting);
        self.disown(owner, waiting);
    }

    /// Forgets a group, as it is closed (GRP-3) or somebody wants it so (GRP-7).
    pub(super) fn close_group(&mut self, group: GroupKey) {
        if let Some(group) = self.groups.remove(group) {
            self.disown(group.owner, group.waiting);
        }
    }

    fn disown(
        &mut self,
        owner: Option<SubscriptionKey>,
        waiting: std::collections::BTreeSet<Spot>,
    ) {
        let mut declined = std::collections::BTreeSet::new();
        if let Some(consumer) = owner.and_then(|owner| self.consumers.get_mut(owner)) {
            consumer.groups -= 1;
            for spot in &waiting {
                consumer.reserved.remove(spot);
            }
            declined = std::mem::take(&mut consumer.declined);
        }
        for spot in waiting.into_iter().chain(declined) {
            self.came(spot);
        }
    }

    /// Takes the groups without a message under way from their owners (GRP-5).
    pub(super) fn release_idle_groups(&mut self) {
        for key in self.groups.keys() {
            let idle = self.groups.get_mut(key).is_some_and(|group| {
                group.unacked == 0 && group.delayed == 0 && group.owner.is_some()
            });
            if idle {
                self.release_group(key);
            }
        }
    }

    /// Lets a group go, so that its next message chooses an owner (GRP-7). Returns false if there is none of
    /// that id.
    pub fn remove_group(&mut self, now_ms: u64, id: &str, out: &mut impl Outlet) -> bool {
        let Some(group) = self.groups.find(id) else {
            return false;
        };
        self.close_group(group);
        self.dispatch(now_ms, out);
        true
    }

    /// Lets all groups go (GRP-7).
    pub fn remove_groups(&mut self, now_ms: u64, out: &mut impl Outlet) {
        for group in self.groups.keys() {
            self.close_group(group);
        }
        self.dispatch(now_ms, out);
    }
}

impl Wanted {
    fn note(&mut self, spot: Spot, seeks: bool) {
        let place = if seeks {
            &mut self.sought
        } else {
            &mut self.ahead
        };
        *place = Some(place.map_or(spot, |other| other.min(spot)));
    }
}

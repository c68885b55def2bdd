//! Which consumer a group goes to, and when it may go on to another (GRP-1 to GRP-3, GRP-5, GRP-7).

use std::collections::BTreeSet;

use super::Queue;
use super::lanes::Spot;
use crate::broker::delivery::GroupKey;
use crate::broker::message::Message;
use crate::broker::outlet::Outlet;
use crate::broker::subscription::SubscriptionKey;

impl Queue {
    /// Whether the message at `spot`, which belongs to a group, may go to the consumer: it owns the group,
    /// perhaps from now on, and nothing holds the group back. If not, it is noted where it waits.
    pub(super) fn is_its_groups_turn(
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
        self.consumers[owner].reserve(spot);
        if !self.owed.contains(&owner) {
            self.owed.push(owner);
        }
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
        message: &Message,
        spot: Spot,
    ) -> SubscriptionKey {
        if self.exclusive.is_some() {
            return asking;
        }
        let (redeliveries, redelivered) = self
            .lanes
            .get(spot)
            .map_or((0, false), |entry| (entry.redeliveries, entry.redelivered));
        let priority = self.consumers[asking].priority;
        let candidates = self.turns.iter().filter_map(|key| {
            let consumer = self.consumers.get(key)?;
            let could = consumer.priority == priority
                && consumer.is_willing()
                && consumer.matches(message, redeliveries, redelivered);
            could.then_some((consumer.groups(), key))
        });
        let fewest = candidates.min_by_key(|(groups, _)| *groups);
        fewest.map_or(asking, |(_, key)| key)
    }

    fn assign(&mut self, group: GroupKey, owner: SubscriptionKey, begun_by: Option<Spot>) {
        if let Some(group) = self.groups.get_mut(group) {
            group.owner = Some(owner);
            group.is_new = true;
            group.begun_by = begun_by.or(group.begun_by);
            self.consumers[owner].own_group();
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

    fn disown(&mut self, owner: Option<SubscriptionKey>, waiting: BTreeSet<Spot>) {
        let mut declined = BTreeSet::new();
        if let Some(consumer) = owner.and_then(|owner| self.consumers.get_mut(owner)) {
            consumer.lose_group();
            for spot in &waiting {
                consumer.unreserve(*spot);
            }
            declined = consumer.take_declined();
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

//! Message groups: which consumer owns which, and what waits for an owner or behind a delayed member
//! (GRP-1 to GRP-9).
//!
//! Exact: one entry for each group that had a message within the idle time. Whether an owner still lives is
//! asked when it matters, so the end of a consumer costs nothing here.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use slotmap::SlotMap;

use super::lanes::Spot;
use crate::broker::delivery::GroupKey;
use crate::broker::message::Message;
use crate::broker::subscription::SubscriptionKey;

/// What a message says of its group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupMark<'a> {
    /// `JMSXGroupID`.
    pub id: Cow<'a, str>,
    /// `JMSXGroupSeq`; 0 if it has none.
    pub sequence: i32,
}

/// Reads the group of a message from its head, whose form only the adapter of its wire knows.
pub type GroupReader = fn(&Message) -> Option<GroupMark<'_>>;

/// One group.
#[derive(Debug)]
pub(super) struct Group {
    id: Box<str>,
    pub(super) owner: Option<SubscriptionKey>,
    /// The owner has not had a message of it (GRP-4).
    pub(super) is_new: bool,
    /// The message with sequence 1 that began it anew, so that it does so once.
    pub(super) begun_by: Option<Spot>,
    /// Deliveries under way.
    pub(super) unacked: u32,
    /// Members that wait for their redelivery.
    pub(super) delayed: u32,
    /// Messages that scans have passed because they are the owner's, or held back.
    pub(super) waiting: BTreeSet<Spot>,
    last_ms: u64,
}

/// A group as the console shows it (GRP-7).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupView {
    /// `JMSXGroupID`.
    pub id: String,
    /// Its owner, if one is assigned.
    pub owner: Option<SubscriptionKey>,
    /// Its messages under way.
    pub unacked: u32,
    /// Its messages that wait for their redelivery.
    pub delayed: u32,
}

/// All groups of a queue; most queues have none.
#[derive(Debug, Default)]
pub(super) struct Groups(Option<Box<Known>>);

#[derive(Debug, Default)]
struct Known {
    by_id: HashMap<Box<str>, GroupKey>,
    groups: SlotMap<GroupKey, Group>,
    /// The groups of delayed messages, which need not be in memory when they are due.
    delayed: BTreeMap<Spot, GroupKey>,
    idle_check_ms: Option<u64>,
}

impl Groups {
    fn known(&self) -> Option<&Known> {
        self.0.as_deref()
    }

    fn known_mut(&mut self) -> Option<&mut Known> {
        self.0.as_deref_mut()
    }

    /// The group `id`, made if there is none; it is looked at for idleness after `idle_ms`.
    pub(super) fn key(&mut self, id: &str, now_ms: u64, idle_ms: u64) -> GroupKey {
        let known = self.0.get_or_insert_default();
        if let Some(&key) = known.by_id.get(id) {
            return key;
        }
        known
            .idle_check_ms
            .get_or_insert_with(|| now_ms.saturating_add(idle_ms));
        let key = known.groups.insert(Group {
            id: id.into(),
            owner: None,
            is_new: false,
            begun_by: None,
            unacked: 0,
            delayed: 0,
            waiting: BTreeSet::new(),
            last_ms: now_ms,
        });
        known.by_id.insert(id.into(), key);
        key
    }

    /// The key of the group `id`.
    pub(super) fn find(&self, id: &str) -> Option<GroupKey> {
        self.known()?.by_id.get(id).copied()
    }

    pub(super) fn get(&self, key: GroupKey) -> Option<&Group> {
        self.known()?.groups.get(key)
    }

    pub(super) fn get_mut(&mut self, key: GroupKey) -> Option<&mut Group> {
        self.known_mut()?.groups.get_mut(key)
    }

    pub(super) fn keys(&self) -> Vec<GroupKey> {
        self.known()
            .map_or_else(Vec::new, |known| known.groups.keys().collect())
    }

    pub(super) fn view(&self) -> Vec<GroupView> {
        let groups = self
            .known()
            .into_iter()
            .flat_map(|known| known.groups.values());
        let views = groups.map(|group| GroupView {
            id: group.id.to_string(),
            owner: group.owner,
            unacked: group.unacked,
            delayed: group.delayed,
        });
        views.collect()
    }

    /// Takes a group away.
    pub(super) fn remove(&mut self, key: GroupKey) -> Option<Group> {
        let known = self.known_mut()?;
        let group = known.groups.remove(key)?;
        known.by_id.remove(&group.id);
        Some(group)
    }

    /// Notes that a message of the group went to its owner.
    pub(super) fn delivered(&mut self, key: GroupKey, spot: Spot, now_ms: u64) {
        if let Some(group) = self.get_mut(key) {
            group.unacked += 1;
            group.is_new = false;
            group.last_ms = now_ms;
            group.waiting.remove(&spot);
        }
    }

    /// Notes that a delivery is under way no more.
    pub(super) fn ended(&mut self, key: GroupKey) {
        if let Some(group) = self.get_mut(key) {
            group.unacked -= 1;
        }
    }

    /// Notes that a member at `spot` waits for its redelivery.
    pub(super) fn delay(&mut self, key: GroupKey, spot: Spot) {
        if let Some(known) = self.known_mut()
            && let Some(group) = known.groups.get_mut(key)
        {
            group.delayed += 1;
            known.delayed.insert(spot, key);
        }
    }

    /// Notes that the message at `spot` waits no more. Returns what it held back, if it was the last one.
    pub(super) fn due(&mut self, spot: Spot) -> BTreeSet<Spot> {
        let Some(known) = self.known_mut() else {
            return BTreeSet::new();
        };
        let key = known.delayed.remove(&spot);
        let Some(group) = key.and_then(|key| known.groups.get_mut(key)) else {
            return BTreeSet::new();
        };
        group.delayed -= 1;
        if group.delayed == 0 {
            std::mem::take(&mut group.waiting)
        } else {
            BTreeSet::new()
        }
    }

    /// When to look for idle groups.
    pub(super) fn idle_check_ms(&self) -> Option<u64> {
        self.known()?.idle_check_ms
    }

    /// Forgets groups that had no message for `idle_ms` (GRP-6); returns their owners.
    pub(super) fn forget_idle(&mut self, now_ms: u64, idle_ms: u64) -> Vec<SubscriptionKey> {
        let mut owners = Vec::new();
        let mut oldest_ms = None;
        let Some(known) = self.known_mut() else {
            return owners;
        };
        let by_id = &mut known.by_id;
        known.groups.retain(|_, group| {
            let quiet = group.unacked == 0 && group.delayed == 0 && group.waiting.is_empty();
            if quiet && group.last_ms.saturating_add(idle_ms) <= now_ms {
                by_id.remove(&group.id);
                owners.extend(group.owner);
                return false;
            }
            let oldest = oldest_ms.get_or_insert(group.last_ms);
            *oldest = group.last_ms.min(*oldest);
            true
        });
        // At the earliest in a while: those that are old and not quiet would be looked at all the time.
        let earliest_ms = now_ms.saturating_add((idle_ms / 4).max(1000));
        known.idle_check_ms =
            oldest_ms.map(|oldest| oldest.saturating_add(idle_ms).max(earliest_ms));
        if known.groups.is_empty() {
            self.0 = None;
        }
        owners
    }

    /// Forgets everything that is known of places, which are about to change.
    pub(super) fn forget_spots(&mut self) {
        let Some(known) = self.known_mut() else {
            return;
        };
        known.delayed.clear();
        for group in known.groups.values_mut() {
            (group.delayed, group.begun_by) = (0, None);
            group.waiting.clear();
        }
    }
}

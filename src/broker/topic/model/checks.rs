//! What must hold after each step: a recount of references, octets and positions.

use super::*;

/// How far the journal believes a durable subscription to be.
#[derive(Debug, Default)]
pub(super) struct Position {
    pub(super) through: u64,
    pub(super) exceptions: BTreeSet<u64>,
}

impl Position {
    pub(super) fn covers(&self, sequence: u64) -> bool {
        sequence <= self.through || self.exceptions.contains(&sequence)
    }
}

impl Test {
    /// Learns what was dropped because it expired or its subscriber lagged too far.
    pub(super) fn learn_drops(&mut self) {
        for at in 0..self.subs.len() {
            let subscriber = &self.topic.subscriptions[self.subs[at].key];
            let ready = self.subs[at].copies.iter();
            let ready = ready.filter(|(_, copy)| copy.place == Place::Ready);
            let gone: Vec<u64> = ready
                .map(|(sequence, _)| *sequence)
                .filter(|sequence| {
                    !subscriber.waits_for(*sequence) && !subscriber.returned.contains_key(sequence)
                })
                .collect();
            self.check_choice(at, &gone);
            for sequence in gone {
                let expires_ms = self.sent[&sequence].expires_ms;
                let expired = expires_ms != 0 && expires_ms <= self.now_ms;
                let durable = self.subs[at].durable.is_some();
                if !expired {
                    assert!(!durable, "{sequence} is lost");
                    self.discarded += 1;
                } else if durable && self.sent[&sequence].at.is_some() {
                    assert!(
                        self.known_dead.contains(&sequence),
                        "{sequence} is no dead letter"
                    );
                }
                self.subs[at].copies.remove(&sequence);
            }
        }
        assert!(self.discarded <= self.topic.stats.discarded);
    }

    pub(super) fn agree(&mut self) {
        self.learn_drops();
        let mut refs: BTreeMap<u64, u32> = BTreeMap::new();
        let mut messages: HashMap<*const Message, u64> = HashMap::new();
        let mut hold = |entry: &Entry| {
            if let Some(message) = &entry.message {
                messages.insert(Arc::as_ptr(message), u64::from(entry.bytes.get()));
            }
        };
        for at in 0..self.subs.len() {
            let (sub, subscriber) = (&self.subs[at], &self.topic.subscriptions[self.subs[at].key]);
            for (sequence, copy) in &sub.copies {
                let waits = copy.place == Place::Ready && *sequence >= subscriber.cursor;
                if waits || sub.durable.is_some() {
                    *refs.entry(*sequence).or_default() += 1;
                }
            }
            subscriber.returned.values().for_each(&mut hold);
            let unacked = subscriber.consumer.iter().flat_map(|c| c.unacked.iter());
            unacked.for_each(|delivery| hold(&delivery.entry));
            let ready = sub.copies.values().any(|copy| copy.place == Place::Ready);
            let still = !self.world.asked.is_empty() || self.store_full;
            assert!(
                !ready || !self.has_credit(at) || still,
                "what can flow flows"
            );
        }
        let open = self.transactions.iter().flatten();
        open.flat_map(|(_, taken)| taken)
            .for_each(|d| hold(&d.entry));
        for (sequence, kept) in self.topic.log.iter() {
            assert_eq!(
                refs.get(&sequence),
                Some(&kept.refs),
                "references of {sequence}"
            );
            hold(&kept.entry);
        }
        self.topic.entries_kept_for_later().for_each(&mut hold);
        assert_eq!(self.topic.held_bytes(), messages.values().sum::<u64>());
        let places: Vec<_> = self.topic.places_in_temp().collect();
        let spilled: BTreeSet<_> = places.iter().copied().collect();
        assert_eq!(spilled.len(), places.len(), "one place each");
        let taken = self.world.spilled.keys();
        assert!(taken.eq(&spilled), "no place is lost and none freed early");
        for sequence in &self.live {
            assert!(refs.contains_key(sequence), "{sequence} stays for nobody");
        }
        self.positions_agree();
    }

    /// What the journal would give back after a crash now is what each durable subscription has still to
    /// consume.
    fn positions_agree(&self) {
        for sub in &self.subs {
            let Some(position) = sub.durable.map(|id| &self.positions[&id]) else {
                continue;
            };
            let subscriber = &self.topic.subscriptions[sub.key];
            for sequence in sub.copies.keys() {
                let passed =
                    *sequence < subscriber.cursor || subscriber.returned.contains_key(sequence);
                assert_eq!(
                    subscriber.open.contains(*sequence),
                    passed || subscriber.in_transactions.contains(sequence)
                );
            }
            let open = sub.copies.keys().next().copied();
            let cursor = subscriber.cursor;
            assert_eq!(subscriber.lowest_open(), open.unwrap_or(cursor).min(cursor));
            for sequence in &self.live {
                let open = sub.copies.contains_key(sequence);
                let before = *sequence < sub.start;
                // What was not for it may be passed over, or not yet.
                let passed = self.is_passed(sub, *sequence) && !open;
                assert!(
                    open != position.covers(*sequence) || before || passed,
                    "{sequence} open: {open}, {position:?}"
                );
            }
            for (sequence, stored) in &self.promised {
                let passed = *stored && *sequence >= sub.start && position.covers(*sequence);
                assert!(!passed, "{position:?} passes {sequence}, which is to come");
            }
        }
    }

    fn is_passed(&self, sub: &Sub, sequence: u64) -> bool {
        sub.filtered && sequence.is_multiple_of(3)
    }

    pub(super) fn drain(&mut self) {
        while self.transactions.iter().any(Option::is_some) {
            self.end_transaction(0, 2);
            self.follow();
        }
        self.world.flows.clear();
        if self.store_full {
            self.toggle_store();
            self.follow();
        }
        while let Some(sub) = self.subs.first() {
            let (key, durable) = (sub.key, sub.durable.is_some());
            self.unsubscribe(0, 1);
            self.follow();
            if durable {
                self.agree();
                self.subs.remove(0);
                self.topic.drop_subscription(key, &mut self.world);
                self.follow();
            }
            self.agree();
        }
        let (count, bytes) = self.topic.kept_for_later();
        assert!(bytes <= self.rules.recovery.octets_max() || count == 1);
        self.topic.set_rules(self.now_ms, None);
        assert!(self.topic.is_empty() && self.live.is_empty());
        assert_eq!(self.topic.held_bytes(), 0);
        assert!(self.world.spilled.is_empty(), "all places are free again");
    }
}

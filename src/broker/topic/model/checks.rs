//! What must hold after each step: a recount of references, octets and positions.

use super::*;

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
                    *sequence < subscriber.cursor && !subscriber.returned.contains_key(sequence)
                })
                .collect();
            for sequence in gone {
                let expires_ms = self.sent[&sequence].expires_ms;
                let expired = expires_ms != 0 && expires_ms <= self.now_ms;
                if !expired {
                    assert!(self.subs[at].durable.is_none(), "{sequence} is lost");
                    self.discarded += 1;
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
        assert_eq!(self.topic.held_bytes(), messages.values().sum::<u64>());
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
            for sequence in &self.live {
                let open = sub.copies.contains_key(sequence);
                let before = *sequence < sub.start;
                assert!(
                    open != position.covers(*sequence) || before,
                    "{sequence} open: {open}, {position:?}"
                );
            }
            for (sequence, stored) in &self.promised {
                let passed = *stored && *sequence >= sub.start && position.covers(*sequence);
                assert!(!passed, "{position:?} passes {sequence}, which is to come");
            }
        }
    }

    pub(super) fn drain(&mut self) {
        while self.transactions.iter().any(Option::is_some) {
            self.end_transaction(0, 2);
            self.follow();
        }
        self.world.flows.clear();
        self.store_full = false;
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
        assert!(self.topic.is_empty() && self.live.is_empty());
        assert_eq!(self.topic.held_bytes(), 0);
    }
}

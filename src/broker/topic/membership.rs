//! Who subscribes, and who leaves: consumers come and go, durable subscriptions stay.

use super::subscriber::Subscriber;
use super::{Progressed, Selection, Topic};
use crate::broker::delivery::{AckMode, Ending, Entry};
use crate::broker::outlet::Outlet;
use crate::broker::redelivery::Failure;
use crate::broker::subscription::{Room, Subscription, SubscriptionKey, Window};

impl Topic {
    /// Adds a non-durable consumer, which sees what is published from now on.
    pub fn subscribe(
        &mut self,
        mode: AckMode,
        window: Window,
        selection: Selection,
    ) -> SubscriptionKey {
        let consumer = Some(Subscription::new(mode, window));
        let mut subscriber = Subscriber::new(None, self.next_sequence, consumer);
        subscriber.selection = selection;
        let key = self.subscriptions.insert(subscriber);
        self.bound(key, None);
        key
    }

    /// Adds a durable subscription without a consumer.
    pub fn define_durable(
        &mut self,
        id: u32,
        from: Progressed,
        selection: Selection,
    ) -> SubscriptionKey {
        self.durables += 1;
        self.offline += 1;
        self.unfiltered_durables += usize::from(!selection.is_choosy());
        let mut subscriber = Subscriber::new(Some(id), from.start, None);
        subscriber.selection = selection;
        subscriber.acknowledged.extend(from.acknowledged);
        subscriber.marks.extend(from.marks);
        self.subscriptions.insert(subscriber)
    }

    /// Gives a durable subscription its consumer. Returns false if it has one already (SUB-3).
    pub fn activate(&mut self, key: SubscriptionKey, mode: AckMode, window: Window) -> bool {
        match self.subscriptions.get_mut(key) {
            Some(subscriber) if subscriber.consumer.is_none() => {
                let consumer = Subscription::new(mode, window);
                subscriber.consumer = Some(consumer.numbered_from(subscriber.next_number));
                self.offline -= 1;
                true
            }
            _ => false,
        }
    }

    /// Ends a consumer. A durable subscription stays, without one, and takes back what was not acknowledged.
    pub fn unsubscribe(&mut self, key: SubscriptionKey, ending: Ending, out: &mut impl Outlet) {
        let Some(subscriber) = self.subscriptions.get_mut(key) else {
            return;
        };
        if subscriber.durable.is_none() {
            self.drop_subscription(key, out);
            return;
        }
        let Some(mut consumer) = subscriber.consumer.take() else {
            return;
        };
        subscriber.next_number = consumer.next_number();
        self.offline += 1;
        // What has expired waits for its turn no more.
        self.expiring.append(&mut self.overdue);
        let counts = consumer.mode != AckMode::Auto;
        let mut is_oldest = true;
        while let Some(delivery) = consumer.pop() {
            if counts && ending.fails(delivery.number, is_oldest) {
                self.fail(key, delivery, Failure::ConsumerDied, out);
            } else {
                self.put_back(key, delivery);
            }
            is_oldest = false;
        }
    }

    /// Removes a durable subscription for good, with its backlog (SUB-7), or a non-durable one.
    pub fn drop_subscription(&mut self, key: SubscriptionKey, out: &mut impl Outlet) {
        let Some(mut subscriber) = self.subscriptions.remove(key) else {
            return;
        };
        let durable = subscriber.durable.is_some();
        self.durables -= usize::from(durable);
        self.offline -= usize::from(durable && subscriber.consumer.is_none());
        self.unfiltered_durables -= usize::from(durable && !subscriber.selection.is_choosy());
        let mut held: Vec<(u64, Entry)> = std::mem::take(&mut subscriber.returned)
            .into_iter()
            .chain(std::mem::take(&mut subscriber.delayed))
            .collect();
        if let Some(mut consumer) = subscriber.consumer.take() {
            while let Some(delivery) = consumer.pop() {
                held.push((delivery.sequence, delivery.entry));
            }
        }
        for (sequence, entry) in held {
            self.let_go(entry.message, u64::from(entry.bytes.get()));
            if durable {
                self.release(sequence, out);
            }
        }
        // What a transaction holds stays with it, but refers to the log no more.
        for sequence in std::mem::take(&mut subscriber.in_transactions) {
            if durable {
                self.release(sequence, out);
            }
        }
        while let Some(sequence) = subscriber.next_waiting(&self.log) {
            subscriber.advance(sequence, 0);
            self.release(sequence, out);
        }
    }

    /// Gives a consumer its credit back after its connection has drained.
    pub fn resume(&mut self, now_ms: u64, key: SubscriptionKey, out: &mut impl Outlet) {
        if let Some(subscriber) = self.subscriptions.get_mut(key)
            && let Some(consumer) = &mut subscriber.consumer
        {
            consumer.set_blocked(false);
            subscriber.start_counting();
            self.dispatch(now_ms, key, out);
        }
    }

    /// Changes the window of the consumer `key` (PRE-4). Returns how many messages it held before.
    pub fn set_room(
        &mut self,
        now_ms: u64,
        key: SubscriptionKey,
        room: Room,
        out: &mut impl Outlet,
    ) -> usize {
        let Some(consumer) = self.consumer(key) else {
            return 0;
        };
        let held = consumer.set_room(room);
        self.dispatch(now_ms, key, out);
        held
    }

    /// The deliveries of the consumer `key` are numbered outside from now on.
    pub fn number_outside(&mut self, key: SubscriptionKey) {
        if let Some(consumer) = self.consumer(key) {
            consumer.number_outside();
        }
    }
}

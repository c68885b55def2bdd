//! What a subscriber loses that does not keep up.

use super::Topic;
use crate::broker::outlet::Outlet;
use crate::broker::subscription::SubscriptionKey;

impl Topic {
    /// A non-durable laggard over its bound loses its oldest messages: it costs only itself.
    pub(super) fn discard_for_slow(&mut self, out: &mut impl Outlet) {
        let bound = self.limits.slow_bytes_max;
        if self.held_bytes <= bound {
            return;
        }
        let keys: Vec<SubscriptionKey> = self
            .subscriptions
            .iter()
            .filter(|(_, subscriber)| subscriber.durable.is_none() && subscriber.lag_bytes > bound)
            .map(|(key, _)| key)
            .collect();
        for key in keys {
            while let Some(subscriber) = self.subscriptions.get_mut(key)
                && subscriber.lag_bytes > bound
                && let Some(sequence) = subscriber.next_waiting(&self.log)
                && let Some(kept) = self.log.get(sequence)
            {
                subscriber.advance(sequence, u64::from(kept.entry.bytes.get()));
                self.stats.discarded += 1;
                out.discarded(key, &kept.entry, self.stats.discarded);
                self.release(sequence, out);
            }
        }
    }
}

//! Messages that expire where nobody looks at them: offline durable subscriptions (EXP-2).

use std::sync::{Arc, Weak};
use std::time::Duration;

use super::Engine;
use super::cell::{Journaled, Machine, Work};

impl Engine {
    /// Looks for expired messages once.
    pub fn sweep_expired(self: &Arc<Self>, work: &mut Work) {
        let now_ms = self.clock.wall_ms();
        for cell in self.registry.all() {
            cell.step(work, Journaled::default(), |machine, out| {
                if let Machine::Topic(topic) = machine {
                    topic.sweep(now_ms, out);
                }
            });
            self.run(work);
        }
        work.take_ticket();
    }
}

/// Sweeps every `period` until the engine has gone.
pub async fn sweep_always(engine: Weak<Engine>, period: Duration) {
    let mut work = Work::default();
    loop {
        tokio::time::sleep(period).await;
        let Some(engine) = engine.upgrade() else {
            return;
        };
        engine.sweep_expired(&mut work);
    }
}

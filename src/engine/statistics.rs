//! Figures of the broker, its destinations and subscriptions, by the names of ActiveMQ's statistics (ADM-20).
//!
//! Read from the counters when somebody asks; each destination is locked for itself and shortly.

use std::sync::Arc;

use super::Engine;
use super::cell::{Cell, Machine};
use super::why::{self, Cause, Question, WhyError};
use crate::broker::message::OVERHEAD_BYTES;
use crate::broker::stats::Stats;
use crate::broker::{Destination, Kind, Pattern, SubscriptionKey};

/// The value of a figure.
#[derive(Clone, Debug, PartialEq)]
pub enum Figure {
    /// A name.
    Text(String),
    /// A count or a number of octets or milliseconds.
    Count(u64),
    /// A number of hundredths, or another small one.
    Small(u32),
    /// An average.
    Average(f64),
    /// Yes or no.
    Flag(bool),
}

/// Figures in their order.
pub type Figures = Vec<(&'static str, Figure)>;

/// What a destination holds and has done.
#[derive(Clone, Copy, Debug, Default)]
struct Sums {
    size: u64,
    in_flight: u64,
    memory_bytes: u64,
    consumers: u64,
    producers: u64,
    stats: Stats,
}

impl Sums {
    fn of(engine: &Engine, cell: &Cell) -> Self {
        let producers = engine.roster.counts(&cell.destination).producers;
        let state = cell.lock();
        let machine = &state.machine;
        let (size, in_flight, stats) = match machine {
            Machine::Queue(queue) => (queue.len(), queue.in_flight(), queue.stats),
            Machine::Topic(topic) => (topic.len(), topic.in_flight(), topic.stats),
        };
        Self {
            size: size as u64,
            in_flight: in_flight as u64,
            memory_bytes: machine.held_bytes(),
            consumers: machine.consumers() as u64,
            producers: producers.into(),
            stats,
        }
    }

    fn add(&mut self, other: &Self) {
        self.size += other.size;
        self.in_flight += other.in_flight;
        self.memory_bytes += other.memory_bytes;
        self.consumers += other.consumers;
        self.producers += other.producers;
        self.stats.add(&other.stats);
    }

    fn write(&self, figures: &mut Figures) {
        use Figure::{Average, Count};
        let Stats {
            enqueued,
            enqueued_bytes,
            dequeued,
            dispatched,
            expired,
            waits,
            ..
        } = self.stats;
        let own_bytes = enqueued_bytes.saturating_sub(enqueued * OVERHEAD_BYTES as u64);
        // Not counted one by one: as many as the memory in use holds of the average size.
        let each_bytes = enqueued_bytes.checked_div(enqueued).unwrap_or(0);
        let cached = self.memory_bytes.checked_div(each_bytes).unwrap_or(0);
        figures.extend([
            ("size", Count(self.size)),
            ("enqueueCount", Count(enqueued)),
            ("dequeueCount", Count(dequeued)),
            ("dispatchCount", Count(dispatched)),
            ("expiredCount", Count(expired)),
            ("inflightCount", Count(self.in_flight)),
            ("messagesCached", Count(cached.min(self.size))),
            ("averageMessageSize", Average(ratio(own_bytes, enqueued))),
            (
                "averageEnqueueTime",
                Average(ratio(waits.total_ms, waits.count)),
            ),
            ("minEnqueueTime", Average(waits.min_ms as f64)),
            ("maxEnqueueTime", Average(waits.max_ms as f64)),
            ("consumerCount", Count(self.consumers)),
            ("producerCount", Count(self.producers)),
        ]);
    }
}

fn ratio(sum: u64, count: u64) -> f64 {
    if count == 0 {
        0.0
    } else {
        sum as f64 / count as f64
    }
}

fn percent(used: u64, limit: u64) -> Figure {
    let percent = used.saturating_mul(100).checked_div(limit).unwrap_or(0);
    Figure::Small(u32::try_from(percent).unwrap_or(u32::MAX))
}

impl Engine {
    /// The figures of the whole broker. Advisory topics do not count.
    #[must_use]
    pub fn broker_figures(&self) -> Figures {
        let mut sums = Sums::default();
        for cell in self.registry.all() {
            if !cell.destination.is_advisory() {
                sums.add(&Sums::of(self, &cell));
            }
        }
        let mut figures = self.identity();
        sums.write(&mut figures);
        let (used, limit) = (self.memory.used_bytes(), self.memory.limit_bytes());
        let store = self.store_account();
        let (stored, store_limit, store_percent) = store.map_or((0, 0, 0), |store| {
            (
                store.used_bytes,
                store.limit_bytes.unwrap_or(0),
                store.percent(),
            )
        });
        let url = self.settings.advisories.broker_url.clone();
        let temp = self.temp();
        let temp = temp.map(|temp| (temp.used_bytes(), temp.limit_bytes()));
        let (spilled, spilled_max) = temp.unwrap_or_default();
        figures.extend([
            ("memoryUsage", Figure::Count(used)),
            ("memoryLimit", Figure::Count(limit)),
            ("memoryPercentUsage", percent(used, limit)),
            ("storeUsage", Figure::Count(stored)),
            ("storeLimit", Figure::Count(store_limit)),
            (
                "storePercentUsage",
                Figure::Small(u32::try_from(store_percent).unwrap_or(u32::MAX)),
            ),
            ("tempUsage", Figure::Count(spilled)),
            ("tempLimit", Figure::Count(spilled_max)),
            ("tempPercentUsage", percent(spilled, spilled_max)),
            ("stomp", Figure::Text(url)),
        ]);
        figures
    }

    /// The figures of the destinations that a name or pattern names, one after the other by name.
    #[must_use]
    pub fn destination_figures(&self, kind: Kind, pattern: &Pattern) -> Vec<Figures> {
        let mut cells = self.registry.all();
        cells.retain(|cell| {
            let Destination { kind: own, name } = &cell.destination;
            *own == kind && !cell.destination.is_temporary() && pattern.matches(name)
        });
        cells.sort_by(|one, other| one.destination.cmp(&other.destination));
        cells.iter().map(|cell| self.figures_of(cell)).collect()
    }

    fn figures_of(&self, cell: &Arc<Cell>) -> Figures {
        let sums = Sums::of(self, cell);
        let limits = cell.policy().limits;
        let limit = limits
            .memory_bytes_max
            .unwrap_or_else(|| self.memory.limit_bytes());
        let why = self.why_queue(cell);
        let mut figures = self.identity();
        figures.push(("destinationName", Figure::Text(cell.destination.uri())));
        sums.write(&mut figures);
        figures.extend([
            ("memoryUsage", Figure::Count(sums.memory_bytes)),
            ("memoryLimit", Figure::Count(limit)),
            ("memoryPercentUsage", percent(sums.memory_bytes, limit)),
            ("discardedCount", Figure::Count(sums.stats.discarded)),
            ("abortedCount", Figure::Count(sums.stats.aborted.into())),
            ("stallCount", Figure::Count(sums.stats.stalls.into())),
        ]);
        figures.extend(why.map(|why| ("idleReason", Figure::Text(why))));
        figures
    }

    /// Why nothing is delivered from a queue in which messages wait.
    fn why_queue(&self, cell: &Cell) -> Option<String> {
        let (state, now_ms) = (cell.lock(), self.clock.wall_ms());
        let Machine::Queue(queue) = &state.machine else {
            return None;
        };
        let causes = state.causes(cell, now_ms, &queue.why_idle(now_ms));
        (!causes.is_empty()).then(|| why::text(&causes))
    }

    /// Why something is not delivered, each cause as figures. `asked` says what of the destination is asked for.
    ///
    /// # Errors
    /// There is nothing of that name.
    pub fn why_figures(
        &self,
        of: &Destination,
        asked: Question<'_>,
    ) -> Result<Vec<Figures>, WhyError> {
        let causes = self.why(of, asked)?;
        let figures = |cause: Cause| {
            let mut figures = self.identity();
            figures.extend([
                ("destinationName", Figure::Text(of.uri())),
                ("code", Figure::Text(cause.code.to_owned())),
                ("text", Figure::Text(cause.text)),
            ]);
            if let Some(who) = cause.consumer {
                figures.extend([
                    ("consumerId", Figure::Text(who.id)),
                    ("connectionId", Figure::Text(who.connection)),
                    ("clientId", Figure::Text(who.client_id)),
                    ("userName", Figure::Text(who.user)),
                    ("clientIp", Figure::Text(who.address)),
                    ("selector", Figure::Text(who.selector.unwrap_or_default())),
                ]);
            }
            figures.extend(
                cause
                    .since_ms
                    .map(|since_ms| ("since", Figure::Count(since_ms))),
            );
            figures.extend(
                cause
                    .until_ms
                    .map(|until_ms| ("until", Figure::Count(until_ms))),
            );
            figures
        };
        Ok(causes.into_iter().map(figures).collect())
    }

    /// The figures of all subscriptions, one for each destination that each of them has joined.
    #[must_use]
    pub fn subscription_figures(&self) -> Vec<Figures> {
        let mut cells = self.registry.all();
        cells.sort_by(|one, other| one.destination.cmp(&other.destination));
        let now_ms = self.clock.wall_ms();
        let mut found = Vec::new();
        for cell in cells.iter().filter(|cell| !cell.destination.is_advisory()) {
            let state = cell.lock();
            for (key, who) in state.told() {
                let mut figures = self.identity();
                let text = |text: &str| Figure::Text(text.to_owned());
                let kind = match cell.destination.kind {
                    Kind::Queue => "Queue",
                    Kind::Topic => "Topic",
                };
                figures.extend([
                    ("clientId", text(&who.connection.client_id)),
                    ("connectionId", text(&who.connection.id)),
                    ("subscriptionId", Figure::Count(who.number)),
                    ("consumerId", Figure::Text(who.id())),
                    ("destinationName", text(cell.destination.physical_name())),
                    ("destinationType", text(kind)),
                    (
                        "subscriptionName",
                        text(who.subscription_name().unwrap_or_default()),
                    ),
                    ("selector", text(who.selector().unwrap_or_default())),
                    ("exclusive", Figure::Flag(who.exclusive)),
                    ("prefetchSize", Figure::Small(who.prefetch)),
                    ("priority", Figure::Small(who.priority.into())),
                ]);
                figures.extend(held_by(&state.machine, key));
                let why = match &state.machine {
                    Machine::Queue(queue) if queue.ready() > 0 => queue.why_not_to(now_ms, key),
                    Machine::Queue(_) => Vec::new(),
                    Machine::Topic(topic) => topic.why_not_to(key),
                };
                let causes = state.causes(cell, now_ms, &why);
                if !causes.is_empty() {
                    figures.push(("idleReason", Figure::Text(why::text(&causes))));
                }
                found.push(figures);
            }
        }
        found
    }

    fn identity(&self) -> Figures {
        let constants = self.advisories.properties().constants();
        let of = |name: &str| {
            let found = constants.iter().find(|(known, _)| *known == name);
            Figure::Text(found.map(|(_, value)| value.clone()).unwrap_or_default())
        };
        vec![
            ("brokerName", of("originBrokerName")),
            ("brokerId", of("originBrokerId")),
        ]
    }
}

/// What waits for a consumer and what it holds.
fn held_by(machine: &Machine, key: SubscriptionKey) -> [(&'static str, Figure); 3] {
    let (pending, dispatched, slow) = match machine {
        Machine::Queue(queue) => queue.held_by(key),
        Machine::Topic(topic) => topic.held_by(key),
    };
    [
        ("pendingQueueSize", Figure::Count(pending as u64)),
        ("dispatchedQueueSize", Figure::Count(dispatched as u64)),
        ("slowConsumer", Figure::Flag(slow)),
    ]
}

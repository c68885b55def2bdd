//! Turns what the threads of a run brought home into a [`Report`].

use hdrhistogram::Histogram;

use super::consume::Consumed;
use super::latency::{Latency, histogram};
use super::options::Load;
use super::process::{self, Cpu, Reading};
use super::produce::{Produced, sent_to};
use super::report::{Broker, Flow, Report};
use super::shared::Shared;
use super::verify::{self, Faults};

/// What the threads of a run brought home.
#[derive(Debug)]
pub(crate) struct Taken {
    /// From each producer.
    pub(crate) produced: Vec<Produced>,
    /// From each consumer.
    pub(crate) consumed: Vec<Consumed>,
    /// Before, between the phases of `--drain` (otherwise as before), and after.
    pub(crate) readings: [Counters; 3],
    /// When the second phase of `--drain` began.
    pub(crate) drain_ns: u64,
}

/// What is read before and after a phase: the counters of the broker's process, if it is known.
#[derive(Debug, Clone)]
pub(crate) struct Counters {
    pub(crate) broker: Option<Reading>,
}

impl Counters {
    /// Reads them now.
    ///
    /// # Errors
    /// If the broker's process cannot be measured.
    pub(crate) fn read(load: &Load) -> anyhow::Result<Self> {
        Ok(Self {
            broker: load.pid.map(Reading::of).transpose()?,
        })
    }

    fn since(&self, earlier: &Self) -> Option<Cpu> {
        Some(self.broker.as_ref()?.since(earlier.broker.as_ref()?))
    }
}

/// Computes the report.
///
/// # Errors
/// If the broker's process has gone.
pub(crate) fn summarise(shared: &Shared<'_>, taken: &Taken) -> anyhow::Result<Report> {
    let load = shared.load;
    let (sent, received) = flows(shared, taken);
    let latency = merged(taken.consumed.iter().map(|c| &c.latency))?;
    let receipt_latency = merged(taken.produced.iter().map(|p| &p.receipt_latency))?;
    let messages = if load.producers > 0 {
        sent.messages
    } else {
        received.messages
    };
    let [before, between, after] = &taken.readings;
    let timed = received.messages > 0 && load.producers > 0 && !load.drain;
    Ok(Report {
        address: load.connect.addr.clone(),
        destination: load.destination(0),
        sent,
        received,
        receipts: taken.produced.iter().map(|p| p.receipts).sum(),
        latency: timed.then(|| Latency::of(&latency)),
        receipt_latency: (!receipt_latency.is_empty()).then(|| Latency::of(&receipt_latency)),
        broker: broker(load, before, after, messages)?,
        broker_draining: if load.drain {
            broker(load, between, after, messages)?
        } else {
            None
        },
        faults: faults(shared, taken),
    })
}

fn flows(shared: &Shared<'_>, taken: &Taken) -> (Flow, Flow) {
    let load = shared.load;
    let start = shared.started_ns();
    let confirmed = taken
        .produced
        .iter()
        .map(|p| p.confirmed_ns)
        .max()
        .unwrap_or(start);
    let last = taken.consumed.iter().map(|c| c.last_ns).max().unwrap_or(0);
    let arrived = taken
        .consumed
        .iter()
        .map(|c| c.first_ns)
        .filter(|ns| *ns > 0);
    let from = match (load.producers, load.drain) {
        (0, _) => arrived.min().unwrap_or(0),
        (_, true) => taken.drain_ns,
        (_, false) => start,
    };
    let sent = taken.produced.iter().map(|p| p.sent).sum();
    let sent_cpu = taken.produced.iter().map(|p| p.cpu_ns).sum();
    let received = taken.consumed.iter().map(|c| c.received).sum();
    let received_cpu = taken.consumed.iter().map(|c| c.cpu_ns).sum();
    (
        Flow::new(sent, load.size.0, confirmed.saturating_sub(start), sent_cpu),
        Flow::new(
            received,
            load.size.0,
            last.saturating_sub(from),
            received_cpu,
        ),
    )
}

fn merged<'a>(parts: impl Iterator<Item = &'a Histogram<u64>>) -> anyhow::Result<Histogram<u64>> {
    let mut whole = histogram()?;
    for part in parts {
        whole.add(part)?;
    }
    Ok(whole)
}

fn broker(
    load: &Load,
    from: &Counters,
    to: &Counters,
    messages: u64,
) -> anyhow::Result<Option<Broker>> {
    let (Some(cpu), Some(pid)) = (to.since(from), load.pid) else {
        return Ok(None);
    };
    let (peak, now) = (
        process::memory(pid, "VmHWM")?,
        process::memory(pid, "VmRSS")?,
    );
    Ok(Some(Broker::new(pid, cpu, messages, peak, now)))
}

/// Finds what was lost, duplicated or reordered.
fn faults(shared: &Shared<'_>, taken: &Taken) -> Faults {
    let load = shared.load;
    let ledgers: Vec<&verify::Ledger> = taken.consumed.iter().map(|c| &c.ledger).collect();
    let received: u64 = taken.consumed.iter().map(|c| c.received).sum();
    if load.producers == 0 {
        // Nobody here knows what was sent: only the number, duplicates and order can be checked.
        let mut faults = verify::settle(&ledgers, true, |_, _| u32::MAX, |_, _| true);
        faults.lost = load.count.unwrap_or(0).saturating_sub(received);
        return faults;
    }
    let sent = |producer: u16, destination| {
        let total = taken
            .produced
            .get(usize::from(producer))
            .map_or(0, |p| p.sent);
        sent_to(total, producer, destination, load.destinations)
    };
    let subscribed = |consumer: usize, destination| {
        u16::try_from(consumer).is_ok_and(|c| load.share_of(c).contains(&destination))
    };
    verify::settle(&ledgers, load.topic.is_none(), sent, subscribed)
}

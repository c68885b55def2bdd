//! One run: consumers subscribe, counters are read, producers send, everything is received, counters are read again.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::IsTerminal;
use std::sync::atomic::Ordering;
use std::thread::{self, ScopedJoinHandle};
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use indicatif::{ProgressBar, ProgressStyle};

use super::consume::{Consumed, Consumer};
use super::latency::{Latency, histogram};
use super::options::{Length, Load};
use super::process::{self, Cpu, Reading};
use super::produce::{Produced, Producer, sent_to};
use super::report::{Broker, Flow, Report};
use super::shared::Shared;
use super::verify::{self, Faults};

/// How often the main thread looks at the counts.
const POLL: Duration = Duration::from_millis(2);

/// Runs the warm-up, if any, and then the load once.
///
/// # Errors
/// If the broker cannot be reached, refuses something, or closes a connection. Lost messages are no error here: the report has them.
pub(crate) fn run(load: &Load) -> anyhow::Result<Report> {
    load.check()?;
    process::sharpen_sleeps();
    if load.warmup > 0 && load.producers > 0 {
        let warmup = Load {
            count: Some(load.warmup),
            seconds: None,
            rate: None,
            warmup: 0,
            pid: None,
            ..load.clone()
        };
        measure(&warmup).context("warm-up")?;
    }
    measure(load)
}

/// What is read before and after.
struct Counters {
    broker: Option<Reading>,
}

impl Counters {
    fn read(load: &Load) -> anyhow::Result<Self> {
        Ok(Self {
            broker: load.pid.map(Reading::of).transpose()?,
        })
    }

    fn since(&self, earlier: &Self) -> Option<Cpu> {
        Some(self.broker.as_ref()?.since(earlier.broker.as_ref()?))
    }
}

type Threads<'scope, T> = Vec<ScopedJoinHandle<'scope, anyhow::Result<T>>>;

/// The three readings of a run; without `--drain` the second is the same as the first.
struct Taken {
    produced: Vec<Produced>,
    consumed: Vec<Consumed>,
    readings: [Counters; 3],
    drain_ns: u64,
}

fn measure(load: &Load) -> anyhow::Result<Report> {
    let run = u32::try_from(RandomState::new().build_hasher().finish() & 0xffff_ffff).unwrap_or(0);
    let shared = Shared::new(load, run);
    let bar = bar(load);
    let taken = thread::scope(|scope| {
        let result = drive(&shared, scope, &bar);
        if result.is_err() {
            shared.abort();
        }
        result
    });
    bar.finish_and_clear();
    let taken = taken?;
    let faults = faults(&shared, &taken);
    summarise(&shared, &taken, faults)
}

fn drive<'scope, 'env: 'scope>(
    shared: &'env Shared<'env>,
    scope: &'scope thread::Scope<'scope, 'env>,
    bar: &ProgressBar,
) -> anyhow::Result<Taken> {
    let load = shared.load;
    let mut consumers = Vec::new();
    if !load.drain {
        consumers = subscribe(shared, scope)?;
    }
    let producers = (0..load.producers)
        .map(|index| Producer::connect(shared, index))
        .collect::<anyhow::Result<Vec<_>>>()?;
    let first = Counters::read(load)?;
    let producers: Threads<'_, Produced> = producers
        .into_iter()
        .map(|producer| {
            scope.spawn(move || {
                let produced = producer.run();
                if produced.is_err() {
                    shared.abort();
                }
                produced
            })
        })
        .collect();
    shared.start();
    shared.gate.wait();
    watch(shared, bar, || {
        producers.iter().all(ScopedJoinHandle::is_finished)
    })?;
    let produced = collect(producers, "producer")?;
    let sent: Vec<u64> = produced.iter().map(|p| p.sent).collect();
    let (mut second, mut drain_ns) = (None, 0);
    if load.drain {
        second = Some(Counters::read(load)?);
        drain_ns = shared.clock.ns();
        consumers = subscribe(shared, scope)?;
    }
    let expected = expected(load, &sent);
    let complete = watch(shared, bar, || {
        shared.received() >= expected || consumers.iter().any(ScopedJoinHandle::is_finished)
    });
    shared.stop();
    if complete.is_err() {
        shared.abort();
    }
    let consumed = collect(consumers, "consumer")?;
    let third = Counters::read(load)?;
    let second = second.map_or_else(
        || {
            Ok(Counters {
                broker: first.broker.clone(),
            })
        },
        Ok::<_, anyhow::Error>,
    )?;
    Ok(Taken {
        produced,
        consumed,
        readings: [first, second, third],
        drain_ns,
    })
}

fn subscribe<'scope, 'env: 'scope>(
    shared: &'env Shared<'env>,
    scope: &'scope thread::Scope<'scope, 'env>,
) -> anyhow::Result<Threads<'scope, Consumed>> {
    let load = shared.load;
    let consumers = (0..load.consumers)
        .map(|index| Consumer::connect(shared, index))
        .collect::<anyhow::Result<Vec<_>>>()?;
    let threads: Threads<'scope, Consumed> = consumers
        .into_iter()
        .map(|consumer| scope.spawn(move || consumer.run()))
        .collect();
    if !load.drain {
        let ready = || shared.ready.load(Ordering::Acquire) >= u64::from(load.consumers);
        let failed = || threads.iter().any(ScopedJoinHandle::is_finished);
        let waited = watch(shared, &ProgressBar::hidden(), || ready() || failed());
        if waited.is_err() || failed() {
            shared.abort();
            collect(threads, "consumer")?;
            bail!("the subscriptions were not confirmed");
        }
        return Ok(threads);
    }
    Ok(threads)
}

/// Waits until `done`.
///
/// # Errors
/// When the run was aborted, or nothing has moved for as long as the load's patience.
fn watch(shared: &Shared<'_>, bar: &ProgressBar, done: impl Fn() -> bool) -> anyhow::Result<()> {
    let patience = Duration::from_secs_f64(shared.load.patience);
    let (mut last, mut still, mut polls) = (shared.movement(), Duration::ZERO, 0u32);
    while !done() {
        if shared.aborted() {
            return Ok(()); // the thread that failed says why
        }
        thread::sleep(POLL);
        let moved = shared.movement();
        still = if moved == last {
            still + POLL
        } else {
            Duration::ZERO
        };
        last = moved;
        polls += 1;
        if polls.is_multiple_of(50) {
            show(shared, bar);
        }
        if still > patience {
            shared.abort();
            bail!("nothing moved for {} s", shared.load.patience);
        }
    }
    Ok(())
}

fn collect<T>(threads: Threads<'_, T>, what: &str) -> anyhow::Result<Vec<T>> {
    let joined: Vec<anyhow::Result<T>> = threads
        .into_iter()
        .map(|thread| {
            thread
                .join()
                .unwrap_or_else(|_| Err(anyhow!("a {what} panicked")))
        })
        .collect();
    joined.into_iter().collect()
}

/// Messages that consumers should receive, copies of topics counted.
fn expected(load: &Load, sent: &[u64]) -> u64 {
    if load.producers == 0 {
        return load.count.unwrap_or(0);
    }
    let mut total = 0;
    for (producer, sent) in (0..load.producers).zip(sent) {
        for destination in 0..load.destinations {
            total += u64::from(sent_to(*sent, producer, destination, load.destinations))
                * load.copies_of(destination);
        }
    }
    total
}

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

fn summarise(shared: &Shared<'_>, taken: &Taken, faults: Faults) -> anyhow::Result<Report> {
    let load = shared.load;
    let start = shared.started_ns();
    let sent: u64 = taken.produced.iter().map(|p| p.sent).sum();
    let received: u64 = taken.consumed.iter().map(|c| c.received).sum();
    let confirmed = taken
        .produced
        .iter()
        .map(|p| p.confirmed_ns)
        .max()
        .unwrap_or(start);
    let last = taken.consumed.iter().map(|c| c.last_ns).max().unwrap_or(0);
    let first = taken
        .consumed
        .iter()
        .map(|c| c.first_ns)
        .filter(|ns| *ns > 0)
        .min()
        .unwrap_or(0);
    let consume_from = match (load.producers, load.drain) {
        (0, _) => first,
        (_, true) => taken.drain_ns,
        (_, false) => start,
    };
    let mut latency = histogram()?;
    taken
        .consumed
        .iter()
        .try_for_each(|c| latency.add(&c.latency))?;
    let mut receipt_latency = histogram()?;
    taken
        .produced
        .iter()
        .try_for_each(|p| receipt_latency.add(&p.receipt_latency))?;
    let [first_read, second_read, third_read] = &taken.readings;
    let broker = |from: &Counters, to: &Counters, messages| -> anyhow::Result<Option<Broker>> {
        let (Some(cpu), Some(pid)) = (to.since(from), load.pid) else {
            return Ok(None);
        };
        Ok(Some(Broker::new(
            pid,
            cpu,
            messages,
            process::memory(pid, "VmHWM")?,
            process::memory(pid, "VmRSS")?,
        )))
    };
    let messages = if load.producers > 0 { sent } else { received };
    Ok(Report {
        address: load.connect.addr.clone(),
        destination: load.destination(0),
        sent: Flow::new(
            sent,
            load.size.0,
            confirmed.saturating_sub(start),
            taken.produced.iter().map(|p| p.cpu_ns).sum(),
        ),
        received: Flow::new(
            received,
            load.size.0,
            last.saturating_sub(consume_from),
            taken.consumed.iter().map(|c| c.cpu_ns).sum(),
        ),
        receipts: taken.produced.iter().map(|p| p.receipts).sum(),
        latency: (received > 0 && load.producers > 0 && !load.drain).then(|| Latency::of(&latency)),
        receipt_latency: (!receipt_latency.is_empty()).then(|| Latency::of(&receipt_latency)),
        broker: broker(first_read, third_read, messages)?,
        broker_draining: if load.drain {
            broker(second_read, third_read, messages)?
        } else {
            None
        },
        faults,
    })
}

fn bar(load: &Load) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let total = match (load.length(), load.rate) {
        (Length::Count(count), _) => Some(count),
        (Length::Time(_), _) => None,
    };
    let bar = total.map_or_else(ProgressBar::new_spinner, ProgressBar::new);
    let template = if total.is_some() {
        "{wide_bar} {human_pos}/{human_len} {per_sec} eta {eta}"
    } else {
        "{spinner} {human_pos} {per_sec} {elapsed}"
    };
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar
}

fn show(shared: &Shared<'_>, bar: &ProgressBar) {
    let load = shared.load;
    let position = if load.consumers > 0 && !load.drain {
        shared.received() / load.copies_of(0).max(1)
    } else {
        shared.sent()
    };
    bar.set_position(position);
}

//! One run: consumers subscribe, counters are read, producers send, everything is received, counters are read again.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::IsTerminal;
use std::sync::atomic::Ordering;
use std::thread::{self, ScopedJoinHandle};
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use indicatif::{ProgressBar, ProgressStyle};

use super::consume::{Consumed, Consumer};
use super::options::{Length, Load};
use super::process;
use super::produce::{Produced, Producer, sent_to};
use super::report::Report;
use super::shared::Shared;
use super::summary::{Counters, Taken, summarise};

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

type Threads<'scope, T> = Vec<ScopedJoinHandle<'scope, anyhow::Result<T>>>;

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
    // When one thread fails the others are stopped and complain too: the first one knows why.
    let taken = taken.map_err(|error| shared.first_failure().unwrap_or(error))?;
    summarise(&shared, &taken)
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
        .map(|producer| scope.spawn(move || shared.guard(producer.run())))
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
    let second = second.unwrap_or_else(|| first.clone());
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
        .map(|consumer| scope.spawn(move || shared.guard(consumer.run())))
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
            bail!(
                "nothing moved for {} s: {} sent, {} received, {} receipts",
                shared.load.patience,
                shared.sent(),
                shared.received(),
                shared.receipts()
            );
        }
    }
    Ok(())
}

/// Waits for the threads; all of them, whatever one of them says.
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

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};

    use clap::Parser;

    use super::super::relay;
    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        load: Load,
    }

    fn load(addr: &str, line: &str) -> Load {
        let words = ["run", "--relay", "--addr", addr]
            .into_iter()
            .chain(line.split(' '));
        Line::try_parse_from(words).unwrap().load
    }

    fn relay() -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap().to_string();
        thread::spawn(move || relay::serve(&listener));
        addr
    }

    /// A broker for one consumer and one producer that delivers what `change` makes of all messages together.
    fn tampering(change: fn(Vec<Vec<u8>>) -> Vec<Vec<u8>>) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap().to_string();
        thread::spawn(move || {
            let frame = |stream: &mut TcpStream| {
                let (mut frame, mut octet) = (Vec::new(), [1]);
                while octet[0] != 0 && stream.read(&mut octet).unwrap() == 1 {
                    frame.push(octet[0]);
                }
                frame
            };
            let mut ends = Vec::new();
            for _ in 0..2 {
                let mut end = listener.accept().unwrap().0;
                frame(&mut end);
                end.write_all(b"CONNECTED\nversion:1.2\n\n\0").unwrap();
                if ends.is_empty() {
                    frame(&mut end);
                    end.write_all(b"RECEIPT\nreceipt-id:subscribed\n\n\0")
                        .unwrap();
                }
                ends.push(end);
            }
            let messages =
                std::iter::from_fn(|| Some(frame(&mut ends[1])).filter(|frame| frame.len() > 1))
                    .collect();
            change(messages)
                .iter()
                .for_each(|message| ends[0].write_all(message).unwrap());
            frame(&mut ends[0]);
            ends[0]
                .write_all(b"RECEIPT\nreceipt-id:goodbye\n\n\0")
                .unwrap();
        });
        addr
    }

    #[test]
    fn the_relay_carries_a_load_without_faults() {
        let addr = relay();
        for line in [
            "--count 5000",
            "--count 300 --size 20k",
            "--count 20 --rate 2000",
            "--seconds 0.02 --backlog 10",
        ] {
            let report = run(&load(&addr, line)).unwrap();
            assert!(report.faults.none(), "{line}: {report}");
            assert!(
                report.sent.messages >= 20 || line.contains("seconds"),
                "{line}: {report}"
            );
            assert_eq!(report.received.messages, report.sent.messages, "{line}");
            assert!(
                report
                    .latency
                    .is_some_and(|l| l.p50_us > 0.0 && l.max_us >= l.p99_us),
                "{line}: {report}"
            );
        }
    }

    #[test]
    fn what_a_broker_does_wrong_is_reported() {
        let check = |change: fn(Vec<Vec<u8>>) -> Vec<Vec<u8>>, expected: [u64; 3]| {
            let report = run(&load(&tampering(change), "--count 50 --patience 0.3")).unwrap();
            let faults = report.faults;
            assert_eq!(
                [faults.lost, faults.duplicated, faults.out_of_order],
                expected,
                "{report}"
            );
            assert!(faults.none() == (expected == [0; 3]));
        };
        check(|messages| messages, [0, 0, 0]);
        check(
            |mut messages| {
                messages.remove(7);
                messages
            },
            [1, 0, 0],
        );
        check(
            |mut messages| {
                messages.insert(3, messages[2].clone());
                messages
            },
            [0, 1, 0],
        );
        check(
            |mut messages| {
                messages.swap(10, 11);
                messages
            },
            [0, 0, 1],
        );
    }

    #[test]
    fn a_refusal_is_reported_and_not_its_consequences() {
        let error = run(&load(
            &tampering(|_| vec![b"ERROR\nmessage:queue is full\n\n\0".to_vec()]),
            "--count 5",
        ))
        .unwrap_err();
        assert!(format!("{error:#}").contains("queue is full"), "{error:#}");
    }
}

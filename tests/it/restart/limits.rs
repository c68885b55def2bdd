//! kill -9 at every limit: producers fill the store, memory and temporary storage, or one destination, until they have to
//! wait; consumers take now and then. Nothing receipted is lost, nobody waits for ever, and memory stays where it was.
//!
//! `FERRYMQ_SOAK_MINUTES=15` makes it 15 minutes for each limit with a kill every 30 seconds; see CONTRIBUTING.md.
//! Spec: behaviour USE-2, USE-3, USE-4, SND-4.

use std::fs;
use std::net::TcpStream;
use std::path::Path;
use std::thread;

use ferrymq::clock::Clock;

use super::ledger::{Answers, Order, Repeats, Sent, Taken, drain_queue};
use super::process::Process;
use crate::wire::client::{Client, frame};

/// What is limited, by which settings, and what the queue that is never consumed needs of it.
struct Limit {
    name: &'static str,
    settings: &'static str,
    /// Octets of a header that makes messages as large as they have to be.
    filler: usize,
}

const LIMITS: [Limit; 4] = [
    Limit {
        name: "store",
        settings: "[memory]\nlimit = \"64 MiB\"\n[store]\nsegment_bytes = \"1 MiB\"\nlimit = \"12 MiB\"\n",
        filler: 4000,
    },
    Limit {
        name: "memory",
        settings: "[memory]\nlimit = \"24 MiB\"\n[temp]\nlimit = \"0 B\"\n[store]\nlimit = \"256 MiB\"\n",
        filler: 2000,
    },
    Limit {
        name: "temp",
        settings: "[memory]\nlimit = \"24 MiB\"\n[temp]\nlimit = \"24 MiB\"\n[store]\nlimit = \"256 MiB\"\n",
        filler: 2000,
    },
    Limit {
        name: "destination",
        settings: "[memory]\nlimit = \"64 MiB\"\n[[policy]]\nqueue = \">\"\nmaxMessages = 500\n",
        filler: 100,
    },
];

/// Persistent messages, of which a consumer takes some in every other round.
#[derive(Default)]
struct Kept {
    sent: Sent,
    taken: Taken,
}

#[test]
fn kill_9_at_each_limit_loses_nothing_and_stops_nobody() {
    for limit in &LIMITS {
        eprintln!("at the limit of {}", limit.name);
        at(limit);
    }
}

fn at(limit: &Limit) {
    let directory = super::directory();
    fs::write(directory.path().join("activemq.toml"), limit.settings).expect("it can be written");
    let clock = Clock::system();
    let minutes: u64 = given("FERRYMQ_SOAK_MINUTES").unwrap_or(0);
    let (end_ms, period_ms) = (minutes * 60_000, if minutes > 0 { 30_000 } else { 0 });
    let mut kept = Kept::default();
    let mut memory = Vec::new();
    let mut round = 0;
    while round < 6 || clock.monotonic_ms() < end_ms {
        let (answers, memory_bytes) = one_life(
            directory.path(),
            limit,
            &mut kept,
            round % 2 == 1,
            period_ms,
        );
        eprintln!("round {round}: killed after {answers} answers at {memory_bytes} octets");
        memory.push(memory_bytes);
        round += 1;
    }
    // Flat: what later lives take is what the first ones took.
    let most = |lives: &[u64]| lives.iter().copied().max().unwrap_or(0);
    let (early, late) = memory.split_at(memory.len() / 2);
    assert!(
        most(late) < most(early) * 3 / 2 + (16 << 20),
        "memory grows: {memory:?}"
    );
    // Without the limit, or there might be no room for the message that ends the draining.
    fs::remove_file(directory.path().join("activemq.toml")).expect("it is there");
    let process = Process::start(directory.path());
    let rest = drain_queue(process.client(), "kept", Order::Ascending);
    kept.taken.check(&kept.sent, &rest);
}

/// One life of the broker: filled until producers wait, or consumed meanwhile, for so many milliseconds at least. Gives the
/// answers that came and the memory that the process had at its end.
fn one_life(
    directory: &Path,
    limit: &Limit,
    kept: &mut Kept,
    consumes: bool,
    period_ms: u64,
) -> (u64, u64) {
    let process = Process::start(directory);
    let answers = Answers::default();
    let clock = Clock::system();
    let Kept { sent, taken } = kept;
    let (producer, flooder, consumer, other) = (
        process.client(),
        process.client(),
        process.client(),
        process.client(),
    );
    let filler = "x".repeat(limit.filler);
    let mut memory_bytes = 0;
    thread::scope(|scope| {
        let producing = scope.spawn(|| {
            sent.produce(producer, 20, &answers, |_| {
                format!("SEND destination:/queue/kept filler:{filler}")
            });
        });
        let flooding = flooder.writer();
        scope.spawn(|| flood(flooding, &filler));
        if consumes {
            scope.spawn(|| {
                let queue = "destination:/queue/kept";
                taken.consume(consumer, queue, Order::Ascending, Repeats::Marked, &answers);
            });
        }
        let mut bystander = Bystander::new(other);
        let waits = || process.log().contains("waits");
        let deadline_ms = period_ms + 60_000;
        crate::wait::within(
            deadline_ms,
            "a full broker, or one that is consumed",
            || {
                // At no limit anybody else has to wait.
                bystander.is_well();
                let reached = if consumes {
                    answers.count() > 400
                } else {
                    waits()
                };
                let failed = producing.is_finished();
                (failed || reached && clock.monotonic_ms() >= period_ms).then_some(())
            },
        );
        memory_bytes = process.resident_bytes().unwrap_or(0);
        process.kill();
    });
    (answers.count(), memory_bytes)
}

/// Sends what is not persistent and asks for nothing, until the broker is gone.
fn flood(mut writer: TcpStream, filler: &str) {
    let head = format!("SEND destination:/queue/flood filler:{filler}");
    let packet = frame(&head, "").repeat(50);
    while std::io::Write::write_all(&mut writer, &packet).is_ok() {}
}

/// Somebody who asks for nothing that can be short.
struct Bystander(Client);

impl Bystander {
    fn new(client: Client) -> Self {
        Self(client)
    }

    fn is_well(&mut self) {
        self.0.ask("SUBSCRIBE id:1 destination:/queue/bystander");
        self.0.ask("BEGIN transaction:t");
        self.0.ask("ABORT transaction:t");
        self.0.ask("UNSUBSCRIBE id:1");
    }
}

fn given(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

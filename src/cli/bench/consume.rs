//! One consumer: a thread, a connection, a ledger.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use hdrhistogram::Histogram;
use memchr::memmem::Finder;

use super::latency::histogram;
use super::options::AckMode;
use super::process::thread_cpu_ns;
use super::scan::{Found, Scanner, header};
use super::shared::Shared;
use super::stamp::Stamp;
use super::verify::Ledger;
use crate::cli::client::{Client, Command, Identity, Version, is_timeout};

/// How long a read waits before looking whether the run is over.
const READ_TIMEOUT: Duration = Duration::from_millis(10);
/// Read buffer of a consumer; with many consumers each gets less.
const READ_SIZE: usize = 256 * 1024;
/// How long the broker may take to confirm a consumer's DISCONNECT.
const GOODBYE_TIMEOUT_NS: u64 = 10_000_000_000;

/// Producers expected when this run has none of its own and takes what another left.
const STRANGERS: u16 = 256;

/// What a consumer has seen.
#[derive(Debug)]
pub(crate) struct Consumed {
    /// Which messages came, and how.
    pub(crate) ledger: Ledger,
    /// From the intended time of sending to the read that brought the message.
    pub(crate) latency: Histogram<u64>,
    /// Messages received, duplicates included.
    pub(crate) received: u64,
    /// When the first and the last came.
    pub(crate) first_ns: u64,
    /// When the last new one came.
    pub(crate) last_ns: u64,
    /// CPU time of the thread.
    pub(crate) cpu_ns: u64,
}

/// A connected and subscribing consumer.
#[derive(Debug)]
pub(crate) struct Consumer<'a> {
    shared: &'a Shared<'a>,
    stream: TcpStream,
    input: Vec<u8>,
    filled: usize,
    scanner: Scanner,
    acks: Acks,
    /// Receipts that are still to come, and whether the one for DISCONNECT has come.
    receipts: u64,
    goodbye: bool,
    ready: bool,
    seen: Consumed,
    /// Messages of the current run of equal latencies, not yet in the histogram.
    streak: (u64, u64),
    cpu_ns: u64,
}

impl<'a> Consumer<'a> {
    /// Connects a consumer and sends its subscriptions; their receipts are read by [`run`](Self::run).
    ///
    /// # Errors
    /// If the broker does not accept the connection.
    pub(crate) fn connect(shared: &'a Shared<'a>, index: u16) -> anyhow::Result<Self> {
        let load = shared.load;
        let mut client = Client::connect(&load.connect, &Identity::default())?;
        let version = client.version();
        let destinations = load.share_of(index);
        for destination in &destinations {
            let (id, name) = (destination.to_string(), load.destination(*destination));
            let prefetch = load.prefetch.map(|prefetch| prefetch.to_string());
            let mut headers = vec![
                ("id", id.as_str()),
                ("destination", &name),
                ("ack", load.ack.header()),
                ("receipt", "subscribed"),
            ];
            headers.extend(
                prefetch
                    .as_deref()
                    .map(|prefetch| (load.prefetch_header.as_str(), prefetch)),
            );
            client.queue(Command::Subscribe, &headers, b"", false)?;
        }
        client.flush()?;
        let (stream, mut input) = client.into_parts();
        stream.set_read_timeout(Some(READ_TIMEOUT))?;
        stream.set_write_timeout(Some(Duration::from_secs_f64(load.patience)))?;
        let filled = input.len();
        let each = (READ_SIZE * 64 / usize::from(load.consumers)).clamp(16 * 1024, READ_SIZE);
        input.resize(each.max(2 * (load.size.0 + 1024)).max(filled), 0);
        let run = (load.producers > 0).then_some(shared.run);
        Ok(Self {
            shared,
            stream,
            input,
            filled,
            scanner: Scanner::new(run, load.size.0),
            acks: Acks::new(load.ack, load.ack_receipts, version, load.destinations),
            receipts: destinations.len() as u64,
            goodbye: false,
            ready: false,
            seen: Consumed {
                ledger: Ledger::new(
                    if load.producers > 0 {
                        load.producers
                    } else {
                        STRANGERS
                    },
                    load.destinations,
                ),
                latency: histogram()?,
                received: 0,
                first_ns: 0,
                last_ns: 0,
                cpu_ns: 0,
            },
            streak: (0, 0),
            cpu_ns: 0,
        })
    }

    /// Receives until the run is over, then disconnects and takes what still comes.
    ///
    /// # Errors
    /// If the connection breaks or the broker sends an ERROR.
    pub(crate) fn run(mut self) -> anyhow::Result<Consumed> {
        self.cpu_ns = thread_cpu_ns();
        self.take_frames()?;
        while !(self.shared.stopped() && self.receipts == 0) {
            let moved = self.read_once()?;
            if !moved && self.shared.aborted() {
                break;
            }
        }
        self.stream
            .write_all(b"DISCONNECT\nreceipt:goodbye\n\n\0")
            .context("a consumer's connection broke")?;
        let deadline = self.shared.clock.ns() + GOODBYE_TIMEOUT_NS;
        while !self.goodbye {
            self.read_once()?;
            ensure!(
                self.shared.clock.ns() < deadline,
                "the broker did not confirm a consumer's DISCONNECT"
            );
        }
        self.end_streak();
        self.seen.cpu_ns = thread_cpu_ns() - self.cpu_ns;
        Ok(self.seen)
    }

    /// One read and all frames it completed; false if nothing came in time.
    fn read_once(&mut self) -> anyhow::Result<bool> {
        if self.filled == self.input.len() {
            self.input.resize(self.input.len() * 2, 0);
        }
        match self.stream.read(&mut self.input[self.filled..]) {
            Ok(0) if self.shared.stopped() => self.goodbye = true,
            Ok(0) => bail!("the broker closed a consumer's connection"),
            Ok(n) => self.filled += n,
            Err(error) if is_timeout(&error) => return Ok(false),
            Err(error) => return Err(error).context("a consumer's connection broke"),
        }
        self.take_frames()?;
        Ok(true)
    }

    fn take_frames(&mut self) -> anyhow::Result<()> {
        let now = self.shared.clock.ns();
        let (mut at, mut count, mut fresh) = (0, 0, 0);
        loop {
            let (found, used) = self.scanner.next(&self.input[at..self.filled])?;
            match found {
                Found::More => {
                    at += used;
                    break;
                }
                Found::Message {
                    stamp,
                    head,
                    redelivered,
                } => {
                    count += 1;
                    fresh += u64::from(self.seen.ledger.enter(&stamp, redelivered));
                    let waited = now.saturating_sub(stamp.sent_ns);
                    if self.streak.0 == waited {
                        self.streak.1 += 1;
                    } else {
                        self.seen
                            .latency
                            .saturating_record_n(self.streak.0, self.streak.1);
                        self.streak = (waited, 1);
                    }
                    self.acks.note(at, head, Some(&stamp));
                }
                Found::Foreign { head } => {
                    self.seen.ledger.faults.foreign += 1;
                    self.acks.note(at, head, None);
                }
                Found::Receipt(head) => {
                    self.goodbye |= header(head, &Finder::new("\nreceipt-id:")) == Some(b"goodbye");
                    self.receipts = self.receipts.saturating_sub(1);
                }
            }
            at += used;
        }
        self.finish_read(now, count, fresh)?;
        self.input.copy_within(at..self.filled, 0);
        self.filled -= at;
        Ok(())
    }

    /// What is done once for each read: acknowledge, count, tell.
    fn finish_read(&mut self, now: u64, count: u64, fresh: u64) -> anyhow::Result<()> {
        self.receipts += self.acks.write(&mut self.stream, &self.input)?;
        if count > 0 {
            self.seen.received += count;
            if self.seen.first_ns == 0 {
                self.seen.first_ns = now;
            }
            if fresh > 0 {
                self.seen.last_ns = now;
            }
            self.shared.add_received(fresh);
        }
        if !self.ready && self.receipts == 0 {
            self.ready = true;
            self.shared.ready.fetch_add(1, Ordering::Release);
        }
        Ok(())
    }

    fn end_streak(&mut self) {
        self.seen
            .latency
            .saturating_record_n(self.streak.0, self.streak.1);
        self.streak = (0, 0);
    }
}

/// Acknowledgements owed for the frames of one read.
#[derive(Debug)]
struct Acks {
    mode: AckMode,
    receipts: bool,
    version: Version,
    /// The header of MESSAGE by which it is acknowledged, and the one that names the subscription.
    id: Finder<'static>,
    subscription: Finder<'static>,
    /// For each destination, the head (offset in the input, length) of the message to acknowledge up to.
    latest: Vec<Option<(usize, usize)>>,
    out: Vec<u8>,
    count: u64,
}

impl Acks {
    fn new(mode: AckMode, receipts: bool, version: Version, destinations: u16) -> Self {
        let id = if version == Version::V12 {
            "\nack:"
        } else {
            "\nmessage-id:"
        };
        Self {
            mode,
            receipts,
            version,
            id: Finder::new(id),
            subscription: Finder::new("\nsubscription:"),
            latest: vec![None; usize::from(destinations)],
            out: Vec::new(),
            count: 0,
        }
    }

    /// Notes a message whose frame begins near `at` in the input.
    #[inline]
    fn note(&mut self, at: usize, head: &[u8], stamp: Option<&Stamp>) {
        match self.mode {
            AckMode::Auto => {}
            AckMode::ClientIndividual => self.render(head),
            AckMode::Client => {
                let named = || {
                    std::str::from_utf8(header(head, &self.subscription)?)
                        .ok()?
                        .parse()
                        .ok()
                };
                let index = stamp
                    .map(|stamp| usize::from(stamp.destination))
                    .or_else(named)
                    .unwrap_or(0);
                if let Some(latest) = self.latest.get_mut(index) {
                    *latest = Some((at, head.len()));
                }
            }
        }
    }

    fn render(&mut self, head: &[u8]) {
        let Some(id) = header(head, &self.id) else {
            return;
        };
        let name: &[u8] = if self.version == Version::V12 {
            b"id:"
        } else {
            b"message-id:"
        };
        self.out.extend_from_slice(b"ACK\n");
        self.out.extend_from_slice(name);
        self.out.extend_from_slice(id);
        if self.version != Version::V12
            && let Some(subscription) = header(head, &self.subscription)
        {
            self.out.extend_from_slice(b"\nsubscription:");
            self.out.extend_from_slice(subscription);
        }
        self.out.extend_from_slice(if self.receipts {
            b"\nreceipt:ack\n\n\0"
        } else {
            b"\n\n\0"
        });
        self.count += 1;
    }

    /// Writes what is owed; returns the receipts asked for.
    fn write(&mut self, stream: &mut TcpStream, input: &[u8]) -> anyhow::Result<u64> {
        if self.mode == AckMode::Client {
            for index in 0..self.latest.len() {
                if let Some((at, length)) = self.latest[index].take() {
                    let skipped = input[at..]
                        .iter()
                        .take_while(|octet| matches!(octet, b'\n' | b'\r' | 0))
                        .count();
                    self.render(&input[at + skipped..at + skipped + length]);
                }
            }
        }
        if self.out.is_empty() {
            return Ok(0);
        }
        stream
            .write_all(&self.out)
            .context("a consumer could not write its ACKs")?;
        self.out.clear();
        let count = std::mem::take(&mut self.count);
        Ok(if self.receipts { count } else { 0 })
    }
}

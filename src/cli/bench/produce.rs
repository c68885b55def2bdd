//! One producer: a thread, a connection, a tape.
//!
//! At full speed it patches as much of the tape as fits into one write and writes it. With `--rate` it sends what is due, normally
//! one frame at a time, stamped with the time it was *meant* to be sent: when the broker holds the producer up, the wait counts as
//! latency of every message that was due meanwhile (no coordinated omission).

use std::io::Write;
use std::net::TcpStream;
use std::sync::Arc;
use std::thread::{self, JoinHandle, Thread};
use std::time::Duration;

use anyhow::{Context, bail};
use hdrhistogram::Histogram;

use super::options::Length;
use super::process::thread_cpu_ns;
use super::receipts::{Book, ReceiptReader};
use super::shared::Shared;
use super::stamp::hex8;
use super::tape::{Kind, Marks, Tape};
use crate::cli::client::{Client, Identity};

/// How long one read for receipts waits before looking whether the run was aborted.
const READ_TIMEOUT: Duration = Duration::from_millis(100);
/// Pause when the backlog is at its bound.
const BACKLOG_PAUSE: Duration = Duration::from_micros(50);

/// What a producer has done.
#[derive(Debug)]
pub(crate) struct Produced {
    /// Messages written.
    pub(crate) sent: u64,
    /// When the broker had confirmed everything (receipts and DISCONNECT).
    pub(crate) confirmed_ns: u64,
    /// CPU time of the producer's threads.
    pub(crate) cpu_ns: u64,
    /// Receipts received.
    pub(crate) receipts: u64,
    /// Latency of receipts.
    pub(crate) receipt_latency: Histogram<u64>,
}

/// A connected producer.
#[derive(Debug)]
pub(crate) struct Producer<'a> {
    shared: &'a Shared<'a>,
    index: u16,
    stream: TcpStream,
    reader: Option<ReceiptReader>,
    book: Arc<Book>,
    tape: Tape,
    slot: usize,
    sent: u64,
    asked: u32,
    transactions: u32,
    turn: Turn,
}

/// Whose turn it is: destinations are served one after the other, each with its own numbers.
#[derive(Debug, Clone, Copy)]
struct Turn {
    destinations: u16,
    destination: u16,
    first: u16,
    round: u32,
}

impl Turn {
    #[inline]
    fn next(&mut self) {
        self.destination += 1;
        if self.destination == self.destinations {
            self.destination = 0;
        }
        if self.destination == self.first {
            self.round += 1;
        }
    }
}

/// How many of the first `sent` messages of producer `producer` went to `destination`.
#[must_use]
pub(crate) fn sent_to(sent: u64, producer: u16, destination: u16, destinations: u16) -> u32 {
    let offset = u64::from((destination + destinations - producer % destinations) % destinations);
    let count = if sent > offset {
        (sent - offset - 1) / u64::from(destinations) + 1
    } else {
        0
    };
    u32::try_from(count).unwrap_or(u32::MAX)
}

impl<'a> Producer<'a> {
    /// Connects a producer and renders its tape.
    ///
    /// # Errors
    /// If the broker does not accept the connection.
    pub(crate) fn connect(shared: &'a Shared<'a>, index: u16) -> anyhow::Result<Self> {
        let load = shared.load;
        let client = Client::connect(
            &load.connect,
            &Identity {
                stomp_command: load.relay,
                ..Identity::default()
            },
        )?;
        let (stream, _) = client.into_parts();
        stream.set_read_timeout(Some(READ_TIMEOUT))?;
        stream.set_write_timeout(Some(Duration::from_secs_f64(load.patience)))?;
        let first = index % load.destinations;
        Ok(Self {
            shared,
            index,
            reader: Some(ReceiptReader::new(stream.try_clone()?, shared.clock)?),
            stream,
            book: Arc::new(Book::new(load.receipts)),
            tape: Tape::render(load, shared.run, index),
            slot: 0,
            sent: 0,
            asked: 0,
            transactions: 0,
            turn: Turn {
                destinations: load.destinations,
                destination: first,
                first,
                round: 0,
            },
        })
    }

    /// Waits at the gate, sends, waits for what the broker owes, disconnects.
    ///
    /// # Errors
    /// If the connection breaks or the broker refuses something.
    pub(crate) fn run(mut self) -> anyhow::Result<Produced> {
        self.shared.gate.wait();
        let cpu = thread_cpu_ns();
        let listener = self.listen_apart()?;
        self.send_all()?;
        while self.book.done() < self.asked {
            self.wait_for_receipts()?;
        }
        let mut cpu_ns = 0;
        if let Some(listener) = listener {
            let (reader, cpu) = listener.finish()?;
            cpu_ns += cpu;
            self.reader = Some(reader);
        }
        let receipt_latency = self
            .reader
            .as_ref()
            .map(|r| r.latency.clone())
            .context("the reader of receipts is gone")?;
        let receipts = u64::from(self.asked);
        self.disconnect()?;
        let confirmed_ns = self.shared.clock.ns();
        cpu_ns += thread_cpu_ns() - cpu;
        Ok(Produced {
            sent: self.sent,
            confirmed_ns,
            cpu_ns,
            receipts,
            receipt_latency,
        })
    }

    fn send_all(&mut self) -> anyhow::Result<()> {
        let load = self.shared.load;
        let start = self.shared.started_ns();
        let quota = match load.length() {
            Length::Count(count) => {
                share(count, load.producers, self.index).next_multiple_of(u64::from(load.tx.max(1)))
            }
            Length::Time(_) => u64::MAX,
        };
        let end_ns = match load.length() {
            Length::Count(_) => u64::MAX,
            Length::Time(time) => start + u64::try_from(time.as_nanos()).unwrap_or(u64::MAX / 2),
        };
        let pace = load.rate.map(|rate| Pace {
            start,
            interval_ns: 1e9 / rate,
            producers: load.producers,
            index: self.index,
        });
        loop {
            let now = self.shared.clock.ns();
            let next = self.tape.slots()[self.slot].kind;
            let between = load.tx == 0 || next == Kind::Begin;
            if between && (self.sent >= quota || now >= end_ns) {
                return Ok(());
            }
            let wanted = (quota - self.sent).min(self.allowed_by_backlog());
            let due = pace
                .as_ref()
                .map_or(wanted, |pace| pace.due(self.sent, now, wanted));
            if due == 0 && next != Kind::Commit {
                self.pause(pace.as_ref(), now)?;
            } else if !self.write_stretch(due, now, pace.as_ref())? {
                self.wait_for_receipts()?;
            }
        }
    }

    /// Patches and writes frames until `sends` messages, the end of the tape or the receipt window is reached. False if the window
    /// was full from the beginning.
    fn write_stretch(&mut self, sends: u64, now: u64, pace: Option<&Pace>) -> anyhow::Result<bool> {
        let load = self.shared.load;
        let outstanding = self.asked - self.book.done();
        let mut room = if load.receipts == 0 {
            u32::MAX
        } else {
            load.receipts - outstanding.min(load.receipts)
        };
        let first = self.slot;
        let mut last = first;
        let mut count = 0;
        while last < self.tape.slots().len()
            && self.tape.span(first, last) <= load.write_size.0.max(self.tape.span(first, first))
        {
            let kind = self.tape.slots()[last].kind;
            let asks = self.tape.asks_receipt(kind);
            if (kind != Kind::Commit && count == sends) || (asks && room == 0) {
                break;
            }
            let sent_ns = pace.map_or(now, |pace| pace.intended(self.sent + count));
            let marks = Marks {
                destination: self.turn.destination,
                sequence: self.turn.round,
                sent_ns,
                receipt: self.asked,
                transaction: self.transactions,
            };
            self.tape.patch(last, &marks);
            if asks {
                self.book.ask(self.asked, sent_ns);
                self.asked += 1;
                room -= 1;
            }
            match kind {
                Kind::Begin => {}
                Kind::Send => {
                    self.turn.next();
                    count += 1;
                }
                Kind::Commit => self.transactions += 1,
            }
            last += 1;
        }
        if last == first {
            return Ok(false);
        }
        if let Err(error) = self.stream.write_all(self.tape.stretch(first, last)) {
            return Err(self.last_words(error));
        }
        self.slot = if last == self.tape.slots().len() {
            0
        } else {
            last
        };
        self.sent += count;
        self.shared.add_sent(count);
        Ok(true)
    }

    fn allowed_by_backlog(&self) -> u64 {
        let bound = self.shared.load.backlog;
        if bound == 0 {
            return u64::MAX;
        }
        let copies = self.shared.load.copies_of(0).max(1);
        bound.saturating_sub(
            self.shared
                .sent()
                .saturating_sub(self.shared.received() / copies),
        )
    }

    /// Nothing may be sent now: sleeps until something is due, or a moment when the backlog is at its bound.
    fn pause(&self, pace: Option<&Pace>, now: u64) -> anyhow::Result<()> {
        if self.shared.aborted() {
            bail!("the run was given up");
        }
        let until_due = pace.map_or(0, |pace| pace.intended(self.sent).saturating_sub(now));
        thread::sleep(if until_due > 0 {
            Duration::from_nanos(until_due.min(100_000_000))
        } else {
            BACKLOG_PAUSE
        });
        Ok(())
    }

    fn wait_for_receipts(&mut self) -> anyhow::Result<()> {
        if self.shared.aborted() {
            bail!(
                "the run was given up with {} receipts outstanding",
                self.asked - self.book.done()
            );
        }
        let before = self.book.done();
        match &mut self.reader {
            Some(reader) => {
                reader.read_once(&self.book)?;
            }
            None => thread::park_timeout(READ_TIMEOUT),
        }
        self.shared
            .add_receipts(u64::from(self.book.done() - before));
        Ok(())
    }

    /// With a rate, receipts are read by a thread of their own: their latency must not depend on when the sender looks.
    fn listen_apart(&mut self) -> anyhow::Result<Option<Listener>> {
        if self.shared.load.rate.is_none() || self.shared.load.receipts == 0 {
            return Ok(None);
        }
        let reader = self
            .reader
            .take()
            .context("the reader of receipts is gone")?;
        Ok(Some(Listener::start(reader, Arc::clone(&self.book))))
    }

    /// Says DISCONNECT and waits until the broker has processed everything before it.
    fn disconnect(&mut self) -> anyhow::Result<()> {
        if self.shared.load.relay {
            return Ok(self.stream.shutdown(std::net::Shutdown::Write)?);
        }
        let frame = [
            b"DISCONNECT\nreceipt:",
            hex8(self.asked).as_slice(),
            b"\n\n\0",
        ]
        .concat();
        self.book.ask(self.asked, self.shared.clock.ns());
        self.asked += 1;
        self.stream
            .write_all(&frame)
            .context("a producer's connection broke")?;
        while self.book.done() < self.asked {
            self.wait_for_receipts()?;
        }
        Ok(())
    }

    /// The broker closed or stopped reading: it may have said why.
    fn last_words(&mut self, error: std::io::Error) -> anyhow::Error {
        while let Some(reader) = &mut self.reader {
            match reader.read_once(&self.book) {
                Ok(true) => {}
                Ok(false) => break,
                Err(said) if said.to_string().contains("ERROR") => return said,
                Err(_) => break,
            }
        }
        anyhow::Error::new(error).context("a producer could not write")
    }
}

/// The share of one of `producers` in `count` messages.
#[must_use]
pub(crate) fn share(count: u64, producers: u16, index: u16) -> u64 {
    let producers = u64::from(producers);
    count / producers + u64::from(u64::from(index) < count % producers)
}

/// An open loop's timetable: message `n` of producer `index` is meant for `start + (n × producers + index) × interval`.
#[derive(Debug)]
struct Pace {
    start: u64,
    interval_ns: f64,
    producers: u16,
    index: u16,
}

impl Pace {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a run lasts far less than 2^53 ns = 104 days"
    )]
    fn intended(&self, n: u64) -> u64 {
        let position = n * u64::from(self.producers) + u64::from(self.index);
        self.start + (position as f64 * self.interval_ns) as u64
    }

    /// How many messages after the first `sent` are due at `now`, at most `wanted`.
    fn due(&self, sent: u64, now: u64, wanted: u64) -> u64 {
        (0..wanted)
            .take_while(|ahead| self.intended(sent + ahead) <= now)
            .count() as u64
    }
}

/// The thread that reads receipts beside a paced sender.
#[derive(Debug)]
struct Listener {
    thread: JoinHandle<anyhow::Result<(ReceiptReader, u64)>>,
    end: Arc<std::sync::atomic::AtomicBool>,
}

impl Listener {
    fn start(mut reader: ReceiptReader, book: Arc<Book>) -> Self {
        let end = Arc::new(std::sync::atomic::AtomicBool::new(false));
        let ended = Arc::clone(&end);
        let sender: Thread = thread::current();
        let thread = thread::spawn(move || {
            while !ended.load(std::sync::atomic::Ordering::Acquire) {
                if reader.read_once(&book)? {
                    sender.unpark();
                }
            }
            Ok((reader, thread_cpu_ns()))
        });
        Self { thread, end }
    }

    fn finish(self) -> anyhow::Result<(ReceiptReader, u64)> {
        self.end.store(true, std::sync::atomic::Ordering::Release);
        self.thread
            .join()
            .map_err(|_| anyhow::anyhow!("the reader of receipts panicked"))?
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_and_their_counts_agree() {
        for (destinations, producer) in [(1, 0), (1, 5), (3, 0), (3, 1), (3, 7), (10, 4)] {
            let first = producer % destinations;
            let mut turn = Turn {
                destinations,
                destination: first,
                first,
                round: 0,
            };
            let mut next = vec![0; usize::from(destinations)];
            for sent in 0..50 {
                for destination in 0..destinations {
                    assert_eq!(
                        sent_to(sent, producer, destination, destinations),
                        next[usize::from(destination)]
                    );
                }
                assert_eq!(
                    turn.round,
                    next[usize::from(turn.destination)],
                    "numbers of a destination have no gap"
                );
                next[usize::from(turn.destination)] += 1;
                turn.next();
            }
        }
    }

    #[test]
    fn shares_add_up() {
        for (count, producers) in [(10, 3), (0, 2), (7, 7), (3, 5)] {
            assert_eq!(
                (0..producers)
                    .map(|p| share(count, producers, p))
                    .sum::<u64>(),
                count
            );
        }
    }

    #[test]
    fn a_pace_sends_nothing_early_and_catches_up_when_late() {
        let pace = Pace {
            start: 1000,
            interval_ns: 100.0,
            producers: 2,
            index: 1,
        };
        assert_eq!((pace.intended(0), pace.intended(1)), (1100, 1300));
        assert_eq!(pace.due(0, 1099, 9), 0);
        assert_eq!(pace.due(0, 1100, 9), 1);
        assert_eq!(pace.due(0, 1500, 9), 3);
        assert_eq!(pace.due(0, 1500, 2), 2);
    }
}

//! Receipts of one producer: which are outstanding, since when, and whether each came exactly once.

use std::io::Read;
use std::net::TcpStream;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use anyhow::{Context, bail, ensure};
use hdrhistogram::Histogram;

use super::latency::histogram;
use super::stamp::unhex8;
use super::stopwatch::Stopwatch;
use crate::cli::client::is_timeout;

/// The book of outstanding receipts, shared by the sender and, with `--rate`, a thread that reads.
#[derive(Debug)]
pub(crate) struct Book {
    sent_ns: Vec<AtomicU64>,
    done: AtomicU32,
}

impl Book {
    /// A book for a window of that many receipts.
    #[must_use]
    pub(crate) fn new(window: u32) -> Self {
        // Four times the window: a broker that answers a little out of order does not run into a slot still in use.
        let slots = (window as usize * 4).next_power_of_two().max(1024);
        Self {
            sent_ns: (0..slots).map(|_| AtomicU64::new(0)).collect(),
            done: AtomicU32::new(0),
        }
    }

    /// Notes that receipt `id` was asked for at that time.
    #[inline]
    pub(crate) fn ask(&self, id: u32, now_ns: u64) {
        self.slot(id).store(now_ns, Ordering::Relaxed);
    }

    /// Receipts that have come.
    #[must_use]
    pub(crate) fn done(&self) -> u32 {
        self.done.load(Ordering::Acquire)
    }

    /// Takes receipt `id` off the book: the time it was asked for, or `None` if it was not outstanding.
    fn settle(&self, id: u32) -> Option<u64> {
        Some(self.slot(id).swap(0, Ordering::Relaxed)).filter(|asked| *asked != 0)
    }

    fn slot(&self, id: u32) -> &AtomicU64 {
        &self.sent_ns[id as usize & (self.sent_ns.len() - 1)]
    }
}

/// Reads a producer's socket, on which nothing but receipts (and an ERROR) is expected.
#[derive(Debug)]
pub(crate) struct ReceiptReader {
    stream: TcpStream,
    input: Vec<u8>,
    filled: usize,
    clock: Stopwatch,
    /// From the intended time of sending to the receipt.
    pub(crate) latency: Histogram<u64>,
}

impl ReceiptReader {
    /// Takes over the reading half of a connection.
    ///
    /// # Errors
    /// If the socket is gone.
    pub(crate) fn new(stream: TcpStream, clock: Stopwatch) -> anyhow::Result<Self> {
        Ok(Self {
            stream,
            input: vec![0; 64 * 1024],
            filled: 0,
            clock,
            latency: histogram()?,
        })
    }

    /// Reads once and settles what came; false if the read timed out.
    ///
    /// # Errors
    /// On an ERROR frame, a receipt nobody asked for, or a broken connection.
    pub(crate) fn read_once(&mut self, book: &Book) -> anyhow::Result<bool> {
        if self.filled == self.input.len() {
            self.input.resize(self.input.len() * 2, 0);
        }
        match self.stream.read(&mut self.input[self.filled..]) {
            Ok(0) => bail!("the broker closed a producer's connection"),
            Ok(n) => self.filled += n,
            Err(error) if is_timeout(&error) => return Ok(false),
            Err(error) => return Err(error).context("a producer's connection broke"),
        }
        self.settle(book)?;
        Ok(true)
    }

    /// Settles all whole frames in the buffer with one reading of the clock and one addition to the count.
    fn settle(&mut self, book: &Book) -> anyhow::Result<()> {
        let now = self.clock.ns();
        let mut at = 0;
        let mut count = 0;
        while let Some(length) = memchr::memchr(0, &self.input[at..self.filled]) {
            let frame = &self.input[at..at + length];
            at += length + 1;
            let id = receipt_id(frame)?;
            let asked = book
                .settle(id)
                .with_context(|| format!("receipt {id:08x} came twice or was never asked for"))?;
            self.latency.saturating_record(now.saturating_sub(asked));
            count += 1;
        }
        self.input.copy_within(at..self.filled, 0);
        self.filled -= at;
        book.done.fetch_add(count, Ordering::Release);
        Ok(())
    }
}

/// The number in a RECEIPT frame.
fn receipt_id(frame: &[u8]) -> anyhow::Result<u32> {
    const NAME: &[u8] = b"\nreceipt-id:";
    let frame = frame.trim_ascii_start();
    ensure!(
        frame.starts_with(b"RECEIPT"),
        "a producer was sent {}",
        String::from_utf8_lossy(&frame[..frame.len().min(400)]).trim_end()
    );
    let found = memchr::memmem::find(frame, NAME).map(|at| at + NAME.len());
    let digits = found
        .and_then(|at| frame.get(at..at + 8))
        .and_then(|digits| digits.try_into().ok());
    digits.and_then(unhex8).with_context(|| {
        format!(
            "a receipt nobody asked for: {}",
            String::from_utf8_lossy(frame).trim_end()
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_receipt_is_recognised_whatever_stands_beside_its_id() {
        assert_eq!(receipt_id(b"RECEIPT\nreceipt-id:0000002a\n\n").unwrap(), 42);
        assert_eq!(
            receipt_id(b"\n\nRECEIPT\nx:y\nreceipt-id:ffffffff\nz:1\n\n").unwrap(),
            u32::MAX
        );
        assert!(receipt_id(b"RECEIPT\nreceipt-id:other\n\n").is_err());
        let error = receipt_id(b"ERROR\nmessage:full\n\nqueue is full").unwrap_err();
        assert!(error.to_string().contains("full"), "{error}");
    }

    #[test]
    fn a_receipt_counts_once() {
        let book = Book::new(1);
        book.ask(7, 99);
        assert_eq!(book.settle(7), Some(99));
        assert_eq!(book.settle(7), None);
        assert_eq!(book.settle(8), None);
    }
}

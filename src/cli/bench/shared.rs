//! What the threads of one run tell each other: counts, the start and the end.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Barrier, Mutex, PoisonError};

use super::options::Load;
use super::stopwatch::Stopwatch;

/// State of a run. Counters are added to once for each write or read, never for each message.
#[derive(Debug)]
pub(crate) struct Shared<'a> {
    /// The load.
    pub(crate) load: &'a Load,
    /// Number that tells this run's messages from others.
    pub(crate) run: u32,
    /// The clock of the run.
    pub(crate) clock: Stopwatch,
    /// Opens when all producers are connected and the counters have been read.
    pub(crate) gate: Barrier,
    /// Consumers whose subscriptions are confirmed.
    pub(crate) ready: AtomicU64,
    started_ns: AtomicU64,
    sent: AtomicU64,
    received: AtomicU64,
    receipts: AtomicU64,
    stop: AtomicBool,
    abort: AtomicBool,
    failure: Mutex<Option<anyhow::Error>>,
}

impl<'a> Shared<'a> {
    /// State of a run that has not begun.
    #[must_use]
    pub(crate) fn new(load: &'a Load, run: u32) -> Self {
        Self {
            load,
            run,
            clock: Stopwatch::start(),
            gate: Barrier::new(usize::from(load.producers) + 1),
            ready: AtomicU64::new(0),
            started_ns: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            received: AtomicU64::new(0),
            receipts: AtomicU64::new(0),
            stop: AtomicBool::new(false),
            abort: AtomicBool::new(false),
            failure: Mutex::new(None),
        }
    }

    /// Sets the moment from which rates and intended times count.
    pub(crate) fn start(&self) {
        self.started_ns.store(self.clock.ns(), Ordering::Release);
    }

    /// That moment.
    #[must_use]
    pub(crate) fn started_ns(&self) -> u64 {
        self.started_ns.load(Ordering::Acquire)
    }

    /// Adds messages written.
    pub(crate) fn add_sent(&self, count: u64) {
        self.sent.fetch_add(count, Ordering::Relaxed);
    }

    /// Adds messages received for the first time.
    pub(crate) fn add_received(&self, count: u64) {
        self.received.fetch_add(count, Ordering::Relaxed);
    }

    /// Adds receipts received; only shows that something moves.
    pub(crate) fn add_receipts(&self, count: u64) {
        self.receipts.fetch_add(count, Ordering::Relaxed);
    }

    /// Messages written.
    #[must_use]
    pub(crate) fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Messages received for the first time, by all consumers.
    #[must_use]
    pub(crate) fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    /// A number that grows as long as anything moves.
    #[must_use]
    pub(crate) fn movement(&self) -> u64 {
        self.sent() + self.received() + self.receipts() + self.ready.load(Ordering::Relaxed)
    }

    /// Tells consumers that nothing more is to come.
    pub(crate) fn stop(&self) {
        self.stop.store(true, Ordering::Release);
    }

    /// Whether consumers should say good-bye.
    #[must_use]
    pub(crate) fn stopped(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }

    /// Receipts received by producers.
    pub(crate) fn receipts(&self) -> u64 {
        self.receipts.load(Ordering::Relaxed)
    }

    /// Passes a thread's result on; if it failed, keeps the reason (of the first to fail) and ends the run early.
    pub(crate) fn guard<T>(&self, result: anyhow::Result<T>) -> anyhow::Result<T> {
        result.map_err(|error| {
            let said = anyhow::anyhow!("{error:#}");
            let mut failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
            failure.get_or_insert(error);
            drop(failure);
            self.abort();
            said
        })
    }

    /// Why the first thread failed.
    pub(crate) fn first_failure(&self) -> Option<anyhow::Error> {
        self.failure
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }

    /// Ends the run early.
    pub(crate) fn abort(&self) {
        self.abort.store(true, Ordering::Release);
        self.stop();
    }

    /// Whether the run ends early.
    #[must_use]
    pub(crate) fn aborted(&self) -> bool {
        self.abort.load(Ordering::Acquire)
    }
}

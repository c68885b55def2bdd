//! Producers that wait: who, where, for what, since when, and how much of theirs.
//!
//! Written when a SEND has to wait and when it goes on, never for one that does not. The lock is innermost.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::broker::Destination;
use crate::broker::advisory::ConnectionFacts;
use crate::broker::governor::{Cause, Octets};

/// A wait that is over sooner is counted and not logged: a producer that is a little faster than its consumers begins one
/// many times a second.
const TOLD_AFTER_MS: u64 = 1000;

/// What a producer that begins to wait is about.
#[derive(Clone, Debug)]
pub struct Subject {
    /// The number of its connection.
    pub origin: u64,
    /// Its connection, once that has logged in.
    pub connection: Option<Arc<ConnectionFacts>>,
    /// Where its messages go.
    pub destinations: Vec<Destination>,
    /// The transaction, if it is one that waits.
    pub transaction: Option<String>,
    /// Milliseconds after which the log says again that it waits; 0: never.
    pub warning_interval_ms: u64,
}

/// A producer that waits, as others see it.
#[derive(Clone, Debug)]
pub struct WaitReport {
    /// The number of its connection.
    pub origin: u64,
    /// Its connection, once that has logged in.
    pub connection: Option<Arc<ConnectionFacts>>,
    /// Where its messages go.
    pub destinations: Vec<Destination>,
    /// The transaction, if it is one that waits.
    pub transaction: Option<String>,
    /// All that stands in its way.
    pub causes: Vec<Cause>,
    /// For how many milliseconds.
    pub waited_ms: u64,
    /// SENDs that wait, and commands of their transaction behind them.
    pub sends: u64,
    /// Their octets.
    pub bytes: u64,
}

impl WaitReport {
    /// The client id of its connection; empty before it has logged in.
    #[must_use]
    pub fn client_id(&self) -> &str {
        self.connection
            .as_ref()
            .map_or("", |known| &known.client_id)
    }

    /// Where its connection comes from; empty before it has logged in.
    #[must_use]
    pub fn remote(&self) -> &str {
        self.connection
            .as_ref()
            .map_or("", |known| &known.client_ip)
    }

    /// Where its messages go, in one line.
    #[must_use]
    pub fn target(&self) -> String {
        const SHOWN: usize = 3;
        let shown = self.destinations.iter().take(SHOWN);
        let shown: Vec<String> = shown.map(ToString::to_string).collect();
        match self.destinations.len().saturating_sub(SHOWN) {
            0 => shown.join(", "),
            more => format!("{} and {more} more", shown.join(", ")),
        }
    }

    /// What it waits for, in one line.
    #[must_use]
    pub fn cause(&self) -> String {
        let causes: Vec<String> = self.causes.iter().map(ToString::to_string).collect();
        causes.join("; ")
    }
}

/// Why the producer waits, in words.
impl fmt::Display for WaitReport {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            waited_ms, sends, ..
        } = self;
        let (target, bytes, cause) = (self.target(), Octets(self.bytes), self.cause());
        let what = match (&self.transaction, sends) {
            (Some(id), _) => format!("transaction {id}"),
            (None, 1) => "one SEND".to_owned(),
            (None, _) => format!("{sends} SENDs"),
        };
        let client = self.client_id();
        write!(
            out,
            "{what} of {client} ({bytes}) to {target} has been waiting for {waited_ms} ms: {cause}"
        )
    }
}

struct Waiting {
    subject: Subject,
    causes: Vec<Cause>,
    since_ms: u64,
    sends: u64,
    bytes: u64,
    /// When the log last told of it.
    told_ms: Option<u64>,
}

impl Waiting {
    fn report(&self, now_ms: u64) -> WaitReport {
        let Subject {
            origin,
            connection,
            destinations,
            transaction,
            ..
        } = self.subject.clone();
        WaitReport {
            origin,
            connection,
            destinations,
            transaction,
            causes: self.causes.clone(),
            waited_ms: now_ms.saturating_sub(self.since_ms),
            sends: self.sends,
            bytes: self.bytes,
        }
    }
}

/// All producers that wait.
#[derive(Default)]
pub struct Waits {
    /// By number, so in the order in which they began.
    list: Mutex<BTreeMap<u64, Waiting>>,
    began: AtomicU64,
    waited_ms: AtomicU64,
}

/// What the log has to say of a wait.
pub(super) enum Told {
    Begins(WaitReport),
    GoesOn(WaitReport),
}

impl Waits {
    fn list(&self) -> MutexGuard<'_, BTreeMap<u64, Waiting>> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A producer begins to wait; it does so until what is returned is let go of, at the time told last.
    #[must_use]
    pub fn begin(self: &Arc<Self>, now_ms: u64, subject: Subject, causes: Vec<Cause>) -> Wait {
        let id = self.began.fetch_add(1, Ordering::Relaxed);
        let waiting = Waiting {
            subject,
            causes,
            since_ms: now_ms,
            sends: 0,
            bytes: 0,
            told_ms: None,
        };
        self.list().insert(id, waiting);
        Wait {
            waits: Arc::clone(self),
            id,
            since_ms: now_ms,
            seen_ms: now_ms,
        }
    }

    /// All that wait now, the oldest first.
    #[must_use]
    pub fn reports(&self, now_ms: u64) -> Vec<WaitReport> {
        let list = self.list();
        list.values()
            .map(|waiting| waiting.report(now_ms))
            .collect()
    }

    /// How many wait now.
    #[must_use]
    pub fn len(&self) -> usize {
        self.list().len()
    }

    /// Whether nobody waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many waits there were so far, and how many milliseconds those took that are over.
    #[must_use]
    pub fn totals(&self) -> (u64, u64) {
        let read = |total: &AtomicU64| total.load(Ordering::Relaxed);
        (read(&self.began), read(&self.waited_ms))
    }

    /// What the log has to say now.
    pub(super) fn look(&self, now_ms: u64) -> Vec<Told> {
        let mut told = Vec::new();
        for waiting in self.list().values_mut() {
            let interval_ms = waiting.subject.warning_interval_ms;
            let say = match waiting.told_ms {
                None if now_ms.saturating_sub(waiting.since_ms) >= TOLD_AFTER_MS => Told::Begins,
                Some(at_ms) if interval_ms > 0 && now_ms.saturating_sub(at_ms) >= interval_ms => {
                    Told::GoesOn
                }
                _ => continue,
            };
            waiting.told_ms = Some(now_ms);
            told.push(say(waiting.report(now_ms)));
        }
        told
    }
}

/// A producer that waits, for as long as this lives.
pub struct Wait {
    waits: Arc<Waits>,
    id: u64,
    since_ms: u64,
    /// The last time that is known.
    seen_ms: u64,
}

impl Wait {
    /// Since when, in monotonic milliseconds.
    #[must_use]
    pub fn since_ms(&self) -> u64 {
        self.since_ms
    }

    /// Tells what it waits for now.
    pub fn set_causes(&mut self, causes: Vec<Cause>) {
        if let Some(waiting) = self.waits.list().get_mut(&self.id) {
            waiting.causes = causes;
        }
    }

    /// Tells how much waits, as of now.
    pub fn set_size(&mut self, now_ms: u64, sends: u64, bytes: u64) {
        self.seen_ms = now_ms;
        if let Some(waiting) = self.waits.list().get_mut(&self.id) {
            (waiting.sends, waiting.bytes) = (sends, bytes);
        }
    }

    /// Learns what time it is.
    pub fn set_now(&mut self, now_ms: u64) {
        self.seen_ms = now_ms;
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        let gone = self.waits.list().remove(&self.id);
        let waited_ms = self.seen_ms.saturating_sub(self.since_ms);
        self.waits.waited_ms.fetch_add(waited_ms, Ordering::Relaxed);
        if let Some(waiting) = gone.filter(|waiting| waiting.told_ms.is_some()) {
            let report = waiting.report(self.seen_ms);
            tracing::info!(
                destination = report.target(),
                client_id = report.client_id(),
                remote = report.remote(),
                transaction = report.transaction,
                waited_ms,
                "a producer waits no more"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subject(warning_interval_ms: u64) -> Subject {
        Subject {
            origin: 7,
            connection: None,
            destinations: ["a", "b", "c", "d", "e"].map(Destination::queue).into(),
            transaction: None,
            warning_interval_ms,
        }
    }

    #[test]
    fn a_wait_is_told_when_it_lasts_and_then_at_its_interval() {
        let waits = Arc::new(Waits::default());
        let often = waits.begin(1000, subject(500), vec![Cause::Behind]);
        let once = waits.begin(1000, subject(0), vec![Cause::Behind]);
        let look = |now_ms| {
            let told = waits.look(now_ms).into_iter().map(|told| match told {
                Told::Begins(_) => 'b',
                Told::GoesOn(_) => 'g',
            });
            told.collect::<String>()
        };
        assert_eq!((look(1999), look(2000)), (String::new(), "bb".to_owned()));
        assert_eq!((look(2499), look(2500)), (String::new(), "g".to_owned()));
        assert_eq!(look(99_999), "g");
        drop((often, once));
        assert_eq!(look(999_999), "");
        assert!(waits.is_empty());
        assert_eq!(waits.totals(), (2, 0));
    }

    #[test]
    fn a_report_says_who_waits_where_for_what() {
        let waits = Arc::new(Waits::default());
        let mut wait = waits.begin(1000, subject(0), vec![Cause::Behind]);
        wait.set_size(1200, 2, 2048);
        let report = waits.reports(1500).remove(0);
        assert_eq!(report.waited_ms, 500);
        assert_eq!(
            report.to_string(),
            "2 SENDs of  (2 KiB) to /queue/a, /queue/b, /queue/c and 2 more has been waiting for 500 ms: \
             a message before it waits"
        );
        drop(wait);
        assert_eq!(waits.totals(), (1, 200));
    }
}

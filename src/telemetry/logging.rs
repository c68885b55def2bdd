//! The log: lines on standard error, for people or as JSON, and a brake for events that repeat.
//!
//! - error: an operator must act; warn: may have to; info: life cycle; debug: per connection; trace: per frame.
//! - Never bodies or credentials.

use std::io::{self, IsTerminal};
use std::sync::atomic::{AtomicU64, Ordering};

use thiserror::Error;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};

use crate::config::LogFormat;

/// Why the log could not be set up.
#[derive(Debug, Error)]
pub enum LoggingError {
    /// The filter is not understood.
    #[error("the log filter {filter:?} is not understood")]
    Filter {
        /// The filter as it was written.
        filter: String,
        /// What is wrong with it.
        source: ParseError,
    },
    /// The process has a log already.
    #[error("the process has a log already")]
    Taken(#[from] TryInitError),
}

/// Sets the log of this process up: lines on standard error.
///
/// # Errors
/// If the filter is not understood, or the process has a log already.
pub fn init(filter: &str, format: LogFormat) -> Result<(), LoggingError> {
    subscriber(filter, format, io::stderr, io::stderr().is_terminal())?.try_init()?;
    Ok(())
}

type Subscriber = Box<dyn tracing::Subscriber + Send + Sync>;

fn subscriber<W>(
    filter: &str,
    format: LogFormat,
    writer: W,
    colours: bool,
) -> Result<Subscriber, LoggingError>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let filter = EnvFilter::builder()
        .parse(filter)
        .map_err(|source| LoggingError::Filter {
            filter: filter.to_owned(),
            source,
        })?;
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(writer)
        .with_ansi(colours);
    Ok(match format {
        LogFormat::Human => Box::new(lines.finish()),
        LogFormat::Json => Box::new(lines.json().flatten_event(true).finish()),
    })
}

/// A brake for an event that may repeat without end: lets one through per interval and counts the rest.
///
/// ```
/// # use ferrymq::telemetry::logging::Repeats;
/// let refused = Repeats::every_ms(1_000);
/// assert_eq!(refused.pass(5_000), Some(0)); // say it
/// assert_eq!(refused.pass(5_400), None); // count it
/// assert_eq!(refused.pass(6_000), Some(1)); // say it, and that it came once more in between
/// ```
#[derive(Debug)]
pub struct Repeats {
    interval_ms: u64,
    /// When the next may pass.
    due_ms: AtomicU64,
    suppressed: AtomicU64,
}

impl Repeats {
    /// Lets one event through every so many milliseconds.
    #[must_use]
    pub const fn every_ms(interval_ms: u64) -> Self {
        Self {
            interval_ms,
            due_ms: AtomicU64::new(0),
            suppressed: AtomicU64::new(0),
        }
    }

    /// Asks whether an event at this monotonic time may be told; if so, gives how many were not since the last.
    pub fn pass(&self, now_ms: u64) -> Option<u64> {
        let due_ms = self.due_ms.load(Ordering::Relaxed);
        let next_ms = now_ms.saturating_add(self.interval_ms);
        // Of several threads that come at once, the one that moves the due time tells.
        let told = now_ms >= due_ms
            && self
                .due_ms
                .compare_exchange(due_ms, next_ms, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok();
        if told {
            Some(self.suppressed.swap(0, Ordering::Relaxed))
        } else {
            self.suppressed.fetch_add(1, Ordering::Relaxed);
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Page(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Page {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0
                .lock()
                .expect("no writer panics")
                .extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn written(filter: &str, format: LogFormat) -> String {
        let page = Page::default();
        let writer = page.clone();
        let subscriber =
            subscriber(filter, format, move || writer.clone(), false).expect("the filter is right");
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!(destination = "/queue/a", "queue created");
            tracing::debug!("not at this level");
        });
        let bytes = page.0.lock().expect("no writer panics").clone();
        String::from_utf8(bytes).expect("the log is UTF-8")
    }

    #[test]
    fn json_lines_hold_the_fields() {
        let text = written("info", LogFormat::Json);
        let line: serde_json::Value = serde_json::from_str(&text).expect("one line of JSON");
        assert_eq!(line["level"], "INFO");
        assert_eq!(line["message"], "queue created");
        assert_eq!(line["destination"], "/queue/a");
    }

    #[test]
    fn human_lines_hold_the_fields_and_the_level_decides() {
        let text = written("info", LogFormat::Human);
        assert!(
            text.contains("INFO") && text.contains("queue created destination=\"/queue/a\""),
            "{text}"
        );
        assert_eq!(text.lines().count(), 1);
        assert_eq!(written("warn", LogFormat::Human), "");
    }

    #[test]
    fn a_filter_that_is_not_understood_is_an_error() {
        assert!(matches!(
            subscriber("ferrymq=loud", LogFormat::Human, io::sink, false),
            Err(LoggingError::Filter { .. })
        ));
    }

    #[test]
    fn threads_at_once_tell_once() {
        let repeats = Repeats::every_ms(10);
        let told: usize = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4)
                .map(|_| scope.spawn(|| repeats.pass(100).is_some()))
                .collect();
            threads
                .into_iter()
                .map(|thread| usize::from(thread.join().expect("no panic")))
                .sum()
        });
        assert_eq!(told, 1);
        assert_eq!(repeats.pass(110), Some(3));
    }
}

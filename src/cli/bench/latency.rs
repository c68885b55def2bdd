//! Distributions of waiting times.

use std::fmt;

use hdrhistogram::Histogram;
use serde::Serialize;

/// An hour: nothing waits longer in a measurement.
const MAX_NS: u64 = 3_600_000_000_000;

/// A histogram of nanoseconds, exact to three digits.
///
/// # Errors
/// Never with these bounds.
pub(crate) fn histogram() -> anyhow::Result<Histogram<u64>> {
    Ok(Histogram::new_with_max(MAX_NS, 3)?)
}

/// A distribution of times, in microseconds.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Latency {
    /// Half were faster.
    pub p50_us: f64,
    /// One in a hundred was slower.
    pub p99_us: f64,
    /// One in a thousand was slower.
    pub p999_us: f64,
    /// The slowest.
    pub(crate) max_us: f64,
}

impl Latency {
    /// Reads the percentiles off a histogram of nanoseconds.
    #[must_use]
    pub(crate) fn of(histogram: &Histogram<u64>) -> Self {
        let at = |quantile| histogram.value_at_quantile(quantile) as f64 / 1e3;
        Self {
            p50_us: at(0.5),
            p99_us: at(0.99),
            p999_us: at(0.999),
            max_us: histogram.max() as f64 / 1e3,
        }
    }
}

impl fmt::Display for Latency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "p50 {:.1}  p99 {:.1}  p99.9 {:.1}  max {:.1} µs",
            self.p50_us, self.p99_us, self.p999_us, self.max_us
        )
    }
}

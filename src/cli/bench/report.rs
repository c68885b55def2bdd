//! What a run has shown: one object, as JSON or as a table for people.

use std::fmt;

use serde::Serialize;

use super::latency::Latency;
use super::process::Cpu;
use super::verify::Faults;

/// The result of one run.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Report {
    /// The broker's address.
    pub(crate) address: String,
    /// The (first) destination.
    pub(crate) destination: String,
    /// What producers did, until the broker had confirmed everything.
    pub(crate) sent: Flow,
    /// What consumers did, until the last message came; copies of topics count each.
    pub(crate) received: Flow,
    /// Receipts that producers got.
    pub(crate) receipts: u64,
    /// From the intended time of sending to the consumer's read.
    pub(crate) latency: Option<Latency>,
    /// From the intended time of sending to the RECEIPT.
    pub(crate) receipt_latency: Option<Latency>,
    /// The broker's own cost, over the whole run, for each message sent.
    pub(crate) broker: Option<Broker>,
    /// The same for the second phase of `--drain` alone.
    pub(crate) broker_draining: Option<Broker>,
    /// What went wrong.
    pub(crate) faults: Faults,
}

/// A number of messages and how fast they went.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Flow {
    /// Messages.
    pub(crate) messages: u64,
    /// Time they took.
    pub(crate) seconds: f64,
    /// Messages a second.
    pub(crate) msgs_per_s: f64,
    /// Millions of octets of body a second.
    pub(crate) mb_per_s: f64,
    /// The generator's own CPU time for each message.
    pub(crate) own_cpu_us_per_msg: f64,
}

impl Flow {
    /// Computes the rates.
    #[must_use]
    pub(crate) fn new(messages: u64, size: usize, ns: u64, cpu_ns: u64) -> Self {
        let seconds = ns as f64 / 1e9;
        let msgs_per_s = if ns == 0 {
            0.0
        } else {
            messages as f64 / seconds
        };
        let own_cpu_us_per_msg = if messages == 0 {
            0.0
        } else {
            cpu_ns as f64 / 1e3 / messages as f64
        };
        Self {
            messages,
            seconds,
            msgs_per_s,
            mb_per_s: msgs_per_s * size as f64 / 1e6,
            own_cpu_us_per_msg,
        }
    }
}

/// What the broker's process has cost.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Broker {
    /// Its process id.
    pub(crate) pid: u32,
    /// User and system time for each message, in and out.
    pub(crate) cpu_us_per_msg: f64,
    /// User and system time in all.
    pub(crate) cpu_seconds: f64,
    /// The figure comes from a counter of 10 ms, because threads of the broker ended meanwhile.
    pub(crate) cpu_coarse: bool,
    /// Peak resident memory since the process began.
    pub(crate) rss_peak_bytes: u64,
    /// Resident memory at the end.
    pub(crate) rss_bytes: u64,
}

impl Broker {
    /// Spreads the CPU time over the messages.
    #[must_use]
    pub(crate) fn new(
        pid: u32,
        cpu: Cpu,
        messages: u64,
        rss_peak_bytes: u64,
        rss_bytes: u64,
    ) -> Self {
        let cpu_us_per_msg = if messages == 0 {
            0.0
        } else {
            cpu.ns as f64 / 1e3 / messages as f64
        };
        Self {
            pid,
            cpu_us_per_msg,
            cpu_seconds: cpu.ns as f64 / 1e9,
            cpu_coarse: cpu.coarse,
            rss_peak_bytes,
            rss_bytes,
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} {}", self.address, self.destination)?;
        for (name, flow) in [("sent", &self.sent), ("received", &self.received)] {
            if flow.messages > 0 {
                write!(
                    f,
                    "  {name:<16}{:>12} msgs {:>9.3} s",
                    grouped(flow.messages as f64),
                    flow.seconds
                )?;
                write!(
                    f,
                    " {:>12} msgs/s {:>9.1} MB/s",
                    grouped(flow.msgs_per_s),
                    flow.mb_per_s
                )?;
                writeln!(f, "   generator {:.3} µs/msg", flow.own_cpu_us_per_msg)?;
            }
        }
        for (name, latency) in [
            ("latency", &self.latency),
            ("receipt latency", &self.receipt_latency),
        ] {
            if let Some(l) = latency {
                write!(f, "  {name:<16}p50 {:.1}  p99 {:.1}", l.p50_us, l.p99_us)?;
                writeln!(f, "  p99.9 {:.1}  max {:.1} µs", l.p999_us, l.max_us)?;
            }
        }
        for (name, broker) in [
            ("broker", &self.broker),
            ("  draining", &self.broker_draining),
        ] {
            if let Some(b) = broker {
                write!(
                    f,
                    "  {name:<16}{:.3} µs CPU/msg{}",
                    b.cpu_us_per_msg,
                    if b.cpu_coarse {
                        " (± 10 ms in all)"
                    } else {
                        ""
                    }
                )?;
                let mib = |bytes: u64| bytes as f64 / 1024.0 / 1024.0;
                writeln!(
                    f,
                    "  {:.2} s CPU  RSS {:.1} MiB (peak {:.1})",
                    b.cpu_seconds,
                    mib(b.rss_bytes),
                    mib(b.rss_peak_bytes)
                )?;
            }
        }
        let x = &self.faults;
        if x.none() {
            write!(
                f,
                "  {:<16}nothing lost, duplicated or out of order",
                "verified"
            )?;
        } else {
            write!(
                f,
                "  {:<16}{} lost, {} duplicated, {} out of order",
                "FAULTS", x.lost, x.duplicated, x.out_of_order
            )?;
            write!(f, ", {} never sent", x.unexpected)?;
        }
        for (count, what) in [
            (x.redelivered, "marked redelivered"),
            (x.foreign, "from another run"),
        ] {
            if count > 0 {
                write!(f, "; {count} {what}")?;
            }
        }
        writeln!(f)
    }
}

/// A whole number with its thousands set apart.
#[must_use]
pub(crate) fn grouped(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_set_apart() {
        for (value, text) in [
            (0.0, "0"),
            (999.0, "999"),
            (1000.0, "1,000"),
            (1_234_567.4, "1,234,567"),
        ] {
            assert_eq!(grouped(value), text);
        }
    }
}

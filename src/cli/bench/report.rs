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
                writeln!(f, "  {name:<16}{flow}")?;
            }
        }
        for (name, latency) in [
            ("latency", &self.latency),
            ("receipt latency", &self.receipt_latency),
        ] {
            if let Some(latency) = latency {
                writeln!(f, "  {name:<16}{latency}")?;
            }
        }
        for (name, broker) in [
            ("broker", &self.broker),
            ("  draining", &self.broker_draining),
        ] {
            if let Some(broker) = broker {
                writeln!(f, "  {name:<16}{broker}")?;
            }
        }
        let verdict = match (self.received.messages, self.faults.none()) {
            (0, true) => "not verified",
            (_, true) => "verified",
            (_, false) => "FAULTS",
        };
        writeln!(f, "  {verdict:<16}{}", self.faults)
    }
}

impl fmt::Display for Flow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (messages, rate) = (grouped(self.messages as f64), grouped(self.msgs_per_s));
        write!(
            f,
            "{messages:>12} msgs {:>9.3} s {rate:>12} msgs/s",
            self.seconds
        )?;
        write!(
            f,
            " {:>9.1} MB/s   generator {:.3} µs/msg",
            self.mb_per_s, self.own_cpu_us_per_msg
        )
    }
}

impl fmt::Display for Broker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mib = |bytes: u64| bytes as f64 / 1024.0 / 1024.0;
        let coarse = if self.cpu_coarse {
            " (± 10 ms in all)"
        } else {
            ""
        };
        write!(
            f,
            "{:.3} µs CPU/msg{coarse}  {:.2} s CPU",
            self.cpu_us_per_msg, self.cpu_seconds
        )?;
        write!(
            f,
            "  RSS {:.1} MiB (peak {:.1})",
            mib(self.rss_bytes),
            mib(self.rss_peak_bytes)
        )
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

//! What a load consists of: the arguments that `bench run` and `bench versus` have in common.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use anyhow::{bail, ensure};
use clap::ValueEnum;

use super::stamp;
use crate::cli::client::ConnectArgs;

/// How consumers acknowledge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum AckMode {
    /// The broker counts a message as consumed when it has sent it
    Auto,
    /// One cumulative ACK for each read of the socket
    Client,
    /// One ACK for each message
    ClientIndividual,
}

impl AckMode {
    /// The value of SUBSCRIBE's `ack` header.
    #[must_use]
    pub(crate) fn header(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Client => "client",
            Self::ClientIndividual => "client-individual",
        }
    }
}

/// A load: who sends what, how much of it, and what is measured beside it.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Load")]
pub(crate) struct Load {
    #[command(flatten)]
    pub(crate) connect: ConnectArgs,
    /// Send to this queue, or to NAME0000, NAME0001 ... if there are several destinations
    #[arg(
        long,
        value_name = "NAME",
        default_value = "bench",
        conflicts_with = "topic"
    )]
    pub(crate) queue: String,
    /// Send to this topic instead: every consumer must get every message
    #[arg(long, value_name = "NAME")]
    pub(crate) topic: Option<String>,
    /// Number of destinations; producers take turns over all of them, consumers share them out
    #[arg(long, short = 'D', value_name = "D", default_value_t = 1)]
    pub(crate) destinations: u16,
    /// Producers, one connection each
    #[arg(long, short = 'P', value_name = "P", default_value_t = 1)]
    pub(crate) producers: u16,
    /// Consumers, one connection each; 0: only produce
    #[arg(long, short = 'C', value_name = "C", default_value_t = 1)]
    pub(crate) consumers: u16,
    /// Body size in octets (at least 40; k and m for KiB and MiB)
    #[arg(long, value_name = "BYTES", default_value = "100")]
    pub(crate) size: Size,
    /// Messages to send, all producers together [default: 1,000,000 unless --seconds is given]
    #[arg(long, value_name = "N", conflicts_with = "seconds")]
    pub(crate) count: Option<u64>,
    /// Seconds to send for, instead of a number of messages
    #[arg(long, value_name = "S")]
    pub(crate) seconds: Option<f64>,
    /// Messages sent and received the same way before the measurement, to warm the broker up
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) warmup: u64,
    /// Mark messages persistent
    #[arg(long)]
    pub(crate) persistent: bool,
    /// Ask a receipt for every SEND (for every COMMIT with --tx), at most WINDOW outstanding for each producer; 0: no receipts
    #[arg(long, value_name = "WINDOW", default_value_t = 0)]
    pub(crate) receipts: u32,
    /// Send in transactions of N messages
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) tx: u32,
    /// Messages a second, all producers together: an open loop, latency counts from the intended time of sending
    #[arg(long, value_name = "MSGS_PER_S")]
    pub(crate) rate: Option<f64>,
    /// At most N messages sent and not yet received (all together), so that no backlog builds up; 0: no bound
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) backlog: u64,
    /// How consumers acknowledge
    #[arg(long, value_enum, default_value = "auto")]
    pub(crate) ack: AckMode,
    /// Ask a receipt for every ACK, and wait for all of them at the end
    #[arg(long)]
    pub(crate) ack_receipts: bool,
    /// Prefetch (credit) of each subscription
    #[arg(long, value_name = "N")]
    pub(crate) prefetch: Option<u32>,
    /// The header by which the broker takes the prefetch
    #[arg(long, value_name = "NAME", default_value = "activemq.prefetchSize")]
    pub(crate) prefetch_header: String,
    /// First produce everything, then consume it: two measurements
    #[arg(long, conflicts_with_all = ["topic", "rate", "backlog"])]
    pub(crate) drain: bool,
    /// Leave content-length out, so that brokers take the body for text
    #[arg(long)]
    pub(crate) text: bool,
    /// The address is a `ferrymq bench relay`: send what a broker would deliver
    #[arg(long)]
    pub(crate) relay: bool,
    /// Octets of one write (frames are written together up to this size)
    #[arg(long, value_name = "BYTES", default_value = "128k")]
    pub(crate) write_size: Size,
    /// Give up when nothing moved for that many seconds
    #[arg(long, value_name = "S", default_value_t = 15.0)]
    pub(crate) patience: f64,
    /// Process whose CPU time and memory are reported: the broker's, if it runs here
    #[arg(long, value_name = "PID")]
    pub(crate) pid: Option<u32>,
}

/// When producers stop.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Length {
    /// After that many messages of all producers together.
    Count(u64),
    /// After that time.
    Time(Duration),
}

impl Load {
    /// When producers stop.
    #[must_use]
    pub(crate) fn length(&self) -> Length {
        match (self.count, self.seconds) {
            (Some(count), _) => Length::Count(count),
            (None, Some(seconds)) => Length::Time(Duration::from_secs_f64(seconds)),
            (None, None) => Length::Count(1_000_000),
        }
    }

    /// Refuses combinations that would measure nothing or something else than they say.
    ///
    /// # Errors
    /// Says which options do not go together.
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        ensure!(
            self.size.0 >= stamp::LEN,
            "--size {} is too small: the stamp of a message takes {} octets",
            self.size.0,
            stamp::LEN
        );
        ensure!(self.destinations > 0, "--destinations must be at least 1");
        ensure!(
            self.producers > 0 || self.consumers > 0,
            "neither producers nor consumers"
        );
        ensure!(
            self.producers > 0 || self.count.is_some(),
            "without producers, --count must say how many messages to wait for"
        );
        ensure!(
            !self.drain || self.consumers > 0,
            "--drain needs a consumer"
        );
        ensure!(
            self.backlog == 0 || self.consumers > 0,
            "--backlog needs a consumer"
        );
        ensure!(
            self.seconds.is_none_or(|s| s > 0.0 && s < 1e6),
            "--seconds must be above 0"
        );
        ensure!(
            self.rate.is_none_or(|r| r > 0.0 && r <= 1e8),
            "--rate must be above 0"
        );
        ensure!(
            self.rate.is_none() || self.tx == 0,
            "--rate and --tx do not go together"
        );
        ensure!(
            self.rate.is_none() || self.producers > 0,
            "--rate needs a producer"
        );
        ensure!(
            !self.ack_receipts || self.ack != AckMode::Auto,
            "--ack-receipts needs --ack client or client-individual"
        );
        if self.relay {
            let plain = self.producers == 1
                && self.consumers == 1
                && self.destinations == 1
                && self.topic.is_none();
            ensure!(
                plain,
                "the relay carries one producer, one consumer and one queue"
            );
            ensure!(
                self.receipts == 0 && self.tx == 0 && self.ack == AckMode::Auto,
                "the relay knows no receipts, transactions or ACKs"
            );
            ensure!(
                !self.drain,
                "the relay keeps nothing, so there is nothing to drain"
            );
        }
        Ok(())
    }

    /// The name of destination `index` as it stands in frames. All names have the same length.
    #[must_use]
    pub(crate) fn destination(&self, index: u16) -> String {
        let (kind, name) = self
            .topic
            .as_ref()
            .map_or(("queue", &self.queue), |topic| ("topic", topic));
        if self.destinations == 1 {
            format!("/{kind}/{name}")
        } else {
            format!("/{kind}/{name}{index:04x}")
        }
    }

    /// The destinations consumer `consumer` subscribes to.
    #[must_use]
    pub(crate) fn share_of(&self, consumer: u16) -> Vec<u16> {
        if self.consumers >= self.destinations {
            return vec![consumer % self.destinations];
        }
        (0..self.destinations)
            .filter(|d| d % self.consumers == consumer)
            .collect()
    }

    /// How many times each message of `destination` is to be received, by different consumers.
    #[must_use]
    pub(crate) fn copies_of(&self, destination: u16) -> u64 {
        if self.topic.is_none() {
            return u64::from(self.consumers > 0);
        }
        (0..self.consumers)
            .map(|c| u64::from(self.share_of(c).contains(&destination)))
            .sum()
    }
}

/// A number of octets: `100`, `16k`, `1m`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Size(pub(crate) usize);

impl FromStr for Size {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let lower = text.to_ascii_lowercase();
        let digits = lower.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        let unit = match &lower[digits.len()..] {
            "" | "b" => 1,
            "k" | "kb" | "kib" => 1024,
            "m" | "mb" | "mib" => 1024 * 1024,
            unit => bail!("unknown unit {unit:?}"),
        };
        let number: usize = digits.trim().parse()?;
        Ok(Self(number.saturating_mul(unit).min(256 * 1024 * 1024)))
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

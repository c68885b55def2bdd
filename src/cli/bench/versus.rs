//! Compares brokers with the limits of the machine, in one run.
//!
//! Absolute figures of a shared machine drift from minute to minute, so nothing is compared across runs: each round measures the
//! bare relay, every broker and, for durable loads, the disk, one right after the other. Ratios are formed within a round; what is
//! shown is their median over the rounds with the smallest and the largest beside it.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::str::FromStr;
use std::thread;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use serde::Serialize;

use super::options::{AckMode, Load};
use super::report::Report;
use super::{scenario, sync};

/// The relay carries at least that many octets of body in each round.
const RELAY_BYTES_MIN: u64 = 200_000_000;

/// Arguments of `ferrymq bench versus`.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) load: Load,
    /// A further broker, such as artemis=127.0.0.1:61613,pid=71,login=admin,passcode=admin,host=/,prefetch-header=credit
    #[arg(long, value_name = "NAME=HOST:PORT,...")]
    pub(crate) also: Vec<Target>,
    /// What to call the broker of --addr
    #[arg(long, value_name = "NAME", default_value = "broker")]
    pub(crate) name: String,
    /// Rounds; each measures everything once
    #[arg(long, value_name = "N", default_value_t = 5)]
    pub(crate) runs: u32,
    /// Leave the bare relay out
    #[arg(long)]
    pub(crate) no_relay: bool,
    /// Measure write + fdatasync in this directory too, with as many messages in a batch as receipts may be outstanding
    #[arg(long, value_name = "DIR")]
    pub(crate) sync_dir: Option<PathBuf>,
    /// Seconds of rest before each measurement
    #[arg(long, value_name = "S", default_value_t = 0.5)]
    pub(crate) rest: f64,
    /// Print one JSON object instead of a table
    #[arg(long)]
    pub(crate) json: bool,
}

/// A broker beside that of `--addr`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Target {
    name: String,
    addr: String,
    pid: Option<u32>,
    login: Option<String>,
    passcode: Option<String>,
    host: Option<String>,
    prefetch_header: Option<String>,
}

impl FromStr for Target {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, rest) = text.split_once('=').context("expected NAME=HOST:PORT")?;
        let mut parts = rest.split(',');
        let addr = parts.next().unwrap_or_default().to_owned();
        let mut target = Self {
            name: name.to_owned(),
            addr,
            ..Self::default()
        };
        for part in parts {
            let (key, value) = part
                .split_once('=')
                .with_context(|| format!("expected key=value, not {part:?}"))?;
            let value = value.to_owned();
            match key {
                "pid" => {
                    target.pid = Some(
                        value
                            .parse()
                            .with_context(|| format!("{value:?} is no process id"))?,
                    )
                }
                "login" => target.login = Some(value),
                "passcode" => target.passcode = Some(value),
                "host" => target.host = Some(value),
                "prefetch-header" => target.prefetch_header = Some(value),
                _ => bail!("unknown key {key:?}: pid, login, passcode, host or prefetch-header"),
            }
        }
        Ok(target)
    }
}

impl Target {
    /// The load, aimed at this broker.
    fn aim(&self, load: &Load) -> Load {
        let mut load = load.clone();
        load.connect.addr.clone_from(&self.addr);
        load.connect.login.clone_from(&self.login);
        load.connect.passcode.clone_from(&self.passcode);
        load.connect.host.clone_from(&self.host);
        load.pid = self.pid;
        if let Some(header) = &self.prefetch_header {
            load.prefetch_header.clone_from(header);
        }
        load
    }
}

/// The figures of one measurement by name.
type Figures = BTreeMap<&'static str, f64>;

/// A median with its range.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
struct Spread {
    median: f64,
    min: f64,
    max: f64,
}

impl Spread {
    fn of(values: impl Iterator<Item = f64>) -> Option<Self> {
        let mut sorted: Vec<f64> = values.filter(|value| value.is_finite()).collect();
        sorted.sort_by(f64::total_cmp);
        let (min, max) = (*sorted.first()?, *sorted.last()?);
        let middle = sorted.len() / 2;
        let median = if sorted.len() % 2 == 1 {
            sorted[middle]
        } else {
            f64::midpoint(sorted[middle - 1], sorted[middle])
        };
        Some(Self { median, min, max })
    }
}

/// Everything measured about one subject, round by round.
#[derive(Debug, Serialize)]
struct Subject {
    name: String,
    #[serde(skip)]
    rounds: Vec<Figures>,
    figures: BTreeMap<&'static str, Spread>,
    to_relay: BTreeMap<&'static str, Spread>,
    to_disk: BTreeMap<&'static str, Spread>,
    faulty_rounds: u32,
}

/// Measures all rounds and prints the comparison.
///
/// # Errors
/// If a measurement fails or a broker lost, duplicated or reordered messages.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    ensure!(args.runs > 0, "--runs must be at least 1");
    args.load.check()?;
    let relay = if args.no_relay {
        None
    } else {
        Some(Relay::start()?)
    };
    let mut subjects: Vec<(Subject, Option<Load>)> = Vec::new();
    if let Some(relay) = &relay {
        subjects.push((Subject::new("relay"), Some(relay.load(&args.load))));
    }
    if args.sync_dir.is_some() {
        subjects.push((Subject::new("disk"), None));
    }
    subjects.push((Subject::new(&args.name), Some(args.load.clone())));
    subjects.extend(
        args.also
            .iter()
            .map(|target| (Subject::new(&target.name), Some(target.aim(&args.load)))),
    );
    for round in 0..args.runs {
        for (subject, load) in &mut subjects {
            thread::sleep(Duration::from_secs_f64(args.rest));
            let figures = match load {
                Some(load) => subject
                    .measure(load)
                    .with_context(|| format!("{} in round {}", subject.name, round + 1))?,
                None => disk(args)?,
            };
            subject.rounds.push(figures);
            if let Some(load) = load {
                load.warmup = 0; // once is enough
            }
        }
    }
    let subjects = evaluate(subjects.into_iter().map(|(subject, _)| subject).collect());
    print(args, &subjects)?;
    ensure!(
        subjects.iter().all(|s| s.faulty_rounds == 0),
        "a broker lost, duplicated or reordered messages"
    );
    Ok(())
}

impl Subject {
    fn new(name: &str) -> Self {
        let empty = BTreeMap::new;
        Self {
            name: name.to_owned(),
            rounds: Vec::new(),
            figures: empty(),
            to_relay: empty(),
            to_disk: empty(),
            faulty_rounds: 0,
        }
    }

    fn measure(&mut self, load: &Load) -> anyhow::Result<Figures> {
        let report = scenario::run(load)?;
        self.faulty_rounds += u32::from(!report.faults.none());
        Ok(figures(&report, load))
    }

    fn ratios(&self, base: &Self) -> BTreeMap<&'static str, Spread> {
        let names = self
            .figures
            .keys()
            .filter(|name| base.figures.contains_key(*name));
        let ratio = |name: &&'static str| {
            let pairs = self
                .rounds
                .iter()
                .zip(&base.rounds)
                .filter_map(|(ours, theirs)| Some(ours.get(name)? / theirs.get(name)?));
            Some((*name, Spread::of(pairs)?))
        };
        names.filter_map(ratio).collect()
    }
}

fn figures(report: &Report, load: &Load) -> Figures {
    let mut figures = Figures::new();
    figures.insert("sent msgs/s", report.sent.msgs_per_s);
    if load.consumers > 0 {
        figures.insert("msgs/s", report.received.msgs_per_s);
    }
    if load.persistent && load.receipts > 0 {
        figures.insert("durable msgs/s", report.sent.msgs_per_s);
    }
    if let Some(latency) = &report.latency {
        figures.extend([
            ("p50 µs", latency.p50_us),
            ("p99 µs", latency.p99_us),
            ("p99.9 µs", latency.p999_us),
        ]);
    }
    if let Some(latency) = &report.receipt_latency {
        figures.extend([
            ("receipt p50 µs", latency.p50_us),
            ("receipt p99 µs", latency.p99_us),
        ]);
    }
    if let Some(broker) = &report.broker {
        figures.insert("CPU µs/msg", broker.cpu_us_per_msg);
        figures.insert(
            "RSS peak MiB",
            broker.rss_peak_bytes as f64 / 1024.0 / 1024.0,
        );
    }
    figures.insert(
        "generator µs/msg",
        report.sent.own_cpu_us_per_msg + report.received.own_cpu_us_per_msg,
    );
    figures
}

fn disk(args: &Args) -> anyhow::Result<Figures> {
    let dir = args.sync_dir.as_ref().context("--sync-dir is missing")?;
    let window = args
        .load
        .receipts
        .max(1)
        .saturating_mul(args.load.tx.max(1));
    let limit = sync::measure(dir, args.load.size, window, 1.0)?;
    Ok(Figures::from([
        ("durable msgs/s", limit.prepared_msgs_per_s),
        ("growing msgs/s", limit.growing_msgs_per_s),
    ]))
}

fn evaluate(mut subjects: Vec<Subject>) -> Vec<Subject> {
    for subject in &mut subjects {
        let names: Vec<&'static str> = subject
            .rounds
            .iter()
            .flat_map(|round| round.keys().copied())
            .collect();
        for name in names {
            let spread = Spread::of(
                subject
                    .rounds
                    .iter()
                    .filter_map(|round| round.get(name).copied()),
            );
            subject.figures.extend(spread.map(|spread| (name, spread)));
        }
    }
    let compared = |base: &str, at: usize| {
        let base = subjects
            .iter()
            .position(|s| s.name == base)
            .filter(|base| *base != at)?;
        Some(subjects[at].ratios(&subjects[base]))
    };
    let ratios: Vec<_> = (0..subjects.len())
        .map(|at| (compared("relay", at), compared("disk", at)))
        .collect();
    for (subject, (to_relay, to_disk)) in subjects.iter_mut().zip(ratios) {
        subject.to_relay = to_relay.unwrap_or_default();
        subject.to_disk = to_disk.unwrap_or_default();
    }
    subjects
}

fn print(args: &Args, subjects: &[Subject]) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    if args.json {
        writeln!(
            out,
            "{}",
            serde_json::json!({ "runs": args.runs, "size": args.load.size.0, "subjects": subjects })
        )?;
        return Ok(());
    }
    writeln!(
        out,
        "{} rounds of {} octets; median (min .. max), and the ratio to the relay or the disk",
        args.runs, args.load.size
    )?;
    for subject in subjects {
        let faulty = subject.faulty_rounds;
        let note = if faulty > 0 {
            format!("   FAULTS in {faulty} rounds")
        } else {
            String::new()
        };
        writeln!(out, "{}{note}", subject.name)?;
        for (name, value) in &subject.figures {
            write!(
                out,
                "  {name:<18}{:>14} ({} .. {})",
                short(value.median),
                short(value.min),
                short(value.max)
            )?;
            for (base, ratios) in [("relay", &subject.to_relay), ("disk", &subject.to_disk)] {
                if let Some(r) = ratios.get(name) {
                    write!(
                        out,
                        "   {} x {base} ({} .. {})",
                        short(r.median),
                        short(r.min),
                        short(r.max)
                    )?;
                }
            }
            writeln!(out)?;
        }
    }
    Ok(())
}

/// Three or four significant digits.
fn short(value: f64) -> String {
    match value {
        v if v >= 1000.0 => super::report::grouped(v),
        v if v >= 100.0 => format!("{v:.0}"),
        v if v >= 10.0 => format!("{v:.1}"),
        v if v >= 1.0 => format!("{v:.2}"),
        v => format!("{v:.3}"),
    }
}

/// The relay as a child process, ended when this is dropped.
struct Relay {
    child: Child,
    addr: String,
}

impl Relay {
    fn start() -> anyhow::Result<Self> {
        let program = std::env::current_exe().context("cannot find the own executable")?;
        let child = Command::new(program)
            .args(["bench", "relay", "--end-with-stdin"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start the relay")?;
        let mut relay = Self {
            child,
            addr: String::new(),
        };
        let mut line = String::new();
        let out = relay
            .child
            .stdout
            .take()
            .context("the relay has no output")?;
        BufReader::new(out).read_line(&mut line)?;
        let said: serde_json::Value =
            serde_json::from_str(&line).context("the relay did not start")?;
        said["stomp"]
            .as_str()
            .context("the relay named no address")?
            .clone_into(&mut relay.addr);
        Ok(relay)
    }

    /// The load as far as the relay can carry it: the same octets and pace from one producer to one consumer.
    fn load(&self, load: &Load) -> Load {
        let mut connect = load.connect.clone();
        connect.addr.clone_from(&self.addr);
        // A number of messages that keeps a slow broker busy is over in a moment here, and a moment cannot be measured.
        let enough = (RELAY_BYTES_MIN / load.size.0.max(1) as u64).clamp(20_000, 1_000_000);
        let count = load.count.map(|count| {
            if load.rate.is_none() {
                count.max(enough)
            } else {
                count
            }
        });
        let whole = Load {
            connect,
            count,
            relay: true,
            pid: Some(self.child.id()),
            topic: None,
            destinations: 1,
            producers: 1,
            consumers: 1,
            ..load.clone()
        };
        Load {
            receipts: 0,
            tx: 0,
            ack: AckMode::Auto,
            ack_receipts: false,
            prefetch: None,
            drain: false,
            ..whole
        }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_is_the_median_with_its_range() {
        let check = |values: &[f64], expected: (f64, f64, f64)| {
            let spread = Spread::of(values.iter().copied()).unwrap();
            assert_eq!((spread.min, spread.median, spread.max), expected);
        };
        check(&[3.0, 1.0, 2.0], (1.0, 2.0, 3.0));
        check(&[4.0, 1.0, 2.0, 3.0], (1.0, 2.5, 4.0));
        check(&[f64::NAN, 7.0], (7.0, 7.0, 7.0));
        assert_eq!(Spread::of(std::iter::empty()), None);
    }

    #[test]
    fn ratios_are_formed_within_rounds() {
        let subject = |name: &str, values: [f64; 3]| Subject {
            rounds: values
                .iter()
                .map(|value| Figures::from([("msgs/s", *value)]))
                .collect(),
            ..Subject::new(name)
        };
        // The machine halves its speed from round to round; the ratio does not notice.
        let subjects = evaluate(vec![
            subject("relay", [400.0, 200.0, 100.0]),
            subject("broker", [200.0, 100.0, 50.0]),
        ]);
        assert_eq!(
            subjects[1].to_relay["msgs/s"],
            Spread {
                median: 0.5,
                min: 0.5,
                max: 0.5
            }
        );
        assert!(subjects[0].to_relay.is_empty() && subjects[1].to_disk.is_empty());
    }

    #[test]
    fn a_target_is_read_from_one_argument() {
        let target: Target = "a=h:1,pid=7,login=u,host=/".parse().unwrap();
        let expected = Target {
            name: "a".into(),
            addr: "h:1".into(),
            pid: Some(7),
            login: Some("u".into()),
            host: Some("/".into()),
            ..Target::default()
        };
        assert_eq!(target, expected);
        for bad in ["a", "a=h:1,pid=x", "a=h:1,nope=1", "a=h:1,pid"] {
            assert!(bad.parse::<Target>().is_err(), "{bad}");
        }
    }
}

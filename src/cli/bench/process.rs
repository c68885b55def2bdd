//! What a process has cost: CPU time and memory, read from `/proc`.
//!
//! The CPU time of a process is the sum over its threads of the scheduler's own clock (nanoseconds, user and system together).
//! Threads that end between two readings take their time with them; then the kernel's coarser sum over living and ended threads
//! (`stat`, in hundredths of a second) is used, and the reading says so.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use anyhow::{Context, ensure};

/// Nanoseconds of one tick of `/proc/PID/stat`; Linux fixes USER_HZ at 100 on every architecture we build for.
const TICK_NS: u64 = 10_000_000;

/// The memory of a process counts as settled when it stays the same for that long.
const SETTLED: Duration = Duration::from_millis(500);
/// It is read at the latest after that many looks.
const SETTLING_LOOKS_MAX: u32 = 20;

/// A reading of a process's counters.
#[derive(Debug, Clone)]
pub(crate) struct Reading {
    threads: BTreeMap<u32, u64>,
    ticks_ns: u64,
}

/// CPU time between two readings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cpu {
    /// User and system time, in nanoseconds.
    pub(crate) ns: u64,
    /// Whether it came from the coarse counter.
    pub(crate) coarse: bool,
}

impl Reading {
    /// Reads the counters of a process now.
    ///
    /// # Errors
    /// If there is no such process, or `/proc` does not show it.
    pub(crate) fn of(pid: u32) -> anyhow::Result<Self> {
        let tasks = fs::read_dir(format!("/proc/{pid}/task"))
            .with_context(|| format!("process {pid} cannot be measured"))?;
        let mut threads = BTreeMap::new();
        for task in tasks.flatten() {
            // A thread may end between the listing and the reading.
            let Ok(text) = fs::read_to_string(task.path().join("schedstat")) else {
                continue;
            };
            let Some(id) = task.file_name().to_str().and_then(|name| name.parse().ok()) else {
                continue;
            };
            threads.insert(id, first_number(&text));
        }
        Ok(Self {
            threads,
            ticks_ns: ticks(&fs::read_to_string(format!("/proc/{pid}/stat"))?)? * TICK_NS,
        })
    }

    /// CPU time spent since an earlier reading.
    #[must_use]
    pub(crate) fn since(&self, earlier: &Self) -> Cpu {
        let ended = earlier
            .threads
            .keys()
            .any(|id| !self.threads.contains_key(id));
        let fine = self
            .threads
            .iter()
            .map(|(id, ns)| ns - earlier.threads.get(id).copied().unwrap_or(0).min(*ns))
            .sum();
        let rough = self.ticks_ns.saturating_sub(earlier.ticks_ns);
        // Threads that began and ended in between are in neither reading: the coarse sum then is clearly above the fine one.
        let coarse = ended || fine + 3 * TICK_NS + fine / 20 < rough;
        Cpu {
            ns: if coarse { rough.max(fine) } else { fine },
            coarse,
        }
    }
}

/// CPU time of the calling thread so far, in nanoseconds.
#[must_use]
pub(crate) fn thread_cpu_ns() -> u64 {
    fs::read_to_string("/proc/thread-self/schedstat").map_or(0, |text| first_number(&text))
}

/// A memory figure of a process from `/proc/PID/status`, such as `VmHWM` (the peak) or `VmRSS`, in octets.
///
/// # Errors
/// If there is no such process or no such figure.
pub(crate) fn memory(pid: u32, key: &str) -> anyhow::Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))
        .with_context(|| format!("process {pid} cannot be measured"))?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
    let kib = line
        .and_then(|rest| rest.trim().strip_suffix("kB"))
        .and_then(|kib| kib.trim().parse::<u64>().ok());
    Ok(kib.with_context(|| format!("process {pid} shows no {key}"))? * 1024)
}

/// The process's resident memory in octets, once it no longer changes.
///
/// # Errors
/// As [`memory`].
pub(crate) fn settled_rss(pid: u32) -> anyhow::Result<u64> {
    let mut last = memory(pid, "VmRSS")?;
    for _ in 0..SETTLING_LOOKS_MAX {
        std::thread::sleep(SETTLED);
        let now = memory(pid, "VmRSS")?;
        if now == last {
            break;
        }
        last = now;
    }
    Ok(last)
}

/// Makes sleeps end on time: by default the kernel may let them last 50 µs longer, which would be measured as latency. Threads
/// started afterwards inherit it. Where it cannot be set, the pace is a little less even and nothing else.
pub(crate) fn sharpen_sleeps() {
    let _ = fs::write("/proc/self/timerslack_ns", "1");
}

fn first_number(text: &str) -> u64 {
    text.split_ascii_whitespace()
        .next()
        .and_then(|number| number.parse().ok())
        .unwrap_or(0)
}

/// utime + stime; the command name before them may contain blanks and parentheses.
fn ticks(stat: &str) -> anyhow::Result<u64> {
    let after = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let fields: Vec<u64> = after
        .split_ascii_whitespace()
        .skip(11)
        .take(2)
        .filter_map(|f| f.parse().ok())
        .collect();
    ensure!(fields.len() == 2, "/proc/PID/stat is not as expected");
    Ok(fields.iter().sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_found_behind_an_awkward_command_name() {
        assert_eq!(
            ticks("12 (a) b (c)) S 1 2 3 4 5 6 7 8 9 10 70 30 1 1").unwrap(),
            100
        );
        assert!(ticks("12 (a").is_err());
    }

    #[test]
    fn own_cpu_time_grows_with_work() {
        let before = Reading::of(std::process::id()).unwrap();
        let mut sum = 0u64;
        while thread_cpu_ns() < 5_000_000 {
            sum = (0..100_000u64).fold(sum, |s, i| s.wrapping_mul(31).wrapping_add(i));
        }
        assert!(std::hint::black_box(sum) != 1);
        let cpu = Reading::of(std::process::id()).unwrap().since(&before);
        // Other tests' threads end meanwhile, so the coarse counter may be all there is.
        assert!(cpu.ns > 0 || cpu.coarse, "{cpu:?}");
        assert!(memory(std::process::id(), "VmHWM").unwrap() > 100_000);
    }

    #[test]
    fn an_ended_thread_makes_the_reading_coarse() {
        let reading = |threads: &[(u32, u64)], ticks_ns| Reading {
            threads: threads.iter().copied().collect(),
            ticks_ns,
        };
        let before = reading(&[(1, 100), (2, 200)], 0);
        assert_eq!(
            reading(&[(1, 150), (2, 260)], 0).since(&before),
            Cpu {
                ns: 110,
                coarse: false
            }
        );
        assert_eq!(
            reading(&[(1, 150)], 3 * TICK_NS).since(&before),
            Cpu {
                ns: 3 * TICK_NS,
                coarse: true
            }
        );
        assert_eq!(
            reading(&[(1, 150), (2, 200)], 90 * TICK_NS).since(&before),
            Cpu {
                ns: 90 * TICK_NS,
                coarse: true
            }
        );
    }
}

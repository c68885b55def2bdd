//! The limit of durable messages: how many a second the disk confirms when nothing else is done.
//!
//! One thread writes batches of WINDOW messages and calls fdatasync after each: what group commit comes down to when WINDOW
//! messages wait for their receipts. Two files: one that grows with every batch, and one whose space was filled with zeroes and
//! synced before, where a sync need not change the file's own data.

use std::fs::{self, File, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde::Serialize;

use super::options::Size;
use super::report::grouped;
use super::stopwatch::Stopwatch;

/// Space prepared for the second file; when it is used up, writing begins again at its start.
const PREPARED_BYTES: u64 = 64 * 1024 * 1024;
/// Octets a broker stores around each body (record head, destination, headers), so that the batches are alike.
const ENVELOPE_BYTES: usize = 100;
/// A growing file is begun anew at this size, so that the disk is not filled.
const GROWN_BYTES: u64 = 1024 * 1024 * 1024;

/// Arguments of `ferrymq bench sync`.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Args {
    /// Body size in octets
    #[arg(long, value_name = "BYTES", default_value = "1024")]
    pub(crate) size: Size,
    /// Messages written between two syncs
    #[arg(
        long,
        value_name = "N,N,...",
        value_delimiter = ',',
        default_value = "1,100,1000"
    )]
    pub(crate) window: Vec<u32>,
    /// Directory for the files, on the disk to measure; they are removed afterwards
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: PathBuf,
    /// Seconds for each measurement
    #[arg(long, value_name = "S", default_value_t = 2.0)]
    pub(crate) seconds: f64,
    /// Print one JSON object instead of a table
    #[arg(long)]
    pub(crate) json: bool,
}

/// What the disk can do with batches of one size.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Limit {
    /// Messages in a batch.
    pub(crate) window: u32,
    /// Messages a second into a file that grows.
    pub(crate) growing_msgs_per_s: f64,
    /// Messages a second into space prepared before.
    pub(crate) prepared_msgs_per_s: f64,
}

/// Measures every window and prints the figures.
///
/// # Errors
/// If the directory cannot be written to.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let limits = args
        .window
        .iter()
        .map(|window| measure(&args.dir, args.size, *window, args.seconds));
    let limits = limits.collect::<anyhow::Result<Vec<_>>>()?;
    let mut out = std::io::stdout().lock();
    if args.json {
        let line = serde_json::json!({ "dir": args.dir, "size": args.size.0, "limits": limits });
        writeln!(out, "{line}")?;
        return Ok(());
    }
    writeln!(
        out,
        "write + fdatasync in {}, {} octets a message; messages a second",
        args.dir.display(),
        args.size
    )?;
    writeln!(
        out,
        "  {:>8} {:>14} {:>14}",
        "window", "growing", "preallocated"
    )?;
    for limit in limits {
        let (growing, prepared) = (
            grouped(limit.growing_msgs_per_s),
            grouped(limit.prepared_msgs_per_s),
        );
        writeln!(out, "  {:>8} {growing:>14} {prepared:>14}", limit.window)?;
    }
    Ok(())
}

/// Measures one window in both kinds of file.
///
/// # Errors
/// If the directory cannot be written to.
pub(crate) fn measure(dir: &Path, size: Size, window: u32, seconds: f64) -> anyhow::Result<Limit> {
    fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
    let batch = vec![b'm'; (size.0 + ENVELOPE_BYTES) * window as usize];
    let growing = Scratch::create(dir, "growing")?;
    let growing_rate = growing.rate(&batch, seconds, GROWN_BYTES)?;
    drop(growing);
    let prepared = Scratch::create(dir, "prepared")?;
    let space = PREPARED_BYTES.max(2 * batch.len() as u64);
    prepared.fill(space)?;
    let prepared_rate = prepared.rate(&batch, seconds, space)?;
    let window_f64 = f64::from(window);
    Ok(Limit {
        window,
        growing_msgs_per_s: growing_rate * window_f64,
        prepared_msgs_per_s: prepared_rate * window_f64,
    })
}

/// A file that is removed when it is no longer needed.
struct Scratch {
    path: PathBuf,
    file: File,
}

impl Scratch {
    fn create(dir: &Path, name: &str) -> anyhow::Result<Self> {
        let path = dir.join(format!("ferrymq-bench-{}-{name}", std::process::id()));
        let file = OpenOptions::new().write(true).create_new(true).open(&path);
        let file = file.with_context(|| format!("cannot create {}", path.display()))?;
        Ok(Self { path, file })
    }

    /// Writes zeroes over the whole space and syncs them; reserving alone would leave the sync to mark it as written.
    fn fill(&self, space: u64) -> anyhow::Result<()> {
        let zeroes = vec![0; 1024 * 1024];
        let mut left = space;
        while left > 0 {
            let piece = usize::try_from(left.min(zeroes.len() as u64))?;
            (&self.file).write_all(&zeroes[..piece])?;
            left -= piece as u64;
        }
        self.file.sync_all()?;
        (&self.file).seek(SeekFrom::Start(0))?;
        Ok(())
    }

    /// Batches a second. Beyond `space` octets writing begins again at the start, in a growing file after cutting it to nothing.
    fn rate(&self, batch: &[u8], seconds: f64, space: u64) -> anyhow::Result<f64> {
        let growing = self.file.metadata()?.len() == 0;
        let clock = Stopwatch::start();
        let (mut batches, mut at, mut paused) = (0u64, 0u64, 0u64);
        loop {
            if at + batch.len() as u64 > space {
                let began = clock.ns();
                if growing {
                    self.file.set_len(0)?;
                    self.file.sync_all()?;
                }
                (&self.file).seek(SeekFrom::Start(0))?;
                at = 0;
                paused += clock.ns() - began;
            }
            (&self.file).write_all(batch)?;
            self.file.sync_data()?;
            at += batch.len() as u64;
            batches += 1;
            let elapsed = (clock.ns() - paused) as f64 / 1e9;
            if elapsed >= seconds {
                return Ok(batches as f64 / elapsed);
            }
        }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_files_are_measured_and_removed() {
        let dir = tempfile::tempdir().unwrap();
        let limit = measure(dir.path(), Size(100), 10, 0.01).unwrap();
        assert!(limit.growing_msgs_per_s > 0.0 && limit.prepared_msgs_per_s > 0.0);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn writing_goes_on_after_the_space_is_used_up() {
        let dir = tempfile::tempdir().unwrap();
        let scratch = Scratch::create(dir.path(), "t").unwrap();
        scratch.fill(1000).unwrap();
        assert!(scratch.rate(&[b'x'; 300], 0.005, 1000).unwrap() > 0.0);
        assert!(scratch.file.metadata().unwrap().len() <= 1000);
    }
}

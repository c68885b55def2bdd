//! One run of a client program: its JSON lines as they come, and how it ended.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail, ensure};
use serde_json::Value;

/// Longer than any client takes between two results, its own deadlines included.
const DEADLINE: Duration = Duration::from_secs(90);

/// A running client program, killed at the latest when this goes.
pub(crate) struct Program {
    child: Child,
    lines: Receiver<String>,
    stderr: Option<JoinHandle<String>>,
}

impl Program {
    /// Starts it.
    pub(crate) fn start(mut command: Command) -> Result<Self> {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("{command:?} does not run"))?;
        let stdout = child.stdout.take().context("no standard output")?;
        let mut stderr = child.stderr.take().context("no standard error")?;
        let (sender, lines) = channel();
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        let stderr = thread::spawn(move || {
            let mut text = Vec::new();
            // What came before an error is still worth printing.
            let _ = stderr.read_to_end(&mut text);
            String::from_utf8_lossy(&text).into_owned()
        });
        Ok(Self {
            child,
            lines,
            stderr: Some(stderr),
        })
    }

    /// The next result; `None` after the last.
    ///
    /// # Errors
    /// If none comes within the deadline, or one that is no JSON.
    pub(crate) fn next(&mut self) -> Result<Option<Value>> {
        match self.lines.recv_timeout(DEADLINE) {
            Ok(line) => serde_json::from_str(&line)
                .map(Some)
                .map_err(|error| anyhow!("{error} in {line:?}{}", self.stderr())),
            Err(RecvTimeoutError::Disconnected) => Ok(None),
            Err(RecvTimeoutError::Timeout) => {
                bail!("no result within {DEADLINE:?}{}", self.stderr())
            }
        }
    }

    /// All results that are left, and the proof that it ended well.
    ///
    /// # Errors
    /// If it did not; with the results until then and what it wrote to standard error.
    pub(crate) fn results(mut self) -> Result<Vec<Value>> {
        let mut results = Vec::new();
        let failure = loop {
            match self.next() {
                Ok(Some(result)) => results.push(result),
                Ok(None) => break None,
                Err(error) => break Some(error),
            }
        };
        if let Some(error) = failure {
            bail!("{error:#}\nresults until then: {}", text(&results));
        }
        let status = self.child.wait()?;
        ensure!(
            status.success(),
            "the client ended with {status}{}\nresults until then: {}",
            self.stderr(),
            text(&results)
        );
        Ok(results)
    }

    /// What it wrote to standard error; ends it.
    fn stderr(&mut self) -> String {
        let _ = self.child.kill();
        let stderr = self.stderr.take().map(JoinHandle::join);
        match stderr {
            Some(Ok(text)) => format!("; standard error:\n{text}"),
            _ => String::new(),
        }
    }
}

/// Results one to a line.
pub(crate) fn text(results: &[Value]) -> String {
    results
        .iter()
        .map(|result| format!("\n  {result}"))
        .collect()
}

impl Drop for Program {
    fn drop(&mut self) {
        // Both fail if it has ended already, which is the usual case.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

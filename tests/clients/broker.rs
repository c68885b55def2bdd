//! One broker process, on a port of its own.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use anyhow::{Context, Result, bail, ensure};

use crate::wait::until;

/// Where a broker keeps its messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Store {
    /// In memory only.
    Ephemeral,
    /// In `data` of its directory.
    Journal,
}

/// How a client comes to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    Tcp,
    /// The client finds the authority in the file that `FERRYMQ_CA` names.
    Tls,
    WebSocket,
}

impl Transport {
    /// What an address begins with, as the client programs know it.
    fn scheme(self) -> &'static str {
        match self {
            Self::Tcp => "",
            Self::Tls => "tls://",
            Self::WebSocket => "ws://",
        }
    }
}

/// A broker, killed at the latest when this goes.
pub(crate) struct Broker {
    child: Child,
    log: PathBuf,
    address: String,
}

impl Broker {
    /// Starts one whose files are in `directory` and waits until it serves.
    ///
    /// # Errors
    /// If it ends instead.
    pub(crate) fn start(directory: &Path, store: Store) -> Result<Self> {
        Self::start_over(directory, store, Transport::Tcp)
    }

    /// The same, for clients that come over `transport`. With TLS its certificate is its own authority, in the file
    /// `certificate.pem`.
    ///
    /// # Errors
    /// If it ends instead.
    pub(crate) fn start_over(directory: &Path, store: Store, transport: Transport) -> Result<Self> {
        let ready = directory.join("ready.json");
        // A broker started here before wrote one too.
        if ready.exists() {
            fs::remove_file(&ready).context("cannot remove the old ready file")?;
        }
        let log = directory.join("log");
        let mut command = Command::new(env!("CARGO_BIN_EXE_ferrymq"));
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("FERRYMQ__") {
                command.env_remove(name);
            }
        }
        command
            .current_dir(directory)
            .args(["serve", "--stomp", "127.0.0.1:0", "--ready-file"])
            .arg(&ready)
            .stdin(Stdio::null())
            .stderr(File::create(&log).context("cannot create the log")?);
        match store {
            Store::Ephemeral => command.arg("--ephemeral"),
            Store::Journal => command.args(["--data", "data"]),
        };
        let listener = match transport {
            Transport::Tcp => "stomp",
            Transport::WebSocket => {
                // A body of 10 MiB and its head are one message.
                command
                    .args(["--websocket", "127.0.0.1:0"])
                    .env("FERRYMQ__WEBSOCKET__MESSAGE_BYTES_MAX", "11 MiB");
                "websocket"
            }
            Transport::Tls => {
                let pair = rcgen::generate_simple_self_signed([
                    "localhost".to_owned(),
                    "127.0.0.1".to_owned(),
                ])?;
                fs::write(directory.join("certificate.pem"), pair.cert.pem())?;
                fs::write(directory.join("key.pem"), pair.signing_key.serialize_pem())?;
                command
                    .args(["--stomp-tls", "127.0.0.1:0"])
                    .env("FERRYMQ__TLS__CERTIFICATE", "certificate.pem")
                    .env("FERRYMQ__TLS__PRIVATE_KEY", "key.pem");
                "stomp_tls"
            }
        };
        let mut child = command.spawn().context("ferrymq does not run")?;
        let started = until("the ready file", || {
            if let Ok(text) = fs::read_to_string(&ready) {
                return Some(Ok(text));
            }
            let ended = child.try_wait().expect("the process can be asked");
            ended.map(Err)
        });
        let text = match started {
            Ok(text) => text,
            Err(status) => bail!("the broker ended with {status}:\n{}", read(&log)),
        };
        let ready: serde_json::Value = serde_json::from_str(&text)?;
        let address = ready[listener]
            .as_str()
            .with_context(|| format!("no {listener} in the ready file"))?;
        Ok(Self {
            child,
            log,
            address: format!("{}{address}", transport.scheme()),
        })
    }

    /// Where it speaks STOMP, as the client programs take it.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// What it has logged.
    pub(crate) fn log(&self) -> String {
        read(&self.log)
    }

    /// Kills it without a chance to tidy up.
    pub(crate) fn kill(mut self) -> Result<()> {
        self.child.kill().context("the broker was gone already")?;
        self.child.wait()?;
        Ok(())
    }

    /// Stops it in good order.
    ///
    /// # Errors
    /// If it was gone already, does not end with 0, or one of its tasks panicked.
    pub(crate) fn stop(mut self) -> Result<()> {
        if let Some(status) = self.child.try_wait()? {
            bail!("the broker had ended with {status}:\n{}", self.log());
        }
        let signal = format!("kill -TERM {}", self.child.id());
        ensure!(
            Command::new("sh").args(["-c", &signal]).status()?.success(),
            "the broker cannot be signalled"
        );
        let status: ExitStatus = until("the end of the broker", || {
            self.child.try_wait().expect("the process can be asked")
        });
        let log = self.log();
        ensure!(status.success(), "the broker ended with {status}:\n{log}");
        ensure!(!log.contains("panicked at"), "the broker panicked:\n{log}");
        Ok(())
    }
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| format!("(no log: {error})"))
}

impl Drop for Broker {
    fn drop(&mut self) {
        // Both fail if it has ended already, which is the usual case.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

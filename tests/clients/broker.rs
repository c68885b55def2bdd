//! One broker process, on a port of its own.

use std::fs::{self, File};
use std::io::Write;
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
    /// The same file.
    WebSocketTls,
    /// Without TLS only.
    OpenWire,
}

impl Transport {
    /// The same one over TLS.
    pub(crate) fn secured(self) -> Self {
        match self {
            Self::Tcp | Self::Tls | Self::OpenWire => Self::Tls,
            Self::WebSocket | Self::WebSocketTls => Self::WebSocketTls,
        }
    }

    /// What an address begins with, as the client programs know it.
    pub(crate) fn scheme(self) -> &'static str {
        match self {
            Self::Tcp | Self::OpenWire => "",
            Self::Tls => "tls://",
            Self::WebSocket => "ws://",
            Self::WebSocketTls => "wss://",
        }
    }

    /// The section of its listener, and the flag that switches it on beside plain TCP.
    fn listener(self) -> (&'static str, Option<&'static str>) {
        match self {
            Self::Tcp => ("stomp", None),
            Self::Tls => ("stomp_tls", Some("--stomp-tls")),
            Self::WebSocket => ("websocket", Some("--websocket")),
            Self::WebSocketTls => ("websocket_tls", Some("--websocket-tls")),
            Self::OpenWire => ("openwire", Some("--openwire")),
        }
    }

    fn is_tls(self) -> bool {
        self == self.secured()
    }
}

/// What a broker serves with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setup<'a> {
    pub(crate) store: Store,
    /// With TLS its certificate is its own authority, in the file `certificate.pem`.
    pub(crate) transport: Transport,
    /// Whether there are users and access rules, those of [`USER`].
    pub(crate) guarded: bool,
    /// The only origin whose pages may connect by WebSocket; without it that of the broker's host.
    pub(crate) origin: Option<&'a str>,
}

/// Who may read and write the queues `orders.>` of a guarded broker, and nothing else.
const USER: (&str, &str) = ("orders", "the secret of orders");

const GUARDED: &str = r#"
[security]
users_file = "users"

[[security.acl]]
queue = "orders.>"
read = ["user:orders"]
write = ["user:orders"]
admin = ["user:orders"]
"#;

/// A broker, killed at the latest when this goes.
pub(crate) struct Broker {
    child: Child,
    log: PathBuf,
    address: String,
}

impl Broker {
    /// Starts one whose files are in `directory`, on plain TCP for everybody, and waits until it serves.
    ///
    /// # Errors
    /// If it ends instead.
    pub(crate) fn start(directory: &Path, store: Store) -> Result<Self> {
        let setup = Setup {
            store,
            transport: Transport::Tcp,
            guarded: false,
            origin: None,
        };
        Self::start_with(directory, setup)
    }

    /// Starts one that serves so, and waits until it does.
    ///
    /// # Errors
    /// If it ends instead.
    pub(crate) fn start_with(directory: &Path, setup: Setup<'_>) -> Result<Self> {
        let ready = directory.join("ready.json");
        // A broker started here before wrote one too.
        if ready.exists() {
            fs::remove_file(&ready).context("cannot remove the old ready file")?;
        }
        let log = directory.join("log");
        let mut command = ferrymq(directory);
        command
            .args(["serve", "--stomp", "127.0.0.1:0", "--ready-file"])
            .arg(&ready)
            // A body of 10 MiB and its head are one message.
            .env("FERRYMQ__WEBSOCKET__MESSAGE_BYTES_MAX", "11 MiB")
            .stderr(File::create(&log).context("cannot create the log")?);
        match setup.store {
            Store::Ephemeral => command.arg("--ephemeral"),
            Store::Journal => command.args(["--data", "data"]),
        };
        let (listener, flag) = setup.transport.listener();
        if let Some(flag) = flag {
            command.args([flag, "127.0.0.1:0"]);
        }
        if setup.transport.is_tls() {
            write_certificate(directory)?;
            command
                .env("FERRYMQ__TLS__CERTIFICATE", "certificate.pem")
                .env("FERRYMQ__TLS__PRIVATE_KEY", "key.pem");
        }
        if setup.guarded {
            add_user(directory)?;
            fs::write(directory.join("activemq.toml"), GUARDED)?;
        }
        if let Some(origin) = setup.origin {
            command.env("FERRYMQ__WEBSOCKET__ORIGINS", origin);
        }
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
            address: format!("{}{address}", setup.transport.scheme()),
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

/// A command of ours in `directory`, whatever the environment says of configuration.
fn ferrymq(directory: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ferrymq"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("FERRYMQ__") {
            command.env_remove(name);
        }
    }
    command.current_dir(directory).stdin(Stdio::null());
    command
}

fn write_certificate(directory: &Path) -> Result<()> {
    let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
    let pair = rcgen::generate_simple_self_signed(names)?;
    fs::write(directory.join("certificate.pem"), pair.cert.pem())?;
    fs::write(directory.join("key.pem"), pair.signing_key.serialize_pem())?;
    Ok(())
}

fn add_user(directory: &Path) -> Result<()> {
    let (name, password) = USER;
    let mut passwd = ferrymq(directory)
        .args(["passwd", "--file", "users", "--stdin", name])
        .stdout(Stdio::null())
        .stdin(Stdio::piped())
        .spawn()?;
    let mut stdin = passwd.stdin.take().context("no standard input")?;
    stdin.write_all(password.as_bytes())?;
    drop(stdin);
    ensure!(passwd.wait()?.success(), "ferrymq passwd makes no user");
    Ok(())
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

//! A broker as a process of its own, on a data directory that outlives it.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};

use crate::cli::ferrymq;
use crate::wait::until;
use crate::wire::client::Client;

/// A broker in a directory, killed when dropped.
pub(super) struct Process {
    child: Child,
    directory: PathBuf,
    address: SocketAddr,
}

impl Process {
    /// Starts one on `<directory>/data` and waits until it serves.
    pub(super) fn start(directory: &Path) -> Self {
        Self::with(directory, &["--data", "data"])
    }

    /// Starts one in this directory with these arguments and waits until it serves.
    #[track_caller]
    pub(super) fn with(directory: &Path, arguments: &[&str]) -> Self {
        let ready = directory.join("ready.json");
        // The process removes an old one as well, but maybe later than this looks.
        let _ = fs::remove_file(&ready);
        let log = fs::File::create(directory.join("log")).expect("a file for the log");
        let mut child = ferrymq(directory, arguments)
            .args(["--stomp", "127.0.0.1:0", "--ready-file", "ready.json"])
            .stderr(log)
            .spawn()
            .expect("ferrymq runs");
        let text = until("the ready file", || {
            let ended = child.try_wait().expect("the process can be asked");
            let log = || fs::read_to_string(directory.join("log")).unwrap_or_default();
            assert!(ended.is_none(), "ended with {ended:?}:\n{}", log());
            fs::read_to_string(&ready).ok()
        });
        let ready: serde_json::Value = serde_json::from_str(&text).expect("JSON, and whole");
        let address = ready["stomp"].as_str().expect("it names stomp");
        Self {
            child,
            directory: directory.to_owned(),
            address: address.parse().expect("an address"),
        }
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(super) fn client(&self) -> Client {
        Client::connect(self.address, "CONNECT accept-version:1.2 host:x")
    }

    pub(super) fn client_named(&self, id: &str) -> Client {
        let head = format!("CONNECT accept-version:1.2 host:x client-id:{id}");
        Client::connect(self.address, &head)
    }

    /// Ends it as a failing machine does.
    pub(super) fn kill(mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it has ended");
    }

    /// Asks it to stop and waits until it has.
    pub(super) fn terminate(mut self) -> ExitStatus {
        let kill = format!("kill -TERM {}", self.child.id());
        let status = Command::new("sh").args(["-c", &kill]).status();
        assert!(status.expect("a shell runs").success());
        until("the end of the broker", || {
            self.child.try_wait().expect("the process can be asked")
        })
    }

    /// The memory it takes; `None` where the system does not tell.
    pub(super) fn resident_bytes(&self) -> Option<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).ok()?;
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))?;
        let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
        Some(kib * 1024)
    }

    pub(super) fn log(&self) -> String {
        fs::read_to_string(self.directory.join("log")).expect("the log is UTF-8")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail if it has ended already, which is the usual case.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

//! Reading the configuration again while the broker runs: when one of its files has changed, and on SIGHUP.
//!
//! What is wrong is told line by line and changes nothing. What can change while the broker runs is the business of
//! [`Handle::reload`]; of the rest it is said that it needs a restart.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ferrymq::config::{Config, Problems, Sources, load};
use ferrymq::{Handle, StartError};
use tracing::{error, info, warn};

/// How often the files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// What shows that a file is another: when and how long it was written, and which one it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    modified: (i64, i64),
    len: u64,
    inode: u64,
}

impl Stamp {
    /// `None` if there is no such file.
    fn of(path: &Path) -> Option<Self> {
        let metadata = fs::metadata(path).ok()?;
        Some(Self {
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            len: metadata.len(),
            inode: metadata.ino(),
        })
    }
}

/// Where the configuration came from, and what it was.
pub(super) struct Reloader {
    sources: Sources,
    config: Config,
    seen: Vec<(PathBuf, Option<Stamp>)>,
}

impl Reloader {
    /// Watches what `config` was loaded from.
    pub(super) fn new(sources: Sources, config: Config) -> Self {
        let mut reloader = Self {
            sources,
            config,
            seen: Vec::new(),
        };
        reloader.look();
        reloader
    }

    /// Waits until a file is another than it was.
    pub(super) async fn changed(&self) {
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            if self
                .seen
                .iter()
                .any(|(path, stamp)| Stamp::of(path) != *stamp)
            {
                return;
            }
        }
    }

    /// Loads everything again and hands it to the broker.
    pub(super) async fn reload(&mut self, handle: &Handle, because: &str) {
        // Before the files are read: a change meanwhile is seen the next time.
        self.look();
        info!(because, "reading the configuration again");
        let config = match load::load(&self.sources) {
            Ok(loaded) => loaded.config,
            Err(problems) => return refuse(&problems),
        };
        match handle.reload(config.clone()).await {
            Ok(changes) => {
                let restart = changes.after_restart;
                if !restart.is_empty() {
                    warn!(
                        keys = restart.join(", "),
                        "changed, but needs a restart to take effect"
                    );
                }
                info!(
                    policies = changes.policies,
                    virtual_destinations = changes.virtual_destinations,
                    at_once = changes.at_once.join(", "),
                    "configuration read again"
                );
                let moved = config.security.users_file != self.config.security.users_file;
                self.config.security = config.security;
                if moved {
                    self.look();
                }
            }
            Err(StartError::Config(problems)) => refuse(&problems),
            Err(problem) => error!(
                "not read again, the old state stays: {:#}",
                anyhow::Error::from(problem)
            ),
        }
    }

    /// Notes how the files are now.
    fn look(&mut self) {
        let users = &self.config.security.users_file;
        let users = (!users.is_empty()).then(|| PathBuf::from(users));
        let files = self.sources.file.iter().cloned().chain(users);
        let stamped = files.map(|path| {
            let stamp = Stamp::of(&path);
            (path, stamp)
        });
        self.seen = stamped.collect();
    }
}

fn refuse(problems: &Problems) {
    for problem in &problems.0 {
        error!("not read again, the old state stays: {problem}");
    }
}

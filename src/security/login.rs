//! Logging in: from what a client sends to what it may do.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::task::AbortHandle;

use super::password::Password;
use super::remembered::Digest;
use super::snapshot::Snapshot;
use super::throttle::{FORGET_MS, Notable, Turn};
use super::{Access, Refused, Security};
use crate::config::HashedPassword;

/// What a client sends of itself. Empty texts count as none.
#[derive(Clone, Copy)]
pub struct Attempt<'a> {
    /// The name.
    pub name: Option<&'a str>,
    /// The password.
    pub password: Option<&'a str>,
    /// The subject of its certificate, which has been verified.
    pub certificate: Option<&'a str>,
    /// Where it comes from.
    pub remote: IpAddr,
}

/// What became of an attempt.
#[derive(Debug)]
pub enum Login {
    /// It is decided.
    Done(Result<Access, Refused>),
    /// The password is being verified, or has to wait for its turn.
    Pending(PendingLogin),
}

/// An attempt that is not decided yet. Dropping it gives it up.
#[derive(Debug)]
pub struct PendingLogin {
    outcome: Arc<Mutex<Option<Result<Access, Refused>>>>,
    task: AbortHandle,
}

impl PendingLogin {
    /// The decision, once, when there is one.
    pub fn take(&mut self) -> Option<Result<Access, Refused>> {
        self.outcome
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }
}

impl Drop for PendingLogin {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Name and password, on their way to be verified.
struct Claim {
    name: String,
    password: Password,
    remote: IpAddr,
}

impl Claim {
    /// As much of the name as the log takes.
    fn logged_name(&self) -> String {
        self.name.chars().take(LOGGED_NAME_CHARS).collect()
    }

    fn refused(&self) -> Refused {
        Refused::Invalid {
            name: self.name.clone(),
        }
    }
}

/// How much of a name goes into the log.
const LOGGED_NAME_CHARS: usize = 64;

impl Security {
    /// Decides an attempt at once where no password has to be verified. Otherwise `wake` runs when
    /// [`PendingLogin::take`] has the decision. Needs a tokio runtime.
    pub fn login(
        self: &Arc<Self>,
        attempt: &Attempt<'_>,
        wake: impl FnOnce() + Send + 'static,
    ) -> Login {
        let claim = match self.without_password(attempt) {
            Ok(decided) => return Login::Done(decided),
            Err(claim) => claim,
        };
        // The turn comes before the look whether the password was right of late: else that could be guessed at full
        // speed.
        let wait_ms = match self.wrong_again(&claim) {
            Some(wait_ms) => wait_ms,
            None => match self.turn(&claim) {
                Turn::Refused => return Login::Done(Err(claim.refused())),
                Turn::After(0) => match self.right_again(&claim) {
                    Some(access) => return Login::Done(access),
                    None => 0,
                },
                Turn::After(wait_ms) => wait_ms,
            },
        };
        let outcome = Arc::new(Mutex::new(None));
        let (security, slot) = (Arc::clone(self), Arc::clone(&outcome));
        let task = tokio::spawn(async move {
            let decided = security.verify_after(wait_ms, claim).await;
            *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(decided);
            wake();
        });
        Login::Pending(PendingLogin {
            outcome,
            task: task.abort_handle(),
        })
    }

    /// Lets the owner of a verified certificate in, if its subject stands for a user (SEC-8).
    ///
    /// # Errors
    /// It stands for nobody, or the user has too many connections.
    pub fn login_by_certificate(self: &Arc<Self>, dn: &str) -> Result<Access, Refused> {
        let snapshot = self.current.load_full();
        let Some(identity) = snapshot.by_subject(dn) else {
            tracing::info!(
                dn,
                "certificate of nobody: no security.certificate names it"
            );
            return Err(Refused::Invalid {
                name: dn.to_owned(),
            });
        };
        Access::grant(self, snapshot, identity)
    }

    /// Decides where there is nothing to verify; otherwise gives what there is.
    fn without_password(
        self: &Arc<Self>,
        attempt: &Attempt<'_>,
    ) -> Result<Result<Access, Refused>, Claim> {
        let some = |text: Option<&str>| text.filter(|text| !text.is_empty()).map(str::to_owned);
        let (name, password) = (some(attempt.name), some(attempt.password));
        let snapshot = self.current.load_full();
        if snapshot.is_open() {
            let stranger = Snapshot::stranger(name.as_deref());
            return Ok(Access::grant(self, snapshot, stranger));
        }
        if name.is_none() && password.is_none() {
            if let Some(dn) = attempt.certificate {
                return Ok(self.login_by_certificate(dn));
            }
            let anonymous = snapshot.anonymous().ok_or_else(|| Refused::Invalid {
                name: String::new(),
            });
            return Ok(anonymous.and_then(|identity| Access::grant(self, snapshot, identity)));
        }
        Err(Claim {
            name: name.unwrap_or_default(),
            password: Password::new(password.unwrap_or_default()),
            remote: attempt.remote,
        })
    }

    fn turn(&self, claim: &Claim) -> Turn {
        let delays = self.current.load().delays;
        let now_ms = self.clock.monotonic_ms();
        self.throttle
            .admit(now_ms, claim.remote, &claim.name, delays)
    }

    fn digest(&self, snapshot: &Snapshot, claim: &Claim) -> Digest {
        let none = HashedPassword::default();
        let hash = snapshot.user(&claim.name).map(|user| &user.password);
        self.remembered
            .digest(&claim.name, hash.unwrap_or(&none), &claim.password)
    }

    /// How long who sends the same wrong password again has to wait for the same answer; `None` if it is another.
    fn wrong_again(&self, claim: &Claim) -> Option<u64> {
        let snapshot = self.current.load();
        let digest = self.digest(&snapshot, claim);
        let is_wrong = self.remembered.is_wrong(self.clock.monotonic_ms(), digest);
        is_wrong.then(|| {
            let user = claim.logged_name();
            tracing::debug!(user, remote = %claim.remote, "the same wrong password again");
            snapshot.delays.first_ms
        })
    }

    /// Lets in who has shown the right password a short while ago.
    fn right_again(self: &Arc<Self>, claim: &Claim) -> Option<Result<Access, Refused>> {
        let snapshot = self.current.load_full();
        let user = snapshot.user(&claim.name)?;
        let digest = self.digest(&snapshot, claim);
        let is_right = self.remembered.is_right(self.clock.monotonic_ms(), digest);
        is_right.then(|| {
            let identity = snapshot.by_password(user);
            Access::grant(self, Arc::clone(&snapshot), identity)
        })
    }

    async fn verify_after(self: Arc<Self>, wait_ms: u64, claim: Claim) -> Result<Access, Refused> {
        if wait_ms > 0 {
            tokio::time::sleep(Duration::from_millis(wait_ms)).await;
        }
        let verifications = Arc::clone(&self.verifications);
        let Ok(permit) = verifications.acquire_owned().await else {
            return Err(claim.refused());
        };
        // The same may have been verified while this one waited.
        if let Some(access) = self.right_again(&claim) {
            return access;
        }
        if self.wrong_again(&claim).is_some() {
            return Err(claim.refused());
        }
        let refused = claim.refused();
        let verified = tokio::task::spawn_blocking(move || {
            // Kept to the end of the work, also if nobody waits for it any more.
            let _permit = permit;
            self.verify(&claim)
        });
        verified.await.unwrap_or(Err(refused))
    }

    /// Verifies a password; keeps a core busy for a while.
    fn verify(self: &Arc<Self>, claim: &Claim) -> Result<Access, Refused> {
        let snapshot = self.current.load_full();
        let Some(user) = snapshot.user(&claim.name) else {
            // As long as for a user that is there, so that time does not tell names.
            if let Some(other) = snapshot.any_user() {
                let _ = claim.password.matches(&other.password);
            }
            return Err(self.wrong(&snapshot, claim));
        };
        if !claim.password.matches(&user.password) {
            return Err(self.wrong(&snapshot, claim));
        }
        let now_ms = self.clock.monotonic_ms();
        let until_ms = now_ms + snapshot.login_cache_ms;
        let digest = self.digest(&snapshot, claim);
        self.remembered.right(now_ms, until_ms, digest);
        self.throttle.succeeded(claim.remote, &claim.name);
        let identity = snapshot.by_password(user);
        Access::grant(self, Arc::clone(&snapshot), identity)
    }

    /// Counts a wrong login, and says so once for each name and address.
    fn wrong(&self, snapshot: &Snapshot, claim: &Claim) -> Refused {
        let now_ms = self.clock.monotonic_ms();
        let digest = self.digest(snapshot, claim);
        self.remembered.wrong(now_ms, now_ms + FORGET_MS, digest);
        let Claim { name, remote, .. } = claim;
        let user = claim.logged_name();
        match self.throttle.failed(now_ms, *remote, name, snapshot.delays) {
            Notable::First => tracing::info!(user, %remote, "wrong name or password"),
            Notable::Slowed {
                failures,
                whole_address: false,
            } => tracing::warn!(
                user, %remote, failures,
                "wrong name or password again and again: logins of this name from there have to wait"
            ),
            Notable::Slowed { failures, .. } => tracing::warn!(
                %remote, failures,
                "wrong names or passwords again and again: all logins from there have to wait"
            ),
            Notable::No => tracing::debug!(user, %remote, "wrong name or password"),
        }
        claim.refused()
    }
}

//! CONNECT (section 1).

use std::sync::Arc;

use ferrymq_protocols::stomp::{Connect, Connected, HeartBeat, HeartBeatTimers, encode_connected};

use super::adapter::{State, Step};
use super::reply::Refusal;
use crate::broker::advisory::ConnectionFacts;
use crate::engine::connections::Connection;
use crate::security::{Access, Attempt, Login, Refused};
use crate::session::Session;

impl State {
    /// Logs a client in and answers CONNECTED. While its password is verified the frame is held; it is read again
    /// then.
    pub(super) fn connect(
        &mut self,
        session: &mut Session,
        connect: &Connect<'_>,
    ) -> Result<Step, Refusal> {
        if self.client_id.is_some() {
            return Err(Refusal::connection("duplicate CONNECT: already connected"));
        }
        self.version = connect.version;
        let Some(access) = self.log_in(session, connect) else {
            return Ok(Step::Hold);
        };
        let access = access.map_err(|refused| Refusal::connection(refused.to_string()))?;
        let own = connect.client_id.as_deref();
        let shown = own.map_or_else(
            || format!("ID:{}-{:x}", self.settings.broker_name, session.origin()),
            str::to_owned,
        );
        let prefix = access.namespace().map_or("", |namespace| &namespace.prefix);
        // The same id in another namespace is another client.
        let client_id = match own {
            Some(own) => format!("{prefix}{own}"),
            None => shown.clone(),
        };
        let names = &self.temporaries.names;
        names.set_inside(prefix, &self.settings.names);
        let connection = Connection {
            remote: self.remote,
            end: Arc::clone(&self.end),
            outbox: Arc::clone(&session.outbox),
        };
        session
            .engine
            .connections
            .register(&client_id, connection, self.settings.allow_link_stealing)
            .map_err(|address| {
                let name = &self.settings.broker_name;
                Refusal::connection(format!(
                    "Broker: {name} - Client: {shown} already connected from {address}"
                ))
            })?;
        self.own_client_id = own.is_some();
        session
            .engine
            .locals
            .connected(&client_id, session.origin());
        let asked = connect
            .heart_beat
            .unwrap_or(self.settings.default_heart_beat);
        let agreed = HeartBeat::negotiate(
            asked,
            self.settings.heart_beat_min_ms,
            self.settings.heart_beat_max_ms,
        );
        self.timers = HeartBeatTimers::new(agreed, self.settings.heart_beat_grace);
        self.scratch.clear();
        let connected = Connected {
            version: connect.version,
            session: &shown,
            server: &self.settings.server,
            heart_beat: agreed,
            request_id: connect.request_id.as_deref(),
        };
        encode_connected(&connected, &mut self.scratch);
        session.reply(None, &self.scratch);
        let certificate = self.certificate_dn.as_deref();
        let user = access.user();
        tracing::debug!(client_id, user, remote = %self.remote, version = %connect.version, certificate, "connected");
        session.logged_in(ConnectionFacts {
            id: format!("ID:{}-{:x}", self.settings.broker_name, session.origin()),
            client_id: client_id.clone(),
            client_ip: format!("tcp://{}", self.remote),
            user: user.to_owned(),
        });
        self.client_id = Some(client_id);
        self.access = Some(access);
        // Users may have changed since the login was decided. From here on a change wakes this connection.
        Ok(self.follow_access(session))
    }

    /// The decision about the login; `None` while there is none.
    fn log_in(
        &mut self,
        session: &Session,
        connect: &Connect<'_>,
    ) -> Option<Result<Access, Refused>> {
        if let Some(pending) = &mut self.login {
            let decided = pending.take();
            if decided.is_some() {
                self.login = None;
            }
            return decided;
        }
        let attempt = Attempt {
            name: connect.login.as_deref(),
            password: connect.passcode.as_deref(),
            certificate: self.certificate_dn.as_deref(),
            remote: self.remote.ip(),
        };
        let outbox = Arc::clone(&session.outbox);
        match self
            .settings
            .security
            .login(&attempt, move || outbox.kick())
        {
            Login::Done(decided) => Some(decided),
            Login::Pending(pending) => {
                self.login = Some(pending);
                None
            }
        }
    }
}

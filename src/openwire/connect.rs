//! The handshake and the login (OWI-1, OWI-2).

use std::sync::Arc;

use ferrymq_protocols::openwire::commands::{
    BrokerId, BrokerInfo, Command, ConnectionControl, ConnectionInfo, WireFormatInfo,
};
use ferrymq_protocols::openwire::{Negotiated, WireFormat};

use super::adapter::{State, Step};
use super::encoder::Sequences;
use super::reply::Failure;
use crate::broker::advisory::ConnectionFacts;
use crate::engine::connections::Connection;
use crate::security::{Access, Attempt, Login, Refused};
use crate::session::Session;

/// How long a client that comes again waits for its connection before to end.
const TAKEOVER_MS: u64 = 10_000;

impl State {
    /// What may come before the login.
    pub(super) fn before_login(
        &mut self,
        session: &mut Session,
        command: Command,
    ) -> Result<Step, Failure> {
        match command {
            Command::WireFormatInfo(info) => self.shake_hands(session, &info),
            Command::ConnectionInfo(info) => self.connect(session, info),
            Command::ConnectionControl(control) => {
                self.fault_tolerant |= control.fault_tolerant;
                Ok(Step::Done)
            }
            Command::KeepAliveInfo(_) => Ok(Step::Answered),
            Command::BrokerInfo(_) | Command::BrokerSubscriptionInfo(_) => {
                Err(Failure::not_yet("networks of brokers are").ending())
            }
            other => {
                let text = format!("{} before ConnectionInfo", other.name());
                Err(Failure::state(text).ending())
            }
        }
    }

    fn shake_hands(
        &mut self,
        session: &mut Session,
        info: &WireFormatInfo,
    ) -> Result<Step, Failure> {
        let refused = |error: &dyn std::fmt::Display| {
            tracing::info!(remote = %self.remote, %error, "no OpenWire handshake, closed");
            Ok(Step::Close(crate::broker::Ending::Died))
        };
        let theirs = match WireFormat::of(info) {
            Ok(theirs) => theirs,
            Err(error) => return refused(&error),
        };
        let inactivity_ms = i64::try_from(self.settings.inactivity_ms).unwrap_or(i64::MAX);
        let ours = WireFormat {
            frame_bytes_max: self.settings.limits.frame_bytes_max.into(),
            stack_traces: false,
            inactivity_ms,
            provider_name: Some("ferrymq".to_owned()),
            provider_version: Some(env!("CARGO_PKG_VERSION").to_owned()),
            ..WireFormat::default()
        };
        let ours = ours.in_answer_to(&theirs);
        let (frame, agreed) = match (ours.to_info(), Negotiated::between(&ours, &theirs)) {
            (Ok(frame), Ok(agreed)) => (frame, agreed),
            (Err(error), _) => return refused(&error),
            (_, Err(error)) => return refused(&error),
        };
        session.reply(None, self.answers.render(&frame));
        self.answers.agree(&agreed.format);
        self.frames.agree(&agreed.format);
        self.agreed = Some(agreed.format);
        self.inactivity_ms = agreed.inactivity_ms;
        self.sequences = Sequences::of(session.origin());
        let broker = &self.settings.broker_name;
        let info = BrokerInfo {
            broker_id: Some(Arc::new(BrokerId {
                value: Some(format!("ID:{broker}").into()),
            })),
            broker_name: Some(broker.as_str().into()),
            broker_url: Some("".into()),
            ..BrokerInfo::default()
        };
        let frames = Arc::clone(&self.frames);
        session.outbox.append_with(|out| frames.push(&info, out));
        Ok(Step::Answered)
    }

    /// Logs a client in. While its password is verified, or its connection before ends, the command is held.
    fn connect(&mut self, session: &mut Session, info: ConnectionInfo) -> Result<Step, Failure> {
        let Some(client_id) = info.client_id.as_ref().filter(|id| **id != "") else {
            return Err(Failure::client_id("no clientID is given"));
        };
        let client_id = client_id.to_str().into_owned();
        let Some(access) = self.log_in(session, &info) else {
            return Ok(Step::Hold(Box::new(info.into())));
        };
        let access = access.map_err(|refused| Failure::security(refused.to_string()).ending())?;
        if access.namespace().is_some() {
            return Err(Failure::not_yet("users of a namespace are").ending());
        }
        self.fault_tolerant |= info.fault_tolerant || info.failover_reconnect;
        let connections = &session.engine.connections;
        if info.failover_reconnect && connections.end(&client_id) {
            // What it held returns before its id is free, so that durable subscriptions are too.
            let now_ms = session.engine.clock.monotonic_ms();
            let until_ms = *self.takeover_until_ms.get_or_insert(now_ms + TAKEOVER_MS);
            if now_ms < until_ms {
                self.access = Some(access);
                return Ok(Step::Hold(Box::new(info.into())));
            }
        }
        self.takeover_until_ms = None;
        let connection = Connection {
            remote: self.remote,
            end: Arc::clone(&self.end),
            outbox: Arc::clone(&session.outbox),
        };
        connections
            .register(&client_id, connection, self.settings.allow_link_stealing)
            .map_err(|address| {
                let name = &self.settings.broker_name;
                Failure::client_id(format!(
                    "Broker: {name} - Client: {client_id} already connected from {address}"
                ))
            })?;
        let locals = &session.engine.locals;
        locals.connected(&client_id, session.origin());
        let id = info.connection_id.as_ref().and_then(|id| id.value.as_ref());
        self.connection_id = id.map(ToString::to_string).unwrap_or_default();
        let user = access.user();
        tracing::debug!(client_id, user, remote = %self.remote, "connected over OpenWire");
        session.logged_in(ConnectionFacts {
            id: self.connection_id.clone(),
            client_id: client_id.clone(),
            client_ip: format!("tcp://{}", self.remote),
            user: user.to_owned(),
        });
        self.client_id = Some(client_id);
        self.access = Some(access);
        let to = info.response_required.then_some(info.command_id);
        session.reply(None, self.answers.success(to));
        if info.manageable {
            let control = ConnectionControl {
                connected_brokers: Some("".into()),
                reconnect_to: Some("".into()),
                ..ConnectionControl::default()
            };
            session.reply(None, self.answers.render(&control));
        }
        // Users may have changed since the login was decided. From here on a change wakes this connection.
        match self.follow_access(session) {
            Step::Close(ending) => Ok(Step::Close(ending)),
            _ => Ok(Step::Answered),
        }
    }

    /// The decision about the login; `None` while there is none.
    fn log_in(
        &mut self,
        session: &Session,
        info: &ConnectionInfo,
    ) -> Option<Result<Access, Refused>> {
        if let Some(access) = self.access.take() {
            return Some(Ok(access));
        }
        if let Some(pending) = &mut self.login {
            let decided = pending.take();
            if decided.is_some() {
                self.login = None;
            }
            return decided;
        }
        let name = info.user_name.as_ref().map(|name| name.to_str());
        let password = info.password.as_ref().map(|secret| secret.0.to_str());
        let attempt = Attempt {
            name: name.as_deref(),
            password: password.as_deref(),
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

//! The protocol of one OpenWire connection: which command may come when, and who carries it out.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::BytesMut;
use ferrymq_protocols::openwire::commands::{Command, KeepAliveInfo, Message as WireMessage};
use ferrymq_protocols::openwire::{Decoder, Format, Limits};
use tokio::sync::Notify;

use super::consume::{Consumers, Key};
use super::encoder::{Frames, Sequences};
use super::parked::{Parked, ParkedCommand};
use super::reply::{Answers, Failure};
use super::send::Targets;
use crate::broker::Ending;
use crate::broker::pattern::Syntax;
use crate::security::{Access, PendingLogin, Security};
use crate::session::link::{Adapter, Next};
use crate::session::{Peer, Session};

/// How the listener speaks OpenWire.
#[derive(Clone, Debug)]
pub struct OpenWireSettings {
    /// The broker's name.
    pub broker_name: String,
    /// Bounds of frames.
    pub limits: Limits,
    /// Time for the login.
    pub connect_timeout_ms: u64,
    /// How long either side may be silent; 0 is for ever.
    pub inactivity_ms: u64,
    /// Octets of commands that may wait for space before the connection is not read (SND-5).
    pub parked_bytes_max: usize,
    /// A client id can be taken over (CON-8).
    pub allow_link_stealing: bool,
    /// Who may come in and what they may do.
    pub security: Arc<Security>,
    /// How names are split.
    pub syntax: Syntax,
}

/// What became of a command.
pub(super) enum Step {
    /// It was carried out; the client is told if it wants to know.
    Done,
    /// It was carried out, and the answer, if one is wanted, goes its own way.
    Answered,
    /// It must wait; it is carried out when something has happened.
    Hold(Box<Command>),
    /// It was carried out, and the connection ends.
    Close(Ending),
}

/// One OpenWire connection.
pub struct OpenWire {
    decoder: Decoder,
    state: State,
}

/// Everything but the decoder.
pub(super) struct State {
    pub(super) settings: Arc<OpenWireSettings>,
    pub(super) remote: SocketAddr,
    pub(super) certificate_dn: Option<Arc<str>>,
    pub(super) end: Arc<Notify>,
    pub(super) answers: Answers,
    pub(super) frames: Arc<Frames>,
    /// Set by the handshake; the decoder follows.
    pub(super) agreed: Option<Format>,
    /// How long either side may be silent.
    pub(super) inactivity_ms: u64,
    /// The login that is being decided.
    pub(super) login: Option<PendingLogin>,
    pub(super) access: Option<Access>,
    /// Set by the login.
    pub(super) client_id: Option<String>,
    /// The client's own name of the connection.
    pub(super) connection_id: String,
    /// The client comes again when the connection breaks, and sends again what was not answered.
    pub(super) fault_tolerant: bool,
    /// Until when a login waits for the connection before it to end.
    pub(super) takeover_until_ms: Option<u64>,
    pub(super) sequences: Sequences,
    pub(super) targets: Targets,
    /// Windows of producers that have one, by session and number.
    pub(super) windows: HashMap<(i64, i64), i32>,
    pub(super) consumers: Consumers,
    pub(super) last_serial: u64,
    /// Consumers whose answer waits for a sync before deliveries may flow.
    pub(super) starting: Vec<u64>,
    /// Transactions in which something failed that nobody waited for: why.
    pub(super) doomed: HashMap<String, String>,
    /// Transactions that are open, and up to where each consumer has acknowledged in them.
    pub(super) open: HashMap<String, Vec<(Key, u64)>>,
    pub(super) parked: Parked,
    /// Since when the command that is carried out was parked.
    pub(super) replayed_since_ms: Option<u64>,
    /// A command that must be carried out before the next is looked at.
    held: Option<Box<Command>>,
    pub(super) head: Vec<u8>,
    opened_ms: u64,
    last_heard_ms: u64,
}

/// How often it is looked whether a wait is over.
const ROOM_POLL_MS: u64 = 100;
/// How often it is looked whether the connection before has ended.
const TAKEOVER_POLL_MS: u64 = 10;

impl OpenWire {
    /// A connection from `peer` that has said nothing yet; `end` ends it from elsewhere.
    #[must_use]
    pub fn new(settings: Arc<OpenWireSettings>, peer: Peer, end: Arc<Notify>, now_ms: u64) -> Self {
        let decoder = Decoder::new(settings.limits.before_login());
        let state = State {
            settings,
            remote: peer.address,
            certificate_dn: peer.certificate_dn,
            end,
            answers: Answers::default(),
            frames: Arc::default(),
            agreed: None,
            inactivity_ms: 0,
            login: None,
            access: None,
            client_id: None,
            connection_id: String::new(),
            fault_tolerant: false,
            takeover_until_ms: None,
            sequences: Sequences::of(0),
            targets: Targets::default(),
            windows: HashMap::new(),
            consumers: Consumers::default(),
            last_serial: 0,
            starting: Vec::new(),
            doomed: HashMap::new(),
            open: HashMap::new(),
            parked: Parked::default(),
            replayed_since_ms: None,
            held: None,
            head: Vec::new(),
            opened_ms: now_ms,
            last_heard_ms: now_ms,
        };
        Self { decoder, state }
    }
}

impl Adapter for OpenWire {
    fn input(&mut self, session: &mut Session, input: &mut BytesMut) -> Next {
        if let Step::Close(ending) = self.state.follow_access(session) {
            return Next::Close(ending);
        }
        session.look_at_clock();
        session.retry_stalled();
        // Frozen while commands are read from it, so that a large content can stay where it is.
        let octets = std::mem::take(input).freeze();
        let mut rest = octets.clone();
        let next = loop {
            let command = match self.decoder.decode(&mut rest) {
                Ok(Some(command)) => command,
                Ok(None) => break Next::Read,
                Err(error) => {
                    self.state.fail(session, &error.to_string());
                    rest.clear();
                    break Next::Close(Ending::Died);
                }
            };
            let next = self.state.carry_out(session, command);
            if let Some(format) = self.state.agreed.take() {
                self.decoder.agree(&format);
            }
            if self.state.client_id.is_some() {
                self.decoder.set_limits(self.state.settings.limits);
            }
            match next {
                Next::Read => {}
                Next::Close(ending) => {
                    rest.clear();
                    break Next::Close(ending);
                }
                Next::Wait => break Next::Wait,
            }
        };
        self.state.apply_acknowledgements(session);
        session.end_batch();
        let taken = octets.len() - rest.len();
        drop(rest);
        *input = session.engine.buffers.thaw(octets, taken);
        next
    }

    fn is_idle(&self) -> bool {
        self.state.parked.is_empty() && self.state.held.is_none()
    }

    fn woken(&mut self, session: &mut Session) -> Next {
        if let Step::Close(ending) = self.state.follow_access(session) {
            return Next::Close(ending);
        }
        if let Step::Close(ending) = self.state.end_slow(session) {
            return Next::Close(ending);
        }
        let state = &mut self.state;
        session.retry_stalled();
        if !state.starting.is_empty() && !session.outbox.watch_due() {
            for serial in std::mem::take(&mut state.starting) {
                session.start_waiting(serial);
            }
        }
        let mut next = Next::Read;
        if let Some(held) = state.held.take() {
            next = state.carry_out(session, *held);
            if state.client_id.is_some() {
                self.decoder.set_limits(state.settings.limits);
            }
        }
        if next == Next::Read {
            next = state.replay(session);
        }
        state.apply_acknowledgements(session);
        session.end_batch();
        next
    }

    fn deadline_ms(&self, session: &Session) -> Option<u64> {
        let (state, now_ms) = (&self.state, session.engine.clock.monotonic_ms());
        let takeover = state
            .takeover_until_ms
            .map(|until_ms| until_ms.min(now_ms + TAKEOVER_POLL_MS));
        if state.client_id.is_none() {
            let login = state.opened_ms + state.settings.connect_timeout_ms;
            return Some(takeover.map_or(login, |takeover| takeover.min(login)));
        }
        let monitored = state.inactivity_ms > 0;
        let send = monitored.then(|| state.next_send_ms(session));
        let dead = monitored.then(|| state.dead_at_ms());
        let poll =
            (session.is_stalled() || !state.parked.is_empty()).then_some(now_ms + ROOM_POLL_MS);
        let pull = state.consumers.next_pull_ms();
        [send, dead, poll, pull].into_iter().flatten().min()
    }

    fn tick(&mut self, session: &mut Session, now_ms: u64) -> Next {
        let state = &mut self.state;
        if state.client_id.is_none() {
            if now_ms < state.opened_ms + state.settings.connect_timeout_ms {
                return Next::Read;
            }
            tracing::info!(remote = %state.remote, "not logged in within stomp.connect_timeout, closed");
            return Next::Close(Ending::Died);
        }
        state.end_pulls(session, now_ms);
        if state.inactivity_ms == 0 {
            return Next::Read;
        }
        if now_ms >= state.dead_at_ms() {
            let silent_ms = now_ms - state.last_heard_ms;
            tracing::info!(client_id = state.client_id, remote = %state.remote, silent_ms, "no sign of life, closed");
            session.outbox.close();
            return Next::Close(Ending::Died);
        }
        if now_ms >= state.next_send_ms(session) {
            let alive = KeepAliveInfo::default();
            session.outbox.append(state.answers.render(&alive));
        }
        Next::Read
    }

    fn heard(&mut self, now_ms: u64) {
        self.state.last_heard_ms = now_ms;
    }

    fn bytes_at_limit(&self) -> u64 {
        let state = &self.state;
        let max = state.settings.parked_bytes_max;
        max.saturating_sub(state.parked.bytes()) as u64
    }

    fn starved(&mut self, session: &mut Session, bytes: u64) {
        tracing::warn!(
            remote = %self.state.remote,
            client_id = self.state.client_id,
            bytes,
            "memory.limit is reached and a large frame could not be read on, closed"
        );
        let text =
            "the memory limit is reached (memory.limit): the frame could not be read to its end";
        self.state.fail(session, text);
    }

    fn stopping(&mut self, session: &mut Session) {
        if self.state.client_id.is_some() {
            let failure = Failure::io("the broker is stopping");
            session.reply(None, self.state.answers.failure(None, &failure));
        }
    }

    fn ended(&mut self, session: &mut Session) {
        self.state.free_client_id(session);
    }
}

impl State {
    fn next_send_ms(&self, session: &Session) -> u64 {
        let last_ms = session.outbox.last_write_ms().max(self.opened_ms);
        last_ms + (self.inactivity_ms / 3).max(1)
    }

    /// The peer looks at the clock once in an interval, so it may be silent for nearly two.
    fn dead_at_ms(&self) -> u64 {
        self.last_heard_ms + 2 * self.inactivity_ms
    }

    pub(super) fn wait_or_read(&self) -> Next {
        if self.held.is_some() || self.parked.bytes() > self.settings.parked_bytes_max {
            Next::Wait
        } else {
            Next::Read
        }
    }

    /// Octets that cannot be read, or no space for them: says why, if the client can be told.
    fn fail(&mut self, session: &mut Session, error: &str) {
        session.hand_over();
        tracing::info!(remote = %self.remote, client_id = self.client_id, error, "frame refused, closed");
        if self.inactivity_ms > 0 || self.client_id.is_some() {
            let failure = Failure::io(error);
            session.reply(None, self.answers.failure(None, &failure));
        }
    }

    /// Carries a command out and answers it.
    pub(super) fn carry_out(&mut self, session: &mut Session, command: Command) -> Next {
        let wanted = command.response_required();
        let to = command.command_id().filter(|_| wanted);
        let transaction = transaction_of(&command);
        match self.dispatch(session, command) {
            Ok(Step::Done) => {
                // In the order of commands.
                session.hand_over();
                session.reply(None, self.answers.success(to));
                Next::Read
            }
            Ok(Step::Answered) => self.wait_or_read(),
            Ok(Step::Hold(command)) => {
                self.held = Some(command);
                Next::Wait
            }
            Ok(Step::Close(ending)) => Next::Close(ending),
            Err(failure) => {
                session.hand_over();
                tracing::debug!(remote = %self.remote, client_id = self.client_id, failure.text, "command refused");
                if let Some(transaction) = transaction.filter(|_| to.is_none()) {
                    // Nobody waits for the answer: it is the commit that fails.
                    self.doomed.insert(transaction, failure.text.clone());
                }
                session.reply(None, self.answers.failure(to, &failure));
                if failure.fatal {
                    Next::Close(Ending::Died)
                } else {
                    Next::Read
                }
            }
        }
    }

    fn dispatch(&mut self, session: &mut Session, command: Command) -> Result<Step, Failure> {
        if self.client_id.is_none() {
            return self.before_login(session, command);
        }
        if self.replayed_since_ms.is_none() && self.parked.holds_back(&command) {
            let since_ms = session.engine.clock.monotonic_ms();
            self.parked.push(ParkedCommand { command, since_ms });
            self.parked.settle(since_ms);
            return Ok(Step::Answered);
        }
        if let Command::Message(message) = command {
            self.apply_acknowledgements(session);
            return self.send(session, message);
        }
        if let Command::MessageAck(ack) = &command
            && ack.transaction_id.is_none()
        {
            return self.acknowledge(session, ack);
        }
        self.apply_acknowledgements(session);
        session.hand_over();
        match command {
            Command::MessageAck(ack) => self.acknowledge(session, &ack),
            Command::ConsumerInfo(info) => self.consume(session, &info),
            Command::ProducerInfo(info) => self.produce(session, &info),
            Command::RemoveInfo(info) => self.remove(session, &info),
            Command::TransactionInfo(info) => self.transact(session, &info),
            Command::DestinationInfo(info) => self.define(session, &info),
            Command::RemoveSubscriptionInfo(info) => self.forget_durable(session, &info),
            Command::MessagePull(pull) => self.pull(session, &pull),
            Command::ConsumerControl(control) => self.control(session, &control),
            Command::KeepAliveInfo(alive) => {
                if alive.response_required {
                    let alive = KeepAliveInfo {
                        response_required: false,
                        ..alive
                    };
                    session.reply(None, self.answers.render(&alive));
                }
                Ok(Step::Answered)
            }
            Command::ShutdownInfo(_) => {
                session.outbox.stop_deliveries();
                session.outbox.flush();
                session.close(Ending::Orderly);
                self.free_client_id(session);
                Ok(Step::Close(Ending::Orderly))
            }
            Command::ConnectionInfo(_) => {
                Err(Failure::not_yet("several connections over one socket are"))
            }
            Command::BrokerInfo(_) | Command::BrokerSubscriptionInfo(_) => {
                Err(Failure::not_yet("networks of brokers are"))
            }
            Command::SessionInfo(_)
            | Command::ConnectionControl(_)
            | Command::ConnectionError(_)
            | Command::ControlCommand(_)
            | Command::FlushCommand(_)
            | Command::Response(_)
            | Command::ExceptionResponse(_) => Ok(Step::Done),
            other => Err(Failure::io(format!(
                "{} means nothing to this broker",
                other.name()
            ))),
        }
    }

    pub(super) fn free_client_id(&mut self, session: &Session) {
        self.login = None;
        // The user may come again.
        self.access = None;
        if let Some(client_id) = self.client_id.take() {
            session.engine.connections.unregister(&client_id, &self.end);
            tracing::debug!(client_id, remote = %self.remote, "connection ended");
        }
    }
}

/// The transaction that a send or acknowledgement is part of.
fn transaction_of(command: &Command) -> Option<String> {
    let id = match command {
        Command::Message(WireMessage { transaction_id, .. }) => transaction_id.as_ref(),
        Command::MessageAck(ack) => ack.transaction_id.as_ref(),
        _ => None,
    }?;
    super::transact::name_of(id).ok()
}

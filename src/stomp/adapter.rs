//! The protocol of one STOMP connection: which frame may come when, and what each one does.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use bytes::{Bytes, BytesMut};
use ferrymq_protocols::sniff::{Opening, sniff};
use ferrymq_protocols::stomp::{
    ClientCommand, Command, DecodeOptions, Decoder, Frame, HeartBeat, HeartBeatTimers,
    TransactionCommand, Version, encode_receipt,
};
use ferrymq_protocols::{Limits, ProtocolError};
use tokio::sync::Notify;

use super::acknowledge::Unapplied;
use super::advisory::AdvisoryForm;
use super::names::Names;
use super::namespace;
use super::parked::{ParkKey, Parked};
use super::parking::{Parking, Replay};
use super::reply::Refusal;
use super::send::{Destinations, LastSend};
use super::subscribe::Subscriptions;
use super::temporary::Temporaries;
use crate::broker::Ending;
use crate::broker::governor::Cause;
use crate::security::{Access, PendingLogin, Security};
use crate::session::link::{Adapter, Next};
use crate::session::{Peer, Session, TransactionError};

/// How the listener speaks STOMP.
#[derive(Clone, Debug)]
pub struct StompSettings {
    /// The broker's name, for texts and message ids.
    pub broker_name: String,
    /// Bounds of frames.
    pub limits: Limits,
    /// Escapes to the letter or not.
    pub options: DecodeOptions,
    /// For clients that send no heart-beat header.
    pub default_heart_beat: HeartBeat,
    /// Shortest heart-beat interval.
    pub heart_beat_min_ms: u64,
    /// Longest one; 0 for none.
    pub heart_beat_max_ms: u64,
    /// Intervals a client may be silent.
    pub heart_beat_grace: f64,
    /// Time for CONNECT.
    pub connect_timeout_ms: u64,
    /// Close after every ERROR (D-1).
    pub close_on_error: bool,
    /// The `server` header of CONNECTED (CON-9).
    pub server: String,
    /// Refuse unknown ack modes.
    pub strict_ack_mode: bool,
    /// `content-length` on every MESSAGE (D-11).
    pub always_content_length: bool,
    /// A client id can be taken over (CON-8).
    pub allow_link_stealing: bool,
    /// Bounds of parked frames (SND-5).
    pub parked_frames_max: usize,
    /// The same in octets.
    pub parked_bytes_max: usize,
    /// Subscriptions of a connection; 0 for any number.
    pub subscriptions_max: usize,
    /// Who may come in and what they may do.
    pub security: Arc<Security>,
    /// How destinations are written.
    pub names: Names,
    /// A `reply-to` with a temporary queue of the connection subscribes to it, as with RabbitMQ.
    pub subscribes_replies: bool,
}

impl StompSettings {
    /// What message ids and generated client ids of this broker begin with, after `ID:`.
    #[must_use]
    pub fn id_prefix(&self) -> String {
        format!("{}-", self.broker_name)
    }
}

/// What became of a frame.
pub(super) enum Step {
    /// It was carried out or refused.
    Done,
    /// It must wait; it will be read again.
    Hold,
    /// It was carried out, and the connection ends.
    Close(Ending),
}

/// One STOMP connection.
pub struct Stomp {
    decoder: Decoder,
    state: State,
}

/// Everything but the decoder, which a frame borrows.
pub(super) struct State {
    pub(super) settings: Arc<StompSettings>,
    pub(super) remote: SocketAddr,
    /// The subject of the client's certificate, for the login (SEC-8).
    pub(super) certificate_dn: Option<Arc<str>>,
    pub(super) end: Arc<Notify>,
    /// The login that CONNECT waits for.
    pub(super) login: Option<PendingLogin>,
    /// What the client may do; set by CONNECT.
    pub(super) access: Option<Access>,
    /// Set by CONNECT.
    pub(super) client_id: Option<String>,
    /// Whether the client gave the id itself (SUB-2).
    pub(super) own_client_id: bool,
    pub(super) version: Version,
    pub(super) timers: HeartBeatTimers,
    pub(super) destinations: Destinations,
    /// The SEND before, if the next may repeat it.
    pub(super) last_send: Option<LastSend>,
    pub(super) subscriptions: Subscriptions,
    pub(super) temporaries: Temporaries,
    pub(super) parked: Parked,
    /// The parked frame that is read again.
    pub(super) replay: Option<Replay>,
    pub(super) unapplied: Unapplied,
    /// What message ids of this broker begin with.
    pub(super) id_prefix: String,
    /// How advisories look to its subscriptions; made with the first.
    advisories: OnceLock<Arc<AdvisoryForm>>,
    /// What the RECEIPT of the SEND that is carried out has to warn of.
    pub(super) warning: Option<String>,
    /// Subscriptions whose RECEIPT waits for a sync before deliveries may flow.
    pub(super) starting: Vec<u64>,
    pub(super) scratch: Vec<u8>,
    opened_ms: u64,
    last_heard_ms: u64,
    sniffed: bool,
}

/// How often a batch that waits for space in the store is looked at, beside when somebody tells that there is some.
const STALL_POLL_MS: u64 = 1000;

impl Stomp {
    /// A connection from `peer` that has said nothing yet; `end` ends it from elsewhere.
    #[must_use]
    pub fn new(settings: Arc<StompSettings>, peer: Peer, end: Arc<Notify>, now_ms: u64) -> Self {
        let mut decoder = Decoder::new(settings.limits, settings.options);
        decoder.set_before_login(true);
        let id_prefix = settings.id_prefix();
        let state = State {
            settings,
            remote: peer.address,
            certificate_dn: peer.certificate_dn,
            end,
            login: None,
            access: None,
            client_id: None,
            own_client_id: false,
            version: Version::V10,
            timers: HeartBeatTimers::default(),
            destinations: Destinations::default(),
            last_send: None,
            subscriptions: Subscriptions::default(),
            temporaries: Temporaries::default(),
            parked: Parked::default(),
            replay: None,
            unapplied: Unapplied::default(),
            id_prefix,
            advisories: OnceLock::new(),
            warning: None,
            starting: Vec::new(),
            scratch: Vec::new(),
            opened_ms: now_ms,
            last_heard_ms: now_ms,
            sniffed: false,
        };
        Self { decoder, state }
    }
}

impl Adapter for Stomp {
    fn input(&mut self, session: &mut Session, input: &mut BytesMut) -> Next {
        if !self.state.sniffed {
            match self.state.sniff(input) {
                Opening::Undecided | Opening::Stomp => {}
                Opening::Unknown => self.state.sniffed = true,
                _ => return Next::Close(Ending::Died),
            }
        }
        if let Step::Close(ending) = self.state.follow_access(session) {
            return Next::Close(ending);
        }
        session.look_at_clock();
        session.retry_stalled();
        // Frozen while frames are read from it, so that a large body can stay where it is.
        let octets = std::mem::take(input).freeze();
        let mut taken = 0;
        let next = loop {
            let rest = &octets[taken..];
            let frame = match self.decoder.decode(rest) {
                Ok(Some(frame)) => frame,
                Ok(None) => {
                    taken += self.decoder.take_idle();
                    break Next::Read;
                }
                Err(error) => {
                    self.fail(session, rest, &error);
                    taken = octets.len();
                    break Next::Close(Ending::Died);
                }
            };
            let consumed = frame.consumed;
            if frame.repeats && self.state.send_again(session, &frame, &octets) {
                taken += consumed;
                continue;
            }
            match self
                .state
                .handle(session, &frame, &octets, &rest[..consumed])
            {
                Step::Done => taken += consumed,
                Step::Hold => break Next::Wait,
                Step::Close(ending) => {
                    taken = octets.len();
                    break Next::Close(ending);
                }
            }
            if self.decoder.version() != self.state.version {
                self.decoder.set_version(self.state.version);
            }
            self.decoder
                .set_before_login(self.state.client_id.is_none());
        };
        let next = match self.state.apply_acknowledgements(session) {
            Step::Close(ending) => Next::Close(ending),
            _ => next,
        };
        session.end_batch();
        *input = session.engine.buffers.thaw(octets, taken);
        next
    }

    fn is_idle(&self) -> bool {
        self.state.parked.is_empty()
    }

    fn woken(&mut self, session: &mut Session) -> Next {
        if let Step::Close(ending) = self.state.follow_access(session) {
            return Next::Close(ending);
        }
        if let Step::Close(ending) = self.state.end_slow(session) {
            return Next::Close(ending);
        }
        session.retry_stalled();
        if !self.state.starting.is_empty() && !session.outbox.watch_due() {
            for serial in std::mem::take(&mut self.state.starting) {
                session.start_waiting(serial);
            }
        }
        let step = self.state.replay(session);
        session.end_batch();
        match step {
            Step::Close(ending) => Next::Close(ending),
            _ => Next::Read,
        }
    }

    fn deadline_ms(&self, session: &Session) -> Option<u64> {
        let state = &self.state;
        if state.client_id.is_none() {
            return Some(state.opened_ms + state.settings.connect_timeout_ms);
        }
        let send = state
            .timers
            .next_send_ms(session.outbox.last_write_ms().max(state.opened_ms));
        let dead = state.timers.dead_at_ms(state.last_heard_ms);
        if !session.is_stalled() && state.parked.is_empty() {
            return [send, dead].into_iter().flatten().min();
        }
        let now_ms = session.engine.clock.monotonic_ms();
        let stalled = session.is_stalled().then_some(now_ms + STALL_POLL_MS);
        let look = state.parked.next_look_ms(now_ms);
        [send, dead, stalled, look].into_iter().flatten().min()
    }

    fn tick(&mut self, session: &mut Session, now_ms: u64) -> Next {
        let state = &mut self.state;
        if state.client_id.is_none() {
            let what = match state.login {
                Some(_) => "not logged in within stomp.connect_timeout, closed",
                None => "no CONNECT within stomp.connect_timeout, closed",
            };
            tracing::info!(remote = %state.remote, "{what}");
            return Next::Close(Ending::Died);
        }
        if state.timers.is_dead(now_ms, state.last_heard_ms) {
            let silent_ms = now_ms - state.last_heard_ms;
            tracing::info!(client_id = state.client_id, remote = %state.remote, silent_ms, "no heart-beat, closed");
            session.outbox.close();
            return Next::Close(Ending::Died);
        }
        if state
            .timers
            .is_send_due(now_ms, session.outbox.last_write_ms().max(state.opened_ms))
        {
            session.outbox.append(b"\n");
        }
        Next::Read
    }

    fn heard(&mut self, now_ms: u64) {
        self.state.last_heard_ms = now_ms;
    }

    fn bytes_at_limit(&self) -> u64 {
        let state = &self.state;
        state
            .settings
            .parked_bytes_max
            .saturating_sub(state.parked.bytes()) as u64
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
        self.state.tell(session, &Refusal::connection(text), None);
    }

    fn stopping(&mut self, session: &mut Session) {
        if self.state.client_id.is_some() {
            let refusal = Refusal::connection("the broker is stopping");
            self.state.tell(session, &refusal, None);
        }
    }

    fn ended(&mut self, session: &mut Session) {
        self.state.free_client_id(session);
    }
}

impl Stomp {
    /// Octets that are no STOMP: ERROR, then close (ERR-2).
    fn fail(&mut self, session: &mut Session, rest: &[u8], error: &ProtocolError) {
        session.hand_over();
        tracing::info!(remote = %self.state.remote, client_id = self.state.client_id, %error, "frame refused, closed");
        let mut refusal = Refusal::connection(error.message());
        if let Some((_, key)) = error.limit() {
            refusal.message = format!("{} ({key})", error.message());
        }
        let failed = self.decoder.failed_head(rest);
        self.state.tell(session, &refusal, failed);
    }
}

impl State {
    /// Says what opened the connection if it was not STOMP (FRM-15).
    fn sniff(&mut self, input: &[u8]) -> Opening {
        let opening = sniff(input);
        self.sniffed = opening == Opening::Stomp;
        if !matches!(
            opening,
            Opening::Undecided | Opening::Stomp | Opening::Unknown
        ) {
            tracing::warn!(remote = %self.remote, found = opening.name(), "not STOMP on a STOMP port, closed");
        }
        opening
    }

    /// Carries one frame out; `raw` is the frame as it came, `octets` the memory it lies in.
    pub(super) fn handle(
        &mut self,
        session: &mut Session,
        frame: &Frame<'_>,
        octets: &Bytes,
        raw: &[u8],
    ) -> Step {
        match self.carry_out(session, frame, octets, raw) {
            Ok(step) => step,
            Err(refusal) => self.refuse(session, frame, &refusal),
        }
    }

    pub(super) fn refuse(
        &mut self,
        session: &mut Session,
        frame: &Frame<'_>,
        refusal: &Refusal,
    ) -> Step {
        session.hand_over();
        tracing::debug!(remote = %self.remote, client_id = self.client_id, refusal.message, "frame refused");
        self.tell(session, refusal, Some((frame.command, frame.headers)));
        if refusal.fatal || self.settings.close_on_error {
            Step::Close(Ending::Died)
        } else {
            Step::Done
        }
    }

    /// Sends an ERROR frame.
    pub(super) fn tell(
        &mut self,
        session: &mut Session,
        refusal: &Refusal,
        failed: Option<(Command, ferrymq_protocols::stomp::Headers<'_>)>,
    ) {
        let mut out = std::mem::take(&mut self.scratch);
        out.clear();
        match self.prefix() {
            "" => refusal.render(self.version, failed, &mut out),
            prefix => {
                let message = namespace::leave(&refusal.message, prefix);
                let refusal = refusal.saying(message);
                refusal.render(self.version, failed, &mut out);
            }
        }
        session.reply(None, &out);
        self.scratch = out;
    }

    fn carry_out(
        &mut self,
        session: &mut Session,
        frame: &Frame<'_>,
        octets: &Bytes,
        raw: &[u8],
    ) -> Result<Step, Refusal> {
        if self.client_id.is_none() && !matches!(frame.command, Command::Connect | Command::Stomp) {
            let name = frame.command.name();
            return Err(Refusal::connection(format!(
                "Not connected: {name} received before CONNECT"
            )));
        }
        let command = ClientCommand::parse(frame)?;
        if let ClientCommand::Send(send) = &command {
            if let Step::Close(ending) = self.apply_acknowledgements(session) {
                return Ok(Step::Close(ending));
            }
            return self.send(session, send, octets, raw);
        }
        if let Some(step) = self.park_behind(session, &command, raw)? {
            return Ok(step);
        }
        if let ClientCommand::Ack(_) | ClientCommand::Nack(_) = command {
        } else if let Step::Close(ending) = self.apply_acknowledgements(session) {
            return Ok(Step::Close(ending));
        }
        session.hand_over();
        match command {
            ClientCommand::Send(_) => unreachable!("handled above"),
            ClientCommand::Connect(connect) => return self.connect(session, &connect),
            ClientCommand::Subscribe(subscribe) => return self.subscribe(session, &subscribe),
            ClientCommand::Unsubscribe(unsubscribe) => self.unsubscribe(session, &unsubscribe)?,
            ClientCommand::Ack(ack) => {
                return self.acknowledge(session, &ack, crate::broker::Ack::Consumed, raw);
            }
            ClientCommand::Nack(ack) => {
                return self.acknowledge(session, &ack, crate::broker::Ack::Failed, raw);
            }
            ClientCommand::Begin(begin) => {
                session
                    .begin(&begin.transaction)
                    .map_err(|error| Refusal::frame(error.to_string()))?;
                self.answer(begin.receipt.as_deref(), |answer| {
                    session.reply(None, answer)
                });
            }
            ClientCommand::Commit(commit) => return self.commit(session, &commit, raw),
            ClientCommand::Abort(abort) => self
                .answer(abort.receipt.as_deref(), |answer| {
                    session.abort(&abort.transaction, answer)
                })
                .map_err(|error| Refusal::frame(error.to_string()))?,
            ClientCommand::Disconnect(disconnect) => {
                self.refuse_parked(session);
                session.outbox.stop_deliveries();
                // Before the RECEIPT can go out: who has it may come back at once under the same client id, to the
                // same durable subscription, for the messages it gave back.
                session.outbox.flush();
                session.close(Ending::Orderly);
                self.free_client_id(session);
                self.answer(disconnect.receipt.as_deref(), |answer| {
                    session.reply(None, answer)
                });
                return Ok(Step::Close(Ending::Orderly));
            }
        }
        Ok(Step::Done)
    }

    /// Commits, or waits until the store has room for what the transaction sends (USE-3).
    fn commit(
        &mut self,
        session: &mut Session,
        commit: &TransactionCommand<'_>,
        raw: &[u8],
    ) -> Result<Step, Refusal> {
        let id = &commit.transaction;
        let lacking = match session.commit_shortage(id) {
            None => {
                let committed = self.answer(commit.receipt.as_deref(), |answer| {
                    session.commit(id, answer)
                });
                match committed {
                    Ok(()) => return Ok(Step::Done),
                    // It was there a moment ago.
                    Err(TransactionError::StoreFull) => session.stored_sends(id),
                    Err(error) => return Err(Refusal::frame(error.to_string())),
                }
            }
            Some(cells) => cells,
        };
        if lacking.iter().any(|cell| cell.limits().fails_if_no_space) {
            return Err(Refusal::frame(TransactionError::StoreFull.to_string()));
        }
        let cause = session.engine.store_shortage();
        let parking = Parking {
            key: ParkKey::Transaction(id.to_string()),
            raw,
            cells: &lacking,
            causes: vec![cause.unwrap_or(Cause::Behind)],
            commits: true,
        };
        self.park(session, parking)
    }

    fn free_client_id(&mut self, session: &Session) {
        self.login = None;
        // The user may come again.
        self.access = None;
        if let Some(client_id) = self.client_id.take() {
            session.engine.connections.unregister(&client_id, &self.end);
            tracing::debug!(client_id, remote = %self.remote, "connection ended");
        }
    }

    /// Renders the RECEIPT that a frame asked for, if it did, and hands it to `f`.
    pub(super) fn answer<R>(&mut self, receipt: Option<&str>, f: impl FnOnce(&[u8]) -> R) -> R {
        self.answer_with(receipt, &[], f)
    }

    /// The same with further headers.
    pub(super) fn answer_with<R>(
        &mut self,
        receipt: Option<&str>,
        extra: &[(&str, &str)],
        f: impl FnOnce(&[u8]) -> R,
    ) -> R {
        self.scratch.clear();
        if let Some(receipt) = receipt {
            encode_receipt(self.version, receipt, extra, &mut self.scratch);
        }
        f(&self.scratch)
    }

    /// The connection's client id; empty before CONNECT.
    pub(super) fn client_id(&self) -> &str {
        self.client_id.as_deref().unwrap_or_default()
    }

    /// How advisories look to the subscriptions of this connection.
    pub(super) fn advisory_form(&self, session: &Session) -> &Arc<AdvisoryForm> {
        self.advisories.get_or_init(|| {
            Arc::new(AdvisoryForm {
                id_prefix: self.id_prefix.clone(),
                properties: Arc::clone(session.engine.advisories.properties()),
            })
        })
    }
}

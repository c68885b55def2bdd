//! Building a broker from its configuration, and stopping it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use ferrymq_protocols::Limits;
use ferrymq_protocols::stomp::{DecodeOptions, HeartBeat};
use ferrymq_store::Temp;
use ferrymq_store::io::{Disk, RealDisk};
use thiserror::Error;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::broker::{Destination, GroupMark, Message};
use crate::clock::Clock;
use crate::config::disk::Resolved;
use crate::config::reload::Changes;
use crate::config::{
    ByteSize, Config, Dialect, DiskLimit, Listener as Listening, Problems, ProxyProtocol,
    SizeOrPercent,
};
use crate::engine::advisories::AdvisorySettings;
use crate::engine::durability::Durability;
use crate::engine::governor::UsageLimits;
use crate::engine::housekeeping::HouseRules;
use crate::engine::manage::{ManageError, Managed};
use crate::engine::opening::{self, OpenError};
use crate::engine::properties::PropertyReaders;
use crate::engine::recover::Opened;
use crate::engine::{Engine, Settings, StoreError, TemporaryRules};
use crate::openwire::{self, OpenWireProperties, OpenWireSettings, WIRE_OPENWIRE};
use crate::security::{Security, SecurityError};
use crate::session::Bounds;
use crate::stomp::{self, Names, StompProperties, StompSettings, WIRE_STOMP};
use crate::transport::certificates::{CertificateError, Certificates, ClientAuth, TlsSettings};
use crate::transport::listener::{Listener, Protocol, Service, Speaks, Tls};
use crate::virtual_destinations;

/// The broker; see [`Broker::builder`].
#[derive(Debug)]
pub struct Broker;

impl Broker {
    /// Begins to set a broker up.
    #[must_use]
    pub fn builder() -> Builder {
        Builder::default()
    }
}

/// A broker that does not run yet.
#[derive(Debug, Default)]
pub struct Builder {
    config: Config,
    clock: Option<Clock>,
    disk: Option<Arc<dyn Disk>>,
}

/// Why a broker did not start.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StartError {
    /// The configuration is wrong.
    #[error(transparent)]
    Config(#[from] Problems),
    /// An address cannot be listened on.
    #[error("cannot listen on {address}, which is {key}")]
    Bind {
        /// The key of the address.
        key: String,
        /// The address.
        address: SocketAddr,
        /// Why not.
        source: std::io::Error,
    },
    /// The certificate of the listeners with TLS cannot be used.
    #[error("no TLS with {0}")]
    Certificate(#[from] CertificateError),
    /// Users or access rules cannot be read.
    #[error(transparent)]
    Security(#[from] SecurityError),
    /// The journal cannot be opened.
    #[error("cannot open the store in {}, which is broker.data_dir", directory.display())]
    Store {
        /// The data directory.
        directory: PathBuf,
        /// Why not.
        source: OpenError,
    },
    /// Temporary storage cannot be used.
    #[error("cannot use {} for temporary storage", directory.display())]
    Temp {
        /// Its directory.
        directory: PathBuf,
        /// Why not.
        source: OpenError,
    },
    /// A thread cannot be started.
    #[error("cannot start a thread")]
    Thread(#[from] std::io::Error),
}

impl Builder {
    /// Sets the configuration; without it the defaults hold.
    #[must_use]
    pub fn config(mut self, config: Config) -> Self {
        self.config = config;
        self
    }

    /// Sets the clock; without it the system's is used.
    #[must_use]
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = Some(clock);
        self
    }

    /// Sets the disk of the journal; without it the file system's is used. For harnesses that let it fail.
    #[must_use]
    pub fn disk(mut self, disk: Arc<dyn Disk>) -> Self {
        self.disk = Some(disk);
        self
    }

    /// Starts the broker; it accepts connections when this returns.
    ///
    /// # Errors
    /// If the configuration is wrong, the store cannot be opened, or an address cannot be listened on.
    pub async fn start(self) -> Result<Handle, StartError> {
        let config = self.config;
        config.check()?;
        warn_of_policies(&config);
        warn_of_virtual_destinations(&config);
        let clock = self.clock.unwrap_or_default();
        let certificates = load_certificates(&config, &clock)?;
        let security = read_security(&config, &clock).await?;
        // The addresses first: a broker that cannot listen leaves the store alone.
        let mut bound = Vec::new();
        for listening in config.listeners().into_iter().filter(|one| one.enabled) {
            bound.push((bind(&listening).await?, listening));
        }

        let durability = Arc::new(Durability::default());
        let disk = self.disk.unwrap_or_else(|| Arc::new(RealDisk));
        let store_bytes = store_bytes_max(&config).await?;
        let opened = open_store(&config, Arc::clone(&disk), store_bytes, &durability).await?;
        // Behind the lock on the data directory: what lies there is removed.
        let temp = open_temp(&config, disk).await?;
        let stomp_settings = stomp_settings(&config, &security);
        let reader = StompProperties::new(stomp_settings.id_prefix());
        let readers = PropertyReaders::default();
        readers.register(WIRE_STOMP, Arc::new(reader));
        readers.register(WIRE_OPENWIRE, Arc::new(OpenWireProperties));
        let (mut settings, readers) = (settings(&config), Arc::new(readers));
        if let Some(((_, address), _)) = bound.first() {
            settings.advisories.broker_url = format!("tcp://{address}");
        }
        let engine = Engine::build_with(settings, clock, durability, opened, readers)?;
        engine.spill_to(temp)?;
        engine.set_namespaces(namespaces(&config));
        engine.start_scheduler()?;
        let (stop, stopping) = watch::channel(false);
        let (alive, ended) = mpsc::channel(1);
        let timing = tokio::spawn(Arc::clone(&engine).keep_time(stopping.clone()));
        let service = Service {
            engine: Arc::clone(&engine),
            settings: Arc::new(stomp_settings),
            openwire: Arc::new(openwire_settings(&config, &security)),
            bounds: Bounds {
                open_max: config.stomp.open_transactions_max as usize,
                actions_max: config.stomp.transaction_actions_max as usize,
            },
            connections_max: config.stomp.connections_max as usize,
            user_timeout: config.stomp.tcp_user_timeout.get(),
            stopping: stopping.clone(),
            alive,
        };
        let (mut addresses, mut accepting) = (Vec::new(), Vec::new());
        for ((socket, address), listening) in bound {
            let name = listening.section;
            addresses.push((name, address));
            let listener = Listener {
                name,
                speaks: Arc::new(speaks(&config, &listening, certificates.as_ref())),
                service: service.clone(),
            };
            accepting.push(tokio::spawn(listener.run(socket)));
        }
        if let Some(certificates) = certificates.clone() {
            tokio::spawn(watch(certificates, stopping.clone()));
        }
        let keeping_house = tokio::spawn(Arc::clone(&engine).keep_house(house(&config), stopping));
        Ok(Handle {
            addresses,
            engine,
            config: Mutex::new(Box::new(config)),
            certificates,
            security,
            stop,
            ended,
            accepting,
            keeping_house,
            timing,
        })
    }
}

/// A broker that runs. Dropping it does not wait for anything; see [`Handle::shutdown`].
#[derive(Debug)]
pub struct Handle {
    /// By section of the configuration; `stomp` is the first.
    addresses: Vec<(&'static str, SocketAddr)>,
    engine: Arc<Engine>,
    /// What the broker works with; a reload changes it.
    config: Mutex<Box<Config>>,
    certificates: Option<Arc<Certificates>>,
    security: Arc<Security>,
    stop: watch::Sender<bool>,
    ended: mpsc::Receiver<()>,
    keeping_house: JoinHandle<()>,
    timing: JoinHandle<()>,
    accepting: Vec<JoinHandle<()>>,
}

/// Why dead letters were not retried.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RetryFailed {
    /// They were refused, or the journal refused.
    #[error(transparent)]
    Refused(#[from] ManageError),
    /// The journal died before the moves were on disk.
    #[error("the moves are not on disk")]
    NotSynced(#[from] StoreError),
    /// The thread that did it is gone.
    #[error("the retry was not carried out to its end")]
    Unfinished,
}

impl Handle {
    /// The address STOMP is served on, with the real port.
    #[must_use]
    pub fn stomp_addr(&self) -> SocketAddr {
        self.addresses[0].1
    }

    /// Where the broker listens, with the real ports: the name of the section that says so, and the address.
    #[must_use]
    pub fn addresses(&self) -> &[(&'static str, SocketAddr)] {
        &self.addresses
    }

    /// The address of one listener, by its section; `None` if it is off.
    #[must_use]
    pub fn address_of(&self, section: &str) -> Option<SocketAddr> {
        let mut addresses = self.addresses.iter();
        addresses
            .find(|(name, _)| *name == section)
            .map(|(_, address)| *address)
    }

    /// Whole days until the certificate of the listeners with TLS expires, negative when it has; `None` without TLS.
    #[must_use]
    pub fn certificate_days_left(&self) -> Option<i64> {
        Some(self.certificates.as_ref()?.days_left())
    }

    /// Reads again what can be read again while the broker runs: the certificate. If it cannot be used, the log says
    /// why, and the old one stays.
    pub fn reload_certificates(&self) {
        if let Some(certificates) = &self.certificates {
            certificates.reload();
        }
    }

    /// The engine, for harnesses that look inside.
    #[must_use]
    pub fn engine(&self) -> &Arc<Engine> {
        &self.engine
    }

    /// Takes over what can change while the broker runs: users and access rules, the users file included; virtual
    /// destinations; limits; policies, and the keys that are their defaults. Open connections follow at once. Other keys keep their value
    /// until the next start. Returns what differs.
    ///
    /// # Errors
    /// The configuration or the users file is wrong; everything stays as it was.
    pub async fn reload(&self, config: Config) -> Result<Changes, StartError> {
        config.check()?;
        let security = Arc::clone(&self.security);
        let settings = config.security.clone();
        blocking(move || security.reload(&settings)).await??;
        self.engine.connections.wake_all();
        self.engine.set_namespaces(namespaces(&config));
        let store_bytes = self.new_store_bytes_max(&config).await?;
        let mut running = self.config.lock().unwrap_or_else(PoisonError::into_inner);
        let changes = running.changes(&config);
        // What needs a restart stays: names are split as they were.
        running.adopt(config);
        if changes.limits {
            self.engine.set_limits(UsageLimits {
                memory_bytes: running.memory.limit_bytes(),
                memory_mark_bytes: running.memory.mark_bytes(),
                store_bytes,
                scheduler_bytes: running.scheduler.bytes_max.bytes(),
            });
        }
        if changes.policies || !changes.at_once.is_empty() {
            warn_of_policies(&running);
            self.engine.set_policies(running.policies());
        }
        if changes.virtual_destinations {
            warn_of_virtual_destinations(&running);
            self.engine
                .set_routes(virtual_destinations::rules(&running));
        }
        Ok(changes)
    }

    /// What `store.limit` of a configuration that was read again comes to where the store is.
    async fn new_store_bytes_max(&self, config: &Config) -> Result<Option<u64>, StartError> {
        let mut running = {
            let running = self.config.lock().unwrap_or_else(PoisonError::into_inner);
            running.clone()
        };
        if running.store.limit == config.store.limit {
            // It is not cut again because the disk has become fuller since.
            return Ok(self.engine.store_bytes_max());
        }
        running.store.limit = config.store.limit;
        store_bytes_max(&running).await
    }

    /// Moves dead letters that wait in the queue `dead_letters` back to where they failed: those that `wanted` wants,
    /// `count_max` at most (DLQ-6). What it returns is on disk.
    ///
    /// # Errors
    /// There is no such queue, it is none of dead letters, or the store refused.
    pub async fn retry_dead_letters(
        &self,
        dead_letters: Destination,
        count_max: u64,
        wanted: impl FnMut(&Message) -> bool + Send + 'static,
    ) -> Result<Managed, RetryFailed> {
        let engine = Arc::clone(&self.engine);
        let retried = tokio::task::spawn_blocking(move || {
            let retried = engine.retry(&dead_letters, count_max, wanted)?;
            if let (Some(store), Some(ticket)) = (&engine.store, retried.ticket) {
                store.wait(ticket)?;
            }
            Ok(retried)
        });
        retried.await.unwrap_or(Err(RetryFailed::Unfinished))
    }

    /// Waits until the broker has to stop on its own, and says why. Normally for ever.
    pub async fn failed(&self) -> String {
        self.engine.durability.failed().await
    }

    /// Stops the broker: no new connections, clients are told, unacked messages return, what is due is
    /// written, the journal is synced.
    pub async fn shutdown(mut self) {
        self.stop.send_replace(true);
        for accepting in self.accepting {
            if let Err(error) = accepting.await {
                tracing::error!(%error, "an acceptor has failed");
            }
        }
        if let Err(error) = self.keeping_house.await {
            tracing::error!(%error, "the housekeeping has failed");
        }
        if let Err(error) = self.timing.await {
            tracing::error!(%error, "the timer has failed");
        }
        // Every connection holds a sender; this ends when the last one has ended.
        while self.ended.recv().await.is_some() {}
        let engine = self.engine;
        let config = self.config.into_inner();
        let config = config.unwrap_or_else(PoisonError::into_inner);
        let close = move || {
            engine.close();
            if let Some(temp) = engine.temp().filter(|_| config.broker.ephemeral) {
                // It is there only if something was spilled.
                let _ = std::fs::remove_dir(temp.directory());
            }
        };
        let closed = tokio::task::spawn_blocking(close).await;
        if let Err(error) = closed {
            tracing::error!(%error, "the store was not closed in good order");
        }
    }
}

/// What the engine removes by itself, and when (GC-1, GC-2).
fn house(config: &Config) -> HouseRules {
    let destinations = &config.destinations;
    HouseRules {
        purge_interval: destinations.purge_interval.get(),
        purged_max: match destinations.purged_per_sweep_max {
            0 => usize::MAX,
            count => count as usize,
        },
        offline_interval: destinations.offline_durable_interval.get(),
        offline_timeout_ms: destinations.offline_durable_timeout.as_millis(),
    }
}

/// Says which keys of policies do nothing here.
fn warn_of_policies(config: &Config) {
    for warning in config.policy_warnings() {
        tracing::warn!("{warning}");
    }
}

/// What names of destinations begin with, of each namespace.
fn namespaces(config: &Config) -> Vec<String> {
    let namespaces = config.security.namespace.iter();
    namespaces.map(|one| format!("{}.", one.name)).collect()
}

/// Says what of virtual destinations may not be meant so.
fn warn_of_virtual_destinations(config: &Config) {
    for warning in config.virtual_warnings() {
        tracing::warn!("{warning}");
    }
}

async fn bind(listening: &Listening) -> Result<(TcpListener, SocketAddr), StartError> {
    let address = listening.listen;
    let bind_error = |source| StartError::Bind {
        key: format!("{}.listen", listening.section),
        address,
        source,
    };
    let socket = TcpListener::bind(address).await.map_err(bind_error)?;
    let address = socket.local_addr().map_err(bind_error)?;
    Ok((socket, address))
}

/// Reads the certificate if a listener needs it.
fn load_certificates(
    config: &Config,
    clock: &Clock,
) -> Result<Option<Arc<Certificates>>, StartError> {
    let mut listeners = config.listeners().into_iter();
    if !listeners.any(|one| one.enabled && one.tls) {
        return Ok(None);
    }
    let tls = &config.tls;
    let settings = TlsSettings {
        certificate: tls.certificate.clone(),
        private_key: tls.private_key.clone(),
        client_ca: tls.client_ca.clone(),
        client_auth: match (tls.need_client_auth, tls.want_client_auth) {
            (true, _) => ClientAuth::Needed,
            (false, true) => ClientAuth::Wanted,
            (false, false) => ClientAuth::Off,
        },
        reload_interval: tls.reload_interval.get(),
    };
    Ok(Some(Arc::new(Certificates::load(settings, clock.clone())?)))
}

async fn watch(certificates: Arc<Certificates>, mut stopping: watch::Receiver<bool>) {
    tokio::select! {
        () = certificates.watch() => {}
        _ = stopping.changed() => {}
    }
}

fn speaks(
    config: &Config,
    listening: &Listening,
    certificates: Option<&Arc<Certificates>>,
) -> Speaks {
    let protocol = match listening.section {
        "websocket" | "websocket_tls" => Protocol::WebSocket,
        "openwire" => Protocol::OpenWire,
        "auto" => Protocol::Auto,
        _ => Protocol::Stomp,
    };
    Speaks {
        protocol,
        tls: match certificates.filter(|_| listening.tls).map(Arc::clone) {
            None => Tls::Off,
            Some(certificates) if protocol == Protocol::Auto => Tls::Detected(certificates),
            Some(certificates) => Tls::Always(certificates),
        },
        proxies: match listening.proxy_protocol {
            ProxyProtocol::Off => None,
            ProxyProtocol::Required => Some(config.proxy.trusted.clone().into()),
        },
        origins: config.websocket.origins.clone().into(),
        message_bytes_max: config.websocket.message_bytes_max.bytes(),
        opening_bytes_max: config.stomp.before_login_bytes_max.to_usize(),
    }
}

/// Runs `work`, which reads files, where it holds up nobody.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, StartError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| StartError::Thread(std::io::Error::other(error)))
}

async fn read_security(config: &Config, clock: &Clock) -> Result<Arc<Security>, StartError> {
    let (settings, clock) = (config.security.clone(), clock.clone());
    let syntax = config.pattern_syntax();
    Ok(blocking(move || Security::new(&settings, syntax, clock)).await??)
}

/// What the journal may come to on the disk where it is; `None` if the system does not tell of that.
async fn store_bytes_max(config: &Config) -> Result<Option<u64>, StartError> {
    if config.broker.ephemeral {
        return Ok(None);
    }
    let (store, data) = (config.store.clone(), config.broker.data_dir.clone());
    let directory = data.display().to_string();
    let found = blocking(move || store.limit_on(&data)).await?;
    Ok(match found {
        Ok(Resolved { bytes, cut_from }) => {
            if let Some(asked_bytes) = cut_from {
                tracing::warn!(
                    asked_bytes,
                    limit_bytes = bytes,
                    directory,
                    "store.limit is more than the disk has free, and cut to that"
                );
            }
            Some(bytes)
        }
        Err(error) => {
            tracing::warn!(
                directory,
                %error,
                "the system does not tell how large the disk is: store.limit is not compared with it"
            );
            match config.store.limit {
                DiskLimit::Of(SizeOrPercent::Size(size)) => Some(size.bytes()),
                _ => None,
            }
        }
    })
}

async fn open_store(
    config: &Config,
    disk: Arc<dyn Disk>,
    limit_bytes: Option<u64>,
    durability: &Arc<Durability>,
) -> Result<Option<Opened>, StartError> {
    if config.broker.ephemeral {
        return Ok(None);
    }
    let directory = config.broker.data_dir.clone();
    let values = opening::StoreSettings {
        disk,
        directory: directory.clone(),
        segment_bytes: config.store.segment_bytes.bytes(),
        checkpoint_interval: config.store.checkpoint_interval.get(),
        compaction_rate: config.store.compaction_rate.bytes(),
        limit_bytes,
    };
    let durability = Arc::clone(durability);
    blocking(move || opening::open(&values, &durability))
        .await?
        .map(Some)
        .map_err(|source| StartError::Store { directory, source })
}

/// Opens temporary storage: in the data directory, or in a directory that goes with the broker if it keeps nothing.
async fn open_temp(config: &Config, disk: Arc<dyn Disk>) -> Result<Temp, StartError> {
    static STARTED: AtomicU64 = AtomicU64::new(0);
    let directory = if config.broker.ephemeral {
        let (process, number) = (std::process::id(), STARTED.fetch_add(1, Ordering::Relaxed));
        std::env::temp_dir().join(format!("ferrymq-{process}-{number}"))
    } else {
        config.broker.data_dir.join("temp")
    };
    let values = opening::TempSettings {
        disk,
        directory: directory.clone(),
        file_bytes: config.store.segment_bytes.bytes(),
    };
    let wanted = config.temp.clone();
    let limit = move |free_bytes| {
        let limit_bytes = wanted.limit_bytes(free_bytes);
        if wanted.is_cut(free_bytes) {
            tracing::warn!(
                limit_bytes,
                "temp.limit is cut to the free space of the disk"
            );
        }
        limit_bytes
    };
    let opened = blocking(move || opening::open_temp(&values, limit)).await?;
    opened.map_err(|source| StartError::Temp { directory, source })
}

fn settings(config: &Config) -> Settings {
    Settings {
        queue_window_bytes: config.memory.queue_window_bytes.bytes(),
        slow_subscriber_bytes_max: config.memory.slow_topic_subscriber_bytes_max.bytes(),
        outbox_bytes_max: config.stomp.outbox_bytes_max.bytes(),
        routes: virtual_destinations::rules(config),
        policies: Arc::new(config.policies()),
        memory_limit_bytes: config.memory.limit_bytes(),
        memory_mark_bytes: config.memory.mark_bytes(),
        scheduler_bytes_max: config.scheduler.bytes_max.bytes(),
        group_reader: Some(group_of),
        advisories: AdvisorySettings {
            enabled: config.broker.advisory_support,
            broker_name: config.broker.name.clone(),
            broker_url: String::new(),
        },
        temporaries: TemporaryRules {
            auto_create_on_send: config.destinations.temp_auto_create_on_send,
            purge_after_ms: config.destinations.temp_purge_after.as_millis(),
        },
    }
}

/// The group of a message, whichever wire it came in on.
fn group_of(message: &Message) -> Option<GroupMark<'_>> {
    match message.wire {
        WIRE_OPENWIRE => openwire::group_of(message),
        _ => stomp::group_of(message),
    }
}

fn openwire_settings(config: &Config, security: &Arc<Security>) -> OpenWireSettings {
    let (stomp, openwire) = (&config.stomp, &config.openwire);
    let u32_of = |size: ByteSize| u32::try_from(size.bytes()).unwrap_or(u32::MAX);
    OpenWireSettings {
        broker_name: config.broker.name.clone(),
        limits: ferrymq_protocols::openwire::Limits {
            frame_bytes_max: u32_of(openwire.frame_bytes_max),
            string_bytes_max: openwire.string_bytes_max,
            items_max: openwire.items_max,
            depth_max: openwire.depth_max,
            cache_bytes_max: u32_of(openwire.cache_bytes_max),
        },
        connect_timeout_ms: stomp.connect_timeout.as_millis(),
        inactivity_ms: openwire.inactivity.as_millis(),
        parked_bytes_max: stomp.parked_bytes_max.to_usize(),
        allow_link_stealing: stomp.allow_link_stealing,
        security: Arc::clone(security),
        syntax: config.pattern_syntax(),
    }
}

fn stomp_settings(config: &Config, security: &Arc<Security>) -> StompSettings {
    let stomp = &config.stomp;
    StompSettings {
        broker_name: config.broker.name.clone(),
        limits: Limits {
            command_bytes_max: stomp.command_bytes_max.to_usize(),
            header_bytes_max: stomp.header_bytes_max.to_usize(),
            headers_max: stomp.headers_max as usize,
            body_bytes_max: stomp.body_bytes_max.to_usize(),
            frame_bytes_max: stomp.frame_bytes_max.to_usize(),
            before_login_bytes_max: stomp.before_login_bytes_max.to_usize(),
        },
        options: DecodeOptions {
            strict_escapes: stomp.strict_escapes,
            compat_escape_10: stomp.compat_escape_10,
        },
        default_heart_beat: HeartBeat {
            send_ms: stomp.default_heart_beat.sends_ms.into(),
            want_ms: stomp.default_heart_beat.wants_ms.into(),
        },
        heart_beat_min_ms: stomp.heart_beat_min.as_millis(),
        heart_beat_max_ms: stomp.heart_beat_max.as_millis(),
        heart_beat_grace: stomp.heart_beat_grace,
        connect_timeout_ms: stomp.connect_timeout.as_millis(),
        close_on_error: stomp.close_on_error,
        server: stomp.server.clone(),
        strict_ack_mode: stomp.strict_ack_mode,
        always_content_length: stomp.always_content_length,
        allow_link_stealing: stomp.allow_link_stealing,
        parked_frames_max: stomp.parked_frames_max as usize,
        parked_bytes_max: stomp.parked_bytes_max.to_usize(),
        subscriptions_max: stomp.subscriptions_max as usize,
        security: Arc::clone(security),
        names: Names {
            syntax: config.pattern_syntax(),
            queue_prefixes: stomp.queue_prefix.clone(),
            topic_prefixes: stomp.topic_prefix.clone(),
            exchanges: stomp.exchange_map.0.clone(),
        },
        subscribes_replies: stomp.dialect == Dialect::RabbitMq,
    }
}

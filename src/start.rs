//! Building a broker from its configuration, and stopping it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use ferrymq_protocols::Limits;
use ferrymq_protocols::stomp::{DecodeOptions, HeartBeat};
use thiserror::Error;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

use crate::broker::{Destination, Message};
use crate::clock::Clock;
use crate::config::reload::Changes;
use crate::config::{Config, Duration, Problems};
use crate::engine::durability::Durability;
use crate::engine::opening::{self, OpenError};
use crate::engine::recover::Opened;
use crate::engine::retry::{Retried, RetryError};
use crate::engine::{Engine, Settings, StoreError};
use crate::session::Bounds;
use crate::stomp::{self, StompSettings};
use crate::transport::listener::StompListener;

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
        key: &'static str,
        /// The address.
        address: SocketAddr,
        /// Why not.
        source: std::io::Error,
    },
    /// The journal cannot be opened.
    #[error("cannot open the store in {}, which is broker.data_dir", directory.display())]
    Store {
        /// The data directory.
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

    /// Starts the broker; it accepts connections when this returns.
    ///
    /// # Errors
    /// If the configuration is wrong, the store cannot be opened, or an address cannot be listened on.
    pub async fn start(self) -> Result<Handle, StartError> {
        let config = self.config;
        config.check()?;
        warn_of_policies(&config);
        let clock = self.clock.unwrap_or_default();
        let address = config.stomp.listen;
        let bind_error = |source| StartError::Bind {
            key: "stomp.listen",
            address,
            source,
        };
        // The address first: a broker that cannot listen leaves the store alone.
        let listener = TcpListener::bind(address).await.map_err(bind_error)?;
        let stomp_addr = listener.local_addr().map_err(bind_error)?;

        let durability = Arc::new(Durability::default());
        let opened = open_store(&config, &durability).await?;
        let engine = Engine::build(settings(&config), clock, durability, opened)?;
        let (stop, stopping) = watch::channel(false);
        let (alive, ended) = mpsc::channel(1);
        let timing = tokio::spawn(Arc::clone(&engine).keep_time(stopping.clone()));
        let stomp = StompListener {
            engine: Arc::clone(&engine),
            settings: Arc::new(stomp_settings(&config)),
            bounds: Bounds {
                open_max: config.stomp.open_transactions_max as usize,
                actions_max: config.stomp.transaction_actions_max as usize,
            },
            connections_max: config.stomp.connections_max as usize,
            user_timeout: config.stomp.tcp_user_timeout.get(),
            stopping,
            alive,
        };
        let keeping_house = spawn_housekeeping(&config, &engine, stop.subscribe());
        let accepting = tokio::spawn(stomp.run(listener));
        Ok(Handle {
            stomp_addr,
            engine,
            config: Mutex::new(Box::new(config)),
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
    stomp_addr: SocketAddr,
    engine: Arc<Engine>,
    /// What the broker works with; a reload changes it.
    config: Mutex<Box<Config>>,
    stop: watch::Sender<bool>,
    ended: mpsc::Receiver<()>,
    accepting: JoinHandle<()>,
    keeping_house: JoinHandle<()>,
    timing: JoinHandle<()>,
}

/// Why dead letters were not retried.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RetryFailed {
    /// They were refused, or the journal refused.
    #[error(transparent)]
    Refused(#[from] RetryError),
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
        self.stomp_addr
    }

    /// The engine, for harnesses that look inside.
    #[must_use]
    pub fn engine(&self) -> &Arc<Engine> {
        &self.engine
    }

    /// Replaces the policies of destinations, and the keys that are their defaults, without dropping a connection. Other
    /// keys keep their value until the next start. Returns what differs.
    ///
    /// # Errors
    /// The new configuration is wrong; the old one goes on.
    pub fn reload(&self, config: Config) -> Result<Changes, Problems> {
        config.check()?;
        let mut running = self.config.lock().unwrap_or_else(PoisonError::into_inner);
        let changes = running.changes(&config);
        if changes.policies || !changes.at_once.is_empty() {
            warn_of_policies(&config);
            self.engine.set_policies(config.policies());
        }
        running.adopt(config);
        Ok(changes)
    }

    /// Moves dead letters that wait in the queue `dead_letters` back to where they failed: those that `wanted` wants,
    /// `count_max` at most (DLQ-6). What it returns is on disk.
    ///
    /// # Errors
    /// There is no such queue, it is none of dead letters, or the store refused.
    pub async fn retry_dead_letters(
        &self,
        dead_letters: Destination,
        count_max: usize,
        wanted: impl FnMut(&Message) -> bool + Send + 'static,
    ) -> Result<Retried, RetryFailed> {
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
        if let Err(error) = self.accepting.await {
            tracing::error!(%error, "the acceptor has failed");
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
        let closed = tokio::task::spawn_blocking(move || engine.close()).await;
        if let Err(error) = closed {
            tracing::error!(%error, "the store was not closed in good order");
        }
    }
}

/// Removes what nobody uses from time to time, if the configuration wants it (GC-1, GC-2).
fn spawn_housekeeping(
    config: &Config,
    engine: &Arc<Engine>,
    stopping: watch::Receiver<bool>,
) -> JoinHandle<()> {
    let destinations = &config.destinations;
    let count_max = match destinations.purged_per_sweep_max {
        0 => usize::MAX,
        count => count as usize,
    };
    let purge = repeat(destinations.purge_interval, stopping.clone(), {
        let engine = Arc::clone(engine);
        move || {
            engine.purge_idle(count_max);
        }
    });
    let timeout = destinations.offline_durable_timeout;
    let interval = if timeout.is_zero() {
        timeout
    } else {
        destinations.offline_durable_interval
    };
    let drop_durables = repeat(interval, stopping, {
        let engine = Arc::clone(engine);
        move || {
            engine.drop_offline_durables(timeout.as_millis());
        }
    });
    tokio::spawn(async move {
        tokio::join!(purge, drop_durables);
    })
}

/// Does something at an interval until the broker stops; never if the interval is nothing.
async fn repeat(interval: Duration, mut stopping: watch::Receiver<bool>, f: impl Fn()) {
    if interval.is_zero() {
        return;
    }
    let mut ticks = tokio::time::interval(interval.get());
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => f(),
            _ = stopping.wait_for(|stop| *stop) => return,
        }
    }
}

/// Says which keys of policies do nothing here.
fn warn_of_policies(config: &Config) {
    for warning in config.policy_warnings() {
        tracing::warn!("{warning}");
    }
}

async fn open_store(
    config: &Config,
    durability: &Arc<Durability>,
) -> Result<Option<Opened>, StartError> {
    if config.broker.ephemeral {
        return Ok(None);
    }
    let directory = config.broker.data_dir.clone();
    let values = opening::StoreSettings {
        directory: directory.clone(),
        segment_bytes: config.store.segment_bytes.bytes(),
        checkpoint_interval: config.store.checkpoint_interval.get(),
    };
    let durability = Arc::clone(durability);
    let opened = tokio::task::spawn_blocking(move || opening::open(&values, &durability)).await;
    let opened = opened.map_err(|error| StartError::Thread(std::io::Error::other(error)))?;
    opened
        .map(Some)
        .map_err(|source| StartError::Store { directory, source })
}

fn settings(config: &Config) -> Settings {
    Settings {
        queue_window_bytes: config.memory.queue_window_bytes.bytes(),
        slow_subscriber_bytes_max: config.memory.slow_topic_subscriber_bytes_max.bytes(),
        outbox_bytes_max: config.stomp.outbox_bytes_max.bytes(),
        policies: Arc::new(config.policies()),
        memory_limit_bytes: config.memory.limit_bytes(),
        group_reader: Some(stomp::group_of),
    }
}

fn stomp_settings(config: &Config) -> StompSettings {
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
    }
}

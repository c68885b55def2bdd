//! A broker of its own for a test, in this process, on a free port.

use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use ferrymq::broker::stats::Stats;
use ferrymq::broker::{Destination, Kind, QueuePolicy};
use ferrymq::config::Config;
use ferrymq::config::reload::Changes;
use ferrymq::engine::Engine;
use ferrymq::engine::cell::{Cell, Machine};
use ferrymq::engine::manage::Managed;
use ferrymq::{Broker, Handle, RetryFailed, StartError};
use ferrymq_store::io::Disk;
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};

use super::carrier::{self, TlsStream};
use super::client::Client;
use crate::transport::certificates::Authority;
use crate::wait::until;

/// A running broker; dropping it stops it.
pub(crate) struct Server {
    runtime: Option<Runtime>,
    handle: Option<Handle>,
    address: SocketAddr,
    /// Goes with the server.
    directory: Option<TempDir>,
    /// How its clients come, if not by TCP.
    over: Option<(Over, Box<Authority>)>,
}

/// How clients come to a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Over {
    /// By TLS.
    Tls,
    /// By WebSocket.
    WebSocket,
    /// By WebSocket over TLS.
    WebSocketTls,
    /// By TCP to the port that detects it.
    Detected,
    /// By WebSocket over TLS to the port that detects it.
    DetectedWebSocketTls,
}

impl Server {
    /// One that keeps nothing on disk.
    pub(crate) fn start() -> Self {
        Self::with(|_| {})
    }

    /// One that keeps nothing on disk, otherwise as `change` makes it.
    pub(crate) fn with(change: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config::default();
        config.broker.ephemeral = true;
        change(&mut config);
        Self::of(config)
    }

    /// One with this configuration, whatever its port.
    pub(crate) fn of(config: Config) -> Self {
        Self::built(Broker::builder(), config)
    }

    fn built(builder: ferrymq::Builder, mut config: Config) -> Self {
        config.stomp.listen.set_port(0);
        let runtime = Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("a runtime");
        let start = builder.config(config).start();
        let handle = runtime
            .block_on(Box::pin(start))
            .expect("the broker starts");
        Self {
            address: handle.stomp_addr(),
            runtime: Some(runtime),
            handle: Some(handle),
            directory: None,
            over: None,
        }
    }

    /// One that keeps nothing on disk and listens by every means; its clients come over one of them.
    pub(crate) fn over(over: Over, change: impl FnOnce(&mut Config)) -> Self {
        let authority = Authority::new();
        let mut server = Self::with(|config| {
            authority.configure(config);
            change(config);
        });
        server.over = Some((over, Box::new(authority)));
        server
    }

    /// The authority of a server that listens by every means.
    pub(crate) fn authority(&self) -> &Authority {
        let (_, authority) = self.over.as_ref().expect("it was started so");
        authority
    }

    pub(crate) fn handle(&self) -> &Handle {
        self.handle.as_ref().expect("it runs")
    }

    /// A connection by TCP to one of its listeners.
    pub(crate) fn tcp(&self, section: &str) -> TcpStream {
        carrier::tcp(self.handle().address_of(section).expect("it listens"))
    }

    /// The same by TLS.
    pub(crate) fn tls(&self, section: &str) -> TlsStream {
        carrier::tls(self.tcp(section), self.authority().client(None))
    }

    /// One with a store in a directory of its own, otherwise as `change` makes it.
    pub(crate) fn with_store(change: impl FnOnce(&mut Config)) -> Self {
        Self::stored(Broker::builder(), change)
    }

    /// One with a store on that disk.
    pub(crate) fn on_disk(disk: Arc<dyn Disk>, change: impl FnOnce(&mut Config)) -> Self {
        Self::stored(Broker::builder().disk(disk), change)
    }

    /// One on what another has left.
    pub(crate) fn in_directory(directory: TempDir) -> Self {
        let mut config = Config::default();
        config.broker.data_dir = directory.path().join("data");
        let mut server = Self::built(Broker::builder(), config);
        server.directory = Some(directory);
        server
    }

    /// Waits until it has to stop on its own, and says why.
    pub(crate) fn failure(&self) -> String {
        let runtime = self.runtime.as_ref().expect("it runs");
        runtime.block_on(self.handle().failed())
    }

    /// Stops it and gives what it leaves.
    pub(crate) fn abandon(mut self) -> TempDir {
        self.end();
        self.directory
            .take()
            .expect("it has a directory of its own")
    }

    fn stored(builder: ferrymq::Builder, change: impl FnOnce(&mut Config)) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let mut config = Config::default();
        config.broker.data_dir = directory.path().join("data");
        change(&mut config);
        let mut server = Self::built(builder, config);
        server.directory = Some(directory);
        server
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn engine(&self) -> &Arc<Engine> {
        self.handle.as_ref().expect("it runs").engine()
    }

    /// A connection that has said nothing.
    pub(crate) fn open(&self) -> Client {
        let Some((over, _)) = &self.over else {
            return Client::open(self.address);
        };
        let offered = "v12.stomp, v11.stomp, v10.stomp";
        match over {
            Over::Tls => Client::over(Box::new(self.tls("stomp_tls"))),
            Over::Detected => Client::over(Box::new(self.tcp("auto"))),
            Over::WebSocket => {
                let opened = carrier::websocket(self.tcp("websocket"), offered, &[]);
                Client::over(Box::new(opened.expect("the broker upgrades").0))
            }
            Over::WebSocketTls | Over::DetectedWebSocketTls => {
                let detected = *over == Over::DetectedWebSocketTls;
                let stream = self.tls(if detected { "auto" } else { "websocket_tls" });
                let opened = carrier::websocket(stream, offered, &[]);
                Client::over(Box::new(opened.expect("the broker upgrades").0))
            }
        }
    }

    /// A connection of version 1.2.
    pub(crate) fn client(&self) -> Client {
        self.client_of("1.2")
    }

    /// A connection of that version.
    pub(crate) fn client_of(&self, version: &str) -> Client {
        self.open()
            .connected(&format!("CONNECT accept-version:{version} host:x"))
    }

    /// A connection of version 1.2 with a client id.
    pub(crate) fn client_named(&self, id: &str) -> Client {
        self.open()
            .connected(&format!("CONNECT accept-version:1.2 host:x client-id:{id}"))
    }

    /// Shows what a CONNECT is answered.
    #[track_caller]
    pub(crate) fn connects(&self, head: &str, pattern: &str) {
        let mut client = self.open();
        client.put(head);
        client.expect(pattern);
        client.fence();
    }

    /// Shows that a CONNECT is refused.
    #[track_caller]
    pub(crate) fn turned_away(&self, head: &str, pattern: &str) {
        self.open().fatal(head, pattern);
    }

    /// Messages in a queue, in flight ones included.
    pub(crate) fn queue_len(&self, name: &str) -> usize {
        let Some(cell) = self.cell(&Destination::queue(name)) else {
            return 0;
        };
        let mut state = cell.lock();
        state.queue().expect("it is a queue").len()
    }

    /// Gives a queue the default rules as `change` makes them.
    pub(crate) fn policy(&self, queue: &str, change: impl FnOnce(&mut QueuePolicy)) {
        let engine = self.engine();
        let cell = engine.registry.get_or_create(&Destination::queue(queue));
        let mut rules = cell.rules();
        change(&mut Arc::make_mut(&mut rules.policy).queue);
        engine.set_rules(&cell, rules);
    }

    /// Reads the configuration again, as `change` makes it from the default.
    pub(crate) fn reconfigure(&self, change: impl FnOnce(&mut Config)) -> Changes {
        let mut config = Config::default();
        change(&mut config);
        self.reload(config).expect("a correct configuration")
    }

    /// Retries all dead letters in a queue.
    pub(crate) fn retry(&self, queue: &str) -> Result<Managed, RetryFailed> {
        let (runtime, handle) = (self.runtime.as_ref(), self.handle.as_ref());
        let handle = handle.expect("it runs");
        let retry = handle.retry_dead_letters(Destination::queue(queue), u64::MAX, |_| true);
        runtime.expect("it runs").block_on(retry)
    }

    /// The counters of a destination.
    pub(crate) fn stats(&self, kind: Kind, name: &str) -> Stats {
        let name = name.into();
        let cell = self.cell(&Destination { kind, name }).expect("it is there");
        let state = cell.lock();
        match &state.machine {
            Machine::Queue(queue) => queue.stats,
            Machine::Topic(topic) => topic.stats,
        }
    }

    fn cell(&self, destination: &Destination) -> Option<Arc<Cell>> {
        self.engine().registry.get(destination)
    }

    /// Waits until no more connections than these are left.
    pub(crate) fn until_only(&self, count: usize) {
        until("connections to end", || {
            (self.engine().connections.len() <= count).then_some(())
        });
    }

    /// Waits until the connection with this client id has ended, and what it held has returned.
    pub(crate) fn until_gone(&self, client_id: &str) {
        until("a connection to end", || {
            (!self.engine().connections.has(client_id)).then_some(())
        });
    }

    /// Has the broker take over another configuration while it runs.
    pub(crate) fn reload(&self, config: Config) -> Result<Changes, StartError> {
        let (runtime, handle) = (self.runtime.as_ref(), self.handle.as_ref());
        let reload = handle.expect("it runs").reload(config);
        runtime.expect("it runs").block_on(Box::pin(reload))
    }

    /// Stops it in good order.
    pub(crate) fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        if let (Some(runtime), Some(handle)) = (self.runtime.take(), self.handle.take()) {
            runtime.block_on(handle.shutdown());
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end();
    }
}

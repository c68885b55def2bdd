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
pub mod engine;
pub mod openwire;
pub mod security;
pub mod session;
pub mod stomp;
pub mod telemetry;
pub mod transport;

mod start;
mod virtual_destinations;

pub use start::{Broker, Builder, Handle, RetryFailed, StartError};

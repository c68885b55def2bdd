//! ferrymq: a message broker with JMS semantics.

pub mod clock;
pub mod config;
pub mod telemetry;

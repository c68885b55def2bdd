//! The integration tests: one binary, a module per behaviour.

mod cli;
mod hostile;
mod restart;
mod security;
mod tidy;
mod transport;
mod wait;
mod wire;

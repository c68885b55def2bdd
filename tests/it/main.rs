//! The integration tests: one binary, a module per behaviour.

mod cli;
mod tidy;
mod wait;
mod wire;

//! The integration tests: one binary, a module per behaviour.

mod advisories;
mod cli;
mod destinations;
mod disk;
mod duplicates;
mod hostile;
mod limits;
mod namespaces;
mod openwire;
mod restart;
mod retroactive;
mod security;
mod slow_consumers;
mod spilling;
mod statistics;
mod store_tools;
mod tidy;
mod topics;
mod transport;
mod virtual_topics;
mod wait;
mod wire;

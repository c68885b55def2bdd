//! The integration tests of the crate, one module per behaviour.

mod corpus;
mod limits;
mod openwire;
mod round_trip;
mod splits;

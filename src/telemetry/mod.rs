//! What the broker tells about itself.
//!
//! Not here: what is told. Each part logs its own events; see `logging.rs` for how they are written.

pub mod logging;

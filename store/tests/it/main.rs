//! The store from outside: on a real disk, and on a simulated one that fails.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod compact;
mod crash;
mod damage;
mod faults;
mod limit;
mod model;
mod real;
mod support;
mod upgrade;

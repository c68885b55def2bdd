//! STOMP over a raw socket: the list of wire cases, part by part, each part a table.

mod acknowledging;
mod browsing;
mod carried;
pub(crate) mod carrier;
mod choosing;
pub(crate) mod client;
mod connecting;
mod coverage;
mod declaring;
mod dialects;
mod durable;
mod ending;
mod grouping;
mod heart_beats;
mod policies;
mod redelivering;
mod scheduling;
mod selecting;
mod sending;
pub(crate) mod server;
mod subscribing;
mod syntax;
mod table;
mod transactions;

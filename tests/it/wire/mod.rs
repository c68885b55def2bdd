//! STOMP over a raw socket: the list of wire cases, part by part, each part a table.

mod acknowledging;
mod client;
mod connecting;
mod durable;
mod ending;
mod heart_beats;
mod sending;
mod server;
mod subscribing;
mod syntax;
mod table;
mod transactions;

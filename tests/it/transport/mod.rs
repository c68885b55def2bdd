//! What lies between TCP and STOMP: TLS, WebSocket, proxies, detection. That STOMP is the same by each of them stands in
//! `wire/carried.rs`.

pub(crate) mod certificates;
mod proxies;
mod tls;
mod websocket;

/// Cases of the list that are tested here.
pub(crate) const COVERED: &[&str] = &["C344", "C345", "C346", "C347", "C348", "C349", "C350"];

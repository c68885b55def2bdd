//! The list of wire cases by TLS, by WebSocket, by both, and by the port that detects them: the same code serves them,
//! and this shows it.

use super::server::{Over, Server};
use super::table::{Case, check_on};
use super::{acknowledging, connecting, ending, heart_beats, sending, subscribing, transactions};

const TABLES: [&[Case]; 7] = [
    acknowledging::CASES,
    connecting::CASES,
    ending::CASES,
    heart_beats::CASES,
    sending::CASES,
    subscribing::CASES,
    transactions::CASES,
];

/// Cases whose client writes to the socket itself, beneath what carries it; and C061, in which the broker ends a dead
/// connection without a word, which only TCP takes for an end in good order.
const BY_TCP_ONLY: &[&str] = &["C049", "C050", "C059", "C061"];
/// What a port for STOMP alone closes at once.
const NOT_DETECTED: &[&str] = &["C045"];

fn carried(over: Over, except: &[&[&str]]) {
    let server = Server::over(over, |_| {});
    for cases in TABLES {
        let has = |name: &&str| cases.iter().any(|case| case.name == *name);
        let except: Vec<&str> = except.concat().into_iter().filter(has).collect();
        check_on(&server, cases, &except);
    }
}

#[test]
fn by_tls() {
    carried(Over::Tls, &[BY_TCP_ONLY]);
}

#[test]
fn by_websocket() {
    carried(Over::WebSocket, &[BY_TCP_ONLY]);
}

#[test]
fn by_websocket_over_tls() {
    carried(Over::WebSocketTls, &[BY_TCP_ONLY]);
}

#[test]
fn by_a_port_that_detects_them() {
    carried(Over::Detected, &[NOT_DETECTED]);
    carried(Over::DetectedWebSocketTls, &[BY_TCP_ONLY]);
}

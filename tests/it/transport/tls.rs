//! TLS: client certificates, new certificates, and octets in bulk. Spec: behaviour SEC-8, SEC-10, cases C350.

use ferrymq::config::Duration;
use std::io::{Read, Write};
use std::sync::Arc;
use std::thread;

use rustls::ClientConfig;

use super::certificates::Authority;
use crate::wait::until;
use crate::wire::carrier::{self, Carrier, TlsStream};
use crate::wire::client::{Client, frame};
use crate::wire::server::{Over, Server};

const CONNECT: &str = "CONNECT accept-version:1.2 host:x";

/// Whether a client with this configuration gets as far as CONNECTED.
fn is_accepted(server: &Server, config: Arc<ClientConfig>) -> bool {
    let mut stream = carrier::tls(server.tcp("stomp_tls"), config);
    let written = stream.write_all(&frame(CONNECT, ""));
    let mut answer = [0; 9];
    let read = stream.read_exact(&mut answer);
    written.is_ok() && read.is_ok() && &answer == b"CONNECTED"
}

#[test]
fn a_client_without_a_certificate_is_refused_where_one_is_needed() {
    // C350
    let server = Server::over(Over::Tls, |config| config.tls.need_client_auth = true);
    let authority = server.authority();
    let (own, foreign) = (
        authority.pair("app", 2100),
        Authority::new().pair("app", 2100),
    );
    assert!(!is_accepted(&server, authority.client(None)));
    assert!(!is_accepted(&server, authority.client(Some(&foreign))));
    assert!(is_accepted(&server, authority.client(Some(&own))));
}

#[test]
fn where_a_certificate_is_wanted_none_will_do_but_a_foreign_one_will_not() {
    let server = Server::over(Over::Tls, |config| config.tls.want_client_auth = true);
    let authority = server.authority();
    let (own, foreign) = (
        authority.pair("app", 2100),
        Authority::new().pair("app", 2100),
    );
    assert!(is_accepted(&server, authority.client(None)));
    assert!(!is_accepted(&server, authority.client(Some(&foreign))));
    assert!(is_accepted(&server, authority.client(Some(&own))));
}

/// The certificate a new connection is shown.
fn shown(server: &Server) -> Vec<u8> {
    let mut stream: TlsStream = server.tls("stomp_tls");
    stream.flush().expect("a handshake");
    while stream.conn.is_handshaking() {
        stream
            .conn
            .complete_io(&mut stream.sock)
            .expect("a handshake");
    }
    stream.conn.peer_certificates().expect("a certificate")[0].to_vec()
}

#[test]
fn a_new_certificate_is_taken_without_dropping_anybody_and_a_bad_one_is_not() {
    let hourly = |config: &mut ferrymq::config::Config| {
        // Far away: each step below is asked for.
        config.tls.reload_interval = Duration::from_millis(3_600_000);
    };
    let server = Server::over(Over::Tls, hourly);
    let authority = server.authority();
    let mut client = server.client();
    let first = shown(&server);
    let days_left = || server.handle().certificate_days_left().expect("it has TLS");
    assert!(days_left() > 365 * 50, "{}", days_left());

    authority.install(&authority.pair("renewed", 2099));
    server.handle().reload_certificates();
    let second = shown(&server);
    assert_ne!(first, second);
    let renewed_days_left = days_left();
    client.fence();

    let stays = |why: &str| {
        server.handle().reload_certificates();
        assert_eq!(shown(&server), second, "{why}");
        assert_eq!(days_left(), renewed_days_left, "{why}");
    };
    authority.install(&authority.pair("expired", 2001));
    stays("expired");
    authority.write(
        "certificate.pem",
        &authority.pair("foreign", 2100).certificate,
    );
    stays("the key is another's");
    authority.write("certificate.pem", "nonsense");
    stays("not PEM");
    std::fs::remove_file(authority.path("certificate.pem")).expect("it is there");
    stays("missing");
    client.fence();

    authority.install(&authority.pair("third", 2098));
    server.handle().reload_certificates();
    assert_ne!(shown(&server), second);
    client.fence();
}

#[test]
fn changed_files_are_noticed() {
    let often = |config: &mut ferrymq::config::Config| {
        config.tls.reload_interval = Duration::from_millis(100);
    };
    let server = Server::over(Over::Tls, often);
    let days_left = || server.handle().certificate_days_left();
    let before = days_left();
    server
        .authority()
        .install(&server.authority().pair("renewed", 2099));
    until("the new certificate", || {
        (days_left() != before).then_some(())
    });
    server.client().fence();
}

#[test]
fn large_messages_pass_and_a_slow_reader_gets_them_whole() {
    for over in [Over::Tls, Over::WebSocket, Over::WebSocketTls] {
        let server = Server::over(over, |_| {});
        let mut consumer = server.client();
        consumer.ask("SUBSCRIBE id:1 destination:/queue/large ack:auto");
        let body: Vec<u8> = (0..5_000_000_u32).map(|at| (at % 251) as u8).collect();
        // Text, and what is no text; more than any buffer between the two takes at once.
        let bodies = [body.clone(), vec![b'x'; 3_000_000], b"small".to_vec(), body];
        let expected = bodies.clone();
        let mut producer = server.client();
        let sending = thread::spawn(move || {
            for body in bodies {
                let head = format!(
                    "SEND destination:/queue/large content-length:{}",
                    body.len()
                );
                producer.ask_with(&head, body);
            }
            producer
        });
        let producer = sending.join().expect("all are sent");
        for body in expected {
            let message = consumer.expect("MESSAGE");
            assert!(
                message.body == body,
                "{over:?}: {} octets",
                message.body.len()
            );
        }
        consumer.fence();
        producer.disconnect();
        consumer.disconnect();
    }
}

#[test]
fn who_does_not_finish_the_handshake_is_closed_in_time() {
    let server = Server::over(Over::Tls, |config| {
        config.stomp.connect_timeout = Duration::from_millis(300);
    });
    for section in ["stomp_tls", "websocket", "websocket_tls", "auto"] {
        Client::over(Box::new(server.tcp(section))).ended();
    }
}

#[test]
fn what_is_no_tls_is_closed() {
    let server = Server::over(Over::Tls, |_| {});
    let mut client = Client::over(Box::new(server.tcp("stomp_tls")));
    client.pour(&frame(CONNECT, ""));
    client.ended();
    let mut stream = server.tcp("stomp_tls");
    stream.half_close();
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).expect("an end");
    assert_eq!(rest, b"");
}

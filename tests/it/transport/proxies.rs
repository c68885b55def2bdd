//! The PROXY protocol, and the port that detects what comes. Spec: FRM-15.

use std::io::Write;

use ferrymq::config::{Config, ProxyProtocol};
use rustls::ClientConnection;

use crate::wire::carrier::{self, Carrier};
use crate::wire::client::Client;
use crate::wire::server::{Over, Server};

const HEADER: &[u8] = b"PROXY TCP4 203.0.113.9 10.0.0.1 5000 61613\r\n";
const CONNECT: &str = "CONNECT accept-version:1.2 host:x client-id:behind";

fn behind(trusted: &str) -> Server {
    Server::over(Over::Detected, |config: &mut Config| {
        config.proxy.trusted = ferrymq::config::leaf::Leaf::read_text(trusted).expect("networks");
        config.auto.proxy_protocol = ProxyProtocol::Required;
        config.stomp_tls.proxy_protocol = ProxyProtocol::Required;
    })
}

/// Shows that the connected client with the id `behind` is known by the address of the header.
#[track_caller]
fn is_known(server: &Server) {
    let mut other = Client::open(server.handle().stomp_addr());
    other.fatal(CONNECT, "ERROR 'message~from 203.0.113.9\\c5000'");
}

#[test]
fn the_client_is_known_by_the_address_the_proxy_tells() {
    let server = behind("10.0.0.0/8, 127.0.0.1");
    let mut stream = server.tcp("auto");
    // In two pieces, the second with STOMP right behind.
    stream.write_all(&HEADER[..20]).expect("written");
    stream.write_all(&HEADER[20..]).expect("written");
    let mut client = Client::over(Box::new(stream)).connected(CONNECT);
    is_known(&server);
    client.fence();
    client.disconnect();
    server.until_only(0);

    let mut stream = server.tcp("stomp_tls");
    stream.write_all(HEADER).expect("written");
    let stream = carrier::tls(stream, server.authority().client(None));
    let client = Client::over(Box::new(stream)).connected(CONNECT);
    is_known(&server);
    client.disconnect();
    server.until_only(0);

    let mut stream = server.tcp("auto");
    stream.write_all(HEADER).expect("written");
    let stream = carrier::tls(stream, server.authority().client(None));
    let stream = carrier::websocket(stream, "v12.stomp", &[])
        .expect("the broker upgrades")
        .0;
    let client = Client::over(Box::new(stream)).connected(CONNECT);
    is_known(&server);
    client.disconnect();
}

#[test]
fn without_the_header_or_from_elsewhere_a_connection_is_closed() {
    let server = behind("127.0.0.1");
    for octets in [
        &b"CONNECT\naccept-version:1.2\n\n\0"[..],
        b"PROXY nonsense\r\n",
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff",
    ] {
        let mut client = Client::over(Box::new(server.tcp("auto")));
        client.pour(octets);
        client.ended();
    }
    let server = behind("10.0.0.0/8");
    let mut client = Client::over(Box::new(server.tcp("auto")));
    client.pour(HEADER);
    client.ended();
}

#[test]
fn what_a_port_that_detects_does_not_speak_is_closed() {
    let server = Server::over(Over::Detected, |config| config.auto.tls = false);
    // TLS is not switched on.
    let name = "localhost".try_into().expect("a name");
    let mut hello = ClientConnection::new(server.authority().client(None), name).expect("a client");
    let mut stream = server.tcp("auto");
    hello.write_tls(&mut stream).expect("written");
    Client::over(Box::new(stream) as Box<dyn Carrier>).ended();
    // What nobody knows is answered by STOMP.
    let mut client = Client::over(Box::new(server.tcp("auto")));
    client.fatal("NONSENSE", "ERROR");
    server.client().fence();
}

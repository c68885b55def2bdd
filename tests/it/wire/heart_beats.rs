//! Part B: heart-beats. Spec: behaviour CON-12 to CON-16.
//!
//! Here only order and presence, with intervals so long that a busy machine does not matter; the arithmetic is tested
//! where it is, on a clock of its own.

use std::io::Write;
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use ferrymq::config;

use super::client::Client;
use super::server::Server;
use super::table::{Case, case, check};

pub(super) const CASES: &[Case] = &[
    case("C046", |s| {
        let mut client = s.open();
        client.put("CONNECT accept-version:1.2 heart-beat:0,0");
        client.expect("CONNECTED heart-beat:0,0");
        // Longer than the shortest interval there is, which is the beat of the other connection.
        let mut beaten = connect(s, "1.2", "0,100");
        beaten.until_beats(10);
        client.fence();
        assert_eq!(client.beats, 0);
    }),
    case("C047", |s| {
        let mut client = s.open();
        client.put("CONNECT accept-version:1.2 heart-beat:0,1000");
        client.expect("CONNECTED heart-beat:1000,0");
        client.until_beats(2);
    }),
    case("C049", |s| {
        let mut client = connect(s, "1.2", "1000,0");
        client.ask("SUBSCRIBE id:1 destination:/queue/c049");
        beat(&mut client.writer(), &[b'\n'; 30]);
        client.put_with("SEND destination:/queue/c049", "alive");
        client.message("alive");
    }),
    case("C050", |s| {
        let mut client = connect(s, "1.2", "1000,0");
        beat(&mut client.writer(), b"SEND\ndestination:/queue/c050\nr");
        client.raw("eceipt:1\n\n\0");
        client.expect("RECEIPT receipt-id:1");
    }),
    case("C052", |s| refuses(s, "0")),
    case("C053", |s| refuses(s, "T,0")),
    case("C054", |s| refuses(s, "100,10,50")),
    case("C055", |s| refuses(s, "-1,0")),
    case("C056", |s| {
        s.connects(
            "CONNECT accept-version:1.1 'heart-beat: 1000 , 1000 '",
            "CONNECTED heart-beat:1000,1000",
        );
    }),
    case("C057", |s| {
        let mut client = s.open();
        client.put("CONNECT heart-beat:0,200");
        client.expect("CONNECTED version:1.0 heart-beat:200,0");
        client.until_beats(3);
    }),
    // Heart-beats come between frames, never within one.
    case("C058", |s| {
        let mut client = connect(s, "1.2", "0,100");
        client.ask("SUBSCRIBE id:1 destination:/topic/c058");
        let mut sender = s.client();
        for number in 0..500 {
            sender.put_with("SEND destination:/topic/c058", number.to_string());
        }
        client.messages((0..500).map(|number| number.to_string()));
        let before = client.beats;
        client.until_beats(before + 2);
    }),
    case("C059", |s| {
        let mut client = connect(s, "1.2", "1000,1000");
        let mut writer = client.writer();
        thread::scope(|scope| {
            scope.spawn(|| beat(&mut writer, &[b'\n'; 40]));
            client.until_beats(3);
        });
        client.beats = 0;
        client.fence();
    }),
    case("C060", |_| {
        let beat = config::HeartBeat {
            sends_ms: 200,
            wants_ms: 200,
        };
        let server = Server::with(|config| config.stomp.default_heart_beat = beat);
        let mut client = server.open();
        client.put("CONNECT accept-version:1.2");
        client.expect("CONNECTED heart-beat:200,200");
        client.closed();
        assert!(client.beats > 0);
        // Its own header wins.
        server.connects(
            "CONNECT accept-version:1.2 heart-beat:0,0",
            "CONNECTED heart-beat:0,0",
        );
    }),
    case("C061", |s| {
        s.client().send("/queue/c061", "m");
        let mut silent = connect(s, "1.2", "100,0");
        silent.ask("SUBSCRIBE id:1 destination:/queue/c061 ack:client");
        silent.expect("MESSAGE !redelivered");
        let mut other = s.client();
        other.ask("SUBSCRIBE id:1 destination:/queue/c061 ack:client");
        other.expect("MESSAGE redelivered:true");
        silent.closed();
    }),
    // Raised to stomp.heart_beat_min, lowered to stomp.heart_beat_max.
    case("CON-13", |s| {
        s.connects(
            "CONNECT accept-version:1.2 heart-beat:0,1",
            "CONNECTED heart-beat:100,0",
        );
        let server = Server::with(|config| {
            config.stomp.heart_beat_max = config::Duration::from_millis(5_000);
        });
        server.connects(
            "CONNECT accept-version:1.2 heart-beat:60000,60000",
            "CONNECTED heart-beat:5000,5000",
        );
    }),
];

fn connect(server: &Server, version: &str, heart_beat: &str) -> Client {
    let head = format!("CONNECT accept-version:{version} heart-beat:{heart_beat}");
    server.open().connected(&head)
}

#[track_caller]
fn refuses(server: &Server, heart_beat: &str) {
    let head = format!("CONNECT accept-version:1.2 heart-beat:{heart_beat}");
    server.turned_away(&head, "ERROR message~heart-beat");
}

/// Writes octets one by one, well within a second each.
fn beat(writer: &mut TcpStream, octets: &[u8]) {
    for octet in octets {
        writer.write_all(&[*octet]).expect("the broker reads");
        // waits: between the client's own heart-beats, which are what is tested
        thread::sleep(Duration::from_millis(80));
    }
}

#[test]
fn b_heart_beats() {
    check(CASES);
}

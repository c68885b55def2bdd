//! Part A: connecting and version. Spec: behaviour CON-1 to CON-11, CON-18, CON-19, FRM-15.

use ferrymq::config::Duration;

use super::client::frame;
use super::server::Server;
use super::table::{Case, case, check};
use crate::wait::until;

pub(super) const CASES: &[Case] = &[
    case("C001", |s| {
        let pattern = "CONNECTED version:1.0 session server~ActiveMQ/ heart-beat:0,0";
        s.connects("CONNECT", pattern);
    }),
    case("C002", |s| {
        s.connects("CONNECT accept-version:1.0", "CONNECTED version:1.0");
    }),
    case("C003", |s| {
        let pattern = "CONNECTED version:1.1 session";
        s.connects("CONNECT accept-version:1.1 host:x", pattern);
    }),
    case("C004", |s| {
        s.connects("CONNECT accept-version:1.2 host:x", "CONNECTED version:1.2");
    }),
    case("C005", |s| {
        s.connects("STOMP accept-version:1.1 host:x", "CONNECTED version:1.1");
    }),
    case("C006", |s| s.connects("STOMP", "CONNECTED version:1.0")),
    case("C008", |s| {
        s.connects(
            "CONNECT accept-version:1.0,1.1,1.2",
            "CONNECTED version:1.2",
        );
    }),
    case("C009", |s| {
        s.connects("CONNECT accept-version:1.2,1.0", "CONNECTED version:1.2");
    }),
    case("C012", |s| {
        let pattern = "ERROR message~1.0,1.1,1.2 version:1.0,1.1,1.2";
        s.turned_away("CONNECT accept-version:9.0,10.1", pattern);
    }),
    case("C014", |s| {
        s.connects("CONNECT accept-version:1.2", "CONNECTED version:1.2");
    }),
    case("C015", |s| {
        s.connects(
            "CONNECT accept-version:1.2 host:no-such-vhost",
            "CONNECTED version:1.2",
        );
    }),
    case("C016", |s| {
        s.connects(
            "CONNECT request-id:1",
            "CONNECTED response-id:1 receipt-id:1",
        );
    }),
    // No RECEIPT besides: the fence shows it.
    case("C017", |s| {
        s.connects("CONNECT receipt:77", "CONNECTED receipt-id:77");
    }),
    case("C019", |s| {
        let mut client = s.open();
        client.put("CONNECT accept-version:1.1");
        let connected = client.frame();
        assert!(
            connected.must("session").starts_with("ID:"),
            "{connected:?}"
        );
    }),
    case("C020", |s| {
        let mut first = s.client_named("dup");
        let address = first.local_addr();
        let pattern = format!(
            "ERROR message:'Broker\\c ferrymq - Client\\c dup already connected from {}'",
            address.to_string().replace(':', "\\c")
        );
        s.turned_away("CONNECT accept-version:1.2 client-id:dup", &pattern);
        first.fence();
    }),
    case("C025", |s| {
        s.connects("CONNECT accept-version:1.2 host:x", "CONNECTED");
        s.connects("CONNECT accept-version:1.2 login:u passcode:p", "CONNECTED");
    }),
    case("C028", |s| {
        s.client()
            .fatal("CONNECT accept-version:1.2", "ERROR message~duplicate");
    }),
    case("C029", |s| {
        s.client()
            .fatal("STOMP accept-version:1.2", "ERROR message~duplicate");
    }),
    case("C030", |s| {
        s.turned_away("SEND destination:/queue/c030", "ERROR message~SEND");
        assert_eq!(s.queue_len("c030"), 0);
    }),
    case("C031", |s| {
        s.turned_away(
            "SUBSCRIBE id:1 destination:/queue/c031",
            "ERROR message~SUBSCRIBE",
        );
    }),
    case("C032", |s| {
        s.client()
            .fatal("RECEIPT receipt-id:1", "ERROR message~RECEIPT");
    }),
    case("C033", |s| {
        s.client().fatal(
            "MESSAGE destination:/queue/c033 message-id:1",
            "ERROR message~MESSAGE",
        );
        s.client()
            .fatal("CONNECTED version:1.2", "ERROR message~CONNECTED");
        s.client().fatal("ERROR message:x", "ERROR message~ERROR");
    }),
    case("C036", |_| {
        let server =
            Server::with(|config| config.stomp.connect_timeout = Duration::from_millis(200));
        let mut silent = server.open();
        let mut slow = server.open();
        slow.raw("CONNECT\naccept-ver");
        let mut idle = server.open();
        idle.raw("\n\n");
        silent.closed();
        slow.closed();
        idle.closed();
    }),
    case("C038", |s| {
        let mut client = s.open();
        client.raw("CONNECT\r\naccept-version:1.1\r\nhost:x\r\n\r\n\0");
        client.expect("CONNECTED version:1.1");
    }),
    case("C039", |s| {
        let mut client = s.open();
        client.raw("CONNECT\r\naccept-version:1.2\r\nhost:x\r\n\r\n\0\r\n");
        client.expect("CONNECTED version:1.2");
        client.raw("SUBSCRIBE\r\nid:1\r\ndestination:/queue/c039\r\nreceipt:7\r\n\r\n\0\r\n");
        client.expect("RECEIPT receipt-id:7");
    }),
    case("C041", |s| {
        let mut client = s.open();
        let mut packet = frame("CONNECT accept-version:1.2", "");
        packet.extend(frame("SUBSCRIBE id:1 destination:/queue/c041", ""));
        packet.extend(frame("SEND destination:/queue/c041", "hello"));
        client.raw(packet);
        client.expect("CONNECTED");
        client.message("hello");
    }),
    case("C043", |s| {
        // Without users every login is right; that the first of a repeated header counts shows in the client id.
        s.connects(
            "CONNECT accept-version:1.2 login:a login:b client-id:c043 client-id:x",
            "CONNECTED session:c043",
        );
    }),
    case("C044", |s| {
        s.connects("CONNECT accept-version:1.2 foo:bar", "CONNECTED !foo")
    }),
    case("C045", |s| {
        for opening in [
            &b"\x16\x03\x01\x00\xa5\x01\x00\x00"[..],
            b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
            b"CONNECT x:443 HTTP/1.1\r\n\r\n",
            b"\x00\x00\x00\xf0\x01ActiveMQ\x00\x00\x00\x0c",
        ] {
            let mut client = s.open();
            client.raw(opening);
            client.closed();
        }
    }),
    // Each item of the list is trimmed; ActiveMQ trims the list only.
    case("CON-5", |s| {
        s.connects(
            "CONNECT 'accept-version: 1.1 , 1.2 '",
            "CONNECTED version:1.2",
        );
        s.connects("CONNECT accept-version:1.1,3.0", "CONNECTED version:1.1");
        s.turned_away("CONNECT accept-version:", "ERROR version:1.0,1.1,1.2");
    }),
    case("CON-8", |s| {
        let id = "CONNECT accept-version:1.2 client-id:con-8";
        let again = || {
            until("the client id to be free", || {
                let mut client = s.open();
                client.put(id);
                (client.frame().command == "CONNECTED").then_some(client)
            })
        };
        again().leave();
        again().kill();
        // The id is free although the client has not closed its side yet, which may take two seconds.
        let mut first = again();
        first.put("DISCONNECT receipt:1");
        first.expect("RECEIPT receipt-id:1");
        first.closed();
        s.connects(id, "CONNECTED");
    }),
    case("CON-8 link stealing", |_| {
        let server = Server::with(|config| config.stomp.allow_link_stealing = true);
        let mut first = server.client_named("same");
        first.ask("SUBSCRIBE id:1 destination:/queue/stolen ack:client");
        let mut second = server.client_named("same");
        second.send("/queue/stolen", "m");
        first.ended();
        second.ask_amid("SUBSCRIBE id:1 destination:/queue/stolen");
        let mut third = server.client_named("same");
        second.ended();
        third.fence();
        assert_eq!(server.engine().connections.len(), 1);
    }),
    // Raw in both directions, whatever the version: ActiveMQ decodes escapes in CONNECT.
    case("CON-10", |s| {
        for version in ["1.1", "1.2"] {
            let id = format!("a\\nb:{version}\\x");
            s.connects(
                &format!("CONNECT accept-version:{version} client-id:{id} passcode:\\"),
                &format!("CONNECTED session:{id}"),
            );
        }
    }),
    case("CON-11", |s| {
        s.connects(
            "CONNECT accept-version:1.2 activemq.clientId:con-11 activemq.nonsense:1",
            "CONNECTED session:con-11",
        );
    }),
    // ActiveMQ loses them (seed finding): all are read, and the answers still come.
    case("CON-18", |s| {
        let mut client = s.open();
        let mut packet = frame("CONNECT accept-version:1.2", "");
        for number in 0..1000 {
            let head = format!("SEND destination:/queue/con-18 receipt:{number}");
            packet.extend(frame(&head, number.to_string()));
        }
        client.raw(packet);
        client.half_close();
        client.expect("CONNECTED");
        for number in 0..1000 {
            client.expect(&format!("RECEIPT receipt-id:{number}"));
        }
        client.closed();
        assert_eq!(s.queue_len("con-18"), 1000);
    }),
    case("CON-19", |s| {
        let mut client = s.client();
        let mut packet = frame("DISCONNECT receipt:1", "");
        packet.extend(frame("SEND destination:/queue/con-19 receipt:2", ""));
        packet.extend(b"garbage\0");
        client.raw(packet);
        client.expect("RECEIPT receipt-id:1");
        client.closed();
        assert_eq!(s.queue_len("con-19"), 0);
    }),
];

#[test]
fn a_connecting() {
    check(CASES);
}

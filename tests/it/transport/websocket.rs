//! WebSocket: the handshake, messages and fragments, limits. Spec: behaviour section 9, cases C344 to C349.

use std::io::{Read, Write};

use ferrymq::config::ByteSize;
use tungstenite::Error;
use tungstenite::protocol::frame::Frame;
use tungstenite::protocol::frame::coding::{CloseCode, Data, OpCode};
use tungstenite::protocol::{Message, WebSocketConfig};

use crate::wire::carrier::{self, WebSocketCarrier};
use crate::wire::client::{Client, frame};
use crate::wire::server::{Over, Server};

const CONNECT: &str = "CONNECT accept-version:1.2 host:x";

fn server() -> Server {
    Server::over(Over::WebSocket, |_| {})
}

fn open(server: &Server) -> WebSocketCarrier<std::net::TcpStream> {
    let opened = carrier::websocket(server.tcp("websocket"), "", &[]);
    opened.expect("the broker upgrades").0
}

/// The next message.
#[track_caller]
fn next(opened: &mut WebSocketCarrier<std::net::TcpStream>) -> Message {
    opened.socket.read().expect("a message")
}

#[test]
fn the_best_sub_protocol_is_chosen() {
    let server = server();
    let chosen = |offered| {
        let opened = carrier::websocket(server.tcp("websocket"), offered, &[]);
        opened.map(|(_, chosen)| chosen)
    };
    let some = |name: &str| Ok(Some(name.to_owned()));
    assert_eq!(chosen("v10.stomp, v11.stomp, v12.stomp"), some("v12.stomp")); // C344
    assert_eq!(chosen("stomp, v10.stomp"), some("v10.stomp"));
    assert_eq!(chosen("stomp"), some("stomp"));
    assert_eq!(chosen(""), Ok(None)); // C345
    assert_eq!(chosen("mqtt"), Err(400));
}

#[test]
fn bounds_of_messages_do_not_matter_and_each_answer_is_one() {
    let server = server();
    let mut opened = open(&server);
    let connect = String::from_utf8(frame(CONNECT, "")).expect("text");
    let (left, right) = connect.split_at(20);
    opened.socket.send(Message::text(left)).expect("sent"); // C346
    opened.socket.send(Message::text(right)).expect("sent");
    assert!(next(&mut opened).is_text());
    let two = [
        frame("BEGIN transaction:1 receipt:1", ""),
        frame("ABORT transaction:1 receipt:2", ""),
    ];
    let two = String::from_utf8(two.concat()).expect("text");
    opened.socket.send(Message::text(two)).expect("sent"); // C347
    assert_eq!(
        next(&mut opened),
        Message::text("RECEIPT\nreceipt-id:1\n\n\0\n")
    );
    assert_eq!(
        next(&mut opened),
        Message::text("RECEIPT\nreceipt-id:2\n\n\0\n")
    );
    // C348, and binary is answered by binary.
    let ask = frame("BEGIN transaction:3 receipt:3", "");
    opened.socket.send(Message::binary(ask)).expect("sent");
    assert_eq!(
        next(&mut opened),
        Message::binary(&b"RECEIPT\nreceipt-id:3\n\n\0\n"[..])
    );
}

#[test]
fn a_body_that_is_no_text_comes_as_binary_between_texts() {
    let server = server();
    let mut opened = open(&server);
    opened
        .socket
        .send(Message::text(
            String::from_utf8(frame(CONNECT, "")).expect("text"),
        ))
        .expect("sent");
    next(&mut opened);
    opened
        .socket
        .send(Message::text(
            "SUBSCRIBE\nid:1\ndestination:/topic/mixed\nreceipt:1\n\n\0",
        ))
        .expect("sent");
    next(&mut opened);
    let mut sender = server.client();
    for body in [&b"caf\xc3\xa9"[..], b"\xff\xfe", b"text"] {
        sender.put_with("SEND destination:/topic/mixed", body);
    }
    let kinds =
        [next(&mut opened), next(&mut opened), next(&mut opened)].map(|message| message.is_text());
    assert_eq!(kinds, [true, false, true]);
}

#[test]
fn a_page_from_elsewhere_is_refused() {
    // C349
    let server = Server::over(Over::WebSocket, |config| {
        config
            .websocket
            .origins
            .push("https://app.example".to_owned());
    });
    let ask = |origin| {
        let opened = carrier::websocket(server.tcp("websocket"), "", &[("Origin", origin)]);
        opened.map(drop)
    };
    assert_eq!(ask("https://evil.example"), Err(403));
    assert_eq!(ask("null"), Err(403));
    assert_eq!(ask("https://app.example"), Ok(()));
    assert_eq!(ask("http://localhost:8080"), Ok(()), "the same host");
}

#[test]
fn a_browser_is_told_what_this_port_is() {
    let server = server();
    for section in ["websocket", "auto"] {
        let mut stream = server.tcp(section);
        stream
            .write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            .expect("written");
        let mut answer = String::new();
        stream
            .read_to_string(&mut answer)
            .expect("an answer and an end");
        assert!(answer.starts_with("HTTP/1.1 426 "), "{answer}");
        assert!(answer.contains("STOMP over WebSocket"), "{answer}");
    }
}

#[test]
fn a_ping_is_answered_between_the_fragments_of_a_message() {
    let server = server();
    let mut opened = open(&server);
    let (left, right) = (
        b"CONNECT\naccept-version:1.2\n".to_vec(),
        b"host:x\n\n\0".to_vec(),
    );
    let fragment = |octets, opcode, is_final| {
        Message::Frame(Frame::message(octets, OpCode::Data(opcode), is_final))
    };
    opened
        .socket
        .send(fragment(left, Data::Text, false))
        .expect("sent");
    opened
        .socket
        .send(Message::Ping("there?".into()))
        .expect("sent");
    assert_eq!(next(&mut opened), Message::Pong("there?".into()));
    opened
        .socket
        .send(fragment(right, Data::Continue, true))
        .expect("sent");
    let answer = next(&mut opened);
    assert!(
        answer.to_text().expect("text").starts_with("CONNECTED\n"),
        "{answer}"
    );
}

#[test]
fn a_close_is_answered_by_a_close() {
    let server = server();
    let mut opened = open(&server);
    opened
        .socket
        .send(Message::text("CONNECT\naccept-version:1.2\nhost:x\n\n\0"))
        .expect("sent");
    next(&mut opened);
    opened.socket.close(None).expect("sent");
    assert!(next(&mut opened).is_close());
    assert!(matches!(opened.socket.read(), Err(Error::ConnectionClosed)));
    server.until_only(0);
}

#[test]
fn a_message_over_the_limit_ends_the_connection_with_the_reason() {
    let server = Server::over(Over::WebSocket, |config| {
        config.websocket.message_bytes_max = ByteSize::from_kib(64);
    });
    let mut opened = open(&server);
    opened
        .socket
        .set_config(|config: &mut WebSocketConfig| config.max_write_buffer_size = usize::MAX);
    opened
        .socket
        .send(Message::text("CONNECT\naccept-version:1.2\nhost:x\n\n\0"))
        .expect("sent");
    next(&mut opened);
    let fits = frame("SEND destination:/topic/x receipt:1", vec![b'x'; 60_000]);
    opened.socket.send(Message::binary(fits)).expect("sent");
    next(&mut opened);
    opened
        .socket
        .send(Message::binary(vec![b'x'; 65_537]))
        .expect("sent");
    let Message::Close(Some(close)) = next(&mut opened) else {
        panic!("no close frame");
    };
    assert_eq!(close.code, CloseCode::Size);
    assert!(close.reason.contains("65536"), "{}", close.reason);
}

#[test]
fn an_endless_handshake_is_closed() {
    let server = Server::over(Over::WebSocket, |config| {
        config.stomp.before_login_bytes_max = ByteSize::from_kib(4);
    });
    let mut client = Client::over(Box::new(server.tcp("websocket")));
    let line = [b"GET / HTTP/1.1\r\nCookie: ".to_vec(), vec![b'x'; 8192]].concat();
    client.pour(&line);
    client.ended();
}

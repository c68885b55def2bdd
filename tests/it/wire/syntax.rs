//! Part C: frame syntax and its limits. Spec: behaviour FRM-1 to FRM-14, ERR-4, section 9.

use std::io::Write;

use ferrymq::config::{ByteSize, Stomp};

use super::client::{Client, Frame, frame};
use super::server::Server;
use super::table::{Case, case, check};

pub(super) const CASES: &[Case] = &[
    case("C062", |s| {
        let mut client = s.client();
        let mut packet = frame("SEND destination:/queue/c062", "hello");
        packet.extend(b"\n\n\n");
        packet.extend(frame("SEND destination:/queue/c062 receipt:1", "again"));
        client.raw(packet);
        client.expect("RECEIPT receipt-id:1");
        client.ask("SUBSCRIBE id:1 destination:/queue/c062");
        client.messages(["hello", "again"]);
    }),
    case("C064", |s| {
        let found = echo(
            s,
            "SEND destination:/queue/c064 content-length:5",
            b"a\0b\0c",
        );
        found.check("MESSAGE content-length:5");
        assert_eq!(found.body, b"a\0b\0c");
    }),
    case("C065", |s| {
        for version in ["1.0", "1.1", "1.2"] {
            let mut client = s.client_of(version);
            let queue = format!("/queue/c065-{version}");
            client.raw(format!(
                "SEND\ndestination:{queue}\ncontent-length:5 \nreceipt:1\n\na\0b\0c\0"
            ));
            client.expect("RECEIPT receipt-id:1");
            client.ask(&format!("SUBSCRIBE id:1 destination:{queue}"));
            assert_eq!(client.expect("MESSAGE content-length:5").body, b"a\0b\0c");
        }
    }),
    case("C066", |s| {
        let found = echo(s, "SEND destination:/queue/c066 content-length:0", b"");
        found.check("MESSAGE content-length:0");
        assert_eq!(found.body, b"");
    }),
    case("C067", |s| {
        let mut client = s.client();
        client.put_with("SEND destination:/queue/c067 content-length:3", "abcd");
        client.expect("ERROR");
        client.closed();
        assert_eq!(s.queue_len("c067"), 0);
    }),
    case("C068", |s| {
        s.client().fatal(
            "SEND destination:/queue/c068 content-length:-1",
            "ERROR message~content-length message~'may not be negative'",
        );
    }),
    case("C069", |s| {
        s.client().fatal(
            "SEND destination:/queue/c069 content-length:abc",
            "ERROR message~content-length message~'not a valid integer'",
        );
    }),
    case("C070", |s| {
        s.client().fatal(
            "SEND destination:/queue/c070 content-length:99999999999",
            "ERROR message~'maximum data length'",
        );
    }),
    case("C071", |s| {
        let found = echo(s, "SEND destination:/queue/c071", "a 😀 b".as_bytes());
        found.check("MESSAGE !content-length");
        assert_eq!(found.text(), "a 😀 b");
    }),
    case("C077", |s| {
        let found = echo(
            s,
            "SEND destination:/queue/c077 value:newest value:older value:oldest",
            b"",
        );
        let values: Vec<_> = found
            .headers
            .iter()
            .filter(|(name, _)| name == "value")
            .collect();
        assert_eq!(values.len(), 1, "{found:?}");
        found.check("MESSAGE value:newest");
    }),
    case("C078", |s| blanks(s, "1.0", ["value", "value", "value"])),
    case("C079", |s| {
        blanks(s, "1.1", [" value", "value ", " value "])
    }),
    case("C080", |s| {
        blanks(s, "1.2", [" value", "value ", " value "])
    }),
    case("C081", |s| {
        let head =
            "SEND destination:/queue/c081 colon:\\c linefeed:\\n backslash:\\\\ carriagereturn:\\r";
        echo(s, head, b"")
            .check("MESSAGE colon:\\c linefeed:\\n backslash:\\\\ carriagereturn:\\r");
    }),
    // Undefined escapes of 1.1 pass through: backslash colon, LF, backslash 23.
    case("C083", |s| {
        let head = "SEND destination:/queue/c083 correlation-id:c1\\:\\n\\23";
        relay(s, "1.1", head, "1.2").check("MESSAGE correlation-id:c1\\\\\\c\\n\\\\23");
    }),
    case("C085", |s| {
        relay(s, "1.1", "SEND destination:/queue/c085 type:t34:5", "1.0")
            .check("MESSAGE type:t34:5");
    }),
    case("C086", |s| {
        let head = "SEND destination:/queue/c086 s:\\\\value\\c";
        relay(s, "1.2", head, "1.1").check("MESSAGE s:\\\\value\\c");
    }),
    case("C087", |s| {
        let head = "SEND destination:/queue/c087 s:a\\nb t:a\\rb";
        relay(s, "1.2", head, "1.0").check("MESSAGE 's:a b' 't:a b'");
    }),
    case("C088", |s| {
        let head = "SEND destination:/queue/c088 s:a\\r\\nb";
        relay(s, "1.2", head, "1.2").check("MESSAGE s:a\\r\\nb");
    }),
    case("C089", |s| {
        let head = "SEND destination:/queue/c089 activemq.prefetchSize=1 after:x";
        echo(s, head, b"").check("MESSAGE after:x");
        let mut client = s.client();
        client.ask("SUBSCRIBE id:1 destination:/queue/c089 activemq.prefetchSize=1");
    }),
    case("C090", |s| {
        let found = echo(s, "SEND destination:/queue/c090 foo: bar:x", b"");
        assert_eq!(found.get("foo"), Some(""), "{found:?}");
    }),
    case("C091", |s| {
        let found = echo(s, "SEND destination:/queue/c091 a\\cb:1", b"");
        assert_eq!(found.get("a\\cb"), Some("1"), "{found:?}");
    }),
    case("C092", |s| {
        s.client().fatal("send destination:/queue/c092", "ERROR")
    }),
    case("C093", |s| {
        s.client().fatal("SED destination:/queue/c093", "ERROR")
    }),
    case("C094", |s| {
        s.client().fatal("SENDX destination:/queue/c094", "ERROR");
        assert_eq!(s.queue_len("c094"), 0);
    }),
    case("C095", |s| {
        let mut client = s.client();
        client.ask("SUB id:1 destination:/queue/c095");
        client.put_with("SEND destination:/queue/c095", "m");
        client.message("m");
        client.ask("UNSUB id:1");
        client.refused("UNSUB id:1", "ERROR message~'No subscription matched'");
    }),
    case("C097", |s| {
        let mut client = s.client();
        client.raw([b'S'; 1100]);
        client.expect("ERROR message~'The maximum command length was exceeded'");
        client.closed();
    }),
    case("C098", |s| {
        let mut client = s.client();
        client.raw("SEND\ndestination:/queue/c098\nlong:");
        client.raw([b'x'; 10_241]);
        client.expect("ERROR message~'The maximum header length was exceeded'");
        client.closed();
    }),
    case("C099", |s| {
        let long = "x".repeat(4096);
        let found = echo(s, &format!("SEND destination:/queue/c099 long:{long}"), b"");
        assert_eq!(found.get("long"), Some(long.as_str()));
    }),
    case("C101", |_| {
        let server = Server::with(|config| config.stomp.body_bytes_max = ByteSize::from_kib(10));
        let head = "SEND destination:/queue/c101 content-length:10240 receipt:1";
        let mut client = server.client();
        client.put_with(head, [b'x'; 10_240]);
        client.expect("RECEIPT receipt-id:1");
        client.fatal(
            "SEND destination:/queue/c101 content-length:10241",
            "ERROR message~'The maximum data length was exceeded'",
        );
    }),
    case("C102", |_| {
        let server = Server::with(|config| config.stomp.body_bytes_max = ByteSize::from_kib(10));
        let mut client = server.client();
        client.ask_with("SEND destination:/queue/c102", [b'x'; 10_240]);
        client.raw("SEND\ndestination:/queue/c102\n\n");
        client.raw([b'x'; 10_241]);
        client.expect("ERROR message~'The maximum data length was exceeded'");
        client.closed();
        assert_eq!(server.queue_len("c102"), 1);
    }),
    case("C106", |s| {
        let mut client = s.client();
        client.raw("SUBSCRIBE\r\nid:1\r\ndestination:/queue/c106\r\n\r\n\0\r\n");
        client.raw("SEND\r\ndestination:/queue/c106\r\nfoo:bar\r\n\r\na\rb\r\n\0");
        client.message("a\rb\r\n").check("MESSAGE foo:bar");
    }),
    case("C107", |s| {
        let mut client = s.client();
        client.raw(b"SEND\ndestination:/queue/c107\nfoo:\xc3\x28\n\n\0");
        client.expect("ERROR message");
        client.closed();
        assert_eq!(s.queue_len("c107"), 0);
    }),
    case("C108", |s| {
        let found = echo(s, "SEND destination:/queue/c108", b"\xc3\x28");
        assert_eq!(found.body, b"\xc3\x28");
    }),
    case("C109", |s| {
        let mut client = s.client();
        client.put_with("DISCONNECT receipt:1", "abc");
        client.expect("RECEIPT receipt-id:1");
        client.closed();
    }),
    // Between frames any number of LF, CR LF and stray NUL.
    case("FRM-1", |s| {
        let mut client = s.client();
        client.raw("\n\r\n\0\0\n\0SEND\ndestination:/topic/x\nreceipt:1\n\n\0\0\0\r\n\r\n\n\0");
        client.expect("RECEIPT receipt-id:1");
        client.fence();
    }),
    // A CR before LF is the line's end in 1.0 and 1.1 too; ActiveMQ keeps it in the value.
    case("FRM-2", |s| {
        for (version, value) in [("1.0", "a b"), ("1.1", "a\rb")] {
            let mut client = s.client_of(version);
            client.raw(format!(
                "SUBSCRIBE\r\nid:1\r\ndestination:/queue/frm-2-{version}\r\n\r\n\0"
            ));
            client.raw(format!(
                "SEND\r\ndestination:/queue/frm-2-{version}\r\nfoo:a\rb\r\n\r\nm\0"
            ));
            assert_eq!(client.message("m").get("foo"), Some(value));
        }
    }),
    case("FRM-4", |s| {
        echo(s, "SEND destination:/queue/frm-4 a:b:c Foo:1 foo:2", b"")
            .check("MESSAGE a:b\\cc Foo:1 foo:2");
    }),
    // ActiveMQ decodes escapes in 1.0 as well and damages C:\new.
    case("FRM-7", |s| {
        let head = "SEND destination:/queue/frm-7 path:C:\\new";
        relay(s, "1.0", head, "1.0").check("MESSAGE path:C:\\new");
        relay(s, "1.0", head, "1.2").check("MESSAGE path:C\\c\\\\new");
        let server = Server::with(|config| config.stomp.compat_escape_10 = true);
        relay(&server, "1.0", head, "1.2").check("MESSAGE path:C\\c\\new");
    }),
    case("FRM-8", |s| {
        s.client()
            .fatal("SEND destination:/queue/frm-8 foo:a\\tb", "ERROR");
        let head = "SEND destination:/queue/frm-8 foo:a\\tb";
        relay(s, "1.1", head, "1.1").check("MESSAGE foo:a\\\\tb");
        let strict = Server::with(|config| config.stomp.strict_escapes = true);
        strict.client_of("1.1").fatal(head, "ERROR");
        relay(&strict, "1.0", head, "1.0").check("MESSAGE foo:a\\tb");
    }),
    case("FRM-9", |s| {
        let head = "SEND destination:/queue/frm-9 s:a\\cb\\nc\\\\d\\re";
        relay(s, "1.2", head, "1.1").check("MESSAGE s:a\\cb\\nc\\\\d\re");
        relay(s, "1.2", head, "1.0").check("MESSAGE 's:a:b c\\d e'");
    }),
    // On every frame, not only SEND.
    case("FRM-10", |s| {
        let mut client = s.client();
        client.put_with("BEGIN transaction:t content-length:3 receipt:1", "a\0b");
        client.expect("RECEIPT receipt-id:1");
        client.fatal(
            "COMMIT transaction:t content-length:x",
            "ERROR message~content-length",
        );
    }),
    case("FRM-14", |s| {
        let mut client = s.open();
        let mut packet = frame("CONNECT accept-version:1.2", "");
        packet.extend(frame(
            "SUBSCRIBE id:1 destination:/queue/frm-14 receipt:1",
            "",
        ));
        packet.extend(frame(
            "SEND destination:/queue/frm-14 content-length:3 a:\\n",
            "a\0b",
        ));
        packet.extend(frame("SEND destination:/queue/frm-14", "😀"));
        for octet in packet {
            client.raw([octet]);
        }
        client.expect("CONNECTED");
        client.expect("RECEIPT receipt-id:1");
        assert_eq!(client.expect("MESSAGE a:\\n").body, b"a\0b");
        client.message("😀");
    }),
    case("limit: headers", |s| {
        let mut head = "SEND destination:/queue/headers".to_owned();
        (2..=999).for_each(|number| head.push_str(&format!(" h{number}:x")));
        echo(s, &head, b"").check("MESSAGE h999:x");
        head.push_str(" one:x more:x");
        s.client().fatal(
            &head,
            "ERROR message~'The maximum number of headers was exceeded'",
        );
    }),
    case("limit: frame", |_| {
        let server = small(|stomp| stomp.frame_bytes_max = ByteSize::from_kib(2));
        let mut client = server.client();
        client.ask_with("SEND destination:/queue/frame", [b'x'; 1900]);
        client.put_with("SEND destination:/queue/frame", [b'x'; 2100]);
        client.expect("ERROR message~'The maximum frame size was exceeded'");
        client.closed();
    }),
    case("limit: smaller", |_| {
        let server = small(|stomp| {
            stomp.command_bytes_max = ByteSize::from_bytes(16);
            stomp.header_bytes_max = ByteSize::from_bytes(256);
            stomp.headers_max = 16;
        });
        server
            .client()
            .fatal(&"S".repeat(17), "ERROR message~'maximum command length'");
        let long = "x".repeat(256);
        let head = format!("SEND destination:/queue/q x:{long}");
        server
            .client()
            .fatal(&head, "ERROR message~'maximum header length'");
        let head = format!("SEND{}", " x:y".repeat(17));
        server
            .client()
            .fatal(&head, "ERROR message~'maximum number of headers'");
    }),
    case("limit: before login", |_| {
        let server = small(|stomp| stomp.before_login_bytes_max = ByteSize::from_kib(1));
        let lines = format!(" x:{}", "y".repeat(250)).repeat(5);
        let mut client = server.open();
        client.put(&format!("CONNECT accept-version:1.2{lines}"));
        client.ended();
        server
            .client()
            .ask(&format!("SEND destination:/queue/q{lines}"));
    }),
    // The ERROR must be readable although the client never stops to send; a reset would swallow it.
    case("C316", |s| {
        let mut client = s.client();
        let mut writer = client.writer();
        let writing = std::thread::spawn(move || {
            let mut packet = b"NONSENSE\n\n\0".to_vec();
            packet.resize(1 << 20, b'x');
            // The broker may close before it has read all of it.
            let _ = writer.write_all(&packet);
        });
        client.expect("ERROR");
        writing.join().expect("the writer ends");
    }),
];

/// Sends a message and reads it on the same connection of version 1.2.
#[track_caller]
fn echo(server: &Server, head: &str, body: &[u8]) -> Frame {
    let mut client = server.client();
    client.ask_with(head, body);
    read(client, head)
}

/// Sends a message in one version and reads it in another.
#[track_caller]
fn relay(server: &Server, sent: &str, head: &str, read_as: &str) -> Frame {
    server.client_of(sent).ask(head);
    read(server.client_of(read_as), head)
}

#[track_caller]
fn read(mut client: Client, head: &str) -> Frame {
    let destination = head
        .split(' ')
        .find_map(|word| word.strip_prefix("destination:"))
        .expect("a destination");
    client.ask(&format!("SUBSCRIBE id:1 destination:{destination}"));
    let found = client.expect("MESSAGE");
    // In good order, so that nothing else goes to this subscription.
    client.disconnect();
    found
}

#[track_caller]
fn blanks(server: &Server, version: &str, expected: [&str; 3]) {
    let head = format!(
        "SEND destination:/queue/blanks-{version} 'test1: value' 'test2:value ' 'test3: value '"
    );
    let found = relay(server, version, &head, version);
    let values = ["test1", "test2", "test3"].map(|name| found.must(name));
    assert_eq!(values, expected, "{found:?}");
}

fn small(change: impl FnOnce(&mut Stomp)) -> Server {
    Server::with(|config| change(&mut config.stomp))
}

#[test]
fn c_syntax() {
    check(CASES);
}

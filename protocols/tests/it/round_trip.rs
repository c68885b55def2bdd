//! decode(encode(x)) = x, for client frames and deliveries of all versions.

use ferrymq_protocols::Limits;
use ferrymq_protocols::stomp::{
    AckTarget, ClientCommand, ClientFrameWriter, Command, Connected, DecodeOptions, Decoder,
    ErrorFrame, HeartBeat, Known, LineCache, MessageFields, MessageId, MessageRef, MessageTemplate,
    Version, encode_connected, encode_error, encode_receipt, push_header,
};
use proptest::prelude::*;

fn decoder(version: Version) -> Decoder {
    let mut decoder = Decoder::new(Limits::default(), DecodeOptions::default());
    decoder.set_version(version);
    decoder
}

fn versions() -> impl Strategy<Value = Version> {
    prop::sample::select(vec![Version::V10, Version::V11, Version::V12])
}

/// What of `text` a reader of `version` can get: 1.0 has no LF, CR, no blanks at the ends;
/// a CR at the end of a 1.1 line belongs to the line end (FRM-2).
fn readable(text: &str, version: Version) -> String {
    match version {
        Version::V10 => text
            .replace(['\n', '\r'], " ")
            .trim_matches([' ', '\t'])
            .to_owned(),
        Version::V11 => text.strip_suffix('\r').unwrap_or(text).to_owned(),
        Version::V12 => text.to_owned(),
    }
}

fn value() -> impl Strategy<Value = String> {
    "[a-z:\\\\\n\r\u{e4}\u{1f600} \t]{0,12}"
}

fn body() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 0..60)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn a_send_reads_back(
        version in versions(),
        values in prop::collection::vec(value(), 0..20),
        body in body(),
    ) {
        let names: Vec<_> = (0..values.len()).map(|index| format!("n-{index}")).collect();
        let headers: Vec<_> =
            names.iter().zip(&values).map(|(name, value)| (&name[..], &value[..])).collect();
        let mut octets = Vec::new();
        ClientFrameWriter::new(version, &mut octets).send("/queue/a", &headers, &body, true);
        let mut decoder = decoder(version);
        let frame = decoder.decode(&octets).unwrap().unwrap();
        prop_assert_eq!(frame.consumed, octets.len());
        let ClientCommand::Send(send) = ClientCommand::parse(&frame).unwrap() else {
            panic!("a SEND is a SEND");
        };
        prop_assert_eq!(&*send.destination, "/queue/a");
        prop_assert_eq!(send.body, &body[..]);
        for (name, value) in headers {
            let found = send.headers.get_name(name).unwrap();
            prop_assert_eq!(found.into_owned(), readable(value, version));
        }
    }

    #[test]
    fn user_headers_cross_versions(
        from in versions(),
        to in versions(),
        values in prop::collection::vec(value(), 1..20),
        repeat in any::<bool>(),
        crlf in any::<bool>(),
    ) {
        // As sent, then canonical, then as delivered.
        let mut sent = Vec::new();
        {
            let names: Vec<_> = (0..values.len()).map(|index| format!("n-{index}")).collect();
            let mut headers: Vec<_> =
                names.iter().zip(&values).map(|(name, value)| (&name[..], &value[..])).collect();
            headers.insert(values.len() / 2, ("message-id", "forged"));
            if repeat {
                headers.push(("n-0", "later"));
            }
            ClientFrameWriter::new(from, &mut sent).send("q", &headers, b"", false);
        }
        if crlf {
            let text = String::from_utf8(sent).unwrap();
            sent = text.replace('\n', "\r\n").into_bytes();
        }
        let mut sender = decoder(from);
        let frame = sender.decode(&sent).unwrap().unwrap();
        let ClientCommand::Send(send) = ClientCommand::parse(&frame).unwrap() else {
            panic!("a SEND is a SEND");
        };
        let mut head = Vec::new();
        let escaped = send.write_user_head(&mut head).escaped;
        let template = MessageTemplate::new(to, "h-", Some("0"), "/queue/q", None);
        let fields = MessageFields { user_head: &head, escaped, ..MessageFields::default() };
        let mut delivered = Vec::new();
        template.encode_message(&fields, b"", &mut LineCache::default(), &mut delivered);
        let mut reader = decoder(to);
        let message = reader.decode(&delivered).unwrap().unwrap();
        for (index, value) in values.iter().enumerate() {
            let found = message.headers.get_name(&format!("n-{index}")).unwrap();
            // With CR LF ends the one CR that 1.1 cannot keep is that of the line end.
            let sent = if crlf && from == Version::V11 { value.clone() } else { readable(value, from) };
            prop_assert_eq!(found.into_owned(), readable(&sent, to));
        }
        prop_assert_eq!(message.headers.get(Known::MessageId).unwrap(), "ID:h-0:0");
        let count = message.headers.iter().filter(|(name, _)| name.starts_with("n-")).count();
        prop_assert_eq!(count, values.len());
    }

    #[test]
    fn a_delivery_reads_back(
        version in versions(),
        (origin, serial, timestamp_ms, expires_ms) in any::<(u64, u64, u64, u64)>(),
        (persistent, redelivered, text) in any::<(bool, bool, bool)>(),
        delivery_count in 1..50u32,
        ack in any::<Option<u64>>(),
        body in body(),
        foreign in prop::option::of(("ID:[a-z:]{1,9}", "/queue/[a-z:]{1,9}")),
    ) {
        let template = MessageTemplate::new(version, "h:1-", Some("s:1"), "/queue/a:b", Some("7-"));
        let mut extra = Vec::new();
        let flags = push_header("original-destination", "queue://x", &mut extra);
        let fields = MessageFields {
            message_id: match &foreign {
                Some((id, _)) => MessageRef::Text(id),
                None => MessageRef::Id(MessageId { origin, serial }),
            },
            timestamp_ms,
            priority: 7,
            expires_ms,
            persistent,
            redelivered,
            delivery_count,
            ack,
            text,
            body_len: body.len(),
            body_has_nul: body.contains(&0),
            extra: &extra,
            escaped: flags.escaped,
            destination: foreign.as_ref().map(|(_, destination)| &destination[..]),
            ..MessageFields::default()
        };
        let mut octets = Vec::new();
        template.encode_message(&fields, &body, &mut LineCache::default(), &mut octets);
        let mut decoder = decoder(version);
        let frame = decoder.decode(&octets).unwrap().unwrap();
        prop_assert_eq!(frame.consumed, octets.len() - 1, "one LF follows the NUL");
        prop_assert_eq!(frame.command, Command::Message);
        prop_assert_eq!(frame.body, &body[..]);
        prop_assert_eq!(frame.has_content_length, !text || body.contains(&0));
        let get = |known| frame.headers.get(known).map(|value| value.into_owned());
        let id = foreign.as_ref().map_or_else(|| format!("ID:h:1-{origin:x}:{serial}"), |f| f.0.clone());
        let destination = foreign.as_ref().map_or("/queue/a:b", |(_, destination)| destination);
        prop_assert_eq!(get(Known::MessageId), Some(id));
        prop_assert_eq!(get(Known::Destination).unwrap(), destination);
        prop_assert_eq!(get(Known::Subscription).unwrap(), "s:1");
        prop_assert_eq!(get(Known::Timestamp), Some(timestamp_ms.to_string()));
        prop_assert_eq!(get(Known::Priority).unwrap(), "7");
        prop_assert_eq!(get(Known::Expires), Some(expires_ms.to_string()));
        prop_assert_eq!(get(Known::Persistent), persistent.then(|| "true".to_owned()));
        prop_assert_eq!(get(Known::Redelivered), redelivered.then(|| "true".to_owned()));
        prop_assert_eq!(get(Known::JmsxDeliveryCount), Some(delivery_count.to_string()));
        prop_assert_eq!(get(Known::OriginalDestination).unwrap(), "queue://x");
        // C236: only 1.2 has `ack`.
        let expected = ack.filter(|_| version == Version::V12).map(|number| format!("7-{number}"));
        prop_assert_eq!(get(Known::Ack), expected);
    }

    #[test]
    fn server_frames_read_back(version in versions(), text in value(), body in "[a-z\0]{0,9}") {
        let mut octets = Vec::new();
        encode_receipt(version, &text, &[("duplicate", "true")], &mut octets);
        let headers = [("version", "1.0,1.1,1.2")];
        let error = ErrorFrame {
            message: &text,
            receipt_id: Some(&text),
            headers: &headers,
            body: &body,
        };
        encode_error(version, &error, &mut octets);
        let mut decoder = decoder(version);
        let receipt = decoder.decode(&octets).unwrap().unwrap();
        let id = receipt.headers.get(Known::ReceiptId).unwrap().into_owned();
        prop_assert_eq!(id, readable(&text, version));
        let consumed = receipt.consumed;
        let error = decoder.decode(&octets[consumed..]).unwrap().unwrap();
        prop_assert_eq!(error.command, Command::Error);
        prop_assert_eq!(error.body, body.as_bytes());
        let message = error.headers.get(Known::Message).unwrap().into_owned();
        prop_assert_eq!(message, readable(&text, version));
    }
}

#[test]
fn connecting_is_never_escaped() {
    // CON-10
    for version in [Version::V10, Version::V11, Version::V12] {
        let mut octets = Vec::new();
        let headers = [("login", "a:b"), ("passcode", r"C:\new\c")];
        ClientFrameWriter::new(version, &mut octets).connect("h", &headers);
        let mut server = decoder(Version::V10);
        let frame = server.decode(&octets).unwrap().unwrap();
        let ClientCommand::Connect(connect) = ClientCommand::parse(&frame).unwrap() else {
            panic!("a CONNECT is a CONNECT");
        };
        assert_eq!(connect.version, version);
        assert_eq!(connect.passcode.as_deref(), Some(r"C:\new\c"));
        assert!(
            !format!("{connect:?} {frame:?}").contains("new"),
            "no passcode in a log"
        );

        octets.clear();
        let connected = Connected {
            version,
            session: r"ID:\c1",
            server: "ferrymq/1",
            heart_beat: HeartBeat::default(),
            request_id: None,
        };
        encode_connected(&connected, &mut octets);
        let mut client = decoder(version);
        let frame = client.decode(&octets).unwrap().unwrap();
        assert_eq!(frame.headers.get(Known::Session).unwrap(), r"ID:\c1");
    }
}

#[test]
fn acks_and_the_other_client_frames_read_back() {
    let mut octets = Vec::new();
    ClientFrameWriter::new(Version::V12, &mut octets)
        .subscribe("/queue/a", "0", "client", &[("receipt", "1")])
        .ack("7-1", &[("transaction", "t")])
        .heart_beat()
        .disconnect("bye");
    let mut decoder = decoder(Version::V12);
    let mut rest = &octets[..];
    let mut seen = Vec::new();
    while let Some(frame) = decoder.decode(rest).unwrap() {
        let command = ClientCommand::parse(&frame).unwrap();
        if let ClientCommand::Ack(ack) = &command {
            assert_eq!(ack.target, AckTarget::V12 { id: "7-1".into() });
        }
        seen.push((frame.command, command.receipt().map(str::to_owned)));
        rest = &rest[frame.consumed..];
    }
    let expected = [
        (Command::Subscribe, Some("1".to_owned())),
        (Command::Ack, None),
        (Command::Disconnect, Some("bye".to_owned())),
    ];
    assert_eq!(seen, expected);
}

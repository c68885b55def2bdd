//! Cases of stomp-cases.md parts A, B, D and G that end in the typed command.

use super::*;
use crate::Limits;
use crate::stomp::{DecodeOptions, Decoder, Version};

/// Parses one frame and looks at the outcome.
fn with<T>(
    version: Version,
    frame: &str,
    look: impl FnOnce(Result<ClientCommand<'_>, FrameFault>) -> T,
) -> T {
    let mut decoder = Decoder::new(Limits::default(), DecodeOptions::default());
    decoder.set_version(version);
    let input = format!("{frame}\0");
    let frame = decoder.decode(input.as_bytes()).unwrap().unwrap();
    look(ClientCommand::parse(&frame))
}

fn fault(version: Version, frame: &str) -> FrameFault {
    with(version, frame, |parsed| parsed.map(|_| ()).unwrap_err())
}

fn check_fault(version: Version, frame: &str, part: &str, closes: bool) {
    let fault = fault(version, frame);
    assert!(fault.to_string().contains(part), "{frame:?}: {fault}");
    assert_eq!(fault.closes_connection(), closes, "{frame:?}");
}

fn send<T>(frame: &str, look: impl FnOnce(Send<'_>) -> T) -> T {
    with(Version::V12, frame, |parsed| match parsed {
        Ok(ClientCommand::Send(send)) => look(send),
        other => panic!("{frame:?}: {other:?}"),
    })
}

const V10: Version = Version::V10;
const V11: Version = Version::V11;
const V12: Version = Version::V12;

#[test]
fn what_cannot_be_carried_out_says_why() {
    check_fault(V12, "SEND\n\n", "destination", false); // C112
    check_fault(V12, "SEND\ndestination: \n\n", "destination", false); // C113
    check_fault(
        V12,
        "SEND\ndestination:q\npriority:x\n\n",
        "priority",
        false,
    ); // SND-3
    check_fault(V12, "SEND\ndestination:q\nexpires:x\n\n", "expires", false);
    check_fault(
        V12,
        "SEND\ndestination:q\namq-msg-type:map\n\n",
        "unsupported",
        false,
    ); // C136
    check_fault(
        V11,
        "SUBSCRIBE\ndestination:q\n\n",
        "received without a subscription id",
        false,
    ); // C159
    check_fault(
        V12,
        "SUBSCRIBE\nid:1\ndestination:\n\n",
        "destination",
        false,
    ); // C163
    check_fault(
        V10,
        "SUBSCRIBE\ndestination:q\nbrowser:true\n\n",
        "v1.1",
        false,
    ); // C228
    check_fault(
        V11,
        "UNSUBSCRIBE\ndestination:q\n\n",
        "subscription id",
        false,
    ); // C172
    check_fault(V10, "UNSUBSCRIBE\n\n", "subscription id", false); // C174
    check_fault(V10, "ACK\n\n", "ACK received without a message-id", false); // C233
    check_fault(
        V11,
        "ACK\nmessage-id:1\n\n",
        "without a subscription",
        false,
    ); // C235
    check_fault(
        V12,
        "ACK\nmessage-id:1\nsubscription:1\n\n",
        "without an id",
        false,
    ); // C239
    check_fault(
        V10,
        "NACK\nmessage-id:1\n\n",
        "NACK received but connection is in v1.0 mode.",
        false,
    );
    check_fault(V12, "COMMIT\n\n", "transaction", false); // C274
    check_fault(V12, "RECEIPT\nreceipt-id:1\n\n", "RECEIPT", true); // C032
    check_fault(V12, "MESSAGE\n\n", "MESSAGE", true); // C033
    check_fault(V10, "CONNECT\naccept-version:9.0\n\n", "1.0,1.1,1.2", true); // C012
    for bad in ["0", "T,0", "100,10,50", "-1,0"] {
        let frame = format!("CONNECT\nheart-beat:{bad}\n\n");
        check_fault(V10, &frame, "heart-beat", true); // C052 … C055
    }
}

#[test]
fn send_reads_its_essentials() {
    send("SEND\ndestination: /queue/q \n\n", |send| {
        assert_eq!(send.destination, "/queue/q"); // C145
        assert_eq!(
            (send.persistent, send.priority, send.expires_ms),
            (false, 4, 0)
        );
        assert!(send.text && !send.body_has_nul());
    });
    let frame = "SEND\ndestination:q\npersistent:true\npriority: 12 \nexpires:-5\ntimestamp:7\n\
                 receipt:r\ntransaction:t\nexpiration:1000\ncontent-length:1\n\n\0";
    send(frame, |send| {
        assert_eq!(
            (send.persistent, send.priority, send.expires_ms),
            (true, 9, 0)
        );
        assert_eq!(
            (send.timestamp_ms, send.expiration_ms),
            (Some(7), Some(1000))
        );
        assert_eq!(
            (send.receipt.as_deref(), send.transaction.as_deref()),
            (Some("r"), Some("t"))
        );
        assert!(!send.text && send.body_has_nul());
    });
    send(
        "SEND\ndestination:q\npersistent:TRUE\npriority:-3\n\n",
        |send| {
            assert_eq!((send.persistent, send.priority), (false, 0)); // C116
        },
    );
    send(
        "SEND\ndestination:q\namq-msg-type:TEXT\ncontent-length:0\n\n",
        |send| assert!(send.text),
    );
    send("SEND\ndestination:q\namq-msg-type:bytes\n\n", |send| {
        assert!(!send.text)
    });
}

fn check_user_head(version: Version, lines: &str, expected: &str) {
    let frame = format!("SEND\ndestination:q\n{lines}\n");
    with(version, &frame, |parsed| {
        let Ok(ClientCommand::Send(send)) = parsed else {
            panic!("{frame:?}");
        };
        let mut head = Vec::new();
        let flags = send.write_user_head(&mut head);
        assert_eq!(
            String::from_utf8(head).unwrap(),
            expected,
            "{lines:?} {version}"
        );
        assert_eq!(flags.escaped, expected.contains('\\'));
    });
}

#[test]
fn the_users_lines_become_canonical() {
    check_user_head(V12, "", "");
    check_user_head(V12, "receipt:1\na:1\nb:2\nack:x\nc:3\n", "a:1\nb:2\nc:3\n");
    check_user_head(V12, "a:1\nb:2\na:3\ntype:t\ntype:u\n", "a:1\nb:2\ntype:t\n"); // C077
    check_user_head(
        V12,
        "a:\\c\\n\\\\\\r\nx\\cy:1\n",
        "a:\\c\\n\\\\\\r\nx\\cy:1\n",
    ); // C081
    check_user_head(V12, "x\\cy:1\nx\\cy:2\nz:1\nz:2\n", "x\\cy:1\nz:1\n");
    check_user_head(V11, "type:t34:5\na:b\n", "type:t34\\c5\na:b\n"); // C085
    check_user_head(V11, "a:\\t\\r\n", "a:\\\\t\\\\r\n");
    check_user_head(V11, "a: b \n", "a: b \n"); // C079
    check_user_head(V10, "a: b \nc:d\n", "a:b\nc:d\n"); // C078
    check_user_head(V10, "h:C:\\new\n", "h:C\\c\\\\new\n"); // FRM-7
    check_user_head(V12, "a:1\r\nb:x\ry\r\n", "a:1\nb:x\\ry\n");
    check_user_head(V12, "lone\n:no name\nfoo:\n", "lone:\nfoo:\n"); // C089, C090
    let many: String = (0..40)
        .map(|index| format!("h{}:{index}\n", index % 20))
        .collect();
    let first: String = (0..20).map(|index| format!("h{index}:{index}\n")).collect();
    check_user_head(V12, &many, &first);
}

#[test]
fn a_send_says_when_it_wants_to_be_delivered() {
    let check = |lines: &str, expected: Option<ScheduleHeaders<'_>>| {
        send(&format!("SEND\ndestination:q\n{lines}\n"), |send| {
            assert_eq!(send.schedule(), Ok(expected), "{lines}");
        });
    };
    check("a:b\n", None);
    check(
        "AMQ_SCHEDULED_DELAY: 2000\nAMQ_SCHEDULED_PERIOD:5\nAMQ_SCHEDULED_REPEAT:-1\n",
        Some(ScheduleHeaders {
            delay_ms: 2000,
            period_ms: 5,
            repeat: -1,
            ..ScheduleHeaders::default()
        }),
    );
    check(
        "AMQ_SCHEDULED_CRON:0 * * * *\nAMQ_SCHEDULED_CRON_TZ:Europe/Berlin\nAMQ_SCHEDULED_KEY:k\n",
        Some(ScheduleHeaders {
            cron: Some("0 * * * *".into()),
            zone: Some("Europe/Berlin".into()),
            key: Some("k".into()),
            ..ScheduleHeaders::default()
        }),
    );
    check("AMQ_SCHEDULED_DELAY:60000\nscheduledJobId:x\n", None); // C142, SCH-5
    check("AMQ_SCHEDULED_KEY:k\n", None);
    send(
        "SEND\ndestination:q\nAMQ_SCHEDULED_DELAY:soon\n\n",
        |send| {
            let fault = send.schedule().unwrap_err();
            assert_eq!(
                fault.to_string(),
                "header AMQ_SCHEDULED_DELAY is not a number: soon"
            );
        },
    );
    // Readers never see them (SCH-4).
    check_user_head(
        V12,
        "AMQ_SCHEDULED_DELAY:1\na:b\nAMQ_SCHEDULED_KEY:k\n",
        "a:b\n",
    );
}

#[test]
fn a_send_may_speak_to_the_scheduler_itself() {
    let check = |lines: &str, expected: Option<SchedulerAction<'_>>| {
        send(&format!("SEND\ndestination:q\n{lines}\n"), |send| {
            assert_eq!(send.scheduler_action(), Ok(expected), "{lines}");
        });
    };
    check("a:b\n", None);
    check(
        "AMQ_SCHEDULER_ACTION:BROWSE\nreply-to:/queue/r\nACTION_START_TIME:5\n",
        Some(SchedulerAction::Browse {
            from_ms: 5,
            to_ms: u64::MAX,
            reply_to: Some("/queue/r".into()),
        }),
    );
    check(
        "AMQ_SCHEDULER_ACTION:REMOVE\nscheduledJobId:job-1\n",
        Some(SchedulerAction::Remove {
            job: "job-1".into(),
        }),
    );
    check(
        "AMQ_SCHEDULER_ACTION:REMOVE\nAMQ_SCHEDULED_KEY:k\n",
        Some(SchedulerAction::RemoveKey { key: "k".into() }),
    );
    check(
        "AMQ_SCHEDULER_ACTION:REMOVE\n",
        Some(SchedulerAction::RemoveNothing),
    );
    check(
        "AMQ_SCHEDULER_ACTION:REMOVEALL\nACTION_END_TIME:9\n",
        Some(SchedulerAction::RemoveAll {
            from_ms: 0,
            to_ms: 9,
        }),
    );
    check(
        "AMQ_SCHEDULER_ACTION:x\n",
        Some(SchedulerAction::Unknown("x".into())),
    );
}

#[test]
fn connect_keeps_values_raw_and_trims_those_of_10() {
    let connect = |frame: &str, expected: (Option<&str>, Option<&str>)| {
        with(V10, frame, |parsed| {
            let Ok(ClientCommand::Connect(connect)) = parsed else {
                panic!("{frame:?}");
            };
            let found = (connect.passcode.as_deref(), connect.request_id.as_deref());
            assert_eq!(found, expected, "{frame:?}");
        });
    };
    connect(
        "CONNECT\npasscode: a\\cb \nreceipt:77\n\n",
        (Some(r"a\cb"), Some("77")),
    ); // C017
    connect(
        "STOMP\naccept-version:1.2\npasscode: a\\tb\n\n",
        (Some(r" a\tb"), None),
    );
    connect("CONNECT\nrequest-id:1\nreceipt:2\n\n", (None, Some("1"))); // C016
}

#[test]
fn subscribe_reads_its_dialects() {
    let subscribe = |lines: &str, look: fn(Subscribe<'_>)| {
        let frame = format!("SUBSCRIBE\nid:1\ndestination:q\n{lines}\n");
        with(V12, &frame, |parsed| match parsed {
            Ok(ClientCommand::Subscribe(subscribe)) => look(subscribe),
            other => panic!("{frame:?}: {other:?}"),
        });
    };
    subscribe("", |s| {
        assert_eq!(
            (s.ack, s.ack_is_known, s.prefetch, s.priority),
            (AckMode::Auto, true, None, 0)
        );
    });
    subscribe("ack:bogus\n", |s| {
        assert_eq!((s.ack, s.ack_is_known), (AckMode::Auto, false))
    }); // C168
    subscribe("prefetch-count:0\n", |s| {
        assert_eq!(s.prefetch, Some(Prefetch::Unlimited))
    });
    subscribe("prefetch-count:5\nactivemq.prefetchSize:0\n", |s| {
        assert_eq!(s.prefetch, Some(Prefetch::Messages(1)));
    });
    subscribe(
        "activemq.subcriptionName:d\nno-local:true\nactivemq.priority:999\n",
        |s| {
            assert_eq!(
                (s.durable_name.as_deref(), s.no_local, s.priority),
                (Some("d"), true, 127)
            ); // C222
        },
    );
    subscribe("durable:true\nauto-delete:false\n", |s| assert!(s.durable)); // C335
}

#[test]
fn nack_says_where_the_message_goes() {
    with(
        V12,
        "NACK\nid:7-1\nrequeue:false\nredelivery-delay:50\n\n",
        |parsed| {
            let Ok(ClientCommand::Nack(nack)) = parsed else {
                panic!("a NACK is a NACK");
            };
            assert_eq!(
                (nack.requeue, nack.redelivery_delay_ms),
                (Some(false), Some(50))
            );
            assert_eq!(nack.target, AckTarget::V12 { id: "7-1".into() });
        },
    );
}

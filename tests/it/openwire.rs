//! OpenWire on the wire, what the Java client cannot show. Spec: behaviour OWI-1, OWI-5, SND-5, USE-5, SLO-2, RCV-1;
//! openwire.md 2, 10, 17.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use ferrymq_protocols::openwire::commands::{
    AckType, Command, ConnectionId, ConnectionInfo, ConsumerId, ConsumerInfo, Destination,
    DestinationKind, KeepAliveInfo, LocalTransactionId, Message, MessageAck, MessageId,
    MessageKind, MessagePull, ProducerId, Throwable, TransactionId, TransactionInfo,
    TransactionOperation, XaTransactionId,
};
use ferrymq_protocols::openwire::{Decoder, Encoder, Limits, Negotiated, Object, WireFormat};

use crate::slow_consumers;
use crate::wait::until;
use crate::wire::server::Server;

/// A client made of our own codec.
struct Peer {
    stream: TcpStream,
    decoder: Decoder,
    encoder: Encoder,
    input: BytesMut,
    /// What the broker offers.
    theirs: WireFormat,
}

impl Peer {
    /// Connects and shakes hands.
    fn new(server: &Server, ours: &WireFormat) -> Self {
        let stream = server.tcp("auto");
        let patience = Some(Duration::from_secs(20));
        stream.set_read_timeout(patience).expect("a time-out");
        let mut peer = Self {
            stream,
            decoder: Decoder::new(Limits::default()),
            encoder: Encoder::new(),
            input: BytesMut::new(),
            theirs: WireFormat::default(),
        };
        peer.send(&ours.to_info().expect("an offer"));
        let Command::WireFormatInfo(info) = peer.next() else {
            panic!("it does not begin with WireFormatInfo");
        };
        peer.theirs = WireFormat::of(&info).expect("an offer");
        let agreed = Negotiated::between(ours, &peer.theirs).expect("they agree");
        peer.decoder.agree(&agreed.format);
        peer.encoder.agree(&agreed.format);
        assert!(matches!(peer.next(), Command::BrokerInfo(_)));
        peer
    }

    fn send(&mut self, command: &impl Object) {
        let mut out = Vec::new();
        self.encoder.encode(command, &mut out).expect("a frame");
        self.stream.write_all(&out).expect("it reads");
    }

    fn next(&mut self) -> Command {
        loop {
            let mut input: Bytes = std::mem::take(&mut self.input).freeze();
            let decoded = self.decoder.decode(&mut input).expect("a frame");
            self.input = BytesMut::from(&input[..]);
            if let Some(command) = decoded {
                return command;
            }
            let mut octets = [0; 4096];
            let count = self.stream.read(&mut octets).expect("something comes");
            assert!(count > 0, "the broker has closed it");
            self.input.extend_from_slice(&octets[..count]);
        }
    }

    fn log_in(&mut self, client_id: Option<&str>) -> Command {
        self.send(&ConnectionInfo {
            command_id: 1,
            response_required: true,
            connection_id: Some(connection_id()),
            client_id: client_id.map(Into::into),
            ..ConnectionInfo::default()
        });
        self.next()
    }
}

/// A logged-in client of a server with these lines in its file.
fn logged_in(lines: &str) -> (Server, Peer) {
    let server = slow_consumers::server(&format!(
        "[auto]\nenabled = true\nlisten = \"127.0.0.1:0\"\n{lines}"
    ));
    let mut peer = Peer::new(&server, &WireFormat::default());
    assert!(matches!(peer.log_in(Some("c")), Command::Response(_)));
    (server, peer)
}

/// A queue, or a topic if the name says so.
fn destination(name: &str) -> Arc<Destination> {
    let (kind, name) = match name.strip_prefix("topic://") {
        Some(name) => (DestinationKind::Topic, name),
        None => (DestinationKind::Queue, name),
    };
    Arc::new(Destination::new(kind, name))
}

/// A message that wants an answer, by the number of its command.
fn message(to: &str, number: i32, transaction: Option<&Arc<TransactionId>>) -> Message {
    let producer = Arc::new(ProducerId {
        connection_id: Some("ID:test-1".into()),
        session_id: 1,
        value: 1,
    });
    Message {
        kind: MessageKind::Bytes,
        command_id: number,
        response_required: true,
        producer_id: Some(Arc::clone(&producer)),
        destination: Some(destination(to)),
        transaction_id: transaction.cloned(),
        message_id: Some(MessageId {
            producer_id: Some(producer),
            producer_sequence_id: number.into(),
            ..MessageId::default()
        }),
        priority: 4,
        content: Some(Bytes::from(number.to_string())),
        ..Message::default()
    }
}

/// Which command an answer is for that says that all is well.
fn answered(command: &Command) -> i32 {
    let Command::Response(response) = command else {
        panic!("no answer: {command:?}");
    };
    response.correlation_id
}

fn connection_id() -> Arc<ConnectionId> {
    Arc::new(ConnectionId {
        value: Some("ID:test-1".into()),
    })
}

/// What an exception says, and which command it answers.
fn exception(command: Command) -> (i32, String, String) {
    let Command::ExceptionResponse(response) = command else {
        panic!("no exception: {command:?}");
    };
    let exception = response.exception.expect("an exception");
    let text = |text: Option<ferrymq_protocols::openwire::Text>| text.expect("a text").to_string();
    (
        response.correlation_id,
        text(exception.class),
        text(exception.message),
    )
}

fn server() -> Server {
    Server::with(|config| {
        config.auto.enabled = true;
        config.auto.listen.set_port(0);
    })
}

#[test]
fn a_cache_too_small_for_java_is_left_out() {
    let server = server();
    let ours = WireFormat {
        cache_size: 50,
        ..WireFormat::default()
    };
    let mut peer = Peer::new(&server, &ours);
    assert!(!peer.theirs.cache);
    assert!(matches!(peer.log_in(Some("c")), Command::Response(_)));
    assert!(Peer::new(&server, &WireFormat::default()).theirs.cache);
}

#[test]
fn a_client_without_an_id_is_refused_and_closed() {
    let server = server();
    let mut peer = Peer::new(&server, &WireFormat::default());
    let (to, class, _) = exception(peer.log_in(None));
    assert_eq!((to, &*class), (1, "javax.jms.InvalidClientIDException"));
    let mut rest = Vec::new();
    peer.stream.read_to_end(&mut rest).expect("it is closed");
    assert!(rest.is_empty());
}

#[test]
fn steps_of_distributed_transactions_are_refused_with_a_code() {
    let server = server();
    let mut peer = Peer::new(&server, &WireFormat::default());
    peer.log_in(Some("c"));
    peer.send(&TransactionInfo {
        command_id: 2,
        response_required: true,
        connection_id: Some(connection_id()),
        transaction_id: Some(Arc::new(TransactionId::Xa(XaTransactionId::default()))),
        kind: TransactionOperation::Prepare as i8,
    });
    let (to, class, text) = exception(peer.next());
    assert_eq!((to, &*class), (2, "javax.transaction.xa.XAException"));
    assert!(text.ends_with(" xaErrorCode:-3"), "{text}");
}

#[test]
fn messages_without_room_wait_in_their_order_and_nothing_else_does() {
    let (server, mut peer) = logged_in("[[policy]]\nqueue = \"small\"\nmaxMessages = 1\n");
    for number in 2..=4 {
        peer.send(&message("small", number, None));
    }
    assert_eq!(answered(&peer.next()), 2);
    let waiting = until("a producer to wait with both", || {
        let mut waiting = server.engine().waiting_producers();
        waiting.pop().filter(|wait| wait.sends == 2)
    });
    assert_eq!(
        (waiting.client_id(), &*waiting.target()),
        ("c", "/queue/small")
    );
    assert!(
        waiting.cause().contains("maxMessages"),
        "{}",
        waiting.cause()
    );
    peer.send(&KeepAliveInfo {
        response_required: true,
        ..KeepAliveInfo::default()
    });
    assert!(matches!(peer.next(), Command::KeepAliveInfo(_)));
    let mut consumer = server.client();
    consumer.ask("SUBSCRIBE id:1 destination:/queue/small");
    for number in 2..=4 {
        consumer.message(&number.to_string());
    }
    assert_eq!(
        [peer.next(), peer.next()].map(|next| answered(&next)),
        [3, 4]
    );
    until("nobody to wait", || {
        server.engine().waiting_producers().is_empty().then_some(())
    });
}

#[test]
fn a_message_without_room_fails_when_the_policy_says_so() {
    for (policy, key) in [
        ("sendFailIfNoSpace = true", "maxMessages"),
        (
            "sendFailIfNoSpaceAfterTimeout = 200",
            "sendFailIfNoSpaceAfterTimeout",
        ),
    ] {
        let (server, mut peer) = logged_in(&format!(
            "[[policy]]\nqueue = \"small\"\nmaxMessages = 1\n{policy}\n"
        ));
        peer.send(&message("small", 2, None));
        assert_eq!(answered(&peer.next()), 2);
        peer.send(&message("small", 3, None));
        let (to, class, text) = exception(peer.next());
        let expected = (3, "javax.jms.ResourceAllocationException");
        assert_eq!((to, &*class), expected, "{text}");
        assert!(text.contains(key), "{text}");
        assert_eq!(server.queue_len("small"), 1);
        peer.send(&message("other", 4, None));
        assert_eq!(answered(&peer.next()), 4);
    }
}

#[test]
fn a_transaction_waits_with_its_message_and_commits() {
    let (server, mut peer) = logged_in("[[policy]]\nqueue = \"small\"\nmaxMessages = 1\n");
    peer.send(&message("small", 2, None));
    assert_eq!(answered(&peer.next()), 2);
    let id = Arc::new(TransactionId::Local(LocalTransactionId {
        value: 1,
        connection_id: Some(connection_id()),
    }));
    let step = |number, kind: TransactionOperation| TransactionInfo {
        command_id: number,
        response_required: true,
        connection_id: Some(connection_id()),
        transaction_id: Some(Arc::clone(&id)),
        kind: kind as i8,
    };
    peer.send(&step(3, TransactionOperation::Begin));
    assert_eq!(answered(&peer.next()), 3);
    peer.send(&message("small", 4, Some(&id)));
    peer.send(&step(5, TransactionOperation::CommitOnePhase));
    until("a producer to wait with the commit behind it", || {
        let waiting = server.engine().waiting_producers();
        (waiting.len() == 1 && waiting[0].sends == 2).then_some(())
    });
    let mut consumer = server.client();
    consumer.ask("SUBSCRIBE id:1 destination:/queue/small");
    consumer.message("2");
    consumer.message("4");
    assert_eq!(
        [peer.next(), peer.next()].map(|next| answered(&next)),
        [4, 5]
    );
}

/// Lets the client consume.
fn consume(peer: &mut Peer, from: &str, prefetch: i32, retroactive: bool) -> Arc<ConsumerId> {
    let id = Arc::new(ConsumerId {
        connection_id: Some("ID:test-1".into()),
        session_id: 1,
        value: 1,
    });
    peer.send(&ConsumerInfo {
        command_id: 9,
        response_required: true,
        consumer_id: Some(Arc::clone(&id)),
        destination: Some(destination(from)),
        prefetch_size: prefetch,
        retroactive,
        ..ConsumerInfo::default()
    });
    assert_eq!(answered(&peer.next()), 9);
    id
}

fn delivered(command: &Command) -> &[u8] {
    let Command::MessageDispatch(dispatch) = command else {
        panic!("no message: {command:?}");
    };
    let message = dispatch.message.as_ref().expect("a message");
    message.content.as_deref().expect("a body")
}

#[test]
fn a_slow_consumer_is_told_why_and_closed() {
    let (server, mut peer) = logged_in(
        "[[policy]]\nqueue = \">\"\nslowConsumerStrategy = { type = \"abortSlowConsumer\", checkPeriod = 20, \
         maxSlowDuration = 40 }\n",
    );
    let id = consume(&mut peer, "q", 2, false);
    for number in 2..=4 {
        peer.send(&message("q", number, None));
    }
    let mut bodies = Vec::new();
    let text = loop {
        match peer.next() {
            Command::ConnectionError(error) => break error.exception.expect("why").message,
            Command::Response(_) => {}
            other => bodies.push(delivered(&other).to_vec()),
        }
    };
    assert_eq!(bodies, [b"2", b"3"]);
    let text = text.expect("a text").to_string();
    assert!(
        text.contains("/queue/q") && text.contains("slowConsumerStrategy.maxSlowDuration"),
        "{text}"
    );
    let Command::ConsumerControl(control) = peer.next() else {
        panic!("the consumer is not closed");
    };
    assert!(control.close);
    assert_eq!(control.consumer_id.as_ref(), Some(&*id));
    // The connection stays, and another one gets all.
    peer.send(&message("other", 5, None));
    assert_eq!(answered(&peer.next()), 5);
    until("all to be back", || {
        (server.queue_len("q") == 3).then_some(())
    });
}

#[test]
fn a_pulling_consumer_is_not_slow_because_it_asks_for_nothing() {
    let (server, mut peer) = logged_in(
        "[[policy]]\nqueue = \">\"\nslowConsumerStrategy = { type = \"abortSlowConsumer\", checkPeriod = 10, \
         maxSlowDuration = 20 }\n",
    );
    let id = consume(&mut peer, "q", 0, false);
    let mut stuck = server.client();
    stuck.ask("SUBSCRIBE id:stuck destination:/queue/q ack:client activemq.prefetchSize:1");
    for number in 2..=3 {
        peer.send(&message("q", number, None));
        assert_eq!(answered(&peer.next()), number);
    }
    stuck.message("2");
    stuck.expect("ERROR message~'subscription stuck'");
    peer.send(&MessagePull {
        consumer_id: Some(Arc::clone(&id)),
        destination: Some(destination("q")),
        ..MessagePull::default()
    });
    // Or the other one, which comes back.
    assert!([b"2", b"3"].contains(&delivered(&peer.next()).try_into().expect("one digit")));
}

#[test]
fn a_dead_letter_tells_why_the_client_gave_it_up() {
    let (server, mut peer) = logged_in("");
    let id = consume(&mut peer, "q", 2, false);
    peer.send(&message("q", 2, None));
    let mut given = None;
    while given.is_none() {
        if let Command::MessageDispatch(dispatch) = peer.next() {
            given = dispatch.message;
        }
    }
    peer.send(&MessageAck {
        command_id: 3,
        response_required: true,
        destination: Some(destination("q")),
        consumer_id: Some(id),
        ack_type: AckType::Poison as i8,
        last_message_id: given.and_then(|message| message.message_id),
        message_count: 1,
        poison_cause: Some(Box::new(Throwable::new(
            "java.lang.Throwable",
            "Delivery[7] exceeds redelivery policy limit",
        ))),
        ..MessageAck::default()
    });
    let mut dead = server.client();
    dead.ask("SUBSCRIBE id:1 destination:/queue/ActiveMQ.DLQ");
    let letter = dead.message("2");
    assert_eq!(
        letter.must("dlqDeliveryFailureCause").replace("\\c", ":"),
        "java.lang.Throwable: Delivery[7] exceeds redelivery policy limit"
    );
}

#[test]
fn a_retroactive_consumer_gets_what_the_topic_has_kept() {
    let (_server, mut peer) = logged_in(
        "[[policy]]\ntopic = \"t\"\nsubscriptionRecoveryPolicy = { type = \"lastImageSubscriptionRecoveryPolicy\" }\n",
    );
    for number in 2..=3 {
        peer.send(&message("topic://t", number, None));
        assert_eq!(answered(&peer.next()), number);
    }
    consume(&mut peer, "topic://t", 2, true);
    assert_eq!(delivered(&peer.next()), b"3");
}

//! OpenWire on the wire, what the Java client cannot show. Spec: behaviour OWI-1, OWI-5; openwire.md 2, 10, 17.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use ferrymq_protocols::openwire::commands::{
    Command, ConnectionId, ConnectionInfo, TransactionId, TransactionInfo, TransactionOperation,
    XaTransactionId,
};
use ferrymq_protocols::openwire::{Decoder, Encoder, Limits, Negotiated, Object, WireFormat};

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

use std::io::Read;

use proptest::prelude::*;
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::{ClientConfig, ClientConnection, RootCertStore};

use super::*;
use crate::transport::pipe::Pipe;

/// A server's wire and the client at its other end, after the handshake.
fn connected() -> (TlsWire<Pipe>, ClientConnection) {
    let names = ["localhost".to_owned()];
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(names).unwrap();
    let key = PrivatePkcs8KeyDer::from(signing_key.serialize_der()).into();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(cert.der().clone()).unwrap();
    let server = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key)
        .unwrap();
    let client = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let wire = TlsWire::new(Pipe::default(), Arc::new(server)).unwrap();
    let mut client =
        ClientConnection::new(Arc::new(client), "localhost".try_into().unwrap()).unwrap();
    let mut buffer = BytesMut::new();
    while client.is_handshaking() || wire.state().connection.is_handshaking() {
        say(&wire, &mut client);
        wire.lower.make_room(&[usize::MAX; 4]);
        while wire.try_read(&mut buffer).is_ok() {}
        hear(&wire, &mut client);
    }
    wire.lower.take_room();
    assert!(buffer.is_empty());
    (wire, client)
}

/// What the client has to send, in pieces of seven octets and the rest.
fn say(wire: &TlsWire<Pipe>, client: &mut ClientConnection) {
    let mut octets = Vec::new();
    while client.wants_write() {
        client.write_tls(&mut octets).unwrap();
    }
    let (first, rest) = octets.split_at(octets.len().min(7));
    wire.lower.say(first);
    if !rest.is_empty() {
        wire.lower.say(rest);
    }
}

/// What the client understands of what was written.
fn hear(wire: &TlsWire<Pipe>, client: &mut ClientConnection) -> Vec<u8> {
    let written = std::mem::take(&mut *wire.lower.written.lock().unwrap());
    let (mut written, mut heard) = (&written[..], Vec::new());
    while !written.is_empty() {
        client.read_tls(&mut written).unwrap();
        client.process_new_packets().unwrap();
        // Ends with `WouldBlock` when all is read.
        let _ = client.reader().read_to_end(&mut heard);
    }
    heard
}

#[test]
fn what_a_read_brings_is_handed_on_at_once() {
    let (wire, mut client) = connected();
    client.writer().write_all(&[b'x'; 40_000]).unwrap();
    say(&wire, &mut client);
    let mut buffer = BytesMut::new();
    assert_eq!(wire.try_read(&mut buffer).unwrap(), 40_000);
    let nothing = wire.try_read(&mut buffer).unwrap_err();
    assert_eq!(nothing.kind(), io::ErrorKind::WouldBlock);
    client.writer().write_all(b"last").unwrap();
    client.send_close_notify();
    say(&wire, &mut client);
    assert_eq!(wire.try_read(&mut buffer).unwrap(), 4);
    assert_eq!(wire.try_read(&mut buffer).unwrap(), 0);
    assert!(buffer.ends_with(b"xlast"));
}

#[test]
fn nothing_counts_as_written_before_its_ciphertext_has_left() {
    let (wire, mut client) = connected();
    let offered = [IoSlice::new(b"hello")];
    wire.lower.make_room(&[10]);
    let full = wire.try_write(&offered).unwrap_err();
    assert_eq!(full.kind(), io::ErrorKind::WouldBlock);
    wire.lower.make_room(&[1000]);
    assert_eq!(wire.try_write(&offered).unwrap(), 5);
    assert_eq!(hear(&wire, &mut client), b"hello");
}

#[test]
fn the_end_is_said_behind_what_still_waits() {
    let (wire, mut client) = connected();
    wire.lower.make_room(&[10]);
    wire.try_write(&[IoSlice::new(b"hello")]).unwrap_err();
    wire.shutdown_write();
    assert!(!wire.lower.is_shut());
    wire.lower.make_room(&[usize::MAX]);
    let ready = wire.ready(false, false);
    tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap()
        .block_on(ready)
        .unwrap();
    assert!(wire.lower.is_shut());
    assert_eq!(hear(&wire, &mut client), b"hello");
    let end = client.reader().read(&mut [0]).unwrap();
    assert_eq!(end, 0, "with the notice that nothing was cut off");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn all_octets_arrive_in_order_whatever_the_wire_takes(
        len in 1..400_000_usize,
        piece in 1000..90_000_usize,
        room in prop::collection::vec(1..100_000_usize, 0..20),
    ) {
        let (wire, mut client) = connected();
        wire.lower.make_room(&room);
        let stream: Vec<u8> = (0..=250).cycle().take(len).collect();
        let (mut written, mut heard) = (0, Vec::new());
        while written < stream.len() {
            let pieces: Vec<_> = stream[written..].chunks(piece).map(IoSlice::new).collect();
            match wire.try_write(&pieces[..pieces.len().min(32)]) {
                Ok(count) => written += count,
                Err(error) => {
                    prop_assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
                    wire.lower.make_room(&[500, 30_000]);
                }
            }
            heard.extend(hear(&wire, &mut client));
            prop_assert!(heard.len() >= written, "{} of {written} written have arrived", heard.len());
        }
        prop_assert!(heard == stream);
    }
}

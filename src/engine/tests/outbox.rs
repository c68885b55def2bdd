use super::*;
use crate::engine::Ticket;

fn ticket(number: u64) -> Option<Ticket> {
    Some(Ticket::from_u64(number))
}

fn outbox() -> (Arc<Engine>, Fake, Outbox) {
    let (engine, socket) = (engine(), Fake::default());
    let outbox = Outbox::new(Box::new(socket.clone()), &engine);
    (engine, socket, outbox)
}

#[test]
fn answers_keep_their_order_behind_one_that_waits_for_a_sync() {
    // REC-1
    let (_engine, socket, outbox) = outbox();
    outbox.reply(ticket(1), ticket(1), b"a");
    outbox.reply(ticket(3), ticket(1), b"b");
    outbox.reply(None, ticket(1), b"c");
    outbox.reply(ticket(2), ticket(2), b"d");
    outbox.reply(ticket(5), ticket(2), b"e");
    outbox.reply(None, ticket(2), b"f");
    outbox.flush();
    assert_eq!(socket.octets(), b"a");
    assert!(outbox.settle(ticket(2)));
    outbox.flush();
    assert_eq!(socket.octets(), b"a");
    assert!(outbox.settle(ticket(4)));
    outbox.flush();
    assert_eq!(socket.octets(), b"abcd");
    assert!(!outbox.settle(ticket(5)));
    outbox.flush();
    assert_eq!(socket.octets(), b"abcdef");
}

#[test]
fn a_partial_write_goes_on_where_it_stopped() {
    let (_engine, socket, outbox) = outbox();
    socket.plan(&[Does::Takes(3), Does::Blocks, Does::Takes(2)]);
    outbox.append(b"abcdefgh");
    outbox.flush();
    assert_eq!(socket.octets(), b"abc");
    assert!(outbox.wants_writable());
    outbox.flush();
    outbox.append(b"ij");
    outbox.flush();
    assert_eq!(socket.octets(), b"abcde");
    outbox.flush();
    assert_eq!(socket.octets(), b"abcdefghij");
    assert!(!outbox.wants_writable() && outbox.watch_drained());
}

#[test]
fn an_auto_delivery_is_consumed_when_its_last_octet_is_taken() {
    // ACK-5
    let engine = engine();
    let cell = queue(&engine, "q");
    let mut connection = Connection::new(&engine, &cell, AckMode::Auto, 1);
    connection.start();
    connection.socket.plan(&[Does::Takes(10), Does::Takes(9)]);
    connection.send((1..=3).map(|serial| message(1, serial, 4, false)).collect());
    // Each frame has eleven octets.
    assert_eq!(queue_len(&cell), 3);
    connection.pump();
    assert_eq!(
        (queue_len(&cell), connection.socket.octets().len()),
        (2, 19)
    );
    connection.pump();
    assert_eq!(queue_len(&cell), 0);
}

#[test]
fn what_a_broken_connection_did_not_take_comes_back() {
    let engine = engine();
    let cell = queue(&engine, "q");
    let mut broken = Connection::new(&engine, &cell, AckMode::Auto, 1);
    broken.start();
    broken.socket.plan(&[Does::Takes(15), Does::Breaks]);
    broken.send((1..=3).map(|serial| message(1, serial, 4, false)).collect());
    broken.pump();
    assert!(broken.outbox.is_closed());
    assert_eq!(broken.socket.frames().len(), 1);
    broken.end(Ending::Died);
    let mut next = Connection::new(&engine, &cell, AckMode::Auto, 1);
    next.start();
    let frames = next.socket.frames();
    let marks: Vec<_> = frames.iter().map(|f| (f.serial, f.redelivered)).collect();
    assert_eq!(marks, [(2, true), (3, true)]);
    next.end(Ending::Orderly);
    assert_eq!(engine.memory.used_bytes(), 0);
}

#[test]
fn a_full_outbox_takes_no_more_until_half_has_drained() {
    let engine = engine();
    let cell = queue(&engine, "q");
    let mut connection = Connection::new(&engine, &cell, AckMode::Auto, 1);
    connection.start();
    connection.socket.plan(&[Does::Blocks]);
    connection.send(
        (1..=50)
            .map(|serial| message(1, serial, 200, false))
            .collect(),
    );
    let unacked = |cell: &Cell| {
        let mut state = cell.lock();
        let queue = state.queue().unwrap();
        queue.stats.dispatched
    };
    assert_eq!(
        unacked(&cell),
        20,
        "4,096 octets and the one that goes over"
    );
    connection.socket.plan(&[Does::Takes(100)]);
    connection.pump();
    assert_eq!(unacked(&cell), 20);
    connection.pump();
    assert_eq!((unacked(&cell), queue_len(&cell)), (50, 0));
    connection.end(Ending::Orderly);
    assert_eq!(engine.memory.used_bytes(), 0);
}

#[test]
fn a_large_body_arrives_between_small_frames() {
    let engine = engine();
    let cell = queue(&engine, "q");
    let mut connection = Connection::new(&engine, &cell, AckMode::Auto, 1);
    connection.start();
    let sizes = [10, 5000, 10, 100_000, 10];
    for (serial, size) in (1..).zip(sizes) {
        connection.send(vec![message(1, serial, size, false)]);
        connection.pump();
    }
    let serials: Vec<u64> = connection
        .socket
        .frames()
        .iter()
        .map(|f| f.serial)
        .collect();
    assert_eq!(serials, [1, 2, 3, 4, 5]);
    let octets = connection.socket.octets().len();
    assert_eq!(octets, sizes.iter().sum::<usize>() + sizes.len() * 7);
}

#[test]
fn closing_gives_back_every_octet() {
    let (engine, socket, outbox) = outbox();
    socket.plan(&[Does::Blocks; 4]);
    outbox.append(&[0; 100_000]);
    outbox.reply(ticket(7), ticket(1), &[0; 100_000]);
    outbox.flush();
    assert_eq!(engine.memory.used_bytes(), 200_000);
    outbox.close();
    outbox.flush();
    outbox.append(b"more");
    outbox.reply(None, None, b"more");
    outbox.flush();
    assert_eq!(engine.memory.used_bytes(), 0);
}

/// A socket that has its outbox closed while it writes.
struct Closing(Arc<Mutex<Option<Arc<Outbox>>>>);

impl Socket for Closing {
    fn try_write(&self, _: &[IoSlice<'_>]) -> io::Result<usize> {
        if let Some(outbox) = self.0.lock().unwrap().take() {
            outbox.close();
        }
        Err(io::ErrorKind::WouldBlock.into())
    }
}

#[test]
fn an_outbox_closed_during_a_write_charges_nothing_afterwards() {
    // The flush went on to tell the account what waited, and nobody gave it back.
    let engine = engine();
    let closing = Arc::new(Mutex::new(None));
    let socket = Box::new(Closing(Arc::clone(&closing)));
    let outbox = Arc::new(Outbox::new(socket, &engine));
    *closing.lock().unwrap() = Some(Arc::clone(&outbox));
    outbox.append(&[0; 100_000]);
    outbox.flush();
    assert!(outbox.is_closed());
    assert_eq!(engine.memory.used_bytes(), 0);
}

#[test]
fn a_connection_that_takes_no_deliveries_leaves_them_untouched() {
    let engine = engine();
    let cell = queue(&engine, "q");
    let mut closing = Connection::new(&engine, &cell, AckMode::Auto, 1);
    closing.start();
    closing.outbox.stop_deliveries();
    closing.send(vec![message(1, 1, 4, false)]);
    let mut next = Connection::new(&engine, &cell, AckMode::Auto, 1);
    next.start();
    assert_eq!(next.socket.frames().len(), 1);
    assert!(!next.socket.frames()[0].redelivered);
    assert!(closing.socket.octets().is_empty());
}

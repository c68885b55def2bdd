use std::io::IoSlice;
use std::sync::Mutex;

use super::*;
use crate::broker::advisory::ConnectionFacts;
use crate::broker::{
    AckMode, Destination, Kind, Message, MessageFlags, MessageId, Outgoing, Window, Wishes,
};
use crate::clock::Clock;
use crate::engine::cell::{Cell, Encoder, Work};
use crate::engine::choice::Choice;
use crate::engine::durability::Durability;
use crate::engine::feeds::Blueprint;
use crate::engine::outbox::{Outbox, Socket};
use crate::engine::{Engine, Settings};
use crate::session::{Bounds, SubscribeRequest};

struct Nowhere;

impl Socket for Nowhere {
    fn try_write(&self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        Ok(pieces.iter().map(|piece| piece.len()).sum())
    }
}

impl Encoder for Nowhere {
    fn head(&self, _: &Outgoing<'_>, out: &mut Vec<u8>) -> bool {
        out.push(b'm');
        true
    }

    fn wire(&self) -> u8 {
        1
    }

    fn tail(&self, out: &mut Vec<u8>) {
        out.push(0);
    }

    fn browse_end(&self, _: &mut Vec<u8>) {}
}

/// One octet can be read, once.
struct OneOctet(Mutex<Option<u8>>);

impl Wire for OneOctet {
    async fn ready(&self, _: bool, _: bool) -> io::Result<()> {
        Ok(())
    }

    fn try_read(&self, buffer: &mut BytesMut) -> io::Result<usize> {
        let octet = self.0.lock().unwrap().take();
        buffer.extend_from_slice(octet.as_slice());
        octet
            .map(|_| 1)
            .ok_or_else(|| io::ErrorKind::WouldBlock.into())
    }

    fn shutdown_write(&self) {}
}

struct Panics {
    ended: Arc<Mutex<bool>>,
}

impl Adapter for Panics {
    fn input(&mut self, _: &mut Session, _: &mut BytesMut) -> Next {
        panic!("this frame is one too many")
    }

    fn is_idle(&self) -> bool {
        true
    }

    fn woken(&mut self, _: &mut Session) -> Next {
        Next::Read
    }

    fn deadline_ms(&self, _: &Session) -> Option<u64> {
        None
    }

    fn tick(&mut self, _: &mut Session, _: u64) -> Next {
        Next::Read
    }

    fn heard(&mut self, _: u64) {}

    fn bytes_at_limit(&self) -> u64 {
        0
    }

    fn starved(&mut self, _: &mut Session, _: u64) {}

    fn stopping(&mut self, _: &mut Session) {}

    fn ended(&mut self, _: &mut Session) {
        *self.ended.lock().unwrap() = true;
    }
}

fn engine() -> Arc<Engine> {
    let settings = Settings {
        queue_window_bytes: 1 << 20,
        slow_subscriber_bytes_max: 1 << 20,
        outbox_bytes_max: 4096,
        routes: Default::default(),
        policies: Arc::default(),
        memory_limit_bytes: 1 << 30,
        memory_mark_bytes: 1 << 29,
        scheduler_bytes_max: 1 << 30,
        group_reader: None,
        advisories: Default::default(),
        temporaries: Default::default(),
    };
    Engine::build(
        settings,
        Clock::manual(1000),
        Arc::new(Durability::default()),
        None,
    )
    .unwrap()
}

fn subscribed(engine: &Arc<Engine>, cell: &Arc<Cell>) -> Session {
    let outbox = Arc::new(Outbox::new(Box::new(Nowhere), engine));
    let bounds = Bounds {
        open_max: 1,
        actions_max: 1,
    };
    let mut session = Session::new(Arc::clone(engine), outbox, bounds);
    let request = SubscribeRequest {
        cells: vec![Arc::clone(cell)],
        patterns: Vec::new(),
        blueprint: Blueprint {
            mode: AckMode::Individual,
            window: Box::new(|_| Window::messages(10)),
            choice: Choice::default(),
            wishes: Wishes::default(),
            encode: Box::new(|_, _| Box::new(Nowhere)),
            origin: 1,
            lateness: crate::engine::feeds::Lateness::default(),
            facts: None,
        },
        durable: None,
        after: None,
    };
    session.subscribe(1, request, b"").unwrap();
    session
}

#[tokio::test]
async fn a_panic_in_an_adapter_costs_one_connection_and_no_message() {
    // Its subscription stayed with what it held, and its client id was taken, until the next start.
    let engine = engine();
    let cell = engine.registry.get_or_create(&Destination::queue("q"));
    let session = subscribed(&engine, &cell);
    let id = MessageId {
        origin: 1,
        serial: 1,
    };
    let message = Message::new(id, vec![0; 10].into(), 0, MessageFlags(0), 1);
    let mut work = Work::default();
    cell.send(1000, &mut vec![Arc::new(message)], &mut work)
        .unwrap();
    engine.run(&mut work);

    let ended = Arc::new(Mutex::new(false));
    let adapter = Panics {
        ended: Arc::clone(&ended),
    };
    let wire = Arc::new(OneOctet(Mutex::new(Some(b'x'))));
    let link = Link::new(wire, session, adapter);
    let (_stop, stopping) = watch::channel(false);
    let served = tokio::spawn(link.serve(Arc::new(Notify::new()), stopping)).await;
    assert!(served.is_err_and(|error| error.is_panic()));
    assert!(*ended.lock().unwrap());
    assert_eq!(cell.lock().queue().unwrap().len(), 1);

    let next = subscribed(&engine, &cell);
    let dispatched = cell.lock().queue().unwrap().stats.dispatched;
    assert_eq!(dispatched, 2, "it went to the next consumer");
    drop(next);
}

/// Spec: behaviour TMP-1, GC-3.
#[test]
fn a_temporary_destination_stays_while_somebody_consumes_from_it() {
    let engine = engine();
    let outbox = Arc::new(Outbox::new(Box::new(Nowhere), &engine));
    let bounds = Bounds {
        open_max: 1,
        actions_max: 1,
    };
    let mut session = Session::new(Arc::clone(&engine), outbox, bounds);
    session.logged_in(ConnectionFacts {
        id: "ID:b-1".to_owned(),
        client_id: "c".to_owned(),
        client_ip: String::new(),
        user: String::new(),
    });
    // What somebody has sent before is there when the owner comes.
    let lost = engine.registry.create_temporary(Kind::Queue, "ID-1", None);
    let cell = session.create_temporary(Kind::Queue, "ID-1");
    assert!(Arc::ptr_eq(&lost, &cell));
    assert_eq!(cell.owner.get().map(|owner| &**owner), Some("ID:b-1"));
    let consumer = subscribed(&engine, &cell);
    let refused = session.remove_temporary(&cell.destination).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "Destination still has an active subscription: temp-queue://ID-1"
    );
    let mut consumer = consumer;
    consumer.close(Ending::Orderly);
    assert_eq!(session.remove_temporary(&cell.destination), Ok(()));
    assert!(engine.registry.get(&cell.destination).is_none());
    assert!(session.remove_temporary(&cell.destination).is_err());
}

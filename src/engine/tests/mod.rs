//! The engine with sockets that do as they are told: outboxes by themselves, and several threads on one queue.

mod admin;
mod governor;
mod moves;
mod outbox;
mod policies;
mod routes;
mod schedule;
mod spilling;
mod standing;
mod threads;

use std::io::{self, IoSlice};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::cell::{Cell, Encoder, Journaled, Machine, State, Work};
use super::durability::Durability;
use super::opening::{self, StoreSettings};
use super::outbox::{Outbox, Socket};
use super::recover::Opened;
use super::{Engine, Settings};
use crate::broker::topic::Selection;
use crate::broker::{
    AckMode, Destination, Ending, Message, MessageFlags, MessageId, Outgoing, SubscriptionKey,
    Window,
};
use crate::clock::Clock;

/// What a socket does with the next write.
#[derive(Clone, Copy, Debug)]
enum Does {
    Takes(usize),
    Blocks,
    Breaks,
}

#[derive(Default)]
struct Peer {
    octets: Vec<u8>,
    /// What the next writes do, last one first; everything is taken when there are none.
    plan: Vec<Does>,
    /// Makes up a plan of its own if not 0.
    random: u64,
}

/// A socket that keeps what is written.
#[derive(Clone, Default)]
struct Fake(Arc<Mutex<Peer>>);

impl Socket for Fake {
    fn try_write(&self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut peer = self.0.lock().unwrap();
        let next = peer.plan.pop().or_else(|| {
            (peer.random != 0).then(|| match next_random(&mut peer.random) % 8 {
                0 => Does::Blocks,
                1..=4 => Does::Takes(usize::MAX),
                other => Does::Takes(usize::try_from(other * 37).unwrap()),
            })
        });
        let mut rest = match next.unwrap_or(Does::Takes(usize::MAX)) {
            Does::Takes(count) => count,
            Does::Blocks => return Err(io::ErrorKind::WouldBlock.into()),
            Does::Breaks => return Err(io::ErrorKind::ConnectionReset.into()),
        };
        let before = peer.octets.len();
        for piece in pieces {
            let count = piece.len().min(rest);
            peer.octets.extend_from_slice(&piece[..count]);
            rest -= count;
        }
        Ok(peer.octets.len() - before)
    }
}

impl Fake {
    fn plan(&self, does: &[Does]) {
        self.0.lock().unwrap().plan = does.iter().rev().copied().collect();
    }

    fn octets(&self) -> Vec<u8> {
        self.0.lock().unwrap().octets.clone()
    }

    /// The frames that were written to their last octet.
    fn frames(&self) -> Vec<Frame> {
        let octets = self.octets();
        let mut whole: Vec<&[u8]> = octets.split(|octet| *octet == 0).collect();
        whole.pop();
        whole.into_iter().map(Frame::read).collect()
    }
}

/// What a delivery looks like on the wire of these tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Frame {
    origin: u64,
    serial: u64,
    redelivered: bool,
}

impl Frame {
    fn read(octets: &[u8]) -> Self {
        let text = std::str::from_utf8(octets).unwrap();
        let head = text.split('\n').next().unwrap();
        let mut parts = head.split(' ').map(|part| part.parse::<u64>().unwrap());
        let mut next = || parts.next().unwrap();
        Self {
            origin: next(),
            serial: next(),
            redelivered: next() == 1,
        }
    }
}

struct Plain;

impl Encoder for Plain {
    fn head(&self, outgoing: &Outgoing<'_>, out: &mut Vec<u8>) -> bool {
        let MessageId { origin, serial } = outgoing.message.id;
        let redelivered = u8::from(outgoing.redelivered);
        out.extend_from_slice(format!("{origin} {serial} {redelivered}\n").as_bytes());
        true
    }

    fn wire(&self) -> u8 {
        1
    }

    fn tail(&self, out: &mut Vec<u8>) {
        out.push(0);
    }

    fn browse_end(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"end\n\0");
    }
}

fn settings() -> Settings {
    Settings {
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
    }
}

fn engine() -> Arc<Engine> {
    Engine::build(
        settings(),
        Clock::manual(1000),
        Arc::new(Durability::default()),
        None,
    )
    .unwrap()
}

/// An engine on the journal in `directory`.
fn stored(directory: &Path) -> Arc<Engine> {
    let durability = Arc::new(Durability::default());
    let opened = open(directory, &durability);
    Engine::build(settings(), Clock::manual(1000), durability, Some(opened)).unwrap()
}

fn open(directory: &Path, durability: &Arc<Durability>) -> Opened {
    let values = StoreSettings {
        disk: Arc::new(ferrymq_store::io::RealDisk),
        directory: directory.to_owned(),
        segment_bytes: 1 << 20,
        checkpoint_interval: Duration::from_secs(3600),
        compaction_rate: 16 << 20,
        limit_bytes: None,
    };
    opening::open(&values, durability).unwrap()
}

fn message(origin: u64, serial: u64, size: usize, persistent: bool) -> Arc<Message> {
    let flags = MessageFlags(u8::from(persistent) * MessageFlags::PERSISTENT);
    let id = MessageId { origin, serial };
    Arc::new(Message::new(id, vec![b'x'; size].into(), 0, flags, 1))
}

/// A connection with one consumer.
struct Connection {
    engine: Arc<Engine>,
    cell: Arc<Cell>,
    socket: Fake,
    outbox: Arc<Outbox>,
    key: SubscriptionKey,
    work: Work,
}

impl Connection {
    fn new(engine: &Arc<Engine>, cell: &Arc<Cell>, mode: AckMode, window: u32) -> Self {
        let socket = Fake::default();
        let outbox = Arc::new(Outbox::new(Box::new(socket.clone()), engine));
        let mut state = cell.lock();
        let key = match &mut state.machine {
            Machine::Queue(queue) => queue.subscribe(mode, Window::messages(window)),
            Machine::Topic(topic) => {
                topic.subscribe(mode, Window::messages(window), Selection::default())
            }
        };
        cell.attach(&mut state, key, &outbox, Box::new(Plain), mode);
        drop(state);
        Self {
            engine: Arc::clone(engine),
            cell: Arc::clone(cell),
            socket,
            outbox,
            key,
            work: Work::default(),
        }
    }

    fn start(&mut self) {
        let key = self.key;
        self.cell
            .step(&mut self.work, Journaled::default(), |machine, out| {
                State::start(machine, 1000, key, out);
            });
        self.engine.run(&mut self.work);
    }

    fn pump(&mut self) {
        self.engine.pump(&self.outbox, &mut self.work);
    }

    fn send(&mut self, messages: Vec<Arc<Message>>) {
        let mut messages = messages;
        self.cell
            .send(1000, &mut messages, &mut self.work)
            .expect("there is space");
        self.engine.run(&mut self.work);
    }

    /// The connection ends, as a session ends it.
    fn end(mut self, ending: Ending) {
        self.engine.report(&self.outbox, &mut self.work);
        let mut state = self.cell.lock();
        Cell::detach(&mut state, self.key);
        let key = self.key;
        self.cell.step_locked(
            &mut state,
            &mut self.work,
            Journaled::default(),
            |machine, out| match machine {
                Machine::Queue(queue) => queue.unsubscribe(1000, key, ending, out),
                Machine::Topic(topic) => topic.unsubscribe(key, ending, out),
            },
        );
        drop(state);
        self.engine.run(&mut self.work);
        self.outbox.close();
    }
}

fn queue(engine: &Engine, name: &str) -> Arc<Cell> {
    engine.registry.get_or_create(&Destination::queue(name))
}

fn queue_len(cell: &Cell) -> usize {
    cell.lock().queue().unwrap().len()
}

/// SplitMix64.
fn next_random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

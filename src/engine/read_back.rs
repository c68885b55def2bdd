//! The thread that reads paged messages back from the store.
//!
//! A destination asks for a run at a time and has one run under way, so the queue of requests is bounded
//! by the number of destinations.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use ferrymq_store::{OwnedMessage, Store, StoreError};

use super::cell::{Cell, Fetch, Journaled, Machine, Work};
use super::{Engine, records};
use crate::broker::Locator;

/// Hands requests to the thread; without it (no store) nothing is ever asked for.
#[derive(Default)]
pub struct ReadBack {
    requests: OnceLock<Sender<Fetch>>,
}

impl ReadBack {
    /// Starts the thread. It ends when the engine is dropped.
    ///
    /// # Errors
    /// The thread could not be started.
    pub fn start(&self, engine: &Arc<Engine>) -> std::io::Result<()> {
        let Some(store) = engine.store.clone() else {
            return Ok(());
        };
        let (sender, receiver) = channel();
        let engine = Arc::downgrade(engine);
        std::thread::Builder::new()
            .name("ferrymq-read".into())
            .spawn(move || serve(&store, &engine, &receiver))?;
        self.requests.get_or_init(|| sender);
        Ok(())
    }

    /// Asks for messages of `cell` to be brought back to memory.
    pub fn ask(&self, cell: Arc<Cell>, wanted: Vec<(u64, Locator)>) {
        if let Some(requests) = self.requests.get()
            && requests.send((cell, wanted)).is_err()
        {
            tracing::error!("the thread that reads messages back has ended");
        }
    }
}

fn serve(store: &Store, engine: &Weak<Engine>, requests: &Receiver<Fetch>) {
    let mut work = Work::default();
    while let Ok((cell, wanted)) = requests.recv() {
        let Some(engine) = engine.upgrade() else {
            return;
        };
        let places: Vec<_> = wanted
            .iter()
            .map(|(_, at)| records::to_store(*at))
            .collect();
        let found = read(store, &cell, &places);
        let now_ms = engine.clock.wall_ms();
        cell.step(&mut work, Journaled::default(), |machine, out| {
            for ((sequence, _), stored) in wanted.iter().zip(found) {
                let message = stored.map(records::message);
                match machine {
                    Machine::Queue(queue) => queue.loaded(now_ms, *sequence, message, out),
                    Machine::Topic(topic) => topic.loaded(now_ms, *sequence, message, out),
                }
            }
        });
        engine.run(&mut work);
    }
}

/// Tries to read before messages count as unreadable until the next start.
const READ_TRIES: u32 = 5;
/// Pause between tries: the disk may recover.
const READ_PAUSE: Duration = Duration::from_secs(1);

/// Reads messages; `None` for those that are gone, damaged, or cannot be read after all tries. Those stay in
/// the journal, so a later start may find them.
fn read(
    store: &Store,
    cell: &Cell,
    places: &[ferrymq_store::Locator],
) -> Vec<Option<OwnedMessage>> {
    let mut outcomes = Vec::with_capacity(places.len());
    store.read_many(places, &mut outcomes);
    let found = places.iter().zip(outcomes).map(|(place, mut outcome)| {
        for _ in 1..READ_TRIES {
            if !matches!(outcome, Err(StoreError::Io { .. })) {
                break;
            }
            std::thread::sleep(READ_PAUSE);
            outcome = store.read(*place);
        }
        match outcome {
            Ok(Some(message)) => Some(message),
            Ok(None) => {
                tracing::error!(destination = %cell.destination, %place, "message is gone from the store");
                None
            }
            Err(error) => {
                tracing::error!(destination = %cell.destination, %error, "message lost to the queue: it cannot be read");
                None
            }
        }
    });
    found.collect()
}

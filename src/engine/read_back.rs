//! The thread that reads paged messages back from the store.
//!
//! A destination asks for a run at a time and has one run under way, so the queue of requests is bounded
//! by the number of destinations.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, OnceLock, Weak};

use ferrymq_store::StoreError;

use super::cell::{Cell, Fetch, Journaled, Machine, Work};
use super::{Engine, records};
use crate::broker::{Locator, Message};

/// Hands requests to the thread; without it (no store of any kind) nothing is ever asked for.
#[derive(Default)]
pub struct ReadBack {
    requests: OnceLock<Sender<Fetch>>,
}

impl ReadBack {
    /// Starts the thread, if there is anything to read and it does not run yet. It ends when the engine is dropped.
    ///
    /// # Errors
    /// The thread could not be started.
    pub fn start(&self, engine: &Arc<Engine>) -> std::io::Result<()> {
        let nothing = engine.store.is_none() && engine.temp().is_none();
        if nothing || self.requests.get().is_some() {
            return Ok(());
        }
        let (sender, receiver) = channel();
        let engine = Arc::downgrade(engine);
        std::thread::Builder::new()
            .name("ferrymq-read".into())
            .spawn(move || serve(&engine, &receiver))?;
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

/// Holds nothing of the store between requests: its directory is locked as long as anybody does.
fn serve(engine: &Weak<Engine>, requests: &Receiver<Fetch>) {
    let mut work = Work::default();
    while let Ok((cell, wanted)) = requests.recv() {
        let Some(engine) = engine.upgrade() else {
            return;
        };
        let mut found = read(&engine, &cell, &wanted);
        let now_ms = engine.clock.wall_ms();
        let mut unread = found.iter().filter(|found| found.is_err());
        if let Some(Err(error)) = unread.next() {
            tracing::error!(destination = %cell.destination, %error, "messages could not be read back");
        }
        cell.step(&mut work, Journaled::default(), |machine, out| {
            for ((sequence, _), found) in wanted.iter().zip(&mut found) {
                let Ok(message) = found else { continue };
                let message = message.take();
                match machine {
                    Machine::Queue(queue) => queue.loaded(now_ms, *sequence, message, out),
                    Machine::Topic(topic) => topic.loaded(now_ms, *sequence, message, out),
                }
            }
            // Last, so that what could not be read is asked for again by a later step, not in a circle.
            let unread = wanted
                .iter()
                .zip(&found)
                .filter(|(_, found)| found.is_err());
            for ((sequence, _), _) in unread {
                match machine {
                    Machine::Queue(queue) => queue.unread(*sequence),
                    Machine::Topic(topic) => topic.unread(),
                }
            }
        });
        engine.run(&mut work);
    }
}

/// Reads messages, from the journal and from temporary storage; `None` is one that is gone or damaged.
fn read(
    engine: &Engine,
    cell: &Cell,
    wanted: &[(u64, Locator)],
) -> Vec<Result<Option<Arc<Message>>, StoreError>> {
    let places = || wanted.iter().map(|(_, at)| *at);
    let spilled = places().filter(|at| at.is_temp());
    let stored: Vec<_> = places()
        .filter(|at| !at.is_temp())
        .map(records::to_store)
        .collect();
    let mut spilled = engine.read_spilled(cell, spilled).into_iter();
    let mut stored = read_stored(engine, cell, &stored).into_iter();
    let found = places().map(|at| match at.is_temp() {
        true => Ok(spilled.next().flatten()),
        false => stored.next().unwrap_or(Ok(None)),
    });
    found.collect()
}

fn read_stored(
    engine: &Engine,
    cell: &Cell,
    places: &[ferrymq_store::Locator],
) -> Vec<Result<Option<Arc<Message>>, StoreError>> {
    let mut found = Vec::with_capacity(places.len());
    if let Some(store) = &engine.store {
        store.read_many(places, &mut found);
    }
    let found = found.into_iter().map(|outcome| match outcome {
        Err(StoreError::Damaged { .. }) => Ok(None),
        outcome => outcome.map(|found| found.map(records::message)),
    });
    let found: Vec<_> = found.collect();
    let lost = found.iter().filter(|found| matches!(found, Ok(None)));
    let lost = lost.count();
    if lost > 0 {
        tracing::error!(destination = %cell.destination, lost, "messages are gone from the store");
    }
    found
}

//! The thread that reads paged messages back from the store.
//!
//! A destination asks for a run at a time and has one run under way, so the queue of requests is bounded
//! by the number of destinations.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, OnceLock, Weak};

use ferrymq_store::{ReadOutcome, Store, StoreError};

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
        if engine.store.is_none() {
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
        let Some(store) = &engine.store else {
            return;
        };
        let places: Vec<_> = wanted
            .iter()
            .map(|(_, at)| records::to_store(*at))
            .collect();
        let mut found = read(store, &places);
        let now_ms = engine.clock.wall_ms();
        let lost = found.iter().filter(|found| matches!(found, Ok(None)));
        let (lost, unread) = (lost.count(), found.iter().filter(|found| found.is_err()));
        if lost > 0 {
            tracing::error!(destination = %cell.destination, lost, "messages are gone from the store");
        }
        if let Some(Err(error)) = unread.last() {
            tracing::error!(destination = %cell.destination, %error, "messages could not be read back");
        }
        cell.step(&mut work, Journaled::default(), |machine, out| {
            for ((sequence, _), found) in wanted.iter().zip(&mut found) {
                let Ok(stored) = found else { continue };
                let message = stored.take().map(records::message);
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

/// Reads messages; `None` is one that is gone or damaged.
fn read(store: &Store, places: &[ferrymq_store::Locator]) -> Vec<ReadOutcome> {
    let mut found = Vec::with_capacity(places.len());
    store.read_many(places, &mut found);
    for outcome in &mut found {
        if let Err(StoreError::Damaged { .. }) = outcome {
            *outcome = Ok(None);
        }
    }
    found
}

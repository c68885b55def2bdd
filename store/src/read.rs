//! Reading messages back, one by one or many with few reads.
//!
//! - Only what is synced is read; the rest is still in the hands of whoever appended it.
//! - A record is checked before it is believed. If it does not check because its segment was deleted meanwhile, it is gone, not damaged.
//! - What is given away has memory of its own size: a small message does not hold a large read buffer.

use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

use crate::error::StoreError;
use crate::fields::{index, short};
use crate::io::{Disk, File};
use crate::journal::Shared;
use crate::locator::Locator;
use crate::message::{OwnedMessage, OwnedPatch, Patch, StoredMessage};
use crate::record::{self, Record};
use crate::segment;

/// Read at once for a single message: most need no second read.
pub(crate) const FIRST_READ: usize = 4 * 1024;
/// Longest run of neighbouring messages fetched by one read.
const RUN: u32 = 1024 * 1024;
/// Largest hole between two messages of a run.
const HOLE: u32 = 64 * 1024;
/// Files kept open for reading.
const FILES_MAX: usize = 64;

/// Open files by segment, a bounded number of them.
#[derive(Debug, Default)]
pub(crate) struct Files {
    open: Mutex<HashMap<u32, Arc<dyn File>>>,
}

impl Files {
    pub(crate) fn insert(&self, id: u32, file: Arc<dyn File>) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.len() >= FILES_MAX {
            // Any one will do: reading is sequential by segment, and opening again is cheap.
            if let Some(other) = open.keys().next().copied() {
                open.remove(&other);
            }
        }
        open.insert(id, file);
    }

    pub(crate) fn forget(&self, id: u32) {
        self.open
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&id);
    }

    /// The file of a segment; `None` if it no longer exists.
    pub(crate) fn get(
        &self,
        disk: &dyn Disk,
        journal: &Path,
        id: u32,
    ) -> Result<Option<Arc<dyn File>>, StoreError> {
        if let Some(file) = self
            .open
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&id)
        {
            return Ok(Some(Arc::clone(file)));
        }
        let path = segment::path(journal, id);
        match disk.open(&path) {
            Ok(file) => {
                self.insert(id, Arc::clone(&file));
                Ok(Some(file))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(StoreError::io("open", &path)(error)),
        }
    }
}

/// What reading one message gives.
pub type ReadOutcome = Result<Option<OwnedMessage>, StoreError>;

/// A segment's file and salt.
type Place = (Arc<dyn File>, u64);

/// What a record at a place turned out to be.
pub(crate) enum Found {
    Message(OwnedMessage),
    Moved(Locator, OwnedPatch),
}

impl Shared {
    /// See [`crate::Store::read`].
    pub(crate) fn read(&self, at: Locator) -> Result<Option<OwnedMessage>, StoreError> {
        let found = self.fetch(at)?;
        self.resolve(found)
    }

    /// See [`crate::Store::read_many`].
    pub(crate) fn read_many(&self, at: &[Locator], out: &mut Vec<ReadOutcome>) {
        let began = out.len();
        out.resize_with(began + at.len(), || Ok(None));
        let Ok(places) = self.places(at) else {
            for (position, name) in at.iter().enumerate() {
                out[began + position] = self.read(*name);
            }
            return;
        };
        let mut order: Vec<usize> = (0..at.len()).collect();
        order.sort_unstable_by_key(|&position| places[position]);
        let mut buffer = Vec::new();
        let mut rest = order.as_slice();
        while let Some(&first) = rest.first() {
            let mut count = 1;
            while rest
                .get(count)
                .is_some_and(|&next| joins(places[first], places[rest[count - 1]], places[next]))
            {
                count += 1;
            }
            let (run, others) = rest.split_at(count);
            if self
                .read_run(at, &places, run, &mut buffer, &mut out[began..])
                .is_err()
            {
                // One by one, so that what is wrong with one costs no other.
                for &position in run {
                    out[began + position] = self.read(at[position]);
                }
            }
            rest = others;
        }
    }

    /// Where records of these names can be read.
    fn places(&self, names: &[Locator]) -> Result<Vec<Locator>, StoreError> {
        let durable = self.commit.durable_through();
        let state = self.state()?;
        let readable = names.iter().map(|&name| state.readable(name, durable));
        Ok(readable.collect())
    }

    /// Reads messages that lie close together. An error is one of the run as a whole.
    fn read_run(
        &self,
        names: &[Locator],
        at: &[Locator],
        run: &[usize],
        buffer: &mut Vec<u8>,
        out: &mut [ReadOutcome],
    ) -> Result<(), StoreError> {
        let (first, last) = (at[run[0]], at[run[run.len() - 1]]);
        self.is_synced(last)?;
        let Some((file, salt)) = self.file(first)? else {
            // Gone, or copied meanwhile.
            return Err(StoreError::NotSynced { at: first });
        };
        buffer.resize(index(last.offset() - first.offset()) + FIRST_READ, 0);
        let got = file
            .read_at(buffer, u64::from(first.offset()))
            .map_err(|error| self.read_failed(first, error))?;
        for &position in run {
            let place = at[position];
            let octets = buffer[..got]
                .get(index(place.offset() - first.offset())..)
                .unwrap_or_default();
            out[position] = match parse(octets, salt, place.offset()) {
                Parsed::Found(found) => self.resolve(Some(found)),
                // Longer than what was read, damaged, or copied meanwhile: the single read tells.
                Parsed::Longer(_) | Parsed::Damaged(_) => self.read(names[position]),
            };
        }
        Ok(())
    }

    /// Follows a move to its body.
    fn resolve(&self, found: Option<Found>) -> Result<Option<OwnedMessage>, StoreError> {
        let (body, patch) = match found {
            None => return Ok(None),
            Some(Found::Message(message)) => return Ok(Some(message)),
            Some(Found::Moved(body, patch)) => (body, patch),
        };
        match self.fetch(body)? {
            Some(Found::Message(message)) => Ok(Some(OwnedMessage {
                flags: patch.flags,
                priority: patch.priority,
                expires_ms: patch.expires_ms,
                patch: Some(patch),
                ..message
            })),
            Some(Found::Moved(..)) => Err(StoreError::Damaged {
                at: body,
                reason: "a move leads to another move",
            }),
            None => Ok(None),
        }
    }

    fn is_synced(&self, at: Locator) -> Result<(), StoreError> {
        if self
            .commit
            .durable_through()
            .is_some_and(|through| at <= through)
        {
            return Ok(());
        }
        Err(StoreError::NotSynced { at })
    }

    fn file(&self, at: Locator) -> Result<Option<Place>, StoreError> {
        let Some(salt) = self
            .state()?
            .segments
            .get(&at.segment())
            .map(|segment| segment.salt)
        else {
            return Ok(None);
        };
        let file = self.files.get(&*self.disk, &self.journal, at.segment())?;
        Ok(file.map(|file| (file, salt)))
    }

    fn read_failed(&self, at: Locator, error: io::Error) -> StoreError {
        StoreError::io("read", &segment::path(&self.journal, at.segment()))(error)
    }

    /// Reads the record of that name. While it is read it may be copied, and its space used for something else: then it is read where
    /// it is now.
    fn fetch(&self, name: Locator) -> Result<Option<Found>, StoreError> {
        let place = || Ok(self.state()?.readable(name, self.commit.durable_through()));
        let mut at = place()?;
        loop {
            let found = self.fetch_at(at);
            if matches!(found, Ok(Some(_))) {
                return found;
            }
            let now = place()?;
            if now == at {
                return found;
            }
            at = now;
        }
    }

    /// Reads the record at a place.
    fn fetch_at(&self, at: Locator) -> Result<Option<Found>, StoreError> {
        self.is_synced(at)?;
        let Some((file, salt)) = self.file(at)? else {
            return Ok(None);
        };
        let mut buffer = vec![0; FIRST_READ];
        let offset = u64::from(at.offset());
        let got = file
            .read_at(&mut buffer, offset)
            .map_err(|error| self.read_failed(at, error))?;
        let mut parsed = parse(&buffer[..got], salt, at.offset());
        if let Parsed::Longer(length) = parsed {
            // A length that leads beyond the file is damage, and must not be believed with memory.
            let size = file.len().map_err(|error| self.read_failed(at, error))?;
            parsed = if offset + length as u64 <= size {
                buffer.resize(length, 0);
                let got = file
                    .read_at(&mut buffer, offset)
                    .map_err(|error| self.read_failed(at, error))?;
                parse(&buffer[..got], salt, at.offset())
            } else {
                Parsed::Damaged("its length leads beyond the file")
            };
        }
        match parsed {
            Parsed::Found(found) => Ok(Some(found)),
            Parsed::Longer(_) => Err(StoreError::Damaged {
                at,
                reason: "the file ends before it does",
            }),
            Parsed::Damaged(_) if !self.state()?.segments.contains_key(&at.segment()) => Ok(None),
            Parsed::Damaged(reason) => Err(StoreError::Damaged { at, reason }),
        }
    }
}

/// True if `next` goes into the run that began at `first` and has come to `last`.
pub(crate) fn joins(first: Locator, last: Locator, next: Locator) -> bool {
    first.segment() == next.segment()
        && next.offset() - first.offset() < RUN
        && next.offset() - last.offset() < HOLE
}

pub(crate) enum Parsed {
    Found(Found),
    /// The record has this many octets.
    Longer(usize),
    Damaged(&'static str),
}

pub(crate) fn parse(octets: &[u8], salt: u64, offset: u32) -> Parsed {
    let Some(head) = record::head(octets) else {
        return Parsed::Damaged("there is no record");
    };
    if octets.len() < head.length {
        return Parsed::Longer(head.length);
    }
    if !record::checks(octets, &head, salt, offset) {
        return Parsed::Damaged("its checksum does not hold");
    }
    found(record::decode(octets))
}

fn found(record: Option<Record<'_>>) -> Parsed {
    match record.map(Record::unwrapped) {
        Some(Record::Add { message, .. }) => Parsed::Found(Found::Message(own(&message))),
        Some(Record::Place { body_of, patch, .. }) => {
            Parsed::Found(Found::Moved(body_of, own_patch(&patch)))
        }
        _ => Parsed::Damaged("it holds no message"),
    }
}

fn own(message: &StoredMessage<'_>) -> OwnedMessage {
    let mut payload = Vec::with_capacity(message.head.len() + message.body.len());
    payload.extend_from_slice(message.head);
    payload.extend_from_slice(message.body);
    OwnedMessage {
        wire: message.wire,
        flags: message.flags,
        priority: message.priority,
        origin: message.origin,
        serial: message.serial,
        timestamp_ms: message.timestamp_ms,
        expires_ms: message.expires_ms,
        payload: Bytes::from(payload),
        head_len: short(message.head.len()),
        patch: None,
    }
}

fn own_patch(patch: &Patch<'_>) -> OwnedPatch {
    OwnedPatch {
        flags: patch.flags,
        priority: patch.priority,
        expires_ms: patch.expires_ms,
        extra_head: Bytes::copy_from_slice(patch.extra_head),
    }
}

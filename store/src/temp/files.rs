//! How much of each file of temporary storage is still wanted.

use std::collections::BTreeMap;

#[derive(Debug, Default, Clone, Copy)]
struct Counted {
    /// Messages that are wanted.
    wanted: u64,
    /// Octets of the file.
    bytes: u64,
}

/// The files, by id. A file that was begun and not written yet is among them, with nothing wanted.
#[derive(Debug, Default)]
pub(super) struct Table {
    files: BTreeMap<u32, Counted>,
    /// Files of which nothing was wanted when somebody looked last.
    emptied: Vec<u32>,
    last_id: u32,
    is_closed: bool,
}

impl Table {
    /// No files, and none to come.
    pub(super) fn closed() -> Self {
        Self {
            is_closed: true,
            ..Self::default()
        }
    }

    pub(super) fn is_closed(&self) -> bool {
        self.is_closed
    }

    /// A number that no file has had; they begin at 1.
    pub(super) fn next_id(&mut self) -> u32 {
        // The highest bit of a place belongs to the engine. Two thousand million files are not written by one process.
        self.last_id = (self.last_id + 1) & (u32::MAX >> 1);
        self.last_id
    }

    /// A file is there.
    pub(super) fn begin(&mut self, id: u32) {
        self.files.insert(id, Counted::default());
    }

    /// So many messages, of `bytes` together, were added to a file.
    pub(super) fn written(&mut self, id: u32, messages: u64, bytes: u64) {
        let file = self.files.entry(id).or_default();
        file.wanted += messages;
        file.bytes += bytes;
    }

    /// Nothing more is added to a file.
    pub(super) fn abandon(&mut self, id: u32) {
        if self.files.get(&id).is_some_and(|file| file.wanted == 0) {
            self.emptied.push(id);
        }
    }

    /// A message is not wanted any more. Returns whether it was the last one of its file.
    pub(super) fn release(&mut self, id: u32) -> bool {
        let Some(file) = self.files.get_mut(&id) else {
            debug_assert!(self.is_closed, "a place is released once");
            return false;
        };
        debug_assert!(file.wanted > 0, "a place is released once");
        file.wanted = file.wanted.saturating_sub(1);
        if file.wanted == 0 {
            self.emptied.push(id);
        }
        file.wanted == 0
    }

    /// Whether the file is there.
    pub(super) fn contains(&self, id: u32) -> bool {
        self.files.contains_key(&id)
    }

    /// Takes the files out of which nothing is wanted, with their octets. Nobody may be writing to one.
    pub(super) fn take_emptied(&mut self) -> Vec<(u32, u64)> {
        let emptied = std::mem::take(&mut self.emptied).into_iter();
        let still = emptied.filter_map(|id| {
            // One that was written to since is wanted again; one may be here twice.
            let file = self.files.get(&id).filter(|file| file.wanted == 0)?;
            let bytes = file.bytes;
            self.files.remove(&id);
            Some((id, bytes))
        });
        still.collect()
    }

    /// A file could not be removed.
    pub(super) fn put_back(&mut self, id: u32, bytes: u64) {
        self.files.insert(id, Counted { wanted: 0, bytes });
        self.emptied.push(id);
    }
}

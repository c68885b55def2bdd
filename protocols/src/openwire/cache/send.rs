//! [`SendCache`]: what this side has sent.

use std::collections::HashMap;

use super::{CachedObject, KEPT_BYTES_MAX, Slot};

/// Slots that are free before each frame, as the Java sender has it. One frame may bring that many new values.
const FREE_SLOTS: usize = 100;

/// The smallest cache that may be agreed on: with fewer slots than it wants free, the Java side loops for ever.
pub const CACHE_SIZE_MIN: u16 = 100;

/// What this side has sent. Its policy is that of the Java sender, to the index: slots are handed out round-robin, and
/// before each frame the oldest values leave until [`FREE_SLOTS`] are free.
#[derive(Debug)]
pub(in crate::openwire) struct SendCache {
    size: usize,
    /// Grows to `size`.
    slots: Vec<Slot>,
    indexes: HashMap<CachedObject, i16>,
    /// The index of null, by far the most frequent value.
    null: Option<i16>,
    held: usize,
    next: usize,
    oldest: usize,
    /// How many the present frame has added.
    added: usize,
    /// An index by the address of the object that is sent: a guess, which its slot confirms. Ids of a subscription or
    /// a destination are the same object for every message, so that most need no hashing of strings.
    guesses: [i16; GUESSES],
}

const GUESSES: usize = 64;

fn guess_of(address: usize) -> usize {
    // Allocations are aligned to 16 octets; higher bits keep neighbours apart.
    (address >> 4 ^ address >> 10) % GUESSES
}

impl SendCache {
    pub(in crate::openwire) fn new(size: u16) -> Self {
        // An index has fifteen bits.
        let size = usize::from(size.min(32_767));
        Self {
            size,
            slots: Vec::new(),
            indexes: HashMap::new(),
            null: None,
            held: 0,
            next: 0,
            oldest: 0,
            added: 0,
            guesses: [0; GUESSES],
        }
    }

    /// Makes room for a frame.
    pub(in crate::openwire) fn begin(&mut self) {
        self.added = 0;
        while self.held > self.size.saturating_sub(FREE_SLOTS) {
            self.clear(self.oldest);
            self.oldest = (self.oldest + 1) % self.size;
        }
    }

    fn clear(&mut self, slot: usize) {
        let Some(object) = self.slots.get_mut(slot).and_then(Option::take) else {
            return;
        };
        self.held -= 1;
        match object {
            Some(object) => drop(self.indexes.remove(&object)),
            None => self.null = None,
        }
    }

    /// The index of the object at `address` (0: null), if it is known without looking at its content.
    pub(in crate::openwire) fn recall(&self, address: usize) -> Option<i16> {
        if address == 0 {
            return self.null;
        }
        let guess = self.guesses[guess_of(address)];
        let slot = usize::try_from(guess)
            .ok()
            .and_then(|slot| self.slots.get(slot))?;
        let object = slot.as_ref()?.as_ref()?;
        (object.address() == address).then_some(guess)
    }

    /// The index of an equal value.
    pub(in crate::openwire) fn find(&mut self, object: Option<&CachedObject>) -> Option<i16> {
        let Some(object) = object else {
            return self.null;
        };
        let index = *self.indexes.get(object)?;
        // The next one is likely the same object: let it be recalled.
        self.guesses[guess_of(object.address())] = index;
        if let Some(slot) = usize::try_from(index)
            .ok()
            .and_then(|slot| self.slots.get_mut(slot))
        {
            *slot = Some(Some(object.clone()));
        }
        Some(index)
    }

    /// Takes a slot for a new value; -1 if there is none.
    pub(in crate::openwire) fn add(&mut self, object: Option<CachedObject>) -> i16 {
        let is_long = |object: &CachedObject| object.text_bytes() > KEPT_BYTES_MAX;
        if self.held == self.size || object.as_ref().is_some_and(is_long) {
            // Not kept: legal, and read as such. Texts of other clients are not to fill the memory of this one.
            return -1;
        }
        let slot = self.next;
        #[expect(
            clippy::cast_possible_truncation,
            reason = "there are at most 32,767 slots"
        )]
        let index = slot as i16;
        self.next = (slot + 1) % self.size;
        if self.slots.len() <= slot {
            self.slots.resize(slot + 1, None);
        }
        match &object {
            Some(object) => {
                self.guesses[guess_of(object.address())] = index;
                self.indexes.insert(object.clone(), index);
            }
            None => self.null = Some(index),
        }
        self.slots[slot] = Some(object);
        self.held += 1;
        self.added += 1;
        index
    }

    /// The frame will not be sent: what it added was never told to the other side.
    pub(in crate::openwire) fn undo(&mut self) {
        for _ in 0..std::mem::take(&mut self.added) {
            self.next = (self.next + self.size - 1) % self.size;
            self.clear(self.next);
        }
    }
}

//! [`ReceiveCache`]: what the other side has sent.

use std::sync::Arc;

use super::recent::Recent;
use super::{Cacheable, CachedObject, Slot};
use crate::openwire::error::Fault;

/// The slots that the other side fills.
#[derive(Debug, Default)]
pub(in crate::openwire) struct ReceiveCache {
    size: u16,
    /// Grows as indexes come.
    slots: Vec<Slot>,
    /// Octets of text in the slots; what lies in several counts for each.
    text_bytes: usize,
    /// For streams without a cache, and for values that come again under another index.
    recent: Recent,
    /// What stores of the present frame replaced, if it may have to be read again.
    replaced: Option<Vec<(usize, Slot)>>,
}

fn text_bytes(slot: &Slot) -> usize {
    let object = slot.as_ref().and_then(Option::as_ref);
    object.map_or(0, CachedObject::text_bytes)
}

impl ReceiveCache {
    /// Forgets everything. `may_undo`: whether frames may have to be read twice.
    pub(in crate::openwire) fn reset(&mut self, size: u16, may_undo: bool) {
        *self = Self {
            size,
            replaced: may_undo.then(Vec::new),
            ..Self::default()
        };
    }

    /// Puts an object into a slot; nowhere for the index -1.
    pub(in crate::openwire) fn store(
        &mut self,
        index: i16,
        object: Option<CachedObject>,
        text_bytes_max: u32,
    ) -> Result<(), Fault> {
        if index == -1 {
            return Ok(());
        }
        let size = self.size;
        let slot = usize::try_from(index)
            .ok()
            .filter(|slot| *slot < usize::from(size));
        let slot = slot.ok_or(Fault::CacheIndex { index, size })?;
        if self.slots.len() <= slot {
            self.slots.resize(slot + 1, None);
        }
        let before = self.put(slot, Some(object));
        if let Some(replaced) = &mut self.replaced {
            replaced.push((slot, before));
        }
        if self.text_bytes > text_bytes_max as usize {
            return Err(Fault::CacheBytes {
                max: text_bytes_max,
            });
        }
        Ok(())
    }

    fn put(&mut self, slot: usize, object: Slot) -> Slot {
        self.text_bytes += text_bytes(&object);
        let before = std::mem::replace(&mut self.slots[slot], object);
        self.text_bytes -= text_bytes(&before);
        before
    }

    /// What a slot holds.
    pub(in crate::openwire) fn get(&self, index: i16) -> Result<Option<CachedObject>, Fault> {
        let slot = usize::try_from(index)
            .ok()
            .and_then(|slot| self.slots.get(slot));
        let object = slot.and_then(Option::as_ref).cloned();
        object.ok_or(Fault::CacheIndex {
            index,
            size: self.size,
        })
    }

    /// An equal object that was read lately, or this one in memory of its own.
    pub(in crate::openwire) fn share<T: Cacheable>(&mut self, object: &T) -> Arc<T> {
        self.recent.share(object)
    }

    /// A frame was read; nothing of it is undone any more.
    pub(in crate::openwire) fn keep(&mut self) {
        if let Some(replaced) = &mut self.replaced {
            replaced.clear();
        }
    }

    /// A frame was read in part: as if none of it had been.
    pub(in crate::openwire) fn undo(&mut self) {
        let mut replaced = self.replaced.take();
        for (slot, before) in replaced
            .iter_mut()
            .flat_map(|replaced| replaced.drain(..).rev())
        {
            self.put(slot, before);
        }
        self.replaced = replaced;
    }
}

//! All destinations by name. A cell knows its name, so nothing but the cell is kept.

use std::borrow::Borrow;
use std::collections::HashSet;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use crate::broker::Destination;
use crate::engine::cell::Cell;

/// See the module.
#[derive(Default)]
pub(super) struct Cells(HashSet<ByName>);

/// A cell that is found by its name.
struct ByName(Arc<Cell>);

impl Borrow<Destination> for ByName {
    fn borrow(&self) -> &Destination {
        &self.0.destination
    }
}

impl Hash for ByName {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.destination.hash(state);
    }
}

impl PartialEq for ByName {
    fn eq(&self, other: &Self) -> bool {
        self.0.destination == other.0.destination
    }
}

impl Eq for ByName {}

impl Cells {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn get(&self, name: &Destination) -> Option<&Arc<Cell>> {
        self.0.get(name).map(|found| &found.0)
    }

    /// Adds a cell, in place of one of the same name.
    pub(super) fn insert(&mut self, cell: &Arc<Cell>) {
        self.0.replace(ByName(Arc::clone(cell)));
    }

    pub(super) fn remove(&mut self, name: &Destination) -> Option<Arc<Cell>> {
        self.0.take(name).map(|found| found.0)
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &Destination> {
        self.iter().map(|cell| &cell.destination)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Arc<Cell>> {
        self.0.iter().map(|found| &found.0)
    }

    pub(super) fn retain(&mut self, mut keeps: impl FnMut(&Arc<Cell>) -> bool) {
        self.0.retain(|found| keeps(&found.0));
    }
}

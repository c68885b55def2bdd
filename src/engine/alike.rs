//! What many destinations have alike, kept in memory once.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

/// Values that are remembered; one more makes the oldest be forgotten.
const KNOWN_MAX: usize = 16;

/// The values that came last, each of them different.
pub(super) struct Alike<T> {
    known: Mutex<VecDeque<Arc<T>>>,
}

impl<T> Default for Alike<T> {
    fn default() -> Self {
        Self {
            known: Mutex::default(),
        }
    }
}

impl<T: PartialEq> Alike<T> {
    /// One that is equal to `value` and shared with who came with such a one before.
    pub(super) fn share(&self, value: Arc<T>) -> Arc<T> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(equal) = known.iter().find(|known| ***known == *value) {
            return Arc::clone(equal);
        }
        if known.len() >= KNOWN_MAX {
            known.pop_front();
        }
        known.push_back(Arc::clone(&value));
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_values_are_one_and_few_are_remembered() {
        let alike = Alike::default();
        let first = alike.share(Arc::new(0));
        assert!(Arc::ptr_eq(&first, &alike.share(Arc::new(0))));
        for other in 1..=KNOWN_MAX {
            assert!(!Arc::ptr_eq(&first, &alike.share(Arc::new(other))));
        }
        assert_eq!(Arc::strong_count(&first), 1);
    }
}

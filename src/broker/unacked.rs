//! The deliveries of one subscription that wait for their acknowledgement, in order of delivery.
//!
//! Acknowledged out of order, a delivery leaves a tombstone that goes when everything before it has gone
//! or when tombstones outnumber the living, so that one stuck delivery does not keep all later ones.

use std::collections::VecDeque;

use super::delivery::{Delivery, Which};
use super::paging::Readable;

#[derive(Debug)]
struct Slot {
    number: u64,
    delivery: Option<Delivery>,
}

/// Unacknowledged deliveries, ordered by their numbers.
#[derive(Debug, Default)]
pub struct Unacked {
    slots: VecDeque<Slot>,
    live: usize,
    /// Deliveries below this number have been offered to leave memory.
    shed_below: u64,
}

impl Unacked {
    /// How many deliveries wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.live
    }

    /// Whether none waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.live == 0
    }

    /// Adds the newest delivery.
    pub fn push(&mut self, delivery: Delivery) {
        debug_assert!(
            self.slots
                .back()
                .is_none_or(|last| last.number < delivery.number),
            "numbers only grow"
        );
        if self.slots.capacity() == 0 {
            // Many subscriptions hold one at a time.
            self.slots.reserve_exact(1);
        }
        self.slots.push_back(Slot {
            number: delivery.number,
            delivery: Some(delivery),
        });
        self.live += 1;
    }

    /// Puts a delivery back that was taken out, at its old place (ACK-6).
    pub fn restore(&mut self, delivery: Delivery) {
        match self
            .slots
            .binary_search_by_key(&delivery.number, |slot| slot.number)
        {
            Ok(index) => {
                let old = self.slots[index].delivery.replace(delivery);
                debug_assert!(old.is_none(), "a delivery is in one place only");
                self.live += usize::from(old.is_none());
            }
            Err(index) => {
                self.slots.insert(
                    index,
                    Slot {
                        number: delivery.number,
                        delivery: Some(delivery),
                    },
                );
                self.live += 1;
            }
        }
    }

    /// The number of the delivery that `which` names, if it waits.
    #[must_use]
    pub fn find(&self, which: Which) -> Option<u64> {
        match which {
            Which::Number(number) => {
                let index = self.index_of(number)?;
                self.slots[index]
                    .delivery
                    .as_ref()
                    .map(|delivery| delivery.number)
            }
            Which::Through(number) => {
                let end = self.slots.partition_point(|slot| slot.number <= number);
                let mut slots = self.slots.iter().take(end).rev();
                slots
                    .find(|slot| slot.delivery.is_some())
                    .map(|slot| slot.number)
            }
            Which::Oldest => self.iter().next().map(|delivery| delivery.number),
            Which::Message(id) => self
                .iter()
                .find(|delivery| delivery.id == id)
                .map(|delivery| delivery.number),
        }
    }

    /// Takes out the delivery `number`.
    pub fn take(&mut self, number: u64) -> Option<Delivery> {
        let index = self.index_of(number)?;
        let delivery = self.slots[index].delivery.take()?;
        self.live -= 1;
        self.tidy();
        Some(delivery)
    }

    /// Takes out the oldest delivery.
    pub fn pop(&mut self) -> Option<Delivery> {
        while let Some(slot) = self.slots.pop_front() {
            if let Some(delivery) = slot.delivery {
                self.live -= 1;
                return Some(delivery);
            }
        }
        None
    }

    /// Takes out the oldest delivery if its number is at most `number`.
    pub fn pop_through(&mut self, number: u64) -> Option<Delivery> {
        self.drop_leading_tombstones();
        if self.slots.front()?.number > number {
            return None;
        }
        self.pop()
    }

    /// All waiting deliveries, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = &Delivery> {
        self.slots.iter().filter_map(|slot| slot.delivery.as_ref())
    }

    /// All waiting deliveries, oldest first, to change.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Delivery> {
        self.slots
            .iter_mut()
            .filter_map(|slot| slot.delivery.as_mut())
    }

    /// Lets go of messages that the store can give back; returns the octets freed. Each delivery is looked at once, so
    /// the cost is constant for each.
    pub fn shed(&mut self, readable: Readable) -> u64 {
        let mut freed = 0;
        let start = self
            .slots
            .partition_point(|slot| slot.number < self.shed_below);
        for slot in self.slots.iter_mut().skip(start) {
            if let Some(delivery) = &mut slot.delivery
                && let Some(at) = delivery.entry.at
            {
                if !readable.has(at) {
                    break;
                }
                if delivery.entry.message.take().is_some() {
                    freed += u64::from(delivery.entry.bytes.get());
                }
            }
            self.shed_below = slot.number + 1;
        }
        freed
    }

    fn index_of(&self, number: u64) -> Option<usize> {
        let first = self.slots.front()?.number;
        let guess = usize::try_from(number.checked_sub(first)?).ok()?;
        if self
            .slots
            .get(guess)
            .is_some_and(|slot| slot.number == number)
        {
            return Some(guess);
        }
        self.slots
            .binary_search_by_key(&number, |slot| slot.number)
            .ok()
    }

    fn drop_leading_tombstones(&mut self) {
        while self
            .slots
            .front()
            .is_some_and(|slot| slot.delivery.is_none())
        {
            self.slots.pop_front();
        }
    }

    fn tidy(&mut self) {
        self.drop_leading_tombstones();
        if self.slots.len() > 2 * self.live + 64 {
            self.slots.retain(|slot| slot.delivery.is_some());
        }
    }
}

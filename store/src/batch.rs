//! What one append writes: the vocabulary of the journal, encoded straight into the gather buffer.
//!
//! Everything a closure writes lies in one batch, hence in one segment and behind one sync. The segment is changed, if at all, before
//! its first record.

use crate::commit::{Gather, LENGTH_MAX, Mark, Room};
use crate::definitions::{self, Progress};
use crate::error::StoreError;
use crate::fields::index;
use crate::footer::{ENTRY, PLACE};
use crate::locator::{DestinationId, Locator, SubscriptionId};
use crate::message::{IdLimits, Patch, StoredId, StoredMessage, SubscriptionDefinition};
use crate::record::{self, GRANULE, HEADER, ID, ID_HEADER, Kind, MARK, encode, padded};

/// Most targets of one record: a footer counts them in sixteen bits.
const TARGETS_MAX: usize = 1 << 16;

/// A change of names, applied once the closure's records are accepted.
#[derive(Debug)]
enum Change {
    Destination(DestinationId, u8, String),
    Subscription(SubscriptionDefinition),
    Declare(DestinationId, String),
    Pause(DestinationId, String),
    DropDestination(DestinationId),
    DropSubscription(SubscriptionId),
}

/// Writes records for one append. Made by [`crate::Store::append`].
#[derive(Debug)]
pub struct Batch<'a> {
    gather: &'a mut Gather,
    room: &'a Room,
    mark: Option<Mark>,
    adds: bool,
    too_large: bool,
    transaction: u64,
    operations: usize,
    changes: Vec<Change>,
}

impl<'a> Batch<'a> {
    pub(crate) fn new(gather: &'a mut Gather, room: &'a Room) -> Self {
        Self {
            gather,
            room,
            mark: None,
            adds: false,
            too_large: false,
            transaction: 0,
            operations: 0,
            changes: Vec::new(),
        }
    }

    /// Writes a message once, referred to by each target. It is live while any of the references is.
    ///
    /// # Panics
    /// Without a target, or with more than 65,536.
    pub fn add(
        &mut self,
        targets: &[(DestinationId, u64)],
        message: &StoredMessage<'_>,
    ) -> Locator {
        assert!(
            (1..=TARGETS_MAX).contains(&targets.len()),
            "a record has 1 to 65,536 targets"
        );
        let length =
            padded(encode::add_length(targets.len(), message)).max(targets.len() * GRANULE);
        let at = self.begin(length, targets.len() * ENTRY, true);
        if !self.too_large {
            encode::add(
                &mut self.gather.open.octets,
                self.transaction,
                targets,
                message,
            );
        }
        at
    }

    /// Makes new references to the body of an existing record (dead-letter move, retry). `body_of` may be an Add or a live Place.
    ///
    /// # Panics
    /// Without a target, or with more than 65,536.
    pub fn place(
        &mut self,
        targets: &[(DestinationId, u64)],
        body_of: Locator,
        patch: &Patch<'_>,
    ) -> Locator {
        assert!(
            (1..=TARGETS_MAX).contains(&targets.len()),
            "a record has 1 to 65,536 targets"
        );
        let length =
            padded(encode::place_length(targets.len(), patch)).max(targets.len() * GRANULE);
        let at = self.begin(length, targets.len() * ENTRY + PLACE, true);
        if !self.too_large {
            encode::place(
                &mut self.gather.open.octets,
                self.transaction,
                targets,
                body_of,
                patch,
            );
        }
        at
    }

    /// Gives up the references that `destination` holds on these records: one record for all of them.
    pub fn remove(&mut self, destination: DestinationId, removed: &[(u64, Locator)]) {
        if removed.is_empty() {
            return;
        }
        self.begin(padded(HEADER + removed.len() * 16), 0, false);
        if !self.too_large {
            encode::remove(
                &mut self.gather.open.octets,
                self.transaction,
                destination,
                removed,
            );
        }
    }

    /// Notes how often delivering this reference has failed. Counters only rise.
    pub fn redelivered(
        &mut self,
        destination: DestinationId,
        sequence: u64,
        at: Locator,
        count: u16,
    ) {
        self.begin(padded(HEADER + 16), 0, false);
        encode::redelivered(
            &mut self.gather.open.octets,
            self.transaction,
            destination,
            sequence,
            at,
            count,
        );
    }

    /// Notes how often delivering these sequences of its topic to this durable subscription has failed: one record for
    /// all of them. Counters only rise, and go with the acknowledgement.
    pub fn redelivered_to(&mut self, subscription: SubscriptionId, marked: &[(u64, u16)]) {
        if marked.is_empty() {
            return;
        }
        self.begin(padded(HEADER + marked.len() * MARK), 0, false);
        if !self.too_large {
            encode::marks(
                &mut self.gather.open.octets,
                self.transaction,
                subscription,
                marked,
            );
        }
    }

    /// Defines a destination.
    pub fn define_destination(&mut self, id: DestinationId, kind: u8, name: &str) {
        self.plain(
            Kind::DefineDestination,
            usize::from(kind),
            u64::from(id.0),
            name.as_bytes(),
        );
        self.changes
            .push(Change::Destination(id, kind, name.to_owned()));
    }

    /// Notes what a client has declared of a destination that is defined, in place of what was declared before.
    pub fn declare(&mut self, id: DestinationId, text: &str) {
        self.plain(Kind::Declare, 0, u64::from(id.0), text.as_bytes());
        self.changes.push(Change::Declare(id, text.to_owned()));
    }

    /// Notes that a destination, which is defined, is paused, as the text says; with an empty one that it is not any more.
    pub fn pause(&mut self, id: DestinationId, text: &str) {
        self.plain(Kind::Pause, 0, u64::from(id.0), text.as_bytes());
        self.changes.push(Change::Pause(id, text.to_owned()));
    }

    /// Notes ids of messages that `destination`, which is defined, must not take twice. They last as long as `limits` says, whatever
    /// becomes of the messages.
    pub fn ids(&mut self, destination: DestinationId, limits: IdLimits, ids: &[StoredId]) {
        self.write_ids(destination, None, limits, ids);
    }

    /// Writes again what is still wanted of the ids in segment `from`.
    pub(crate) fn carry_ids(
        &mut self,
        destination: DestinationId,
        from: u32,
        limits: IdLimits,
        ids: &[StoredId],
    ) {
        self.write_ids(destination, Some(from), limits, ids);
    }

    fn write_ids(
        &mut self,
        destination: DestinationId,
        from: Option<u32>,
        limits: IdLimits,
        ids: &[StoredId],
    ) {
        if ids.is_empty() {
            return;
        }
        // Those of new messages stop where messages do; those that free a segment go on.
        let adds = from.is_none();
        self.begin(padded(HEADER + ID_HEADER + ids.len() * ID), 0, adds);
        if !self.too_large {
            encode::ids(
                &mut self.gather.open.octets,
                self.transaction,
                destination,
                from,
                limits,
                ids,
            );
        }
    }

    /// Drops a destination. Its references must have been removed, in this batch at the latest: what is left pins segments until
    /// the next start.
    pub fn drop_destination(&mut self, id: DestinationId) {
        self.plain(Kind::DropDestination, 0, u64::from(id.0), &[]);
        self.changes.push(Change::DropDestination(id));
    }

    /// Defines a durable subscription.
    pub fn define_subscription(&mut self, definition: &SubscriptionDefinition) {
        let selector = definition.selector.as_deref().unwrap_or_default();
        let strings = definition.client_id.len() + definition.name.len() + selector.len();
        self.begin(padded(2 * HEADER + strings), 0, false);
        if !self.too_large {
            encode::define_subscription(&mut self.gather.open.octets, self.transaction, definition);
        }
        self.changes.push(Change::Subscription(definition.clone()));
    }

    /// Drops a durable subscription.
    pub fn drop_subscription(&mut self, id: SubscriptionId) {
        self.plain(Kind::DropSubscription, 0, u64::from(id.0), &[]);
        self.changes.push(Change::DropSubscription(id));
    }

    /// Acknowledges everything up to and including `through`, and the single sequences above it.
    pub fn acknowledge(
        &mut self,
        subscription: SubscriptionId,
        through: Option<u64>,
        single: &[u64],
    ) {
        self.begin(padded(HEADER + 8 + single.len() * 8), 0, false);
        if !self.too_large {
            encode::acknowledge(
                &mut self.gather.open.octets,
                self.transaction,
                subscription,
                through,
                single,
            );
        }
    }

    /// Runs `write`; what it writes takes effect as a whole or not at all, whatever happens to the disk. A transaction in a
    /// transaction belongs to the outer one.
    pub fn transaction<R>(&mut self, write: impl FnOnce(&mut Batch<'_>) -> R) -> R {
        if self.transaction != 0 {
            return write(self);
        }
        self.gather.transaction += 1;
        self.transaction = self.gather.transaction;
        self.operations = 0;
        let result = write(self);
        if self.operations > 0 {
            let operations = self.operations;
            self.plain(Kind::Outcome, operations, 0, &[]);
        }
        self.transaction = 0;
        result
    }

    /// Writes a record about the journal itself.
    pub(crate) fn note(&mut self, kind: Kind, subject: u64, octets: &[u8]) {
        self.plain(kind, 0, subject, octets);
    }

    /// Writes a Snapshot: the names as they are now, with numbers that know everything before segment `as_of`.
    pub(crate) fn snapshot(&mut self, progress: &Progress, as_of: u32) {
        let mut octets = Vec::new();
        definitions::encode(&self.gather.definitions, progress, &mut octets);
        let highest = u64::from(self.gather.definitions.highest_destination);
        self.plain(Kind::Snapshot, index(as_of), highest, &octets);
    }

    /// Writes what is live in segment `about`, knowing everything before segment `as_of`.
    pub(crate) fn liveness(&mut self, about: u32, as_of: u32, octets: &[u8]) {
        self.plain(Kind::Liveness, index(as_of), u64::from(about), octets);
    }

    /// Makes room for copies of `length` octets with `targets` references in all. False if they would take the last segment that
    /// removals can count on.
    pub(crate) fn room_for_copies(
        &mut self,
        length: usize,
        records: usize,
        targets: usize,
    ) -> bool {
        let footer = targets * ENTRY + records * PLACE;
        let next = u32::from(!self.gather.fits(length, footer));
        if !self.room.allows_copies(self.gather.open.segment + next) {
            return false;
        }
        if next > 0 {
            self.gather.roll();
        }
        self.mark = Some(self.gather.mark());
        true
    }

    /// Copies the Add or Place in `inner` forward from where it is now; see `forward.rs`.
    pub(crate) fn copy(&mut self, name: Locator, from: Locator, inner: &[u8]) {
        let targets = record::head(inner).map_or(0, |head| index(head.count));
        let length = padded(encode::copy_length(targets, inner)).max(targets * GRANULE);
        self.begin(length, targets * ENTRY + PLACE, false);
        if !self.too_large {
            encode::copy(&mut self.gather.open.octets, name, from, inner, targets);
        }
    }

    fn plain(&mut self, kind: Kind, count: usize, subject: u64, octets: &[u8]) {
        self.begin(padded(HEADER + octets.len()), 0, false);
        if !self.too_large {
            encode::plain(
                &mut self.gather.open.octets,
                kind,
                self.transaction,
                count,
                subject,
                octets,
            );
        }
    }

    /// Makes room for a record of `length` padded octets and gives its place.
    fn begin(&mut self, length: usize, footer: usize, adds: bool) -> Locator {
        self.adds |= adds;
        if self.mark.is_none() {
            if !self.gather.fits(length, footer)
                && (!adds || self.room.allows(self.gather.open.segment + 1))
            {
                self.gather.roll();
            }
            self.mark = Some(self.gather.mark());
        }
        self.too_large |= self.gather.open.octets.len().saturating_add(length) > LENGTH_MAX;
        self.operations += 1;
        self.gather.footer += footer;
        self.gather.begin()
    }

    /// Accepts what was written, or takes it back. Gives the octets added.
    pub(crate) fn finish(self) -> Result<usize, StoreError> {
        let Some(mark) = self.mark else { return Ok(0) };
        if self.too_large {
            let length = self.gather.open.octets.len() as u64;
            self.gather.rewind(mark);
            return Err(StoreError::TooLarge { length });
        }
        let (segment, excess) = (self.gather.open.segment, self.gather.new_excess());
        let allowed = match excess {
            0 => self.room.allows(segment),
            excess => self.room.allows(segment) && self.room.allows_excess(segment, excess),
        };
        let refused = self.adds && !allowed;
        // A message that does not fit where it may go must not spill into the reserve either.
        if refused
            || (self.adds
                && !self.gather.fits(0, 0)
                && !self.room.allows(self.gather.open.segment + 1))
        {
            self.gather.rewind(mark);
            return Err(StoreError::Full);
        }
        for change in self.changes {
            let definitions = &mut self.gather.definitions;
            match change {
                Change::Destination(id, kind, name) => {
                    definitions.define_destination(id, kind, &name)
                }
                Change::Subscription(definition) => definitions.define_subscription(definition),
                Change::Declare(id, text) => drop(definitions.declared.insert(id, text)),
                Change::Pause(id, text) => definitions.pause(id, &text),
                Change::DropDestination(id) => definitions.drop_destination(id),
                Change::DropSubscription(id) => drop(definitions.subscriptions.remove(&id)),
            }
        }
        let before = mark.octets();
        Ok(self.gather.open.octets.len() - before)
    }
}

//! Records: kinds, encoding, checksum. The bytes are drawn in docs/format.md.
//!
//! - A record begins at a granule and is padded to granules; an Add or Place has at least one granule per target.
//! - Encoding leaves the checksum empty: `seal` fills it in on the writer thread, where salt and offset are known.
//! - Decoding trusts nothing: a record that checks and still makes no sense is `None`, not a panic.

use crate::fields::{self, index, short, u16_at, u32_at, u64_at};
use crate::locator::{DestinationId, Locator, SubscriptionId};
use crate::message::{IdLimits, Patch, StoredId, StoredMessage, SubscriptionDefinition};

/// Alignment of records, and what one liveness bit stands for.
pub(crate) const GRANULE: usize = 32;
/// Octets every record begins with.
pub(crate) const HEADER: usize = 32;
/// Octets before the targets of an Add or Place.
pub(crate) const MESSAGE_HEADER: usize = 64;
/// Octets of one target.
pub(crate) const TARGET: usize = 12;
/// Octets of one counter in a Marks record.
pub(crate) const MARK: usize = 16;
/// Octets before the reference states of a Copy.
pub(crate) const COPY_HEADER: usize = 40;
/// Octets of one reference state in a Copy.
pub(crate) const STATE: usize = 4;
/// State of a reference that was given up before the copy was written.
pub(crate) const GONE: u32 = u32::MAX;

/// Octets before the ids of an Ids record.
pub(crate) const ID_HEADER: usize = 16;
/// Octets of one id in an Ids record.
pub(crate) const ID: usize = 24;

const BIT_THROUGH: u8 = 1;
const BIT_CARRIED: u8 = 1;
const BIT_VOID: u8 = 1;

/// What a record says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    Add = 1,
    Place = 2,
    Remove = 3,
    Redelivered = 4,
    DefineDestination = 5,
    DropDestination = 6,
    DefineSubscription = 7,
    DropSubscription = 8,
    Acknowledge = 9,
    Outcome = 10,
    Start = 11,
    CleanStop = 12,
    Snapshot = 13,
    Liveness = 14,
    Marks = 15,
    Ids = 16,
    Declare = 17,
    Pause = 18,
    /// A record copied forward out of a segment that is mostly dead.
    Copy = 20,
}

impl Kind {
    fn from_octet(octet: u8) -> Option<Self> {
        const ALL: [Kind; 18] = [
            Kind::Add,
            Kind::Place,
            Kind::Remove,
            Kind::Redelivered,
            Kind::DefineDestination,
            Kind::DropDestination,
            Kind::DefineSubscription,
            Kind::DropSubscription,
            Kind::Acknowledge,
            Kind::Outcome,
            Kind::Start,
            Kind::CleanStop,
            Kind::Snapshot,
            Kind::Liveness,
            Kind::Marks,
            Kind::Ids,
            Kind::Declare,
            Kind::Pause,
        ];
        if octet == Kind::Copy as u8 {
            return Some(Kind::Copy);
        }
        ALL.get(usize::from(octet).checked_sub(1)?).copied()
    }
}

/// Rounds up to whole granules.
pub(crate) const fn padded(length: usize) -> usize {
    length.next_multiple_of(GRANULE)
}

/// Initial checksum value of whatever begins at `offset` of a segment with this salt.
pub(crate) fn seed(salt: u64, offset: u32) -> u32 {
    let [a, b, c, d, e, f, g, h] = salt.to_le_bytes();
    u32::from_le_bytes([a, b, c, d]) ^ u32::from_le_bytes([e, f, g, h]) ^ offset
}

/// CRC-32 of `octets` starting from `seed`.
pub(crate) fn checksum(seed: u32, octets: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(seed);
    hasher.update(octets);
    hasher.finalize()
}

/// Fills in the checksum of the record that begins `octets`; `octets` may go on behind it.
pub(crate) fn seal(octets: &mut [u8], salt: u64, offset: u32) {
    let length = index(u32_at(octets, 4));
    let sum = checksum(seed(salt, offset), &octets[4..length]);
    fields::set_u32(octets, 0, sum);
}

/// The targets of an Add or Place, as stored.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Targets<'a>(&'a [u8]);

impl Targets<'_> {
    pub(crate) const NONE: Targets<'static> = Targets(&[]);

    pub(crate) fn len(&self) -> usize {
        self.0.len() / TARGET
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (DestinationId, u64)> {
        self.0
            .chunks_exact(TARGET)
            .map(|target| (DestinationId(u32_at(target, 0)), u64_at(target, 4)))
    }
}

/// A decoded record, borrowing from where it was read.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Record<'a> {
    Add {
        targets: Targets<'a>,
        message: StoredMessage<'a>,
    },
    Place {
        targets: Targets<'a>,
        body_of: Locator,
        patch: Patch<'a>,
    },
    Remove {
        destination: DestinationId,
        entries: &'a [u8],
    },
    Redelivered {
        destination: DestinationId,
        at: Locator,
        count: u16,
    },
    DefineDestination {
        id: DestinationId,
        kind: u8,
        name: &'a str,
    },
    DropDestination {
        id: DestinationId,
    },
    DefineSubscription {
        octets: &'a [u8],
    },
    DropSubscription {
        id: SubscriptionId,
    },
    Acknowledge {
        id: SubscriptionId,
        through: Option<u64>,
        singles: &'a [u8],
    },
    Marks {
        id: SubscriptionId,
        entries: &'a [u8],
    },
    Ids {
        destination: DestinationId,
        /// The segment these were carried forward from.
        from: Option<u32>,
        limits: IdLimits,
        entries: &'a [u8],
    },
    Declare {
        id: DestinationId,
        text: &'a str,
    },
    /// Paused as the text says; with an empty one not any more.
    Pause {
        id: DestinationId,
        text: &'a str,
    },
    Copy(Copied<'a>),
    Outcome,
    Start {
        epoch: u64,
    },
    CleanStop,
    Snapshot {
        as_of: u32,
        octets: &'a [u8],
    },
    Liveness {
        about: u32,
        as_of: u32,
        octets: &'a [u8],
    },
}

/// What a Copy says.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Copied<'a> {
    /// The place the record was written at first: its name for ever.
    pub(crate) name: Locator,
    /// The place this copy takes over from.
    pub(crate) from: Locator,
    /// Nothing of it was alive any more when it was written.
    pub(crate) void: bool,
    states: &'a [u8],
    /// The Add or Place, as it was.
    pub(crate) inner: &'a [u8],
}

impl Copied<'_> {
    /// Of each reference its failed deliveries, or `None` if it is gone.
    pub(crate) fn references(&self) -> impl Iterator<Item = Option<u16>> {
        let states = self.states.chunks_exact(STATE);
        states.map(|state| u16::try_from(u32_at(state, 0)).ok())
    }
}

impl<'a> Record<'a> {
    /// The Add or Place that a Copy carries; any other record is what it is.
    pub(crate) fn unwrapped(self) -> Self {
        match self {
            Record::Copy(copied) => decode(copied.inner).unwrap_or(self),
            other => other,
        }
    }

    /// The targets of an Add or Place, or of what a Copy carries.
    pub(crate) fn targets(self) -> Targets<'a> {
        match self.unwrapped() {
            Record::Add { targets, .. } | Record::Place { targets, .. } => targets,
            _ => Targets::NONE,
        }
    }
}

/// Length, kind, count and transaction of a record, enough to walk over it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Head {
    pub(crate) length: usize,
    pub(crate) kind: Kind,
    pub(crate) count: u32,
    pub(crate) transaction: u64,
}

/// Reads the common header if it is plausible: known kind, sane length.
pub(crate) fn head(octets: &[u8]) -> Option<Head> {
    if octets.len() < HEADER {
        return None;
    }
    let length = index(u32_at(octets, 4));
    let kind = Kind::from_octet(octets[8])?;
    (length >= HEADER).then(|| Head {
        length,
        kind,
        count: u32_at(octets, 12),
        transaction: u64_at(octets, 16),
    })
}

/// Octets from one record to the next.
pub(crate) fn stride(head: &Head) -> usize {
    let targets = if matches!(head.kind, Kind::Add | Kind::Place | Kind::Copy) {
        index(head.count)
    } else {
        0
    };
    padded(head.length).max(targets.saturating_mul(GRANULE))
}

/// True if the checksum of the record that begins `octets` holds.
pub(crate) fn checks(octets: &[u8], head: &Head, salt: u64, offset: u32) -> bool {
    octets.len() >= head.length
        && checksum(seed(salt, offset), &octets[4..head.length]) == u32_at(octets, 0)
}

/// Decodes the record that begins `octets`. Its checksum is the caller's business.
pub(crate) fn decode(octets: &[u8]) -> Option<Record<'_>> {
    let head = head(octets)?;
    let octets = octets.get(..head.length)?;
    let subject = u64_at(octets, 24);
    let rest = &octets[HEADER..];
    let id = || u32::try_from(subject).ok();
    Some(match head.kind {
        Kind::Add => decode_add(octets, &head)?,
        Kind::Place => decode_place(octets, &head)?,
        Kind::Remove => {
            let entries = rest.get(..index(head.count).checked_mul(16)?)?;
            Record::Remove {
                destination: DestinationId(id()?),
                entries,
            }
        }
        Kind::Redelivered => Record::Redelivered {
            destination: DestinationId(id()?),
            at: Locator::from_u64(u64_at(rest.get(8..16)?, 0))?,
            count: u16::try_from(head.count).ok()?,
        },
        Kind::DefineDestination => Record::DefineDestination {
            id: DestinationId(id()?),
            kind: u8::try_from(head.count).ok()?,
            name: std::str::from_utf8(rest).ok()?,
        },
        Kind::DropDestination => Record::DropDestination {
            id: DestinationId(id()?),
        },
        Kind::DefineSubscription => Record::DefineSubscription { octets },
        Kind::DropSubscription => Record::DropSubscription {
            id: SubscriptionId(id()?),
        },
        Kind::Acknowledge => Record::Acknowledge {
            id: SubscriptionId(id()?),
            through: (octets[9] & BIT_THROUGH != 0)
                .then(|| rest.get(..8).map(|at| u64_at(at, 0)))
                .flatten(),
            singles: rest.get(8..8 + index(head.count).checked_mul(8)?)?,
        },
        Kind::Marks => Record::Marks {
            id: SubscriptionId(id()?),
            entries: rest.get(..index(head.count).checked_mul(MARK)?)?,
        },
        Kind::Ids => Record::Ids {
            destination: DestinationId(id()?),
            from: (octets[9] & BIT_CARRIED != 0)
                .then(|| rest.get(12..16).map(|from| u32_at(from, 0)))
                .flatten(),
            limits: IdLimits {
                age_max_ms: u64_at(rest.get(..8)?, 0),
                count_max: u32_at(rest.get(8..12)?, 0),
            },
            entries: rest
                .get(ID_HEADER..)?
                .get(..index(head.count).checked_mul(ID)?)?,
        },
        Kind::Declare => Record::Declare {
            id: DestinationId(id()?),
            text: std::str::from_utf8(rest).ok()?,
        },
        Kind::Pause => Record::Pause {
            id: DestinationId(id()?),
            text: std::str::from_utf8(rest).ok()?,
        },
        Kind::Copy => decode_copy(octets, &head)?,
        Kind::Outcome => Record::Outcome,
        Kind::Start => Record::Start { epoch: subject },
        Kind::CleanStop => Record::CleanStop,
        Kind::Snapshot => Record::Snapshot {
            as_of: head.count,
            octets: rest,
        },
        Kind::Liveness => Record::Liveness {
            about: id()?,
            as_of: head.count,
            octets: rest,
        },
    })
}

fn decode_add<'a>(octets: &'a [u8], head: &Head) -> Option<Record<'a>> {
    let targets_end = MESSAGE_HEADER.checked_add(index(head.count).checked_mul(TARGET)?)?;
    let targets = Targets(octets.get(MESSAGE_HEADER..targets_end)?);
    let (message_head, body) = octets[targets_end..].split_at_checked(index(u32_at(octets, 56)))?;
    let message = StoredMessage {
        wire: octets[60],
        flags: octets[61],
        priority: octets[62],
        origin: u64_at(octets, 24),
        serial: u64_at(octets, 32),
        timestamp_ms: u64_at(octets, 40),
        expires_ms: u64_at(octets, 48),
        head: message_head,
        body,
    };
    Some(Record::Add { targets, message })
}

fn decode_place<'a>(octets: &'a [u8], head: &Head) -> Option<Record<'a>> {
    let targets_end = MESSAGE_HEADER.checked_add(index(head.count).checked_mul(TARGET)?)?;
    let targets = Targets(octets.get(MESSAGE_HEADER..targets_end)?);
    let patch = Patch {
        flags: octets[48],
        priority: octets[49],
        expires_ms: u64_at(octets, 32),
        body_size: u32_at(octets, 40),
        extra_head: &octets[targets_end..],
    };
    Some(Record::Place {
        targets,
        body_of: Locator::from_u64(u64_at(octets, 24))?,
        patch,
    })
}

fn decode_copy<'a>(octets: &'a [u8], of: &Head) -> Option<Record<'a>> {
    let states_end = COPY_HEADER.checked_add(index(of.count).checked_mul(STATE)?)?;
    let states = octets.get(COPY_HEADER..states_end)?;
    let inner = &octets[states_end..];
    let carried = head(inner)?;
    let whole = carried.length == inner.len() && carried.count == of.count;
    if !whole || !matches!(carried.kind, Kind::Add | Kind::Place) || decode(inner).is_none() {
        return None;
    }
    Some(Record::Copy(Copied {
        from: Locator::from_u64(u64_at(octets, 24))?,
        name: Locator::from_u64(u64_at(octets, 32))?,
        void: octets[9] & BIT_VOID != 0,
        states,
        inner,
    }))
}

/// Notes in a Copy that is not sealed yet how reference `number` stands.
pub(crate) fn set_reference(octets: &mut [u8], number: usize, state: u32) {
    fields::set_u32(octets, COPY_HEADER + number * STATE, state);
}

/// Notes in a Copy that is not sealed yet that nothing of it is alive.
pub(crate) fn set_void(octets: &mut [u8]) {
    octets[9] |= BIT_VOID;
}

/// The (sequence, locator) pairs of a Remove. Pairs no record can have are skipped.
pub(crate) fn removals(entries: &[u8]) -> impl Iterator<Item = (u64, Locator)> {
    entries
        .chunks_exact(16)
        .filter_map(|entry| Some((u64_at(entry, 0), Locator::from_u64(u64_at(entry, 8))?)))
}

/// The single sequences of an Acknowledge.
pub(crate) fn singles(octets: &[u8]) -> impl Iterator<Item = u64> {
    octets.chunks_exact(8).map(|single| u64_at(single, 0))
}

/// The (sequence, counter) pairs of a Marks record.
pub(crate) fn marks(entries: &[u8]) -> impl Iterator<Item = (u64, u16)> {
    entries
        .chunks_exact(MARK)
        .map(|entry| (u64_at(entry, 0), u16_at(entry, 8)))
}

/// The ids of an Ids record.
pub(crate) fn ids(entries: &[u8]) -> impl Iterator<Item = StoredId> {
    entries.chunks_exact(ID).map(|entry| StoredId {
        time_ms: u64_at(entry, 0),
        id: u128::from(u64_at(entry, 8)) | u128::from(u64_at(entry, 16)) << 64,
    })
}

/// The definition in a DefineSubscription record.
pub(crate) fn subscription(octets: &[u8]) -> Option<SubscriptionDefinition> {
    if octets.len() < MESSAGE_HEADER {
        return None;
    }
    let strings = &octets[MESSAGE_HEADER..];
    let (client_id, rest) = strings.split_at_checked(index(u32_at(octets, 48)))?;
    let (name, rest) = rest.split_at_checked(index(u32_at(octets, 52)))?;
    let selector = rest.get(..index(u32_at(octets, 56)))?;
    let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
    Some(SubscriptionDefinition {
        id: SubscriptionId(u32::try_from(u64_at(octets, 24)).ok()?),
        topic: DestinationId(u32_at(octets, 32)),
        no_local: octets[36] != 0,
        selector: (octets[37] != 0).then(|| text(selector)),
        start: u64_at(octets, 40),
        client_id: text(client_id),
        name: text(name),
    })
}

/// The locator in a Place record's header, read or replaced in place before sealing.
pub(crate) fn body_of(octets: &[u8]) -> Option<Locator> {
    Locator::from_u64(u64_at(octets, 24))
}

/// Replaces the locator of the body in a Place record that is not sealed yet.
pub(crate) fn set_body_of(octets: &mut [u8], body: Locator) {
    fields::set_u64(octets, 24, body.get());
}

/// Encoders. Each appends one record, without checksum, padded.
pub(crate) mod encode {
    use super::*;

    /// Unpadded length of an Add.
    pub(crate) fn add_length(targets: usize, message: &StoredMessage<'_>) -> usize {
        MESSAGE_HEADER + targets * TARGET + message.head.len() + message.body.len()
    }

    /// Unpadded length of a Place.
    pub(crate) fn place_length(targets: usize, patch: &Patch<'_>) -> usize {
        MESSAGE_HEADER + targets * TARGET + patch.extra_head.len()
    }

    fn common(
        kind: Kind,
        length: usize,
        count: usize,
        transaction: u64,
        subject: u64,
    ) -> [u8; HEADER] {
        let mut octets = [0; HEADER];
        fields::set_u32(&mut octets, 4, short(length));
        octets[8] = kind as u8;
        fields::set_u32(&mut octets, 12, short(count));
        fields::set_u64(&mut octets, 16, transaction);
        fields::set_u64(&mut octets, 24, subject);
        octets
    }

    fn targets(out: &mut Vec<u8>, targets: &[(DestinationId, u64)]) {
        for (destination, sequence) in targets {
            out.extend_from_slice(&destination.0.to_le_bytes());
            out.extend_from_slice(&sequence.to_le_bytes());
        }
    }

    fn pad(out: &mut Vec<u8>, began: usize, least: usize) {
        let length = padded(out.len() - began).max(least);
        out.resize(began + length, 0);
    }

    pub(crate) fn add(
        out: &mut Vec<u8>,
        transaction: u64,
        to: &[(DestinationId, u64)],
        message: &StoredMessage<'_>,
    ) {
        let began = out.len();
        let length = add_length(to.len(), message);
        out.reserve(padded(length));
        let mut octets = [0; MESSAGE_HEADER];
        octets[..HEADER].copy_from_slice(&common(
            Kind::Add,
            length,
            to.len(),
            transaction,
            message.origin,
        ));
        fields::set_u64(&mut octets, 32, message.serial);
        fields::set_u64(&mut octets, 40, message.timestamp_ms);
        fields::set_u64(&mut octets, 48, message.expires_ms);
        fields::set_u32(&mut octets, 56, short(message.head.len()));
        octets[60] = message.wire;
        octets[61] = message.flags;
        octets[62] = message.priority;
        out.extend_from_slice(&octets);
        targets(out, to);
        out.extend_from_slice(message.head);
        out.extend_from_slice(message.body);
        pad(out, began, to.len() * GRANULE);
    }

    pub(crate) fn place(
        out: &mut Vec<u8>,
        transaction: u64,
        to: &[(DestinationId, u64)],
        body_of: Locator,
        patch: &Patch<'_>,
    ) {
        let began = out.len();
        let length = place_length(to.len(), patch);
        let mut octets = [0; MESSAGE_HEADER];
        octets[..HEADER].copy_from_slice(&common(
            Kind::Place,
            length,
            to.len(),
            transaction,
            body_of.get(),
        ));
        fields::set_u64(&mut octets, 32, patch.expires_ms);
        fields::set_u32(&mut octets, 40, patch.body_size);
        octets[48] = patch.flags;
        octets[49] = patch.priority;
        out.extend_from_slice(&octets);
        targets(out, to);
        out.extend_from_slice(patch.extra_head);
        pad(out, began, to.len() * GRANULE);
    }

    pub(crate) fn remove(
        out: &mut Vec<u8>,
        transaction: u64,
        destination: DestinationId,
        removed: &[(u64, Locator)],
    ) {
        let began = out.len();
        let length = HEADER + removed.len() * 16;
        out.extend_from_slice(&common(
            Kind::Remove,
            length,
            removed.len(),
            transaction,
            u64::from(destination.0),
        ));
        for (sequence, at) in removed {
            out.extend_from_slice(&sequence.to_le_bytes());
            out.extend_from_slice(&at.get().to_le_bytes());
        }
        pad(out, began, 0);
    }

    pub(crate) fn redelivered(
        out: &mut Vec<u8>,
        transaction: u64,
        destination: DestinationId,
        sequence: u64,
        at: Locator,
        count: u16,
    ) {
        let began = out.len();
        let subject = u64::from(destination.0);
        out.extend_from_slice(&common(
            Kind::Redelivered,
            HEADER + 16,
            usize::from(count),
            transaction,
            subject,
        ));
        out.extend_from_slice(&sequence.to_le_bytes());
        out.extend_from_slice(&at.get().to_le_bytes());
        pad(out, began, 0);
    }

    /// Unpadded length of a Copy.
    pub(crate) fn copy_length(targets: usize, inner: &[u8]) -> usize {
        COPY_HEADER + targets * STATE + inner.len()
    }

    /// Copies an Add or Place; how its references stand is filled in when it is written.
    pub(crate) fn copy(
        out: &mut Vec<u8>,
        name: Locator,
        from: Locator,
        inner: &[u8],
        targets: usize,
    ) {
        let began = out.len();
        let length = copy_length(targets, inner);
        out.extend_from_slice(&common(Kind::Copy, length, targets, 0, from.get()));
        out.extend_from_slice(&name.get().to_le_bytes());
        out.resize(out.len() + targets * STATE, 0);
        out.extend_from_slice(inner);
        pad(out, began, targets * GRANULE);
    }

    pub(crate) fn marks(
        out: &mut Vec<u8>,
        transaction: u64,
        id: SubscriptionId,
        marked: &[(u64, u16)],
    ) {
        let began = out.len();
        out.extend_from_slice(&common(
            Kind::Marks,
            HEADER + marked.len() * MARK,
            marked.len(),
            transaction,
            u64::from(id.0),
        ));
        for (sequence, count) in marked {
            out.extend_from_slice(&sequence.to_le_bytes());
            out.extend_from_slice(&count.to_le_bytes());
            out.extend_from_slice(&[0; 6]);
        }
        pad(out, began, 0);
    }

    pub(crate) fn ids(
        out: &mut Vec<u8>,
        transaction: u64,
        destination: DestinationId,
        from: Option<u32>,
        limits: IdLimits,
        ids: &[StoredId],
    ) {
        let began = out.len();
        let mut header = common(
            Kind::Ids,
            HEADER + ID_HEADER + ids.len() * ID,
            ids.len(),
            transaction,
            u64::from(destination.0),
        );
        header[9] = if from.is_some() { BIT_CARRIED } else { 0 };
        out.extend_from_slice(&header);
        out.extend_from_slice(&limits.age_max_ms.to_le_bytes());
        out.extend_from_slice(&limits.count_max.to_le_bytes());
        out.extend_from_slice(&from.unwrap_or(0).to_le_bytes());
        for StoredId { time_ms, id } in ids {
            out.extend_from_slice(&time_ms.to_le_bytes());
            out.extend_from_slice(&id.to_le_bytes());
        }
        pad(out, began, 0);
    }

    /// Records that consist of a header and octets: definitions of destinations, drops, outcome, start, stop, snapshot, liveness.
    pub(crate) fn plain(
        out: &mut Vec<u8>,
        kind: Kind,
        transaction: u64,
        count: usize,
        subject: u64,
        octets: &[u8],
    ) {
        let began = out.len();
        out.extend_from_slice(&common(
            kind,
            HEADER + octets.len(),
            count,
            transaction,
            subject,
        ));
        out.extend_from_slice(octets);
        pad(out, began, 0);
    }

    pub(crate) fn define_subscription(
        out: &mut Vec<u8>,
        transaction: u64,
        definition: &SubscriptionDefinition,
    ) {
        let began = out.len();
        let selector = definition.selector.as_deref().unwrap_or_default();
        let strings = definition.client_id.len() + definition.name.len() + selector.len();
        let mut octets = [0; MESSAGE_HEADER];
        let subject = u64::from(definition.id.0);
        let header = common(
            Kind::DefineSubscription,
            MESSAGE_HEADER + strings,
            0,
            transaction,
            subject,
        );
        octets[..HEADER].copy_from_slice(&header);
        fields::set_u32(&mut octets, 32, definition.topic.0);
        octets[36] = u8::from(definition.no_local);
        octets[37] = u8::from(definition.selector.is_some());
        fields::set_u64(&mut octets, 40, definition.start);
        fields::set_u32(&mut octets, 48, short(definition.client_id.len()));
        fields::set_u32(&mut octets, 52, short(definition.name.len()));
        fields::set_u32(&mut octets, 56, short(selector.len()));
        out.extend_from_slice(&octets);
        for text in [
            definition.client_id.as_str(),
            definition.name.as_str(),
            selector,
        ] {
            out.extend_from_slice(text.as_bytes());
        }
        pad(out, began, 0);
    }

    pub(crate) fn acknowledge(
        out: &mut Vec<u8>,
        transaction: u64,
        id: SubscriptionId,
        through: Option<u64>,
        single: &[u64],
    ) {
        let began = out.len();
        let length = HEADER + 8 + single.len() * 8;
        let mut header = common(
            Kind::Acknowledge,
            length,
            single.len(),
            transaction,
            u64::from(id.0),
        );
        header[9] = if through.is_some() { BIT_THROUGH } else { 0 };
        out.extend_from_slice(&header);
        out.extend_from_slice(&through.unwrap_or_default().to_le_bytes());
        for sequence in single {
            out.extend_from_slice(&sequence.to_le_bytes());
        }
        pad(out, began, 0);
    }
}

#[cfg(test)]
mod tests;

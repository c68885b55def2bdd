//! The journal of ferrymq: append, ticket, recover, read.
//!
//! - One append-only journal in segments, one writer, group commit. A ticket completes when everything handed over with it or before it
//!   is on disk.
//! - The journal alone is the truth; what lies in `meta` only shortens the start.
//! - After the first failed write or sync nothing is accepted any more. Lack of space is not a failure.
//! - The store knows no protocol: heads and bodies are opaque, ids and sequences come from the engine.
//!
//! Beside the journal lies temporary storage ([`Temp`]), which promises nothing beyond the life of the process.
//!
//! Not here yet: reading footers page by page. The bytes are drawn in `docs/format.md`.

mod batch;
mod checkpoint;
mod clock;
mod commit;
mod compact;
mod config;
mod damage;
mod definitions;
mod error;
mod fields;
mod footer;
mod forward;
mod holders;
mod ids;
pub mod io;
mod journal;
mod keeper;
mod liveness;
mod locator;
mod lock;
mod message;
mod meta;
mod occupancy;
mod pins;
mod places;
mod prepare;
mod read;
mod record;
mod recover;
mod recovered;
mod repair;
mod replay;
mod segment;
#[cfg(feature = "sim")]
pub mod sim;
mod state;
mod store;
mod survey;
mod temp;
mod verify;

pub use batch::Batch;
pub use commit::SyncEvent;
pub use config::StoreConfig;
pub use error::StoreError;
pub use holders::{Holders, Holding, SegmentHolding};
pub use locator::{DestinationId, Locator, SubscriptionId, Ticket};
pub use message::{
    IdLimits, OwnedMessage, OwnedPatch, Patch, StoredId, StoredMessage, SubscriptionDefinition,
};
pub use read::ReadOutcome;
pub use recovered::{Recovered, RecoveredDestination, RecoveredEntry, RecoveredSubscription};
pub use repair::{Repaired, repair};
#[cfg(feature = "sim")]
pub use store::Drive;
pub use store::{Store, StoreUsage};
pub use temp::{Temp, TempConfig, TempOutcome, TempPlace, TempRun};
pub use verify::{Lost, Quarantined, RecoveryReport, check};

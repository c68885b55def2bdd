//! The core: pure state machines of destinations and subscriptions.
//!
//! Nothing here knows a socket, a file, a runtime or a clock: time is an argument, and what must happen
//! outside is told to an [`Outlet`] while the step runs. A destination is stepped under its own lock by
//! `engine`; a test steps it with a plain vector as outlet.
//!
//! Invariants, checked by the model test:
//! - a message is in exactly one place: ready in the log, unacked with one subscription, held by one
//!   transaction, or gone;
//! - nothing is delivered beyond a window, and never twice without having returned;
//! - the log is in order of sequence, and a returned message takes its old place.

pub mod adaptive;
pub mod advisory;
pub mod cold;
pub mod dedup;
pub mod delivery;
pub mod destination;
#[cfg(test)]
mod double;
pub mod filter;
pub mod governor;
pub mod log;
pub mod message;
pub mod outlet;
pub mod paging;
pub mod pattern;
pub mod places;
pub mod policy;
pub mod queue;
pub mod redelivery;
pub mod rising;
pub mod scheduler;
pub mod selector;
pub mod slow;
pub mod stats;
pub mod subscription;
pub mod thin;
pub mod topic;
pub mod unacked;

pub use delivery::{Ack, AckMode, Delivery, Ending, Entry, GroupKey, Which};
pub use destination::{Destination, Kind};
pub use filter::Filter;
pub use message::{DeadLetter, Locator, Message, MessageFlags, MessageId};
pub use outlet::{Flow, Outgoing, Outlet, Rejected};
pub use pattern::Pattern;
pub use policy::{DestinationPolicy, Policies};
pub use queue::{GroupMark, GroupReader, Queue, QueuePolicy, Wishes};
pub use redelivery::{OnNack, RedeliveryOverride, RedeliveryPolicy};
pub use subscription::{Room, SubscriptionKey, Window};
pub use topic::Topic;
